//! Group hashes beside BLAKE3 itself, and beside bao-tree.

use bao_tree::BlockSize;
use bao_tree::io::outboard::PreOrderMemOutboard;
use castore_core::Digest;
use castore_core::groups::{GROUP_SIZE, GroupHasher, GroupHashes};
use proptest::prelude::*;
use proptest::sample::Index;
use proptest::test_runner::RngSeed;

const GROUP: usize = GROUP_SIZE as usize;

/// The extended output of BLAKE3 for `groups`.
fn data(size: usize) -> Vec<u8> {
    let mut bytes = vec![0; size];
    blake3::Hasher::new().update(b"groups").finalize_xof().fill(&mut bytes);
    bytes
}

/// Sizes around every number of groups up to 9, and around the powers of two up to 2^25.
fn sizes() -> Vec<usize> {
    let groups = (0..=9).map(|groups| groups * GROUP);
    let powers = (0..=25).map(|power| 1 << power);
    let around = |size: usize| [-1025, -1, 0, 1, 1023].map(|more| size as i64 + more);
    groups.chain(powers).flat_map(around).filter_map(|size| usize::try_from(size).ok()).collect()
}

fn outboard(hashes: &GroupHashes) -> Vec<u8> {
    hashes.outboard().flatten().flatten().collect()
}

#[test]
fn digest_and_outboard_are_those_of_blake3_and_of_bao_tree() {
    let all = data((1 << 25) + 1023);
    for size in sizes() {
        let bytes = &all[..size];
        let hashes = GroupHashes::of(bytes);
        let oracle = PreOrderMemOutboard::create(bytes, BlockSize::from_chunk_log(8));
        assert_eq!(hashes.digest().as_bytes(), blake3::hash(bytes).as_bytes(), "{size}");
        assert_eq!(hashes.digest().as_bytes(), oracle.root.as_bytes(), "{size}");
        assert!(outboard(&hashes) == oracle.data, "{size}");
        assert_eq!(hashes.outboard().len() * 64, oracle.data.len());
    }
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: 200,
        rng_seed: RngSeed::Fixed(16),
        failure_persistence: None,
        ..ProptestConfig::default()
    })]

    #[test]
    fn pieces_and_parts_make_the_same_list_however_they_are_split(
        size in 0..5 * GROUP,
        splits in proptest::collection::vec(any::<Index>(), 0..12),
        parts in proptest::collection::vec(0..5_usize, 0..3),
        flipped in any::<Index>(),
    ) {
        let bytes = data(size);
        let whole = GroupHashes::of(&bytes);
        prop_assert_eq!(whole.digest(), Digest::from_bytes(*blake3::hash(&bytes).as_bytes()));

        let mut cuts: Vec<usize> = splits.iter().map(|at| at.index(size + 1)).collect();
        cuts.extend([0, size]);
        cuts.sort_unstable();
        // Each part is hashed by itself, from the last to the first.
        let mut starts: Vec<usize> = parts.into_iter().filter(|part| part * GROUP < size).collect();
        starts.push(0);
        starts.sort_unstable();
        starts.dedup();
        let mut hashers = Vec::new();
        let mut end = size;
        for start in starts.into_iter().rev() {
            let mut hasher = GroupHasher::from_group(start);
            for cut in cuts.windows(2) {
                let clip = |at: usize| at.clamp(start * GROUP, end);
                hasher.update(&bytes[clip(cut[0])..clip(cut[1])]);
            }
            hashers.push(hasher);
            end = start * GROUP;
        }
        let mut hasher = hashers.pop().unwrap();
        while let Some(next) = hashers.pop() {
            prop_assert!(hasher.join(next).is_ok());
        }
        let hashed = hasher.finish();
        prop_assert_eq!(hashed.size, size as u64);
        prop_assert_eq!(hashed.groups.as_ref(), Some(&whole));

        // A group is proven by its own bytes, in any pieces, and by no others.
        for number in 0..whole.groups() {
            let range = whole.range(number);
            let group = &bytes[range.start as usize..range.end as usize];
            let proof = whole.proof(number).unwrap();
            let (start, end) = group.split_at(flipped.index(group.len()));
            prop_assert!(proof.verify([start, end]));
            prop_assert!(proof.verify(group.chunks(1000)));
            let mut other = end.to_vec();
            other[0] ^= 1;
            prop_assert!(!proof.verify([start, &other]));
            prop_assert!(!proof.verify([start]));
            prop_assert!(!proof.verify([start, end, &[0]]));
        }
        prop_assert_eq!(whole.proof(whole.groups()), None);
    }

    #[test]
    fn a_list_with_any_other_value_is_refused(
        groups in 2..40_usize,
        short in 0..GROUP_SIZE,
        flipped in any::<Index>(),
    ) {
        let values: Vec<[u8; 32]> = (0..groups)
            .map(|number| *Digest::of(&number.to_le_bytes()).as_bytes())
            .collect();
        let size = groups as u64 * GROUP_SIZE - short;
        let mut wrong = values.clone();
        wrong[flipped.index(groups)][flipped.index(32)] ^= 1;
        // The list with another value has another digest.
        let digest_of = |values: &[[u8; 32]]| {
            match GroupHashes::new(Digest::EMPTY, size, values.to_vec()) {
                Err(castore_core::groups::GroupsError::OtherBlob(digest)) => digest,
                other => panic!("{other:?}"),
            }
        };
        prop_assert_ne!(digest_of(&values), digest_of(&wrong));
        prop_assert!(GroupHashes::new(digest_of(&values), size, values).is_ok());
    }
}
