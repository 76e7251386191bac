//! What all requests of one run share: identity, clients, limits per host, and the counts of requests and bytes.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use http_client::{Client, ClientPolicy, user_agent};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::pipeline::stop::Stop;

/// What requests are identified as.
pub(crate) const PRODUCT: &str = concat!("darkserver-import/", env!("CARGO_PKG_VERSION"));

/// The limits of requests.
#[derive(Clone, Copy, Debug)]
pub(crate) struct NetworkLimits {
    /// Maximum number of requests to one host at once.
    pub(crate) max_per_host: usize,
    /// Longest time until a connection stands.
    pub(crate) connect_timeout: Duration,
    /// Longest time until an answer begins, and between two parts of its body.
    pub(crate) stall_timeout: Duration,
    /// Time that a body may take beside the time that its bytes take at [`Self::MIN_RATE`].
    pub(crate) slow_timeout: Duration,
    /// Time without any answer of any mirror after which a repository is given up.
    pub(crate) down_timeout: Duration,
    /// The same for a repository's own server that has not given any answer yet; twice that for a list of mirrors.
    pub(crate) first_timeout: Duration,
    /// Time without any answer after which the operator is told.
    pub(crate) notice_time: Duration,
    /// Pause after the first failure of a mirror. It doubles with each further one.
    pub(crate) min_pause: Duration,
    /// Maximum pause, also where a server asks for a longer one by Retry-After.
    pub(crate) max_pause: Duration,
}

impl NetworkLimits {
    /// Minimum rate of a host in bytes per second, which the bodies that are under way share.
    pub(crate) const MIN_RATE: u64 = 50 << 10;
}

impl Default for NetworkLimits {
    fn default() -> Self {
        Self {
            max_per_host: 8,
            connect_timeout: Duration::from_secs(10),
            stall_timeout: Duration::from_secs(10),
            slow_timeout: Duration::from_secs(60),
            down_timeout: Duration::from_secs(120),
            first_timeout: Duration::from_secs(15),
            notice_time: Duration::from_secs(4),
            min_pause: Duration::from_millis(500),
            max_pause: Duration::from_secs(60),
        }
    }
}

/// Counts of requests, and of the bytes of their bodies.
#[derive(Debug, Default)]
pub(crate) struct Traffic {
    requests: AtomicU64,
    bytes: AtomicU64,
}

impl Traffic {
    /// Returns the number of requests.
    pub(crate) fn requests(&self) -> u64 {
        self.requests.load(Ordering::Relaxed)
    }

    /// Returns the number of bytes of bodies.
    pub(crate) fn bytes(&self) -> u64 {
        self.bytes.load(Ordering::Relaxed)
    }
}

/// Counts what one fetch costs, for itself and for the run.
#[derive(Clone, Debug)]
pub(crate) struct Meter {
    /// The counts of the fetch.
    pub(crate) own: Arc<Traffic>,
    run: Arc<Traffic>,
}

impl Meter {
    pub(crate) fn count_request(&self) {
        for traffic in [&self.own, &self.run] {
            traffic.requests.fetch_add(1, Ordering::Relaxed);
        }
    }

    pub(crate) fn count_bytes(&self, bytes: usize) {
        for traffic in [&self.own, &self.run] {
            traffic.bytes.fetch_add(bytes as u64, Ordering::Relaxed);
        }
    }
}

/// Hosts that a provider may redirect to, hosts that its documents name, and whether these may be private.
type Reach = (Vec<String>, Vec<String>, bool);

/// Tells the operator what a server (the first text) does (the second).
pub(crate) type Notice = Box<dyn Fn(&str, &str) + Send>;

/// What all requests of one run share.
pub(crate) struct Network {
    pub(crate) limits: NetworkLimits,
    pub(crate) stop: Stop,
    user_agent: String,
    clients: Mutex<HashMap<Reach, Client>>,
    hosts: Mutex<HashMap<String, Arc<Semaphore>>>,
    traffic: Arc<Traffic>,
    notice: Mutex<Option<Notice>>,
}

impl Network {
    /// Returns the network of a run. `contact` is a URL at which the operator can be reached.
    pub(crate) fn new(contact: Option<&str>, limits: NetworkLimits, stop: Stop) -> Arc<Self> {
        Arc::new(Self {
            limits,
            stop,
            user_agent: user_agent(PRODUCT, contact),
            clients: Mutex::default(),
            hosts: Mutex::default(),
            traffic: Arc::default(),
            notice: Mutex::default(),
        })
    }

    /// Reports servers that do not answer to `notice`; `None` reports nothing.
    pub(crate) fn set_notice(&self, notice: Option<Notice>) {
        *self.notice.lock().unwrap_or_else(PoisonError::into_inner) = notice;
    }

    /// Tells the operator what a server does.
    pub(crate) fn notify(&self, server: &str, text: &str) {
        if let Some(notice) = self.notice.lock().unwrap_or_else(PoisonError::into_inner).as_ref() {
            notice(server, text);
        }
    }

    /// Returns the requests and bytes of the run.
    pub(crate) fn traffic(&self) -> &Traffic {
        &self.traffic
    }

    /// Returns the counter of a new fetch.
    pub(crate) fn meter(&self) -> Meter {
        Meter { own: Arc::default(), run: Arc::clone(&self.traffic) }
    }

    /// Returns the client for hosts that a store may redirect to and that its documents name. Equal ones share their
    /// connections.
    ///
    /// # Errors
    /// No client can be made.
    pub(crate) fn client(
        &self,
        redirect_hosts: &[String],
        foreign_hosts: &[String],
        allow_private: bool,
    ) -> anyhow::Result<Client> {
        let mut clients = self.clients.lock().unwrap_or_else(PoisonError::into_inner);
        let key = (redirect_hosts.to_vec(), foreign_hosts.to_vec(), allow_private);
        if let Some(client) = clients.get(&key) {
            return Ok(client.clone());
        }
        let policy = ClientPolicy {
            redirect_hosts: key.0.clone(),
            foreign_hosts: key.1.clone(),
            allow_private,
            is_patient: true,
            connect_timeout: Some(self.limits.connect_timeout),
            ..ClientPolicy::default()
        };
        let client = http_client::build(&policy, &self.user_agent)?;
        clients.insert(key, client.clone());
        Ok(client)
    }

    /// Returns a client for calls of a server that the operator wrote down. Its answers may be compressed.
    ///
    /// # Errors
    /// No client can be made.
    pub(crate) fn rpc_client(&self) -> anyhow::Result<Client> {
        let connect_timeout = Some(self.limits.connect_timeout);
        let policy = ClientPolicy { gzip: true, is_patient: true, connect_timeout, ..ClientPolicy::default() };
        http_client::build(&policy, &self.user_agent)
    }

    /// Waits until fewer than `max_per_host` requests to `host` are under way. `None` never.
    pub(crate) async fn acquire(&self, host: &str) -> Option<OwnedSemaphorePermit> {
        let permits = {
            let mut hosts = self.hosts.lock().unwrap_or_else(PoisonError::into_inner);
            let new = || Arc::new(Semaphore::new(self.limits.max_per_host.max(1)));
            Arc::clone(hosts.entry(host.to_owned()).or_insert_with(new))
        };
        // The semaphore is never closed.
        permits.acquire_owned().await.ok()
    }

    /// Ends once the run is stopped.
    pub(crate) async fn stopped(&self) {
        self.stop.wait().await;
    }
}
