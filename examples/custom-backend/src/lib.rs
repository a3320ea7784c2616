//! A **castore** backend on [redb], an embedded database: all blobs in one file.
//!
//! It is an example, to be read and copied; `README.md` beside it is the guide that walks through
//! it. It is a real backend all the same, and passes the whole of `castore-testsuite`.
//!
//! - [`RedbBlobService`] is the service, over a [`Storage`]: the database, opened anew where redb
//!   asks for that.
//! - Its table [`CHUNKS`] holds the chunks by digest, each once. [`BLOBS`] holds an index for each
//!   blob, which lists its chunks and is written last.
//! - [`write::Sink`] is what writes a blob, [`read::Source`] what reads one.
//!
//! A put that was interrupted leaves chunks behind that no index lists. They take up room, do no
//! harm, and are reused when the blob is stored again.
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
// Your own backend need not show these: here they are public to be read, and used by the guide.
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
