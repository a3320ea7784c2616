//! Bad chunk objects are `Corrupt`, without a panic, without a wrong byte, and without more memory
//! than a chunk may take.

use bytes::Bytes;
use castore_core::{BlobService, ErrorKind, MAX_CHUNK_SIZE};

use crate::support::data::{KIB, MIB};
use crate::support::probe::{ALWAYS, Effect, Kind, Part};
use crate::support::service::{chunk_key, collect_until_error, index_key};
use crate::support::stored::{SHAPES, Shape, Stored};

/// A zstd frame of `blocks` runs of 128 KiB of zeros, in 4 bytes each.
fn bomb(blocks: usize, content_size: Option<u64>) -> Bytes {
    let mut frame = vec![0x28, 0xb5, 0x2f, 0xfd];
    // The descriptor says whether the frame has a content size, of 8 bytes. Then comes a window of
    // 128 KiB.
    frame.push(if content_size.is_some() { 0xc0 } else { 0 });
    frame.push(7 << 3);
    frame.extend(content_size.iter().flat_map(|size| size.to_le_bytes()));
    for number in 1..=blocks {
        let last = u32::from(number == blocks);
        let header = (128 * 1024) << 3 | 1 << 1 | last;
        frame.extend_from_slice(&header.to_le_bytes()[..3]);
        frame.push(0);
    }
    frame.into()
}

/// The peak memory of this process in bytes.
#[cfg(target_os = "linux")]
fn peak_memory() -> Option<usize> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    line.trim().strip_suffix("kB")?.trim().parse::<usize>().ok().map(|kib| kib * KIB)
}

#[cfg(not(target_os = "linux"))]
fn peak_memory() -> Option<usize> {
    None
}

async fn each_shape_with(object: impl Fn(&Bytes) -> Bytes) {
    for shape in SHAPES {
        let stored = Stored::new(shape).await;
        stored.assert_good().await;
        let key = stored.bad_key();
        let bad = object(&stored.probe.object(&key).await);
        stored.probe.overwrite(&key, bad).await;
        stored.assert_chunk_is_corrupt().await;
    }
}

#[tokio::test]
async fn a_flipped_bit() {
    each_shape_with(|object| {
        let mut flipped = object.to_vec();
        flipped[object.len() / 2] ^= 1;
        flipped.into()
    })
    .await;
}

/// Some bits of a zstd frame have no meaning. A flip of any other bit is noticed.
#[tokio::test]
async fn any_flipped_bit() {
    let stored = Stored::new(Shape::Many).await;
    let key = stored.bad_key();
    let object = stored.probe.object(&key).await;
    let range = stored.index.chunk_range(stored.bad).unwrap();
    let reader = stored.service().open_read(&stored.digest).await.unwrap().unwrap();
    let mut harmless = 0;
    for bit in 0..8 * object.len() {
        let mut flipped = object.to_vec();
        flipped[bit / 8] ^= 1 << (bit % 8);
        stored.probe.overwrite(&key, flipped).await;
        match collect_until_error(reader.read_range(range.clone())).await {
            (read, None) => {
                assert_eq!(read, stored.data[range.start as usize..range.end as usize]);
                harmless += 1;
            }
            (read, Some(error)) => {
                assert_eq!(error.kind(), ErrorKind::Corrupt, "bit {bit}: {error:?}");
                assert!(read.is_empty());
            }
        }
    }
    assert!(harmless <= 8, "{harmless} of {} bits", 8 * object.len());
}

#[tokio::test]
async fn a_truncated_chunk() {
    each_shape_with(|object| object.slice(..object.len() - 1)).await;
    each_shape_with(|object| object.slice(..object.len() / 2)).await;
    each_shape_with(|object| object.slice(..3)).await;
}

#[tokio::test]
async fn an_empty_chunk_object() {
    each_shape_with(|_| Bytes::new()).await;
}

#[tokio::test]
async fn a_chunk_that_is_a_frame_of_nothing() {
    each_shape_with(|_| zstd::bulk::compress(b"", 3).unwrap().into()).await;
}

#[tokio::test]
async fn a_chunk_that_is_not_compressed() {
    each_shape_with(|object| zstd::bulk::decompress(object, MIB).unwrap().into()).await;
}

#[tokio::test]
async fn a_chunk_with_garbage_behind_it() {
    each_shape_with(|object| [&object[..], b"garbage"].concat().into()).await;
}

#[tokio::test]
async fn a_chunk_with_more_bytes_behind_it() {
    let more = zstd::bulk::compress(b"more", 3).unwrap();
    each_shape_with(|object| [&object[..], &more].concat().into()).await;
}

#[tokio::test]
async fn a_missing_chunk() {
    for shape in SHAPES {
        let stored = Stored::new(shape).await;
        stored.probe.remove(&stored.bad_key()).await;
        stored.assert_chunk_is_corrupt().await;
    }
}

#[tokio::test]
async fn a_chunk_of_another_digest_in_its_place() {
    let other = zstd::bulk::compress(b"another chunk", 3).unwrap();
    each_shape_with(|_| other.clone().into()).await;
    // The other chunk has the same size, so that only its digest gives it away.
    each_shape_with(|object| {
        let mut chunk = zstd::bulk::decompress(object, MIB).unwrap();
        chunk.reverse();
        zstd::bulk::compress(&chunk, 3).unwrap().into()
    })
    .await;
}

/// The object expands from 32 KiB, small enough for a chunk's object, to 1 GiB.
#[tokio::test]
async fn a_zstd_bomb() {
    let gib = 1024 * MIB;
    for content_size in [None, Some(gib as u64), Some(64), Some(u64::MAX)] {
        each_shape_with(|_| bomb(gib / (128 * KIB), content_size)).await;
    }
    assert!(peak_memory().is_none_or(|peak| peak < gib), "{:?} bytes", peak_memory());
}

/// The object expands from 8 MiB to 256 GiB. Only the format's maximum bounds the size.
#[tokio::test]
async fn a_zstd_bomb_without_a_size_in_an_index() {
    let object = bomb(256 * 1024 * MIB / (128 * KIB), None);
    assert!((object.len() as u64) < MAX_CHUNK_SIZE);
    let stored = Stored::new(Shape::OneUnlisted).await;
    stored.probe.overwrite(&stored.bad_key(), object).await;
    stored.assert_chunk_is_corrupt().await;
    let error = stored.service().get_chunk(&stored.digest).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Corrupt, "{error:?}");
    assert!(peak_memory().is_none_or(|peak| peak < 1024 * MIB), "{:?} bytes", peak_memory());
}

/// The chunk is larger than the format allows, but has the right digest.
#[tokio::test]
async fn a_chunk_larger_than_the_largest() {
    for (size, corrupt) in [(MAX_CHUNK_SIZE, false), (MAX_CHUNK_SIZE + 1, true)] {
        let stored = Stored::new(Shape::OneUnlisted).await;
        let data = Bytes::from(vec![0; size as usize]);
        let digest = castore_core::Digest::of(&data);
        let object = zstd::bulk::compress(&data, 1).unwrap();
        stored.probe.overwrite(&chunk_key(&digest), object).await;
        stored.probe.overwrite(&index_key(&digest), Bytes::new()).await;
        let service = stored.service();
        let read = service.open_read(&digest).await.map(|reader| reader.unwrap().size());
        let chunk = service.get_chunk(&digest).await.map(|chunk| chunk.unwrap().len() as u64);
        for found in [read, chunk] {
            match found {
                Ok(found) => assert_eq!((corrupt, found), (false, size)),
                Err(error) => assert_eq!((corrupt, error.kind()), (true, ErrorKind::Corrupt)),
            }
        }
    }
}

#[tokio::test]
async fn an_object_too_large_to_be_a_chunk_is_not_fetched() {
    for shape in SHAPES {
        let stored = Stored::new(shape).await;
        for size in [3 * MAX_CHUNK_SIZE, u64::MAX] {
            stored.probe.heal();
            let bad = stored.bad_key();
            stored.probe.fault(Kind::Get, Part::Chunks, ALWAYS, Effect::ClaimSize(size));
            stored.probe.forget();
            let service = stored.service();
            let error = match service.open_read(&stored.digest).await {
                Ok(reader) => {
                    let range = stored.index.chunk_range(stored.bad).unwrap();
                    let reader = reader.unwrap();
                    let (read, error) = collect_until_error(reader.read_range(range)).await;
                    assert!(read.is_empty());
                    error.unwrap()
                }
                Err(error) => error,
            };
            assert_eq!(error.kind(), ErrorKind::Corrupt, "{error:?}");
            assert!(stored.probe.keys(Kind::Get, Part::Chunks).contains(&bad));
            assert_eq!(stored.probe.bodies_read(), 1, "{shape:?}: only the index is read");
        }
    }
}
