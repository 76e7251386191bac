//! A TCP proxy that delays, stalls or breaks connections.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, Shutdown, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::Duration;

/// A fault of the connections through the proxy.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// No fault.
    None,
    /// Delays each piece of an answer by this time.
    Slow(Duration),
    /// Passes nothing, and ends no connection.
    Stalls,
    /// Ends every connection, and new ones at once.
    Breaks,
}

/// A running proxy to a port of this machine.
pub struct Proxy {
    /// Its own port.
    pub port: u16,
    shared: Arc<ProxyState>,
    thread: Option<JoinHandle<()>>,
}

struct ProxyState {
    fault: Mutex<Fault>,
    open: Mutex<Vec<TcpStream>>,
    stop: AtomicBool,
}

impl Proxy {
    /// Starts one in front of the port `to`.
    pub fn start(to: u16) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("bind to any port");
        let port = listener.local_addr().expect("the address of a listener").port();
        let shared = Arc::new(ProxyState {
            fault: Mutex::new(Fault::None),
            open: Mutex::default(),
            stop: AtomicBool::new(false),
        });
        let accepting = shared.clone();
        let thread = std::thread::spawn(move || {
            for client in listener.incoming() {
                if accepting.stop.load(Ordering::SeqCst) {
                    return;
                }
                let server = TcpStream::connect((Ipv4Addr::LOCALHOST, to));
                let (Ok(client), Ok(server)) = (client, server) else { continue };
                if accepting.fault() != Fault::Breaks {
                    accepting.join(&client, &server);
                }
            }
        });
        Self { port, shared, thread: Some(thread) }
    }

    /// Sets the fault, also for open connections.
    pub fn set(&self, fault: Fault) {
        *self.shared.fault.lock().unwrap() = fault;
        if fault == Fault::Breaks {
            self.shared.end();
        }
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.shared.stop.store(true, Ordering::SeqCst);
        self.shared.end();
        // Wakes the listener.
        let _ = TcpStream::connect((Ipv4Addr::LOCALHOST, self.port));
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

impl ProxyState {
    fn fault(&self) -> Fault {
        *self.fault.lock().unwrap()
    }

    fn join(self: &Arc<Self>, client: &TcpStream, server: &TcpStream) {
        let both = || [client, server].map(|stream| stream.try_clone().expect("clone a descriptor"));
        self.open.lock().unwrap().extend(both());
        for (answers, [from, to]) in [
            (false, both()),
            (true, {
                let [client, server] = both();
                [server, client]
            }),
        ] {
            let shared = self.clone();
            std::thread::spawn(move || shared.pass(answers, from, to));
        }
    }

    fn pass(&self, answers: bool, mut from: TcpStream, mut to: TcpStream) {
        let mut bytes = [0; 16 << 10];
        while let Ok(read @ 1..) = from.read(&mut bytes) {
            if let (true, Fault::Slow(delay)) = (answers, self.fault()) {
                std::thread::sleep(delay);
            }
            while self.fault() == Fault::Stalls && !self.stop.load(Ordering::SeqCst) {
                std::thread::sleep(Duration::from_millis(10));
            }
            if to.write_all(&bytes[..read]).is_err() {
                break;
            }
        }
        let _ = (from.shutdown(Shutdown::Both), to.shutdown(Shutdown::Both));
    }

    fn end(&self) {
        for stream in self.open.lock().unwrap().drain(..) {
            let _ = stream.shutdown(Shutdown::Both);
        }
    }
}
