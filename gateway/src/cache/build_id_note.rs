//! The build-id that a file itself states.

use std::io::{Read, Seek};

use artifact::BuildId;

/// What a file states of its build-id.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum BuildIdNote {
    /// Nothing: it is no readable ELF file. A compressed kernel module is none before it is decompressed.
    NoElf,
    /// The build-id in its note, if it has one.
    Elf(Option<BuildId>),
}

impl BuildIdNote {
    /// Reads the note of a complete file.
    pub(super) fn read(file: &mut (impl Read + Seek)) -> Self {
        artifact::elf::read_elf(file).ok().flatten().map_or(Self::NoElf, |elf| Self::Elf(elf.build_id))
    }

    /// True unless the note states another build-id, or none in an ELF file.
    pub(super) fn allows(&self, expected: &BuildId) -> bool {
        match self {
            Self::NoElf => true,
            Self::Elf(found) => found.as_ref() == Some(expected),
        }
    }
}
