//! Stores that other implementations have written, and what they will find in ours.

use std::path::PathBuf;
use std::sync::Arc;

use bytes::Bytes;
use castore_core::{BlobService, ChunkMeta, Digest, ErrorKind};
use castore_objstore::ObjectStoreBlobService;
use futures_util::TryStreamExt;
use object_store::memory::InMemory;

use crate::support::{MIB, blob_path, object, oracle, put, random, read, service};

fn fixture(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures").join(name)
}

/// The blobs of the fixtures: see their README.
fn blobs() -> Vec<Bytes> {
    let numbers: String = (0..200_000).map(|number| format!("{number}\n")).collect();
    vec![
        Bytes::new(),
        Bytes::from_static(b"Hello World"),
        random("castore fixture small", 100_000),
        random("castore fixture large", 1_500_000),
        numbers.into(),
    ]
}

#[tokio::test]
async fn stores_of_others_read_back_whole() {
    for name in ["original", "later"] {
        let service = ObjectStoreBlobService::local(fixture(name)).build().unwrap();
        for blob in blobs() {
            let digest = Digest::of(&blob);
            assert!(service.has(&digest).await.unwrap(), "{name} {digest}");
            let read = read(&service, &digest).await.unwrap().unwrap();
            assert!(read == blob, "{name} {digest}");
            let index = service.chunks(&digest).await.unwrap().unwrap();
            assert_eq!(index.size(), blob.len() as u64);
            let chunks: Vec<Digest> = index.iter().map(|chunk| chunk.digest).collect();
            assert_eq!(chunks, oracle(&blob), "{name} {digest}");
        }
        let mut listed: Vec<Digest> = service.list().try_collect().await.unwrap();
        listed.sort();
        let mut expected: Vec<Digest> = blobs().iter().map(|blob| Digest::of(blob)).collect();
        expected.sort();
        assert_eq!(listed, expected);
    }
}

#[tokio::test]
async fn a_chunk_can_be_addressed_as_a_blob() {
    let service = ObjectStoreBlobService::local(fixture("original")).build().unwrap();
    let large = random("castore fixture large", 1_500_000);
    let index = service.chunks(&Digest::of(&large)).await.unwrap().unwrap();
    for (number, ChunkMeta { digest, size }) in index.iter().enumerate() {
        assert!(service.has(&digest).await.unwrap());
        let range = index.chunk_range(number).unwrap();
        let expected = &large[range.start as usize..range.end as usize];
        assert!(read(&service, &digest).await.unwrap().unwrap() == expected);
        assert_eq!(service.chunks(&digest).await.unwrap().unwrap().size(), size);
    }
}

#[tokio::test]
async fn our_indexes_are_those_of_the_original_writer() {
    let store = Arc::new(InMemory::new());
    let service = service(store.clone());
    for blob in blobs() {
        let digest = put(&service, &blob).await.unwrap();
        let path = blob_path(&digest);
        let theirs = std::fs::read(fixture("original").join(path.as_ref())).unwrap();
        assert_eq!(object(&*store, &path).await, theirs, "{digest}");
    }
}

#[tokio::test]
async fn the_other_writer_s_empty_index_is_known_and_completed() {
    // A copy of the store in which a small blob has an index without entries.
    let store = Arc::new(InMemory::new());
    let service = service(store.clone());
    let small = random("castore fixture small", 100_000);
    let digest = put(&service, &small).await.unwrap();
    use object_store::ObjectStoreExt;
    store.put(&blob_path(&digest), Bytes::new().into()).await.unwrap();
    assert!(read(&service, &digest).await.unwrap().unwrap() == small);
    put(&service, &small).await.unwrap();
    assert_eq!(service.stats().chunks_new, 1);
    assert!(read(&service, &digest).await.unwrap().unwrap() == small);
}

#[tokio::test]
async fn list_find_and_remove() {
    let service = service(Arc::new(InMemory::new()));
    let blobs = [random("a", 1000), random("b", 2 * MIB)];
    for blob in &blobs {
        put(&service, blob).await.unwrap();
    }
    let digest = Digest::of(&blobs[1]);
    let hex = digest.to_string();
    for length in [4, 8, 64] {
        assert_eq!(service.find(&hex[..length]).await.unwrap(), [digest]);
    }
    assert_eq!(service.find(&hex[..8].to_uppercase()).await.unwrap(), [digest]);
    for bad in ["abc", "xyzt", &"a".repeat(65)] {
        assert_eq!(service.find(bad).await.unwrap_err().kind(), ErrorKind::InvalidInput);
    }
    assert!(service.remove(&digest).await.unwrap());
    assert!(!service.remove(&digest).await.unwrap());
    assert!(!service.has(&digest).await.unwrap());
    assert_eq!(service.find(&hex).await.unwrap(), []);
    let listed: Vec<Digest> = service.list().try_collect().await.unwrap();
    assert_eq!(listed, [Digest::of(&blobs[0])]);
    service.check().await.unwrap();
}
