//! Operating a store: what is in it, whether it is right, and what can go.
//!
//! Everything in here works on a store that others write to meanwhile.

mod copy;
mod difference;
mod gc;
mod leftovers;
mod objects;
mod observer;
mod quarantine;
mod repair;
mod sample;
mod usage;
mod verify;
mod window;

pub use copy::{BlobCopy, CopiedBlob, CopyOptions, CopyOutcome};
pub use difference::{Difference, Extent};
pub(crate) use gc::Rules;
pub use gc::{Amount, GcOptions, GcReport, Roots};
pub use observer::{Observer, Progress};
pub use repair::{Outcome, RepairOptions, RepairReport};
pub use sample::Sample;
pub use usage::{Estimate, EstimateLine, Histogram, Prices, SizeClass, Usage};
pub use verify::{
    Checkpoint, Finding, Problem, Verified, VerifyLevel, VerifyOptions, VerifyReport,
};
