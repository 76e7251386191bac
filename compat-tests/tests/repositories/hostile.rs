//! Broken and hostile metadata, hrefs, redirects and headers: refused with a message that names the cause, counted, and
//! never a reason to mark anything as gone.

use std::fs;
use std::net::Ipv4Addr;
use std::time::{Duration, Instant};

use compat_tests::darkserver::Sqlite;
use compat_tests::fixtures;
use compat_tests::repository::{Compression, Repository, replace_metadata, rewrite_metadata};
use compat_tests::static_server::{Fault, StaticServer};

use crate::support::{
    Run, assert_nothing_wrong, assert_same, contents, index_of_directory, number, repo, rows, run_import,
};

const PACKAGE: &str = "server-1.1-6.fc99.x86_64.rpm";
const HREF: &str = "<location href=\"server-1.1-6.fc99.x86_64.rpm\"/>";

/// A repository that was imported once.
struct Site {
    repository: Repository,
    server: StaticServer,
    index: Sqlite,
    right: Sqlite,
}

fn site() -> Site {
    let repository = Repository::of_rpms(&fixtures::rpms("server"));
    let server = StaticServer::start(repository.path());
    let index = Sqlite::empty();
    repo(&index, &server.url(), &[]).expect(0);
    let right = index_of_directory(repository.path());
    assert_same(&index, &right, "before");
    Site { repository, server, index, right }
}

impl Site {
    /// Expects that the repository as it is now is refused, by an old index and by a new one.
    #[track_caller]
    fn expect_refused(&self, what: &str, causes: &[&str]) {
        let before = contents(&self.index);
        repo(&self.index, &self.server.url(), &[]).expect(1).mentions(causes);
        assert!(contents(&self.index) == before, "{what}: the index changed");
        assert_eq!(number(&self.index, "select count(*) from memberships where ended_at is not null"), 0, "{what}");
        let error = rows(&self.index, "select coalesce(error, '') from repositories")[0].clone();
        assert!(!error.is_empty(), "{what}: expected that the repository has the error");
        let status = run_import(&self.index, &["status"]).expect(0);
        assert!(status.stdout.contains("\"error\""), "{what}: {}", status.stdout);

        let new = Sqlite::empty();
        repo(&new, &self.server.url(), &[]).expect(1).mentions(causes);
        assert_eq!(number(&new, "select count(*) from packages"), 0, "{what}");
    }

    /// A new import of which one package is refused, and the rest is imported.
    #[track_caller]
    fn expect_one_refused(&self, what: &str, causes: &[&str]) -> Run {
        let index = Sqlite::empty();
        let run = repo(&index, &self.server.url(), &[]).expect(1).mentions(causes);
        assert_eq!(run.json()["refused"], 1, "{what}: {run:?}");
        assert_nothing_wrong(&index, &self.right, what);
        assert_eq!(number(&index, "select count(*) from packages"), 8, "{what}");
        let status = run_import(&index, &["status"]).expect(0).json();
        let (status, refused) = (&status["repositories"][0], &run.json()["refused_packages"][0]);
        assert_eq!(status["refused"], 1, "{what}: {status}");
        let first = status["first_refused"].as_str().unwrap_or_default();
        assert!(first.starts_with(refused["package"].as_str().unwrap()), "{what}: {status}, {refused}");
        run
    }
}

#[test]
fn many_refused_packages_are_counted_and_a_listing_of_too_many_is_refused() {
    let (repository, index) = (Repository::of_rpms(&fixtures::rpms("server")), Sqlite::empty());
    let server = StaticServer::start(repository.path());
    rewrite_metadata(repository.path(), "primary", |text| {
        text.replace("</metadata>", &format!("{}</metadata>", "<package type=\"rpm\"></package>".repeat(250)))
    });
    let run = repo(&index, &server.url(), &[]).expect(1).mentions(&["and 150 more packages"]);
    assert!(run.stderr.lines().count() < 120, "{}", run.stderr.lines().count());
    let summary = run.json();
    assert_eq!((&summary["refused"], &summary["packages"]), (&250.into(), &9.into()));
    assert_eq!(summary["refused_packages"].as_array().unwrap().len(), 100);
    let status = run_import(&index, &["status"]).expect(0).json();
    let first = status["repositories"][0]["first_refused"].as_str().unwrap().to_owned();
    assert_eq!((&status["repositories"][0]["refused"], first.matches("; ").count()), (&250.into(), 2), "{first}");

    let packages = rows(&index, "select nvra from packages order by nvra");
    rewrite_metadata(repository.path(), "primary", |text| text.replace("packages=\"9\"", "packages=\"5000001\""));
    repo(&index, &server.url(), &[]).expect(1).mentions(&["at most 5000000 packages", "5000001"]);
    assert_eq!(rows(&index, "select nvra from packages order by nvra"), packages);
}

#[test]
fn broken_metadata_is_refused_as_a_whole() {
    let site = site();
    let base = site.repository.path().to_owned();
    let repomd = site.repository.repomd();
    let whole = fs::read(&repomd).unwrap();
    let text = String::from_utf8(whole.clone()).unwrap();
    let primary = fs::read_dir(base.join("repodata"))
        .unwrap()
        .map(|file| file.unwrap().path())
        .find(|path| path.to_string_lossy().contains("primary.xml"))
        .unwrap();
    let bytes = fs::read(&primary).unwrap();
    let restore = || {
        fs::write(&repomd, &whole).unwrap();
        fs::write(&primary, &bytes).unwrap();
        site.server.repair();
    };

    for (what, changed, causes) in [
        ("an empty repomd.xml", String::new(), ["repomd.xml", ""]),
        ("a cut repomd.xml", text[..text.len() / 2].to_owned(), ["repomd.xml", ""]),
        ("a page", "<!DOCTYPE html><html><body>Please log in.</body></html>".to_owned(), ["repomd.xml", "HTML"]),
        ("no primary", text.replace("\"primary\"", "\"secondary\""), ["repomd.xml", "primary"]),
    ] {
        fs::write(&repomd, changed).unwrap();
        site.expect_refused(what, &causes);
        restore();
    }
    site.server.set("repomd.xml", Fault::Status(404));
    site.expect_refused("no repomd.xml", &["repomd.xml", "404"]);
    restore();

    // Every byte more of a known revision: the checksum of repomd.xml must differ, or nothing is read.
    let newer = |text: &str| text.replace("<revision>", "<revision>9");
    fs::write(&repomd, newer(&text)).unwrap();
    site.server.set("primary.xml", Fault::Status(404));
    site.expect_refused("no primary.xml", &["primary.xml", "404"]);
    restore();

    fs::write(&repomd, newer(&text)).unwrap();
    fs::write(&primary, &bytes[..bytes.len() - 10]).unwrap();
    site.expect_refused("a cut primary.xml", &["primary.xml"]);
    let mut changed = bytes.clone();
    changed[bytes.len() / 2] ^= 1;
    fs::write(&primary, changed).unwrap();
    site.expect_refused("a changed primary.xml", &["primary.xml", "sha256"]);
    fs::write(&primary, b"<html>").unwrap();
    site.expect_refused("a page as primary.xml", &["primary.xml"]);
    restore();

    // A listing that ends early, with right checksums.
    rewrite_metadata(&base, "primary", |text| text[..text.len() / 2].to_owned());
    site.expect_refused("a listing without its end", &["primary.xml"]);
}

#[test]
fn bombs_are_refused_in_time() {
    let site = site();
    let base = site.repository.path();
    let laughs: String =
        (1..12).map(|level| format!("<!ENTITY l{level} \"{}\">", format!("&l{};", level - 1).repeat(10))).collect();
    let doctype = format!("<!DOCTYPE metadata [<!ENTITY l0 \"ha\">{laughs}]>\n<metadata ");
    let begun = Instant::now();
    rewrite_metadata(base, "primary", |text| {
        text.replacen("<metadata ", &doctype, 1).replacen("<name>server<", "<name>&l11;<", 1)
    });
    site.expect_refused_or_named("entities that expand", "primary");

    site.repository.update();
    rewrite_metadata(base, "primary", |text| {
        text.replacen("<name>server<", &format!("{}<", "<name>".repeat(100_000)), 1)
    });
    site.expect_refused_or_named("elements in elements", "primary");

    site.repository.update();
    let long = "x".repeat(40 << 20);
    rewrite_metadata(base, "primary", |text| text.replacen("<name>server<", &format!("<name>{long}<"), 1));
    site.expect_refused_or_named("a name without an end", "primary");

    // 256 MiB of blanks in a file that states less.
    site.repository.update();
    replace_metadata(base, "primary", &vec![b' '; 256 << 20], Compression::Gzip);
    let text = fs::read_to_string(site.repository.repomd()).unwrap();
    fs::write(site.repository.repomd(), text.replacen("<open-size>268435456<", "<open-size>43019<", 1)).unwrap();
    site.expect_refused("more than it states", &["primary"]);
    assert!(begun.elapsed() < Duration::from_secs(60), "{:?}", begun.elapsed());
}

impl Site {
    /// Refused as a whole, or the one package that has it; never imported with it, and nothing is gone.
    #[track_caller]
    fn expect_refused_or_named(&self, what: &str, file: &str) {
        repo(&self.index, &self.server.url(), &[]).expect(1).mentions(&[file]);
        assert_same(&self.index, &self.right, what);
        assert_eq!(number(&self.index, "select count(*) from locations where gone_at is not null"), 0, "{what}");
    }
}

#[test]
fn hrefs_that_lead_elsewhere_are_refused_and_the_rest_is_imported() {
    let site = site();
    let base = site.repository.path();
    let other = StaticServer::start_at(Ipv4Addr::new(127, 0, 0, 2), base);
    let absolute = format!("<location href=\"{}/{PACKAGE}\"/>", other.url());
    let other_base = format!("<location xml:base=\"{}\" href=\"{PACKAGE}\"/>", other.url());
    for href in [
        "<location href=\"../../etc/server-1.1-6.fc99.x86_64.rpm\"/>",
        "<location href=\"Packages/../../server-1.1-6.fc99.x86_64.rpm\"/>",
        "<location href=\"%2e%2e/%2e%2e/server-1.1-6.fc99.x86_64.rpm\"/>",
        &absolute,
        &other_base,
        "<location href=\"file:///etc/passwd\"/>",
        "<location xml:base=\"file:///etc\" href=\"passwd\"/>",
        "<location href=\"ftp://127.0.0.1/server-1.1-6.fc99.x86_64.rpm\"/>",
        "<location href=\"\"/>",
    ] {
        site.repository.update();
        rewrite_metadata(base, "primary", |text| text.replacen(HREF, href, 1));
        site.expect_one_refused(href, &["server-1.1-6.fc99.x86_64"]);
        assert_eq!(other.sent().len(), 0, "{href}: {:?}", other.sent());
        assert!(site.server.sent().iter().all(|sent| !sent.target.contains("..")), "{href}");
    }
}

#[test]
fn redirects_to_other_hosts_are_followed_only_if_they_are_allowed() {
    let site = site();
    let other = StaticServer::start_at(Ipv4Addr::new(127, 0, 0, 2), site.repository.path());
    let elsewhere = Fault::Redirects(format!("{}{{path}}", other.url()));
    site.server.set(PACKAGE, elsewhere.clone());
    site.expect_one_refused("a redirect of a package", &[PACKAGE, "127.0.0.2"]);
    site.server.repair();
    site.server.set("repomd.xml", elsewhere.clone());
    site.expect_refused("a redirect of repomd.xml", &["repomd.xml", "127.0.0.2"]);
    assert_eq!(other.sent().len(), 0, "{:?}", other.sent());

    site.server.repair();
    site.server.set("", elsewhere);
    let index = Sqlite::empty();
    let store =
        ["store", "add", "site", "--tier", "mirror", "--url", &site.server.url(), "--redirect-hosts", "127.0.0.2"];
    run_import(&index, &store).expect(0);
    repo(&index, &site.server.url(), &["--store", "site"]).expect(0);
    assert_same(&index, &site.right, "an allowed redirect");
}

#[test]
fn a_header_that_is_not_that_of_the_listing_is_refused() {
    let site = site();
    let base = site.repository.path();
    for (from, to) in [
        ("<name>server</name>", "<name>servant</name>"),
        ("ver=\"1.1\" rel=\"6.fc99\"", "ver=\"1.2\" rel=\"6.fc99\""),
        ("ver=\"1.1\" rel=\"6.fc99\"", "ver=\"1.1\" rel=\"8.fc99\""),
        ("epoch=\"0\"", "epoch=\"4\""),
        ("<arch>x86_64</arch>", "<arch>s390x</arch>"),
        ("<size package=\"", "<size package=\"9"),
    ] {
        site.repository.update();
        rewrite_metadata(base, "primary", |text| {
            let at = text.find(HREF).unwrap();
            let start = text[..at].rfind("<package ").unwrap();
            format!("{}{}", &text[..start], text[start..].replacen(from, to, 1))
        });
        site.expect_one_refused(to, &[PACKAGE]);
    }
}

#[test]
fn wrong_header_ranges_cost_requests_but_no_truth() {
    let site = site();
    let base = site.repository.path();
    for (start, end) in
        [("0", "1"), ("4504", "100"), ("999999999", "9999999999"), ("8", "999999999999999999999"), ("x", "y")]
    {
        site.repository.update();
        rewrite_metadata(base, "primary", |text| {
            let at = text.find(HREF).unwrap();
            let from = at + text[at..].find("<rpm:header-range").unwrap();
            let to = from + text[from..].find("/>").unwrap();
            let range = format!("<rpm:header-range start=\"{start}\" end=\"{end}\"");
            format!("{}{range}{}", &text[..from], &text[to..])
        });
        let index = Sqlite::empty();
        let run = repo(&index, &site.server.url(), &[]);
        assert!(matches!(run.code, Some(0 | 1)), "{start}-{end}: {run:?}");
        assert_nothing_wrong(&index, &site.right, &format!("{start}-{end}"));
        let count = number(&index, "select count(*) from packages where identity is not null");
        assert!(count >= 8, "{start}-{end}: {count} packages");
    }
}
