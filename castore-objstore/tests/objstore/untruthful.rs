//! Stores that list an object, and then refuse to return it or return something else: no object is
//! damaged, and none may be removed.

use std::sync::Arc;

use castore_core::{BlobService, Digest, ErrorKind};
use castore_objstore::ObjectStoreBlobService;
use castore_objstore::copy::{CopyOptions, CopyOutcome};
use castore_objstore::gc::{GcOptions, Roots};
use castore_objstore::repair::{RepairOptions, RepairOutcome};
use castore_objstore::verify::{Problem, VerifyLevel, VerifyReport};
use futures_util::{TryStreamExt, stream};
use object_store::memory::InMemory;
use object_store::path::Path;

use crate::damaged::verify;
use crate::support::data::{random, tiny};
use crate::support::probe::{ALWAYS, Effect, Kind, Part, Probe, not_found};
use crate::support::service::{chunk_key, index_key, put, read, service_with};

const LEVELS: [VerifyLevel; 3] = [VerifyLevel::Index, VerifyLevel::Data, VerifyLevel::Blob];

async fn stored() -> (Probe, ObjectStoreBlobService, Digest) {
    let probe = Probe::new();
    let service = service_with(&probe, tiny());
    put(&service, &random("another blob", 60)).await;
    let digest = put(&service, &random("a blob", 8000)).await;
    (probe.clone(), service_with(&probe, tiny()), digest)
}

/// Makes the store answer "not found" for this object, while it still lists the object.
fn withhold(probe: &Probe, key: &Path) {
    for kind in [Kind::Get, Kind::Head] {
        probe.fail_keys(kind, key.to_string(), not_found);
    }
}

async fn assert_whole(probe: &Probe, digest: &Digest) {
    probe.heal();
    let service = service_with(probe, tiny());
    assert_eq!(read(&service, digest).await, random("a blob", 8000));
    let (report, _) = verify(&service, VerifyLevel::Blob).await;
    assert_eq!((report.damaged, report.unknown, report.quarantined), (0, 0, 0));
}

fn assert_not_known(report: &VerifyReport, problem: Problem, problems: &[Problem]) {
    assert_eq!((report.damaged, report.unknown), (0, problems.len() as u64), "{report:?}");
    assert!(!problems.is_empty() && problems.iter().all(|found| *found == problem), "{problems:?}");
}

#[tokio::test]
async fn chunks_of_an_index_that_is_listed_and_not_given_are_kept() {
    let (probe, service, digest) = stored().await;
    withhold(&probe, &index_key(&digest));
    for kept in [Roots::Blobs, Roots::keep(stream::iter([Ok(digest)]))] {
        let error = service.gc(kept, &GcOptions::default(), &()).await.unwrap_err();
        assert_eq!(
            (error.kind(), error.digest()),
            (ErrorKind::Unavailable, Some(digest)),
            "{error}"
        );
    }
    for level in LEVELS {
        let (report, findings) = verify(&service, level).await;
        let problems: Vec<_> = findings.iter().map(|finding| finding.problem).collect();
        assert_not_known(&report, Problem::UnreadableIndex, &problems);
    }
    let options = RepairOptions::default().level(VerifyLevel::Data);
    let report = service.repair(&options, &(), |_, _| {}).await.unwrap();
    assert_eq!((report.lost, report.quarantined, report.not_known), (0, 0, 1), "{report:?}");
    let error = service.usage(&()).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unavailable, "{error}");
    let target = ObjectStoreBlobService::builder(Arc::new(InMemory::new())).build().unwrap();
    let blobs = stream::iter([Ok(digest)]);
    let copied: Vec<_> =
        service.copy_to(&target, blobs, &CopyOptions::default(), &()).try_collect().await.unwrap();
    let [copied] = &copied[..] else { panic!("{copied:?}") };
    assert!(
        matches!(&copied.outcome, CopyOutcome::Failed(error) if error.kind() == ErrorKind::Unavailable)
    );
    assert_whole(&probe, &digest).await;
}

#[tokio::test]
async fn a_blob_that_was_removed_since_it_was_listed_stops_nothing() {
    let (_, service, digest) = stored().await;
    service.remove(&digest).await.unwrap();
    assert_eq!(verify(&service, VerifyLevel::Blob).await.0.unknown, 0);
    service.gc(Roots::Blobs, &GcOptions::default().max_fraction(1.0), &()).await.unwrap();
    service.usage(&()).await.unwrap();
}

#[tokio::test]
async fn a_chunk_that_is_listed_and_not_given_is_not_missing() {
    let (probe, service, digest) = stored().await;
    let chunk = service.chunks(&digest).await.unwrap().unwrap().get(1).unwrap().digest;
    withhold(&probe, &chunk_key(&chunk));
    for level in [VerifyLevel::Data, VerifyLevel::Blob] {
        let (report, findings) = verify(&service, level).await;
        let problems: Vec<_> = findings.iter().map(|finding| finding.problem).collect();
        assert_not_known(&report, Problem::UnreadableChunk, &problems[..1]);
    }
    let options = RepairOptions::default().level(VerifyLevel::Data);
    let report = service.repair(&options, &(), |_, _| {}).await.unwrap();
    assert_eq!((report.lost, report.quarantined, report.not_known), (0, 0, 1), "{report:?}");
    assert_whole(&probe, &digest).await;
}

/// A proxy answers with a login page.
#[tokio::test]
async fn a_store_that_gives_a_page_instead_of_its_objects_is_not_damaged() {
    let (probe, service, digest) = stored().await;
    for part in [Part::Blobs, Part::Chunks] {
        probe.fault(Kind::Get, part, ALWAYS, Effect::Page(b"<html>please log in</html>"));
    }
    for level in LEVELS {
        let (report, _) = verify(&service, level).await;
        assert!(report.damaged == 0 && report.unknown >= 2, "{level:?}: {report:?}");
    }
    let mut outcomes = Vec::new();
    let options = RepairOptions::default().level(VerifyLevel::Blob);
    let repaired =
        service.repair(&options, &(), |_, outcome| outcomes.push(outcome.clone())).await.unwrap();
    assert_eq!((repaired.lost, repaired.quarantined, repaired.removed), (0, 0, 0));
    let is_not_known = |outcome: &RepairOutcome| {
        matches!(outcome, RepairOutcome::NotKnown(_) | RepairOutcome::Left)
    };
    assert!(repaired.not_known >= 2 && outcomes.iter().all(is_not_known), "{outcomes:?}");
    service.gc(Roots::Blobs, &GcOptions::default(), &()).await.unwrap_err();
    assert_whole(&probe, &digest).await;
}
