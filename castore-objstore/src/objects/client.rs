//! The requests to the object store: limited, counted, and with errors of this crate.

use std::fs::File;
use std::future::Future;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;

use bytes::Bytes;
use castore_core::{Digest, Error, ErrorKind, Result};
use futures_util::stream::{self, BoxStream};
use futures_util::{FutureExt, StreamExt, TryStreamExt};
use object_store::ObjectStore;
use object_store::path::Path;

use crate::error::{absent, corrupt, store_error};
use crate::exec::context::{in_own_task, inline, run_blocking};
use crate::exec::limits::Limits;
use crate::exec::task::Task;
pub(crate) use crate::objects::fetched::Fetched;
use crate::objects::local::{Local, LocalError, Put};
use crate::objects::meta::{Entry, Meta, Version};
use crate::objects::metrics::{Answered, Hook, RequestKind};
use crate::objects::remote::{Got, Remote};
use crate::objects::retry::Patience;
use crate::objects::stats::Counters;
use crate::objects::walk::Enters;

#[derive(Debug, Clone)]
pub(crate) struct Requests {
    pub(super) backend: Backend,
    limits: Arc<Limits>,
    pub(crate) counters: Arc<Counters>,
    pub(super) metrics: Hook,
}

/// The place that requests go to.
#[derive(Debug, Clone)]
pub(super) enum Backend {
    Local(Local),
    Remote(Remote),
}

/// The place that requests go to, for a caller whose requests are neither limited nor retried.
#[derive(Clone)]
pub(crate) enum Place {
    Directory(Local),
    Store(Arc<dyn ObjectStore>),
}

impl Requests {
    /// Requests to a store behind `object_store`; they are retried if `patience` is given.
    pub(crate) fn remote(
        store: Arc<dyn ObjectStore>,
        limits: Arc<Limits>,
        patience: Option<Patience>,
    ) -> Requests {
        let remote = Remote::new(store, Arc::clone(&limits), patience);
        Requests::new(Backend::Remote(remote), limits)
    }

    /// Requests to a directory.
    pub(crate) fn local(local: Local, limits: Arc<Limits>) -> Requests {
        Requests::new(Backend::Local(local), limits)
    }

    fn new(backend: Backend, limits: Arc<Limits>) -> Requests {
        Requests { backend, limits, counters: Arc::default(), metrics: Hook::default() }
    }

    /// The same requests, reported to `metrics`.
    pub(crate) fn reported_to(self, metrics: Hook) -> Requests {
        Requests { metrics, ..self }
    }

    /// Starts the work on one chunk, or on one small blob, without handing each step over to other
    /// threads, as far as the store permits. `work` must drive every future it starts to
    /// completion, or drop it. A suspended one might never finish.
    pub(crate) fn spawn_unit<T: Send + 'static>(
        &self,
        operation: &'static str,
        work: impl Future<Output = Result<T>> + Send + 'static,
    ) -> Task<T> {
        match self.backend {
            Backend::Local(_) => self.limits.spawn_unit(operation, work),
            Backend::Remote(_) => Task::spawn(operation, inline(work)),
        }
    }

    /// The place that requests go to.
    pub(crate) fn place(&self) -> Place {
        match &self.backend {
            Backend::Local(local) => Place::Directory(local.clone()),
            Backend::Remote(remote) => Place::Store(Arc::clone(&remote.store)),
        }
    }

    /// The root of the directory that requests go to, if they do. The base path is relative to it.
    pub(crate) fn root(&self) -> Option<&std::path::Path> {
        match &self.backend {
            Backend::Local(local) => Some(local.root()),
            Backend::Remote(_) => None,
        }
    }

    /// The directory that requests go to.
    #[cfg(test)]
    pub(crate) fn directory(&self) -> Option<&Local> {
        match &self.backend {
            Backend::Local(local) => Some(local),
            Backend::Remote(_) => None,
        }
    }

    /// Makes a request to a directory: on the calling thread if that may wait for the disk.
    pub(super) async fn locally<T: Send + 'static>(
        &self,
        local: &Local,
        request: Request,
        work: impl FnOnce(&Local) -> std::result::Result<T, LocalError> + Send + 'static,
    ) -> Result<Option<T>> {
        let permit = self.limits.request().await;
        let local = local.clone();
        let answer = run_blocking(request.operation, move || {
            // A request whose caller is dropped continues, and counts until it ends.
            let _permit = permit;
            work(&local)
        });
        match answer.await? {
            Ok(answer) => Ok(Some(answer)),
            Err(error) if error.is_absent() => Ok(None),
            Err(error) => Err(local_error(request, error)),
        }
    }

    /// The stored size of an object in bytes, or `None` if it does not exist.
    pub(crate) async fn head(
        &self,
        operation: &'static str,
        digest: impl Into<Option<Digest>>,
        path: Path,
    ) -> Result<Option<u64>> {
        let meta = self.look(operation, digest, path).await?;
        Ok(meta.map(|meta| meta.size))
    }

    /// The stored size of an object in bytes, or `None` if it does not exist. For a store in a
    /// directory also the result of `examine` on the object's file. Counts as a
    /// [`head`](Self::head).
    pub(crate) async fn examine<T: Send + 'static>(
        &self,
        operation: &'static str,
        digest: Digest,
        path: Path,
        examine: impl FnOnce(&File, u64) -> std::io::Result<T> + Send + 'static,
    ) -> Result<Option<(u64, Option<T>)>> {
        let Backend::Local(local) = &self.backend else {
            let size = self.head(operation, digest, path).await?;
            return Ok(size.map(|size| (size, None)));
        };
        let (this, local) = (self.clone(), local.clone());
        let request = Request::new(operation, digest);
        let place = path.clone();
        let look = async move {
            this.counters.requests_head.add(1);
            let look = move |local: &Local| {
                let (file, size) = local.open_object(&path)?;
                local.rely_on(&path)?;
                Ok(examine(&file, size).map(|found| (size, Some(found))))
            };
            let looked = this.locally(&local, request, look).await?.transpose();
            looked.map_err(|error| unreadable(operation, digest, error))
        };
        let answered = |found: &Option<_>| Answered::of(found.as_ref(), |_| 0);
        let work = in_own_task(operation, request.guard(place, look));
        self.metrics.observe(RequestKind::Head, operation, answered, work).await
    }

    /// Ensures that the next flush makes an object durable that a writer relies on, if only a flush
    /// can ensure that.
    pub(crate) async fn rely_on(
        &self,
        operation: &'static str,
        digest: Digest,
        path: Path,
    ) -> Result<()> {
        let Backend::Local(local) = &self.backend else { return Ok(()) };
        let request = Request::new(operation, digest);
        let (this, local) = (self.clone(), local.clone());
        let rely = async move {
            let rely = move |local: &Local| local.rely_on(&path);
            this.locally(&local, request, rely).await.map(drop)
        };
        in_own_task(operation, rely).await
    }

    /// The version of an object, or `None` if it does not exist.
    pub(crate) async fn version(
        &self,
        operation: &'static str,
        digest: impl Into<Option<Digest>>,
        path: Path,
    ) -> Result<Option<Version>> {
        let meta = self.look(operation, digest, path).await?;
        Ok(meta.map(Version::from))
    }

    /// The store's metadata of an object, or `None` if it does not exist.
    pub(crate) async fn look(
        &self,
        operation: &'static str,
        digest: impl Into<Option<Digest>>,
        path: Path,
    ) -> Result<Option<Meta>> {
        let (this, request) = (self.clone(), Request::new(operation, digest));
        let answered = |meta: &Option<Meta>| Answered::of(meta.as_ref(), |_| 0);
        let work = in_own_task(
            operation,
            request.guard(path.clone(), async move {
                this.counters.requests_head.add(1);
                match &this.backend {
                    Backend::Local(local) => {
                        this.locally(local, request, move |local| local.head(&path)).await
                    }
                    Backend::Remote(remote) => {
                        let meta = unless_absent(request, remote.head(&path).await)?;
                        Ok(meta.map(Meta::from))
                    }
                }
            }),
        );
        self.metrics.observe(RequestKind::Head, operation, answered, work).await
    }

    /// An object, or `None` if it does not exist. An object of more than `max_size` bytes is
    /// `Corrupt`, and is not fetched.
    pub(crate) async fn get(
        &self,
        operation: &'static str,
        digest: Digest,
        path: Path,
        max_size: u64,
    ) -> Result<Option<Fetched>> {
        let (this, request) = (self.clone(), Request::new(operation, digest));
        let answered = |object: &Option<Fetched>| Answered::of(object.as_ref(), Fetched::size);
        let work = in_own_task(
            operation,
            request.guard(path.clone(), async move {
                this.counters.requests_get.add(1);
                let too_large = |size| too_large(operation, digest, size, max_size);
                let remote = match &this.backend {
                    Backend::Local(local) => {
                        let get = move |local: &Local| {
                            let (file, size) = local.open_object(&path)?;
                            Ok(match size <= max_size {
                                true => Ok(Fetched::File(file, 0, size).read()),
                                false => Err(size),
                            })
                        };
                        return match this.locally(local, request, get).await? {
                            None => Ok(None),
                            Some(Ok(Ok(bytes))) => Ok(Some(Fetched::Bytes(bytes))),
                            Some(Ok(Err(error))) => Err(unreadable(operation, digest, error)),
                            Some(Err(size)) => Err(too_large(size)),
                        };
                    }
                    Backend::Remote(remote) => remote,
                };
                match unless_absent(request, remote.get(&path, max_size).await)? {
                    None => Ok(None),
                    Some(Got::TooLarge(size)) => Err(too_large(size)),
                    Some(Got::Object(object)) => Ok(Some(object)),
                }
            }),
        );
        self.metrics.observe(RequestKind::Get, operation, answered, work).await
    }

    /// Creates or replaces an object.
    pub(crate) async fn put(
        &self,
        operation: &'static str,
        digest: impl Into<Option<Digest>>,
        path: Path,
        object: Bytes,
    ) -> Result<()> {
        self.put_if(operation, digest, path, object, || true).await?;
        Ok(())
    }

    /// Creates or replaces an object if `allowed` returns `true` at the moment when the request may
    /// be sent. Returns whether it did.
    pub(crate) async fn put_if(
        &self,
        operation: &'static str,
        digest: impl Into<Option<Digest>>,
        path: Path,
        object: Bytes,
        mut allowed: impl FnMut() -> bool + Send + 'static,
    ) -> Result<bool> {
        let (this, request) = (self.clone(), Request::new(operation, digest));
        let bytes = object.len() as u64;
        let answered =
            move |sent: &bool| if *sent { Answered::Done(bytes) } else { Answered::NotSent };
        let work = in_own_task(
            operation,
            request.guard(path.clone(), async move {
                let counters = Arc::clone(&this.counters);
                // A request counts once, however often it is tried.
                let mut sent = false;
                let mut allowed = move || {
                    let allowed = allowed();
                    counters.requests_put.add(u64::from(allowed && !sent));
                    sent |= allowed;
                    allowed
                };
                match &this.backend {
                    Backend::Local(local) => {
                        // The key of a chunk or an index determines its content. For other objects
                        // the time matters, and they are written again under the same key.
                        let durable = request.digest.is_some();
                        let how = if durable { Put::Durable } else { Put::AtOnce };
                        let put = move |local: &Local| match allowed() {
                            true => local.put(&path, &object, how).map(|()| true),
                            false => Ok(false),
                        };
                        let put = this.locally(local, request, put).await?;
                        put.ok_or_else(|| {
                            let message = "its directory was removed meanwhile";
                            request.about(Error::new(ErrorKind::Unavailable, operation, message))
                        })
                    }
                    Backend::Remote(remote) => remote
                        .put_if(&path, object, allowed)
                        .await
                        .map_err(|error| request.error(error)),
                }
            }),
        );
        self.metrics.observe(RequestKind::Put, operation, answered, work).await
    }

    /// Deletes an object. One that does not exist counts as deleted.
    pub(crate) async fn delete(
        &self,
        operation: &'static str,
        digest: impl Into<Option<Digest>>,
        path: Path,
    ) -> Result<()> {
        self.delete_if(operation, digest, path, || true).await?;
        Ok(())
    }

    /// Deletes an object if `allowed` returns `true` at the moment when the request may be sent,
    /// and before each further attempt. Returns whether it did.
    pub(crate) async fn delete_if(
        &self,
        operation: &'static str,
        digest: impl Into<Option<Digest>>,
        path: Path,
        mut allowed: impl FnMut() -> bool + Send + 'static,
    ) -> Result<bool> {
        let (this, request) = (self.clone(), Request::new(operation, digest));
        let answered = |sent: &bool| if *sent { Answered::Done(0) } else { Answered::NotSent };
        let work = in_own_task(
            operation,
            request.guard(path.clone(), async move {
                let counters = Arc::clone(&this.counters);
                // A request counts once, however often it is tried.
                let mut sent = false;
                let mut allowed = move || {
                    let allowed = allowed();
                    counters.requests_delete.add(u64::from(allowed && !sent));
                    sent |= allowed;
                    allowed
                };
                let deleted = match &this.backend {
                    Backend::Local(local) => {
                        let delete = move |local: &Local| match allowed() {
                            true => local.delete(&path).map(|()| true),
                            false => Ok(false),
                        };
                        this.locally(local, request, delete).await?
                    }
                    Backend::Remote(remote) => {
                        unless_absent(request, remote.delete_if(&path, allowed).await)?
                    }
                };
                // An object that does not exist counts as deleted.
                Ok(deleted.unwrap_or(true))
            }),
        );
        self.metrics.observe(RequestKind::Delete, operation, answered, work).await
    }

    /// Copies an object within the store. Returns whether the object exists.
    ///
    /// In a directory the copy keeps the time of the original. In other stores it has a time of its
    /// own.
    pub(crate) async fn copy(
        &self,
        operation: &'static str,
        digest: impl Into<Option<Digest>>,
        from: Path,
        to: Path,
    ) -> Result<bool> {
        let (this, request) = (self.clone(), Request::new(operation, digest));
        let answered = |copied: &bool| if *copied { Answered::Done(0) } else { Answered::Absent };
        let work = in_own_task(
            operation,
            request.guard(from.clone(), async move {
                this.counters.requests_copy.add(1);
                let copied = match &this.backend {
                    Backend::Local(local) => {
                        this.locally(local, request, move |local| local.copy(&from, &to)).await?
                    }
                    Backend::Remote(remote) => {
                        unless_absent(request, remote.copy(&from, &to).await)?
                    }
                };
                Ok(copied.is_some())
            }),
        );
        self.metrics.observe(RequestKind::Copy, operation, answered, work).await
    }

    /// All objects under `prefix`, in the store's order. A listing does not count as one of the
    /// limited requests, because its caller may take the objects slowly.
    ///
    /// In a directory the listing enters the directories that `enters` accepts, and reports every
    /// other one as a stray. Dropping the stream ends the listing.
    pub(crate) fn list(
        &self,
        operation: &'static str,
        prefix: &Path,
        enters: Enters,
    ) -> BoxStream<'static, Result<Entry>> {
        self.counters.requests_list.add(1);
        let request = Request::new(operation, None);
        match &self.backend {
            Backend::Local(local) => {
                let step = move |mut walk: crate::objects::walk::Walk| async move {
                    let stepped =
                        run_blocking(operation, move || walk.step().map(|found| (found, walk)));
                    let (found, walk) =
                        stepped.await?.map_err(|error| local_error(request, error))?;
                    Ok((!found.is_empty()).then(|| (stream::iter(found.into_iter().map(Ok)), walk)))
                };
                stream::try_unfold(local.walk(prefix, enters), step).try_flatten().boxed()
            }
            Backend::Remote(remote) => {
                let place = prefix.to_string();
                AssertUnwindSafe(remote.list(prefix, enters))
                    .catch_unwind()
                    .map(move |item| match item {
                        Ok(Ok(entry)) => Ok(entry),
                        Ok(Err(error)) => Err(request.error(error)),
                        Err(panic) => Err(request.panicked(&place, panic.as_ref())),
                    })
                    .boxed()
            }
        }
    }
}

/// The subject of a request, for its errors.
#[derive(Debug, Clone, Copy)]
pub(super) struct Request {
    pub(super) operation: &'static str,
    digest: Option<Digest>,
}

impl Request {
    pub(super) fn new(operation: &'static str, digest: impl Into<Option<Digest>>) -> Request {
        Request { operation, digest: digest.into() }
    }

    pub(super) fn error(self, error: object_store::Error) -> Error {
        store_error(self.operation, self.digest, error)
    }

    /// Turns a panic of a library below into an error that names the object.
    pub(super) async fn guard<T>(
        self,
        path: Path,
        work: impl Future<Output = Result<T>>,
    ) -> Result<T> {
        match AssertUnwindSafe(work).catch_unwind().await {
            Ok(answer) => answer,
            Err(panic) => Err(self.panicked(path.as_ref(), panic.as_ref())),
        }
    }

    fn panicked(self, place: &str, panic: &(dyn std::any::Any + Send)) -> Error {
        let text = panic.downcast_ref::<String>().map(String::as_str);
        let text = text.or_else(|| panic.downcast_ref::<&str>().copied()).unwrap_or_default();
        let message = format!("the request for {place:?} panicked: {text}");
        self.about(Error::new(ErrorKind::Other, self.operation, message))
    }

    fn about(self, error: Error) -> Error {
        match self.digest {
            Some(digest) => error.with_digest(digest),
            None => error,
        }
    }
}

/// The error of a file that was opened but cannot be read.
pub(crate) fn unreadable(operation: &'static str, digest: Digest, error: std::io::Error) -> Error {
    let error = object_store::Error::Generic { store: "LocalFileSystem", source: Box::new(error) };
    store_error(operation, Some(digest), error)
}

/// The error of an object that is too large for its key.
pub(super) fn too_large(
    operation: &'static str,
    digest: Digest,
    size: u64,
    max_size: u64,
) -> Error {
    let message = format!("the object has {size} bytes, more than {max_size} cannot be");
    corrupt(operation, digest, message)
}

/// The error of a request to a directory.
fn local_error(request: Request, error: LocalError) -> Error {
    match error {
        LocalError::NotAFile { .. } => {
            let error = Error::new(ErrorKind::Corrupt, request.operation, error.to_string());
            request.about(error)
        }
        error => request.error(object_store::Error::Generic {
            store: "LocalFileSystem",
            source: Box::new(error),
        }),
    }
}

/// The store's answer about an object; `None` if the object is merely absent.
pub(super) fn unless_absent<T>(
    request: Request,
    answer: object_store::Result<T>,
) -> Result<Option<T>> {
    match answer {
        Ok(answer) => Ok(Some(answer)),
        Err(error) if absent(&error) => Ok(None),
        Err(error) => Err(request.error(error)),
    }
}
