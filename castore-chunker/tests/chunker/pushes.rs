//! Pushes a blob's bytes in many ways: the chunks stay the same. Also tests which bytes are copied
//! and held.

use bytes::Bytes;
use castore_chunker::{ChunkParams, Cutter, cut_points};
use proptest::prelude::*;

use crate::data::{config, params_and_blob, random, tiny};

/// Cuts `blob`, pushed in pieces that end at `ends`, and then the rest.
fn cut(
    cutter: &mut Cutter,
    blob: &Bytes,
    ends: impl IntoIterator<Item = usize>,
    max_size: usize,
) -> Vec<Bytes> {
    let mut chunks = Vec::new();
    let mut start = 0;
    for end in ends.into_iter().chain([blob.len()]) {
        cutter.push(blob.slice(start..end), |chunk| chunks.push(chunk));
        start = end;
        assert!(cutter.buffered() < max_size);
        let out: usize = chunks.iter().map(Bytes::len).sum();
        assert_eq!(out + cutter.buffered(), end);
    }
    chunks.extend(cutter.finish());
    assert_eq!(cutter.buffered(), 0);
    chunks
}

fn whole(blob: &Bytes, params: ChunkParams) -> Vec<Bytes> {
    cut_points(blob, params).map(|range| blob.slice(range)).collect()
}

proptest! {
    #![proptest_config(config(500))]

    #[test]
    fn pieces_make_no_difference(
        (params, blob) in params_and_blob(),
        cuts in prop::collection::vec(any::<prop::sample::Index>(), 0..40),
        step in prop_oneof![1..4_usize, 1..10_000_usize],
    ) {
        let blob = Bytes::from(blob);
        let expected = whole(&blob, params);
        prop_assert_eq!(expected.concat(), blob.to_vec());

        let max_size = params.max_size();
        let mut cutter = Cutter::new(params);
        prop_assert_eq!(&cut(&mut cutter, &blob, [], max_size), &expected);
        let steps = (0..blob.len()).step_by(step);
        prop_assert_eq!(&cut(&mut cutter, &blob, steps, max_size), &expected);
        let mut ends: Vec<_> = cuts.iter().map(|cut| cut.index(blob.len() + 1)).collect();
        ends.sort_unstable();
        prop_assert_eq!(&cut(&mut cutter, &blob, ends, max_size), &expected);
    }
}

/// Splits at every position of blobs that end near a cut.
#[test]
fn every_split_in_two_makes_no_difference() {
    let data = Bytes::from(random(b"castore chunker splits", 4000));
    let params = tiny();
    let mut cutter = Cutter::new(params);
    for range in cut_points(&data, params) {
        for len in range.end..data.len().min(range.end + 3) {
            let blob = data.slice(..len);
            let expected = whole(&blob, params);
            for split in 0..=len {
                assert_eq!(cut(&mut cutter, &blob, [split], params.max_size()), expected);
            }
        }
    }
}

#[test]
fn a_chunk_within_a_piece_shares_its_memory() {
    let params = tiny();
    let blob = Bytes::from(random(b"castore chunker zero copy", 100_000));
    for step in [100, 1001, 4096, 30_000, 100_000] {
        let ends = (step..blob.len()).step_by(step);
        let chunks = cut(&mut Cutter::new(params), &blob, ends, params.max_size());
        let mut within = 0;
        for (range, chunk) in cut_points(&blob, params).zip(&chunks) {
            assert_eq!(blob.slice(range.clone()), chunk);
            // A chunk that ends one byte before the piece does may have to wait for the next piece,
            // but still lies within the first.
            if range.start / step == (range.end - 1) / step {
                assert_eq!(chunk.as_ptr(), blob[range].as_ptr());
                within += 1;
            }
        }
        assert!(within > 0 || step == 100, "no chunk lies within {step} bytes");
    }
}

#[test]
fn a_chunk_over_several_pieces_gets_a_buffer_of_its_size() {
    let params = ChunkParams::default();
    let blob = Bytes::from(random(b"castore chunker exact", 3_000_000));
    for step in [1000, 5000, 65_536] {
        let ends = (step..blob.len()).step_by(step);
        let chunks = cut(&mut Cutter::new(params), &blob, ends, params.max_size());
        assert!(chunks.len() > 5);
        for chunk in chunks {
            let len = chunk.len();
            let own = chunk.try_into_mut().expect("nothing else refers to the copy");
            assert_eq!(own.capacity(), len);
        }
    }
}

#[test]
fn a_chunk_keeps_no_piece_alive_but_its_own() {
    let params = tiny();
    let mut cutter = Cutter::new(params);
    let mut chunks = Vec::new();
    let piece = Bytes::from(vec![0; 1500]);
    cutter.push(piece.clone(), |chunk| chunks.push(chunk));
    cutter.push(vec![0; 1000].into(), |chunk| chunks.push(chunk));
    assert_eq!(chunks.len(), 2);
    chunks.remove(0);
    // The second chunk spans both pieces, so it is a copy, and no chunk needs the first piece any
    // more.
    assert!(piece.is_unique());
    assert_eq!(cutter.buffered(), 2500 - 2048);
}

#[test]
fn blobs_follow_each_other() {
    let params = tiny();
    let mut cutter = Cutter::new(params);
    assert_eq!(cutter.finish(), None);
    let first = Bytes::from(random(b"castore chunker first", 5001));
    let second = Bytes::from(random(b"castore chunker second", 5000));
    for blob in [&first, &second, &Bytes::new(), &first] {
        let chunks = cut(&mut cutter, blob, [blob.len() / 3], params.max_size());
        assert_eq!(chunks, whole(blob, params));
    }
}

#[test]
fn a_blob_that_ends_with_a_maximum_chunk_has_no_more() {
    let params = tiny();
    let mut cutter = Cutter::new(params);
    let mut chunks = Vec::new();
    cutter.push(vec![0; 1024].into(), |chunk| chunks.push(chunk));
    assert_eq!(chunks, [vec![0; 1024]]);
    assert_eq!(cutter.finish(), None);
}

#[test]
fn debug_output_does_not_hold_the_bytes() {
    let mut cutter = Cutter::new(ChunkParams::default());
    cutter.push(vec![b'x'; 100_000].into(), |_| {});
    let debug = format!("{cutter:?}");
    assert!(debug.contains("buffered: 100000"), "{debug}");
    assert!(debug.len() < 1000, "{debug}");
}
