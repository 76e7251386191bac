//! The commands: each opens the index, runs, and returns its exit status.

use std::process::ExitCode;
use std::time::Duration;

use sql::{Access, DatabaseUrl, Index};

use crate::cli::{CheckArgs, Cli, Command, Common, StoreCommand};
use crate::report::failure::{CommandFailure, Result};
use crate::report::output::print_error;
use crate::settings;
use import::Importer;
use original::OriginalArguments;

mod check;
mod check_locations;
mod import;
mod koji;
mod legacy;
mod listen;
mod local_stores;
mod migrate;
mod new_store;
mod original;
mod push;
pub(crate) mod repository;
pub(crate) mod show;
mod status;
mod store;
pub(crate) mod verify;

/// Runs the command of a command line.
pub(crate) async fn run(cli: Cli) -> Result<ExitCode> {
    let common = &cli.common;
    let Some(command) = cli.command else {
        let Some(form) = OriginalArguments::read(&cli.original)? else {
            return Err(CommandFailure::Usage("no command, see --help".into()));
        };
        let database = original::database(common)?;
        let index = open(common, &database).await?;
        return Box::pin(original::import(form, &index, common)).await;
    };
    match command {
        Command::Dir(args) => {
            let filter = settings::filter(common, &args.exclude, &args.include)?;
            let index = open(common, &settings::database(common)?).await?;
            let mut importer = Importer::new(&index, &args.import, common);
            importer.import_directories(&args, &filter).await?;
            importer.finish(common).await
        }
        Command::Rpm(args) => {
            let index = open(common, &settings::database(common)?).await?;
            let mut importer = Importer::new(&index, &args.import, common);
            importer.import_files(&args.files).await?;
            importer.finish(common).await
        }
        Command::Repo(args) => {
            if args.url.is_none() && args.remove.is_none() && !args.all {
                let expected = "expected URL|METALINK|MIRRORLIST, or --all for the repositories of indexer.toml";
                return Err(CommandFailure::Usage(format!("{expected}, found none: see `repo --help`")));
            }
            let index = open(common, &settings::database(common)?).await?;
            let result = Box::pin(repository::run(*args, &index, common)).await;
            index.checkpoint().await;
            result
        }
        Command::Listen(args) => Box::pin(listen::run(args, common)).await,
        Command::Push(args) => Box::pin(push::run(args, common)).await,
        Command::Koji(args) => {
            let index = open(common, &settings::database(common)?).await?;
            let result = Box::pin(koji::run(*args, &index, common)).await;
            index.checkpoint().await;
            result
        }
        Command::Show(args) => {
            let index = open_to_read(&settings::database(common)?).await?;
            show::run(&index, &args, common).await
        }
        Command::Status => {
            let index = open_to_read(&settings::database(common)?).await?;
            status::run(&index, common).await
        }
        Command::Verify(args) => {
            let index = open_to_read(&settings::database(common)?).await?;
            let contact = settings::repositories(common)?.contact;
            verify::run(&index, &args, contact.as_deref(), common).await
        }
        Command::Migrate => migrate::run(common).await,
        Command::Legacy(args) => Box::pin(legacy::run(&args, common)).await,
        Command::Store(command) => {
            let filter = settings::filter(common, &[], &[])?;
            let database = settings::database(common)?;
            let only_reads =
                matches!(&command, StoreCommand::List | StoreCommand::Check(CheckArgs { locations: false, .. }))
                    && database.is_sqlite();
            let index = if only_reads { open_to_read(&database).await? } else { open(common, &database).await? };
            let result = Box::pin(store::run(&index, command, &filter, common)).await;
            if !only_reads {
                index.checkpoint().await;
            }
            result
        }
    }
}

/// Opens an index and checks that its schema has this program's version. An SQLite file is migrated; the schema of a
/// database server is changed by `migrate` alone, which its administrator runs.
async fn open(common: &Common, database: &DatabaseUrl) -> Result<Index> {
    let index = connect(common, database).await?;
    if database.is_sqlite() {
        let migration = index.migrate().await?;
        if !common.quiet && !migration.applied.is_empty() {
            print_error(&format_args!("{database}: the schema is in place"));
        }
    } else {
        index.check_schema().await?;
    }
    Ok(index)
}

/// Opens an index to write it, whatever its schema, and checks the connection.
async fn connect(common: &Common, database: &DatabaseUrl) -> Result<Index> {
    let index = Index::open(database, Access::ReadWrite)?.with_retry_timeout(Duration::from_secs(common.wait));
    index.check_connection().await?;
    Ok(index)
}

/// Opens an SQLite file as gateways do: it is neither created nor changed, and can be on read-only media.
async fn open_to_read(database: &DatabaseUrl) -> Result<Index> {
    let index = Index::open(database, Access::ReadOnly)?;
    index.check_connection().await?;
    index.check_readable().await?;
    Ok(index)
}
