//! Operations on a store: collecting garbage, verification, repair, copies, usage and diagnosis.
//!
//! Every operation works on a store that others write to meanwhile.

pub mod copy;
pub mod diff;
pub mod doctor;
pub mod gc;
mod observer;
pub mod repair;
mod sample;
pub mod usage;
pub mod verify;

pub(crate) use gc::{CLOCK_ERROR, LOOK_LASTS};
pub use observer::{Observer, Progress};
