//! Bad index objects are `Corrupt`, and a read of another blob's chunks never reaches the end.

use bytes::Bytes;
use castore_core::{BlobIndex, BlobService, ChunkMeta, Digest, ErrorKind};

use crate::support::data::{random, tiny};
use crate::support::probe::{ALWAYS, Effect, Kind, Part};
use crate::support::service::{put, service_with};
use crate::support::stored::{Shape, Stored};

/// An encoded entry, with any digest and any size.
fn entry(digest: &[u8], mut size: u64) -> Vec<u8> {
    let mut fields = vec![1 << 3 | 2, digest.len() as u8];
    fields.extend_from_slice(digest);
    fields.push(2 << 3);
    while size >= 0x80 {
        fields.push(size as u8 | 0x80);
        size >>= 7;
    }
    fields.push(size as u8);
    [vec![2 << 3 | 2, fields.len() as u8], fields].concat()
}

fn encode(chunks: impl IntoIterator<Item = ChunkMeta>) -> Bytes {
    let entries = chunks.into_iter().map(|chunk| entry(chunk.digest.as_bytes(), chunk.size));
    entries.collect::<Vec<_>>().concat().into()
}

/// A blob of many chunks, and its list of chunks for tests to change.
async fn many() -> (Stored, Vec<ChunkMeta>) {
    let stored = Stored::new(Shape::Many).await;
    let chunks: Vec<ChunkMeta> = stored.index.iter().collect();
    assert_eq!(stored.probe.object(&stored.index_key()).await, encode(chunks.clone()));
    (stored, chunks)
}

/// The blob of many chunks with another index object.
async fn with_index(object: impl Into<Bytes>) -> Stored {
    let (stored, _) = many().await;
    stored.probe.overwrite(&stored.index_key(), object.into()).await;
    stored
}

/// Checks that a changed list of chunks that cannot be that of the blob is corrupt.
async fn refused(change: impl FnOnce(&mut Vec<ChunkMeta>)) {
    let (stored, mut chunks) = many().await;
    change(&mut chunks);
    stored.probe.overwrite(&stored.index_key(), encode(chunks)).await;
    stored.assert_index_is_corrupt().await;
}

#[tokio::test]
async fn garbage() {
    for object in [random("garbage", 1000), random("garbage", 3), Bytes::from_static(b"\0")] {
        with_index(object).await.assert_index_is_corrupt().await;
    }
    let text = "<html><body>Please log in to the wireless network</body></html>";
    with_index(text).await.assert_index_is_corrupt().await;
}

#[tokio::test]
async fn garbage_in_place_of_the_index_of_one_chunk() {
    for object in ["\0", "garbage"] {
        let stored = Stored::new(Shape::One).await;
        stored.probe.overwrite(&stored.index_key(), Bytes::from(object)).await;
        stored.assert_index_is_corrupt().await;
    }
}

#[tokio::test]
async fn an_index_that_lists_its_own_digest() {
    let (stored, _) = many().await;
    let itself = stored.digest;
    for size in [1, 300, u64::MAX] {
        refused(|chunks| chunks[3] = ChunkMeta { digest: itself, size }).await;
        refused(|chunks| chunks.push(ChunkMeta { digest: itself, size })).await;
    }
}

/// A blob of one chunk is listed like this, but no such chunk exists.
#[tokio::test]
async fn an_index_that_lists_only_its_own_digest() {
    let (stored, _) = many().await;
    for size in [1, stored.data.len() as u64] {
        let stored = with_index(entry(stored.digest.as_bytes(), size)).await;
        stored.assert_corrupt().await;
    }
}

#[tokio::test]
async fn sizes_that_overflow() {
    refused(|chunks| chunks[3].size = u64::MAX).await;
    refused(|chunks| chunks[3].size = u64::MAX / 2 + 1).await;
    refused(|chunks| chunks.iter_mut().for_each(|chunk| chunk.size = u64::MAX / 2)).await;
    refused(|chunks| chunks[3].size = castore_core::MAX_CHUNK_SIZE + 1).await;
    let stored = Stored::new(Shape::One).await;
    let object = entry(stored.digest.as_bytes(), u64::MAX);
    stored.probe.overwrite(&stored.index_key(), object).await;
    stored.assert_index_is_corrupt().await;
}

#[tokio::test]
async fn a_chunk_of_no_bytes() {
    refused(|chunks| chunks[3].size = 0).await;
    let empty = ChunkMeta { digest: Digest::EMPTY, size: 0 };
    refused(|chunks| chunks.push(empty)).await;
    refused(|chunks| *chunks = vec![empty]).await;
}

#[tokio::test]
async fn digests_of_other_lengths() {
    let (stored, chunks) = many().await;
    for length in [0, 1, 31, 33, 64] {
        let digest = [7; 64];
        let object = [&encode(chunks[..2].to_vec())[..], &entry(&digest[..length], 5)].concat();
        stored.probe.overwrite(&stored.index_key(), object).await;
        stored.assert_index_is_corrupt().await;
    }
}

/// Each stated size is wrong, while each chunk has its digest.
#[tokio::test]
async fn sizes_that_do_not_match() {
    let (stored, chunks) = many().await;
    for wrong in [1, u64::MAX] {
        for number in [0, stored.bad, chunks.len() - 1] {
            let mut chunks = chunks.clone();
            chunks[number].size = chunks[number].size.wrapping_add(wrong);
            stored.probe.overwrite(&stored.index_key(), encode(chunks)).await;
            stored.assert_corrupt().await;
        }
    }
    // The wrong sizes still add up to the size of the blob.
    let mut traded = chunks;
    traded[stored.bad].size += 1;
    traded[stored.bad + 1].size -= 1;
    stored.probe.overwrite(&stored.index_key(), encode(traded)).await;
    stored.assert_corrupt().await;
}

#[tokio::test]
async fn a_size_that_does_not_match_the_only_chunk() {
    let stored = Stored::new(Shape::One).await;
    let size = stored.data.len() as u64;
    for wrong in [1, size - 1, size + 1, castore_core::MAX_CHUNK_SIZE] {
        let object = entry(stored.digest.as_bytes(), wrong);
        stored.probe.overwrite(&stored.index_key(), object).await;
        stored.assert_corrupt().await;
    }
}

/// Checks that a read of the whole blob fails and returns less than the index lists, although every
/// chunk is good: only after reading all chunks does a reader know which blob they form.
async fn assert_no_end(stored: &Stored, listed: u64) {
    for (bytes, error) in stored.read_whole().await {
        let error = error.expect("there is an error");
        assert_eq!(error.kind(), ErrorKind::Corrupt, "{error:?}");
        assert_eq!(error.digest(), Some(stored.digest));
        assert!((bytes.len() as u64) < listed, "the last bytes are not handed out");
    }
}

#[tokio::test]
async fn the_index_of_another_blob() {
    for shape in [Shape::Many, Shape::One] {
        let stored = Stored::new(shape).await;
        for size in [1, 20_000, 500_000] {
            let service = service_with(&stored.probe, tiny());
            let other = put(&service, &random("another", size)).await;
            let index = service.chunks(&other).await.unwrap().unwrap();
            stored.probe.overwrite(&stored.index_key(), castore_proto::encode(&index)).await;
            assert_no_end(&stored, index.size()).await;
        }
    }
}

#[tokio::test]
async fn an_index_with_the_chunks_in_another_order() {
    let (stored, chunks) = many().await;
    for (one, other) in [(0, 1), (3, 9), (0, chunks.len() - 1)] {
        let mut chunks = chunks.clone();
        chunks.swap(one, other);
        stored.probe.overwrite(&stored.index_key(), encode(chunks)).await;
        assert_no_end(&stored, stored.index.size()).await;
    }
}

#[tokio::test]
async fn an_index_with_a_chunk_too_few_or_too_many() {
    let (stored, chunks) = many().await;
    let without = |number: usize| [&chunks[..number], &chunks[number + 1..]].concat();
    let twice = |number: usize| [&chunks[..=number], &chunks[number..]].concat();
    let last = chunks.len() - 1;
    for chunks in [without(0), without(4), without(last), twice(0), twice(4), twice(last)] {
        let index = BlobIndex::new(stored.digest, chunks).unwrap();
        stored.probe.overwrite(&stored.index_key(), castore_proto::encode(&index)).await;
        assert_no_end(&stored, index.size()).await;
    }
}

#[tokio::test]
async fn an_index_without_entries_and_without_a_chunk() {
    with_index(Bytes::new()).await.assert_index_is_corrupt().await;
}

/// A blob of a few chunks with its index object, so that every change of the index can be tried.
async fn few() -> (Stored, Bytes) {
    let stored = Stored::of(random("few chunks", 1500), Shape::Many).await;
    assert!((3..10).contains(&stored.index.len()));
    let object = stored.probe.object(&stored.index_key()).await;
    (stored, object)
}

#[tokio::test]
async fn an_index_cut_anywhere() {
    let (stored, object) = few().await;
    for len in 0..object.len() {
        stored.probe.overwrite(&stored.index_key(), object.slice(..len)).await;
        stored.assert_corrupt().await;
    }
}

#[tokio::test]
async fn any_flipped_bit() {
    let (stored, object) = few().await;
    for bit in 0..8 * object.len() {
        let mut flipped = object.to_vec();
        flipped[bit / 8] ^= 1 << (bit % 8);
        stored.probe.overwrite(&stored.index_key(), flipped).await;
        for (bytes, error) in stored.read_whole().await {
            let error = error.expect("there is an error");
            assert_eq!(error.kind(), ErrorKind::Corrupt, "bit {bit}: {error:?}");
            assert!(bytes.len() < stored.data.len() && !stored.data.is_empty());
        }
    }
}

/// Nothing would bound the memory for such an object.
#[tokio::test]
async fn an_object_too_large_to_be_an_index_is_not_fetched() {
    for size in [castore_proto::MAX_INDEX_SIZE + 1, u64::MAX] {
        let (stored, _) = many().await;
        stored.probe.fault(Kind::Get, Part::Blobs, ALWAYS, Effect::ClaimSize(size));
        stored.probe.forget();
        stored.assert_index_is_corrupt().await;
        assert_eq!(stored.probe.bodies_read(), 0);
    }
}

/// Any object stored under the digest of the empty blob is ignored.
#[tokio::test]
async fn the_empty_blob_stays_empty() {
    let (stored, chunks) = many().await;
    let key = crate::support::service::index_key(&Digest::EMPTY);
    stored.probe.overwrite(&key, encode(chunks)).await;
    let service = stored.service();
    assert_eq!(crate::support::service::read(&service, &Digest::EMPTY).await, b"");
    assert!(service.chunks(&Digest::EMPTY).await.unwrap().unwrap().is_empty());
}
