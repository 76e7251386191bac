//! Upstreams: servers of this process that answer at once and count what they are asked, and black holes.

use std::collections::HashMap;
use std::net::{Ipv4Addr, TcpListener};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread::JoinHandle;

use actix_web::dev::ServerHandle;
use actix_web::http::header::USER_AGENT;
use actix_web::{App, HttpRequest, HttpResponse, HttpServer, web};
use anyhow::{Context, Result, ensure};
use bytes::Bytes;
use compat_tests::compiled::Program;
use compat_tests::fake_server::{self, FakeServer};

/// How our gateway's probes differ from requests.
const PROBE: &str = "(probe";

/// Healthy upstreams, of which each has its share of some build-ids and answers 404 for all others.
pub(super) struct Upstreams {
    ports: Vec<u16>,
    shared: Arc<Shared>,
    handle: ServerHandle,
    thread: Option<JoinHandle<std::io::Result<()>>>,
}

struct Shared {
    elf: ElfFile,
    /// The upstream that has a build-id.
    has: HashMap<String, u16>,
    absent: AtomicUsize,
}

impl Upstreams {
    /// Starts `count` upstreams. Each of `build_ids` is at one of them, in turn.
    pub(super) fn start(count: usize, build_ids: &[String]) -> Result<Self> {
        let listeners: Vec<TcpListener> =
            (0..count).map(|_| TcpListener::bind((Ipv4Addr::LOCALHOST, 0))).collect::<std::io::Result<_>>()?;
        let ports: Vec<u16> =
            listeners.iter().map(|listener| Ok(listener.local_addr()?.port())).collect::<std::io::Result<_>>()?;
        let has = build_ids.iter().cloned().zip(ports.iter().copied().cycle()).collect();
        let shared = Arc::new(Shared { elf: ElfFile::compile()?, has, absent: AtomicUsize::new(0) });
        let data = web::Data::from(shared.clone());
        let (sender, receiver) = std::sync::mpsc::channel();
        let thread = std::thread::spawn(move || {
            actix_web::rt::System::new().block_on(async move {
                let mut server = HttpServer::new(move || {
                    App::new().app_data(data.clone()).route("/buildid/{build_id}/{tail:.*}", web::get().to(answer))
                });
                for listener in listeners {
                    server = server.listen(listener)?;
                }
                let server = server.workers(1).disable_signals().run();
                let _ = sender.send(server.handle());
                server.await
            })
        });
        let handle = receiver.recv().context("start upstreams")?;
        Ok(Self { ports, shared, handle, thread: Some(thread) })
    }

    pub(super) fn urls(&self) -> Vec<String> {
        self.ports.iter().map(|port| format!("http://127.0.0.1:{port}")).collect()
    }

    /// The number of requests for what no upstream has, without probes.
    pub(super) fn absent_requests(&self) -> usize {
        self.shared.absent.load(Ordering::SeqCst)
    }
}

impl Drop for Upstreams {
    fn drop(&mut self) {
        // The server stops although nothing awaits that.
        drop(self.handle.stop(false));
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

async fn answer(request: HttpRequest, path: web::Path<(String, String)>, shared: web::Data<Shared>) -> HttpResponse {
    let (build_id, _) = path.into_inner();
    let own_port = request.app_config().local_addr().port();
    let owner = shared.has.get(&build_id);
    if owner == Some(&own_port) {
        let body = shared.elf.with_build_id(&build_id);
        return HttpResponse::Ok()
            .content_type("application/octet-stream")
            .insert_header(("X-DEBUGINFOD-SIZE", body.len().to_string()))
            .insert_header(("X-DEBUGINFOD-FILE", "/usr/lib/debug/bench.debug"))
            .body(body);
    }
    let agent = request.headers().get(USER_AGENT).and_then(|agent| agent.to_str().ok()).unwrap_or_default();
    if owner.is_none() && !agent.contains(PROBE) {
        shared.absent.fetch_add(1, Ordering::SeqCst);
    }
    HttpResponse::NotFound().finish()
}

/// A debug file that is given any build-id of 20 bytes.
struct ElfFile {
    bytes: Vec<u8>,
    /// Where its build-id is.
    at: usize,
}

impl ElfFile {
    fn compile() -> Result<Self> {
        let library = Program::compile_library("bench", "/usr/src/bench");
        let bytes = std::fs::read(library.debug())?;
        let build_id = unhex(&library.build_id).context("a build-id in hexadecimal digits")?;
        ensure!(build_id.len() == 20, "expected a build-id of 20 bytes, found {}", library.build_id);
        let at = bytes.windows(20).position(|window| window == build_id).context("a build-id note")?;
        Ok(Self { bytes, at })
    }

    fn with_build_id(&self, build_id: &str) -> Bytes {
        let mut bytes = self.bytes.clone();
        if let Some(build_id) = unhex(build_id).filter(|build_id| build_id.len() == 20) {
            bytes[self.at..self.at + 20].copy_from_slice(&build_id);
        }
        bytes.into()
    }
}

fn unhex(text: &str) -> Option<Vec<u8>> {
    (0..text.len()).step_by(2).map(|at| u8::from_str_radix(text.get(at..at + 2)?, 16).ok()).collect()
}

/// Upstreams that accept connections and never answer.
pub(super) struct BlackHoles {
    servers: Vec<FakeServer>,
    requests: Arc<AtomicUsize>,
}

impl BlackHoles {
    pub(super) fn start(count: usize) -> Self {
        let requests = Arc::new(AtomicUsize::new(0));
        let start = || {
            let requests = requests.clone();
            FakeServer::start(move |head, stream| {
                if !head.contains(PROBE) {
                    requests.fetch_add(1, Ordering::SeqCst);
                }
                fake_server::hang(head, stream);
            })
        };
        Self { servers: (0..count).map(|_| start()).collect(), requests }
    }

    pub(super) fn urls(&self) -> Vec<String> {
        self.servers.iter().map(FakeServer::url).collect()
    }

    /// The number of requests that hang or hung, without probes.
    pub(super) fn requests(&self) -> usize {
        self.requests.load(Ordering::SeqCst)
    }
}
