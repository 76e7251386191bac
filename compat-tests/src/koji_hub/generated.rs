//! Many builds at little cost: copies of one template in which a number is replaced.

use std::collections::BTreeMap;
use std::fs;
use std::ops::RangeInclusive;

use sha2::{Digest, Sha256};

use super::changes::hex;
use super::state::{COMPLETE, Rpm};
use super::{KojiHub, rpm_file, tree};
use crate::rpmbuild;

/// Stands for the number of a build in the template: in names, versions of provides, and build-ids.
const PLACEHOLDER: &str = "7777777";
/// The name of the template's source package.
const NAME: &str = "generated-7777777";

impl KojiHub {
    /// Adds `count` complete builds `generated-NUMBER-1.0-1`, each of a package with one program and its -debuginfo.
    /// Their headers are whole and have digests of their own; their payloads are those of the template. Returns their
    /// ids.
    ///
    /// # Panics
    /// If there are more than ten million.
    pub fn add_generated_builds(&self, count: u32) -> RangeInclusive<i64> {
        assert!(count > 0 && count < 7_777_777, "a number of builds");
        let directory = tempfile::tempdir().expect("a temporary directory");
        // 33 digits that stay, and the number: a build-id of 20 bytes.
        let build_id = format!("{}{PLACEHOLDER}", &rpmbuild::build_id()[..33]);
        let program = rpmbuild::program(0, &rpmbuild::build_id());
        let debuginfo = format!("{NAME}-debuginfo");
        let (member, debug) = (format!("/usr/bin/{NAME}"), format!("/usr/lib/debug/usr/bin/{NAME}.debug"));
        let (link, debug_link) = (rpmbuild::link(&build_id, ""), rpmbuild::link(&build_id, "debug/"));
        let (target, debug_target) = (format!("../../../..{member}"), format!("../../usr/bin/{NAME}.debug"));
        let main = [(member.as_str(), program.as_slice()), (&link, target.as_bytes())];
        let debug = [(debug.as_str(), program.as_slice()), (&debug_link, debug_target.as_bytes())];
        rpmbuild::build(directory.path(), NAME, "1.0", "1", &[(NAME, &main), (&debuginfo, &debug)]);
        let templates = [NAME, &debuginfo].map(|name| {
            let file = directory.path().join(format!("{name}-1.0-1.x86_64.rpm"));
            let facts = rpm_file::read(&[&file]).remove(0);
            (facts, fs::read(file).expect("an RPM"))
        });
        let state = &mut *self.state();
        let first = state.builds.keys().next_back().copied().unwrap_or_default();
        // Numbers go on where an earlier call ended.
        let before = state.builds.values().filter(|build| build.name.starts_with("generated-")).count() as u32;
        let mut ids = Vec::new();
        for number in before..before + count {
            let digits = format!("{number:07}");
            let id = state.add(&NAME.replace(PLACEHOLDER, &digits), "1.0", "1", None);
            for (facts, template) in &templates {
                let bytes = instance(template, &digits);
                let rpm = Rpm {
                    id: state.new_rpm_id(),
                    build: id,
                    name: facts.name.replace(PLACEHOLDER, &digits),
                    version: facts.version.clone(),
                    release: facts.release.clone(),
                    epoch: None,
                    arch: facts.arch.clone(),
                    size: Some(bytes.len() as i64),
                    payload_hash: hex(&Sha256::digest(&bytes))[..32].to_owned(),
                    built_at: facts.built_at,
                    is_metadata_only: false,
                    external_repo: 0,
                    signatures: BTreeMap::new(),
                };
                let path = self.file(&tree::plain(state.build(id), &rpm));
                fs::create_dir_all(path.parent().expect("a directory")).expect("make directories");
                fs::write(path, bytes).expect("write an RPM");
                state.build_mut(id).rpms.push(rpm.id);
                state.rpms.insert(rpm.id, rpm);
            }
            let now = state.now();
            let build = state.build_mut(id);
            (build.state, build.completed_at) = (COMPLETE, Some(now));
            ids.push(id);
        }
        debug_assert!(ids.first().is_some_and(|id| *id > first), "ids grow");
        ids[0]..=ids[ids.len() - 1]
    }
}

/// The template with this number: lead, a signature header that has the digest of the main header, main header,
/// payload.
fn instance(template: &[u8], digits: &str) -> Vec<u8> {
    const LEAD: usize = 96;
    let number = |at: usize| u32::from_be_bytes(template[at..at + 4].try_into().expect("four bytes")) as usize;
    let end = |start: usize| start + 16 + 16 * number(start + 8) + number(start + 12);
    let main = end(LEAD).next_multiple_of(8);
    let payload = end(main);
    let main = replace(&template[main..payload], digits);
    let payload = &template[payload..];
    let mut bytes = replace(&template[..LEAD], digits);
    bytes.extend(signature_header(&main, payload.len()));
    bytes.resize(bytes.len().next_multiple_of(8), 0);
    bytes.extend(main);
    bytes.extend(payload);
    bytes
}

fn replace(bytes: &[u8], digits: &str) -> Vec<u8> {
    let mut replaced = bytes.to_vec();
    let mut at = 0;
    while let Some(found) = replaced[at..].windows(PLACEHOLDER.len()).position(|part| part == PLACEHOLDER.as_bytes()) {
        at += found;
        replaced[at..at + digits.len()].copy_from_slice(digits.as_bytes());
        at += digits.len();
    }
    replaced
}

/// A signature header with the main header's SHA-256 and the size of main header and payload.
fn signature_header(main: &[u8], payload: usize) -> Vec<u8> {
    const REGION: u32 = 62;
    let mut data = format!("{}\0", hex(&Sha256::digest(main))).into_bytes();
    data.resize(data.len().next_multiple_of(4), 0);
    let size_at = data.len() as u32;
    data.extend(((main.len() + payload) as u32).to_be_bytes());
    let region_at = data.len() as u32;
    data.extend([REGION, 7, (3_u32 * 16).wrapping_neg(), 16].into_iter().flat_map(u32::to_be_bytes));
    let mut bytes = vec![0x8e, 0xad, 0xe8, 1, 0, 0, 0, 0];
    // Region, SHA256HEADER as a string, and the size as an INT32: tag, type, offset, count.
    let entries = [REGION, 7, region_at, 16, 273, 6, 0, 1, 1000, 4, size_at, 1];
    bytes.extend([3, data.len() as u32].into_iter().chain(entries).flat_map(u32::to_be_bytes));
    bytes.extend(data);
    bytes
}
