//! The HTTP clients of stores.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};

use http_client::{Client, ClientPolicy};
use sql::{RedirectHosts, Store};

use crate::locked::locked;
use crate::providers::StoreError;
use crate::resolve::outcome::CauseKind;

/// Redirect hosts, and whether those that `*` alone allows may be private.
type Policy = (RedirectHosts, bool);

/// One client for each policy, made when a store first needs it: stores come and go while the gateway runs.
#[derive(Clone)]
pub(super) struct StoreClients {
    user_agent: Arc<str>,
    clients: Arc<Mutex<HashMap<Policy, Client>>>,
}

impl StoreClients {
    pub(super) fn new(user_agent: &str) -> Self {
        Self { user_agent: user_agent.into(), clients: Arc::default() }
    }

    /// The client for requests to `store`.
    ///
    /// # Errors
    /// No client can be made.
    pub(super) fn of(&self, store: &Store) -> Result<Client, StoreError> {
        let mut clients = locked(&self.clients);
        let key = (store.redirect_hosts.clone(), store.allow_private);
        if let Some(client) = clients.get(&key) {
            return Ok(client.clone());
        }
        // No gzip: archives come as they are.
        let policy = ClientPolicy {
            redirect_hosts: store.redirect_hosts.as_slice().to_vec(),
            allow_private: store.allow_private,
            ..ClientPolicy::default()
        };
        let client = http_client::build(&policy, &self.user_agent).map_err(|error| {
            StoreError::failed(CauseKind::Broken, format!("store {}: no HTTP client: {error:#}", store.name))
        })?;
        clients.insert(key, client.clone());
        Ok(client)
    }
}
