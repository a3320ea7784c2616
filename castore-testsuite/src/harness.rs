//! What a backend's author provides.

use std::sync::Arc;

use castore_core::BlobService;

/// Opens services over one storage.
///
/// Every service that one harness opens sees the same blobs, and each harness has a storage of its
/// own, empty at first. What has to be kept for that (a directory, a server) the harness keeps.
///
/// Every closure that returns a service is a harness.
pub trait Harness: Send + Sync + 'static {
    /// A service over the harness's storage, as a program that has just started would open it.
    fn open(&self) -> Arc<dyn BlobService>;
}

impl<F, S> Harness for F
where
    F: Fn() -> S + Send + Sync + 'static,
    S: BlobService,
{
    fn open(&self) -> Arc<dyn BlobService> {
        Arc::new(self())
    }
}
