//! `PUT` and `POST`: a body is published only once all of it has arrived, and is the right blob.

use std::sync::Arc;

use axum::body::{Body, BodyDataStream};
use axum::extract::{OriginalUri, Request, State};
use axum::http::{HeaderMap, HeaderName, StatusCode, header};
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use castore_core::groups::GroupHasher;
use castore_core::{BlobService, BlobWriter, Digest};
use futures_util::StreamExt;

use crate::Gateway;
use crate::conditions;
use crate::failure::{Failure, text};
use crate::named::Named;

/// The most bytes of an unwanted body that are read and dropped: 1 MiB.
///
/// A server that answers and closes while the client still writes makes the client's system drop
/// the answer. Clients that write all before they read rarely send more than this without asking
/// (curl asks, by `Expect: 100-continue`, from 1 MiB on).
const MAX_DROPPED: u64 = 1 << 20;

pub(crate) async fn put(
    State(gateway): State<Arc<Gateway>>,
    named: Result<Named, Failure>,
    request: Request,
) -> Result<Response, Failure> {
    let mut upload = Upload::new(request, gateway.body_limit());
    let result = match named {
        Ok(Named(digest)) => put_blob(gateway.service(), digest, &mut upload).await,
        Err(failure) => Err(failure),
    };
    upload.settle().await;
    result
}

async fn put_blob(
    service: &dyn BlobService,
    digest: Digest,
    upload: &mut Upload,
) -> Result<Response, Failure> {
    upload.check()?;
    let is_known = service.has(&digest).await?;
    if !conditions::allow_write(&upload.headers, digest, is_known) {
        return Err(Failure::precondition());
    }
    if !is_known {
        store(service, upload, Some(digest)).await?;
    }
    Ok(stored(digest, is_known))
}

pub(crate) async fn post(
    State(gateway): State<Arc<Gateway>>,
    OriginalUri(uri): OriginalUri,
    request: Request,
) -> Result<Response, Failure> {
    let mut upload = Upload::new(request, gateway.body_limit());
    let result = post_blob(gateway.service(), &mut upload).await;
    upload.settle().await;
    let (digest, is_known) = result?;
    // The gateway may be mounted below a path.
    let location = format!("{}/{digest}", uri.path());
    Ok(([(header::LOCATION, location)], stored(digest, is_known)).into_response())
}

async fn post_blob(
    service: &dyn BlobService,
    upload: &mut Upload,
) -> Result<(Digest, bool), Failure> {
    upload.check()?;
    store(service, upload, None).await
}

fn stored(digest: Digest, is_known: bool) -> Response {
    let status = if is_known { StatusCode::OK } else { StatusCode::CREATED };
    text(status, &digest.to_string())
}

/// Stores the body, and returns its digest and whether that was known before. Nothing is published
/// after a failure, nor if the body is not the blob `expected`.
async fn store(
    service: &dyn BlobService,
    upload: &mut Upload,
    expected: Option<Digest>,
) -> Result<(Digest, bool), Failure> {
    let mut writer = service.open_write().await?;
    let result = write(service, upload, expected, &mut writer).await;
    if result.is_err() {
        writer.abort().await;
    }
    result
}

async fn write(
    service: &dyn BlobService,
    upload: &mut Upload,
    expected: Option<Digest>,
    writer: &mut BlobWriter,
) -> Result<(Digest, bool), Failure> {
    let digest = upload.write_to(writer).await?;
    let is_known = match expected {
        // `close` would publish whatever was written, so the digest is compared before.
        Some(expected) if expected != digest => {
            let line = format!("the body is the blob {digest}");
            return Err(Failure::new(StatusCode::UNPROCESSABLE_ENTITY, line));
        }
        Some(_) => false,
        None => service.has(&digest).await?,
    };
    let closed = writer.close().await?;
    if closed != digest {
        let line = format!("the store has published {closed}, and not {digest}");
        return Err(Failure::new(StatusCode::INTERNAL_SERVER_ERROR, line));
    }
    Ok((digest, is_known))
}

/// The body of a request.
pub(crate) struct Upload {
    headers: HeaderMap,
    body: BodyDataStream,
    /// The largest body in bytes.
    limit: u64,
    /// Whether the client sends its body only once the server begins to read it.
    is_awaited: bool,
    has_ended: bool,
}

impl Upload {
    pub(crate) fn new(request: Request, limit: u64) -> Upload {
        let (parts, body): (_, Body) = request.into_parts();
        let expectation = parts.headers.get(header::EXPECT);
        let is_awaited =
            expectation.is_some_and(|value| value.as_bytes().eq_ignore_ascii_case(b"100-continue"));
        let body = body.into_data_stream();
        Upload { headers: parts.headers, body, limit, is_awaited, has_ended: false }
    }

    /// Refuses a body that its headers show to be unusable.
    fn check(&self) -> Result<(), Failure> {
        // To store a part as the whole, or an encoding as the content, would be silent damage.
        if self.headers.contains_key(header::CONTENT_RANGE) {
            return Err(Failure::bad_request("a part of a blob cannot be stored"));
        }
        if self.field(&header::CONTENT_ENCODING).is_some_and(|coding| coding != "identity") {
            let line = "the body must be the blob itself, without Content-Encoding";
            return Err(Failure::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, line));
        }
        match self.length() {
            Some(length) if length > self.limit => Err(self.too_large()),
            _ => Ok(()),
        }
    }

    /// The length that the headers state, in bytes.
    fn length(&self) -> Option<u64> {
        self.field(&header::CONTENT_LENGTH)?.parse().ok()
    }

    /// A header's value; one that is no text counts as an empty one.
    fn field(&self, name: &HeaderName) -> Option<&str> {
        self.headers.get(name).map(|value| value.to_str().unwrap_or_default())
    }

    fn too_large(&self) -> Failure {
        let line = format!("the body has more than {} bytes", self.limit);
        Failure::new(StatusCode::PAYLOAD_TOO_LARGE, line)
    }

    /// The next bytes, or `None` after the last ones. Asks the client for its body if it waits for
    /// that.
    async fn next(&mut self) -> Result<Option<Bytes>, Failure> {
        if self.has_ended {
            return Ok(None);
        }
        self.is_awaited = false;
        let next = self.body.next().await;
        self.has_ended = !matches!(next, Some(Ok(_)));
        next.transpose().map_err(|_| incomplete())
    }

    /// Writes all of the body, and returns its digest.
    async fn write_to(&mut self, writer: &mut BlobWriter) -> Result<Digest, Failure> {
        let (mut hasher, mut read) = (GroupHasher::new(), 0);
        while let Some(piece) = self.next().await? {
            read += piece.len() as u64;
            if read > self.limit {
                return Err(self.too_large());
            }
            hasher.update(&piece);
            writer.write_bytes(piece).await?;
        }
        // Servers check this, but a layer between may have cut the body.
        match self.length() {
            Some(length) if length != read => Err(incomplete()),
            _ => Ok(hasher.finish().digest),
        }
    }

    /// Reads and drops what is left, up to [`MAX_DROPPED`] bytes, unless the client has not begun
    /// to send its body.
    pub(crate) async fn settle(mut self) {
        let mut dropped = 0;
        while !self.is_awaited && dropped < MAX_DROPPED {
            match self.next().await {
                Ok(Some(piece)) => dropped += piece.len() as u64,
                _ => return,
            }
        }
    }
}

fn incomplete() -> Failure {
    Failure::bad_request("the body ended before it was complete: no blob is stored")
}
