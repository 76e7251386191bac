//! Memory for members that cannot be written to the disk, because it is full or fails. They are sent from memory,
//! within a limit, and not cached.

use std::fs::File;
use std::io::{self, ErrorKind};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use rustix::fs::{MemfdFlags, memfd_create};

/// Maximum of bytes of all members in memory together.
const MAX_BYTES: u64 = 128 << 20;

/// Memory in the place of the disk.
pub(super) struct MemoryFallback {
    free: Arc<AtomicU64>,
}

/// Memory that is reserved for one member, until it is dropped.
pub(super) struct Reservation {
    free: Arc<AtomicU64>,
    bytes: u64,
}

impl MemoryFallback {
    /// All of it is free.
    pub(super) fn new() -> Self {
        Self { free: Arc::new(AtomicU64::new(MAX_BYTES)) }
    }

    /// Creates a file for `bytes` bytes in memory (memfd_create(2)), and reserves them.
    ///
    /// # Errors
    /// Less memory is free, or the system has no such files.
    pub(super) fn create(&self, bytes: u64) -> io::Result<(File, Reservation)> {
        let reserve = |free: u64| free.checked_sub(bytes);
        if let Err(free) = self.free.fetch_update(Ordering::SeqCst, Ordering::SeqCst, reserve) {
            let text = format!("expected room for {bytes} bytes in memory, found {free} of {MAX_BYTES}");
            return Err(io::Error::new(ErrorKind::StorageFull, text));
        }
        let reservation = Reservation { free: self.free.clone(), bytes };
        let file = memfd_create(c"darkserver-member", MemfdFlags::CLOEXEC)?;
        Ok((file.into(), reservation))
    }
}

impl Drop for Reservation {
    fn drop(&mut self) {
        self.free.fetch_add(self.bytes, Ordering::SeqCst);
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::FileExt;

    use super::*;

    #[test]
    fn memory_is_limited_and_released_with_its_file() {
        let memory = MemoryFallback::new();
        let large = memory.create(MAX_BYTES - 10).unwrap();
        large.0.write_all_at(b"member", 5).unwrap();
        let error = memory.create(11).err().unwrap();
        assert_eq!(error.to_string(), "expected room for 11 bytes in memory, found 10 of 134217728");
        let small = memory.create(10).unwrap();
        drop((large, small));
        assert!(memory.create(MAX_BYTES).is_ok());
    }
}
