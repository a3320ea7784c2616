//! The promises for many concurrent callers.

use std::pin::pin;
use std::sync::Arc;

use bytes::Bytes;
use castore_core::{BlobReader, Digest};
use futures_util::TryStreamExt;
use futures_util::future::{join_all, try_join_all};
use tokio::io::{AsyncReadExt, AsyncSeekExt, AsyncWriteExt};

use super::{
    SIZE, difference, expect_blob, expect_range, open, poll_times, put, read_range, write_split,
};
use crate::Harness;
use crate::data::{Numbers, random};
use crate::steps::Step;

/// Two writers of the same bytes at the same time both succeed.
pub async fn same_blob_by_two_writers(harness: Arc<dyn Harness>) {
    let service = harness.open().await;
    let data = random("two writers", 2 << 20);
    let mut first = service.open_write().must("open_write").await;
    let mut second = service.open_write().must("open_write").await;
    for piece in data.chunks(100_000) {
        first.write_all(piece).must("write_all").await;
        second.write_all(piece).must("write_all").await;
    }
    let (first, second) = tokio::join!(first.close(), second.close());
    assert_eq!(first.expect("close"), second.expect("close"));
    expect_blob(&service, &data, "written twice at once").await;
}

/// Two services that store the same bytes at the same time both succeed.
pub async fn same_blob_by_two_services(harness: Arc<dyn Harness>) {
    let (one, other) = (harness.open().await, harness.open().await);
    for size in [1, 1000, 2 << 20] {
        let data = random("two services", size);
        tokio::join!(put(&one, &data), put(&other, &data));
        expect_blob(&one, &data, "stored by two services at once").await;
        expect_blob(&other, &data, "stored by two services at once").await;
    }
}

/// Sixteen writers, fed in turn and closed together, all succeed.
pub async fn sixteen_writers_at_once(harness: Arc<dyn Harness>) {
    let service = harness.open().await;
    let blobs: Vec<Bytes> =
        (0..16).map(|n| random(&format!("writer {n}"), 1_000_000 + n * 1000)).collect();
    let mut writers = Vec::new();
    for _ in &blobs {
        writers.push(service.open_write().must("open_write").await);
    }
    for start in (0..1_100_000).step_by(50_000) {
        for (writer, blob) in writers.iter_mut().zip(&blobs) {
            let piece = start.min(blob.len())..(start + 50_000).min(blob.len());
            writer.write_all(&blob[piece]).must("write_all").await;
        }
    }
    let closed = join_all(writers.iter_mut().map(|writer| writer.close())).await;
    for (digest, blob) in closed.into_iter().zip(&blobs) {
        assert_eq!(digest.expect("close"), Digest::of(blob));
    }
    for blob in &blobs {
        expect_blob(&service, blob, "one of sixteen").await;
    }
}

/// The number of writers, readers and ranges that may be open and idle, from the contract.
const IDLE: usize = 32;

/// Open idle writers do not keep another from finishing.
pub async fn idle_writers_hold_up_no_others(harness: Arc<dyn Harness>) {
    let service = harness.open().await;
    let data = random("idle writers", 1_500_000);
    let mut idle = Vec::new();
    for number in 0..IDLE {
        let mut writer = service.open_write().must("open_write").await;
        write_split(&mut writer, &data[number..], 300_000).await;
        idle.push(writer);
    }
    put(&service, &data).await;
    expect_blob(&service, &data, "stored beside idle writers").await;
    for (number, mut writer) in idle.into_iter().enumerate().take(4) {
        assert_eq!(writer.close().must("close").await, Digest::of(&data[number..]));
    }
}

/// The number of abandoned writers or readers: enough to exhaust a service that leaks.
const ABANDONED: usize = 150;

/// Abandoned writers, however they end, keep nothing that others need.
pub async fn abandoned_writers_hold_up_no_others(harness: Arc<dyn Harness>) {
    let service = harness.open().await;
    let data = random("abandoned writers", 250_000);
    for number in 0..ABANDONED {
        let mut writer = service.open_write().must("open_write").await;
        writer.write_bytes(data.slice(number..)).must("write_bytes").await;
        match number % 4 {
            0 => writer.flush().must("flush").await,
            1 => writer.abort().await,
            2 => {
                let closed = poll_times(pin!(writer.close()), 1).await;
                closed.map(|closed| closed.expect("close"));
            }
            _ => {}
        }
    }
    put(&service, &data).await;
    expect_blob(&service, &data, "stored after many writers were given up").await;
}

/// Two readers of one blob do not disturb each other.
pub async fn two_readers_at_once(harness: Arc<dyn Harness>) {
    let service = harness.open().await;
    let data = random("two readers", SIZE);
    let digest = put(&service, &data).await;
    let mut first = open(&service, &digest).await;
    let mut second = open(&service, &digest).await;
    second.seek(std::io::SeekFrom::Start(1_000_000)).must("seek").await;
    let mut buffers = (vec![0; 1000], vec![0; 1000]);
    for start in (0..1_000_000).step_by(1000) {
        let (one, two) =
            tokio::join!(first.read_exact(&mut buffers.0), second.read_exact(&mut buffers.1));
        one.expect("read_exact");
        two.expect("read_exact");
        assert!(buffers.0 == data[start..start + 1000], "the first reader at {start}");
        let start = start + 1_000_000;
        assert!(buffers.1 == data[start..start + 1000], "the second reader at {start}");
    }
}

/// Readers of two blobs that read in turn each return their own blob.
pub async fn two_blobs_read_at_once(harness: Arc<dyn Harness>) {
    let service = harness.open().await;
    let (one, other) = (random("read at once 1", SIZE), random("read at once 2", 1_500_000));
    let digests = (put(&service, &one).await, put(&service, &other).await);
    let mut readers = (open(&service, &digests.0).await, open(&service, &digests.1).await);
    let mut read = (vec![0; 100_000], vec![0; 100_000]);
    for start in (0..1_500_000).step_by(100_000) {
        let (first, second) =
            tokio::join!(readers.0.read_exact(&mut read.0), readers.1.read_exact(&mut read.1));
        first.expect("read_exact");
        second.expect("read_exact");
        let expected = start..start + 100_000;
        assert!(read.0 == one[expected.clone()], "the first blob from byte {start}");
        assert!(read.1 == other[expected], "the second blob from byte {start}");
    }
}

/// Sixteen readers of sixteen blobs, on several threads, each return their own blob.
pub async fn sixteen_readers_at_once(harness: Arc<dyn Harness>) {
    let service = harness.open().await;
    let blobs: Vec<Bytes> =
        (0..16).map(|n| random(&format!("reader {n}"), 700_000 + n * 1000)).collect();
    for blob in &blobs {
        put(&service, blob).await;
    }
    let readers = blobs.into_iter().map(|blob| {
        let service = Arc::clone(&service);
        tokio::spawn(async move {
            for _ in 0..3 {
                expect_blob(&service, &blob, "one of sixteen").await;
            }
        })
    });
    try_join_all(readers).must("reading beside others").await;
}

/// Many concurrent ranges of one reader each return their own bytes.
pub async fn ranges_at_once(harness: Arc<dyn Harness>) {
    let service = harness.open().await;
    let data = random("ranges at once", SIZE);
    let digest = put(&service, &data).await;
    let reader = open(&service, &digest).await;
    let mut numbers = Numbers::new("ranges at once");
    let starts: Vec<u64> = (0..32).map(|_| numbers.below(1_900_000)).collect();
    let read =
        join_all(starts.iter().map(|&start| read_range(&reader, start..start + 100_000))).await;
    for (start, read) in starts.into_iter().zip(read) {
        let read = read.unwrap_or_else(|error| panic!("a range from {start}: {error}"));
        let expected = &data[start as usize..start as usize + 100_000];
        assert!(read == expected, "a range from {start}: {}", difference(&read, expected));
    }
}

/// Readers and ranges that were begun and then left idle do not keep others from reading or
/// writing.
pub async fn idle_readers_hold_up_no_others(harness: Arc<dyn Harness>) {
    let service = harness.open().await;
    let data = random("idle readers", 3 << 20);
    let digest = put(&service, &data).await;
    let mut idle: Vec<BlobReader> = Vec::new();
    for _ in 0..IDLE {
        let mut reader = open(&service, &digest).await;
        reader.read_exact(&mut [0; 100]).must("read_exact").await;
        idle.push(reader);
    }
    let reader = open(&service, &digest).await;
    let unread: Vec<_> = (0..IDLE).map(|_| reader.read_range(0..reader.size())).collect();
    expect_range(&reader, &data, 0..data.len() as u64).await;
    expect_blob(&service, &data, "read beside idle readers").await;
    let other = random("beside idle readers", 1 << 20);
    put(&service, &other).await;
    expect_blob(&service, &other, "stored beside idle readers").await;
    drop(unread);
    let mut read = vec![0; data.len() - 100];
    idle.swap_remove(0).read_exact(&mut read).must("read_exact").await;
    assert!(read == data[100..], "{}", difference(&read, &data[100..]));
}

/// As many idle writers, readers and ranges as the contract allows, all at the same time, hold up
/// no other call, and each goes on afterwards.
pub async fn idle_readers_and_writers_hold_up_no_others(harness: Arc<dyn Harness>) {
    let service = harness.open().await;
    let data = random("all of them idle", 900_000);
    let digest = put(&service, &data).await;
    let size = data.len() as u64;
    let reader = open(&service, &digest).await;
    let (mut writers, mut readers, mut ranges) = (Vec::new(), Vec::new(), Vec::new());
    for number in 0..IDLE {
        let mut writer = service.open_write().must("open_write").await;
        writer.write_bytes(data.slice(number..600_000)).must("write_bytes").await;
        writers.push(writer);
        let mut idle = open(&service, &digest).await;
        idle.read_exact(&mut [0; 100]).must("read_exact").await;
        readers.push(idle);
        let mut range = reader.read_range(1..size);
        let first = range.try_next().must("read_range").await.expect("there is more");
        ranges.push((range, first));
    }
    let other = random("beside idle readers and writers", 1 << 20);
    put(&service, &other).await;
    expect_blob(&service, &other, "stored beside idle readers and writers").await;
    expect_blob(&service, &data, "read beside idle readers and writers").await;

    for (number, writer) in writers.iter_mut().enumerate().take(3) {
        let digest = writer.close().must("close").await;
        assert_eq!(digest, Digest::of(&data[number..600_000]));
    }
    let mut read = vec![0; data.len() - 100];
    readers[0].read_exact(&mut read).must("read_exact").await;
    assert!(read == data[100..], "{}", difference(&read, &data[100..]));
    let (range, first) = ranges.swap_remove(0);
    let rest = range.try_collect::<Vec<Bytes>>().must("read_range").await.concat();
    let read = [&first[..], &rest].concat();
    assert!(read == data[1..], "{}", difference(&read, &data[1..]));
}

/// Abandoned readers and ranges keep nothing that others need.
pub async fn abandoned_readers_hold_up_no_others(harness: Arc<dyn Harness>) {
    let service = harness.open().await;
    let data = random("abandoned readers", 1_000_000);
    let digest = put(&service, &data).await;
    for number in 0..ABANDONED {
        let mut reader = open(&service, &digest).await;
        let mut range = reader.read_range(0..reader.size());
        match number % 3 {
            0 => drop(range.try_next().must("read_range").await),
            1 => {
                let read = poll_times(pin!(range.try_next()), 1).await;
                read.map(|read| read.expect("read_range"));
            }
            _ => reader.read_exact(&mut [0; 100]).await.map(drop).expect("read_exact"),
        }
    }
    expect_blob(&service, &data, "read after many readers were given up").await;
    let other = random("after abandoned readers", 1_000_000);
    put(&service, &other).await;
    expect_blob(&service, &other, "stored after many readers were given up").await;
}

/// Readers return right bytes while other blobs are stored, aborted and dropped.
pub async fn readers_during_writes(harness: Arc<dyn Harness>) {
    let service = harness.open().await;
    let data = random("read during writes", 2 << 20);
    let digest = put(&service, &data).await;
    // Each of these reads certainly happens during a write; those further down do only by chance.
    for end in ["closed", "aborted", "dropped"] {
        let mut reader = open(&service, &digest).await;
        let mut read = vec![0; 500_000];
        reader.read_exact(&mut read).must("read_exact").await;
        let mut writer = service.open_write().must("open_write").await;
        writer.write_all(&random(end, 1 << 20)).must("write_all").await;
        expect_blob(&service, &data, "read while another is written").await;
        match end {
            "closed" => drop(writer.close().must("close").await),
            "aborted" => writer.abort().await,
            _ => drop(writer),
        }
        reader.read_to_end(&mut read).must("read_to_end").await;
        assert!(read == data, "{}: another was {end}", difference(&read, &data));
    }

    let writes = {
        let service = Arc::clone(&service);
        tokio::spawn(async move {
            for number in 0..6 {
                let other = random(&format!("written {number}"), 1 << 20);
                put(&service, &other).await;
                for abort in [true, false] {
                    let mut writer = service.open_write().must("open_write").await;
                    writer.write_all(&other[1000..]).must("write_all").await;
                    if abort {
                        writer.abort().await;
                    }
                }
            }
        })
    };
    for _ in 0..6 {
        expect_blob(&service, &data, "read while others are stored").await;
    }
    writes.must("storing while others read").await;
}

/// One of two writers of the same bytes ends without `close`. The other one closes, and its blob is
/// whole.
async fn one_of_twins(harness: &dyn Harness, aborts: bool) {
    for size in [1000, 1_500_000] {
        for flushed in [false, true] {
            let service = harness.open().await;
            let data = random(&format!("twins of {size}, aborts {aborts} {flushed}"), size);
            let mut first = service.open_write().must("open_write").await;
            let mut second = service.open_write().must("open_write").await;
            for writer in [&mut first, &mut second] {
                writer.write_bytes(data.clone()).must("write_bytes").await;
                if flushed {
                    writer.flush().must("flush").await;
                }
            }
            match aborts {
                true => first.abort().await,
                false => drop(first),
            }
            assert_eq!(second.close().must("close").await, Digest::of(&data));
            expect_blob(&harness.open().await, &data, "its twin ended in another way").await;
        }
    }
}

/// An aborted writer takes nothing away that another writer of the same bytes relies on.
pub async fn an_aborted_twin_takes_nothing_along(harness: Arc<dyn Harness>) {
    one_of_twins(&*harness, true).await;
}

/// A dropped writer takes nothing away that another writer of the same bytes relies on.
pub async fn a_dropped_twin_takes_nothing_along(harness: Arc<dyn Harness>) {
    one_of_twins(&*harness, false).await;
}

/// A writer that ends, in any way, does not disturb other writers in the middle of their blobs.
pub async fn an_ended_writer_leaves_others_alone(harness: Arc<dyn Harness>) {
    for end in ["closed", "aborted", "dropped"] {
        for written in [1, 1000, 70_000, 700_000] {
            let service = harness.open().await;
            let data = random(&format!("{written} bytes, and then another is {end}"), 1_100_000);
            let mut writer = service.open_write().must("open_write").await;
            let mut other = service.open_write().must("open_write").await;
            other
                .write_all(&random(&format!("{end} at {written}"), 300_000))
                .must("write_all")
                .await;
            other.flush().must("flush").await;
            writer.write_all(&data[..written]).must("write_all").await;
            writer.flush().must("flush").await;
            match end {
                "closed" => drop(other.close().must("close").await),
                "aborted" => other.abort().await,
                _ => drop(other),
            }
            writer.write_all(&data[written..]).must("write_all").await;
            assert_eq!(writer.close().must("close").await, Digest::of(&data));
            let what = format!("another was {end} when {written} bytes of it were written");
            expect_blob(&service, &data, &what).await;
        }
    }
}
