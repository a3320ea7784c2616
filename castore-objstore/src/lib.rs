//! Deduplicating blob storage over any object store: the backend of **castore**.
//!
//! [`ObjectStoreBlobService`] keeps blobs in any store that the `object_store` crate reaches:
//! memory, a directory, S3 and its kin, GCS, Azure, WebDAV. A writer cuts a blob into
//! content-defined chunks, compresses each new chunk and stores it under its digest. The writer
//! stores an index of the chunks last; the index makes the blob present.
//!
//! - [`parse_url()`] and [`parse_url_opts()`] turn a URL into a [`Builder`]; so do
//!   [`ObjectStoreBlobService::local`] and, for any store of your own,
//!   [`ObjectStoreBlobService::builder`].
//! - The service implements [`BlobService`](castore_core::BlobService), finds blobs by a prefix of
//!   their digest, and counts its work ([`Stats`], [`metrics`]).
//! - The service also operates a store: one method and one module for each of
//!   [`verify`](ObjectStoreBlobService::verify), [`repair`](ObjectStoreBlobService::repair),
//!   garbage collection ([`gc`](ObjectStoreBlobService::gc)), copies to another store
//!   ([`copy_to`](ObjectStoreBlobService::copy_to)) and a summary of the contents
//!   ([`usage`](ObjectStoreBlobService::usage)). Each operation takes options and an [`Observer`].
//! - The module [`doctor`] examines whether a bucket, a directory or any `ObjectStore` keeps the
//!   promises that these operations rely on.
//! - The module `blocking` (with the feature of that name) is a synchronous facade.
//!
//! One writer keeps every core and many requests busy, and so does one reader. Memory and requests
//! are bounded for the whole service, however many writers and readers are open
//! ([`Builder::memory`], [`Builder::requests`]). The service trusts no stored byte: a reader
//! decompresses each chunk into bounded memory and verifies the chunk before it hands out a byte of
//! it.
//!
//! ```
//! use castore_core::{BlobService, Digest};
//! use castore_objstore::parse_url;
//! use tokio::io::{AsyncReadExt, AsyncWriteExt};
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! // "s3://bucket/base" with the feature `aws`, "/var/lib/castore", ...
//! let service = parse_url("memory:")?.build()?;
//!
//! let data: Vec<u8> = (0..1_000_000_u32).flat_map(u32::to_le_bytes).collect();
//! for _ in 0..2 {
//!     let mut writer = service.open_write().await?;
//!     writer.write_all(&data).await?;
//!     assert_eq!(writer.close().await?, Digest::of(&data));
//! }
//! let stats = service.stats();
//! assert_eq!(stats.bytes_new, 4_000_000);
//! assert_eq!(stats.chunks_reused, stats.chunks_new);
//!
//! let reader = service.open_read(&Digest::of(&data)).await?.expect("it was just written");
//! let mut read = Vec::new();
//! reader.take(4_000_000).read_to_end(&mut read).await?;
//! assert_eq!(read, data);
//! # Ok(())
//! # }
//! ```
//!
//! # Features
//!
//! | feature | adds |
//! |---|---|
//! | `aws` | `s3://` and S3-compatible stores |
//! | `gcp` | `gs://` |
//! | `azure` | `az://`, `abfs://` |
//! | `http` | WebDAV, `http://` and `https://` |
//! | `blocking` | the module `blocking` |
//! | `test-util` | support for tests on tokio's paused clock; not for production |
//!
//! # Types of other crates in the public API
//!
//! Signatures name types of castore-core and castore-chunker, `bytes` 1, `futures-core` 0.3
//! (`Stream`), and of `object_store` 0.14: the trait `ObjectStore`, which
//! [`ObjectStoreBlobService::builder`] and [`doctor::Doctor::of_store`] take, because the caller's
//! own store implements it. A new major version of one of these crates is a new major version of
//! this crate. An error of `object_store` appears as the [`source`](std::error::Error::source) of
//! an error, for logs only: [`ErrorKind`](castore_core::ErrorKind) carries the meaning.

#![forbid(unsafe_code)]

#[cfg(feature = "blocking")]
pub mod blocking;
mod builder;
mod error;
mod exec;
mod maintain;
mod objects;
mod read;
mod redact;
mod service;
mod store;
mod url;
mod write;

pub use builder::{
    Builder, DEFAULT_MEMORY, DEFAULT_REQUESTS, DEFAULT_RETRY_TIMEOUT, DEFAULT_ZSTD_LEVEL,
};
pub use castore_chunker::ChunkParams;
pub use maintain::{Observer, Progress, copy, diff, doctor, gc, repair, usage, verify};
pub use objects::metrics;
pub use objects::stats::Stats;
pub use redact::redact_url;
pub use service::ObjectStoreBlobService;
pub use store::Verify;
pub use store::recheck::DEFAULT_GRACE;
pub use store::trash::StoredChunk;
pub use url::{local_path, parse_url, parse_url_opts, units};

/// The examples of both READMEs are tests.
#[cfg(doctest)]
#[doc = include_str!("../../README.md")]
#[doc = include_str!("../README.md")]
struct Readme;
