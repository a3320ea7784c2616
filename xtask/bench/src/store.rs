//! The stores that scenarios run on.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Result;
use castore_objstore::{ObjectStoreBlobService, parse_url_opts};
use futures_util::TryStreamExt;
use object_store::ObjectStore;
use object_store::aws::AmazonS3Builder;
use object_store::local::LocalFileSystem;
use object_store::memory::InMemory;
use object_store::prefix::PrefixStore;
use object_store::throttle::{ThrottleConfig, ThrottledStore};

use crate::job::{Endpoint, Place};

pub(crate) const REGION: &str = "us-east-1";

/// A store. Objects in memory live as long as this does.
pub(crate) struct Store {
    place: Place,
    memory: Arc<InMemory>,
}

impl Store {
    pub(crate) fn new(place: Place) -> Store {
        Store { place, memory: Arc::default() }
    }

    /// The same store, without latency: for work off the clock.
    pub(crate) fn without_latency(&self) -> Store {
        let place = match &self.place {
            Place::Memory { .. } => Place::Memory { latency_ms: 0 },
            other => other.clone(),
        };
        Store { place, memory: Arc::clone(&self.memory) }
    }

    fn in_memory(&self, latency_ms: u64) -> Arc<dyn ObjectStore> {
        if latency_ms == 0 {
            return Arc::clone(&self.memory) as Arc<dyn ObjectStore>;
        }
        let wait = Duration::from_millis(latency_ms);
        let every_request = ThrottleConfig {
            wait_delete_per_call: wait,
            wait_get_per_call: wait,
            wait_list_per_call: wait,
            wait_put_per_call: wait,
            ..ThrottleConfig::default()
        };
        let memory = Arc::clone(&self.memory) as Arc<dyn ObjectStore>;
        Arc::new(ThrottledStore::new(memory, every_request))
    }

    /// castore over the store, opened as a user would open it.
    pub(crate) fn service(&self) -> Result<ObjectStoreBlobService> {
        let builder = match &self.place {
            Place::Memory { latency_ms } => {
                ObjectStoreBlobService::builder(self.in_memory(*latency_ms))
            }
            Place::Local { directory, durable } => {
                ObjectStoreBlobService::local(directory).durable(*durable)
            }
            Place::S3 { endpoint, base_path } => {
                let options = [
                    ("endpoint", endpoint.url.as_str()),
                    ("region", REGION),
                    ("access_key_id", &endpoint.access_key_id),
                    ("secret_access_key", &endpoint.secret_access_key),
                ];
                parse_url_opts(&format!("s3://{}/{base_path}", endpoint.bucket), options)?
            }
        };
        Ok(builder.build()?)
    }

    /// The objects of the store, as a direct user of `object_store` would open them.
    pub(crate) fn objects(&self) -> Result<Arc<dyn ObjectStore>> {
        Ok(match &self.place {
            Place::Memory { latency_ms } => self.in_memory(*latency_ms),
            Place::Local { directory, durable } => {
                let store = LocalFileSystem::new_with_prefix(directory)?;
                Arc::new(store.with_fsync(*durable))
            }
            Place::S3 { endpoint, base_path } => {
                Arc::new(PrefixStore::new(client(endpoint).build()?, base_path.as_str()))
            }
        })
    }

    /// The total size of all objects, in bytes.
    pub(crate) async fn stored_bytes(&self) -> Result<u64> {
        let objects = self.objects()?;
        Ok(objects.list(None).try_fold(0, async |sum, object| Ok(sum + object.size)).await?)
    }

    /// Flushes earlier writes to the disk, so that they do not disturb the measurement.
    pub(crate) fn settle(&self) {
        if let Place::Local { directory, .. } = &self.place {
            flush(directory);
        }
    }
}

/// Flushes the filesystem of `directory`, if the system supports that.
pub(crate) fn flush(directory: &Path) {
    #[cfg(target_os = "linux")]
    if let Ok(directory) = std::fs::File::open(directory) {
        // A failed flush makes a measurement worse, not wrong.
        let _ = rustix::fs::syncfs(directory);
    }
    #[cfg(not(target_os = "linux"))]
    let _ = directory;
}

/// A client of a bucket.
pub(crate) fn client(endpoint: &Endpoint) -> AmazonS3Builder {
    AmazonS3Builder::new()
        .with_endpoint(&endpoint.url)
        .with_allow_http(true)
        .with_region(REGION)
        .with_bucket_name(&endpoint.bucket)
        .with_access_key_id(&endpoint.access_key_id)
        .with_secret_access_key(&endpoint.secret_access_key)
}
