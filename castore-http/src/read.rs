//! `GET` and `HEAD` of a blob.

use std::sync::Arc;

use axum::body::Body;
use axum::extract::State;
use axum::http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, header};
use axum::response::{IntoResponse, Response};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use castore_core::{BoxStream, Digest};
use futures_util::stream::{self, StreamExt, TryStreamExt};

use crate::Gateway;
use crate::conditions::{self, Verdict};
use crate::failure::Failure;
use crate::named::Named;
use crate::range::Wanted;

/// For answers that follow from the digest alone.
pub(crate) const IMMUTABLE: &str = "public, max-age=31536000, immutable";

pub(crate) async fn blob(
    State(gateway): State<Arc<Gateway>>,
    Named(digest): Named,
    method: Method,
    headers: HeaderMap,
) -> Result<Response, Failure> {
    let service = gateway.service();
    let verdict = conditions::judge_read(&headers, digest);
    if method == Method::HEAD || verdict != Verdict::Proceed {
        // A condition counts only for a blob that is present. This reads none of its chunks.
        let Some(stat) = service.stat(&digest).await? else {
            return Err(Failure::absent(digest));
        };
        return match verdict {
            Verdict::Proceed => Ok(answer(StatusCode::OK, digest, stat.size, Body::empty())),
            Verdict::NotModified => Ok(not_modified(digest, stat.size)),
            Verdict::Failed => Err(Failure::precondition()),
        };
    }
    let Some(reader) = service.open_read(&digest).await? else {
        return Err(Failure::absent(digest));
    };
    let size = reader.size();
    let wanted = match conditions::range_counts(&headers, digest) {
        true => Wanted::of(&headers, size),
        false => Wanted::Whole,
    };
    match wanted {
        Wanted::Whole => {
            let body = body(reader.read_range(0..size)).await?;
            Ok(answer(StatusCode::OK, digest, size, body))
        }
        Wanted::Part(range) => {
            let (first, last) = (range.start, range.end - 1);
            let length = range.end - range.start;
            let body = body(reader.read_range(range)).await?;
            let response = answer(StatusCode::PARTIAL_CONTENT, digest, length, body);
            let content_range = format!("bytes {first}-{last}/{size}");
            Ok(([(header::CONTENT_RANGE, content_range)], response).into_response())
        }
        Wanted::Unsatisfiable => {
            let line = format!("the range has no byte of a blob of {size} bytes");
            let failure = Failure::new(StatusCode::RANGE_NOT_SATISFIABLE, line);
            Err(failure.with_header(header::CONTENT_RANGE, format!("bytes */{size}")))
        }
    }
}

/// The body of these pieces. The first one is read now: a failure that is known before a byte is
/// sent can still have a status of its own. A later one is an error of the body, which makes the
/// server break the connection off.
async fn body(mut pieces: BoxStream<castore_core::Result<Bytes>>) -> Result<Body, Failure> {
    Ok(match pieces.try_next().await? {
        Some(first) => Body::from_stream(stream::iter([Ok(first)]).chain(pieces)),
        None => Body::empty(),
    })
}

/// The response with a blob, or with `length` bytes of it, in its body.
fn answer(status: StatusCode, digest: Digest, length: u64, body: Body) -> Response {
    let repr_digest = format!("blake3=:{}:", STANDARD.encode(digest.as_bytes()));
    let headers = [
        (header::ETAG, conditions::entity_tag(digest)),
        (header::CONTENT_LENGTH, length.to_string()),
        (header::CONTENT_DISPOSITION, format!("attachment; filename=\"{digest}\"")),
        (HeaderName::from_static("repr-digest"), repr_digest),
    ];
    let constant = [
        (header::CONTENT_TYPE, HeaderValue::from_static("application/octet-stream")),
        (header::ACCEPT_RANGES, HeaderValue::from_static("bytes")),
        (header::CACHE_CONTROL, HeaderValue::from_static(IMMUTABLE)),
        (header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff")),
        (header::CONTENT_SECURITY_POLICY, HeaderValue::from_static("sandbox")),
    ];
    (status, constant, headers, body).into_response()
}

/// The response to a client that has the blob. `Content-Length` is the one that a 200 would have,
/// because axum would add a length of 0 otherwise.
fn not_modified(digest: Digest, size: u64) -> Response {
    let headers = [
        (header::ETAG, conditions::entity_tag(digest)),
        (header::CACHE_CONTROL, IMMUTABLE.to_owned()),
        (header::CONTENT_LENGTH, size.to_string()),
    ];
    (StatusCode::NOT_MODIFIED, headers, Body::empty()).into_response()
}
