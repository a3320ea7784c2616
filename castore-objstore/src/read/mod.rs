//! Reads a blob as a stream.

mod cursor;
mod open;
mod paging;
mod proofs;
mod prover;
mod read_ahead;
mod whole;

pub(crate) use self::open::{chunks, open, reader_of, size};
pub(crate) use self::read_ahead::BLOB;
pub(crate) use self::whole::{even_pieces, group_hashes, hash_whole, listed_pieces};
