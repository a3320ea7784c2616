//! The decoder of chunks: a service over memory whose store holds any bytes in the place of a
//! chunk.

use bytes::Bytes;
use castore_core::{BlobService, Digest, ErrorKind, MAX_CHUNK_SIZE, Result};

use super::{runtime, service_with};

/// Longer chunks than this are decoded under the wrong digest only, as their own costs a second
/// decoder.
const LONGEST: usize = 1024 * 1024;

/// Reads the input as a chunk under a digest that it does not have, under the one that it has if it
/// decodes, and compressed as a writer would.
pub(super) fn check(input: &[u8]) {
    let wrong = get(Digest::of(b"another chunk"), input);
    assert_eq!(wrong.unwrap_err().kind(), ErrorKind::Corrupt);

    if let Ok(bytes) = zstd::bulk::decompress(input, LONGEST)
        && !bytes.is_empty()
    {
        match get(Digest::of(&bytes), input) {
            Ok(Some(read)) => assert!(read == bytes, "other bytes of the same digest"),
            // The format allows less than zstd does.
            Err(error) => assert_eq!(error.kind(), ErrorKind::Corrupt, "{error}"),
            Ok(None) => panic!("the object is there"),
        }
    }

    if input.is_empty() || input.len() as u64 > MAX_CHUNK_SIZE {
        return;
    }
    let digest = Digest::of(input);
    let stored = zstd::bulk::compress(input, 1).unwrap();
    let read = get(digest, &stored).unwrap().expect("the object is there");
    assert!(read == input, "not the bytes that were stored");
    let cut = usize::from(input[0]) % stored.len();
    let error = get(digest, &stored[..cut]).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Corrupt, "cut to {cut} bytes: {error}");
}

/// The answer of a service whose store holds `object` in the place of the chunk.
fn get(chunk: Digest, object: &[u8]) -> Result<Option<Bytes>> {
    let service = service_with("chunks", &chunk, object.to_vec());
    runtime().block_on(service.get_chunk(&chunk))
}
