//! Decodes the bytes that a store holds as an index.

use castore_core::{BlobIndex, ChunkMeta, Digest, IndexError};
use prost::Message as _;

use crate::error::{DecodeError, EntryError};
use crate::frame::{Fields, Known};
use crate::generated::Entry;
use crate::groups;

/// The index of the blob `digest`, from its encoding `bytes` in a store.
///
/// `None` stands for a blob of one chunk that has the digest of the blob: some writers then list no
/// chunk, and only the chunk tells its size. The result is also `None` if no such chunk exists;
/// only the store can tell.
///
/// The index carries the group hashes that the bytes have. Unknown fields are skipped, and so are
/// group hashes of another version.
///
/// # Errors
/// Fails if the bytes are not such a message, if the listed chunks break a rule of [`BlobIndex`],
/// or if the group hashes are not those of the blob. The first wrong entry ends the decoding.
pub fn decode(digest: &Digest, bytes: &[u8]) -> Result<Option<BlobIndex>, DecodeError> {
    let mut chunks = Chunks::new(bytes);
    match chunks.index(digest, |_| true)? {
        Some(index) => groups::decoded(index, chunks.groups).map(Some),
        None => Ok(None),
    }
}

/// The index of the blob `digest` without its group hashes, from an encoding whose list of group
/// hashes may be damaged: for a repair, which reads the chunks and compares them with `digest`.
///
/// `None` has the same meaning as with [`decode`]. The list and all bytes from the first malformed
/// field after its beginning on are ignored: so a list that is wrong, cut short, or of a wrong
/// length does no harm to the entries before the list.
///
/// # Errors
/// Fails if an entry before the list is malformed, or if the entries break a rule of
/// [`BlobIndex`].
///
/// ```
/// use castore_core::groups::GroupHashes;
/// use castore_core::{BlobIndex, ChunkMeta, Digest};
/// use castore_proto::{DecodeError, decode, decode_entries, encode};
///
/// let data = vec![7; 300_000];
/// let blob = Digest::of(&data);
/// let index = BlobIndex::new(blob, [ChunkMeta { digest: blob, size: 300_000 }])?;
/// let mut stored = encode(&index.clone().with_groups(GroupHashes::of(&data))?).to_vec();
/// *stored.last_mut().unwrap() ^= 1;
/// assert!(matches!(decode(&blob, &stored), Err(DecodeError::Groups(_))));
/// assert_eq!(decode_entries(&blob, &stored)?, Some(index));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub fn decode_entries(digest: &Digest, bytes: &[u8]) -> Result<Option<BlobIndex>, DecodeError> {
    Chunks::new(bytes).index(digest, |chunks| !chunks.has_begun_list())
}

/// The listed chunks, decoded one at a time.
struct Chunks<'a> {
    fields: Fields<'a>,
    /// The number of entries decoded so far.
    number: usize,
    entry: EntryDecoder,
    /// The last list of group hashes so far.
    groups: Option<&'a [u8]>,
}

impl<'a> Chunks<'a> {
    fn new(bytes: &'a [u8]) -> Chunks<'a> {
        let (fields, entry) = (Fields::new(bytes), EntryDecoder::default());
        Chunks { fields, number: 0, entry, groups: None }
    }

    /// The index of the blob `digest` without group hashes; `None` without entries. A malformed
    /// field ends the entries, and is an error if `is_failure` says so.
    fn index(
        &mut self,
        digest: &Digest,
        is_failure: impl Fn(&Self) -> bool,
    ) -> Result<Option<BlobIndex>, DecodeError> {
        let mut failure = None;
        let valid = std::iter::from_fn(|| {
            let next = self.next();
            next.unwrap_or_else(|error| {
                failure = Some(error).filter(|_| is_failure(self));
                None
            })
        });
        let index = BlobIndex::new(*digest, valid);
        match (failure, index) {
            (Some(error), _) => Err(error),
            (None, Ok(index)) => Ok(Some(index)),
            (None, Err(IndexError::NoChunks)) => Ok(None),
            (None, Err(error)) => Err(DecodeError::Index(error)),
        }
    }

    /// Whether a list of group hashes begins before the last field that was decoded or failed, or
    /// with it.
    fn has_begun_list(&self) -> bool {
        self.groups.is_some() || self.fields.is_at_list()
    }

    fn next(&mut self) -> Result<Option<ChunkMeta>, DecodeError> {
        loop {
            let field = self.fields.next_known();
            let field =
                field.map_err(|(offset, source)| DecodeError::Framing { offset, source })?;
            match field {
                Some(Known::Entry(bytes)) => {
                    let number = self.number;
                    self.number += 1;
                    return self.entry.decode(bytes, number).map(Some);
                }
                Some(Known::Groups(bytes)) => self.groups = Some(bytes),
                None => return Ok(None),
            }
        }
    }
}

/// Decodes one entry at a time.
#[derive(Debug, Default)]
pub(crate) struct EntryDecoder {
    /// Kept only to reuse its allocation.
    entry: Entry,
}

impl EntryDecoder {
    /// The chunk that the entry at position `number` lists.
    pub(crate) fn decode(&mut self, bytes: &[u8], number: usize) -> Result<ChunkMeta, DecodeError> {
        self.entry.clear();
        self.entry
            .merge(bytes)
            .map_err(|error| DecodeError::Entry { number, source: EntryError(error) })?;
        let digest =
            self.entry.digest.as_slice().try_into().map_err(|_| DecodeError::DigestLength {
                number,
                length: self.entry.digest.len(),
            })?;
        Ok(ChunkMeta { digest: Digest::from_bytes(digest), size: self.entry.size })
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use castore_core::groups::GroupHashes;
    use proptest::prelude::*;
    use proptest::test_runner::RngSeed;

    use super::*;
    use crate::encode;
    use crate::generated::Index;

    /// The part of the message that the decoder reads: prost would check the type of field 3.
    #[derive(Clone, PartialEq, prost::Message)]
    struct Listed {
        #[prost(message, repeated, tag = "2")]
        chunks: Vec<Entry>,
    }

    fn blob() -> Digest {
        Digest::of(b"blob")
    }

    fn entries(index: &BlobIndex) -> Vec<Entry> {
        let entry =
            |chunk: ChunkMeta| Entry { digest: chunk.digest.as_bytes().to_vec(), size: chunk.size };
        index.iter().map(entry).collect()
    }

    #[test]
    fn the_encoding_is_that_of_prost() {
        let chunk = |name: &str, size| ChunkMeta { digest: Digest::of(name.as_bytes()), size };
        let chunks = [chunk("a", 1), chunk("b", 127), chunk("c", 128), chunk("d", 1 << 24)];
        let index = BlobIndex::new(blob(), chunks).unwrap();
        let message = Index { chunks: entries(&index), bao: Vec::new() };
        assert_eq!(encode(&index), message.encode_to_vec());
    }

    /// A decoder of the message that ignores field 3 reads the same chunks.
    #[test]
    fn the_encoding_with_group_hashes_is_that_of_prost() {
        let bytes = [7; 300_000];
        let chunks = bytes.chunks(100_000);
        let chunks = chunks.map(|chunk| ChunkMeta { digest: Digest::of(chunk), size: 100_000 });
        let groups = GroupHashes::of(&bytes);
        let bao = [&[1, 8][..], groups.values().as_flattened()].concat();
        let index = BlobIndex::new(groups.digest(), chunks).unwrap().with_groups(groups).unwrap();
        let message = Index { chunks: entries(&index), bao };
        assert_eq!(encode(&index), message.encode_to_vec());
        assert_eq!(decode(&index.digest(), &encode(&index)), Ok(Some(index.clone())));
        let listed = Listed::decode(encode(&index)).unwrap();
        assert_eq!(listed.chunks, entries(&index));
    }

    /// An index of 400 KiB of `bytes`, with the list of group hashes at the end of its encoding.
    fn with_list() -> (BlobIndex, Vec<u8>, usize) {
        let bytes = vec![7; 400_000];
        let chunks = bytes.chunks(100_000);
        let chunks = chunks.map(|chunk| ChunkMeta { digest: Digest::of(chunk), size: 100_000 });
        let groups = GroupHashes::of(&bytes);
        let plain = BlobIndex::new(groups.digest(), chunks).unwrap();
        let encoded = encode(&plain.clone().with_groups(groups).unwrap()).to_vec();
        let list = encode(&plain).len();
        (plain, encoded, list)
    }

    #[test]
    fn entries_survive_any_damage_of_the_list() {
        let (plain, encoded, list) = with_list();
        let digest = plain.digest();
        assert_eq!(decode_entries(&digest, &encoded), Ok(Some(plain.clone())));
        for end in list..encoded.len() {
            assert_eq!(decode_entries(&digest, &encoded[..end]), Ok(Some(plain.clone())), "{end}");
        }
        // All bits but those of the key, which say that the field is the list.
        for bit in 8 * (list + 1)..8 * encoded.len() {
            let mut damaged = encoded.clone();
            damaged[bit / 8] ^= 1 << (bit % 8);
            let found = decode_entries(&digest, &damaged);
            // A shorter list is followed by bytes that may seem to be an entry.
            let seems_entry =
                found.is_err() || found.as_ref().is_ok_and(|i| *i != Some(plain.clone()));
            assert!(!seems_entry, "bit {bit}: {found:?}");
        }
    }

    #[test]
    fn damage_before_the_list_is_an_error() {
        let (plain, encoded, list) = with_list();
        let digest = plain.digest();
        for end in [1, 30, list - 1] {
            let cut = decode_entries(&digest, &encoded[..end]);
            assert!(matches!(cut, Err(DecodeError::Framing { .. })), "{cut:?}");
        }
        // The wire type of the second entry.
        let mut damaged = encoded.clone();
        damaged[list / 4] ^= 1;
        assert!(decode_entries(&digest, &damaged).is_err());
        assert_eq!(decode_entries(&digest, b""), Ok(None));
        assert_eq!(decode_entries(&Digest::EMPTY, b""), Ok(Some(BlobIndex::empty())));
    }

    /// A field, mostly an entry, sometimes with a wrong length or of another type.
    pub(crate) fn field() -> impl Strategy<Value = Vec<u8>> {
        let entry = (any::<[u8; 32]>(), 1..300u64).prop_map(|(digest, size)| {
            let entry = Entry { digest: digest.to_vec(), size };
            [vec![0x12], entry.encode_length_delimited_to_vec()].concat()
        });
        let noise = proptest::collection::vec(0..=32u8, 0..6);
        prop_oneof![8 => entry, 1 => noise]
    }

    proptest! {
        #![proptest_config(ProptestConfig {
            cases: 4000,
            rng_seed: RngSeed::Fixed(1),
            failure_persistence: None,
            ..ProptestConfig::default()
        })]

        #[test]
        fn prost_decodes_the_same(
            fields in proptest::collection::vec(field(), 0..8),
            flip in proptest::option::of((any::<prop::sample::Index>(), 0..8u8)),
        ) {
            let mut bytes = fields.concat();
            if let (Some((at, bit)), false) = (flip, bytes.is_empty()) {
                let at = at.index(bytes.len());
                bytes[at] ^= 1 << bit;
            }
            let whole = Listed::decode(bytes.as_slice());
            match decode(&blob(), &bytes) {
                Ok(index) => {
                    let entries = index.map(|index| entries(&index)).unwrap_or_default();
                    prop_assert_eq!(whole, Ok(Listed { chunks: entries }));
                }
                Err(DecodeError::Framing { .. } | DecodeError::Entry { .. }) => {
                    prop_assert!(whole.is_err(), "{:?}", whole);
                }
                // These errors do not concern protobuf, and the decoder may not read the rest.
                Err(
                    DecodeError::DigestLength { .. }
                    | DecodeError::Index(_)
                    | DecodeError::GroupsLength { .. }
                    | DecodeError::Groups(_),
                ) => {}
            }
        }
    }
}
