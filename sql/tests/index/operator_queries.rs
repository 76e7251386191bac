//! The queries of `docs/operations.md` and the views, on 100,000 rows: each uses a key.

use std::time::Duration;

use artifact::modules::Module;
use artifact::{Artifact, Format, Kind};
use sql::{
    Build, BuildState, BuildUpdate, Claim, ClaimedPackage, Import, Index, KojiOrigin, NewJob, NewRepository, Origin,
    PathHash, TagChange, Tier,
};
use sqlx::{AssertSqlSafe, Connection, MySqlConnection, Row, SqliteConnection};

use crate::builders::{artifact, build_id, import, store};
use crate::{Fresh, Raw, on_both, on_mariadb};

const OPERATIONS: &str = include_str!("../../../docs/operations.md");
/// The package in the document's queries.
const NVRA: &str = "bash-5.2.26-3.fc40.x86_64";

/// The statements of the document's section.
fn questions() -> Vec<&'static str> {
    let section = OPERATIONS.split("## Asking the index").nth(1).unwrap();
    let section = section.split("\n## ").next().unwrap_or_default();
    let blocks = section.split("```sql\n").skip(1).map(|block| block.split("```").next().unwrap_or_default());
    blocks.flat_map(|block| block.split(';')).map(str::trim).filter(|statement| !statement.is_empty()).collect()
}

/// 1,000 packages of 100 files, and the one that is asked for, which is gone from one of its two stores.
async fn filled(fresh: &Fresh) {
    let index = fresh.index().await;
    let (near, far) = (store(&index, "fedora", Tier::Mirror, 0).await, store(&index, "koji", Tier::Koji, 0).await);
    let new = NewRepository {
        name: "f40".into(),
        store_id: far.id,
        path: String::new(),
        url: None,
        format: Format::Rpm,
        distro: None,
    };
    let repository = index.add_repository(&new).await.unwrap();
    let file = |package: u32, at: u32| {
        let kind = if at.is_multiple_of(2) { Kind::Executable } else { Kind::Debuginfo };
        artifact(at, &format!("{package} {at}"), kind, &format!("/usr/lib64/p{package}/lib{at}.so"))
    };
    let of_package = |package: u32| {
        let artifacts: Vec<Artifact> = (0..100).map(|at| file(package, at)).collect();
        let mut import = import(&near, &format!("p{package}-1-1.fc40.x86_64"), artifacts);
        import.repository_id = Some(repository.id);
        import
    };
    for packages in (0..1000).collect::<Vec<u32>>().chunks(250) {
        let batch: Vec<Import> = packages.iter().map(|package| of_package(*package)).collect();
        index.insert("test", &batch).await.unwrap();
    }
    let mut bash = import(&near, NVRA, vec![artifact(4, "bash", Kind::Both, "/usr/bin/bash")]);
    bash.artifacts[0].build_id = "49f0ee2d4a2b3ab0b1bbd2ca6a1f2c7f3d2b1c77".parse().unwrap();
    bash.includes = vec!["/usr/include/bash".into()];
    for release in 300..310 {
        let version = format!("6.5.6-{release}.fc39.x86_64");
        let mut kernel = import(&near, &format!("kernel-modules-{version}"), Vec::new());
        let path = |at: u32| format!("/lib/modules/{version}/kernel/fs/m{at}.ko.xz");
        kernel.modules = (0..1000).map(|at| Module { ordinal: at, path: path(at) }).collect();
        index.insert("test", &[kernel]).await.unwrap();
    }
    let mut copy = bash.clone();
    copy.location.store_id = far.id;
    bash.koji = Some(KojiOrigin { instance: "primary".into(), build: 10_000, volume: "DEFAULT".into() });
    index.insert("test", &[copy, bash.clone()]).await.unwrap();
    index.mark_gone(near.id, &[PathHash::of_path(&bash.location.path)], 1_700_000_000).await.unwrap();
    let claim = Claim {
        build_id: "61f0ee2d4a2b3ab0b1bbd2ca6a1f2c7f3d2b1c77".parse().unwrap(),
        kind: Kind::Debuginfo,
        link_path: None,
    };
    let claimed = ClaimedPackage {
        origin: Origin::Repository,
        format: Format::Rpm,
        nevra: "bash-5.2.26-4.fc40.x86_64".parse().unwrap(),
        source_rpm: None,
        distro: "fc40".into(),
        claims: vec![claim],
        location: None,
        repository_id: Some(repository.id),
        koji: None,
    };
    index.insert_claimed("test", &[claimed]).await.unwrap();
    add_builds(&index, far.id).await;
    if fresh.has_server() {
        fresh
            .execute(
                "analyze table claims, memberships, repositories, packages, artifacts, modules, locations, stores, \
                 builds, build_tags, jobs, leases",
            )
            .await;
    }
}

/// 10,000 builds with a tag each, that of the package, and 10,000 jobs, of which 10 are due.
async fn add_builds(index: &Index, store_id: i64) {
    let build = |number: i64, name: &str, version: &str, release: &str| Build {
        instance: "primary".into(),
        build: number,
        name: name.into(),
        version: version.into(),
        release: release.into(),
        epoch: None,
        state: BuildState::Complete,
        volume: "DEFAULT".into(),
        draft: false,
        completed_at: None,
    };
    let update = |build: Build| BuildUpdate {
        build,
        is_imported: true,
        deleted_at: None,
        store_id,
        directory: None,
        signed: Vec::new(),
    };
    let mut updates: Vec<BuildUpdate> =
        (1..10_000).map(|number| update(build(number, &format!("p{number}"), "1", "1.fc40"))).collect();
    updates.push(update(build(10_000, "bash", "5.2.26", "3.fc40")));
    index.record_builds("test", &updates, 1_700_000_000).await.unwrap();
    for number in (9_000..=10_000).step_by(100) {
        index.record_tag("primary", number, "f40", TagChange::Tagged, 1_700_000_000).await.unwrap();
    }
    let job = |number: u64| NewJob {
        kind: "build",
        key: format!("build primary {number}"),
        payload: String::new(),
        // The document asks until March 2030.
        delay: Duration::from_secs(if number < 10 { 0 } else { 1 << 30 }),
    };
    index.enqueue(&(0..10_000).map(job).collect::<Vec<NewJob>>()).await.unwrap();
    for instance in 0..100 {
        index.acquire_lease(&format!("koji sweep {instance}"), "host", Duration::from_secs(60)).await.unwrap();
    }
    index.acquire_lease("koji sweep primary", "host", Duration::from_secs(60)).await.unwrap();
}

impl Fresh {
    fn has_server(&self) -> bool {
        matches!(self.raw, Raw::MariaDb(_))
    }

    /// How the database is going to answer: the type of access of each table, as MySQL's EXPLAIN has it, or a line of
    /// SQLite's plan.
    async fn accesses(&self, statement: &str) -> Vec<String> {
        match &self.raw {
            Raw::Sqlite(directory) => {
                let url = format!("sqlite:{}", directory.path().join("index.db").display());
                let mut connection = SqliteConnection::connect(&url).await.unwrap();
                let plan = AssertSqlSafe(format!("explain query plan {statement}"));
                let rows = sqlx::query(plan).fetch_all(&mut connection).await.unwrap();
                rows.iter().map(|row| row.get("detail")).collect()
            }
            Raw::MariaDb(server) => {
                let mut connection = MySqlConnection::connect(&server.url(&self.database)).await.unwrap();
                // MySQL draws a tree by default; MariaDB does not know the variable.
                let _ = sqlx::raw_sql("set session explain_format = 'traditional'").execute(&mut connection).await;
                let plan = AssertSqlSafe(format!("explain {statement}"));
                let rows = sqlx::raw_sql(plan).fetch_all(&mut connection).await.unwrap();
                rows.iter().map(|row| row.get::<Option<String>, _>("type").unwrap_or_else(|| "none".into())).collect()
            }
        }
    }

    async fn count(&self, statement: &str) -> usize {
        let statement = AssertSqlSafe(statement.to_owned());
        match &self.raw {
            Raw::Sqlite(directory) => {
                let url = format!("sqlite:{}", directory.path().join("index.db").display());
                let mut connection = SqliteConnection::connect(&url).await.unwrap();
                sqlx::query(statement).fetch_all(&mut connection).await.unwrap().len()
            }
            Raw::MariaDb(server) => {
                let mut connection = MySqlConnection::connect(&server.url(&self.database)).await.unwrap();
                sqlx::query(statement).fetch_all(&mut connection).await.unwrap().len()
            }
        }
    }

    async fn assert_indexed(&self, statement: &str) {
        let accesses = self.accesses(statement).await;
        let is_indexed = |access: &String| match self.has_server() {
            true => ["const", "ref", "eq_ref", "range"].contains(&access.as_str()),
            false => !access.starts_with("SCAN"),
        };
        assert!(!accesses.is_empty() && accesses.iter().all(is_indexed), "{statement}: {accesses:?}");
    }
}

#[test]
fn every_query_of_the_document_uses_a_key() {
    let questions = questions();
    assert!(questions.len() >= 5, "{questions:?}");
    on_both(async |fresh| {
        Box::pin(filled(&fresh)).await;
        for question in &questions {
            // SQLite has no such views.
            if question.contains("_gnubuildid") && !fresh.has_server() {
                continue;
            }
            assert_ne!(fresh.count(question).await, 0, "{question}");
            fresh.assert_indexed(question).await;
        }
    });
}

#[test]
fn the_views_find_a_build_id_by_a_key() {
    on_mariadb(async |fresh| {
        Box::pin(filled(&fresh)).await;
        for (view, column) in [("dark_gnubuildid", "buildid"), ("buildid_gnubuildid", "build_id")] {
            let statement = format!("select * from {view} where {column} = '{}'", build_id("500 7"));
            fresh.assert_indexed(&statement).await;
            assert_eq!(fresh.count(&statement).await, 1, "{statement}");
        }
    });
}
