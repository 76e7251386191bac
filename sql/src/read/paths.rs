//! The query for artifacts by path.

use std::cmp::Reverse;
use std::time::Instant;

use artifact::Artifact;
use futures::TryStreamExt;
use sqlx::{MySql, QueryBuilder, Sqlite};

use super::glob::Glob;
use crate::connect::db::{Db, LeasedConnection};
use crate::connect::dialect::Dialect;
use crate::model::facts::to_records;
use crate::model::import::split_path;
use crate::model::rows::{ArtifactRow, artifact_columns};
use crate::{Index, Record, Result};

/// Maximum number of matches in memory while the newest are selected.
const MAX_MATCHES: usize = 500_000;

const BY_FILE_NAME: &str = concat!("select ", artifact_columns!(), " from artifacts a where a.file_name ");
/// Backwards through the primary key: the newest packages first.
const ALL: &str = concat!(
    "select ",
    artifact_columns!(),
    " from artifacts a order by a.package_id desc, a.ordinal desc, a.build_id desc"
);

/// A query for paths of files in packages.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PathQuery {
    /// This path.
    Exact(String),
    /// Paths that match a pattern: fnmatch(3) with FNM_PATHNAME.
    Glob(String),
}

/// The result of a [`PathQuery`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PathMatches {
    /// The artifacts, newest packages first.
    pub records: Vec<Record>,
    /// True if these are all. If not, the time or the maximum of matches was exhausted.
    pub complete: bool,
}

/// The rows that can match, as a range of file names in the index.
enum NameRange {
    /// This file name.
    Exact(String),
    /// Names from the first on, up to the second exclusively, if there is one.
    Between(String, Option<String>),
    /// All names.
    All,
}

/// A query in a form that is compared with paths.
enum Pattern<'a> {
    Exact(&'a str),
    Glob(Glob),
}

impl Pattern<'_> {
    fn name_range(&self) -> NameRange {
        match self {
            Self::Exact(path) => NameRange::Exact(split_path(path).1.to_owned()),
            Self::Glob(glob) => match glob.literal_file_name() {
                (name, true) => NameRange::Exact(name),
                (head, false) if head.is_empty() => NameRange::All,
                (head, false) => {
                    let end = successor(&head);
                    NameRange::Between(head, end)
                }
            },
        }
    }

    fn matches(&self, path: &str) -> bool {
        match self {
            Self::Exact(wanted) => *wanted == path,
            Self::Glob(glob) => glob.matches(path),
        }
    }
}

impl Index {
    /// Returns the artifacts at these paths, at most `max`, found before `until`. Exact paths, and patterns whose last
    /// component starts with literal characters, use the index on `file_name`. For other patterns all rows are read, as
    /// far as time allows. Former names of plain files are omitted.
    ///
    /// # Errors
    /// If the query of the database fails: then neither presence nor absence is known.
    pub async fn records_by_path(&self, paths: &PathQuery, max: usize, until: Instant) -> Result<PathMatches> {
        let pattern = match paths {
            PathQuery::Exact(path) => Pattern::Exact(path),
            PathQuery::Glob(pattern) => Pattern::Glob(Glob::new(pattern)),
        };
        self.retry_query("reading records by path", || async {
            let (mut matches, mut complete) = match pattern.name_range() {
                // A path with a trailing slash names no file.
                NameRange::Exact(name) if name.is_empty() => (Vec::new(), true),
                rows => self.matches(&rows, &pattern, max, until).await?,
            };
            // Newest first; the order within a package stays.
            matches
                .sort_by(|(id, artifact), (other_id, other)| (Reverse(id), artifact).cmp(&(Reverse(other_id), other)));
            let more = matches.len() > max;
            matches.truncate(max);
            complete &= !more;
            let mut ids: Vec<i64> = matches.iter().map(|(package_id, _)| *package_id).collect();
            ids.dedup();
            let packages = self.packages_by_id(&ids).await?;
            let mut records = to_records(matches, packages)?;
            records.retain(Record::is_at_its_path);
            records.sort_by_key(|record| Reverse(record.package.id));
            Ok(PathMatches { records, complete })
        })
        .await
    }

    /// Returns the matching artifacts in the range, unordered, and true if these are all.
    async fn matches(
        &self,
        rows: &NameRange,
        pattern: &Pattern<'_>,
        max: usize,
        until: Instant,
    ) -> sqlx::Result<(Vec<(i64, Artifact)>, bool)> {
        let mut matches = Vec::new();
        // All rows are read newest first, so that `max` matches and one more are enough.
        let enough = if matches!(rows, NameRange::All) { max } else { MAX_MATCHES };
        macro_rules! read {
            ($connection:expr, $backend:ident) => {{
                let mut query =
                    QueryBuilder::<$backend>::new(if matches!(rows, NameRange::All) { ALL } else { BY_FILE_NAME });
                match rows {
                    NameRange::Exact(name) => drop(query.push("= ").push_bind(name.as_str())),
                    NameRange::Between(first, end) => {
                        query.push(">= ").push_bind(format!("{first}{}", $backend::LOWEST_SUFFIX));
                        if let Some(end) = end {
                            query.push(" and a.file_name < ").push_bind(end.as_str());
                        }
                    }
                    NameRange::All => {}
                }
                let mut rows = query.build_query_as::<ArtifactRow>().fetch($connection);
                loop {
                    let Some(row) = rows.try_next().await? else { break true };
                    if Instant::now() >= until || matches.len() > enough {
                        break false;
                    }
                    if row.may_match(pattern) {
                        let (package_id, artifact) = row.into_artifact()?;
                        if pattern.matches(&artifact.path) {
                            matches.push((package_id, artifact));
                        }
                    }
                }
            }};
        }
        let complete = match &self.db {
            Db::Sqlite(pool) => {
                let mut connection = pool.acquire().await?;
                read!(&mut *connection, Sqlite)
            }
            Db::MySql(pool) => {
                let mut leased = LeasedConnection::acquire(pool).await?;
                let complete = read!(&mut *leased, MySql);
                // With unread rows it is closed instead, which ends the query.
                if complete {
                    leased.release();
                }
                complete
            }
        };
        Ok((matches, complete))
    }
}

impl ArtifactRow {
    /// False if the path of the row cannot match.
    fn may_match(&self, pattern: &Pattern<'_>) -> bool {
        match pattern {
            Pattern::Exact(path) => self.dir_and_file_name() == split_path(path),
            Pattern::Glob(_) => true,
        }
    }
}

/// Returns the first text after all that start with `head`, in byte order. `None` if there is none.
fn successor(head: &str) -> Option<String> {
    let mut characters: Vec<char> = head.chars().collect();
    while let Some(last) = characters.pop() {
        // Surrogates are not characters.
        let next = if last == '\u{d7ff}' { Some('\u{e000}') } else { char::from_u32(u32::from(last) + 1) };
        if let Some(next) = next {
            characters.push(next);
            return Some(characters.into_iter().collect());
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_prefix_range_holds_all_texts_with_the_prefix_and_no_other() {
        for (head, end) in [
            ("ba", Some("bb")),
            ("b\u{7f}", Some("b\u{80}")),
            ("\u{d7ff}", Some("\u{e000}")),
            ("a\u{10ffff}", Some("b")),
            ("\u{10ffff}", None),
        ] {
            assert_eq!(successor(head).as_deref(), end, "{head:?}");
            if let Some(end) = end {
                assert!(format!("{head}\u{10ffff}\u{10ffff}").as_str() < end && head < end, "{head:?}");
            }
        }
    }
}
