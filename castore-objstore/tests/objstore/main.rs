//! The service as its users meet it, over stores that watch, wait, fail and lie.

mod cancellation;
mod concurrency;
mod copy;
mod corrupt_chunks;
mod corrupt_indexes;
mod deduplication;
mod failures;
mod gc;
mod interoperability;
mod latency;
mod limits;
mod probe;
mod random_access;
mod repair;
mod requests;
mod round_trip;
mod support;
mod usage;
mod writer;
