//! Properties of every index, and of every sequence of bytes.

use castore_core::groups::GroupHashes;
use castore_core::{BlobIndex, ChunkMeta, Digest, MAX_CHUNK_SIZE};
use castore_proto::{DecodeError, decode, encode};
use proptest::prelude::*;
use proptest::test_runner::RngSeed;

fn config() -> ProptestConfig {
    ProptestConfig {
        cases: 1000,
        rng_seed: RngSeed::Fixed(1),
        failure_persistence: None,
        ..ProptestConfig::default()
    }
}

/// Any valid index: of the empty blob, of one chunk, and of several.
fn index() -> impl Strategy<Value = BlobIndex> {
    let chunk = (any::<[u8; 32]>(), 1..=MAX_CHUNK_SIZE)
        .prop_map(|(digest, size)| ChunkMeta { digest: Digest::from_bytes(digest), size });
    proptest::collection::vec(chunk, 0..20).prop_map(|chunks| {
        let digest = match chunks.as_slice() {
            [] => Digest::EMPTY,
            [only] => only.digest,
            _ => Digest::of(b"blob"),
        };
        BlobIndex::new(digest, chunks).unwrap()
    })
}

/// Any blob of several groups, with the index of a cut of it.
fn index_with_groups() -> impl Strategy<Value = BlobIndex> {
    (300_000..700_000_usize, any::<u8>()).prop_map(|(size, byte)| {
        let blob = vec![byte; size];
        let chunks = blob.chunks(100_000);
        let chunks =
            chunks.map(|chunk| ChunkMeta { digest: Digest::of(chunk), size: chunk.len() as u64 });
        let groups = GroupHashes::of(&blob);
        BlobIndex::new(groups.digest(), chunks).unwrap().with_groups(groups).unwrap()
    })
}

/// Checks the properties of every outcome of decoding `bytes`.
fn check(digest: &Digest, bytes: &[u8]) -> Result<(), TestCaseError> {
    match decode(digest, bytes) {
        Ok(Some(index)) => {
            prop_assert_eq!(index.digest(), *digest);
            prop_assert!(encode(&index).len() <= bytes.len(), "no encoding is shorter");
            prop_assert_eq!(decode(digest, &encode(&index)), Ok(Some(index)));
        }
        Ok(None) => prop_assert_ne!(*digest, Digest::EMPTY),
        Err(DecodeError::Framing { offset, .. }) => prop_assert!(offset < bytes.len()),
        Err(_) => prop_assert!(!bytes.is_empty()),
    }
    Ok(())
}

proptest! {
    #![proptest_config(config())]

    #[test]
    fn an_encoded_index_decodes_to_itself(
        index in prop_oneof![3 => index(), 1 => index_with_groups()],
    ) {
        prop_assert_eq!(decode(&index.digest(), &encode(&index)), Ok(Some(index)));
    }

    #[test]
    fn any_bytes_have_an_answer(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
        check(&Digest::of(b"blob"), &bytes)?;
        check(&Digest::EMPTY, &bytes)?;
    }

    #[test]
    fn bytes_that_look_like_fields_have_an_answer(
        bytes in proptest::collection::vec(
            prop_oneof![Just(0x12), Just(0x0a), Just(0x10), Just(0x20), Just(0x1b), 0..=40u8],
            0..200,
        )
    ) {
        check(&Digest::of(b"blob"), &bytes)?;
    }

    #[test]
    fn a_truncated_index_has_an_answer(index in index(), at in any::<prop::sample::Index>()) {
        let object = encode(&index);
        check(&index.digest(), &object[..at.index(object.len() + 1)])?;
    }

    #[test]
    fn an_index_with_a_flipped_bit_has_an_answer(
        index in index().prop_filter("nothing to flip", |index| !index.is_empty()),
        at in any::<prop::sample::Index>(),
        bit in 0..8u8,
    ) {
        let mut object = encode(&index).to_vec();
        let at = at.index(object.len());
        object[at] ^= 1 << bit;
        check(&index.digest(), &object)?;
        prop_assert_ne!(decode(&index.digest(), &object), Ok(Some(index)), "it went unnoticed");
    }

    #[test]
    fn group_hashes_with_a_flipped_bit_are_refused_or_no_longer_there(
        index in index_with_groups(),
        at in any::<prop::sample::Index>(),
        bit in 0..8u8,
    ) {
        let entries = encode(&index.clone().without_groups()).len();
        let mut object = encode(&index).to_vec();
        // The key and the length of the field have two bytes, version and size of a group too.
        let (header, at) = (entries + 4, entries + 2 + at.index(object.len() - entries - 2));
        object[at] ^= 1 << bit;
        check(&index.digest(), &object)?;
        match decode(&index.digest(), &object) {
            Ok(decoded) => {
                prop_assert!(at < header);
                prop_assert_eq!(decoded, Some(index.without_groups()));
            }
            Err(error) => prop_assert!(matches!(error, DecodeError::Groups(_)), "{}", error),
        }
    }
}
