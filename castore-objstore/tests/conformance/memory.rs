//! A store in memory.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;
use castore_objstore::{Builder, ObjectStoreBlobService};
use object_store::ObjectStore;
use object_store::memory::InMemory;

use crate::backend::Backend;

#[derive(Default)]
pub(crate) struct Memory(Mutex<Arc<InMemory>>);

impl Memory {
    fn lock(&self) -> MutexGuard<'_, Arc<InMemory>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[async_trait]
impl Backend for Memory {
    fn store(&self) -> Arc<dyn ObjectStore> {
        Arc::<InMemory>::clone(&self.lock())
    }

    fn base_path(&self) -> &str {
        ""
    }

    fn builder(&self) -> Builder {
        ObjectStoreBlobService::builder(self.store())
    }

    /// A copy of the store replaces it. Changes through the old one are lost.
    async fn crash(&self) {
        let mut store = self.lock();
        *store = Arc::new(store.fork());
    }
}
