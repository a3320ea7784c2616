//! Operating a store: what is in it, whether it is right, and what can go.
//!
//! Everything in here works on a store that others write to meanwhile.

mod gc;
mod objects;
mod observer;

pub(crate) use gc::Rules;
pub use gc::{Amount, GcOptions, GcReport, Roots};
pub use observer::{Observer, Progress};
