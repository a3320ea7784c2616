//! Content-defined chunking for **castore**: decides at which positions a blob is cut into chunks.
//!
//! A *cut point* depends on the bytes around it and not on their offset, so blobs that share
//! content mostly share chunks. The algorithm is FastCDC as of 2020 with normalization level 1, and
//! the cut points are bit for bit those of `fastcdc::v2020::FastCDC`. They are part of the storage
//! format, because only equal cut points make equal chunks.
//!
//! - [`ChunkParams`] are the minimum, average and maximum chunk size, checked.
//! - [`cut_points()`] cuts a whole blob that is in memory.
//! - [`cut_points_parallel()`] does that on several threads.
//! - [`Cutter`] cuts a blob that arrives piece by piece, and copies no chunk that lies within one
//!   piece.
//! - [`Kernel`] names the implementations of the search for cut points, to compare them.
//!
//! This crate is pure computation: it knows no digest, no I/O and no runtime.
//!
//! ```
//! use bytes::Bytes;
//! use castore_chunker::{ChunkParams, Cutter, cut_points};
//!
//! let text: String = (0..100_000).map(|number| format!("{number}\n")).collect();
//! let blob = Bytes::from(text);
//! let params = ChunkParams::with_average(16 * 1024)?;
//!
//! let mut chunks = Vec::new();
//! let mut cutter = Cutter::new(params);
//! for start in (0..blob.len()).step_by(1000) {
//!     let piece = blob.slice(start..blob.len().min(start + 1000));
//!     cutter.push(piece, |chunk| chunks.push(chunk));
//! }
//! chunks.extend(cutter.finish());
//!
//! assert!(chunks.len() > 10);
//! assert_eq!(chunks.concat(), blob);
//! assert!(chunks.iter().eq(cut_points(&blob, params).map(|range| &blob[range])));
//! # Ok::<(), castore_chunker::ParamsError>(())
//! ```

mod cut_points;
mod cutter;
mod gear;
mod kernel;
mod parallel;
mod params;
mod rope;
mod scanner;

pub use cut_points::{CutPoints, cut_points};
pub use cutter::Cutter;
pub use kernel::Kernel;
pub use parallel::cut_points_parallel;
pub use params::{ChunkParams, Normalization, ParamsError};

/// The README's example is a test.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
