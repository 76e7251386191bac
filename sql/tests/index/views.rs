//! The views for SQL users of the original's tables.

use artifact::Kind;
use sql::{Access, Migration, PathHash, Tier};

use crate::builders::{artifact, build_id, import, store};
use crate::{Fresh, on_mariadb};

#[test]
fn the_views_have_the_originals_columns_and_one_row_per_file_and_package() {
    on_mariadb(async |fresh| {
        let index = fresh.index().await;
        let server = fresh.server();
        let far = store(&index, "far", Tier::Koji, 0).await;
        let near = store(&index, "near", Tier::Mirror, 7).await;
        let local = store(&index, "local", Tier::Local, 0).await;
        let files = vec![
            artifact(4, "both", Kind::Both, "/usr/lib64/libapr-1.so.0.4.5"),
            artifact(5, "debug", Kind::Debuginfo, "/usr/lib/debug/x'\\ä.debug"),
            artifact(6, "root", Kind::Executable, "/x"),
            artifact(7, "odd", Kind::Executable, "x"),
            artifact(8, "first", Kind::Executable, "/two"),
            artifact(8, "second", Kind::Executable, "/two"),
        ];
        let mut batch: Vec<_> =
            [&far, &near, &local].iter().map(|store| import(store, "apr-1.4.5-1.fc16.x86_64", files.clone())).collect();
        batch.push(import(&local, "nowhere-1-1.x86_64", vec![artifact(0, "both", Kind::Executable, "/a/b")]));
        index.insert("test", &batch).await.unwrap();
        server.sql(&format!(
            "use {}; update packages set koji_build = 7, koji_instance = 'ppc' where name = 'nowhere'",
            fresh.database
        ));

        let view = |columns: &str, name: &str| {
            server.sql(&format!("use {}; select {columns} from {name} order by rpm_name, id, 3", fresh.database))
        };
        let rpm = "apr-1.4.5-1.fc16.x86_64";
        let [both, debug, root, odd] = ["both", "debug", "root", "odd"].map(build_id);
        let mut two = ["first", "second"].map(build_id);
        two.sort_unstable();
        let [first, second] = two;
        let old = format!(
            "libapr-1.so.0.4.5\t/usr/lib64\t{both}\t{rpm}\tfc16\n\
             x'\\\\ä.debug\t/usr/lib/debug\t{debug}\t{rpm}\tfc16\n\
             x\t/\t{root}\t{rpm}\tfc16\n\
             x\t/\t{odd}\t{rpm}\tfc16\n\
             two\t/\t{first}\t{rpm}\tfc16\n\
             two\t/\t{second}\t{rpm}\tfc16\n\
             b\t/a\t{both}\tnowhere-1-1.x86_64\t\n"
        );
        assert_eq!(view("elfname, installpath, buildid, rpm_name, distro", "dark_gnubuildid"), old);
        let new: String = old
            .lines()
            .map(|line| {
                let apr = line.contains(rpm);
                let rest =
                    if apr { format!("0\t\thttps://near.example/packages/{rpm}.rpm") } else { "7\tppc\t".into() };
                format!("{line}\t{rest}\n")
            })
            .collect();
        let columns = "elfname, instpath, build_id, rpm_name, distro, kojibuildid, koji_type, rpm_url";
        assert_eq!(view(columns, "buildid_gnubuildid"), new);

        let gone = [PathHash::of_path(&format!("{rpm}.rpm"))];
        index.mark_gone(near.id, &gone, 9).await.unwrap();
        assert_eq!(view(columns, "buildid_gnubuildid"), new.replace("near.example", "far.example"));

        let ids = format!("use {}; select count(*), count(distinct id) from buildid_gnubuildid", fresh.database);
        assert_eq!(server.sql(&ids), "7\t6\n", "a row for each build-id of a file");
        for (view, columns) in [
            ("dark_gnubuildid", "id elfname installpath buildid rpm_name distro"),
            ("buildid_gnubuildid", "id elfname instpath build_id rpm_name distro kojibuildid koji_type rpm_url"),
        ] {
            let found = server.sql(&format!(
                "select group_concat(column_name order by ordinal_position separator ' ') from \
                 information_schema.columns \
                 where table_schema = '{}' and table_name = '{view}'",
                fresh.database
            ));
            assert_eq!(found.trim(), columns);
        }
    });
}

/// A dump names the user that created a view as its definer, which needs a privilege of other users.
#[test]
fn views_missing_after_a_restore_are_created_by_migrate() {
    on_mariadb(async |fresh| {
        let index = fresh.index().await;
        let server = fresh.server();
        let near = store(&index, "near", Tier::Mirror, 0).await;
        let files = vec![artifact(4, "both", Kind::Both, "/usr/lib64/libapr-1.so.0.4.5")];
        index.insert("test", &[import(&near, "apr-1.4.5-1.fc16.x86_64", files)]).await.unwrap();
        let dump = server.dump(&fresh.database, &[]);
        let names = ["dark_gnubuildid", "buildid_gnubuildid"];
        let ignored = names.map(|name| format!("--ignore-table={}.{name}", fresh.database));
        let without_views = server.dump(&fresh.database, &[&ignored[0], &ignored[1]]);
        let placeholders = "create table dark_gnubuildid (id tinyint not null, elfname tinyint not null) engine = \
            MyISAM;\n\
                            create view buildid_gnubuildid as select 1 as id, 1 as elfname;\n";
        for (at, (dump, restores)) in
            [(dump.clone(), false), (without_views.clone(), true), (format!("{without_views}{placeholders}"), true)]
                .iter()
                .enumerate()
        {
            let restored = Fresh::mariadb();
            let user = format!("restorer_{}_{at}", fresh.database);
            server.create_user(&user, "secret", &format!("all on {}.*", restored.database));
            let [user_option, database] = [format!("--user={user}"), format!("--database={}", restored.database)];
            let output = server.client(
                &[
                    &user_option,
                    "--password=secret",
                    "--host=127.0.0.1",
                    "--protocol=tcp",
                    &format!("--port={}", server.port()),
                    &database,
                ],
                dump,
            );
            assert_eq!(output.status.success(), *restores, "{}", String::from_utf8_lossy(&output.stderr));

            let url = server.url_of(&user, "secret", &restored.database);
            let index = sql::Index::open(&url.parse().unwrap(), Access::ReadWrite).unwrap();
            let migration = index.migrate().await.unwrap();
            let expected = Migration { views: names.map(str::to_owned).to_vec(), ..Migration::default() };
            assert_eq!(migration, expected, "dump {at}");
            for (name, column) in [("dark_gnubuildid", "buildid"), ("buildid_gnubuildid", "build_id")] {
                let found = server.sql(&format!(
                    "use {}; select rpm_name from {name} where {column} = '{}'",
                    restored.database,
                    build_id("both")
                ));
                assert_eq!(found, "apr-1.4.5-1.fc16.x86_64\n", "{name} of dump {at}");
            }
            assert_eq!(index.migrate().await.unwrap(), Migration::default(), "dump {at}");
        }
        // As a user with all rights restores it, nothing is missing.
        let restored = Fresh::mariadb();
        let output = server.client(&[&format!("--database={}", restored.database)], &dump);
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        assert_eq!(restored.open(Access::ReadWrite).migrate().await.unwrap(), Migration::default());
    });
}
