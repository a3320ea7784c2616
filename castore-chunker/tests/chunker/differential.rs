//! Compares all ways to cut a blob with the `fastcdc` crate. The fuzzer calls this too.

use std::num::NonZeroUsize;
use std::ops::Range;

use bytes::Bytes;
use castore_chunker::{
    ChunkParams, Cutter, Kernel, Normalization, cut_points, cut_points_parallel,
};
use fastcdc::v2020::FastCDC;

/// The result of the crate that defines the cut points.
pub(crate) fn oracle(data: &[u8], params: ChunkParams) -> Vec<Range<usize>> {
    let level = match params.normalization() {
        Normalization::Level0 => fastcdc::v2020::Normalization::Level0,
        Normalization::Level1 => fastcdc::v2020::Normalization::Level1,
        Normalization::Level2 => fastcdc::v2020::Normalization::Level2,
        Normalization::Level3 => fastcdc::v2020::Normalization::Level3,
    };
    let (min, avg, max) = (params.min_size(), params.avg_size(), params.max_size());
    FastCDC::with_level_and_seed(data, min, avg, max, level, params.seed())
        .map(|chunk| chunk.offset..chunk.offset + chunk.length)
        .collect()
}

/// Cuts `data` in every way, and panics if one of the results differs from the oracle's. Pieces
/// have `piece` bytes, but at least one.
pub(crate) fn check(data: &[u8], params: ChunkParams, piece: usize) -> Vec<Range<usize>> {
    let expected = oracle(data, params);
    for kernel in Kernel::available() {
        let cuts: Vec<_> = cut_points(data, params).with_kernel(kernel).collect();
        assert_eq!(cuts, expected, "kernel {kernel}");
    }
    let (two, three) = (NonZeroUsize::new(2).unwrap(), NonZeroUsize::new(3).unwrap());
    assert_eq!(cut_points_parallel(data, params, two), expected, "two threads");
    let data = Bytes::copy_from_slice(data);
    for threads in [None, Some(three)] {
        let mut cutter = Cutter::new(params);
        let mut chunks = Vec::new();
        let mut rest = data.clone();
        while !rest.is_empty() {
            let piece = rest.split_to(rest.len().min(piece.max(1)));
            match threads {
                Some(threads) => cutter.push_parallel(piece, threads, |chunk| chunks.push(chunk)),
                None => cutter.push(piece, |chunk| chunks.push(chunk)),
            }
        }
        chunks.extend(cutter.finish());
        let expected = expected.iter().map(|range| &data[range.clone()]);
        assert!(chunks.iter().eq(expected), "pieces of {piece}, threads: {threads:?}");
    }
    expected
}

/// Checks the blob and the parameters that `recipe` describes; any bytes describe some.
///
/// A recipe is short and its blob is long, so that a fuzzer reaches code that runs only after many
/// bytes.
pub(crate) fn check_recipe(recipe: &[u8]) {
    let mut recipe = recipe.iter().copied();
    let mut next = || recipe.next();
    let sizes = [
        (64, 256, 1024),
        (64, 1024, 1024),
        (512, 1024, 2048),
        (1000, 4096, 16_000),
        (8192, 16_384, 32_768),
        (64, 65_536, 131_072),
        (64, 262_144, 524_288),
        (64, 1_048_576, 4_194_304),
    ];
    let (min, avg, max) = sizes[usize::from(next().unwrap_or(0)) % sizes.len()];
    let level = match next().unwrap_or(1) % 4 {
        0 => Normalization::Level0,
        1 => Normalization::Level1,
        2 => Normalization::Level2,
        _ => Normalization::Level3,
    };
    // A seed with which zeros flood a filter by the low bits of the hash, or none, or any.
    let seed = match next().unwrap_or(0) % 4 {
        0 => 0x3b5d_3c7d_207e_37dc ^ (1 << 33),
        1 => u64::from_le_bytes(std::array::from_fn(|_| next().unwrap_or(0))),
        _ => 0,
    };
    let piece = 1 + usize::from(next().unwrap_or(0)).pow(2);
    let mut data = Vec::new();
    while let Some(kind) = next()
        && data.len() < LONGEST
    {
        let (low, high) = (next().unwrap_or(0), next().unwrap_or(0));
        let len = usize::from(u16::from_le_bytes([low, high]));
        match kind % 5 {
            0 => data.extend((0..len % 300).map_while(|_| next())),
            1 => data.resize(data.len() + len, next().unwrap_or(0)),
            2 => {
                let period: Vec<u8> = (0..=len % 70).map_while(|_| next()).collect();
                data.extend(period.iter().cycle().take(len));
            }
            3 => {
                let start = data.len();
                data.resize(start + len, 0);
                let mut noise = blake3::Hasher::new();
                noise.update(&[next().unwrap_or(0)]).finalize_xof().fill(&mut data[start..]);
            }
            // A copy of earlier data, from any position.
            _ => {
                let start = data.len() * usize::from(next().unwrap_or(0)) / 256;
                data.extend_from_within(start..data.len().min(start + len));
            }
        }
    }
    let params = ChunkParams::new(min, avg, max).unwrap();
    check(&data, params.with_normalization(level).with_seed(seed), piece);
}

/// No recipe makes much more than this many bytes.
const LONGEST: usize = 400_000;
