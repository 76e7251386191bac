//! The table `[hooks]` of the configuration file: requests that report builds and archives, and uploads.

use std::num::NonZeroU32;
use std::path::PathBuf;

use bytesize::ByteSize;
use serde::Deserialize;

/// `[hooks]`.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct HooksTable {
    /// The file of bearer tokens, one a line. Without it every hook answers 403.
    pub(crate) token_file: Option<PathBuf>,
    /// Maximum size of a JSON body.
    pub(crate) max_body: ByteSize,
    /// Requests per second that one token may make for long.
    pub(crate) rate: NonZeroU32,
    /// Requests that one token may make at once.
    pub(crate) burst: NonZeroU32,
    /// Names of the stores that take uploads. Each needs a directory of this machine.
    pub(crate) upload_stores: Vec<String>,
    /// Maximum size of an uploaded package.
    pub(crate) max_upload: ByteSize,
    /// Space that uploads leave free in the file system of their store.
    pub(crate) min_free: ByteSize,
}

/// Default of `rate`.
const RATE: NonZeroU32 = NonZeroU32::MIN.saturating_add(19);
/// Default of `burst`.
const BURST: NonZeroU32 = NonZeroU32::MIN.saturating_add(99);

impl Default for HooksTable {
    fn default() -> Self {
        Self {
            token_file: None,
            max_body: ByteSize::kib(64),
            rate: RATE,
            burst: BURST,
            upload_stores: Vec::new(),
            max_upload: ByteSize::gib(2),
            min_free: ByteSize::gib(1),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_key_has_a_default_and_no_other_key_is_accepted() {
        let read = |text: &str| toml::from_str::<HooksTable>(text);
        let table = read("").unwrap();
        assert_eq!((table.max_body, table.max_upload), (ByteSize::kib(64), ByteSize::gib(2)));
        assert_eq!((table.rate.get(), table.burst.get(), table.min_free), (20, 100, ByteSize::gib(1)));
        assert!(table.token_file.is_none() && table.upload_stores.is_empty());
        let table = read("token_file = '/t'\nmax_upload = '1MiB'\nmin_free = 0\nupload_stores = ['a']\nburst = 1");
        let table = table.unwrap();
        assert_eq!((table.max_upload, table.min_free, table.burst.get()), (ByteSize::mib(1), ByteSize(0), 1));
        for wrong in ["rate = 0", "burst = -1", "max_body = 'x'", "tokens = ['secret']"] {
            assert!(read(wrong).is_err(), "{wrong}");
        }
    }
}
