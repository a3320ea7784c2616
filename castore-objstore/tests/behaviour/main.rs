//! What the service promises beyond the conformance suite: costs, limits, bad data, bad stores.

mod costs;
mod damage;
mod failures;
mod interop;
mod limits;
mod probe;
mod support;
