//! Memory and requests are bounded for the whole service, a slow store slows its writers down, and
//! no task deadlocks. The clock is virtual: a task that would wait for ever times out at once.

use castore_core::{BlobService, Digest};
use futures_util::future::join_all;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::time::{Instant, timeout};

use crate::support::clock::{FOR_EVER, LATENCY, not_stuck, round_trips, settle};
use crate::support::data::{KIB, MIB, random};
use crate::support::probe::{Kind, Part, Probe};
use crate::support::service::{builder, put, read, service};

#[tokio::test(start_paused = true)]
async fn requests_and_bytes_of_32_writers_stay_within_the_limits() {
    let (memory, requests) = (8 * MIB, 20);
    let probe = Probe::new().with_latency(LATENCY);
    let service = builder(&probe).memory(memory).requests(requests).build().unwrap();
    let blobs: Vec<_> = (0..32).map(|n| random(&format!("writer {n}"), 2 * MIB)).collect();
    let digests = not_stuck(join_all(blobs.iter().map(|blob| put(&service, blob)))).await;

    let (in_flight, put_bytes) = (probe.peak_in_flight(), probe.peak_put_bytes());
    println!("at most {in_flight} requests and {put_bytes} bytes of PUTs were in flight");
    assert!(in_flight <= requests, "{in_flight} requests at once");
    // One half of the memory is for writing, and three eighths of that half are for compressed
    // chunks.
    assert!(put_bytes <= memory / 2 * 3 / 8, "{put_bytes} bytes of PUTs at once");
    // Without this check, the test would pass with one writer after another.
    assert!(in_flight >= 4 && put_bytes >= memory / 16);

    probe.forget();
    let read = not_stuck(join_all(digests.iter().map(|digest| read(&service, digest)))).await;
    assert_eq!(read, blobs);
    let in_flight = probe.peak_in_flight();
    assert!(in_flight <= requests, "{in_flight} requests at once");
    assert!(in_flight >= requests / 2, "{in_flight} requests at once");
}

#[tokio::test(start_paused = true)]
async fn one_request_at_a_time_is_enough() {
    let probe = Probe::new().with_latency(LATENCY);
    let service = builder(&probe).memory(MIB).requests(1).build().unwrap();
    let blobs: Vec<_> = (0..4).map(|n| random(&format!("writer {n}"), 2 * MIB)).collect();
    let digests = not_stuck(join_all(blobs.iter().map(|blob| put(&service, blob)))).await;
    let read = not_stuck(join_all(digests.iter().map(|digest| read(&service, digest)))).await;
    assert_eq!(read, blobs);
    assert_eq!(probe.peak_in_flight(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_slow_store_slows_the_writer_down() {
    let memory = 16 * MIB;
    let probe = Probe::new();
    probe.hold(Kind::Put);
    let service = builder(&probe).memory(memory).build().unwrap();
    let data = random("endless", 64 * MIB);
    let mut rest = data.clone();
    let mut writer = service.open_write().await.unwrap();
    let mut feed = async |rest: &mut bytes::Bytes| {
        while !rest.is_empty() {
            let piece = rest.slice(..64 * KIB);
            writer.write_bytes(piece).await.unwrap();
            let _ = rest.split_to(64 * KIB);
        }
    };
    timeout(FOR_EVER, feed(&mut rest)).await.expect_err("no store can have taken all of this");
    let accepted = data.len() - rest.len();
    println!("{accepted} bytes were accepted with {memory} bytes of memory");
    assert!(accepted <= memory, "{accepted} bytes were accepted");
    assert!(accepted >= memory / 8, "only {accepted} bytes were accepted");

    probe.release();
    not_stuck(feed(&mut rest)).await;
    let digest = not_stuck(writer.close()).await.unwrap();
    assert_eq!(digest, Digest::of(&data));
    assert_eq!(read(&service, &digest).await, data);
}

/// One task opens all writers, feeds each a bit in turn, and only then finishes them.
async fn a_hundred_writers_in_turn(bytes_each: usize) {
    let probe = Probe::new().with_latency(LATENCY);
    let service = builder(&probe).memory(4 * MIB).requests(4).build().unwrap();
    let blobs: Vec<_> = (0..100).map(|n| random(&format!("turn {n}"), bytes_each)).collect();
    let mut writers = Vec::new();
    for _ in &blobs {
        writers.push(service.open_write().await.unwrap());
    }
    let piece = bytes_each.min(200 * KIB);
    for start in (0..bytes_each).step_by(piece) {
        for (writer, blob) in writers.iter_mut().zip(&blobs) {
            let piece = &blob[start..(start + piece).min(bytes_each)];
            not_stuck(writer.write_all(piece)).await.unwrap();
        }
    }
    for (writer, blob) in writers.iter_mut().zip(&blobs) {
        assert_eq!(not_stuck(writer.close()).await.unwrap(), Digest::of(blob));
    }
    assert_eq!(read(&service, &Digest::of(&blobs[99])).await, blobs[99]);
}

#[tokio::test(start_paused = true)]
async fn a_hundred_writers_fed_a_byte_each_in_turn_do_not_wait_for_each_other() {
    a_hundred_writers_in_turn(1).await;
}

#[tokio::test(start_paused = true)]
async fn a_hundred_writers_fed_more_than_the_memory_in_turn_do_not_wait_for_each_other() {
    a_hundred_writers_in_turn(700 * KIB).await;
}

/// A writer that stops halfway holds no memory that other writers wait for.
#[tokio::test(start_paused = true)]
async fn idle_writers_do_not_stop_others() {
    let probe = Probe::new().with_latency(LATENCY);
    let service = builder(&probe).memory(2 * MIB).build().unwrap();
    let mut idle = Vec::new();
    for n in 0..40 {
        let mut writer = service.open_write().await.unwrap();
        not_stuck(writer.write_all(&random(&format!("idle {n}"), 900 * KIB))).await.unwrap();
        not_stuck(writer.flush()).await.unwrap();
        idle.push(writer);
    }
    let data = random("busy", 4 * MIB);
    let digest = not_stuck(put(&service, &data)).await;
    assert_eq!(not_stuck(read(&service, &digest)).await, data);
    for (n, writer) in idle.iter_mut().enumerate() {
        let expected = random(&format!("idle {n}"), 900 * KIB);
        assert_eq!(not_stuck(writer.close()).await.unwrap(), Digest::of(&expected));
    }
}

#[tokio::test(start_paused = true)]
async fn copying_within_a_service_goes_on_with_many_idle_readers_open() {
    let probe = Probe::new().with_latency(LATENCY);
    let service = builder(&probe).memory(2 * MIB).requests(2).build().unwrap();
    let data = random("copied", 8 * MIB);
    let digest = put(&service, &data).await;
    let mut idle = Vec::new();
    for _ in 0..30 {
        let mut reader = service.open_read(&digest).await.unwrap().unwrap();
        not_stuck(reader.read_u8()).await.unwrap();
        idle.push(reader);
    }
    let mut reader = service.open_read(&digest).await.unwrap().unwrap();
    let mut writer = service.open_write().await.unwrap();
    // The copy is shifted by a byte, and so has some new chunks.
    not_stuck(writer.write_all(b"x")).await.unwrap();
    not_stuck(tokio::io::copy(&mut reader, &mut writer)).await.unwrap();
    let copy = not_stuck(writer.close()).await.unwrap();
    let expected = [b"x", &data[..]].concat();
    assert_eq!(copy, Digest::of(&expected));
    for reader in &mut idle {
        let mut rest = Vec::new();
        not_stuck(reader.read_to_end(&mut rest)).await.unwrap();
        assert_eq!(rest, data[1..]);
    }
}

/// The memory of readers that were dropped halfway becomes free again.
#[tokio::test(start_paused = true)]
async fn dropped_readers_and_writers_give_everything_back() {
    let probe = Probe::new().with_latency(LATENCY);
    let service = builder(&probe).memory(2 * MIB).requests(2).build().unwrap();
    let data = random("dropped", 4 * MIB);
    let digest = put(&service, &data).await;
    for n in 0..50 {
        let mut reader = service.open_read(&digest).await.unwrap().unwrap();
        not_stuck(reader.read_u8()).await.unwrap();
        let mut writer = service.open_write().await.unwrap();
        not_stuck(writer.write_all(&random(&format!("dropped {n}"), MIB))).await.unwrap();
    }
    assert_eq!(not_stuck(read(&service, &digest)).await, data);
    not_stuck(put(&service, &random("afterwards", 4 * MIB))).await;
}

/// The default service accepts all of the data at once; its limit in bytes does not slow it down.
#[tokio::test(start_paused = true)]
async fn one_writer_uses_many_requests() {
    let probe = Probe::new().with_latency(LATENCY);
    put(&service(&probe), &random("one writer", 16 * MIB)).await;
    assert!(probe.peak_in_flight() >= 16, "{} requests at once", probe.peak_in_flight());
    assert!(probe.peak_in_flight() <= castore_objstore::DEFAULT_REQUESTS);
    assert!(probe.count(Kind::Put, Part::Chunks) >= 32);
}

/// A reader that was used for a long time, and then is idle, has read ahead as far as allowed.
/// Another reader can use that memory, and the idle reader loses no data.
#[tokio::test(start_paused = true)]
async fn an_idle_reader_gives_up_its_read_ahead() {
    let probe = Probe::new().with_latency(LATENCY);
    let data = random("idle reader", 32 * MIB);
    let digest = put(&service(&probe), &data).await;
    let new = || builder(&probe).memory(16 * MIB).build().unwrap();
    let alone = {
        let service = new();
        let start = Instant::now();
        assert_eq!(read(&service, &digest).await, data);
        round_trips(start)
    };

    let service = new();
    let mut idle = service.open_read(&digest).await.unwrap().unwrap();
    let mut first = vec![0; 20 * MIB];
    idle.read_exact(&mut first).await.unwrap();
    settle().await;
    let start = Instant::now();
    assert_eq!(read(&service, &digest).await, data);
    assert_eq!(round_trips(start), alone);

    let mut rest = Vec::new();
    idle.read_to_end(&mut rest).await.unwrap();
    assert_eq!([first, rest].concat(), data);
}
