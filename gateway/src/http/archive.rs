//! `/archive/IDENTITY/NAME`: an archive from the gateway's own disk, for packages that are nowhere else. A plain file
//! is none.

use std::sync::Arc;

use actix_web::{HttpRequest, HttpResponse, web};
use artifact::{Format, Identity};
use sql::Location;

use super::{deliver, error, redirect, tail};
use crate::cache::ExternalFile;
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
    let elsewhere = published(&package.locations);
    let content_type = match package.package.format {
        Format::Deb if !name.ends_with(".ipk") => "application/vnd.debian.binary-package",
        Format::Zip => "application/zip",
        _ => deliver::BYTES,
    };
    let deadline = Deadline::after(gateway.config.request.budget);
    let locations = package.present_locations().filter(|location| location.store.root.is_some());
    let (archives, identity, format) = (&gateway.archives, package.package.identity, package.package.format);
    let open = move |location: &Location| open(location, identity, format);
    let walked = archives.open_on_disk(archives.in_order(locations), deadline, open).await;
    if let Some((_, file)) = walked.found {
        return deliver::archive(&request, &Arc::new(file), name, content_type);
    }
    match (Miss::of_all(walked.misses.into_iter().map(|(_, miss)| miss)), elsewhere) {
        (Miss::Absent(_), Some(url)) => redirect::to(url.as_str()).finish(),
        (Miss::Absent(_), None) => error::absent(),
        (Miss::Failed(cause), _) => {
            tracing::warn!(%cause, "an archive could not be opened");
            error::unavailable(false)
        }
    }
}

/// The archive's file at a location on this machine, if that still has this very package. For threads that may block.
fn open(location: &Location, identity: Identity, format: Format) -> Result<ExternalFile, Miss> {
    let opened = open_below_root(location).and_then(|file| {
        if format != Format::Rpm {
            expect_unchanged(&file, location)?;
        }
        let file = ExternalFile::new(file).map_err(|error| unreadable(location, &error))?;
        if format == Format::Rpm {
            file.read_header(identity, &location.path)?;
        }
        Ok(file)
    });
    opened.map_err(|error| error.of_store(&location.store.name))
}
