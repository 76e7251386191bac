//! Headers of RPMs: reads the classes of files, and rewrites headers to state less, with the fixtures' own tools.

use std::path::Path;
use std::process::{Command, Output};

use crate::fixtures;
use crate::process::run;

/// How a header describes the contents of files.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FileClassFormat {
    /// MIME types, as in every package of format 6.
    Mime,
    /// Nothing.
    None,
    /// Texts of libmagic before 5.33, which did not detect DWARF: `with debug_info` is missing.
    Old,
}

impl FileClassFormat {
    /// All values.
    pub const ALL: [Self; 3] = [Self::Mime, Self::None, Self::Old];

    /// Rewrites the header of `rpm` to this form, and the digests of it. The payload must be compressed by zstd.
    pub fn apply(self, rpm: &Path) {
        let (script, mode) = match self {
            Self::Mime => ("stripped.py", "v6"),
            Self::None => ("old.py", "none"),
            Self::Old => ("old.py", "no-debug-info"),
        };
        python(Command::new("python3").arg(fixtures::directory().join("make").join(script)).arg(mode).args([rpm, rpm]));
    }
}

/// Path and description of every regular file in the header of `rpm`: libmagic's text, else the MIME type, else `""`.
pub fn classes(rpm: &Path) -> Vec<(String, String)> {
    const SCRIPT: &str = "
import sys
sys.path.insert(0, sys.argv[1])
import rpmfile
for file in rpmfile.Package.read(sys.argv[2]).files():
    if file.regular:
        print(file.path, file.text or '', sep='\\t')
";
    let output = python(Command::new("python3").args(["-c", SCRIPT]).arg(fixtures::directory().join("make")).arg(rpm));
    let text = String::from_utf8(output.stdout).expect("UTF-8");
    let rows = text.lines().map(|line| line.split_once('\t').expect("two cells"));
    rows.map(|(path, class)| (path.to_owned(), class.to_owned())).collect()
}

/// The description of one file in the header of `rpm`.
///
/// # Panics
/// When the header has no such file.
pub fn class(rpm: &Path, path: &str) -> String {
    let found = classes(rpm).into_iter().find(|(file, _)| file == path);
    found.unwrap_or_else(|| panic!("{}: expected the file {path}", rpm.display())).1
}

fn python(command: &mut Command) -> Output {
    let output = run(command.env("PYTHONDONTWRITEBYTECODE", "1"), "python3, file and zstd");
    assert!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
    output
}
