//! Uploads: a package is whole in its store and in the index before the answer, or nothing of it is.

mod directory;
mod temporary;

use std::io::{self, ErrorKind};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use actix_web::http::StatusCode;
use actix_web::http::header::{CACHE_CONTROL, CONTENT_RANGE, CONTENT_TYPE, HeaderName};
use actix_web::web::{Bytes, Payload};
use actix_web::{HttpRequest, HttpResponse};
use futures::StreamExt;
use percent_encoding::percent_decode_str;
use serde_json::json;
use sql::{PathHash, Store};
use tokio::sync::Semaphore;
use tokio::task::spawn_blocking;
use tokio::time::{Instant, timeout};

use self::directory::UploadDirectory;
pub(crate) use self::directory::file_digest;
use self::temporary::{CompleteFile, Placed, TemporaryFile};
use super::digest::{self, Sha256Bytes};
use super::refusal::Refusal;
use super::{Answer, Hooks, body, file_name};
use crate::feeders::hook::{ArchiveImporter, ArchiveOutcome, ImportedArchive};
use crate::jobs::{ArchiveWork, Work};
use crate::service::Service;

/// Maximum number of uploads at once.
const MAX_UPLOADS: usize = 16;
/// Maximum time between two parts of a body.
const STALL_TIMEOUT: Duration = Duration::from_secs(30);
/// Time that a body may take beside the time that its bytes take at [`MIN_RATE`].
const SLOW_TIMEOUT: Duration = Duration::from_secs(60);
/// Minimum rate in bytes per second.
const MIN_RATE: u64 = 10 << 10;
/// Time until a store is looked at again whose uploads of earlier processes could not be looked after. It doubles.
const MIN_RECOVERY_PAUSE: Duration = Duration::from_secs(2);
/// Maximum time until then.
const MAX_RECOVERY_PAUSE: Duration = Duration::from_secs(60);
/// Bytes that are written at once.
const WRITE_BYTES: usize = 1 << 20;
/// Media types of packages.
const TYPES: [&str; 3] = ["application/x-rpm", "application/x-redhat-package-manager", "application/octet-stream"];
/// Header fields with the SHA-256 of the body (RFC 9530). Without Content-Encoding both are of the same bytes.
const DIGESTS: [HeaderName; 2] = [HeaderName::from_static("content-digest"), HeaderName::from_static("repr-digest")];
/// What a client is told when the disk fails.
const DISK: &str = "the store's directory cannot be written";
/// `source` of jobs.
const SOURCE: &str = "upload";

/// What uploads share.
pub(super) struct Uploads {
    permits: Semaphore,
}

impl Uploads {
    pub(super) fn new() -> Self {
        Self { permits: Semaphore::new(MAX_UPLOADS) }
    }
}

/// A store that takes uploads.
#[derive(Clone)]
struct Target {
    store: Store,
    root: PathBuf,
    name: String,
}

/// What a client states about the body.
struct Stated {
    bytes: Option<u64>,
    digests: Vec<Sha256Bytes>,
}

/// Receives an upload.
pub(super) async fn receive(hooks: &Hooks, request: &HttpRequest, payload: &mut Payload) -> Answer {
    let table = &hooks.service.settings.hooks;
    let (store, name) = place(request.uri().path(), &table.upload_stores)?;
    let stated = Stated::read(request, table.max_upload.as_u64())?;
    let Ok(_permit) = hooks.uploads.permits.try_acquire() else {
        return Err(Refusal::unavailable("too many uploads at once"));
    };
    let target = find_target(hooks.stores().await?, &store, name)?;
    let (root, min_free) = (target.root.clone(), table.min_free.as_u64());
    let expected = stated.bytes.unwrap_or_default();
    let opened = on_disk(min_free, move || {
        let directory = UploadDirectory::open(&root)?;
        check_space(&directory, expected, min_free)?;
        let file = directory.create()?;
        Ok((directory, file))
    });
    let (directory, file) = opened.await?;
    let file = write_body(payload, file, &directory, table.max_upload.as_u64(), min_free).await?;
    let mut file = file.complete();
    if let Some(expected) = stated.digests.iter().find(|expected| **expected != file.digest) {
        return Err(Refusal::malformed(digest::write(expected), digest::write(&file.digest)));
    }
    let read = on_disk(min_free, move || {
        let nvra = file.nvra();
        Ok((file, nvra))
    });
    let (file, nvra) = read.await?;
    let nvra = nvra.map_err(|error| Refusal::unprocessable("a whole RPM", error.to_string()))?;
    if format!("{nvra}.rpm") != target.name {
        return Err(Refusal::unprocessable(format!("the name {nvra}.rpm, as in the header"), target.name));
    }
    // From here on it is done to the end, also if the client has gone.
    let service = Arc::clone(&hooks.service);
    let finish = Box::pin(async move { finish(&service, target, directory, file).await });
    let finishing = hooks.service.run_shared(finish);
    let finished = finishing.await.unwrap_or_else(|error| {
        tracing::error!(%error, "an upload failed");
        Err(Refusal::unavailable(DISK))
    });
    let (placed, imported) = finished?;
    let status = if placed == Placed::New { StatusCode::CREATED } else { StatusCode::OK };
    Ok(HttpResponse::build(status)
        .insert_header((CACHE_CONTROL, "no-store"))
        .json(json!({ "nvra": imported.nvra, "build_ids": imported.build_ids })))
}

/// Gives the file its name, and imports it.
async fn finish(
    service: &Service,
    target: Target,
    directory: UploadDirectory,
    file: CompleteFile,
) -> Result<(Placed, ImportedArchive), Refusal> {
    let (name, places) = (target.name.clone(), directory.clone());
    let min_free = service.settings.hooks.min_free.as_u64();
    let placed = on_disk(min_free, move || {
        let directory = places;
        let (bytes, digest) = (file.bytes(), file.digest);
        let placed = file.place(&name)?;
        let is_same = placed == Placed::New || directory.has(&name, bytes, &digest)?;
        if is_same {
            // Of a file that was there, too: the process that wrote it may have ended before it did this.
            directory.sync()?;
        }
        Ok((placed, is_same))
    });
    let (placed, is_same) = placed.await?;
    let (store, name) = (&target.store.name, &target.name);
    if !is_same {
        let found = format!("another file {name} in store {store}, which stays");
        return Err(Refusal::expected(StatusCode::CONFLICT, "a new file, or the same bytes", found));
    }
    let importer = ArchiveImporter::new(&service.index, &service.network);
    let imported = match timeout(super::DATABASE_TIMEOUT, importer.import_local(&target.store, name)).await {
        Ok(Ok(ArchiveOutcome::Imported(imported))) => imported,
        Ok(Ok(ArchiveOutcome::Failed { reason, is_permanent: true })) => {
            if placed == Placed::New {
                let name = name.clone();
                on_disk(min_free, move || directory.remove(&name)).await?;
            }
            return Err(Refusal::unprocessable("a package that can be indexed", reason));
        }
        Ok(Ok(ArchiveOutcome::Gone { reason } | ArchiveOutcome::Failed { reason, .. })) => {
            tracing::error!(store, name, reason, "an upload could not be read back");
            return Err(Refusal::unavailable(DISK));
        }
        Ok(Err(error)) => {
            tracing::error!(store, name, %error, "an upload is in its store, but not in the index yet");
            return Err(Refusal::unavailable(super::DATABASE));
        }
        Err(_) => {
            tracing::error!(store, name, "an upload is in its store, but not in the index yet: no answer in time");
            return Err(Refusal::unavailable(super::DATABASE));
        }
    };
    service.metrics.count_packages(SOURCE, u64::from(imported.is_new));
    tracing::info!(store, name, build_ids = imported.build_ids, is_new = placed == Placed::New, "received a package");
    Ok((placed, imported))
}

/// Writes the body to the file.
async fn write_body(
    payload: &mut Payload,
    mut file: TemporaryFile,
    directory: &UploadDirectory,
    max_bytes: u64,
    min_free: u64,
) -> Result<TemporaryFile, Refusal> {
    let began = Instant::now();
    let (mut chunks, mut waiting): (Vec<Bytes>, usize) = (Vec::new(), 0);
    loop {
        let found = || format!("{} bytes", file.bytes() + waiting as u64);
        let Ok(chunk) = timeout(STALL_TIMEOUT, payload.next()).await else {
            return Err(Refusal::too_slow(format!("more bytes within {STALL_TIMEOUT:?}"), found()));
        };
        let chunk = match chunk {
            None => break,
            Some(Ok(chunk)) => chunk,
            Some(Err(error)) => return Err(Refusal::malformed("a whole body", error.to_string())),
        };
        waiting += chunk.len();
        chunks.push(chunk);
        let received = file.bytes() + waiting as u64;
        if received > max_bytes {
            return Err(Refusal::too_large(max_bytes, "more"));
        }
        if began.elapsed() > SLOW_TIMEOUT + Duration::from_secs(received / MIN_RATE) {
            let expected = format!("{MIN_RATE} bytes per second");
            return Err(Refusal::too_slow(expected, format!("{received} in {:.0?}", began.elapsed())));
        }
        if waiting >= WRITE_BYTES {
            file = write_chunks(file, std::mem::take(&mut chunks), directory, min_free).await?;
            waiting = 0;
        }
    }
    write_chunks(file, chunks, directory, min_free).await
}

async fn write_chunks(
    mut file: TemporaryFile,
    chunks: Vec<Bytes>,
    directory: &UploadDirectory,
    min_free: u64,
) -> Result<TemporaryFile, Refusal> {
    let directory = directory.clone();
    let write = move || {
        check_space(&directory, chunks.iter().map(|chunk| chunk.len() as u64).sum(), min_free)?;
        file.write(&chunks)?;
        Ok(file)
    };
    on_disk(min_free, write).await
}

/// Expects that `bytes` more bytes leave `min_free` bytes free.
fn check_space(directory: &UploadDirectory, bytes: u64, min_free: u64) -> io::Result<()> {
    match directory.free_bytes()? {
        free if free >= bytes.saturating_add(min_free) => Ok(()),
        _ => Err(ErrorKind::StorageFull.into()),
    }
}

/// Runs work on files on a thread that may block.
async fn on_disk<T: Send + 'static>(
    min_free: u64,
    work: impl FnOnce() -> io::Result<T> + Send + 'static,
) -> Result<T, Refusal> {
    match spawn_blocking(work).await.unwrap_or_else(|error| Err(io::Error::other(error))) {
        Ok(done) => Ok(done),
        Err(error) if matches!(error.kind(), ErrorKind::StorageFull | ErrorKind::QuotaExceeded) => {
            tracing::warn!(%error, "the disk is too full for an upload");
            Err(Refusal::disk_full(min_free))
        }
        Err(error) => {
            tracing::error!(%error, "an upload could not be written");
            Err(Refusal::unavailable(DISK))
        }
    }
}

impl Stated {
    fn read(request: &HttpRequest, max_bytes: u64) -> Result<Self, Refusal> {
        if request.headers().contains_key(CONTENT_RANGE) {
            // RFC 9110, section 14.5.
            return Err(Refusal::malformed("a whole package", "Content-Range"));
        }
        if request.headers().contains_key(CONTENT_TYPE) {
            body::check_type(request, &TYPES)?;
        }
        let mut digests = Vec::new();
        for name in &DIGESTS {
            if let Some(value) = body::text(request, name)? {
                digests.extend(digest::read(value).map_err(|found| Refusal::malformed(name.as_str(), found))?);
            }
        }
        Ok(Self { bytes: body::check_length(request, max_bytes)?, digests })
    }
}

/// Returns the store and the file name of `/hooks/upload/STORE/NAME`. A slash in the name of a store is encoded.
fn place(path: &str, stores: &[String]) -> Result<(String, String), Refusal> {
    let refuse = || Refusal::expected(StatusCode::NOT_FOUND, "/hooks/upload/STORE/NAME", path);
    let (store, name) = path.strip_prefix("/hooks/upload/").and_then(|rest| rest.split_once('/')).ok_or_else(refuse)?;
    let decode = |text: &str| percent_decode_str(text).decode_utf8().map(|text| text.into_owned()).ok();
    let (store, name) = decode(store).zip(decode(name)).ok_or_else(refuse)?;
    if !stores.contains(&store) {
        return Err(Refusal::expected(StatusCode::NOT_FOUND, "a store of hooks.upload_stores", store));
    }
    file_name::check(&name).map_err(|expected| Refusal::malformed(expected, name.clone()))?;
    Ok((store, name))
}

/// Returns the store of the index with this name, which needs a directory.
fn find_target(stores: Vec<Store>, store: &str, name: String) -> Result<Target, Refusal> {
    let found = stores.into_iter().find(|known| known.name == store);
    match found.map(|store| (store.root.clone(), store)) {
        Some((Some(root), store)) => Ok(Target { store, root, name }),
        Some((None, _)) => Err(Refusal::unprocessable(format!("a directory of store {store}"), "none")),
        None => Err(Refusal::unprocessable("a store of the index (`store add`)", store)),
    }
}

/// Removes temporary files that ended processes left in the stores, and requests imports of packages that got their
/// name without getting into the index. A store that cannot be read is tried again until it could be, or the service
/// stops.
pub(crate) async fn recover(service: Arc<Service>) {
    let mut left: Vec<(&String, String)> =
        service.settings.hooks.upload_stores.iter().map(|name| (name, String::new())).collect();
    let mut pause = MIN_RECOVERY_PAUSE;
    loop {
        let mut failed = Vec::new();
        for (name, logged) in left {
            if let Err(error) = recover_store(&service, name).await {
                let error = format!("{error:#}");
                if error != logged {
                    tracing::warn!(store = name, error, "uploads to a store cannot be looked after; trying again");
                }
                failed.push((name, error));
            }
        }
        left = failed;
        if left.is_empty() || service.stop.wait_for(pause).await {
            return;
        }
        pause = (2 * pause).min(MAX_RECOVERY_PAUSE);
    }
}

async fn recover_store(service: &Service, name: &str) -> anyhow::Result<()> {
    let stores = service.index.stores().await?;
    let target = find_target(stores, name, String::new());
    let Ok(Target { store, root, .. }) = target else {
        anyhow::bail!("expected a store with a directory of this machine: add it with `store add {name} --path DIR`");
    };
    let known = service.index.known_locations(store.id).await?;
    let look = spawn_blocking(move || {
        let directory = UploadDirectory::open(&root)?;
        Ok::<_, io::Error>((directory.remove_leftovers()?, directory.packages()?))
    });
    let (removed, packages) = look.await??;
    let is_known = |name: &String| known.get(&PathHash::of_path(name)).is_some_and(|known| !known.gone);
    let new = packages.into_iter().filter(|name| !is_known(name));
    let work = new.map(|path| Work::Archive(ArchiveWork { store: name.to_owned(), path, source: SOURCE.to_owned() }));
    let jobs: Vec<_> = work.map(|work| work.job(Duration::ZERO)).collect();
    if removed > 0 || !jobs.is_empty() {
        tracing::info!(store = name, removed, unknown = jobs.len(), "looked after uploads of earlier processes");
    }
    if !jobs.is_empty() {
        service.index.enqueue(&jobs).await?;
        service.new_jobs.notify_one();
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_is_a_store_and_a_name() {
        let stores = ["uploads".to_owned(), "/srv/a b".to_owned()];
        let place = |path: &str| place(path, &stores).ok();
        let pair = |store: &str, name: &str| Some((store.to_owned(), name.to_owned()));
        assert_eq!(place("/hooks/upload/uploads/a-1-1.noarch.rpm"), pair("uploads", "a-1-1.noarch.rpm"));
        assert_eq!(place("/hooks/upload/uploads/a%2B%2B-1-1.src.rpm"), pair("uploads", "a++-1-1.src.rpm"));
        assert_eq!(place("/hooks/upload/%2Fsrv%2Fa%20b/a.rpm"), pair("/srv/a b", "a.rpm"));
        for path in [
            "/hooks/upload/",
            "/hooks/upload/uploads",
            "/hooks/upload/uploads/",
            "/hooks/upload/other/a.rpm",
            "/hooks/upload/uploads/x/a.rpm",
            "/hooks/upload/uploads/../a.rpm",
            "/hooks/upload/uploads/%2e%2e%2fa.rpm",
            "/hooks/upload/uploads/x%2Fa.rpm",
            "/hooks/upload/uploads/a.rpm%00",
            "/hooks/upload/uploads/%ff.rpm",
            "/hooks/upload/uploads/.a.rpm",
            "/hooks/upload//a.rpm",
            "/hooks/upload//srv/a b/a.rpm",
        ] {
            assert_eq!(place(path), None, "{path}");
        }
    }
}
