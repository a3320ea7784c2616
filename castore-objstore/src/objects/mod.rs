//! Requests for single objects: limited, counted, with errors of this crate.

pub(crate) mod barrier;
pub(crate) mod client;
pub(crate) mod filesystem;
pub(crate) mod local;
pub(crate) mod meta;
pub(crate) mod pieces;
pub(crate) mod remote;
pub(crate) mod staging;
pub(crate) mod stats;
pub(crate) mod walk;
