//! A conformance suite for **castore**: every behaviour that [`BlobService`] promises, as a test of
//! its own name, for any implementation.
//!
//! - A [`Harness`] opens services over one storage; a closure will do.
//! - [`conformance!`] expands to one `#[test]` per case, in nested modules such as
//!   `conformance::writer::drop_publishes_nothing`. The suite brings its own runtime, and a time
//!   limit for each case.
//! - [`cases`] holds the cases themselves: plain async functions over a harness, which panic where
//!   the service breaks its promise.
//!
//! In the tests of a backend, with this crate as a dev-dependency:
//!
//! ```
//! use castore_core::MemoryBlobService;
//! use castore_testsuite::{Harness, conformance};
//!
//! /// Storage that no other case uses; a service that is opened again sees it again.
//! fn harness() -> impl Harness {
//!     let service = MemoryBlobService::new();
//!     move || service.clone()
//! }
//!
//! conformance!(harness());
//!
//! // Or a case by itself:
//! castore_testsuite::run(harness(), castore_testsuite::cases::writer::digest_is_blake3);
//! assert!(castore_testsuite::CASES.len() >= 20);
//! ```
//!
//! [`BlobService`]: castore_core::BlobService

pub mod cases;
mod data;
mod harness;
mod list;
mod run;

pub use harness::Harness;
pub use list::CASES;
pub use run::{TIME_LIMIT, run};
