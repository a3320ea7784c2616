//! Outages, stores that refuse too many requests, and slow lines, on a paused clock.

use std::time::Duration;

use castore_core::{BlobService, Digest, ErrorKind};
use castore_objstore::{Builder, DEFAULT_RETRY_TIMEOUT};
use tokio::time::Instant;

use crate::support::data::{MIB, cut, random, tiny};
use crate::support::probe::{ALWAYS, Effect, Kind, Part, Probe, denied, reset};
use crate::support::service::{builder, put, read, try_put};

fn patient(probe: &Probe) -> Builder {
    builder(probe).retry_timeout(DEFAULT_RETRY_TIMEOUT)
}

/// Ends all faults of the probe, and releases held requests, after `time`.
fn heal_after(probe: &Probe, time: Duration) {
    let probe = probe.clone();
    tokio::spawn(async move {
        tokio::time::sleep(time).await;
        probe.heal();
        probe.release();
    });
}

#[tokio::test(start_paused = true)]
async fn an_outage_of_four_minutes_is_waited_for() {
    let probe = Probe::new();
    let service = patient(&probe).build().unwrap();
    put(&service, &random("before the outage", 10)).await;
    for kind in [Kind::Head, Kind::Get, Kind::Put] {
        for part in [Part::Chunks, Part::Blobs] {
            probe.fault(kind, part, ALWAYS, Effect::Fail(reset));
        }
    }
    let start = Instant::now();
    heal_after(&probe, Duration::from_secs(240));
    let data = random("during the outage", 4 * MIB);
    let digest = put(&service, &data).await;
    assert!((240..270).contains(&start.elapsed().as_secs()), "{:?}", start.elapsed());
    assert_eq!(read(&service, &digest).await, data);
}

#[tokio::test(start_paused = true)]
async fn a_store_that_never_answered_is_waited_for_12_seconds() {
    let probe = Probe::new();
    for kind in [Kind::Head, Kind::Get, Kind::Put] {
        for part in [Part::Chunks, Part::Blobs] {
            probe.fault(kind, part, ALWAYS, Effect::Fail(reset));
        }
    }
    let service = patient(&probe).build().unwrap();
    let start = Instant::now();
    let error = try_put(&service, &random("nowhere", 100)).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unavailable);
    assert!((12..15).contains(&start.elapsed().as_secs()), "{:?}", start.elapsed());
}

#[tokio::test(start_paused = true)]
async fn a_refusal_is_not_tried_again() {
    let probe = Probe::new();
    probe.fault(Kind::Put, Part::Chunks, ALWAYS, Effect::Fail(denied));
    let service = patient(&probe).build().unwrap();
    let start = Instant::now();
    let error = try_put(&service, &random("refused", 100)).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::PermissionDenied);
    assert_eq!(start.elapsed(), Duration::ZERO);
}

#[tokio::test(start_paused = true)]
async fn a_request_that_waits_for_its_next_attempt_leaves_its_share_to_others() {
    let probe = Probe::new();
    let service = patient(&probe).requests(1).build().unwrap();
    let there = put(&service, &random("there", 100)).await;
    probe.fault(Kind::Put, Part::Chunks, ALWAYS, Effect::Fail(reset));
    heal_after(&probe, Duration::from_secs(100));
    let writing = tokio::spawn({
        let service = service.clone();
        async move { put(&service, &random("waiting", 100)).await }
    });
    tokio::time::sleep(Duration::from_secs(20)).await;
    let start = Instant::now();
    assert!(service.has(&there).await.unwrap());
    assert!(!service.has(&Digest::of(b"absent")).await.unwrap());
    assert!(start.elapsed() < Duration::from_secs(1), "{:?}", start.elapsed());
    assert!(!writing.is_finished());
    writing.await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_body_that_is_cut_short_is_fetched_again() {
    let probe = Probe::new();
    let data = random("cut short", 3000);
    let digest = put(&builder(&probe).chunk_params(tiny()).build().unwrap(), &data).await;
    assert!(cut(&data, tiny()).len() > 2);
    let service = patient(&probe).build().unwrap();
    probe.fault(Kind::Get, Part::Chunks, 1..3, Effect::CutBody(10));
    assert_eq!(read(&service, &digest).await, data);
}

#[tokio::test(start_paused = true)]
async fn a_put_that_stalls_is_sent_again() {
    let probe = Probe::new();
    let service = patient(&probe).build().unwrap();
    put(&service, &random("before", 100)).await;
    let before = probe.count(Kind::Put, Part::Chunks);
    probe.hold(Kind::Put);
    heal_after(&probe, Duration::from_secs(100));
    put(&service, &random("stalled", 100)).await;
    assert!(probe.count(Kind::Put, Part::Chunks) > before + 1);
}

/// Garbage collection relies on this bound: see "The shortest grace period" in docs/gc.md.
#[tokio::test(start_paused = true)]
async fn no_upload_is_under_way_for_longer_than_the_longest_request() {
    let probe = Probe::new();
    let longest = Duration::from_secs(20);
    let service = patient(&probe).longest_request(longest).build().unwrap();
    put(&service, &random("before", 100)).await;
    let indexes = probe.count(Kind::Put, Part::Blobs);
    let chunks = probe.count(Kind::Put, Part::Chunks);
    probe.hold(Kind::Put);
    heal_after(&probe, longest + Duration::from_secs(5));
    let start = Instant::now();
    put(&service, &random("stalled", 100)).await;
    assert!(start.elapsed() < longest * 3 / 2, "{:?}", start.elapsed());
    assert_eq!(probe.count(Kind::Put, Part::Chunks), chunks + 2);
    assert_eq!(probe.count(Kind::Put, Part::Blobs), indexes + 1);
}

/// Each request of this store takes 0.4 s, and the store serves four at once.
#[tokio::test(start_paused = true)]
async fn fewer_requests_are_sent_to_a_store_that_refuses_so_many() {
    let probe = Probe::new().with_latency(Duration::from_millis(400)).with_at_most(4);
    let service = patient(&probe).build().unwrap();
    let data = random("throttled", 30 * MIB);
    let start = Instant::now();
    let digest = put(&service, &data).await;
    assert!(start.elapsed() < Duration::from_secs(60), "{:?}", start.elapsed());
    // The store refuses the requests of the first moments, and one for each attempt to send more.
    let requests = probe.total();
    assert!(
        probe.refused() > 0 && probe.refused() * 4 < requests * 3,
        "{} of {requests}",
        probe.refused()
    );
    assert_eq!(read(&service, &digest).await, data);
}

#[tokio::test(start_paused = true)]
async fn an_upload_over_a_slow_line_is_never_taken_for_a_stalled_one() {
    let data = random("slow line", 16 * MIB);
    let chunks = cut(&data, castore_objstore::ChunkParams::default()).len();
    type Set = fn(Builder) -> Builder;
    let settings: [(u32, Set); 4] = [
        (20_000, |builder| builder),
        (50_000, |builder| builder),
        (300_000, |builder| builder),
        (1_000_000, |builder| builder.requests(128).memory(256 * MIB)),
    ];
    for (rate, set) in settings {
        let probe = Probe::new().with_uplink(rate);
        let service = set(patient(&probe)).build().unwrap();
        let start = Instant::now();
        put(&service, &data).await;
        let least = data.len() as u64 / u64::from(rate);
        let took = start.elapsed().as_secs();
        assert!(took >= least && took < least * 5 / 4 + 2, "{rate}: {took} s, {least} at best");
        // No chunk was sent twice.
        assert_eq!(probe.count(Kind::Put, Part::Chunks), chunks, "{rate}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_line_that_becomes_slow_ends_no_upload() {
    let probe = Probe::new().with_uplink(100_000_000);
    let service = patient(&probe).build().unwrap();
    put(&service, &random("fast", 8 * MIB)).await;
    let _slow = probe.with_uplink(30_000);
    put(&service, &random("slow", 16 * MIB)).await;
}

#[tokio::test(start_paused = true)]
async fn the_bytes_in_flight_over_a_slow_line_are_bounded() {
    let probe = Probe::new().with_uplink(300_000);
    let service = patient(&probe).memory(256 * MIB).build().unwrap();
    put(&service, &random("first", 20 * MIB)).await;
    probe.forget();
    put(&service, &random("second", 20 * MIB)).await;
    let peak = probe.peak_put_bytes();
    assert!(peak < 8 * MIB, "{peak} bytes are {} s worth", peak / 300_000);
}
