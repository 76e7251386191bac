use super::*;

fn entry(folder: &Path, progress: Progress) -> (Entry, PathBuf) {
    let path = folder.join("member");
    std::fs::write(&path, "bytes").unwrap();
    let about = About { size: 5, mtime: 0, digest: String::new(), signature: None, path: path.clone() };
    let file = Arc::new(File::open(&path).unwrap());
    (Entry::growing(about, file, None, watch::channel(progress).1), path)
}

#[test]
fn an_evicted_entry_never_takes_the_file_of_the_one_after_it() {
    let folder = tempfile::tempdir().unwrap();
    for evict in [Entry::evict, Entry::evict_for_room] {
        let (first, path) = entry(folder.path(), Progress::Kept);
        first.let_go();
        evict(&first);
        assert!(!path.exists(), "it is gone when the next one may come");
        let (next, path) = entry(folder.path(), Progress::Kept);
        first.evict();
        first.evict_for_room();
        assert!(path.exists() && next.is_usable());
    }
}

#[test]
fn who_holds_an_evicted_entry_can_read_it() {
    let folder = tempfile::tempdir().unwrap();
    let (entry, path) = entry(folder.path(), Progress::Kept);
    entry.let_go();
    entry.evict();
    assert!(!path.exists() && !entry.is_usable());
    assert_eq!(std::io::read_to_string(&*entry.file().unwrap()).unwrap(), "bytes");
}

#[test]
fn who_asked_for_a_file_has_it_when_another_gateway_removes_it() {
    let folder = tempfile::tempdir().unwrap();
    let (entry, path) = entry(folder.path(), Progress::Kept);
    entry.name(|| Ok(())).unwrap();
    std::fs::remove_file(&path).unwrap();
    assert!(entry.file().is_ok());
    entry.let_go();
    assert_eq!(entry.file().unwrap_err().kind(), io::ErrorKind::NotFound);
}

#[test]
fn an_entry_that_was_evicted_while_it_grew_gets_no_name() {
    let folder = tempfile::tempdir().unwrap();
    let (entry, path) = entry(folder.path(), Progress::Growing(3));
    std::fs::remove_file(&path).unwrap();
    entry.evict();
    entry.name(|| std::fs::write(&path, "bytes")).unwrap();
    assert!(!path.exists());
    assert!(entry.file().is_ok(), "who reads it goes on");
}
