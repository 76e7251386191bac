use std::os::unix::fs::{DirBuilderExt, symlink};
use std::path::PathBuf;

use super::*;
use crate::permits::{ClientAddress, Permits};

fn key() -> MemberKey {
    MemberKey { identity: Identity::from_bytes([7; 32]), ordinal: 3 }
}

/// A cache of `directory`, with a file of five bytes that an earlier run published, and its path.
async fn cache_with_a_file(directory: &Path) -> (MemberCache, PathBuf) {
    let files = directory.join("files");
    std::fs::DirBuilder::new().mode(0o700).create(&files).unwrap();
    let path = files.canonicalize().unwrap().join(format!("{}-{}-5-ab12", key().identity, key().ordinal));
    std::fs::write(&path, "bytes").unwrap();
    let prefetch = config::PrefetchSettings { max_bytes: ByteSize(0), timeout: Duration::ZERO };
    let cache = MemberCache::open(directory, ByteSize::mib(64), Abandoned::Finish, prefetch).await.unwrap();
    (cache, path)
}

/// The package at the store `number`.
fn location(number: i64) -> MemberPlace {
    MemberPlace::Location((number, "p.rpm".into()))
}

/// Fills the member from a package that does not have it.
async fn fill(cache: &MemberCache) -> Result<Reader, Miss> {
    let permit = Permits::new(1, "test fill").acquire(ClientAddress::default()).await;
    cache.fill(key(), vec![location(1)], None, permit, async { Err(Miss::Absent("no such file".into())) }).await
}

#[tokio::test]
async fn a_file_that_cannot_be_opened_at_present_stays_and_a_lost_one_is_removed() {
    let directory = tempfile::tempdir().unwrap();
    let (cache, path) = cache_with_a_file(directory.path()).await;
    let away = path.with_extension("away");
    std::fs::rename(&path, &away).unwrap();
    // An error that proves nothing, as that of too many open files.
    symlink(&path, &path).unwrap();
    assert!(cache.find(key()).await.is_none());
    assert!(fill(&cache).await.err().unwrap().is_local());
    assert!(std::fs::symlink_metadata(&path).is_ok() && cache.entries().len() == 1);
    std::fs::rename(&away, &path).unwrap();
    assert!(cache.find(key()).await.is_some());
    // Of another size.
    std::fs::write(&path, "byte").unwrap();
    assert!(cache.find(key()).await.is_none());
    assert!(!path.exists() && cache.entries().len() == 0);
    assert_eq!(fill(&cache).await.err().unwrap().to_string(), "no such file");
}

#[tokio::test]
async fn a_lost_small_file_in_memory_is_noticed_when_a_section_of_it_is_read() {
    let directory = tempfile::tempdir().unwrap();
    let (cache, path) = cache_with_a_file(directory.path()).await;
    let reader = cache.find(key()).await.unwrap();
    assert_eq!(cache.small(&reader.content()).await.unwrap(), "bytes");
    drop(reader);
    std::fs::remove_file(path).unwrap();
    let reader = cache.find(key()).await.expect("it is in memory");
    let build_id: BuildId = "aa".repeat(20).parse().unwrap();
    assert!(cache.find_section(key(), &reader.into(), &build_id, ".text").await.is_err());
    assert!(cache.find(key()).await.is_none() && cache.entries().len() == 0);
}

#[tokio::test]
async fn a_fill_is_detached_only_if_it_has_stalled_itself() {
    let directory = tempfile::tempdir().unwrap();
    let (cache, path) = cache_with_a_file(directory.path()).await;
    let reader = cache.find(key()).await.unwrap();
    assert!(cache.detach(key(), &reader, Duration::ZERO) && cache.find(key()).await.is_some(), "it is complete");
    let other = MemberKey { ordinal: 4, ..key() };
    let info = entry::MemberInfo { path: path.with_extension("other"), ..reader.info().clone() };
    let file = cache.directory.temporary_file(5).unwrap();
    let filling = Arc::new(Entry::filling(info, file.file.clone(), Arc::default()));
    assert!(cache.entries().insert_filling(other, filling.clone(), 5).is_none());
    let reader = Reader::new(filling);
    assert!(!cache.detach(other, &reader, Duration::from_secs(3600)) && cache.find(other).await.is_some());
    assert!(cache.detach(other, &reader, Duration::ZERO) && cache.find(other).await.is_none());
    assert!(reader.silence().is_some(), "its readers read on");
}

#[tokio::test]
async fn a_failure_at_one_location_is_not_the_answer_of_another() {
    let directory = tempfile::tempdir().unwrap();
    let (cache, path) = cache_with_a_file(directory.path()).await;
    std::fs::remove_file(path).unwrap();
    let (begun, has_begun) = tokio::sync::oneshot::channel();
    let (fail, failed) = tokio::sync::oneshot::channel();
    let permits = Permits::new(8, "test locations");
    let permit = || permits.acquire(ClientAddress::default());
    let first = async {
        begun.send(()).unwrap();
        failed.await.unwrap();
        Err(Miss::Absent("not at the first".into()))
    };
    let first = cache.fill(key(), vec![location(1)], None, permit().await, first);
    let mut first = Box::pin(first);
    tokio::select! {
        _ = &mut first => panic!("expected an opening that goes on"),
        begun = has_begun => begun.unwrap(),
    }
    // Both join the opening; the first location's failure is the answer for the first location alone.
    let same = cache.fill(key(), vec![location(1)], None, permit().await, async { unreachable!() });
    let other = async { Err(Miss::Absent("not at the second".into())) };
    let other = cache.fill(key(), vec![location(2)], None, permit().await, other);
    let (same, other, ()) = tokio::join!(same, other, async { fail.send(()).unwrap() });
    assert_eq!(first.await.err().unwrap().to_string(), "not at the first");
    assert_eq!(same.err().unwrap().to_string(), "not at the first");
    assert_eq!(other.err().unwrap().to_string(), "not at the second");
}

/// A complete file that was relayed, without a digest, as if it were the present one of `key`.
fn relayed(cache: &MemberCache, bytes: &[u8]) -> Readable {
    let origin = Origin { question: "buildid/aa/debuginfo".into(), upstream: "u".into(), file: None, archive: None };
    let (size, key) = (bytes.len() as u64, MemberKey::relayed(&origin.question));
    let told = Told { size, mtime: 0, sha256: None, signature: None, origin };
    let info = cache.directory.relayed_info(key, &told);
    std::fs::write(&info.path, bytes).unwrap();
    Reader::new(Arc::new(Entry::published(info))).into()
}

#[tokio::test]
async fn nothing_of_a_relayed_file_is_taken_for_that_of_the_next_one() {
    let directory = tempfile::tempdir().unwrap();
    let (cache, _) = cache_with_a_file(directory.path()).await;
    let (key, build_id) = (MemberKey::relayed("buildid/aa/debuginfo"), "aa".repeat(20).parse().unwrap());
    let first = relayed(&cache, b"first");
    let position = cache.find_section(key, &first, &build_id, ".text").await.unwrap();
    assert!(matches!(position, SectionPosition::Unreadable(_)));
    let first_class = cache.classify(key, &first).await.unwrap();
    cache.small(&first.content()).await;
    drop(first);

    let second = relayed(&cache, b"other");
    assert!(cache.small(&second.content()).await.is_none_or(|bytes| bytes == "other"));
    // This program is an ELF file with DWARF.
    let program = relayed(&cache, &std::fs::read(std::env::current_exe().unwrap()).unwrap());
    let position = cache.find_section(key, &program, &build_id, ".text").await.unwrap();
    assert!(matches!(position, SectionPosition::At(_)), "{position:?}");
    assert_ne!(cache.classify(key, &program).await.unwrap(), first_class);
}

#[tokio::test]
async fn an_opening_tells_whether_a_request_waits_for_it() {
    let directory = tempfile::tempdir().unwrap();
    let (cache, path) = cache_with_a_file(directory.path()).await;
    std::fs::remove_file(path).unwrap();
    let permits = Permits::new(8, "test openings");
    let (end, ended) = tokio::sync::oneshot::channel::<()>();
    let opening = async move {
        let _ = ended.await;
        Err(Miss::Absent("ended".into()))
    };
    let fill = async |filler| {
        let permit = permits.acquire(ClientAddress::default()).await;
        cache.fill(key(), vec![location(1)], None, permit, filler).await.err().unwrap().to_string()
    };
    assert!(!cache.is_opening_awaited(key()));
    let mut first = Box::pin(fill(opening.boxed()));
    assert!(tokio::time::timeout(Duration::from_millis(100), &mut first).await.is_err());
    assert!(cache.is_opening_awaited(key()));
    let mut second = Box::pin(fill(async { unreachable!() }.boxed()));
    assert!(tokio::time::timeout(Duration::from_millis(100), &mut second).await.is_err());
    drop(first);
    assert!(cache.is_opening_awaited(key()));
    drop(second);
    assert!(!cache.is_opening_awaited(key()), "it goes on without requests");
    let third = fill(async { unreachable!() }.boxed());
    let (third, ()) = tokio::join!(third, async { end.send(()).unwrap() });
    assert_eq!(third, "ended");
}
