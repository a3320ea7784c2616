//! Properties of every index, and of every sequence of bytes.

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
    fn an_encoded_index_decodes_to_itself(index in index()) {
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
}
