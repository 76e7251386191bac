//! Finds rows of `packages` that describe one package, before its header was read.
//!
//! Packages of one name-version-release.arch are the same if an archive of one is at a place of the other (the same path of a store,
//! the same checksum), or if they have a build-id in common. The name alone does not tell: it can be built twice.

use std::collections::{BTreeMap, BTreeSet};

use artifact::{BuildId, Nevra};
use sqlx::QueryBuilder;

use crate::connect::db::{Transaction, both};
use crate::connect::dialect::Dialect;
use crate::model::rows::{LIST, State, push_list};
use crate::{NewLocation, PathHash};

/// Evidence that rows of one name-version-release.arch are one package.
#[derive(Clone, Debug, Default)]
pub(super) struct Marks {
    /// Stores and hashes of paths that hold its archive now.
    places: BTreeSet<(i64, String)>,
    /// Hex digits.
    checksums: BTreeSet<String>,
    /// Hex digits.
    build_ids: BTreeSet<String>,
}

/// A row of `packages`.
pub(super) struct Candidate {
    pub(super) id: i64,
    pub(super) nvra: String,
    pub(super) state: State,
    pub(super) marks: Marks,
}

/// Which rows of `packages` are read.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Which {
    /// Those whose header was not read.
    Claimed,
    /// All.
    All,
}

impl Marks {
    pub(super) fn add<'b>(&mut self, location: Option<&NewLocation>, build_ids: impl Iterator<Item = &'b BuildId>) {
        if let Some(location) = location {
            self.places.insert((location.store_id, PathHash::of(&location.path).to_string()));
            self.checksums.extend(location.checksum.as_ref().map(|(_, bytes)| faster_hex::hex_string(bytes)));
        }
        self.build_ids.extend(build_ids.map(BuildId::to_string));
    }

    /// Whether both are marks of one package, their name-version-release.arch being the same. Different archives that were at one
    /// place one after the other are told apart by their checksums.
    pub(super) fn are_of_one_package(&self, other: &Self) -> bool {
        let meets = |a: &BTreeSet<String>, b: &BTreeSet<String>| !a.is_disjoint(b);
        let checksums_differ =
            !self.checksums.is_empty() && !other.checksums.is_empty() && !meets(&self.checksums, &other.checksums);
        meets(&self.checksums, &other.checksums)
            || meets(&self.build_ids, &other.build_ids)
            || !checksums_differ && !self.places.is_disjoint(&other.places)
    }
}

/// The packages with these names, with their marks, locked until the end of the transaction. In the order of their numbers.
pub(super) async fn read(transaction: &mut Transaction, nvras: &[String], which: Which) -> sqlx::Result<Vec<Candidate>> {
    if which == Which::Claimed && !has_claimed(transaction).await? {
        return Ok(Vec::new());
    }
    let mut candidates: BTreeMap<i64, Candidate> = BTreeMap::new();
    for nvras in nvras.chunks(LIST) {
        let nvras: Vec<&str> = nvras.iter().map(String::as_str).collect();
        let rows: Vec<(i64, String, String)> = both!(Transaction, transaction, |connection, Backend| {
            let mut query = QueryBuilder::<Backend>::new("select id, nvra, state from packages where ");
            push_list(&mut query, "nvra", &nvras);
            if which == Which::Claimed {
                query.push(" and identity is null");
            }
            query.push(Backend::FOR_UPDATE);
            query.build_query_as().fetch_all(&mut **connection).await?
        });
        for (id, nvra, state) in rows {
            candidates.insert(id, Candidate { id, nvra, state: State::of(&state)?, marks: Marks::default() });
        }
    }
    let ids: Vec<i64> = candidates.keys().copied().collect();
    for ids in ids.chunks(LIST) {
        both!(Transaction, transaction, |connection, Backend| {
            let mut query = QueryBuilder::<Backend>::new(
                "select package_id, store_id, path_hash, checksum from locations where gone_at is null and ",
            );
            push_list(&mut query, "package_id", ids);
            let rows: Vec<(i64, i64, String, Option<String>)> = query.build_query_as().fetch_all(&mut **connection).await?;
            for (id, store_id, path_hash, checksum) in rows {
                if let Some(candidate) = candidates.get_mut(&id) {
                    candidate.marks.places.insert((store_id, path_hash));
                    candidate.marks.checksums.extend(checksum);
                }
            }
            for select in ["select package_id, build_id from claims where ", "select package_id, build_id from artifacts where "]
            {
                let mut query = QueryBuilder::<Backend>::new(select);
                push_list(&mut query, "package_id", ids);
                let rows: Vec<(i64, String)> = query.build_query_as().fetch_all(&mut **connection).await?;
                for (id, build_id) in rows {
                    if let Some(candidate) = candidates.get_mut(&id) {
                        candidate.marks.build_ids.insert(build_id);
                    }
                }
            }
        });
    }
    Ok(candidates.into_values().collect())
}

/// Whether there are packages whose header was not read: mostly there are none, and importers need not look further.
async fn has_claimed(transaction: &mut Transaction) -> sqlx::Result<bool> {
    both!(Transaction, transaction, |connection, Backend| {
        let first: Option<i64> = sqlx::query_scalar::<Backend, i64>("select id from packages where identity is null limit 1")
            .fetch_optional(&mut **connection)
            .await?;
        Ok(first.is_some())
    })
}

/// The names of packages, each once.
pub(super) fn nvras<'n>(nevras: impl Iterator<Item = &'n Nevra>) -> Vec<String> {
    nevras.map(Nevra::nvra).collect::<BTreeSet<String>>().into_iter().collect()
}
