//! Packages, artifacts and imports to insert.

use artifact::{Artifact, BuildId, Format, Identity, Kind, Package};
use sha2::{Digest, Sha256};
use sql::{AbsentStatuses, Checksum, Distros, Import, Index, NewLocation, NewStore, RedirectHosts, Store, Tier};

pub(crate) fn identity(text: &str) -> Identity {
    Identity::from_bytes(Sha256::digest(text).into())
}

pub(crate) fn build_id(text: &str) -> BuildId {
    BuildId::from_bytes(&Sha256::digest(text)[..20]).unwrap()
}

pub(crate) fn package(nevra: &str) -> Package {
    let nevra: artifact::Nevra = nevra.parse().unwrap();
    let source_rpm = Some(format!("{}-{}-{}.src.rpm", nevra.name, nevra.version, nevra.release));
    Package {
        identity: identity(&nevra.to_string()),
        nevra,
        source_rpm,
        built_at: Some(1_320_000_000),
        format: Format::Rpm,
    }
}

pub(crate) fn artifact(ordinal: u32, id: &str, kind: Kind, path: &str) -> Artifact {
    Artifact { ordinal, build_id: build_id(id), kind, dwarf: None, path: path.into(), contents: None }
}

/// A complete import of a package with these artifacts, at `NVRA.rpm` in the store.
pub(crate) fn import(store: &Store, nevra: &str, artifacts: Vec<Artifact>) -> Import {
    let package = package(nevra);
    let path = format!("{}.rpm", package.nevra);
    let location = NewLocation {
        store_id: store.id,
        path,
        size: Some(1000),
        mtime_ns: Some(1_320_000_000_123_456_789),
        header: Some(440..9_999),
        checksum: Some(Checksum { kind: "sha256".into(), bytes: vec![7; 32] }),
        signing_key: Some("a82ba4b7".into()),
    };
    Import {
        package,
        distro: None,
        artifacts,
        modules: Vec::new(),
        includes: Vec::new(),
        open: false,
        location,
        repository_id: None,
        koji: None,
    }
}

/// An import with one executable, for tests that need only that.
pub(crate) fn simple(store: &Store, nevra: &str) -> Import {
    import(store, nevra, vec![artifact(1, nevra, Kind::Executable, "/usr/bin/x")])
}

pub(crate) async fn store(index: &Index, name: &str, tier: Tier, priority: i32) -> Store {
    let base_url = (tier != Tier::Local).then(|| format!("https://{name}.example/packages/"));
    let root = (tier == Tier::Local).then(|| format!("/srv/{name}").into());
    let new = NewStore {
        name: name.into(),
        tier,
        base_url,
        root,
        priority,
        pattern: None,
        distros: Distros::default(),
        absent_statuses: AbsentStatuses::default(),
        redirect_hosts: RedirectHosts::default(),
        allow_private: false,
    };
    index.add_store(&new).await.unwrap()
}
