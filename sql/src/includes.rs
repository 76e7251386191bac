//! The query for packages by their include files ([`artifact::includes`]).
//!
//! Their places stand in `file_names` among the names of files, as four bytes of a hash with the first bit set: no name in ASCII begins so.
//! What the table promises is looked up in the header of the package.

use sha2::{Digest, Sha256};
use sqlx::QueryBuilder;

use crate::db::asking;
use crate::file_names::{self, FileNames, Key};
use crate::{Index, Result, StoredPackage};

/// Rows that are read for one place, those of the packages that came last.
const MOST_ROWS: i64 = 1000;
/// Packages of which more is read.
const MOST_PACKAGES: usize = 1000;

/// What stands for a place of include files.
pub(crate) fn key(place: &str) -> Key {
    let digest: [u8; 32] = Sha256::digest(place).into();
    [digest[0] | 0x80, digest[1], digest[2], digest[3]]
}

impl Index {
    /// The packages that may have an include file at this place ([`artifact::includes::place`]), of those that came since the index knows
    /// of include files; the last come first. None where names of files are not wanted.
    ///
    /// # Errors
    /// If the database cannot be asked.
    pub async fn packages_with_includes(&self, place: &str) -> Result<Vec<StoredPackage>> {
        let key = key(place);
        self.reading("reading packages by include files", || async {
            if self.file_names_state().await? == FileNames::Off {
                return Ok(Vec::new());
            }
            let rows: Vec<file_names::Row> = asking!(&self.db, |connection, Backend| {
                let mut query = QueryBuilder::<Backend>::new("select package_id, more from file_names where name = ");
                query.push_bind(key.as_slice()).push(" order by package_id desc limit ").push_bind(MOST_ROWS);
                query.build_query_as().fetch_all(connection).await?
            });
            let mut ids = Vec::new();
            for row in &rows {
                ids.extend(row.packages()?);
            }
            ids.sort_unstable_by_key(|id| std::cmp::Reverse(*id));
            ids.dedup();
            ids.truncate(MOST_PACKAGES);
            let mut packages = self.packages_by_id(&ids).await?;
            packages.sort_by_key(|package| std::cmp::Reverse(package.id));
            Ok(packages)
        })
        .await
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_name_in_ascii_is_taken_for_a_place() {
        for place in ["/usr/include/stdio.h", "/usr/include/c++/13", ""] {
            assert!(key(place)[0] >= 0x80, "{place}");
        }
        assert_ne!(key("/usr/include/a.h"), key("/usr/include/b.h"));
    }
}
