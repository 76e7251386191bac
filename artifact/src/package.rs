//! A package and the artifacts inside it: what the index stores.

use serde::Serialize;

use crate::{BuildId, Identity, Nevra};

/// One RPM.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Package {
    /// Name, epoch, version, release, arch.
    pub nevra: Nevra,
    /// File name of the source RPM (`NAME-VERSION-RELEASE.src.rpm`, no epoch). `None` for source packages themselves and for
    /// debuginfo packages of rpm 4.20.0 alpha, which lacked it.
    pub source_rpm: Option<String>,
    /// SHA-256 of the main header.
    pub identity: Identity,
    /// When it was built, seconds since 1970.
    pub built_at: Option<i64>,
}

impl Package {
    /// The distribution that the release names: its `.dist` tag (`fc16` of `1.fc16`, `fc23` of `1.fc23.1`, `el7` of
    /// `5.el7_9.2`), or `""` where it names none.
    pub fn dist_tag(&self) -> &str {
        self.nevra
            .release
            .split(['.', '_'])
            .rfind(|part| {
                let digits = part.trim_start_matches(|c: char| c.is_ascii_lowercase());
                digits.len() < part.len() && !digits.is_empty() && digits.starts_with(|c: char| c.is_ascii_digit())
            })
            .unwrap_or("")
    }
}

/// What a file with a build-id is good for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    /// Code and data that run: `/buildid/ID/executable`.
    Executable,
    /// DWARF or a symbol table split off: `/buildid/ID/debuginfo`.
    Debuginfo,
}

impl Kind {
    /// The word in URLs, metrics and logs.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Executable => "executable",
            Self::Debuginfo => "debuginfo",
        }
    }
}

/// A file with a build-id inside a package. A file that is both executable and debuginfo (an unstripped program, vmlinux) makes
/// two artifacts with one ordinal.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Artifact {
    /// The file's number in the header, from 0: a later look at the payload finds the same number, so it refines rows instead of
    /// doubling them.
    pub ordinal: u32,
    /// The build-id.
    pub build_id: BuildId,
    /// What the file is good for.
    pub kind: Kind,
    /// Does it hold DWARF? `None` where nothing said so yet.
    pub dwarf: Option<bool>,
    /// Absolute path of the member, `/usr/bin/hello`.
    pub path: String,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_dist_tag_is_found_also_before_a_suffix() {
        for (release, tag) in [
            ("1.fc16", "fc16"),
            ("1.fc23.1", "fc23"),
            ("5.el7_9.2", "el7"),
            ("4.module+el8", ""),
            ("1", ""),
            ("0.1.rc1.fc40", "fc40"),
            ("lp150.2.1", "lp150"),
        ] {
            let nevra = Nevra { name: "n".into(), epoch: None, version: "1".into(), release: release.into(), arch: "x".into() };
            let package = Package { nevra, source_rpm: None, identity: Identity::from_bytes([0; 32]), built_at: None };
            assert_eq!(package.dist_tag(), tag, "{release}");
        }
    }
}
