//! The dumps that fuzzing has kept, replayed: `fuzz/corpus/legacy`, and `fuzz/regressions/legacy` if there is one.
//! `fuzz/README.md` says more.

use std::fs;
use std::path::Path;

#[path = "../../fuzz/src/legacy.rs"]
pub mod legacy;

#[test]
fn dumps() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../fuzz");
    let mut inputs = 0;
    for directory in ["corpus/legacy", "regressions/legacy"].map(|name| root.join(name)) {
        if directory.is_dir() {
            for file in fs::read_dir(directory).unwrap() {
                let path = file.unwrap().path();
                legacy::check(&fs::read(path).unwrap());
                inputs += 1;
            }
        }
    }
    assert!(inputs > 10, "expected the inputs of fuzz/corpus/legacy, found {inputs}");
}

/// Genuine dumps with a byte changed, removed or cut off anywhere.
#[test]
fn damaged_dumps() {
    let dumps = Path::new(env!("CARGO_MANIFEST_DIR")).join("../compat-tests/tests/legacy/dumps");
    for name in ["s5-copy.sql", "s5-inserts.sql"] {
        let dump = fs::read(dumps.join(name)).unwrap();
        for at in (0..dump.len()).step_by(29) {
            legacy::check(&dump[..at]);
            for byte in *b"\0\\'`;(\n$-*" {
                let mut damaged = dump.clone();
                damaged[at] = byte;
                legacy::check(&damaged);
            }
        }
    }
}
