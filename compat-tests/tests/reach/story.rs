//! The story that darkserver was founded on, as Fedora's wiki told it in 2011: a program crashes, and no repository has
//! its package any more.

use std::collections::BTreeSet;
use std::fs;
use std::process::Command;

use compat_tests::crash::{Crash, expect_crash, gdb};
use compat_tests::darkserver::RunningGateway;
use compat_tests::debuginfod::DebuginfodClient;
use compat_tests::indexer::ANSWER_WITHIN;
use compat_tests::koji_hub::KojiHub;
use compat_tests::process::run;
use compat_tests::rabbitmq::VirtualHost;
use compat_tests::repository::{Repository, SigningKey};
use compat_tests::static_server::StaticServer;
use compat_tests::wait_within;
use serde_json::Value;

use crate::messages::{completed, publish, stable};
use crate::site::{Database, Site, places, server, server_id, server_nvra};

const YEAR: i64 = 365 * 24 * 60 * 60;

/// Bodhi lets the signed packages of a build into the repository, in the place of another.
fn release(koji: &KojiHub, (build, key): (i64, &str), repository: &Repository, obsolete: Option<u32>) {
    for path in koji.paths(build) {
        let (directory, file) = path.rsplit_once("/x86_64/").unwrap();
        let signed = koji.directory().join(format!("{directory}/data/signed/{key}/x86_64/{file}"));
        fs::copy(signed, repository.path().join(file)).unwrap();
    }
    for rpm in obsolete.into_iter().flat_map(server) {
        fs::remove_file(repository.path().join(rpm.file_name().unwrap())).unwrap();
    }
    repository.update();
}

/// Moves every time in an index by a year into the past.
fn let_a_year_pass(site: &Site, builds: &[i64]) {
    let Database::Sqlite(index) = &site.database else { panic!("expected an index on SQLite") };
    let sqlite3 = |statement: &str| {
        let output = run(Command::new("sqlite3").arg(index.path()).arg(statement), "sqlite3");
        assert!(output.status.success(), "{statement}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap()
    };
    let times = sqlite3(
        "select 'update ' || m.name || ' set ' || group_concat(c.name || ' = ' || c.name || ' - YEAR') || ';' \
         from sqlite_master m, pragma_table_info(m.name) c \
         where m.type = 'table' and m.name not like '\\_%' escape '\\' and \
         (c.name like '%\\_at' escape '\\' or c.name in ('first_seen', 'last_seen')) group by m.name",
    );
    assert!(["builds", "locations", "memberships"].iter().all(|table| times.contains(&format!("update {table} "))));
    sqlite3(&times.replace("YEAR", &YEAR.to_string()));
    for build in builds {
        let completed = site.koji.completion_time(*build).unwrap();
        site.koji.set_completion_time(*build, completed - YEAR as f64);
    }
}

#[test]
fn a_year_after_a_package_left_the_mirror_its_core_dump_is_debugged_from_koji() {
    let virtual_host = VirtualHost::new();
    let mirror = tempfile::tempdir().unwrap();
    let updates = mirror.path().join("updates/99/x86_64");
    fs::create_dir_all(&updates).unwrap();
    let (updates, files) = (Repository::at(&updates), StaticServer::start(mirror.path()));
    let tables = format!(
        "[service]\nrefresh_interval = \"1s\"\n[[messages]]\nname = \"fedora\"\nurl = \"{}\"\n\
         [[store]]\nname = \"mirror\"\ntier = \"mirror\"\nurl = \"{}\"\n\
         [[repository]]\nname = \"updates\"\nstore = \"mirror\"\npath = \"updates/99/x86_64\"\n",
        virtual_host.url(),
        files.url(),
    );
    let keys = "reconcile_interval = \"1d\"\nsweep_interval = \"7d\"";
    let mut site = Site::start(Database::sqlite(), keys, &tables);
    site.wait_until_consumed("fedora");
    let (key, six) = (SigningKey::make(), server_nvra(6));
    let in_mirror = |nvra: &str| format!("{}/updates/99/x86_64/{nvra}.rpm", files.url());
    let in_koji =
        |site: &Site, nvra: &str| format!("{}/packages/server/1.1/6.fc99/x86_64/{nvra}.rpm", site.koji.topurl());

    // Built in Koji, and told by a message.
    let old = site.koji.add_build(&server(6));
    publish(&virtual_host.url(), &[completed(&site.koji, old)]);
    site.expect_server(6, |nvra| in_koji(&site, nvra));

    // Signed, and released by Bodhi to a repository.
    let signed = site.koji.sign(old, &key);
    release(&site.koji, (old, &signed), &updates, None);
    publish(&virtual_host.url(), &[stable(&site.koji, old)]);
    let is_listed = |known: &Value| !known["memberships"][0].is_null() && places(known, true).len() == 3;
    let known = site.shown(&six, "a place in the mirror", is_listed);
    assert_eq!(known["memberships"][0]["repository"], "updates", "{known}");
    assert!(known["memberships"][0]["ended_at"].is_null(), "{known}");
    // A mirror is asked before Koji.
    site.expect_server(6, in_mirror);

    // Obsoleted by a newer build, and dropped from the mirror; Koji drops the signed copies as well.
    let new = site.koji.add_build(&server(7));
    publish(&virtual_host.url(), &[completed(&site.koji, new)]);
    site.shown(&server_nvra(7), "the newer build", |known| !known["build"]["imported_at"].is_null());
    assert_eq!(site.koji.sign(new, &key), signed);
    release(&site.koji, (new, &signed), &updates, Some(6));
    site.koji.prune_signed(old, &signed);
    publish(&virtual_host.url(), &[stable(&site.koji, new)]);
    let known = site.shown(&six, "the end in the mirror", |known| {
        !known["memberships"][0]["ended_at"].is_null() && !known["successors"][0].is_null()
    });
    assert_eq!(known["successors"][0]["nvra"], server_nvra(7), "{known}");
    assert!(places(&known, false).iter().any(|(url, _)| *url == in_mirror(&six)), "{known}");
    wait_within(ANSWER_WITHIN, "the newer one in the mirror", || {
        site.answer(&server_id(7)).to_string().contains(&in_mirror(&server_nvra(7)))
    });

    // A year later: everything was started anew, and the caches are empty.
    assert_eq!(site.indexer.stop(), Some(0));
    let_a_year_pass(&site, &[old, new]);
    site.indexer.restart();
    let gateway = RunningGateway::start(&site.database.url());
    site.koji.files.forget();
    files.forget();
    let crash = Crash::run_server(6);
    let client = DebuginfodClient::new(&gateway.url());
    let said = gdb(&client, &["bt", "frame 0", "list"], &[&crash.program(), &crash.core()]);
    expect_crash(&said, 6);
    // The indexer may look whether archives are there; who downloads them is the gateway.
    let downloads = |server: &StaticServer, nvra: &str| -> BTreeSet<String> {
        let sent = server.sent_for(nvra).into_iter().filter(|sent| sent.method == "GET" && sent.status < 300);
        sent.map(|sent| format!("{}{}", server.url(), sent.target)).collect()
    };
    for package in ["server-debuginfo", "server-debugsource"] {
        let nvra = format!("{package}-1.1-6.fc99.x86_64");
        assert_eq!(downloads(&site.koji.files, &nvra), [in_koji(&site, &nvra)].into(), "{:?}", site.koji.files.sent());
        assert!(downloads(&files, &nvra).is_empty(), "{:?}", files.sent());
    }
    let known = site.known(&six).unwrap();
    let ended = known["memberships"][0]["ended_at"].as_i64().unwrap();
    let page = site.page(&six);
    assert!(page.contains("server-1.1-7.fc99"), "{page}");
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_secs() as i64;
    assert!(now - ended >= YEAR, "{known}");
}
