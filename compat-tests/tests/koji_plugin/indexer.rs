//! A server that takes what the plugin sends, with the statuses and checks of the indexer's hook.

use std::collections::BTreeSet;
use std::io::{Read, Write};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};

use compat_tests::fake_server::FakeServer;
use serde_json::Value;

/// The token that it takes.
pub(crate) const TOKEN: &str = "a-token-of-the-tests";

/// A running server.
pub(crate) struct Indexer {
    server: FakeServer,
    messages: Arc<Mutex<Vec<Value>>>,
}

impl Indexer {
    /// Answers 202.
    pub(crate) fn start() -> Self {
        Self::start_on(0, |_| 202)
    }

    /// Answers with the status that `status` returns for a message, on a port, or on any for 0.
    pub(crate) fn start_on(port: u16, status: impl Fn(&Value) -> u16 + Send + Sync + 'static) -> Self {
        let messages = Arc::<Mutex<Vec<Value>>>::default();
        let kept = messages.clone();
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, port)).unwrap();
        let server = FakeServer::start_at(listener, move |head, stream| {
            let answer = match read_message(head, stream) {
                Ok(message) => {
                    let status = status(&message);
                    if status == 202 {
                        kept.lock().unwrap().push(message);
                    }
                    status
                }
                Err(status) => status,
            };
            let head = format!("HTTP/1.1 {answer} Answer\r\nContent-Length: 3\r\nConnection: close\r\n\r\nno\n");
            let _ = stream.write_all(head.as_bytes());
        });
        Self { server, messages }
    }

    pub(crate) fn url(&self) -> String {
        self.server.url()
    }

    /// The accepted messages.
    pub(crate) fn messages(&self) -> Vec<Value> {
        self.messages.lock().unwrap().clone()
    }

    /// The builds of the accepted messages.
    pub(crate) fn builds(&self) -> BTreeSet<i64> {
        self.messages().iter().map(|message| message["build"].as_i64().unwrap()).collect()
    }

    /// Number of requests, accepted or not.
    pub(crate) fn requests(&self) -> usize {
        self.server.connections()
    }
}

/// Returns the message of a request, or the status of its refusal.
fn read_message(head: &str, stream: &mut TcpStream) -> Result<Value, u16> {
    let header = |name: &str| {
        let mut headers = head.lines().skip(1).filter_map(|line| line.split_once(": "));
        headers.find(|(found, _)| found.eq_ignore_ascii_case(name)).map(|(_, value)| value.to_owned())
    };
    if !head.starts_with("POST /hooks/koji HTTP/1.1\r\n") {
        return Err(404);
    }
    if header("authorization") != Some(format!("Bearer {TOKEN}")) {
        return Err(401);
    }
    if header("content-type").as_deref() != Some("application/json") || header("host").is_none() {
        return Err(415);
    }
    let length: usize = header("content-length").and_then(|length| length.parse().ok()).ok_or(411u16)?;
    let mut body = vec![0; length];
    stream.read_exact(&mut body).map_err(|_| 408u16)?;
    serde_json::from_slice(&body).map_err(|_| 400)
}
