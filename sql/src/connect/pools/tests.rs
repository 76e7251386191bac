use std::fs;

use super::*;

#[test]
fn a_log_belongs_to_the_file_at_which_it_appeared() {
    let directory = tempfile::tempdir().unwrap();
    let [path, log, other, moved] = ["i", "i-wal", "o", "m"].map(|name| directory.path().join(name));
    for file in [&path, &log, &other] {
        fs::write(file, "x").unwrap();
    }
    let watched = WatchedFile::new(&path, false);
    assert!(watched.check_log().is_ok());
    // The file is moved away and back.
    fs::rename(&path, &moved).unwrap();
    assert!(watched.check_log().is_ok());
    fs::rename(&moved, &path).unwrap();
    assert!(watched.check_log().is_ok());
    // Another file, then the first one again.
    fs::rename(&path, &moved).unwrap();
    fs::rename(&other, &path).unwrap();
    assert!(watched.check_log().unwrap_err().to_string().contains("which belongs to a former file"));
    fs::rename(&path, &other).unwrap();
    fs::rename(&moved, &path).unwrap();
    assert!(watched.check_log().is_ok());
    // Another file with a log of its own, or with none.
    fs::rename(&other, &path).unwrap();
    assert!(watched.check_log().is_err());
    fs::write(&moved, "y").unwrap();
    fs::rename(&moved, &log).unwrap();
    assert!(watched.check_log().is_ok());
    fs::remove_file(&log).unwrap();
    assert!(watched.check_log().is_ok());
}
