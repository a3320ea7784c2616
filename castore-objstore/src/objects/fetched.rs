//! An object that was fetched.

use std::fs::File;
use std::io::{Read, Seek, SeekFrom};

use bytes::Bytes;

/// A fetched object: its bytes, or an open file.
pub(crate) enum Fetched {
    Bytes(Bytes),
    /// An open file, an offset, and the number of bytes from that offset on.
    File(File, u64, u64),
}

impl Fetched {
    /// The size of the object in bytes.
    pub(crate) fn size(&self) -> u64 {
        match self {
            Fetched::Bytes(bytes) => bytes.len() as u64,
            Fetched::File(_, _, size) => *size,
        }
    }

    /// The bytes of the object. Blocks if the object is a file: call it off the async threads.
    pub(crate) fn read(self) -> std::io::Result<Bytes> {
        match self {
            Fetched::Bytes(bytes) => Ok(bytes),
            Fetched::File(mut file, start, size) => {
                let mut bytes = Vec::with_capacity(size as usize);
                file.seek(SeekFrom::Start(start))?;
                file.take(size).read_to_end(&mut bytes)?;
                Ok(bytes.into())
            }
        }
    }
}
