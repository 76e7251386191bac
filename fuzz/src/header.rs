//! Lead, signature header and main header of an RPM, and the artifacts that they tell of.

use std::io::Cursor;

use artifact::artifacts::{self, HeaderArtifacts};
use artifact::header::{self, Extent, File, Header, Outline, PREFIX_BYTES};
use artifact::{Error, Result};
use sha2::{Digest, Sha256};

/// Reading from memory, from a stream and without copies agree, nothing beyond the header counts, and what a header
/// says hangs together.
pub fn check(input: &[u8]) {
    two_steps_tell_the_extent(input);
    read_ahead(input);
    let mut stream = Cursor::new(input);
    let streamed = Header::read(&mut stream);
    let header = match (Header::parse(input), streamed) {
        (Ok(header), Ok(streamed)) => {
            assert_eq!(stream.position(), header.range.end);
            is_same(&header, &streamed);
            header
        }
        (Err(Error::HeaderDigest { .. }), Err(Error::HeaderDigest { .. })) => match parse(&mut input.to_vec()) {
            Ok(header) => header,
            Err(error) => return super::is_short(&error),
        },
        (Err(error), Err(_)) => return super::is_short(&error),
        (parsed, streamed) => {
            panic!(
                "in memory {:?}, streamed {:?}",
                parsed.map(|header| header.range),
                streamed.map(|header| header.range)
            )
        }
    };
    let end = usize::try_from(header.range.end).unwrap_or(usize::MAX);
    assert!(end <= input.len() && header.range.start < header.range.end, "{:?} of {}", header.range, input.len());
    let mut exact = input[..end].to_vec();
    match parse(&mut exact) {
        Ok(again) => is_same(&header, &again),
        Err(error) => panic!("without the payload: {error}"),
    }
    assert!(Header::parse(&exact[..end - 1]).is_err());
    // A directory is written once, and unfolded for each of its files.
    const MAX_PATH_BYTES: usize = 64;
    let path_bytes: usize = header.files.iter().map(|file| file.path.len()).sum();
    assert!(path_bytes <= MAX_PATH_BYTES * end, "{path_bytes} bytes of paths out of {end}");
    let main = &exact[usize::try_from(header.range.start).unwrap_or(usize::MAX)..];
    assert_eq!(header.package.identity.as_bytes()[..], Sha256::digest(main)[..]);
    let found = artifacts::from_header(&header);
    is_sound(&header, &found);
    match Outline::from_bytes(&exact) {
        Ok(outline) => {
            assert_eq!(artifacts::from_outline(&outline), found);
            match outline.into_header() {
                Ok(again) => is_same(&header, &again),
                Err(error) => panic!("an outline without a header: {error}"),
            }
        }
        Err(error) => panic!("a header without an outline: {error}"),
    }
}

/// Reading ahead accepts and refuses what reading to the byte does, also with a buffer that was used before.
fn read_ahead(input: &[u8]) {
    let mut buffer = vec![0xff; 100];
    let ahead = header::read_ahead(&mut &*input, &mut buffer)
        .and_then(Outline::from_bytes)
        .map(|outline| outline.package.identity);
    match (ahead, Header::read(&mut &*input)) {
        (Ok(identity), Ok(header)) => assert_eq!(identity, header.package.identity),
        (Err(error), Err(exact)) => assert_eq!(error.to_string(), exact.to_string()),
        (ahead, exact) => panic!("read ahead {ahead:?}, to the byte {:?}", exact.map(|header| header.package.identity)),
    }
}

/// The header that `bytes` begin with. A changed header never has the digest that its signature header names, so that
/// is put right first: what lies behind that check is to be reached.
pub fn parse(bytes: &mut [u8]) -> Result<Header> {
    let parsed = Header::parse(bytes);
    let Err(Error::HeaderDigest { expected, found, .. }) = &parsed else { return parsed };
    let place = bytes.windows(found.len()).position(|window| window == expected.as_bytes());
    let Some(place) = place else { return parsed };
    bytes[place..place + found.len()].copy_from_slice(found.as_bytes());
    Header::parse(bytes)
}

/// "Two steps always suffice."
fn two_steps_tell_the_extent(input: &[u8]) {
    let Some(prefix) = input.get(..PREFIX_BYTES) else {
        assert!(Extent::from_prefix(input).is_err());
        return;
    };
    if let Ok(Err(need)) = Extent::from_prefix(prefix) {
        assert!(need > PREFIX_BYTES);
        let second = input.get(..need).map(Extent::from_prefix);
        assert!(!matches!(second, Some(Ok(Err(_)))), "a third step after {need} bytes");
    }
}

fn is_same(one: &Header, other: &Header) {
    let rest = |header: &Header| (header.range.clone(), header.compressor.clone(), header.signing_key.clone());
    assert_eq!(one.package, other.package);
    assert_eq!(rest(one), rest(other));
    assert!(one.files.iter().map(fields).eq(other.files.iter().map(fields)));
}

fn fields(file: &File) -> impl PartialEq {
    let File { path, mode, flags, size, mtime, inode, digest, link_target, class, signature } = file;
    (
        path.clone(),
        *mode,
        *flags,
        *size,
        *mtime,
        *inode,
        digest.clone(),
        link_target.clone(),
        class.clone(),
        signature.clone(),
    )
}

/// A package that can be named, files with absolute paths, and artifacts that are files.
pub fn is_sound(header: &Header, found: &HeaderArtifacts) {
    let nevra = &header.package.nevra;
    for part in [&nevra.name, &nevra.version, &nevra.release, &nevra.arch] {
        assert!(!part.is_empty() && !part.contains(|c: char| c == '/' || c.is_control()), "{nevra:?}");
    }
    for file in &header.files {
        assert!(file.path.starts_with('/') && !file.path.starts_with("//"), "{:?}", file.path);
    }
    let regular = |ordinal: u32| header.file_by_ordinal(ordinal).filter(|file| file.is_regular());
    for artifact in &found.artifacts {
        let file = regular(artifact.ordinal);
        assert!(file.is_some_and(|file| file.path == artifact.path), "{artifact:?}");
    }
    assert!(found.artifacts.is_sorted_by(|one, next| one < next), "{:?}", found.artifacts);
    assert!(found.open.is_sorted_by(|one, next| one < next), "{:?}", found.open);
    assert!(found.open.iter().all(|ordinal| regular(*ordinal).is_some()), "{:?}", found.open);
    // Nothing scanned: what the header says of open files is not believed.
    let open = found.open.clone();
    let complete = found.clone().complete(Vec::new());
    assert!(complete.iter().all(|artifact| !open.contains(&artifact.ordinal)));
}
