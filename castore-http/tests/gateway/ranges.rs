//! Ranges of a blob, compared with slices of it.

use axum::Router;
use bytes::Bytes;
use castore_core::Digest;
use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};

use crate::support::{Server, blob_path, gateway_with, get, noise};

/// The answer to a range, computed in another way than the gateway does: byte by byte.
fn expected(spec: &Spec, size: usize) -> Option<Vec<usize>> {
    let wanted = |at: &usize| match *spec {
        Spec::From(first) => *at as u64 >= first,
        Spec::Between(first, last) => (first..=last).contains(&(*at as u64)),
        Spec::Last(count) => ((size - at) as u64) <= count,
    };
    let bytes: Vec<usize> = (0..size).filter(wanted).collect();
    (!bytes.is_empty()).then_some(bytes)
}

#[derive(Debug, Clone)]
enum Spec {
    From(u64),
    Between(u64, u64),
    Last(u64),
}

impl Spec {
    fn header(&self) -> String {
        match self {
            Spec::From(first) => format!("bytes={first}-"),
            Spec::Between(first, last) => format!("bytes={first}-{last}"),
            Spec::Last(count) => format!("bytes=-{count}"),
        }
    }
}

fn specs(size: usize) -> impl Strategy<Value = Spec> {
    let size = size as u64;
    let near = prop_oneof![
        4 => 0..size + 3,
        2 => size.saturating_sub(3)..size + 3,
        1 => Just(u64::MAX),
        1 => 256 * 1024 - 2..256 * 1024 + 2_u64,
    ];
    let pairs = (near.clone(), near.clone());
    prop_oneof![
        near.clone().prop_map(Spec::From),
        pairs.prop_map(|(a, b)| Spec::Between(a.min(b), a.max(b))),
        near.prop_map(Spec::Last),
    ]
}

async fn check(router: &Router, blob: &Bytes, spec: &Spec) {
    let header = spec.header();
    let path = blob_path(Digest::of(blob));
    let answer = get(router, &path, &[("range", &header)]).await;
    let size = blob.len();
    match expected(spec, size) {
        Some(bytes) => {
            let (first, last) = (bytes[0], bytes[bytes.len() - 1]);
            assert_eq!(answer.status, 206, "{header} of {size}");
            let content_range = format!("bytes {first}-{last}/{size}");
            assert_eq!(answer.header("content-range"), Some(&*content_range));
            assert_eq!(answer.header("content-length"), Some(&*bytes.len().to_string()));
            assert!(answer.body == blob[first..=last], "{header} of {size}");
        }
        None => {
            answer.line(416);
            assert_eq!(answer.header("content-range"), Some(&*format!("bytes */{size}")));
        }
    }
}

#[test]
fn every_range_is_the_slice_of_the_blob() {
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    for size in [1, 2, 1000, 256 * 1024, 256 * 1024 + 1, 600_000] {
        let blob = noise(size);
        let router = runtime.block_on(gateway_with(std::slice::from_ref(&blob)));
        let mut runner = TestRunner::new(Config { cases: 100, ..Config::default() });
        let result = runner.run(&specs(size), |spec| {
            runtime.block_on(check(&router, &blob, &spec));
            Ok(())
        });
        result.unwrap();
    }
}

#[tokio::test]
async fn a_part_has_the_headers_of_the_whole() {
    let blob = noise(1000);
    let router = gateway_with(std::slice::from_ref(&blob)).await;
    let path = blob_path(Digest::of(&blob));
    let whole = get(&router, &path, &[]).await;
    // A range of all bytes is a part as well.
    for range in ["bytes=0-", "bytes=0-999", "bytes=-1000", "bytes=5-6"] {
        let mut part = get(&router, &path, &[("range", range)]).await;
        assert_eq!(part.status, 206);
        part.headers.remove("content-range").unwrap();
        let mut headers = whole.headers.clone();
        headers.insert("content-length", part.body.len().to_string().parse().unwrap());
        assert_eq!(part.headers, headers);
    }
}

#[tokio::test]
async fn several_and_malformed_ranges_give_the_whole() {
    let blob = noise(1000);
    let router = gateway_with(std::slice::from_ref(&blob)).await;
    let path = blob_path(Digest::of(&blob));
    let hundred_and_one = format!("bytes={}", ["0-1"; 101].join(","));
    for range in [
        "bytes=0-1,5-6",
        "bytes=0-1,0-1",
        "bytes=2000-,0-1",
        &hundred_and_one,
        "bytes=6-5",
        "bytes=x-5",
        "items=0-5",
        "0-5",
        "",
    ] {
        let answer = get(&router, &path, &[("range", range)]).await;
        assert_eq!((answer.status.as_u16(), answer.body == blob), (200, true), "{range}");
        assert_eq!(answer.header("content-range"), None);
    }
    let twice = [("range", "bytes=0-1"), ("range", "bytes=0-1")];
    assert_eq!(get(&router, &path, &twice).await.status, 200);
}

#[tokio::test]
async fn the_empty_blob_has_no_range() {
    let router = gateway_with(&[]).await;
    let path = blob_path(Digest::EMPTY);
    for range in ["bytes=0-", "bytes=0-0", "bytes=1-2", "bytes=-0"] {
        let answer = get(&router, &path, &[("range", range)]).await;
        answer.line(416);
        assert_eq!(answer.header("content-range"), Some("bytes */0"), "{range}");
    }
    let answer = get(&router, &path, &[("range", "bytes=-5")]).await;
    assert_eq!((answer.status.as_u16(), answer.body.len()), (200, 0));
}

#[tokio::test]
async fn a_bomb_of_ranges_costs_one_blob_at_most() {
    let blob = noise(1000);
    let server = Server::start(gateway_with(std::slice::from_ref(&blob)).await).await;
    let path = blob_path(Digest::of(&blob));
    let bomb = "0-,".repeat(20_000);
    let request = format!("GET {path} HTTP/1.1\r\nHost: a\r\nRange: bytes={bomb}\r\n\r\n");
    let mut connection = server.connect().await;
    connection.send(request.as_bytes()).await;
    let answer = connection.answer().await;
    assert_eq!((answer.status.as_u16(), answer.body == blob), (200, true));
    // Nothing follows it.
    connection.end().await;
    assert_eq!(connection.rest().await, b"");
}
