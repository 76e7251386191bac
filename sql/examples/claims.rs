//! Measures how fast packages with claims are inserted, and then their headers: 70,000 packages with 700,000 build-ids.
//!
//!     cargo run --release -p sql --example claims [DATABASE-URL]
//!
//! Without a URL an SQLite file in a temporary directory is filled. The database has to be empty.

#![expect(clippy::print_stdout, reason = "a measurement is printed")]

use std::time::Instant;

use artifact::{Artifact, BuildId, Format, Identity, Kind, Nevra, Package};
use sha2::{Digest, Sha256};
use sql::{
    Access, Checksum, Claim, ClaimedPackage, CompleteListing, DatabaseUrl, Import, Index, NewLocation, NewRepository,
    NewStore, Origin, Repository, Tier, Verified,
};

const PACKAGES: usize = 70_000;
const BUILD_IDS: usize = 10;
const BATCH: usize = 2000;

fn digest(text: &str) -> [u8; 32] {
    Sha256::digest(text).into()
}

fn nevra(package: usize) -> Nevra {
    Nevra {
        name: format!("package{package}-libs"),
        epoch: None,
        version: "1.2.3".into(),
        release: "4.fc44".into(),
        arch: "x86_64".into(),
    }
}

fn build_id(package: usize, file: usize) -> artifact::Result<BuildId> {
    BuildId::from_bytes(&digest(&format!("{package} {file}"))[..20])
}

fn location(repository: &Repository, package: usize) -> NewLocation {
    let nevra = nevra(package);
    NewLocation {
        store_id: repository.store_id,
        path: format!("{}/Packages/{}/{nevra}.rpm", repository.path, &nevra.name[..1]),
        size: Some(100_000),
        mtime_ns: None,
        header: Some(4504..99_999),
        checksum: Some(Checksum { kind: "sha256".into(), bytes: digest(&package.to_string()).into() }),
        signing_key: None,
    }
}

fn claimed(repository: &Repository, package: usize) -> artifact::Result<ClaimedPackage> {
    let claim = |file| {
        let build_id = build_id(package, file)?;
        let link_path = Some(format!("/usr/lib/.build-id/{build_id}"));
        Ok(Claim { build_id, kind: Kind::Executable, link_path })
    };
    Ok(ClaimedPackage {
        origin: Origin::Repository,
        format: Format::Rpm,
        nevra: nevra(package),
        source_rpm: Some(format!("package{package}-1.2.3-4.fc44.src.rpm")),
        distro: "fc44".into(),
        claims: (0..BUILD_IDS).map(claim).collect::<artifact::Result<_>>()?,
        location: Some(location(repository, package)),
        repository_id: Some(repository.id),
        koji: None,
    })
}

fn read(repository: &Repository, package: usize) -> artifact::Result<Import> {
    let artifact = |file| {
        let path = format!("/usr/lib64/package{package}/lib{file}.so");
        let (ordinal, build_id) = (u32::try_from(file).unwrap_or_default(), build_id(package, file)?);
        Ok(Artifact { ordinal, build_id, kind: Kind::Executable, dwarf: None, path, contents: None })
    };
    Ok(Import {
        package: Package {
            format: Format::Rpm,
            nevra: nevra(package),
            source_rpm: Some(format!("package{package}-1.2.3-4.fc44.src.rpm")),
            identity: Identity::from_bytes(digest(&format!("header {package}"))),
            built_at: Some(1_700_000_000),
        },
        distro: None,
        artifacts: (0..BUILD_IDS).map(artifact).collect::<artifact::Result<_>>()?,
        modules: Vec::new(),
        includes: Vec::new(),
        open: false,
        location: location(repository, package),
        repository_id: Some(repository.id),
        koji: None,
    })
}

/// Prints the rate of what took since `began`.
fn report(what: &str, count: usize, began: Instant) {
    let seconds = began.elapsed().as_secs_f64();
    println!("{what}: {count} in {seconds:.1} s, {:.0} per second", count as f64 / seconds);
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let directory = tempfile::tempdir()?;
    let url: DatabaseUrl = match std::env::args().nth(1) {
        Some(url) => url.parse()?,
        None => DatabaseUrl::sqlite(directory.path().join("index.db")),
    };
    let index = Index::open(&url, Access::ReadWrite)?;
    index.migrate().await?;
    let store = NewStore {
        name: "mirror".into(),
        tier: Tier::Mirror,
        base_url: Some("https://mirror.example".into()),
        root: None,
        priority: 0,
        pattern: None,
        distros: sql::Distros::default(),
        absent_statuses: sql::AbsentStatuses::default(),
        redirect_hosts: sql::RedirectHosts::default(),
        allow_private: false,
    };
    let store_id = index.add_store(&store).await?.id;
    let (name, path) = ("f44".to_owned(), "f44/os".to_owned());
    let repository = NewRepository { name, store_id, path, url: None, format: Format::Rpm, distro: None };
    let repository = index.add_repository(&repository).await?;

    let claimed = (0..PACKAGES).map(|package| claimed(&repository, package)).collect::<artifact::Result<Vec<_>>>()?;
    for what in ["claimed packages", "the same again"] {
        let began = Instant::now();
        for batch in claimed.chunks(BATCH) {
            index.insert_claimed("example", batch).await?;
        }
        report(what, PACKAGES, began);
    }
    drop(claimed);
    let read = (0..PACKAGES).map(|package| read(&repository, package)).collect::<artifact::Result<Vec<_>>>()?;
    for what in ["headers of claimed packages", "the same again"] {
        let began = Instant::now();
        for batch in read.chunks(BATCH) {
            index.insert("example", batch).await?;
        }
        report(what, PACKAGES, began);
    }
    drop(read);
    let began = Instant::now();
    let known = index.known_listing(repository.id).await?;
    report("known listing", known.len(), began);
    let began = Instant::now();
    let listing = CompleteListing {
        revision: None,
        metadata_checksum: None,
        verified: Verified::No,
        package_count: 0,
        ended: known.values().map(|known| known.package_id).collect(),
        gone: known.keys().copied().collect(),
        started_at: index.begin_listing(repository.id).await?,
        refused_count: 0,
        refused: None,
    };
    let end = index.complete_listing(repository.id, &listing).await?;
    report("complete listing without any", usize::try_from(end.gone)?, began);
    Ok(())
}
