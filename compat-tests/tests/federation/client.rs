//! A client that tells every way apart in which a response can end.

use std::io::{ErrorKind, Read};
use std::time::{Duration, Instant};

use compat_tests::darkserver::RunningGateway;
use compat_tests::http::{self, Response};

/// How a request ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Ended {
    /// A whole response 200.
    File(Vec<u8>),
    /// 302 to this URL.
    Redirect(String),
    /// 404, with its `Cache-Control`.
    Absent(String),
    /// 406
    TooLarge,
    /// A reset before the first byte of an answer.
    Unavailable,
    /// 200, of which these bytes came; then a reset.
    BrokenOff(Vec<u8>),
    /// 200, of which these bytes came within [`PATIENCE`].
    Slow(Vec<u8>),
}

/// A response and its times.
#[derive(Debug)]
pub(crate) struct Reply {
    pub(crate) ended: Ended,
    /// Headers of the response, if there was one.
    pub(crate) head: Option<Response>,
    /// From the request to the head of the response, or to the reset.
    pub(crate) decided: Duration,
    /// Longest time between two reads of the body.
    pub(crate) longest_gap: Duration,
}

/// The client gives up after this time.
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);

/// Asks a gateway.
///
/// # Panics
/// If there is no answer within [`PATIENCE`], or one that no client of debuginfod understands: an orderly end without
/// an answer or within one, or another status.
#[track_caller]
pub(crate) fn ask(gateway: &RunningGateway, path: &str) -> Reply {
    ask_for(gateway, path, PATIENCE)
}

/// As [`ask`], and gives up reading a body after `patience`.
#[track_caller]
pub(crate) fn ask_for(gateway: &RunningGateway, path: &str, patience: Duration) -> Reply {
    let started = Instant::now();
    let begun = http::begin(gateway.port, path);
    let decided = started.elapsed();
    assert!(decided < PATIENCE, "{path}: no answer within {PATIENCE:?}");
    let (head, mut stream) = match begun {
        Ok(begun) => begun,
        Err(error) if error.kind() == ErrorKind::ConnectionReset => {
            return Reply { ended: Ended::Unavailable, head: None, decided, longest_gap: Duration::ZERO };
        }
        Err(error) => panic!("{path}: expected an answer or a reset, found {error}: {}", gateway.log()),
    };
    let mut longest_gap = Duration::ZERO;
    let ended = match head.status {
        302 => Ended::Redirect(head.header("location").unwrap_or_default().to_owned()),
        404 => Ended::Absent(head.header("cache-control").unwrap_or_default().to_owned()),
        406 => Ended::TooLarge,
        200 => {
            stream.set_read_timeout(Some(Duration::from_millis(100))).unwrap();
            let (mut raw, mut piece, mut last) = (Vec::new(), vec![0; 64 << 10], Instant::now());
            let ended = loop {
                match stream.read(&mut piece) {
                    Ok(0) => break Some(true),
                    Ok(count) => raw.extend_from_slice(&piece[..count]),
                    Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {
                        if started.elapsed() > patience {
                            break None;
                        }
                        continue;
                    }
                    Err(error) if error.kind() == ErrorKind::ConnectionReset => break Some(false),
                    Err(error) => panic!("{path}: expected a body or a reset, found {error}"),
                }
                longest_gap = longest_gap.max(last.elapsed());
                last = Instant::now();
                if started.elapsed() > patience {
                    break None;
                }
            };
            let (bytes, is_whole) = body(&head, &raw);
            match ended {
                Some(true) => {
                    assert!(is_whole, "{path}: {} bytes of a body ended in good order: {head:?}", bytes.len());
                    Ended::File(bytes)
                }
                Some(false) => Ended::BrokenOff(bytes),
                None => Ended::Slow(bytes),
            }
        }
        status => panic!("{path}: expected 200, 302, 404, 406 or a reset, found {status}: {}", gateway.log()),
    };
    Reply { ended, head: Some(head), decided, longest_gap }
}

/// The bytes of a body as far as they came, and whether they are all.
fn body(head: &Response, raw: &[u8]) -> (Vec<u8>, bool) {
    if head.header("transfer-encoding") != Some("chunked") {
        let length: Option<usize> = head.header("content-length").and_then(|length| length.parse().ok());
        return (raw.to_vec(), length == Some(raw.len()));
    }
    let (mut rest, mut bytes) = (raw, Vec::new());
    while let Some(end) = rest.windows(2).position(|window| window == b"\r\n") {
        let length =
            std::str::from_utf8(&rest[..end]).ok().and_then(|text| usize::from_str_radix(text.trim(), 16).ok());
        let length = length.unwrap();
        rest = &rest[end + 2..];
        if length == 0 {
            return (bytes, true);
        }
        bytes.extend_from_slice(&rest[..length.min(rest.len())]);
        if rest.len() < length + 2 {
            break;
        }
        rest = &rest[length + 2..];
    }
    (bytes, false)
}

impl Reply {
    /// Expects that no byte of the answer differs from `expected`, and returns whether it is whole.
    #[track_caller]
    pub(crate) fn has_right_bytes(&self, what: &str, expected: &[u8]) -> bool {
        match &self.ended {
            Ended::File(bytes) => {
                assert!(bytes == expected, "{what}: a whole answer of {} wrong bytes: {:?}", bytes.len(), self.head);
                true
            }
            Ended::BrokenOff(bytes) | Ended::Slow(bytes) => {
                assert!(expected.starts_with(bytes), "{what}: {} bytes, not all of them right", bytes.len());
                false
            }
            other => panic!("{what}: expected 200, found {other:?}"),
        }
    }
}
