//! Figures of several rounds: medians, and ratios to the peers of the same run.

use std::fmt::Write as _;

use serde_json::{Value, json};

/// One table: systems in rows, figures in columns. Rows of one group did the same work and are compared with each
/// other.
pub(crate) struct ResultTable {
    pub(crate) title: String,
    columns: Vec<&'static str>,
    /// Systems that others are compared with, by the first column.
    peers: Vec<&'static str>,
    rows: Vec<ResultRow>,
    goals: Vec<Goal>,
}

struct ResultRow {
    group: String,
    system: String,
    /// One list of figures a round.
    rounds: Vec<Vec<Option<f64>>>,
}

struct Goal {
    text: String,
    found: f64,
    is_met: bool,
}

/// What a ratio tells is only as good as its first column: more must be better there (a rate), unless the title says
/// otherwise.
impl ResultTable {
    pub(crate) fn new(title: impl Into<String>, columns: &[&'static str], peers: &[&'static str]) -> Self {
        Self {
            title: title.into(),
            columns: columns.to_vec(),
            peers: peers.to_vec(),
            rows: Vec::new(),
            goals: Vec::new(),
        }
    }

    /// Adds one round's figures of a system, one a column.
    pub(crate) fn add(&mut self, group: &str, system: &str, figures: &[Option<f64>]) {
        assert_eq!(figures.len(), self.columns.len(), "{}: a figure for each column", self.title);
        let at = self.rows.iter().position(|row| row.group == group && row.system == system).unwrap_or_else(|| {
            self.rows.push(ResultRow { group: group.into(), system: system.into(), rounds: Vec::new() });
            self.rows.len() - 1
        });
        self.rows[at].rounds.push(figures.to_vec());
    }

    /// The median of a column.
    pub(crate) fn median(&self, group: &str, system: &str, column: usize) -> Option<f64> {
        self.rows.iter().find(|row| row.group == group && row.system == system)?.median(column)
    }

    /// The ratio of two systems' medians in the first column.
    pub(crate) fn ratio(&self, group: &str, system: &str, peer: &str) -> Option<f64> {
        Some(self.median(group, system, 0)? / self.median(group, peer, 0)?)
    }

    /// Notes whether `found` is at least `wanted`.
    pub(crate) fn at_least(&mut self, text: &str, found: Option<f64>, wanted: f64) {
        let Some(found) = found else { return };
        self.goals.push(Goal { text: format!("{text}: at least {}", short(wanted)), found, is_met: found >= wanted });
    }

    /// Notes whether `found` is at most `wanted`.
    pub(crate) fn at_most(&mut self, text: &str, found: Option<f64>, wanted: f64) {
        let Some(found) = found else { return };
        self.goals.push(Goal { text: format!("{text}: at most {}", short(wanted)), found, is_met: found <= wanted });
    }

    /// The table in Markdown.
    pub(crate) fn markdown(&self) -> String {
        let ratios = self.peers.iter().map(|peer| format!("x {peer}"));
        let heads: Vec<String> = ["work".into(), "system".into()]
            .into_iter()
            .chain(self.columns.iter().map(|c| c.to_string()))
            .chain(ratios)
            .collect();
        let mut text = format!("### {}\n\n| {} |\n|{}\n", self.title, heads.join(" | "), "---|".repeat(heads.len()));
        for row in &self.rows {
            let medians = (0..self.columns.len()).map(|column| row.median(column).map_or("-".into(), short));
            let ratios = self.peers.iter().map(|peer| {
                let is_other = row.system != *peer;
                self.ratio(&row.group, &row.system, peer)
                    .filter(|_| is_other)
                    .map_or("-".into(), |ratio| format!("{ratio:.2}"))
            });
            let cells: Vec<String> =
                [row.group.clone(), row.system.clone()].into_iter().chain(medians).chain(ratios).collect();
            // Writing to a String cannot fail.
            let _ = writeln!(text, "| {} |", cells.join(" | "));
        }
        for goal in &self.goals {
            let verdict = if goal.is_met { "met" } else { "NOT met" };
            let _ = write!(text, "\n- {}: {} ({verdict})", goal.text, short(goal.found));
        }
        if !self.goals.is_empty() {
            text.push('\n');
        }
        text
    }

    /// Every round's figures, the medians and the goals.
    pub(crate) fn json(&self) -> Value {
        let rows: Vec<Value> = self
            .rows
            .iter()
            .map(|row| {
                let medians: Vec<_> = (0..self.columns.len()).map(|column| row.median(column)).collect();
                json!({ "work": row.group, "system": row.system, "rounds": row.rounds, "medians": medians })
            })
            .collect();
        let goals: Vec<Value> = self
            .goals
            .iter()
            .map(|goal| json!({ "goal": goal.text, "found": goal.found, "met": goal.is_met }))
            .collect();
        json!({ "title": self.title, "columns": self.columns, "rows": rows, "goals": goals })
    }
}

impl ResultRow {
    fn median(&self, column: usize) -> Option<f64> {
        let mut values: Vec<f64> = self.rounds.iter().filter_map(|round| round[column]).collect();
        values.sort_by(f64::total_cmp);
        let middle = values.len() / 2;
        match values.len() {
            0 => None,
            odd if odd % 2 == 1 => Some(values[middle]),
            _ => Some((values[middle - 1] + values[middle]) / 2.0),
        }
    }
}

/// Three significant digits, large numbers with separators.
fn short(value: f64) -> String {
    if value.abs() < 1000.0 {
        let digits = if value == 0.0 { 0 } else { 2 - value.abs().log10().floor() as i32 };
        return format!("{value:.*}", usize::try_from(digits).unwrap_or(0));
    }
    let digits = format!("{value:.0}");
    let mut text = String::new();
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at) % 3 == 0 && digit.is_ascii_digit() {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn medians_and_ratios_are_of_the_rounds() {
        let mut table = ResultTable::new("rates", &["a second"], &["peer"]);
        for (ours, theirs) in [(10.0, 5.0), (30.0, 1.0), (20.0, 2.0)] {
            table.add("work", "ours", &[Some(ours)]);
            table.add("work", "peer", &[Some(theirs)]);
        }
        table.at_least("ratio", table.ratio("work", "ours", "peer"), 10.5);
        let text = table.markdown();
        assert!(text.contains("| work | ours | 20.0 | 10.00 |"), "{text}");
        assert!(text.contains("NOT met"), "{text}");
    }

    #[test]
    fn numbers_are_short() {
        let shown = [0.0, 0.01234, 1.5, 999.4, 1234.5, 1_234_567.0].map(short);
        assert_eq!(shown, ["0", "0.0123", "1.50", "999", "1,234", "1,234,567"]);
    }
}
