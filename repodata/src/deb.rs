//! Debian repositories: `Release` or `InRelease`, and `Packages` (deb-control(5), Debian's wiki,
//! DebianRepository/Format).

use std::collections::{BTreeMap, HashMap};
use std::io::Read;
use std::ops::ControlFlow;

use artifact::formats::{debian_source, nevra_from_version};

use crate::checksum::Kind;
use crate::error::shown;
use crate::lines::Lines;
use crate::listed::{Listed, ListedPackage, ListingSummary, MAX_BUILD_IDS, build_id};
use crate::{Checksum, Error, Href, Result};

/// The maximum number of index files. Debian's own has 4,000.
const MAX_INDEX_FILES: usize = 100_000;

/// A `Release` file: what signs a distribution.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Release {
    /// `stable`
    pub suite: Option<String>,
    /// `bookworm`
    pub codename: Option<String>,
    /// When it was made, as it is written (RFC 5322, in UTC).
    pub date: Option<String>,
    /// Until when it may be used, likewise.
    pub valid_until: Option<String>,
    /// True if index files can be had by their checksums, at `by-hash/SHA256/HEX` beside them.
    pub has_by_hash: bool,
    /// The index files, sorted by path.
    pub files: Vec<IndexFile>,
}

/// An index file of a distribution.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IndexFile {
    /// Relative to the `Release` file: `main/binary-amd64/Packages.xz`.
    pub path: String,
    /// Bytes.
    pub size: u64,
    /// Its checksums, the best kind first.
    pub checksums: Vec<Checksum>,
}

impl Release {
    /// Reads a `Release`, or the text of an `InRelease` ([`split_clearsigned`]).
    ///
    /// # Errors
    /// [`Error::Document`] where a line is no field, a checksum is none of its kind, two kinds state other sizes of a
    /// file, or no index file is named.
    pub fn parse(text: &str) -> Result<Self> {
        let mut release = Self::default();
        let mut field = String::new();
        let mut lines = Lines::new("Release", text.as_bytes());
        let mut files: BTreeMap<String, IndexFile> = BTreeMap::new();
        while let Some(line) = lines.next()? {
            let line = String::from_utf8_lossy(line).into_owned();
            if line.trim().is_empty() {
                continue;
            }
            if line.starts_with([' ', '\t']) {
                let Some(kind) = kind_of_field(&field) else { continue };
                let mut words = line.split_whitespace();
                let (digits, size, path) = (words.next(), words.next(), words.next());
                let checksum = digits.map(|digits| Checksum::from_hex(kind, digits));
                let size = size.and_then(|size| size.parse::<u64>().ok());
                let (Some(Ok(checksum)), Some(size), Some(path)) = (checksum, size, path) else {
                    return lines.refuse(format!("{kind}, size and path of a file"), format!("{:?}", shown(&line)));
                };
                let empty = || IndexFile { path: path.into(), size, checksums: Vec::new() };
                let file = files.entry(path.into()).or_insert_with(empty);
                if file.size != size {
                    return lines.refuse(format!("{} bytes of {}", file.size, shown(path)), size.to_string());
                }
                if file.checksums.iter().all(|known| known.kind() != kind) {
                    file.checksums.push(checksum);
                }
                if files.len() > MAX_INDEX_FILES {
                    return lines.refuse(format!("at most {MAX_INDEX_FILES} index files"), "more");
                }
                continue;
            }
            let Some((name, value)) = line.split_once(':') else {
                return lines.refuse("FIELD: VALUE", format!("{:?}", shown(&line)));
            };
            field = name.trim().to_ascii_lowercase();
            let value = Some(value.trim().to_owned()).filter(|value| !value.is_empty());
            match field.as_str() {
                "suite" => release.suite = value,
                "codename" => release.codename = value,
                "date" => release.date = value,
                "valid-until" => release.valid_until = value,
                "acquire-by-hash" => release.has_by_hash = value.is_some_and(|value| value == "yes"),
                _ => {}
            }
        }
        if files.is_empty() {
            return lines.refuse("index files with checksums", "none");
        }
        release.files = files.into_values().collect();
        for file in &mut release.files {
            file.checksums.sort_by_key(|checksum| std::cmp::Reverse(checksum.kind()));
        }
        Ok(release)
    }

    /// The index file at `path`.
    pub fn find(&self, path: &str) -> Option<&IndexFile> {
        let at = self.files.binary_search_by(|file| file.path.as_str().cmp(path)).ok()?;
        self.files.get(at)
    }

    /// The index file `path` in the best of its compressions. The plain one is the last: it is usually listed, but not
    /// published.
    pub fn find_compressed(&self, path: &str) -> Option<&IndexFile> {
        [".xz", ".zst", ".gz", ".bz2", ""].into_iter().find_map(|ending| self.find(&format!("{path}{ending}")))
    }

    /// The paths of all lists of binary packages, without the endings of compressions:
    /// `main/binary-amd64/Packages`. A flat repository has `Packages`.
    pub fn package_lists(&self) -> Vec<&str> {
        let without_ending = |file: &'_ IndexFile| {
            let end = file.path.rfind("Packages")? + "Packages".len();
            let (path, ending) = file.path.split_at_checked(end)?;
            let is_list = path == "Packages" || path.ends_with("/Packages") && !path.contains("debian-installer");
            (is_list && matches!(ending, "" | ".xz" | ".zst" | ".gz" | ".bz2")).then_some(end)
        };
        let mut paths: Vec<&str> =
            self.files.iter().filter_map(|file| file.path.get(..without_ending(file)?)).collect();
        paths.dedup();
        paths
    }
}

impl IndexFile {
    /// Its best checksum, of SHA-512 to MD5.
    pub fn checksum(&self) -> Option<&Checksum> {
        self.checksums.first()
    }
}

fn kind_of_field(field: &str) -> Option<Kind> {
    match field {
        "md5sum" => Some(Kind::Md5),
        "sha1" => Some(Kind::Sha1),
        "sha256" => Some(Kind::Sha256),
        "sha512" => Some(Kind::Sha512),
        _ => None,
    }
}

/// The two parts of a clearsigned file (RFC 9580, section 7).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Clearsigned {
    /// The text, as it was before it was signed.
    pub text: String,
    /// The armored signature.
    pub signature: String,
}

/// Splits an `InRelease`. `None` if `file` does not begin as one: a `Release` then.
///
/// # Errors
/// [`Error::Document`] where anything stands outside of the signed text and its signature, or a part is missing:
/// a reader must not take for signed what was not.
pub fn split_clearsigned(file: &str) -> Result<Option<Clearsigned>> {
    const START: &str = "-----BEGIN PGP SIGNED MESSAGE-----";
    const SIGNATURE: &str = "-----BEGIN PGP SIGNATURE-----";
    const END: &str = "-----END PGP SIGNATURE-----";
    let mut lines = (1_u64..).zip(file.lines());
    let refuse = |line, expected: &str, found: &str| {
        let found = if found.is_empty() { "the end of the file".into() } else { format!("{:?}", shown(found)) };
        Err(Error::Document { document: "InRelease", line, expected: expected.into(), found })
    };
    if lines.next().is_none_or(|(_, line)| line.trim_end() != START) {
        return Ok(None);
    }
    // Headers name the hash; an empty line ends them.
    for (number, line) in lines.by_ref() {
        if line.trim().is_empty() {
            break;
        }
        if !line.starts_with("Hash: ") {
            return refuse(number, "a header Hash, or an empty line", line);
        }
    }
    let (mut text, mut signature) = (String::new(), String::new());
    let mut last = 1;
    for (number, line) in lines.by_ref() {
        last = number;
        if line.trim_end() == SIGNATURE {
            signature.push_str(SIGNATURE);
            signature.push('\n');
            break;
        }
        match line.strip_prefix("- ") {
            Some(line) => text.push_str(line),
            None if line.starts_with('-') => return refuse(number, "a line that is dash-escaped", line),
            None => text.push_str(line),
        }
        text.push('\n');
    }
    for (number, line) in lines.by_ref() {
        last = number;
        signature.push_str(line);
        signature.push('\n');
        if line.trim_end() == END {
            return match lines.find(|(_, line)| !line.trim().is_empty()) {
                None => Ok(Some(Clearsigned { text, signature })),
                Some((number, line)) => refuse(number, "the end of the file", line),
            };
        }
    }
    refuse(last, if signature.is_empty() { SIGNATURE } else { END }, "")
}

/// Calls `each` with every package of a `Packages` file that is unpacked already, until it breaks off. Files are
/// relative to the root of the archive, not to the distribution.
///
/// # Errors
/// [`Error::Document`] where a line is no field or is longer than 4 MiB; the errors of `input`'s own reader. Packages
/// before were listed already.
pub fn read_packages(input: impl Read, mut each: impl FnMut(Listed) -> ControlFlow<()>) -> Result<ListingSummary> {
    let mut lines = Lines::new("Packages", input);
    let mut summary = ListingSummary::default();
    let mut stanza = Stanza::default();
    loop {
        let is_end = match lines.next()? {
            None => true,
            Some(line) if line.iter().all(u8::is_ascii_whitespace) => false,
            Some(line) => {
                if !stanza.add(line) {
                    let found = shown(&String::from_utf8_lossy(line));
                    return lines.refuse("FIELD: VALUE", format!("{found:?}"));
                }
                continue;
            }
        };
        if stanza.has_begun {
            let listed = std::mem::take(&mut stanza).finish();
            summary.count(&listed);
            if each(listed).is_break() {
                return Ok(summary);
            }
        }
        if is_end {
            return Ok(summary);
        }
    }
}

/// The fields of a package that count.
#[derive(Default)]
struct Stanza {
    has_begun: bool,
    /// By name, in lowercase.
    fields: HashMap<&'static str, String>,
    /// The name of the last field, if it counts.
    last: Option<&'static str>,
}

const FIELDS: [&str; 11] = [
    "package",
    "version",
    "architecture",
    "source",
    "filename",
    "size",
    "md5sum",
    "sha1",
    "sha256",
    "sha512",
    "build-ids",
];
/// The maximum size of a field that counts.
const MAX_FIELD_BYTES: usize = 8 << 20;

impl Stanza {
    /// Adds a line. False if it is no part of a field.
    fn add(&mut self, line: &[u8]) -> bool {
        let is_first = !self.has_begun;
        self.has_begun = true;
        if line.starts_with(b" ") || line.starts_with(b"\t") {
            if let Some(value) = self.last.and_then(|name| self.fields.get_mut(name))
                && value.len() + line.len() <= MAX_FIELD_BYTES
            {
                value.push(' ');
                value.push_str(String::from_utf8_lossy(line).trim());
            }
            return !is_first;
        }
        let Some(colon) = memchr::memchr(b':', line).filter(|colon| *colon > 0) else { return false };
        let (name, value) = line.split_at(colon);
        if !name.iter().all(|byte| byte.is_ascii_alphanumeric() || b"-_.".contains(byte)) {
            return false;
        }
        self.last = FIELDS.into_iter().find(|field| field.as_bytes().eq_ignore_ascii_case(name));
        if let Some(name) = self.last {
            let value = String::from_utf8_lossy(value.get(1..).unwrap_or_default()).trim().to_owned();
            self.fields.entry(name).or_insert(value);
        }
        true
    }

    fn field(&self, name: &str) -> Option<&str> {
        self.fields.get(name).map(String::as_str).filter(|value| !value.is_empty())
    }

    fn finish(self) -> Listed {
        match self.package() {
            Ok(package) => Listed::Package(Box::new(package)),
            Err(reason) => {
                let part = |name| self.field(name).unwrap_or_default();
                let name = format!("{} {} {}", part("package"), part("version"), part("architecture"));
                let href = self.field("filename").map(|href| Href { base: None, href: href.into() });
                Listed::refused(&name, href, reason)
            }
        }
    }

    fn package(&self) -> Result<ListedPackage, String> {
        let needed = |name: &str| self.field(name).ok_or_else(|| format!("expected a field {name}, found none"));
        let (name, version) = (needed("package")?, needed("version")?);
        let nevra = nevra_from_version(name, version, needed("architecture")?).map_err(|error| error.to_string())?;
        let href = Href { base: None, href: needed("filename")?.into() };
        let best = ["sha512", "sha256", "sha1", "md5sum"]
            .into_iter()
            .find_map(|field| Some(Checksum::parse(field, self.field(field)?)))
            .ok_or("expected a field SHA256 or another checksum, found none")?;
        let (mut build_ids, mut rubbish_count) = (Vec::new(), 0_u32);
        for text in self.field("build-ids").unwrap_or_default().split_whitespace() {
            match build_id(text) {
                Some(id) if build_ids.len() < MAX_BUILD_IDS => build_ids.push(id),
                Some(_) => return Err(format!("expected at most {MAX_BUILD_IDS} build-ids, found more")),
                None => rubbish_count = rubbish_count.saturating_add(1),
            }
        }
        build_ids.sort_unstable();
        build_ids.dedup();
        Ok(ListedPackage {
            checksum: best.map_err(|error| error.to_string())?,
            href,
            size: self.field("size").and_then(|size| size.parse().ok()),
            built_at: None,
            source_rpm: Some(debian_source(self.field("source"), &nevra.name, version)),
            header_range: None,
            build_ids,
            links: Vec::new(),
            rubbish_count,
            nevra,
        })
    }
}

#[cfg(test)]
mod tests;
