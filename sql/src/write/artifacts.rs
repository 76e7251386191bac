//! Rows of artifacts and include directories.

use artifact::Artifact;
use sqlx::QueryBuilder;

use super::chunks;
use crate::connect::db::{Transaction, both};
use crate::connect::dialect::Dialect;
use crate::model::import::split_path;

/// A new row of `artifacts`.
pub(super) struct NewArtifact<'a> {
    pub(super) package_id: i64,
    pub(super) ordinal: u32,
    pub(super) artifact: &'a Artifact,
}

/// Inserts artifacts in the order of their key, so that the table's pages are filled one after the other. Rows of RPMs
/// have no contents: their statement binds four values fewer per row.
pub(super) async fn insert(transaction: &mut Transaction, mut rows: Vec<NewArtifact<'_>>) -> sqlx::Result<u64> {
    rows.sort_by(|a, b| key(a).cmp(&key(b)));
    rows.dedup_by(|a, b| key(a) == key(b));
    let (with_contents, others): (Vec<NewArtifact<'_>>, Vec<NewArtifact<'_>>) =
        rows.into_iter().partition(|row| row.artifact.contents.is_some());
    both!(Transaction, transaction, |connection, Backend| {
        for (rows, has_contents) in [(&others, false), (&with_contents, true)] {
            let statement = |rows: &[NewArtifact<'_>]| {
                let mut query = QueryBuilder::<Backend>::new(Backend::INSERT);
                query.push("artifacts (package_id, ordinal, build_id, kind, has_dwarf, dir, file_name");
                query.push(if has_contents { ", size, mtime, sha256, tar_offset) " } else { ") " });
                query.push_values(rows, |mut values, NewArtifact { package_id, ordinal, artifact }| {
                    let (dir, file_name) = split_path(&artifact.path);
                    values
                        .push_bind(*package_id)
                        .push_bind(i64::from(*ordinal))
                        .push_bind(artifact.build_id.to_string())
                        .push_bind(artifact.kind.as_str())
                        .push_bind(artifact.dwarf)
                        .push_bind(dir)
                        .push_bind(file_name);
                    if let (true, Some(contents)) = (has_contents, artifact.contents) {
                        values
                            .push_bind(contents.size.cast_signed())
                            .push_bind(contents.mtime)
                            .push_bind(faster_hex::hex_string(&contents.sha256))
                            .push_bind(contents.tar_offset.map(u64::cast_signed));
                    }
                });
                query
            };
            chunks::write(&mut **connection, rows, statement).await?;
        }
    });
    Ok((others.len() + with_contents.len()) as u64)
}

fn key<'a>(row: &NewArtifact<'a>) -> (i64, u32, &'a [u8]) {
    (row.package_id, row.ordinal, row.artifact.build_id.as_bytes())
}

/// Inserts include directories: directory and package.
pub(super) async fn insert_includes(transaction: &mut Transaction, mut rows: Vec<(&str, i64)>) -> sqlx::Result<()> {
    rows.sort_unstable();
    rows.dedup();
    both!(Transaction, transaction, |connection, Backend| {
        let statement = |rows: &[(&str, i64)]| {
            let mut query = QueryBuilder::<Backend>::new(Backend::INSERT);
            query.push("includes (dir, package_id) ");
            query.push_values(rows, |mut values, (dir, package_id)| {
                values.push_bind(*dir).push_bind(*package_id);
            });
            query
        };
        chunks::write(&mut **connection, &rows, statement).await?;
    });
    Ok(())
}
