//! The sources of rows: a server, a file, standard input.

use std::fs::File;
use std::io::{self, Read};
use std::ops::ControlFlow;
use std::path::PathBuf;
use std::str::FromStr;

use sql::DatabaseUrl;
use sql::legacy::dump::{self, DumpSummary, Position};
use sql::legacy::{OriginalDatabase, OriginalRow, OriginalTable, SourceTable, StagedRow};
use tokio::sync::mpsc;

use super::row;
use super::skipped::SkippedRows;
use crate::pipeline::stop::Stop;
use crate::report::failure::{CommandFailure, Result};

/// Number of rows that are handed over at once.
const BATCH_ROWS: usize = 2_000;
/// Maximum number of such batches that wait.
pub(crate) const CHANNEL_BATCHES: usize = 8;

/// Where rows come from.
#[derive(Clone, Debug)]
pub(crate) enum Source {
    Database(DatabaseUrl),
    File(PathBuf),
    StandardInput,
}

impl FromStr for Source {
    type Err = CommandFailure;

    /// Reads the value of `--from`. No message repeats a password.
    fn from_str(text: &str) -> Result<Self> {
        let scheme = text.split_once(':').map(|(scheme, _)| scheme.to_ascii_lowercase());
        match scheme.as_deref() {
            Some("mysql" | "mariadb" | "sqlite") => Ok(Self::Database(text.parse()?)),
            Some("postgres" | "postgresql") => Err(CommandFailure::Usage(
                "--from: expected mysql://USER:PASSWORD@HOST/DATABASE, or a dump, found a PostgreSQL database: give the \
                 output of `pg_dump --table=buildid_gnubuildid DATABASE`"
                    .into(),
            )),
            _ if text.contains("://") => Err(CommandFailure::Usage(
                "--from: expected mysql://USER:PASSWORD@HOST/DATABASE, the path of a dump, or - for standard input, \
                 found another URL"
                    .into(),
            )),
            _ if text == "-" => Ok(Self::StandardInput),
            _ => Ok(Self::File(text.into())),
        }
    }
}

/// What was read.
#[derive(Debug, Default)]
pub(crate) struct ReadRows {
    /// The tables that were found, with the number of their rows.
    pub(crate) tables: Vec<(OriginalTable, u64)>,
    /// Rows that were left out.
    pub(crate) skipped: SkippedRows,
    /// Why not everything was read. What was read before is valid.
    pub(crate) error: Option<String>,
}

/// Checks rows, and hands them over in batches.
struct Batches {
    sender: mpsc::Sender<Vec<StagedRow>>,
    batch: Vec<StagedRow>,
    skipped: SkippedRows,
}

impl Batches {
    fn new(sender: mpsc::Sender<Vec<StagedRow>>) -> Self {
        Self { sender, batch: Vec::with_capacity(BATCH_ROWS), skipped: SkippedRows::default() }
    }

    /// Adds a row; returns a full batch.
    fn add(&mut self, row: OriginalRow, at: impl FnOnce() -> String) -> Option<Vec<StagedRow>> {
        match row::check(row) {
            Ok(row) => self.batch.push(row),
            Err((reason, found)) => self.skipped.add(reason, &found, at),
        }
        (self.batch.len() >= BATCH_ROWS).then(|| std::mem::replace(&mut self.batch, Vec::with_capacity(BATCH_ROWS)))
    }
}

/// Opens a dump. The first bytes tell its compression.
///
/// # Errors
/// [`CommandFailure::Usage`] if the file cannot be opened.
pub(crate) fn open(source: &Source) -> Result<Box<dyn Read + Send>> {
    let input: Box<dyn Read + Send> = match source {
        Source::File(path) => {
            let refuse = |error: io::Error| {
                CommandFailure::Usage(format!("--from {}: expected a dump, found {error}", path.display()))
            };
            let file = File::open(path).map_err(refuse)?;
            if file.metadata().map_err(refuse)?.is_dir() {
                return Err(refuse(io::Error::other("a directory")));
            }
            Box::new(file)
        }
        _ => Box::new(io::stdin()),
    };
    Ok(input)
}

/// Reads a dump on this thread, which blocks.
pub(crate) fn read_dump(input: impl Read + Send, sender: mpsc::Sender<Vec<StagedRow>>, stop: &Stop) -> ReadRows {
    let mut summary = DumpSummary::default();
    let mut batches = Batches::new(sender);
    let result = match artifact::payload::decompress(input) {
        Ok(text) => dump::read(text, &mut summary, |row, at: Position| {
            if let Some(batch) = batches.add(row, || at.to_string())
                && (stop.is_set() || batches.sender.blocking_send(batch).is_err())
            {
                return ControlFlow::Break(());
            }
            ControlFlow::Continue(())
        })
        .map_err(|error| error.to_string()),
        Err(error) => Err(error.to_string()),
    };
    let rest = std::mem::take(&mut batches.batch);
    // A receiver that has gone has its own error.
    let _ = batches.sender.blocking_send(rest);
    let mut error = result.err();
    if error.is_none() && summary.tables.is_empty() && !stop.is_set() {
        let others = match summary.other_tables {
            0 => "no table".to_owned(),
            others => format!("{others} statements for other tables"),
        };
        error = Some(format!(
            "expected a dump with the table dark_gnubuildid or buildid_gnubuildid, found {others} in {} bytes",
            summary.bytes
        ));
    }
    ReadRows { tables: summary.tables, skipped: batches.skipped, error }
}

/// Reads tables of a server, in pages.
pub(crate) async fn read_database(
    database: &OriginalDatabase,
    tables: &[SourceTable],
    sender: mpsc::Sender<Vec<StagedRow>>,
    stop: &Stop,
) -> ReadRows {
    let mut batches = Batches::new(sender);
    let mut read = ReadRows::default();
    'tables: for table in tables {
        let (mut after, mut count) = (None, 0);
        loop {
            let page = match database.read_page(table, after).await {
                Ok(page) => page,
                Err(error) => {
                    let name = table.table.name();
                    let place = after.map_or_else(String::new, |id| format!(", behind id {id}"));
                    read.error = Some(format!("table {name}{place}: {error}"));
                    break;
                }
            };
            if stop.is_set() {
                break 'tables;
            }
            let Some((last, _)) = page.rows.last() else { break };
            after = Some(*last);
            for (id, row) in page.rows {
                count += 1;
                if let Some(batch) = batches.add(row, || format!("{} id {id}", table.table.name()))
                    && batches.sender.send(batch).await.is_err()
                {
                    break 'tables;
                }
            }
        }
        read.tables.push((table.table, count));
        if read.error.is_some() {
            break;
        }
    }
    let rest = std::mem::take(&mut batches.batch);
    let _ = batches.sender.send(rest).await;
    read.skipped = batches.skipped;
    read
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sources_are_told_apart_and_no_message_has_the_password() {
        assert!(matches!("mysql://u:p@h/d".parse(), Ok(Source::Database(_))));
        assert!(matches!("-".parse(), Ok(Source::StandardInput)));
        assert!(matches!("dumps/2012:05.sql.gz".parse(), Ok(Source::File(_))));
        for (text, expected) in [
            ("postgresql://u:secret@h/d", "pg_dump --table=buildid_gnubuildid"),
            ("https://u:secret@h/d", "found another URL"),
            ("mysql://u:secret@h", "no name of a database"),
            ("mysql:secret", "expected"),
        ] {
            let error = text.parse::<Source>().unwrap_err().to_string();
            assert!(error.contains(expected) && !error.contains("secret"), "{text}: {error}");
        }
    }
}
