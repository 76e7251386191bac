//! The files of an SQLite index: read-only file systems, and the files beside the database.

use std::ffi::OsString;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use rustix::fs::{Access, StatVfsMountFlags, access, major, minor, statvfs};

/// File systems that another machine or process can write while they are mounted read-only here.
const SHARED: [&str; 14] = [
    "9p",
    "afs",
    "beegfs",
    "ceph",
    "cifs",
    "fuse",
    "gfs2",
    "glusterfs",
    "lustre",
    "nfs",
    "ocfs2",
    "smb",
    "vboxsf",
    "virtiofs",
];

/// True if the file cannot be changed by anything: its file system is local and mounted read-only as a whole. A
/// read-only mount of one directory of a writable file system (a read-only volume of a container) does not count.
pub(crate) fn is_read_only(path: &Path) -> bool {
    let is_mounted_so = statvfs(path).is_ok_and(|status| status.f_flag.contains(StatVfsMountFlags::RDONLY));
    if !is_mounted_so {
        return false;
    }
    let (Ok(file), Ok(mounts)) = (fs::metadata(path), fs::read_to_string("/proc/self/mountinfo")) else { return false };
    let device = format!("{}:{}", major(file.dev()), minor(file.dev()));
    mounts.lines().any(|line| is_read_only_mount(line, &device))
}

/// True if a line of mountinfo (proc_pid_mountinfo(5)) describes a local file system on this device that is read-only
/// as a whole.
fn is_read_only_mount(line: &str, device: &str) -> bool {
    let Some((mount, file_system)) = line.split_once(" - ") else { return false };
    if mount.split(' ').nth(2) != Some(device) {
        return false;
    }
    let mut words = file_system.split(' ');
    let kind = words.next().unwrap_or_default();
    let is_shared = SHARED.iter().any(|shared| kind.starts_with(shared));
    !is_shared && words.nth(1).is_some_and(|options| options.split(',').any(|option| option == "ro"))
}

/// Returns the path of the file with this suffix, `-wal` or `-shm`, that SQLite creates beside a database.
pub(crate) fn beside(path: &Path, ending: &str) -> PathBuf {
    let mut name = OsString::from(path);
    name.push(ending);
    name.into()
}

/// Returns the size of the write-ahead log, whose contents may not be in the file yet.
pub(crate) fn unmerged_bytes(path: &Path) -> u64 {
    beside(path, "-wal").metadata().map_or(0, |log| log.len())
}

/// Returns advice about a readable SQLite file whose companion files can neither be written nor created. `None` if
/// something else is wrong.
pub(crate) fn advice(path: &Path) -> Option<String> {
    fs::File::open(path).ok()?;
    let directory = path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let is_writable = |file: &Path| access(file, Access::WRITE_OK).is_ok();
    let companions = ["-wal", "-shm"].map(|ending| beside(path, ending));
    let are_made = companions.iter().all(|file| file.exists());
    if companions.iter().all(|file| !file.exists() || is_writable(file)) && (are_made || is_writable(directory)) {
        return None;
    }
    let unmerged = unmerged_bytes(path);
    if unmerged > 0 {
        return Some(format!(
            "{} has {unmerged} bytes that are not merged into the index: run \
             `darkserver-import migrate` where both can be written",
            beside(path, "-wal").display()
        ));
    }
    Some(format!(
        "SQLite needs its -wal and -shm files beside the index, and they cannot be written: let the gateway's user or \
         group write to {} and these files, or, if the index never changes, open it as sqlite:{}?immutable=1",
        directory.display(),
        path.display()
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_local_file_system_that_is_read_only_as_a_whole_counts() {
        for (line, expected) in [
            ("36 35 98:0 /root /mnt ro,noatime master:1 - ext4 /dev/root ro,errors=continue", true),
            ("36 35 98:0 / /mnt ro - squashfs /dev/loop0 ro", true),
            ("36 35 98:0 /root /mnt ro,noatime - ext4 /dev/root rw,errors=continue", false),
            ("36 35 98:1 / /mnt ro - squashfs /dev/loop0 ro", false),
            ("36 35 98:0 / /mnt ro - nfs4 server:/index ro,vers=4.2", false),
            ("36 35 98:0 / /mnt ro - fuse.sshfs server: ro", false),
            ("nonsense", false),
        ] {
            assert_eq!(is_read_only_mount(line, "98:0"), expected, "{line}");
        }
    }
}
