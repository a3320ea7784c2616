//! The limits that the format fixes.

use castore_core::{MAX_CHUNK_SIZE, MAX_CHUNKS};

#[test]
fn a_chunk_has_at_most_16_mib_and_a_blob_at_most_2_to_the_24_chunks() {
    assert_eq!(MAX_CHUNK_SIZE, 16_777_216);
    assert_eq!(MAX_CHUNKS, 16_777_216);
}
