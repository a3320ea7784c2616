//! The promises for failing operations of the storage: the caller gets an error, and can try again.

use std::io::SeekFrom;
use std::sync::Arc;

use bytes::Bytes;
use castore_core::{BlobService, Digest, Error, ErrorKind};
use futures_util::StreamExt;
use futures_util::future::join_all;
use tokio::io::{AsyncReadExt, AsyncSeekExt, AsyncWriteExt};

use super::{difference, expect_absent, expect_blob, expect_range, open, put, try_put};
use crate::data::random;
use crate::steps::Step;
use crate::{Fault, Faults, Operation};

/// More operations than any blob of this module takes.
const MOST_OPERATIONS: usize = 500;

/// The sizes of a blob of one chunk, and of one with several.
const SIZES: [usize; 2] = [1000, 1_300_000];

/// Checks that the error blames the store, and neither the stored data nor the caller.
fn expect_failure(error: &Error, what: &str) {
    let kind = error.kind();
    assert!(kind != ErrorKind::Corrupt, "a failed operation is no damage: {error}: {what}");
    assert!(kind != ErrorKind::InvalidInput, "the request was valid: {error}: {what}");
}

/// Checks that an acknowledged blob is whole. Any other blob is absent or whole, because the
/// storage may have done what it could not confirm, and the same service can store it.
async fn expect_result(
    harness: &dyn Faults,
    service: &dyn BlobService,
    data: &Bytes,
    result: &Result<Digest, Error>,
    what: &str,
) {
    match result {
        Ok(digest) => assert_eq!(*digest, Digest::of(data), "{what}"),
        Err(error) => {
            expect_failure(error, what);
            let what = &format!("{what}, and the writer said: {error}");
            let here = is_whole(service, data, what).await;
            let elsewhere = is_whole(&harness.open().await, data, what).await;
            assert!(elsewhere || !here, "only the service that failed has it: {what}");
            put(service, data).await;
        }
    }
    expect_blob(&harness.open().await, data, what).await;
    expect_blob(service, data, what).await;
}

/// Whether the blob is present. Checks that a present blob is whole, and an absent one absent to
/// every method.
async fn is_whole(service: &dyn BlobService, data: &Bytes, what: &str) -> bool {
    let has = service.has(&Digest::of(data)).must("has").await;
    if has {
        expect_blob(service, data, what).await;
    } else {
        expect_absent(service, &Digest::of(data), what).await;
    }
    has
}

/// Stores blobs of `size` bytes while each operation involved fails in turn, with its effect
/// (`done`) or without. Returns the number of operations.
async fn fail_each(harness: &dyn Faults, operation: Operation, size: usize, done: bool) -> usize {
    for after in 0..MOST_OPERATIONS {
        let effect = if done { "done, but reported failed" } else { "failed" };
        let what = format!("{operation:?} {after} was {effect} while {size} bytes were stored");
        let data = random(&what, size);
        let service = harness.open().await;
        harness.fail(Fault { operation, after, lasting: false, done }).await;
        let result = try_put(&service, &data).await;
        let struck = harness.heal().await;
        assert!(struck || result.is_ok(), "nothing failed, but close did: {what}");
        expect_result(harness, &service, &data, &result, &what).await;
        if !struck {
            return after;
        }
    }
    MOST_OPERATIONS
}

/// A failed change of the storage fails the writer, unless the writer recovers. Another try stores
/// the blob.
pub async fn failed_writes_reach_close(harness: Arc<dyn Faults>) {
    for size in SIZES {
        let failed = fail_each(&*harness, Operation::Write, size, false).await;
        assert!(failed > 0, "a blob is stored, and the harness made no change fail");
    }
}

/// A failed read of the storage fails the writer, unless the writer recovers. Another try stores
/// the blob.
pub async fn failed_reads_reach_close(harness: Arc<dyn Faults>) {
    for size in SIZES {
        fail_each(&*harness, Operation::Read, size, false).await;
    }
    // Storing a present blob reads more from the storage.
    for after in 0..MOST_OPERATIONS {
        let what = format!("look {after} failed while a known blob was stored again");
        let data = random("known", SIZES[1]);
        put(&harness.open().await, &data).await;
        let service = harness.open().await;
        harness
            .fail(Fault { operation: Operation::Read, after, lasting: false, done: false })
            .await;
        let result = try_put(&service, &data).await;
        let struck = harness.heal().await;
        match result {
            Ok(digest) => assert_eq!(digest, Digest::of(&data), "{what}"),
            Err(error) => {
                assert!(struck, "nothing failed, but close did: {error}: {what}");
                expect_failure(&error, &what);
            }
        }
        expect_blob(&service, &data, &what).await;
        if !struck {
            break;
        }
    }
}

/// A failed writer returns the same error for ever, also when the storage works again.
pub async fn close_again_returns_the_same_error(harness: Arc<dyn Faults>) {
    let service = harness.open().await;
    for size in SIZES {
        let data = random("close again", size);
        let mut writer = service.open_write().must("open_write").await;
        harness
            .fail(Fault { operation: Operation::Write, after: 0, lasting: true, done: false })
            .await;
        let first = match writer.write_bytes(data.clone()).await {
            Ok(()) => writer.close().await.expect_err("close, as every change fails"),
            Err(error) => error,
        };
        expect_failure(&first, "every change fails");
        let again = writer.close().await.expect_err("close, after it failed");
        assert!(harness.heal().await, "a blob was stored, and the harness made no change fail");
        let healed = writer.close().await.expect_err("close, after it failed");
        let written = writer.write_bytes(data.clone()).await.expect_err("write_bytes, after close");
        for error in [again, healed, written] {
            assert_eq!(error.kind(), first.kind());
            assert_eq!(error.to_string(), first.to_string());
        }
        drop(writer);
        expect_absent(&service, &Digest::of(&data), "its writer has failed").await;
    }
}

/// A question that the storage cannot answer is an error, not `false` and not `None`, whichever of
/// its reads fails.
pub async fn failed_questions_are_errors(harness: Arc<dyn Faults>) {
    for size in SIZES {
        let data = random("questions", size);
        let digest = put(&harness.open().await, &data).await;
        for question in ["has", "chunks", "open_read"] {
            for lasting in [false, true] {
                for after in 0..MOST_OPERATIONS {
                    let service = harness.open().await;
                    let operation = Operation::Read;
                    harness.fail(Fault { operation, after, lasting, done: false }).await;
                    let answer = ask(&service, question, &digest).await;
                    let struck = harness.heal().await;
                    match answer {
                        Ok(there) => {
                            let what = format!("look {after} failed, lasting: {lasting}");
                            assert!(there, "{question}: the blob is said to be absent: {what}");
                        }
                        Err(error) => expect_failure(&error, question),
                    }
                    for question in ["has", "chunks", "open_read"] {
                        let there = ask(&service, question, &digest).await.expect(question);
                        assert!(there, "{question}: false, although the storage works again");
                    }
                    if !struck {
                        break;
                    }
                }
            }
            expect_blob(&harness.open().await, &data, "the storage works again").await;
        }
    }
}

/// Whether the blob is present, by one of three methods.
async fn ask(service: &dyn BlobService, question: &str, digest: &Digest) -> Result<bool, Error> {
    match question {
        "has" => service.has(digest).await,
        "chunks" => service.chunks(digest).await.map(|index| index.is_some()),
        _ => service.open_read(digest).await.map(|reader| reader.is_some()),
    }
}

/// A failed read ends in an error after right bytes, and goes on when the storage works again.
pub async fn failed_reads_are_errors(harness: Arc<dyn Faults>) {
    let mut failed = 0;
    for size in SIZES {
        let data = random("failed reads", size);
        let digest = put(&harness.open().await, &data).await;
        for after in 0..MOST_OPERATIONS {
            let what = format!("read {after} of {size} bytes failed");
            let service = harness.open().await;
            harness
                .fail(Fault { operation: Operation::Read, after, lasting: false, done: false })
                .await;
            let opened = service.open_read(&digest).await;
            let mut read = Vec::new();
            let result = match opened {
                Ok(None) => panic!("open_read: the blob is said to be absent: {what}"),
                Ok(Some(mut reader)) => {
                    let result = reader.read_to_end(&mut read).await;
                    assert!(data.starts_with(&read), "{}: {what}", difference(&read, &data));
                    result.map_err(|error| error.downcast::<Error>().expect("castore's own error"))
                }
                Err(error) => Err(error),
            };
            let struck = harness.heal().await;
            match result {
                Ok(_) => assert!(read == data, "{}: {what}", difference(&read, &data)),
                Err(error) => {
                    assert!(struck, "nothing failed, but the read did: {error}: {what}");
                    expect_failure(&error, &what);
                }
            }
            let mut reader = open(&service, &digest).await;
            let mut again = Vec::new();
            reader.read_to_end(&mut again).must("read_to_end, by the same service").await;
            assert!(again == data, "{}: after {what}", difference(&again, &data));
            if !struck {
                break;
            }
            failed += 1;
        }
    }
    assert!(failed >= SIZES.len(), "blobs are read, and the harness made no read fail");
}

/// A failed range ends in an error after right bytes, and the same reader returns all of the range
/// when the storage works again.
pub async fn failed_ranges_are_errors(harness: Arc<dyn Faults>) {
    let data = random("failed ranges", SIZES[1]);
    let digest = put(&harness.open().await, &data).await;
    let size = data.len() as u64;
    for range in [size / 5..size / 5 * 4, size / 2..size] {
        let expected = &data[range.start as usize..range.end as usize];
        for after in 0..MOST_OPERATIONS {
            let what = format!("read {after} of the range {range:?} failed");
            let service = harness.open().await;
            let reader = open(&service, &digest).await;
            let operation = Operation::Read;
            harness.fail(Fault { operation, after, lasting: false, done: false }).await;
            let mut pieces = reader.read_range(range.clone());
            let (mut read, mut failed) = (Vec::new(), None);
            while let Some(piece) = pieces.next().named("read_range").await {
                assert!(failed.is_none(), "the range goes on after an error: {what}");
                match piece {
                    Ok(piece) => read.extend_from_slice(&piece),
                    Err(error) => failed = Some(error),
                }
            }
            let struck = harness.heal().await;
            assert!(expected.starts_with(&read), "{}: {what}", difference(&read, expected));
            match failed {
                Some(error) => {
                    assert!(struck, "nothing failed, but the range did: {error}: {what}");
                    expect_failure(&error, &what);
                }
                None => assert!(read == expected, "{}: {what}", difference(&read, expected)),
            }
            expect_range(&reader, &data, range.clone()).await;
            if !struck {
                break;
            }
        }
    }
}

/// A failed reader keeps its error until a seek, and then goes on, as the storage works again.
pub async fn readers_go_on_after_a_failure(harness: Arc<dyn Faults>) {
    let data = random("readers that go on", SIZES[1]);
    let digest = put(&harness.open().await, &data).await;
    for after in 0..MOST_OPERATIONS {
        let what = format!("read {after} failed");
        let service = harness.open().await;
        let mut reader = open(&service, &digest).await;
        let operation = Operation::Read;
        harness.fail(Fault { operation, after, lasting: false, done: false }).await;
        let mut read = Vec::new();
        let result = reader.read_to_end(&mut read).named("read_to_end").await;
        let struck = harness.heal().await;
        assert!(data.starts_with(&read), "{}: {what}", difference(&read, &data));
        if let Err(first) = result {
            let again = reader.read(&mut [0; 10]).await.expect_err("read, after a failure");
            assert_eq!(again.to_string(), first.to_string(), "{what}");
            let to = SeekFrom::Start(read.len() as u64);
            reader.seek(to).must("seek, after a failure").await;
            reader.read_to_end(&mut read).must("read_to_end, after a failure and a seek").await;
        }
        assert!(read == data, "{}: {what}", difference(&read, &data));
        if !struck {
            break;
        }
    }
}

fn blobs(name: &str, count: usize) -> Vec<Bytes> {
    (0..count).map(|number| random(&format!("{name} {number}"), SIZES[number % 2])).collect()
}

/// If every change fails, each of many writers gets an error, and none waits for ever.
pub async fn lasting_failures_reach_every_writer(harness: Arc<dyn Faults>) {
    let service = harness.open().await;
    let blobs = blobs("lasting", 16);
    harness.fail(Fault { operation: Operation::Write, after: 0, lasting: true, done: false }).await;
    let results = join_all(blobs.iter().map(|blob| try_put(&service, blob))).await;
    assert!(harness.heal().await, "blobs were stored, and the harness made no change fail");
    for (blob, result) in blobs.iter().zip(&results) {
        assert!(result.is_err(), "close succeeded although every change fails");
        expect_result(&*harness, &service, blob, result, "every change failed").await;
    }
}

/// If one change fails among many writers, every writer that succeeds has stored its blob.
pub async fn one_failure_among_many_writers(harness: Arc<dyn Faults>) {
    for after in [0, 1, 5, 12] {
        let service = harness.open().await;
        let blobs = blobs(&format!("among many {after}"), 8);
        harness
            .fail(Fault { operation: Operation::Write, after, lasting: false, done: false })
            .await;
        let results = join_all(blobs.iter().map(|blob| try_put(&service, blob))).await;
        harness.heal().await;
        for (blob, result) in blobs.iter().zip(&results) {
            let what = format!("change {after} of all failed");
            expect_result(&*harness, &service, blob, result, &what).await;
        }
    }
}

/// If one change fails while two writers store the same blob, and one succeeds, the blob is
/// present.
pub async fn one_failure_among_writers_of_one_blob(harness: Arc<dyn Faults>) {
    for size in SIZES {
        for after in 0..MOST_OPERATIONS {
            let what = format!("change {after} failed while {size} bytes were stored twice");
            let data = random(&what, size);
            let service = harness.open().await;
            harness
                .fail(Fault { operation: Operation::Write, after, lasting: false, done: false })
                .await;
            let results = tokio::join!(try_put(&service, &data), try_put(&service, &data));
            let struck = harness.heal().await;
            for result in [&results.0, &results.1] {
                assert!(struck || result.is_ok(), "nothing failed, but close did: {what}");
                let _ = result.as_ref().inspect_err(|error| expect_failure(error, &what));
            }
            let result = results.0.or(results.1);
            expect_result(&*harness, &service, &data, &result, &what).await;
            if !struck {
                break;
            }
        }
    }
}

/// A change that takes effect but reports a failure fails the writer, unless the writer recovers.
/// Either way the blob is absent or whole, and another try stores it.
pub async fn changes_done_but_reported_failed(harness: Arc<dyn Faults>) {
    for size in SIZES {
        fail_each(&*harness, Operation::Write, size, true).await;
    }
}

/// A writer reports a failed change late in a long blob as well as an early one.
pub async fn failed_writes_of_a_long_blob_reach_close(harness: Arc<dyn Faults>) {
    let failed = fail_each(&*harness, Operation::Write, 3_600_000, false).await;
    assert!(failed > 7, "a blob of many chunks takes {failed} changes only");
}

/// A present blob stays whole while it is stored again and a change fails.
pub async fn failed_writes_leave_a_present_blob_whole(harness: Arc<dyn Faults>) {
    for size in SIZES {
        let data = random("present", size);
        put(&harness.open().await, &data).await;
        for done in [false, true] {
            for after in 0..MOST_OPERATIONS {
                let service = harness.open().await;
                let operation = Operation::Write;
                harness.fail(Fault { operation, after, lasting: true, done }).await;
                let result = try_put(&service, &data).await;
                let struck = harness.heal().await;
                let what = format!("change {after} failed while it was stored again");
                match result {
                    Ok(digest) => assert_eq!(digest, Digest::of(&data), "{what}"),
                    Err(error) => expect_failure(&error, &what),
                }
                expect_blob(&harness.open().await, &data, &what).await;
                if !struck {
                    break;
                }
            }
        }
    }
}

/// Of four readers of one blob that may share their fetches, each ends when a fetch fails.
pub async fn a_failed_fetch_ends_every_reader(harness: Arc<dyn Faults>) {
    let data = random("shared fetches", SIZES[1]);
    let digest = put(&harness.open().await, &data).await;
    for after in 0..MOST_OPERATIONS {
        let service = harness.open().await;
        let what = format!("read {after} of all failed");
        let mut readers = Vec::new();
        for _ in 0..4 {
            readers.push(open(&service, &digest).await);
        }
        harness
            .fail(Fault { operation: Operation::Read, after, lasting: false, done: false })
            .await;
        let reads = readers.iter_mut().map(|reader| async {
            let mut read = Vec::new();
            let result = reader.read_to_end(&mut read).await;
            (read, result.map_err(|error| error.downcast::<Error>().expect("castore's own error")))
        });
        let ended = join_all(reads).await;
        let struck = harness.heal().await;
        for (read, result) in ended {
            assert!(data.starts_with(&read), "{}: {what}", difference(&read, &data));
            match result {
                Ok(_) => assert!(read == data, "{}: {what}", difference(&read, &data)),
                Err(error) => expect_failure(&error, &what),
            }
        }
        expect_blob(&service, &data, &format!("after {what}")).await;
        if !struck {
            break;
        }
    }
}

/// A failed writer takes nothing away that another writer of the same bytes relies on.
pub async fn a_failed_twin_takes_nothing_along(harness: Arc<dyn Faults>) {
    for size in SIZES {
        let data = random("a failed twin", size);
        let service = harness.open().await;
        let mut twin = service.open_write().must("open_write").await;
        twin.write_bytes(data.clone()).must("write_bytes").await;
        twin.flush().must("flush").await;
        // The other writer gets as far as its last change, or a few before.
        for after in 0..8 {
            let operation = Operation::Write;
            harness.fail(Fault { operation, after, lasting: true, done: false }).await;
            let _ = try_put(&service, &data).await;
            harness.heal().await;
        }
        // The fault may have hit unfinished work of the twin, too.
        let closed = twin.close().await;
        let what = "other writers of it have failed";
        expect_result(&*harness, &service, &data, &closed, what).await;
    }
}
