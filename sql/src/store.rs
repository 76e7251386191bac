//! Stores: the places that hold archives.

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;

use sqlx::QueryBuilder;

use crate::db::{asking, both};
use crate::dialect::Dialect;
use crate::import::check_length;
use crate::rows::StoreRow;
use crate::{Error, Index, Result};

/// A place that holds archives.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Store {
    /// Its number in this index.
    pub id: i64,
    /// Its name, unique.
    pub name: String,
    /// What kind of place it is.
    pub tier: Tier,
    /// Where its archives can be downloaded; no slash at its end. `None` if nowhere.
    pub base_url: Option<String>,
    /// The local folder that its archives are in. `None` if they are elsewhere.
    pub root: Option<PathBuf>,
    /// Among stores of one tier: lower is asked first.
    pub priority: i32,
}

/// A [`Store`] that is to be added, or changed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewStore {
    /// See [`Store::name`].
    pub name: String,
    /// See [`Store::tier`].
    pub tier: Tier,
    /// See [`Store::base_url`]; slashes at its end are taken off.
    pub base_url: Option<String>,
    /// See [`Store::root`].
    pub root: Option<PathBuf>,
    /// See [`Store::priority`].
    pub priority: i32,
}

/// What kind of place a store is, best first: the order in which stores are asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Tier {
    /// A folder of this machine.
    Local,
    /// A mirror of a distribution.
    Mirror,
    /// A Koji instance's download server.
    Koji,
    /// An archive of old releases.
    Archive,
    /// A retrace server's storage.
    Retrace,
}

impl Tier {
    /// The word in the database, in configuration files and in metrics.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Local => "local",
            Self::Mirror => "mirror",
            Self::Koji => "koji",
            Self::Archive => "archive",
            Self::Retrace => "retrace",
        }
    }
}

impl fmt::Display for Tier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for Tier {
    type Err = Error;

    /// Reads the lower-case word.
    fn from_str(text: &str) -> Result<Self> {
        [Self::Local, Self::Mirror, Self::Koji, Self::Archive, Self::Retrace]
            .into_iter()
            .find(|tier| tier.as_str() == text)
            .ok_or_else(|| Error::Value { what: "tier", expected: "local, mirror, koji, archive or retrace", found: text.into() })
    }
}

/// The columns of a store, named as [`StoreRow`] wants them.
const STORES: &str = "select id as store_id, name as store_name, tier, base_url, root, priority from stores";

impl Index {
    /// All stores, by name.
    ///
    /// # Errors
    /// If the database cannot be asked.
    pub async fn stores(&self) -> Result<Vec<Store>> {
        let mut stores = self
            .reading("reading stores", || async {
                let rows = asking!(&self.db, |connection, Backend| sqlx::query_as::<Backend, StoreRow>(STORES)
                    .fetch_all(connection)
                    .await?);
                rows.into_iter().filter_map(|row| row.into_store().transpose()).collect::<sqlx::Result<Vec<Store>>>()
            })
            .await?;
        stores.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(stores)
    }

    /// Adds a store, or changes the one of that name.
    ///
    /// # Errors
    /// If a value does not fit, or the database refuses.
    pub async fn add_store(&self, store: &NewStore) -> Result<Store> {
        let root = match &store.root {
            Some(root) => Some(root.to_str().ok_or_else(|| Error::Value {
                what: "root of a store",
                expected: "a path in UTF-8",
                found: root.display().to_string(),
            })?),
            None => None,
        };
        let base_url = store.base_url.as_deref().map(|url| url.trim_end_matches('/'));
        for (what, limit, value) in [("name", 255, Some(store.name.as_str())), ("base_url", 2048, base_url), ("root", 4096, root)]
        {
            check_length(&format!("store {}", store.name), what, limit, value.unwrap_or_default().len())?;
        }
        let written = self.writing("adding a store", || async {
            let mut transaction = self.begin().await?;
            let row = both!(Transaction, &mut transaction, |connection, Backend| {
                let mut query = QueryBuilder::<Backend>::new("insert into stores (name, tier, base_url, root, priority) ");
                query.push_values([store], |mut row, store| {
                    row.push_bind(store.name.as_str())
                        .push_bind(store.tier.as_str())
                        .push_bind(base_url)
                        .push_bind(root)
                        .push_bind(store.priority);
                });
                query.push(Backend::SAME_STORE).build().execute(&mut **connection).await?;
                let mut query = QueryBuilder::<Backend>::new(STORES);
                query.push(" where name = ").push_bind(store.name.as_str());
                query.build_query_as::<StoreRow>().fetch_one(&mut **connection).await?
            });
            transaction.commit().await?;
            row.into_store()?.ok_or(sqlx::Error::RowNotFound)
        });
        written.await
    }

    /// Takes a store and its locations out of the index; the packages stay. `false` if there is none of that name.
    ///
    /// # Errors
    /// If the database refuses.
    pub async fn remove_store(&self, name: &str) -> Result<bool> {
        self.writing("removing a store", || async {
            let mut transaction = self.begin().await?;
            let removed = both!(Transaction, &mut transaction, |connection, Backend| {
                let id: Option<i64> = sqlx::query_scalar::<Backend, i64>("select id from stores where name = ?")
                    .bind(name)
                    .fetch_optional(&mut **connection)
                    .await?;
                if let Some(id) = id {
                    for statement in ["delete from locations where store_id = ?", "delete from stores where id = ?"] {
                        sqlx::query::<Backend>(statement).bind(id).execute(&mut **connection).await?;
                    }
                }
                id.is_some()
            });
            transaction.commit().await?;
            Ok(removed)
        })
        .await
    }
}
