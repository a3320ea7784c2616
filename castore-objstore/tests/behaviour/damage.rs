//! Stored data that is missing or wrong is `Corrupt`, and no byte of it is handed out.

use std::sync::Arc;

use bytes::Bytes;
use castore_core::{BlobIndex, BlobService, ChunkMeta, Digest, ErrorKind};
use castore_objstore::ObjectStoreBlobService;
use futures_util::StreamExt;
use object_store::ObjectStoreExt;
use object_store::memory::InMemory;
use object_store::path::Path;

use crate::support::{MIB, blob_path, chunk_path, object, put, random, read, service};

/// A store with a blob of several chunks and a blob of one.
struct Patient {
    store: Arc<InMemory>,
    service: ObjectStoreBlobService,
    large: Bytes,
    small: Bytes,
}

impl Patient {
    async fn new() -> Patient {
        let store = Arc::new(InMemory::new());
        let service = service(store.clone());
        let (large, small) = (random("large", 3 * MIB), random("small", 100_000));
        put(&service, &large).await.unwrap();
        put(&service, &small).await.unwrap();
        Patient { store, service, large, small }
    }

    async fn chunk(&self, number: usize) -> Digest {
        let index = self.service.chunks(&Digest::of(&self.large)).await.unwrap().unwrap();
        index.get(number).unwrap().digest
    }

    async fn replace(&self, path: &Path, object: impl Into<Bytes>) {
        self.store.put(path, object.into().into()).await.unwrap();
    }

    /// Reading fails, and what came before is right.
    async fn expect_corrupt(&self, data: &Bytes) {
        let reader = match self.service.open_read(&Digest::of(data)).await {
            Ok(reader) => reader.unwrap(),
            Err(error) => return assert_eq!(error.kind(), ErrorKind::Corrupt, "{error:?}"),
        };
        let mut pieces = reader.read_range(0..reader.size());
        let mut read = 0;
        loop {
            match pieces.next().await {
                Some(Ok(piece)) => {
                    assert!(data[read..].starts_with(&piece), "wrong bytes at {read}");
                    read += piece.len();
                }
                Some(Err(error)) => {
                    return assert_eq!(error.kind(), ErrorKind::Corrupt, "{error:?}");
                }
                None => panic!("read to the end"),
            }
        }
    }

    /// Damages a chunk of the large blob and the chunk of the small one.
    async fn damage_chunks(&self, damage: impl Fn(Bytes) -> Bytes) {
        for chunk in [self.chunk(2).await, Digest::of(&self.small)] {
            let path = chunk_path(&chunk);
            let damaged = damage(object(&*self.store, &path).await);
            self.replace(&path, damaged).await;
        }
        self.expect_corrupt(&self.large).await;
        self.expect_corrupt(&self.small).await;
    }

    /// Gives both blobs an index with these bytes.
    async fn damage_indexes(&self, bytes: &[u8]) {
        for data in [&self.large, &self.small] {
            let digest = Digest::of(data);
            self.replace(&blob_path(&digest), bytes.to_vec()).await;
            self.expect_corrupt(data).await;
            let error = self.service.chunks(&digest).await.unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Corrupt);
        }
    }
}

#[tokio::test]
async fn flipped_bit() {
    let patient = Patient::new().await;
    patient
        .damage_chunks(|object| {
            let mut object = object.to_vec();
            let middle = object.len() / 2;
            object[middle] ^= 4;
            object.into()
        })
        .await;
}

#[tokio::test]
async fn truncated_chunk() {
    for cut in [1, 1000] {
        let patient = Patient::new().await;
        patient.damage_chunks(|object| object.slice(..object.len() - cut)).await;
    }
}

#[tokio::test]
async fn empty_chunk_object_is_corrupt_and_stored_again() {
    let patient = Patient::new().await;
    patient.damage_chunks(|_| Bytes::new()).await;
    // By a service that does not know the chunk to be stored.
    let fresh = service(patient.store.clone());
    put(&fresh, &patient.large).await.unwrap();
    assert!(read(&fresh, &Digest::of(&patient.large)).await.unwrap().unwrap() == patient.large);
}

#[tokio::test]
async fn missing_chunk() {
    let patient = Patient::new().await;
    for chunk in [patient.chunk(2).await, Digest::of(&patient.small)] {
        patient.store.delete(&chunk_path(&chunk)).await.unwrap();
    }
    patient.expect_corrupt(&patient.large).await;
    patient.expect_corrupt(&patient.small).await;
}

#[tokio::test]
async fn chunk_of_another_digest_in_its_place() {
    let patient = Patient::new().await;
    let other = object(&*patient.store, &chunk_path(&patient.chunk(1).await)).await;
    patient.damage_chunks(|_| other.clone()).await;
}

#[tokio::test]
async fn zstd_bomb() {
    let patient = Patient::new().await;
    // 32 KiB that claim to be, and are, a gigabyte.
    let bomb = Bytes::from(zstd::bulk::compress(&vec![0; 1 << 30], 1).unwrap());
    assert!(bomb.len() < 200_000);
    patient.damage_chunks(|_| bomb.clone()).await;
    // And where nothing tells how large the chunk is.
    patient.store.delete(&blob_path(&Digest::of(&patient.small))).await.unwrap();
    patient.expect_corrupt(&patient.small).await;
}

#[tokio::test]
async fn garbage_index() {
    let patient = Patient::new().await;
    patient.damage_indexes(b"this is no index").await;
    patient.damage_indexes(&[0xff; 100]).await;
    patient.damage_indexes(&[0x12, 0x7f, 0x0a]).await;
}

#[tokio::test]
async fn index_with_an_empty_chunk() {
    let patient = Patient::new().await;
    patient.damage_indexes(&entry(&Digest::of(b"x"), 0)).await;
}

#[tokio::test]
async fn index_that_lists_its_own_digest() {
    let patient = Patient::new().await;
    let digest = Digest::of(&patient.large);
    let path = blob_path(&digest);
    let listed = [object(&*patient.store, &path).await, entry(&digest, 10).into()].concat();
    patient.replace(&path, listed).await;
    patient.expect_corrupt(&patient.large).await;
}

#[tokio::test]
async fn sizes_that_overflow() {
    let patient = Patient::new().await;
    let x = Digest::of(b"x");
    let huge = [entry(&x, u64::MAX), entry(&x, u64::MAX)].concat();
    patient.damage_indexes(&huge).await;
}

#[tokio::test]
async fn sizes_that_do_not_match() {
    for change in [-1, 1] {
        let patient = Patient::new().await;
        for data in [&patient.large, &patient.small] {
            let digest = Digest::of(data);
            let index = patient.service.chunks(&digest).await.unwrap().unwrap();
            let changed = index.iter().map(|ChunkMeta { digest, size }| ChunkMeta {
                digest,
                size: size.checked_add_signed(change).unwrap(),
            });
            let index = BlobIndex::new(digest, changed).unwrap();
            patient.replace(&blob_path(&digest), castore_proto::encode(&index)).await;
            patient.expect_corrupt(data).await;
        }
    }
}

#[tokio::test]
async fn index_of_another_blob() {
    let patient = Patient::new().await;
    let other = random("other", 2 * MIB);
    let digest = put(&patient.service, &other).await.unwrap();
    let index = object(&*patient.store, &blob_path(&digest)).await;
    let path = blob_path(&Digest::of(&patient.large));
    patient.replace(&path, index).await;
    // Its chunks are fine; only the whole tells. It must not come to its end.
    let reader = patient.service.open_read(&Digest::of(&patient.large)).await.unwrap().unwrap();
    let pieces: Vec<_> = reader.read_range(0..reader.size()).collect().await;
    let (last, before) = pieces.split_last().unwrap();
    assert_eq!(last.as_ref().unwrap_err().kind(), ErrorKind::Corrupt);
    let got: usize = before.iter().map(|piece| piece.as_ref().unwrap().len()).sum();
    assert!(got < other.len());
    // An index of another size is not this blob's, so storing it again mends it.
    put(&patient.service, &patient.large).await.unwrap();
    let digest = Digest::of(&patient.large);
    assert!(read(&patient.service, &digest).await.unwrap().unwrap() == patient.large);
}

/// One entry of an index, put together by hand.
fn entry(digest: &Digest, mut size: u64) -> Vec<u8> {
    let mut entry = vec![0x0a, 32];
    entry.extend(digest.as_bytes());
    entry.push(0x10);
    while size > 127 {
        entry.push(size as u8 | 128);
        size >>= 7;
    }
    entry.push(size as u8);
    [vec![0x12, entry.len() as u8], entry].concat()
}
