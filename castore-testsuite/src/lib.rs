//! A conformance suite for **castore**: a named test for every behaviour that [`BlobService`]
//! promises, for any implementation.
//!
//! - A [`Harness`] opens services over one storage. A closure is enough.
//! - [`conformance!`] expands to one `#[test]` per case, in nested modules such as
//!   `conformance::writer::drop_publishes_nothing`. The suite brings its own runtime and a time
//!   limit for each case.
//! - Optional groups of cases are requested by name, and each needs a hook in the harness: `tamper`
//!   ([`Tamper`]: stored data is damaged), `verified_ranges` ([`ReplaceIndex`]: indexes list other
//!   chunks than those of their blobs), `faults` ([`Faults`]: operations of the storage fail),
//!   `restart` ([`Restart`]: the storage crashes), and `faults_and_restart` ([`FaultsAndRestart`]),
//!   for a harness that has both of the latter.
//!
//! In the tests of a backend, with this crate as a dev-dependency:
//!
//! ```
//! use castore_core::MemoryBlobService;
//! use castore_testsuite::{Harness, conformance};
//!
//! /// Makes a storage that no other case uses. All services of one harness share it.
//! fn harness() -> impl Harness {
//!     let service = MemoryBlobService::new();
//!     move || service.clone()
//! }
//!
//! conformance!(harness());
//! # use castore_testsuite::{CONTRACT, TIME_LIMIT};
//! # for case in CONTRACT {
//! #     let result = case.run(std::sync::Arc::new(harness()), TIME_LIMIT);
//! #     assert_eq!(result, Ok(()), "{}", case.name());
//! # }
//! ```
//!
//! For other test runners, the cases are also available as lists: [`CONTRACT`], [`TAMPER`],
//! [`VERIFIED_RANGES`], [`FAULTS`], [`RESTART`] and [`FAULTS_AND_RESTART`].
//!
//! ```
//! use std::sync::Arc;
//!
//! use castore_core::MemoryBlobService;
//! use castore_testsuite::{CONTRACT, time_limit};
//!
//! for case in CONTRACT.iter().filter(|case| case.name().starts_with("writer::")) {
//!     let service = MemoryBlobService::new();
//!     let result = case.run(Arc::new(move || service.clone()), time_limit());
//!     assert_eq!(result, Ok(()), "{}", case.name());
//! }
//! ```
//!
//! - [The table of the contract](contract) names, for each sentence of it, the cases that test it.
//! - A case that takes longer than two minutes fails, and names the step at which it waits. The
//!   environment variable `CASTORE_TESTSUITE_TIME_LIMIT` sets another limit, in seconds: see
//!   [`time_limit`].
//! - Each case of the contract also runs in a tokio runtime of one thread, as `current_thread::…`.
//! - After the last case a [`Report`] lists, group by group, the cases that passed, failed and were
//!   left out.
//!
//! # Features
//!
//! None is on by default. With `bench`, `benchmarks!` measures a backend by the same harness, with
//! criterion.
//!
//! # Teeth
//!
//! The suite has tests of its own, in `tests/teeth`: services with one flaw each, and for each flaw
//! the cases that find it.
//!
//! [`BlobService`]: castore_core::BlobService

#![forbid(unsafe_code)]

#[cfg(feature = "bench")]
mod bench;
pub mod cases;
#[doc = include_str!("contract.md")]
pub mod contract {}
mod data;
mod harness;
mod list;
mod report;
mod run;
mod steps;

#[cfg(feature = "bench")]
pub use bench::bench;
#[cfg(feature = "bench")]
#[doc(hidden)]
pub use criterion as __criterion;
pub use harness::{
    Checks, Fault, Faults, FaultsAndRestart, Harness, Operation, ReplaceIndex, Restart, Tamper,
};
pub use list::{CONTRACT, FAULTS, FAULTS_AND_RESTART, RESTART, TAMPER, VERIFIED_RANGES};
pub use report::Report;
#[doc(hidden)]
pub use run::run;
pub use run::{Case, Failure, Runtime, TIME_LIMIT, time_limit};

/// The README's example is a test.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
