//! The table `[service]` of the configuration file, and all settings of `listen`.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use serde::de::Error;
use serde::{Deserialize, Deserializer};

use super::hooks::HooksTable;
use super::koji::koji_instances;
use super::messages;
use super::tables;
use super::{RepositorySettings, repositories};
use crate::cli::Common;
use crate::feeders::filter::PathFilter;
use crate::feeders::koji::KojiInstance;
use crate::feeders::messages::QueueSettings;
use crate::logging::LogFormat;
use crate::report::failure::{CommandFailure, Result};

/// Default of `service.listen`.
const LISTEN: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::LOCALHOST), 8003);
/// Default of `service.refresh_interval`.
const REFRESH_INTERVAL: Duration = Duration::from_secs(3600);

/// `[service]`: the process of `listen`.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct ServiceTable {
    /// Address of the HTTP listener: hooks, metrics, health and readiness.
    #[serde(deserialize_with = "address")]
    pub(crate) listen: SocketAddr,
    /// Time between two refreshes of a repository.
    #[serde(deserialize_with = "tables::duration")]
    pub(crate) refresh_interval: Duration,
    /// Format of log lines.
    pub(crate) log_format: Option<LogFormat>,
}

impl Default for ServiceTable {
    fn default() -> Self {
        Self { listen: LISTEN, refresh_interval: REFRESH_INTERVAL, log_format: None }
    }
}

fn address<'de, D: Deserializer<'de>>(value: D) -> std::result::Result<SocketAddr, D::Error> {
    let text = String::deserialize(value)?;
    text.parse().map_err(|_| D::Error::custom(format!("expected ADDRESS:PORT like 127.0.0.1:8003, found {text:?}")))
}

/// All settings of the service.
pub(crate) struct ServiceSettings {
    /// Address of the HTTP listener.
    pub(crate) listen: SocketAddr,
    /// Time between two refreshes of a repository.
    pub(crate) refresh_interval: Duration,
    /// Format of log lines.
    pub(crate) log_format: LogFormat,
    /// Contact, limits of requests, checks, stores and repositories.
    pub(crate) repositories: RepositorySettings,
    /// The Koji instances, in the file's order.
    pub(crate) koji: Vec<Arc<KojiInstance>>,
    /// The queues of messages, in the file's order.
    pub(crate) queues: Vec<QueueSettings>,
    pub(crate) hooks: HooksTable,
    /// The globs of the configuration file, which separate nested stores.
    pub(crate) filter: PathFilter,
}

/// Reads the settings of the service.
///
/// # Errors
/// [`CommandFailure::Usage`] if the file cannot be read or states something that is never right.
pub(crate) fn service(common: &Common) -> Result<ServiceSettings> {
    let repositories = repositories(common)?;
    let file = super::configuration(common)?;
    let ServiceTable { listen, refresh_interval, log_format } = file.service;
    if refresh_interval.is_zero() {
        return Err(CommandFailure::Usage(format!(
            "{}: expected a `service.refresh_interval` of more than 0s, found 0s",
            repositories.path.display()
        )));
    }
    let koji: Vec<Arc<KojiInstance>> = koji_instances(common)?.into_iter().map(Arc::new).collect();
    let names: Vec<&str> = koji.iter().map(|koji| koji.name.as_str()).collect();
    let queues = messages::queues(common, &names)?;
    Ok(ServiceSettings {
        listen,
        refresh_interval,
        log_format: log_format.unwrap_or_default(),
        repositories,
        koji,
        queues,
        hooks: file.hooks,
        filter: super::filter(common, &[], &[])?,
    })
}
