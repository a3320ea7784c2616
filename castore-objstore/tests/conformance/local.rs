//! A store on the local filesystem.

use std::sync::Arc;

use async_trait::async_trait;
use castore_objstore::{Builder, ObjectStoreBlobService};
use object_store::ObjectStore;
use object_store::local::LocalFileSystem;

use crate::backend::{Backend, Directory};

pub(crate) struct Local(Directory);

impl Local {
    pub(crate) fn new() -> Local {
        Local(Directory::new())
    }
}

#[async_trait]
impl Backend for Local {
    fn store(&self) -> Arc<dyn ObjectStore> {
        let store = LocalFileSystem::new_with_prefix(self.0.path());
        Arc::new(store.expect("the directory is there"))
    }

    fn base_path(&self) -> &str {
        ""
    }

    fn builder(&self) -> Builder {
        ObjectStoreBlobService::local(self.0.path())
    }

    async fn crash(&self) {
        self.0.rename();
    }
}
