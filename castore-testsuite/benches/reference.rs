//! The suite's benchmarks on the reference implementation.

use castore_core::MemoryBlobService;
use castore_testsuite::{Harness, benchmarks};

fn harness() -> impl Harness {
    let service = MemoryBlobService::new();
    move || service.clone()
}

benchmarks!("reference", harness());
