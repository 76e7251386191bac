//! The answer to one request, with its fault.

use std::io::{self, Write};
use std::net::TcpStream;
use std::sync::atomic::Ordering;
use std::time::Duration;

use super::{Fault, Sent, Shared};

/// Bytes of a body that are sent at once.
const PIECE: usize = 16 << 10;

/// An answer as it would be without those faults that concern the sending of its body.
struct Answer {
    status: u16,
    /// Header lines, each with its end.
    headers: String,
    body: Vec<u8>,
}

/// Answers a request, and records it before its end: a client that has the whole answer finds it in the records.
///
/// # Errors
/// The connection ends here.
pub(super) fn answer(shared: &Shared, sent: &mut Sent, stream: &mut impl Write, socket: &TcpStream) -> io::Result<()> {
    let fault = shared.fault(&sent.path);
    if let Some(Fault::Late(time)) = fault {
        wait(shared, time);
    }
    let answer = make(shared, sent, fault.as_ref());
    let length = match fault {
        Some(Fault::AnnouncesMore(more)) => answer.body.len() as u64 + more,
        _ => answer.body.len() as u64,
    };
    sent.status = answer.status;
    let head = format!("HTTP/1.1 {} Whatever\r\n{}Content-Length: {length}\r\n\r\n", answer.status, answer.headers);
    if sent.method == "HEAD" {
        record(shared, sent);
        return stream.write_all(head.as_bytes()).and_then(|()| stream.flush());
    }
    let limit = match fault {
        Some(Fault::EndsAfter(bytes) | Fault::ResetsAfter(bytes) | Fault::StallsAfter(bytes)) => bytes as usize,
        _ => usize::MAX,
    };
    let body = answer.body.get(..limit).unwrap_or(&answer.body);
    let is_slow = if let Some(Fault::Slow(per_second)) = fault { Some(per_second) } else { None };
    let result = send(shared, sent, stream, head, body, is_slow);
    match fault {
        Some(Fault::EndsAfter(_)) => Err(io::ErrorKind::UnexpectedEof.into()),
        Some(Fault::ResetsAfter(_)) => {
            // A reset drops what the peer has not read yet.
            std::thread::sleep(Duration::from_millis(50));
            let _ = rustix::net::sockopt::set_socket_linger(socket, Some(Duration::ZERO));
            Err(io::ErrorKind::ConnectionReset.into())
        }
        Some(Fault::StallsAfter(_) | Fault::AnnouncesMore(_)) => {
            wait(shared, Duration::from_secs(60));
            Err(io::ErrorKind::TimedOut.into())
        }
        _ => result,
    }
}

fn make(shared: &Shared, sent: &Sent, fault: Option<&Fault>) -> Answer {
    let status = |status| Answer { status, headers: String::new(), body: Vec::new() };
    let query = shared.query.lock().unwrap().clone();
    if query.is_some() && sent.target.split_once('?').map(|(_, query)| query.to_owned()) != query {
        return status(403);
    }
    let read = |path: &std::path::Path| std::fs::read(path).ok();
    let bytes = match fault {
        Some(Fault::Status(number)) => return status(*number),
        Some(Fault::Redirects(url)) => {
            let location = url.replace("{path}", &sent.target);
            return Answer { headers: format!("Location: {location}\r\n"), ..status(302) };
        }
        Some(Fault::Page) => {
            let body = b"<!DOCTYPE html>\n<html><body>Please log in.</body></html>\n".to_vec();
            return Answer { status: 200, headers: "Content-Type: text/html\r\n".to_owned(), body };
        }
        Some(Fault::Bytes(bytes)) => Some(bytes.clone()),
        Some(Fault::OtherFile(path)) => read(path),
        _ => read(&shared.directory.join(&sent.path)).filter(|_| !sent.path.split('/').any(|part| part == "..")),
    };
    let Some(bytes) = bytes else { return status(404) };
    let size = bytes.len() as u64;
    let headers = "Content-Type: application/octet-stream\r\nAccept-Ranges: bytes\r\n".to_owned();
    let range = sent.range.as_deref().filter(|_| !matches!(fault, Some(Fault::IgnoresRange)));
    let Some((first, end)) = range.and_then(|range| bounds(range, size)) else {
        return Answer { status: 200, headers, body: bytes };
    };
    if first >= end {
        return Answer { headers: format!("Content-Range: bytes */{size}\r\n"), ..status(416) };
    }
    let shift = if let Some(Fault::ShiftsRange(shift)) = fault { *shift } else { 0 };
    let (first, end) = ((first + shift).min(size - 1), (end + shift).min(size));
    let stated = if let Some(Fault::StatesSize(stated)) = fault { *stated } else { size };
    let headers = format!("{headers}Content-Range: bytes {first}-{}/{stated}\r\n", end - 1);
    Answer { status: 206, headers, body: bytes[first as usize..end as usize].to_vec() }
}

/// First byte and end of `FIRST-LAST`, `FIRST-` or `-COUNT`. `None` for several ranges.
fn bounds(range: &str, size: u64) -> Option<(u64, u64)> {
    let (first, last) = range.trim().split_once('-')?;
    if first.is_empty() {
        return Some((size.saturating_sub(last.parse().ok()?), size));
    }
    let end = if last.is_empty() { size } else { last.parse::<u64>().ok()?.checked_add(1)?.min(size) };
    Some((first.parse().ok()?, end))
}

fn send(
    shared: &Shared,
    sent: &mut Sent,
    stream: &mut impl Write,
    head: String,
    body: &[u8],
    per_second: Option<u64>,
) -> io::Result<()> {
    let piece = per_second.map_or(PIECE, |bytes| (bytes / 20).max(1) as usize);
    let mut pieces = body.chunks(piece).peekable();
    let mut is_recorded = pieces.peek().is_none();
    if is_recorded {
        record(shared, sent);
    }
    let mut result = stream.write_all(head.as_bytes());
    while let (Ok(()), Some(piece)) = (&result, pieces.next()) {
        if per_second.is_some() {
            result = stream.flush();
            wait(shared, Duration::from_millis(50));
        }
        sent.bytes += piece.len() as u64;
        if pieces.peek().is_none() {
            record(shared, sent);
            is_recorded = true;
        }
        result = result.and_then(|()| stream.write_all(piece));
    }
    if !is_recorded {
        record(shared, sent);
    }
    result.and_then(|()| stream.flush())
}

fn record(shared: &Shared, sent: &Sent) {
    shared.sent.lock().unwrap().push(sent.clone());
}

/// Waits for this time, or until the server ends.
fn wait(shared: &Shared, time: Duration) {
    let started = std::time::Instant::now();
    while started.elapsed() < time && !shared.stop.load(Ordering::SeqCst) {
        std::thread::sleep(Duration::from_millis(5).min(time));
    }
}
