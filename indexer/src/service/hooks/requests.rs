//! What the hooks for builds and archives are told, as jobs.

use std::time::Duration;

use serde::Deserialize;
use sql::Store;

use super::place::{self, Place};
use super::refusal::Refusal;
use crate::jobs::{ArchiveWork, BuildName, BuildWork, SIGNED_DELAY, Work};

/// What a body of `/hooks/koji` has, for messages.
pub(super) const KOJI_BODY: &str =
    r#"{"build": ID} or {"nvr": "NAME-VERSION-RELEASE"}, with "instance" where there are several"#;
/// What a body of `/hooks/archive` has, for messages.
pub(super) const ARCHIVE_BODY: &str = r#"{"url": "URL"} or {"store": "NAME", "path": "PATH"}"#;
/// `source` of jobs.
const SOURCE: &str = "hook";
/// Maximum length of a build's NAME-VERSION-RELEASE in bytes: with the name of an instance it makes the key of a job.
const MAX_NVR_BYTES: usize = 170;
/// Number of its parts.
const PARTS: usize = 3;

/// The body of `/hooks/koji`. Further keys are ignored.
#[derive(Debug, Deserialize)]
pub(super) struct KojiRequest {
    #[serde(alias = "build_id")]
    build: Option<i64>,
    /// NAME-VERSION-RELEASE. The number is used if both are there.
    nvr: Option<String>,
    /// Name of the Koji instance; by default the first one of the configuration.
    instance: Option<String>,
    /// What happened: `deleted` and `signed` have a meaning.
    event: Option<String>,
    /// When the build changed, seconds since 1970.
    time: Option<f64>,
}

/// The body of `/hooks/archive`. Further keys are ignored.
#[derive(Debug, Deserialize)]
pub(super) struct ArchiveRequest {
    url: Option<String>,
    store: Option<String>,
    path: Option<String>,
}

impl KojiRequest {
    /// Returns the job, and the time until it is due. `instances` are those of the configuration.
    pub(super) fn work(self, instances: &[&str]) -> Result<(Work, Duration), Refusal> {
        let expected = || format!("the name of a Koji instance of the configuration ({})", instances.join(", "));
        let instance = match (self.instance, instances.first()) {
            (Some(instance), _) if instances.contains(&instance.as_str()) => instance,
            (Some(instance), _) => return Err(Refusal::unprocessable(expected(), instance)),
            (None, Some(first)) => (*first).to_owned(),
            (None, None) => return Err(Refusal::unprocessable("[[koji]] in the configuration", "none")),
        };
        let build = match (self.build, self.nvr) {
            (Some(build), _) if build > 0 => BuildName::Id(build),
            (Some(build), _) => return Err(Refusal::malformed("the number of a build, from 1", build.to_string())),
            (None, Some(nvr)) if is_nvr(&nvr) => BuildName::Nvr(nvr),
            (None, Some(nvr)) => return Err(Refusal::malformed("NAME-VERSION-RELEASE of a build", nvr)),
            (None, None) => return Err(Refusal::malformed(KOJI_BODY, "neither build nor nvr")),
        };
        // Beyond the range of integers it becomes the nearest one, which is a time as wrong as the sender's.
        let sent_at = self.time.filter(|time| time.is_finite() && *time >= 0.0).map(|time| time as i64);
        let is = |event: &str| self.event.as_deref() == Some(event);
        let deleted_at = sent_at.filter(|_| is("deleted"));
        let delay = if is("signed") { SIGNED_DELAY } else { Duration::ZERO };
        Ok((Work::Build(BuildWork { instance, build, deleted_at, source: SOURCE.to_owned(), sent_at }), delay))
    }
}

impl ArchiveRequest {
    /// Returns the job. `stores` are those of the index.
    pub(super) fn work(&self, stores: &[Store]) -> Result<Work, Refusal> {
        let Place { store, path } = match (&self.url, &self.store, &self.path) {
            (Some(url), None, None) => place::of_url(url, stores)?,
            (None, Some(store), Some(path)) => place::of_path(store, path, stores)?,
            _ => return Err(Refusal::malformed(ARCHIVE_BODY, "other keys")),
        };
        Ok(Work::Archive(ArchiveWork { store, path, source: SOURCE.to_owned() }))
    }
}

/// True for three parts of a name as Koji has it: none is empty, and none has a slash, blank or control character.
fn is_nvr(nvr: &str) -> bool {
    let is_part = |part: &str| {
        !part.is_empty() && part.chars().all(|c| c.is_ascii_graphic() && !matches!(c, '/' | '\\' | '"' | '\''))
    };
    nvr.len() <= MAX_NVR_BYTES && nvr.rsplitn(PARTS, '-').filter(|part| is_part(part)).count() == PARTS
}

#[cfg(test)]
mod tests {
    use super::*;

    fn koji(body: &str, instances: &[&str]) -> Option<Work> {
        Some(serde_json::from_str::<KojiRequest>(body).ok()?.work(instances).ok()?.0)
    }

    #[test]
    fn a_build_is_named_by_number_or_nvr() {
        let instances = ["primary", "other"];
        for (body, key) in [
            (r#"{"build": 7}"#, "build primary 7"),
            (r#"{"build_id": 7, "instance": "other", "event": "tagged"}"#, "build other 7"),
            (r#"{"nvr": "python3-a.b+c-1^2~3-4.fc44"}"#, "build primary python3-a.b+c-1^2~3-4.fc44"),
            (r#"{"build": 7, "nvr": "bash-5-1", "time": 1700000000.5}"#, "build primary 7"),
        ] {
            assert_eq!(koji(body, &instances).map(|work| work.key()).as_deref(), Some(key), "{body}");
        }
        let long = format!(r#"{{"nvr": "{}-1-1"}}"#, "a".repeat(MAX_NVR_BYTES));
        for body in [
            "",
            "7",
            "[]",
            "{}",
            r#"{"build": 0}"#,
            r#"{"build": -7}"#,
            r#"{"build": 7.5}"#,
            r#"{"build": "7"}"#,
            r#"{"build": 99999999999999999999}"#,
            r#"{"build": null}"#,
            r#"{"build": 7, "build_id": 8}"#,
            r#"{"build": 7, "instance": "third"}"#,
            r#"{"nvr": "bash"}"#,
            r#"{"nvr": "bash-5"}"#,
            r#"{"nvr": "-5-1"}"#,
            r#"{"nvr": "bash--1"}"#,
            r#"{"nvr": "../a-5-1"}"#,
            r#"{"nvr": "ba sh-5-1"}"#,
            r#"{"nvr": "bash-5-1\n"}"#,
            &long,
        ] {
            assert_eq!(koji(body, &instances), None, "{body}");
        }
        assert_eq!(koji(r#"{"build": 7}"#, &[]), None, "no instance");
    }

    #[test]
    fn the_time_of_a_build_goes_with_its_job() {
        let times = |body: &str| match serde_json::from_str::<KojiRequest>(body).unwrap().work(&["primary"]) {
            Ok((Work::Build(work), delay)) => (work.sent_at, work.deleted_at, delay.as_secs()),
            other => panic!("{other:?}"),
        };
        let time = Some(1_700_000_000);
        for (body, expected) in [
            (r#"{"build": 7, "time": 1700000000.5}"#, (time, None, 0)),
            (r#"{"build": 7, "time": 1700000000, "event": "complete"}"#, (time, None, 0)),
            (r#"{"build": 7, "time": 1700000000, "event": "deleted"}"#, (time, time, 0)),
            (r#"{"build": 7, "event": "deleted"}"#, (None, None, 0)),
            (r#"{"build": 7, "event": "signed", "time": 1700000000}"#, (time, None, 60)),
            (r#"{"build": 7, "time": -1}"#, (None, None, 0)),
            (r#"{"build": 7}"#, (None, None, 0)),
        ] {
            assert_eq!(times(body), expected, "{body}");
        }
    }
}
