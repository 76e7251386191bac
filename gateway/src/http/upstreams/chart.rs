//! Charts of the last day of one upstream, as SVG that stands in the page. The page's style has their colours.

use std::fmt::Write as _;

use super::text;
use crate::providers::federation::report::{BUCKET_SECONDS, Figures, UpstreamState};

/// Size of a chart.
const WIDTH: u32 = 640;
const HEIGHT: u32 = 108;
/// Where the figures are drawn in it.
const LEFT: f64 = 52.0;
const TOP: f64 = 10.0;
const PLOT_HEIGHT: f64 = 76.0;
const BOTTOM: f64 = TOP + PLOT_HEIGHT;
/// Width of five minutes.
const STEP: f64 = 2.0;
/// A day has 288 of them.
const RIGHT: f64 = LEFT + STEP * 288.0;
/// The shortest latency that has a height, in seconds, and the powers of ten above it that are drawn.
const MIN_LATENCY: f64 = 0.001;
const DECADES: f64 = 5.0;

/// An outcome: its class in the style, its name, and how to read its number.
type Outcome = (&'static str, &'static str, fn(&Figures) -> u64);

/// The outcomes in the order in which they are stacked, from the bottom: what needs attention is not lifted by others.
pub(super) const OUTCOMES: [Outcome; 4] = [
    ("failed", "failed", |figures| figures.failed),
    ("too-large", "too large", |figures| figures.too_large),
    ("found", "found", |figures| figures.found),
    ("absent", "absent", |figures| figures.absent),
];

/// The requests of the last day by outcome, stacked, and when the breaker was open. `number` is that of the upstream in
/// the page; `name` is escaped.
pub(super) fn requests(number: usize, name: &str, state: &UpstreamState) -> String {
    let most = state.history.iter().map(|figures| figures.requests).max().unwrap_or(0);
    let scale = scale_above(most);
    let day = &state.last_day.figures;
    let counts: Vec<String> = OUTCOMES.iter().map(|(_, name, count)| format!("{} {name}", count(day))).collect();
    let title = format!("Requests to {name} in the last day");
    let description = format!("{}. The breaker was open for {}.", counts.join(", "), text::duration(day.open_seconds));
    let mut chart = begin("requests", number, &title, &description, state);
    line(&mut chart, TOP, &scale.to_string());
    line(&mut chart, BOTTOM, "0");
    let mut below = vec![0; state.history.len()];
    for (class, _, count) in OUTCOMES {
        let mut path = String::new();
        for (figures, below) in state.history.iter().zip(&mut below) {
            let count = count(figures);
            if count > 0 {
                let height = |count| share(count, scale) * PLOT_HEIGHT;
                // Writing to a string cannot fail.
                let _ = write!(
                    path,
                    "M{:.0} {:.1}h{STEP}v-{:.1}h-{STEP}z",
                    left_of(figures, state),
                    BOTTOM - height(*below),
                    height(count)
                );
                *below += count;
            }
        }
        let _ = writeln!(chart, "<path class=\"{class}\" d=\"{path}\"/>");
    }
    chart + "</svg>\n"
}

/// The time within which 95 of 100 requests of the last day ended, on a logarithmic scale, and when the breaker was
/// open.
pub(super) fn latencies(number: usize, name: &str, state: &UpstreamState) -> String {
    let title = format!("Latency of {name} in the last day");
    let p95 = text::latency(state.last_day.figures.p95);
    let description = format!("95 of 100 requests ended within {p95}, by five minutes, from 1 ms to 100 s.");
    let mut chart = begin("latency", number, &title, &description, state);
    for (latency, label) in [(0.001, "1 ms"), (0.1, "100 ms"), (10.0, "10 s")] {
        line(&mut chart, height_of(latency), label);
    }
    let (mut path, mut end) = (String::new(), None);
    for figures in &state.history {
        let Some(latency) = figures.p95 else { continue };
        let (left, height) = (left_of(figures, state), height_of(latency));
        let _ = match end {
            Some(end) if end == figures.start => write!(path, "V{height:.1}h{STEP}"),
            _ => write!(path, "M{left:.0} {height:.1}h{STEP}"),
        };
        end = Some(figures.start + BUCKET_SECONDS);
    }
    let _ = writeln!(chart, "<path class=\"latency\" d=\"{path}\"/>");
    chart + "</svg>\n"
}

/// The beginning of a chart: its text for people who do not see it, the times below it, and a band where the breaker
/// was open.
fn begin(kind: &str, number: usize, title: &str, description: &str, state: &UpstreamState) -> String {
    let id = format!("{kind}-{number}");
    let mut chart = format!(
        "<svg class=\"{kind}\" width=\"{WIDTH}\" height=\"{HEIGHT}\" viewBox=\"0 0 {WIDTH} {HEIGHT}\" role=\"img\" \
         aria-labelledby=\"{id}-title {id}-text\">\n\
         <title id=\"{id}-title\">{title}</title>\n<desc id=\"{id}-text\">{description}</desc>\n"
    );
    let mut band = String::new();
    for figures in state.history.iter().filter(|figures| figures.open_seconds > 0) {
        let _ = write!(band, "M{:.0} {TOP}h{STEP}v{PLOT_HEIGHT}h-{STEP}z", left_of(figures, state));
    }
    let _ = writeln!(chart, "<path class=\"open\" d=\"{band}\"/>");
    let labels = ["24 h ago", "18 h", "12 h", "6 h", "now"];
    for (label, quarter) in labels.into_iter().zip([0.0, 0.25, 0.5, 0.75, 1.0]) {
        let (x, y) = (LEFT + quarter * (RIGHT - LEFT), BOTTOM + 16.0);
        let _ = writeln!(chart, "<text class=\"time\" x=\"{x:.0}\" y=\"{y:.0}\">{label}</text>");
    }
    chart
}

/// A horizontal line at a height, with its label.
fn line(chart: &mut String, height: f64, label: &str) {
    let _ = writeln!(
        chart,
        "<path class=\"grid\" d=\"M{LEFT} {height:.1}H{RIGHT}\"/>\
         <text class=\"scale\" x=\"{:.0}\" y=\"{:.1}\">{label}</text>",
        LEFT - 6.0,
        height + 4.0
    );
}

/// Where the five minutes begin.
fn left_of(figures: &Figures, state: &UpstreamState) -> f64 {
    let number = figures.start.saturating_sub(state.history_start) / BUCKET_SECONDS;
    LEFT + share(number, 1) * STEP
}

/// The height of a latency in seconds.
fn height_of(latency: f64) -> f64 {
    let decades = (latency / MIN_LATENCY).max(1.0).log10().min(DECADES);
    BOTTOM - decades / DECADES * PLOT_HEIGHT
}

/// The smallest of 1, 2, 5, 10, 20, 50... that is at least `most`.
fn scale_above(most: u64) -> u64 {
    let powers = (0..19).map(|power| 10_u64.pow(power));
    let mut scales = powers.flat_map(|power| [1, 2, 5].map(|digit| power.saturating_mul(digit)));
    scales.find(|scale| *scale >= most).unwrap_or(u64::MAX)
}

#[expect(clippy::cast_precision_loss, reason = "a chart has fewer points than a float has digits")]
fn share(count: u64, all: u64) -> f64 {
    count as f64 / all as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scales_are_round() {
        assert_eq!([0, 1, 2, 3, 7, 100, 101].map(scale_above), [1, 1, 2, 5, 10, 100, 200]);
        assert_eq!(scale_above(u64::MAX), u64::MAX);
    }

    #[test]
    fn latencies_have_logarithmic_heights_within_the_chart() {
        let heights = [0.0, 0.001, 0.1, 10.0, 100.0, 1e9].map(height_of);
        assert_eq!((heights[0], heights[1], heights[4], heights[5]), (BOTTOM, BOTTOM, TOP, TOP));
        assert!((heights[2] - heights[3] - PLOT_HEIGHT * 0.4).abs() < 0.001, "{heights:?}");
    }
}
