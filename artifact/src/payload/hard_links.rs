//! The groups of hard links in a package.

use std::collections::HashMap;

use crate::header::File;

/// The groups of hard links: regular files with one inode number, size and digest. A file without links is a group of
/// its own.
pub(crate) struct HardLinks {
    /// For each ordinal, the first of its group.
    first: Vec<u32>,
    /// For the first ordinal of each group, the last one.
    last: Vec<u32>,
}

impl HardLinks {
    /// Finds them, in one pass.
    pub(crate) fn find(files: &[File]) -> Self {
        let mut groups = HashMap::new();
        let mut links = Self { first: Vec::with_capacity(files.len()), last: Vec::with_capacity(files.len()) };
        for (ordinal, file) in (0_u32..).zip(files) {
            let mut first = ordinal;
            // rpm writes 0 for "no inode" (lib/rpmfi.c, rpmfilesBuildNLink).
            if file.is_regular() && file.inode != 0 {
                first = *groups.entry((file.inode, file.size, &file.digest)).or_insert(ordinal);
            }
            links.first.push(first);
            links.last.push(ordinal);
            links.last[first as usize] = ordinal;
        }
        links
    }

    /// Returns the first file of the group of `ordinal`.
    pub(crate) fn first(&self, ordinal: u32) -> u32 {
        self.first.get(ordinal as usize).copied().unwrap_or(ordinal)
    }

    /// The last file of the group of `ordinal`: the one that carries the contents in every archive that rpm wrote.
    pub(crate) fn last(&self, ordinal: u32) -> u32 {
        self.last.get(self.first(ordinal) as usize).copied().unwrap_or(ordinal)
    }

    /// True if the group of `ordinal` has more than one file.
    pub(crate) fn is_linked(&self, ordinal: u32) -> bool {
        self.first(ordinal) != self.last(ordinal)
    }
}
