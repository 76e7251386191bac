//! Prints the server's JSON on standard output.

use std::io::{self, ErrorKind, Write};

use serde::Deserialize;
use serde_json::Value;

use crate::args::Query;
use crate::error::ClientError;

/// Prints `answer`, as lines or as JSON. Returns `false` if it holds no data.
///
/// # Errors
/// [`ClientError::UnexpectedAnswer`] where it is other JSON; [`ClientError::ClosedOutput`] where the reader of standard
/// output has closed it; [`ClientError::Local`] where writing fails otherwise.
pub(crate) fn print_answer(query: &Query, answer: &Value, as_json: bool) -> Result<bool, ClientError> {
    let lines = format_lines(query, answer)?;
    let found = !lines.is_empty();
    let text = if as_json { format!("{answer:#}\n") } else { lines.concat() };
    match io::stdout().lock().write_all(text.as_bytes()).and_then(|()| io::stdout().flush()) {
        // As in `darkclient ... | head -1`.
        Err(error) if error.kind() == ErrorKind::BrokenPipe => Err(ClientError::ClosedOutput),
        written => written.map(|()| found).map_err(ClientError::local),
    }
}

/// Formats `answer` as lines; an empty list if it holds no data.
fn format_lines(query: &Query, answer: &Value) -> Result<Vec<String>, ClientError> {
    // Some old servers answer an empty object instead of a list.
    if answer.as_object().is_some_and(|object| object.is_empty()) {
        return Ok(Vec::new());
    }
    match query {
        Query::Ids(_) | Query::Rpm(_) => format_records(answer),
        Query::Package(_) => format_url(answer),
    }
}

/// The printed fields of a record.
#[derive(Deserialize)]
struct PrintedRecord<'a> {
    #[serde(borrow)]
    buildid: std::borrow::Cow<'a, str>,
    rpm: std::borrow::Cow<'a, str>,
    elf: std::borrow::Cow<'a, str>,
}

fn format_records(answer: &Value) -> Result<Vec<String>, ClientError> {
    let records = Vec::<PrintedRecord>::deserialize(answer).map_err(|error| {
        ClientError::UnexpectedAnswer(format!("expected a list of records with buildid, rpm and elf, found {error}"))
    })?;
    Ok(records.iter().map(|record| escape_line(&format!("{} {} {}", record.buildid, record.rpm, record.elf))).collect())
}

fn format_url(answer: &Value) -> Result<Vec<String>, ClientError> {
    let object = answer
        .as_object()
        .ok_or_else(|| ClientError::UnexpectedAnswer("expected an object with url, found other JSON".to_string()))?;
    match object.get("url") {
        // Releases 1.0.2 to 1.0.4 answer "" for an unknown package. The original printed an empty line and exited with
        // 0.
        Some(Value::String(url)) => Ok(vec![escape_line(url)]),
        Some(_) => Err(ClientError::UnexpectedAnswer("expected url to be a string, found other JSON".to_string())),
        None => Ok(Vec::new()),
    }
}

/// Formats `text` as one line. Control characters are escaped, because file names come from packages that anyone may
/// have built: they must neither forge a record nor reach the terminal. `--json` prints them in full.
fn escape_line(text: &str) -> String {
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

    fn ids() -> Query {
        Query::Ids(Vec::new())
    }

    fn package() -> Query {
        Query::Package(String::new())
    }

    #[test]
    fn control_characters_in_a_record_are_escaped() {
        let answer = json!([{"buildid": "aa", "rpm": "r", "elf": "/a\nbb s /b\u{1b}[2Jé"}]);
        assert_eq!(format_lines(&ids(), &answer).unwrap(), ["aa r /a\\nbb s /b\\u{1b}[2Jé\n"]);
    }

    #[test]
    fn empty_answers_are_no_data() {
        assert!(format_lines(&ids(), &json!([])).unwrap().is_empty());
        assert!(format_lines(&ids(), &json!({})).unwrap().is_empty());
        assert!(format_lines(&package(), &json!({})).unwrap().is_empty());
        assert!(format_lines(&package(), &json!({"error": "rpm not found"})).unwrap().is_empty());
    }

    #[test]
    fn empty_url_is_printed_as_the_original_did() {
        assert_eq!(format_lines(&package(), &json!({"url": ""})).unwrap(), ["\n"]);
    }

    #[test]
    fn other_json_is_refused() {
        for answer in [json!(null), json!({"error": "x"}), json!([{"buildid": "aa"}]), json!(["aa"])] {
            assert!(matches!(format_lines(&ids(), &answer), Err(ClientError::UnexpectedAnswer(_))), "{answer}");
        }
        for answer in [json!([]), json!({"url": null}), json!("http://a.example/")] {
            assert!(matches!(format_lines(&package(), &answer), Err(ClientError::UnexpectedAnswer(_))), "{answer}");
        }
    }
}
