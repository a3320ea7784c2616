//! Operating a store: what is in it, whether it is right, and what can go.
//!
//! Everything in here works on a store that others write to meanwhile.

mod objects;
mod observer;

pub use observer::{Observer, Progress};
