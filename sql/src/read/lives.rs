//! The life of packages: memberships, successors, and histories.

use std::cmp::Ordering;
use std::collections::{BTreeSet, HashMap};

use artifact::{BuildId, Nevra};
use sqlx::{FromRow, QueryBuilder};

use crate::connect::db::on_connection;
use crate::model::rows::{MAX_LIST, decode_error, push_list};
use crate::{History, Index, Life, Membership, Result, Successor};

/// A row for each membership, with its package and repository.
const MEMBERSHIPS: &str = "select m.package_id, m.repository_id, m.first_seen, m.last_seen, m.ended_at, r.name as \
     repository, r.refreshed_at, p.name, p.epoch, p.version, p.`release`, p.arch from packages p join memberships m on \
     m.package_id = p.id join repositories r on r.id = m.repository_id where ";

#[derive(FromRow)]
struct MembershipRow {
    package_id: i64,
    repository_id: i64,
    first_seen: i64,
    last_seen: i64,
    ended_at: Option<i64>,
    repository: String,
    refreshed_at: Option<i64>,
    name: String,
    epoch: Option<i64>,
    version: String,
    release: String,
    arch: String,
}

/// A package's time in a repository.
struct Member {
    package_id: i64,
    repository_id: i64,
    nevra: Nevra,
    membership: Membership,
}

impl MembershipRow {
    fn into_member(self) -> sqlx::Result<Member> {
        let epoch = self.epoch.map(u32::try_from).transpose().map_err(decode_error)?;
        // While it is listed, every refresh saw it.
        let refreshed_at = self.refreshed_at.filter(|_| self.ended_at.is_none());
        Ok(Member {
            package_id: self.package_id,
            repository_id: self.repository_id,
            nevra: Nevra { name: self.name, epoch, version: self.version, release: self.release, arch: self.arch },
            membership: Membership {
                repository: self.repository,
                first_seen: self.first_seen,
                last_seen: refreshed_at.map_or(self.last_seen, |refreshed_at| refreshed_at.max(self.last_seen)),
                ended_at: self.ended_at,
            },
        })
    }
}

impl Index {
    /// Returns the memberships and successors of these packages, by their ids. Packages that were never listed are
    /// missing.
    ///
    /// # Errors
    /// If the query of the database fails.
    pub async fn lives(&self, packages: &[i64]) -> Result<HashMap<i64, Life>> {
        self.retry_query("reading the life of packages", || self.select_lives(packages)).await
    }

    /// Returns all packages with files that have this build-id or are claimed to have it, by id, with these files.
    ///
    /// # Errors
    /// If the query of the database fails.
    pub async fn histories_by_build_id(&self, build_id: &BuildId) -> Result<Vec<History>> {
        self.retry_query("reading the history of a build-id", || async {
            let found = self.select_by_build_id(std::slice::from_ref(build_id)).await?;
            let ids: Vec<i64> = found.packages.iter().map(|package| package.id).collect();
            Ok(found.into_histories(self.select_lives(&ids).await?, self.select_build_facts(&ids).await?))
        })
        .await
    }

    /// Returns all packages with this name-version-release.arch, by id, with all their files.
    ///
    /// # Errors
    /// If the query of the database fails.
    pub async fn histories_by_nvra(&self, nvra: &str) -> Result<Vec<History>> {
        self.retry_query("reading the history of a package", || async {
            let found = self.select_by_nvra(nvra).await?;
            let ids: Vec<i64> = found.packages.iter().map(|package| package.id).collect();
            Ok(found.into_histories(self.select_lives(&ids).await?, self.select_build_facts(&ids).await?))
        })
        .await
    }

    async fn select_lives(&self, packages: &[i64]) -> sqlx::Result<HashMap<i64, Life>> {
        let mut rows: Vec<MembershipRow> = Vec::new();
        let mut named: Vec<MembershipRow> = Vec::new();
        let read: sqlx::Result<()> = on_connection!(&self.db, |connection, Backend| {
            for packages in packages.chunks(MAX_LIST) {
                let mut query = QueryBuilder::<Backend>::new(MEMBERSHIPS);
                push_list(&mut query, "p.id", packages);
                rows.extend(query.build_query_as::<MembershipRow>().fetch_all(&mut *connection).await?);
            }
            let names: BTreeSet<&str> = rows.iter().map(|row| row.name.as_str()).collect();
            for names in names.into_iter().collect::<Vec<&str>>().chunks(MAX_LIST) {
                let mut query = QueryBuilder::<Backend>::new(MEMBERSHIPS);
                push_list(&mut query, "p.name", names);
                named.extend(query.build_query_as::<MembershipRow>().fetch_all(&mut *connection).await?);
            }
            Ok(())
        });
        read?;
        let members = rows.into_iter().map(MembershipRow::into_member).collect::<sqlx::Result<Vec<Member>>>()?;
        let named = named.into_iter().map(MembershipRow::into_member).collect::<sqlx::Result<Vec<Member>>>()?;
        let mut by_name: HashMap<(&str, &str), Vec<&Member>> = HashMap::new();
        for member in &named {
            by_name.entry((&member.nevra.name, &member.nevra.arch)).or_default().push(member);
        }
        let mut lives: HashMap<i64, (Vec<Membership>, Vec<&Member>)> = HashMap::new();
        for member in members {
            let of_name = by_name.get(&(member.nevra.name.as_str(), member.nevra.arch.as_str())).into_iter().flatten();
            let is_successor = |other: &&&Member| {
                other.repository_id == member.repository_id
                    && other.membership.first_seen > member.membership.first_seen
                    && other.nevra.compare_evr(&member.nevra) == Ordering::Greater
            };
            let (memberships, successors) = lives.entry(member.package_id).or_default();
            successors.extend(of_name.copied().filter(|other| is_successor(&other)));
            memberships.push(member.membership);
        }
        Ok(lives.into_iter().map(|(id, (memberships, successors))| (id, to_life(memberships, successors))).collect())
    }
}

fn to_life(mut memberships: Vec<Membership>, mut successors: Vec<&Member>) -> Life {
    memberships.sort_by(|a, b| (a.first_seen, &a.repository).cmp(&(b.first_seen, &b.repository)));
    successors.sort_by(|a, b| {
        let began = a.membership.first_seen.cmp(&b.membership.first_seen);
        let name = || (&a.nevra, &a.membership.repository).cmp(&(&b.nevra, &b.membership.repository));
        began.then_with(|| a.nevra.compare_evr(&b.nevra)).then_with(name)
    });
    let mut successors: Vec<Successor> = successors
        .into_iter()
        .map(|Member { nevra, membership, .. }| Successor {
            nvra: nevra.nvra(),
            repository: membership.repository.clone(),
            first_seen: membership.first_seen,
        })
        .collect();
    // Several builds of one name.
    let mut seen: BTreeSet<(String, String)> = BTreeSet::new();
    successors.retain(|successor| seen.insert((successor.nvra.clone(), successor.repository.clone())));
    Life { memberships, successors }
}
