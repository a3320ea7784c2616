//! Decodes an index that arrives in pieces, and is too large to be held in memory.

use castore_core::groups::GroupPages;
use castore_core::{ChunkMeta, Digest, IndexCheck, IndexError};

use crate::decode::EntryDecoder;
use crate::error::{DecodeError, FramingError};
use crate::frame::{ENTRY_FIELD, Fields, GROUPS_FIELD, MAX_NESTING};
use crate::groups::{GroupsDecoder, HEADER, VALUE_SIZE};

/// Decodes an index piece by piece: with the same result as [`decode`](crate::decode) of all the
/// bytes, in the memory of one entry and one page of group hashes.
///
/// Unknown fields of any length are skipped without being kept.
///
/// ```
/// use castore_core::{BlobIndex, ChunkMeta, Digest};
/// use castore_proto::{Decoder, encode};
///
/// let blob = Digest::of(b"Hello World");
/// let stored = encode(&BlobIndex::new(blob, [ChunkMeta { digest: blob, size: 11 }])?);
/// let mut decoder = Decoder::new(blob);
/// let mut sizes = Vec::new();
/// for piece in stored.chunks(5) {
///     decoder.push(piece, |listed| sizes.push(listed.chunk.size))?;
/// }
/// assert_eq!(decoder.finish()?.expect("it has entries").size, 11);
/// assert_eq!(sizes, [11]);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
pub struct Decoder {
    digest: Digest,
    check: IndexCheck,
    entry: EntryDecoder,
    /// The rest of the last piece: the beginning of a number or an entry.
    pending: Vec<u8>,
    /// The offset at which `pending` begins, in bytes from the start of the index.
    offset: u64,
    /// The offset at which the current field begins.
    field: u64,
    /// The open groups, whose content is skipped.
    groups: Vec<u32>,
    /// How many bytes of a value remain to be skipped.
    skip: u64,
    /// The last list of group hashes so far.
    hashes: GroupsDecoder,
    /// How many bytes of that list are still to come.
    hashes_left: u64,
}

/// A decoded index, without its chunks.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Decoded {
    /// The size of the blob in bytes.
    pub size: u64,
    /// The group hashes, if the index has any.
    pub groups: Option<ListedGroups>,
}

/// The list of group hashes of an index, and its position.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct ListedGroups {
    /// The checked list, in pages.
    pub pages: GroupPages,
    /// The offset of the first value, in bytes from the start of the index. The values follow each
    /// other, 32 bytes each.
    pub start: u64,
}

/// A chunk and the position of its entry.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct ListedChunk {
    /// The chunk.
    pub chunk: ChunkMeta,
    /// The offset at which the chunk's entry begins, in bytes from the start of the index.
    pub start: u64,
    /// The offset at which the chunk's entry ends.
    pub end: u64,
}

/// The meaning of the next few bytes.
enum Step<'a> {
    Entry(&'a [u8]),
    /// The first bytes of a list of group hashes, and the number of bytes after them.
    Groups(&'a [u8], u64),
    /// A number or a key, or a value of which this many bytes must be skipped.
    Other(u64),
}

impl Decoder {
    /// A decoder of the index of the blob `digest`.
    pub fn new(digest: Digest) -> Decoder {
        Decoder {
            digest,
            check: IndexCheck::new(digest),
            entry: EntryDecoder::default(),
            pending: Vec::new(),
            offset: 0,
            field: 0,
            groups: Vec::new(),
            skip: 0,
            hashes: GroupsDecoder::Absent,
            hashes_left: 0,
        }
    }

    /// Takes the next bytes, and hands each chunk whose entry ends in them to `each`.
    ///
    /// # Errors
    /// As [`decode`](crate::decode), at the first byte that no valid index has at this position.
    /// The decoder must not be used after an error.
    pub fn push(
        &mut self,
        piece: &[u8],
        mut each: impl FnMut(ListedChunk),
    ) -> Result<(), DecodeError> {
        if self.pending.is_empty() {
            let taken = self.take(piece, &mut each)?;
            self.pending.extend_from_slice(&piece[taken..]);
            return Ok(());
        }
        let mut bytes = std::mem::take(&mut self.pending);
        bytes.extend_from_slice(piece);
        let taken = self.take(&bytes, &mut each)?;
        bytes.drain(..taken);
        self.pending = bytes;
        Ok(())
    }

    /// Ends the index. Returns `None` if no chunk is listed and the blob is not the empty one, as
    /// [`decode`](crate::decode) does.
    ///
    /// # Errors
    /// As [`decode`](crate::decode), if the bytes end within a field, or the list of chunks as a
    /// whole or the group hashes are not those of the blob.
    pub fn finish(self) -> Result<Option<Decoded>, DecodeError> {
        let is_within = self.skip > 0 || self.hashes_left > 0 || !self.groups.is_empty();
        if !self.pending.is_empty() || is_within {
            return Err(self.framing(FramingError::Truncated));
        }
        match self.check.finish() {
            Ok(()) => {
                let size = self.check.size();
                let groups = self.hashes.finish(self.digest, size)?;
                Ok(Some(Decoded { size, groups }))
            }
            Err(IndexError::NoChunks) => Ok(None),
            Err(error) => Err(DecodeError::Index(error)),
        }
    }

    /// Takes all the complete steps in `bytes`. Returns how many bytes they have.
    fn take(
        &mut self,
        bytes: &[u8],
        each: &mut impl FnMut(ListedChunk),
    ) -> Result<usize, DecodeError> {
        let mut taken = 0;
        while taken < bytes.len() {
            if self.skip > 0 {
                let skipped = self.skip.min((bytes.len() - taken) as u64);
                self.skip -= skipped;
                self.offset += skipped;
                taken += skipped as usize;
                continue;
            }
            if self.hashes_left > 0 {
                let Some(value) = bytes[taken..].first_chunk::<VALUE_SIZE>() else { break };
                if let GroupsDecoder::Listed { pager, .. } = &mut self.hashes {
                    pager.push(*value);
                }
                self.hashes_left -= VALUE_SIZE as u64;
                self.offset += VALUE_SIZE as u64;
                taken += VALUE_SIZE;
                continue;
            }
            if self.groups.is_empty() {
                self.field = self.offset;
            }
            let mut fields = Fields::new(&bytes[taken..]);
            let step = match step(&mut fields, &mut self.groups) {
                // The rest of the step may be in the next piece.
                Err(FramingError::Truncated) => break,
                step => step.map_err(|error| self.framing(error))?,
            };
            taken += fields.offset();
            self.offset += fields.offset() as u64;
            match step {
                Step::Other(skip) => self.skip = skip,
                Step::Groups(header, rest) => {
                    self.hashes = GroupsDecoder::begin(header, self.offset, rest);
                    match self.hashes {
                        GroupsDecoder::Listed { .. } => self.hashes_left = rest,
                        _ => self.skip = rest,
                    }
                }
                Step::Entry(entry) => {
                    let chunk = self.entry.decode(entry, self.check.chunks())?;
                    self.check.add(chunk).map_err(DecodeError::Index)?;
                    each(ListedChunk { chunk, start: self.field, end: self.offset });
                }
            }
        }
        Ok(taken)
    }

    fn framing(&self, source: FramingError) -> DecodeError {
        DecodeError::Framing { offset: self.field as usize, source }
    }
}

/// Takes an entry, or a key and the number after it. `Truncated` leaves `groups` unchanged.
fn step<'a>(fields: &mut Fields<'a>, groups: &mut Vec<u32>) -> Result<Step<'a>, FramingError> {
    let (number, wire_type) = fields.key()?;
    if groups.is_empty() && number == ENTRY_FIELD {
        return match wire_type {
            2 => fields.delimited().map(Step::Entry),
            other => Err(FramingError::WireType(other)),
        };
    }
    if groups.is_empty() && (number, wire_type) == (GROUPS_FIELD, 2) {
        let length = fields.varint()?;
        let header = fields.take(length.min(HEADER.len() as u64) as usize)?;
        return Ok(Step::Groups(header, length - header.len() as u64));
    }
    let mut skip = 0;
    match wire_type {
        0 => drop(fields.varint()?),
        1 => skip = 8,
        2 => skip = fields.varint()?,
        3 if groups.len() == MAX_NESTING => return Err(FramingError::Nesting),
        3 => groups.push(number),
        4 if groups.pop() == Some(number) => {}
        4 => return Err(FramingError::GroupEnd),
        5 => skip = 4,
        other => return Err(FramingError::WireType(other)),
    }
    Ok(Step::Other(skip))
}

#[cfg(test)]
mod tests {
    use castore_core::BlobIndex;
    use castore_core::groups::{GROUP_SIZE, GroupHashes, GroupsError};
    use proptest::prelude::*;
    use proptest::test_runner::RngSeed;

    use super::*;
    use crate::decode::tests::field;
    use crate::{decode, encode};

    /// The decoder's result for these pieces: the chunks, or the error.
    fn in_pieces<'a>(
        blob: Digest,
        pieces: impl IntoIterator<Item = &'a [u8]>,
    ) -> Result<Option<BlobIndex>, DecodeError> {
        let mut decoder = Decoder::new(blob);
        let mut chunks = Vec::new();
        let mut all = Vec::new();
        for piece in pieces {
            decoder.push(piece, |listed| chunks.push(listed.chunk))?;
            all.extend_from_slice(piece);
        }
        Ok(decoder.finish()?.map(|Decoded { size, groups }| {
            let index = BlobIndex::new(blob, chunks).unwrap();
            assert_eq!(size, index.size());
            let Some(ListedGroups { pages, start }) = groups else { return index };
            // All pages of the list are where the decoder says.
            let mut values = Vec::new();
            for number in 0..pages.pages() {
                let at = start as usize + 32 * pages.groups(number).start;
                let page = &all[at..at + 32 * pages.groups(number).len()];
                let page = page.as_chunks().0.to_vec();
                assert!(pages.page(number, page.clone()).is_some());
                values.extend(page);
            }
            index.with_groups(GroupHashes::new(blob, size, values).unwrap()).unwrap()
        }))
    }

    fn whole(blob: Digest, bytes: &[u8]) -> Result<Option<BlobIndex>, DecodeError> {
        decode(&blob, bytes)
    }

    /// Fields that the decoder skips, some of them broken.
    fn unknown() -> impl Strategy<Value = Vec<u8>> {
        let group = proptest::collection::vec(field(), 0..3)
            .prop_map(|fields| [vec![0x2b], fields.concat(), vec![0x2c]].concat());
        let bytes = proptest::collection::vec(any::<u8>(), 0..60)
            .prop_map(|bytes| [vec![0x1a, bytes.len() as u8], bytes].concat());
        let fixed = any::<[u8; 8]>().prop_map(|bytes| [vec![0x79], bytes.to_vec()].concat());
        let lone = prop_oneof![Just(vec![0x2b]), Just(vec![0x2c]), Just(vec![0x7d, 1, 2])];
        prop_oneof![4 => group, 4 => bytes, 4 => fixed, 1 => lone]
    }

    proptest! {
        #![proptest_config(ProptestConfig {
            cases: 4000,
            rng_seed: RngSeed::Fixed(2),
            failure_persistence: None,
            ..ProptestConfig::default()
        })]

        #[test]
        fn pieces_are_decoded_as_the_whole(
            fields in proptest::collection::vec(prop_oneof![3 => field(), 1 => unknown()], 0..8),
            flip in proptest::option::of((any::<prop::sample::Index>(), 0..8u8)),
            cut in proptest::option::of(any::<prop::sample::Index>()),
            splits in proptest::collection::vec(any::<prop::sample::Index>(), 0..8),
        ) {
            let mut bytes = fields.concat();
            if let (Some((at, bit)), false) = (flip, bytes.is_empty()) {
                let at = at.index(bytes.len());
                bytes[at] ^= 1 << bit;
            }
            if let Some(cut) = cut {
                bytes.truncate(cut.index(bytes.len() + 1));
            }
            let mut splits: Vec<_> = splits.iter().map(|at| at.index(bytes.len() + 1)).collect();
            splits.extend([0, bytes.len()]);
            splits.sort_unstable();
            for blob in [Digest::of(b"blob"), Digest::EMPTY] {
                let expected = whole(blob, &bytes);
                let pieces = splits.windows(2).map(|at| &bytes[at[0]..at[1]]);
                prop_assert_eq!(&in_pieces(blob, pieces), &expected);
                prop_assert_eq!(&in_pieces(blob, bytes.chunks(1)), &expected);
                prop_assert_eq!(&in_pieces(blob, [&bytes[..]]), &expected);
            }
        }
    }

    /// The group hashes of a blob that has this many groups, some of them made up.
    fn values(groups: usize) -> Vec<[u8; 32]> {
        (0..groups).map(|number| *Digest::of(&number.to_le_bytes()).as_bytes()).collect()
    }

    /// An index with the list of `values`, in chunks of eight groups, and the list's blob.
    fn with_list(values: &[[u8; 32]]) -> BlobIndex {
        let size = values.len() as u64 * GROUP_SIZE;
        let wrong = GroupHashes::new(Digest::EMPTY, size, values.to_vec());
        let Err(GroupsError::OtherBlob(blob)) = wrong else { panic!() };
        let ends = (0..size).step_by(8 * GROUP_SIZE as usize).skip(1).chain([size]);
        let mut start = 0;
        let chunks: Vec<ChunkMeta> = ends
            .map(|end| {
                let size = end - std::mem::replace(&mut start, end);
                ChunkMeta { digest: Digest::of(&end.to_le_bytes()), size }
            })
            .collect();
        let index = BlobIndex::new(blob, chunks).unwrap();
        index.with_groups(GroupHashes::new(blob, size, values.to_vec()).unwrap()).unwrap()
    }

    #[test]
    fn lists_of_group_hashes_are_decoded_as_in_the_whole() {
        for groups in [9, 10, 1024, 1025, 3000] {
            let index = with_list(&values(groups));
            let blob = index.digest();
            let bytes = encode(&index);
            let entries = encode(&index.clone().without_groups());
            let list = &bytes[entries.len()..];
            let short = [&[0x1a, 34, 1, 8][..], &[7; 32]].concat();
            let plain = Ok(Some(index.clone().without_groups()));
            let full = Ok(Some(index));
            let count = |found| {
                let size = groups as u64 * GROUP_SIZE;
                DecodeError::Groups(GroupsError::Count { size, expected: groups as u64, found })
            };
            let mut flipped = bytes.to_vec();
            *flipped.last_mut().unwrap() ^= 1;
            let flipped_list = &flipped[entries.len()..];
            for (name, parts, expected) in [
                ("after the entries", &[&entries, list][..], &full),
                ("before the entries", &[list, &entries], &full),
                ("the last list counts", &[&short, &entries, list], &full),
                ("a short list", &[list, &entries, &short], &Err(count(1))),
                ("no values", &[&entries, &[0x1a, 2, 1, 8]], &Err(count(0))),
                ("part of a value", &[&entries, &[0x1a, 5, 1, 8, 0, 0, 0]], &{
                    Err(DecodeError::GroupsLength { length: 3 })
                }),
                ("another version", &[list, &entries, &[0x1a, 3, 2, 8, 9]], &plain),
                ("another size of groups", &[&entries, &[0x1a, 3, 1, 4, 9]], &plain),
                ("a version alone", &[&entries, &[0x1a, 1, 1]], &plain),
                ("an empty field", &[&entries, &[0x1a, 0]], &plain),
                ("another wire type", &[&entries, list, &[0x18, 5]], &full),
                ("no entries", &[list], &Ok(None)),
            ] {
                let bytes = parts.concat();
                assert_eq!(whole(blob, &bytes), *expected, "{name}");
                for size in [1, 31, 32, 33, 1000, bytes.len()] {
                    assert_eq!(in_pieces(blob, bytes.chunks(size)), *expected, "{name} {size}");
                }
            }
            let bytes = [&entries, flipped_list].concat();
            let error = whole(blob, &bytes).unwrap_err();
            assert!(matches!(error, DecodeError::Groups(GroupsError::OtherBlob(_))), "{error}");
            assert_eq!(in_pieces(blob, bytes.chunks(77)), Err(error));
        }
    }

    #[test]
    fn listed_chunks_state_the_position_of_their_entries() {
        let chunk = |number: u64| ChunkMeta { digest: Digest::of(&[number as u8]), size: number };
        let blob = Digest::of(b"blob");
        let index = BlobIndex::new(blob, (1..200).map(chunk)).unwrap();
        let bytes = encode(&index);
        for size in [1, 7, 1000, bytes.len()] {
            let mut decoder = Decoder::new(blob);
            let mut before = 0;
            for piece in bytes.chunks(size) {
                let each = |listed: ListedChunk| {
                    assert_eq!(listed.start, before);
                    before = listed.end;
                    let entry = &bytes[listed.start as usize..listed.end as usize];
                    let again = decode(&blob, &[entry, entry].concat()).unwrap().unwrap();
                    assert_eq!(again.get(0), Some(listed.chunk));
                };
                decoder.push(piece, each).unwrap();
            }
            assert_eq!(before, bytes.len() as u64);
            assert_eq!(decoder.finish().unwrap().unwrap().size, index.size());
        }
    }

    #[test]
    fn long_unknown_fields_are_not_kept() {
        let piece = vec![0; 1 << 20];
        // Field 5, and field 3 of another version and with no whole number of values: of 2^34
        // bytes.
        for (key, header) in [(0x2a, [0, 0]), (0x1a, [2, 8]), (0x1a, [1, 8])] {
            let mut decoder = Decoder::new(Digest::of(b"blob"));
            let start = [&[key, 0x80, 0x80, 0x80, 0x80, 0x40][..], &header].concat();
            decoder.push(&start, |_| panic!("no chunk")).unwrap();
            for _ in 0..64 {
                decoder.push(&piece, |_| panic!("no chunk")).unwrap();
                assert_eq!(decoder.pending.capacity(), 0);
            }
            let truncated = DecodeError::Framing { offset: 0, source: FramingError::Truncated };
            assert_eq!(decoder.finish(), Err(truncated));
        }
    }

    #[test]
    fn groups_nest_to_the_same_limit_as_in_the_whole() {
        let blob = Digest::of(b"blob");
        let nested = |depth| [vec![0x2b; depth], vec![0x2c; depth]].concat();
        let deepest = nested(MAX_NESTING);
        assert_eq!(in_pieces(blob, deepest.chunks(7)), Ok(None));
        let deeper = nested(MAX_NESTING + 1);
        let nesting = DecodeError::Framing { offset: 0, source: FramingError::Nesting };
        assert_eq!(whole(blob, &deeper), Err(nesting.clone()));
        assert_eq!(in_pieces(blob, deeper.chunks(7)), Err(nesting));
    }
}
