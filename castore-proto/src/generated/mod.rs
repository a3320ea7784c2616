//! The messages of `proto/`, as `cargo xtask codegen` makes them.

#[path = "castore.v1.rs"]
#[allow(
    dead_code,
    missing_docs,
    unreachable_pub,
    clippy::allow_attributes_without_reason,
    clippy::pedantic,
    reason = "generated code; the whole message is decoded by tests only"
)]
mod castore_v1;

pub(crate) use castore_v1::*;
