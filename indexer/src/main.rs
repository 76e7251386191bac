//! darkserver-import: finds archives, reads their headers, fills the index.
//!
//! In reading order:
//! - [`cli`]: the command line; [`settings`]: which database; [`original`]: the form of the original's command;
//! - [`stores`]: which store a folder belongs to; [`store_command`]: `store add`, `list` and `remove`;
//! - [`feed`]: where a feeder puts what it finds; [`directory`]: a feeder, the walk over a directory; [`formats`]: what it
//!   looks for; [`filter`]: what it leaves out; [`hints`]: what else is there;
//! - [`import`]: feeders and readers in parallel; [`read`]: one archive, and what comes of it; [`opened`]: the file that it is in;
//!   [`funnel`]: batches into the index;
//! - [`progress`], [`summary`]: what the operator sees; [`output`]: standard output and error; [`stop`]: Ctrl-C; [`failure`]: exit codes.
//!
//! Data flows one way: feeder -> candidates -> readers, one a job -> outcomes -> funnel -> index.

#![cfg_attr(not(test), warn(clippy::print_stderr, reason = "it panics where standard error is closed"))]

mod cli;
mod directory;
mod failure;
mod feed;
mod filter;
mod formats;
mod funnel;
mod hints;
mod import;
mod opened;
mod original;
mod output;
mod progress;
mod read;
mod settings;
mod stop;
mod store_command;
mod stores;
mod summary;

use std::io::{self, IsTerminal};
use std::process::ExitCode;
use std::time::Duration;

use sql::{Access, DatabaseUrl, Index};
use tracing_subscriber::EnvFilter;

use cli::{Cli, Command, Common, StoreCommand};
use failure::{Failure, Result};
use import::Importer;
use original::Form;
use output::{print, say};
use summary::finish;

fn main() -> ExitCode {
    let cli = Cli::from_command_line();
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new("warn"));
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_ansi(io::stderr().is_terminal())
        .with_writer(io::stderr)
        .init();
    let result = tokio::runtime::Runtime::new().map_err(Failure::local).and_then(|runtime| {
        let result = runtime.block_on(run(cli));
        // A folder of a dead file server cannot be left by asking; dropping the runtime would wait for it.
        runtime.shutdown_background();
        result
    });
    match result {
        Ok(code) => code,
        Err(failure) => failure.report(),
    }
}

async fn run(cli: Cli) -> Result<ExitCode> {
    let common = &cli.common;
    let Some(command) = cli.command else {
        let Some(form) = Form::of(&cli.original)? else { return Err(Failure::Usage("no command, see --help".into())) };
        let database = original::database(common)?;
        let index = open(common, &database).await?;
        return Box::pin(original::import(form, &index, common)).await;
    };
    match command {
        Command::Dir(args) => {
            let filter = settings::filter(common, &args.exclude, &args.include)?;
            let index = open(common, &settings::database(common)?).await?;
            let (mut importer, stop) = Importer::new(&index, &args.import, common);
            importer.import_folders(&args, &filter).await?;
            finish(&importer.finish().await, common, stop.is_set())
        }
        Command::Rpm(args) => {
            let index = open(common, &settings::database(common)?).await?;
            let (mut importer, stop) = Importer::new(&index, &args.import, common);
            importer.import_files(&args.files).await?;
            finish(&importer.finish().await, common, stop.is_set())
        }
        Command::Migrate => migrate(common).await,
        Command::Store(command) => {
            let filter = settings::filter(common, &[], &[])?;
            let database = settings::database(common)?;
            let only_reads = matches!(command, StoreCommand::List) && database.is_sqlite();
            let index = if only_reads { open_to_read(&database).await? } else { open(common, &database).await? };
            let done = store_command::run(&index, command, &filter, common).await;
            if !only_reads {
                index.settle().await;
            }
            done
        }
    }
}

/// Brings the schema up to date, and says what there was to do.
async fn migrate(common: &Common) -> Result<ExitCode> {
    let database = settings::database(common)?;
    let index = Index::open(&database, Access::ReadWrite)?.waiting(Duration::from_secs(common.wait));
    index.reach().await?;
    let migration = index.migrate().await?;
    index.settle().await;
    if common.json {
        let sql::Migration { applied, views, notes } = &migration;
        print(
            &serde_json::json!({ "database": database.to_string(), "applied": applied, "views": views, "notes": notes }),
        )?;
    } else {
        match (migration.applied.as_slice(), migration.views.as_slice()) {
            ([], []) => print(&format_args!("{database}: the schema is up to date"))?,
            ([], views) => {
                let views = views.join(", ");
                print(&format_args!(
                    "{database}: the tables are up to date; made views that were missing or differed: {views}"
                ))?;
            }
            (applied, _) => {
                let applied: Vec<String> = applied.iter().map(i64::to_string).collect();
                print(&format_args!("{database}: applied schema version {}", applied.join(", ")))?;
            }
        }
        for note in &migration.notes {
            print(note)?;
        }
    }
    Ok(ExitCode::SUCCESS)
}

/// Opens an index with a schema of this program's version. The first command on an SQLite file shall just work; the schema of a
/// database server is its administrator's, who runs `migrate`.
async fn open(common: &Common, database: &DatabaseUrl) -> Result<Index> {
    let index = Index::open(database, Access::ReadWrite)?.waiting(Duration::from_secs(common.wait));
    index.reach().await?;
    if database.is_sqlite() {
        let migration = index.migrate().await?;
        if !common.quiet && !migration.applied.is_empty() {
            say(&format_args!("{database}: the schema is in place"));
        }
    } else {
        index.check_schema().await?;
    }
    Ok(index)
}

/// Opens an SQLite file as gateways do: it is neither made nor changed, and may be on read-only media.
async fn open_to_read(database: &DatabaseUrl) -> Result<Index> {
    let index = Index::open(database, Access::ReadOnly)?;
    index.reach().await?;
    index.check_readable().await?;
    Ok(index)
}
