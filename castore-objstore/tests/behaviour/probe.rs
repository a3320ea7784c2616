//! An object store that counts, delays, and fails what it passes on.

use std::collections::HashMap;
use std::fmt;
use std::ops::Range;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use futures_util::StreamExt;
use futures_util::stream::BoxStream;
use object_store::memory::InMemory;
use object_store::path::Path;
use object_store::{
    CopyOptions, Error, GetOptions, GetResult, ListResult, MultipartUpload, ObjectMeta,
    ObjectStore, PutMultipartOptions, PutOptions, PutPayload, PutResult, RenameOptions, Result,
};
use tokio::sync::Semaphore;

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Kind {
    Head,
    Get,
    Put,
    Delete,
}

/// Passes requests on to a store in memory.
#[derive(Debug)]
pub(crate) struct Probe {
    pub(crate) inner: Arc<InMemory>,
    delay: Duration,
    counts: Mutex<HashMap<(Kind, &'static str), usize>>,
    /// The requests of this kind, under this prefix, that still go well before all fail.
    fail: Mutex<Option<(Kind, &'static str, usize)>>,
    /// Where there is one, a put takes a permit from here first.
    pub(crate) gate: Option<Semaphore>,
    requests: Gauge,
    bytes: Gauge,
}

#[derive(Debug, Default)]
struct Gauge {
    now: AtomicUsize,
    peak: AtomicUsize,
}

impl Gauge {
    fn enter(&self, amount: usize) -> Inside<'_> {
        let now = self.now.fetch_add(amount, SeqCst) + amount;
        self.peak.fetch_max(now, SeqCst);
        Inside(self, amount)
    }
}

struct Inside<'a>(&'a Gauge, usize);

impl Drop for Inside<'_> {
    fn drop(&mut self) {
        self.0.now.fetch_sub(self.1, SeqCst);
    }
}

impl Probe {
    pub(crate) fn new() -> Probe {
        Probe::with_delay(Duration::ZERO)
    }

    pub(crate) fn with_delay(delay: Duration) -> Probe {
        Probe {
            inner: Arc::new(InMemory::new()),
            delay,
            counts: Mutex::default(),
            fail: Mutex::default(),
            gate: None,
            requests: Gauge::default(),
            bytes: Gauge::default(),
        }
    }

    /// No put ends before its permit is added.
    pub(crate) fn gated() -> Probe {
        Probe { gate: Some(Semaphore::new(0)), ..Probe::new() }
    }

    /// Lets `after` requests of `kind` under `prefix` ("blobs", "chunks") go well, and no more.
    pub(crate) fn fail(&self, kind: Kind, prefix: &'static str, after: usize) {
        *self.fail.lock().unwrap() = Some((kind, prefix, after));
    }

    pub(crate) fn heal(&self) {
        *self.fail.lock().unwrap() = None;
    }

    pub(crate) fn count(&self, kind: Kind, prefix: &'static str) -> usize {
        self.counts.lock().unwrap().get(&(kind, prefix)).copied().unwrap_or(0)
    }

    /// All requests since the last call.
    pub(crate) fn take_count(&self) -> usize {
        self.counts.lock().unwrap().drain().map(|(_, count)| count).sum()
    }

    pub(crate) fn peak_requests(&self) -> usize {
        self.requests.peak.load(SeqCst)
    }

    pub(crate) fn peak_bytes(&self) -> usize {
        self.bytes.peak.load(SeqCst)
    }

    async fn request(&self, kind: Kind, path: &Path) -> Result<Inside<'_>> {
        let prefix = if path.as_ref().starts_with("blobs") { "blobs" } else { "chunks" };
        *self.counts.lock().unwrap().entry((kind, prefix)).or_default() += 1;
        let inside = self.requests.enter(1);
        if !self.delay.is_zero() {
            tokio::time::sleep(self.delay).await;
        }
        if let Some((failing, under, after)) = &mut *self.fail.lock().unwrap()
            && *failing == kind
            && *under == prefix
        {
            if *after == 0 {
                return Err(Error::Generic { store: "probe", source: "injected".into() });
            }
            *after -= 1;
        }
        Ok(inside)
    }
}

impl fmt::Display for Probe {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Probe")
    }
}

#[async_trait]
#[deny(clippy::missing_trait_methods)]
impl ObjectStore for Probe {
    async fn put_opts(
        &self,
        location: &Path,
        payload: PutPayload,
        opts: PutOptions,
    ) -> Result<PutResult> {
        let _bytes = self.bytes.enter(payload.content_length());
        let _request = self.request(Kind::Put, location).await?;
        if let Some(gate) = &self.gate {
            gate.acquire().await.unwrap().forget();
        }
        self.inner.put_opts(location, payload, opts).await
    }

    async fn put_multipart_opts(
        &self,
        location: &Path,
        opts: PutMultipartOptions,
    ) -> Result<Box<dyn MultipartUpload>> {
        self.inner.put_multipart_opts(location, opts).await
    }

    async fn get_opts(&self, location: &Path, options: GetOptions) -> Result<GetResult> {
        let kind = if options.head { Kind::Head } else { Kind::Get };
        let _request = self.request(kind, location).await?;
        self.inner.get_opts(location, options).await
    }

    async fn get_ranges(&self, location: &Path, ranges: &[Range<u64>]) -> Result<Vec<Bytes>> {
        let _request = self.request(Kind::Get, location).await?;
        self.inner.get_ranges(location, ranges).await
    }

    fn delete_stream(
        &self,
        locations: BoxStream<'static, Result<Path>>,
    ) -> BoxStream<'static, Result<Path>> {
        *self.counts.lock().unwrap().entry((Kind::Delete, "chunks")).or_default() += 1;
        self.inner.delete_stream(locations)
    }

    fn list(&self, prefix: Option<&Path>) -> BoxStream<'static, Result<ObjectMeta>> {
        self.inner.list(prefix)
    }

    fn list_with_offset(
        &self,
        prefix: Option<&Path>,
        offset: &Path,
    ) -> BoxStream<'static, Result<ObjectMeta>> {
        self.inner.list_with_offset(prefix, offset).boxed()
    }

    async fn list_with_delimiter(&self, prefix: Option<&Path>) -> Result<ListResult> {
        self.inner.list_with_delimiter(prefix).await
    }

    async fn copy_opts(&self, from: &Path, to: &Path, options: CopyOptions) -> Result<()> {
        self.inner.copy_opts(from, to, options).await
    }

    async fn rename_opts(&self, from: &Path, to: &Path, options: RenameOptions) -> Result<()> {
        self.inner.rename_opts(from, to, options).await
    }
}
