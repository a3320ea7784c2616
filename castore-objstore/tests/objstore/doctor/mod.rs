//! The doctor finds each flaw of a store, by the right check, and finds no flaw in a good store.

mod broken;

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use castore_core::ErrorKind;
use castore_objstore::doctor::{Doctor, DoctorOptions, DoctorReport, Fitness, Operation, Verdict};
use castore_objstore::{ObjectStoreBlobService, parse_url};
use futures_util::TryStreamExt;
use object_store::{ObjectStore, ObjectStoreExt};

use self::broken::{Broken, Flaw};

const BASE: &str = "some/base";

fn options() -> DoctorOptions {
    DoctorOptions::default().timeout(Duration::from_secs(5))
}

async fn examine(flaw: Flaw) -> (DoctorReport, Broken) {
    let store = Broken::new(flaw);
    let doctor = Doctor::of_store(Arc::new(store.clone()), BASE).unwrap();
    (doctor.examine(&options(), &()).await.unwrap(), store)
}

/// The names of the failed checks, and of those with an unknown result.
fn troubles(report: &DoctorReport) -> (Vec<&str>, Vec<&str>) {
    let named = |wanted: fn(&Verdict) -> bool| {
        let checks = report.checks.iter().filter(move |check| wanted(&check.verdict));
        checks.map(|check| check.name).collect::<Vec<_>>()
    };
    (
        named(|verdict| matches!(verdict, Verdict::Failed(_))),
        named(|verdict| matches!(verdict, Verdict::Unknown(_))),
    )
}

/// The operations that the store is not fit for, by name.
fn unfit(report: &DoctorReport) -> BTreeSet<&'static str> {
    let unfit = |operation: &Operation| matches!(report.fitness(*operation), Fitness::Unfit(_));
    Operation::ALL.into_iter().filter(unfit).map(Operation::name).collect()
}

async fn keys(store: &dyn ObjectStore) -> Vec<String> {
    let listed: Vec<_> = store.list(None).try_collect().await.unwrap();
    listed.into_iter().map(|meta| meta.location.to_string()).collect()
}

#[tokio::test(start_paused = true)]
async fn a_good_store_is_fit_for_everything_and_left_as_it_was() {
    let store = Broken::new(Flaw::None);
    for key in ["some/base/castore-format", "some/base/castore-doctor/other/x", "elsewhere"] {
        store.inner.put(&key.into(), "x".into()).await.unwrap();
    }
    let before = keys(&*store.inner).await;
    let doctor = Doctor::of_store(Arc::new(store.clone()), BASE).unwrap();
    assert!(doctor.prefix().starts_with("some/base/castore-doctor/"), "{}", doctor.prefix());
    let report = doctor.examine(&options(), &()).await.unwrap();
    assert_eq!(troubles(&report), (vec![], vec![]), "{report}");
    assert!(Operation::ALL.iter().all(|o| report.fitness(*o) == Fitness::Fit), "{report}");
    assert_eq!(keys(&*store.inner).await, before);
    assert_eq!((report.left, report.left_by_others), (vec![], 1));
}

/// Lists each flaw with the checks that find it, and the operations that it spoils.
#[tokio::test(start_paused = true)]
async fn each_flaw_is_found_by_the_check_for_it() {
    let all = "copy gc get ls put repair rm verify";
    let lists = "copy gc ls repair verify";
    let reads = "copy gc get ls put repair verify";
    let writes = "copy gc put repair";
    let mut wrong = Vec::new();
    for (flaw, checks, spoilt) in [
        (Flaw::ListOnePage, "complete", lists),
        (Flaw::ListOmits(100), "complete", lists),
        (Flaw::ListOmits(4), "list", lists),
        (Flaw::ListTwice, "complete", lists),
        (Flaw::ListShowsDeleted, "list-deleted", "gc ls"),
        (Flaw::ListUnordered, "order", ""),
        (Flaw::ListSizes, "list", lists),
        (Flaw::ListPrefixByText, "list", lists),
        (Flaw::OffsetIgnored, "offset", lists),
        (Flaw::OffsetSkipsOne, "offset", lists),
        (Flaw::StaleGet, "overwrite", writes),
        (Flaw::StaleHead, "overwrite", writes),
        (Flaw::RemembersAbsence, "get", reads),
        (Flaw::HeadSize, "head", all),
        (Flaw::DeleteDoesNothing, "delete", "gc repair rm"),
        (Flaw::DeleteAbsentFails, "delete-absent", "gc repair rm"),
        (Flaw::CopyLater, "copy", "gc repair"),
        (Flaw::CopyCut, "copy", "gc repair"),
        (Flaw::CopyAbsentSucceeds, "copy-absent", "gc repair"),
        (Flaw::Epoch, "renewed clock", "gc"),
        (Flaw::ClockOff(-7200), "clock", ""),
        (Flaw::ClockOff(7200), "clock", ""),
        (Flaw::ClockOff(60), "", ""),
        (Flaw::ClockTorn, "forward", "gc"),
        (Flaw::TimeOfFirstWrite, "renewed", "gc"),
        (Flaw::HeadLater, "same-time", "gc"),
        (Flaw::RangeIgnored, "range", "copy get repair verify"),
        (Flaw::EmptyLost, "empty", "copy gc put"),
        (Flaw::TooLarge(1 << 20), "large", reads),
        (Flaw::Torn, "whole", reads),
        (Flaw::KeysFolded, "keys", reads),
        (Flaw::Refuses(20), "parallel", ""),
        (Flaw::Unsteady, "parallel", ""),
        (Flaw::Denies("put"), "put", writes),
        (Flaw::Denies("get"), "absent", all),
        (Flaw::Denies("list"), "list", lists),
        (Flaw::Denies("delete"), "delete", "gc repair rm"),
        (Flaw::Denies("copy"), "copy", "gc repair"),
        (Flaw::Unsupported("copy"), "copy", "gc repair"),
        (Flaw::Panics("copy"), "", ""),
    ] {
        let (report, _) = examine(flaw).await;
        let (failed, unknown) = troubles(&report);
        let is_found = checks.split_whitespace().all(|check| failed.contains(&check));
        let panics = matches!(flaw, Flaw::Panics(_));
        let is_right = is_found
            && unfit(&report) == spoilt.split_whitespace().collect()
            && unknown.is_empty() != panics
            // One flaw fails few checks.
            && failed.len() <= 6
            && report.to_string().lines().all(|line| line.len() < 250);
        if !is_right {
            wrong.push(format!("{flaw:?}, by {checks}, spoils {spoilt}:\n{report}"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n\n"));
}

#[tokio::test(start_paused = true)]
async fn a_store_that_fails_or_hangs_is_not_known_to_be_unfit() {
    for flaw in [
        Flaw::Hangs("copy"),
        Flaw::Hangs("list"),
        Flaw::Hangs("delete"),
        Flaw::Hangs("put"),
        Flaw::Fails("copy"),
        Flaw::Fails("list"),
        Flaw::Fails("put"),
        Flaw::Fails("head"),
    ] {
        let (report, _) = examine(flaw).await;
        let (failed, unknown) = troubles(&report);
        assert_eq!(failed, [""; 0], "{flaw:?}\n{report}");
        assert!(!unknown.is_empty(), "{flaw:?}\n{report}");
        assert!(unfit(&report).is_empty(), "{flaw:?}\n{report}");
        let known = Operation::ALL.iter().all(|operation| report.is_fit(*operation));
        assert!(!known, "{flaw:?}\n{report}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_store_that_does_not_answer_or_is_not_there_is_an_error() {
    for (flaw, kind, said) in [
        (Flaw::Hangs("all"), ErrorKind::Unavailable, "no answer within 5s"),
        (Flaw::Fails("all"), ErrorKind::Unavailable, "500 InternalError"),
        (Flaw::NoBucket, ErrorKind::StoreNotFound, "the bucket does not exist (NoSuchBucket)"),
    ] {
        let doctor = Doctor::of_store(Arc::new(Broken::new(flaw)), BASE).unwrap();
        let error = doctor.examine(&options(), &()).await.unwrap_err();
        assert_eq!(error.kind(), kind, "{error}");
        assert!(error.to_string().contains(said), "{error}");
    }
}

#[tokio::test(start_paused = true)]
async fn refused_permissions_are_told_by_operation() {
    let (report, store) = examine(Flaw::Denies("delete")).await;
    let gc = report.fitness(Operation::Gc).to_string();
    assert_eq!(gc, "not fit: delete: refused (403 AccessDenied)");
    assert!(report.is_fit(Operation::Put) && report.is_fit(Operation::Get), "{report}");
    // The long listing would leave more than a thousand objects.
    assert!(report.left.len() < 80, "{report}");
    assert_eq!(report.left.len(), keys(&*store.inner).await.len());

    let (report, _) = examine(Flaw::Denies("all")).await;
    let put = report.fitness(Operation::Put).to_string();
    assert!(put.starts_with("not fit: get: refused (403 AccessDenied)"), "{put}");
    assert_eq!(report.left, [""; 0]);
}

#[tokio::test(start_paused = true)]
async fn an_examination_that_is_given_up_is_cleaned_up() {
    for after in [5, 50, 200, 500, 1500] {
        let store = Broken::new(Flaw::None);
        let doctor = Doctor::of_store(Arc::new(store.clone()), BASE).unwrap();
        let options = options();
        let examined =
            tokio::time::timeout(Duration::from_millis(after), doctor.examine(&options, &()));
        assert!(examined.await.is_err(), "it is not that fast");
        assert!(after < 50 || !keys(&*store.inner).await.is_empty());
        assert_eq!(doctor.clean_up().await, [""; 0]);
        assert_eq!(keys(&*store.inner).await, [""; 0], "after {after} ms");
    }
}

#[tokio::test]
async fn a_directory_is_examined_by_the_client_that_writes_to_it_and_left_as_it_was() {
    let place = tempfile::tempdir().unwrap();
    let service = ObjectStoreBlobService::local(place.path()).build().unwrap();
    let report = service.doctor().examine(&DoctorOptions::default(), &()).await.unwrap();
    assert_eq!(troubles(&report).1, [""; 0], "{report}");
    assert!(unfit(&report).is_empty(), "{report}");
    for name in ["flush", "filesystem", "links"] {
        assert!(report.check(name).is_some(), "{report}");
    }
    assert!(report.check("offset").is_none(), "castore's own listing has none\n{report}");
    assert_eq!(std::fs::read_dir(place.path()).unwrap().count(), 0, "nothing is left");
    assert!(!service.exists().await.unwrap(), "no store was made");
}

#[cfg(unix)]
#[tokio::test]
async fn a_directory_that_cannot_be_written_is_told_so() {
    use std::os::unix::fs::PermissionsExt;

    let place = tempfile::tempdir().unwrap();
    let service = ObjectStoreBlobService::local(place.path()).build().unwrap();
    // Root can write anywhere, but cannot make a directory in place of a file.
    std::fs::write(place.path().join("castore-doctor"), "a file").unwrap();
    std::fs::set_permissions(place.path(), std::fs::Permissions::from_mode(0o500)).unwrap();
    let report = service.doctor().examine(&DoctorOptions::default(), &()).await.unwrap();
    assert!(!report.is_fit(Operation::Put), "{report}");
    std::fs::set_permissions(place.path(), std::fs::Permissions::from_mode(0o700)).unwrap();
    assert_eq!(std::fs::read(place.path().join("castore-doctor")).unwrap(), b"a file");
}

#[tokio::test]
async fn the_store_of_a_url_is_examined_below_its_base() {
    let service = parse_url("memory:/a/b").unwrap().build().unwrap();
    let doctor = service.doctor();
    assert!(doctor.prefix().starts_with("a/b/castore-doctor/"));
    let report = doctor.examine(&DoctorOptions::default(), &()).await.unwrap();
    assert_eq!(troubles(&report), (vec![], vec![]), "{report}");
    let malformed = Doctor::of_store(Arc::new(Broken::new(Flaw::None)), "a//b").unwrap_err();
    assert_eq!(malformed.kind(), ErrorKind::InvalidInput);
}
