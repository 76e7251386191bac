//! A real hub on loopback, with real RPMs, into both databases.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use compat_tests::fixtures;
use compat_tests::koji_hub::KojiHub;
use compat_tests::mariadb::MariaDb;
use sql::{Access, BuildPackage, BuildState, DatabaseUrl, Index, StoredBuild};
use tempfile::TempDir;

use super::importer::{BuildImporter, BuildOutcome, BuildRequest};
use super::{HeaderSource, KojiInstance};
use crate::fetch::network::{Network, NetworkLimits};
use crate::jobs::{BuildName, Work};
use crate::koji::build::BuildRef;
use crate::pipeline::stop::Stop;

mod builds;
mod changes;
mod failures;
mod walks;

/// A Koji, and an index.
struct Tested {
    hub: KojiHub,
    index: Index,
    instance: KojiInstance,
    _directory: TempDir,
    _server: Option<Arc<MariaDb>>,
}

/// One on SQLite, and one on MariaDB.
async fn on_both() -> [Tested; 2] {
    static NUMBER: AtomicU32 = AtomicU32::new(0);
    let sqlite = tempfile::tempdir().unwrap();
    let url = format!("sqlite:{}", sqlite.path().join("index.db").display());
    let server = MariaDb::shared();
    let name = format!("koji_{}", NUMBER.fetch_add(1, Ordering::Relaxed));
    server.create_database(&name);
    let server_url = server.url(&name);
    [tested(&url, sqlite, None).await, tested(&server_url, tempfile::tempdir().unwrap(), Some(server)).await]
}

async fn tested(url: &str, directory: TempDir, server: Option<Arc<MariaDb>>) -> Tested {
    let url: DatabaseUrl = url.parse().unwrap();
    let index = Index::open(&url, Access::ReadWrite).unwrap();
    index.migrate().await.unwrap();
    let hub = KojiHub::start();
    let instance = KojiInstance::new("primary", &hub.url(), &hub.topurl()).unwrap();
    Tested { hub, index, instance, _directory: directory, _server: server }
}

impl Tested {
    /// An importer with short limits.
    async fn importer(&self) -> BuildImporter {
        self.importer_with(&Stop::default()).await
    }

    /// The same, which this flag stops.
    async fn importer_with(&self, stop: &Stop) -> BuildImporter {
        let limits = NetworkLimits {
            stall_timeout: Duration::from_millis(500),
            down_timeout: Duration::from_millis(500),
            min_pause: Duration::from_millis(10),
            max_pause: Duration::from_millis(50),
            ..NetworkLimits::default()
        };
        let network = Network::new(None, limits, stop.clone());
        let instance = Arc::new(self.instance.clone());
        BuildImporter::new(self.index.clone(), network, instance, stop.clone()).await.unwrap()
    }

    /// Imports a build by its number.
    async fn import(&self, build: i64) -> BuildOutcome {
        import(&self.importer().await, BuildRef::Id(build), None).await
    }

    async fn stored(&self, build: i64) -> Option<StoredBuild> {
        self.index.builds("primary", &[build]).await.unwrap().pop()
    }

    /// The packages of a build, by name-version-release.arch.
    async fn packages(&self, build: i64) -> BTreeMap<String, BuildPackage> {
        let stores = self.index.stores().await.unwrap();
        let store = stores.iter().find(|store| store.name == self.instance.store).unwrap();
        let packages = self.index.build_packages("primary", &[build], store.id).await.unwrap();
        packages.into_iter().map(|package| (package.nvra.clone(), package)).collect()
    }

    /// The paths of all present places of a build's packages, sorted.
    async fn places(&self, build: i64) -> Vec<String> {
        let packages = self.packages(build).await;
        let places = packages.values().flat_map(|package| &package.places);
        let mut paths: Vec<String> =
            places.filter(|place| place.gone_at.is_none()).map(|place| place.path.clone()).collect();
        paths.sort_unstable();
        paths
    }

    /// The builds of all jobs, which are done then.
    async fn take_jobs(&self) -> Vec<i64> {
        let jobs = self.index.claim_jobs("test", 10_000, Duration::from_secs(60), &[]).await.unwrap();
        let mut builds: Vec<i64> = jobs
            .iter()
            .map(|job| match Work::parse(&job.kind, &job.payload).unwrap() {
                Work::Build(work) => match work.build {
                    BuildName::Id(build) => build,
                    BuildName::Nvr(nvr) => panic!("{nvr}: expected a number"),
                },
                other => panic!("{other:?}: expected a build"),
            })
            .collect();
        self.index.finish_jobs("test", &jobs).await.unwrap();
        builds.sort_unstable();
        builds
    }
}

async fn import(importer: &BuildImporter, reference: BuildRef, deleted_at: Option<i64>) -> BuildOutcome {
    let request = BuildRequest { reference, deleted_at };
    let mut outcomes = importer.import(&[request]).await.unwrap();
    assert_eq!(outcomes.len(), 1);
    outcomes.remove(0)
}

/// The RPMs of `server-1.1-RELEASE`: a program, its -debuginfo and its -debugsource.
fn server(release: u32) -> Vec<PathBuf> {
    ["server", "server-debuginfo", "server-debugsource"]
        .map(|name| fixtures::package("server", &format!("{name}-1.1-{release}.fc99.x86_64")))
        .to_vec()
}

/// An import of this number of packages.
fn imported(packages: u64) -> BuildOutcome {
    BuildOutcome::Imported { packages }
}
