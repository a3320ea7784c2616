//! A verification finds what is wrong, and nothing else.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime};

use castore_core::{BlobService, ErrorKind};
use castore_objstore::{
    Checkpoint, Problem, Progress, RepairOptions, Sample, Verified, VerifyLevel, VerifyOptions,
};
use object_store::local::LocalFileSystem;
use object_store::memory::InMemory;

use crate::damaged::{Damaged, Subject, by_key, verify, verify_with};
use crate::support::data::{random, tiny};
use crate::support::probe::{ALWAYS, Effect, Kind, Part, Probe, broken};
use crate::support::service::{chunk_key, index_key, put, service_with};

pub(crate) async fn in_memory(seed: u64) -> Damaged {
    Damaged::new(Subject::of_store(Arc::new(InMemory::new()), ""), seed).await
}

/// On a local disk, under a base path; the directory goes when it is dropped.
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
    let data = VerifyOptions::new(VerifyLevel::Data);
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
async fn what_is_older_is_not_read() {
    let stored = in_memory(3).await;
    let service = stored.subject.service();
    let read_since = async |time| {
        let options = VerifyOptions::new(VerifyLevel::Blob).since(time);
        let (report, findings) = verify_with(&service, &options).await;
        assert!(findings.is_empty());
        (report.chunks_read, report.blobs_read)
    };
    assert_eq!(read_since(SystemTime::now() + Duration::from_secs(60)).await, (0, 0));
    let (chunks, blobs) = read_since(SystemTime::now() - Duration::from_secs(600)).await;
    assert!(chunks > 400 && blobs > 30, "{chunks} {blobs}");
}

#[tokio::test]
async fn a_verification_goes_on_where_it_was_ended() {
    let mut stored = in_memory(4).await;
    stored.damage(4).await;
    let service = stored.subject.service();
    let mut options = VerifyOptions::new(VerifyLevel::Blob);
    let (_, expected) = verify_with(&service, &options).await;
    let mut found = BTreeSet::new();
    let mut stages = BTreeSet::new();
    for runs in 1.. {
        assert!(runs < 100, "it gets on");
        // Ended after so many steps, with whatever is under way.
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
        assert_eq!(probe.total(), chunk_reads + 12);
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
    // Listed in the end, but not there: removed in between.
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
        // The one that was removed must be read after that: let it wait for the removal.
        let mut findings = Vec::new();
        let each = |event| {
            if let Verified::Finding(finding) = event {
                findings.push(finding);
            }
        };
        let options = VerifyOptions::new(VerifyLevel::Data);
        subject.service().verify(&options, &observer, each).await.unwrap();
        let expected: Vec<Problem> = listed.then_some(Problem::MissingChunk).into_iter().collect();
        let found: Vec<Problem> = findings.iter().map(|finding| finding.problem).collect();
        assert_eq!(found, expected);
        probe.overwrite(&chunk, object).await;
    }
}

#[tokio::test]
async fn one_failing_request_is_a_finding_and_a_failing_store_is_an_error() {
    let probe = Probe::new();
    put(&service_with(&probe, tiny()), &random("data", 100_000)).await;
    let service = service_with(&probe, tiny());
    probe.fault(Kind::Get, Part::Chunks, 5..6, Effect::Fail(broken));
    let (_, findings) = verify(&service, VerifyLevel::Data).await;
    assert_eq!(findings.len(), 1);
    assert_eq!(findings[0].problem, Problem::UnreadableChunk);
    assert_eq!(findings[0].error.as_ref().unwrap().kind(), ErrorKind::Unavailable);
    probe.heal();
    probe.fault(Kind::Get, Part::Chunks, ALWAYS, Effect::Fail(broken));
    let mut findings = 0;
    let each = |event| findings += u64::from(matches!(event, Verified::Finding(_)));
    let options = VerifyOptions::new(VerifyLevel::Data);
    let error = service.verify(&options, &(), each).await.unwrap_err();
    assert_eq!((error.kind(), findings), (ErrorKind::Unavailable, 100));
    probe.heal();
    probe.fault(Kind::List, Part::Chunks, ALWAYS, Effect::Fail(broken));
    service.verify(&options, &(), |_| {}).await.unwrap_err();
}

#[tokio::test]
async fn an_empty_chunk_object_that_nobody_lists_is_no_damage() {
    let probe = Probe::new();
    let digest = castore_core::Digest::of(b"nobody's");
    probe.overwrite(&chunk_key(&digest), "").await;
    let (report, findings) = verify(&service_with(&probe, tiny()), VerifyLevel::Index).await;
    assert_eq!(findings[0].problem, Problem::EmptyChunk);
    assert!(report.is_good() && report.harmless == 1 && report.unlisted_chunks == 1);
    // Garbage is, as a writer would reuse it.
    probe.overwrite(&chunk_key(&digest), "garbage").await;
    let (report, _) = verify(&service_with(&probe, tiny()), VerifyLevel::Data).await;
    assert!(!report.is_good());
}

#[tokio::test]
async fn a_verification_can_be_a_task_of_its_own() {
    let stored = in_memory(6).await;
    let service = stored.subject.service();
    let task = tokio::spawn(async move {
        let options = VerifyOptions::new(VerifyLevel::Blob);
        service.verify(&options, &(), |_| {}).await?;
        service.repair(&RepairOptions::default(), &(), |_, _| {}).await
    });
    assert!(task.await.unwrap().unwrap().verified.is_good());
}
