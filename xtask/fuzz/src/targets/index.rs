//! The decoders of indexes: whole, piece by piece, through a service, and in pages.

use castore_core::{BlobIndex, BlobService, ChunkMeta, Digest, ErrorKind};
use castore_proto::{DecodeError, Decoded, Decoder, MAX_INDEX_SIZE, decode, encode};
use futures_util::TryStreamExt;

use super::{runtime, service_with};

/// The entries of an index that a service reads in pages: more than 640 KiB of them.
const PAGED_ENTRIES: usize = 17_000;

/// Decodes the input as the index of the blobs for which the rules differ.
pub(super) fn check(input: &[u8]) {
    let blob = Digest::of(b"blob");
    let listed = check_decoders(&blob, input);
    check_decoders(&Digest::EMPTY, input);
    if let Some(first) = listed.first() {
        check_decoders(&first.digest, input);
    }
    // A service costs more than a decoder, and a large index still more.
    let number = Digest::of(input).as_bytes()[0];
    if number.is_multiple_of(8) {
        check_service(&blob, input);
    }
    if number.is_multiple_of(64) && listed.len() > 1 {
        check_pages(&listed, input);
    }
}

/// The two decoders agree, and a decoded index encodes to bytes that decode to the same index.
/// Returns the chunks that the bytes list.
fn check_decoders(blob: &Digest, input: &[u8]) -> Vec<ChunkMeta> {
    let whole = decode(blob, input);
    let mut listed = Vec::new();
    for size in [1, 3, 40, input.len().max(1)] {
        let (chunks, end) = in_pieces(blob, input, size);
        match (&whole, end) {
            (Ok(Some(index)), Ok(Some(decoded))) => {
                assert_eq!(decoded.size, index.size());
                assert!(index.iter().eq(chunks.iter().copied()));
                if size_of_list(index) > 0 {
                    let listed = decoded.groups.expect("the whole has a list");
                    let start = listed.start as usize;
                    let list = input[start..].chunks(32).take(size_of_list(index));
                    assert!(list.eq(index.groups().into_iter().flat_map(|groups| groups.values())));
                }
            }
            (Ok(None), Ok(None)) => assert!(chunks.is_empty()),
            (Err(whole), Err(pieces)) => assert_eq!(*whole, pieces),
            (whole, pieces) => panic!("pieces of {size}: {pieces:?}, and whole: {whole:?}"),
        }
        listed = chunks;
    }
    if let Ok(Some(index)) = whole {
        let again = encode(&index);
        assert!(again.len() as u64 <= MAX_INDEX_SIZE);
        assert_eq!(decode(blob, &again), Ok(Some(index)));
    }
    listed
}

/// The number of group hashes that the index carries.
fn size_of_list(index: &BlobIndex) -> usize {
    index.groups().map_or(0, |groups| groups.values().len())
}

fn in_pieces(
    blob: &Digest,
    input: &[u8],
    size: usize,
) -> (Vec<ChunkMeta>, Result<Option<Decoded>, DecodeError>) {
    let mut decoder = Decoder::new(*blob);
    let mut chunks = Vec::new();
    for piece in input.chunks(size) {
        if let Err(error) = decoder.push(piece, |listed| chunks.push(listed.chunk)) {
            return (chunks, Err(error));
        }
    }
    (chunks, decoder.finish())
}

/// A service answers with the decoded index, or calls the blob corrupt.
fn check_service(blob: &Digest, input: &[u8]) {
    let service = service_with("blobs", blob, input.to_vec());
    let answer = runtime().block_on(service.chunks(blob));
    match (decode(blob, input), answer) {
        (Ok(Some(index)), Ok(Some(answer))) => assert_eq!(index, answer),
        // The only chunk of the blob is missing.
        (Ok(Some(_) | None) | Err(_), Err(error)) => {
            assert_eq!(error.kind(), ErrorKind::Corrupt, "{error}");
        }
        (decoded, answer) => panic!("decoded {decoded:?}, answered {answer:?}"),
    }
}

/// An index that is read in pages, damaged in one place or not: a read fails as corrupt, since the
/// store has none of the chunks.
fn check_pages(listed: &[ChunkMeta], input: &[u8]) {
    let blob = Digest::of(b"a large blob");
    let entries = listed.iter().copied().cycle().take(PAGED_ENTRIES);
    let Ok(index) = BlobIndex::new(blob, entries) else { return };
    let mut bytes = encode(&index).to_vec();
    let at =
        input.iter().fold(0_usize, |at, byte| at.wrapping_mul(31).wrapping_add((*byte).into()));
    let at = at % bytes.len();
    bytes[at] ^= input.last().copied().unwrap_or(0);
    let decodes = decode(&blob, &bytes).is_ok();
    let service = service_with("blobs", &blob, bytes);
    runtime().block_on(async {
        match service.open_read(&blob).await {
            Ok(Some(reader)) => {
                assert!(decodes);
                let middle = reader.size() / 2;
                let read = reader.read_range(middle..middle + 1).try_collect::<Vec<_>>().await;
                assert_eq!(read.unwrap_err().kind(), ErrorKind::Corrupt);
            }
            Ok(None) => panic!("the index is there"),
            Err(error) => {
                assert!(!decodes, "{error}");
                assert_eq!(error.kind(), ErrorKind::Corrupt, "{error}");
            }
        }
    });
}
