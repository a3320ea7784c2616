//! An index as it is stored: an entry for each chunk.

use bytes::{Bytes, BytesMut};
use castore_core::{BlobIndex, ChunkMeta, Digest, Error, ErrorKind, Result};

/// The size of an entry in bytes: a chunk's digest and its size.
pub(crate) const ENTRY_SIZE: usize = Digest::LEN + 8;

pub(crate) fn encode(index: &BlobIndex) -> Bytes {
    let mut record = BytesMut::with_capacity(index.len() * ENTRY_SIZE);
    for chunk in index.iter() {
        record.extend_from_slice(chunk.digest.as_bytes());
        record.extend_from_slice(&chunk.size.to_le_bytes());
    }
    record.freeze()
}

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
    BlobIndex::new(digest, entries.iter().map(chunk))
        .map_err(|error| corrupt("it cannot be one").with_source(error))
}
