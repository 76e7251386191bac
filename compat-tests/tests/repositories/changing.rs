//! Repositories that change between runs, and in the middle of one.

use std::path::{Path, PathBuf};

use compat_tests::darkserver::{Sqlite, import_command};
use compat_tests::fixtures;
use compat_tests::process::Process;
use compat_tests::repository::Repository;
use compat_tests::static_server::{Fault, StaticServer};
use rustix::process::Signal;
use tempfile::TempDir;

use crate::support::{index_of_directory, number, repo, rows, servers};

/// Two states of a repository and the directory that is served.
pub(crate) struct Changing {
    pub(crate) served: TempDir,
    pub(crate) old: Repository,
    pub(crate) new: Repository,
}

impl Changing {
    /// 1.1-5 and 1.1-6 at first, 1.1-5 and 1.1-7 later.
    pub(crate) fn make() -> Self {
        let changing = Self {
            served: tempfile::tempdir().unwrap(),
            old: Repository::of_rpms(&servers(&[5, 6])),
            new: Repository::of_rpms(&servers(&[5, 7])),
        };
        replace(changing.old.path(), changing.served.path());
        changing
    }
}

/// Makes a directory the copy of another one, metadata last, as mirrors do.
pub(crate) fn replace(from: &Path, to: &Path) {
    let _ = std::fs::remove_dir_all(to.join("repodata"));
    for file in files(to) {
        std::fs::remove_file(file).unwrap();
    }
    fixtures::copy(&files(from), to);
    fixtures::copy(&files(&from.join("repodata")), &to.join("repodata"));
}

fn files(directory: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().path());
    entries.filter(|path| path.is_file()).collect()
}

#[test]
fn a_repository_that_is_refreshed_while_it_is_read_is_read_again() {
    let requests = {
        let changing = Changing::make();
        let (server, index) = (StaticServer::start(changing.served.path()), Sqlite::empty());
        repo(&index, &server.url(), &["--jobs", "1"]).expect(0);
        server.sent().len()
    };
    let right = index_of_directory(Changing::make().new.path());
    for number in 2..=requests {
        let changing = Changing::make();
        let (server, index) = (StaticServer::start(changing.served.path()), Sqlite::empty());
        let (from, to) = (changing.new.path().to_owned(), changing.served.path().to_owned());
        server.at_request(number, move || replace(&from, &to));
        let run = repo(&index, &server.url(), &["--jobs", "1"]);
        assert_eq!(run.code, Some(0), "changed at request {number}: {run:?}");
        // What was read of the old state is right, and gone.
        let listed = rows(
            &index,
            "select p.nvra from packages p join memberships m on m.package_id = p.id where m.ended_at is null \
             order by p.nvra",
        );
        let expected = rows(&right, "select nvra from packages order by nvra");
        assert_eq!(listed, expected, "changed at request {number}");
        let present = rows(
            &index,
            "select p.nvra from packages p join locations l on l.package_id = p.id where l.gone_at is null \
             order by p.nvra",
        );
        assert_eq!(present, expected, "changed at request {number}");
        repo(&index, &server.url(), &[]).expect(0);
    }
}

#[test]
fn what_a_complete_listing_lacks_is_gone_and_what_comes_back_is_present() {
    let changing = Changing::make();
    let (server, index) = (StaticServer::start(changing.served.path()), Sqlite::empty());
    repo(&index, &server.url(), &[]).expect(0);
    replace(changing.new.path(), changing.served.path());
    repo(&index, &server.url(), &[]).expect(0);
    let gone = "select count(*) from locations where gone_at is not null";
    let ended = "select count(*) from memberships where ended_at is not null";
    assert_eq!((number(&index, gone), number(&index, ended)), (3, 3));
    assert_eq!(number(&index, "select count(*) from packages"), 9);

    replace(changing.old.path(), changing.served.path());
    server.forget();
    repo(&index, &server.url(), &[]).expect(0);
    assert_eq!((number(&index, gone), number(&index, ended)), (3, 3));
    // The headers of 1.1-6 are known.
    assert_eq!(server.sent_for(".rpm").len(), 0, "{:?}", server.sent_for(".rpm"));
}

#[test]
fn a_repository_that_goes_back_after_an_import_was_stopped_keeps_nothing_of_it() {
    let changing = Changing::make();
    let (server, index) = (StaticServer::start(changing.served.path()), Sqlite::empty());
    repo(&index, &server.url(), &[]).expect(0);
    let listed = "select p.nvra from packages p join memberships m on m.package_id = p.id where m.ended_at is null \
                  order by p.nvra";
    let before = rows(&index, listed);

    // Some of the new packages are written, and then it ends.
    replace(changing.new.path(), changing.served.path());
    server.set("server-debugsource-1.1-7", Fault::StallsAfter(10));
    let log = tempfile::NamedTempFile::new().unwrap();
    let url = server.url();
    let mut command = import_command(&index.url(), &["repo", &url, "--name", "tested", "--jobs", "1"]);
    let mut process = Process::start(&mut command, log.path());
    process.wait_until("a package that stalls", || !server.sent_for("server-debugsource-1.1-7").is_empty());
    process.signal(Signal::TERM);
    assert_eq!(process.wait().code(), Some(130), "{}", process.output());
    assert!(rows(&index, listed) != before, "expected that some packages were written");
    assert_eq!(number(&index, "select count(*) from repositories where metadata_checksum is not null"), 0);

    replace(changing.old.path(), changing.served.path());
    server.repair();
    repo(&index, &server.url(), &[]).expect(0);
    assert_eq!(rows(&index, listed), before);
    let present = "select count(*) from locations where path like '%1.1-7%' and gone_at is null";
    assert_eq!(number(&index, present), 0);
    server.forget();
    repo(&index, &server.url(), &[]).expect(0);
    assert_eq!(server.sent().len(), 1, "{:?}", server.sent());
}

#[test]
fn a_location_that_another_repository_lists_is_not_gone() {
    let site = tempfile::tempdir().unwrap();
    let packages = site.path().join("Packages");
    fixtures::copy(&servers(&[5, 6]), &packages);
    // Both list packages of one directory, as composes do.
    let all = Repository::at(site.path());
    let server = StaticServer::start(site.path());
    let index = Sqlite::empty();
    compat_tests::darkserver::import_ok(
        &index.url(),
        &["store", "add", "site", "--tier", "mirror", "--url", &server.url()],
    );
    let import = |name: &str, path: &str| {
        let url = format!("{}/{path}", server.url());
        crate::support::run_import(&index, &["repo", &url, "--name", name, "--store", "site"]).expect(0);
    };
    import("all", "");
    let part = Repository::at(&packages);
    import("part", "Packages");
    for rpm in servers(&[6]) {
        std::fs::remove_file(packages.join(rpm.file_name().unwrap())).unwrap();
    }
    part.update();
    import("part", "Packages");
    let gone = "select count(*) from locations where gone_at is not null";
    assert_eq!(number(&index, gone), 0, "`all` still lists them");
    all.update();
    import("all", "");
    assert_eq!(number(&index, gone), 3);
}
