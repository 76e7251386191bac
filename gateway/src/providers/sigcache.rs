//! Koji strips the signatures of files off the packages that it keeps, and has them beside: what stands in
//! `NAME/VERSION/RELEASE/ARCH/NVRA.rpm` has the signature headers of its signed copies in
//! `NAME/VERSION/RELEASE/data/sigcache/KEY/ARCH/NVRA.rpm.sig`. In a store that is a directory of this machine they are
//! found; over HTTP the keys are not listed.

use std::io::{self, Read};

use artifact::header::Header;
use cap_std::ambient_authority;
use cap_std::fs::{Dir, OpenOptions, OpenOptionsExt};
use rustix::fs::OFlags;
use sql::Location;

/// A package is signed with a key or two; more are not tried.
const MOST_KEYS: usize = 16;
/// The start of a signature header, as rpm expects it.
const MOST_BYTES: u64 = (64 << 20) + 1024;

/// Gives the files of a package that was read at `location` the signatures that are stored beside it, unless it has its
/// own.
pub(crate) fn complete(header: &mut Header, location: &Location) {
    if header.has_file_signatures() {
        return;
    }
    let mut parts = location.path.trim_start_matches('/').rsplitn(3, '/');
    let (Some(file), Some(arch), Some(build), Some(root)) =
        (parts.next(), parts.next(), parts.next(), &location.store.root)
    else {
        return;
    };
    let keys = Dir::open_ambient_dir(root, ambient_authority())
        .and_then(|root| root.open_dir(format!("{build}/data/sigcache")));
    // Nearly no store is laid out so.
    let Ok(keys) = keys else { return };
    let names =
        keys.entries().into_iter().flatten().take(MOST_KEYS).filter_map(|key| key.ok()?.file_name().into_string().ok());
    let mut names: Vec<String> = names.collect();
    names.sort();
    for key in names {
        let taken = read(&keys, &format!("{key}/{arch}/{file}.sig")).map(|bytes| header.set_file_signatures(&bytes));
        match taken {
            Ok(Ok(true)) => return,
            Ok(Ok(false)) => {}
            Ok(Err(error)) => {
                tracing::warn!(store = location.store.name, file, key, %error, "not a signature header of this package")
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => {
                tracing::warn!(store = location.store.name, file, key, %error, "a signature header could not be read")
            }
        }
    }
}

fn read(keys: &Dir, path: &str) -> io::Result<Vec<u8>> {
    // A pipe in the place of a file must not be waited for.
    let mut options = OpenOptions::new();
    options.read(true).custom_flags(OFlags::NONBLOCK.bits().cast_signed());
    let mut bytes = Vec::new();
    keys.open_with(path, &options)?.take(MOST_BYTES).read_to_end(&mut bytes)?;
    Ok(bytes)
}
