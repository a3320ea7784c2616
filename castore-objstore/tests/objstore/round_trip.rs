//! Blobs read back as they were put, however they were cut, written and read.

use std::sync::Arc;

use bytes::Bytes;
use castore_core::{BlobService, Digest};
use castore_objstore::{ChunkParams, ObjectStoreBlobService};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::support::data::{self, KIB, MIB, cut, random, tiny};
use crate::support::probe::Probe;
use crate::support::service::{builder, put, read, service, service_with};

/// The sizes around the limits of chunks, and one of many chunks.
fn sizes(params: ChunkParams) -> Vec<usize> {
    let (min, avg, max) = (params.min_size(), params.avg_size(), params.max_size());
    vec![0, 1, min - 1, min, min + 1, avg, max - 1, max, max + 1, 6 * max + 1]
}

#[derive(Debug, Clone, Copy)]
enum Calls {
    WriteAll,
    WriteBytes,
    InTurn,
}

const CALLS: [Calls; 3] = [Calls::WriteAll, Calls::WriteBytes, Calls::InTurn];

/// Writes `data` in pieces of `sizes`, repeated as often as needed.
async fn write(
    service: &ObjectStoreBlobService,
    data: &Bytes,
    sizes: &[usize],
    calls: Calls,
) -> Digest {
    let mut writer = service.open_write().await.unwrap();
    let mut rest = data.clone();
    for (number, size) in sizes.iter().cycle().enumerate() {
        if rest.is_empty() {
            break;
        }
        let piece = rest.split_to(rest.len().min(*size));
        match (calls, number % 2) {
            (Calls::WriteAll, _) | (Calls::InTurn, 0) => writer.write_all(&piece).await.unwrap(),
            _ => writer.write_bytes(piece).await.unwrap(),
        }
    }
    writer.close().await.unwrap()
}

/// Checks that a blob is stored, whole, and made of the right chunks.
async fn assert_stored(
    service: &ObjectStoreBlobService,
    digest: &Digest,
    data: &Bytes,
    params: ChunkParams,
) {
    assert_eq!(*digest, Digest::from_bytes(*blake3::hash(data).as_bytes()));
    assert!(service.has(digest).await.unwrap());
    assert_eq!(read(service, digest).await, *data);
    let index = service.chunks(digest).await.unwrap().unwrap();
    let chunks: Vec<(Digest, u64)> = index.iter().map(|chunk| (chunk.digest, chunk.size)).collect();
    let cut = cut(data, params);
    let expected: Vec<_> =
        cut.iter().map(|chunk| (Digest::of(chunk), chunk.len() as u64)).collect();
    assert_eq!(chunks, expected, "{} bytes", data.len());
}

/// Writes every size in every way in pieces of `pieces`, each into a store of its own.
async fn all_sizes(params: ChunkParams, pieces: &[usize]) {
    for size in sizes(params) {
        let data = random("round trip", size);
        for calls in CALLS {
            let service = service_with(&Probe::new(), params);
            let digest = write(&service, &data, pieces, calls).await;
            assert_stored(&service, &digest, &data, params).await;
        }
    }
}

#[tokio::test]
async fn usual_chunks_written_whole() {
    all_sizes(ChunkParams::default(), &[usize::MAX]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn usual_chunks_written_in_odd_pieces() {
    all_sizes(ChunkParams::default(), &[1, 70_001, 0, 13, 600_007, 4099]).await;
}

#[tokio::test]
async fn tiny_chunks_written_whole() {
    all_sizes(tiny(), &[usize::MAX]).await;
}

#[tokio::test]
async fn tiny_chunks_written_byte_by_byte() {
    all_sizes(tiny(), &[1]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn tiny_chunks_written_in_odd_pieces() {
    all_sizes(tiny(), &[1, 63, 7, 1025, 257]).await;
}

#[tokio::test]
async fn the_largest_chunks_that_the_format_allows() {
    let params = ChunkParams::new(MIB, 4 * MIB, 16 * MIB).unwrap();
    // Zeros are cut only at the maximum size; the random bytes end with a short chunk.
    let data = Bytes::from([data::zeros(17 * MIB), random("large chunks", 5 * MIB)].concat());
    let service = service_with(&Probe::new(), params);
    let digest = put(&service, &data).await;
    assert_stored(&service, &digest, &data, params).await;
    let index = service.chunks(&digest).await.unwrap().unwrap();
    assert_eq!(index.get(0).unwrap().size, castore_core::MAX_CHUNK_SIZE);
}

#[tokio::test]
async fn text_that_compresses_well() {
    let service = service(&Probe::new());
    let data = data::numbers(300_000);
    let digest = put(&service, &data).await;
    assert_stored(&service, &digest, &data, ChunkParams::default()).await;
    let stats = service.stats();
    assert_eq!(stats.bytes_new, data.len() as u64);
    assert!(stats.bytes_stored < stats.bytes_new / 2, "{stats:?}");
}

async fn all_sizes_on_disk(durable: bool) {
    for params in [ChunkParams::default(), tiny()] {
        for size in sizes(params) {
            let directory = tempfile::tempdir().unwrap();
            let builder = ObjectStoreBlobService::local(directory.path()).durable(durable);
            let data = random("round trip", size);
            let service = builder.clone().chunk_params(params).build().unwrap();
            let digest = write(&service, &data, &[70_001, 1], Calls::InTurn).await;
            assert_stored(&service, &digest, &data, params).await;
            // Another service, with other chunk parameters, reads the blob as well.
            assert_stored(&builder.build().unwrap(), &digest, &data, params).await;
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn on_disk_and_durable() {
    all_sizes_on_disk(true).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn on_disk_and_not_durable() {
    all_sizes_on_disk(false).await;
}

#[tokio::test]
async fn below_a_base_path() {
    let store: Arc<object_store::memory::InMemory> = Arc::default();
    let based = |base: &str| {
        ObjectStoreBlobService::builder(store.clone()).base_path(base).build().unwrap()
    };
    let data = random("base path", MIB);
    let digest = put(&based("a/b"), &data).await;
    assert_stored(&based("a/b"), &digest, &data, ChunkParams::default()).await;
    assert!(!based("").has(&digest).await.unwrap());
    assert!(!based("a").has(&digest).await.unwrap());
}

#[tokio::test]
async fn bodies_that_arrive_in_pieces() {
    let probe = Probe::new().with_body_pieces(1009);
    let service = service(&probe);
    for size in [1, 1009, 1010, 100 * KIB, MIB] {
        let data = random("pieces", size);
        let digest = put(&service, &data).await;
        assert_stored(&service, &digest, &data, ChunkParams::default()).await;
    }
}

#[tokio::test]
async fn read_in_pieces_of_any_size() {
    for (params, size) in [(tiny(), 20_000), (ChunkParams::default(), 3 * MIB)] {
        let service = service_with(&Probe::new(), params);
        let data = random("reading", size);
        let digest = put(&service, &data).await;
        for piece in [1, 7, 1000, 4096, 600_000, 8 * MIB] {
            if size / piece > 100_000 {
                continue;
            }
            let mut reader = service.open_read(&digest).await.unwrap().unwrap();
            assert_eq!(reader.size(), size as u64);
            let mut buffer = vec![0; piece];
            let mut read = Vec::new();
            loop {
                match reader.read(&mut buffer).await.unwrap() {
                    0 => break,
                    count => read.extend_from_slice(&buffer[..count]),
                }
            }
            assert_eq!(read, data, "in pieces of {piece}");
            assert_eq!(reader.read(&mut buffer).await.unwrap(), 0, "the end stays the end");
        }
    }
}

#[tokio::test]
async fn ranges_of_every_kind() {
    for (params, size) in [(tiny(), 20_000_u64), (ChunkParams::default(), 2 * MIB as u64)] {
        let service = service_with(&Probe::new(), params);
        let data = random("ranges", size as usize);
        let digest = put(&service, &data).await;
        let reader = service.open_read(&digest).await.unwrap().unwrap();
        let index = service.chunks(&digest).await.unwrap().unwrap();
        let second = index.chunk_range(1).unwrap();
        let third = index.chunk_range(2).unwrap();
        for range in [
            0..0,
            size..size,
            0..1,
            size - 1..size,
            0..size,
            1..size,
            0..size - 1,
            // Ranges of chunks: one chunk, its inside, its edges, across one edge, across two.
            second.clone(),
            second.start + 1..second.end - 1,
            second.start..second.start + 1,
            second.end - 1..second.end,
            second.end - 1..second.end + 1,
            second.start - 1..third.end + 1,
        ] {
            let (read, error) =
                crate::support::service::collect_until_error(reader.read_range(range.clone()))
                    .await;
            assert!(error.is_none(), "{range:?}: {error:?}");
            assert_eq!(read, data[range.start as usize..range.end as usize], "{range:?}");
        }
    }
}

#[tokio::test]
async fn ranges_outside_of_the_blob_are_invalid_input() {
    let service = service(&Probe::new());
    for size in [0, 1, MIB as u64] {
        let digest = put(&service, &random("ranges", size as usize)).await;
        let reader = service.open_read(&digest).await.unwrap().unwrap();
        for range in [0..size + 1, size + 1..size + 1, u64::MAX - 1..u64::MAX] {
            let pieces = reader.read_range(range);
            let (read, error) = crate::support::service::collect_until_error(pieces).await;
            assert!(read.is_empty());
            assert_eq!(error.unwrap().kind(), castore_core::ErrorKind::InvalidInput);
        }
    }
}

/// Cutting on several threads makes the same chunks, however the data is written.
#[tokio::test]
async fn several_threads_cut_as_one_does() {
    let params = ChunkParams::with_average(16 * KIB).unwrap();
    let data = random("threads", 9 * MIB + 1);
    for threads in [1, 2, 5] {
        let threads = std::num::NonZeroUsize::new(threads).unwrap();
        let builder = builder(&Probe::new()).chunk_params(params);
        let service = builder.cutting_threads(threads).build().unwrap();
        for sizes in [&[MIB, 3, 70_000][..], &[20 * MIB]] {
            let digest = write(&service, &data, sizes, Calls::WriteBytes).await;
            assert_stored(&service, &digest, &data, params).await;
        }
    }
}
