//! Claims: build-ids that metadata names for packages whose header was not read. The gateway reads the package when
//! a claimed file is asked for, and never answers absent for a package that it could not read.

#![expect(clippy::unwrap_used, reason = "helpers of tests: a failure here is a failed test, and shows where")]

mod api;
mod confirmed;
mod debs;
mod places;
mod refuted;

use std::fs::File;
use std::io::BufReader;
use std::path::Path;
use std::time::{SystemTime, UNIX_EPOCH};

use artifact::header::Header;
use artifact::{Format, Kind, artifacts};
use compat_tests::darkserver::{RunningGateway, Sqlite, import_ok};
use compat_tests::fixtures;
use sql::{Access, Claim, ClaimedPackage, Import, Index, NewLocation, NewStore, Origin, Store, Tier};
use tokio::runtime::Runtime;

/// An index that a test fills row by row.
struct ClaimedIndex {
    sqlite: Sqlite,
    index: Index,
    runtime: Runtime,
}

impl ClaimedIndex {
    fn new() -> Self {
        let sqlite = Sqlite::empty();
        import_ok(&sqlite.url(), &["migrate"]);
        let runtime = Runtime::new().unwrap();
        let index = runtime.block_on(async { Index::open(&sqlite.url().parse().unwrap(), Access::ReadWrite).unwrap() });
        Self { sqlite, index, runtime }
    }

    /// A store of these claims alone: the packages of a family of fixtures, below `url`.
    fn of_family(family: &str, url: &str) -> Self {
        let index = Self::new();
        let store = index.store(&new_store("mirror", url));
        for rpm in fixtures::rpms(family) {
            index.claim(&claimed(&rpm, &store));
        }
        index
    }

    fn store(&self, store: &NewStore) -> Store {
        self.runtime.block_on(self.index.add_store(store)).unwrap()
    }

    fn claim(&self, claimed: &ClaimedPackage) {
        self.runtime.block_on(self.index.insert_claimed("test", std::slice::from_ref(claimed))).unwrap();
    }

    /// Inserts a package as an import does that has read its header.
    fn insert(&self, import: Import) {
        self.runtime.block_on(self.index.insert("test", &[import])).unwrap();
    }

    fn gateway(&self, configuration: &str) -> RunningGateway {
        RunningGateway::start_with(&self.sqlite.url(), configuration, &[])
    }
}

/// A store of tier mirror.
fn new_store(name: &str, url: &str) -> NewStore {
    NewStore {
        name: name.to_owned(),
        tier: Tier::Mirror,
        base_url: Some(url.to_owned()),
        root: None,
        priority: 0,
        pattern: None,
        distros: "".parse().unwrap(),
        absent_statuses: Default::default(),
        redirect_hosts: Default::default(),
        allow_private: false,
    }
}

fn header(rpm: &Path) -> Header {
    Header::read(&mut BufReader::new(File::open(rpm).unwrap())).unwrap()
}

/// Where an RPM is, at the top of a store.
fn location(rpm: &Path, store: &Store) -> NewLocation {
    NewLocation {
        store_id: store.id,
        path: rpm.file_name().unwrap().to_str().unwrap().to_owned(),
        size: Some(rpm.metadata().unwrap().len()),
        mtime_ns: None,
        header: Some(header(rpm).range),
        checksum: None,
        signing_key: None,
    }
}

/// A package as the metadata of a repository names it: `debuginfo(build-id)`, and links to programs.
fn claimed(rpm: &Path, store: &Store) -> ClaimedPackage {
    let header = header(rpm);
    let claims = artifacts::from_header(&header).artifacts.into_iter().map(|artifact| {
        let digits = artifact.build_id.to_string();
        let link = format!("/usr/lib/.build-id/{}/{}", &digits[..2], &digits[2..]);
        let is_debuginfo = artifact.kind == Kind::Debuginfo;
        Claim {
            build_id: artifact.build_id,
            kind: if is_debuginfo { Kind::Debuginfo } else { Kind::Executable },
            link_path: (!is_debuginfo).then_some(link),
        }
    });
    ClaimedPackage {
        origin: Origin::Repository,
        format: Format::Rpm,
        nevra: header.package.nevra.clone(),
        source_rpm: header.package.source_rpm.clone(),
        distro: "fc99".to_owned(),
        claims: claims.collect(),
        location: Some(location(rpm, store)),
        repository_id: None,
        koji: None,
    }
}

/// What an import has of an RPM whose header it has read.
fn import_of(rpm: &Path, store: &Store) -> Import {
    let header = header(rpm);
    let found = artifacts::from_header(&header);
    Import {
        package: header.package,
        distro: Some("fc99".to_owned()),
        artifacts: found.artifacts,
        modules: Vec::new(),
        includes: Vec::new(),
        open: !found.open.is_empty(),
        location: location(rpm, store),
        repository_id: None,
        koji: None,
    }
}

/// `NVRA` of the server of fixtures and its packages.
const SERVER: &str = "server-1.1-6.fc99.x86_64";
const DEBUGINFO: &str = "server-debuginfo-1.1-6.fc99.x86_64";
const DEBUGSOURCE: &str = "server-debugsource-1.1-6.fc99.x86_64";

/// The build-id of the server.
fn server_id() -> String {
    fixtures::build_id(&format!("server/{SERVER}.rpm"), "/usr/bin/server")
}

/// The bytes of the server, and those of its debuginfo.
fn server_bytes() -> (Vec<u8>, Vec<u8>) {
    let debug = format!("server/{DEBUGINFO}.rpm");
    let row = fixtures::truth("server").into_iter().find(|row| row.rpm == debug && row.build_id == server_id());
    (
        fixtures::member(&fixtures::package("server", SERVER), "/usr/bin/server"),
        fixtures::member(&fixtures::rpm(&debug), &row.unwrap().path),
    )
}

fn confirmations(gateway: &RunningGateway, result: &str) -> f64 {
    gateway.metric(&format!("gateway_claims_total{{result=\"{result}\"}}"))
}

/// Some build-id that no file has.
fn random_id(number: u32) -> String {
    let time = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_nanos();
    format!("{time:032x}{number:08x}")
}
