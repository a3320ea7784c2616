//! Group hashes in verifications and repairs, and as an outboard.

use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

use bao_tree::BlockSize;
use bao_tree::io::outboard::PreOrderMemOutboard;
use bytes::Bytes;
use castore_core::groups::{GROUP_SIZE, GroupHashes};
use castore_core::{BlobIndex, BlobService, ChunkMeta, Digest, ErrorKind};
use castore_objstore::metrics::Request;
use castore_objstore::repair::{RepairOptions, RepairReport};
use castore_objstore::verify::{Finding, Problem, VerifyLevel};
use castore_objstore::{ChunkParams, ObjectStoreBlobService};
use futures_util::FutureExt;
use object_store::path::Path;

use crate::damaged::verify;
use crate::support::data::{KIB, MIB, random, tiny};
use crate::support::probe::{ALWAYS, Effect, Kind, Part, Probe, denied};
use crate::support::service::{
    assert_absent, builder, chunk_key, index_key, put, read, service, service_with,
};

/// A service that writes indexes without group hashes.
fn plain(probe: &Probe) -> ObjectStoreBlobService {
    builder(probe).group_hashes(false).build().unwrap()
}

async fn listed(probe: &Probe, digest: &Digest) -> BlobIndex {
    service(probe).chunks(digest).await.unwrap().unwrap()
}

/// Repairs the store. Returns the report, and the outcome of each finding by its key.
async fn repair(
    probe: &Probe,
    options: RepairOptions,
) -> (RepairReport, BTreeMap<String, &'static str>) {
    let mut outcomes = BTreeMap::new();
    let each = |finding: &Finding, outcome: &castore_objstore::repair::RepairOutcome| {
        outcomes.insert(finding.key.clone(), outcome.name());
    };
    let report = service(probe).repair(&options, &(), each).await.unwrap();
    (report, outcomes)
}

/// Repairs the index of a blob, which must be the only finding.
async fn repaired_index(probe: &Probe, digest: &Digest, options: RepairOptions) {
    let (report, outcomes) = repair(probe, options).await;
    assert_eq!(outcomes, BTreeMap::from([(index_key(digest).to_string(), "repaired")]));
    assert_eq!((report.repaired, report.unrepaired), (1, 0));
}

fn deep() -> RepairOptions {
    RepairOptions::default().level(VerifyLevel::Blob)
}

/// Writes an index with the group hashes of `index` and other chunks.
async fn overwrite_entries(probe: &Probe, index: &BlobIndex, chunks: Vec<ChunkMeta>) {
    let wrong = BlobIndex::new(index.digest(), chunks).unwrap();
    let wrong = wrong.with_groups(index.groups().unwrap().clone()).unwrap();
    probe.overwrite(&index_key(&index.digest()), castore_proto::encode(&wrong)).await;
}

/// Swaps two entries of the index in the store. Returns the groups that are wrong then, from the
/// first to the last.
async fn swap(probe: &Probe, index: &BlobIndex, first: usize, second: usize) -> Range<u64> {
    let mut chunks: Vec<ChunkMeta> = index.iter().collect();
    chunks.swap(first, second);
    overwrite_entries(probe, index, chunks).await;
    let start = index.chunk_range(first).unwrap().start;
    start / GROUP_SIZE..index.chunk_range(second).unwrap().end.div_ceil(GROUP_SIZE)
}

#[tokio::test]
async fn a_verification_names_wrong_groups_and_the_chunks_that_overlap_them() {
    let probe = Probe::new();
    let digest = put(&service(&probe), &random("named", 8 * MIB)).await;
    let index = listed(&probe, &digest).await;
    let wrong = swap(&probe, &index, 4, 5).await;
    let (report, findings) = verify(&service(&probe), VerifyLevel::Blob).await;
    assert_eq!((report.damaged, findings.len()), (1, 1));
    assert_eq!(findings[0].problem, Problem::WrongDigest);
    let bytes = wrong.start * GROUP_SIZE..wrong.end * GROUP_SIZE;
    let groups = format!(
        "the chunks that its index lists are not the blob in {} of 32 groups: {} to {} \
         (bytes {} to {}); these overlap ",
        wrong.end - wrong.start,
        wrong.start,
        wrong.end - 1,
        bytes.start,
        bytes.end
    );
    let suspects = index.covering(bytes);
    let chunks = format!("{} of {} chunks: {} (", suspects.len(), index.len(), suspects.start);
    let detail = &findings[0].detail;
    assert!(detail.starts_with(&(groups + &chunks)), "{detail}");

    // A mismatch of a blob without a list is told by its digest.
    let mut chunks: Vec<ChunkMeta> = index.iter().collect();
    chunks.swap(4, 5);
    let without = BlobIndex::new(digest, chunks).unwrap();
    probe.overwrite(&index_key(&digest), castore_proto::encode(&without)).await;
    let (report, findings) = verify(&service(&probe), VerifyLevel::Blob).await;
    assert_eq!((report.damaged, report.without_group_hashes), (1, 1));
    assert!(findings[0].detail.contains("are those of"), "{}", findings[0].detail);
}

#[tokio::test]
async fn indexes_without_group_hashes_are_counted_and_are_no_damage() {
    let probe = Probe::new();
    for (number, size) in [1000, 200 * KIB, 300 * KIB, MIB, 3 * MIB].into_iter().enumerate() {
        put(&plain(&probe), &random(&number.to_string(), size)).await;
        put(&service(&probe), &random(&format!("full {number}"), size)).await;
    }
    for level in [VerifyLevel::Index, VerifyLevel::Blob] {
        let (report, findings) = verify(&service(&probe), level).await;
        assert_eq!(report.without_group_hashes, 3);
        assert!(report.is_good() && findings.is_empty(), "{findings:?}");
    }
}

#[tokio::test]
async fn a_repair_adds_group_hashes_and_changes_nothing_else() {
    let probe = Probe::new();
    let mut digests = Vec::new();
    for (number, size) in [1000, 300 * KIB, MIB, 3 * MIB, 9 * MIB + 1].into_iter().enumerate() {
        digests.push(put(&plain(&probe), &random(&number.to_string(), size)).await);
    }
    let mut before = Vec::new();
    for digest in &digests {
        before.push(listed(&probe, digest).await);
    }
    let (report, _) = repair(&probe, RepairOptions::default()).await;
    assert_eq!((report.group_hashes_added, report.verified.without_group_hashes), (0, 4));

    let add = RepairOptions::default().add_group_hashes(true);
    probe.forget();
    let (report, outcomes) = repair(&probe, add.clone().dry_run(true)).await;
    assert_eq!((report.group_hashes_added, outcomes.len()), (4, 0));
    assert_eq!(probe.count(Kind::Put, Part::Blobs), 0);
    probe.forget();
    let (report, outcomes) = repair(&probe, add.clone()).await;
    assert_eq!((report.group_hashes_added, outcomes.len()), (4, 0));
    assert_eq!(probe.count(Kind::Put, Part::Blobs), 4);
    assert_eq!(probe.count(Kind::Put, Part::Chunks), 0);
    for ((number, digest), before) in digests.iter().enumerate().zip(before) {
        let after = listed(&probe, digest).await;
        assert!(after.lists_same(&before));
        let data = read(&service(&probe), digest).await;
        assert_eq!(after.groups(), Some(&GroupHashes::of(&data)), "{number}");
    }
    probe.forget();
    let (report, _) = repair(&probe, add.clone()).await;
    assert_eq!((report.group_hashes_added, report.verified.without_group_hashes), (0, 0));
    assert_eq!(probe.count(Kind::Put, Part::Blobs), 0);

    let error = plain(&probe).repair(&add, &(), |_, _| {}).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidInput);
    assert!(error.to_string().contains("without group hashes"), "{error}");
}

/// Bad chunks have the same findings as otherwise; a blob that proves to be wrong is one more.
#[tokio::test]
async fn group_hashes_are_added_only_to_blobs_that_are_right() {
    let (probe, twin) = (Probe::new(), Probe::new());
    let data = ["lost", "wrong", "right"].map(|name| random(name, 2 * MIB));
    for data in &data {
        put(&plain(&probe), data).await;
        put(&service(&twin), data).await;
    }
    let [lost, wrong, right] = data.each_ref().map(|data| Digest::of(data));
    let chunk = chunk_key(&listed(&probe, &lost).await.get(2).unwrap().digest);
    probe.remove(&chunk).await;
    let mut chunks: Vec<ChunkMeta> = listed(&probe, &wrong).await.iter().collect();
    chunks.swap(1, 2);
    let swapped = castore_proto::encode(&BlobIndex::new(wrong, chunks).unwrap());
    probe.overwrite(&index_key(&wrong), swapped.clone()).await;

    let add = RepairOptions::default().level(VerifyLevel::Index).add_group_hashes(true);
    let (report, outcomes) = repair(&probe, add.clone()).await;
    let expected = [(chunk.to_string(), "lost"), (index_key(&wrong).to_string(), "quarantined")];
    assert_eq!(outcomes, BTreeMap::from(expected));
    assert_eq!((report.group_hashes_added, report.verified.damaged), (1, 2));
    assert!(listed(&probe, &lost).await.groups().is_none());
    assert!(listed(&probe, &right).await.groups().is_some());

    probe.overwrite(&index_key(&wrong), swapped).await;
    let add = add.from_service(Arc::new(service(&twin)));
    let (report, outcomes) = repair(&probe, add).await;
    assert!(outcomes.values().all(|outcome| *outcome == "repaired"), "{outcomes:?}");
    assert_eq!((report.group_hashes_added, report.repaired), (1, 2));
    for (digest, data) in [lost, wrong, right].iter().zip(&data) {
        assert_eq!(read(&service(&probe), digest).await, *data);
        assert!(listed(&probe, digest).await.groups().is_some());
    }
}

#[tokio::test]
async fn a_chunk_that_only_the_adding_finds_bad_is_a_finding_and_stays() {
    let probe = Probe::new();
    let digest = put(&plain(&probe), &random("bad", 2 * MIB)).await;
    let chunk = chunk_key(&listed(&probe, &digest).await.get(2).unwrap().digest);
    let size = probe.object(&chunk).await.len();
    probe.overwrite(&chunk, random("other", size)).await;
    let add = RepairOptions::default().level(VerifyLevel::Index).add_group_hashes(true);
    let mut outcomes = Vec::new();
    let each = |finding: &Finding, outcome: &castore_objstore::repair::RepairOutcome| {
        outcomes.push((finding.problem, finding.is_damage(), outcome.name()));
    };
    let report = service(&probe).repair(&add, &(), each).await.unwrap();
    assert_eq!(outcomes, [(Problem::NoGroupHashes, false, "not-known")]);
    assert_eq!((report.not_known, report.group_hashes_added), (1, 0));
}

#[tokio::test]
async fn an_index_that_cannot_be_written_is_a_finding() {
    let probe = Probe::new();
    let digest = put(&plain(&probe), &random("refused", 2 * MIB)).await;
    probe.fault(Kind::Put, Part::Blobs, ALWAYS, Effect::Fail(denied));
    let add = RepairOptions::default().add_group_hashes(true);
    let (report, outcomes) = repair(&probe, add).await;
    assert_eq!(outcomes, BTreeMap::from([(index_key(&digest).to_string(), "failed")]));
    assert_eq!((report.failed, report.group_hashes_added, report.unrepaired), (1, 0, 0));
}

/// The index is removed while the blob is read, or replaced by another writer.
#[tokio::test]
async fn an_index_that_changes_meanwhile_is_left_alone() {
    for replaced in [false, true] {
        let probe = Probe::new();
        let digest = put(&plain(&probe), &random("changed", 2 * MIB)).await;
        let key = index_key(&digest);
        let index = listed(&probe, &digest).await;
        let full = index
            .clone()
            .with_groups(service(&probe).group_hashes(&digest).await.unwrap().unwrap());
        let full = castore_proto::encode(&full.unwrap());
        let (changing, changes) = (probe.clone(), AtomicUsize::new(0));
        let hook = move |request: &Request| {
            // At this level only the adding of group hashes reads chunks.
            if request.operation == "read chunk" && changes.fetch_add(1, Relaxed) == 0 {
                let change = async {
                    match replaced {
                        true => changing.overwrite(&key, full.clone()).await,
                        false => changing.remove(&key).await,
                    }
                };
                change.now_or_never().expect("a store in memory is quick");
            }
        };
        let add = RepairOptions::default().level(VerifyLevel::Index).add_group_hashes(true);
        let repairing = builder(&probe).metrics(Arc::new(hook)).build().unwrap();
        probe.forget();
        let report = repairing.repair(&add, &(), |_, _| {}).await.unwrap();
        assert!(probe.count(Kind::Get, Part::Chunks) > 0);
        assert_eq!(probe.count(Kind::Put, Part::Blobs), 0);
        assert_eq!(report.group_hashes_added, 0);
        match replaced {
            true => assert!(listed(&probe, &digest).await.groups().is_some()),
            false => assert_absent(&service(&probe), &digest).await,
        }
    }
}

/// The object of an index with its list of group hashes damaged in every way.
fn damaged_lists(index: &BlobIndex) -> Vec<(&'static str, Bytes)> {
    let object = castore_proto::encode(index);
    let entries = castore_proto::encode(&index.clone().without_groups()).len();
    let flip = |at: usize| {
        let mut flipped = object.to_vec();
        flipped[at] ^= 1;
        flipped.into()
    };
    vec![
        ("a value", flip(object.len() - 40)),
        ("the length", flip(entries + 1)),
        ("cut within a value", object.slice(..object.len() - 5)),
        ("cut after a value", object.slice(..object.len() - 64)),
        ("cut within the header", object.slice(..entries + 4)),
        ("cut after the key", object.slice(..entries + 1)),
    ]
}

#[tokio::test]
async fn an_index_whose_group_hashes_are_damaged_is_restored_from_its_own_entries() {
    let probe = Probe::new();
    let digest = put(&service(&probe), &random("list", 3 * MIB)).await;
    let index = listed(&probe, &digest).await;
    let key = index_key(&digest);
    for (name, damaged) in damaged_lists(&index) {
        probe.overwrite(&key, damaged.clone()).await;
        let (_, findings) = verify(&service(&probe), VerifyLevel::Index).await;
        assert_eq!(findings[0].problem, Problem::MalformedIndex, "{name}");
        let dry = RepairOptions::default().dry_run(true);
        repaired_index(&probe, &digest, dry).await;
        assert_eq!(probe.object(&key).await, damaged, "{name}");
        repaired_index(&probe, &digest, RepairOptions::default()).await;
        assert_eq!(listed(&probe, &digest).await, index, "{name}");

        // A copy in the quarantine or in the trash serves as well.
        for place in [format!("quarantine/{key}"), format!("gc/{key}.batch-1")] {
            let place = Path::parse(place).unwrap();
            probe.overwrite(&place, damaged.clone()).await;
            probe.overwrite(&key, "garbage").await;
            repaired_index(&probe, &digest, RepairOptions::default()).await;
            assert_eq!(listed(&probe, &digest).await, index, "{name}");
            probe.remove(&place).await;
        }
    }
}

/// A damaged list is no proof: the chunks of another blob are not taken for the blob.
#[tokio::test]
async fn wrong_entries_with_a_damaged_list_are_moved() {
    let probe = Probe::new();
    let digest = put(&service(&probe), &random("both", 3 * MIB)).await;
    let index = listed(&probe, &digest).await;
    swap(&probe, &index, 1, 2).await;
    let mut object = probe.object(&index_key(&digest)).await.to_vec();
    *object.last_mut().unwrap() ^= 1;
    probe.overwrite(&index_key(&digest), object).await;
    let (report, _) = repair(&probe, RepairOptions::default()).await;
    assert_eq!((report.repaired, report.quarantined), (0, 1));
}

/// A store of a large blob whose index has two entries swapped, and a source that cuts the blob at
/// other places.
async fn swapped() -> (Probe, Probe, Bytes, BlobIndex) {
    let (probe, source) = (Probe::new(), Probe::new());
    let data = random("large", 48 * MIB + 12_345);
    let digest = put(&service(&probe), &data).await;
    let params = ChunkParams::new(32 * KIB, 64 * KIB, 200 * KIB).unwrap();
    put(&service_with(&source, params), &data).await;
    let index = listed(&probe, &digest).await;
    (probe, source, data, index)
}

#[tokio::test]
async fn only_the_wrong_part_of_a_blob_is_fetched_from_a_source() {
    let (probe, source, data, index) = swapped().await;
    let digest = index.digest();
    let last = index.len() - 1;
    for (first, second) in [(7, 8), (0, 1), (20, 25), (last - 1, last)] {
        let wrong = swap(&probe, &index, first, second).await;
        let from = service(&source);
        let options = deep().from_service(Arc::new(from.clone()));
        repaired_index(&probe, &digest, options.clone().dry_run(true)).await;
        let read_before = from.stats().bytes_read;
        probe.forget();
        repaired_index(&probe, &digest, options).await;
        let fetched = from.stats().bytes_read - read_before;
        // The entries at both ends of the region have other groups, and chunks of the source lie
        // across its ends.
        let most = (wrong.end - wrong.start) * GROUP_SIZE + 3 * MIB as u64;
        assert!((1..most).contains(&fetched), "{fetched} of {most} bytes were fetched");
        let after = listed(&probe, &digest).await;
        assert_eq!(after.groups(), index.groups());
        assert!(read(&service(&probe), &digest).await == data);
        // All other chunks stay: the region begins and ends with one of them.
        let same = index.iter().zip(after.iter()).take_while(|(a, b)| a == b).count();
        assert!(same + 3 > first, "{same} chunks before {first}");
        let same = index.iter().rev().zip(after.iter().rev()).take_while(|(a, b)| a == b).count();
        assert!(same + 3 > last - second, "{same} chunks after {second}");
    }
}

#[tokio::test]
async fn the_wrong_part_of_a_blob_is_fetched_from_a_file() {
    let (probe, _, data, index) = swapped().await;
    let digest = index.digest();
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), &data).unwrap();
    for (first, second) in [(7, 8), (index.len() - 2, index.len() - 1)] {
        swap(&probe, &index, first, second).await;
        probe.forget();
        repaired_index(&probe, &digest, deep().from_file(file.path())).await;
        assert!(read(&service(&probe), &digest).await == data);
        assert!(listed(&probe, &digest).await.groups().is_some());
    }
}

/// The chunk of another blob in several places: each region is replaced by itself.
#[tokio::test]
async fn several_regions_are_replaced() {
    let (probe, source, data, index) = swapped().await;
    let sizes: Vec<u64> = index.iter().map(|chunk| chunk.size).collect();
    let mut chunks: Vec<ChunkMeta> = index.iter().collect();
    for number in [5, 60, 100] {
        let other = random(&number.to_string(), sizes[number] as usize);
        let whole = ChunkParams::new(512 * KIB, MIB, 2 * MIB).unwrap();
        let digest = put(&service_with(&probe, whole), &other).await;
        chunks[number] = ChunkMeta { digest, size: sizes[number] };
    }
    overwrite_entries(&probe, &index, chunks).await;
    let from = service(&source);
    repaired_index(&probe, &index.digest(), deep().from_service(Arc::new(from.clone()))).await;
    assert!(from.stats().bytes_read < 10 * MIB as u64, "{:?}", from.stats());
    assert!(read(&service(&probe), &index.digest()).await == data);
}

/// A source that has other bytes, or none, in the place of the region does not help; a further
/// source does.
#[tokio::test]
async fn a_source_that_does_not_fit_changes_nothing() {
    let (probe, source, data, index) = swapped().await;
    let digest = index.digest();
    swap(&probe, &index, 7, 8).await;
    let before = probe.object(&index_key(&digest)).await;
    let bad = Probe::new();
    // An index of the same blob without a list: reads of ranges are not proven there.
    let chunks: Vec<ChunkMeta> = index.iter().collect();
    for part in [Part::Chunks, Part::Blobs] {
        for key in probe.objects(part).await {
            bad.overwrite(&key, probe.object(&key).await).await;
        }
    }
    let mut wrong = chunks.clone();
    wrong.swap(7, 8);
    let wrong = BlobIndex::new(digest, wrong).unwrap();
    bad.overwrite(&index_key(&digest), castore_proto::encode(&wrong)).await;
    let from = Arc::new(service(&bad));
    let (report, _) = repair(&probe, deep().dry_run(true).from_service(from.clone())).await;
    assert_eq!((report.repaired, report.quarantined), (0, 1));
    assert_eq!(probe.object(&index_key(&digest)).await, before);
    let options = deep().from_service(from).from_service(Arc::new(service(&source)));
    repaired_index(&probe, &digest, options).await;
    assert!(read(&service(&probe), &digest).await == data);
}

#[tokio::test]
async fn group_hashes_come_from_the_index_or_from_the_blob() {
    for (params, size) in [
        (tiny(), 0),
        (tiny(), 1000),
        (tiny(), 256 * KIB),
        (tiny(), 256 * KIB + 1),
        (ChunkParams::default(), MIB),
        (ChunkParams::default(), 5 * MIB + 77),
    ] {
        let data = random("outboard", size);
        let oracle = PreOrderMemOutboard::create(&data, BlockSize::from_chunk_log(8));
        for group_hashes in [true, false] {
            let probe = Probe::new();
            let service = builder(&probe).chunk_params(params).group_hashes(group_hashes);
            let digest = put(&service.build().unwrap(), &data).await;
            probe.forget();
            let hashes = service_with(&probe, params).group_hashes(&digest).await;
            let hashes = hashes.unwrap().unwrap();
            let outboard: Vec<u8> = hashes.outboard().flatten().flatten().collect();
            assert!(outboard == oracle.data, "{size} {group_hashes}");
            let reads = probe.count(Kind::Get, Part::Chunks);
            let is_read = !group_hashes && size > GROUP_SIZE as usize;
            assert_eq!(reads > 0, is_read, "{size} {group_hashes}");
        }
    }
    let probe = Probe::new();
    assert_eq!(service(&probe).group_hashes(&Digest::of(b"absent")).await.unwrap(), None);
    let digest = put(&plain(&probe), &random("damaged", MIB)).await;
    let mut chunks: Vec<ChunkMeta> = listed(&probe, &digest).await.iter().collect();
    chunks.swap(0, 1);
    let wrong = castore_proto::encode(&BlobIndex::new(digest, chunks).unwrap());
    probe.overwrite(&index_key(&digest), wrong).await;
    let error = service(&probe).group_hashes(&digest).await.unwrap_err();
    assert!(error.is_blob_mismatch(), "{error}");
}
