//! The suite's benchmarks on object stores, beside the reference implementation.

use std::sync::Arc;

use castore_core::MemoryBlobService;
use castore_objstore::ObjectStoreBlobService;
use castore_testsuite::{Harness, bench};
use criterion::Criterion;
use object_store::memory::InMemory;

fn reference() -> impl Harness {
    let service = MemoryBlobService::new();
    move || service.clone()
}

fn memory() -> impl Harness {
    let store = Arc::new(InMemory::new());
    move || ObjectStoreBlobService::builder(store.clone()).build().unwrap()
}

fn local(durable: bool) -> impl Harness {
    let directory = tempfile::tempdir().unwrap();
    move || ObjectStoreBlobService::local(directory.path()).durable(durable).build().unwrap()
}

fn main() {
    let mut criterion = Criterion::default().configure_from_args();
    bench(&mut criterion, "reference", reference);
    bench(&mut criterion, "memory", memory);
    bench(&mut criterion, "local", || local(false));
    bench(&mut criterion, "local_durable", || local(true));
    criterion.final_summary();
}
