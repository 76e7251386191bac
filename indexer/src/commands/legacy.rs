//! The command `legacy`: reads the rows of an original's database, sorts them by package, and inserts claims.

use std::process::ExitCode;
use std::time::{Duration, Instant};

use futures::TryStreamExt;
use sql::legacy::{OriginalDatabase, SourceTable, StagedPackages, StagedRow, Staging};
use sql::{ClaimedPackage, Index};
use tokio::sync::mpsc;

use super::open;
use crate::cli::{Common, LegacyArgs};
use crate::feeders::legacy::input::{self, CHANNEL_BATCHES, ReadRows, Source};
use crate::feeders::legacy::packages::{PackageRows, PlaceCounts};
use crate::feeders::legacy::place::UrlStores;
use crate::feeders::legacy::skipped::SkippedRows;
use crate::pipeline::stop::Stop;
use crate::pipeline::writer::importer_name;
use crate::report::failure::{self, CommandFailure, Result};
use crate::report::legacy::LegacySummary;
use crate::report::output::{print, print_error};
use crate::settings;

/// Packages, and build-ids, at which a batch is written.
const BATCH_PACKAGES: usize = 5_000;
const BATCH_CLAIMS: usize = 40_000;
/// Interval between two lines of progress.
const LINE_INTERVAL: Duration = Duration::from_secs(5);

/// Imports the rows of a source.
pub(crate) async fn run(args: &LegacyArgs, common: &Common) -> Result<ExitCode> {
    let source: Source = args.from.parse()?;
    let input = Input::open(source, common).await?;
    // Before anything is read: a wrong database is known at once.
    let index = match args.dry_run {
        true => None,
        false => Some(open(common, &settings::database(common)?).await?),
    };
    let (started, stop) = (Instant::now(), Stop::on_signal());
    let mut summary = LegacySummary { source: input.name(), dry_run: args.dry_run, ..LegacySummary::default() };
    let import = Import { index: index.as_ref(), stop: &stop, progress: Progress::new(common.quiet) };
    let imported = Box::pin(import.run(input, &mut summary)).await;
    if let Some(index) = &index {
        index.checkpoint().await;
    }
    imported?;
    summary.seconds = started.elapsed().as_secs_f64();
    finish(&summary, common, stop.is_set())
}

/// Prints the summary and returns the exit status. Rows that are left out do not change it: they are rubbish.
fn finish(summary: &LegacySummary, common: &Common, is_stopped: bool) -> Result<ExitCode> {
    if common.json {
        print(&serde_json::to_string(summary).map_err(CommandFailure::local)?)?;
    } else if !common.quiet {
        print_error(summary);
    }
    if is_stopped {
        print_error(&"interrupted: the same command continues, and inserts nothing twice");
        return Ok(ExitCode::from(failure::INTERRUPTED));
    }
    let Some(error) = &summary.error else { return Ok(ExitCode::SUCCESS) };
    if common.json || common.quiet {
        print_error(&format_args!("darkserver-import: {}: {error}", summary.source));
    }
    Ok(ExitCode::from(failure::FAILED))
}

/// An opened source.
enum Input {
    Database(OriginalDatabase, Vec<SourceTable>),
    Dump(Source),
}

impl Input {
    /// Opens a source; a server must have the tables.
    async fn open(source: Source, common: &Common) -> Result<Self> {
        let Source::Database(url) = source else {
            // A file that cannot be opened is wrong usage.
            drop(input::open(&source)?);
            return Ok(Self::Dump(source));
        };
        let database = OriginalDatabase::open(&url, Duration::from_secs(common.wait))?;
        database.check_connection().await?;
        let tables = database.tables().await.map_err(|error| match error {
            sql::Error::Value { .. } => CommandFailure::Usage(format!("--from: {error}")),
            error => error.into(),
        })?;
        Ok(Self::Database(database, tables))
    }

    /// The source without its password.
    fn name(&self) -> String {
        match self {
            Self::Database(database, _) => database.redacted_url().to_owned(),
            Self::Dump(Source::File(path)) => path.display().to_string(),
            Self::Dump(_) => "standard input".to_owned(),
        }
    }
}

/// One import.
struct Import<'a> {
    /// `None` if nothing is written.
    index: Option<&'a Index>,
    stop: &'a Stop,
    progress: Progress,
}

impl Import<'_> {
    async fn run(mut self, input: Input, summary: &mut LegacySummary) -> Result<()> {
        let directory = tempfile::Builder::new().prefix("darkserver-legacy-").tempdir();
        let directory = directory.map_err(CommandFailure::local)?;
        let path = directory.path().join("rows.db");
        let mut staging = Staging::create(&path).await?;
        let ReadRows { tables, mut skipped, error } = self.stage(input, &mut staging).await?;
        summary.set_read(&tables, error);
        if !self.stop.is_set() {
            let mut sorted = staging.sort(&path).await?;
            Box::pin(self.insert(&mut sorted, &mut skipped, summary)).await?;
        }
        summary.set_skipped(skipped);
        Ok(())
    }

    /// Reads all rows into the temporary file.
    async fn stage(&mut self, input: Input, staging: &mut Staging) -> Result<ReadRows> {
        let (sender, mut batches) = mpsc::channel::<Vec<StagedRow>>(CHANNEL_BATCHES);
        let stop = self.stop.clone();
        let reading = match input {
            Input::Dump(source) => {
                let dump = input::open(&source)?;
                tokio::task::spawn_blocking(move || input::read_dump(dump, sender, &stop))
            }
            Input::Database(database, tables) => {
                tokio::spawn(async move { input::read_database(&database, &tables, sender, &stop).await })
            }
        };
        let mut count = 0;
        while let Some(batch) = batches.recv().await {
            staging.add(&batch).await?;
            count += batch.len();
            self.progress.show(|| format!("{count} rows read"));
            if self.stop.is_set() {
                break;
            }
        }
        drop(batches);
        if self.stop.is_set() && !reading.is_finished() {
            // Standard input may never send another byte.
            reading.abort();
            return Ok(ReadRows::default());
        }
        reading.await.map_err(CommandFailure::local)
    }

    /// Inserts the packages in the order of their names.
    async fn insert(
        &mut self,
        sorted: &mut StagedPackages,
        skipped: &mut SkippedRows,
        summary: &mut LegacySummary,
    ) -> Result<()> {
        let stores = match self.index {
            Some(index) => index.stores().await?,
            None => Vec::new(),
        };
        let (stores, mut places) = (UrlStores::new(&stores), PlaceCounts::default());
        let (mut rows, mut names) = sorted.rows();
        let (mut batch, mut claims) = (Vec::new(), 0);
        let mut package: Option<PackageRows> = None;
        loop {
            let row = rows.try_next().await?;
            if let (Some(open), Some(row)) = (&mut package, &row)
                && open.has(row)
            {
                open.add(row.clone(), skipped);
                continue;
            }
            if let Some(ended) = package.take() {
                claims += ended.claim_count();
                batch.push(ended.finish(&stores, &mut names, &mut places).await.map_err(CommandFailure::Local)?);
            }
            let is_last = row.is_none();
            if is_last || batch.len() >= BATCH_PACKAGES || claims >= BATCH_CLAIMS {
                self.write(std::mem::take(&mut batch), summary).await?;
                claims = 0;
            }
            let Some(row) = row.filter(|_| !self.stop.is_set()) else { break };
            package = Some(PackageRows::begin(row, skipped).map_err(CommandFailure::Local)?);
        }
        (summary.places, summary.wrong_urls, summary.other_urls) = (places.found, places.wrong, places.elsewhere);
        Ok(())
    }

    async fn write(&mut self, batch: Vec<ClaimedPackage>, summary: &mut LegacySummary) -> Result<()> {
        summary.packages += batch.len() as u64;
        summary.build_ids += batch.iter().map(|package| package.claims.len() as u64).sum::<u64>();
        if let Some(index) = self.index {
            summary.new += index.insert_claimed(&importer_name(), &batch).await?;
        }
        self.progress.show(|| format!("{} packages written", summary.packages));
        Ok(())
    }
}

/// A line every few seconds.
struct Progress {
    is_quiet: bool,
    last: Instant,
}

impl Progress {
    fn new(is_quiet: bool) -> Self {
        Self { is_quiet, last: Instant::now() }
    }

    fn show(&mut self, line: impl FnOnce() -> String) {
        if !self.is_quiet && self.last.elapsed() >= LINE_INTERVAL {
            self.last = Instant::now();
            print_error(&line());
        }
    }
}
