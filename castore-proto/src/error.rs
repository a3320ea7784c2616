//! The reasons why stored bytes are not an index.

use castore_core::IndexError;
use castore_core::groups::GroupsError;

/// The reason why stored bytes are not the index of a blob.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum DecodeError {
    /// The bytes are not a sequence of protobuf fields.
    #[error("the field at byte {offset} is malformed")]
    Framing {
        /// The offset at which the field starts, in bytes.
        offset: usize,
        /// The reason.
        #[source]
        source: FramingError,
    },
    /// An entry of the list of chunks is not a protobuf message of the right fields.
    #[error("chunk {number} is malformed")]
    Entry {
        /// The position of the entry, from 0.
        number: usize,
        /// The reason.
        #[source]
        source: EntryError,
    },
    /// The digest of an entry is not 32 bytes long.
    #[error("chunk {number} is listed with a digest of {length} bytes instead of 32")]
    DigestLength {
        /// The position of the entry, from 0.
        number: usize,
        /// The length of its digest in bytes; 0 if the entry has none.
        length: usize,
    },
    /// The entries are well formed, but they are not an index of the blob.
    #[error("the listed chunks do not make an index of this blob")]
    Index(#[source] IndexError),
    /// The list of group hashes ends within a value of 32 bytes.
    #[error("the group hashes have {length} bytes, which is no multiple of 32")]
    GroupsLength {
        /// The length of all values in bytes.
        length: u64,
    },
    /// The list of group hashes is not that of the blob.
    #[error("the group hashes do not match the blob")]
    Groups(#[source] GroupsError),
}

/// The reason why some bytes are not a protobuf field.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum FramingError {
    /// The bytes end before the field does.
    #[error("it is cut short")]
    Truncated,
    /// A variable-length number has more than 64 bits.
    #[error("a number in it has more than 64 bits")]
    Varint,
    /// The field number is 0, or larger than protobuf allows.
    #[error("its field number is not valid")]
    FieldNumber,
    /// The wire type does not exist, or is not the one that the field must have.
    #[error("its wire type is {0}")]
    WireType(u8),
    /// A group ends that did not begin, or that is not the innermost one.
    #[error("a group ends that did not begin")]
    GroupEnd,
    /// Groups are nested too deeply.
    #[error("groups in it are nested too deeply")]
    Nesting,
}

/// The reason why the message of one entry is malformed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(transparent)]
pub struct EntryError(pub(crate) prost::DecodeError);
