//! Bounds the memory and the threads of many readers of blobs with a million chunks each. A program
//! of its own, because both figures are those of the whole process.

#![cfg(target_os = "linux")]

use std::fs;
use std::io::SeekFrom;
use std::path::Path;
use std::process::Command;

use bytes::Bytes;
use castore_core::{BlobIndex, BlobService, ChunkMeta, Digest};
use castore_objstore::ObjectStoreBlobService;
use futures_util::future::join_all;
use tokio::io::{AsyncReadExt, AsyncSeekExt};

/// The number of chunks of each blob.
const CHUNKS: u64 = 1_000_000;

/// The size of each chunk in bytes.
const SIZE: u64 = 100;

/// The number of blobs, and of readers of each blob.
const BLOBS: u64 = 4;
const READERS: u64 = 8;

/// The limit of the process's peak memory in bytes, besides the largest index.
const LIMIT: u64 = 128 << 20;

const THREADS: usize = 64;

/// The environment variable that names the store for a process of this program to write.
const STORE: &str = "CASTORE_TEST_MANY_READERS_STORE";

/// The random bytes of a chunk.
fn chunk(number: u64) -> Bytes {
    let mut bytes = vec![0; SIZE as usize];
    blake3::Hasher::new().update(&number.to_le_bytes()).finalize_xof().fill(&mut bytes);
    bytes.into()
}

/// The number of the chunk at a place in a blob. The sequence has no period.
fn at(blob: u64, place: u64) -> u64 {
    (place * place / 3 + u64::from(place.count_ones()) + blob) % 7
}

fn digest(blob: u64) -> Digest {
    let chunks: Vec<Bytes> = (0..7).map(chunk).collect();
    let mut whole = blake3::Hasher::new();
    for place in 0..CHUNKS {
        whole.update(&chunks[at(blob, place) as usize]);
    }
    Digest::from_bytes(*whole.finalize().as_bytes())
}

/// Writes the indexes of the blobs, and the few chunks that they list.
fn write_store(store: &Path) {
    let service = ObjectStoreBlobService::local(store).durable(false).build().unwrap();
    let runtime = tokio::runtime::Runtime::new().unwrap();
    runtime.block_on(async {
        for number in 0..7 {
            let mut writer = service.open_write().await.unwrap();
            writer.write_bytes(chunk(number)).await.unwrap();
            writer.close().await.unwrap();
        }
    });
    let chunks: Vec<Digest> = (0..7).map(|number| Digest::of(&chunk(number))).collect();
    for blob in 0..BLOBS {
        let digest = digest(blob);
        let listed = (0..CHUNKS)
            .map(|place| ChunkMeta { digest: chunks[at(blob, place) as usize], size: SIZE });
        let index = castore_proto::encode(&BlobIndex::new(digest, listed).unwrap());
        let shard = store.join(format!("blobs/b3/{digest:.4}"));
        fs::create_dir_all(&shard).unwrap();
        fs::write(shard.join(digest.to_string()), &index).unwrap();
    }
}

/// The peak memory of the process in bytes.
fn peak() -> u64 {
    let status = fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
    line.trim().trim_end_matches(" kB").parse::<u64>().unwrap() << 10
}

fn threads() -> usize {
    fs::read_dir("/proc/self/task").unwrap().count()
}

/// Reads parts of the blob at its beginning, near its end and in its middle. Each part is as long
/// as a few pages of the index.
async fn read_parts(service: ObjectStoreBlobService, blob: u64, digest: Digest, reader: u64) {
    let mut read = service.open_read(&digest).await.unwrap().unwrap();
    for part in [0, CHUNKS - 5000, CHUNKS / 2 + 1777 * reader] {
        let start = SeekFrom::Start(part * SIZE);
        read.seek(start).await.unwrap();
        let mut bytes = vec![0; 3000 * SIZE as usize];
        read.read_exact(&mut bytes).await.unwrap();
        for (place, bytes) in (part..).zip(bytes.chunks_exact(SIZE as usize)) {
            assert_eq!(bytes, chunk(at(blob, place)), "chunk {place}");
        }
    }
}

#[test]
fn thirty_two_readers_of_a_million_chunks_each_are_bounded() {
    // Another process writes the store, so that its memory does not count.
    if let Some(store) = std::env::var_os(STORE) {
        return write_store(Path::new(&store));
    }
    let directory = tempfile::tempdir().unwrap();
    let itself = std::env::current_exe().unwrap();
    let written = Command::new(itself).env(STORE, directory.path()).status().unwrap();
    assert!(written.success());
    let blobs: Vec<Digest> = (0..BLOBS).map(digest).collect();
    let size = |blob: &Digest| {
        let index = directory.path().join(format!("blobs/b3/{blob:.4}/{blob}"));
        fs::metadata(index).unwrap().len()
    };
    let largest = blobs.iter().map(size).max().unwrap();
    assert!(largest > 36 << 20, "an index of {largest} bytes");

    let runtime = tokio::runtime::Runtime::new().unwrap();
    let service = ObjectStoreBlobService::local(directory.path()).durable(false).build().unwrap();
    let readers = (0..BLOBS * READERS).map(|number| {
        let blob = number % BLOBS;
        let digest = blobs[blob as usize];
        runtime.spawn(read_parts(service.clone(), blob, digest, number))
    });
    let readers: Vec<_> = readers.collect();
    for ended in runtime.block_on(join_all(readers)) {
        ended.unwrap();
    }
    let (peak, threads) = (peak(), threads());
    println!("peak {} MiB, {threads} threads", peak >> 20);
    assert!(peak < LIMIT + largest, "{} MiB, and the index has {}", peak >> 20, largest >> 20);
    assert!(threads <= THREADS, "{threads} threads");
}
