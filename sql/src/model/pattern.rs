//! Places that follow from a rule: the pattern of a store, and the distributions that it is valid for.

use std::fmt;
use std::str::FromStr;

use artifact::Nevra;

use crate::read::glob::Glob;
use crate::{Error, Result};

/// A template of the paths of packages below a store, like
/// `{volume}packages/{name}/{version}/{release}/{signed}{arch}/{nvra}.rpm`:
///
/// - `{name}`, `{version}`, `{release}` are those of the source package;
/// - `{arch}` and `{nvra}` are those of the package;
/// - `{volume}` is `vol/VOLUME/` if the package is on a Koji volume other than the default one, else nothing;
/// - `{signed}` is `data/signed/KEY/` with the last 8 hex digits of the signing key, in lowercase.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PlacePattern {
    text: String,
    parts: Vec<Part>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Part {
    Literal(String),
    Name,
    Version,
    Release,
    Arch,
    Nvra,
    Volume,
    Signed,
}

/// The volume whose packages are not below `vol/`.
const DEFAULT_VOLUME: &str = "DEFAULT";
/// Number of hex digits of a key in Koji's paths.
const KEY_DIGITS: usize = 8;

impl PlacePattern {
    /// Maximum length of the text in the database.
    pub(crate) const MAX_CHARS: usize = 2048;

    /// Returns the path of a package. `None` if the pattern needs a value that is unknown, or that is no component of a
    /// path.
    pub fn path(
        &self,
        nevra: &Nevra,
        source_rpm: Option<&str>,
        koji_volume: Option<&str>,
        signing_key: Option<&str>,
    ) -> Option<String> {
        let is_source = matches!(nevra.arch.as_str(), "src" | "nosrc");
        let source = if is_source { Some(nevra.clone()) } else { source_rpm.and_then(|name| name.parse().ok()) };
        let mut path = String::new();
        for part in &self.parts {
            match part {
                Part::Literal(text) => path.push_str(text),
                Part::Name => path.push_str(component(&source.as_ref()?.name)?),
                Part::Version => path.push_str(component(&source.as_ref()?.version)?),
                Part::Release => path.push_str(component(&source.as_ref()?.release)?),
                Part::Arch => path.push_str(component(&nevra.arch)?),
                Part::Nvra => path.push_str(component(&nevra.nvra())?),
                Part::Volume => {
                    if let Some(volume) = koji_volume.filter(|volume| *volume != DEFAULT_VOLUME) {
                        path.push_str(&format!("vol/{}/", component(volume)?));
                    }
                }
                Part::Signed => path.push_str(&format!("data/signed/{}/", key_digits(signing_key?)?)),
            }
        }
        Some(path)
    }
}

/// Returns a value that is a component of a path.
fn component(value: &str) -> Option<&str> {
    let is_component = !matches!(value, "" | "." | "..") && !value.contains(|c: char| c == '/' || c.is_control());
    is_component.then_some(value)
}

/// Returns the last digits of a key id, in lowercase.
fn key_digits(key: &str) -> Option<String> {
    let digits = key.get(key.len().checked_sub(KEY_DIGITS)?..)?;
    digits.bytes().all(|byte| byte.is_ascii_hexdigit()).then(|| digits.to_ascii_lowercase())
}

impl fmt::Display for PlacePattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl FromStr for PlacePattern {
    type Err = Error;

    /// Reads a relative path with words in braces.
    fn from_str(text: &str) -> Result<Self> {
        let refused = || Error::Value {
            what: "pattern of a store",
            expected: "a relative path to a file, with no words in braces but {volume}, {name}, {version}, {release}, \
                       {signed}, {arch} and {nvra}",
            found: text.chars().take(200).collect(),
        };
        let is_path = !text.is_empty()
            && text.len() <= Self::MAX_CHARS
            && !text.starts_with('/')
            && !text.ends_with(['/', ' '])
            && !text.chars().any(char::is_control)
            && text.split('/').all(|part| !matches!(part, "" | "." | ".."));
        if !is_path {
            return Err(refused());
        }
        let mut parts = Vec::new();
        let mut rest = text;
        while let Some((literal, behind)) = rest.split_once('{') {
            let (word, behind) = behind.split_once('}').ok_or_else(refused)?;
            push_literal(&mut parts, literal).ok_or_else(refused)?;
            parts.push(match word {
                "name" => Part::Name,
                "version" => Part::Version,
                "release" => Part::Release,
                "arch" => Part::Arch,
                "nvra" => Part::Nvra,
                "volume" => Part::Volume,
                "signed" => Part::Signed,
                _ => return Err(refused()),
            });
            rest = behind;
        }
        push_literal(&mut parts, rest).ok_or_else(refused)?;
        // These two end with a slash.
        let names_a_file = !matches!(parts.last(), Some(Part::Volume | Part::Signed));
        if names_a_file { Ok(Self { text: text.to_owned(), parts }) } else { Err(refused()) }
    }
}

/// Adds literal text. `None` if it has a brace.
fn push_literal(parts: &mut Vec<Part>, text: &str) -> Option<()> {
    if !text.is_empty() {
        parts.push(Part::Literal(text.to_owned()));
    }
    (!text.contains('}')).then_some(())
}

/// Globs of distributions, as in fnmatch(3): `fc*,el9*`. None match nothing.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Distros(Vec<String>);

impl Distros {
    /// Maximum length of the text in the database.
    pub(crate) const MAX_CHARS: usize = 2048;

    /// True if one of the globs matches the distribution.
    pub fn matches(&self, distro: &str) -> bool {
        self.0.iter().any(|glob| Glob::new(glob).matches(distro))
    }

    /// The globs, in the operator's order.
    pub fn as_slice(&self) -> &[String] {
        &self.0
    }
}

impl fmt::Display for Distros {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.join(","))
    }
}

impl FromStr for Distros {
    type Err = Error;

    /// Reads globs separated by commas, without blanks. An empty text has none.
    fn from_str(text: &str) -> Result<Self> {
        if text.is_empty() {
            return Ok(Self::default());
        }
        let is_glob = |glob: &str| !glob.is_empty() && !glob.contains(|c: char| c == '/' || c.is_whitespace());
        if text.len() > Self::MAX_CHARS || !text.split(',').all(is_glob) {
            return Err(Error::Value {
                what: "distros of a store",
                expected: "globs of distributions separated by commas, like fc*,el9*",
                found: text.chars().take(80).collect(),
            });
        }
        Ok(Self(text.split(',').map(str::to_owned).collect()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const KOJI: &str = "{volume}packages/{name}/{version}/{release}/{arch}/{nvra}.rpm";
    const SIGNED: &str = "packages/{name}/{version}/{release}/{signed}{arch}/{nvra}.rpm";

    fn path(pattern: &str, nevra: &str, source: Option<&str>, volume: Option<&str>, key: Option<&str>) -> String {
        let nevra = nevra.parse().unwrap();
        pattern.parse::<PlacePattern>().unwrap().path(&nevra, source, volume, key).unwrap_or_else(|| "none".into())
    }

    #[test]
    fn koji_paths_follow_from_a_pattern() {
        let source = Some("glibc-2.39-2.fc40.src.rpm");
        let nevra = "glibc-devel-2.39-2.fc40.x86_64";
        let plain = "packages/glibc/2.39/2.fc40/x86_64/glibc-devel-2.39-2.fc40.x86_64.rpm";
        assert_eq!(path(KOJI, nevra, source, None, None), plain);
        assert_eq!(path(KOJI, nevra, source, Some("DEFAULT"), None), plain);
        assert_eq!(path(KOJI, nevra, source, Some("koji02"), None), format!("vol/koji02/{plain}"));
        assert_eq!(path(KOJI, nevra, None, None, None), "none", "its source package is unknown");
        assert_eq!(path(KOJI, nevra, source, Some(".."), None), "none");
        assert_eq!(
            path(KOJI, "glibc-2.39-2.fc40.src", None, None, None),
            "packages/glibc/2.39/2.fc40/src/glibc-2.39-2.fc40.src.rpm"
        );
        assert_eq!(
            path(SIGNED, nevra, source, None, Some("0727707EA15B79CC")),
            "packages/glibc/2.39/2.fc40/data/signed/a15b79cc/x86_64/glibc-devel-2.39-2.fc40.x86_64.rpm"
        );
        for key in [None, Some("a15b79c"), Some("../../../x"), Some("ä15b79cc")] {
            let found = path(SIGNED, nevra, source, None, key);
            assert!(found == "none" || found.contains("/15b79cc/"), "{key:?}: {found}");
        }
    }

    #[test]
    fn invalid_patterns_are_refused() {
        for pattern in [KOJI, SIGNED, "{nvra}.rpm", "a+b/{nvra}"] {
            assert_eq!(pattern.parse::<PlacePattern>().unwrap().to_string(), pattern);
        }
        for bad in [
            "",
            "/packages/{nvra}.rpm",
            "../{nvra}.rpm",
            "a/../{nvra}",
            "a//{nvra}",
            "{nvra}/",
            "{key}/{nvra}",
            "{nvra",
            "nvra}",
            "{}",
            "{{nvra}}",
            "a/{signed}",
            "{nvra}\n",
        ] {
            let message = bad.parse::<PlacePattern>().unwrap_err().to_string();
            assert!(message.starts_with("pattern of a store: expected a relative path"), "{bad}: {message}");
        }
    }

    #[test]
    fn distros_are_globs_separated_by_commas() {
        let distros: Distros = "fc*,el9*".parse().unwrap();
        for (distro, is_one) in [("fc44", true), ("el9_4", true), ("el8", false), ("", false), ("xfc44", false)] {
            assert_eq!(distros.matches(distro), is_one, "{distro}");
        }
        assert_eq!(distros.to_string(), "fc*,el9*");
        assert!(!"".parse::<Distros>().unwrap().matches(""), "none match nothing");
        for bad in [",", "fc*,", "fc40, fc41", "a/b"] {
            assert!(bad.parse::<Distros>().is_err(), "{bad}");
        }
    }
}
