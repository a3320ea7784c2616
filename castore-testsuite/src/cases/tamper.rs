//! The promises for damaged stored data: an error of kind `Corrupt` instead of a wrong byte.
//!
//! The cases do not know the role of a record in the service. A damage may be harmless; then every
//! read is right. A damaged index may list other chunks, and only the digest of the whole blob can
//! reveal that. So if the answer of `chunks` has changed, the cases check only the bytes of reads
//! of the whole blob, at their end.

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;
use castore_core::{BlobIndex, BlobService, Digest, Error, ErrorKind};
use futures_util::StreamExt;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::{difference, expect_blob, open, put, read_range, try_put};
use crate::data::random;
use crate::steps::Step;
use crate::{Checks, Tamper};

/// A blob as it was before any damage.
struct Original {
    data: Bytes,
    index: BlobIndex,
}

type Records = BTreeMap<String, Bytes>;

/// The most records that a case damages, one after another.
const MOST_RECORDS: usize = 16;

async fn store(service: &dyn BlobService, data: Bytes) -> Original {
    let digest = put(service, &data).await;
    let index = service.chunks(&digest).must("chunks").await.expect("the blob is absent");
    Original { data, index }
}

/// Stores blobs of one chunk and of many, and returns them with all records.
async fn stored(harness: &dyn Tamper, name: &str) -> (Vec<Original>, Records) {
    let service = harness.open().await;
    let mut originals = Vec::new();
    for size in [1000, 1_300_000] {
        originals.push(store(&service, random(&format!("{name} {size}"), size)).await);
    }
    let records = harness.records().await;
    assert!(!records.is_empty(), "blobs are stored, and the harness shows no record");
    (originals, records)
}

/// Some of the records, from first to last.
fn some(records: &Records) -> impl Iterator<Item = (&String, &Bytes)> {
    records.iter().step_by(records.len().div_ceil(MOST_RECORDS).max(1))
}

/// The permitted states of a damaged blob.
#[derive(Clone, Copy, PartialEq)]
enum Outcome {
    /// Every read is right, or is `Corrupt`.
    RightOrCorrupt,
    /// The blob may also be absent, because the damage removed something.
    AbsentToo,
    /// The blob cannot be read, because nothing is left of it.
    Unreadable,
}

/// Checks with a service that remembers nothing that the state of the blob is one of `outcome`.
async fn expect(harness: &dyn Tamper, original: &Original, outcome: Outcome, what: &str) {
    let Original { data, index } = original;
    let digest = Digest::of(data);
    let service = harness.open().await;
    let may_be_absent = outcome != Outcome::RightOrCorrupt;

    match service.has(&digest).await {
        Ok(has) => assert!(has || may_be_absent, "has is false: {what}"),
        Err(error) => expect_corrupt(&error, what),
    }
    let same_index = match service.chunks(&digest).await {
        Ok(Some(now)) => now.lists_same(index),
        Ok(None) => {
            assert!(may_be_absent, "chunks is None: {what}");
            false
        }
        Err(error) => {
            expect_corrupt(&error, what);
            false
        }
    };
    let mut reader = match service.open_read(&digest).await {
        Ok(Some(reader)) => reader,
        Ok(None) => return assert!(may_be_absent, "open_read is None: {what}"),
        Err(error) => return expect_corrupt(&error, what),
    };

    let mut read = Vec::new();
    let result = reader.read_to_end(&mut read).await;
    if same_index {
        assert!(data.starts_with(&read), "{}: {what}", difference(&read, data));
    }
    match result {
        Ok(_) => {
            assert!(read == *data, "wrong, and without an error: {what}");
            assert!(outcome != Outcome::Unreadable, "read, although all is gone: {what}");
        }
        Err(error) => {
            let error = error.downcast::<Error>();
            expect_corrupt(&error.unwrap_or_else(|error| panic!("{error}: {what}")), what);
            let all = reader.size();
            assert!((read.len() as u64) < all, "all bytes came before the error: {what}");
            let again = reader.read(&mut [0; 1]).await;
            assert!(again.is_err(), "a read after an error goes on as if nothing was: {what}");
        }
    }

    let size = reader.size();
    for range in [0..size, size / 3..size / 2, size / 2..size, size - size.min(1)..size] {
        let mut read = Vec::new();
        let mut pieces = reader.read_range(range.clone());
        while let Some(piece) = pieces.next().await {
            match piece {
                Ok(piece) => read.extend_from_slice(&piece),
                Err(error) => expect_corrupt(&error, what),
            }
        }
        if same_index {
            let expected = &data[range.start as usize..range.end as usize];
            assert!(expected.starts_with(&read), "range {range:?}: wrong bytes: {what}");
        }
    }
}

fn expect_corrupt(error: &Error, what: &str) {
    assert_eq!(error.kind(), ErrorKind::Corrupt, "{error}: {what}");
}

/// Damages some records in turn, each in all the ways that `damage` returns, and checks all blobs.
async fn damage_each<D>(harness: &dyn Tamper, name: &str, outcome: Outcome, damage: D)
where
    D: Fn(&Bytes) -> Vec<(String, Option<Bytes>)>,
{
    let (originals, records) = stored(harness, name).await;
    for (record, bytes) in some(&records) {
        for (how, damaged) in damage(bytes) {
            harness.replace(record, damaged).await;
            for original in &originals {
                let size = original.data.len();
                let what = format!("{record} was {how}; the blob of {size} bytes");
                expect(harness, original, outcome, &what).await;
            }
        }
        harness.replace(record, Some(bytes.clone())).await;
    }
}

fn changed(bytes: &Bytes, change: impl FnOnce(&mut Vec<u8>)) -> Option<Bytes> {
    let mut bytes = bytes.to_vec();
    change(&mut bytes);
    Some(bytes.into())
}

/// One bit of a record flips.
pub async fn flipped_bits(harness: Arc<dyn Tamper>) {
    damage_each(&*harness, "flipped", Outcome::RightOrCorrupt, |bytes| {
        let len = bytes.len();
        let places = [0, 1, 4, 5, len / 3, len / 2, len.saturating_sub(5), len.saturating_sub(1)];
        let flip = |(number, place): (usize, &usize)| {
            let damaged = changed(bytes, |bytes| bytes[*place] ^= 1 << (number % 8));
            (format!("flipped a bit in at byte {place} of {len}"), damaged)
        };
        places.iter().filter(|place| **place < len).enumerate().map(flip).collect()
    })
    .await;
}

/// A record loses its end.
pub async fn truncated_records(harness: Arc<dyn Tamper>) {
    damage_each(&*harness, "truncated", Outcome::RightOrCorrupt, |bytes| {
        let len = bytes.len();
        let lens = [1, len / 2, len.saturating_sub(4), len.saturating_sub(1)];
        let cut = |to: &usize| (format!("cut to {to} of {len} bytes"), Some(bytes.slice(..*to)));
        lens.iter().filter(|to| (1..len).contains(*to)).map(cut).collect()
    })
    .await;
}

/// A record has more bytes after its end.
pub async fn extended_records(harness: Arc<dyn Tamper>) {
    damage_each(&*harness, "extended", Outcome::RightOrCorrupt, |bytes| {
        let tails = [vec![0], vec![0; 1000], bytes.to_vec(), random("a tail", 100_000).to_vec()];
        let extend = |tail: &Vec<u8>| {
            let damaged = changed(bytes, |bytes| bytes.extend_from_slice(tail));
            (format!("extended by {} bytes", tail.len()), damaged)
        };
        tails.iter().map(extend).collect()
    })
    .await;
}

/// A record exists, but is empty.
pub async fn emptied_records(harness: Arc<dyn Tamper>) {
    damage_each(&*harness, "emptied", Outcome::RightOrCorrupt, |_| {
        vec![("emptied".to_owned(), Some(Bytes::new()))]
    })
    .await;
}

/// One record is removed, then all.
pub async fn removed_records(harness: Arc<dyn Tamper>) {
    let harness = &*harness;
    damage_each(harness, "removed", Outcome::AbsentToo, |_| vec![("removed".to_owned(), None)])
        .await;
    replace_all(harness, |_| None).await;
}

/// Two records trade places, or one replaces another.
pub async fn swapped_records(harness: Arc<dyn Tamper>) {
    let harness = &*harness;
    let (originals, records) = stored(harness, "swapped").await;
    let chosen: Vec<_> = some(&records).collect();
    for (number, one) in chosen.iter().enumerate() {
        for other in &chosen[..number] {
            for (first, second, how) in [
                (other.1, one.1, "were swapped"),
                (other.1, other.1, "are both the second"),
                (one.1, one.1, "are both the first"),
            ] {
                harness.replace(one.0, Some(first.clone())).await;
                harness.replace(other.0, Some(second.clone())).await;
                for original in &originals {
                    let what = format!("{} and {} {how}", one.0, other.0);
                    expect(harness, original, Outcome::RightOrCorrupt, &what).await;
                }
            }
            harness.replace(other.0, Some(other.1.clone())).await;
        }
        harness.replace(one.0, Some(one.1.clone())).await;
    }
}

/// One record holds garbage, then all do.
pub async fn records_of_garbage(harness: Arc<dyn Tamper>) {
    let harness = &*harness;
    damage_each(harness, "garbage", Outcome::RightOrCorrupt, |bytes| {
        let garbage = [
            ("zeros", vec![0; bytes.len()].into()),
            ("ones", vec![0xff; bytes.len()].into()),
            ("random bytes", random("garbage", bytes.len())),
            ("many random bytes", random("garbage", 2 << 20)),
            ("a short text", Bytes::from_static(b"<html>502 Bad Gateway</html>")),
        ];
        let replace = |(name, bytes)| (format!("replaced by {name}"), Some(bytes));
        garbage.into_iter().map(replace).collect()
    })
    .await;
    replace_all(harness, |bytes| Some(random("garbage", bytes.len()))).await;
}

/// Replaces every record, after which every read must fail. (So a hook that does nothing is found.)
async fn replace_all(harness: &dyn Tamper, damaged: impl Fn(&Bytes) -> Option<Bytes>) {
    let (originals, records) = stored(harness, "all of them").await;
    for (record, bytes) in &records {
        harness.replace(record, damaged(bytes)).await;
    }
    for original in &originals {
        expect(harness, original, Outcome::Unreadable, "every record was replaced").await;
    }
}

/// Blobs that share nothing with a damaged one can be read as before.
pub async fn damage_stays_where_it_is(harness: Arc<dyn Tamper>) {
    let service = harness.open().await;
    let unharmed = store(&service, random("unharmed", 1_300_000)).await;
    let before = harness.records().await;
    let harmed = store(&service, random("harmed", 1_300_000)).await;
    let after = harness.records().await;
    for (record, bytes) in after.iter().filter(|(record, _)| !before.contains_key(*record)) {
        harness.replace(record, changed(bytes, |bytes| bytes.reverse())).await;
    }
    expect_blob(&harness.open().await, &unharmed.data, "only another blob is damaged").await;
    let what = "all its own records are reversed";
    expect(&*harness, &harmed, Outcome::RightOrCorrupt, what).await;
}

/// Repaired damage leaves no trace.
pub async fn undone_damage_is_gone(harness: Arc<dyn Tamper>) {
    let (originals, records) = stored(&*harness, "undone").await;
    for (record, bytes) in some(&records) {
        harness.replace(record, Some(random("damage", bytes.len()))).await;
        for original in &originals {
            expect(&*harness, original, Outcome::RightOrCorrupt, "a record was replaced").await;
        }
        harness.replace(record, Some(bytes.clone())).await;
    }
    let service = harness.open().await;
    for original in &originals {
        expect_blob(&service, &original.data, "the damage was undone").await;
    }
}

/// A blob stored over its own damage can be read, if the writer acknowledges it.
///
/// Every service that is opened after the damage notices a missing or empty record. A service that
/// verifies the records it reuses notices other damage, too. A service that has stored the blob
/// itself notices damage if it does not trust its own memory: [`Tamper::checks`] says which.
pub async fn storing_again_heals(harness: Arc<dyn Tamper>) {
    let harness = &*harness;
    let checks = harness.checks();
    let first = harness.open().await;
    for size in [1000, 1_300_000] {
        let data = random(&format!("healed {size}"), size);
        let before = harness.records().await;
        put(&first, &data).await;
        let records = harness.records().await;
        let own: Records =
            records.into_iter().filter(|(name, _)| !before.contains_key(name)).collect();
        assert!(!own.is_empty(), "a blob is stored, and the harness shows no new record");
        for (record, bytes) in some(&own) {
            let len = bytes.len();
            let visible = [("removed", None), ("emptied", Some(Bytes::new()))];
            let hidden = [
                ("flipped a bit in", changed(bytes, |bytes| bytes[len / 2] ^= 1)),
                ("cut to half", Some(bytes.slice(..len / 2))),
                ("replaced by random bytes", Some(random("garbage", len))),
                ("replaced by other bytes", Some(random("garbage", len + 1000))),
            ];
            let hidden = hidden.into_iter().filter(|_| checks == Checks::Everything);
            for (how, damaged) in visible.into_iter().chain(hidden) {
                let what = format!("{record} was {how}, and the blob of {size} bytes stored again");
                harness.replace(record, damaged.clone()).await;
                heal(harness, &harness.open().await, &data, &what).await;
                if checks == Checks::Everything {
                    harness.replace(record, damaged).await;
                    heal(harness, &first, &data, &format!("{what} by who stored it first")).await;
                }
            }
        }
    }
}

/// Stores the blob again. A service that remembers nothing must read the acknowledged blob.
async fn heal(harness: &dyn Tamper, service: &dyn BlobService, data: &Bytes, what: &str) {
    let stored = try_put(service, data).await;
    let digest = stored.unwrap_or_else(|error| panic!("it cannot be stored: {error}: {what}"));
    assert_eq!(digest, Digest::of(data), "{what}");
    expect_blob(&harness.open().await, data, what).await;
}

/// Bytes that were verified once are verified again: a service and a reader that have read a blob
/// before the damage return right bytes afterwards, or `Corrupt`.
pub async fn verified_data_is_verified_again(harness: Arc<dyn Tamper>) {
    let service = harness.open().await;
    let original = store(&service, random("verified before", 1_300_000)).await;
    let Original { data, .. } = &original;
    let digest = Digest::of(data);
    expect_blob(&service, data, "before the damage").await;
    let reader = open(&service, &digest).await;
    let records = harness.records().await;
    for (record, bytes) in some(&records) {
        harness.replace(record, changed(bytes, |bytes| bytes.reverse())).await;
        let what = format!("{record} was reversed after it was read");
        for reader in [Some(&reader), open_damaged(&service, &digest, &what).await.as_ref()] {
            let Some(reader) = reader else { continue };
            let mut read = Vec::new();
            let mut pieces = reader.read_range(0..reader.size());
            while let Some(piece) = pieces.next().await {
                match piece {
                    Ok(piece) => read.extend_from_slice(&piece),
                    Err(error) => expect_corrupt(&error, &what),
                }
            }
            assert!(data.starts_with(&read), "{}: {what}", difference(&read, data));
        }
        harness.replace(record, Some(bytes.clone())).await;
    }
}

async fn open_damaged(
    service: &dyn BlobService,
    digest: &Digest,
    what: &str,
) -> Option<castore_core::BlobReader> {
    match service.open_read(digest).await {
        Ok(reader) => reader,
        Err(error) => {
            expect_corrupt(&error, what);
            None
        }
    }
}

/// Damage to a part of a blob leaves its other parts readable, as a range fetches only the chunks
/// it needs: for some record, a flipped bit spoils the ranges of some chunks, but not of all.
pub async fn other_parts_of_a_damaged_blob_can_be_read(harness: Arc<dyn Tamper>) {
    let service = harness.open().await;
    let Original { data, index } = store(&service, random("other parts", 2_300_000)).await;
    let records = harness.records().await;
    let mut is_partial = index.len() < 2;
    for (record, bytes) in records.iter().filter(|(_, bytes)| !bytes.is_empty()) {
        let middle = bytes.len() / 2;
        harness.replace(record, changed(bytes, |bytes| bytes[middle] ^= 1)).await;
        let what = format!("a bit of {record} was flipped");
        let service = harness.open().await;
        let listed = service.chunks(&index.digest()).named("chunks").await;
        // A damaged index may list other chunks; this case is about damaged chunks.
        let same_index = matches!(listed, Ok(Some(listed)) if listed.lists_same(&index));
        let opened = open_damaged(&service, &index.digest(), &what).await;
        if let Some(reader) = opened.filter(|_| same_index) {
            let mut right = 0;
            for piece in index.pieces(0..index.size()) {
                let range = piece.start..piece.end();
                match read_range(&reader, range.clone()).await {
                    Ok(read) => {
                        let expected = &data[range.start as usize..range.end as usize];
                        assert!(read == expected, "range {range:?}: wrong bytes: {what}");
                        right += 1;
                    }
                    Err(error) => expect_corrupt(&error, &what),
                }
            }
            is_partial |= (1..index.len()).contains(&right);
        }
        harness.replace(record, Some(bytes.clone())).await;
        if is_partial {
            return;
        }
    }
    assert!(is_partial, "any damage spoils all ranges of a blob, or none");
}

/// The bytes of a record, stored as a blob, make a blob like any other.
pub async fn records_stored_as_blobs_round_trip(harness: Arc<dyn Tamper>) {
    let (originals, records) = stored(&*harness, "to be stored").await;
    let service = harness.open().await;
    for (record, bytes) in some(&records) {
        put(&service, bytes).await;
        expect_blob(&service, bytes, &format!("the bytes of {record}, as a blob")).await;
    }
    for original in &originals {
        expect_blob(&service, &original.data, "its records were stored as blobs").await;
    }
}

/// Once `abort` returns, the writer's work has ended: no record changes afterwards.
pub async fn abort_leaves_no_work_behind(harness: Arc<dyn Tamper>) {
    let service = harness.open().await;
    for (number, flushed) in [false, true, false, true].into_iter().enumerate() {
        let data = random(&format!("aborted {number}"), 3 << 20);
        let mut writer = service.open_write().must("open_write").await;
        writer.write_bytes(data).must("write_bytes").await;
        if flushed {
            writer.flush().must("flush").await;
        }
        writer.abort().await;
        let names = |records: Records| records.into_keys().collect::<Vec<_>>();
        let before = names(harness.records().await);
        tokio::time::sleep(LATER).await;
        let after = names(harness.records().await);
        assert_eq!(before, after, "records have changed after abort returned");
    }
}

/// The time in which work left behind by an `abort` would show.
const LATER: std::time::Duration = std::time::Duration::from_millis(30);
