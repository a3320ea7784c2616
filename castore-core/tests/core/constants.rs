//! The limits that the format fixes, and the count towards them.

use castore_core::{ChunkMeta, Digest, IndexCheck, MAX_CHUNK_SIZE, MAX_CHUNKS};

#[test]
fn a_chunk_has_at_most_16_mib_and_a_blob_at_most_2_to_the_24_chunks() {
    assert_eq!(MAX_CHUNK_SIZE, 16_777_216);
    assert_eq!(MAX_CHUNKS, 16_777_216);
}

#[test]
fn a_check_counts_the_chunks_and_bytes_that_it_was_given() {
    let mut check = IndexCheck::new(Digest::of(b"blob"));
    assert_eq!((check.chunks(), check.size()), (0, 0));
    for (number, size) in [3, 4, 5].into_iter().enumerate() {
        check.add(ChunkMeta { digest: Digest::of(&[number as u8]), size }).unwrap();
        assert_eq!(check.chunks(), number + 1);
    }
    assert_eq!(check.size(), 12);
}
