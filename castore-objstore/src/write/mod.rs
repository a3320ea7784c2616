//! Writes a blob as a stream.

mod chunking;
mod sink;

pub(crate) use self::sink::open;
