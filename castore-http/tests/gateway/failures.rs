//! Errors of the service, before and in the middle of a body.

use std::error::Error as StdError;
use std::sync::Arc;

use axum::body::Body;
use axum::http::Request;
use castore_core::{Digest, Error, ErrorKind};
use futures_util::StreamExt;
use tower::ServiceExt;

use crate::support::{
    Breaking, Broken, Connection, Server, ask, blob_path, gateway, get, noise, request,
};

const KINDS: [(ErrorKind, u16, &str); 7] = [
    (ErrorKind::Corrupt, 500, "the stored blob is damaged: no luck"),
    (ErrorKind::Unavailable, 503, "the store is not available: no luck"),
    (ErrorKind::StoreNotFound, 503, "the store does not exist: no luck"),
    (ErrorKind::PermissionDenied, 502, "the store refuses the gateway: no luck"),
    (ErrorKind::InvalidInput, 400, "the store cannot accept this: no luck"),
    (ErrorKind::Unsupported, 501, "the store cannot do this: no luck"),
    (ErrorKind::Other, 500, "the store failed: no luck"),
];

fn error(kind: ErrorKind) -> Error {
    let source = std::io::Error::other("SECRET of /var/lib");
    Error::new(kind, "operate", "no\nluck").with_source(source)
}

#[tokio::test]
async fn every_kind_of_error_has_its_status_on_every_route() {
    let digest = Digest::of(b"any");
    for (kind, status, line) in KINDS {
        let broken = |only_close| gateway(Broken { error: error(kind), only_close });
        for (method, path, only_close) in [
            ("GET", blob_path(digest), false),
            ("PUT", blob_path(digest), false),
            ("PUT", blob_path(digest), true),
            ("POST", "/blobs".into(), false),
            ("POST", "/blobs".into(), true),
            ("GET", format!("/blobs/{digest}/chunks"), false),
            ("GET", format!("/blobs/{digest}/outboard"), false),
        ] {
            let request = Request::builder().method(method).uri(&path);
            let request = request.body(Body::from("any")).unwrap();
            let answer = ask(&broken(only_close), request).await;
            assert_eq!(answer.line(status), line, "{method} {path}");
            let retry_after = (kind == ErrorKind::Unavailable).then_some("5");
            assert_eq!(answer.header("retry-after"), retry_after);
        }
        let head = ask(&broken(false), request("HEAD", &blob_path(digest), &[])).await;
        assert_eq!((head.status.as_u16(), head.body.len()), (status, 0));
        let headers = [("if-none-match", "*")];
        get(&broken(false), &blob_path(digest), &headers).await.line(status);
    }
}

#[tokio::test]
async fn the_error_itself_is_there_for_the_servers_own_log() {
    let router = gateway(Broken { error: error(ErrorKind::Other), only_close: false });
    let request = request("GET", &blob_path(Digest::of(b"any")), &[]);
    let response = router.oneshot(request).await.unwrap();
    let found = response.extensions().get::<Error>().unwrap();
    let source = found.source().unwrap();
    assert_eq!(source.to_string(), "SECRET of /var/lib");
}

#[tokio::test]
async fn damage_at_the_first_byte_is_a_clean_failure() {
    let blob = noise(300_000);
    let router = gateway(Breaking::new(blob.clone(), 0));
    for headers in [&[][..], &[("range", "bytes=7-")]] {
        let answer = get(&router, &blob_path(Digest::of(&blob)), headers).await;
        assert_eq!(answer.line(500), "the stored blob is damaged: it is torn");
        assert_eq!((answer.header("etag"), answer.header("repr-digest")), (None, None));
    }
}

#[tokio::test]
async fn damage_in_the_middle_is_an_error_of_the_body() {
    let blob = noise(300_000);
    let router = gateway(Breaking::new(blob.clone(), 200_000));
    let request = request("GET", &blob_path(Digest::of(&blob)), &[]);
    let response = router.oneshot(request).await.unwrap();
    assert_eq!(response.status(), 200);
    let mut body = response.into_body().into_data_stream();
    let mut read = Vec::new();
    let failure = loop {
        match body.next().await.expect("the body ended as if it were complete") {
            Ok(piece) => read.extend_from_slice(&piece),
            Err(failure) => break failure,
        }
    };
    assert!(read.len() < 200_000 && blob.starts_with(&read));
    // Layers that log failures of bodies find the error of the service below those of axum.
    let mut error: &dyn StdError = &failure;
    while !error.is::<Error>() {
        error = error.source().unwrap();
    }
    let error = error.downcast_ref::<Error>().unwrap();
    assert_eq!(error.kind(), ErrorKind::Corrupt);
}

#[tokio::test]
async fn damage_in_the_middle_breaks_the_connection_off() {
    let blob = noise(1_000_000);
    let service = Breaking::new(blob.clone(), 500_000);
    let server = Server::start(gateway(service)).await;
    let path = blob_path(Digest::of(&blob));
    for (range, status, length, start) in [
        ("", 200, 1_000_000, 0),
        ("Range: bytes=0-\r\n", 206, 1_000_000, 0),
        ("Range: bytes=100000-899999\r\n", 206, 800_000, 100_000),
    ] {
        let mut connection: Connection = server.connect().await;
        let request = format!("GET {path} HTTP/1.1\r\nHost: a\r\n{range}\r\n");
        connection.send(request.as_bytes()).await;
        let (found, headers) = connection.head().await.unwrap();
        assert_eq!(found, status);
        assert_eq!(headers["content-length"].to_str().unwrap(), length.to_string());
        // `rest` returns only because the server closes: without that, it would run out of time.
        let body = connection.rest().await;
        assert!(body.len() < 500_000, "{}", body.len());
        assert!(blob[start..].starts_with(&body));
    }
    // Ranges before the damage are whole.
    let request = format!("GET {path} HTTP/1.1\r\nHost: a\r\nRange: bytes=9-300000\r\n\r\n");
    let answer = server.answer(request.as_bytes()).await;
    assert!(answer.status == 206 && answer.body == blob[9..=300_000]);
}

#[tokio::test]
async fn a_service_behind_a_pointer_is_served_as_well() {
    let blob = noise(1000);
    let service: Arc<dyn castore_core::BlobService> = Arc::new(Breaking::new(blob.clone(), 9999));
    let router = castore_http::Gateway::new(service).into_router();
    assert_eq!(get(&router, &blob_path(Digest::of(&blob)), &[]).await.body, blob);
}
