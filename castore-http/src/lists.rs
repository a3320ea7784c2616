//! The chunks of a blob, and its tree.
//!
//! Both are sent in pieces of some 64 KiB that are made when the client takes them: a list of 2^24
//! chunks is 1.5 GB of JSON.

use std::convert::Infallible;
use std::fmt::Write as _;
use std::iter;
use std::sync::Arc;

use axum::body::Body;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use castore_core::{BlobIndex, Digest};
use futures_util::stream;

use crate::Gateway;
use crate::failure::Failure;
use crate::named::Named;
use crate::read::IMMUTABLE;

/// The number of chunks in a piece of JSON: one takes about 100 bytes.
const CHUNKS_AT_ONCE: usize = 640;

/// The number of nodes in a piece of an outboard, of 64 bytes each.
const NODES_AT_ONCE: usize = 1024;

/// The size of a node in bytes: two chaining values.
const NODE_SIZE: u64 = 64;

pub(crate) async fn chunks(
    State(gateway): State<Arc<Gateway>>,
    Named(digest): Named,
) -> Result<Response, Failure> {
    let index = index_of(&gateway, digest).await?;
    let headers = [
        (header::CONTENT_TYPE, "application/json"),
        // A store may divide the same blob anew.
        (header::CACHE_CONTROL, "no-cache"),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
    ];
    Ok((headers, body(json(index))).into_response())
}

pub(crate) async fn outboard(
    State(gateway): State<Arc<Gateway>>,
    Named(digest): Named,
) -> Result<Response, Failure> {
    let index = index_of(&gateway, digest).await?;
    let Some(groups) = index.groups() else {
        let line = format!("the index of {digest} has no group hashes");
        return Err(Failure::new(StatusCode::NOT_FOUND, line));
    };
    let mut nodes = groups.outboard();
    let headers = [
        (header::CONTENT_TYPE, "application/octet-stream".to_owned()),
        (header::CACHE_CONTROL, IMMUTABLE.to_owned()),
        (header::CONTENT_LENGTH, (nodes.len() as u64 * NODE_SIZE).to_string()),
        (header::CONTENT_DISPOSITION, format!("attachment; filename=\"{digest}.outboard\"")),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff".to_owned()),
    ];
    let pieces = iter::from_fn(move || {
        let piece: Vec<u8> = nodes.by_ref().take(NODES_AT_ONCE).flatten().flatten().collect();
        (!piece.is_empty()).then(|| Bytes::from(piece))
    });
    Ok((headers, body(pieces)).into_response())
}

async fn index_of(gateway: &Gateway, digest: Digest) -> Result<BlobIndex, Failure> {
    let index = gateway.service().chunks(&digest).await?;
    index.ok_or_else(|| Failure::absent(digest))
}

fn body(pieces: impl Iterator<Item = Bytes> + Send + 'static) -> Body {
    Body::from_stream(stream::iter(pieces.map(Ok::<Bytes, Infallible>)))
}

/// The index as JSON, in pieces.
fn json(index: BlobIndex) -> impl Iterator<Item = Bytes> + Send {
    let mut next = Some(0);
    iter::from_fn(move || {
        let start = next?;
        let end = index.len().min(start + CHUNKS_AT_ONCE);
        next = (end < index.len()).then_some(end);
        let mut piece = String::new();
        if start == 0 {
            let (digest, size) = (index.digest(), index.size());
            let _ = write!(piece, "{{\"digest\":\"{digest}\",\"size\":{size},\"chunks\":[");
        }
        for chunk in (start..end).filter_map(|number| index.get(number)) {
            // The first chunk of all follows the bracket.
            if !piece.ends_with('[') {
                piece.push(',');
            }
            let _ = write!(piece, "{{\"digest\":\"{}\",\"size\":{}}}", chunk.digest, chunk.size);
        }
        if next.is_none() {
            piece.push_str("]}\n");
        }
        Some(Bytes::from(piece))
    })
}
