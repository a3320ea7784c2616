//! How many requests things take, and how many round trips.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use castore_core::{BlobService, Digest};
use futures_util::StreamExt;
use futures_util::future::join_all;
use tokio::io::{AsyncReadExt, AsyncSeekExt};
use tokio::time::Instant;

use crate::probe::{Kind, Probe};
use crate::support::{MIB, oracle, put, random, read, service};

const ROUND_TRIP: Duration = Duration::from_millis(20);

#[tokio::test]
async fn a_one_chunk_blob_costs_three_requests_new_and_one_known() {
    let probe = Arc::new(Probe::new());
    let data = random("one chunk", 100_000);
    put(&service(probe.clone()), &data).await.unwrap();
    assert!(probe.take_count() <= 3);
    // By a service that knows nothing of it.
    put(&service(probe.clone()), &data).await.unwrap();
    assert_eq!(probe.take_count(), 1);
}

#[tokio::test]
async fn a_known_blob_uploads_nothing() {
    let probe = Arc::new(Probe::new());
    let data = random("many chunks", 8 * MIB);
    put(&service(probe.clone()), &data).await.unwrap();
    probe.take_count();
    let again = service(probe.clone());
    put(&again, &data).await.unwrap();
    assert_eq!(probe.count(Kind::Put, "chunks") + probe.count(Kind::Put, "blobs"), 0);
    assert_eq!(probe.count(Kind::Head, "chunks"), oracle(&data).len());
    probe.take_count();
    // What is known to be stored is not asked for again.
    put(&again, &data).await.unwrap();
    assert_eq!(probe.take_count(), 1);
}

#[tokio::test]
async fn an_edited_copy_stores_only_the_changed_chunks() {
    let probe = Arc::new(Probe::new());
    let service = service(probe.clone());
    let data = random("original", 16 * MIB);
    put(&service, &data).await.unwrap();
    let mut edited = data.to_vec();
    let patch = random("patch", 160_000);
    edited[3 * MIB..3 * MIB + 160_000].copy_from_slice(&patch);
    edited.splice(9 * MIB..9 * MIB, random("insertion", 1000));
    let before: HashSet<Digest> = oracle(&data).into_iter().collect();
    let after: HashSet<Digest> = oracle(&edited).into_iter().collect();
    let changed = after.difference(&before).count();
    assert!(changed > 0 && changed <= 6, "{changed} chunks changed");
    probe.take_count();
    put(&service, &edited.into()).await.unwrap();
    assert_eq!(probe.count(Kind::Put, "chunks"), changed);
}

#[tokio::test]
async fn identical_chunks_are_uploaded_once_however_many_are_in_flight() {
    let probe = Arc::new(Probe::new());
    let service = service(probe.clone());
    // 64 chunks of 512 KiB, all alike.
    put(&service, &Bytes::from(vec![0; 32 * MIB])).await.unwrap();
    assert_eq!(probe.count(Kind::Put, "chunks"), 1);
    assert_eq!(probe.count(Kind::Head, "chunks"), 1);
    probe.take_count();
    let data = random("eight writers", 4 * MIB);
    join_all((0..8).map(|_| put(&service, &data))).await.into_iter().for_each(|digest| {
        assert_eq!(digest.unwrap(), Digest::of(&data));
    });
    assert_eq!(probe.count(Kind::Put, "chunks"), oracle(&data).len());
}

#[tokio::test]
async fn reading_n_chunks_takes_n_plus_two_requests() {
    let probe = Arc::new(Probe::new());
    let service = service(probe.clone());
    let data = random("n chunks", 8 * MIB);
    let digest = put(&service, &data).await.unwrap();
    probe.take_count();
    assert!(read(&service, &digest).await.unwrap().unwrap() == data);
    assert!(probe.take_count() <= oracle(&data).len() + 2);
    // The empty blob takes none.
    assert_eq!(read(&service, &Digest::EMPTY).await.unwrap().unwrap(), []);
    assert_eq!(probe.take_count(), 0);
}

#[tokio::test]
async fn a_range_fetches_only_the_chunks_that_cover_it() {
    let probe = Arc::new(Probe::new());
    let service = service(probe.clone());
    let data = random("range", 8 * MIB);
    let digest = put(&service, &data).await.unwrap();
    let index = service.chunks(&digest).await.unwrap().unwrap();
    let reader = service.open_read(&digest).await.unwrap().unwrap();
    let third = index.chunk_range(3).unwrap();
    probe.take_count();
    let range = third.start + 10..third.end + 10;
    let pieces: Vec<_> = reader.read_range(range.clone()).collect().await;
    let read: Vec<u8> = pieces.into_iter().flat_map(|piece| piece.unwrap()).collect();
    assert!(read == data[range.start as usize..range.end as usize]);
    assert_eq!(probe.take_count(), 2);
}

#[tokio::test]
async fn a_seek_within_the_buffer_fetches_nothing() {
    let probe = Arc::new(Probe::new());
    let service = service(probe.clone());
    let data = random("seek", 100_000);
    let digest = put(&service, &data).await.unwrap();
    let mut reader = service.open_read(&digest).await.unwrap().unwrap();
    reader.read_u8().await.unwrap();
    probe.take_count();
    for target in [50_000, 10, 99_999] {
        reader.seek(std::io::SeekFrom::Start(target)).await.unwrap();
        assert_eq!(reader.read_u8().await.unwrap(), data[target as usize]);
    }
    assert_eq!(probe.take_count(), 0);
}

/// The round trips that have passed since `begun`, in virtual time: computing takes none.
fn round_trips(begun: Instant) -> u128 {
    begun.elapsed().as_millis() / ROUND_TRIP.as_millis()
}

#[tokio::test(start_paused = true)]
async fn latency_is_hidden() {
    let probe = Arc::new(Probe::with_delay(ROUND_TRIP));
    let data = random("latency", 64 * MIB);

    let begun = Instant::now();
    let digest = put(&service(probe.clone()), &data).await.unwrap();
    let new = round_trips(begun);

    let begun = Instant::now();
    put(&service(probe.clone()), &data).await.unwrap();
    let again = round_trips(begun);

    let begun = Instant::now();
    let service = service(probe.clone());
    let reader = service.open_read(&digest).await.unwrap().unwrap();
    let mut pieces = reader.read_range(0..reader.size());
    let mut size = pieces.next().await.unwrap().unwrap().len();
    let first = round_trips(begun);
    while let Some(piece) = pieces.next().await {
        size += piece.unwrap().len();
    }
    let whole = round_trips(begun);
    assert_eq!(size, data.len());

    println!("round trips for 64 MiB: put {new}, again {again}, first byte {first}, read {whole}");
    assert!(new <= 25, "{new} round trips to put");
    assert!(again <= 12, "{again} round trips to put again");
    assert!(first <= 2, "{first} round trips to the first byte");
    assert!(whole <= 12, "{whole} round trips to read");
}

#[tokio::test(start_paused = true)]
async fn one_chunk_takes_one_round_trip_to_read() {
    let probe = Arc::new(Probe::with_delay(ROUND_TRIP));
    let service = service(probe.clone());
    let data = random("one round trip", 100_000);
    let digest = put(&service, &data).await.unwrap();
    let begun = Instant::now();
    assert!(read(&service, &digest).await.unwrap().unwrap() == data);
    assert_eq!(round_trips(begun), 1);
}
