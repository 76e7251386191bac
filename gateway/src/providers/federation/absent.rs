//! What no upstream can have: probes and `darkserver upstream check` ask for it.

use std::hash::{BuildHasher, RandomState};

use clap::ValueEnum;

use crate::config::Service;

/// The kind that an upstream with these kinds is probed for, whatever their order.
pub(crate) fn probed_service(serves: &[Service]) -> Service {
    let served = Service::value_variants().iter().find(|service| serves.contains(service));
    served.copied().unwrap_or(Service::Debuginfo)
}

/// The path below an upstream's URL of what it does not have if it does not have the build-id.
pub(crate) fn absent_path(service: Service, build_id: &str) -> String {
    match service {
        Service::Debuginfo => format!("buildid/{build_id}/debuginfo"),
        Service::Executable => format!("buildid/{build_id}/executable"),
        Service::Source => format!("buildid/{build_id}/source/usr/src/absent.c"),
        Service::Section => format!("buildid/{build_id}/section/.text"),
        // Every version of elfutils' server that has /metadata knows this key; those before 0.195 know no build-ids.
        Service::Metadata => format!("metadata?key=file&value=/{build_id}"),
    }
}

/// A build-id of 20 bytes that no file has.
pub(crate) fn random_build_id() -> String {
    // Every `RandomState` has other keys.
    let word = |number: u64| RandomState::new().hash_one(number);
    format!("{:016x}{:016x}{:08x}", word(0), word(1), word(2) >> 32)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn random_build_ids_have_twenty_bytes_and_differ() {
        let [a, b] = [random_build_id(), random_build_id()];
        assert_ne!(a, b);
        assert_eq!(a.parse::<artifact::BuildId>().unwrap().to_string(), a);
        assert_eq!(a.len(), 40);
    }

    #[test]
    fn the_order_of_kinds_does_not_decide_what_is_probed() {
        for (serves, expected) in [
            ([Service::Metadata, Service::Debuginfo].as_slice(), Service::Debuginfo),
            (&[Service::Section, Service::Source], Service::Source),
            (&[Service::Metadata], Service::Metadata),
        ] {
            assert_eq!(probed_service(serves), expected);
        }
        assert_eq!(absent_path(Service::Metadata, "ab"), "metadata?key=file&value=/ab");
    }
}
