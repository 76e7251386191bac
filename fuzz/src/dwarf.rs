//! The sources that an ELF file's DWARF names.

use std::io::Cursor;

use artifact::Error;
use artifact::sources::Sources;

/// Reading ends, twice in the same way; memory is libFuzzer's to watch.
pub fn check(input: &[u8]) {
    let read = || Sources::read(&mut Cursor::new(input));
    match (read(), read()) {
        (Ok(one), Ok(other)) => {
            assert_eq!(one, other);
            for never in ["", "relative.c", "/a/../b.c", "/a//b.c", "/a/./b.c"] {
                assert!(!one.has(never), "{never:?} is no canonical path");
            }
        }
        (Err(error @ Error::Elf { .. }), Err(Error::Elf { .. })) => super::is_short(&error),
        (one, other) => panic!("first {one:?}, then {other:?}"),
    }
}
