//! The number of requests that operations cost.

use std::io::SeekFrom;

use castore_core::groups::GROUP_SIZE;
use castore_core::{BlobReader, BlobService, Digest};
use castore_objstore::{ObjectStoreBlobService, Verify};
use tokio::io::{AsyncReadExt, AsyncSeekExt};
use tokio::time::Instant;

use crate::support::clock::{LATENCY, round_trips};
use crate::support::data::{MIB, random, tiny};
use crate::support::probe::{Kind, Part, Probe};
use crate::support::service::{builder, chunk_key, collect_until_error, put, read, service};

async fn open(service: &ObjectStoreBlobService, digest: &Digest) -> BlobReader {
    service.open_read(digest).await.unwrap().unwrap()
}

/// One request is for the index, and one for the chunk if the service does not know it yet.
#[tokio::test(start_paused = true)]
async fn putting_a_known_blob_of_one_chunk_is_two_requests_in_one_round_trip() {
    let probe = Probe::new().with_latency(LATENCY);
    let data = random("one chunk", 100_000);
    let first = service(&probe);
    put(&first, &data).await;
    for (service, requests) in [(first, 1), (service(&probe), 2)] {
        probe.forget();
        let start = Instant::now();
        put(&service, &data).await;
        assert_eq!(probe.total(), requests);
        assert_eq!(round_trips(start), 1);
    }
}

#[tokio::test(start_paused = true)]
async fn putting_a_new_blob_of_one_chunk_is_four_requests_in_three_round_trips() {
    for size in [1, 100, 100_000] {
        let probe = Probe::new().with_latency(LATENCY);
        let start = Instant::now();
        put(&service(&probe), &random("one chunk", size)).await;
        assert_eq!(round_trips(start), 3);
        assert!(probe.total() <= 4, "{} requests", probe.total());
        assert_eq!(probe.count(Kind::Put, Part::Chunks), 1);
        assert_eq!(probe.count(Kind::Put, Part::Blobs), 1);
    }
}

#[tokio::test]
async fn putting_a_known_blob_of_many_chunks_uploads_nothing() {
    let probe = Probe::new();
    let data = random("many chunks", 4 * MIB);
    let first = service(&probe);
    let digest = put(&first, &data).await;
    let chunks = first.chunks(&digest).await.unwrap().unwrap().len();

    probe.forget();
    put(&first, &data).await;
    assert_eq!(probe.total(), 1, "all chunks are known: only the index is looked for");
    assert_eq!(probe.count(Kind::Get, Part::Blobs), 1);

    probe.forget();
    let fresh = service(&probe);
    put(&fresh, &data).await;
    assert_eq!(probe.count(Kind::Put, Part::Chunks), 0);
    assert_eq!(probe.count(Kind::Put, Part::Blobs), 0);
    assert!(probe.total() <= chunks + 1, "{} requests for {chunks} chunks", probe.total());
    let stats = fresh.stats();
    assert_eq!((stats.chunks_new, stats.chunks_reused), (0, chunks as u64));
}

#[tokio::test]
async fn putting_n_new_chunks_is_two_requests_each_and_one_for_the_index() {
    let probe = Probe::new();
    let data = random("many chunks", 4 * MIB);
    let service = service(&probe);
    let digest = put(&service, &data).await;
    let requests = probe.total();
    let chunks = service.chunks(&digest).await.unwrap().unwrap().len();
    assert!(requests <= 2 * chunks + 1, "{requests} requests for {chunks} chunks");
}

#[tokio::test(start_paused = true)]
async fn reading_a_blob_of_one_chunk_is_one_round_trip() {
    let probe = Probe::new().with_latency(LATENCY);
    let data = random("one chunk", 100_000);
    let digest = put(&service(&probe), &data).await;
    probe.forget();
    let start = Instant::now();
    assert_eq!(read(&service(&probe), &digest).await, data);
    assert_eq!(round_trips(start), 1);
    assert!(probe.total() <= 2, "{} requests", probe.total());
}

#[tokio::test(start_paused = true)]
async fn reading_n_chunks_is_at_most_n_and_two_requests_and_two_round_trips_to_the_first_byte() {
    let probe = Probe::new().with_latency(LATENCY);
    let data = random("many chunks", 16 * MIB);
    let digest = put(&service(&probe), &data).await;
    let service = service(&probe);
    let chunks = service.chunks(&digest).await.unwrap().unwrap().len();
    probe.forget();
    let start = Instant::now();
    let mut reader = open(&service, &digest).await;
    assert_eq!(reader.read_u8().await.unwrap(), data[0]);
    assert!(round_trips(start) <= 2, "{} round trips", round_trips(start));
    let mut rest = Vec::new();
    reader.read_to_end(&mut rest).await.unwrap();
    assert_eq!(rest, data[1..]);
    assert!(probe.total() <= chunks + 2, "{} requests for {chunks} chunks", probe.total());
    assert_eq!(probe.count(Kind::Head, Part::Blobs) + probe.count(Kind::Head, Part::Chunks), 0);
}

#[tokio::test]
async fn the_empty_blob_needs_no_request_to_be_read() {
    let probe = Probe::new();
    let service = service(&probe);
    assert!(service.has(&Digest::EMPTY).await.unwrap());
    assert!(service.chunks(&Digest::EMPTY).await.unwrap().unwrap().is_empty());
    assert_eq!(read(&service, &Digest::EMPTY).await, b"");
    assert_eq!(probe.total(), 0);
}

#[tokio::test]
async fn an_absent_blob_is_one_request_to_look_for_and_two_to_open() {
    let probe = Probe::new();
    let service = service(&probe);
    let absent = Digest::of(b"absent");
    assert!(!service.has(&absent).await.unwrap());
    assert_eq!(probe.total(), 1);
    assert_eq!(service.chunks(&absent).await.unwrap(), None);
    assert_eq!(probe.total(), 2);
    assert!(service.open_read(&absent).await.unwrap().is_none());
    assert!(probe.total() <= 4, "{} requests", probe.total());
}

#[tokio::test]
async fn a_range_fetches_only_the_chunks_that_it_covers() {
    let probe = Probe::new();
    let service = builder(&probe).chunk_params(tiny()).verify(Verify::Chunks).build().unwrap();
    let data = random("range", 20_000);
    let digest = put(&service, &data).await;
    let index = service.chunks(&digest).await.unwrap().unwrap();
    let reader = open(&service, &digest).await;
    let at = |number: usize| index.chunk_range(number).unwrap();
    for (range, covered) in [
        (at(5), 5..6),
        (at(5).start + 3..at(5).start + 4, 5..6),
        (at(5).end - 1..at(6).start + 1, 5..7),
        (at(3).start..at(8).end, 3..9),
        (index.size() - 1..index.size(), index.len() - 1..index.len()),
        (7..7, 0..0),
    ] {
        probe.forget();
        let (read, error) = collect_until_error(reader.read_range(range.clone())).await;
        assert!(error.is_none(), "{error:?}");
        assert_eq!(read, data[range.start as usize..range.end as usize]);
        let keys: Vec<_> =
            covered.map(|number| chunk_key(&index.get(number).unwrap().digest)).collect();
        let mut fetched = probe.keys(Kind::Get, Part::Chunks);
        fetched.sort_by_key(|key| keys.iter().position(|expected| expected == key));
        assert_eq!(fetched, keys, "{range:?}");
        assert_eq!(probe.total(), keys.len());
    }
}

#[tokio::test]
async fn a_seek_within_the_buffer_fetches_nothing() {
    let probe = Probe::new();
    let service = service(&probe);
    let data = random("seek", 4 * MIB);
    let digest = put(&service, &data).await;
    let index = service.chunks(&digest).await.unwrap().unwrap();
    let mut reader = open(&service, &digest).await;
    let chunk = index.chunk_range(4).unwrap();
    reader.seek(SeekFrom::Start(chunk.start)).await.unwrap();
    assert_eq!(reader.read_u8().await.unwrap(), data[chunk.start as usize]);
    // Reads ahead may still be under way; none of them is counted below.
    tokio::task::yield_now().await;
    probe.forget();
    let group = (chunk.start + 1).next_multiple_of(GROUP_SIZE);
    for target in [chunk.end.min(group) - 1, chunk.start, chunk.start + 1000] {
        reader.seek(SeekFrom::Start(target)).await.unwrap();
        assert_eq!(reader.read_u8().await.unwrap(), data[target as usize]);
    }
    assert_eq!(probe.total(), 0);
}

#[tokio::test]
async fn opening_and_dropping_costs_nothing_more() {
    let probe = Probe::new();
    let service = service(&probe);
    drop(service.open_write().await.unwrap());
    assert_eq!(probe.total(), 0);
    let digest = put(&service, &random("dropped", 4 * MIB)).await;
    probe.forget();
    drop(open(&service, &digest).await);
    assert!(probe.total() <= 2, "{} requests", probe.total());
}

#[tokio::test]
async fn reading_a_few_bytes_does_not_fetch_the_blob() {
    let probe = Probe::new();
    let service = service(&probe);
    let digest = put(&service, &random("few bytes", 16 * MIB)).await;
    probe.forget();
    let mut reader = open(&service, &digest).await;
    reader.read_u8().await.unwrap();
    drop(reader);
    // The first read-ahead window is 1 MiB. The reader refills the window once, when the first
    // chunk is taken out.
    let fetched = probe.count(Kind::Get, Part::Chunks);
    assert!(fetched <= 16, "{fetched} chunks of about 60");
}

#[tokio::test]
async fn the_counts_of_the_service_are_those_of_the_store() {
    let probe = Probe::new();
    let service = service(&probe);
    let data = random("counts", 2 * MIB);
    let digest = put(&service, &data).await;
    assert_eq!(read(&service, &digest).await, data);
    assert!(service.remove(&digest).await.unwrap());
    let stats = service.stats();
    let count = |kind| (probe.count(kind, Part::Blobs) + probe.count(kind, Part::Chunks)) as u64;
    assert_eq!(stats.requests_head, count(Kind::Head));
    assert_eq!(stats.requests_get, count(Kind::Get));
    assert_eq!(stats.requests_put, count(Kind::Put));
    assert_eq!(stats.requests_delete, count(Kind::Delete));
    assert_eq!(stats.requests_delete, 1);
    assert_eq!(stats.bytes_read, data.len() as u64);
}
