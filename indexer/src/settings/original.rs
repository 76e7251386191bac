//! Files of the original that stand in for tables of `indexer.toml`.

use std::collections::BTreeMap;
use std::fs;
use std::io::ErrorKind;
use std::path::Path;

use lapin::uri::AMQPUri;
use serde::Deserialize;

use super::koji::read_url;
use super::messages;
use crate::feeders::koji::KojiInstance;
use crate::feeders::messages::{QueueSettings, TlsFiles};
use crate::report::failure::{CommandFailure, Result};

/// The original's Koji instances.
const KOJI_INFO: &str = "koji_info.json";
/// What `pkgs` of an instance is: the topurl with this directory.
const PACKAGES: &str = "/packages";

/// An entry of `koji_info.json`. Other keys are ignored, as the original ignored them.
#[derive(Deserialize)]
struct KojiInfo {
    hub: String,
    pkgs: String,
}

/// The queue of the original's importer.
const QUEUE: &str = "darkserver_importer";

/// Returns the queue of the broker in `rabbitmq.cfg`: durable, and bound to nothing but the default exchange. `None`
/// without that file.
///
/// # Errors
/// If the file cannot be read.
pub(super) fn queue(etc: &Path, contact: Option<String>) -> Result<Option<QueueSettings>> {
    let Some(broker) = sql::original::importer_broker(etc)? else { return Ok(None) };
    let mut uri = AMQPUri { vhost: broker.virtual_host, ..AMQPUri::default() };
    uri.authority.host = broker.host;
    uri.authority.port = broker.port.unwrap_or(uri.authority.port);
    messages::with_defaults(&mut uri);
    Ok(Some(QueueSettings {
        name: QUEUE.to_owned(),
        uri,
        tls: TlsFiles::default(),
        queue: Some(QUEUE.to_owned()),
        passive: false,
        durable: true,
        auto_delete: false,
        exclusive: false,
        exchange: String::new(),
        topic_prefix: messages::TOPIC_PREFIX.to_owned(),
        prefetch: messages::PREFETCH.get(),
        koji: None,
        contact,
    }))
}

/// Returns the instances of `koji_info.json` in `etc`, by name; none without that file.
///
/// # Errors
/// [`CommandFailure::Usage`] states the file, the instance, what was expected and what was found.
pub(super) fn koji_instances(etc: &Path) -> Result<Vec<KojiInstance>> {
    let path = etc.join(KOJI_INFO);
    let refuse = |text: String| CommandFailure::Usage(format!("{}: {text}", path.display()));
    let text = match fs::read_to_string(&path) {
        Ok(text) => text,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(refuse(format!("expected a readable file, found {error}"))),
    };
    let infos: BTreeMap<String, KojiInfo> = serde_json::from_str(&text).map_err(|error| {
        refuse(format!("expected an object of instances, each with `hub` and `pkgs`, found another: {error}"))
    })?;
    infos
        .iter()
        .map(|(name, info)| instance(name, info).map_err(|text| refuse(format!("instance {name}: {text}"))))
        .collect()
}

fn instance(name: &str, info: &KojiInfo) -> std::result::Result<KojiInstance, String> {
    let example = "https://kojipkgs.fedoraproject.org/packages";
    let mut topurl = read_url(&info.pkgs, example).map_err(|error| format!("pkgs: {error}"))?;
    let above = topurl.path().strip_suffix(PACKAGES).map(str::to_owned);
    let above = above.ok_or_else(|| format!("pkgs: expected a URL that ends in {PACKAGES}, found another"))?;
    topurl.set_path(&above);
    KojiInstance::new(name, &info.hub, topurl.as_str())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<Vec<KojiInstance>> {
        let directory = tempfile::tempdir().unwrap();
        fs::write(directory.path().join(KOJI_INFO), text).unwrap();
        koji_instances(directory.path())
    }

    #[test]
    fn the_original_s_last_file_is_read() {
        let instances = read(
            r#"{
                "primary": {"hub": "https://koji.fedoraproject.org/kojihub/",
                            "pkgs": "https://kojipkgs.fedoraproject.org//packages"},
                "arm": {"hub": "https://arm.koji.fedoraproject.org/kojihub/",
                        "pkgs": "https://arm.koji.fedoraproject.org/kojifiles/packages/"}
            }"#,
        )
        .unwrap();
        let shown: Vec<[&str; 4]> = instances
            .iter()
            .map(|found| [found.name.as_str(), found.hub.as_str(), found.topurl.as_str(), found.store.as_str()])
            .collect();
        assert_eq!(
            shown,
            [
                [
                    "arm",
                    "https://arm.koji.fedoraproject.org/kojihub",
                    "https://arm.koji.fedoraproject.org/kojifiles",
                    "koji-arm"
                ],
                [
                    "primary",
                    "https://koji.fedoraproject.org/kojihub",
                    "https://kojipkgs.fedoraproject.org/",
                    "koji-primary"
                ],
            ]
        );
    }

    #[test]
    fn a_wrong_file_is_named() {
        let pkgs = |pkgs: &str| format!(r#"{{"primary": {{"hub": "https://h.example", "pkgs": "{pkgs}"}}}}"#);
        for (text, expected) in [
            ("".to_owned(), "expected an object of instances"),
            ("[]".to_owned(), "expected an object of instances"),
            (r#"{"primary": {"hub": "https://h.example"}}"#.to_owned(), "pkgs"),
            (pkgs("https://p.example/pub"), "primary: pkgs: expected a URL that ends in /packages"),
            (pkgs("packages"), "primary: pkgs: expected a URL like"),
            (pkgs("https://p.example/packages").replace("https://h", "h"), "primary: hub: expected a URL like"),
        ] {
            let message = read(&text).unwrap_err().to_string();
            assert!(message.contains(expected) && message.contains(KOJI_INFO), "{text}: {message}");
        }
    }

    #[test]
    fn the_original_s_queue_is_durable_and_bound_to_nothing() {
        let directory = tempfile::tempdir().unwrap();
        assert!(queue(directory.path(), None).unwrap().is_none());
        fs::write(directory.path().join("rabbitmq.cfg"), "[rabbitmq]\nhost: mq.example.org\nvirtual_host: /v\n")
            .unwrap();
        let found = queue(directory.path(), None).unwrap().unwrap();
        assert_eq!(found.broker(), "amqp://mq.example.org:5672, vhost /v");
        assert_eq!((found.queue.as_deref(), found.exchange.as_str()), (Some(QUEUE), ""));
        assert_eq!([found.durable, found.auto_delete, found.exclusive, found.passive], [true, false, false, false]);
    }
}
