//! The content of an index object of a castore store: a [`BlobIndex`] as a protobuf message.
//!
//! - [`encode`] returns the one canonical encoding of an index;
//! - [`decode`] takes an index object from any writer, and returns a valid index or a
//!   [`DecodeError`] that says what is wrong and where. `decode` never panics, and the memory that
//!   it takes is bounded by the index that it returns and by one entry of the input, not by the
//!   sizes that the input claims;
//! - [`decode_entries`] takes an index object whose group hashes may be damaged;
//! - [`Decoder`] takes the same bytes piece by piece, and returns the chunks one by one: for an
//!   index that is too large to be held in memory;
//! - [`MAX_INDEX_SIZE`] bounds what a reader has to fetch.
//!
//! FORMAT.md in the repository specifies the bytes.
//!
//! ```
//! use castore_core::{BlobIndex, ChunkMeta, Digest};
//! use castore_proto::{DecodeError, decode, encode};
//!
//! let blob = Digest::of(b"Hello World");
//! let index = BlobIndex::new(blob, [ChunkMeta { digest: blob, size: 11 }])?;
//! let stored = encode(&index);
//! assert_eq!(stored.len(), 38);
//! assert_eq!(decode(&blob, &stored)?, Some(index));
//!
//! // Some writers leave out the entry of a blob of one chunk: only the chunk tells its size.
//! assert_eq!(decode(&blob, b"")?, None);
//! assert_eq!(decode(&Digest::EMPTY, b"")?, Some(BlobIndex::empty()));
//!
//! let truncated = decode(&blob, &stored[..37]);
//! assert!(matches!(truncated, Err(DecodeError::Framing { offset: 0, .. })));
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! [`BlobIndex`]: castore_core::BlobIndex

#![forbid(unsafe_code)]

mod decode;
mod decoder;
mod encode;
mod error;
mod frame;
mod generated;
mod groups;

pub use decode::{decode, decode_entries};
pub use decoder::{Decoded, Decoder, ListedChunk, ListedGroups};
pub use encode::{MAX_INDEX_SIZE, encode};
pub use error::{DecodeError, EntryError, FramingError};

/// The README's example is a test.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
