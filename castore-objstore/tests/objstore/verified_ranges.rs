//! Ranges are proven by the group hashes in the index: no index that lists other chunks makes a
//! read return a byte that is not the blob's.

use std::io::SeekFrom;
use std::ops::Range;

use bytes::Bytes;
use castore_core::groups::{GROUP_SIZE, GroupHashes};
use castore_core::{BlobIndex, BlobService, ChunkMeta, Digest, ErrorKind};
use castore_objstore::{Builder, ChunkParams, Verify};
use futures_util::{StreamExt, stream};
use object_store::path::Path;
use tokio::io::{AsyncReadExt, AsyncSeekExt};
use tokio::time::Instant;

use crate::support::clock::{LATENCY, round_trips};
use crate::support::data::{KIB, MIB, random, tiny};
use crate::support::probe::{Kind, Part, Probe};
use crate::support::service::{
    builder, chunk_key, collect_until_error, index_key, put, read, read_until_error, service,
    service_with,
};

/// A blob whose chunks have every usual relation to its groups.
async fn stored(probe: &Probe, params: ChunkParams, size: usize) -> (Bytes, BlobIndex) {
    let service = service_with(probe, params);
    let data = random("verified", size);
    let digest = put(&service, &data).await;
    let index = service.chunks(&digest).await.unwrap().unwrap();
    assert_eq!(index.groups(), Some(&GroupHashes::of(&data)));
    (data, index)
}

/// Ranges of every kind in a blob of `size` bytes.
fn ranges(size: u64) -> Vec<Range<u64>> {
    let mut ranges = vec![0..size, 0..1, size - 1..size, 0..size - 1, 1..size];
    for start in (0..size).step_by(size as usize / 11 + 1) {
        for length in [4 * KIB as u64, GROUP_SIZE, GROUP_SIZE + 1] {
            ranges.push(start..(start + length).min(size));
        }
    }
    ranges
}

/// Reads the blob in every way; returns how many reads have failed. Every failure is `Corrupt`,
/// and every byte that comes is the blob's.
async fn failures(builder: Builder, data: &Bytes, digest: &Digest) -> usize {
    let mut failed = 0;
    let service = builder.clone().build().unwrap();
    let (bytes, error) = read_until_error(&service, digest).await;
    assert!(data.starts_with(&bytes));
    match error {
        Some(error) => {
            assert_eq!(error.kind(), ErrorKind::Corrupt, "{error}");
            assert!(bytes.len() < data.len());
            failed += 1;
        }
        None => assert_eq!(bytes, *data),
    }
    let service = builder.build().unwrap();
    let Ok(reader) = service.open_read(digest).await else { return failed + 1 };
    let mut seeking = service.open_read(digest).await.unwrap().unwrap();
    let reader = reader.unwrap();
    // The index may state another size.
    for range in ranges(data.len() as u64).into_iter().filter(|range| range.end <= reader.size()) {
        let wanted = &data[range.start as usize..range.end as usize];
        let (bytes, error) = collect_until_error(reader.read_range(range.clone())).await;
        assert!(wanted.starts_with(&bytes), "{range:?}");
        match error {
            Some(error) => {
                assert_eq!(error.kind(), ErrorKind::Corrupt, "{error}");
                failed += 1;
            }
            None => assert_eq!(bytes, wanted),
        }
        let mut bytes = vec![0; wanted.len()];
        if seeking.seek(SeekFrom::Start(range.start)).await.is_ok() {
            match seeking.read_exact(&mut bytes).await {
                Ok(_) => assert_eq!(bytes, wanted, "{range:?}"),
                Err(_) => {
                    failed += 1;
                    seeking = service.open_read(digest).await.unwrap().unwrap();
                }
            }
        }
    }
    failed
}

/// The wrong lists of chunks for a blob with this index: of the same size, and of others.
fn wrong_lists(index: &BlobIndex, other: &BlobIndex) -> Vec<(&'static str, Vec<ChunkMeta>)> {
    let chunks: Vec<ChunkMeta> = index.iter().collect();
    let (middle, last) = (index.locate(index.size() / 2).unwrap().chunk, chunks.len() - 1);
    let changed = |change: &dyn Fn(&mut Vec<ChunkMeta>)| {
        let mut chunks = chunks.clone();
        change(&mut chunks);
        chunks
    };
    vec![
        ("the first two swapped", changed(&|chunks| chunks.swap(0, 1))),
        ("first and last swapped", changed(&|chunks| chunks.swap(0, last))),
        ("shifted", changed(&|chunks| chunks.rotate_left(1))),
        ("another blob's chunk in the middle", {
            let other = other.get(middle).unwrap();
            changed(&|chunks| chunks[middle] = other)
        }),
        ("the last repeated, and the first gone", {
            changed(&|chunks| {
                chunks.push(chunks[last]);
                chunks.remove(0);
            })
        }),
        ("another blob's chunks", other.iter().collect()),
    ]
}

#[tokio::test]
async fn a_list_of_other_chunks_gives_no_wrong_byte() {
    for (params, size) in [(ChunkParams::default(), 4 * MIB), (tiny(), 600 * KIB)] {
        let probe = Probe::new();
        let (data, index) = stored(&probe, params, size).await;
        let digest = index.digest();
        // Another blob of the same size, which differs in one byte.
        let mut other = data.to_vec();
        other[size / 2] ^= 1;
        let service = service_with(&probe, params);
        let other = put(&service, &other.into()).await;
        let other = service.chunks(&other).await.unwrap().unwrap();
        assert_eq!(failures(builder(&probe), &data, &digest).await, 0);

        let groups = index.groups().unwrap();
        for (name, chunks) in wrong_lists(&index, &other) {
            let wrong = BlobIndex::new(digest, chunks).unwrap();
            let object = match wrong.clone().with_groups(groups.clone()) {
                Ok(wrong) => castore_proto::encode(&wrong),
                // The list of hashes is that of a blob of another size.
                Err(_) => {
                    let entries = castore_proto::encode(&index.clone().without_groups()).len();
                    let list = castore_proto::encode(&index).slice(entries..);
                    [castore_proto::encode(&wrong), list].concat().into()
                }
            };
            probe.overwrite(&index_key(&digest), object).await;
            let failed = failures(builder(&probe), &data, &digest).await;
            assert!(failed > 0, "{name}");
        }
    }
}

#[tokio::test]
async fn a_list_of_hashes_that_is_not_the_blobs_is_corrupt() {
    let probe = Probe::new();
    let (_, index) = stored(&probe, ChunkParams::default(), 2 * MIB).await;
    let object = castore_proto::encode(&index);
    let entries = castore_proto::encode(&index.clone().without_groups());
    // The key and the length (of two bytes) of the field, then its version and the size of groups.
    let list = object.slice(entries.len() + 5..);
    assert_eq!(list.len(), 8 * 32);
    let field = |values: &[u8]| {
        let length = 2 + values.len();
        let length = [(length & 0x7f) as u8 | 0x80, (length >> 7) as u8];
        [&entries[..], &[0x1a], &length, &[1, 8], values].concat()
    };
    assert_eq!(field(&list), object);
    let mut flipped = list.to_vec();
    flipped[100] ^= 1;
    let swapped = [&list[32..64], &list[..32], &list[64..]].concat();
    for (name, values) in [
        ("flipped", &flipped[..]),
        ("swapped", &swapped),
        ("cut", &list[..7 * 32]),
        ("cut within a value", &list[..250]),
        ("longer", &[&list[..], &list[..32]].concat()),
        ("empty", &[]),
    ] {
        probe.overwrite(&index_key(&index.digest()), field(values)).await;
        let service = service(&probe);
        let error = service.open_read(&index.digest()).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Corrupt, "{name}: {error}");
        let error = service.chunks(&index.digest()).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Corrupt, "{name}: {error}");
    }
}

/// A range costs the chunks of its groups the first time, and its own chunks from then on, also
/// with other readers of the open blob.
#[tokio::test]
async fn what_is_proven_is_remembered_while_the_blob_is_open() {
    let probe = Probe::new();
    let (data, index) = stored(&probe, ChunkParams::default(), 8 * MIB).await;
    let service = service(&probe);
    let open = async || service.open_read(&index.digest()).await.unwrap().unwrap();
    let first = open().await;
    let range = GROUP_SIZE * 9 / 2..GROUP_SIZE * 11 / 2;
    let read = async |reader: &castore_core::BlobReader, covered: Range<u64>| {
        probe.forget();
        let (bytes, error) = collect_until_error(reader.read_range(range.clone())).await;
        assert!(error.is_none(), "{error:?}");
        assert_eq!(bytes, data[range.start as usize..range.end as usize]);
        let mut keys: Vec<_> = index
            .covering(covered)
            .map(|number| chunk_key(&index.get(number).unwrap().digest))
            .collect();
        let mut fetched = probe.keys(Kind::Get, Part::Chunks);
        keys.sort();
        fetched.sort();
        assert_eq!(fetched, keys);
    };
    read(&first, GROUP_SIZE * 4..GROUP_SIZE * 6).await;
    read(&first, range.clone()).await;
    let second = open().await;
    read(&second, range.clone()).await;
    drop((first, second));
    read(&open().await, GROUP_SIZE * 4..GROUP_SIZE * 6).await;

    // A reader that trusts the store pays for the range alone.
    let trusting = builder(&probe).verify(Verify::Chunks).build().unwrap();
    let reader = trusting.open_read(&index.digest()).await.unwrap().unwrap();
    read(&reader, range.clone()).await;
}

/// The chunks of a group are fetched together: a range costs the same round trips as without its
/// proof.
#[tokio::test(start_paused = true)]
async fn a_proof_costs_no_round_trip() {
    let probe = Probe::new().with_latency(LATENCY);
    let (data, index) = stored(&probe, ChunkParams::default(), 8 * MIB).await;
    for verify in [Verify::Groups, Verify::Chunks] {
        let service = builder(&probe).verify(verify).build().unwrap();
        let mut reader = service.open_read(&index.digest()).await.unwrap().unwrap();
        for start in [5 * MIB as u64 + 1000, 100, 3 * MIB as u64 - 7, 7 * MIB as u64] {
            let begun = Instant::now();
            let mut bytes = vec![0; 64 * KIB];
            assert_eq!(reader.read_at(start, &mut bytes).await.unwrap(), bytes.len());
            assert_eq!(bytes, data[start as usize..][..64 * KIB]);
            assert_eq!(round_trips(begun), 1, "{verify:?}");
            let begun = Instant::now();
            reader.seek(SeekFrom::Start(start + 100_000)).await.unwrap();
            reader.read_exact(&mut bytes).await.unwrap();
            assert!(round_trips(begun) <= 1, "{verify:?}");
        }
    }
}

/// The last chunk is missing: all groups before it are handed out, and not only with the end of the
/// blob.
#[tokio::test]
async fn a_whole_read_hands_out_each_group_as_soon_as_it_is_proven() {
    let probe = Probe::new();
    let (data, index) = stored(&probe, ChunkParams::default(), 3 * MIB).await;
    let last = index.chunk_range(index.len() - 1).unwrap();
    probe.remove(&chunk_key(&index.get(index.len() - 1).unwrap().digest)).await;
    let (bytes, error) = read_until_error(&service(&probe), &index.digest()).await;
    assert_eq!(error.unwrap().kind(), ErrorKind::Corrupt);
    assert_eq!(bytes, data[..(last.start / GROUP_SIZE * GROUP_SIZE) as usize]);
}

#[tokio::test]
async fn a_mismatch_says_which_bytes_are_not_the_blob() {
    let probe = Probe::new();
    let (data, index) = stored(&probe, ChunkParams::default(), 2 * MIB).await;
    let chunks: Vec<ChunkMeta> = index.iter().collect();
    let mut swapped = chunks.clone();
    swapped.swap(2, 3);
    let wrong = BlobIndex::new(index.digest(), swapped).unwrap();
    let wrong = wrong.with_groups(index.groups().unwrap().clone()).unwrap();
    probe.overwrite(&index_key(&index.digest()), castore_proto::encode(&wrong)).await;
    let (bytes, error) = read_until_error(&service(&probe), &index.digest()).await;
    let error = error.unwrap();
    assert!(error.is_blob_mismatch(), "{error}");
    let group = index.chunk_range(2).unwrap().start / GROUP_SIZE * GROUP_SIZE;
    assert_eq!(bytes, data[..group as usize]);
    let expected = format!("at bytes {group} to {}", group + GROUP_SIZE);
    assert!(error.to_string().ends_with(&expected), "{error}");
}

/// An index of another writer gets the list when the same blob is stored or copied again, and
/// never loses it.
#[tokio::test]
async fn indexes_without_group_hashes_get_them_and_keep_them() {
    let probe = Probe::new();
    let data = random("upgraded", 3 * MIB);
    let plain = || builder(&probe).group_hashes(false).build().unwrap();
    let digest = put(&plain(), &data).await;
    let without = plain().chunks(&digest).await.unwrap().unwrap();
    assert_eq!(without.groups(), None);
    assert_eq!(read(&service(&probe), &digest).await, data);
    put(&service(&probe), &data).await;
    let full = plain().chunks(&digest).await.unwrap().unwrap();
    assert!(full.groups().is_some() && full.lists_same(&without));
    for (known, requests) in [(true, 1), (false, 0)] {
        let service = plain();
        if known {
            put(&service, &data).await;
        }
        probe.forget();
        put(&service, &data).await;
        assert_eq!(probe.count(Kind::Put, Part::Blobs), 0, "the index stays");
        assert!(probe.count(Kind::Get, Part::Blobs) >= requests);
        assert_eq!(plain().chunks(&digest).await.unwrap(), Some(full.clone()));
    }
}

#[tokio::test]
async fn copies_have_group_hashes_whatever_the_source_has() {
    use castore_objstore::copy::{CopyOptions, CopyOutcome};
    let data = random("copied", 3 * MIB);
    let [plain, full] = [Probe::new(), Probe::new()];
    let digest = put(&builder(&plain).group_hashes(false).build().unwrap(), &data).await;
    put(&service(&full), &data).await;
    let listed = async |probe: &Probe| service(probe).chunks(&digest).await.unwrap().unwrap();
    let index = listed(&full).await;
    let copy = async |from: &Probe, to: &Probe| {
        let (from, to) = (service(from), service(to));
        let blobs = stream::iter([Ok(digest)]);
        let mut copied = from.copy_to(&to, blobs, &CopyOptions::default(), &());
        copied.next().await.unwrap().unwrap().outcome
    };

    for (from, target) in [(&plain, Probe::new()), (&full, Probe::new())] {
        let copied = copy(from, &target).await;
        assert!(matches!(copied, CopyOutcome::Copied(_)));
        assert_eq!(listed(&target).await, index);
        // A copy from a source without the list leaves the list there.
        let again = copy(&plain, &target).await;
        assert!(matches!(again, CopyOutcome::AlreadyThere));
        assert_eq!(listed(&target).await, index);
    }
    // A target without the list gets the list of the source.
    let again = copy(&full, &plain).await;
    assert!(matches!(again, CopyOutcome::AlreadyThere));
    assert_eq!(listed(&plain).await, index);
}

/// A long read computes no digest of a chunk, until a group is wrong: then it finds the bad chunk,
/// and a good copy of the chunk if there is one.
#[tokio::test]
async fn a_long_read_finds_the_bad_chunk_and_its_good_copy() {
    let probe = Probe::new();
    let (data, index) = stored(&probe, ChunkParams::default(), 6 * MIB).await;
    let bad = index.len() / 2;
    let chunk = index.get(bad).unwrap();
    let key = chunk_key(&chunk.digest);
    let good = probe.object(&key).await;
    // Another chunk of the same size: only a digest tells.
    let other = random("other", chunk.size as usize);
    let other = zstd::encode_all(&other[..], 3).unwrap();
    probe.overwrite(&key, other.clone()).await;
    let (bytes, error) = read_until_error(&service(&probe), &index.digest()).await;
    let error = error.unwrap();
    assert_eq!((error.kind(), error.digest()), (ErrorKind::Corrupt, Some(chunk.digest)));
    let group = index.chunk_range(bad).unwrap().start / GROUP_SIZE * GROUP_SIZE;
    assert_eq!(bytes, data[..group as usize]);

    let aside = Path::parse(format!("gc/{key}.batch")).unwrap();
    probe.overwrite(&aside, good.clone()).await;
    assert_eq!(read(&service(&probe), &index.digest()).await, data);
    probe.remove(&aside).await;

    // A read from the middle on.
    let size = index.size();
    let reader = service(&probe).open_read(&index.digest()).await.unwrap().unwrap();
    let (bytes, error) = collect_until_error(reader.read_range(1000..size)).await;
    assert_eq!(error.unwrap().digest(), Some(chunk.digest));
    assert_eq!(bytes, data[1000..group as usize]);
    probe.overwrite(&key, good).await;
    let (bytes, error) = collect_until_error(reader.read_range(1000..size)).await;
    assert!(error.is_none(), "{error:?}");
    assert_eq!(bytes, data[1000..]);
}

/// The objects of two chunks have changed places, and so have their entries: a long read has the
/// right bytes, but remembers no proof for an index that lists wrong chunks.
#[tokio::test]
async fn a_long_read_proves_bytes_and_not_the_index() {
    let probe = Probe::new();
    let (data, index) = stored(&probe, ChunkParams::default(), 6 * MIB).await;
    let digest = index.digest();
    // Another blob has the same cuts, but for one chunk of the same size with other bytes.
    let at = index.len() / 2;
    let range = index.chunk_range(at).unwrap();
    let other = random("other", (range.end - range.start) as usize);
    let other_digest = put(&service(&probe), &other).await;
    let mut chunks: Vec<ChunkMeta> = index.iter().collect();
    let good = probe.object(&chunk_key(&chunks[at].digest)).await;
    chunks[at].digest = other_digest;
    let wrong = BlobIndex::new(digest, chunks).unwrap();
    let wrong = wrong.with_groups(index.groups().unwrap().clone()).unwrap();
    probe.overwrite(&index_key(&digest), castore_proto::encode(&wrong)).await;
    // The object of the wrong chunk has the bytes of the right one.
    let object = zstd::encode_all(&other[..], 3).unwrap();
    probe.overwrite(&chunk_key(&other_digest), good).await;

    let service = service(&probe);
    let reader = service.open_read(&digest).await.unwrap().unwrap();
    let (bytes, error) = collect_until_error(reader.read_range(0..index.size())).await;
    assert!(error.is_none(), "{error:?}");
    assert_eq!(bytes, data);
    probe.overwrite(&chunk_key(&other_digest), object).await;
    let (bytes, error) = collect_until_error(reader.read_range(range.clone())).await;
    assert!(error.unwrap().is_blob_mismatch());
    assert!(data[range.start as usize..].starts_with(&bytes));
}
