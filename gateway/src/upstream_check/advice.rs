//! What to configure, by what was found out about an upstream.

use std::time::Duration;

use super::{Check, CheckedAnswer, Meaning};
use crate::config::{Mode, UpstreamSettings};

/// An upstream that usually takes so long is slow.
const SLOW: Duration = Duration::from_secs(1);
/// The deadline that is advised for a slow one is its usual time, multiplied by this.
const DEADLINE_FACTOR: u32 = 3;
/// The longest time that `request.budget` and `upstream.deadline` can have.
const MAX_DEADLINE: Duration = Duration::from_secs(60);

/// Lines for the upstream's table in gateway.toml, each a key and a value, with the reason in a comment. What belongs
/// to another table is a comment.
pub(super) fn lines(check: &Check) -> Vec<String> {
    if let Some(line) = disable(check) {
        return vec![line];
    }
    let mut lines = Vec::new();
    let refusal = asked(check).filter(|answer| answer.meaning == Meaning::Refused { is_page: false }).last();
    if let Some(answer) = refusal {
        let status = answer.status.as_u16();
        lines.push(format!(
            "absent_statuses = [{status}, 404]  # only if it is an object store, which answers {status}"
        ));
    }
    lines.extend(redirect_hosts(check));
    lines.extend(serves(check));
    lines.extend(relay(&check.settings));
    lines.extend(deadline(check));
    lines
}

/// The answers to what the upstream is asked for by its settings.
fn asked(check: &Check) -> impl Iterator<Item = &CheckedAnswer> {
    let asked = check.services.iter().filter(|(service, ..)| check.settings.serves.contains(service));
    asked.filter_map(|(.., answer)| answer.as_ref().ok())
}

/// Not to use the upstream, if it is of no use.
fn disable(check: &Check) -> Option<String> {
    if let Err(error) = &check.times {
        return Some(format!("enabled = false  # it does not answer: {error}"));
    }
    if asked(check).any(|answer| answer.meaning == Meaning::Junk) {
        return Some("enabled = false  # it answers 200 to what cannot exist".to_owned());
    }
    if asked(check).any(|answer| answer.meaning == Meaning::Refused { is_page: true }) {
        return Some("enabled = false  # it refuses this gateway with a page: ask its operator".to_owned());
    }
    None
}

/// The hosts that it redirects to, beside those in the settings.
fn redirect_hosts(check: &Check) -> Option<String> {
    let mut hosts: Vec<&String> = Vec::new();
    for answer in asked(check) {
        if let Meaning::Redirect { host: Some(host), .. } = &answer.meaning
            && !hosts.contains(&host)
        {
            hosts.push(host);
        }
    }
    if hosts.is_empty() {
        return None;
    }
    let all: Vec<_> = check.settings.redirect_hosts.iter().chain(hosts).map(|host| format!("{host:?}")).collect();
    Some(format!("redirect_hosts = [{}]  # only if you trust them", all.join(", ")))
}

/// To relay, if redirected clients lack what the gateway identifies itself by.
fn relay(settings: &UpstreamSettings) -> Option<String> {
    let has_login = !settings.url.username().is_empty() || settings.url.password().is_some();
    let secrets = [
        (!settings.headers.is_empty(), "headers"),
        (has_login, "user and password"),
        (settings.tls.certificate.is_some(), "certificate"),
    ];
    let secrets: Vec<&str> = secrets.into_iter().filter(|(is_set, _)| *is_set).map(|(_, name)| name).collect();
    if settings.mode == Mode::Relay || secrets.is_empty() {
        return None;
    }
    Some(format!("mode = \"relay\"  # redirected clients do not send the {} configured here", secrets.join(", ")))
}

/// A deadline for a slow upstream. None has an effect above `request.budget`.
fn deadline(check: &Check) -> Option<String> {
    let in_seconds = |time: Duration| humantime::format_duration(Duration::from_secs(time.as_secs()));
    let usual = check.usual_time()?;
    let taken = format!("its answers usually take {:.1} s", usual.as_secs_f64());
    let needed = (usual * DEADLINE_FACTOR).min(MAX_DEADLINE);
    match check.settings.deadline {
        _ if usual >= SLOW && needed > check.budget => {
            Some(format!("# in [request]: budget = \"{}\"  # {taken}", in_seconds(needed)))
        }
        Some(deadline) if deadline > check.budget => Some(format!(
            "# its deadline has no effect above request.budget, which is {}",
            humantime::format_duration(check.budget)
        )),
        None if usual >= SLOW => Some(format!("deadline = \"{}\"  # {taken}", in_seconds(needed))),
        _ => None,
    }
}

/// The kinds that are served, if the settings have others.
fn serves(check: &Check) -> Option<String> {
    let is_served = |answer: &Result<CheckedAnswer, String>| {
        !matches!(answer, Ok(CheckedAnswer { meaning: Meaning::NotServed, .. }))
    };
    let asked = || check.services.iter().filter(|(service, ..)| check.settings.serves.contains(service));
    let served: Vec<String> =
        asked().filter(|(.., answer)| is_served(answer)).map(|(_, name, _)| format!("\"{name}\"")).collect();
    let left_out: Vec<&str> = asked().filter(|(.., answer)| !is_served(answer)).map(|(_, name, _)| *name).collect();
    if left_out.is_empty() {
        return None;
    }
    if served.is_empty() {
        return Some("enabled = false  # it serves nothing that it is asked for".to_owned());
    }
    Some(format!("serves = [{}]  # it does not serve {}", served.join(", "), left_out.join(", ")))
}

#[cfg(test)]
mod tests {
    use reqwest::header::{HeaderMap, HeaderValue};
    use url::Url;

    use http_client::TlsFiles;

    use super::*;

    /// A check of an upstream that usually answers after `usual`.
    fn check(usual: Duration, change: impl FnOnce(&mut UpstreamSettings)) -> Check {
        let mut settings = UpstreamSettings::new("u".into(), Url::parse("https://u.example/").unwrap());
        change(&mut settings);
        Check {
            settings,
            budget: Duration::from_secs(4),
            addresses: Err("not asked".to_owned()),
            connected: Err("not asked".to_owned()),
            times: Ok(vec![usual]),
            services: Vec::new(),
            root: Err("not asked".to_owned()),
        }
    }

    #[test]
    fn an_upstream_with_secrets_is_relayed() {
        let fast = |change: fn(&mut UpstreamSettings)| lines(&check(Duration::from_millis(3), change)).join("\n");
        assert_eq!(fast(|_| ()), "");
        let relayed =
            |secrets: &str| format!("mode = \"relay\"  # redirected clients do not send the {secrets} configured here");
        let with_header = |settings: &mut UpstreamSettings| {
            settings.headers = HeaderMap::from_iter([("x-token".parse().unwrap(), HeaderValue::from_static("t"))]);
        };
        assert_eq!(fast(with_header), relayed("headers"));
        assert_eq!(
            fast(|settings| {
                settings.url = Url::parse("https://me@u.example/").unwrap();
                settings.tls = TlsFiles { certificate: Some("/c".into()), ..TlsFiles::default() };
            }),
            relayed("user and password, certificate")
        );
        assert_eq!(
            fast(|settings| {
                settings.url = Url::parse("https://:p@u.example/").unwrap();
                settings.mode = Mode::Relay;
            }),
            ""
        );
        assert_eq!(fast(|settings| settings.tls.ca = Some("/a".into())), "");
    }

    #[test]
    fn a_deadline_is_advised_up_to_the_budget() {
        let of = |usual: u64, deadline: Option<u64>| {
            let deadline = deadline.map(Duration::from_secs);
            lines(&check(Duration::from_millis(usual), |settings| settings.deadline = deadline)).join("\n")
        };
        assert_eq!(of(900, None), "");
        assert_eq!(of(1200, None), "deadline = \"3s\"  # its answers usually take 1.2 s");
        assert_eq!(of(1200, Some(2)), "");
        assert_eq!(of(2000, None), "# in [request]: budget = \"6s\"  # its answers usually take 2.0 s");
        assert_eq!(of(30_000, Some(2)), "# in [request]: budget = \"1m\"  # its answers usually take 30.0 s");
        assert_eq!(of(3, Some(9)), "# its deadline has no effect above request.budget, which is 4s");
    }
}
