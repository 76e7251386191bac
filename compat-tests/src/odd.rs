//! Servers that lie, hang or break off: no real server can be asked to.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

/// What an odd server does with a connection, once the request's head was read (and is given).
pub type Behaviour = fn(head: &str, stream: &mut TcpStream);

/// A running odd server.
pub struct Odd {
    /// Its port.
    pub port: u16,
    accepted: Arc<AtomicUsize>,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Odd {
    /// Starts one; every connection has a thread.
    pub fn start(behaviour: Behaviour) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("bind to any port");
        let port = listener.local_addr().expect("the address of a listener").port();
        let (accepted, stop) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicBool::new(false)));
        let (count, stopped) = (accepted.clone(), stop.clone());
        let thread = std::thread::spawn(move || {
            for stream in listener.incoming() {
                if stopped.load(Ordering::SeqCst) {
                    return;
                }
                let Ok(mut stream) = stream else { continue };
                count.fetch_add(1, Ordering::SeqCst);
                std::thread::spawn(move || {
                    let head = head(&mut stream);
                    behaviour(&head, &mut stream);
                });
            }
        });
        Self { port, accepted, stop, thread: Some(thread) }
    }

    /// `http://127.0.0.1:PORT`
    pub fn url(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    /// How many connections it had.
    pub fn connections(&self) -> usize {
        self.accepted.load(Ordering::SeqCst)
    }
}

impl Drop for Odd {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::SeqCst);
        // Wakes the listener.
        let _ = TcpStream::connect((Ipv4Addr::LOCALHOST, self.port));
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// Answers nothing for a minute.
pub fn hangs(_: &str, _: &mut TcpStream) {
    std::thread::sleep(Duration::from_secs(60));
}

/// Answers 200 with a page of HTML.
pub fn lies(_: &str, stream: &mut TcpStream) {
    let _ = stream.write_all(
        b"HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nContent-Length: 14\r\nConnection: close\r\n\r\n<html></html>\n",
    );
}

/// Answers 500.
pub fn fails(_: &str, stream: &mut TcpStream) {
    let _ = stream.write_all(b"HTTP/1.1 500 Internal Server Error\r\nContent-Length: 0\r\nConnection: close\r\n\r\n");
}

/// Answers 404.
pub fn knows_nothing(_: &str, stream: &mut TcpStream) {
    let _ = stream.write_all(b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\nConnection: close\r\n\r\n");
}

/// Answers 200 with the first bytes of an ELF file and debuginfod's headers.
pub fn has_it(_: &str, stream: &mut TcpStream) {
    let _ = stream.write_all(
        b"HTTP/1.1 200 OK\r\nContent-Type: application/octet-stream\r\nContent-Length: 16\r\nX-DEBUGINFOD-SIZE: 16\r\n\
          X-DEBUGINFOD-FILE: /usr/bin/odd\r\nConnection: close\r\n\r\n\x7fELF\x02\x01\x01\0\0\0\0\0\0\0\0\0",
    );
}

/// Redirects to an address that no configuration allows.
pub fn leads_astray(_: &str, stream: &mut TcpStream) {
    let _ = stream.write_all(
        b"HTTP/1.1 302 Found\r\nLocation: http://127.0.0.1:1/secret\r\nContent-Length: 0\r\nConnection: close\r\n\r\n",
    );
}

fn head(stream: &mut TcpStream) -> String {
    let _ = stream.set_read_timeout(Some(Duration::from_secs(10)));
    let mut head = Vec::new();
    let mut byte = [0];
    while !head.ends_with(b"\r\n\r\n") && stream.read(&mut byte).is_ok_and(|read| read == 1) {
        head.push(byte[0]);
    }
    String::from_utf8_lossy(&head).into_owned()
}
