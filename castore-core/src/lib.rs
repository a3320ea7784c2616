//! The vocabulary of **castore**, content-addressed and deduplicating blob storage.
//!
//! A *blob* is a sequence of bytes, of any size, named by its BLAKE3 [`Digest`]. A service keeps it
//! as *chunks*, each named by its own digest, and a [`BlobIndex`] that lists them in order.
//!
//! - [`BlobService`] is the trait of a store. A backend implements four methods (`has`, `chunks`,
//!   `open_read`, `open_write`); the others have default implementations.
//! - [`BlobReader`] and [`BlobWriter`] stream one blob. This crate implements them once, over two
//!   small traits that a backend implements: [`BlobSource`] (a range of bytes as a stream) and
//!   [`BlobSink`] (take bytes, then publish).
//! - [`groups`] has the group hashes of a blob, which prove any part of it by itself.
//! - [`Error`] names the failed operation; [`ErrorKind`] tells the caller how to react.
//! - [`MemoryBlobService`] is the reference implementation, the one to read first.
//!
//! This crate knows no runtime, no object store, no compression and no file format; of tokio it
//! uses only the traits `AsyncRead`, `AsyncSeek` and `AsyncWrite`.
//!
//! Small blobs need one call each way:
//!
//! ```
//! use castore_core::{BlobService, Digest, MemoryBlobService};
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> castore_core::Result<()> {
//! let service = MemoryBlobService::new();
//! let digest = service.put_bytes("Hello World".into()).await?;
//! assert_eq!(digest, Digest::of(b"Hello World"));
//! assert_eq!(service.get_bytes(&digest, 1024).await?.expect("it is present"), "Hello World");
//! # Ok(())
//! # }
//! ```
//!
//! Large blobs are streamed:
//!
//! ```
//! use castore_core::{BlobService, Digest, MemoryBlobService};
//! use tokio::io::{AsyncReadExt, AsyncSeekExt, AsyncWriteExt};
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! # let service = MemoryBlobService::new();
//! let mut writer = service.open_write().await?;
//! writer.write_all(b"Hello World").await?;
//! let digest = writer.close().await?;
//! assert_eq!(digest, Digest::of(b"Hello World"));
//!
//! let mut reader = service.open_read(&digest).await?.expect("it was just written");
//! reader.seek(std::io::SeekFrom::Start(6)).await?;
//! let mut text = String::new();
//! reader.read_to_string(&mut text).await?;
//! assert_eq!(text, "World");
//! # Ok(())
//! # }
//! ```
//!
//! # Types of other crates in the public API
//!
//! Signatures name types of `bytes` 1 ([`Bytes`](bytes::Bytes)), `futures-core` 0.3 (the trait
//! `Stream`, in [`BoxStream`]), `tokio` 1 (the traits `AsyncRead`, `AsyncSeek` and `AsyncWrite`)
//! and `async-trait` 0.1 (in the expansion of the traits), because std has no counterpart. A new
//! major version of one of them is a new major version of this crate. Types of `blake3` do not
//! appear.

#![forbid(unsafe_code)]

mod checked;
mod digest;
mod error;
pub mod groups;
mod index;
mod memory;
mod piece;
mod reader;
mod service;
mod whole;
mod writer;

pub use digest::{Digest, ParseDigestError};
pub use error::{BlobMismatch, Error, ErrorKind, Result};
pub use index::{
    BlobIndex, ChunkMeta, IndexCheck, IndexError, Location, MAX_CHUNK_SIZE, MAX_CHUNKS,
};
pub use memory::MemoryBlobService;
pub use piece::Piece;
pub use reader::{BlobReader, BlobSource};
pub use service::{BlobService, BlobStat};
pub use writer::{BlobSink, BlobWriter};

/// A boxed stream that may move to another thread: the same type as `BoxStream` of the crate
/// `futures`.
pub type BoxStream<T> = futures_core::stream::BoxStream<'static, T>;

/// The README's example is a test.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
