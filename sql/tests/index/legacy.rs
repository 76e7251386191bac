//! Rows of an original's database: they complete what is known, and never replace better knowledge.

use std::time::Duration;

use artifact::{Format, Kind};
use sql::legacy::{OriginalDatabase, OriginalTable, StagedRow, Staging};
use sql::{Claim, ClaimedPackage, KojiOrigin, NewLocation, Origin, Store, Tier};

use crate::builders::{artifact, build_id, import, store};
use crate::{Fresh, on_both, on_mariadb, run};

const P: &str = "p-1-1.x86_64";

fn location(store: &Store, path: &str) -> NewLocation {
    NewLocation {
        store_id: store.id,
        path: path.into(),
        size: None,
        mtime_ns: None,
        header: None,
        checksum: None,
        signing_key: None,
    }
}

fn legacy(ids: &[&str], location: Option<NewLocation>) -> ClaimedPackage {
    let claim =
        |id: &&str| Claim { build_id: build_id(id), kind: Kind::Executable, link_path: Some("/usr/bin/old".into()) };
    ClaimedPackage {
        origin: Origin::Legacy,
        format: Format::Rpm,
        nevra: P.parse().unwrap(),
        source_rpm: None,
        distro: "dist-f16-build".into(),
        claims: ids.iter().map(claim).collect(),
        location,
        repository_id: None,
        koji: Some(KojiOrigin { instance: "primary".into(), build: 7, volume: String::new() }),
    }
}

async fn packages(fresh: &Fresh) -> Vec<String> {
    fresh.rows("select state, distro, koji_instance, koji_build, koji_volume from packages order by id").await
}

#[test]
fn the_same_rows_twice_are_the_same_index() {
    on_both(async |fresh| {
        let index = fresh.index().await;
        let koji = store(&index, "k", Tier::Koji, 0).await;
        let rows = [legacy(&["aa", "bb"], Some(location(&koji, "p/1/1/x86_64/p-1-1.x86_64.rpm")))];
        assert_eq!(index.insert_claimed("w", &rows).await.unwrap(), 1);
        let once = fresh.dump().await;
        assert_eq!(index.insert_claimed("w", &rows).await.unwrap(), 0);
        assert_eq!(fresh.dump().await, once);
        assert_eq!(
            packages(&fresh).await,
            ["state=Some(\"legacy\") distro=Some(\"dist-f16-build\") koji_instance=Some(\"primary\") \
                 koji_build=Some(7) koji_volume=None"]
        );
        let seen = fresh.rows("select first_seen, last_seen, gone_at, derived from locations").await;
        assert_eq!(seen, ["first_seen=None last_seen=None gone_at=None derived=Some(0)"]);
    });
}

#[test]
fn a_complete_package_gets_no_claims_and_stays_as_it_is() {
    on_both(async |fresh| {
        let index = fresh.index().await;
        let mirror = store(&index, "m", Tier::Mirror, 0).await;
        let mut read = import(&mirror, P, vec![artifact(0, "aa", Kind::Executable, "/usr/bin/p")]);
        read.distro = Some("fc40".into());
        read.koji = Some(KojiOrigin { instance: "mine".into(), build: 9, volume: "v".into() });
        index.insert("w", std::slice::from_ref(&read)).await.unwrap();
        index.mark_gone(mirror.id, &[sql::PathHash::of_path(&read.location.path)], 5).await.unwrap();
        let before = fresh.dump().await;
        // Its place is one that the index knows as gone; bb came from a link to a file of the building machine.
        let rows = [legacy(&["aa", "bb"], Some(location(&mirror, &read.location.path)))];
        assert_eq!(index.insert_claimed("w", &rows).await.unwrap(), 0);
        assert_eq!(fresh.dump().await, before);
    });
}

#[test]
fn the_header_answers_the_rows_also_if_some_were_wrong() {
    on_both(async |fresh| {
        let index = fresh.index().await;
        let mirror = store(&index, "m", Tier::Mirror, 0).await;
        index.insert_claimed("w", &[legacy(&["aa", "bb"], None)]).await.unwrap();
        index
            .insert("w", &[import(&mirror, P, vec![artifact(0, "aa", Kind::Executable, "/usr/bin/p")])])
            .await
            .unwrap();
        assert_eq!(
            fresh.rows("select state, koji_build from packages").await,
            ["state=Some(\"complete\") koji_build=Some(7)"]
        );
        assert!(fresh.rows("select build_id from claims").await.is_empty());
    });
}

#[test]
fn a_listed_package_is_joined_by_a_common_build_id() {
    on_both(async |fresh| {
        let index = fresh.index().await;
        let mirror = store(&index, "m", Tier::Mirror, 0).await;
        let mut listed = legacy(&["aa", "cc"], Some(location(&mirror, "p.rpm")));
        (listed.origin, listed.distro, listed.koji) = (Origin::Repository, "fc16".into(), None);
        index.insert_claimed("w", &[listed]).await.unwrap();
        assert_eq!(index.insert_claimed("w", &[legacy(&["aa", "bb"], None)]).await.unwrap(), 0);
        assert_eq!(
            packages(&fresh).await,
            ["state=Some(\"claimed\") distro=Some(\"fc16\") koji_instance=Some(\"primary\") \
                 koji_build=Some(7) koji_volume=None"]
        );
        assert_eq!(fresh.rows("select build_id from claims").await.len(), 3);
        assert_eq!(index.insert_claimed("w", &[legacy(&["dd"], None)]).await.unwrap(), 1, "another build of this name");
    });
}

#[test]
fn rows_that_were_far_apart_are_read_together() {
    run(async {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("rows.db");
        let row = |number: u8| StagedRow {
            nvra: format!("p{}-1-1.x86_64", number % 7),
            build_id: artifact::BuildId::from_bytes(&[number, number]).unwrap(),
            kind: Kind::Debuginfo,
            path: format!("/{number}"),
            distro: "d".into(),
            koji: Some(("primary".into(), i64::from(number))),
            rpm_url: Some(format!("http://h/{number}")),
        };
        let rows: Vec<StagedRow> = (0..200).map(row).collect();
        let mut staging = Staging::create(&path).await.unwrap();
        for rows in rows.chunks(33) {
            staging.add(rows).await.unwrap();
        }
        let mut sorted = staging.sort(&path).await.unwrap();
        let (stream, mut names) = sorted.rows();
        let read: Vec<StagedRow> = futures::TryStreamExt::try_collect(stream).await.unwrap();
        let mut expected = rows;
        expected.sort_by(|one, other| one.nvra.cmp(&other.nvra));
        assert_eq!(read, expected);
        assert!(names.contains("p3-1-1.x86_64").await.unwrap() && !names.contains("p3").await.unwrap());
    });
}

#[test]
fn tables_are_read_in_pages_whatever_their_character_set() {
    on_mariadb(async |fresh| {
        let server = fresh.server();
        let name = &fresh.database;
        server.create_user("reader_of_rows", "secret", &format!("select on {name}.*"));
        let url = server.url_of("reader_of_rows", "secret", name).parse().unwrap();
        let open = async || {
            let database = OriginalDatabase::open(&url, Duration::from_secs(5)).unwrap();
            let tables = database.tables().await;
            (database, tables)
        };
        let error = open().await.1.unwrap_err().to_string();
        assert!(error.contains("expected a table dark_gnubuildid or buildid_gnubuildid") && !error.contains("secret"));
        server.sql(&format!(
            "use {name}; create table dark_gnubuildid (id int not null auto_increment primary key, elfname \
             varchar(255) character set latin1, installpath varchar(500) character set utf16, buildid varchar(100) \
             character set cp1251, rpm_name longtext character set utf8mb3); insert into dark_gnubuildid select seq, \
             'caf\u{e9}', '/\u{e9}', lpad(hex(seq), 8, '0'), repeat('x', if(seq = 2, 20000, 3)) from seq_1_to_25000"
        ));
        let (database, tables) = open().await;
        let tables = tables.unwrap();
        assert_eq!(tables.iter().map(|table| table.table).collect::<Vec<_>>(), [OriginalTable::Dark]);
        let (mut after, mut rows) = (None, Vec::new());
        loop {
            let page = database.read_page(&tables[0], after).await.unwrap();
            let Some((last, _)) = page.rows.last() else { break };
            after = Some(*last);
            rows.extend(page.rows);
        }
        assert_eq!(rows.len(), 25_000);
        let bytes = |text: &[u8]| sql::legacy::OriginalValue::Bytes(text.to_vec());
        let (_, row) = &rows[1];
        assert_eq!((&row.elf_name, &row.directory), (&bytes(b"caf\xe9"), &bytes("/é".as_bytes())));
        assert_eq!((&row.build_id, &row.rpm_name), (&bytes(b"00000002"), &sql::legacy::OriginalValue::TooLong));
        server.sql(&format!("use {name}; drop table dark_gnubuildid; create view dark_gnubuildid as select 1 as id"));
        let error = open().await.1.unwrap_err().to_string();
        assert!(error.contains("a view dark_gnubuildid, as an index of this darkserver has it"), "{error}");
    });
}
