//! Locations in every form that tools write: read as the real dnf reads them.

use std::fs;
use std::net::Ipv4Addr;
use std::path::Path;

use compat_tests::darkserver::{RunningGateway, Sqlite};
use compat_tests::fixtures;
use compat_tests::repository::{Dnf, Repository, rewrite_metadata};
use compat_tests::rpmbuild;
use compat_tests::static_server::StaticServer;

use crate::support::{assert_same, contents, index_of_directory, number, repo, rows, run_import};

const SERVER: &str = "server-1.1-6.fc99.x86_64";

/// Makes a package without requirements, which dnf can install anywhere, at `path` below `directory`.
fn package(directory: &Path, name: &str, number: u16, path: &str) -> rpmbuild::Made {
    let made = rpmbuild::numbered(directory, name, 0, number);
    let to = directory.join(path);
    fs::create_dir_all(to.parent().unwrap()).unwrap();
    fs::rename(&made.rpm, &to).unwrap();
    rpmbuild::Made { rpm: to, ..made }
}

/// Paths of the packages that were sent, decoded once, sorted.
fn sent_paths(server: &StaticServer) -> Vec<String> {
    let sent = server.sent().into_iter().filter(|sent| sent.path.contains("Packages") && sent.status < 300);
    let mut paths: Vec<String> = sent.map(|sent| sent.path).collect();
    paths.sort();
    paths.dedup();
    paths
}

/// createrepo_c writes names of files as they are, and dnf takes them so: a percent sign is a percent sign.
#[test]
fn odd_characters_reach_the_server_as_dnf_sends_them() {
    let directory = tempfile::tempdir().unwrap();
    let names = ["plus", "tilde", "caret", "percent", "encoded", "blank", "hash", "question"];
    let paths = [
        "Packages/plus-1.0+git-1.x86_64.rpm",
        "Packages/tilde-1.0~rc1-1.x86_64.rpm",
        "Packages/caret-1.0^post-1.x86_64.rpm",
        "Packages/percent-1.0-1%zz.x86_64.rpm",
        "Packages/encoded-1.0-1%2Bx.x86_64.rpm",
        "Packages/blank 1.0-1.x86_64.rpm",
        "Packages/hash#1.0-1.x86_64.rpm",
        "Packages/question?1.0-1.x86_64.rpm",
    ];
    let made = (1..).zip(names).zip(paths);
    let made: Vec<_> = made.map(|((number, name), path)| package(directory.path(), name, number, path)).collect();
    Repository::at(directory.path());
    let server = StaticServer::start(directory.path());
    let by_dnf = Dnf::of(&server.url());
    by_dnf.download(&names);
    let mut expected = paths.map(str::to_owned);
    expected.sort();
    assert_eq!(sent_paths(&server), expected, "dnf");

    server.forget();
    let index = Sqlite::empty();
    repo(&index, &server.url(), &[]).expect(0);
    assert_eq!(sent_paths(&server), expected, "darkserver-import");
    assert_same(&index, &index_of_directory(directory.path()), "odd characters");

    // And so do gateways, for clients.
    let gateway = RunningGateway::start(&index.url());
    for made in &made {
        let answer = gateway.get(&format!("/buildid/{}/executable", made.build_id));
        assert!(answer.status == 200 && answer.body == made.bytes, "{}: {}", made.member, answer.status);
    }
}

#[test]
fn a_base_in_the_listing_is_the_site_itself_or_a_configured_store() {
    let site = tempfile::tempdir().unwrap();
    let repository = {
        fixtures::copy(&fixtures::rpms("server"), &site.path().join("pool"));
        Repository::at(site.path())
    };
    let right = index_of_directory(site.path());
    let server = StaticServer::start(site.path());
    let other = StaticServer::start_at(Ipv4Addr::new(127, 0, 0, 2), site.path());
    // Pulp and createrepo_c --baseurl write the whole URL of the same host.
    rewrite_metadata(site.path(), "primary", |text| {
        text.replace("<location href=\"pool/", &format!("<location xml:base=\"{}/pool\" href=\"", server.url()))
    });
    let index = Sqlite::empty();
    repo(&index, &server.url(), &[]).expect(0);
    assert_same(&index, &right, "the same host");

    // Packages on another host that is a store.
    repository.update();
    rewrite_metadata(site.path(), "primary", |text| {
        text.replace("<location href=\"pool/", &format!("<location xml:base=\"{}\" href=\"pool/", other.url()))
    });
    let index = Sqlite::empty();
    run_import(&index, &["store", "add", "pool", "--tier", "mirror", "--url", &other.url()]).expect(0);
    repo(&index, &server.url(), &[]).expect(0);
    assert_same(&index, &right, "another store");
    let stores = || {
        rows(
            &index,
            "select s.name, l.path like 'pool/%', count(*) from locations l join stores s on s.id = l.store_id \
             where l.gone_at is null group by 1, 2",
        )
    };
    assert_eq!(stores(), ["pool|1|9"]);
    assert_eq!(other.sent_for(".rpm").len(), 9);
    let gateway = RunningGateway::start(&index.url());
    let answer = gateway.get(&format!("/package/{SERVER}"));
    assert!(answer.text().contains(&format!("{}/pool/{SERVER}.rpm", other.url())), "{}", answer.text());

    // The same packages listed anew: no request, and they stay where they are.
    rewrite_metadata(site.path(), "primary", |text| format!("{text}\n"));
    other.forget();
    repo(&index, &server.url(), &[]).expect(0);
    assert_eq!((stores(), other.sent().len()), (vec!["pool|1|9".to_owned()], 0));

    // One package less: its membership ends, also there. What is not below the repository is not marked as gone.
    let count = |more: &str| number(&index, &format!("select count(*) from memberships where ended_at is {more}"));
    assert_eq!((count("null"), count("not null")), (9, 0));
    rewrite_metadata(site.path(), "primary", |text| without_entry(&text, SERVER));
    assert_eq!(repo(&index, &server.url(), &[]).expect(0).json()["ended"], 1);
    assert_eq!((count("null"), count("not null")), (8, 1));
    assert_eq!((stores(), other.sent().len()), (vec!["pool|1|9".to_owned()], 0));
}

/// A listing without the entry of a package.
fn without_entry(listing: &str, nvra: &str) -> String {
    let entries = listing.split_inclusive("</package>").map(|entry| match entry.find("<package ") {
        Some(start) if entry.contains(&format!("{nvra}.rpm\"")) => &entry[..start],
        _ => entry,
    });
    entries.collect()
}

/// What the listing says of a package may be unusable, but it says that something is there.
#[test]
fn an_entry_without_a_checksum_ends_nothing_and_without_a_place_nothing_at_all() {
    let repository = Repository::of_rpms(&fixtures::rpms("server"));
    let server = StaticServer::start(repository.path());
    let index = Sqlite::empty();
    repo(&index, &server.url(), &[]).expect(0);
    let lost = || {
        let count = |what: &str| number(&index, &format!("select count(*) from {what} is not null"));
        (count("memberships where ended_at"), count("locations where gone_at"))
    };
    let href = format!("<location href=\"{SERVER}.rpm\"/>");
    let break_entry = |place: &str| {
        repository.update();
        rewrite_metadata(repository.path(), "primary", |text| {
            let entries = text.split_inclusive("</package>").map(|entry| match entry.contains(&href) {
                true => entry.replace("<checksum ", "<other ").replace("</checksum>", "</other>").replace(&href, place),
                false => entry.to_owned(),
            });
            entries.collect()
        });
    };
    // Others are removed meanwhile.
    fs::remove_file(repository.path().join("server-debuginfo-1.1-5.fc99.x86_64.rpm")).unwrap();
    break_entry("");
    let run = repo(&index, &server.url(), &[]).expect(1).mentions(&["expected a checksum, found none"]);
    assert_eq!(run.json()["refused"], 1, "{run:?}");
    assert_eq!(lost(), (0, 0), "the entry may be any package");
    fs::remove_file(repository.path().join("server-debuginfo-1.1-7.fc99.x86_64.rpm")).unwrap();
    break_entry(&href);
    repo(&index, &server.url(), &[]).expect(1).mentions(&["expected a checksum, found none"]);
    assert_eq!(lost(), (2, 2), "both that were removed, and not the broken one");
}

#[test]
fn names_that_are_no_nvra_duplicates_and_two_builds_of_one_nvra_are_each_a_location() {
    let directory = tempfile::tempdir().unwrap();
    let first = package(directory.path(), "twice", 1, "Packages/0123456789abcdef.rpm");
    let second = package(directory.path(), "twice", 2, "Packages/rebuilt/twice-1.0-1.x86_64.rpm");
    fs::copy(&first.rpm, directory.path().join("Packages/copy.rpm")).unwrap();
    let repository = Repository::at(directory.path());
    // The whole entry twice.
    rewrite_metadata(repository.path(), "primary", |text| {
        let (start, end) = (text.find("<package ").unwrap(), text.find("</package>").unwrap() + "</package>".len());
        let entry = &text[start..end];
        format!("{}{entry}\n{}", &text[..start], &text[start..])
    });
    let server = StaticServer::start(directory.path());
    let index = Sqlite::empty();
    repo(&index, &server.url(), &[]).expect(0);
    assert_same(&index, &index_of_directory(directory.path()), "names");
    assert_eq!(number(&index, "select count(*) from packages"), 2);
    assert_eq!(number(&index, "select count(*) from locations"), 3);
    let gateway = RunningGateway::start(&index.url());
    for made in [first, second] {
        let rows = gateway.get(&format!("/buildids/{}", made.build_id)).text();
        assert!(rows.contains("twice-1.0-1.x86_64"), "{rows}");
        let answer = gateway.get(&format!("/buildid/{}/executable", made.build_id));
        assert!(answer.status == 200 && answer.body == made.bytes, "{}", answer.status);
    }
    server.forget();
    repo(&index, &server.url(), &[]).expect(0);
    assert_eq!(server.sent().len(), 1, "{:?}", server.sent());
}

#[test]
fn a_query_token_goes_to_every_request_and_into_no_message() {
    let repository = Repository::of_rpms(&fixtures::rpms("server"));
    let server = StaticServer::start(repository.path());
    server.require_query("token=s3cr3t&x=1");
    let url = format!("{}/?token=s3cr3t&x=1", server.url());
    let index = Sqlite::empty();
    let run = repo(&index, &url, &[]).expect(0);
    assert!(server.sent().iter().all(|sent| sent.target.ends_with("?token=s3cr3t&x=1")), "{:?}", server.sent());
    assert_same(&index, &index_of_directory(repository.path()), "with a token");
    let mut said = vec![run.stdout, run.stderr];
    for arguments in [&["status"][..], &["store", "list"], &["show", "server-1.1-6.fc99.x86_64"]] {
        let run = run_import(&index, arguments).expect(0);
        said.extend([run.stdout, run.stderr]);
    }
    server.require_query("token=other");
    let run = repo(&index, &url, &[]).expect(1);
    said.extend([run.stdout, run.stderr]);
    assert!(said.iter().all(|text| !text.contains("s3cr3t")), "{said:#?}");
    assert!(!contents(&index).iter().any(|row| row.contains("s3cr3t")));
}

#[test]
fn packages_of_the_real_dnf_and_ours_are_the_same() {
    let repository = Repository::of_rpms(&fixtures::rpms("server"));
    let server = StaticServer::start(repository.path());
    let index = Sqlite::empty();
    repo(&index, &server.url(), &[]).expect(0);
    let output =
        Dnf::of(&server.url()).run(&["repoquery", "--location", "server", "server-debuginfo", "server-debugsource"]);
    let mut by_dnf: Vec<String> = String::from_utf8_lossy(&output.stdout).lines().map(str::to_owned).collect();
    by_dnf.sort();
    let ours = rows(&index, "select path from locations order by path");
    let ours: Vec<String> = ours.iter().map(|path| format!("{}/{path}", server.url())).collect();
    assert_eq!(ours, by_dnf);
}
