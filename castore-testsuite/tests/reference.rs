//! Runs the suite on the reference implementation.
//!
//! The group `verified_ranges` runs on the sound service of `tests/teeth` instead.

use castore_core::MemoryBlobService;
use castore_testsuite::{Harness, conformance};

fn harness() -> impl Harness {
    let service = MemoryBlobService::new();
    move || service.clone()
}

conformance!(harness(); without verified_ranges: "no other code can change its memory");
