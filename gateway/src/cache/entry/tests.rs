use super::*;

fn info(directory: &Path) -> MemberInfo {
    MemberInfo {
        size: 5,
        mtime: 0,
        digest: String::new(),
        sha256: None,
        signature: None,
        origin: None,
        path: directory.join("member"),
    }
}

/// A published entry with its file.
fn published(directory: &Path) -> Arc<Entry> {
    let info = info(directory);
    std::fs::write(&info.path, "bytes").unwrap();
    Arc::new(Entry::published(info))
}

fn filling(directory: &Path) -> Arc<Entry> {
    let path = directory.join("temporary");
    std::fs::write(&path, "bytes").unwrap();
    let file = Arc::new(OpenFile::from(File::open(&path).unwrap()));
    Arc::new(Entry::filling(info(directory), file, Arc::default()))
}

fn is_open(entry: &Entry) -> bool {
    matches!(entry.life().state, State::Published { file: Some(_) } | State::Removed { file: Some(_) })
}

fn text(reader: &Reader) -> String {
    io::read_to_string(&***reader.open().as_ref().unwrap()).unwrap()
}

#[test]
fn a_published_file_is_open_while_it_has_readers() {
    let directory = tempfile::tempdir().unwrap();
    let entry = published(directory.path());
    let reader = Reader::new(entry.clone());
    let other = reader.clone();
    assert!(!is_open(&entry));
    reader.open().unwrap();
    drop(reader);
    assert!(is_open(&entry) && entry.readers() == 1);
    drop(other);
    assert!(!is_open(&entry) && entry.readers() == 0);
}

#[test]
fn readers_of_a_removed_entry_read_on() {
    let directory = tempfile::tempdir().unwrap();
    let entry = published(directory.path());
    let reader = Reader::new(entry.clone());
    entry.set_removed();
    std::fs::remove_file(entry.path()).unwrap();
    assert_eq!(text(&reader), "bytes");
    drop(reader);
    assert!(!is_open(&entry), "the disk has its space back");
    assert!(entry.open().is_err());
}

#[test]
fn an_entry_without_readers_is_removed_without_a_descriptor() {
    let directory = tempfile::tempdir().unwrap();
    let entry = published(directory.path());
    entry.set_removed();
    assert!(!is_open(&entry));
}

#[test]
fn a_file_that_was_lost_or_cut_short_is_noticed_when_it_is_opened() {
    let directory = tempfile::tempdir().unwrap();
    let reader = Reader::new(published(directory.path()));
    std::fs::write(reader.path(), "byte").unwrap();
    assert_eq!(reader.open().err().unwrap().to_string(), "expected a file of 5 bytes, found 4");
    std::fs::remove_file(reader.path()).unwrap();
    assert_eq!(reader.open().err().unwrap().kind(), io::ErrorKind::NotFound);
}

#[tokio::test]
async fn a_reader_of_a_filling_entry_waits_for_its_bytes() {
    let directory = tempfile::tempdir().unwrap();
    let entry = filling(directory.path());
    let reader = Reader::new(entry.clone());
    let waiting = tokio::spawn(async move { reader.complete_file().await.is_ok() });
    entry.receive(5);
    tokio::task::yield_now().await;
    assert!(!waiting.is_finished(), "bytes that are not verified are held back");
    assert!(entry.set_complete());
    assert!(waiting.await.unwrap());
}

#[tokio::test]
async fn a_failed_entry_stays_failed() {
    let directory = tempfile::tempdir().unwrap();
    let entry = filling(directory.path());
    entry.fail_filling(Miss::gateway(CauseKind::Broken, "no byte came"));
    entry.receive(5);
    assert!(!entry.set_complete() && entry.has_failed());
    assert_eq!(entry.available(1).await.unwrap_err().to_string(), "no byte came");
}

#[test]
fn a_complete_file_without_a_name_is_discarded_and_a_published_one_is_not() {
    let directory = tempfile::tempdir().unwrap();
    let entry = filling(directory.path());
    assert!(!entry.discard(), "it is not complete");
    let reader = Reader::new(entry.clone());
    assert!(entry.set_complete() && entry.discard() && !entry.discard());
    assert_eq!(text(&reader), "bytes");
    let published = published(directory.path());
    assert!(!published.discard() && published.open().is_ok());
}

#[test]
fn only_a_filling_entry_is_failed_for_want_of_bytes() {
    let directory = tempfile::tempdir().unwrap();
    let entry = filling(directory.path());
    assert!(entry.set_complete());
    assert!(!entry.fail_filling(Miss::local("late")) && entry.is_complete(), "its bytes are verified");
    let published = published(directory.path());
    assert!(!published.fail_filling(Miss::local("late")));
    published.fail_complete(Miss::local("late"));
    assert!(published.is_complete());
    entry.fail_complete(Miss::local("the disk failed"));
    assert!(entry.has_failed());
}

#[test]
fn a_removed_entry_without_a_file_is_an_error_that_tells_so() {
    let directory = tempfile::tempdir().unwrap();
    let entry = published(directory.path());
    entry.set_removed();
    let error = entry.open().err().unwrap();
    assert!(
        is_lost(&error) && error.to_string().ends_with("expected a file in the cache, found it removed"),
        "{error}"
    );
}
