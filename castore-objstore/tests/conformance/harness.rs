//! The harness of all stores: services over the store, or over the store in a wrapper.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use castore_core::groups::ChainingValue;
use castore_core::{BlobIndex, BlobService};
use castore_objstore::ObjectStoreBlobService;
use castore_testsuite::{Fault, Faults, Harness, ReplaceIndex, Restart, Tamper};
use futures_util::TryStreamExt;
use object_store::limit::LimitStore;
use object_store::path::Path;
use object_store::{ObjectMeta, ObjectStore, ObjectStoreExt};

use crate::backend::Backend;
use crate::unreliable::{Faulty, Unreliable};

/// The time that a slow store takes for every request.
const DELAY: Duration = Duration::from_millis(3);

/// The number of requests that a limited store takes at once: fewer than a service makes.
const LIMIT: usize = 2;

/// The wrapper between a service and its store.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Wrapper {
    None,
    Delayed,
    Limited,
    Failing,
}

/// The text is a part of a test's name.
impl fmt::Display for Wrapper {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Wrapper::None | Wrapper::Failing => "",
            Wrapper::Delayed => "_delayed",
            Wrapper::Limited => "_limited",
        })
    }
}

pub(crate) struct Objects<B> {
    backend: B,
    wrapper: Wrapper,
    faulty: Arc<Faulty>,
}

impl<B: Backend> Objects<B> {
    pub(crate) fn new(backend: B, wrapper: Wrapper) -> Objects<B> {
        Objects { backend, wrapper, faulty: Arc::default() }
    }

    fn over(&self, store: impl ObjectStore) -> ObjectStoreBlobService {
        let builder = ObjectStoreBlobService::builder(Arc::new(store));
        builder.base_path(self.backend.base_path()).build().expect("a service over a wrapper")
    }
}

#[async_trait]
impl<B: Backend> Harness for Objects<B> {
    async fn open(&self) -> Arc<dyn BlobService> {
        let store = self.backend.store();
        Arc::new(match self.wrapper {
            Wrapper::None => self.backend.builder().build().expect("a service over the store"),
            Wrapper::Delayed => self.over(Unreliable::slow(store, DELAY)),
            Wrapper::Limited => self.over(LimitStore::new(store, LIMIT)),
            Wrapper::Failing => self.over(Unreliable::failing(store, Arc::clone(&self.faulty))),
        })
    }
}

#[async_trait]
impl<B: Backend> Tamper for Objects<B> {
    async fn records(&self) -> BTreeMap<String, Bytes> {
        let store = self.backend.store();
        let base = Path::from(self.backend.base_path());
        let objects: Vec<ObjectMeta> = store.list(Some(&base)).try_collect().await.expect("list");
        let mut records = BTreeMap::new();
        for object in objects {
            let bytes = store.get(&object.location).await.expect("get").bytes().await.expect("get");
            records.insert(object.location.to_string(), bytes);
        }
        records
    }

    async fn replace(&self, name: &str, data: Option<Bytes>) {
        let store = self.backend.store();
        let path = Path::from(name);
        match data {
            Some(data) => drop(store.put(&path, data.into()).await.expect("put")),
            None => store.delete(&path).await.expect("delete"),
        }
    }
}

#[async_trait]
impl<B: Backend> ReplaceIndex for Objects<B> {
    async fn replace_index(&self, index: &BlobIndex, groups: &[ChainingValue]) {
        let list = [&[1, 8], groups.as_flattened()].concat();
        let mut object = castore_proto::encode(&index.clone().without_groups()).to_vec();
        // Field 3, and its length in seven bits a byte.
        object.push(0x1a);
        let mut length = list.len();
        while length >= 0x80 {
            object.push(length as u8 | 0x80);
            length >>= 7;
        }
        object.push(length as u8);
        object.extend_from_slice(&list);

        let digest = index.digest().to_string();
        let base = Path::from(self.backend.base_path());
        let key = ["blobs", "b3", &digest[..4], &digest];
        let key = key.into_iter().fold(base, |key, part| key.join(part));
        self.backend.store().put(&key, object.into()).await.expect("put");
    }
}

#[async_trait]
impl<B: Backend> Faults for Objects<B> {
    async fn fail(&self, fault: Fault) {
        self.faulty.set(fault);
    }

    async fn heal(&self) -> bool {
        self.faulty.heal()
    }
}

#[async_trait]
impl<B: Backend> Restart for Objects<B> {
    async fn restart(&self) {
        self.backend.crash().await;
    }
}
