//! A connection: one request after another.

use std::fs::File;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::sync::Arc;

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ServerConfig, ServerConnection, StreamOwned};

use super::{Sent, Shared, answer};
use crate::certificates::Certificates;

/// The settings of a server with these certificates.
pub(super) fn tls(certificates: &Certificates) -> Arc<ServerConfig> {
    let chain = CertificateDer::pem_file_iter(certificates.certificate()).expect("a certificate");
    let chain = chain.map(|certificate| certificate.expect("a certificate")).collect();
    let key = PrivateKeyDer::from_pem_reader(File::open(certificates.key()).expect("a key")).expect("a key");
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = ServerConfig::builder_with_provider(provider).with_safe_default_protocol_versions();
    let config = builder.expect("versions of TLS").with_no_client_auth().with_single_cert(chain, key);
    Arc::new(config.expect("a certificate and its key"))
}

/// Answers the requests of a connection until it ends.
pub(super) fn serve(shared: &Shared, stream: TcpStream, number: usize, tls: Option<Arc<ServerConfig>>) {
    // Else the end of each answer waits for the client's acknowledgement.
    let _ = stream.set_nodelay(true);
    let Ok(socket) = stream.try_clone() else { return };
    match tls {
        None => answer_all(shared, stream, &socket, number),
        Some(config) => {
            let Ok(connection) = ServerConnection::new(config) else { return };
            answer_all(shared, StreamOwned::new(connection, stream), &socket, number);
        }
    }
}

fn answer_all(shared: &Shared, stream: impl Read + Write, socket: &TcpStream, connection: usize) {
    let mut stream = BufReader::new(stream);
    while let Some(head) = read_head(&mut stream) {
        let mut words = head.split(' ');
        let (method, target) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
        let mut sent = Sent {
            method: method.to_owned(),
            target: target.to_owned(),
            path: decode(target.split('?').next().unwrap_or_default()),
            head: head.clone(),
            range: None,
            status: 0,
            bytes: 0,
            connection,
        };
        sent.range = sent.header("range").and_then(|range| range.strip_prefix("bytes=")).map(str::to_owned);
        shared.begun.lock().unwrap().push(sent.path.clone());
        shared.run_actions();
        let ends = answer::answer(shared, &mut sent, stream.get_mut(), socket);
        let asked_to_close = sent.header("connection").is_some_and(|value| value.eq_ignore_ascii_case("close"));
        if ends.is_err() || asked_to_close {
            let _ = socket.shutdown(std::net::Shutdown::Both);
            return;
        }
    }
}

/// Request line and headers; `None` at the end of the connection.
pub(crate) fn read_head(stream: &mut impl BufRead) -> Option<String> {
    let mut head = Vec::new();
    loop {
        let before = head.len();
        if stream.read_until(b'\n', &mut head).ok()? == 0 {
            return None;
        }
        if head[before..] == *b"\r\n" {
            return Some(String::from_utf8_lossy(&head).into_owned());
        }
    }
}

/// A path without a slash at its start, its valid percent signs decoded.
fn decode(path: &str) -> String {
    let (bytes, mut decoded, mut at) = (path.trim_start_matches('/').as_bytes(), Vec::new(), 0);
    while let Some(&byte) = bytes.get(at) {
        let digits = bytes.get(at + 1..at + 3).and_then(|digits| std::str::from_utf8(digits).ok());
        match digits.and_then(|digits| u8::from_str_radix(digits, 16).ok()).filter(|_| byte == b'%') {
            Some(value) => {
                decoded.push(value);
                at += 3;
            }
            None => {
                decoded.push(byte);
                at += 1;
            }
        }
    }
    String::from_utf8_lossy(&decoded).into_owned()
}
