//! An object store that is slow, or fails when told to.

use std::fmt;
use std::ops::Range;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use castore_testsuite::{Fault, Operation};
use futures_util::stream::{self, BoxStream, StreamExt};
use object_store::path::Path;
use object_store::{
    CopyOptions, Error, GetOptions, GetResult, ListResult, MultipartUpload, ObjectMeta,
    ObjectStore, ObjectStoreExt, PutMultipartOptions, PutOptions, PutPayload, PutResult,
    RenameOptions, Result,
};

/// The fault of all stores that share it.
#[derive(Debug, Default)]
pub(crate) struct Faulty(Mutex<Option<Set>>);

#[derive(Debug)]
struct Set {
    fault: Fault,
    seen: usize,
    struck: bool,
}

impl Faulty {
    pub(crate) fn set(&self, fault: Fault) {
        *self.lock() = Some(Set { fault, seen: 0, struck: false });
    }

    /// Ends the fault, and returns whether it has struck.
    pub(crate) fn heal(&self) -> bool {
        self.lock().take().is_some_and(|set| set.struck)
    }

    /// The fate of the next operation of this kind.
    fn next(&self, operation: Operation) -> Fate {
        let mut set = self.lock();
        let Some(set) = set.as_mut().filter(|set| set.fault.operation == operation) else {
            return Fate::Succeeds;
        };
        let number = set.seen;
        set.seen += 1;
        if number == set.fault.after || (set.fault.lasting && number > set.fault.after) {
            set.struck = true;
            return if set.fault.done { Fate::LosesItsAnswer } else { Fate::Fails };
        }
        Fate::Succeeds
    }

    fn lock(&self) -> MutexGuard<'_, Option<Set>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The fate of an operation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fate {
    Succeeds,
    /// The operation fails without effect.
    Fails,
    /// The operation takes effect, but is reported as failed.
    LosesItsAnswer,
}

fn told_to() -> Error {
    Error::Generic { store: "Unreliable", source: "it was told to".into() }
}

/// A wrapper in which every request waits, and some fail, before they reach the store.
///
/// (`object_store`'s own `ThrottledStore` cannot wrap the local filesystem.)
#[derive(Debug, Clone)]
pub(crate) struct Unreliable {
    inner: Arc<dyn ObjectStore>,
    delay: Duration,
    faulty: Arc<Faulty>,
}

impl Unreliable {
    /// A wrapper that takes `delay` for each request.
    pub(crate) fn slow(inner: Arc<dyn ObjectStore>, delay: Duration) -> Unreliable {
        Unreliable { inner, delay, faulty: Arc::default() }
    }

    /// A wrapper that fails as `faulty` says.
    pub(crate) fn failing(inner: Arc<dyn ObjectStore>, faulty: Arc<Faulty>) -> Unreliable {
        Unreliable { inner, delay: Duration::ZERO, faulty }
    }

    async fn begin(&self, operation: Operation) -> Result<Fate> {
        if !self.delay.is_zero() {
            tokio::time::sleep(self.delay).await;
        }
        match self.faulty.next(operation) {
            Fate::Fails => Err(told_to()),
            fate => Ok(fate),
        }
    }

    /// Makes a change, as far as the fault allows.
    async fn change<T>(&self, change: impl Future<Output = Result<T>>) -> Result<T> {
        let fate = self.begin(Operation::Write).await?;
        let changed = change.await?;
        match fate {
            Fate::LosesItsAnswer => Err(told_to()),
            _ => Ok(changed),
        }
    }

    fn listing(
        &self,
        list: impl FnOnce(&dyn ObjectStore) -> BoxStream<'static, Result<ObjectMeta>> + Send + 'static,
    ) -> BoxStream<'static, Result<ObjectMeta>> {
        let this = self.clone();
        let list = async move {
            match this.begin(Operation::Read).await {
                Ok(_) => list(&*this.inner),
                Err(error) => stream::iter([Err(error)]).boxed(),
            }
        };
        stream::once(list).flatten().boxed()
    }
}

#[async_trait]
#[deny(clippy::missing_trait_methods)]
impl ObjectStore for Unreliable {
    async fn put_opts(
        &self,
        location: &Path,
        payload: PutPayload,
        opts: PutOptions,
    ) -> Result<PutResult> {
        self.change(self.inner.put_opts(location, payload, opts)).await
    }

    async fn put_multipart_opts(
        &self,
        location: &Path,
        opts: PutMultipartOptions,
    ) -> Result<Box<dyn MultipartUpload>> {
        self.change(self.inner.put_multipart_opts(location, opts)).await
    }

    async fn get_opts(&self, location: &Path, options: GetOptions) -> Result<GetResult> {
        self.begin(Operation::Read).await?;
        self.inner.get_opts(location, options).await
    }

    async fn get_ranges(&self, location: &Path, ranges: &[Range<u64>]) -> Result<Vec<Bytes>> {
        self.begin(Operation::Read).await?;
        self.inner.get_ranges(location, ranges).await
    }

    fn delete_stream(
        &self,
        locations: BoxStream<'static, Result<Path>>,
    ) -> BoxStream<'static, Result<Path>> {
        let this = self.clone();
        let delete = move |location: Result<Path>| {
            let this = this.clone();
            async move {
                let location = location?;
                this.change(this.inner.delete(&location)).await?;
                Ok(location)
            }
        };
        locations.then(delete).boxed()
    }

    fn list(&self, prefix: Option<&Path>) -> BoxStream<'static, Result<ObjectMeta>> {
        let prefix = prefix.cloned();
        self.listing(move |inner| inner.list(prefix.as_ref()))
    }

    fn list_with_offset(
        &self,
        prefix: Option<&Path>,
        offset: &Path,
    ) -> BoxStream<'static, Result<ObjectMeta>> {
        let (prefix, offset) = (prefix.cloned(), offset.clone());
        self.listing(move |inner| inner.list_with_offset(prefix.as_ref(), &offset))
    }

    async fn list_with_delimiter(&self, prefix: Option<&Path>) -> Result<ListResult> {
        self.begin(Operation::Read).await?;
        self.inner.list_with_delimiter(prefix).await
    }

    async fn copy_opts(&self, from: &Path, to: &Path, options: CopyOptions) -> Result<()> {
        self.change(self.inner.copy_opts(from, to, options)).await
    }

    async fn rename_opts(&self, from: &Path, to: &Path, options: RenameOptions) -> Result<()> {
        self.change(self.inner.rename_opts(from, to, options)).await
    }
}

impl fmt::Display for Unreliable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Unreliable({})", self.inner)
    }
}
