//! The table `file_names`: which packages have files whose names begin so.
//!
//! It is never right alone: what it promises is looked up in the lists, so that rows too many (of a package that was refined) do no
//! harm. Rows too few would, so
//! `cursors` says whether it has all of them ([`FileNames`]): every writer fills it in the transaction that brings a package, and
//! [`Index::fill_file_names`] does for packages from before the table.

use std::collections::BTreeSet;
use std::hash::{BuildHasher, RandomState};
use std::time::{SystemTime, UNIX_EPOCH};

use artifact::Artifact;
use sqlx::{FromRow, QueryBuilder};

use crate::db::{Transaction, asking, both};
use crate::dialect::Dialect;
use crate::rows::{LIST, ListRow, broken, push_list};
use crate::{Index, Result, members, pieces};

/// Bytes of a file's name that the table has. More would hardly tell more packages apart (docs/adr/0014).
const NAME_BYTES: usize = 4;
/// The beginning of a name, filled up with zeros.
pub(crate) type Key = [u8; NAME_BYTES];
/// Half of all names begin so, and it tells nothing: keys are of what is behind it.
const COMMON: &str = "lib";

/// The row of `cursors`.
const CURSOR: &str = "file_names";
/// Packages that are filled in by one transaction.
const PAGE: i64 = 5000;
/// Packages of one row.
const ROW: usize = 256;

/// How much of the index is in `file_names`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FileNames {
    /// All of it.
    All,
    /// What came since the table was made, and of what was there before the packages up to this number.
    Until(i64),
    /// Nothing: it is not wanted.
    Off,
}

/// A range of keys, both ends in it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Names {
    pub(crate) first: Key,
    pub(crate) last: Key,
}

/// A row: the packages, as [`more()`] and [`Row::packages`] have them.
#[derive(FromRow)]
pub(crate) struct Row {
    package_id: i64,
    more: Vec<u8>,
}

impl Names {
    /// That of a name.
    pub(crate) fn of(name: &str) -> Self {
        let key = key(name);
        Self { first: key, last: key }
    }

    /// Those of names that begin with `head`; `None` if that can be any.
    pub(crate) fn beginning(head: &str) -> Option<Self> {
        if COMMON.starts_with(head) {
            return None;
        }
        let mut names = Self::of(head);
        let known = head.strip_prefix(COMMON).unwrap_or(head).len();
        if let Some(unknown) = names.last.get_mut(known..) {
            unknown.fill(0xff);
        }
        Some(names)
    }
}

/// The key of a name.
fn key(name: &str) -> Key {
    let mut key = [0; NAME_BYTES];
    let telling = name.strip_prefix(COMMON).filter(|rest| !rest.is_empty()).unwrap_or(name);
    key.iter_mut().zip(telling.as_bytes()).for_each(|(to, from)| *to = *from);
    key
}

/// The last part of a path.
pub(crate) fn name(path: &str) -> &str {
    path.rsplit('/').next().unwrap_or_default()
}

impl Index {
    /// How much of the index can be found by the names of files.
    ///
    /// # Errors
    /// If the database cannot be asked.
    pub async fn file_names(&self) -> Result<FileNames> {
        self.reading("reading how far the names of files go", || self.file_names_state()).await
    }

    pub(crate) async fn file_names_state(&self) -> sqlx::Result<FileNames> {
        let value = asking!(&self.db, |connection, Backend| {
            sqlx::query_scalar::<Backend, String>("select value from cursors where name = ?")
                .bind(CURSOR)
                .fetch_optional(connection)
                .await?
        });
        state(value.as_deref())
    }

    /// Says whether `file_names` is wanted. Where it was not, it is filled from the beginning ([`Index::fill_file_names`]); where it is
    /// no longer, it is emptied. Nobody else may write meanwhile: a transaction that began before would not know.
    ///
    /// # Errors
    /// If the database refuses.
    pub async fn want_file_names(&self, wanted: bool) -> Result<()> {
        if (self.file_names().await? != FileNames::Off) == wanted {
            return Ok(());
        }
        self.writing("changing whether names of files are kept", || async {
            let mut transaction = self.begin().await?;
            set_state(&mut transaction, if wanted { FileNames::Until(0) } else { FileNames::Off }).await?;
            transaction.commit().await
        })
        .await?;
        if !wanted {
            while self.remove_some_file_names().await? > 0 {}
        }
        Ok(())
    }

    async fn remove_some_file_names(&self) -> Result<u64> {
        self.writing("removing names of files", || async {
            let mut transaction = self.begin().await?;
            let removed = both!(Transaction, &mut transaction, |connection, Backend| {
                sqlx::query::<Backend>(Backend::SOME_FILE_NAMES).execute(&mut **connection).await?.rows_affected()
            });
            transaction.commit().await?;
            Ok(removed)
        })
        .await
    }

    /// Fills in the names of files of packages that came before the table, if they are wanted: goes on where it was interrupted, and
    /// several processes may do it. `tell` hears how many packages were looked at. Returns how many that were in all.
    ///
    /// # Errors
    /// If the database refuses.
    pub async fn fill_file_names(&self, mut tell: impl FnMut(u64)) -> Result<u64> {
        let mut filled = 0;
        while let FileNames::Until(last) = self.file_names().await? {
            filled += self.writing("filling in names of files", || self.fill_page(last)).await?;
            tell(filled);
        }
        Ok(filled)
    }

    /// Fills in the packages behind `last`, unless another process was faster. How many packages that were.
    async fn fill_page(&self, last: i64) -> sqlx::Result<u64> {
        let mut transaction = self.begin().await?;
        if read_state(&mut transaction, true).await? != FileNames::Until(last) {
            return Ok(0);
        }
        let (ids, packages) = both!(Transaction, &mut transaction, |connection, Backend| {
            let ids: Vec<i64> = sqlx::query_scalar::<Backend, i64>("select id from packages where id > ? order by id limit ?")
                .bind(last)
                .bind(PAGE)
                .fetch_all(&mut **connection)
                .await?;
            let mut packages = BTreeSet::new();
            for ids in ids.chunks(LIST) {
                let mut query = QueryBuilder::<Backend>::new("select package_id, list from members where ");
                push_list(&mut query, "package_id", ids);
                for ListRow { package_id, list } in query.build_query_as().fetch_all(&mut **connection).await? {
                    packages.extend(members::read(&list)?.iter().map(|artifact| (key(name(&artifact.path)), package_id)));
                }
            }
            (ids, packages)
        });
        insert(&mut transaction, packages.into_iter().collect()).await?;
        set_state(&mut transaction, ids.last().map_or(FileNames::All, |last| FileNames::Until(*last))).await?;
        transaction.commit().await?;
        Ok(ids.len() as u64)
    }
}

/// The keys of the names of these files.
pub(crate) fn keys(artifacts: &[Artifact]) -> Vec<Key> {
    let mut keys: Vec<Key> = artifacts.iter().map(|artifact| key(name(&artifact.path))).collect();
    keys.sort_unstable();
    keys.dedup();
    keys
}

/// Are the names of files wanted?
pub(crate) async fn are_wanted(transaction: &mut Transaction) -> sqlx::Result<bool> {
    Ok(read_state(transaction, false).await? != FileNames::Off)
}

/// Writes rows for these packages.
pub(crate) async fn insert(transaction: &mut Transaction, mut packages: Vec<(Key, i64)>) -> sqlx::Result<()> {
    packages.sort_unstable();
    packages.dedup();
    let of_one_name = |a: &(Key, i64), b: &(Key, i64)| a.0 == b.0;
    let mut rows: Vec<(Key, i64, Vec<u8>)> = packages
        .chunk_by(of_one_name)
        .flat_map(|packages| packages.chunks(ROW))
        .map(|packages| (packages[0].0, packages[0].1, more(packages.iter().map(|(_, package_id)| *package_id))))
        .collect();
    if matches!(transaction, Transaction::MySql(_)) {
        // As with artifacts: sorted, they would leave pages half empty.
        rows.sort_by_cached_key(|(key, package_id, _)| {
            let number = u64::from(u32::from_le_bytes(*key)) ^ package_id.cast_unsigned().wrapping_mul(0x9e37_79b9_7f4a_7c15);
            number.wrapping_mul(0x9e37_79b9_7f4a_7c15).rotate_left(23).wrapping_mul(0xff51_afd7_ed55_8ccd)
        });
    }
    let batch = i64::from(RandomState::new().hash_one(0) as u32);
    both!(Transaction, transaction, |connection, Backend| {
        let statement = |rows: &[(Key, i64, Vec<u8>)]| {
            let mut query = QueryBuilder::<Backend>::new(Backend::INSERT);
            query.push("file_names (name, package_id, batch, more) ");
            query.push_values(rows, |mut row, (key, package_id, more)| {
                row.push_bind(key.as_slice()).push_bind(*package_id).push_bind(batch).push_bind(more.as_slice());
            });
            query
        };
        pieces::write(&mut **connection, &rows, statement).await?;
    });
    Ok(())
}

/// What stands for the packages behind the first, which are in ascending order.
fn more(packages: impl Iterator<Item = i64> + Clone) -> Vec<u8> {
    let mut more = Vec::new();
    for (before, package) in packages.clone().zip(packages.skip(1)) {
        let mut rest = package.abs_diff(before);
        while rest >= 0x80 {
            more.push(rest.to_le_bytes()[0] | 0x80);
            rest >>= 7;
        }
        more.push(rest.to_le_bytes()[0]);
    }
    more
}

impl Row {
    /// The packages of a row.
    pub(crate) fn packages(&self) -> sqlx::Result<Vec<i64>> {
        let wrong = || broken("file_names.more: expected numbers in LEB128, found something else");
        let mut packages = vec![self.package_id];
        let (mut package, mut difference, mut shift) = (self.package_id, 0_i64, 0);
        for byte in &self.more {
            if shift > 28 {
                return Err(wrong());
            }
            difference |= i64::from(byte & 0x7f) << shift;
            shift += 7;
            if byte & 0x80 == 0 {
                package += difference;
                packages.push(package);
                (difference, shift) = (0, 0);
            }
        }
        if shift == 0 { Ok(packages) } else { Err(wrong()) }
    }
}

async fn read_state(transaction: &mut Transaction, locks: bool) -> sqlx::Result<FileNames> {
    let value = both!(Transaction, transaction, |connection, Backend| {
        let mut query = QueryBuilder::<Backend>::new("select value from cursors where name = ");
        query.push_bind(CURSOR);
        if locks {
            query.push(Backend::FOR_UPDATE);
        }
        query.build_query_scalar::<String>().fetch_optional(&mut **connection).await?
    });
    state(value.as_deref())
}

async fn set_state(transaction: &mut Transaction, state: FileNames) -> sqlx::Result<()> {
    let value = match state {
        FileNames::All => "all".to_owned(),
        FileNames::Off => "off".to_owned(),
        FileNames::Until(last) => last.to_string(),
    };
    let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |now| now.as_secs().cast_signed());
    both!(Transaction, transaction, |connection, Backend| {
        sqlx::query::<Backend>("delete from cursors where name = ?").bind(CURSOR).execute(&mut **connection).await?;
        sqlx::query::<Backend>("insert into cursors (name, value, updated_at) values (?, ?, ?)")
            .bind(CURSOR)
            .bind(value)
            .bind(now)
            .execute(&mut **connection)
            .await?;
    });
    Ok(())
}

fn state(value: Option<&str>) -> sqlx::Result<FileNames> {
    match value {
        Some("all") => Ok(FileNames::All),
        Some("off") => Ok(FileNames::Off),
        Some(last) => last.parse().map(FileNames::Until).map_err(broken),
        None => Ok(FileNames::Until(0)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn packages_come_back_as_they_went_in() {
        for packages in [vec![7], vec![1, 2, 129, 130, 16_514, i64::from(i32::MAX)], (1..=256).map(|id| id * 8_000_000).collect()]
        {
            let row = Row { package_id: packages[0], more: more(packages.iter().copied()) };
            assert_eq!(row.packages().unwrap(), packages);
            assert!(row.more.len() <= 1280);
        }
        for more in [vec![0x80], vec![0xff; 6], vec![1, 0x80]] {
            assert!(Row { package_id: 1, more }.packages().is_err());
        }
    }

    #[test]
    fn keys_begin_behind_what_is_common() {
        for (name, expected) in [
            ("bash", b"bash"),
            ("bash-5.2.26-3.fc40.x86_64.debug", b"bash"),
            ("ls", b"ls\0\0"),
            ("libc.so.6", b"c.so"),
            ("lib", b"lib\0"),
            ("lib\u{e4}\u{e4}\u{e4}", b"\xc3\xa4\xc3\xa4"),
            ("", b"\0\0\0\0"),
        ] {
            assert_eq!(key(name), *expected, "{name}");
        }
    }

    #[test]
    fn a_beginning_is_a_range_that_has_every_name_with_it() {
        let range = |head: &str| Names::beginning(head).map(|names| (names.first, names.last));
        assert_eq!(range("ls"), Some((*b"ls\0\0", *b"ls\xff\xff")));
        assert_eq!(range("libs"), Some((*b"s\0\0\0", *b"s\xff\xff\xff")));
        assert_eq!(range("libstdc++"), Some((*b"stdc", *b"stdc")));
        assert_eq!(range("bash-5"), Some((*b"bash", *b"bash")));
        for any in ["", "l", "li", "lib"] {
            assert_eq!(range(any), None);
        }
        for name in ["ls", "lsof", "libs", "libselinux.so.1", "bash", "libstdc++.so.6", "lix", "lib", "l", "\u{ff}\u{ff}\u{ff}"] {
            for (length, _) in name.char_indices().chain([(name.len(), ' ')]) {
                let names = Names::beginning(&name[..length]);
                assert!(names.is_none_or(|names| (names.first..=names.last).contains(&key(name))), "{name} {length}");
            }
        }
    }
}
