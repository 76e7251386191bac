//! What the metadata of a package claims: its build-ids, with the links that name them.

use std::collections::HashMap;
use std::iter;

use artifact::{BuildId, Kind};
use repodata::ListedLink;
use sql::Claim;

/// Build-ids in one block of memory: a listing states a million of them, which are held until its end.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct PackedBuildIds(
    /// Each with its length in front of it.
    Box<[u8]>,
);

impl PackedBuildIds {
    /// Packs build-ids.
    pub(super) fn new(build_ids: &[BuildId]) -> Self {
        let pack = |build_id: &BuildId| {
            let bytes = build_id.as_bytes().to_vec();
            iter::once(bytes.len() as u8).chain(bytes)
        };
        Self(build_ids.iter().flat_map(pack).collect())
    }

    /// Returns the build-ids in the same order.
    pub(super) fn iter(&self) -> impl Iterator<Item = BuildId> + '_ {
        let mut rest = &*self.0;
        iter::from_fn(move || {
            let (length, behind) = rest.split_first()?;
            let (bytes, behind) = behind.split_at_checked(usize::from(*length))?;
            rest = behind;
            BuildId::from_bytes(bytes).ok()
        })
    }
}

/// Returns what a package claims: the build-ids of its debug files, and those of links. One that both name gets the
/// path of its first link.
pub(crate) fn merge(build_ids: &PackedBuildIds, links: Vec<ListedLink>) -> Vec<Claim> {
    let debuginfo = |build_id| Claim { build_id, kind: Kind::Debuginfo, link_path: None };
    let mut claims: Vec<Claim> = build_ids.iter().map(debuginfo).collect();
    let mut at: HashMap<BuildId, usize> =
        claims.iter().enumerate().map(|(at, claim)| (claim.build_id.clone(), at)).collect();
    for ListedLink { build_id, kind, path } in links {
        let claim = at.get(&build_id).and_then(|at| claims.get_mut(*at));
        let Some(claim) = claim else {
            at.insert(build_id.clone(), claims.len());
            claims.push(Claim { build_id, kind, link_path: Some(path) });
            continue;
        };
        claim.link_path.get_or_insert(path);
        if claim.kind != kind {
            // A program and its debug file in one package, as some hand-made ones are.
            claim.kind = Kind::Both;
        }
    }
    claims
}

#[cfg(test)]
mod tests {
    use super::*;

    fn build_id(byte: u8, length: usize) -> BuildId {
        BuildId::from_bytes(&vec![byte; length]).unwrap()
    }

    #[test]
    fn build_ids_of_every_length_are_unpacked_as_they_were() {
        let build_ids: Vec<BuildId> = (1..=BuildId::MAX_BYTES).map(|length| build_id(7, length)).collect();
        assert_eq!(PackedBuildIds::new(&build_ids).iter().collect::<Vec<_>>(), build_ids);
        assert_eq!(PackedBuildIds::default().iter().count(), 0);
    }

    #[test]
    fn links_add_paths_and_other_build_ids() {
        let [debug, program, both] = [1, 2, 3].map(|byte| build_id(byte, 20));
        let link =
            |build_id: &BuildId, kind, path: &str| ListedLink { build_id: build_id.clone(), kind, path: path.into() };
        let links = vec![
            link(&program, Kind::Executable, "/p"),
            link(&debug, Kind::Debuginfo, "/d"),
            link(&debug, Kind::Debuginfo, "/d.1"),
            link(&both, Kind::Executable, "/b"),
        ];
        let claim = |build_id: &BuildId, kind, path: &str| Claim {
            build_id: build_id.clone(),
            kind,
            link_path: Some(path.into()),
        };
        assert_eq!(
            merge(&PackedBuildIds::new(&[debug.clone(), both.clone()]), links),
            [
                claim(&debug, Kind::Debuginfo, "/d"),
                claim(&both, Kind::Both, "/b"),
                claim(&program, Kind::Executable, "/p"),
            ]
        );
    }
}
