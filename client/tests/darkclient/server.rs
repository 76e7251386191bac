//! A server that returns canned answers.

use std::io::{BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::thread;

/// A server on a free port that records the heads of requests. Its thread ends with the test process.
pub(crate) struct CannedServer {
    pub(crate) url: String,
    heads: Arc<Mutex<Vec<String>>>,
}

impl CannedServer {
    /// Answers every request with the bytes that `answer` returns for its path; `None` leaves the request without
    /// answer.
    pub(crate) fn start(answer: impl Fn(&str) -> Option<String> + Send + 'static) -> CannedServer {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let heads = Arc::new(Mutex::new(Vec::new()));
        let recorded = Arc::clone(&heads);
        thread::spawn(move || {
            let mut hanging: Vec<TcpStream> = Vec::new();
            for stream in listener.incoming() {
                let mut stream = stream.unwrap();
                let lines = BufReader::new(&stream).lines().map(Result::unwrap).take_while(|line| !line.is_empty());
                let head: Vec<String> = lines.collect();
                let path = head[0].split(' ').nth(1).unwrap().to_string();
                recorded.lock().unwrap().push(head.join("\n"));
                match answer(&path) {
                    Some(bytes) => stream.write_all(bytes.as_bytes()).unwrap(),
                    None => hanging.push(stream),
                }
            }
        });
        CannedServer { url, heads }
    }

    pub(crate) fn answering(status: &str, body: &str) -> CannedServer {
        let bytes = response(status, body);
        CannedServer::start(move |_| Some(bytes.clone()))
    }

    pub(crate) fn heads(&self) -> Vec<String> {
        self.heads.lock().unwrap().clone()
    }

    pub(crate) fn paths(&self) -> Vec<String> {
        self.heads().iter().map(|head| head.split(' ').nth(1).unwrap().to_string()).collect()
    }
}

pub(crate) fn response(status: &str, body: &str) -> String {
    format!(
        "HTTP/1.1 {status}\r\nContent-Type: application/json\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{body}",
        body.len()
    )
}
