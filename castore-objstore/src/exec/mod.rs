//! Runs work: how much at once, on which thread, and in which order.

pub(crate) mod clock;
pub(crate) mod context;
pub(crate) mod gate;
pub(crate) mod hasher;
#[cfg(any(test, feature = "test-util"))]
pub(crate) mod held_clock;
pub(crate) mod in_order;
pub(crate) mod limits;
pub(crate) mod pool;
pub(crate) mod reading;
pub(crate) mod request_limit;
pub(crate) mod task;
pub(crate) mod threads;
pub(crate) mod under_way;
