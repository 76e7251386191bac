//! Measures layouts of the index side by side, on a real MariaDB and on SQLite: bytes for each build-id, rate of inserting, time to
//! find a build-id. `cargo run --release -p sql --example layout [BUILD_IDS]` prints Markdown; docs/adr/0008 has what it said.

#![expect(clippy::print_stdout, clippy::unwrap_used, reason = "a program for developers: what fails ends it")]

mod data;
mod layouts;

use std::time::{Duration, Instant};

use compat_tests::mariadb::MariaDb;
use data::{Package, Random};
use layouts::{ARTIFACTS, Layout, PACKAGES, Rows};
use sqlx::{AssertSqlSafe, Connection, Executor, MySqlConnection, SqliteConnection};

/// As the indexer cuts its batches.
const BATCH_PACKAGES: usize = 2_000;
const BATCH_ARTIFACTS: usize = 20_000;
const ROWS: usize = 1_000;
const LOOKUPS: usize = 4_000;

/// A piece of a database: `table.index`, its bytes.
type Pieces = Vec<(String, u64)>;

struct Measured {
    inserting: Duration,
    rows: usize,
    looking: Duration,
    imported: Pieces,
    optimized: Pieces,
}

#[tokio::main(flavor = "current_thread")]
async fn main() {
    let build_ids = std::env::args().nth(1).map_or(200_000, |count| count.parse().unwrap());
    let packages = data::packages(build_ids);
    let build_ids = packages.iter().map(|package| package.artifacts.len()).sum::<usize>() / 2;
    let pairs = packages.iter().filter(|package| !package.artifacts.is_empty()).count() / 2;
    println!(
        "{build_ids} build-ids in {} packages: {pairs} pairs of a package and its -debuginfo package ({:.1} build-ids each) and {} \
         -debugsource packages.\n",
        packages.len(),
        build_ids as f64 / pairs as f64,
        packages.len() - 2 * pairs
    );
    let server = MariaDb::start();
    for (title, layouts) in [("artifacts", ARTIFACTS), ("packages and locations", PACKAGES)] {
        println!("| {title} | database | imported, B/build-id | optimized, B/build-id | inserted rows/s | look-up, µs |");
        println!("| --- | --- | ---: | ---: | ---: | ---: |");
        let mut details = String::new();
        for layout in layouts {
            for database in ["InnoDB", "SQLite"] {
                if database == "SQLite" && !layout.options.is_empty() {
                    continue;
                }
                let measured = match database {
                    "InnoDB" => on_mariadb(&server, layout, &packages).await,
                    _ => on_sqlite(layout, &packages).await,
                };
                let each = |pieces: &Pieces| pieces.iter().map(|(_, bytes)| *bytes).sum::<u64>() as f64 / build_ids as f64;
                println!(
                    "| {} | {database} | {:.0} | {:.0} | {:.0} | {:.0} |",
                    layout.name,
                    each(&measured.imported),
                    each(&measured.optimized),
                    measured.rows as f64 / measured.inserting.as_secs_f64(),
                    measured.looking.as_secs_f64() * 1e6 / LOOKUPS as f64
                );
                for ((piece, imported), (_, optimized)) in measured.imported.iter().zip(&measured.optimized) {
                    let (imported, optimized) = (*imported as f64 / build_ids as f64, *optimized as f64 / build_ids as f64);
                    details.push_str(&format!("| {} | {database} | {piece} | {imported:.0} | {optimized:.0} |\n", layout.name));
                }
            }
        }
        println!(
            "\n| {title} | database | piece | imported, B/build-id | optimized, B/build-id |\n| --- | --- | --- | ---: | ---: |"
        );
        println!("{details}");
    }
}

async fn on_mariadb(server: &MariaDb, layout: &Layout, packages: &[Package]) -> Measured {
    server.sql("drop database if exists layout; create database layout character set utf8mb4 collate utf8mb4_bin");
    let mut connection = MySqlConnection::connect(&server.url("layout")).await.unwrap();
    for table in layout.tables {
        let mut sql = format!("create table {} ({}, primary key ({})", table.name, table.columns, table.key);
        for (name, unique, _, columns) in table.indexes {
            sql.push_str(&format!(", {}key {name} ({columns})", if *unique { "unique " } else { "" }));
        }
        run(&mut connection, format!("{sql}) engine = InnoDB {}", layout.options)).await;
    }
    let (rows, inserting) = insert(&mut connection, layout, packages).await;
    let looking = look(&mut connection, layout, packages).await;
    let imported = innodb_pieces(server, layout);
    for table in layout.tables {
        server.sql(&format!("optimize table layout.{}", table.name));
    }
    Measured { inserting, rows, looking, imported, optimized: innodb_pieces(server, layout) }
}

/// Pages of each index, and last what the files have beyond them.
fn innodb_pieces(server: &MariaDb, layout: &Layout) -> Pieces {
    for table in layout.tables {
        server.sql(&format!("analyze table layout.{}", table.name));
    }
    let page = if layout.options.contains("key_block_size=8") { 8_192 } else { 16_384 };
    let mut pieces: Pieces = server
        .sql(
            "select concat(table_name, '.', index_name), stat_value from mysql.innodb_index_stats \
             where database_name = 'layout' and stat_name = 'size' order by 1",
        )
        .lines()
        .map(|line| line.split_once('\t').unwrap())
        .map(|(piece, pages)| (piece.into(), pages.parse::<u64>().unwrap() * page))
        .collect();
    let files: u64 = server
        .sql("select cast(sum(file_size) as unsigned) from information_schema.innodb_sys_tablespaces where name like 'layout/%'")
        .trim()
        .parse()
        .unwrap();
    let rest = files.saturating_sub(pieces.iter().map(|(_, bytes)| bytes).sum());
    pieces.push(("room kept in the files".into(), rest));
    pieces
}

async fn on_sqlite(layout: &Layout, packages: &[Package]) -> Measured {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("layout.db");
    let mut connection = SqliteConnection::connect(&format!("sqlite:{}?mode=rwc", file.display())).await.unwrap();
    for pragma in ["pragma journal_mode = wal", "pragma synchronous = normal", "pragma cache_size = -65536"] {
        run(&mut connection, pragma.into()).await;
    }
    for table in layout.tables {
        let rowid = if table.key == "id" { "" } else { " without rowid" };
        let columns = table
            .columns
            .replace("id bigint not null, format", "id integer not null, format")
            .replace("id int not null, format", "id integer not null, format");
        run(&mut connection, format!("create table {} ({columns}, primary key ({})){rowid}", table.name, table.key)).await;
        for (name, unique, columns, _) in table.indexes {
            let unique = if *unique { "unique " } else { "" };
            run(&mut connection, format!("create {unique}index {name} on {} ({columns})", table.name)).await;
        }
    }
    let (rows, inserting) = insert(&mut connection, layout, packages).await;
    let looking = look(&mut connection, layout, packages).await;
    let imported = sqlite_size(&mut connection).await;
    run(&mut connection, "vacuum".into()).await;
    Measured { inserting, rows, looking, imported, optimized: sqlite_size(&mut connection).await }
}

async fn sqlite_size(connection: &mut SqliteConnection) -> Pieces {
    let bytes: i64 = sqlx::query_scalar("select page_count * page_size from pragma_page_count, pragma_page_size")
        .fetch_one(connection)
        .await
        .unwrap();
    vec![("file".into(), bytes.cast_unsigned())]
}

async fn run<'c, C: Executor<'c>>(connection: C, sql: String) {
    connection.execute(sqlx::raw_sql(AssertSqlSafe(sql))).await.unwrap();
}

/// Batches as the indexer writes them: packages in the order in which they come, each table's rows in the order of their keys.
async fn insert<C>(connection: &mut C, layout: &Layout, packages: &[Package]) -> (usize, Duration)
where
    for<'c> &'c mut C: Executor<'c>,
{
    let (mut inserted, mut took, mut rest) = (0, Duration::ZERO, packages);
    while !rest.is_empty() {
        let mut artifacts = 0;
        let fits = |package: &Package| {
            artifacts += package.artifacts.len();
            artifacts < BATCH_ARTIFACTS
        };
        let count = rest.iter().take(BATCH_PACKAGES).map(fits).take_while(|fits| *fits).count().max(1);
        let (batch, after) = rest.split_at(count);
        rest = after;
        let mut statements = vec!["begin".to_owned()];
        let mut tables: Vec<Rows> = layout.tables.iter().map(|_| Rows::new()).collect();
        for package in batch {
            for (table, rows) in tables.iter_mut().zip((layout.rows)(package)) {
                table.extend(rows);
            }
        }
        for (table, rows) in layout.tables.iter().zip(&mut tables) {
            rows.sort_unstable();
            inserted += rows.len();
            for rows in rows.chunks(ROWS) {
                let values: Vec<&str> = rows.iter().map(|(_, values)| values.as_str()).collect();
                statements.push(format!("insert into {} values {}", table.name, values.join(", ")));
            }
        }
        statements.push("commit".into());
        let begun = Instant::now();
        for statement in statements {
            run(&mut *connection, statement).await;
        }
        took += begun.elapsed();
    }
    (inserted, took)
}

/// The time of all look-ups, one after the other, on a connection that is there.
async fn look<C>(connection: &mut C, layout: &Layout, packages: &[Package]) -> Duration
where
    for<'c> &'c mut C: Executor<'c>,
{
    if layout.query.is_empty() {
        return Duration::ZERO;
    }
    let all: Vec<&data::Artifact> = packages.iter().flat_map(|package| &package.artifacts).collect();
    let mut random = Random(7);
    let mut took = Duration::ZERO;
    for _ in 0..LOOKUPS {
        let wanted = all[usize::try_from(random.below(all.len() as u64)).unwrap()];
        let sql = layout.query.replace("{}", &faster_hex::hex_string(&wanted.build_id));
        let begun = Instant::now();
        let rows = connection.fetch_all(sqlx::raw_sql(AssertSqlSafe(sql))).await.unwrap();
        took += begun.elapsed();
        assert_eq!(rows.len(), 2);
    }
    took
}
