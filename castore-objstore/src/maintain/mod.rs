//! Operating a store: what is in it, whether it is right, and what can go.
//!
//! Everything in here works on a store that others write to meanwhile.

mod leftovers;
mod objects;
mod observer;
mod quarantine;
mod repair;
mod sample;
mod verify;
mod window;

pub use observer::{Observer, Progress};
pub use repair::{Outcome, RepairOptions, RepairReport};
pub use sample::Sample;
pub use verify::{
    Checkpoint, Finding, Problem, Verified, VerifyLevel, VerifyOptions, VerifyReport,
};
