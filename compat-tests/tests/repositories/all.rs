//! `repo --all`: every repository of `indexer.toml`, and then a check of places.

use compat_tests::darkserver::{RunningGateway, Sqlite, import_command};
use compat_tests::fixtures;
use compat_tests::process::Process;
use compat_tests::repository::Repository;
use compat_tests::static_server::{Fault, StaticServer};
use rustix::process::Signal;

use crate::support::{assert_same, index_of_directory, number, rows, run_import};

#[test]
fn one_repository_that_fails_does_not_stop_the_others_and_places_are_checked_last() {
    let site = tempfile::tempdir().unwrap();
    for (path, family) in [("os", "server"), ("broken", "v3"), ("extras", "payloads")] {
        fixtures::copy(&fixtures::rpms(family), &site.path().join(path));
        Repository::at(&site.path().join(path));
    }
    std::fs::write(site.path().join("broken/repodata/repomd.xml"), "<html>").unwrap();
    let server = StaticServer::start(site.path());
    let (index, own) = (Sqlite::empty(), tempfile::tempdir().unwrap());
    let text = format!(
        "[check]\nbudget = \"30s\"\n\n[[store]]\nname = \"site\"\ntier = \"mirror\"\nurl = \"{0}\"\n\n\
         [[store]]\nname = \"koji\"\ntier = \"koji\"\nurl = \"{0}/koji\"\npattern = \"{{nvra}}.rpm\"\n\
         distros = [\"fc99\"]\n\n\
         [[repository]]\nname = \"os\"\nstore = \"site\"\npath = \"os\"\n\n\
         [[repository]]\nname = \"broken\"\nstore = \"site\"\npath = \"broken\"\n\n\
         [[repository]]\nname = \"extras\"\nstore = \"site\"\npath = \"extras\"\ndistro = \"made-up\"\n",
        server.url()
    );
    let file = own.path().join("indexer.toml");
    std::fs::write(&file, text).unwrap();
    let arguments = ["repo", "--all", "--config", file.to_str().unwrap()];
    run_import(&index, &arguments).expect(1).mentions(&["broken", "repomd.xml"]);
    let names = rows(&index, "select name, error is null from repositories order by name");
    assert_eq!(names, ["broken|0", "extras|1", "os|1"]);
    assert_eq!(rows(&index, "select distinct distro from packages where name like 'payload-%'"), ["made-up"]);
    let unchecked = "select count(*) from locations where checked_at is null";
    assert_eq!(number(&index, unchecked), 0);
    let absent = "select count(*) from locations l join stores s on s.id = l.store_id \
                  where s.name = 'koji' and l.derived = 1 and l.check_result = 'gone'";
    assert_eq!(number(&index, absent), 9, "what koji does not have is a row, too");

    Repository::at(&site.path().join("broken"));
    run_import(&index, &arguments).expect(0);
    assert_eq!(number(&index, "select count(*) from repositories where error is null"), 3);
}

#[test]
fn a_repository_whose_keys_or_values_are_refused_does_not_stop_the_others() {
    let site = tempfile::tempdir().unwrap();
    for path in ["first", "second", "third"] {
        fixtures::copy(&fixtures::rpms("server"), &site.path().join(path));
        Repository::at(&site.path().join(path));
    }
    std::fs::write(site.path().join("first/repodata/repomd.xml.asc"), "no signature").unwrap();
    let server = StaticServer::start(site.path());
    let (index, own) = (Sqlite::empty(), tempfile::tempdir().unwrap());
    let key = own.path().join("key");
    std::fs::write(&key, "no key").unwrap();
    let text = format!(
        "[check]\nbudget = \"0s\"\n\n[[store]]\nname = \"site\"\ntier = \"mirror\"\nurl = \"{}\"\n\n\
         [[repository]]\nname = \"first\"\nstore = \"site\"\npath = \"first\"\nkeys = [\"{}\"]\n\n\
         [[repository]]\nname = \"second\"\nstore = \"site\"\npath = \"second\"\ndistro = \"{}\"\n\n\
         [[repository]]\nname = \"third\"\nstore = \"site\"\npath = \"third\"\n",
        server.url(),
        key.display(),
        "d".repeat(300)
    );
    let file = own.path().join("indexer.toml");
    std::fs::write(&file, text).unwrap();
    let arguments = ["repo", "--all", "--config", file.to_str().unwrap()];
    let run = run_import(&index, &arguments).expect(1).mentions(&["PUBLIC KEY", "at most 255 bytes of distro"]);
    let outcomes: Vec<String> =
        (0..3).map(|at| run.json()["repositories"][at]["outcome"].as_str().unwrap().to_owned()).collect();
    assert_eq!(outcomes, ["refused", "refused", "imported"]);
    let names = rows(&index, "select name, error is null from repositories order by name");
    assert_eq!(names, ["first|0", "third|1"]);
}

#[test]
fn an_import_that_is_stopped_marks_nothing_and_goes_on_later() {
    let repository = Repository::of_rpms(&fixtures::rpms("server"));
    let server = StaticServer::start(repository.path());
    let index = Sqlite::empty();
    server.set("server-1.1-6", Fault::StallsAfter(10));
    let log = tempfile::NamedTempFile::new().unwrap();
    let url = server.url();
    let mut command = import_command(&index.url(), &["repo", &url, "--name", "tested"]);
    let mut process = Process::start(&mut command, log.path());
    process
        .wait_until("a package that stalls", || !server.sent_for("server-1.1-6").is_empty() && index.path().exists());
    process.signal(Signal::TERM);
    assert_eq!(process.wait().code(), Some(130), "{}", process.output());
    server.repair();
    run_import(&index, &["repo", &url, "--name", "tested"]).expect(0);
    assert_same(&index, &index_of_directory(repository.path()), "after a stop");
}

#[test]
fn a_tree_that_moves_to_an_archive_host_is_one_command() {
    let repository = Repository::of_rpms(&fixtures::rpms("server"));
    let mut server = StaticServer::start(repository.path());
    let index = Sqlite::empty();
    let url = server.url();
    run_import(&index, &["store", "add", "fedora", "--tier", "mirror", "--url", &url]).expect(0);
    run_import(&index, &["repo", &url, "--name", "tested", "--store", "fedora"]).expect(0);
    std::fs::rename(repository.path(), repository.path().with_extension("moved")).unwrap();
    run_import(&index, &["store", "check", "fedora", "--locations"]).expect(0);
    assert_eq!(number(&index, "select count(*) from locations where gone_at is null"), 0, "the host has nothing");
    std::fs::rename(repository.path().with_extension("moved"), repository.path()).unwrap();
    server.stop();
    let archive = StaticServer::start(repository.path());
    run_import(&index, &["store", "add", "fedora", "--tier", "archive", "--url", &archive.url()]).expect(0);
    assert_eq!(archive.sent().len(), 0);
    let gateway = RunningGateway::start(&index.url());
    let rpm = "server/server-1.1-6.fc99.x86_64.rpm";
    let id = fixtures::build_id(rpm, "/usr/bin/server");
    let text = gateway.get(&format!("/buildids/{id}")).text();
    assert!(text.contains(&format!("{}/server-1.1-6.fc99.x86_64.rpm", archive.url())), "{text}");
    let answer = gateway.get(&format!("/buildid/{id}/executable"));
    assert!(answer.body == fixtures::member(&fixtures::rpm(rpm), "/usr/bin/server"), "{}", answer.status);
}
