//! The chunks of a blob, in order, and the position of each one.

use std::ops::Range;

use crate::groups::{GROUP_SIZE, GroupHashes, GroupsError};
use crate::{Digest, Error, ErrorKind, Piece, Result};

/// The largest chunk that the format allows, in bytes: 16 MiB.
///
/// This is the largest maximum that FastCDC implementations accept. The limit bounds the memory
/// that reading a stored chunk can take, whatever size an index claims.
pub const MAX_CHUNK_SIZE: u64 = 16 * 1024 * 1024;

/// The largest number of chunks of a blob: 2^24, which is 4 TiB of chunks of 256 KiB.
///
/// This limit bounds the memory that decoding an index can take. A larger blob needs larger chunks.
pub const MAX_CHUNKS: usize = 1 << 24;

/// A chunk's name and its uncompressed size.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct ChunkMeta {
    /// The BLAKE3 digest of the chunk's bytes.
    pub digest: Digest,
    /// The uncompressed size in bytes.
    pub size: u64,
}

impl ChunkMeta {
    /// Checks that `bytes` are this chunk: first their number, then their digest, which is computed
    /// on the calling thread.
    ///
    /// A backend calls this with the bytes that it has read from its storage, before it returns any
    /// of them.
    ///
    /// # Errors
    /// `Corrupt`, with this chunk's digest, if they are not.
    pub fn verify(&self, bytes: &[u8]) -> Result<()> {
        let corrupt = |message| {
            Err(Error::new(ErrorKind::Corrupt, "read a chunk", message).with_digest(self.digest))
        };
        let found = bytes.len() as u64;
        if found != self.size {
            return corrupt(format!("it has {found} bytes, and not {}", self.size));
        }
        let found = Digest::of(bytes);
        if found != self.digest {
            return corrupt(format!("its bytes have the digest {found}"));
        }
        Ok(())
    }
}

/// The list of a blob's chunks, in order.
///
/// Only valid indexes exist:
/// - the empty blob, and no other, has no chunks;
/// - a blob of one chunk has its chunk's digest, and a chunk of a longer blob has another digest
///   than the blob (their bytes differ);
/// - no chunk is empty or larger than [`MAX_CHUNK_SIZE`], and there are at most [`MAX_CHUNKS`].
///
/// Whether the chunks together have the blob's digest is known only once they are read. An index
/// may carry the [group hashes](crate::groups) of its blob: then that is known for each part of the
/// blob by itself.
///
/// Two indexes are equal if they list the same chunks and carry the same group hashes, or both
/// none.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BlobIndex {
    digest: Digest,
    digests: Vec<Digest>,
    /// The end of each chunk, in bytes from the start of the blob: strictly increasing.
    ends: Vec<u64>,
    groups: Option<GroupHashes>,
}

/// The reason why a list of chunks is not an index of the given blob.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum IndexError {
    /// Only the empty blob has no chunks.
    #[error("no chunks are listed, but the blob is not the empty one")]
    NoChunks,
    /// The empty blob has no chunks.
    #[error("chunks are listed for the empty blob")]
    ChunksOfEmpty,
    /// There are more than [`MAX_CHUNKS`] chunks.
    #[error("more than {MAX_CHUNKS} chunks are listed")]
    TooManyChunks,
    /// A chunk is empty.
    #[error("chunk {0} is listed with no bytes")]
    EmptyChunk(usize),
    /// A chunk is larger than [`MAX_CHUNK_SIZE`].
    #[error("chunk {0} is listed with {1} bytes, more than {MAX_CHUNK_SIZE}")]
    LargeChunk(usize, u64),
    /// The only chunk of the blob has another digest than the blob.
    #[error("the only chunk listed is {0}, which is not this blob")]
    OtherBlob(Digest),
    /// One of several chunks has the digest of the blob.
    #[error("chunk {0} of several is listed with the digest of the blob itself")]
    ListsItself(usize),
}

/// A position in a blob, by chunk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Location {
    /// The chunk's position in the index, from 0.
    pub chunk: usize,
    /// The offset within the chunk, in bytes.
    pub offset: u64,
}

impl BlobIndex {
    /// The index of the blob `digest`, whose chunks are `chunks`, in order.
    ///
    /// # Errors
    /// Fails if the list breaks one of the rules above.
    pub fn new(
        digest: Digest,
        chunks: impl IntoIterator<Item = ChunkMeta>,
    ) -> Result<BlobIndex, IndexError> {
        let chunks = chunks.into_iter();
        let expected = chunks.size_hint().0.min(MAX_CHUNKS);
        let mut digests = Vec::with_capacity(expected);
        let mut ends = Vec::with_capacity(expected);
        let mut check = IndexCheck::new(digest);
        for chunk in chunks {
            check.add(chunk)?;
            digests.push(chunk.digest);
            ends.push(check.size());
        }
        check.finish()?;
        // The digest itself proves the only group of a blob: its list is empty.
        let groups = GroupHashes::new(digest, check.size(), Vec::new()).ok();
        Ok(BlobIndex { digest, digests, ends, groups })
    }

    /// The index of the empty blob.
    pub fn empty() -> BlobIndex {
        let groups = GroupHashes::new(Digest::EMPTY, 0, Vec::new()).ok();
        BlobIndex { digest: Digest::EMPTY, digests: Vec::new(), ends: Vec::new(), groups }
    }

    /// This index with the group hashes of its blob.
    ///
    /// # Errors
    /// Fails if `groups` are those of another blob, or of a blob of another size.
    pub fn with_groups(self, groups: GroupHashes) -> Result<BlobIndex, GroupsError> {
        let (size, found) = (self.size(), groups.values().len() as u64);
        if groups.digest() != self.digest {
            return Err(GroupsError::OtherBlob(groups.digest()));
        }
        if groups.size() != size {
            return Err(GroupsError::Count { size, expected: size.div_ceil(GROUP_SIZE), found });
        }
        Ok(BlobIndex { groups: Some(groups), ..self })
    }

    /// This index without group hashes; that of a blob of at most one group keeps them, as they are
    /// its digest.
    pub fn without_groups(self) -> BlobIndex {
        let groups = self.groups.filter(|groups| groups.values().is_empty());
        BlobIndex { groups, ..self }
    }

    /// The group hashes of the blob, if the index carries them. A blob of at most
    /// [one group](GROUP_SIZE) always has them: its digest is enough.
    pub fn groups(&self) -> Option<&GroupHashes> {
        self.groups.as_ref()
    }

    /// Whether `other` lists the same chunks for the same blob; one of the two may carry group
    /// hashes, and the other one not.
    pub fn lists_same(&self, other: &BlobIndex) -> bool {
        (self.digest, &self.digests, &self.ends) == (other.digest, &other.digests, &other.ends)
    }

    /// The digest of the blob.
    pub fn digest(&self) -> Digest {
        self.digest
    }

    /// The size of the blob in bytes.
    pub fn size(&self) -> u64 {
        self.ends.last().copied().unwrap_or(0)
    }

    /// The number of chunks.
    pub fn len(&self) -> usize {
        self.digests.len()
    }

    /// Whether this is the index of the empty blob.
    pub fn is_empty(&self) -> bool {
        self.digests.is_empty()
    }

    /// The chunk at position `number`, from 0.
    pub fn get(&self, number: usize) -> Option<ChunkMeta> {
        let range = self.chunk_range(number)?;
        Some(ChunkMeta { digest: self.digests[number], size: range.end - range.start })
    }

    /// The chunks in order.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = ChunkMeta> + DoubleEndedIterator + '_ {
        (0..self.len()).map(|number| ChunkMeta {
            digest: self.digests[number],
            size: self.ends[number] - self.start(number),
        })
    }

    /// The bytes of the blob that the chunk at position `number` holds.
    pub fn chunk_range(&self, number: usize) -> Option<Range<u64>> {
        let end = *self.ends.get(number)?;
        Some(self.start(number)..end)
    }

    /// The chunk that holds the byte at `offset`, or `None` at and past the end of the blob.
    ///
    /// Takes O(log n) time.
    pub fn locate(&self, offset: u64) -> Option<Location> {
        let chunk = self.ends.partition_point(|end| *end <= offset);
        let offset = offset - self.start(chunk);
        (chunk < self.len()).then_some(Location { chunk, offset })
    }

    /// The positions of the chunks that hold the bytes of `range`, which is clipped to the blob.
    pub fn covering(&self, range: Range<u64>) -> Range<usize> {
        if range.start >= range.end {
            return 0..0;
        }
        let first = self.ends.partition_point(|end| *end <= range.start);
        let last = self.ends.partition_point(|end| *end < range.end);
        first..(last + 1).min(self.len()).max(first)
    }

    /// The chunks that hold the bytes of `range`, which is clipped to the blob, in order. Each
    /// comes with the part of it that is in the range.
    ///
    /// The first piece takes O(log n) time. So a source that keeps only the rest of the range may
    /// call this for each piece and take the first one: see [`Piece`].
    pub fn pieces(
        &self,
        range: Range<u64>,
    ) -> impl ExactSizeIterator<Item = Piece> + DoubleEndedIterator + '_ {
        self.covering(range.clone()).map(move |number| {
            let start = self.start(number);
            let meta = ChunkMeta { digest: self.digests[number], size: self.ends[number] - start };
            Piece::clipped(meta, start, &range)
        })
    }

    fn start(&self, number: usize) -> u64 {
        if number == 0 { 0 } else { self.ends[number - 1] }
    }
}

/// Checks a list of chunks by the rules of [`BlobIndex`], one chunk at a time and without keeping
/// them: for lists that are too long to be held in memory.
#[derive(Debug, Clone)]
pub struct IndexCheck {
    digest: Digest,
    chunks: usize,
    size: u64,
    /// The digest of the first chunk.
    first: Option<Digest>,
    /// The position of the first chunk that has the digest of the blob.
    itself: Option<usize>,
}

impl IndexCheck {
    /// A check for the chunks of the blob `digest`.
    pub fn new(digest: Digest) -> IndexCheck {
        IndexCheck { digest, chunks: 0, size: 0, first: None, itself: None }
    }

    /// Takes the next chunk of the list.
    ///
    /// # Errors
    /// Fails if no valid list has such a chunk at this position. The check must not be used after
    /// an error.
    pub fn add(&mut self, chunk: ChunkMeta) -> Result<(), IndexError> {
        let number = self.chunks;
        if number == MAX_CHUNKS {
            return Err(IndexError::TooManyChunks);
        }
        if chunk.size == 0 {
            return Err(IndexError::EmptyChunk(number));
        }
        if chunk.size > MAX_CHUNK_SIZE {
            return Err(IndexError::LargeChunk(number, chunk.size));
        }
        // At most 2^24 chunks of at most 2^24 bytes: this cannot overflow.
        self.size += chunk.size;
        self.chunks += 1;
        self.first.get_or_insert(chunk.digest);
        if chunk.digest == self.digest {
            self.itself.get_or_insert(number);
        }
        Ok(())
    }

    /// The number of chunks taken so far.
    pub fn chunks(&self) -> usize {
        self.chunks
    }

    /// The total size in bytes of the chunks taken so far.
    pub fn size(&self) -> u64 {
        self.size
    }

    /// Ends the list.
    ///
    /// # Errors
    /// Fails if the list as a whole breaks a rule.
    pub fn finish(&self) -> Result<(), IndexError> {
        match (self.chunks, self.first, self.itself) {
            (0, ..) if self.digest != Digest::EMPTY => Err(IndexError::NoChunks),
            (0, ..) => Ok(()),
            _ if self.digest == Digest::EMPTY => Err(IndexError::ChunksOfEmpty),
            (1, Some(only), None) => Err(IndexError::OtherBlob(only)),
            (1, ..) | (_, _, None) => Ok(()),
            (_, _, Some(number)) => Err(IndexError::ListsItself(number)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn chunk(name: &str, size: u64) -> ChunkMeta {
        ChunkMeta { digest: Digest::of(name.as_bytes()), size }
    }

    fn blob(name: &str) -> Digest {
        Digest::of(name.as_bytes())
    }

    #[test]
    fn only_the_empty_blob_has_no_chunks() {
        assert_eq!(BlobIndex::new(Digest::EMPTY, []), Ok(BlobIndex::empty()));
        assert_eq!(BlobIndex::new(blob("a"), []), Err(IndexError::NoChunks));
        let listed = BlobIndex::new(Digest::EMPTY, [chunk("a", 1)]);
        assert_eq!(listed, Err(IndexError::ChunksOfEmpty));
    }

    #[test]
    fn one_chunk_is_the_blob_itself() {
        assert!(BlobIndex::new(blob("a"), [chunk("a", 1)]).is_ok());
        let other = BlobIndex::new(blob("a"), [chunk("b", 1)]);
        assert_eq!(other, Err(IndexError::OtherBlob(blob("b"))));
        let itself = BlobIndex::new(blob("a"), [chunk("b", 1), chunk("a", 1)]);
        assert_eq!(itself, Err(IndexError::ListsItself(1)));
    }

    #[test]
    fn sizes_are_bounded() {
        let with = |size| BlobIndex::new(blob("a"), [chunk("b", 1), chunk("c", size)]);
        assert_eq!(with(0), Err(IndexError::EmptyChunk(1)));
        assert!(with(MAX_CHUNK_SIZE).is_ok());
        let large = MAX_CHUNK_SIZE + 1;
        assert_eq!(with(large), Err(IndexError::LargeChunk(1, large)));
        assert_eq!(with(u64::MAX), Err(IndexError::LargeChunk(1, u64::MAX)));
    }

    #[test]
    fn the_number_of_chunks_is_bounded() {
        let endless = std::iter::repeat(chunk("b", 1));
        let index = BlobIndex::new(blob("a"), endless.clone().take(MAX_CHUNKS)).unwrap();
        assert_eq!(index.size(), MAX_CHUNKS as u64);
        assert_eq!(BlobIndex::new(blob("a"), endless), Err(IndexError::TooManyChunks));
    }

    #[test]
    fn group_hashes_are_those_of_the_blob() {
        let bytes: Vec<u8> = (0..300_000_u32).map(|at| (at / 100) as u8).collect();
        let (first, second) = bytes.split_at(100_000);
        let chunks = [first, second]
            .map(|bytes| ChunkMeta { digest: Digest::of(bytes), size: bytes.len() as u64 });
        let plain = BlobIndex::new(Digest::of(&bytes), chunks).unwrap();
        assert_eq!(plain.groups(), None);
        let groups = GroupHashes::of(&bytes);
        let full = plain.clone().with_groups(groups.clone()).unwrap();
        assert_eq!(full.groups(), Some(&groups));
        assert!(full != plain && full.lists_same(&plain) && plain.lists_same(&full));
        assert_eq!(full.clone().without_groups(), plain);

        let other = plain.clone().with_groups(GroupHashes::of(&bytes[1..]));
        assert_eq!(other, Err(GroupsError::OtherBlob(Digest::of(&bytes[1..]))));
        let [_, second] = chunks;
        let shorter = BlobIndex::new(plain.digest(), [second, chunk("a", 5)]).unwrap();
        assert!(!shorter.lists_same(&full));
        let error = shorter.with_groups(groups).unwrap_err();
        assert!(matches!(error, GroupsError::Count { size: 200_005, .. }), "{error}");

        // Small blobs need no list.
        let small = BlobIndex::new(Digest::of(first), [chunks[0]]).unwrap();
        assert_eq!(small.groups(), Some(&GroupHashes::of(first)));
        assert_eq!(small.clone().without_groups(), small);
        assert_eq!(BlobIndex::empty().groups(), Some(&GroupHashes::of(b"")));
    }

    #[test]
    fn locate_and_covering_agree_with_counting() {
        let sizes = [3, 1, 4, 1, 5];
        let chunks = sizes.iter().enumerate().map(|(n, size)| chunk(&n.to_string(), *size));
        let index = BlobIndex::new(blob("a"), chunks.clone()).unwrap();
        assert_eq!(index.size(), 14);
        assert_eq!(index.iter().collect::<Vec<_>>(), chunks.collect::<Vec<_>>());
        let owner: Vec<usize> =
            (0..5).flat_map(|n| std::iter::repeat_n(n, sizes[n] as usize)).collect();
        for start in 0..=16 {
            let expected = owner.get(start as usize).copied();
            assert_eq!(index.locate(start).map(|at| at.chunk), expected);
            if let Some(at) = index.locate(start) {
                assert_eq!(index.chunk_range(at.chunk).unwrap().start + at.offset, start);
                assert_eq!(index.get(at.chunk).unwrap().size, sizes[at.chunk]);
            }
            for end in start..=16 {
                let cut = (start as usize).min(14)..(end as usize).min(14);
                let expected: std::collections::BTreeSet<_> = owner[cut].iter().copied().collect();
                assert_eq!(
                    index.covering(start..end).collect::<std::collections::BTreeSet<_>>(),
                    expected
                );
            }
        }
        assert_eq!(index.get(5), None);
        assert_eq!(index.chunk_range(5), None);
    }
}
