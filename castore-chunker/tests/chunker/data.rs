//! Reproducible data to cut.

use castore_chunker::{ChunkParams, Normalization};
use proptest::prelude::*;
use proptest::test_runner::RngSeed;

/// The first `len` bytes of BLAKE3's extended output for `seed`.
pub(crate) fn random(seed: &[u8], len: usize) -> Vec<u8> {
    let mut data = vec![0; len];
    blake3::Hasher::new().update(seed).finalize_xof().fill(&mut data);
    data
}

/// Parameters with which a few kilobytes contain every kind of cut.
pub(crate) fn tiny() -> ChunkParams {
    ChunkParams::new(64, 256, 1024).unwrap()
}

/// Parameters that are usual, tiny, or have equal sizes; half of them have the format's
/// normalization and seed.
pub(crate) fn params() -> impl Strategy<Value = ChunkParams> {
    let level = prop::sample::select(vec![
        Normalization::Level0,
        Normalization::Level1,
        Normalization::Level2,
        Normalization::Level3,
    ]);
    let usual = (Just(Normalization::Level1), Just(0));
    let level_and_seed = prop_oneof![usual, (level, any::<u64>())];
    (sizes(), level_and_seed)
        .prop_map(|(params, (level, seed))| params.with_normalization(level).with_seed(seed))
}

fn sizes() -> impl Strategy<Value = ChunkParams> {
    prop::sample::select(vec![
        (64, 256, 1024),
        (66, 256, 1026),
        (256, 256, 1024),
        (64, 1024, 1024),
        (1024, 1024, 1024),
        (512, 1024, 2048),
        (2048, 4096, 8192),
        (1000, 4096, 16_000),
        (32_768, 65_536, 131_072),
    ])
    .prop_map(|(min, avg, max)| ChunkParams::new(min, avg, max).unwrap())
}

/// Parameters, and a blob whose length is either near a limit or anything up to a few maximum
/// sizes.
pub(crate) fn params_and_blob() -> impl Strategy<Value = (ChunkParams, Vec<u8>)> {
    let len = |params: ChunkParams| {
        let (min, avg, max) = (params.min_size(), params.avg_size(), params.max_size());
        let near = prop::sample::select(vec![0, min, avg, max, max + min, max + avg, 2 * max]);
        prop_oneof![
            (near, 0..=6_usize).prop_map(|(size, more)| (size + more).saturating_sub(3)),
            0..4 * max,
            4 * max..8 * max,
        ]
    };
    params().prop_flat_map(move |params| (Just(params), len(params).prop_flat_map(blob)))
}

fn blob(len: usize) -> impl Strategy<Value = Vec<u8>> {
    let periodic = move |seed: u64, period: usize| {
        random(&seed.to_le_bytes(), period).into_iter().cycle().take(len).collect()
    };
    let of_few_values = move |seed: u64, mask: u8| {
        random(&seed.to_le_bytes(), len).into_iter().map(|byte| byte & mask).collect()
    };
    prop_oneof![
        4 => any::<u64>().prop_map(move |seed| random(&seed.to_le_bytes(), len)),
        1 => any::<u8>().prop_map(move |byte| vec![byte; len]),
        1 => (any::<u64>(), 1..300_usize).prop_map(move |(seed, period)| periodic(seed, period)),
        1 => (any::<u64>(), 1..4_u8).prop_map(move |(seed, mask)| of_few_values(seed, mask)),
    ]
}

/// A configuration with the same `cases` in every run, and without a file of past failures.
pub(crate) fn config(cases: u32) -> ProptestConfig {
    ProptestConfig {
        cases,
        rng_seed: RngSeed::Fixed(0xFA57_CDC0),
        failure_persistence: None,
        ..ProptestConfig::default()
    }
}
