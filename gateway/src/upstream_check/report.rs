//! The report on an upstream, as text and as JSON.

use std::fmt::Write;
use std::net::SocketAddr;
use std::time::Duration;

use serde_json::{Map, Value, json};

use super::{Check, CheckedAnswer, Meaning, TRIES, advice};

/// The report for a person.
pub(super) fn text(check: &Check) -> String {
    let mut text = format!("{}  {}\n", check.settings.name, check.shown_url());
    let mut line = |label: &str, value: String| {
        let _ = writeln!(text, "  {label:<12}{value}");
    };
    line("name", check.addresses.as_ref().map_or_else(|error| format!("failed: {error}"), |found| ips(found)));
    line("connection", duration_or_error(&check.connected));
    match (&check.times, check.usual_time()) {
        (Err(error), _) => line("answer", format!("none: {error}")),
        (Ok(_), usual) => {
            line("answer", format!("{} (median of {TRIES})", usual.map_or("none".to_owned(), milliseconds)));
        }
    }
    for (_, name, answer) in &check.services {
        line(name, describe(answer));
    }
    if check.times.is_ok() {
        line("GET /", describe(&check.root));
    }
    for (name, value) in headers(check) {
        line("header", format!("{name}: {value}"));
    }
    let advice = advice::lines(check);
    if !advice.is_empty() {
        text.push_str("  configure, in its table [[upstream]] of gateway.toml:\n");
        for line in advice {
            let _ = writeln!(text, "    {line}");
        }
    }
    text.push('\n');
    text
}

/// The report for a script.
pub(super) fn json(checks: &[Check]) -> Value {
    checks.iter().map(entry).collect()
}

fn entry(check: &Check) -> Value {
    let mut services = Map::new();
    for (_, name, answer) in &check.services {
        services.insert((*name).to_owned(), answer_json(answer));
    }
    let headers: Map<String, Value> = headers(check).into_iter().map(|(name, value)| (name, value.into())).collect();
    let error = check.times.as_ref().err().or(check.connected.as_ref().err().filter(|_| check.times.is_err()));
    let addresses: Vec<_> = check.addresses.iter().flatten().map(SocketAddr::ip).collect();
    json!({
        "name": check.settings.name,
        "url": check.shown_url().as_str(),
        "enabled": check.settings.enabled,
        "ok": check.is_sound(),
        "error": error,
        "addresses": addresses,
        "connect_seconds": check.connected.as_ref().ok().map(Duration::as_secs_f64),
        "answer_seconds": check.usual_time().as_ref().map(Duration::as_secs_f64),
        "services": services,
        "root": answer_json(&check.root),
        "headers": headers,
        "configure": advice::lines(check),
    })
}

fn answer_json(answer: &Result<CheckedAnswer, String>) -> Value {
    match answer {
        Ok(CheckedAnswer { status, meaning, .. }) => {
            json!({ "status": status.as_u16(), "meaning": describe_meaning(meaning) })
        }
        Err(error) => json!({ "status": null, "meaning": error }),
    }
}

fn describe(answer: &Result<CheckedAnswer, String>) -> String {
    match answer {
        Ok(CheckedAnswer { status, meaning, .. }) => format!("{}: {}", status.as_u16(), describe_meaning(meaning)),
        Err(error) => format!("none: {error}"),
    }
}

fn describe_meaning(meaning: &Meaning) -> String {
    match meaning {
        Meaning::Sound(text) => (*text).to_owned(),
        Meaning::NotServed => "not served".to_owned(),
        Meaning::Refused { is_page: true } => "refused with a page of HTML".to_owned(),
        Meaning::Refused { is_page: false } => "refused".to_owned(),
        Meaning::Junk => "junk: it has what cannot exist".to_owned(),
        Meaning::Redirect { reason, .. } => reason.clone(),
        Meaning::Failed => "no answer of a debuginfod server".to_owned(),
    }
}

/// The headers of all answers, each name with its first value.
fn headers(check: &Check) -> Vec<(String, String)> {
    let answers = check.services.iter().map(|(.., answer)| answer).chain([&check.root]);
    let mut found: Vec<(String, String)> = Vec::new();
    for (name, value) in answers.filter_map(|answer| answer.as_ref().ok()).flat_map(|answer| &answer.headers) {
        if found.iter().all(|(known, _)| known != name) {
            found.push((name.clone(), value.clone()));
        }
    }
    found
}

fn ips(addresses: &[SocketAddr]) -> String {
    addresses.iter().map(|address| address.ip().to_string()).collect::<Vec<_>>().join(", ")
}

fn duration_or_error(result: &Result<Duration, String>) -> String {
    result.as_ref().map_or_else(|error| format!("failed: {error}"), |time| milliseconds(*time))
}

fn milliseconds(time: Duration) -> String {
    format!("{:.1} ms", time.as_secs_f64() * 1000.0)
}
