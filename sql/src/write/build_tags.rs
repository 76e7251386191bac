//! The tags of builds of Koji.

use sqlx::QueryBuilder;

use crate::connect::db::both;
use crate::connect::dialect::Dialect;
use crate::model::import::check_length;
use crate::{Index, Result, TagChange};

impl Index {
    /// Records that a build got or lost a tag at a time, in seconds since 1970. Changes may be recorded in any order:
    /// the latest of each kind counts. The build need not be in the index yet.
    ///
    /// # Errors
    /// If a name is too long, or the database refuses.
    pub async fn record_tag(&self, instance: &str, build: i64, tag: &str, change: TagChange, at: i64) -> Result<()> {
        check_length("a tag", "name of the Koji", 64, instance.len())?;
        check_length("a tag", "name of the tag", 255, tag.len())?;
        let (tagged_at, untagged_at) = match change {
            TagChange::Tagged => (Some(at), None),
            TagChange::Untagged => (None, Some(at)),
        };
        self.retry_transaction("recording a tag", || async {
            let mut transaction = self.begin().await?;
            both!(Transaction, &mut transaction, |connection, Backend| {
                let mut query = QueryBuilder::<Backend>::new(
                    "insert into build_tags (instance, build, tag, tagged_at, untagged_at) values (",
                );
                query.push_bind(instance).push(", ").push_bind(build).push(", ").push_bind(tag).push(", ");
                query.push_bind(tagged_at).push(", ").push_bind(untagged_at).push(")").push(Backend::UPDATE_TAG);
                query.build().execute(&mut **connection).await?;
            });
            transaction.commit().await
        })
        .await
    }
}
