//! What a job asks for. Messages, hooks, the reconciler and the sweep write jobs; the service's worker runs them.
//!
//! A job states which build or archive to look at, and never what is true of it: the hub or the store is asked when the
//! job runs. So late, repeated and forged requests are harmless.

use std::fmt;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use sql::{NewJob, PathHash};

/// The kind of jobs that import a build of a Koji instance.
pub(crate) const BUILD: &str = "build";
/// The kind of jobs that import one archive of a store.
pub(crate) const ARCHIVE: &str = "archive";

/// Time until a job for new signatures is due. Koji tells of a signature when it is added, with one message for each
/// package and key, and writes the signed copy later without telling. One job follows from all signatures until then.
pub(crate) const SIGNED_DELAY: Duration = Duration::from_secs(60);

/// Maximum length of a key in bytes. A longer one, of a long path, is cut, and its hash follows.
const MAX_KEY_BYTES: usize = 255;
/// Characters of a key that is cut, of at most 4 bytes each.
const CUT_KEY_CHARACTERS: usize = 40;

/// What a job asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Work {
    /// Import a build, or record what became of it.
    Build(BuildWork),
    /// Import an archive.
    Archive(ArchiveWork),
}

/// A build to import.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct BuildWork {
    /// Name of the Koji instance.
    pub(crate) instance: String,
    #[serde(flatten)]
    pub(crate) build: BuildName,
    /// When the build was deleted, seconds since 1970, if a message stated it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) deleted_at: Option<i64>,
    /// What asked for it: `messages/NAME`, `hook`, `reconciler`, `sweep`.
    pub(crate) source: String,
    /// When the message was sent, seconds since 1970.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) sent_at: Option<i64>,
}

/// How a job names a build.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum BuildName {
    /// By its number.
    #[serde(rename = "build")]
    Id(i64),
    /// By its NAME-VERSION-RELEASE.
    #[serde(rename = "nvr")]
    Nvr(String),
}

impl fmt::Display for BuildName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Id(id) => write!(f, "{id}"),
            Self::Nvr(nvr) => f.write_str(nvr),
        }
    }
}

/// An archive to import.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct ArchiveWork {
    /// Name of the store.
    pub(crate) store: String,
    /// Path below the store's URL or directory.
    pub(crate) path: String,
    /// What asked for it: `hook`, `upload`.
    pub(crate) source: String,
}

/// What the work of a job needs: if it does not answer, the jobs that need something else go on.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Need {
    /// The Koji instance with this name.
    Koji(String),
    /// The store with this name.
    Store(String),
}

impl Need {
    /// Returns how the keys of the jobs begin that need this.
    pub(crate) fn key_prefixes(&self) -> Vec<String> {
        match self {
            Self::Koji(name) => vec![format!("build {name} "), format!("deleted build {name} ")],
            Self::Store(name) => vec![format!("archive {name}/")],
        }
    }
}

impl Work {
    /// Returns the kind of the job.
    pub(crate) fn kind(&self) -> &'static str {
        match self {
            Self::Build(_) => BUILD,
            Self::Archive(_) => ARCHIVE,
        }
    }

    /// Returns the key of the job: there is at most one job with a key. The time of a deletion comes from one message
    /// alone, so that a job of that message is never replaced by another request for the build.
    pub(crate) fn key(&self) -> String {
        let key = match self {
            Self::Build(BuildWork { instance, build, deleted_at, .. }) => {
                let prefix = if deleted_at.is_some() { "deleted " } else { "" };
                format!("{prefix}build {instance} {build}")
            }
            Self::Archive(ArchiveWork { store, path, .. }) => format!("archive {store}/{path}"),
        };
        if key.len() <= MAX_KEY_BYTES {
            return key;
        }
        let cut = key.chars().take(CUT_KEY_CHARACTERS).collect::<String>();
        format!("{cut} {}", PathHash::of_path(&key))
    }

    /// Returns the payload of the job, a JSON object.
    pub(crate) fn payload(&self) -> String {
        let json = match self {
            Self::Build(work) => serde_json::to_string(work),
            Self::Archive(work) => serde_json::to_string(work),
        };
        // Texts and numbers are always JSON.
        json.unwrap_or_default()
    }

    /// Returns the job, which is due after `delay`.
    pub(crate) fn job(&self, delay: Duration) -> NewJob {
        NewJob { kind: self.kind(), key: self.key(), payload: self.payload(), delay }
    }

    /// Reads a job.
    ///
    /// # Errors
    /// What was expected and what was found.
    pub(crate) fn parse(kind: &str, payload: &str) -> Result<Self, String> {
        let work = match kind {
            BUILD => serde_json::from_str(payload).map(Self::Build),
            ARCHIVE => serde_json::from_str(payload).map(Self::Archive),
            other => return Err(format!("expected a job of kind {BUILD} or {ARCHIVE}, found {other}")),
        };
        work.map_err(|error| format!("expected the payload of a job of kind {kind}, found another text: {error}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn build(build: BuildName, deleted_at: Option<i64>) -> Work {
        let (instance, source) = ("primary".to_owned(), "hook".to_owned());
        Work::Build(BuildWork { instance, build, deleted_at, source, sent_at: None })
    }

    #[test]
    fn keys_name_the_work_and_payloads_restore_it() {
        let archive = ArchiveWork { store: "s".into(), path: "a/b.rpm".into(), source: "hook".into() };
        for (work, key, payload) in [
            (build(BuildName::Id(7), None), "build primary 7", r#"{"instance":"primary","build":7,"source":"hook"}"#),
            (
                build(BuildName::Nvr("bash-5-1".into()), None),
                "build primary bash-5-1",
                r#"{"instance":"primary","nvr":"bash-5-1","source":"hook"}"#,
            ),
            (
                build(BuildName::Id(7), Some(9)),
                "deleted build primary 7",
                r#"{"instance":"primary","build":7,"deleted_at":9,"source":"hook"}"#,
            ),
            (Work::Archive(archive), "archive s/a/b.rpm", r#"{"store":"s","path":"a/b.rpm","source":"hook"}"#),
        ] {
            assert_eq!(work.key(), key);
            assert_eq!(work.payload(), payload);
            let need = match &work {
                Work::Build(work) => Need::Koji(work.instance.clone()),
                Work::Archive(work) => Need::Store(work.store.clone()),
            };
            let prefixes = need.key_prefixes();
            assert_eq!(prefixes.iter().filter(|prefix| key.starts_with(prefix.as_str())).count(), 1, "{key}");
            assert_eq!(Work::parse(work.kind(), payload), Ok(work));
        }
    }

    #[test]
    fn a_long_path_has_a_key_of_its_own() {
        let archive = |path: String| Work::Archive(ArchiveWork { store: "s".into(), path, source: "hook".into() });
        let keys = [archive("ä".repeat(4000)).key(), archive("ä".repeat(4001)).key()];
        assert!(keys.iter().all(|key| key.starts_with("archive s/ää") && key.len() <= MAX_KEY_BYTES), "{keys:?}");
        assert_ne!(keys[0], keys[1]);
        assert_eq!(archive("a".repeat(245)).key().len(), MAX_KEY_BYTES);
    }

    #[test]
    fn a_job_of_another_kind_or_form_is_refused_with_the_reason() {
        for (kind, payload, expected) in [
            ("scratch", "{}", "found scratch"),
            (BUILD, "{", "kind build"),
            (BUILD, r#"{"instance":"primary","source":"hook"}"#, "kind build"),
            (ARCHIVE, r#"{"store":"s"}"#, "missing field `path`"),
        ] {
            let error = Work::parse(kind, payload).unwrap_err();
            assert!(error.contains(expected), "{kind} {payload}: {error}");
        }
    }
}
