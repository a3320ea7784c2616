//! stub
mod digest;
mod error;
mod index;
pub use digest::{Digest, ParseDigestError};
pub use error::{Error, ErrorKind, Result};
pub use index::{BlobIndex, ChunkMeta, IndexError, Location, MAX_CHUNK_SIZE, MAX_CHUNKS};
