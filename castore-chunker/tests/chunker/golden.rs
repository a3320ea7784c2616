//! Cut points as literal numbers.
//!
//! Cut points are part of the storage format: a change that moves them makes all data stored so far
//! useless for deduplication. The sizes come from `fastcdc` 5.0. One line of code makes each test's
//! data, and the data's BLAKE3 digest verifies it.

use bytes::Bytes;
use castore_chunker::{ChunkParams, Cutter, cut_points};

use crate::data::{random, tiny};

#[track_caller]
fn check(data: &[u8], digest: &str, params: ChunkParams, sizes: &[usize]) {
    assert_eq!(blake3::hash(data).to_hex().as_str(), digest, "other data than intended");
    let ranges = cut_points(data, params);
    assert_eq!(ranges.map(|range| range.len()).collect::<Vec<_>>(), sizes);
    let mut cutter = Cutter::new(params);
    let mut pushed = Vec::new();
    for piece in data.chunks(10_000) {
        cutter.push(Bytes::copy_from_slice(piece), |chunk| pushed.push(chunk.len()));
    }
    pushed.extend(cutter.finish().map(|chunk| chunk.len()));
    assert_eq!(pushed, sizes);
}

#[test]
fn random_bytes() {
    check(
        &random(b"castore chunker golden", 8 * 1024 * 1024),
        "f878f38ded5165e81f83c796019ef599089e50b42e3c8db8a5ba483e7b30249d",
        ChunkParams::default(),
        &[
            441_834, 505_019, 215_721, 316_620, 384_729, 136_384, 170_781, 257_335, 349_395,
            197_867, 325_818, 524_288, 196_263, 288_753, 338_026, 312_514, 356_963, 524_288,
            324_668, 169_583, 155_759, 236_904, 162_831, 331_595, 319_549, 310_799, 350_368,
            183_954,
        ],
    );
}

#[test]
fn random_bytes_with_tiny_chunks() {
    check(
        &random(b"castore chunker golden", 12_345),
        "cf1dc45d92a56f862809cd88b7a530099e19fdcc5666aca1961f8b936859797a",
        tiny(),
        &[
            270, 340, 156, 185, 442, 179, 235, 292, 249, 107, 401, 356, 283, 287, 382, 390, 256,
            125, 207, 291, 323, 292, 120, 308, 219, 261, 309, 490, 199, 444, 285, 344, 359, 505,
            241, 482, 384, 469, 390, 84, 361, 43,
        ],
    );
}

/// Zeros have no cut point, so their chunks have the maximum size.
#[test]
fn zeros() {
    check(
        &[0; 1_500_001],
        "07fadb28770336c1e122cf95a02f6da489aaab3e9235a9cd3573610807095596",
        ChunkParams::default(),
        &[524_288, 524_288, 451_425],
    );
}

/// The decimal numbers from 0 to 199999, each followed by a newline.
#[test]
fn text() {
    let text: String = (0..200_000).map(|number| format!("{number}\n")).collect();
    check(
        text.as_bytes(),
        "c8f7bbc7ec56d60b1213320ed1cb3d29033b7ebe861c0c55f6ec45ba08a3e3ca",
        ChunkParams::default(),
        &[173_679, 325_882, 269_978, 349_312, 170_039],
    );
}
