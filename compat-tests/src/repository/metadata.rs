//! Metadata files: their compression, and copies of them with another text.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use crate::process::run;

/// How the metadata files of a repository are compressed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Compression {
    /// As every release of createrepo_c before 1.0.
    Gzip,
    /// As some releases of openSUSE, and archives.
    Bzip2,
    /// As by `--xz`.
    Xz,
    /// As every release of createrepo_c since 1.0.
    Zstd,
}

impl Compression {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Gzip, Self::Bzip2, Self::Xz, Self::Zstd];

    fn suffix(self) -> &'static str {
        self.names().0
    }

    /// The suffix of its files, the program, and its name for createrepo_c.
    fn names(self) -> (&'static str, &'static str, &'static str) {
        match self {
            Self::Gzip => ("gz", "gzip", "gz"),
            Self::Bzip2 => ("bz2", "bzip2", "bz2"),
            Self::Xz => ("xz", "xz", "xz"),
            Self::Zstd => ("zst", "zstd", "zstd"),
        }
    }

    fn of_file(path: &Path) -> Option<Self> {
        let suffix = path.extension()?.to_str()?;
        Self::ALL.into_iter().find(|compression| compression.suffix() == suffix)
    }

    /// Runs createrepo_c on a directory. Releases before 0.21 do not know zstd: their metadata is compressed again.
    pub(super) fn create(self, directory: &Path, options: &[&str]) {
        let createrepo = |name: &str| {
            let mut command = Command::new("createrepo_c");
            command.args(["--quiet", "--no-database", &format!("--general-compress-type={name}")]).args(options);
            run(command.arg(directory), "createrepo-c (Debian) or createrepo_c (Fedora)")
        };
        let mut output = createrepo(self.names().2);
        let is_unknown = String::from_utf8_lossy(&output.stderr).contains("compression type");
        if self == Self::Zstd && is_unknown {
            output = createrepo("gz");
            for kind in ["primary", "filelists", "other"] {
                let text = read(&file_of(directory, kind));
                replace_metadata(directory, kind, &text, Self::Zstd);
            }
        }
        assert!(output.status.success(), "createrepo_c: {}", String::from_utf8_lossy(&output.stderr));
    }

    /// These bytes, compressed.
    pub fn compress(self, bytes: &[u8]) -> Vec<u8> {
        through(Command::new(self.names().1).args(["-c", "-q"]), bytes)
    }
}

/// SHA-256 in hex of these bytes.
pub fn sha256(bytes: &[u8]) -> String {
    let text = through(&mut Command::new("sha256sum"), bytes);
    String::from_utf8_lossy(&text[..64]).into_owned()
}

/// Changes the text of a metadata file (`primary`, `filelists`), and its checksums and sizes in `repomd.xml`.
pub fn rewrite_metadata(directory: &Path, kind: &str, change: impl FnOnce(String) -> String) {
    let file = file_of(directory, kind);
    let compression = Compression::of_file(&file).expect("a compression");
    let text = String::from_utf8(read(&file)).expect("a text");
    let changed = change(text.clone());
    assert_ne!(text, changed, "expected another text of {kind}");
    replace_metadata(directory, kind, changed.as_bytes(), compression);
}

/// Replaces a metadata file by another text, compressed; and its checksums, sizes and name in `repomd.xml`.
pub fn replace_metadata(directory: &Path, kind: &str, text: &[u8], compression: Compression) {
    let old = file_of(directory, kind);
    let packed = compression.compress(text);
    let href = format!("repodata/{}-{kind}.xml.{}", sha256(&packed), compression.suffix());
    fs::remove_file(old).expect("remove a file");
    fs::write(directory.join(&href), &packed).expect("write metadata");
    let repomd = directory.join("repodata/repomd.xml");
    let whole = fs::read_to_string(&repomd).expect("repomd.xml");
    let (start, end) = element(&whole, kind);
    let data = format!(
        "<data type=\"{kind}\">\n    <checksum type=\"sha256\">{}</checksum>\n    \
         <open-checksum type=\"sha256\">{}</open-checksum>\n    <location href=\"{href}\"/>\n    \
         <timestamp>1700000000</timestamp>\n    <size>{}</size>\n    <open-size>{}</open-size>\n  </data>",
        sha256(&packed),
        sha256(text),
        packed.len(),
        text.len()
    );
    fs::write(&repomd, format!("{}{data}{}", &whole[..start], &whole[end..])).expect("write repomd.xml");
}

/// The file of a kind of metadata that `repomd.xml` names.
pub(super) fn file_of(directory: &Path, kind: &str) -> PathBuf {
    let whole = fs::read_to_string(directory.join("repodata/repomd.xml")).expect("repomd.xml");
    let (start, end) = element(&whole, kind);
    let (_, href) = whole[start..end].split_once("<location href=\"").expect("a location");
    directory.join(href.split('"').next().expect("a location"))
}

/// The text of a compressed metadata file.
fn read(file: &Path) -> Vec<u8> {
    let program = Compression::of_file(file).expect("a compression").names().1;
    let output = run(Command::new(program).arg("-dc").arg(file), "gzip, bzip2, xz and zstd");
    assert!(output.status.success(), "{}: {}", file.display(), String::from_utf8_lossy(&output.stderr));
    output.stdout
}

fn element(repomd: &str, kind: &str) -> (usize, usize) {
    let start = repomd.find(&format!("<data type=\"{kind}\">")).unwrap_or_else(|| panic!("{kind}: not in {repomd}"));
    let length = repomd[start..].find("</data>").expect("the end of an element");
    (start, start + length + "</data>".len())
}

fn through(command: &mut Command, bytes: &[u8]) -> Vec<u8> {
    let mut input = tempfile::tempfile().expect("a temporary file");
    std::io::Write::write_all(&mut input, bytes).expect("write a temporary file");
    std::io::Seek::rewind(&mut input).expect("rewind a temporary file");
    let output = run(command.stdin(Stdio::from(input)), "coreutils, gzip, bzip2, xz and zstd");
    assert!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
    output.stdout
}
