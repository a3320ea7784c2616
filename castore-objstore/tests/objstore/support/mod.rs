//! Helpers of the tests: reproducible data, a store that watches and misbehaves, and short ways to
//! put and read.

pub(crate) mod clock;
pub(crate) mod data;
pub(crate) mod fixtures;
pub(crate) mod http;
pub(crate) mod probe;
pub(crate) mod service;
pub(crate) mod stored;
