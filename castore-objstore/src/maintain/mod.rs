//! Operations on a store: collecting garbage, verification, repair, copies, usage and diagnosis.
//!
//! Every operation works on a store that others write to meanwhile.

mod copy;
mod diff;
pub mod doctor;
mod gc;
mod observer;
mod repair;
mod sample;
mod usage;
mod verify;

pub use copy::{BlobCopy, CopiedBlob, CopyOptions, CopyOutcome};
pub use diff::{Difference, Extent};
pub use gc::{Amount, GcOptions, GcRefusal, GcReport, Roots};
pub(crate) use gc::{CLOCK_ERROR, LOOK_LASTS};
pub use observer::{Observer, Progress};
pub use repair::{Outcome, RepairOptions, RepairReport};
pub use sample::Sample;
pub use usage::{Estimate, EstimateLine, Histogram, Prices, SizeClass, Usage};
pub use verify::{
    Checkpoint, Finding, Problem, Verified, VerifyLevel, VerifyOptions, VerifyReport,
};
