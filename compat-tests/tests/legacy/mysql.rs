//! Databases on a real MariaDB with the tables of each release, filled as the releases filled them.

use std::fs;

use compat_tests::darkserver::Sqlite;
use compat_tests::mariadb::MariaDb;

use super::*;

/// A release's table, the values behind the first five of a row, and what the index has of its distribution.
struct Release {
    name: &'static str,
    create: &'static str,
    table: &'static str,
    more: &'static str,
}

const TEXTS: &str = "elfname longtext not null, instpath longtext not null, build_id longtext not null, rpm_name \
                     longtext not null, distro longtext not null";

const RELEASES: [Release; 4] = [
    Release {
        name: "s1",
        create: "create table dark_gnubuildid (id int auto_increment not null primary key, elfname varchar(255), \
                 installpath varchar(500), buildid varchar(100), rpm_name varchar(255), distro varchar(100), \
                 index gnubuildid_id (buildid), index gnubuildid_rpm (rpm_name)) default charset latin1",
        table: "dark_gnubuildid",
        more: "",
    },
    Release {
        name: "s2",
        create: "create table buildid_gnubuildid (id integer auto_increment not null primary key, {texts})",
        table: "buildid_gnubuildid",
        more: "",
    },
    Release {
        name: "s3",
        create: "create table buildid_gnubuildid (id integer auto_increment not null primary key, {texts}, \
                 kojibuildid integer not null)",
        table: "buildid_gnubuildid",
        more: ", 267110",
    },
    Release {
        name: "s4",
        create: "create table buildid_gnubuildid (id integer auto_increment not null primary key, {texts}, \
                 kojibuildid integer not null, kojitype longtext not null, rpm_url longtext not null)",
        table: "buildid_gnubuildid",
        more: ", 267110, 'primary', 'https://kojipkgs.fedoraproject.org//packages/x'",
    },
];

fn fill(server: &MariaDb, release: &Release) {
    let Release { name, create, table, more } = release;
    server.create_database(name);
    let create = create.replace("{texts}", TEXTS);
    let users = "create table buildid_darkuser (id int primary key, name longtext, password longtext, comments \
                 longtext); insert into buildid_darkuser values (1, 'kushal', '5ecre7''; insert', '')";
    let mut statements = format!("use {name}; {create}; {users};");
    for (elf, path, id, rpm) in [
        ("libapr-1.so.0.4.5", "/usr/lib64", APR, "apr-1.4.5-1.fc16.x86_64"),
        ("libapr-1.so.0.4.5.debug", "/usr/lib/debug/usr/lib64", APR, "apr-debuginfo-1.4.5-1.fc16.x86_64"),
        ("bash", "/bin", BASH, "bash-4.2.10-5.fc16.x86_64"),
        ("nothing", "/bin", "-", "bash-4.2.10-5.fc16.x86_64"),
        ("it''s \\\\ café", "/opt/x", "AABB", "odd-1-1.fc16.noarch"),
        ("bash", "/bin", BASH, "bash-4.2.10-5.fc16.x86_64.rpm"),
    ] {
        statements.push_str(&format!(
            "insert into {table} values (null, '{elf}', '{path}', '{id}', '{rpm}', 'f16-build'{more});"
        ));
    }
    server.sql(&statements);
}

#[test]
fn every_release_is_read_from_its_database_and_from_its_dump() {
    let server = MariaDb::shared();
    let directory = tempfile::tempdir().unwrap();
    for release in &RELEASES {
        fill(&server, release);
        let user = format!("reader_{}", release.name);
        server.create_user(&user, "5ecre7", &format!("select on {}.{}", release.name, release.table));
        let mut sources = vec![server.url_of(&user, "5ecre7", release.name)];
        for (number, arguments) in
            [&[][..], &["--complete-insert", "--skip-extended-insert"], &["--skip-quote-names", "--compact"]]
                .iter()
                .enumerate()
        {
            let path = directory.path().join(format!("{}-{number}.sql", release.name));
            fs::write(&path, server.dump(release.name, arguments)).unwrap();
            sources.push(path.to_str().unwrap().to_owned());
        }
        for from in sources {
            let index = Sqlite::empty();
            let (summary, stderr) = legacy(&index.url(), &from, 0);
            let text = format!("{summary}{stderr}");
            assert!(!text.contains("5ecre7"), "{text}");
            assert_eq!(summary["tables"], json!({ release.table: 6 }), "{from}");
            assert_eq!(summary["skipped"], json!({ "no_build_id": 1, "duplicate": 1 }), "{from}");
            expect_answers(&index.url(), "f16-build");
            let shown = compat_tests::darkserver::import_ok(&index.url(), &["show", "aabb", "--json"]);
            let shown: Value = serde_json::from_slice(&shown.stdout).unwrap();
            assert_eq!(shown["packages"][0]["files"][0]["path"], "/opt/x/it's \\ café", "{from}");
        }
    }
}

#[test]
fn an_index_is_no_source_and_a_database_without_the_tables_neither() {
    let server = MariaDb::with_family("server");
    let index = Sqlite::empty();
    let (_, stderr) = legacy(&index.url(), &server.url("darkserver"), 2);
    assert!(stderr.contains("as an index of this darkserver has it"), "{stderr}");
    server.create_database("empty");
    let (_, stderr) = legacy(&index.url(), &server.url("empty"), 2);
    assert!(stderr.contains("expected a table dark_gnubuildid or buildid_gnubuildid"), "{stderr}");
    assert!(!index.path().exists(), "nothing is made for a source that cannot be read");
}
