//! Data to store, and its cuts.

use std::collections::HashSet;
use std::fmt::Write as _;

use bytes::Bytes;
use castore_core::Digest;
use castore_objstore::ChunkParams;
use fastcdc::v2020::FastCDC;

pub(crate) const KIB: usize = 1024;
pub(crate) const MIB: usize = 1024 * 1024;

/// The first `len` bytes of BLAKE3's extended output for `seed`.
pub(crate) fn random(seed: &str, len: usize) -> Bytes {
    let mut data = vec![0; len];
    blake3::Hasher::new().update(seed.as_bytes()).finalize_xof().fill(&mut data);
    data.into()
}

pub(crate) fn zeros(len: usize) -> Bytes {
    vec![0; len].into()
}

/// The decimal numbers from 0 on, each followed by a newline.
pub(crate) fn numbers(count: u32) -> Bytes {
    let mut text = String::new();
    for number in 0..count {
        writeln!(text, "{number}").expect("a string takes everything");
    }
    text.into()
}

/// Parameters for the smallest possible chunks: many of them in a few kilobytes.
pub(crate) fn tiny() -> ChunkParams {
    ChunkParams::new(64, 256, 1024).expect("these are the limits")
}

/// The chunks of `data`, as the `fastcdc` crate cuts it.
pub(crate) fn cut(data: &Bytes, params: ChunkParams) -> Vec<Bytes> {
    FastCDC::new(data, params.min_size(), params.avg_size(), params.max_size())
        .map(|chunk| data.slice(chunk.offset..chunk.offset + chunk.length))
        .collect()
}

/// The distinct digests of the chunks of `data`.
pub(crate) fn distinct(data: &Bytes, params: ChunkParams) -> HashSet<Digest> {
    cut(data, params).iter().map(|chunk| Digest::of(chunk)).collect()
}
