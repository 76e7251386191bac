//! What the headers of RPM files state, by the real rpm.

use std::path::Path;
use std::process::Command;

use dxr::Value;

use crate::process::run;

/// Type of a part of a header.
#[derive(Clone, Copy, PartialEq, Eq)]
enum TagType {
    Text,
    Number,
    Texts,
    Numbers,
}

/// What identifies a package.
pub(super) struct Facts {
    pub(super) name: String,
    pub(super) epoch: Option<i64>,
    pub(super) version: String,
    pub(super) release: String,
    /// `src` of a source package.
    pub(super) arch: String,
    /// Name, version and release of the source package.
    pub(super) source: (String, String, String),
    pub(super) payload_hash: String,
    pub(super) built_at: i64,
}

/// The parts of headers that the hub can give. `SHA256HEADER` is a text, as rpm has it.
const TAGS: [(&str, TagType); 22] = [
    ("ARCH", TagType::Text),
    ("BASENAMES", TagType::Texts),
    ("BUILDHOST", TagType::Text),
    ("BUILDTIME", TagType::Number),
    ("DIRNAMES", TagType::Texts),
    ("DIRINDEXES", TagType::Numbers),
    ("EPOCH", TagType::Number),
    ("FILELINKTOS", TagType::Texts),
    ("FILEMODES", TagType::Numbers),
    ("FILENAMES", TagType::Texts),
    ("LICENSE", TagType::Text),
    ("NAME", TagType::Text),
    ("PROVIDENAME", TagType::Texts),
    ("PROVIDEVERSION", TagType::Texts),
    ("RELEASE", TagType::Text),
    ("REQUIRENAME", TagType::Texts),
    ("SHA1HEADER", TagType::Text),
    ("SHA256HEADER", TagType::Text),
    ("SOURCERPM", TagType::Text),
    ("SUMMARY", TagType::Text),
    ("VENDOR", TagType::Text),
    ("VERSION", TagType::Text),
];

/// True if the hub can give this part of a header.
pub(super) fn is_known(tag: &str) -> bool {
    TAGS.iter().any(|(name, _)| *name == tag)
}

/// Reads what identifies the packages in these files, in the same order.
pub(super) fn read(files: &[&Path]) -> Vec<Facts> {
    const FORMAT: &str = "%{NAME}\\t%{EPOCH}\\t%{VERSION}\\t%{RELEASE}\\t%{ARCH}\\t%{SOURCERPM}\\t%{SIGMD5}\\t\
                          %{BUILDTIME}\\t%{SOURCEPACKAGE}\\n";
    let text = query(FORMAT, files);
    let facts: Vec<Facts> = text.lines().map(read_line).collect();
    assert_eq!(facts.len(), files.len(), "{files:?}: expected a line for each, found {text:?}");
    facts
}

fn read_line(line: &str) -> Facts {
    let cells: Vec<&str> = line.split('\t').collect();
    let [name, epoch, version, release, arch, source, payload_hash, built_at, is_source] = cells[..] else {
        panic!("expected nine cells, found {line:?}");
    };
    let own = (name.to_owned(), version.to_owned(), release.to_owned());
    let is_source = is_source == "1";
    Facts {
        name: name.to_owned(),
        epoch: epoch.parse().ok(),
        version: version.to_owned(),
        release: release.to_owned(),
        arch: if is_source { "src".to_owned() } else { arch.to_owned() },
        source: if is_source { own } else { source_name(source).unwrap_or(own) },
        payload_hash: payload_hash.to_owned(),
        built_at: built_at.parse().expect("a time"),
    }
}

/// Name, version and release of `NAME-VERSION-RELEASE.src.rpm`.
fn source_name(file: &str) -> Option<(String, String, String)> {
    let nvr = file.strip_suffix(".src.rpm").or_else(|| file.strip_suffix(".nosrc.rpm"))?;
    let (rest, release) = nvr.rsplit_once('-')?;
    let (name, version) = rest.rsplit_once('-')?;
    Some((name.to_owned(), version.to_owned(), release.to_owned()))
}

/// Reads parts of the header of a file, which [`is_known`] knows.
pub(super) fn header(file: &Path, tags: &[String]) -> Vec<Value> {
    const END: char = '\u{1e}';
    let types: Vec<TagType> = tags
        .iter()
        .map(|tag| TAGS.iter().find(|(name, _)| name == tag).expect("a part that is_known knows").1)
        .collect();
    let format: String = tags
        .iter()
        .zip(&types)
        .map(|(tag, kind)| match kind {
            // An array has one line for each element, and none without elements.
            TagType::Texts | TagType::Numbers => format!("[%{{{tag}}}\\n]{END}"),
            TagType::Text | TagType::Number => format!("%|{tag}?{{%{{{tag}}}}}:{{}}|\\n{END}"),
        })
        .collect();
    let text = query(&format, &[file]);
    let parts: Vec<&str> = text.split('\u{1e}').collect();
    assert_eq!(parts.len(), tags.len() + 1, "{}: expected {tags:?}, found {text:?}", file.display());
    parts.into_iter().zip(types).map(|(part, kind)| value(part, kind)).collect()
}

fn value(part: &str, kind: TagType) -> Value {
    let number = |line: &str| {
        let number: i64 = line.parse().expect("a number");
        i32::try_from(number).map_or(Value::Long(number), Value::Integer)
    };
    let lines = || part.strip_suffix('\n').into_iter().flat_map(|part| part.split('\n'));
    match kind {
        TagType::Texts => Value::Array(lines().map(|line| Value::String(line.to_owned())).collect()),
        TagType::Numbers => Value::Array(lines().map(number).collect()),
        // The other parts are nil where the header has none.
        TagType::Text | TagType::Number if part.trim_end_matches('\n').is_empty() => Value::Nil,
        TagType::Text => Value::String(part.trim_end_matches('\n').to_owned()),
        TagType::Number => number(part.trim_end_matches('\n')),
    }
}

fn query(format: &str, files: &[&Path]) -> String {
    let mut command = Command::new("rpm");
    command.args(["-qp", "--nosignature", "--nodigest", "--qf", format]).args(files);
    let output = run(&mut command, "rpm");
    assert!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).expect("UTF-8")
}
