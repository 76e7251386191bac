use std::io::Write;

use artifact::digest::FileDigest;

use super::super::cost::{guessed_cost, read_cost};
use super::*;

fn key() -> MemberKey {
    MemberKey { identity: artifact::Identity::from_bytes([7; 32]), ordinal: 3 }
}

async fn open(path: &Path) -> Result<Directory> {
    Directory::open(path, DirectoryLock::acquire(path, Duration::ZERO).await?)
}

#[tokio::test]
async fn a_file_has_a_name_only_when_it_is_published() {
    let temporary = tempfile::tempdir().unwrap();
    let directory = open(temporary.path()).await.unwrap();
    let path = directory.published_path(key(), 5, "ab12");
    let info = MemberInfo {
        size: 5,
        mtime: 1_000_000_000,
        digest: "ab12".into(),
        sha256: None,
        signature: None,
        origin: None,
        path: path.clone(),
    };
    let file = directory.temporary_file(5).unwrap();
    (&**file.file).write_all(b"hello").unwrap();
    assert!(!path.exists());
    directory.publish(file, &info, Duration::from_millis(1500)).unwrap();
    assert_eq!(std::fs::read(&path).unwrap(), b"hello");
    let found = directory.published_files().unwrap();
    assert_eq!(found.len(), 1);
    let PublishedFile { key: found_key, info: read, cost } = &found[0];
    assert_eq!((*found_key, read.size, read.mtime, &*read.digest), (key(), 5, 1_000_000_000, "ab12"));
    // Not every file system has extended attributes.
    assert_eq!(*cost, read_cost(&path).unwrap_or(guessed_cost(5)));
    // A file of another program with this name is replaced.
    std::fs::write(&path, "other").unwrap();
    let file = directory.temporary_file(5).unwrap();
    (&**file.file).write_all(b"again").unwrap();
    directory.publish(file, &info, Duration::ZERO).unwrap();
    assert_eq!(std::fs::read(&path).unwrap(), b"again");
}

#[tokio::test]
async fn a_signature_is_removed_with_its_file() {
    let temporary = tempfile::tempdir().unwrap();
    let directory = open(temporary.path()).await.unwrap();
    let path = directory.published_path(key(), 5, "ab12");
    let lost = directory.published_path(MemberKey { ordinal: 4, ..key() }, 5, "ab12");
    std::fs::write(&path, b"hello").unwrap();
    let write = |file: &Path| {
        directory
            .with_directory(|| sidecar::write(file, Some(&[3, 2, 4].into()), None, || directory.temporary_name()))
            .unwrap();
    };
    write(&path);
    write(&lost);
    let PublishedFile { info, .. } = directory.published_files().unwrap().pop().unwrap();
    assert_eq!(info.signature.as_deref(), Some(&[3, 2, 4][..]));
    directory.remove_temporary_files().unwrap();
    let names = || std::fs::read_dir(&directory.path).unwrap().count();
    assert_eq!(names(), 2, "a signature without its file stays");
    directory.unlink(&info);
    assert_eq!(names(), 0);
    std::fs::remove_dir(&directory.path).unwrap();
    write(&path);
    assert_eq!(names(), 1, "in a new directory");
}

#[tokio::test]
async fn temporary_files_of_an_earlier_run_are_removed_and_other_files_left_alone() {
    let temporary = tempfile::tempdir().unwrap();
    let directory = open(temporary.path()).await.unwrap();
    let left = directory.path.join(".temporary-1");
    std::fs::write(&left, "x").unwrap();
    std::fs::write(directory.path.join("README"), "x").unwrap();
    directory.remove_temporary_files().unwrap();
    assert!(directory.published_files().unwrap().is_empty());
    assert!(!left.exists() && directory.path.join("README").exists());
}

#[tokio::test]
async fn only_complete_files_are_listed_and_links_never() {
    let temporary = tempfile::tempdir().unwrap();
    let directory = open(temporary.path()).await.unwrap();
    let short = directory.published_path(key(), 5, "ab12");
    let link = directory.published_path(MemberKey { ordinal: 4, ..key() }, 11, "ab12");
    std::fs::write(&short, "hell").unwrap();
    std::os::unix::fs::symlink("/etc/passwd", &link).unwrap();
    assert!(directory.published_files().unwrap().is_empty());
    assert!(!short.exists() && std::fs::symlink_metadata(&link).is_err());
}

#[tokio::test]
async fn a_directory_that_others_may_enter_is_refused() {
    let temporary = tempfile::tempdir().unwrap();
    let files = temporary.path().join("files");
    std::fs::create_dir(&files).unwrap();
    std::fs::set_permissions(&files, std::os::unix::fs::PermissionsExt::from_mode(0o777)).unwrap();
    let error = format!("{:#}", open(temporary.path()).await.err().unwrap());
    assert!(error.contains("expected a directory of this user with mode 0700, found"), "{error}");
}

#[tokio::test]
async fn what_an_upstream_told_of_a_file_is_found_after_a_restart() {
    let temporary = tempfile::tempdir().unwrap();
    let directory = open(temporary.path()).await.unwrap();
    let origin = sidecar::Origin {
        question: "buildid/ab12/debuginfo".into(),
        upstream: "u".into(),
        file: Some("/usr/bin/x".into()),
        archive: None,
    };
    let signature = Some([3, 2, 4][..].into());
    let told = Told { size: 5, mtime: 1_000_000_000, sha256: Some([0xab; 32]), signature, origin: origin.clone() };
    let info = directory.relayed_info(MemberKey::relayed(&origin.question), &told);
    assert_eq!(info.digest, "ab".repeat(32));
    let file = directory.temporary_file(5).unwrap();
    (&**file.file).write_all(b"hello").unwrap();
    directory.publish(file, &info, Duration::ZERO).unwrap();
    let PublishedFile { key, info: read, .. } = directory.published_files().unwrap().pop().unwrap();
    assert_eq!(key, MemberKey::relayed("buildid/ab12/debuginfo"));
    assert_eq!(
        (read.mtime, read.origin, read.signature.as_deref()),
        (1_000_000_000, Some(origin), Some(&[3, 2, 4][..]))
    );
    directory.unlink(&info);
    assert_eq!(std::fs::read_dir(&directory.path).unwrap().count(), 0);
}

#[tokio::test]
async fn only_sha_256_is_taken_for_sha_256() {
    let temporary = tempfile::tempdir().unwrap();
    let directory = open(temporary.path()).await.unwrap();
    let hex = "ab".repeat(32);
    for (algorithm, digits, expected) in [
        (Algorithm::Sha256, &*hex, Some([0xab; 32])),
        (Algorithm::Sha3_256, &hex, None),
        (Algorithm::Md5, &hex[..32], None),
    ] {
        let digest = FileDigest::parse(algorithm, digits).unwrap();
        let file = header::File {
            path: "/usr/bin/x".into(),
            mode: 0o100_644,
            flags: 0,
            size: 0,
            mtime: 1_000_000_000,
            inode: 1,
            digest: Some(digest),
            link_target: None,
            class: header::Class::None,
            signature: None,
        };
        let info = directory.info(key(), &file);
        let file = directory.temporary_file(info.size).unwrap();
        directory.publish(file, &info, Duration::ZERO).unwrap();
        let PublishedFile { info: read, .. } = directory.published_files().unwrap().pop().unwrap();
        for info in [&info, &read] {
            assert_eq!((&*info.digest, info.sha256), (digits, expected), "{algorithm:?}");
        }
        directory.unlink(&read);
        assert_eq!(std::fs::read_dir(&directory.path).unwrap().count(), 0);
    }
}
