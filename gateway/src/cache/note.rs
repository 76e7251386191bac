//! The build-id that a file itself says it has.

use std::io::{Read, Seek};

use artifact::BuildId;

/// What a file says of its build-id.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Note {
    /// Nothing: it is no ELF file that can be read. A compressed kernel module is none before it is decompressed.
    NoElf,
    /// What the note in it says, if it has one.
    Says(Option<BuildId>),
}

impl Note {
    /// Of a whole file.
    pub(super) fn of(file: &mut (impl Read + Seek)) -> Self {
        artifact::elf::read(file).ok().flatten().map_or(Self::NoElf, |elf| Self::Says(elf.build_id))
    }

    /// May the file be the one with this build-id?
    pub(super) fn allows(&self, expected: &BuildId) -> bool {
        match self {
            Self::NoElf => true,
            Self::Says(found) => found.as_ref() == Some(expected),
        }
    }
}
