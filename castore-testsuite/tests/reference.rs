//! Runs the suite on the reference implementation.

use castore_core::MemoryBlobService;
use castore_testsuite::{Harness, conformance};

fn harness() -> impl Harness {
    let service = MemoryBlobService::new();
    move || service.clone()
}

conformance!(harness());
