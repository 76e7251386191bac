//! Checks of places: which are due, and what was found.

use std::cmp::Reverse;
use std::collections::HashMap;

use sqlx::QueryBuilder;

use super::cursors;
use crate::connect::db::{Transaction, both, on_connection};
use crate::connect::dialect::Dialect;
use crate::model::facts::PackageFacts;
use crate::model::rows::{PackageRow, package_columns, to_unsigned};
use crate::{CheckResult, DuePlace, Index, Location, PathHash, PlaceCheck, Result, Store};

/// Seconds after which a place is due again, by the result of its last check: what is present changes rarely, a failure
/// tells nothing of the place, and what is not there seldom comes back.
const PRESENT_INTERVAL: i64 = 24 * 60 * 60;
const FAILED_INTERVAL: i64 = 60 * 60;
const GONE_INTERVAL: i64 = 7 * 24 * 60 * 60;

/// Ends the queries of a store's due locations, before `and l.store_id = `: those that are present, or were found to be
/// gone by a check. What a listing lacks is not looked for.
macro_rules! looked_for {
    () => {
        "(l.gone_at is null or (l.check_result is not null and l.check_result <> 'present'))"
    };
}

/// Selects a row for each location of a store that checks look for.
const DUE: &str = concat!(
    "select ",
    package_columns!(),
    " from locations l join packages p on p.id = l.package_id join stores s on s.id = l.store_id where ",
    looked_for!(),
    " and l.store_id = "
);

/// Selects the number of these locations.
const DUE_COUNT: &str = concat!("select count(*) from locations l where ", looked_for!(), " and l.store_id = ");

/// Adds the condition that a location is due at `$at`.
macro_rules! push_due {
    ($query:expr, $at:expr) => {
        $query.push(" and (l.checked_at is null or l.checked_at <= case when l.check_result = 'gone' then ");
        $query.push_bind($at.saturating_sub(GONE_INTERVAL)).push(" when l.check_result = 'present' then ");
        $query.push_bind($at.saturating_sub(PRESENT_INTERVAL)).push(" else ");
        $query.push_bind($at.saturating_sub(FAILED_INTERVAL)).push(" end)");
    };
}

/// Packages without a location in a store, by id.
const WITHOUT_LOCATION: &str = "select p.id, p.distro from packages p where p.id > ? and p.format = 'rpm' and not \
     exists (select 1 from locations l where l.package_id = p.id and l.store_id = ?) order by p.id limit ?";

/// Number of packages of one [`WITHOUT_LOCATION`].
const PAGE: i64 = 2000;
/// Maximum number of these queries for each store, so that a call is short whatever the index has.
const MAX_PAGES: usize = 5;

/// Places of a store that follow from its pattern and were never checked.
struct DerivedPlaces {
    store_id: i64,
    places: Vec<DuePlace>,
    /// Id of the package at which the search began, and of the last one that it looked at; 0 at the end.
    from: i64,
    to: i64,
}

impl Index {
    /// Returns up to `limit` places that are due at `at`, in seconds since 1970, of one store or of all. A place is due
    /// 24 hours after a check that found it present, an hour after one that failed, and 7 days after one that found it
    /// gone.
    ///
    /// Those come first that were not looked at for longest: those that were never checked, half of them places that
    /// follow from patterns as long as there are both. The search for the latter goes on where the last call ended.
    ///
    /// # Errors
    /// If the database refuses.
    pub async fn due_places(&self, store: Option<i64>, limit: usize, at: i64) -> Result<Vec<DuePlace>> {
        let is_due = |due: &Store| store.is_none_or(|store| store == due.id);
        let stores: Vec<Store> = self.stores().await?.into_iter().filter(is_due).collect();
        let mut places: Vec<(usize, DuePlace)> = Vec::new();
        let mut derived = Vec::new();
        for store in &stores {
            let rows = self.retry_query("reading due places", || self.select_due(store.id, limit, at)).await?;
            places.extend(rows.into_iter().enumerate());
            if store.pattern.is_some() {
                let found = self.retry_query("deriving due places", || self.select_derived(store, limit)).await?;
                places.extend(found.places.iter().cloned().enumerate());
                derived.push(found);
            }
        }
        // Never checked places have no time, which is less than any.
        places.sort_by_key(|(at, place)| (place.location.checked_at, *at));
        places.truncate(limit);
        let places: Vec<DuePlace> = places.into_iter().map(|(_, place)| place).collect();
        self.store_positions(&derived, &places).await?;
        Ok(places)
    }

    /// Returns the number of locations of a store that are due at `at`, as of [`Self::due_places`]. Places that follow
    /// from patterns and have no row are not counted.
    ///
    /// # Errors
    /// If the database refuses.
    pub async fn due_count(&self, store_id: i64, at: i64) -> Result<u64> {
        self.retry_query("counting due places", || async {
            let count: i64 = on_connection!(&self.db, |connection, Backend| {
                let mut query = QueryBuilder::<Backend>::new(DUE_COUNT);
                query.push_bind(store_id);
                push_due!(query, at);
                query.build_query_scalar().fetch_one(connection).await?
            });
            to_unsigned(count)
        })
        .await
    }

    async fn select_due(&self, store_id: i64, limit: usize, at: i64) -> sqlx::Result<Vec<DuePlace>> {
        let limit = i64::try_from(limit).unwrap_or(i64::MAX);
        let rows: Vec<PackageRow> = on_connection!(&self.db, |connection, Backend| {
            let mut query = QueryBuilder::<Backend>::new(DUE);
            query.push_bind(store_id);
            push_due!(query, at);
            query.push(" order by l.checked_at limit ").push_bind(limit);
            query.build_query_as().fetch_all(connection).await?
        });
        let mut places = Vec::with_capacity(rows.len());
        for row in rows {
            let mut facts = row.into_facts()?;
            places.extend(facts.locations.pop().map(|location| due(&facts, location)));
        }
        Ok(places)
    }

    async fn select_derived(&self, store: &Store, limit: usize) -> sqlx::Result<DerivedPlaces> {
        let position: Option<String> = on_connection!(&self.db, |connection, Backend| {
            sqlx::query_scalar::<Backend, String>("select value from cursors where name = ?")
                .bind(cursor(store.id))
                .fetch_optional(connection)
                .await?
        });
        let from = position.and_then(|position| position.parse().ok()).unwrap_or(0);
        let mut found = DerivedPlaces { store_id: store.id, places: Vec::new(), from, to: from };
        for _ in 0..MAX_PAGES {
            let page: Vec<(i64, String)> = on_connection!(&self.db, |connection, Backend| {
                sqlx::query_as::<Backend, _>(WITHOUT_LOCATION)
                    .bind(found.to)
                    .bind(store.id)
                    .bind(PAGE)
                    .fetch_all(connection)
                    .await?
            });
            let matching = page.iter().filter(|(_, distro)| store.distros.matches(distro));
            let ids: Vec<i64> = matching.map(|(id, _)| *id).collect();
            for mut facts in self.select_by_id(&ids).await? {
                let at = facts.locations.iter().position(|location| location.store.id == store.id);
                found.places.extend(at.map(|at| facts.locations.swap_remove(at)).map(|location| due(&facts, location)));
            }
            found.to = page.last().map_or(0, |(id, _)| *id);
            let is_last = (page.len() as i64) < PAGE;
            if is_last {
                found.to = 0;
            }
            if is_last || found.places.len() >= limit {
                break;
            }
        }
        Ok(found)
    }

    /// Stores where the next search for derived places begins: behind those that were returned.
    async fn store_positions(&self, derived: &[DerivedPlaces], places: &[DuePlace]) -> Result<()> {
        for DerivedPlaces { store_id, places: found, from, to } in derived {
            let is_of_store = |place: &&DuePlace| place.location.store.id == *store_id && is_derived(place);
            let returned: Vec<i64> = places.iter().filter(is_of_store).map(|place| place.package_id).collect();
            let position = match returned.len() == found.len() {
                true => *to,
                false => returned.into_iter().max().unwrap_or(*from),
            };
            if position == *from {
                continue;
            }
            self.retry_transaction("storing a position", || async {
                let mut transaction = self.begin().await?;
                cursors::set(&mut transaction, &cursor(*store_id), &position.to_string()).await?;
                transaction.commit().await
            })
            .await?;
        }
        Ok(())
    }

    /// Records what checks found. A present archive was seen, and a gone one is gone since its first such check. A
    /// place that follows from a pattern gets a row, also if it is gone. An archive at the path of another present
    /// package is that package's.
    ///
    /// # Errors
    /// If the database refuses. Then none is recorded.
    pub async fn record_check(&self, checks: &[PlaceCheck]) -> Result<()> {
        let mut latest: HashMap<(i64, String, i64), &PlaceCheck> = HashMap::new();
        for check in checks {
            let key = (check.store_id, PathHash::of_path(&check.path).to_string(), check.package_id);
            let held = latest.entry(key).or_insert(check);
            if held.at <= check.at {
                *held = check;
            }
        }
        let mut checks: Vec<(&(i64, String, i64), &&PlaceCheck)> = latest.iter().collect();
        checks.sort_unstable_by_key(|(key, check)| (*key, Reverse(check.at)));
        self.retry_transaction("recording checks", || async {
            let mut transaction = self.begin().await?;
            for ((store_id, path_hash, package_id), check) in &checks {
                let rows: Vec<(i64, Option<i64>, Option<i64>)> =
                    both!(Transaction, &mut transaction, |connection, Backend| {
                        let mut query = QueryBuilder::<Backend>::new(
                            "select package_id, gone_at, checked_at from locations where store_id = ",
                        );
                        query.push_bind(*store_id).push(" and path_hash = ").push_bind(path_hash.as_str());
                        query.push(Backend::FOR_UPDATE);
                        query.build_query_as().fetch_all(&mut **connection).await?
                    });
                let is_taken = rows.iter().any(|(id, gone_at, _)| id != package_id && gone_at.is_none());
                let (size, seen_at) = match check.result {
                    CheckResult::Present { size } if !is_taken => (size, Some(check.at)),
                    _ => (None, None),
                };
                let size = size.and_then(|size| i64::try_from(size).ok()).filter(|size| *size > 0);
                let gone_at = (check.result == CheckResult::Gone).then_some(check.at);
                let found = Found { path_hash, size, seen_at, gone_at };
                match rows.iter().find(|(id, ..)| id == package_id) {
                    Some((.., checked_at)) if checked_at.is_some_and(|checked_at| checked_at > check.at) => {}
                    Some(_) => update_place(&mut transaction, check, &found).await?,
                    // The package can have been merged into another one.
                    None if check.derived && !is_taken => insert_place(&mut transaction, check, &found).await?,
                    None => {}
                }
            }
            transaction.commit().await
        })
        .await
    }
}

/// What a check changes in a row.
struct Found<'a> {
    path_hash: &'a str,
    size: Option<i64>,
    seen_at: Option<i64>,
    gone_at: Option<i64>,
}

async fn update_place(transaction: &mut Transaction, check: &PlaceCheck, found: &Found<'_>) -> sqlx::Result<()> {
    both!(Transaction, transaction, |connection, Backend| {
        let mut query = QueryBuilder::<Backend>::new("update locations set checked_at = ");
        query.push_bind(check.at).push(", check_result = ").push_bind(check.result.text());
        if let Some(seen_at) = found.seen_at {
            query.push(", gone_at = null, first_seen = coalesce(first_seen, ").push_bind(seen_at);
            query.push("), last_seen = ").push_bind(seen_at);
            query.push(", size = coalesce(nullif(size, 0), ").push_bind(found.size).push(")");
        }
        if let Some(gone_at) = found.gone_at {
            query.push(", gone_at = coalesce(gone_at, ").push_bind(gone_at).push(")");
        }
        query.push(" where store_id = ").push_bind(check.store_id);
        query.push(" and path_hash = ").push_bind(found.path_hash);
        query.push(" and package_id = ").push_bind(check.package_id);
        query.build().execute(&mut **connection).await?;
    });
    Ok(())
}

async fn insert_place(transaction: &mut Transaction, check: &PlaceCheck, found: &Found<'_>) -> sqlx::Result<()> {
    both!(Transaction, transaction, |connection, Backend| {
        let mut query = QueryBuilder::<Backend>::new(
            "insert into locations (store_id, path_hash, package_id, path, size, first_seen, last_seen, gone_at, \
             checked_at, check_result, derived) select ",
        );
        let mut values = query.separated(", ");
        values.push_bind(check.store_id).push_bind(found.path_hash).push("id");
        values.push_bind(check.path.as_str()).push_bind(found.size).push_bind(found.seen_at).push_bind(found.seen_at);
        values.push_bind(found.gone_at).push_bind(check.at).push_bind(check.result.text()).push("1");
        query.push(" from packages where id = ").push_bind(check.package_id);
        query.build().execute(&mut **connection).await?;
    });
    Ok(())
}

/// Returns the name of the position in a store's derived places.
fn cursor(store_id: i64) -> String {
    format!("derived places of store {store_id}")
}

/// True if the place has no row yet.
fn is_derived(place: &DuePlace) -> bool {
    place.location.derived && place.location.checked_at.is_none()
}

fn due(package: &PackageFacts, location: Location) -> DuePlace {
    DuePlace {
        package_id: package.id,
        format: package.format,
        identity: package.identity,
        nevra: package.nevra.clone(),
        state: package.state,
        location,
    }
}
