//! The importers of the configured Koji instances.

use std::sync::Arc;

use tokio::sync::OnceCell;

use crate::feeders::koji::KojiInstance;
use crate::feeders::koji::importer::BuildImporter;
use crate::fetch::network::Network;
use crate::report::failure::Result;

/// An importer for each instance, made when it is needed first: the database may be down at the start.
pub(super) struct Importers(Vec<(Arc<KojiInstance>, OnceCell<BuildImporter>)>);

impl Importers {
    pub(super) fn new(instances: &[Arc<KojiInstance>]) -> Self {
        Self(instances.iter().map(|instance| (Arc::clone(instance), OnceCell::new())).collect())
    }

    /// Returns the importer of an instance; `None` if the configuration does not name the instance. It works until the
    /// network is stopped.
    ///
    /// # Errors
    /// If the store of the instance does not fit it, or the index fails. Another call tries again.
    pub(super) async fn get(
        &self,
        instance: &str,
        index: &sql::Index,
        network: &Arc<Network>,
    ) -> Result<Option<&BuildImporter>> {
        let Some((instance, importer)) = self.0.iter().find(|(known, _)| known.name == instance) else {
            return Ok(None);
        };
        let new = async || {
            let (network, stop) = (Arc::clone(network), network.stop.clone());
            BuildImporter::new(index.clone(), network, Arc::clone(instance), stop).await
        };
        importer.get_or_try_init(new).await.map(Some)
    }

    /// Returns those that were made.
    pub(super) fn made(&self) -> impl Iterator<Item = &BuildImporter> {
        self.0.iter().filter_map(|(_, importer)| importer.get())
    }
}
