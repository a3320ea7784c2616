//! A repair restores bad objects, changes nothing else, and moves the objects that it cannot repair
//! aside.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use castore_core::{BlobIndex, BlobService, ErrorKind};
use castore_objstore::gc::{GcOptions, Roots};
use castore_objstore::repair::{RepairOptions, RepairOutcome};
use castore_objstore::verify::{Finding, Problem, VerifyLevel};
use castore_objstore::{ChunkParams, ObjectStoreBlobService, Progress};
use object_store::ObjectStore;
use object_store::memory::InMemory;
use object_store::path::Path;

use crate::damaged::{Damaged, by_key, put, verify};
use crate::support::data::tiny;
use crate::support::probe::{ALWAYS, Effect, Kind, Part, Probe, broken};
use crate::support::service::{collect_until_error, service_with};
use crate::verify::{in_memory, on_disk};

fn from(service: &ObjectStoreBlobService) -> RepairOptions {
    RepairOptions::default().from_service(Arc::new(service.clone()))
}

#[tokio::test]
async fn a_store_in_memory_is_repaired_from_another_store() {
    for seed in 0..2 {
        let mut stored = in_memory(seed).await;
        stored.damage(seed).await;
        stored.assert_repaired_from(from(&stored.twin)).await;
    }
}

#[tokio::test]
async fn a_store_on_disk_is_repaired_from_another_store() {
    let (mut stored, _directory) = on_disk(8).await;
    stored.damage(8).await;
    stored.assert_repaired_from(from(&stored.twin)).await;
}

#[tokio::test]
async fn a_store_is_repaired_from_one_that_cuts_at_other_places() {
    let mut stored = in_memory(9).await;
    stored.damage(9).await;
    let other = ObjectStoreBlobService::builder(Arc::new(InMemory::new()));
    let params = ChunkParams::new(256, 1024, 4096).unwrap();
    let other = other.chunk_params(params).build().unwrap();
    for data in stored.blobs.values() {
        put(&other, data).await;
    }
    stored.assert_repaired_from(from(&other)).await;
}

#[tokio::test]
async fn a_store_is_repaired_from_the_files() {
    let mut stored = in_memory(10).await;
    stored.damage(10).await;
    let directory = tempfile::tempdir().unwrap();
    let mut options = RepairOptions::default();
    for (digest, data) in &stored.blobs {
        let path = directory.path().join(digest.to_string());
        std::fs::write(&path, data).unwrap();
        options = options.from_file(path);
    }
    stored.assert_repaired_from(options).await;
}

/// An edited file still has most of the chunks.
#[tokio::test]
async fn chunks_are_found_in_a_file_that_was_edited() {
    let stored = in_memory(11).await;
    let (blob, data) = stored.blobs.iter().find(|(_, data)| data.len() > 12_000).unwrap();
    let index = stored.subject.service().chunks(blob).await.unwrap().unwrap();
    let last = index.get(index.len() - 2).unwrap().digest;
    stored.subject.overwrite(&stored.subject.key("chunks", &last), "garbage").await;
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("edited");
    std::fs::write(&path, [b"something before it", &data[..]].concat()).unwrap();
    let outcomes = stored.repair(RepairOptions::default().from_file(path)).await;
    assert_eq!(outcomes.len(), 1);
    assert!(outcomes.values().all(|outcome| outcome.name() == "repaired"));
    stored.assert_whole().await;
}

#[tokio::test]
async fn a_file_that_cannot_be_read_is_an_error() {
    let mut stored = in_memory(12).await;
    stored.damage(12).await;
    let options = RepairOptions::default().from_file("/nowhere/at/all");
    let service = stored.subject.service();
    let error = service.repair(&options, &(), |_, _| {}).await.unwrap_err();
    assert!(error.to_string().contains("/nowhere/at/all"), "{error}");
}

#[tokio::test]
async fn a_dry_run_tells_the_same_and_changes_nothing() {
    let (mut stored, _directory) = on_disk(13).await;
    stored.damage(13).await;
    let before = stored.objects().await;
    for options in [from(&stored.twin), RepairOptions::default()] {
        stored.repair(options.dry_run(true)).await;
        assert!(stored.objects().await == before);
        stored.assert_found(VerifyLevel::Blob).await;
    }
    let told = stored.repair(from(&stored.twin).dry_run(true)).await;
    let done = stored.repair(from(&stored.twin)).await;
    let names = |outcomes: std::collections::BTreeMap<String, RepairOutcome>| -> Vec<_> {
        outcomes.into_iter().map(|(key, outcome)| (key, outcome.name())).collect()
    };
    assert_eq!(names(told), names(done));
}

#[tokio::test]
async fn irreparable_objects_are_moved_aside_and_the_next_put_stores_them_again() {
    for stored in [on_disk(14).await, (in_memory(14).await, tempfile::tempdir().unwrap())] {
        let (mut stored, _directory) = stored;
        stored.damage(14).await;
        let before = stored.objects().await;
        let outcomes = stored.repair(RepairOptions::default()).await;
        let after = stored.objects().await;
        for (key, outcome) in &outcomes {
            let problem = stored.expected[key][0];
            let path = Path::parse(key).unwrap();
            match outcome {
                RepairOutcome::Quarantined(aside) => {
                    let aside = Path::parse(aside).unwrap();
                    assert_eq!(after[&aside], before[&path], "nothing is destroyed");
                    assert!(!after.contains_key(&path));
                }
                // The chunks of an index with wrong sizes are present.
                RepairOutcome::Repaired => assert_eq!(problem, Problem::WrongSize),
                RepairOutcome::Lost => assert_eq!(problem, Problem::MissingChunk),
                RepairOutcome::NotKnown(_) => assert_eq!(problem, Problem::UnreadableChunk),
                RepairOutcome::Left => assert_eq!(problem, Problem::Stray),
                RepairOutcome::Removed => assert_eq!(problem, Problem::Leftover),
                other => panic!("{key}: {other:?}"),
            }
        }
        // The remaining problems are chunks that are missing or that the store refuses to return.
        // Blobs whose indexes were moved are reported until they are put again.
        let (_, findings) = verify(&stored.subject.service(), VerifyLevel::Blob).await;
        for (key, problem) in by_key(&findings) {
            let expected = [
                Problem::MissingChunk,
                Problem::UnreadableChunk,
                Problem::QuarantinedBlob,
                Problem::Stray,
            ];
            assert!(expected.contains(&problem), "{key}: {problem}");
        }
        if findings.iter().any(|finding| finding.problem == Problem::UnreadableChunk) {
            continue;
        }
        let service = stored.subject.service();
        for data in stored.blobs.values() {
            put(&service, data).await;
        }
        stored.assert_whole().await;
    }
}

#[tokio::test]
async fn a_repair_may_end_at_any_instant_and_the_next_one_finishes() {
    let mut seen = BTreeSet::new();
    for stop in [1, 40, 88] {
        let (mut stored, _directory) = on_disk(15).await;
        stored.damage(15).await;
        for sources in [RepairOptions::default(), from(&stored.twin)] {
            let options = sources.level(VerifyLevel::Blob);
            let (ended, mut end) = tokio::sync::mpsc::unbounded_channel();
            let mut steps = 0;
            let service = stored.subject.service();
            let repair = service.repair(&options, &(), |_, outcome| {
                seen.insert(outcome.name());
                steps += 1;
                if steps == stop {
                    ended.send(()).unwrap();
                }
            });
            tokio::select! {
                biased;
                _ = end.recv() => {}
                report = repair => drop(report.unwrap()),
            }
        }
        stored.repair(from(&stored.twin)).await;
        // Blobs whose indexes were moved aside are absent, and are put again.
        let service = stored.subject.service();
        for (digest, data) in &stored.blobs {
            if !service.has(digest).await.unwrap() {
                put(&service, data).await;
            }
        }
        stored.assert_whole().await;
    }
    assert!(seen.contains("quarantined") && seen.contains("repaired"), "{seen:?}");
}

/// An earlier repair copied an object to the quarantine and was killed before it deleted the
/// original.
#[tokio::test]
async fn a_quarantine_that_was_interrupted_goes_on_and_leaves_no_files() {
    let (stored, directory) = on_disk(16).await;
    let chunk = {
        let index = stored.subject.service();
        let blob = stored.blobs.keys().next().unwrap();
        index.chunks(blob).await.unwrap().unwrap().get(0).unwrap().digest
    };
    let key = stored.subject.key("chunks", &chunk);
    stored.subject.overwrite(&key, "garbage").await;
    let file = directory.path().join(key.as_ref());
    let aside = key.as_ref().replace("some/base/", "some/base/quarantine/");
    let aside = directory.path().join(aside);
    std::fs::create_dir_all(aside.parent().unwrap()).unwrap();
    std::fs::hard_link(&file, &aside).unwrap();
    let outcomes = stored.repair(RepairOptions::default()).await;
    assert!(matches!(outcomes[&key.to_string()], RepairOutcome::Quarantined(_)));
    assert!(!file.exists() && aside.exists());
    let names = std::fs::read_dir(aside.parent().unwrap()).unwrap().count();
    assert_eq!(names, 1, "no file of an unfinished copy is left");
}

#[tokio::test]
async fn an_empty_index_of_a_long_blob_is_written_again() {
    let stored = in_memory(17).await;
    let (blob, data) = stored.blobs.iter().find(|(_, data)| data.len() > 12_000).unwrap();
    let key = stored.subject.key("blobs", blob);
    stored.subject.overwrite(&key, Bytes::new()).await;
    let (_, findings) = verify(&stored.subject.service(), VerifyLevel::Index).await;
    assert_eq!(findings.len(), 1);
    assert_eq!(findings[0].problem, Problem::MissingChunk);
    let outcomes = stored.repair(from(&stored.twin)).await;
    assert!(outcomes.values().all(|outcome| outcome.name() == "repaired"), "{outcomes:?}");
    stored.assert_whole().await;
    let index = stored.subject.service().chunks(blob).await.unwrap().unwrap();
    assert!(index.len() > 1 && index.size() == data.len() as u64);
}

/// The source claims the right digest for other bytes.
#[tokio::test]
async fn a_source_is_not_trusted() {
    let mut stored = in_memory(18).await;
    stored.damage(18).await;
    let liar = Arc::new(InMemory::new());
    for (digest, data) in &stored.blobs {
        let wrong: Bytes = data.iter().rev().copied().collect::<Vec<u8>>().into();
        let chunk = castore_core::ChunkMeta { digest: *digest, size: wrong.len() as u64 };
        let index = castore_proto::encode(&BlobIndex::new(*digest, [chunk]).unwrap());
        let object = zstd::bulk::compress(&wrong, 3).unwrap();
        for (part, object) in [("blobs", index), ("chunks", object.into())] {
            liar.put_opts(&stored.subject.key(part, digest), object.into(), Default::default())
                .await
                .unwrap();
        }
    }
    let liar = ObjectStoreBlobService::builder(liar).build().unwrap();
    let outcomes = stored.repair(from(&liar)).await;
    let repaired: Vec<_> =
        outcomes.iter().filter(|(_, outcome)| outcome.name() == "repaired").collect();
    for (key, _) in repaired {
        assert_eq!(stored.expected[key][0], Problem::WrongSize, "{key}");
    }
    assert_good_chunks_only(&stored).await;
}

/// A blob of several chunks that no other blob shares, and the key of its second chunk.
async fn long_blob(stored: &Damaged) -> (castore_core::Digest, Path) {
    let (blob, _) = stored.blobs.iter().find(|(_, data)| data.len() > 12_000).unwrap();
    let index = stored.subject.service().chunks(blob).await.unwrap().unwrap();
    (*blob, stored.subject.key("chunks", &index.get(1).unwrap().digest))
}

fn short_blob(stored: &Damaged) -> castore_core::Digest {
    *stored.blobs.iter().find(|(_, data)| data.len() == 60).unwrap().0
}

/// A mirror that fails every request.
fn unreachable_mirror() -> ObjectStoreBlobService {
    let probe = Probe::new();
    for (kind, part) in [Kind::Get, Kind::Head, Kind::List]
        .into_iter()
        .flat_map(|kind| [(kind, Part::Blobs), (kind, Part::Chunks)])
    {
        probe.fault(kind, part, ALWAYS, Effect::Fail(broken));
    }
    service_with(&probe, tiny())
}

#[tokio::test]
async fn repair_moves_nothing_that_a_failing_source_may_have() {
    let mut stored = in_memory(20).await;
    stored.damage(20).await;
    let before = stored.objects().await;
    let options = from(&unreachable_mirror()).level(VerifyLevel::Blob);
    let mut outcomes = Vec::new();
    let each = |finding: &Finding, outcome: &RepairOutcome| {
        outcomes.push((finding.clone(), outcome.clone()));
    };
    let report = stored.subject.service().repair(&options, &(), each).await.unwrap();
    assert!(report.not_known > 50, "{report:?}");
    assert_eq!((report.quarantined, report.lost, report.unrepaired), (0, 0, 0));
    for (finding, outcome) in &outcomes {
        match outcome {
            RepairOutcome::NotKnown(error) => assert_eq!(error.kind(), ErrorKind::Unavailable),
            // The chunks of an index with wrong sizes are present.
            RepairOutcome::Repaired => assert_eq!(finding.problem, Problem::WrongSize),
            RepairOutcome::Left => assert_eq!(finding.problem, Problem::Stray),
            other => panic!("{finding}: {other:?}"),
        }
    }
    let after = stored.objects().await;
    assert_eq!(before.keys().collect::<Vec<_>>(), after.keys().collect::<Vec<_>>());
    // The mirror is available again.
    let outcomes = stored.repair(from(&stored.twin).level(VerifyLevel::Blob)).await;
    let is_lost = |outcome: &RepairOutcome| {
        matches!(outcome, RepairOutcome::Lost | RepairOutcome::Quarantined(_))
    };
    assert!(!outcomes.values().any(is_lost), "{outcomes:?}");
    stored.assert_whole().await;
}

#[tokio::test]
async fn a_further_source_repairs_objects_that_a_failing_source_may_have() {
    let mut stored = in_memory(21).await;
    stored.damage(21).await;
    let options = from(&unreachable_mirror()).from_service(Arc::new(stored.twin.clone()));
    stored.assert_repaired_from(options).await;
}

#[tokio::test]
async fn a_mirror_that_lost_its_indexes_still_returns_single_chunks() {
    let stored = in_memory(23).await;
    let (_, chunk) = long_blob(&stored).await;
    stored.subject.overwrite(&chunk, "garbage").await;
    let mirror = stored.twin.clone();
    for blob in stored.blobs.keys() {
        mirror.remove(blob).await.unwrap();
    }
    let outcomes = stored.repair(from(&mirror)).await;
    assert!(matches!(outcomes[&chunk.to_string()], RepairOutcome::Repaired), "{outcomes:?}");
    stored.assert_whole().await;
}

#[tokio::test]
async fn a_blob_that_lies_entirely_in_the_quarantine_is_reassembled() {
    let stored = in_memory(24).await;
    let (long, chunk) = long_blob(&stored).await;
    let short = short_blob(&stored);
    let moved = [
        stored.subject.key("blobs", &long),
        chunk,
        stored.subject.key("blobs", &short),
        stored.subject.key("chunks", &short),
    ];
    for key in moved {
        let good = stored.subject.object(&key).await;
        let quarantine = key.as_ref().replacen("blobs/", "quarantine/blobs/", 1);
        let quarantine = quarantine.replacen("chunks/", "quarantine/chunks/", 1);
        stored.subject.overwrite(&Path::from(quarantine), good).await;
        stored.subject.remove(&key).await;
    }
    stored.repair(RepairOptions::default()).await;
    stored.assert_whole().await;
}

/// The index of a blob lies in the quarantine. The chunks of the blob may be present or not.
#[tokio::test]
async fn a_mirror_restores_blobs_that_an_earlier_repair_has_quarantined() {
    for wrong_chunk in [false, true] {
        let stored = in_memory(22).await;
        let (long, chunk) = long_blob(&stored).await;
        let short = short_blob(&stored);
        stored.subject.overwrite(&stored.subject.key("blobs", &long), "garbage").await;
        stored.subject.overwrite(&stored.subject.key("chunks", &short), "garbage").await;
        if wrong_chunk {
            stored.subject.overwrite(&chunk, "garbage").await;
        }
        stored.repair(RepairOptions::default()).await;
        let service = stored.subject.service();
        for blob in [long, short] {
            assert!(!service.has(&blob).await.unwrap(), "its index is in the quarantine");
        }
        let (_, findings) = verify(&service, VerifyLevel::Index).await;
        let quarantined = |finding: &&Finding| finding.problem == Problem::QuarantinedBlob;
        assert_eq!(findings.iter().filter(quarantined).count(), 2, "{findings:?}");
        // Without a source, and with a failing one, the blobs stay lost.
        let outcomes = stored.repair(RepairOptions::default()).await;
        assert!(outcomes.values().any(|outcome| outcome.name() == "left"), "{outcomes:?}");
        let outcomes = stored.repair(from(&unreachable_mirror())).await;
        assert!(outcomes.values().all(|outcome| outcome.name() == "not-known"), "{outcomes:?}");
        let outcomes = stored.repair(from(&stored.twin)).await;
        assert!(outcomes.values().all(|outcome| outcome.name() == "repaired"), "{outcomes:?}");
        stored.assert_whole().await;
    }
}

#[tokio::test]
async fn a_chunk_that_comes_back_after_the_verification_is_left_alone() {
    for problem in [Problem::MissingChunk, Problem::CorruptChunk] {
        let stored = in_memory(23).await;
        let short = short_blob(&stored);
        let key = stored.subject.key("chunks", &short);
        let good = stored.subject.object(&key).await;
        match problem {
            Problem::MissingChunk => stored.subject.remove(&key).await,
            _ => stored.subject.overwrite(&key, "garbage").await,
        }
        let before = stored.objects().await.len();
        let observer = |progress: &Progress| {
            // Another writer puts the chunk back before this repair acts on its finding.
            if progress.phase == "look for the blobs of bad chunks" {
                let put = stored.subject.overwrite(&key, good.clone());
                futures_util::FutureExt::now_or_never(put).expect("a store in memory is quick");
            }
        };
        let mut outcomes = Vec::new();
        let each = |_: &Finding, outcome: &RepairOutcome| outcomes.push(outcome.name());
        // An empty source makes the repair look for the places of chunks.
        let empty = ObjectStoreBlobService::builder(Arc::new(InMemory::new())).build().unwrap();
        let service = stored.subject.service();
        service.repair(&from(&empty), &observer, each).await.unwrap();
        assert_eq!(outcomes, ["changed"]);
        assert!(stored.objects().await.len() >= before);
        assert!(service.has(&short).await.unwrap(), "the index stays");
        stored.assert_whole().await;
    }
}

#[tokio::test]
async fn an_index_that_is_right_by_now_is_left_alone() {
    let stored = in_memory(24).await;
    let (long, _) = long_blob(&stored).await;
    let key = stored.subject.key("blobs", &long);
    let good = stored.subject.object(&key).await;
    let chunks = castore_proto::decode(&long, &good).unwrap().unwrap();
    let swapped: Vec<_> = chunks.iter().skip(1).chain(chunks.iter().take(1)).collect();
    let wrong = castore_proto::encode(&BlobIndex::new(long, swapped).unwrap());
    for bad in [Bytes::from_static(b"garbage"), wrong] {
        stored.subject.overwrite(&key, bad).await;
        // These are the last phases before indexes are repaired.
        let observer = |progress: &Progress| {
            if progress.phase == "read the blobs" || progress.phase == "read the chunks" {
                let put = stored.subject.overwrite(&key, good.clone());
                futures_util::FutureExt::now_or_never(put).expect("a store in memory is quick");
            }
        };
        let options = RepairOptions::default().level(VerifyLevel::Blob);
        let service = stored.subject.service();
        let report = service.repair(&options, &observer, |_, _| {}).await.unwrap();
        assert_eq!((report.quarantined, report.lost), (0, 0));
        stored.assert_whole().await;
    }
}

#[tokio::test]
async fn an_object_that_cannot_be_read_is_never_moved() {
    let probe = Probe::new();
    let service = service_with(&probe, tiny());
    let blob = put(&service, &crate::support::data::random("data", 20_000)).await;
    let chunk = probe.objects(Part::Chunks).await.remove(2);
    for key in [chunk, crate::support::service::index_key(&blob)] {
        for junk in [None, Some("junk")] {
            let good = probe.object(&key).await;
            if let Some(junk) = junk {
                probe.overwrite(&key, junk).await;
            }
            probe.fail_keys(Kind::Get, key.to_string(), broken);
            let mut outcomes = Vec::new();
            let each = |_: &Finding, outcome: &RepairOutcome| outcomes.push(outcome.name());
            let options = RepairOptions::default();
            let report = service.repair(&options, &(), each).await.unwrap();
            assert_eq!((report.not_known, report.quarantined, report.unrepaired), (1, 0, 0));
            assert_eq!(outcomes, ["not-known"]);
            probe.heal();
            probe.overwrite(&key, good).await;
        }
    }
}

#[tokio::test]
async fn good_bytes_are_found_in_the_trash_and_in_the_quarantine() {
    for place in ["gc/{}.batch-1", "quarantine/{}", "quarantine/{}.3"] {
        let stored = in_memory(25).await;
        let (long, chunk) = long_blob(&stored).await;
        let index = stored.subject.key("blobs", &long);
        for key in [&chunk, &index] {
            let good = stored.subject.object(key).await;
            let elsewhere = Path::parse(place.replace("{}", key.as_ref())).unwrap();
            stored.subject.overwrite(&elsewhere, good).await;
            stored.subject.overwrite(key, "garbage").await;
            let outcomes = stored.repair(RepairOptions::default()).await;
            assert_eq!(outcomes[&key.to_string()].name(), "repaired", "{place}: {key}");
            assert_eq!(outcomes.len(), 1);
        }
        stored.assert_whole().await;
    }
}

#[tokio::test]
async fn a_collector_stops_at_a_blob_in_the_quarantine_unless_told_otherwise() {
    let stored = in_memory(28).await;
    let (long, _) = long_blob(&stored).await;
    stored.subject.overwrite(&stored.subject.key("blobs", &long), "garbage").await;
    stored.repair(RepairOptions::default()).await;
    let service = stored.subject.service();
    let before = stored.objects().await.len();
    let options = GcOptions::default().grace(Duration::ZERO);
    let error = service.gc(Roots::Blobs, &options, &()).await.unwrap_err();
    assert_eq!((error.kind(), error.digest()), (ErrorKind::Corrupt, Some(long)));
    assert!(error.to_string().contains("quarantine"), "{error}");
    // Only the object of the store's clock is new.
    assert_eq!(stored.objects().await.len(), before + 1);
    let told = options.clone().ignore_quarantine(true).dry_run(true);
    assert!(service.gc(Roots::Blobs, &told, &()).await.unwrap().set_aside.objects > 0);
    stored.repair(from(&stored.twin)).await;
    service.gc(Roots::Blobs, &options, &()).await.unwrap();
    stored.assert_whole().await;
}

/// The object of a chunk is larger than allowed: readers and verifications refuse it alike, and a
/// repair writes a proper one.
#[tokio::test]
async fn a_chunk_in_an_object_that_is_too_large_is_stored_again_and_not_moved() {
    let stored = in_memory(26).await;
    let (long, chunk) = long_blob(&stored).await;
    let short = short_blob(&stored);
    let empty = zstd::bulk::compress(b"", 3).unwrap();
    let keys = [(long, chunk), (short, stored.subject.key("chunks", &short))];
    for (blob, key) in &keys {
        let object = [&stored.subject.object(key).await[..], &empty.repeat(20_000)].concat();
        stored.subject.overwrite(key, object).await;
        let copied = stored.subject.service().open_read(blob).await;
        let whole = match copied {
            Ok(reader) => {
                let reader = reader.unwrap();
                let size = reader.size();
                collect_until_error(reader.read_range(0..size)).await.1
            }
            Err(error) => Some(error),
        };
        assert_eq!(whole.expect("readers refuse it").kind(), ErrorKind::Corrupt);
    }
    let (_, findings) = verify(&stored.subject.service(), VerifyLevel::Data).await;
    let expected = keys.iter().map(|(_, key)| (key.to_string(), Problem::CorruptChunk)).collect();
    assert_eq!(by_key(&findings), expected);
    let outcomes = stored.repair(RepairOptions::default()).await;
    assert!(outcomes.values().all(|outcome| outcome.name() == "repaired"), "{outcomes:?}");
    stored.assert_whole().await;
}

/// A chunk with the blob's digest is the whole blob: its index can be rebuilt without a source.
#[tokio::test]
async fn the_malformed_index_of_a_blob_of_one_chunk_is_made_from_the_chunk() {
    let stored = in_memory(27).await;
    let short = short_blob(&stored);
    stored.subject.overwrite(&stored.subject.key("blobs", &short), "garbage").await;
    let outcomes = stored.repair(RepairOptions::default()).await;
    assert!(outcomes.values().all(|outcome| outcome.name() == "repaired"), "{outcomes:?}");
    stored.assert_whole().await;
}

async fn assert_good_chunks_only(stored: &Damaged) {
    let (_, findings) = verify(&stored.subject.service(), VerifyLevel::Data).await;
    let bad = [Problem::CorruptChunk, Problem::TruncatedChunk, Problem::EmptyChunk];
    assert!(findings.iter().all(|finding| !bad.contains(&finding.problem)), "{findings:?}");
}
