//! The list of group hashes in an index: its encoding, and how it is recognised.

use castore_core::groups::{ChainingValue, GROUP_SIZE, GroupHashes, GroupPager};
use castore_core::{BlobIndex, Digest};

use crate::decoder::ListedGroups;
use crate::error::DecodeError;

/// The bytes before the values: the version of the list, and the size of a group as a power of two
/// of 1024 bytes. A list that begins otherwise is of another version, and is skipped.
pub(crate) const HEADER: [u8; 2] = [1, 8];

const _: () = assert!(GROUP_SIZE == 1024 << HEADER[1]);

/// The size of a value in bytes.
pub(crate) const VALUE_SIZE: usize = size_of::<ChainingValue>();

/// `index` with the group hashes of `field`, the content of the field if there is one.
pub(crate) fn decoded(index: BlobIndex, field: Option<&[u8]>) -> Result<BlobIndex, DecodeError> {
    let Some(values) = field.and_then(|field| field.strip_prefix(&HEADER)) else {
        return Ok(index);
    };
    let (values, rest) = values.as_chunks::<VALUE_SIZE>();
    if !rest.is_empty() {
        let length = (values.len() * VALUE_SIZE + rest.len()) as u64;
        return Err(DecodeError::GroupsLength { length });
    }
    let groups = GroupHashes::new(index.digest(), index.size(), values.to_vec());
    groups.and_then(|groups| index.with_groups(groups)).map_err(DecodeError::Groups)
}

/// A list of group hashes of which the values come one by one.
#[derive(Debug, Default)]
pub(crate) enum GroupsDecoder {
    /// There is no list, or one of another version.
    #[default]
    Absent,
    Listed {
        pager: GroupPager,
        /// The offset of the first value, in bytes from the start of the index.
        start: u64,
    },
    /// The values have so many bytes, which are no whole number of values.
    WrongLength(u64),
}

impl GroupsDecoder {
    /// Begins a list: its first bytes, of which there are two if the list is long enough, the
    /// offset after them, and the number of bytes that follow.
    pub(crate) fn begin(header: &[u8], start: u64, rest: u64) -> GroupsDecoder {
        if header != HEADER {
            GroupsDecoder::Absent
        } else if rest.is_multiple_of(VALUE_SIZE as u64) {
            GroupsDecoder::Listed { pager: GroupPager::new(), start }
        } else {
            GroupsDecoder::WrongLength(rest)
        }
    }

    /// The list of the blob `digest` of `size` bytes.
    pub(crate) fn finish(
        self,
        digest: Digest,
        size: u64,
    ) -> Result<Option<ListedGroups>, DecodeError> {
        match self {
            GroupsDecoder::Absent => Ok(None),
            GroupsDecoder::Listed { pager, start } => {
                let pages = pager.finish(digest, size).map_err(DecodeError::Groups)?;
                Ok(Some(ListedGroups { pages, start }))
            }
            GroupsDecoder::WrongLength(length) => Err(DecodeError::GroupsLength { length }),
        }
    }
}
