//! The parts of the work by size: cutting, digests, compression, and the index.
//!
//! `cargo bench -p castore-bench`. The generated text compresses about as well as source code does.
//! The answer of every part is checked before it is measured.

use std::hint::black_box;

use castore_chunker::{ChunkParams, cut_points};
use castore_core::groups::{GROUP_SIZE, GroupHasher};
use castore_core::{BlobIndex, ChunkMeta, Digest};
use criterion::{BenchmarkId, Criterion, Throughput};

const LEVEL: i32 = 3;

/// From one small chunk to many chunks.
const SIZES: [(usize, &str); 4] =
    [(16 << 10, "16KiB"), (256 << 10, "256KiB"), (4 << 20, "4MiB"), (64 << 20, "64MiB")];

/// The largest size compressed at once: by default no chunk is larger than 512 KiB.
const LARGEST_CHUNK: usize = 512 << 10;

/// Lines of numbers: few distinct byte values, similar lines, and no two lines the same.
fn text(size: usize) -> Vec<u8> {
    let mut text = String::with_capacity(size + 64);
    for number in 0_u64.. {
        if text.len() >= size {
            break;
        }
        let hash = number.wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 40;
        text.push_str(&format!("line {number} of the log: took {hash} us\n"));
    }
    text.truncate(size);
    text.into_bytes()
}

fn cut(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("cut");
    for (size, name) in SIZES {
        let data = text(size);
        let count = || cut_points(black_box(&data), ChunkParams::default()).count();
        let expected = count();
        group.throughput(Throughput::Bytes(size as u64));
        group.bench_function(BenchmarkId::from_parameter(name), |bencher| {
            bencher.iter(|| assert_eq!(count(), expected));
        });
    }
}

fn digest(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("digest");
    for (size, name) in SIZES {
        let data = text(size);
        let expected = Digest::of(&data);
        group.throughput(Throughput::Bytes(size as u64));
        group.bench_function(BenchmarkId::from_parameter(name), |bencher| {
            bencher.iter(|| assert_eq!(Digest::of(black_box(&data)), expected));
        });
    }
}

/// The digest of one large blob: by BLAKE3's own hasher, and by groups that threads hash
/// independently.
fn digest_of_blob(criterion: &mut Criterion) {
    const SIZE: usize = 256 << 20;
    let data = text(SIZE);
    let expected = Digest::of(&data);
    let mut group = criterion.benchmark_group("digest_of_blob");
    group.throughput(Throughput::Bytes(SIZE as u64)).sample_size(10);
    group.bench_function("blake3_update", |bencher| {
        bencher.iter(|| {
            let hash = blake3::Hasher::new().update(black_box(&data)).finalize();
            assert_eq!(Digest::from_bytes(*hash.as_bytes()), expected);
        });
    });
    group.bench_function("blake3_update_rayon", |bencher| {
        bencher.iter(|| {
            let hash = blake3::Hasher::new().update_rayon(black_box(&data)).finalize();
            assert_eq!(Digest::from_bytes(*hash.as_bytes()), expected);
        });
    });
    for threads in [1, 2] {
        group.bench_function(BenchmarkId::new("groups", threads), |bencher| {
            bencher.iter(|| assert_eq!(by_groups(black_box(&data), threads), expected));
        });
    }
}

/// The digest of `data`, of which each thread hashes batches of 1 MiB in turn, as a writer does.
fn by_groups(data: &[u8], threads: usize) -> Digest {
    const BATCH: usize = 1 << 20;
    let batches: Vec<&[u8]> = data.chunks(BATCH).collect();
    let of_batch = |number: usize| {
        let first = number * BATCH / GROUP_SIZE as usize;
        let mut hasher = GroupHasher::from_group(first);
        hasher.update(batches[number]);
        hasher
    };
    let work = |thread: usize| {
        let own = (thread..batches.len()).step_by(threads);
        own.map(|number| (number, of_batch(number))).collect::<Vec<_>>()
    };
    let mut parts: Vec<(usize, GroupHasher)> = std::thread::scope(|scope| {
        let start = |thread| {
            let work = &work;
            scope.spawn(move || work(thread))
        };
        let handles: Vec<_> = (0..threads).map(start).collect();
        handles.into_iter().flat_map(|handle| handle.join().expect("it hashes")).collect()
    });
    parts.sort_unstable_by_key(|(number, _)| *number);
    let mut hasher = GroupHasher::new();
    for (_, part) in parts {
        hasher.join(part).expect("the batches follow each other");
    }
    hasher.finish().digest
}

fn compress(criterion: &mut Criterion) {
    let mut compressor = zstd::bulk::Compressor::new(LEVEL).expect("a compressor");
    let mut decompressor = zstd::bulk::Decompressor::new().expect("a decompressor");
    for (size, name) in SIZES.into_iter().filter(|(size, _)| *size <= LARGEST_CHUNK) {
        let data = text(size);
        let stored = compressor.compress(&data).expect("text compresses");
        assert_eq!(decompressor.decompress(&stored, size).expect("what was compressed"), data);

        let mut group = criterion.benchmark_group("compress");
        group.throughput(Throughput::Bytes(size as u64));
        let mut buffer = Vec::with_capacity(2 * size + 1024);
        group.bench_function(BenchmarkId::from_parameter(name), |bencher| {
            bencher.iter(|| {
                let length = compressor.compress_to_buffer(black_box(&data), &mut buffer);
                assert_eq!(length.expect("text compresses"), stored.len());
            });
        });
        group.finish();

        let mut group = criterion.benchmark_group("decompress");
        group.throughput(Throughput::Bytes(size as u64));
        group.bench_function(BenchmarkId::from_parameter(name), |bencher| {
            bencher.iter(|| {
                let length = decompressor.decompress_to_buffer(black_box(&stored), &mut buffer);
                assert_eq!(length.expect("what was compressed"), size);
            });
        });
        group.finish();
    }
}

fn index(criterion: &mut Criterion) {
    for entries in [100, 10_000, 1_000_000] {
        let chunk = |number: u64| ChunkMeta {
            digest: Digest::of(&number.to_le_bytes()),
            size: 131_072 + number * 7919 % 393_216,
        };
        let blob = Digest::of(b"index");
        let index = BlobIndex::new(blob, (0..entries).map(chunk)).expect("an index");
        let stored = castore_proto::encode(&index);
        let decoded = castore_proto::decode(&blob, &stored).expect("it is well-formed");
        assert_eq!(decoded.as_ref(), Some(&index));

        let mut group = criterion.benchmark_group("index_encode");
        group.throughput(Throughput::Elements(entries));
        group.bench_function(BenchmarkId::from_parameter(entries), |bencher| {
            bencher
                .iter(|| assert_eq!(castore_proto::encode(black_box(&index)).len(), stored.len()));
        });
        group.finish();

        let mut group = criterion.benchmark_group("index_decode");
        group.throughput(Throughput::Elements(entries));
        group.bench_function(BenchmarkId::from_parameter(entries), |bencher| {
            bencher.iter(|| {
                let decoded = castore_proto::decode(&blob, black_box(&stored));
                assert_eq!(
                    decoded.expect("it is well-formed").map(|index| index.len()),
                    Some(entries as usize)
                );
            });
        });
        group.finish();
    }
}

fn main() {
    let mut criterion = Criterion::default().configure_from_args();
    cut(&mut criterion);
    digest(&mut criterion);
    digest_of_blob(&mut criterion);
    compress(&mut criterion);
    index(&mut criterion);
    criterion.final_summary();
}
