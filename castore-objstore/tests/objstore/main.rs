//! Tests of the service from its users' point of view, over stores that watch, wait, fail and lie.

mod cancellation;
mod check_reused;
mod concurrency;
mod copy;
mod corrupt_chunks;
mod corrupt_indexes;
#[path = "../damaged/mod.rs"]
mod damaged;
mod deduplication;
mod doctor;
mod failures;
mod gc;
mod group_hashes;
mod interoperability;
mod large_indexes;
mod latency;
mod limits;
mod mend;
mod presence;
mod probe;
mod random_access;
mod repair;
mod requests;
mod retries;
mod round_trip;
mod service;
mod settings;
mod support;
mod trash;
mod untruthful;
mod usage;
mod verified_ranges;
mod verify;
mod wire;
mod writer;
