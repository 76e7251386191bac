//! The response with the bytes of a file or an archive.

use std::sync::Arc;

use actix_web::body::SizedStream;
use actix_web::http::StatusCode;
use actix_web::http::header::{
    ACCEPT_RANGES, CACHE_CONTROL, CONTENT_DISPOSITION, ContentRange, ContentRangeSpec, HeaderName, HeaderValue,
};
use actix_web::{HttpRequest, HttpResponse, HttpResponseBuilder};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use futures::TryStreamExt;

use super::conditional::{RequestedRange, Validators};
use super::download_name::{attachment, download_name};
use super::{too_large, value};
use crate::cache::{Content, ExternalFile, MemberCache};
use crate::resolve::answer::FoundFile;
use crate::resolve::question::Resource;
use crate::server::Connection;

/// An answer to a build-id stays right (docs/adr/0013).
const FILE_LIFETIME: HeaderValue = HeaderValue::from_static("public, max-age=604800, immutable");
/// A better answer may come.
const POOR_FILE_LIFETIME: HeaderValue = HeaderValue::from_static("public, max-age=3600");
/// An archive may be signed anew.
const ARCHIVE_LIFETIME: HeaderValue = HeaderValue::from_static("public, max-age=3600");

/// The media type of files and sections.
pub(super) const BYTES: &str = "application/octet-stream";

/// RFC 9530.
const REPR_DIGEST: HeaderName = HeaderName::from_static("repr-digest");
const SIZE: HeaderName = HeaderName::from_static("x-debuginfod-size");
const FILE: HeaderName = HeaderName::from_static("x-debuginfod-file");
const ARCHIVE: HeaderName = HeaderName::from_static("x-debuginfod-archive");
/// Of the whole file, with a section too. The manual of elfutils' server has another name; its code and its client
/// have this one.
const IMA_SIGNATURE: HeaderName = HeaderName::from_static("x-debuginfod-imasignature");

/// The response with the bytes of a file: 200, 206, 304, 416, or 406 if they are more than the client accepts.
pub(super) async fn file(
    request: &HttpRequest,
    cache: &MemberCache,
    resource: &Resource,
    found: FoundFile,
) -> HttpResponse {
    let FoundFile { content, member, archive, is_poor } = found;
    let size = content.len();
    if let Some(response) = too_large(request, size) {
        return response;
    }
    let small = cache.small(&content).await;
    let digest = repr_digest(&content);
    let signature = content.file.signature().map(|signature| faster_hex::hex_string(signature));
    bytes(request, content, small, BYTES, |response| {
        let lifetime = if is_poor { POOR_FILE_LIFETIME } else { FILE_LIFETIME };
        response.insert_header((CACHE_CONTROL, lifetime)).insert_header((SIZE, size));
        // Some upstreams do not tell the name of a file.
        if !member.is_empty() {
            response
                .insert_header((FILE, value(&member)))
                .insert_header((CONTENT_DISPOSITION, attachment(&download_name(&member, resource))));
        }
        if let Some(digest) = digest {
            response.insert_header((REPR_DIGEST, value(&digest)));
        }
        if let Some(archive) = archive {
            response.insert_header((ARCHIVE, value(&archive)));
        }
        if let Some(signature) = signature {
            response.insert_header((IMA_SIGNATURE, value(&signature)));
        }
    })
}

/// The value of Repr-Digest: SHA-256 of a whole file, if it is known.
fn repr_digest(content: &Content) -> Option<String> {
    let is_whole = content.len() == content.file.size();
    let sha256 = content.file.sha256().filter(|_| is_whole)?;
    Some(format!("sha-256=:{}:", STANDARD.encode(sha256)))
}

/// The response with an archive itself, which is called `name`: 200, 206, 304 or 416.
pub(super) fn archive(
    request: &HttpRequest,
    archive: &Arc<ExternalFile>,
    name: &str,
    content_type: &'static str,
) -> HttpResponse {
    bytes(request, archive.content(), None, content_type, |response| {
        response
            .insert_header((CACHE_CONTROL, ARCHIVE_LIFETIME))
            .insert_header((CONTENT_DISPOSITION, attachment(name)));
    })
}

/// The response with a content, whose bytes are `small` if they are in memory. `add_headers` adds the headers of its
/// file, which a response with 416 has not: a cache must not take that for the file.
fn bytes(
    request: &HttpRequest,
    content: Content,
    small: Option<Bytes>,
    content_type: &'static str,
    add_headers: impl FnOnce(&mut HttpResponseBuilder),
) -> HttpResponse {
    let (size, validators) = (content.len(), Validators::of(&content));
    let is_unchanged = validators.is_unchanged(request);
    let (status, part) = match validators.range(request, size) {
        _ if is_unchanged => (StatusCode::NOT_MODIFIED, None),
        RequestedRange::Whole => (StatusCode::OK, None),
        RequestedRange::Part(part) => (StatusCode::PARTIAL_CONTENT, Some(part)),
        RequestedRange::Beyond => {
            return HttpResponse::RangeNotSatisfiable()
                .insert_header(content_range(None, size))
                .insert_header((CACHE_CONTROL, "no-store"))
                .finish();
        }
    };
    let mut response = HttpResponse::build(status);
    response.insert_header((ACCEPT_RANGES, "bytes")).insert_header(validators.last_modified());
    if let Some(etag) = validators.etag() {
        response.insert_header(etag);
    }
    add_headers(&mut response);
    if is_unchanged {
        return response.finish();
    }
    response.content_type(content_type);
    let (content, small) = match part {
        None => (content, small),
        Some(part) => {
            response.insert_header(content_range(Some((part.start, part.end - 1)), size));
            let at = |byte: u64| usize::try_from(byte).unwrap_or(usize::MAX);
            let small = small.map(|bytes| bytes.slice(at(part.start)..at(part.end)));
            (content.part(part), small)
        }
    };
    if let Some(bytes) = small {
        return response.body(bytes);
    }
    let connection = Connection::of(request);
    let length = content.len();
    let stream = content.stream().inspect_err(move |error| {
        // A body that just ends would be remembered as "absent" for ten minutes; a reset is retried.
        tracing::warn!(%error, "a response could not be finished: reset");
        if let Some(connection) = &connection {
            connection.reset();
        }
    });
    response.body(SizedStream::new(length, stream))
}

/// The value of Content-Range: the first and the last byte, or that a range is not satisfiable.
fn content_range(range: Option<(u64, u64)>, size: u64) -> ContentRange {
    ContentRange(ContentRangeSpec::Bytes { range, instance_length: Some(size) })
}
