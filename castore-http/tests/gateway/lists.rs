//! The chunks of a blob, its outboard, and `/healthz`.

use axum::http::header;
use castore_core::groups::GroupHashes;
use castore_core::{BlobIndex, BlobService, ChunkMeta, Digest, MemoryBlobService};
use futures_util::TryStreamExt;
use serde_json::Value;
use tower::ServiceExt;

use crate::support::{Broken, Listed, ask, gateway, gateway_with, get, noise, request};

/// Asserts that the JSON lists the chunks of the index.
fn assert_lists(json: &[u8], index: &BlobIndex) {
    let json: Value = serde_json::from_slice(json).unwrap();
    let mut names: Vec<&String> = json.as_object().unwrap().keys().collect();
    names.sort();
    assert_eq!(names, ["chunks", "digest", "size"]);
    assert_eq!(json["digest"], index.digest().to_string());
    assert_eq!(json["size"], index.size());
    let chunks = json["chunks"].as_array().unwrap();
    assert_eq!(chunks.len(), index.len());
    for (found, chunk) in chunks.iter().zip(index.iter()) {
        let expected = serde_json::json!({"digest": chunk.digest.to_string(), "size": chunk.size});
        assert_eq!(*found, expected);
    }
}

#[tokio::test]
async fn chunks_are_listed_in_order() {
    for size in [0, 1, 256 * 1024, 1_000_000] {
        let blob = noise(size);
        let service = MemoryBlobService::new();
        let digest = service.put_bytes(blob).await.unwrap();
        let index = service.chunks(&digest).await.unwrap().unwrap();
        let answer = get(&gateway(service), &format!("/blobs/{digest}/chunks"), &[]).await;
        assert_eq!(answer.status, 200);
        assert_eq!(answer.header("content-type"), Some("application/json"));
        assert_eq!(answer.header("cache-control"), Some("no-cache"));
        assert_eq!(answer.header("x-content-type-options"), Some("nosniff"));
        assert_lists(&answer.body, &index);
    }
    let one = gateway_with(&["Hello World".into()]).await;
    let digest = Digest::of(b"Hello World");
    let answer = get(&one, &format!("/blobs/{digest}/chunks"), &[]).await;
    let chunk = format!("\"digest\":\"{digest}\",\"size\":11");
    assert_eq!(answer.text(), format!("{{{chunk},\"chunks\":[{{{chunk}}}]}}\n"));
}

#[tokio::test]
async fn a_long_list_comes_in_small_pieces() {
    for count in [639, 640, 641, 1280, 50_000_u64] {
        let chunk = |number: u64| ChunkMeta {
            digest: Digest::of(&number.to_le_bytes()),
            size: number % 99_999 + 1,
        };
        let index = BlobIndex::new(Digest::of(b"long"), (0..count).map(chunk)).unwrap();
        let path = format!("/blobs/{}/chunks", index.digest());
        let router = gateway(Listed(index.clone()));
        let response = router.oneshot(request("GET", &path, &[])).await.unwrap();
        let body = response.into_body().into_data_stream();
        let pieces: Vec<bytes::Bytes> = body.try_collect().await.unwrap();
        assert!(pieces.iter().all(|piece| !piece.is_empty() && piece.len() <= 128 * 1024));
        assert_lists(&pieces.concat(), &index);
    }
}

#[tokio::test]
async fn the_outboard_is_that_of_the_group_hashes() {
    for size in [0, 1, 256 * 1024, 256 * 1024 + 1, 3_000_000] {
        let blob = noise(size);
        let router = gateway_with(std::slice::from_ref(&blob)).await;
        let path = format!("/blobs/{}/outboard", Digest::of(&blob));
        let answer = get(&router, &path, &[]).await;
        let nodes: Vec<u8> = GroupHashes::of(&blob).outboard().flatten().flatten().collect();
        assert_eq!((answer.status.as_u16(), &answer.body[..]), (200, &nodes[..]), "{size}");
        assert_eq!(nodes.len(), 64 * (size.div_ceil(256 * 1024)).saturating_sub(1));
        assert_eq!(answer.header("content-length"), Some(&*nodes.len().to_string()));
        assert_eq!(answer.header("content-type"), Some("application/octet-stream"));
        assert_eq!(answer.header("x-content-type-options"), Some("nosniff"));
        let cache = Some("public, max-age=31536000, immutable");
        assert_eq!(answer.header("cache-control"), cache);
        let name = format!("attachment; filename=\"{}.outboard\"", Digest::of(&blob));
        assert_eq!(answer.header("content-disposition"), Some(&*name));
        let head = ask(&router, request("HEAD", &path, &[])).await;
        assert_eq!((head.headers, head.body.len()), (answer.headers, 0));
    }
}

#[tokio::test]
async fn a_long_outboard_comes_in_pieces() {
    // 1,026 groups, and so one node more than a piece has.
    let size = 1026 * 256 * 1024_u64;
    let values = (0..1026_u64).map(|number| *Digest::of(&number.to_le_bytes()).as_bytes());
    let values: Vec<[u8; 32]> = values.collect();
    // The list decides on the digest: a wrong one is refused with the right one.
    let error = GroupHashes::new(Digest::EMPTY, size, values.clone()).unwrap_err();
    let castore_core::groups::GroupsError::OtherBlob(digest) = error else { panic!("{error}") };
    let hashes = GroupHashes::new(digest, size, values).unwrap();
    let chunks = (0..1026).map(|number: u64| {
        let digest = Digest::of(&number.to_be_bytes());
        ChunkMeta { digest, size: 256 * 1024 }
    });
    let index = BlobIndex::new(digest, chunks).unwrap().with_groups(hashes.clone()).unwrap();
    let router = gateway(Listed(index));
    let request = request("GET", &format!("/blobs/{digest}/outboard"), &[]);
    let response = router.oneshot(request).await.unwrap();
    assert_eq!(response.headers()[header::CONTENT_LENGTH], "65600");
    let pieces: Vec<bytes::Bytes> =
        response.into_body().into_data_stream().try_collect().await.unwrap();
    assert_eq!(pieces.iter().map(bytes::Bytes::len).collect::<Vec<_>>(), [65_536, 64]);
    let nodes: Vec<u8> = hashes.outboard().flatten().flatten().collect();
    assert_eq!(pieces.concat(), nodes);
}

#[tokio::test]
async fn an_index_without_group_hashes_has_no_outboard() {
    let blob = noise(300_000);
    let service = MemoryBlobService::new();
    let digest = service.put_bytes(blob).await.unwrap();
    let index = service.chunks(&digest).await.unwrap().unwrap().without_groups();
    let router = gateway(Listed(index));
    let answer = get(&router, &format!("/blobs/{digest}/outboard"), &[]).await;
    assert_eq!(answer.line(404), format!("the index of {digest} has no group hashes"));
}

#[tokio::test]
async fn an_absent_blob_has_no_lists() {
    let router = gateway_with(&[]).await;
    let digest = Digest::of(b"absent");
    for list in ["chunks", "outboard"] {
        let answer = get(&router, &format!("/blobs/{digest}/{list}"), &[]).await;
        assert_eq!(answer.line(404), format!("there is no blob {digest}"));
    }
}

#[tokio::test]
async fn health_does_not_depend_on_the_store() {
    let error = castore_core::Error::new(castore_core::ErrorKind::Unavailable, "test", "away");
    let router = gateway(Broken { error, only_close: false });
    let answer = get(&router, "/healthz", &[]).await;
    assert_eq!((answer.status.as_u16(), answer.text()), (200, "ok"));
    assert_eq!(answer.header("cache-control"), Some("no-store"));
    let head = ask(&router, request("HEAD", "/healthz", &[])).await;
    assert_eq!((head.status.as_u16(), head.body.len()), (200, 0));
}
