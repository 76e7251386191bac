//! What to configure, by what was found out about an upstream.

use std::time::Duration;

use super::{Check, Meaning};

/// An upstream that usually takes so long is slow.
const SLOW: Duration = Duration::from_secs(1);
/// The deadline for a slow one: so many times its usual time.
const PATIENCE: u32 = 3;

/// Lines for the upstream's table in gateway.toml, each a key and a value, with the reason in a comment.
pub(super) fn lines(check: &Check) -> Vec<String> {
    let mut lines = Vec::new();
    let meanings = || check.services.iter().filter_map(|(.., answer)| Some(&answer.as_ref().ok()?.meaning));
    if let Err(error) = &check.times {
        lines.push(format!("enabled = false  # it does not answer: {error}"));
        return lines;
    }
    if meanings().any(|meaning| *meaning == Meaning::Junk) {
        lines.push("enabled = false  # it answers 200 to what cannot exist".to_owned());
        return lines;
    }
    if meanings().any(|meaning| *meaning == Meaning::Refused { is_page: true }) {
        lines.push("enabled = false  # it refuses this gateway with a page: ask its operator".to_owned());
        return lines;
    }
    let refusals = check.services.iter().filter_map(|(.., answer)| answer.as_ref().ok());
    let refusal = refusals.filter(|answer| answer.meaning == Meaning::Refused { is_page: false }).last();
    if let Some(answer) = refusal {
        let status = answer.status.as_u16();
        lines.push(format!(
            "absent_statuses = [{status}, 404]  # only if it is an object store, which answers {status}"
        ));
    }
    let mut hosts: Vec<String> = Vec::new();
    for meaning in meanings() {
        if let Meaning::Redirect { host: Some(host), .. } = meaning
            && !hosts.contains(host)
        {
            hosts.push(host.clone());
        }
    }
    if !hosts.is_empty() {
        let all: Vec<_> = check.settings.redirect_hosts.iter().chain(&hosts).map(|host| format!("{host:?}")).collect();
        lines.push(format!("redirect_hosts = [{}]  # only if you trust them", all.join(", ")));
    }
    lines.extend(serves(check));
    if let Some(usual) = check.usual_time().filter(|usual| *usual >= SLOW)
        && check.settings.deadline.is_none()
    {
        let deadline = humantime::format_duration(Duration::from_secs((usual * PATIENCE).as_secs()));
        lines.push(format!("deadline = \"{deadline}\"  # its answers usually take {:.1} s", usual.as_secs_f64()));
    }
    lines
}

/// The kinds that are served, if the settings have others.
fn serves(check: &Check) -> Option<String> {
    let is_served = |answer: &Result<super::Answer, String>| {
        !matches!(answer, Ok(super::Answer { meaning: Meaning::NotServed, .. }))
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
