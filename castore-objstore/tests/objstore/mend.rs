//! A repair makes good what is bad, changes nothing else, and moves aside what it cannot repair.

use std::collections::BTreeSet;
use std::sync::Arc;

use bytes::Bytes;
use castore_core::{BlobIndex, BlobService};
use castore_objstore::{
    ChunkParams, ObjectStoreBlobService, Outcome, Problem, RepairOptions, VerifyLevel,
};
use object_store::ObjectStore;
use object_store::memory::InMemory;
use object_store::path::Path;

use crate::damaged::{Damaged, by_key, put, verify};
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

/// A file that was edited since still has most of the chunks.
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
    let names = |outcomes: std::collections::BTreeMap<String, Outcome>| -> Vec<_> {
        outcomes.into_iter().map(|(key, outcome)| (key, outcome.name())).collect()
    };
    assert_eq!(names(told), names(done));
}

#[tokio::test]
async fn what_cannot_be_repaired_is_moved_aside_and_the_next_put_stores_it_again() {
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
                Outcome::Quarantined(aside) => {
                    let aside = Path::parse(aside).unwrap();
                    assert_eq!(after[&aside], before[&path], "nothing is destroyed");
                    assert!(!after.contains_key(&path));
                }
                // The chunks of an index with wrong sizes are there.
                Outcome::Repaired => assert_eq!(problem, Problem::WrongSize),
                Outcome::Lost => {
                    assert!(matches!(problem, Problem::MissingChunk | Problem::UnreadableChunk));
                }
                Outcome::Left => assert_eq!(problem, Problem::Stray),
                Outcome::Removed => assert_eq!(problem, Problem::Leftover),
                other => panic!("{key}: {other:?}"),
            }
        }
        // Whatever is bad still is a chunk that is missing, or not given by the store.
        let (_, findings) = verify(&stored.subject.service(), VerifyLevel::Blob).await;
        for (key, problem) in by_key(&findings) {
            let expected = [Problem::MissingChunk, Problem::UnreadableChunk, Problem::Stray];
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
        // The blobs whose indexes were moved aside are absent, and are put again.
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

/// Whoever quarantined an object and was killed before it was deleted.
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
    assert!(matches!(outcomes[&key.to_string()], Outcome::Quarantined(_)));
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

/// The twin claims the right digest for other bytes.
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

async fn assert_good_chunks_only(stored: &Damaged) {
    let (_, findings) = verify(&stored.subject.service(), VerifyLevel::Data).await;
    let bad = [Problem::CorruptChunk, Problem::TruncatedChunk, Problem::EmptyChunk];
    assert!(findings.iter().all(|finding| !bad.contains(&finding.problem)), "{findings:?}");
}
