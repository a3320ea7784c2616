//! The vocabulary of **castore**, content-addressed and deduplicating blob storage.
//!
//! A *blob* is a sequence of bytes, of any size, named by its BLAKE3 [`Digest`]. A service keeps it
//! as *chunks*, each named by its own digest, and a [`BlobIndex`] that lists them in order.
//!
//! - [`BlobService`] is the trait of a store: `has`, `chunks`, `open_read`, `open_write`.
//! - [`BlobReader`] and [`BlobWriter`] are what it hands out. They are written once, here, over two
//!   small traits that a backend implements: [`BlobSource`] (a range of bytes as a stream) and
//!   [`BlobSink`] (take bytes, then publish).
//! - [`Error`] says what the caller should make of a failure: [`ErrorKind`].
//! - [`MemoryBlobService`] is the reference implementation, the one to read first.
//!
//! This crate knows no runtime, no object store, no compression and no file format; of tokio it
//! uses only the traits `AsyncRead`, `AsyncSeek` and `AsyncWrite`.
//!
//! ```
//! use castore_core::{BlobService, Digest, MemoryBlobService};
//! use tokio::io::{AsyncReadExt, AsyncSeekExt, AsyncWriteExt};
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let service = MemoryBlobService::new();
//!
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

#![forbid(unsafe_code)]

mod checked;
mod digest;
mod error;
mod index;
mod memory;
mod piece;
mod reader;
mod service;
mod writer;

pub use digest::{Digest, ParseDigestError};
pub use error::{Error, ErrorKind, Result};
pub use index::{
    BlobIndex, ChunkMeta, IndexCheck, IndexError, Location, MAX_CHUNK_SIZE, MAX_CHUNKS,
};
pub use memory::MemoryBlobService;
pub use piece::Piece;
pub use reader::{BlobReader, BlobSource};
pub use service::BlobService;
pub use writer::{BlobSink, BlobWriter};

/// The README's example is a test.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
