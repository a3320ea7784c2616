//! The same cut points as the `fastcdc` crate, which defines them.

use std::ops::Range;

use castore_chunker::{ChunkParams, cut_points};
use fastcdc::v2020::FastCDC;
use proptest::prelude::*;

use crate::data::{config, params_and_blob, random, tiny};

fn oracle(data: &[u8], params: ChunkParams) -> Vec<Range<usize>> {
    FastCDC::new(data, params.min_size(), params.avg_size(), params.max_size())
        .map(|chunk| chunk.offset..chunk.offset + chunk.length)
        .collect()
}

fn ours(data: &[u8], params: ChunkParams) -> Vec<Range<usize>> {
    cut_points(data, params).collect()
}

proptest! {
    #![proptest_config(config(2000))]

    #[test]
    fn any_blob_is_cut_as_fastcdc_cuts_it((params, data) in params_and_blob()) {
        prop_assert_eq!(ours(&data, params), oracle(&data, params));
    }
}

/// Every length of blob, and so every way in which a match can meet the end of the blob.
#[test]
fn every_prefix_is_cut_as_fastcdc_cuts_it() {
    let data = random(b"castore chunker prefixes", 6000);
    let cut_at = |cuts: &[Range<usize>], end| cuts.iter().any(|cut| cut.end == end);
    let mut matches_left_out = 0;
    for len in 1..data.len() {
        let now = oracle(&data[..len], tiny());
        assert_eq!(ours(&data[..len], tiny()), now, "{len} bytes");
        // The last byte matches, but has no partner to be looked at with.
        let longer = oracle(&data[..len + 1], tiny());
        matches_left_out += usize::from(cut_at(&longer, len - 1) && !cut_at(&now, len - 1));
    }
    assert!(matches_left_out > 3, "only {matches_left_out} of these in the data");
}

#[test]
fn the_largest_params_cut_as_fastcdc_does() {
    const MIB: usize = 1024 * 1024;
    let params = ChunkParams::new(MIB, 4 * MIB, 16 * MIB).unwrap();
    for data in [random(b"castore chunker largest", 20 * MIB + 1), vec![0; 20 * MIB + 1]] {
        assert_eq!(ours(&data, params), oracle(&data, params));
    }
}

#[test]
fn an_empty_blob_has_no_chunks() {
    assert_eq!(ours(b"", ChunkParams::default()), []);
}
