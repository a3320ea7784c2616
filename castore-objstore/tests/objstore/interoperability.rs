//! Stores written by other implementations are readable, and our objects equal theirs.

use bytes::Bytes;
use castore_core::groups::GROUP_SIZE;
use castore_core::{BlobService, Digest, ErrorKind};
use castore_objstore::{ChunkParams, ObjectStoreBlobService};
use futures_util::TryStreamExt;

use crate::support::data::{KIB, cut, random};
use crate::support::fixtures::{blobs, directory};
use crate::support::probe::{Part, Probe};
use crate::support::service::{
    assert_absent, builder, chunk_key, collect_until_error, index_key, put, read, service,
};

const STORES: [&str; 2] = ["original", "later"];

fn fixture(name: &str) -> ObjectStoreBlobService {
    ObjectStoreBlobService::local(directory(name)).build().unwrap()
}

#[test]
fn the_data_matches_the_readme_of_the_fixtures() {
    for (data, digest) in blobs() {
        assert_eq!(Digest::of(&data), digest);
    }
}

#[tokio::test]
async fn fixture_stores_read_back_whole() {
    for name in STORES {
        for (data, digest) in blobs() {
            let service = fixture(name);
            assert!(service.has(&digest).await.unwrap());
            assert_eq!(read(&service, &digest).await, data, "{name} {digest}");
            let reader = service.open_read(&digest).await.unwrap().unwrap();
            assert_eq!(reader.size(), data.len() as u64);
            let middle = data.len() as u64 / 3..data.len() as u64 / 2;
            let (part, error) = collect_until_error(reader.read_range(middle.clone())).await;
            assert!(error.is_none(), "{error:?}");
            assert_eq!(part, data[middle.start as usize..middle.end as usize]);
        }
    }
}

#[tokio::test]
async fn fixture_stores_have_the_cut_points_that_we_make() {
    for name in STORES {
        for (data, digest) in blobs() {
            let index = fixture(name).chunks(&digest).await.unwrap().unwrap();
            assert_eq!(index.digest(), digest);
            let chunks: Vec<_> = index.iter().map(|chunk| (chunk.digest, chunk.size)).collect();
            let expected: Vec<_> = cut(&data, ChunkParams::default())
                .iter()
                .map(|chunk| (Digest::of(chunk), chunk.len() as u64))
                .collect();
            assert_eq!(chunks, expected, "{name} {digest}");
        }
    }
}

/// Putting the blobs again into a copy of the store finds all of their chunks.
#[tokio::test]
async fn putting_into_a_fixture_store_reuses_its_chunks() {
    for name in STORES {
        let copy = tempfile::tempdir().unwrap();
        copy_all(&directory(name), copy.path());
        let service = ObjectStoreBlobService::local(copy.path()).build().unwrap();
        for (data, digest) in blobs() {
            assert_eq!(put(&service, &data).await, digest);
            assert_eq!(read(&service, &digest).await, data);
        }
        assert_eq!(service.stats().chunks_new, 0, "{name}");
        assert_eq!(service.stats().bytes_stored, 0, "{name}");
    }
}

fn copy_all(from: &std::path::Path, to: &std::path::Path) {
    for entry in std::fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let target = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            std::fs::create_dir(&target).unwrap();
            copy_all(&entry.path(), &target);
        } else {
            std::fs::copy(entry.path(), target).unwrap();
        }
    }
}

#[tokio::test]
async fn our_objects_have_the_keys_and_indexes_of_the_original_writer() {
    let probe = Probe::new();
    let without = builder(&probe).group_hashes(false).build().unwrap();
    for (data, digest) in blobs() {
        let key = index_key(&digest);
        let original = std::fs::read(directory("original").join(key.as_ref())).unwrap();
        assert_eq!(put(&without, &data).await, digest);
        assert_eq!(probe.object(&key).await, original, "the index of {digest}");
        // Group hashes come after the entries, and only where there are several groups.
        assert_eq!(put(&service(&probe), &data).await, digest);
        let list = probe.object(&key).await.split_off(original.len());
        assert_eq!(probe.object(&key).await[..original.len()], original);
        assert_eq!(list.is_empty(), data.len() as u64 <= GROUP_SIZE, "the index of {digest}");
        assert!(list.is_empty() || list.starts_with(&[0x1a]), "field 3");
    }
    for part in [Part::Blobs, Part::Chunks] {
        for key in probe.objects(part).await {
            let file = directory("original").join(key.as_ref());
            assert!(file.is_file(), "the original writer has {key}");
        }
    }
    let files = |part| file_count(&directory("original").join(part));
    assert_eq!(probe.objects(Part::Blobs).await.len(), files("blobs"));
    assert_eq!(probe.objects(Part::Chunks).await.len(), files("chunks"));
}

fn file_count(directory: &std::path::Path) -> usize {
    let entries = std::fs::read_dir(directory).unwrap().map(|entry| entry.unwrap());
    entries
        .map(
            |entry| if entry.file_type().unwrap().is_dir() { file_count(&entry.path()) } else { 1 },
        )
        .sum()
}

/// Every implementation of zstd reads our chunks.
#[tokio::test]
async fn our_chunks_are_one_plain_frame_each() {
    let probe = Probe::new();
    let service = service(&probe);
    let (data, _) = blobs().pop().unwrap();
    put(&service, &data).await;
    for chunk in cut(&data, ChunkParams::default()) {
        let object = probe.object(&chunk_key(&Digest::of(&chunk))).await;
        assert_eq!(zstd::stream::decode_all(&object[..]).unwrap(), chunk);
        assert_eq!(zstd::zstd_safe::find_frame_compressed_size(&object), Ok(object.len()));
    }
}

/// The frames are those of a streaming encoder: without a content size, with flushes in between, or
/// several for a chunk.
#[tokio::test]
async fn chunks_of_other_encoders_are_read() {
    use std::io::Write;

    let data = random("other encoders", 100 * KIB);
    let streamed = |flush_every: usize| {
        let mut encoder = zstd::stream::Encoder::new(Vec::new(), 1).unwrap();
        for piece in data.chunks(flush_every) {
            encoder.write_all(piece).unwrap();
            encoder.flush().unwrap();
        }
        encoder.finish().unwrap()
    };
    let frames = data.chunks(30 * KIB).map(|piece| zstd::bulk::compress(piece, 3).unwrap());
    let fast = zstd::bulk::compress(&data, -7).unwrap();
    let small = zstd::bulk::compress(&data, 19).unwrap();
    for object in
        [streamed(data.len()), streamed(1000), frames.collect::<Vec<_>>().concat(), fast, small]
    {
        let probe = Probe::new();
        let service = service(&probe);
        let digest = put(&service, &data).await;
        probe.overwrite(&chunk_key(&digest), Bytes::from(object)).await;
        assert_eq!(read(&service, &digest).await, data, "with the index of one entry");
        probe.overwrite(&index_key(&digest), Bytes::new()).await;
        assert_eq!(read(&service, &digest).await, data, "with an index without entries");
        assert_eq!(service.chunks(&digest).await.unwrap().unwrap().size(), data.len() as u64);
        probe.remove(&index_key(&digest)).await;
        assert_eq!(service.get_chunk(&digest).await.unwrap(), Some(data.clone()));
    }
}

/// This version ignores unknown fields.
#[tokio::test]
async fn indexes_with_unknown_fields_are_read() {
    let data = random("unknown fields", 1000 * KIB);
    let probe = Probe::new();
    let service = service(&probe);
    let digest = put(&service, &data).await;
    let object = probe.object(&index_key(&digest)).await;
    // Field 3 (a string), and field 15 (a number).
    let more = [b"\x1a\x03bao", &object[..], b"\x78\x2a"].concat();
    probe.overwrite(&index_key(&digest), more).await;
    assert_eq!(read(&service, &digest).await, data);
}

#[tokio::test]
async fn a_chunk_is_no_blob_and_is_read_by_its_digest() {
    for name in STORES {
        let service = fixture(name);
        for (data, digest) in blobs() {
            for chunk in cut(&data, ChunkParams::default()) {
                let own = Digest::of(&chunk);
                if own != digest {
                    assert_absent(&service, &own).await;
                }
                assert!(service.has_chunk(&own).await.unwrap());
                assert_eq!(service.get_chunk(&own).await.unwrap(), Some(chunk));
                assert!(service.stored_size(&own).await.unwrap().is_some_and(|size| size > 0));
            }
            let chunks = cut(&data, ChunkParams::default()).len();
            let size = service.stored_size(&digest).await.unwrap();
            assert_eq!(size.is_some(), chunks == 1, "only one chunk is the blob itself");
        }
    }
}

#[tokio::test]
async fn the_blobs_of_a_store_are_listed_but_not_its_chunks() {
    let mut expected: Vec<Digest> = blobs().into_iter().map(|(_, digest)| digest).collect();
    expected.sort();
    for name in STORES {
        let mut listed: Vec<Digest> = fixture(name).list().try_collect().await.unwrap();
        listed.sort();
        assert_eq!(listed, expected, "{name}");
    }
    let probe = Probe::new();
    let nothing: Vec<Digest> = service(&probe).list().try_collect().await.unwrap();
    assert!(nothing.is_empty());
    // An object is the index of a blob only if its whole key is that of an index.
    let digest = "41f8394111eb713a22165c46c90ab8f0fd9399c92028fd6d288944b23ff5bf76";
    let nested = format!("blobs/b3/backup/41f8/{digest}");
    let deeper = format!("blobs/b3/41f8/41f8/{digest}");
    for key in ["blobs/b3/README", "blobs/b3/41f8/41f8", "blobs/b3/0000/4", &nested, &deeper] {
        probe.overwrite(&key.into(), "x").await;
    }
    let service = service(&probe);
    let nothing: Vec<Digest> = service.list().try_collect().await.unwrap();
    assert!(nothing.is_empty());
    assert!(service.find(&digest[..8]).await.unwrap().is_empty());
    assert_absent(&service, &digest.parse().unwrap()).await;
}

#[tokio::test]
async fn blobs_are_found_by_a_prefix_and_chunks_are_not() {
    let service = fixture("original");
    for (data, digest) in blobs() {
        let hex = digest.to_string();
        for prefix in [&hex[..4], &hex[..8], &hex[..63], &hex, &hex.to_uppercase()] {
            assert_eq!(service.find(prefix).await.unwrap(), [digest], "{prefix}");
        }
        for chunk in cut(&data, ChunkParams::default()) {
            let own = Digest::of(&chunk);
            let found = service.find(&own.to_string()[..10]).await.unwrap();
            assert_eq!(found.is_empty(), own != digest);
        }
        let mut other = hex[..8].to_owned();
        other.replace_range(7..8, if hex.as_bytes()[7] == b'0' { "1" } else { "0" });
        assert!(service.find(&other).await.unwrap().is_empty());
    }
    for bad in ["", "41f", "41g8", "41f8 ", "../..", &"4".repeat(65), "41f\u{e9}"] {
        let error = service.find(bad).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidInput, "{bad:?}");
    }
}

/// The chunk remains and has the digest of the blob. A writer that learns that the blob is absent
/// stores it again, before a garbage collector removes the chunk.
#[tokio::test]
async fn a_removed_blob_of_one_chunk_is_absent_until_it_is_put_again() {
    let probe = Probe::new();
    let service = service(&probe);
    let data = random("removed", 10 * KIB);
    let digest = put(&service, &data).await;
    assert!(service.remove(&digest).await.unwrap());
    assert_absent(&service, &digest).await;
    assert!(service.find(&digest.to_string()).await.unwrap().is_empty());
    assert_eq!(service.get_chunk(&digest).await.unwrap(), Some(data.clone()));
    put(&service, &data).await;
    assert_eq!(read(&service, &digest).await, data);
}

#[tokio::test]
async fn chunks_are_read_by_their_digests_in_place_and_set_aside() {
    let probe = Probe::new();
    let service = service(&probe);
    let chunk = random("chunk", 10 * KIB);
    let digest = put(&service, &chunk).await;
    probe.forget();
    assert!(service.has_chunk(&digest).await.unwrap());
    assert_eq!(service.get_chunk(&digest).await.unwrap(), Some(chunk.clone()));
    assert_eq!(probe.total(), 2);

    let object = probe.object(&chunk_key(&digest)).await;
    let aside = format!("gc/chunks/b3/{digest:.4}/{digest}.batch");
    probe.overwrite(&aside.as_str().into(), object).await;
    probe.remove(&chunk_key(&digest)).await;
    assert!(service.has_chunk(&digest).await.unwrap());
    assert_eq!(service.get_chunk(&digest).await.unwrap(), Some(chunk));

    probe.remove(&aside.as_str().into()).await;
    assert!(!service.has_chunk(&digest).await.unwrap());
    assert_eq!(service.get_chunk(&digest).await.unwrap(), None);
    assert!(!service.has_chunk(&Digest::EMPTY).await.unwrap());
    assert_eq!(service.get_chunk(&Digest::EMPTY).await.unwrap(), None);

    probe.overwrite(&chunk_key(&digest), "no chunk").await;
    let error = service.get_chunk(&digest).await.unwrap_err();
    assert_eq!((error.kind(), error.digest()), (ErrorKind::Corrupt, Some(digest)));
}

#[tokio::test]
async fn a_removed_blob_is_absent_and_its_chunks_stay() {
    let probe = Probe::new();
    let service = service(&probe);
    let (data, other) = (random("removed", 1000 * KIB), random("kept", 1000 * KIB));
    let (digest, kept) = (put(&service, &data).await, put(&service, &other).await);
    let chunks = probe.objects(Part::Chunks).await.len();
    assert!(service.remove(&digest).await.unwrap());
    assert_absent(&service, &digest).await;
    assert!(!service.remove(&digest).await.unwrap());
    assert_eq!(probe.objects(Part::Chunks).await.len(), chunks);
    assert_eq!(read(&service, &kept).await, other);
    assert_eq!(service.list().try_collect::<Vec<_>>().await.unwrap(), [kept]);
    // Put again, the blob is present again, made of the same chunks.
    probe.forget();
    put(&service, &data).await;
    assert_eq!(read(&service, &digest).await, data);
    assert_eq!(probe.objects(Part::Chunks).await.len(), chunks);
}
