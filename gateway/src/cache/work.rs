//! One extraction: of what it is, whom it tells, and how it can end.

use std::io::{self, ErrorKind};
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Mutex};

use artifact::BuildId;
use tokio::sync::watch;

use super::entry::{About, Progress};
use super::note::Note;
use super::{Entry, Files};
use crate::metrics::METRICS;
use crate::permits::Permit;
use crate::resolve::outcome::Miss;

/// One extraction.
pub(super) struct Work {
    pub(super) files: Files,
    pub(super) nvra: String,
    /// Path of the member.
    pub(super) path: String,
    pub(super) ordinal: u32,
    pub(super) build_id: Option<BuildId>,
    pub(super) about: About,
    pub(super) entry: Arc<Entry>,
    pub(super) sender: watch::Sender<Progress>,
    /// Given back when the member is whole: others shall not wait for its neighbours.
    pub(super) permit: Mutex<Option<Permit>>,
    /// Given up, because no byte came.
    pub(super) stalled: AtomicBool,
}

/// Why an archive did not give the member.
pub(super) enum End {
    /// Another one may give it.
    Archive(Miss),
    /// It has other bytes than those that somebody may have seen, and it may be the one that is right.
    Differs(Miss),
    /// No other one would.
    All(Miss),
    /// Nobody waits for it any more.
    Unwanted,
}

impl Work {
    /// Expects what a file says of its build-id.
    pub(super) fn expect(&self, expected: &BuildId, note: &Note) -> Result<(), End> {
        let nvra = &self.nvra;
        let found = match note {
            note if note.allows(expected) => return Ok(()),
            Note::Says(Some(found)) => found.to_string(),
            _ => "none".to_owned(),
        };
        Err(End::Archive(Miss::Absent(format!("{nvra}: expected a file with build-id {expected}, found {found}"))))
    }
}

/// The cache folder did not take a member: counted, with the cause.
pub(super) fn refused(about: &About, error: &io::Error) -> Miss {
    let full = matches!(error.kind(), ErrorKind::StorageFull | ErrorKind::QuotaExceeded);
    METRICS.cache_write_failures.with_label_values(&[if full { "disk_full" } else { "error" }]).inc();
    let folder = about.path.parent().unwrap_or(&about.path);
    Miss::local(format!("cache folder {}: {error}", folder.display()))
}
