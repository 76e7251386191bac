//! `[[messages]]`: the queues of messages.

use std::collections::HashSet;
use std::num::NonZeroU16;
use std::path::PathBuf;

use lapin::uri::{AMQPScheme, AMQPUri, SASLMechanism};
use serde::Deserialize;
use url::{Host, Url};

use super::{configuration_file, original, read};
use crate::cli::Common;
use crate::feeders::messages::{QueueSettings, TlsFiles};
use crate::report::failure::{CommandFailure, Result};

/// Default of `exchange`: fedora-messaging publishes to it.
const EXCHANGE: &str = "amq.topic";
/// Default of `topic_prefix`: that of Fedora's bus.
pub(super) const TOPIC_PREFIX: &str = "org.fedoraproject.prod";
/// Default of `prefetch`.
pub(super) const PREFETCH: NonZeroU16 = NonZeroU16::MIN.saturating_add(24);
/// Maximum of `prefetch`: a batch is one transaction.
const MAX_PREFETCH: u16 = 1_000;
/// Seconds between two heartbeats, unless the URL has another `heartbeat`. A broker that is silent for twice this time
/// is dead.
const HEARTBEAT: u16 = 30;
/// Maximum length of the name of a queue in the index, in bytes.
const MAX_QUEUE_BYTES: usize = 50;
/// Maximum length of a name of AMQP in bytes.
const MAX_NAME_BYTES: usize = 255;
/// Maximum length of the longest topic, a dot and the prefix.
const MAX_PREFIX_BYTES: usize = 180;

/// A `[[messages]]`.
#[derive(Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct MessagesTable {
    name: String,
    url: String,
    ca_file: Option<PathBuf>,
    cert_file: Option<PathBuf>,
    key_file: Option<PathBuf>,
    queue: Option<String>,
    #[serde(default)]
    passive: bool,
    #[serde(default)]
    durable: bool,
    #[serde(default = "yes")]
    auto_delete: bool,
    #[serde(default)]
    exclusive: bool,
    exchange: Option<String>,
    topic_prefix: Option<String>,
    prefetch: Option<NonZeroU16>,
    koji: Option<String>,
}

fn yes() -> bool {
    true
}

/// Returns the queues of the configuration file, in its order; without any, that of the original's `rabbitmq.cfg`.
/// `instances` are the names of the Koji instances.
///
/// # Errors
/// [`CommandFailure::Usage`] states the file, the table, the key, what was expected and what was found.
pub(crate) fn queues(common: &Common, instances: &[&str]) -> Result<Vec<QueueSettings>> {
    let (path, must_exist) = configuration_file(common);
    let file = read(&path, must_exist)?;
    if file.messages.is_empty() {
        return Ok(original::queue(&common.etc, file.contact)?.into_iter().collect());
    }
    let mut names = HashSet::new();
    let queue = |table: MessagesTable| {
        let name = table.name.clone();
        let refuse = |text: String| {
            CommandFailure::Usage(format!("{}: [[messages]] {name}: {}", path.display(), sql::redact_passwords(&text)))
        };
        if !names.insert(name.clone()) {
            return Err(refuse("expected different names, found this one twice".into()));
        }
        table.into_settings(file.contact.clone(), instances).map_err(refuse)
    };
    file.messages.into_iter().map(queue).collect()
}

impl MessagesTable {
    fn into_settings(self, contact: Option<String>, instances: &[&str]) -> std::result::Result<QueueSettings, String> {
        let is_word = |text: &str| text.chars().all(|c| c.is_ascii_graphic() && c != '"');
        if self.name.is_empty() || self.name.len() > MAX_QUEUE_BYTES || !is_word(&self.name) {
            let expected = format!("expected 1 to {MAX_QUEUE_BYTES} letters, digits and marks");
            return Err(format!("name: {expected}, found {:?}", self.name));
        }
        let is_secure = |what: &str| format!("{what}: expected an URL of amqps beside it, found one of amqp");
        let identity = match (self.cert_file, self.key_file) {
            (Some(certificate), Some(key)) => Some((certificate, key)),
            (None, None) => None,
            (Some(_), None) => return Err("expected key_file beside cert_file, found none".into()),
            (None, Some(_)) => return Err("expected cert_file beside key_file, found none".into()),
        };
        let uri = broker(&self.url, identity.is_some())?;
        if uri.scheme == AMQPScheme::AMQP {
            if identity.is_some() {
                return Err(is_secure("cert_file"));
            }
            if self.ca_file.is_some() {
                return Err(is_secure("ca_file"));
            }
        }
        if self.passive && self.queue.is_none() {
            return Err("passive: expected the name of an existing queue in `queue`, found none".into());
        }
        for (key, value) in [("queue", &self.queue), ("exchange", &self.exchange)] {
            let Some(value) = value else { continue };
            // An empty exchange is the default one.
            if value.len() > MAX_NAME_BYTES || !is_word(value) || (value.is_empty() && key == "queue") {
                return Err(format!(
                    "{key}: expected 1 to {MAX_NAME_BYTES} letters, digits and marks, found {value:?}"
                ));
            }
        }
        let topic_prefix = self.topic_prefix.unwrap_or_else(|| TOPIC_PREFIX.into());
        let topic_prefix = topic_prefix.trim_end_matches('.');
        if topic_prefix.len() > MAX_PREFIX_BYTES || !is_word(topic_prefix) || topic_prefix.contains(['*', '#']) {
            let expected = format!("expected up to {MAX_PREFIX_BYTES} letters, digits and dots");
            return Err(format!("topic_prefix: {expected}, found {topic_prefix:?}"));
        }
        let prefetch = self.prefetch.unwrap_or(PREFETCH).get();
        if prefetch > MAX_PREFETCH {
            return Err(format!("prefetch: expected 1 to {MAX_PREFETCH}, found {prefetch}"));
        }
        if let Some(koji) = self.koji.as_deref().filter(|koji| !instances.contains(koji)) {
            return Err(format!("koji: expected the name of a [[koji]], found {koji:?}"));
        }
        Ok(QueueSettings {
            name: self.name,
            uri,
            tls: TlsFiles { ca: self.ca_file, identity },
            queue: self.queue,
            passive: self.passive,
            durable: self.durable,
            auto_delete: self.auto_delete,
            exclusive: self.exclusive,
            exchange: self.exchange.unwrap_or_else(|| EXCHANGE.into()),
            topic_prefix: topic_prefix.to_owned(),
            prefetch,
            koji: self.koji,
            contact,
        })
    }
}

/// Reads `amqp://USER:PASSWORD@HOST:PORT/VHOST`, where a slash in the name of the virtual host is `%2F`. Without a
/// path it is `/`, as clients in Python have it. A client with a certificate proves who it is by that, unless the URL
/// has another `auth_mechanism`.
///
/// # Errors
/// What was expected and what was found; it can hold the password.
fn broker(text: &str, has_certificate: bool) -> std::result::Result<AMQPUri, String> {
    let refuse = |found: String| format!("url: expected one like amqps://USER:PASSWORD@HOST/VHOST, found {found}");
    let url = Url::parse(text).map_err(|error| refuse(error.to_string()))?;
    if !matches!(url.scheme(), "amqp" | "amqps") {
        return Err(refuse(format!("one of {}", url.scheme())));
    }
    let Some(host) = url.host() else { return Err(refuse("one without a host".into())) };
    for (key, _) in url.query_pairs() {
        if !matches!(&*key, "heartbeat" | "auth_mechanism" | "frame_max" | "channel_max" | "connection_timeout") {
            return Err(refuse(format!("the parameter {key}")));
        }
    }
    let mut uri: AMQPUri = text.parse().map_err(refuse)?;
    uri.authority.host = match host {
        Host::Domain(name) => name.to_owned(),
        Host::Ipv4(address) => address.to_string(),
        Host::Ipv6(address) => address.to_string(),
    };
    if uri.vhost.is_empty() {
        uri.vhost = "/".into();
    }
    if has_certificate {
        uri.query.auth_mechanism.get_or_insert(SASLMechanism::External);
    }
    with_defaults(&mut uri);
    Ok(uri)
}

/// Adds what an address of a broker need not state.
pub(super) fn with_defaults(uri: &mut AMQPUri) {
    uri.query.heartbeat.get_or_insert(HEARTBEAT);
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    fn read_file(text: &str) -> std::result::Result<Vec<QueueSettings>, String> {
        let directory = tempfile::tempdir().unwrap();
        std::fs::write(directory.path().join("indexer.toml"), text).unwrap();
        queues(&common(directory.path()), &["primary"]).map_err(|error| error.to_string())
    }

    fn common(etc: &Path) -> Common {
        Common { database: None, config: None, etc: etc.to_owned(), wait: 1, quiet: false, json: false }
    }

    fn table(keys: &str) -> String {
        format!("[[messages]]\nname = \"fedora\"\n{keys}\n")
    }

    #[test]
    fn a_queue_has_defaults() {
        let text = table("url = \"amqps://fedora:@rabbitmq.example.org/%2Fpublic_pubsub\"");
        let queue = read_file(&format!("contact = \"mailto:a@b\"\n{text}")).unwrap().remove(0);
        assert_eq!((queue.name.as_str(), queue.uri.vhost.as_str()), ("fedora", "/public_pubsub"));
        assert_eq!(queue.broker(), "amqps://rabbitmq.example.org:5671, vhost /public_pubsub");
        assert_eq!((queue.uri.query.heartbeat, queue.uri.query.auth_mechanism), (Some(30), None));
        assert_eq!((queue.queue, queue.tls), (None, TlsFiles::default()));
        assert_eq!([queue.passive, queue.durable, queue.auto_delete, queue.exclusive], [false, false, true, false]);
        assert_eq!((queue.exchange.as_str(), queue.topic_prefix.as_str()), ("amq.topic", "org.fedoraproject.prod"));
        assert_eq!((queue.prefetch, queue.koji, queue.contact.as_deref()), (25, None, Some("mailto:a@b")));
    }

    #[test]
    fn every_key_is_read() {
        let text = table(
            "url = \"amqps://[::1]:5673/?heartbeat=5\"\nca_file = \"/ca\"\ncert_file = \"/cert\"\nkey_file = \"/key\"\n\
             queue = \"q\"\npassive = true\ndurable = true\nauto_delete = false\nexclusive = true\nexchange = \"\"\n\
             topic_prefix = \"org.example.\"\nprefetch = 7\nkoji = \"primary\"",
        );
        let queue = read_file(&text).unwrap().remove(0);
        assert_eq!(queue.broker(), "amqps://[::1]:5673, vhost /");
        assert_eq!(queue.uri.query.heartbeat, Some(5));
        assert_eq!(queue.uri.query.auth_mechanism, Some(SASLMechanism::External));
        assert_eq!((queue.tls.ca, queue.tls.identity), (Some("/ca".into()), Some(("/cert".into(), "/key".into()))));
        assert_eq!(queue.queue.as_deref(), Some("q"));
        assert_eq!([queue.passive, queue.durable, queue.auto_delete, queue.exclusive], [true, true, false, true]);
        assert_eq!((queue.exchange.as_str(), queue.topic_prefix.as_str()), ("", "org.example"));
        assert_eq!((queue.prefetch, queue.koji.as_deref()), (7, Some("primary")));
    }

    #[test]
    fn users_and_virtual_hosts_are_unescaped() {
        for (url, user, password, virtual_host, host) in [
            ("amqp://u:p%40%2F@h/%2Fv", "u", "p@/", "/v", "h"),
            ("amqp://127.0.0.1:1/v", "guest", "guest", "v", "127.0.0.1"),
            ("amqp://u:p@h", "u", "p", "/", "h"),
            ("amqp://u:p@h/", "u", "p", "/", "h"),
        ] {
            let uri = broker(url, false).unwrap();
            let found =
                (uri.authority.userinfo.username, uri.authority.userinfo.password, uri.vhost, uri.authority.host);
            assert_eq!(found, (user.into(), password.into(), virtual_host.into(), host.into()), "{url}");
        }
    }

    #[test]
    fn what_is_never_right_is_refused_without_the_password() {
        let url = "url = \"amqp://u:SECRET@h/v\"";
        for (text, expected) in [
            (table("url = \"http://u:SECRET@h\""), "[[messages]] fedora: url: expected one like amqps://"),
            (table("url = \"amqp:SECRET@h\""), "found one without a host"),
            (table("url = \"amqp://u:SECRET@h/v?cafile=x\""), "found the parameter cafile"),
            (table("url = \"amqp://u:SECRET@h/v?auth_mechanism=x\""), "url: expected"),
            (table(&format!("{url}\ncert_file = \"/c\"")), "expected key_file beside cert_file, found none"),
            (table(&format!("{url}\nkey_file = \"/c\"")), "expected cert_file beside key_file, found none"),
            (table(&format!("{url}\nca_file = \"/c\"")), "ca_file: expected an URL of amqps"),
            (table(&format!("{url}\npassive = true")), "passive: expected the name of an existing queue"),
            (table(&format!("{url}\nqueue = \"\"")), "queue: expected 1 to 255"),
            (table(&format!("{url}\ntopic_prefix = \"org.#\"")), "topic_prefix: expected"),
            (table(&format!("{url}\nprefetch = 0")), "line"),
            (table(&format!("{url}\nprefetch = 1001")), "prefetch: expected 1 to 1000, found 1001"),
            (table(&format!("{url}\nkoji = \"arm\"")), "koji: expected the name of a [[koji]], found \"arm\""),
            (table(&format!("{url}\nkojis = \"arm\"")), "unknown field `kojis`"),
            (format!("{0}{0}", table(url)), "found this one twice"),
            (table(url).replace("fedora", ""), "name: expected 1 to 50"),
        ] {
            let Err(message) = read_file(&text) else { panic!("{text}") };
            assert!(message.contains(expected) && message.contains("indexer.toml"), "{text}: {message}");
            assert!(!message.contains("SECRET"), "{text}: {message}");
        }
    }
}
