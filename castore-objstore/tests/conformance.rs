//! The conformance suite on object stores.

use std::sync::Arc;

use castore_objstore::ObjectStoreBlobService;
use castore_testsuite::Harness;
use object_store::memory::InMemory;

mod in_memory {
    use super::*;

    fn harness() -> impl Harness {
        let store = Arc::new(InMemory::new());
        move || ObjectStoreBlobService::builder(store.clone()).build().unwrap()
    }

    castore_testsuite::conformance!(harness());
}

mod local {
    use super::*;

    fn harness() -> impl Harness {
        let directory = tempfile::tempdir().unwrap();
        move || ObjectStoreBlobService::local(directory.path()).durable(false).build().unwrap()
    }

    castore_testsuite::conformance!(harness());
}
