//! The tools of the tests.

mod client;
mod services;

use std::sync::Arc;

use axum::Router;
use axum::body::{Body, to_bytes};
use axum::http::{HeaderMap, Request, StatusCode};
use bytes::Bytes;
use castore_core::{BlobService, Digest, MemoryBlobService};
use castore_http::Gateway;
use tower::ServiceExt;

pub(crate) use client::{Connection, Server};
pub(crate) use services::{Breaking, Broken, Ended, Listed, Watched};

/// A response with all of its body.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Bytes,
}

impl Answer {
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).map(|value| value.to_str().unwrap())
    }

    pub(crate) fn text(&self) -> &str {
        std::str::from_utf8(&self.body).unwrap()
    }

    /// Asserts that this is a failure of one line that no cache keeps, and returns the line.
    pub(crate) fn line(&self, status: u16) -> &str {
        assert_eq!(self.status, status, "{self:?}");
        assert_eq!(self.header("cache-control"), Some("no-store"));
        assert_eq!(self.header("content-type"), Some("text/plain; charset=utf-8"));
        assert_eq!(self.header("x-content-type-options"), Some("nosniff"));
        let line = self.text().strip_suffix('\n').unwrap();
        assert!(!line.is_empty() && !line.contains(char::is_control), "{line:?}");
        line
    }
}

/// Calls the router in the process.
pub(crate) async fn ask(router: &Router, request: Request<Body>) -> Answer {
    let response = router.clone().oneshot(request).await.unwrap();
    let (parts, body) = response.into_parts();
    let body = to_bytes(body, usize::MAX).await.unwrap();
    Answer { status: parts.status, headers: parts.headers, body }
}

pub(crate) fn request(method: &str, path: &str, headers: &[(&str, &str)]) -> Request<Body> {
    let mut request = Request::builder().method(method).uri(path);
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    request.body(Body::empty()).unwrap()
}

pub(crate) async fn get(router: &Router, path: &str, headers: &[(&str, &str)]) -> Answer {
    ask(router, request("GET", path, headers)).await
}

pub(crate) fn blob_path(digest: Digest) -> String {
    format!("/blobs/{digest}")
}

/// Bytes without a pattern; equal for equal sizes.
pub(crate) fn noise(size: usize) -> Bytes {
    let mut state = 0x9e37_79b9_7f4a_7c15_u64 ^ size as u64;
    let next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state >> 32) as u8
    };
    std::iter::repeat_with(next).take(size).collect()
}

/// A gateway to a service that has these blobs.
pub(crate) async fn gateway_with(blobs: &[Bytes]) -> Router {
    let service = MemoryBlobService::new();
    for blob in blobs {
        service.put_bytes(blob.clone()).await.unwrap();
    }
    gateway(service)
}

pub(crate) fn gateway(service: impl BlobService) -> Router {
    Gateway::new(Arc::new(service)).into_router()
}
