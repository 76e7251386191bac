//! `/metadata` of upstreams: all of them are asked, and the answers are put together.

use std::time::Instant;

use percent_encoding::utf8_percent_encode;
use serde::Deserialize;
use serde_json::Value;
use tokio::time::timeout_at;
use url::Url;

use super::{Federation, Upstream};
use crate::metrics::METRICS;
use crate::providers::Fault;
use crate::providers::http_client::{ESCAPED, refused_redirect};
use crate::resolve::deadline::Deadline;
use crate::resolve::metadata::{MetadataEntry, MetadataQuery};
use crate::resolve::outcome::{Cause, CauseKind, Provider};
use crate::resolve::question::Caller;

/// The most bytes of an answer: ten thousand entries and more.
const MOST_BYTES: usize = 8 << 20;
/// The most bytes of one text in it.
const MOST_TEXT: usize = 8192;

/// The answers of upstreams.
#[derive(Default)]
pub(crate) struct UpstreamMetadata {
    pub(crate) entries: Vec<MetadataEntry>,
    /// Why there may be more: one for each upstream whose answer was incomplete.
    pub(crate) causes: Vec<Cause>,
}

/// An upstream's answer.
#[derive(Deserialize)]
struct UpstreamBody {
    results: Vec<Value>,
    complete: bool,
}

impl Federation {
    /// Asks all upstreams.
    pub(crate) async fn metadata(
        &self,
        asked: &MetadataQuery,
        caller: &Caller,
        deadline: Deadline,
    ) -> UpstreamMetadata {
        let mut said = UpstreamMetadata::default();
        if self.is_empty() {
            return said;
        }
        if caller.hops >= self.max_hops {
            let text = format!("the question passed {} servers: not asked further", caller.hops);
            said.causes.push(Cause { provider: Provider::Gateway, kind: CauseKind::Refused, text });
            return said;
        }
        let questions = (0..self.upstreams.len())
            .map(|number| self.clone().ask_metadata(number, asked.clone(), caller.clone(), deadline));
        for (entries, cause) in futures::future::join_all(questions).await {
            said.entries.extend(entries);
            said.causes.extend(cause);
        }
        said
    }

    /// Asks one upstream, on the main runtime, counted. Returns its files, and why there may be more.
    async fn ask_metadata(
        self,
        number: usize,
        asked: MetadataQuery,
        caller: Caller,
        deadline: Deadline,
    ) -> (Vec<MetadataEntry>, Option<Cause>) {
        let started = Instant::now();
        let name = self.upstreams[number].name.clone();
        let runtime = self.runtime.clone();
        let ask = runtime.spawn(async move {
            let asked = timeout_at(deadline.end().into(), self.upstreams[number].ask_metadata(&asked, &caller));
            asked.await.unwrap_or_else(|_| {
                Err(Fault::new(CauseKind::Timeout, "expected an answer within the budget, found none"))
            })
        });
        let answer = ask
            .await
            .unwrap_or_else(|error| Err(Fault::new(CauseKind::Broken, format!("the task ended early: {error}"))));
        let result = match &answer {
            Ok((entries, _)) if entries.is_empty() => "absent",
            Ok(_) => "found",
            Err(_) => "failed",
        };
        METRICS.upstream_requests.with_label_values(&[name.as_str(), result]).inc();
        METRICS.upstream_request_duration.with_label_values(&[name.as_str()]).observe(started.elapsed().as_secs_f64());
        let (entries, fault) = match answer {
            Ok((entries, complete)) => (
                entries,
                (!complete)
                    .then(|| Fault::new(CauseKind::Broken, "expected a complete answer, found an incomplete one")),
            ),
            Err(fault) => (Vec::new(), Some(fault)),
        };
        (entries, fault.map(|fault| fault.of_upstream(&name)))
    }
}

impl Upstream {
    async fn ask_metadata(&self, asked: &MetadataQuery, caller: &Caller) -> Result<(Vec<MetadataEntry>, bool), Fault> {
        let mut response = self.request(self.metadata_url(asked)?, caller).send().await?;
        if response.status().is_redirection() {
            return Err(Fault::new(CauseKind::Refused, refused_redirect(&response)));
        }
        if !response.status().is_success() {
            let text = format!("expected 200, found {}", response.status());
            return Err(Fault::new(CauseKind::Refused, text));
        }
        let mut body = Vec::new();
        while let Some(chunk) = response.chunk().await? {
            if body.len() + chunk.len() > MOST_BYTES {
                let text = format!("expected at most {MOST_BYTES} bytes, found more");
                return Err(Fault::new(CauseKind::Broken, text));
            }
            body.extend_from_slice(&chunk);
        }
        read(&body)
    }

    fn metadata_url(&self, asked: &MetadataQuery) -> Result<Url, Fault> {
        let mut url = self.below("metadata")?;
        // Not as forms are encoded: not every server takes `+` for a blank.
        url.set_query(Some(&format!(
            "key={}&value={}",
            asked.key.as_str(),
            utf8_percent_encode(&asked.value, ESCAPED)
        )));
        Ok(url)
    }
}

/// The entries of an answer, and whether these are all. An entry that is none is passed over, and then they are not.
fn read(body: &[u8]) -> Result<(Vec<MetadataEntry>, bool), Fault> {
    let unread =
        |error| Fault::new(CauseKind::Broken, format!("expected an object with results and complete: {error}"));
    let UpstreamBody { results, complete } = serde_json::from_slice(body).map_err(unread)?;
    let expected = results.len();
    let entries: Vec<MetadataEntry> =
        results.into_iter().filter_map(|result| serde_json::from_value(result).ok()).filter_map(checked).collect();
    let complete = complete && entries.len() == expected;
    Ok((entries, complete))
}

/// An entry of which nothing can mislead whoever reads it.
fn checked(mut entry: MetadataEntry) -> Option<MetadataEntry> {
    let is_short = |text: &Option<String>| text.as_ref().is_none_or(|text| text.len() <= MOST_TEXT);
    let is_sound = matches!(entry.kind.as_str(), "executable" | "debuginfo")
        && entry.buildid.parse::<artifact::BuildId>().is_ok_and(|build_id| build_id.to_string() == entry.buildid)
        && entry.file.len() <= MOST_TEXT
        && [&entry.archive, &entry.nevra, &entry.source_rpm, &entry.distro].into_iter().all(is_short);
    let is_http = |url: &String| Url::parse(url).is_ok_and(|url| matches!(url.scheme(), "http" | "https"));
    entry.locations.retain(|place| place.url.as_ref().is_none_or(is_http));
    is_sound.then_some(entry)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::UpstreamSettings;
    use crate::providers::identity::Identity;

    #[test]
    fn paths_are_escaped_in_questions() {
        let url = Url::parse("http://me:secret@d.example/base/").unwrap();
        let upstream =
            Upstream::new(&UpstreamSettings::new("d".into(), url), Identity::new(None, None, false)).unwrap();
        let asked =
            MetadataQuery { key: crate::resolve::metadata::MetadataKey::Glob, value: "/usr/bin/a b+c^&=%20*".into() };
        let url = upstream.metadata_url(&asked).unwrap();
        assert!(
            url.as_str().ends_with("@d.example/base/metadata?key=glob&value=/usr/bin/a%20b%2Bc%5E%26%3D%2520%2A"),
            "{url}"
        );
    }

    #[test]
    fn entries_of_other_servers_are_read_and_what_is_none_is_told() {
        let sound =
            r#"{"type":"executable","buildid":"ab","file":"\/usr\/bin\/a","archive":"\/srv\/a.rpm","future":[1]}"#;
        let (entries, complete) =
            read(format!(r#"{{ "results": [ {sound} ], "complete": true }}"#).as_bytes()).unwrap();
        assert_eq!(
            (entries[0].file.as_str(), entries[0].archive.as_deref(), complete),
            ("/usr/bin/a", Some("/srv/a.rpm"), true)
        );
        for odd in [
            r#"{"type":"source","buildid":"ab","file":"/a"}"#,
            r#"{"type":"executable","buildid":"AB","file":"/a"}"#,
            r#"{"type":"executable","buildid":"<b>","file":"/a"}"#,
            r#"{"type":"executable","buildid":"ab"}"#,
            r#"{"type":"executable","buildid":"ab","file":7}"#,
            "7",
            "null",
        ] {
            let body = format!(r#"{{"results":[{odd},{sound}],"complete":true}}"#);
            let (entries, complete) = read(body.as_bytes()).unwrap();
            assert_eq!((entries.len(), complete), (1, false), "{odd}");
        }
        for (body, expected) in
            [(r#"{"results":[],"complete":true}"#, true), (r#"{"complete":false,"results":[]}"#, false)]
        {
            assert_eq!(read(body.as_bytes()).unwrap(), (vec![], expected));
        }
        let deep = format!(r#"{{"results":{}"#, "[".repeat(100_000));
        for body in ["", "{}", "[]", r#"{"results":[]}"#, r#"{"complete":true}"#, "<html>", &deep] {
            assert!(read(body.as_bytes()).is_err(), "{}", &body[..body.len().min(40)]);
        }
    }

    #[test]
    fn links_of_upstreams_lead_to_http_alone() {
        let place = |url: &str| format!(r#"{{"tier":"mirror","url":"{url}"}}"#);
        let places = [place("https://m.example/a.rpm"), place("javascript:alert(1)"), place("no url")].join(",");
        let entry = format!(r#"{{"type":"debuginfo","buildid":"ab","file":"/a","locations":[{places}]}}"#);
        let (entries, complete) = read(format!(r#"{{"results":[{entry}],"complete":true}}"#).as_bytes()).unwrap();
        assert_eq!((entries[0].locations.len(), complete), (1, true));
    }
}
