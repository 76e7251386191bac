//! A relay between the program and a database, with faults of networks.

use std::io::{ErrorKind, Read, Write};
use std::net::{Ipv4Addr, Shutdown, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::{self, JoinHandle};
use std::time::Duration;

/// Interval at which threads check for changes.
const CHECK_INTERVAL: Duration = Duration::from_millis(10);

/// Relays connections to a port of this machine.
pub(crate) struct Proxy {
    /// Its port.
    pub(crate) port: u16,
    state: Arc<State>,
    listening: Mutex<Option<JoinHandle<()>>>,
}

#[derive(Default)]
struct State {
    /// Delay of every relayed chunk.
    delay_ms: AtomicU32,
    /// Connections begun before this count was raised are dead: open, and never read again.
    vanished: AtomicU32,
    accepted: AtomicU32,
    is_silent: AtomicBool,
    is_closed: AtomicBool,
}

impl Proxy {
    pub(crate) fn to(server: u16) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let port = listener.local_addr().unwrap().port();
        let state = Arc::new(State::default());
        let listening = Mutex::new(Some(listen(listener, server, state.clone())));
        Self { port, state, listening }
    }

    /// The URL of the same database through this.
    pub(crate) fn url(&self, url: &str) -> String {
        let (front, database) = url.rsplit_once('/').unwrap();
        format!("{}:{}/{database}", front.rsplit_once(':').unwrap().0, self.port)
    }

    /// Returns the number of accepted connections.
    pub(crate) fn connections(&self) -> u32 {
        self.state.accepted.load(Ordering::SeqCst)
    }

    /// Delays every relayed chunk by this time.
    pub(crate) fn delay(&self, milliseconds: u32) {
        self.state.delay_ms.store(milliseconds, Ordering::SeqCst);
    }

    /// Makes the present connections dead, as if their host had lost power. New ones are relayed.
    pub(crate) fn vanish(&self) {
        self.state.vanished.fetch_add(1, Ordering::SeqCst);
    }

    /// Stops or continues relaying, also for new connections.
    pub(crate) fn silence(&self, is_silent: bool) {
        self.state.is_silent.store(is_silent, Ordering::SeqCst);
    }

    /// Closes all connections, and refuses new ones.
    pub(crate) fn close(&self) {
        self.state.is_closed.store(true, Ordering::SeqCst);
        if let Some(listening) = self.listening.lock().unwrap().take() {
            listening.join().unwrap();
        }
    }

    /// Accepts connections to `server` again.
    pub(crate) fn open(&self, server: u16) {
        self.state.is_closed.store(false, Ordering::SeqCst);
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, self.port)).unwrap();
        *self.listening.lock().unwrap() = Some(listen(listener, server, self.state.clone()));
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.close();
    }
}

fn listen(listener: TcpListener, server: u16, state: Arc<State>) -> JoinHandle<()> {
    listener.set_nonblocking(true).unwrap();
    thread::spawn(move || {
        while !state.is_closed.load(Ordering::SeqCst) {
            let Ok((client, _)) = listener.accept() else {
                thread::sleep(CHECK_INTERVAL);
                continue;
            };
            state.accepted.fetch_add(1, Ordering::SeqCst);
            let Ok(server) = TcpStream::connect((Ipv4Addr::LOCALHOST, server)) else { continue };
            client.set_nonblocking(false).unwrap();
            let begun = state.vanished.load(Ordering::SeqCst);
            for (from, to) in [(&client, &server), (&server, &client)] {
                let (from, to, state) = (from.try_clone().unwrap(), to.try_clone().unwrap(), state.clone());
                thread::spawn(move || relay(from, to, &state, begun));
            }
        }
    })
}

fn relay(mut from: TcpStream, mut to: TcpStream, state: &State, begun: u32) {
    let mut piece = [0; 64 << 10];
    from.set_read_timeout(Some(CHECK_INTERVAL)).unwrap();
    while !state.is_closed.load(Ordering::SeqCst) {
        if state.is_silent.load(Ordering::SeqCst) || state.vanished.load(Ordering::SeqCst) != begun {
            thread::sleep(CHECK_INTERVAL);
            continue;
        }
        match from.read(&mut piece) {
            Ok(0) => break,
            Ok(bytes) => {
                thread::sleep(Duration::from_millis(state.delay_ms.load(Ordering::SeqCst).into()));
                if to.write_all(&piece[..bytes]).is_err() {
                    break;
                }
            }
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {}
            Err(_) => break,
        }
    }
    // Either may be closed already.
    let _ = from.shutdown(Shutdown::Both);
    let _ = to.shutdown(Shutdown::Both);
}
