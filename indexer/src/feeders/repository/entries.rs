//! Entries of listings of every format, as they become part of a [`Listing`].

use std::fs::File;
use std::io::{self, BufReader, Seek};
use std::ops::ControlFlow;

use artifact::Format;
use repodata::{ListedPackage, compression};
use sql::Checksum;

use super::claims::PackedBuildIds;
use super::listing::{ListedArchive, Listing};
use super::places::Places;
use crate::pipeline::stop::Stop;

/// Maximum size of an unpacked listing whose size nothing states. Filelists of Fedora have 830 MB.
pub(super) const MAX_OPEN_BYTES: u64 = 16 << 30;

/// A verified listing in a temporary file.
pub(crate) struct ListingFile {
    pub(crate) file: File,
    /// Its name, for messages.
    pub(crate) name: String,
    /// Size of its contents in bytes, if the metadata states it.
    pub(crate) open_size: Option<u64>,
}

impl ListingFile {
    /// Returns the unpacked contents from the start.
    pub(super) fn open(&mut self) -> repodata::Result<Box<dyn io::Read + Send + '_>> {
        let (name, open_size) = (self.name.clone(), self.open_size.unwrap_or(MAX_OPEN_BYTES));
        compression::open(self.packed()?, &name, open_size)
    }

    /// Returns the contents as they are, from the start.
    pub(super) fn packed(&mut self) -> repodata::Result<impl io::Read + Send + '_> {
        self.file.rewind()?;
        Ok(BufReader::with_capacity(256 << 10, &self.file))
    }
}

/// Adds the entries of a listing.
pub(super) struct Entries<'a> {
    pub(super) listing: &'a mut Listing,
    pub(super) places: &'a Places,
    pub(super) format: Format,
    /// With the build-ids that entries name.
    pub(super) with_claims: bool,
    pub(super) stop: &'a Stop,
    /// Number of texts that stand for a build-id and are none.
    pub(super) rubbish: u64,
    /// Maximum number of entries.
    pub(super) max_entries: u64,
    /// True if there are more.
    pub(super) has_too_many: bool,
}

impl Entries<'_> {
    /// Adds an entry, or counts it as refused. Breaks off at the first that is too much.
    pub(super) fn add(&mut self, entry: repodata::Listed) -> ControlFlow<()> {
        if self.listing.entry_count() >= self.max_entries {
            self.has_too_many = true;
            return ControlFlow::Break(());
        }
        match entry {
            repodata::Listed::Package(package) => self.add_package(*package),
            repodata::Listed::Refused(refused) => {
                let place = refused.href.as_ref().and_then(|href| self.places.find(href).ok());
                self.listing.keep_place(place.as_ref());
                self.listing.refuse(refused.name, refused.reason);
            }
        }
        if self.stop.is_set() { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    }

    fn add_package(&mut self, package: ListedPackage) {
        self.rubbish += u64::from(package.rubbish_count);
        let kind = package.checksum.kind().name().to_owned();
        let checksum = Checksum { kind, bytes: package.checksum.bytes().to_vec() };
        let place = match self.places.find(&package.href) {
            Ok(place) => place,
            Err(reason) => {
                self.listing.keep(checksum);
                return self.listing.refuse(package.nevra.nvra(), reason);
            }
        };
        let (build_ids, links) = if self.with_claims { (package.build_ids, package.links) } else { Default::default() };
        self.listing.add(ListedArchive {
            format: self.format,
            nevra: package.nevra,
            source_rpm: package.source_rpm,
            store_id: place.store_id,
            path: place.path,
            relative: place.relative,
            size: package.size,
            header: package.header_range,
            checksum,
            build_ids: PackedBuildIds::new(&build_ids),
            links,
        });
    }
}

#[cfg(test)]
mod tests {
    use std::collections::{HashMap, HashSet};

    use repodata::primary::RefusedPackage;
    use sql::{Repository, Store, Verified};

    use super::super::listing::Wants;
    use super::*;

    #[test]
    fn entries_are_bounded_and_the_first_refused_ones_are_named() {
        let repository = Repository {
            id: 1,
            name: "tested".into(),
            store_id: 1,
            path: String::new(),
            url: None,
            format: Format::Rpm,
            distro: None,
            revision: None,
            metadata_checksum: None,
            verified: Verified::No,
            package_count: None,
            refreshed_at: None,
            attempted_at: None,
            error: None,
            refused_count: 0,
            refused: None,
        };
        let store = Store {
            id: 1,
            name: "store".into(),
            tier: sql::Tier::Mirror,
            base_url: None,
            root: None,
            priority: 0,
            pattern: None,
            distros: sql::Distros::default(),
            absent_statuses: sql::AbsentStatuses::default(),
            redirect_hosts: sql::RedirectHosts::default(),
            allow_private: false,
        };
        let places = Places::new(&store, "", Vec::new(), &[]);
        let wants = Wants { headers: true, payloads: false };
        let mut listing = Listing::new(&repository, wants, HashMap::new(), HashSet::new());
        let mut entries = Entries {
            listing: &mut listing,
            places: &places,
            format: Format::Rpm,
            with_claims: false,
            stop: &Stop::default(),
            rubbish: 0,
            max_entries: 300,
            has_too_many: false,
        };
        let mut refused = || {
            let package = RefusedPackage { name: "a".into(), href: None, reason: "expected a name, found none".into() };
            let flow = entries.add(repodata::Listed::Refused(package));
            (flow.is_continue(), entries.has_too_many)
        };
        for _ in 0..300 {
            assert_eq!(refused(), (true, false));
        }
        assert_eq!(refused(), (false, true));
        assert_eq!((listing.refused.len(), listing.refused_count, listing.entry_count()), (100, 300, 300));
    }
}
