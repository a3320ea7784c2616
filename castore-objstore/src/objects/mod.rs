//! Requests for single objects: limited, counted, with errors of this crate.

pub(crate) mod answer;
pub(crate) mod barrier;
pub(crate) mod client;
pub(crate) mod fetched;
pub(crate) mod filesystem;
pub(crate) mod line;
pub(crate) mod local;
pub(crate) mod meta;
pub mod metrics;
pub(crate) mod pieces;
pub(crate) mod remote;
pub(crate) mod remote_list;
mod remote_walk;
pub(crate) mod retry;
pub(crate) mod staging;
pub(crate) mod stats;
pub(crate) mod walk;
