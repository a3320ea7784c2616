//! The reference implementation.

use bytes::Bytes;
use castore_core::groups::GroupHashes;
use castore_core::{BlobService, Digest, MemoryBlobService};
use futures_util::TryStreamExt as _;
use tokio::io::AsyncReadExt as _;

/// A blob of two whole pieces and the beginning of a third, no two of them alike.
fn blob() -> Bytes {
    (0..600 * 1024u32).map(|position| (position / 1000) as u8).collect::<Vec<u8>>().into()
}

async fn stored(data: Bytes) -> (MemoryBlobService, Digest) {
    let service = MemoryBlobService::new();
    let mut writer = service.open_write().await.unwrap();
    writer.write_bytes(data).await.unwrap();
    let digest = writer.close().await.unwrap();
    (service, digest)
}

#[tokio::test]
async fn a_blob_is_divided_into_pieces_of_256_kib() {
    let data = blob();
    let (service, digest) = stored(data.clone()).await;
    let index = service.chunks(&digest).await.unwrap().unwrap();
    assert!(!index.is_empty());
    let sizes: Vec<u64> = index.iter().map(|chunk| chunk.size).collect();
    assert_eq!(sizes, [256 * 1024, 256 * 1024, 88 * 1024]);
    assert_eq!(index.iter().next().unwrap().digest, Digest::of(&data[..256 * 1024]));
    assert_eq!(index.groups(), Some(&GroupHashes::of(&data)));
}

#[tokio::test]
async fn a_stored_blob_is_present_and_reads_back_whole_and_in_parts() {
    let data = blob();
    let (service, digest) = stored(data.clone()).await;
    assert!(service.has(&digest).await.unwrap());
    assert_eq!(digest, Digest::of(&data));
    let mut reader = service.open_read(&digest).await.unwrap().unwrap();
    assert_eq!((reader.size(), reader.digest()), (data.len() as u64, digest));
    let mut read = Vec::new();
    reader.read_to_end(&mut read).await.unwrap();
    assert!(read == data);
    for range in [0..1, 262_143..262_145, 100_000..600_000] {
        let pieces: Vec<Bytes> = reader.read_range(range.clone()).try_collect().await.unwrap();
        assert!(pieces.concat() == data[range.start as usize..range.end as usize], "{range:?}");
    }
}

#[tokio::test]
async fn only_stored_blobs_and_the_empty_one_are_present() {
    let (service, _) = stored(blob()).await;
    let absent = Digest::of(b"absent");
    assert!(!service.has(&absent).await.unwrap());
    assert!(service.chunks(&absent).await.unwrap().is_none());
    assert!(service.open_read(&absent).await.unwrap().is_none());
    assert!(service.has(&Digest::EMPTY).await.unwrap());
    assert!(service.chunks(&Digest::EMPTY).await.unwrap().unwrap().is_empty());
}
