//! The server's JSON as lines on standard output.

use std::io::{self, ErrorKind, Write};

use serde::Deserialize;
use serde_json::Value;

use crate::args::Question;
use crate::failure::Failure;

/// Prints `answer`, as lines or as JSON. `false` when it holds no data.
pub(crate) fn answer(question: &Question, answer: &Value, as_json: bool) -> Result<bool, Failure> {
    let lines = lines(question, answer)?;
    let found = !lines.is_empty();
    let text = if as_json { format!("{answer:#}\n") } else { lines.concat() };
    match io::stdout().lock().write_all(text.as_bytes()).and_then(|()| io::stdout().flush()) {
        // Whoever reads has seen enough, as in `darkclient ... | head -1`.
        Err(error) if error.kind() == ErrorKind::BrokenPipe => Ok(found),
        written => written.map(|()| found).map_err(Failure::local),
    }
}

fn lines(question: &Question, answer: &Value) -> Result<Vec<String>, Failure> {
    // Some old servers answer an empty object where a list belongs.
    if answer.as_object().is_some_and(|object| object.is_empty()) {
        return Ok(Vec::new());
    }
    match question {
        Question::Ids(_) | Question::Rpm(_) => records(answer),
        Question::Package(_) => url(answer),
    }
}

/// A record, as far as it is printed.
#[derive(Deserialize)]
struct Record<'a> {
    #[serde(borrow)]
    buildid: std::borrow::Cow<'a, str>,
    rpm: std::borrow::Cow<'a, str>,
    elf: std::borrow::Cow<'a, str>,
}

fn records(answer: &Value) -> Result<Vec<String>, Failure> {
    let records = Vec::<Record>::deserialize(answer).map_err(|error| {
        Failure::Garbled(format!("expected a list of records with buildid, rpm and elf, found {error}"))
    })?;
    Ok(records.iter().map(|record| line(&format!("{} {} {}", record.buildid, record.rpm, record.elf))).collect())
}

fn url(answer: &Value) -> Result<Vec<String>, Failure> {
    let object = answer
        .as_object()
        .ok_or_else(|| Failure::Garbled("expected an object with url, found other JSON".to_string()))?;
    match object.get("url") {
        // Releases 1.0.2 to 1.0.4 say "" for an unknown package. The original printed that, an empty line, and exited with 0.
        Some(Value::String(url)) => Ok(vec![line(url)]),
        Some(_) => Err(Failure::Garbled("expected url to be a string, found other JSON".to_string())),
        None => Ok(Vec::new()),
    }
}

/// One line, whatever is in it: file names come out of packages that anyone may have built, and a line break or an escape
/// sequence in them must neither forge a record nor reach the terminal. `--json` shows them in full.
fn line(text: &str) -> String {
    let mut line = String::with_capacity(text.len() + 1);
    for character in text.chars() {
        if character.is_control() { line.extend(character.escape_default()) } else { line.push(character) }
    }
    line.push('\n');
    line
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn ids() -> Question {
        Question::Ids(Vec::new())
    }

    fn package() -> Question {
        Question::Package(String::new())
    }

    #[test]
    fn record_is_one_line_whatever_its_path_holds() {
        let answer = json!([{"buildid": "aa", "rpm": "r", "elf": "/a\nbb s /b\u{1b}[2Jé"}]);
        assert_eq!(lines(&ids(), &answer).unwrap(), ["aa r /a\\nbb s /b\\u{1b}[2Jé\n"]);
    }

    #[test]
    fn nothing_is_no_data() {
        assert!(lines(&ids(), &json!([])).unwrap().is_empty());
        assert!(lines(&ids(), &json!({})).unwrap().is_empty());
        assert!(lines(&package(), &json!({})).unwrap().is_empty());
        assert!(lines(&package(), &json!({"error": "rpm not found"})).unwrap().is_empty());
    }

    #[test]
    fn empty_url_is_printed_as_the_original_did() {
        assert_eq!(lines(&package(), &json!({"url": ""})).unwrap(), ["\n"]);
    }

    #[test]
    fn other_json_is_refused() {
        for answer in [json!(null), json!({"error": "x"}), json!([{"buildid": "aa"}]), json!(["aa"])] {
            assert!(matches!(lines(&ids(), &answer), Err(Failure::Garbled(_))), "{answer}");
        }
        for answer in [json!([]), json!({"url": null}), json!("http://a.example/")] {
            assert!(matches!(lines(&package(), &answer), Err(Failure::Garbled(_))), "{answer}");
        }
    }
}
