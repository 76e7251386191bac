//! The query for artifacts by path.

use std::collections::BTreeSet;
use std::time::Instant;

use artifact::Artifact;
use sqlx::QueryBuilder;

use crate::db::asking;
use crate::file_names::{self, FileNames, Names};
use crate::glob::Glob;
use crate::rows::{ListRow, push_list, to_records};
use crate::{Index, Record, Result, members};

/// Packages whose lists are looked through by one statement.
const PACKAGES: usize = 64;
/// Rows that a beginning of a name may lead to,
const MOST_ROWS: i64 = 50_000;
/// and packages: there is no time for more.
const MOST_CANDIDATES: usize = 500_000;

/// Which paths of files inside packages.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Paths {
    /// This one.
    Is(String),
    /// Those that match a pattern: fnmatch(3) with FNM_PATHNAME.
    Like(String),
}

/// Artifacts by path.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Found {
    /// The artifacts, those of the packages that came last first.
    pub records: Vec<Record>,
    /// Are these all? If not, there may be more: time or room was over.
    pub complete: bool,
}

/// Paths, ready to be compared.
enum Wanted<'a> {
    Is(&'a str),
    Like(Glob),
}

impl Wanted<'_> {
    fn names(&self) -> Option<Names> {
        match self {
            Self::Is(path) => Some(Names::of(file_names::name(path))),
            Self::Like(glob) => glob.names(),
        }
    }

    fn matches(&self, path: &str) -> bool {
        match self {
            Self::Is(wanted) => *wanted == path,
            Self::Like(glob) => glob.matches(path),
        }
    }
}

impl Index {
    /// The artifacts at these paths; at most `most`, found until `until`. Where `file_names` cannot tell which packages to look
    /// into, all lists are read, as far as time goes.
    ///
    /// # Errors
    /// If the database cannot be asked: then nothing is known, neither presence nor absence.
    pub async fn records_at(&self, paths: &Paths, most: usize, until: Instant) -> Result<Found> {
        let wanted = match paths {
            Paths::Is(path) => Wanted::Is(path),
            Paths::Like(pattern) => Wanted::Like(Glob::new(pattern)),
        };
        self.reading("reading records by path", || async {
            let mut search = Search { index: self, wanted: &wanted, most, until, found: Vec::new() };
            let complete = match wanted.names() {
                // No file is called nothing.
                Some(names) if names.last == [0; _] => true,
                Some(names) if self.file_names_state().await? == FileNames::All => search.by_name(names).await?,
                _ => search.everywhere().await?,
            };
            search.finish(complete).await
        })
        .await
    }
}

struct Search<'a> {
    index: &'a Index,
    wanted: &'a Wanted<'a>,
    most: usize,
    until: Instant,
    found: Vec<(i64, Artifact)>,
}

impl Search<'_> {
    /// Looks into the packages that have such names. Were these all?
    async fn by_name(&mut self, Names { first, last }: Names) -> sqlx::Result<bool> {
        let rows: Vec<file_names::Row> = asking!(&self.index.db, |connection, Backend| {
            let mut query = QueryBuilder::<Backend>::new("select package_id, more from file_names where name ");
            if first == last {
                query.push("= ").push_bind(first.as_slice()).push(" order by package_id desc");
            } else {
                query.push("between ").push_bind(first.as_slice()).push(" and ").push_bind(last.as_slice());
            }
            query.push(" limit ").push_bind(MOST_ROWS);
            query.build_query_as().fetch_all(connection).await?
        });
        let mut all = (rows.len() as i64) < MOST_ROWS;
        let mut ids = Vec::new();
        for row in &rows {
            ids.extend(row.packages()?);
            if ids.len() > MOST_CANDIDATES {
                all = false;
                break;
            }
        }
        ids.sort_unstable_by_key(|id| std::cmp::Reverse(*id));
        ids.dedup();
        for ids in ids.chunks(PACKAGES) {
            if !self.look(ids).await? {
                return Ok(false);
            }
        }
        Ok(all)
    }

    /// Looks into all packages. Were these all?
    async fn everywhere(&mut self) -> sqlx::Result<bool> {
        let mut before = i64::MAX;
        loop {
            let ids: Vec<i64> = asking!(&self.index.db, |connection, Backend| {
                sqlx::query_scalar::<Backend, i64>("select id from packages where id < ? order by id desc limit ?")
                    .bind(before)
                    .bind(PACKAGES as i64)
                    .fetch_all(connection)
                    .await?
            });
            let Some(last) = ids.last() else { return Ok(true) };
            before = *last;
            if !self.look(&ids).await? {
                return Ok(false);
            }
        }
    }

    /// Looks into some packages, unless time is over. Is there time and room for more?
    async fn look(&mut self, ids: &[i64]) -> sqlx::Result<bool> {
        if Instant::now() >= self.until || self.found.len() > self.most {
            return Ok(false);
        }
        let lists: BTreeSet<ListRow> = asking!(&self.index.db, |connection, Backend| {
            let mut query = QueryBuilder::<Backend>::new("select package_id, list from members where ");
            push_list(&mut query, "package_id", ids);
            query.build_query_as().fetch_all(connection).await?
        })
        .into_iter()
        .collect();
        for ListRow { package_id, list } in lists.iter().rev() {
            let artifacts = members::matching(list, |path| self.wanted.matches(path))?;
            self.found.extend(artifacts.into_iter().map(|artifact| (*package_id, artifact)));
        }
        Ok(true)
    }

    async fn finish(mut self, complete: bool) -> sqlx::Result<Found> {
        let complete = complete && self.found.len() <= self.most;
        self.found.truncate(self.most);
        let mut ids: Vec<i64> = self.found.iter().map(|(package_id, _)| *package_id).collect();
        ids.sort_unstable();
        ids.dedup();
        let packages = self.index.packages_by_id(&ids).await?;
        let mut records = to_records(self.found, packages)?;
        // The order within a package stays.
        records.sort_by_key(|record| std::cmp::Reverse(record.package.id));
        Ok(Found { records, complete })
    }
}
