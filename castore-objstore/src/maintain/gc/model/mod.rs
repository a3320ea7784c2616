//! A model of the protocol: the real code, over a store in which every single request waits until a
//! schedule lets it take effect.
//!
//! Writers of this crate and foreign ones, readers, a remover of blobs, and two collectors work on
//! a few blobs that share chunks. A schedule (`schedule.rs`) decides which request takes effect
//! next, when time passes and how much, when a collector is killed and which of its requests take
//! effect nevertheless, and which requests fail. After each step the store (`store.rs`; `client.rs`
//! is an actor's view of it) is checked. Everything happens on one thread, so that a schedule can
//! be repeated.
//!
//! `CASTORE_GC_SCHEDULES` sets the number of random schedules.

mod actors;
mod client;
mod schedule;
mod store;
mod tests;
