//! The records and claims of one build-id, with their JSON.

use std::ops::Deref;
use std::sync::OnceLock;

use bytes::Bytes;
use sql::{ClaimRecord, Record};

/// All records of one build-id, and its claims: packages whose header was not read may have it, too. An absent one has
/// neither.
#[derive(Default)]
pub(crate) struct Records {
    list: Vec<Record>,
    pub(crate) claims: Vec<ClaimRecord>,
    /// Their JSON, with links below the base URL of the first request.
    json: OnceLock<(String, Bytes)>,
}

impl Records {
    pub(super) fn new(found: sql::Records) -> Self {
        let sql::Records { records: list, claims } = found;
        Self { list, claims, json: OnceLock::new() }
    }

    /// True if neither a record nor a claim has the build-id.
    pub(crate) fn is_absent(&self) -> bool {
        self.list.is_empty() && self.claims.is_empty()
    }

    /// The number of records and claims.
    pub(super) fn count(&self) -> usize {
        self.list.len() + self.claims.len()
    }

    /// Returns their JSON with links below `base`. It is cached for the base of the first request; without records
    /// there are no links, and one JSON for all.
    pub(crate) fn json(&self, base: &str, write: impl Fn() -> Bytes) -> Bytes {
        let (cached_base, json) = self.json.get_or_init(|| (base.to_owned(), write()));
        if cached_base == base || self.is_absent() { json.clone() } else { write() }
    }
}

impl Deref for Records {
    type Target = [Record];

    fn deref(&self) -> &[Record] {
        &self.list
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;
    use std::sync::Arc;

    use artifact::{Artifact, BuildId, Format, Identity, Kind, Package};
    use sql::StoredPackage;

    use super::*;

    fn record() -> Record {
        let nevra = "p-1-1.x86_64".parse().unwrap();
        let package = Package {
            nevra,
            source_rpm: None,
            identity: Identity::from_bytes([0; 32]),
            built_at: None,
            format: Format::Rpm,
        };
        let stored = StoredPackage { id: 1, package, distro: String::new(), open: false, locations: Vec::new() };
        let build_id = BuildId::from_bytes(&[1]).unwrap();
        let artifact = Artifact {
            ordinal: 0,
            build_id,
            kind: Kind::Executable,
            dwarf: None,
            path: "/usr/bin/p".into(),
            contents: None,
        };
        Record { package: Arc::new(stored), artifact }
    }

    #[test]
    fn json_is_written_once_for_a_base_and_never_used_for_another() {
        let (records, written) =
            (Records::new(sql::Records { records: vec![record()], claims: Vec::new() }), Cell::new(0));
        let json = |base: &'static str| {
            records.json(base, || {
                written.set(written.get() + 1);
                Bytes::from_static(base.as_bytes())
            })
        };
        assert_eq!([json("http://a"), json("http://a"), json("http://b")], ["http://a", "http://a", "http://b"]);
        assert_eq!(written.get(), 2);
        let no_records = Records::default();
        let json = |base| no_records.json(base, || Bytes::from_static(base.as_bytes()));
        assert_eq!([json("http://a"), json("http://b")], ["http://a"; 2], "without records there are no links");
    }
}
