//! `/archive/IDENTITY/NAME`: an archive from the gateway's own disk, for packages that are nowhere else. A plain file
//! is none.

use std::sync::Arc;

use actix_web::{HttpRequest, HttpResponse, web};
use artifact::{Format, Identity};
use sql::StoredPackage;

use super::{deliver, error, redirect, tail};
use crate::cache::ExternalFile;
use crate::providers::StoreError;
use crate::providers::archives::{expect_unchanged, open_below_root, published, unreadable};
use crate::resolve::Gateway;
use crate::resolve::deadline::Deadline;
use crate::resolve::outcome::Miss;

/// Answers with the archive, or with where it is published.
pub(super) async fn answer(request: HttpRequest, gateway: web::Data<Gateway>) -> HttpResponse {
    let segments: Vec<&str> = request.uri().path().split('/').collect();
    let (["", "archive", _, _], Ok(tail)) = (&*segments, tail(&request)) else {
        return error::unknown_path(request.uri().path());
    };
    let wanted = tail.split_once('/').and_then(|(identity, name)| Some((identity.parse::<Identity>().ok()?, name)));
    let Some((identity, name)) = wanted else {
        return error::malformed(&"expected /archive/IDENTITY/NAME with 64 hex digits as IDENTITY");
    };
    let package = match gateway.lookup.query(|index| async move { index.package_by_identity(&identity).await }).await {
        Ok(Some(package)) if package.archive_name().is_some_and(|expected| name == expected) => package,
        Ok(_) => return error::absent(),
        Err(cause) => {
            gateway.lookup.log_unavailable(&cause);
            return error::unavailable(false);
        }
    };
    let elsewhere = published(&package);
    let content_type = match package.package.format {
        Format::Deb if !name.ends_with(".ipk") => "application/vnd.debian.binary-package",
        Format::Zip => "application/zip",
        _ => deliver::BYTES,
    };
    let deadline = Deadline::after(gateway.config.request.budget);
    let opened = tokio::time::timeout_at(deadline.end().into(), web::block(move || open(&package))).await;
    let Ok(opened) = opened else {
        tracing::warn!("an archive could not be opened within the budget");
        return error::unavailable(false);
    };
    match opened {
        Ok(Ok(file)) => deliver::archive(&request, &Arc::new(file), name, content_type),
        Ok(Err(Miss::Absent(_))) => match elsewhere {
            Some(url) => redirect::to(url.as_str()).finish(),
            None => error::absent(),
        },
        Ok(Err(Miss::Failed(cause))) => {
            tracing::warn!(%cause, "an archive could not be opened");
            error::unavailable(false)
        }
        Err(error) => {
            tracing::warn!(%error, "an archive could not be opened");
            error::unavailable(false)
        }
    }
}

/// The archive's file at the first location on this machine that still has this very package.
fn open(package: &StoredPackage) -> Result<ExternalFile, Miss> {
    let mut failed = Miss::Absent("expected a location on this machine, found none".into());
    let locations = package.present_locations().filter(|location| location.store.root.is_some());
    for location in locations {
        let opened = open_below_root(location).and_then(|file| {
            if package.package.format != Format::Rpm {
                expect_unchanged(&file, location)?;
            }
            let file = ExternalFile::new(file).map_err(|error| unreadable(location, &error))?;
            if package.package.format == Format::Rpm {
                file.read_header(package.package.identity, &location.path)?;
            }
            Ok(file)
        });
        match opened {
            Ok(file) => return Ok(file),
            Err(StoreError::Absent(_)) => {}
            Err(error) => failed = error.of_store(&location.store.name),
        }
    }
    Err(failed)
}
