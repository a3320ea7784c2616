//! Compares the cut points with those of the `fastcdc` crate, which defines them.

use std::io::Write;
use std::ops::Range;

use castore_chunker::{ChunkParams, Kernel, Normalization};
use proptest::prelude::*;

use crate::data::{config, params_and_blob, random, tiny};
use crate::differential::{check, check_recipe, oracle};

const MIB: usize = 1024 * 1024;

proptest! {
    #![proptest_config(config(1500))]

    #[test]
    fn any_blob_is_cut_as_fastcdc_cuts_it(
        (params, data) in params_and_blob(),
        piece in prop_oneof![1..100_usize, 1..100_000_usize],
    ) {
        check(&data, params, piece);
    }
}

proptest! {
    #![proptest_config(config(1500))]

    /// The same as the fuzzer, on random recipes: `fuzz/README.md`.
    #[test]
    fn the_blob_of_any_recipe_is_cut_as_fastcdc_cuts_it(
        recipe in prop::collection::vec(any::<u8>(), 0..200),
    ) {
        check_recipe(&recipe);
    }
}

/// Reports which kernels all the other tests run.
#[test]
fn say_which_kernels_are_run() {
    let run: Vec<_> = Kernel::available().map(|kernel| kernel.name()).collect();
    let (here, missing) = match run.as_slice() {
        ["avx512-vbmi", "lanes"] => ("avx512-vbmi, lanes", "none"),
        ["lanes"] => ("lanes", "avx512-vbmi (the processor has no AVX-512 VBMI)"),
        other => panic!("kernels that the tests do not know: {other:?}"),
    };
    // Not with `eprintln!`: the test harness captures its output.
    writeln!(std::io::stderr(), "kernels that are run: {here}; not run: {missing}").unwrap();
}

/// Blobs of every length, and so every way in which a match can meet the end of the blob.
#[test]
fn every_prefix_is_cut_as_fastcdc_cuts_it() {
    let data = random(b"castore chunker prefixes", 6000);
    let cut_at = |cuts: &[Range<usize>], end| cuts.iter().any(|cut| cut.end == end);
    let mut matches_left_out = 0;
    for len in 1..data.len() {
        let now = check(&data[..len], tiny(), 700);
        // The last byte matches, but has no second byte to form a pair with.
        let longer = oracle(&data[..len + 1], tiny());
        matches_left_out += usize::from(cut_at(&longer, len - 1) && !cut_at(&now, len - 1));
    }
    assert!(matches_left_out > 3, "only {matches_left_out} of these in the data");
}

/// Lengths at which a window of a kernel begins to fit, after each of the positions at which a
/// search begins.
#[test]
fn every_kernel_cuts_the_same_around_the_length_of_its_windows() {
    let params = ChunkParams::new(2048, 1 << 20, 1 << 22).unwrap();
    let data = random(b"castore chunker windows", 1 << 21);
    for before in [params.min_size(), params.avg_size()] {
        for window in [128, 512, 1024, 4096, 8192, 8256, 12_352, 16_448] {
            for odd in 0..5 {
                let len = before + window + odd - 2;
                check(&data[data.len() - len..], params, 100_000);
            }
        }
    }
}

#[test]
fn the_largest_params_cut_as_fastcdc_does() {
    let params = ChunkParams::new(MIB, 4 * MIB, 16 * MIB).unwrap();
    for data in [random(b"castore chunker largest", 20 * MIB + 1), vec![0; 20 * MIB + 1]] {
        check(&data, params, 3 * MIB);
    }
}

/// With this seed the hash of zeros matches every mask in the low 32 bits, and none in the others:
/// a filter by the low bits lets all zeros pass.
const FLOODING_SEED: u64 = 0x3b5d_3c7d_207e_37dc ^ (1 << 33);

#[test]
fn data_that_floods_a_filter_is_cut_the_same() {
    let noise = random(b"castore chunker flood", 4 * MIB);
    let mut mixed = noise.clone();
    // Runs of zeros, from a few bytes to several windows long, between noise.
    for (number, start) in (0..mixed.len() - 50_000).step_by(60_000).enumerate() {
        mixed[start..start + (17 * number * number) % 50_000].fill(0);
    }
    for level in [Normalization::Level0, Normalization::Level1, Normalization::Level3] {
        for params in [ChunkParams::default(), ChunkParams::with_average(1 << 20).unwrap()] {
            let params = params.with_seed(FLOODING_SEED).with_normalization(level);
            for data in [&noise, &mixed, &vec![0; 4 * MIB]] {
                check(data, params, MIB);
            }
        }
    }
}

#[test]
fn an_empty_blob_has_no_chunks() {
    assert_eq!(check(b"", ChunkParams::default(), 1), []);
}
