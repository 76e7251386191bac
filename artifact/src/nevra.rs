//! Name, epoch, version, release and arch of a package.

use std::cmp::Ordering;
use std::fmt;
use std::str::FromStr;

use rpm_version::Evr;

use crate::{Error, Result};

/// `Name-[epoch:]version-release.arch`. [`fmt::Display`] writes the NVRA, the form without epoch that file names and
/// the darkserver API use.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Nevra {
    /// `bash`
    pub name: String,
    /// `None` where the header has none, which rpm treats like 0.
    pub epoch: Option<u32>,
    /// `4.2.10`
    pub version: String,
    /// `5.fc16`
    pub release: String,
    /// `x86_64`, `noarch`; of a source package `src` or `nosrc`, whatever its header's ARCH says.
    pub arch: String,
}

impl Nevra {
    /// The name of a package from its parts, as a listing has them one by one.
    ///
    /// # Errors
    /// [`Error::Nevra`] where a part is empty, is longer than 255 bytes or has a slash or control character, and where
    /// the printed form would be read otherwise: a `-` or `:` in version or release, a `.` in the arch.
    pub fn from_parts(name: &str, epoch: Option<u32>, version: &str, release: &str, arch: &str) -> Result<Self> {
        let nevra =
            Self { name: name.into(), epoch, version: version.into(), release: release.into(), arch: arch.into() };
        match nevra.nvra().parse::<Self>() {
            Ok(parsed) if (Self { epoch, ..parsed.clone() }) == nevra && parsed.epoch.is_none() => Ok(nevra),
            _ => Err(Error::Nevra { found: nevra.nvra().chars().take(300).collect() }),
        }
    }

    /// Name-version-release.arch, no epoch.
    pub fn nvra(&self) -> String {
        self.to_string()
    }

    /// True if both name the same package. No epoch is the epoch 0, which the metadata of repositories states where a
    /// header has none.
    pub fn is_same_package(&self, other: &Self) -> bool {
        let Self { name, epoch, version, release, arch } = self;
        (name, epoch.unwrap_or(0), version, release, arch)
            == (&other.name, other.epoch.unwrap_or(0), &other.version, &other.release, &other.arch)
    }

    /// Compares epoch, version and release as rpm does (rpm-version(7)): no epoch is 0, `~` sorts before everything and
    /// `^` after the end. Names and arches are not compared.
    pub fn compare_evr(&self, other: &Self) -> Ordering {
        let evr = |nevra: &Self| {
            let epoch = nevra.epoch.unwrap_or(0).to_string();
            Evr::new(epoch, nevra.version.clone(), nevra.release.clone())
        };
        evr(self).cmp(&evr(other))
    }

    /// The distribution that the release names: its `.dist` tag (`fc16` of `1.fc16`, `fc23` of `1.fc23.1`, `el7` of
    /// `5.el7_9.2`), or `""` where it names none.
    pub fn dist_tag(&self) -> &str {
        self.release
            .split(['.', '_'])
            .rfind(|part| {
                let digits = part.trim_start_matches(|c: char| c.is_ascii_lowercase());
                digits.len() < part.len() && !digits.is_empty() && digits.starts_with(|c: char| c.is_ascii_digit())
            })
            .unwrap_or("")
    }
}

impl fmt::Display for Nevra {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { name, version, release, arch, .. } = self;
        write!(f, "{name}-{version}-{release}.{arch}")
    }
}

impl FromStr for Nevra {
    type Err = Error;

    /// Reads `NAME-[EPOCH:]VERSION-RELEASE.ARCH`, with or without a final `.rpm`. What is read, printed and read again
    /// is the same but for the epoch: a version with a colon and an arch `rpm` are refused, because the printed form
    /// would be read otherwise.
    fn from_str(text: &str) -> Result<Self> {
        let refuse = || Error::Nevra { found: text.chars().take(300).collect() };
        let rest = text.strip_suffix(".rpm").unwrap_or(text);
        let (rest, arch) = rest.rsplit_once('.').ok_or_else(refuse)?;
        let (rest, release) = rest.rsplit_once('-').ok_or_else(refuse)?;
        let (name, version) = rest.rsplit_once('-').ok_or_else(refuse)?;
        let (epoch, version) = match version.split_once(':') {
            // u32 alone would take a sign.
            Some((epoch, version)) if epoch.bytes().all(|byte| byte.is_ascii_digit()) => {
                (Some(epoch.parse().map_err(|_| refuse())?), version)
            }
            Some(_) => return Err(refuse()),
            None => (None, version),
        };
        if ![name, version, release, arch].into_iter().all(is_plain) || version.contains(':') || arch == "rpm" {
            return Err(refuse());
        }
        Ok(Self { name: name.into(), epoch, version: version.into(), release: release.into(), arch: arch.into() })
    }
}

/// The most bytes of a part of a package's name.
pub(crate) const MAX_PART_BYTES: usize = 255;

/// Can this be a part of a package's name? It ends up in URLs and file names, so it is neither empty nor with a slash
/// or control character.
pub(crate) fn is_plain(part: &str) -> bool {
    (1..=MAX_PART_BYTES).contains(&part.len()) && !part.contains(|c: char| c == '/' || c.is_control())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn real_names_are_read_and_written_back() {
        for nvra in [
            "libstdc++-4.6.2-1.fc16.x86_64",
            "java-1.7.0-openjdk-1.7.0.3-2.1.fc17.8.i686",
            "kernel-debuginfo-common-x86_64-6.9.6-200.fc40.x86_64",
        ] {
            assert_eq!(nvra.parse::<Nevra>().unwrap().to_string(), nvra);
            assert_eq!(format!("{nvra}.rpm").parse::<Nevra>().unwrap().nvra(), nvra);
        }
        let nevra: Nevra = "bidtest-3:1.2~rc1-4.fc99.x86_64".parse().unwrap();
        assert_eq!((nevra.epoch, nevra.version.as_str()), (Some(3), "1.2~rc1"));
    }

    #[test]
    fn parts_make_the_nevra_that_their_text_is_read_as() {
        let nevra = Nevra::from_parts("bidtest", Some(3), "1.2~rc1", "4.fc99", "x86_64").unwrap();
        assert_eq!("bidtest-3:1.2~rc1-4.fc99.x86_64".parse::<Nevra>().unwrap(), nevra);
        for (name, version, release, arch) in [
            ("", "1", "1", "noarch"),
            ("a", "1-2", "1", "noarch"),
            ("a", "1", "2-1", "noarch"),
            ("a", "1", "1", "x.y"),
            ("a", "3:1", "1", "noarch"),
            ("a/b", "1", "1", "noarch"),
            ("a", "1", "1", "rpm"),
        ] {
            assert!(
                Nevra::from_parts(name, None, version, release, arch).is_err(),
                "{name} {version} {release} {arch}"
            );
        }
    }

    #[test]
    fn versions_are_compared_as_rpm_compares_them() {
        // As in rpm's own tests (tests/rpmvercmp.at).
        for (lower, higher) in [
            ("p-1.1-5.x", "p-1.1-6.x"),
            ("p-1.1-9.x", "p-1.1-10.x"),
            ("p-1.1-5.fc9.x", "p-1.1-5.fc10.x"),
            ("p-9-9.x", "p-1:1-1.x"),
            ("p-1.0~rc1-1.x", "p-1.0-1.x"),
            ("p-1.0~rc1-1.x", "p-1.0~rc2-1.x"),
            ("p-1.0~rc1~git123-1.x", "p-1.0~rc1-1.x"),
            ("p-1.0-1.x", "p-1.0^-1.x"),
            ("p-1.0^git1-1.x", "p-1.01-1.x"),
            ("p-1.0~rc1-1.x", "p-1.0~rc1^git1-1.x"),
            ("p-1.0a-1.x", "p-1.0.1-1.x"),
            ("p-2.50-1.x", "p-2.51-1.x"),
            ("p-xyz.4-1.x", "p-8-1.x"),
            ("p-20101121-1.x", "p-20101122-1.x"),
        ] {
            let [low, high]: [Nevra; 2] = [lower, higher].map(|nevra| nevra.parse().unwrap());
            assert_eq!(low.compare_evr(&high), Ordering::Less, "{lower} {higher}");
            assert_eq!(high.compare_evr(&low), Ordering::Greater, "{higher} {lower}");
        }
        for (one, other) in [("p-1-1.x", "q-0:1-1.y"), ("p-2_0-1.x", "p-2.0-1.x"), ("p-1.05-1.x", "p-1.5-1.x")] {
            let [a, b]: [Nevra; 2] = [one, other].map(|nevra| nevra.parse().unwrap());
            assert_eq!(a.compare_evr(&b), Ordering::Equal, "{one} {other}");
        }
    }

    #[test]
    fn invalid_nevras_are_refused() {
        for bad in [
            "",
            "bash",
            "bash-1.x86_64",
            "-1-1.x86_64",
            "bash-x:1-1.x86_64",
            "bash-+1:1-1.x86_64",
            "bash-1:2:3-1.x86_64",
            "bash-1-1.rpm.rpm",
            "../bash-1-1.x86_64",
            "bash-1-1.x86_64\n",
            &format!("{}-1-1.x86_64", "b".repeat(256)),
        ] {
            assert!(bad.parse::<Nevra>().is_err(), "{bad}");
        }
    }
}
