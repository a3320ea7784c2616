//! Encodes an index as the bytes that a store holds.

use bytes::{BufMut as _, Bytes, BytesMut};
use castore_core::groups::MAX_GROUPS;
use castore_core::{BlobIndex, Digest, MAX_CHUNK_SIZE, MAX_CHUNKS};
use prost::{Message as _, encode_length_delimiter};

use crate::generated::Entry;
use crate::groups::{HEADER, VALUE_SIZE};

/// The key of an entry: field 2 (in the upper five bits), length-delimited (2, in the lower three).
const ENTRY_KEY: u8 = 0b0001_0010;

/// The key of the list of group hashes: field 3, length-delimited.
const GROUPS_KEY: u8 = 0b0001_1010;

/// The largest canonical entry, in bytes: the entry's and the digest's keys and lengths (a byte
/// each), the digest, and the size with its key (a byte, and one for each 7 bits).
const MAX_ENTRY_SIZE: u64 = 4 + Digest::LEN as u64 + 1 + varint_size(MAX_CHUNK_SIZE);

/// The largest index object that a reader has to accept, in bytes: about 1168 MiB.
///
/// That is [`MAX_CHUNKS`] canonical entries of the largest size, [`MAX_GROUPS`] group hashes, and
/// 64 KiB for unknown fields.
pub const MAX_INDEX_SIZE: u64 =
    MAX_CHUNKS as u64 * MAX_ENTRY_SIZE + (MAX_GROUPS * VALUE_SIZE) as u64 + 64 * 1024;

/// How many bytes a number takes in the encoding, with 7 bits in each byte.
const fn varint_size(value: u64) -> u64 {
    let bits = 64 - (value | 1).leading_zeros() as u64;
    bits.div_ceil(7)
}

/// The canonical encoding of `index`: its entries in order, each with digest and size, then the
/// group hashes if the index carries any, and nothing else. Equal indexes have equal encodings. The
/// encoding of the empty blob's index is empty.
pub fn encode(index: &BlobIndex) -> Bytes {
    let values = index.groups().map(|groups| groups.values()).unwrap_or_default();
    let list = HEADER.len() + size_of_val(values);
    let mut bytes = BytesMut::with_capacity(index.len() * MAX_ENTRY_SIZE as usize + 8 + list);
    let mut entry = Entry { digest: vec![0; Digest::LEN], size: 0 };
    for chunk in index.iter() {
        entry.digest.copy_from_slice(chunk.digest.as_bytes());
        entry.size = chunk.size;
        bytes.put_u8(ENTRY_KEY);
        entry.encode_length_delimited(&mut bytes).expect("the buffer grows as needed");
    }
    if !values.is_empty() {
        bytes.put_u8(GROUPS_KEY);
        encode_length_delimiter(list, &mut bytes).expect("the buffer grows as needed");
        bytes.put_slice(&HEADER);
        bytes.put_slice(values.as_flattened());
    }
    bytes.freeze()
}

#[cfg(test)]
mod tests {
    use castore_core::ChunkMeta;

    use super::*;

    #[test]
    fn a_number_takes_a_byte_for_each_seven_bits() {
        for (value, bytes) in [
            (0, 1),
            (1, 1),
            (2, 1),
            (127, 1),
            (128, 2),
            (16_383, 2),
            (16_384, 3),
            (MAX_CHUNK_SIZE, 4),
            (u64::MAX, 10),
        ] {
            assert_eq!(varint_size(value), bytes, "{value}");
            assert_eq!(prost::length_delimiter_len(value as usize), bytes as usize, "{value}");
        }
    }

    #[test]
    fn the_largest_index_has_the_most_entries_of_the_largest_size() {
        let large = |name: &[u8]| ChunkMeta { digest: Digest::of(name), size: MAX_CHUNK_SIZE };
        let index = BlobIndex::new(Digest::of(b"blob"), [large(b"a"), large(b"b")]).unwrap();
        assert_eq!(encode(&index).len() as u64, 2 * MAX_ENTRY_SIZE);
        assert_eq!(MAX_ENTRY_SIZE, 41);
        assert_eq!(MAX_INDEX_SIZE, (41 + 32) * 16_777_216 + 65_536);
    }
}
