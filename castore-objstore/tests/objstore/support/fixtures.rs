//! The stores that other implementations wrote: `tests/fixtures/README.md`.

use std::path::{Path, PathBuf};

use bytes::Bytes;
use castore_core::Digest;

use super::data::{numbers, random};

pub(crate) fn directory(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures").join(name)
}

/// The five blobs that both stores hold, and their digests according to the README.
pub(crate) fn blobs() -> Vec<(Bytes, Digest)> {
    [
        (Bytes::new(), "af1349b9f5f9a1a6a0404dea36dcc9499bcb25c9adc112b7cc9a93cae41f3262"),
        (
            Bytes::from_static(b"Hello World"),
            "41f8394111eb713a22165c46c90ab8f0fd9399c92028fd6d288944b23ff5bf76",
        ),
        (
            random("castore fixture small", 100_000),
            "3acb476fea763612894d6791822106d243b4a0ef05199fa27c6b0a4f399148b5",
        ),
        (
            random("castore fixture large", 1_500_000),
            "50194e933c71a995fa2fff52fcbccfd83fe058ec10820b69b3fee135dfa4fd29",
        ),
        (numbers(200_000), "c8f7bbc7ec56d60b1213320ed1cb3d29033b7ebe861c0c55f6ec45ba08a3e3ca"),
    ]
    .map(|(data, digest)| (data, digest.parse().unwrap()))
    .into()
}
