//! `PUT` and `POST`, called in the process.

use std::convert::Infallible;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use axum::Router;
use axum::body::Body;
use axum::http::Request;
use bytes::Bytes;
use castore_core::{BlobService, Digest, MemoryBlobService};
use castore_http::Gateway;
use futures_util::{FutureExt, StreamExt, stream};
use tower::ServiceExt;

use crate::support::{Answer, Ended, Watched, ask, blob_path, gateway, noise};

async fn send(
    router: &Router,
    method: &str,
    path: &str,
    headers: &[(&str, &str)],
    body: impl Into<Body>,
) -> Answer {
    let mut request = Request::builder().method(method).uri(path);
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    ask(router, request.body(body.into()).unwrap()).await
}

/// Sends a new blob of `size` bytes twice: both times it is stored afterwards, and only the first
/// answer says that it is new. `request` has the method, the path, and a header of each answer.
async fn assert_is_new_once<'a>(
    size: usize,
    request: impl Fn(Digest) -> (&'a str, String, (&'a str, String)),
) {
    let blob = noise(size);
    let service = MemoryBlobService::new();
    let router = gateway(service.clone());
    let digest = Digest::of(&blob);
    let (method, path, (name, value)) = request(digest);
    // The empty blob is known to every store.
    let statuses = if size == 0 { [200, 200] } else { [201, 200] };
    for status in statuses {
        let answer = send(&router, method, &path, &[], blob.clone()).await;
        assert_eq!(answer.status, status, "{size}");
        assert_eq!(answer.text(), format!("{digest}\n"));
        assert_eq!(answer.header(name), Some(&*value));
        assert!(service.get_bytes(&digest, u64::MAX).await.unwrap().unwrap() == blob);
    }
}

#[tokio::test]
async fn a_put_stores_a_blob_once() {
    for size in [0, 1, 1000, 256 * 1024, 256 * 1024 + 1, 3_000_000] {
        let header = || ("cache-control", "no-store".to_owned());
        assert_is_new_once(size, |digest| ("PUT", blob_path(digest), header())).await;
    }
}

#[tokio::test]
async fn a_post_stores_a_blob_and_tells_its_name() {
    for size in [0, 1, 1000, 3_000_000] {
        let header = |digest| ("location", format!("/blobs/{digest}"));
        assert_is_new_once(size, |digest| ("POST", "/blobs".to_owned(), header(digest))).await;
    }
}

#[tokio::test]
async fn a_post_passes_a_known_blob_to_the_service_and_a_put_does_not() {
    let (service, mut ended) = Watched::new();
    let router = gateway(service.clone());
    let digest = service.inner.put_bytes("known".into()).await.unwrap();
    assert_eq!(send(&router, "PUT", &blob_path(digest), &[], "known").await.status, 200);
    assert!(ended.try_recv().is_err());
    assert_eq!(send(&router, "POST", "/blobs", &[], "known").await.status, 200);
    assert_eq!(ended.recv().await, Some(Ended::Closed));
}

#[tokio::test]
async fn the_wrong_digest_stores_nothing() {
    let (service, mut ended) = Watched::new();
    let router = gateway(service.clone());
    let (body, other) = (noise(1_000_000), Digest::of(b"other"));
    let answer = send(&router, "PUT", &blob_path(other), &[], body.clone()).await;
    let found = Digest::of(&body);
    assert_eq!(answer.line(422), format!("the body is the blob {found}"));
    assert_eq!(ended.recv().await, Some(Ended::Aborted));
    for digest in [found, other] {
        assert!(!service.has(&digest).await.unwrap());
    }
    // An empty body is the empty blob and no other.
    send(&router, "PUT", &blob_path(other), &[], "").await.line(422);
}

#[tokio::test]
async fn a_body_that_fails_stores_nothing_even_if_its_beginning_has_the_digest() {
    let begin = noise(500_000);
    let digest = Digest::of(&begin);
    for (method, path) in [("PUT", blob_path(digest)), ("POST", "/blobs".into())] {
        let (service, mut ended) = Watched::new();
        let router = gateway(service.clone());
        let pieces = [Ok(begin.clone()), Err(io::Error::other("cut off"))];
        let body = Body::from_stream(stream::iter(pieces));
        let answer = send(&router, method, &path, &[], body).await;
        assert!(answer.line(400).contains("no blob is stored"));
        assert_eq!(ended.recv().await, Some(Ended::Aborted));
        assert!(!service.has(&digest).await.unwrap());
        // The same of a layer that ends the body early without an error.
        for length in ["499999", "500001"] {
            let headers = [("content-length", length)];
            let body = Body::from_stream(stream::iter([Ok::<_, Infallible>(begin.clone())]));
            send(&router, method, &path, &headers, body).await.line(400);
            assert_eq!(ended.recv().await, Some(Ended::Aborted));
            assert!(!service.has(&digest).await.unwrap());
        }
    }
}

#[tokio::test]
async fn a_body_above_the_limit_stores_nothing() {
    for (size, status) in [(1000, 201), (1001, 413)] {
        let blob = noise(size);
        let digest = Digest::of(&blob);
        for (method, path) in [("PUT", blob_path(digest)), ("POST", "/blobs".into())] {
            for is_stated in [true, false] {
                let (service, mut ended) = Watched::new();
                let gateway = Gateway::new(Arc::new(service.clone()));
                let router = gateway.max_body(1000).into_router();
                let length = size.to_string();
                let headers = [("content-length", &*length)];
                let headers = if is_stated { &headers[..] } else { &[] };
                let pieces = [blob.slice(..600), blob.slice(600..)].map(Ok::<_, Infallible>);
                let body = Body::from_stream(stream::iter(pieces));
                let answer = send(&router, method, &path, headers, body).await;
                assert_eq!(answer.status, status, "{method} {size} {is_stated}");
                assert_eq!(service.has(&digest).await.unwrap(), status == 201);
                if status == 413 {
                    assert_eq!(answer.line(413), "the body has more than 1000 bytes");
                    // A stated length is refused before a writer is opened.
                    let expected = (!is_stated).then_some(Ended::Aborted);
                    assert_eq!(ended.try_recv().ok(), expected);
                }
            }
        }
    }
}

#[tokio::test]
async fn encodings_and_parts_are_refused() {
    let blob = noise(1000);
    let digest = Digest::of(&blob);
    for (name, value, status) in [
        ("content-encoding", "gzip", 415),
        ("content-encoding", "identity, zstd", 415),
        ("content-range", "bytes 0-999/2000", 400),
        ("content-encoding", "identity", 201),
    ] {
        for (method, path) in [("PUT", blob_path(digest)), ("POST", "/blobs".into())] {
            let service = MemoryBlobService::new();
            let router = gateway(service.clone());
            let answer = send(&router, method, &path, &[(name, value)], blob.clone()).await;
            assert_eq!(answer.status, status, "{method} {name}: {value}");
            assert_eq!(service.has(&digest).await.unwrap(), status == 201);
        }
    }
}

#[tokio::test]
async fn the_conditions_of_a_put_count() {
    let blob = noise(1000);
    let digest = Digest::of(&blob);
    let (tag, other) = (format!("\"{digest}\""), "\"x\"");
    // The header, and the status for a new and for a known blob.
    for (name, value, new, known) in [
        ("if-none-match", "*", 201, 412),
        ("if-none-match", &*tag, 201, 412),
        ("if-none-match", other, 201, 200),
        ("if-match", "*", 412, 200),
        ("if-match", &*tag, 412, 200),
        ("if-match", other, 412, 412),
    ] {
        let service = MemoryBlobService::new();
        let router = gateway(service.clone());
        let path = blob_path(digest);
        let answer = send(&router, "PUT", &path, &[(name, value)], blob.clone()).await;
        assert_eq!(answer.status, new, "{name}: {value}");
        assert_eq!(service.has(&digest).await.unwrap(), new == 201);
        service.put_bytes(blob.clone()).await.unwrap();
        let answer = send(&router, "PUT", &path, &[(name, value)], blob.clone()).await;
        assert_eq!(answer.status, known, "{name}: {value}");
    }
}

#[tokio::test]
async fn a_service_that_publishes_another_blob_is_no_success() {
    let (mut service, _ended) = Watched::new();
    service.lie = Some(Digest::EMPTY);
    let router = gateway(service);
    let digest = Digest::of(b"data");
    for (method, path) in [("PUT", blob_path(digest)), ("POST", "/blobs".into())] {
        let answer = send(&router, method, &path, &[], "data").await;
        let expected = format!("the store has published {}, and not {digest}", Digest::EMPTY);
        assert_eq!(answer.line(500), expected);
    }
}

/// A service whose writers never take their first bytes.
#[derive(Debug)]
struct Stuck;

#[async_trait::async_trait]
impl BlobService for Stuck {
    async fn has(&self, _: &Digest) -> castore_core::Result<bool> {
        Ok(false)
    }

    async fn chunks(&self, _: &Digest) -> castore_core::Result<Option<castore_core::BlobIndex>> {
        Ok(None)
    }

    async fn open_read(
        &self,
        _: &Digest,
    ) -> castore_core::Result<Option<castore_core::BlobReader>> {
        Ok(None)
    }

    async fn open_write(&self) -> castore_core::Result<castore_core::BlobWriter> {
        Ok(castore_core::BlobWriter::new(StuckSink))
    }
}

struct StuckSink;

#[async_trait::async_trait]
impl castore_core::BlobSink for StuckSink {
    async fn write(&mut self, _: Bytes) -> castore_core::Result<()> {
        std::future::pending().await
    }

    async fn close(&mut self) -> castore_core::Result<Digest> {
        std::future::pending().await
    }
}

#[tokio::test]
async fn a_body_is_taken_no_faster_than_the_service_takes_it() {
    let taken = Arc::new(AtomicUsize::new(0));
    let counter = taken.clone();
    let pieces = stream::repeat_with(move || {
        counter.fetch_add(1, Ordering::Relaxed);
        Ok::<_, Infallible>(Bytes::from(vec![7; 256 * 1024]))
    });
    let body = Body::from_stream(pieces.take(1000));
    let request = Request::post("/blobs").body(body).unwrap();
    let mut response = Box::pin(gateway(Stuck).oneshot(request));
    for _ in 0..100 {
        assert!((&mut response).now_or_never().is_none());
    }
    // One piece is with the sink, and one waits for it.
    let taken = taken.load(Ordering::Relaxed);
    assert!((1..=3).contains(&taken), "{taken} pieces were taken");
}

#[tokio::test]
async fn a_mebibyte_of_an_unwanted_body_is_taken_and_no_more() {
    let service = MemoryBlobService::new();
    let known = service.put_bytes("known".into()).await.unwrap();
    let router = Gateway::new(Arc::new(service)).max_body(1 << 40).into_router();
    for (method, path, length, status) in [
        ("PUT", blob_path(known), "1000", 200),
        ("PUT", "/blobs/abc".into(), "1000", 400),
        ("POST", "/blobs".into(), "1099511627777", 413),
        ("POST", "/healthz".into(), "1000", 405),
    ] {
        for (headers, expected) in [
            (&[("content-length", length)][..], 16),
            (&[("content-length", length), ("expect", "100-continue")], 0),
        ] {
            let taken = Arc::new(AtomicUsize::new(0));
            let counter = taken.clone();
            let pieces = stream::repeat_with(move || {
                counter.fetch_add(1, Ordering::Relaxed);
                Ok::<_, Infallible>(Bytes::from(vec![7; 64 * 1024]))
            });
            let body = Body::from_stream(pieces.take(100));
            let answer = send(&router, method, &path, headers, body).await;
            assert_eq!(answer.status, status);
            assert_eq!(taken.load(Ordering::Relaxed), expected, "{method} {path}");
        }
    }
}

#[tokio::test]
async fn a_body_is_not_polled_after_its_end() {
    // Such a stream panics when it is polled again.
    let pieces = stream::unfold(3, |left| async move {
        (left > 0).then(|| (Ok::<_, Infallible>(Bytes::from_static(b"abc")), left - 1))
    });
    let router = gateway(MemoryBlobService::new());
    let answer = send(&router, "POST", "/blobs", &[], Body::from_stream(pieces)).await;
    assert_eq!(answer.text(), format!("{}\n", Digest::of(b"abcabcabc")));
}
