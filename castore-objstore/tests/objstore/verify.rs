//! A verification finds all damage, and nothing else.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime};

use castore_core::{BlobService, ErrorKind};
use castore_objstore::Progress;
use castore_objstore::repair::RepairOptions;
use castore_objstore::verify::{Checkpoint, Problem, Sample, Verified, VerifyLevel, VerifyOptions};
use object_store::local::LocalFileSystem;
use object_store::memory::InMemory;
use object_store::path::Path;

use crate::damaged::{Damaged, Subject, by_key, verify, verify_with};
use crate::support::data::{random, tiny};
use crate::support::probe::{ALWAYS, Effect, Kind, Part, Probe, broken, denied};
use crate::support::service::{chunk_key, index_key, put, service_with};

pub(crate) async fn in_memory(seed: u64) -> Damaged {
    Damaged::new(Subject::of_store(Arc::new(InMemory::new()), ""), seed).await
}

/// A store on a local disk, under a base path. The directory is removed when its handle is dropped.
pub(crate) async fn on_disk(seed: u64) -> (Damaged, tempfile::TempDir) {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().to_owned();
    let local = Arc::new(LocalFileSystem::new_with_prefix(&path).unwrap());
    (Damaged::new(Subject::of_directory(path, local, "some/base"), seed).await, directory)
}

#[tokio::test]
async fn nothing_is_found_in_a_good_store() {
    in_memory(1).await.assert_found(VerifyLevel::Blob).await;
    let (stored, _directory) = on_disk(1).await;
    stored.assert_found(VerifyLevel::Blob).await;
    stored.assert_whole().await;
}

#[tokio::test]
async fn a_hundred_damages_in_memory_are_found_and_nothing_else() {
    for seed in 0..2 {
        let mut stored = in_memory(seed).await;
        stored.damage(seed).await;
        stored.assert_found(VerifyLevel::Blob).await;
        stored.assert_found(VerifyLevel::Index).await;
    }
}

#[tokio::test]
async fn a_hundred_damages_on_disk_are_found_and_nothing_else() {
    let (mut stored, _directory) = on_disk(7).await;
    stored.damage(7).await;
    stored.assert_found(VerifyLevel::Blob).await;
    stored.assert_found(VerifyLevel::Index).await;
}

#[tokio::test]
async fn parts_of_a_sample_find_everything_between_them_and_only_once() {
    let mut stored = in_memory(2).await;
    stored.damage(2).await;
    let service = stored.subject.service();
    let data = VerifyOptions::default().level(VerifyLevel::Data);
    let (all, expected) = verify_with(&service, &data).await;
    let (_, shallow) = verify(&service, VerifyLevel::Index).await;
    let shallow = by_key(&shallow);
    let mut read = 0;
    let mut found = shallow.clone();
    for part in 0..4 {
        let sample = Sample::new(0.25, part).unwrap();
        let (report, findings) = verify_with(&service, &data.clone().sample(sample)).await;
        assert!(report.chunks_read < all.chunks_read / 2);
        read += report.chunks_read;
        for (key, problem) in by_key(&findings) {
            assert!(found.insert(key.clone(), problem).is_none() || shallow.contains_key(&key));
        }
    }
    assert_eq!(found, by_key(&expected));
    assert!(read >= all.chunks_read, "{read} of {}", all.chunks_read);
}

#[tokio::test]
async fn older_objects_are_not_read() {
    let stored = in_memory(3).await;
    let service = stored.subject.service();
    let read_since = async |time| {
        let options = VerifyOptions::default().level(VerifyLevel::Blob).since(time);
        let (report, findings) = verify_with(&service, &options).await;
        assert!(findings.is_empty());
        (report.chunks_read, report.blobs_read)
    };
    assert_eq!(read_since(SystemTime::now() + Duration::from_secs(60)).await, (0, 0));
    let (chunks, blobs) = read_since(SystemTime::now() - Duration::from_secs(600)).await;
    assert!(chunks > 400 && blobs > 30, "{chunks} {blobs}");
}

#[tokio::test]
async fn a_verification_resumes_at_its_checkpoint() {
    let mut stored = in_memory(4).await;
    stored.damage(4).await;
    let service = stored.subject.service();
    let mut options = VerifyOptions::default().level(VerifyLevel::Blob);
    let (_, expected) = verify_with(&service, &options).await;
    let mut found = BTreeSet::new();
    let mut stages = BTreeSet::new();
    for runs in 1.. {
        assert!(runs < 100, "it gets on");
        // End the verification after this many steps, with requests still under way.
        let last: Mutex<Option<Checkpoint>> = Mutex::default();
        let (ended, mut end) = tokio::sync::mpsc::unbounded_channel();
        let mut steps = 0;
        let each = |event| match event {
            Verified::Finding(finding) => {
                found.insert((finding.key, finding.problem));
            }
            Verified::UpTo(checkpoint) => {
                *last.lock().unwrap() = Some(checkpoint);
                steps += 1;
                if steps == 25 {
                    ended.send(()).unwrap();
                }
            }
            _ => {}
        };
        let done = tokio::select! {
            biased;
            _ = end.recv() => None,
            report = service.verify(&options, &(), each) => Some(report.unwrap()),
        };
        if let Some(report) = done {
            assert_eq!(report.chunks_read, 0, "all had been read before");
            break;
        }
        let checkpoint = last.into_inner().unwrap().unwrap();
        let text = checkpoint.to_string();
        stages.insert(text.split_once(':').unwrap().0.to_owned());
        options = options.resume(text.parse().unwrap());
    }
    assert_eq!(stages.len(), 2, "it was ended in both stages: {stages:?}");
    let expected: BTreeSet<_> =
        expected.into_iter().map(|finding| (finding.key, finding.problem)).collect();
    assert_eq!(found, expected);
}

#[tokio::test]
async fn each_chunk_is_read_once_and_indexes_take_one_listing() {
    let probe = Probe::new();
    let service = service_with(&probe, tiny());
    for number in 0..10 {
        let shared = random("shared", 20_000);
        let own = random(&format!("{number}"), 5_000);
        put(&service, &[&own[..], &shared].concat().into()).await;
    }
    let chunks = probe.objects(Part::Chunks).await.len();
    for (level, chunk_reads) in [(VerifyLevel::Index, 0), (VerifyLevel::Data, chunks)] {
        probe.forget();
        let (report, findings) = verify(&service_with(&probe, tiny()), level).await;
        assert!(findings.is_empty());
        assert_eq!((report.blobs, report.chunks), (10, chunks as u64));
        assert_eq!(probe.count(Kind::Get, Part::Chunks), chunk_reads);
        assert_eq!(probe.count(Kind::Get, Part::Blobs), 10);
        assert_eq!(probe.count(Kind::List, Part::Chunks), 1);
        assert_eq!(probe.count(Kind::List, Part::Blobs), 1);
        // Two listings, the indexes, and a listing of the quarantine.
        assert_eq!(probe.total(), chunk_reads + 13);
    }
}

#[tokio::test]
async fn chunks_that_are_younger_than_the_listing_are_not_missing() {
    let stored = in_memory(5).await;
    let service = stored.subject.service();
    let blob = *stored.blobs.keys().next().unwrap();
    for chunk in service.chunks(&blob).await.unwrap().unwrap().iter() {
        stored.subject.wrapper().hide(&stored.subject.key("chunks", &chunk.digest));
    }
    stored.assert_found(VerifyLevel::Blob).await;
}

#[tokio::test]
async fn chunks_of_a_blob_that_was_removed_meanwhile_are_not_missing() {
    let probe = Probe::new();
    let data = random("one", 20_000);
    let digest = put(&service_with(&probe, tiny()), &data).await;
    let subject = Subject::of_store(Arc::new(probe.clone()), "");
    let chunk = probe.objects(Part::Chunks).await.remove(3);
    probe.remove(&chunk).await;
    let (_, findings) = verify(&subject.service(), VerifyLevel::Data).await;
    assert_eq!(by_key(&findings), [(chunk.to_string(), Problem::MissingChunk)].into());
    subject.wrapper().vanish(&index_key(&digest));
    let (report, findings) = verify(&subject.service(), VerifyLevel::Data).await;
    assert!(findings.is_empty() && report.is_good(), "{findings:?}");
}

#[tokio::test]
async fn chunks_that_were_removed_before_they_were_read_are_not_missing_unless_listed() {
    let probe = Probe::new();
    let data = random("one", 20_000);
    let digest = put(&service_with(&probe, tiny()), &data).await;
    let subject = Subject::of_store(Arc::new(probe.clone()), "");
    // The listing still shows the chunk, but it is removed before it is read.
    let chunk = probe.objects(Part::Chunks).await.remove(3);
    for listed in [true, false] {
        let removed = Mutex::new(false);
        let runtime = tokio::runtime::Handle::current();
        let observer = |progress: &Progress| {
            let begins = progress.phase == "read the indexes";
            if begins && !std::mem::replace(&mut *removed.lock().unwrap(), true) {
                let (probe, chunk) = (probe.clone(), chunk.clone());
                runtime.spawn(async move { probe.remove(&chunk).await });
            }
        };
        let object = probe.object(&chunk).await;
        if !listed {
            probe.remove(&index_key(&digest)).await;
            put(&service_with(&probe, tiny()), &random("two", 100)).await;
        }
        // The removed chunk must be read after its removal: wait for the removal.
        let mut findings = Vec::new();
        let each = |event| {
            if let Verified::Finding(finding) = event {
                findings.push(finding);
            }
        };
        let options = VerifyOptions::default().level(VerifyLevel::Data);
        subject.service().verify(&options, &observer, each).await.unwrap();
        let expected: Vec<Problem> = listed.then_some(Problem::MissingChunk).into_iter().collect();
        let found: Vec<Problem> = findings.iter().map(|finding| finding.problem).collect();
        assert_eq!(found, expected);
        probe.overwrite(&chunk, object).await;
    }
}

#[tokio::test]
async fn one_failing_request_is_made_again_and_a_failing_store_is_an_error() {
    let probe = Probe::new();
    put(&service_with(&probe, tiny()), &random("data", 100_000)).await;
    let service = service_with(&probe, tiny());
    for part in [Part::Chunks, Part::Blobs] {
        probe.fault(Kind::Get, part, 0..1, Effect::Fail(broken));
        let (report, findings) = verify(&service, VerifyLevel::Data).await;
        assert!(findings.is_empty() && report.is_good(), "{findings:?}");
        probe.heal();
    }
    probe.fault(Kind::Get, Part::Chunks, ALWAYS, Effect::Fail(broken));
    let mut findings = 0;
    let each = |event| findings += u64::from(matches!(event, Verified::Finding(_)));
    let options = VerifyOptions::default().level(VerifyLevel::Data);
    let error = service.verify(&options, &(), each).await.unwrap_err();
    assert_eq!((error.kind(), findings), (ErrorKind::Unavailable, 100));
    probe.heal();
    probe.fault(Kind::List, Part::Chunks, ALWAYS, Effect::Fail(broken));
    service.verify(&options, &(), |_| {}).await.unwrap_err();
}

/// After an outage of a part of the store or a refused permission, the state of these objects is
/// unknown.
#[tokio::test]
async fn objects_that_cannot_be_read_are_not_known_and_not_damaged() {
    for (level, part) in [
        (VerifyLevel::Index, Part::Blobs),
        (VerifyLevel::Data, Part::Chunks),
        (VerifyLevel::Blob, Part::Chunks),
    ] {
        for error in [broken, denied] {
            let probe = Probe::new();
            put(&service_with(&probe, tiny()), &random("data", 20_000)).await;
            put(&service_with(&probe, tiny()), &random("other", 5_000)).await;
            let key = probe.objects(part).await.remove(0);
            probe.fail_keys(Kind::Get, key.to_string(), error);
            let (report, findings) = verify(&service_with(&probe, tiny()), level).await;
            assert_eq!(findings.len(), 1, "{findings:?}");
            assert!(findings[0].is_unknown() && !findings[0].is_damage(), "{findings:?}");
            assert_eq!((findings[0].key.as_str(), findings[0].blob_count), (key.as_ref(), 1));
            assert!(findings[0].error.is_some());
            let counted = (report.damaged, report.unknown, report.harmless);
            assert_eq!((counted, report.is_good()), ((0, 1, 0), false));
        }
    }
}

/// Writes a copy of a chunk aside, a good one or junk. Returns the keys of the chunk and of the
/// copy.
async fn set_aside(probe: &Probe, copy: Option<&'static str>) -> (Path, Path) {
    let chunk = probe.objects(Part::Chunks).await.remove(3);
    let aside = Path::parse(format!("gc/{chunk}.batch")).unwrap();
    let object = match copy {
        Some(junk) => junk.into(),
        None => probe.object(&chunk).await,
    };
    probe.overwrite(&aside, object).await;
    (chunk, aside)
}

#[tokio::test]
async fn a_chunk_is_missing_if_its_only_copy_aside_is_junk() {
    for (copy, damaged) in [(None, 0), (Some("junk"), 1)] {
        for level in [VerifyLevel::Index, VerifyLevel::Data, VerifyLevel::Blob] {
            let probe = Probe::new();
            put(&service_with(&probe, tiny()), &random("data", 20_000)).await;
            let (chunk, aside) = set_aside(&probe, copy).await;
            probe.remove(&chunk).await;
            let (report, findings) = verify(&service_with(&probe, tiny()), level).await;
            assert_eq!(report.damaged, damaged, "{findings:?}");
            if damaged > 0 {
                assert_eq!(findings[0].problem, Problem::MissingChunk);
                assert!(findings[0].detail.contains("set aside"), "{findings:?}");
                // An unreadable copy may be good.
                probe.fail_keys(Kind::Get, aside.to_string(), broken);
                let (report, findings) = verify(&service_with(&probe, tiny()), level).await;
                assert_eq!((report.damaged, report.unknown), (0, 1), "{findings:?}");
            }
        }
    }
}

/// A collector works during the verification: it moves a chunk after the chunk was listed, or puts
/// it back.
#[tokio::test]
async fn chunks_that_a_collector_moves_meanwhile_are_not_missing() {
    for phase in ["list the chunks", "read the indexes", "look for missing chunks"] {
        for puts_back in [false, true] {
            let probe = Probe::new();
            put(&service_with(&probe, tiny()), &random("data", 20_000)).await;
            let (chunk, aside) = set_aside(&probe, None).await;
            let object = probe.object(&chunk).await;
            probe.remove(if puts_back { &chunk } else { &aside }).await;
            let moved = Mutex::new(false);
            let observer = |progress: &Progress| {
                let begins = progress.phase == phase;
                if begins && !std::mem::replace(&mut *moved.lock().unwrap(), true) {
                    let (from, to) = if puts_back { (&aside, &chunk) } else { (&chunk, &aside) };
                    futures_util::FutureExt::now_or_never(probe.overwrite(to, object.clone()));
                    futures_util::FutureExt::now_or_never(probe.remove(from));
                }
            };
            let mut findings = Vec::new();
            let each = |event| {
                if let Verified::Finding(finding) = event {
                    findings.push(finding);
                }
            };
            let options = VerifyOptions::default().level(VerifyLevel::Blob);
            let service = service_with(&probe, tiny());
            let report = service.verify(&options, &observer, each).await.unwrap();
            assert!(report.is_good() && findings.is_empty(), "{phase}: {findings:?}");
        }
    }
}

#[tokio::test]
async fn objects_in_the_quarantine_are_counted_and_their_blobs_are_named() {
    let probe = Probe::new();
    let service = service_with(&probe, tiny());
    let digest = put(&service, &random("data", 20_000)).await;
    let index = index_key(&digest);
    let quarantined = Path::parse(format!("quarantine/{index}.1")).unwrap();
    probe.overwrite(&quarantined, "junk").await;
    probe.overwrite(&Path::parse(format!("quarantine/{}", chunk_key(&digest))).unwrap(), "").await;
    let (report, findings) = verify(&service, VerifyLevel::Index).await;
    assert!(findings.is_empty() && report.quarantined == 2, "the blob is in its place");
    probe.remove(&index).await;
    let (report, findings) = verify(&service, VerifyLevel::Index).await;
    assert_eq!((report.quarantined, report.harmless, report.damaged), (2, 1, 0));
    assert_eq!(findings[0].problem, Problem::QuarantinedBlob);
    assert_eq!((findings[0].digest, &findings[0].key), (Some(digest), &quarantined.to_string()));
    let usage = service.usage(&()).await.unwrap();
    assert_eq!(usage.quarantined, 2);
}

#[tokio::test]
async fn an_empty_chunk_object_that_no_index_lists_is_no_damage() {
    let probe = Probe::new();
    let digest = castore_core::Digest::of(b"nobody's");
    probe.overwrite(&chunk_key(&digest), "").await;
    let (report, findings) = verify(&service_with(&probe, tiny()), VerifyLevel::Index).await;
    assert_eq!(findings[0].problem, Problem::EmptyChunk);
    assert!(report.is_good() && report.harmless == 1 && report.unlisted_chunks == 1);
    // A chunk object with garbage is damage, since a writer would reuse it.
    probe.overwrite(&chunk_key(&digest), "garbage").await;
    let (report, _) = verify(&service_with(&probe, tiny()), VerifyLevel::Data).await;
    assert!(!report.is_good());
}

#[tokio::test]
async fn a_verification_can_be_a_task_of_its_own() {
    let stored = in_memory(6).await;
    let service = stored.subject.service();
    let task = tokio::spawn(async move {
        let options = VerifyOptions::default().level(VerifyLevel::Blob);
        service.verify(&options, &(), |_| {}).await?;
        service.repair(&RepairOptions::default(), &(), |_, _| {}).await
    });
    assert!(task.await.unwrap().unwrap().verified.is_good());
}
