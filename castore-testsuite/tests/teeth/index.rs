//! An index as it is stored: an entry for each chunk, and one for each group hash.

use bytes::{Bytes, BytesMut};
use castore_core::groups::ChainingValue;
use castore_core::{BlobIndex, ChunkMeta, Digest, Error, ErrorKind, Result};

/// The size of an entry in bytes: a chunk's digest and its size.
pub(crate) const ENTRY_SIZE: usize = Digest::LEN + 8;

/// The size in an entry that holds a group hash in the place of a digest. No chunk has this size.
const GROUP_MARK: [u8; 8] = u64::MAX.to_le_bytes();

pub(crate) fn encode(index: &BlobIndex, groups: &[ChainingValue]) -> Bytes {
    let mut record = BytesMut::with_capacity((index.len() + groups.len()) * ENTRY_SIZE);
    for chunk in index.iter() {
        record.extend_from_slice(chunk.digest.as_bytes());
        record.extend_from_slice(&chunk.size.to_le_bytes());
    }
    for value in groups {
        record.extend_from_slice(value);
        record.extend_from_slice(&GROUP_MARK);
    }
    record.freeze()
}

/// The group hashes in the record of an index, as they are.
pub(crate) fn decode_groups(record: &[u8]) -> Vec<ChainingValue> {
    let (entries, _) = record.as_chunks::<ENTRY_SIZE>();
    let marked = entries.iter().filter(|entry| entry.ends_with(&GROUP_MARK));
    marked.filter_map(|entry| entry.first_chunk().copied()).collect()
}

/// The chunks in the record of an index.
pub(crate) fn decode(digest: Digest, record: &[u8]) -> Result<BlobIndex> {
    let corrupt = |message: &str| {
        Error::new(ErrorKind::Corrupt, "read an index", message).with_digest(digest)
    };
    let (entries, rest) = record.as_chunks::<ENTRY_SIZE>();
    if !rest.is_empty() {
        return Err(corrupt("it ends within an entry"));
    }
    let chunk = |entry: &[u8; ENTRY_SIZE]| {
        let (mut digest, mut size) = ([0; Digest::LEN], [0; 8]);
        digest.copy_from_slice(&entry[..Digest::LEN]);
        size.copy_from_slice(&entry[Digest::LEN..]);
        ChunkMeta { digest: Digest::from_bytes(digest), size: u64::from_le_bytes(size) }
    };
    let entries = entries.iter().filter(|entry| !entry.ends_with(&GROUP_MARK));
    BlobIndex::new(digest, entries.map(chunk))
        .map_err(|error| corrupt("it cannot be one").with_source(error))
}
