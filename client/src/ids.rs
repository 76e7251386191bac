//! Build-ids out of words and of standard input, and how many of them fit into one request.

use std::collections::HashSet;
use std::io::{self, Read};

use crate::failure::Failure;

/// Web servers refuse a request line above 8190 bytes (Apache's LimitRequestLine). This leaves room for the method, the
/// protocol and a proxy's longer prefix.
const IDS_BYTES_MAX: usize = 7600;

const IDS_MAX: usize = 150;

/// The build-ids that `words` of the command line stand for, in order, each once. "-" stands for those on standard input.
///
/// They are not checked: what is no build-id is a question too, with the answer "nothing".
pub(crate) fn expand(words: Vec<String>) -> Result<Vec<String>, Failure> {
    let mut ids = Vec::new();
    for word in words {
        if word == "-" {
            let mut input = Vec::new();
            io::stdin().lock().read_to_end(&mut input).map_err(Failure::local)?;
            ids.extend(read_lines(&String::from_utf8_lossy(&input)));
        } else {
            // The server would take the comma for a separator as well; here it has to be known, to count ids.
            ids.extend(word.split(',').filter(|id| !id.is_empty()).map(String::from));
        }
    }
    // Not in one case: servers before this one's tell "AB" from "ab", and only one of them is known there.
    let mut seen = HashSet::new();
    ids.retain(|id| seen.insert(id.clone()));
    Ok(ids)
}

fn read_lines(input: &str) -> Vec<String> {
    let mut ids = Vec::new();
    for line in input.lines() {
        let mut words = line.split_whitespace();
        match (words.clone().next(), words.clone().nth(1)) {
            (Some(first), Some(second)) if is_address_range(first) => ids.extend(id_of_module(second)),
            _ => ids.extend(words.by_ref().flat_map(|word| word.split(',')).filter_map(id_of_module)),
        }
    }
    ids
}

/// The first column of `eu-unstrip -n`: START+SIZE, as in `0x400000+0x207000` and `0+0x3000`.
fn is_address_range(word: &str) -> bool {
    let is_number = |text: &str| {
        let digits = text.strip_prefix("0x").unwrap_or(text);
        !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_hexdigit())
    };
    word.split_once('+').is_some_and(|(start, size)| is_number(start) && is_number(size))
}

/// The second column of `eu-unstrip -n`: BUILDID, BUILDID@ADDRESS, or "-" for a module without build-id.
fn id_of_module(word: &str) -> Option<String> {
    let id = word.split('@').next().unwrap_or(word);
    (!id.is_empty() && id != "-").then(|| id.to_string())
}

/// Splits ids, already as they stand in a URL, into lists that each fit into one request line.
pub(crate) fn chunks(ids: &[String]) -> Vec<&[String]> {
    let mut chunks = Vec::new();
    let (mut start, mut size_bytes) = (0, 0);
    for (at, id) in ids.iter().enumerate() {
        let id_bytes = id.len() + 1;
        if at > start && (at - start == IDS_MAX || size_bytes + id_bytes > IDS_BYTES_MAX) {
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
    fn words_are_split_at_commas_and_asked_once() {
        assert_eq!(expand(strings(&["b,a,", "a", "A", "c d", ","])).unwrap(), ["b", "a", "A", "c d"]);
    }

    #[test]
    fn lines_of_eu_unstrip_give_their_second_column() {
        let input = "\
            0x400000+0x207000 284376cdc1ffb19bafcf3aa3b2a1e0bc2b4dc4fe@0x40024c /bin/sleep - sleep\n\
            0x7fff6e3ff000+0x1000 - . - linux-vdso.so.1\n\
            0+0x3000 420e9e4cc3a3cb9b1a1a2dd0dfea0bd4de0e2b4c /usr/lib64/libc.so.6 - libc.so.6\n";
        let ids = ["284376cdc1ffb19bafcf3aa3b2a1e0bc2b4dc4fe", "420e9e4cc3a3cb9b1a1a2dd0dfea0bd4de0e2b4c"];
        assert_eq!(read_lines(input), ids);
    }

    #[test]
    fn other_lines_hold_one_or_several_ids() {
        assert_eq!(read_lines("aa\r\n\n  bb\tcc,dd \n-\nee@0x10"), ["aa", "bb", "cc", "dd", "ee"]);
    }

    #[test]
    fn at_most_150_ids_go_into_a_request() {
        let ids = vec!["a".repeat(40); 301];
        let lengths: Vec<usize> = chunks(&ids).iter().map(|chunk| chunk.len()).collect();
        assert_eq!(lengths, [150, 150, 1]);
        assert!(chunks(&[]).is_empty());
    }

    #[test]
    fn long_ids_make_shorter_requests() {
        let ids = vec!["a".repeat(64); 300];
        assert!(chunks(&ids).iter().all(|chunk| chunk.join(",").len() <= IDS_BYTES_MAX));
        assert_eq!(chunks(&ids).concat(), ids);
        // One that fits nowhere is still asked, alone: the server says what it thinks of it.
        let ids = [strings(&["a"]), vec!["b".repeat(9000)], strings(&["c"])].concat();
        assert_eq!(chunks(&ids).len(), 3);
    }
}
