//! Build-ids from the command line and standard input, split into requests.

use std::collections::HashSet;
use std::io::{self, Read};

use crate::error::ClientError;

/// Web servers refuse a request line above 8190 bytes (Apache's LimitRequestLine). This leaves room for the method, the
/// protocol and a proxy's longer prefix.
const MAX_REQUEST_ID_BYTES: usize = 7600;

/// The maximum number of ids in one request.
const MAX_REQUEST_IDS: usize = 150;

/// The maximum size of standard input: more than 100,000 lines of `eu-unstrip -n`.
const MAX_INPUT_BYTES: u64 = 16 << 20;

/// The maximum number of hex digits of a build-id, as in libdebuginfod.
const MAX_DIGITS: usize = 128;

/// The maximum number of characters of a refused word in a message.
const MAX_SHOWN_CHARS: usize = 60;

/// Parses the build-ids in `words` of the command line, in order and without duplicates. "-" stands for those on
/// standard input.
///
/// # Errors
/// [`ClientError::Usage`] at the first word that is no build-id. Such a word may be a secret and is sent nowhere.
pub(crate) fn parse_ids(words: Vec<String>) -> Result<Vec<String>, ClientError> {
    let mut ids = Vec::new();
    for word in words {
        if word == "-" {
            let mut input = Vec::new();
            let read =
                io::stdin().lock().take(MAX_INPUT_BYTES + 1).read_to_end(&mut input).map_err(ClientError::local)?;
            if read as u64 > MAX_INPUT_BYTES {
                return Err(ClientError::Usage(format!(
                    "standard input: expected at most {MAX_INPUT_BYTES} bytes, found more"
                )));
            }
            ids.extend(parse_lines(&String::from_utf8_lossy(&input))?);
        } else {
            for id in word.split(',').filter(|id| !id.is_empty()) {
                ids.push(check_id(id, || "-i".to_string())?);
            }
        }
    }
    // The case is kept: older servers distinguish "AB" and "ab".
    let mut seen = HashSet::new();
    ids.retain(|id| seen.insert(id.clone()));
    Ok(ids)
}

fn parse_lines(input: &str) -> Result<Vec<String>, ClientError> {
    let mut ids = Vec::new();
    for (line, number) in input.lines().zip(1..) {
        let words: Vec<&str> = line.split_whitespace().collect();
        let words = match words[..] {
            [first, second, ..] if is_address_range(first) => vec![second],
            _ => words.into_iter().flat_map(|word| word.split(',')).collect(),
        };
        for id in words.into_iter().filter_map(id_of_module) {
            ids.push(check_id(id, || format!("standard input, line {number}"))?);
        }
    }
    Ok(ids)
}

/// Returns `word` if it is a build-id, else an error that names `place`.
fn check_id(word: &str, place: impl Fn() -> String) -> Result<String, ClientError> {
    let is_id =
        word.len() <= MAX_DIGITS && word.len().is_multiple_of(2) && word.bytes().all(|byte| byte.is_ascii_hexdigit());
    if is_id {
        return Ok(word.to_string());
    }
    let mut shown: String = word.chars().take(MAX_SHOWN_CHARS).collect();
    if shown.len() < word.len() {
        shown.push_str("...");
    }
    Err(ClientError::Usage(format!(
        "{}: expected a build-id (an even number of hex digits, at most {MAX_DIGITS}), found {shown:?}; \
         nothing was sent",
        place()
    )))
}

/// True for the first column of `eu-unstrip -n`: START+SIZE, as in `0x400000+0x207000` and `0+0x3000`.
fn is_address_range(word: &str) -> bool {
    let is_number = |text: &str| {
        let digits = text.strip_prefix("0x").unwrap_or(text);
        !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_hexdigit())
    };
    word.split_once('+').is_some_and(|(start, size)| is_number(start) && is_number(size))
}

/// Returns the build-id in the second column of `eu-unstrip -n`: BUILDID, BUILDID@ADDRESS, or "-" for a module without
/// one.
fn id_of_module(word: &str) -> Option<&str> {
    let id = word.split('@').next().unwrap_or(word);
    (!id.is_empty() && id != "-").then_some(id)
}

/// Splits ids, as encoded in a URL, into lists that each fit into one request line.
pub(crate) fn split_requests(ids: &[String]) -> Vec<&[String]> {
    let mut chunks = Vec::new();
    let (mut start, mut size_bytes) = (0, 0);
    for (at, id) in ids.iter().enumerate() {
        let id_bytes = id.len() + 1;
        if at > start && (at - start == MAX_REQUEST_IDS || size_bytes + id_bytes > MAX_REQUEST_ID_BYTES) {
            chunks.push(&ids[start..at]);
            (start, size_bytes) = (at, 0);
        }
        size_bytes += id_bytes;
    }
    if start < ids.len() {
        chunks.push(&ids[start..]);
    }
    chunks
}

#[cfg(test)]
mod tests {
    use super::*;

    fn strings(words: &[&str]) -> Vec<String> {
        words.iter().map(|word| word.to_string()).collect()
    }

    #[test]
    fn words_are_split_at_commas_and_requested_once() {
        assert_eq!(parse_ids(strings(&["bb,aa,", "aa", "AA", ","])).unwrap(), ["bb", "aa", "AA"]);
    }

    #[test]
    fn lines_of_eu_unstrip_give_their_second_column() {
        let input = "\
            0x400000+0x207000 284376cdc1ffb19bafcf3aa3b2a1e0bc2b4dc4fe@0x40024c /bin/sleep - sleep\n\
            0x7fff6e3ff000+0x1000 - . - linux-vdso.so.1\n\
            0+0x3000 420e9e4cc3a3cb9b1a1a2dd0dfea0bd4de0e2b4c /usr/lib64/libc.so.6 - libc.so.6\n";
        let ids = ["284376cdc1ffb19bafcf3aa3b2a1e0bc2b4dc4fe", "420e9e4cc3a3cb9b1a1a2dd0dfea0bd4de0e2b4c"];
        assert_eq!(parse_lines(input).unwrap(), ids);
    }

    #[test]
    fn other_lines_hold_one_or_several_ids() {
        assert_eq!(parse_lines("aa\r\n\n  bb\tcc,dd \n-\nee@0x10").unwrap(), ["aa", "bb", "cc", "dd", "ee"]);
    }

    #[test]
    fn invalid_build_ids_are_refused_with_their_line() {
        let longest = "ab".repeat(64);
        assert_eq!(parse_ids(strings(&[&longest])).unwrap(), std::slice::from_ref(&longest));
        for word in ["a", "abc", "xy", "../x", "a b", "é", "ab\u{1b}", &format!("{longest}00")] {
            let failure = parse_ids(strings(&["aa", word])).unwrap_err();
            assert!(failure.to_string().starts_with("-i: expected a build-id"), "{failure}");
            assert!(failure.to_string().len() < 250 && !failure.to_string().contains('\u{1b}'), "{failure}");
            assert_eq!(failure.exit_code(), 2);
        }
        let failure = parse_lines("aa\n0+0x3000 - . - x\nbb root:x:0:0\n").unwrap_err();
        assert!(
            failure.to_string().starts_with("standard input, line 3: ")
                && failure.to_string().contains("\"root:x:0:0\""),
            "{failure}"
        );
        assert!(parse_lines("0+0x3000 root:x:0 /bin/x - x\n").is_err());
    }

    #[test]
    fn at_most_150_ids_go_into_a_request() {
        let ids = vec!["a".repeat(40); 301];
        let lengths: Vec<usize> = split_requests(&ids).iter().map(|chunk| chunk.len()).collect();
        assert_eq!(lengths, [150, 150, 1]);
        assert!(split_requests(&[]).is_empty());
    }

    #[test]
    fn long_ids_make_shorter_requests() {
        let ids = vec!["a".repeat(64); 300];
        assert!(split_requests(&ids).iter().all(|chunk| chunk.join(",").len() <= MAX_REQUEST_ID_BYTES));
        assert_eq!(split_requests(&ids).concat(), ids);
        // One that fits nowhere is still asked, alone: the server says what it thinks of it.
        let ids = [strings(&["a"]), vec!["b".repeat(9000)], strings(&["c"])].concat();
        assert_eq!(split_requests(&ids).len(), 3);
    }
}
