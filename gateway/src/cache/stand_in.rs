//! Members that the disk does not take, because it is full or cannot be written: they are sent from memory, within a limit, and not kept.

use std::fs::File;
use std::io::{self, ErrorKind};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use rustix::fs::{MemfdFlags, memfd_create};

/// All members in memory together, bytes.
const MOST: u64 = 128 << 20;

/// Memory in the place of the disk.
#[derive(Clone)]
pub(super) struct StandIn {
    left: Arc<AtomicU64>,
}

/// Room for one member, until it is dropped.
pub(super) struct Room {
    left: Arc<AtomicU64>,
    bytes: u64,
}

impl StandIn {
    /// Nothing is in it.
    pub(super) fn new() -> Self {
        Self { left: Arc::new(AtomicU64::new(MOST)) }
    }

    /// A file of `bytes` bytes in memory (memfd_create(2)), and its room.
    ///
    /// # Errors
    /// There is no room for so much, or the system has no such files.
    pub(super) fn file(&self, bytes: u64) -> io::Result<(File, Room)> {
        let take = |left: u64| left.checked_sub(bytes);
        if let Err(left) = self.left.fetch_update(Ordering::SeqCst, Ordering::SeqCst, take) {
            let text = format!("expected room for {bytes} bytes in memory, found {left} of {MOST}");
            return Err(io::Error::new(ErrorKind::StorageFull, text));
        }
        let room = Room { left: self.left.clone(), bytes };
        let file = memfd_create(c"darkserver-member", MemfdFlags::CLOEXEC)?;
        Ok((file.into(), room))
    }
}

impl Drop for Room {
    fn drop(&mut self) {
        self.left.fetch_add(self.bytes, Ordering::SeqCst);
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::FileExt;

    use super::*;

    #[test]
    fn there_is_room_for_so_much_and_no_more() {
        let stand_in = StandIn::new();
        let (file, room) = stand_in.file(MOST - 10).unwrap();
        file.write_all_at(b"member", 5).unwrap();
        let error = stand_in.file(11).err().unwrap();
        assert_eq!(error.to_string(), "expected room for 11 bytes in memory, found 10 of 134217728");
        let small = stand_in.file(10).unwrap();
        drop((room, small));
        assert!(stand_in.file(MOST).is_ok());
    }
}
