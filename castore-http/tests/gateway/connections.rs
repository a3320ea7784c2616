//! Uploads over TCP: connections that are cut, and clients that wait for the server's word.

use std::sync::Arc;

use axum::Router;
use castore_core::{BlobService, Digest};
use castore_http::Gateway;

use crate::support::{Ended, Server, Watched, blob_path, gateway, noise};

/// The requests of an upload, with everything but its body.
fn head(method: &str, path: &str, headers: &str) -> Vec<u8> {
    format!("{method} {path} HTTP/1.1\r\nHost: a\r\n{headers}\r\n").into_bytes()
}

fn small(service: &Watched, max_body: u64) -> Router {
    Gateway::new(Arc::new(service.clone())).max_body(max_body).into_router()
}

#[tokio::test]
async fn a_cut_upload_stores_nothing_even_if_its_beginning_has_the_digest() {
    let (service, mut ended) = Watched::new();
    let server = Server::start(gateway(service.clone())).await;
    let begin = noise(200_000);
    let digest = Digest::of(&begin);
    for (method, path) in [("PUT", blob_path(digest)), ("POST", "/blobs".into())] {
        for chunked in [false, true] {
            for is_abrupt in [false, true] {
                let mut connection = server.connect().await;
                let headers = match chunked {
                    true => "Transfer-Encoding: chunked\r\n",
                    false => "Content-Length: 200001\r\n",
                };
                connection.send(&head(method, &path, headers)).await;
                if chunked {
                    connection.send(b"30d40\r\n").await;
                }
                connection.send(&begin).await;
                if chunked {
                    // All of the chunk, but not the last one of the body, which is empty.
                    connection.send(b"\r\n").await;
                }
                if is_abrupt {
                    drop(connection);
                } else {
                    connection.end().await;
                    let rest = connection.rest().await;
                    let rest = String::from_utf8(rest).unwrap();
                    assert!(rest.is_empty() || rest.starts_with("HTTP/1.1 400 "), "{rest}");
                }
                let end = ended.recv().await.unwrap();
                assert!(matches!(end, Ended::Aborted | Ended::Dropped), "{end:?}");
                assert!(!service.has(&digest).await.unwrap(), "{method} {chunked}");
            }
        }
    }
}

#[tokio::test]
async fn complete_uploads_of_both_framings_are_stored() {
    let (service, _ended) = Watched::new();
    let server = Server::start(gateway(service.clone())).await;
    let mut connection = server.connect().await;
    for (chunked, data) in [(false, b"plain data"), (true, b"some chunk")] {
        let digest = Digest::of(data);
        let headers = match chunked {
            true => "Transfer-Encoding: chunked\r\n",
            false => "Content-Length: 10\r\n",
        };
        connection.send(&head("PUT", &blob_path(digest), headers)).await;
        if chunked {
            connection.send(b"4\r\nsome\r\n6\r\n chunk\r\n").await;
            assert!(!service.has(&digest).await.unwrap());
            connection.send(b"0\r\n\r\n").await;
        } else {
            connection.send(data).await;
        }
        assert_eq!(connection.answer().await.status, 201);
        assert!(service.has(&digest).await.unwrap());
    }
}

#[tokio::test]
async fn a_client_that_asks_first_sends_no_body_of_a_known_blob() {
    let (service, mut ended) = Watched::new();
    let known = service.inner.put_bytes("known".into()).await.unwrap();
    let server = Server::start(gateway(service)).await;
    let headers = "Content-Length: 5\r\nExpect: 100-Continue\r\n";
    // No "100 Continue" comes before the answer.
    let answer = server.answer(&head("PUT", &blob_path(known), headers)).await;
    assert_eq!((answer.status.as_u16(), answer.text()), (200, &*format!("{known}\n")));
    assert!(ended.try_recv().is_err());
}

#[tokio::test]
async fn a_client_that_asks_first_is_told_to_send_a_new_blob() {
    let (service, _ended) = Watched::new();
    let server = Server::start(gateway(service.clone())).await;
    let digest = Digest::of(b"fresh");
    let headers = "Content-Length: 5\r\nExpect: 100-continue\r\n";
    for (method, path) in [("PUT", blob_path(digest)), ("POST", "/blobs".into())] {
        let mut connection = server.connect().await;
        connection.send(&head(method, &path, headers)).await;
        let (status, _) = connection.head().await.unwrap();
        assert_eq!(status, 100);
        connection.send(b"fresh").await;
        let expected = if method == "PUT" { 201 } else { 200 };
        assert_eq!(connection.answer().await.status, expected);
    }
    assert!(service.has(&digest).await.unwrap());
}

#[tokio::test]
async fn a_client_that_asks_first_is_refused_before_it_sends() {
    let (service, mut ended) = Watched::new();
    let server = Server::start(small(&service, 1000)).await;
    let digest = Digest::of(b"large");
    for (method, path, headers, status) in [
        ("PUT", blob_path(digest), "Content-Length: 1001\r\n", 413),
        ("PUT", blob_path(digest), "Content-Length: 9223372036854775807\r\n", 413),
        ("POST", "/blobs".into(), "Content-Length: 1001\r\n", 413),
        ("PUT", blob_path(digest), "Content-Length: 9\r\nContent-Encoding: br\r\n", 415),
        ("PUT", "/blobs/abc".into(), "Content-Length: 9\r\n", 400),
        ("POST", "/healthz".into(), "Content-Length: 9\r\n", 405),
    ] {
        let headers = format!("{headers}Expect: 100-continue\r\n");
        let answer = server.answer(&head(method, &path, &headers)).await;
        assert_eq!(answer.status, status, "{method} {path} {headers}");
    }
    assert!(ended.try_recv().is_err());
}

#[tokio::test]
async fn a_client_that_sends_before_it_reads_finds_the_answer() {
    let (service, mut ended) = Watched::new();
    let known = service.inner.put_bytes("known".into()).await.unwrap();
    let server = Server::start(small(&service, 2 << 20)).await;
    let mebibyte = vec![1; 1 << 20];
    for (method, path, length, status) in [
        // All of a known blob, and only the first part of a longer one, is read and dropped.
        ("PUT", blob_path(known), 1 << 20, 200),
        ("PUT", blob_path(known), 2 << 20, 200),
        ("PUT", blob_path(known), 3 << 20, 413),
        ("POST", "/blobs".into(), 1_u64 << 40, 413),
        ("POST", "/healthz".into(), 2 << 20, 405),
        ("PUT", "/blobs/abc".into(), 2 << 20, 400),
    ] {
        let mut connection = server.connect().await;
        connection.send(&head(method, &path, &format!("Content-Length: {length}\r\n"))).await;
        connection.send(&mebibyte).await;
        assert_eq!(connection.answer().await.status, status, "{method} {path} {length}");
        if length == 1 << 20 {
            // The connection is usable after a body that was read to its end.
            connection.send(&head("GET", "/healthz", "")).await;
            assert_eq!(connection.answer().await.text(), "ok");
        }
    }
    assert!(ended.try_recv().is_err());
}

#[tokio::test]
async fn lengths_that_are_no_lengths_store_nothing() {
    let (service, mut ended) = Watched::new();
    let server = Server::start(small(&service, u64::MAX)).await;
    for length in ["18446744073709551615", "18446744073709551616", "-1", "5, 6", "x", ""] {
        let mut connection = server.connect().await;
        let headers = format!("Content-Length: {length}\r\n");
        connection.send(&head("POST", "/blobs", &headers)).await;
        connection.send(b"bytes").await;
        connection.end().await;
        let rest = String::from_utf8(connection.rest().await).unwrap();
        assert!(rest.is_empty() || rest.starts_with("HTTP/1.1 4"), "{length}: {rest}");
    }
    // A length that a body could have, and never has.
    let mut connection = server.connect().await;
    connection.send(&head("POST", "/blobs", "Content-Length: 9223372036854775807\r\n")).await;
    connection.send(b"bytes").await;
    connection.end().await;
    connection.rest().await;
    assert_ne!(ended.recv().await, Some(Ended::Closed));
    assert!(!service.has(&Digest::of(b"bytes")).await.unwrap());
}

#[tokio::test]
async fn a_refused_body_leaves_the_connection_usable() {
    let (service, _ended) = Watched::new();
    let server = Server::start(gateway(service)).await;
    let mut connection = server.connect().await;
    for _ in 0..2 {
        let path = blob_path(Digest::of(b"other"));
        connection.send(&head("PUT", &path, "Content-Length: 5\r\n")).await;
        connection.send(b"bytes").await;
        connection.answer().await.line(422);
    }
    connection.send(&head("POST", "/blobs", "Content-Length: 5\r\n")).await;
    connection.send(b"bytes").await;
    assert_eq!(connection.answer().await.status, 201);
}
