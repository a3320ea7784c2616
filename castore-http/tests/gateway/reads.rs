//! Whole blobs, the headers of every answer, and paths that name no blob.

use std::sync::atomic::Ordering;

use castore_core::Digest;
use futures_util::StreamExt;
use tower::ServiceExt;

use crate::support::{
    Answer, Breaking, Server, ask, blob_path, gateway, gateway_with, get, noise, request,
};

const HELLO: &str = "41f8394111eb713a22165c46c90ab8f0fd9399c92028fd6d288944b23ff5bf76";

#[tokio::test]
async fn a_blob_comes_with_every_header() {
    let router = gateway_with(&["Hello World".into()]).await;
    let answer = get(&router, &format!("/blobs/{HELLO}"), &[]).await;
    assert_eq!((answer.status.as_u16(), answer.text()), (200, "Hello World"));
    let tag = format!("\"{HELLO}\"");
    let disposition = format!("attachment; filename=\"{HELLO}\"");
    let expected = [
        ("accept-ranges", "bytes"),
        ("cache-control", "public, max-age=31536000, immutable"),
        ("content-disposition", &disposition),
        ("content-length", "11"),
        ("content-security-policy", "sandbox"),
        ("content-type", "application/octet-stream"),
        ("etag", &tag),
        ("repr-digest", "blake3=:Qfg5QRHrcToiFlxGyQq48P2TmckgKP1tKIlEsj/1v3Y=:"),
        ("x-content-type-options", "nosniff"),
    ];
    assert_eq!(sorted(&answer), expected.map(|(name, value)| (name.into(), value.into())));
}

fn sorted(answer: &Answer) -> Vec<(String, String)> {
    let headers = answer.headers.iter().filter(|(name, _)| *name != "date");
    let mut headers: Vec<(String, String)> = headers
        .map(|(name, value)| (name.to_string(), value.to_str().unwrap().to_owned()))
        .collect();
    headers.sort();
    headers
}

#[tokio::test]
async fn blobs_of_every_size_come_whole() {
    for size in [0, 1, 1000, 256 * 1024, 256 * 1024 + 1, 3_000_000] {
        let blob = noise(size);
        let router = gateway_with(std::slice::from_ref(&blob)).await;
        let answer = get(&router, &blob_path(Digest::of(&blob)), &[]).await;
        assert_eq!(answer.status, 200);
        assert!(answer.body == blob, "{size}");
        assert_eq!(answer.header("content-length"), Some(&*size.to_string()));
    }
}

#[tokio::test]
async fn head_has_the_headers_of_get_and_no_body() {
    let blob = noise(700_000);
    let router = gateway_with(std::slice::from_ref(&blob)).await;
    for digest in [Digest::of(&blob), Digest::EMPTY] {
        let path = blob_path(digest);
        let full = get(&router, &path, &[]).await;
        // A range is of no account for HEAD.
        for headers in [&[][..], &[("range", "bytes=0-4")]] {
            let head = ask(&router, request("HEAD", &path, headers)).await;
            assert_eq!((head.status.as_u16(), head.body.len()), (200, 0));
            assert_eq!(sorted(&head), sorted(&full));
        }
    }
    for (path, status) in [(format!("/blobs/{HELLO}"), 404), ("/blobs/x".into(), 400)] {
        let full = get(&router, &path, &[]).await;
        let head = ask(&router, request("HEAD", &path, &[])).await;
        assert_eq!((head.status.as_u16(), head.body.len()), (status, 0));
        assert_eq!(sorted(&head), sorted(&full));
    }
}

#[tokio::test]
async fn head_over_tcp_has_no_body_and_leaves_the_connection_usable() {
    let blob = noise(100_000);
    let server = Server::start(gateway_with(std::slice::from_ref(&blob)).await).await;
    let mut connection = server.connect().await;
    let path = blob_path(Digest::of(&blob));
    for _ in 0..2 {
        connection.send(format!("HEAD {path} HTTP/1.1\r\nHost: a\r\n\r\n").as_bytes()).await;
        let (status, headers) = connection.head().await.unwrap();
        assert_eq!((status.as_u16(), headers["content-length"].to_str().unwrap()), (200, "100000"));
        let tag = format!("\"{}\"", Digest::of(&blob));
        let condition = format!("If-None-Match: {tag}\r\n");
        for method in ["HEAD", "GET"] {
            let request = format!("{method} {path} HTTP/1.1\r\nHost: a\r\n{condition}\r\n");
            connection.send(request.as_bytes()).await;
            let (status, headers) = connection.head().await.unwrap();
            assert_eq!((status.as_u16(), headers["etag"].to_str().unwrap()), (304, &*tag));
            // Another length than that of a 200 would be a lie; hyper leaves it out of some.
            assert!(headers.get("content-length").is_none_or(|length| length == "100000"));
        }
    }
    connection.send(format!("GET {path} HTTP/1.1\r\nHost: a\r\n\r\n").as_bytes()).await;
    assert!(connection.answer().await.body == blob);
}

#[tokio::test]
async fn an_absent_blob_is_not_found_and_not_cached() {
    let router = gateway_with(&[]).await;
    let answer = get(&router, &format!("/blobs/{HELLO}"), &[("range", "bytes=0-1")]).await;
    assert_eq!(answer.line(404), format!("there is no blob {HELLO}"));
    assert_eq!(answer.header("etag"), None);
}

#[tokio::test]
async fn a_path_that_names_no_digest_is_a_bad_request() {
    let router = gateway_with(&["Hello World".into()]).await;
    for (name, part) in [
        (HELLO.to_uppercase(), "lower case"),
        (HELLO.replace("eb", "Eb"), "lower case"),
        (HELLO[1..].into(), "63"),
        (format!("{HELLO}0"), "65"),
        (HELLO.replace('4', "g"), "'g' at position 0"),
        ("..".into(), "'.' at position 0"),
        ("%2e%2e%2fhealthz".into(), "'.' at position 0"),
        ("%00".into(), "'\\0' at position 0"),
        ("%0a%0d".into(), "'\\n' at position 0"),
        ("%ff".into(), "UTF-8"),
        ("%3Cscript%3E".into(), "'<' at position 0"),
    ] {
        for (method, rest) in [("GET", ""), ("PUT", ""), ("GET", "/chunks"), ("GET", "/outboard")] {
            let path = format!("/blobs/{name}{rest}");
            let answer = ask(&router, request(method, &path, &[])).await;
            assert!(answer.line(400).contains(part), "{path}: {}", answer.text());
        }
    }
    // The escaped form of a digit is the digit.
    let escaped = format!("/blobs/%34{}", &HELLO[1..]);
    assert_eq!(get(&router, &escaped, &[]).await.text(), "Hello World");
}

#[tokio::test]
async fn dots_lead_nowhere() {
    let server = Server::start(gateway_with(&["Hello World".into()]).await).await;
    for (path, status) in [
        ("/blobs/..", 400),
        ("/blobs/../healthz", 404),
        ("/blobs/../../etc/passwd", 404),
        ("/blobs/%2e%2e%2fhealthz", 400),
        ("/blobs//", 404),
        ("/../blobs", 404),
    ] {
        let request = format!("GET {path} HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n");
        let answer = server.answer(request.as_bytes()).await;
        assert_eq!(answer.status, status, "{path}");
    }
}

#[tokio::test]
async fn a_body_is_read_no_faster_than_it_is_taken() {
    let blob = noise(4 << 20);
    let service = Breaking::new(blob.clone(), u64::MAX);
    let given = service.given.clone();
    let request = request("GET", &blob_path(Digest::of(&blob)), &[]);
    let response = gateway(service).oneshot(request).await.unwrap();
    let mut body = response.into_body().into_data_stream();
    let mut taken = 0;
    assert!(given.load(Ordering::Relaxed) <= 128 * 1024, "the first piece is read at once");
    while let Some(piece) = body.next().await {
        let piece = piece.unwrap();
        assert_eq!(piece, blob[taken..taken + piece.len()]);
        taken += piece.len();
        let ahead = given.load(Ordering::Relaxed) - taken as u64;
        assert!(ahead <= 128 * 1024, "{ahead} bytes were read ahead");
    }
    assert_eq!(taken, blob.len());
}
