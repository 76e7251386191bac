//! The page of `/upstreams`.

use std::fmt::Write as _;

use bytesize::ByteSize;

use super::chart;
use super::text::{Escaped, duration, latency, moment, share};
use crate::providers::federation::report::{Period, Report, UpstreamReport, UpstreamState};

/// The page with a report.
pub(super) fn page(report: &Report) -> String {
    let (mut rows, mut sections) = (String::new(), String::new());
    for (number, upstream) in report.upstreams.iter().enumerate() {
        rows.push_str(&row(number, upstream, report.time));
        sections.push_str(&section(number, upstream, report.time));
    }
    let body = if report.upstreams.is_empty() {
        "<p>No upstream is configured.</p>\n".to_owned()
    } else {
        include_str!("table.html").replace("<!-- rows -->", &rows) + &sections
    };
    include_str!("page.html").replace("<!-- time -->", &moment(report.time)).replace("<!-- upstreams -->", &body)
}

/// One upstream in the table.
fn row(number: usize, upstream: &UpstreamReport, now: u64) -> String {
    let name = Escaped(&upstream.name);
    let mut row = format!("<tr><th scope=\"row\"><a href=\"#upstream-{number}\">{name}</a></th>");
    let (class, state) = state_of(upstream);
    let since = upstream.state.as_ref().and_then(|state| state.breaker.since);
    let since = since.map(|since| format!(" for {}", duration(now.saturating_sub(since)))).unwrap_or_default();
    // Writing to a string cannot fail.
    let _ = write!(row, "<td><span class=\"state {class}\">{state}</span>{since}</td>");
    let _ = write!(row, "<td>{}</td><td>{}</td>", Escaped(&upstream.mode), upstream.priority);
    match &upstream.state {
        None => row.push_str("<td colspan=\"14\">not asked</td>"),
        Some(state) => {
            for quantile in [state.latency.p50, state.latency.p95, state.latency.p99] {
                let _ = write!(row, "<td>{}</td>", latency(quantile));
            }
            for period in [&state.last_hour, &state.last_day] {
                row.push_str(&cells(period));
            }
            let _ = write!(row, "<td>{}</td>", share(state.share_of_found));
        }
    }
    row + "</tr>\n"
}

/// The cells of a period in the table.
fn cells(period: &Period) -> String {
    let (figures, shares) = (&period.figures, period.shares.as_ref());
    format!(
        "<td>{}</td><td>{}</td><td>{}</td><td>{}</td><td>{}</td>",
        figures.requests,
        share(shares.map(|shares| shares.found)),
        share(shares.map(|shares| shares.absent)),
        share(shares.map(|shares| shares.failed)),
        share(shares.map(|shares| shares.too_large)),
    )
}

/// The class and the word of an upstream's state.
fn state_of(upstream: &UpstreamReport) -> (&'static str, &'static str) {
    match &upstream.state {
        None => ("off", "disabled"),
        Some(state) => match (state.breaker.state, state.available) {
            ("open", _) => ("bad", "open"),
            ("half_open", _) => ("bad", "half-open"),
            (_, Some(false)) => ("doubtful", "closed, probes fail"),
            (_, None) => ("off", "closed, not probed yet"),
            (_, Some(true)) => ("good", "closed"),
        },
    }
}

/// One upstream with its charts.
fn section(number: usize, upstream: &UpstreamReport, now: u64) -> String {
    let name = Escaped(&upstream.name).to_string();
    let mut section = format!("<section>\n<h2 id=\"upstream-{number}\">{name}</h2>\n");
    let _ = writeln!(
        section,
        "<p><code>{}</code> · {} · priority {} · serves {} · build-ids: {}</p>",
        Escaped(&upstream.url),
        Escaped(&upstream.mode),
        upstream.priority,
        list(&upstream.serves),
        list(&upstream.build_ids),
    );
    match &upstream.state {
        None => section.push_str("<p>Disabled by the configuration.</p>\n"),
        Some(state) => {
            section.push_str(&conditions(upstream, state, now));
            let _ = writeln!(
                section,
                "<div class=\"charts\">\n<figure>{}<figcaption>Requests in five minutes</figcaption></figure>\n\
                 <figure>{}<figcaption>95 of 100 requests took at most so long</figcaption></figure>\n</div>",
                chart::requests(number, &name, state),
                chart::latencies(number, &name, state),
            );
            section.push_str(&transitions(state));
        }
    }
    section + "</section>\n"
}

/// The state of the breaker, the last error, and the last day in words.
fn conditions(upstream: &UpstreamReport, state: &UpstreamState, now: u64) -> String {
    let (class, word) = state_of(upstream);
    let mut text = format!("<p>Breaker: <span class=\"state {class}\">{word}</span>");
    if let Some(since) = state.breaker.since {
        let _ = write!(text, " since {} ({})", moment(since), duration(now.saturating_sub(since)));
    }
    if let Some(cause) = state.breaker.cause.as_ref().or(state.cause.as_ref()) {
        let _ = write!(text, ": {}", Escaped(cause));
    }
    text.push_str("</p>\n");
    if let Some(error) = &state.last_error {
        let _ = writeln!(text, "<p>Last error, {}: {}</p>", moment(error.time), Escaped(&error.text));
    }
    let day = &state.last_day.figures;
    let _ = writeln!(
        text,
        "<p>Last day: {} relayed, {} hedges, {} answers that were junk, breaker open for {}.</p>",
        ByteSize::b(day.bytes),
        day.hedges,
        day.junk,
        duration(day.open_seconds),
    );
    text
}

/// The last changes of the breaker, the latest first.
fn transitions(state: &UpstreamState) -> String {
    if state.transitions.is_empty() {
        return String::new();
    }
    let mut text = format!("<details>\n<summary>Changes of the breaker ({})</summary>\n", state.transitions.len());
    text.push_str("<table class=\"changes\">\n<tr><th scope=\"col\">time</th><th scope=\"col\">state</th>");
    text.push_str("<th scope=\"col\">cause</th></tr>\n");
    for transition in state.transitions.iter().rev() {
        let (time, state) = (moment(transition.time), transition.state);
        let _ = writeln!(text, "<tr><td>{time}</td><td>{state}</td><td>{}</td></tr>", Escaped(&transition.cause));
    }
    text + "</table>\n</details>\n"
}

/// Words with commas between them.
fn list(words: &[String]) -> String {
    Escaped(&words.join(", ")).to_string()
}
