//! Deduplicating blob storage over any object store: the backend of **castore**.
//!
//! [`ObjectStoreBlobService`] keeps blobs in whatever the `object_store` crate reaches: memory, a
//! directory, S3 and its kin, GCS, Azure, WebDAV. A blob is cut into content-defined chunks; each
//! chunk that is not there yet is compressed and stored under its digest; an index that lists them
//! is stored last, and makes the blob exist.
//!
//! - [`parse_url()`] and [`parse_url_opts()`] turn a URL into a [`Builder`]; so do
//!   [`ObjectStoreBlobService::local`] and, for any store of your own,
//!   [`ObjectStoreBlobService::builder`].
//! - The service is a [`BlobService`](castore_core::BlobService); besides, it lists, finds and
//!   removes blobs, and counts what it does ([`Stats`]).
//! - It also is what a store is operated with: it verifies and repairs
//!   ([`verify`](ObjectStoreBlobService::verify), [`repair`](ObjectStoreBlobService::repair)), collects
//!   garbage ([`gc`](ObjectStoreBlobService::gc)), copies to another store
//!   ([`copy_to`](ObjectStoreBlobService::copy_to)), and says what is there
//!   ([`usage`](ObjectStoreBlobService::usage)).
//! - The module [`doctor`] finds out whether a bucket, a directory or any `ObjectStore` does what all
//!   this relies on.
//!
//! One writer keeps every core and many requests busy, and so does one reader. Memory and requests
//! are bounded for the whole service, however many writers and readers there are
//! ([`Builder::memory`], [`Builder::requests`]). Nothing that is stored is trusted: chunks are
//! decompressed into bounded memory and verified before a byte of them is handed out.
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
//! None is on by default. Memory and directories are always there.
//!
//! - `aws`: S3 and its kin, `s3://BUCKET/BASE`.
//! - `gcp`: Google Cloud Storage, `gs://BUCKET/BASE`.
//! - `azure`: Azure, `az://CONTAINER/BASE`.
//! - `http`: WebDAV, `http://HOST/BASE` and `https://HOST/BASE`.
//! - `test-util`: for tests on tokio's paused clock, which stands still while the service's threads work.

#![forbid(unsafe_code)]

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
pub use maintain::doctor;
pub use maintain::{
    Amount, BlobCopy, Checkpoint, CopiedBlob, CopyOptions, CopyOutcome, Difference, Estimate,
    EstimateLine, Extent, Finding, GcOptions, GcRefusal, GcReport, Histogram, Observer, Outcome,
    Prices, Problem, Progress, RepairOptions, RepairReport, Roots, Sample, SizeClass, Usage,
    Verified, VerifyLevel, VerifyOptions, VerifyReport,
};
pub use objects::stats::Stats;
pub use redact::redact_url;
pub use service::ObjectStoreBlobService;
pub use store::recheck::DEFAULT_GRACE;
pub use store::trash::StoredChunk;
pub use url::{local_path, parse_url, parse_url_opts};

/// The examples of both READMEs are tests.
#[cfg(doctest)]
#[doc = include_str!("../../README.md")]
#[doc = include_str!("../README.md")]
struct Readme;
