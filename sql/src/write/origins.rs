//! The builds of Koji that packages come from.

use std::collections::{BTreeMap, HashMap};

use sqlx::QueryBuilder;

use crate::KojiOrigin;
use crate::connect::db::{Transaction, both};
use crate::model::rows::{MAX_LIST, push_list};

/// A package's columns of Koji: id, instance, build, volume.
type OriginRow = (i64, Option<String>, Option<i64>, Option<String>);

/// Who states the build of a package.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Source {
    /// Koji itself, which replaces another build.
    Koji,
    /// The database of an original, which is used only where no build is known. It has no volume.
    Legacy,
}

/// Sets the builds of packages, by their ids, where they have none or another one.
pub(super) async fn set(
    transaction: &mut Transaction,
    stated: Vec<(i64, &KojiOrigin)>,
    source: Source,
) -> sqlx::Result<()> {
    let stated: BTreeMap<i64, &KojiOrigin> = stated.into_iter().collect();
    let ids: Vec<i64> = stated.keys().copied().collect();
    let mut stored: HashMap<i64, OriginRow> = HashMap::new();
    for ids in ids.chunks(MAX_LIST) {
        let rows: Vec<OriginRow> = both!(Transaction, transaction, |connection, Backend| {
            let mut query =
                QueryBuilder::<Backend>::new("select id, koji_instance, koji_build, koji_volume from packages where ");
            push_list(&mut query, "id", ids);
            query.build_query_as().fetch_all(&mut **connection).await?
        });
        stored.extend(rows.into_iter().map(|row| (row.0, row)));
    }
    // Packages of one build are changed by one statement.
    let mut others: BTreeMap<(&str, i64, &str), Vec<i64>> = BTreeMap::new();
    for (id, KojiOrigin { instance, build, volume }) in stated {
        let is_same = stored.get(&id).is_some_and(|(_, stored_instance, stored_build, stored_volume)| {
            stored_instance.as_ref() == Some(instance)
                && *stored_build == Some(*build)
                && stored_volume.as_ref() == Some(volume)
        });
        let is_kept = source == Source::Legacy && stored.get(&id).is_some_and(|(_, _, build, _)| build.is_some());
        if !is_same && !is_kept {
            others.entry((instance, *build, volume)).or_default().push(id);
        }
    }
    for ((instance, build, volume), ids) in others {
        for ids in ids.chunks(MAX_LIST) {
            both!(Transaction, transaction, |connection, Backend| {
                let mut query = QueryBuilder::<Backend>::new("update packages set koji_instance = ");
                query.push_bind(instance).push(", koji_build = ").push_bind(build);
                query
                    .push(", koji_volume = ")
                    .push_bind(Some(volume).filter(|volume| !volume.is_empty()))
                    .push(" where ");
                push_list(&mut query, "id", ids);
                query.build().execute(&mut **connection).await?;
            });
        }
    }
    Ok(())
}
