//! Encodes an index as the bytes that a store holds.

use bytes::{BufMut as _, Bytes, BytesMut};
use castore_core::{BlobIndex, Digest, MAX_CHUNK_SIZE, MAX_CHUNKS};
use prost::Message as _;

use crate::generated::Entry;

/// The key of an entry: field 2, length-delimited.
const ENTRY_KEY: u8 = 2 << 3 | 2;

/// The largest canonical entry, in bytes: its key and length (1 + 1), the digest with key and
/// length (1 + 1 + 32), and the size with its key (1 + 7 bits per byte).
const MAX_ENTRY_SIZE: u64 = 2 + 2 + Digest::LEN as u64 + 1 + varint_size(MAX_CHUNK_SIZE);

/// The largest index object that a reader has to accept, in bytes: about 656 MiB.
///
/// That is [`MAX_CHUNKS`] canonical entries of the largest size, and 64 KiB for unknown fields.
pub const MAX_INDEX_SIZE: u64 = MAX_CHUNKS as u64 * MAX_ENTRY_SIZE + 64 * 1024;

/// How many bytes a number takes in the encoding, with 7 bits in each byte.
const fn varint_size(value: u64) -> u64 {
    let bits = 64 - (value | 1).leading_zeros() as u64;
    bits.div_ceil(7)
}

/// The canonical encoding of `index`: its entries in order, each with digest and size, and nothing
/// else. Equal indexes have equal encodings. The encoding of the empty blob's index is empty.
pub fn encode(index: &BlobIndex) -> Bytes {
    let mut bytes = BytesMut::with_capacity(index.len() * MAX_ENTRY_SIZE as usize);
    let mut entry = Entry { digest: vec![0; Digest::LEN], size: 0 };
    for chunk in index.iter() {
        entry.digest.copy_from_slice(chunk.digest.as_bytes());
        entry.size = chunk.size;
        bytes.put_u8(ENTRY_KEY);
        entry.encode_length_delimited(&mut bytes).expect("the buffer grows as needed");
    }
    bytes.freeze()
}
