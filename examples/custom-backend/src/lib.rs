//! A **castore** backend on [redb], an embedded database: all blobs in one file.
//!
//! This is an example to read and copy; `README.md` beside it is the guide that walks through it.
//! Still it is a real backend, and passes the whole of `castore-testsuite`.
//!
//! - [`RedbBlobService`] is the service. [`Storage`] below it is the database, reopened whenever
//!   redb requires that.
//! - The table [`CHUNKS`] holds each chunk once, by digest. [`BLOBS`] holds an index for each blob,
//!   which lists the blob's chunks and is written last.
//! - [`write::Sink`] writes a blob, and [`read::Source`] reads one.
//!
//! An interrupted put leaves chunks behind that no index lists. They take up room, do no harm, and
//! are reused when the blob is stored again.
//!
//! ```
//! use castore_core::{BlobService, Digest};
//! use custom_backend::RedbBlobService;
//! use tokio::io::{AsyncReadExt, AsyncWriteExt};
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let directory = tempfile::tempdir()?;
//! let service = RedbBlobService::open(directory.path().join("blobs.redb")).await?;
//!
//! let mut writer = service.open_write().await?;
//! writer.write_all(b"Hello World").await?;
//! let digest = writer.close().await?;
//! assert_eq!(digest, Digest::of(b"Hello World"));
//!
//! let mut reader = service.open_read(&digest).await?.expect("it was just written");
//! let mut text = String::new();
//! reader.read_to_string(&mut text).await?;
//! assert_eq!(text, "Hello World");
//! # Ok(())
//! # }
//! ```
//!
//! [redb]: https://docs.rs/redb

mod error;
// Your own backend need not export these modules: here they are public for readers of the guide.
pub mod read;
mod service;
mod storage;
pub mod write;

pub use service::RedbBlobService;
pub use storage::{BLOBS, CHUNKS, Storage, Table};

/// The snippets of the guide, compiled and run.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Guide;
