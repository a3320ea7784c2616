//! Maintenance of a store, on every kind of store: operations outside of `BlobService`, which
//! `castore-testsuite` does not cover.
//!
//! A case is an async function that takes two empty stores and panics on a failure. To add one,
//! write it in a module of `maintenance/`, and add a line to [`CASES`].

mod copy;
mod damage;
mod garbage;
mod remove;
mod usage;

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

use bytes::Bytes;
use castore_core::{BlobService, Digest};
use castore_objstore::ObjectStoreBlobService;
use castore_testsuite::TIME_LIMIT;
use libtest_mimic::{Completion, Trial};
use object_store::path::Path;
use tokio::io::AsyncReadExt;

use crate::Make;
use crate::backend::Backend;

type Case = fn(Stores) -> Pin<Box<dyn Future<Output = ()> + Send>>;

/// Every case, by its name.
const CASES: &[(&str, Case)] = &[
    ("copy_moves_only_missing_chunks", |stores| Box::pin(copy::moves_only_missing_chunks(stores))),
    ("copy_with_a_listing_moves_the_same", |stores| {
        Box::pin(copy::with_a_listing_moves_the_same(stores))
    }),
    ("copy_of_a_damaged_blob_stops_no_other", |stores| {
        Box::pin(copy::of_a_damaged_blob_stops_no_other(stores))
    }),
    ("damage_is_found_and_nothing_else", |stores| {
        Box::pin(damage::is_found_and_nothing_else(stores))
    }),
    ("damage_is_repaired_from_another_store", |stores| {
        Box::pin(damage::is_repaired_from_another_store(stores))
    }),
    ("garbage_goes_and_nothing_else", |stores| Box::pin(garbage::goes_and_nothing_else(stores))),
    ("garbage_comes_back_if_it_is_used_after_all", |stores| {
        Box::pin(garbage::comes_back_if_it_is_used_after_all(stores))
    }),
    ("remove_leaves_the_chunks", |stores| Box::pin(remove::leaves_the_chunks(stores))),
    ("remove_many_at_once", |stores| Box::pin(remove::many_at_once(stores))),
    ("usage_matches_the_stored_blobs", |stores| Box::pin(usage::matches_the_stored_blobs(stores))),
    ("usage_counts_damage", |stores| Box::pin(usage::counts_damage(stores))),
];

/// Two stores of one kind, empty at first.
pub(crate) struct Stores {
    pub(crate) main: Store,
    pub(crate) other: Store,
}

/// A store for cases to use and to damage.
pub(crate) struct Store(Box<dyn Backend>);

/// All cases on one kind of store.
pub(crate) fn trials<B: Backend>(name: &str, make: impl Make<B>) -> Vec<Trial> {
    let trial = |(case, run): &(&str, Case)| {
        let (make, run) = (make.clone(), *run);
        Trial::ignorable_test(format!("{name}::maintenance::{case}"), move || {
            let store = || make().map(|backend| Store(Box::new(backend)));
            let stores = match (store(), store()) {
                (Ok(main), Ok(other)) => Stores { main, other },
                (Err(missing), _) | (_, Err(missing)) => return missing.outcome(),
            };
            let runtime = tokio::runtime::Runtime::new()?;
            let ended =
                runtime.block_on(async { tokio::time::timeout(TIME_LIMIT, run(stores)).await });
            match ended {
                Ok(()) => Ok(Completion::Completed),
                Err(_) => Err(format!("it is not done after {TIME_LIMIT:?}").into()),
            }
        })
    };
    CASES.iter().map(trial).collect()
}

impl Store {
    /// A new service that knows nothing yet of the store's objects.
    pub(crate) fn service(&self) -> ObjectStoreBlobService {
        self.0.builder().build().expect("a service over the store")
    }

    pub(crate) async fn put(&self, data: &Bytes) -> Digest {
        let mut writer = self.service().open_write().await.expect("open_write");
        writer.write_bytes(data.clone()).await.expect("write_bytes");
        writer.close().await.expect("close")
    }

    /// Reads the blob by a new service.
    pub(crate) async fn read(&self, digest: &Digest) -> Vec<u8> {
        let reader = self.service().open_read(digest).await.expect("open_read");
        let mut bytes = Vec::new();
        reader.expect("it is there").read_to_end(&mut bytes).await.expect("read_to_end");
        bytes
    }

    /// The object store itself, without a service.
    pub(crate) fn objects(&self) -> Arc<dyn object_store::ObjectStore> {
        self.0.store()
    }

    /// The base path of all keys in the store.
    pub(crate) fn base_path(&self) -> &str {
        self.0.base_path()
    }

    /// The key of an index (`blobs`) or a chunk (`chunks`).
    pub(crate) fn key(&self, kind: &str, digest: &Digest) -> Path {
        let key = format!("{}/{kind}/b3/{digest:.4}/{digest}", self.base_path());
        Path::from(key.trim_start_matches('/'))
    }

    /// The distinct chunks of a blob.
    pub(crate) async fn chunks(&self, digest: &Digest) -> Vec<Digest> {
        let index = self.service().chunks(digest).await.expect("chunks").expect("it is there");
        let mut chunks: Vec<Digest> = index.iter().map(|chunk| chunk.digest).collect();
        chunks.sort_unstable();
        chunks.dedup();
        chunks
    }
}

/// The first `len` bytes of BLAKE3's extended output for `seed`.
pub(crate) fn random(seed: &str, len: usize) -> Bytes {
    let mut data = vec![0; len];
    blake3::Hasher::new().update(seed.as_bytes()).finalize_xof().fill(&mut data);
    data.into()
}
