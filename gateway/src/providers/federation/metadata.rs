//! `/metadata` of upstreams: all of them are asked, and the answers are put together.

use std::sync::Arc;
use std::time::Instant;

use http_client::{ESCAPED, refused_redirect};
use percent_encoding::utf8_percent_encode;
use serde::Deserialize;
use serde_json::Value;
use tokio::time::timeout_at;
use tokio_util::task::AbortOnDropHandle;
use url::Url;

use super::upstream::Upstream;
use super::{Federation, FederationState};
use crate::config::Service;
use crate::providers::Fault;
use crate::resolve::deadline::Deadline;
use crate::resolve::metadata::{MetadataEntry, MetadataQuery};
use crate::resolve::outcome::{Cause, CauseKind, Provider};
use crate::resolve::question::Caller;

/// Maximum of bytes of an answer: ten thousand entries and more.
const MAX_BYTES: usize = 8 << 20;
/// Maximum of bytes of one text in it.
const MAX_TEXT: usize = 8192;

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
    /// Asks all upstreams that serve metadata, at once.
    pub(crate) async fn metadata(
        &self,
        asked: &MetadataQuery,
        caller: &Caller,
        deadline: Deadline,
    ) -> UpstreamMetadata {
        let mut answers = UpstreamMetadata::default();
        let serving: Vec<_> = self.0.upstreams.iter().filter(|upstream| upstream.serves_metadata()).collect();
        if serving.is_empty() {
            return answers;
        }
        if let Some(text) = self.reason_not_to_ask(caller) {
            answers.causes.push(Cause { provider: Provider::Gateway, kind: CauseKind::Refused, text });
            return answers;
        }
        let queries = serving.into_iter().map(|upstream| ask(&self.0, upstream, asked, caller, deadline));
        for (name, answer) in futures::future::join_all(queries).await {
            match answer {
                Ok((entries, complete)) => {
                    answers.entries.extend(entries);
                    if !complete {
                        let text = "expected a complete answer, found an incomplete one";
                        answers.causes.push(Fault::new(CauseKind::Broken, text).of_upstream(name));
                    }
                }
                Err(fault) => answers.causes.push(fault.of_upstream(name)),
            }
        }
        answers
    }
}

/// Asks one upstream, on the main runtime, until `deadline`. Returns its name, its files, and whether these are all.
async fn ask<'u>(
    shared: &Arc<FederationState>,
    upstream: &'u Arc<Upstream>,
    asked: &MetadataQuery,
    caller: &Caller,
    deadline: Deadline,
) -> (&'u str, Result<(Vec<MetadataEntry>, bool), Fault>) {
    let name = upstream.name();
    if let Some(opening) = upstream.health.opening() {
        return (name, Err(Fault::new(CauseKind::Refused, format!("its breaker is open: {}", opening.cause))));
    }
    let began = Instant::now();
    let query = {
        let (shared, upstream, asked, caller) = (shared.clone(), upstream.clone(), asked.clone(), caller.clone());
        async move { upstream.metadata(&shared, &asked, &caller).await }
    };
    let mut task = AbortOnDropHandle::new(shared.runtime.spawn(query));
    let answer = match timeout_at(deadline.end().into(), &mut task).await {
        Ok(ended) => {
            ended.unwrap_or_else(|error| Err(Fault::new(CauseKind::Broken, format!("the task ended early: {error}"))))
        }
        Err(_) => {
            // Searching many paths may take long: that alone does not open the breaker.
            upstream.health.suspect();
            Err(Fault::new(CauseKind::Timeout, "expected an answer within the budget, found none"))
        }
    };
    match &answer {
        Ok(_) => upstream.health.heard(),
        Err(fault) if fault.kind == CauseKind::Timeout => {}
        Err(fault) => upstream.health.refused(&fault.text),
    }
    let outcome = match &answer {
        Ok((entries, _)) if entries.is_empty() => "absent",
        Ok(_) => "found",
        Err(_) => "failed",
    };
    upstream.count(outcome, began.elapsed());
    (name, answer)
}

impl Upstream {
    /// True if `/metadata` is asked of the upstream.
    fn serves_metadata(&self) -> bool {
        self.settings.serves.contains(&Service::Metadata)
    }

    async fn metadata(
        &self,
        shared: &FederationState,
        asked: &MetadataQuery,
        caller: &Caller,
    ) -> Result<(Vec<MetadataEntry>, bool), Fault> {
        let url = self.metadata_url(asked)?;
        let _permit = self.acquire().await;
        let mut response = self.request(&shared.identity, url, caller).send().await?;
        if response.status().is_redirection() {
            return Err(Fault::new(CauseKind::Refused, refused_redirect(&response)));
        }
        if !response.status().is_success() {
            let text = format!("expected 200, found {}", response.status());
            return Err(Fault::new(CauseKind::Refused, text));
        }
        let mut body = Vec::new();
        while let Some(chunk) = response.chunk().await? {
            if body.len() + chunk.len() > MAX_BYTES {
                let text = format!("expected at most {MAX_BYTES} bytes, found more");
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

/// Returns the entry if its kind, build-id and lengths are valid, without links that are not http.
fn checked(mut entry: MetadataEntry) -> Option<MetadataEntry> {
    let is_short = |text: &Option<String>| text.as_ref().is_none_or(|text| text.len() <= MAX_TEXT);
    let has_short_names = entry.memberships.iter().all(|membership| membership.repository.len() <= MAX_TEXT);
    let is_sound = matches!(entry.kind.as_str(), "executable" | "debuginfo")
        && entry.buildid.parse::<artifact::BuildId>().is_ok_and(|build_id| build_id.to_string() == entry.buildid)
        && entry.file.len() <= MAX_TEXT
        && [&entry.archive, &entry.nevra, &entry.source_rpm, &entry.distro, &entry.obsoleted_by]
            .into_iter()
            .all(is_short)
        && has_short_names;
    let is_http = |url: &String| Url::parse(url).is_ok_and(|url| matches!(url.scheme(), "http" | "https"));
    entry.locations.retain(|place| place.url.as_ref().is_none_or(is_http));
    is_sound.then_some(entry)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_escaped_in_questions() {
        let asked =
            MetadataQuery { key: crate::resolve::metadata::MetadataKey::Glob, value: "/usr/bin/a b+c^&=%20*".into() };
        let url = Upstream::of_url("http://me:secret@d.example/base/").metadata_url(&asked).unwrap();
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
