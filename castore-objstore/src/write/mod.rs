//! Writes a blob as a stream.

mod chunking;
mod pacing;
mod sink;

pub(crate) use self::pacing::Pacing;
pub(crate) use self::sink::open;
