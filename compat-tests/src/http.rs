//! HTTP/1.1 as bytes on a socket: a test gets the exact bytes, and a reset as an error.

use std::io::{self, Read, Write};
use std::net::{Ipv4Addr, TcpStream};
use std::time::Duration;

/// A response.
#[derive(Clone, Debug)]
pub struct Response {
    /// 200...
    pub status: u16,
    /// In the order of arrival, names in lower case.
    pub headers: Vec<(String, String)>,
    /// Decoded if it was chunked.
    pub body: Vec<u8>,
}

impl Response {
    /// The first header of this name, in lower case.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(found, _)| found == name).map(|(_, value)| value.as_str())
    }

    /// The body as text.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }
}

/// Sends GET `path` to a port of this machine.
///
/// # Errors
/// Errors of the socket: `ConnectionReset` for a reset; `UnexpectedEof` if a body is shorter than its Content-Length.
pub fn get(port: u16, path: &str) -> io::Result<Response> {
    request(port, "GET", path, &[])
}

/// Sends a request with further headers.
///
/// # Errors
/// As [`get`].
pub fn request(port: u16, method: &str, path: &str, headers: &[(&str, &str)]) -> io::Result<Response> {
    let mut stream = send(port, method, path, headers)?;
    let mut bytes = Vec::new();
    stream.read_to_end(&mut bytes)?;
    parse(&bytes, method)
}

/// Sends a request with a body. A server that refuses it may not read it to its end.
///
/// # Errors
/// As [`get`].
pub fn request_with(
    port: u16,
    method: &str,
    path: &str,
    headers: &[(&str, &str)],
    body: &[u8],
) -> io::Result<Response> {
    let length = body.len().to_string();
    let mut stream = send(port, method, path, &[headers, &[("Content-Length", &length)]].concat())?;
    let written = stream.write_all(body);
    receive(&mut stream, method).or_else(|error| written.and(Err(error)))
}

/// Reads the response to a request that was sent.
///
/// # Errors
/// As [`get`].
pub fn receive(stream: &mut TcpStream, method: &str) -> io::Result<Response> {
    let mut bytes = Vec::new();
    let read = stream.read_to_end(&mut bytes);
    // What came before a reset may be whole.
    parse(&bytes, method).or_else(|error| read.and(Err(error)))
}

/// Sends GET `path`. Returns once the head of the response is complete; its body is still in the stream.
///
/// # Errors
/// As [`get`].
pub fn begin(port: u16, path: &str) -> io::Result<(Response, TcpStream)> {
    begin_with(port, path, &[])
}

/// As [`begin`], with further headers.
///
/// # Errors
/// As [`get`].
pub fn begin_with(port: u16, path: &str, headers: &[(&str, &str)]) -> io::Result<(Response, TcpStream)> {
    let mut stream = send(port, "GET", path, headers)?;
    let (mut head, mut byte) = (Vec::new(), [0]);
    while !head.ends_with(b"\r\n\r\n") {
        stream.read_exact(&mut byte)?;
        head.push(byte[0]);
    }
    // As for HEAD: the length of the body is not compared.
    Ok((parse(&head, "HEAD")?, stream))
}

/// Sends a request without waiting for its answer.
///
/// # Errors
/// Errors of the socket.
pub fn send(port: u16, method: &str, path: &str, headers: &[(&str, &str)]) -> io::Result<TcpStream> {
    let mut stream = TcpStream::connect((Ipv4Addr::LOCALHOST, port))?;
    stream.set_read_timeout(Some(Duration::from_secs(60)))?;
    let mut head = format!("{method} {path} HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nConnection: close\r\n");
    for (name, value) in headers {
        head.push_str(&format!("{name}: {value}\r\n"));
    }
    stream.write_all(format!("{head}\r\n").as_bytes())?;
    Ok(stream)
}

fn parse(bytes: &[u8], method: &str) -> io::Result<Response> {
    let broken = |what: &str| io::Error::new(io::ErrorKind::UnexpectedEof, what.to_owned());
    let end = bytes.windows(4).position(|window| window == b"\r\n\r\n").ok_or_else(|| broken("no whole head"))?;
    let head = String::from_utf8_lossy(&bytes[..end]);
    let mut lines = head.split("\r\n");
    let status =
        lines.next().and_then(|line| line.split(' ').nth(1)?.parse().ok()).ok_or_else(|| broken("no status line"))?;
    let headers: Vec<(String, String)> = lines
        .filter_map(|line| line.split_once(':'))
        .map(|(name, value)| (name.trim().to_ascii_lowercase(), value.trim().to_owned()))
        .collect();
    let mut answer = Response { status, headers, body: bytes[end + 4..].to_vec() };
    if answer.header("transfer-encoding") == Some("chunked") {
        answer.body = unchunk(&answer.body).ok_or_else(|| broken("no whole chunked body"))?;
    } else if let Some(length) = answer.header("content-length")
        && method != "HEAD"
        && status != 304
    {
        let length: usize = length.parse().map_err(|_| broken("no number as Content-Length"))?;
        if answer.body.len() != length {
            return Err(broken(&format!("expected {length} bytes of body, found {}", answer.body.len())));
        }
    }
    Ok(answer)
}

fn unchunk(mut bytes: &[u8]) -> Option<Vec<u8>> {
    let mut body = Vec::new();
    loop {
        let end = bytes.windows(2).position(|window| window == b"\r\n")?;
        let length = usize::from_str_radix(std::str::from_utf8(&bytes[..end]).ok()?.trim(), 16).ok()?;
        bytes = bytes.get(end + 2..)?;
        if length == 0 {
            return Some(body);
        }
        body.extend_from_slice(bytes.get(..length)?);
        bytes = bytes.get(length + 2..)?;
    }
}
