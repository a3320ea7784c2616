//! The parts of the work, each alone on one thread; and the whole work alone on all processors,
//! which bounds the speed of every implementation.

use std::hint::black_box;
use std::num::NonZeroUsize;
use std::ops::Range;

use anyhow::{Context, Result, ensure};
use bytes::Bytes;
use castore_chunker::{ChunkParams, Cutter, Kernel, cut_points, cut_points_parallel};
use castore_core::{BlobIndex, ChunkMeta, Digest};
use fastcdc::v2020::{FastCDC, Normalization, get_gear_with_seed, select_masks};

use crate::job::{Component, ComponentJob, Outcome};
use crate::scenario::load;
use crate::subject::pieces;
use crate::usage::Clock;

const LEVEL: i32 = 3;

/// The number of entries in the index to encode and decode: that of a blob of 25 GiB.
const INDEX_ENTRIES: u64 = 100_000;

/// Measures the part that `job` names.
pub(crate) fn run(job: &ComponentJob) -> Result<Outcome> {
    let data = load(&job.corpus, job.limit)?;
    match job.component {
        Component::Cut => cut(&data),
        Component::CutFastcdc => cut_at_once(&data, fastcdc),
        Component::CutGearhash => cut_at_once(&data, gearhash),
        Component::CutLanes | Component::CutVbmi => {
            let kernel =
                Kernel::available().find(|kernel| Some(kernel.name()) == job.component.kernel());
            let kernel = kernel.context("this processor does not have what the kernel needs")?;
            let ends =
                |data: &[u8]| cut_points(data, params()).with_kernel(kernel).map(end).collect();
            cut_at_once(&data, ends)
        }
        Component::CutTwoThreads => {
            let threads = NonZeroUsize::MIN.saturating_add(1);
            cut_at_once(&data, |data| {
                cut_points_parallel(data, params(), threads).into_iter().map(end).collect()
            })
        }
        Component::Digest => digest(&data),
        Component::Compress => compress(&data),
        Component::Decompress => decompress(&data),
        Component::IndexEncode => index_encode(),
        Component::IndexDecode => index_decode(),
        Component::Memcpy => memcpy(&data),
        Component::PutWork => put_work(&data, true),
        Component::AgainWork => put_work(&data, false),
        Component::ReadWork => read_work(&data),
    }
}

fn outcome(clock: Clock, bytes: usize) -> Outcome {
    let mut outcome = clock.stop();
    outcome.bytes = bytes as u64;
    outcome
}

fn chunks(data: &Bytes) -> Vec<Bytes> {
    cut_points(data, ChunkParams::default()).map(|range| data.slice(range)).collect()
}

/// The chunks in their stored form.
fn stored(data: &Bytes) -> Result<Vec<Vec<u8>>> {
    let mut compressor = zstd::bulk::Compressor::new(LEVEL)?;
    chunks(data).iter().map(|chunk| Ok(compressor.compress(chunk)?)).collect()
}

/// Cuts a blob that arrives in pieces, as a writer does.
fn cut(data: &Bytes) -> Result<Outcome> {
    let clock = Clock::start(false);
    let mut cutter = Cutter::new(ChunkParams::default());
    let mut count = 0;
    for piece in pieces(data.clone()) {
        cutter.push(piece, |_| count += 1);
    }
    count += u64::from(cutter.finish().is_some());
    let mut outcome = outcome(clock, data.len());
    ensure!(count == chunks(data).len() as u64, "cutting by pieces gave other chunks");
    outcome.chunks = Some(count);
    Ok(outcome)
}

fn params() -> ChunkParams {
    ChunkParams::default()
}

fn end(range: Range<usize>) -> usize {
    range.end
}

/// Cuts a blob that is in memory as a whole. `ends` returns the ends of all chunks.
fn cut_at_once(data: &Bytes, ends: impl Fn(&[u8]) -> Vec<usize>) -> Result<Outcome> {
    let clock = Clock::start(false);
    let found = ends(data);
    let mut outcome = outcome(clock, data.len());
    ensure!(cut_points(data, params()).map(end).eq(found.iter().copied()), "it gave other chunks");
    outcome.chunks = Some(found.len() as u64);
    Ok(outcome)
}

fn fastcdc(data: &[u8]) -> Vec<usize> {
    let params = params();
    FastCDC::new(data, params.min_size(), params.avg_size(), params.max_size())
        .map(|chunk| chunk.offset + chunk.length)
        .collect()
}

/// The rules of FastCDC on top of a crate that scans the gear hash.
fn gearhash(data: &[u8]) -> Vec<usize> {
    let (gear, _) = get_gear_with_seed(0);
    let table = std::array::from_fn(|byte| gear[byte]);
    let (strict, loose) = select_masks(params().avg_size(), Normalization::Level1);
    let mut ends = Vec::new();
    let mut start = 0;
    while start < data.len() {
        let chunk = &data[start..data.len().min(start + params().max_size())];
        // The last byte of an odd rest has no partner, and so is not tested.
        let whole_pairs = chunk.len() & !1;
        let mut hasher = gearhash::Hasher::new(&table);
        let mut from = params().min_size().min(whole_pairs);
        let mut len = chunk.len();
        for (limit, mask) in [(params().avg_size(), strict), (params().max_size(), loose)] {
            let to = limit.min(whole_pairs);
            if let Some(count) = hasher.next_match(&chunk[from..to], mask) {
                len = from + count - 1;
                break;
            }
            from = to;
        }
        start += len;
        ends.push(start);
    }
    ends
}

fn digest(data: &Bytes) -> Result<Outcome> {
    let chunks = chunks(data);
    let clock = Clock::start(false);
    for chunk in &chunks {
        black_box(Digest::of(chunk));
    }
    Ok(outcome(clock, data.len()))
}

fn compress(data: &Bytes) -> Result<Outcome> {
    let chunks = chunks(data);
    let mut compressor = zstd::bulk::Compressor::new(LEVEL)?;
    let mut stored = Vec::with_capacity(zstd::zstd_safe::compress_bound(1 << 20));
    let mut total = 0;
    let clock = Clock::start(false);
    for chunk in &chunks {
        total += compressor.compress_to_buffer(&chunk[..], &mut stored)? as u64;
    }
    let mut outcome = outcome(clock, data.len());
    outcome.stored_bytes = Some(total);
    Ok(outcome)
}

fn decompress(data: &Bytes) -> Result<Outcome> {
    let stored = stored(data)?;
    let mut decompressor = zstd::bulk::Decompressor::new()?;
    let mut buffer = Vec::with_capacity(1 << 20);
    let mut total = 0;
    let clock = Clock::start(false);
    for stored in &stored {
        total += decompressor.decompress_to_buffer(&stored[..], &mut buffer)?;
    }
    let outcome = outcome(clock, data.len());
    ensure!(total == data.len(), "{total} bytes were decompressed");
    Ok(outcome)
}

/// An index with this number of chunks, of realistic sizes.
pub(crate) fn index(entries: u64) -> Result<BlobIndex> {
    let chunk = |number: u64| ChunkMeta {
        digest: Digest::of(&number.to_le_bytes()),
        size: 131_072 + number * 7919 % 393_216,
    };
    Ok(BlobIndex::new(Digest::of(b"index"), (0..entries).map(chunk))?)
}

fn index_encode() -> Result<Outcome> {
    let index = index(INDEX_ENTRIES)?;
    let clock = Clock::start(false);
    let stored = castore_proto::encode(&index);
    let outcome = outcome(clock, stored.len());
    ensure!(
        castore_proto::decode(&index.digest(), &stored)? == Some(index),
        "it decodes to another"
    );
    Ok(outcome)
}

fn index_decode() -> Result<Outcome> {
    let index = index(INDEX_ENTRIES)?;
    let stored = castore_proto::encode(&index);
    let clock = Clock::start(false);
    let decoded = castore_proto::decode(&index.digest(), &stored)?;
    let outcome = outcome(clock, stored.len());
    ensure!(decoded == Some(index), "it decodes to another");
    Ok(outcome)
}

fn memcpy(data: &Bytes) -> Result<Outcome> {
    let mut copy = vec![0_u8; crate::subject::PIECE];
    let clock = Clock::start(false);
    for piece in data.chunks(copy.len()) {
        copy[..piece.len()].copy_from_slice(piece);
        black_box(&mut copy);
    }
    Ok(outcome(clock, data.len()))
}

/// The two digests of chunks: one of each chunk, and one of all chunks of a thread.
#[derive(Default)]
struct Digests {
    whole: blake3::Hasher,
    bytes: u64,
}

impl Digests {
    fn add(&mut self, chunk: &[u8]) {
        black_box(Digest::of(chunk));
        self.whole.update(chunk);
        self.bytes += chunk.len() as u64;
    }
}

/// Measures `work` on all processors. Each processor gets a share of `all` and digests its chunks:
/// `len` bytes in total.
fn on_all_processors<T: Sync>(
    all: &[T],
    len: usize,
    work: impl Fn(&[T], &mut Digests) -> Result<()> + Sync,
) -> Result<Outcome> {
    let clock = Clock::start(false);
    let processors = std::thread::available_parallelism().map_or(1, usize::from);
    let on_one = |share| {
        let mut digests = Digests::default();
        work(share, &mut digests)?;
        black_box(digests.whole.finalize());
        Ok(digests.bytes)
    };
    let bytes: Result<u64> = std::thread::scope(|scope| {
        let shares = all.chunks(all.len().div_ceil(processors).max(1));
        let threads: Vec<_> = shares.map(|share| scope.spawn(|| on_one(share))).collect();
        threads.into_iter().map(|thread| thread.join().expect("it does not panic")).sum()
    });
    let outcome = outcome(clock, len);
    let bytes = bytes?;
    ensure!(bytes == len as u64, "{bytes} bytes were dealt with");
    Ok(outcome)
}

fn put_work(data: &Bytes, with_compression: bool) -> Result<Outcome> {
    on_all_processors(data, data.len(), |share, digests| {
        let mut compressor = zstd::bulk::Compressor::new(LEVEL)?;
        let mut stored = Vec::with_capacity(zstd::zstd_safe::compress_bound(1 << 20));
        for range in cut_points(share, params()) {
            let chunk = &share[range];
            digests.add(chunk);
            if with_compression {
                compressor.compress_to_buffer(chunk, &mut stored)?;
            }
        }
        Ok(())
    })
}

fn read_work(data: &Bytes) -> Result<Outcome> {
    on_all_processors(&stored(data)?, data.len(), |share, digests| {
        let mut decompressor = zstd::bulk::Decompressor::new()?;
        let mut chunk = Vec::with_capacity(1 << 20);
        for stored in share {
            decompressor.decompress_to_buffer(&stored[..], &mut chunk)?;
            digests.add(&chunk);
        }
        Ok(())
    })
}
