//! The summary of a refresh of a repository.

use std::fmt;

use bytesize::ByteSize;
use serde::Serialize;
use sql::Verified;

use crate::report::summary::{ImportSummary, counted};

/// How a refresh ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum RepositoryOutcome {
    /// Its listing was read to the end.
    Imported,
    /// Its metadata is that of the last refresh.
    Unchanged,
    /// Nothing was ended or marked as gone; `error` is the cause.
    Refused,
    /// A signal stopped it. The next refresh continues.
    Interrupted,
    /// Another indexer refreshes it; `error` states which.
    Skipped,
}

/// A package that was refused or could not be read.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(crate) struct RefusedPackage {
    pub(crate) package: String,
    pub(crate) reason: String,
}

/// The counts of a refresh: the object that `--json` prints.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub(crate) struct RepositorySummary {
    /// The repository.
    pub(crate) name: String,
    pub(crate) outcome: RepositoryOutcome,
    /// Why it was refused.
    pub(crate) error: Option<String>,
    #[serde(serialize_with = "word")]
    pub(crate) verified: Verified,
    /// Packages that it lists.
    pub(crate) packages: u64,
    /// Of these: known, with nothing to do.
    pub(crate) unchanged: u64,
    /// Entries that repeat another one.
    pub(crate) duplicates: u64,
    /// Packages that are new in the index with their header.
    pub(crate) imported: u64,
    /// Packages that were open and are complete now.
    pub(crate) completed: u64,
    /// Packages that are new in the index without their header.
    pub(crate) claimed: u64,
    /// Known packages at new places, which cost no request.
    pub(crate) located: u64,
    /// Artifacts written.
    pub(crate) artifacts: u64,
    /// Provides and links that are no build-id.
    pub(crate) rubbish_provides: u64,
    /// Number of packages that were refused or could not be read.
    pub(crate) refused: u64,
    /// The first 100 of these packages.
    pub(crate) refused_packages: Vec<RefusedPackage>,
    /// Packages that it listed before and does not any more.
    pub(crate) ended: u64,
    /// Locations that no repository lists any more.
    pub(crate) gone: u64,
    /// HTTP requests.
    pub(crate) requests: u64,
    /// Bytes received for metadata.
    pub(crate) metadata_bytes: u64,
    /// Headers that were fetched.
    pub(crate) headers: u64,
    /// Bytes received for headers.
    pub(crate) header_bytes: u64,
    /// Average of these by header.
    pub(crate) bytes_per_header: u64,
    /// Payloads that were read.
    pub(crate) payloads: u64,
    /// Bytes received for payloads.
    pub(crate) payload_bytes: u64,
    /// Duration in seconds.
    pub(crate) seconds: f64,
}

impl RepositorySummary {
    /// Returns the summary of a refresh that begins.
    pub(crate) fn new(name: &str) -> Self {
        Self {
            name: name.to_owned(),
            outcome: RepositoryOutcome::Interrupted,
            error: None,
            verified: Verified::No,
            packages: 0,
            unchanged: 0,
            duplicates: 0,
            imported: 0,
            completed: 0,
            claimed: 0,
            located: 0,
            artifacts: 0,
            rubbish_provides: 0,
            refused: 0,
            refused_packages: Vec::new(),
            ended: 0,
            gone: 0,
            requests: 0,
            metadata_bytes: 0,
            headers: 0,
            header_bytes: 0,
            bytes_per_header: 0,
            payloads: 0,
            payload_bytes: 0,
            seconds: 0.0,
        }
    }

    /// Adds the counts of the packages that were written, and those that were not.
    pub(crate) fn add(&mut self, written: &ImportSummary, (refused, more): (Vec<(String, String)>, u64)) {
        self.imported += written.imported;
        self.completed += written.completed;
        self.claimed += written.claimed;
        self.located += written.located;
        self.artifacts += written.artifacts;
        self.payloads += written.payloads_read;
        self.refused += refused.len() as u64 + more;
        self.refused_packages.extend(refused.into_iter().map(|(package, reason)| RefusedPackage { package, reason }));
        self.bytes_per_header = self.header_bytes.checked_div(self.headers).unwrap_or_default();
    }

    /// True if all of the repository is in the index.
    pub(crate) fn is_flawless(&self) -> bool {
        self.refused == 0 && matches!(self.outcome, RepositoryOutcome::Imported | RepositoryOutcome::Unchanged)
    }
}

fn word<S: serde::Serializer>(verified: &Verified, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(verified.as_str())
}

impl fmt::Display for RepositorySummary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: ", self.name)?;
        let unverified = if self.verified == Verified::No { " (unverified)" } else { "" };
        let packages = counted(self.packages, "package");
        match (self.outcome, &self.error) {
            (RepositoryOutcome::Unchanged, _) => return write!(f, "unchanged{unverified}, {packages}"),
            (RepositoryOutcome::Refused, error) => {
                write!(f, "REFUSED: {}", error.as_deref().unwrap_or("unknown reason"))?;
            }
            (RepositoryOutcome::Skipped, by) => {
                return write!(f, "skipped: {}", by.as_deref().unwrap_or("another indexer refreshes it"));
            }
            (RepositoryOutcome::Imported, _) => write!(f, "{packages} listed{unverified}")?,
            (RepositoryOutcome::Interrupted, _) => f.write_str("interrupted")?,
        }
        let places = if self.located == 1 { "at a new place" } else { "at new places" };
        let provides = if self.rubbish_provides == 1 { "provide is no build-id" } else { "provides are no build-id" };
        let refused = if self.refused == 1 { "package REFUSED" } else { "packages REFUSED" };
        for (count, text) in [
            (self.unchanged, "unchanged"),
            (self.imported, "imported"),
            (self.completed, "completed"),
            (self.claimed, "from metadata alone"),
            (self.located, places),
            (self.ended, "ended"),
            (self.gone, "gone"),
            (self.duplicates, "listed twice"),
            (self.rubbish_provides, provides),
            (self.refused, refused),
        ] {
            if count > 0 {
                write!(f, ", {count} {text}")?;
            }
        }
        if self.artifacts > 0 {
            write!(f, "; {}", counted(self.artifacts, "artifact"))?;
        }
        if self.requests > 0 {
            write!(f, "; {}", counted(self.requests, "request"))?;
        }
        if self.metadata_bytes > 0 {
            write!(f, ", {} of metadata", ByteSize(self.metadata_bytes))?;
        }
        for (count, what, bytes) in
            [(self.headers, "header", self.header_bytes), (self.payloads, "payload", self.payload_bytes)]
        {
            if count > 0 {
                write!(f, ", {} of {}", counted(count, what), ByteSize(bytes))?;
            }
        }
        if self.seconds > 0.0 {
            write!(f, "; {:.1} s", self.seconds)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_zero_is_left_out() {
        let mut summary = RepositorySummary::new("r");
        (summary.outcome, summary.packages, summary.requests) = (RepositoryOutcome::Unchanged, 1, 1);
        assert_eq!(summary.to_string(), "r: unchanged (unverified), 1 package");
        summary.outcome = RepositoryOutcome::Imported;
        (summary.imported, summary.artifacts, summary.headers, summary.header_bytes) = (1, 1, 1, 2048);
        (summary.metadata_bytes, summary.seconds, summary.refused) = (3 << 20, 1.0, 1);
        assert_eq!(
            summary.to_string(),
            "r: 1 package listed (unverified), 1 imported, 1 package REFUSED; 1 artifact; 1 request, 3.0 MiB of \
             metadata, 1 header of 2.0 KiB; 1.0 s"
        );
        let refused = RepositorySummary::new("r");
        let refused =
            RepositorySummary { outcome: RepositoryOutcome::Refused, error: Some("no repomd.xml".into()), ..refused };
        assert_eq!(refused.to_string(), "r: REFUSED: no repomd.xml");
    }
}
