//! The parts that the work consists of, each by itself on one thread: what nobody can be faster than.

use std::hint::black_box;

use anyhow::{Result, ensure};
use bytes::Bytes;
use castore_chunker::{ChunkParams, Cutter, cut_points};
use castore_core::{BlobIndex, ChunkMeta, Digest};

use crate::job::{Component, ComponentJob, Outcome};
use crate::scenario::load;
use crate::subject::pieces;
use crate::usage::Clock;

const LEVEL: i32 = 3;

/// How many entries the index has that is encoded and decoded: that of a blob of 25 GiB.
const INDEX_ENTRIES: u64 = 100_000;

/// Does what `job` says.
pub(crate) fn run(job: &ComponentJob) -> Result<Outcome> {
    let data = load(&job.corpus, job.limit)?;
    match job.component {
        Component::Cut => cut(&data),
        Component::Digest => digest(&data),
        Component::Compress => compress(&data),
        Component::Decompress => decompress(&data),
        Component::IndexEncode => index_encode(),
        Component::IndexDecode => index_decode(),
        Component::Memcpy => memcpy(&data),
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

/// Cuts what arrives in pieces, as a writer does.
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
    let chunks = chunks(data);
    let mut compressor = zstd::bulk::Compressor::new(LEVEL)?;
    let stored: Vec<Vec<u8>> =
        chunks.iter().map(|chunk| compressor.compress(chunk)).collect::<Result<_, _>>()?;
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

/// An index of that many chunks of sizes that look like those of real ones.
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
