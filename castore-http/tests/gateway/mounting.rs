//! The gateway in a server of the user's own, its methods, and the mode that only reads.

use std::sync::Arc;

use axum::Router;
use axum::body::Body;
use axum::routing::get as route_get;
use castore_core::{BlobService, Digest, MemoryBlobService};
use castore_http::Gateway;

use crate::support::{ask, blob_path, gateway_with, get, request};

const DATA: &[u8] = b"Hello World";

#[tokio::test]
async fn other_methods_are_refused_with_those_that_are_allowed() {
    let router = gateway_with(&[DATA.into()]).await;
    let blob = blob_path(Digest::of(DATA));
    for (path, allow) in [
        (blob.clone(), "GET,HEAD,PUT"),
        ("/blobs/not-a-digest".into(), "GET,HEAD,PUT"),
        ("/blobs".into(), "POST"),
        (format!("{blob}/chunks"), "GET,HEAD"),
        (format!("{blob}/outboard"), "GET,HEAD"),
        ("/healthz".into(), "GET,HEAD"),
    ] {
        for method in ["DELETE", "PATCH", "OPTIONS", "TRACE", "BREW"] {
            let answer = ask(&router, request(method, &path, &[])).await;
            let expected = format!("the method {method} is not allowed here");
            assert_eq!(answer.line(405), expected);
            assert_eq!(answer.header("allow"), Some(allow), "{method} {path}");
        }
    }
    assert!(get(&router, "/blobs", &[]).await.line(405).contains("GET"));
}

#[tokio::test]
async fn a_gateway_that_only_reads_refuses_uploads() {
    let service = MemoryBlobService::new();
    let digest = service.put_bytes(DATA.into()).await.unwrap();
    let router = Gateway::new(Arc::new(service.clone())).read_only(true).into_router();
    let new = Digest::of(b"new");
    // `Allow` is present and empty where no method is left.
    for (method, path, allow) in [
        ("PUT", blob_path(new), "GET,HEAD"),
        ("PUT", blob_path(digest), "GET,HEAD"),
        ("POST", "/blobs".into(), ""),
    ] {
        let request = axum::http::Request::builder().method(method).uri(&path);
        let answer = ask(&router, request.body(Body::from("new")).unwrap()).await;
        assert_eq!(answer.line(405), "this gateway only reads");
        assert_eq!(answer.header("allow"), Some(allow));
    }
    assert!(!service.has(&new).await.unwrap());
    assert_eq!(get(&router, &blob_path(digest), &[]).await.body, DATA);
    let again = Gateway::new(Arc::new(service)).read_only(true).read_only(false).into_router();
    let put = axum::http::Request::put(blob_path(new)).body(Body::from("new")).unwrap();
    assert_eq!(ask(&again, put).await.status, 201);
}

#[tokio::test]
async fn the_gateway_lives_below_a_path_and_beside_other_routes() {
    let service = Arc::new(MemoryBlobService::new());
    let gateway = Gateway::new(service.clone());
    let app: Router = Router::new()
        .route("/", route_get(|| async { "mine" }))
        .nest("/of/{tenant}", gateway.clone().into_router())
        .merge(gateway.into_router())
        .fallback(|| async { "my fallback" });
    let digest = service.put_bytes(DATA.into()).await.unwrap();
    assert_eq!(get(&app, "/", &[]).await.text(), "mine");
    assert_eq!(get(&app, "/nowhere", &[]).await.text(), "my fallback");
    for prefix in ["", "/of/me"] {
        let path = format!("{prefix}/blobs/{digest}");
        assert_eq!(get(&app, &path, &[]).await.body, DATA);
        let refused = ask(&app, request("DELETE", &path, &[])).await;
        refused.line(405);
        assert_eq!(refused.header("allow"), Some("GET,HEAD,PUT"));
        let body = Body::from(format!("from {prefix}"));
        let uri = format!("{prefix}/blobs");
        let answer = ask(&app, axum::http::Request::post(uri).body(body).unwrap()).await;
        assert_eq!(answer.status, 201);
        let location = answer.header("location").unwrap();
        assert_eq!(location, format!("{prefix}/blobs/{}", answer.text().trim_end()));
        assert_eq!(get(&app, location, &[]).await.text(), format!("from {prefix}"));
    }
}

#[test]
fn the_settings_are_shown_by_debug() {
    let gateway = Gateway::new(Arc::new(MemoryBlobService::new())).max_body(7).read_only(true);
    let shown = format!("{gateway:?}");
    assert!(shown.contains("read_only: true") && shown.contains("max_body: 7"), "{shown}");
    assert_eq!(Gateway::DEFAULT_MAX_BODY, 5 * 1024 * 1024 * 1024);
}
