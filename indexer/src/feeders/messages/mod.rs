//! Messages about builds: Koji's and Bodhi's on the buses of fedora-messaging, and those of the original's importer.
//!
//! - [`envelope`]: what surrounds a body; [`bodies`]: the bodies of each topic; [`reading`]: a message becomes jobs;
//! - [`connection`]: a connection to a broker; [`queue`]: the queue on it; [`settle`]: a batch of messages goes into
//!   the index; [`consumer`]: all of that until the service stops.
//!
//! A message is acknowledged after its jobs are committed, so one can arrive twice, and late. The hub is asked for the
//! truth when a job runs: a message states only which build to look at, and when one was deleted or tagged.

use std::path::PathBuf;

use lapin::uri::AMQPUri;

pub(crate) mod bodies;
pub(crate) mod connection;
pub(crate) mod consumer;
pub(crate) mod envelope;
pub(crate) mod queue;
pub(crate) mod reading;
pub(crate) mod settle;

/// A queue of a broker: a `[[messages]]` of the configuration file, or the original's `rabbitmq.cfg`.
#[derive(Clone)]
pub(crate) struct QueueSettings {
    /// Its name in metrics, logs, jobs and poison.
    pub(crate) name: String,
    /// The broker, with user and password.
    pub(crate) uri: AMQPUri,
    /// Certificates towards the broker.
    pub(crate) tls: TlsFiles,
    /// The queue's name at the broker. `None`: a UUID, which the index keeps.
    pub(crate) queue: Option<String>,
    /// True if nothing is declared and bound: the queue exists.
    pub(crate) passive: bool,
    /// How the queue is declared.
    pub(crate) durable: bool,
    pub(crate) auto_delete: bool,
    pub(crate) exclusive: bool,
    /// The exchange that the queue is bound to. Empty: the default one, to which all queues are bound by their names.
    pub(crate) exchange: String,
    /// What precedes topics in routing keys.
    pub(crate) topic_prefix: String,
    /// Maximum number of messages that wait for an acknowledgement, and of one batch.
    pub(crate) prefetch: u16,
    /// The instance of Koji of messages that name none.
    pub(crate) koji: Option<String>,
    /// How the operator can be reached; the broker shows it.
    pub(crate) contact: Option<String>,
}

/// PEM files towards a broker.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct TlsFiles {
    /// Certificates of authorities that are trusted beside those of the system.
    pub(crate) ca: Option<PathBuf>,
    /// Our own certificate and its key: the broker takes the user from it (SASL EXTERNAL).
    pub(crate) identity: Option<(PathBuf, PathBuf)>,
}

impl QueueSettings {
    /// Returns the broker's address without the password, for messages.
    pub(crate) fn broker(&self) -> String {
        let AMQPUri { scheme, authority, vhost, .. } = &self.uri;
        let host = &authority.host;
        let host = if host.contains(':') { format!("[{host}]") } else { host.clone() };
        format!("{scheme}://{host}:{}, vhost {vhost}", authority.port)
    }
}
