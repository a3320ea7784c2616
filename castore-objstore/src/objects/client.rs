//! The requests to the object store: limited, counted, and with errors of ours.

use std::fs::File;
use std::future::Future;
use std::io::{Read, Seek, SeekFrom};
use std::sync::Arc;
use std::time::SystemTime;

use bytes::{Bytes, BytesMut};
use castore_core::{Digest, Error, ErrorKind, Result};
use futures_util::StreamExt;
use futures_util::stream::BoxStream;
use object_store::path::Path;
use object_store::{GetResultPayload, ObjectMeta, ObjectStore};

use crate::error::{chain, corrupt, store_error};
use crate::exec::limits::{Limits, Task, driven, off_thread, straight};
use crate::exec::pool::may_block;
use crate::objects::local::Disk;
use crate::objects::remote::Remote;
use crate::objects::stats::Counters;

#[derive(Debug, Clone)]
pub(crate) struct Requests {
    remote: Remote,
    /// The same store, for threads that may wait for it.
    disk: Option<Disk>,
    limits: Arc<Limits>,
    pub(crate) counters: Arc<Counters>,
}

/// What tells whether an object was written again since it was last looked at.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Version {
    size: u64,
    modified: SystemTime,
    tag: Option<String>,
}

impl Version {
    /// Whether the two are surely the same bytes, written at the same time.
    pub(crate) fn is_copy_of(&self, other: &Version) -> bool {
        self.tag.is_some() && self == other
    }
}

/// An object that was asked for, all there or an open file.
pub(crate) enum Fetched {
    Bytes(Bytes),
    /// So many bytes (the second number) from this offset on (the first).
    File(File, u64, u64),
}

impl Requests {
    pub(crate) fn new(
        store: Arc<dyn ObjectStore>,
        disk: Option<Disk>,
        limits: Arc<Limits>,
    ) -> Requests {
        let remote = Remote::new(store, Arc::clone(&limits));
        Requests { remote, disk, limits, counters: Arc::default() }
    }

    /// Begins what is to be done with one chunk, or one small blob: without handing each step of it
    /// over to others, as far as the store allows for it. It is to begin nothing that it does not poll
    /// until that has ended, or drop.
    pub(crate) fn begin<T: Send + 'static>(
        &self,
        operation: &'static str,
        work: impl Future<Output = Result<T>> + Send + 'static,
    ) -> Task<T> {
        match self.disk {
            Some(_) => self.limits.begin(operation, work),
            None => Task::spawn(operation, straight(work)),
        }
    }

    /// The store, where this thread may wait for it.
    fn disk_here(&self) -> Option<&Disk> {
        self.disk.as_ref().filter(|_| may_block())
    }

    /// The stored size of an object in bytes, or `None` where there is no such object.
    pub(crate) async fn head(
        &self,
        operation: &'static str,
        digest: impl Into<Option<Digest>>,
        path: Path,
    ) -> Result<Option<u64>> {
        let (this, digest) = (self.clone(), digest.into());
        driven(operation, async move {
            this.counters.requests_head.add(1);
            let size = match this.disk_here() {
                Some(disk) => {
                    let _permit = this.limits.request().await;
                    disk.size(&path)
                }
                None => this.remote.head(&path).await.map(|meta| meta.size),
            };
            unless_absent(operation, digest, size)
        })
        .await
    }

    /// The stored size of an object in bytes, or `None` where there is no such object; and what
    /// `examine` says of its file, in a directory. It counts as [`head`](Self::head) does.
    pub(crate) async fn examine<T: Send + 'static>(
        &self,
        operation: &'static str,
        digest: Digest,
        path: Path,
        examine: impl FnOnce(&File, u64) -> std::io::Result<T> + Send + 'static,
    ) -> Result<Option<(u64, Option<T>)>> {
        let Some(disk) = self.disk.clone() else {
            let size = self.head(operation, digest, path).await?;
            return Ok(size.map(|size| (size, None)));
        };
        let (counters, limits) = (Arc::clone(&self.counters), Arc::clone(&self.limits));
        driven(operation, async move {
            counters.requests_head.add(1);
            let _permit = limits.request().await;
            let examined = off_thread(operation, move || {
                let Some((file, size)) = unless_absent(operation, digest, disk.open(&path))? else {
                    return Ok(None);
                };
                let found = examine(&file, size);
                let found = found.map_err(|error| unreadable(operation, digest, error))?;
                Ok(Some((size, Some(found))))
            });
            examined.await?
        })
        .await
    }

    /// The version of an object, or `None` where there is no such object.
    pub(crate) async fn version(
        &self,
        operation: &'static str,
        digest: impl Into<Option<Digest>>,
        path: Path,
    ) -> Result<Option<Version>> {
        let meta = self.look(operation, digest, path).await?;
        Ok(meta.map(|meta| Version {
            size: meta.size,
            modified: meta.last_modified.into(),
            tag: meta.e_tag,
        }))
    }

    /// What the store says of an object, or `None` where there is no such object.
    pub(crate) async fn look(
        &self,
        operation: &'static str,
        digest: impl Into<Option<Digest>>,
        path: Path,
    ) -> Result<Option<ObjectMeta>> {
        let (this, digest) = (self.clone(), digest.into());
        driven(operation, async move {
            this.counters.requests_head.add(1);
            unless_absent(operation, digest, this.remote.head(&path).await)
        })
        .await
    }

    /// An object, or `None` where there is none. One of more than `max_size` bytes is `Corrupt`,
    /// and is not fetched.
    pub(crate) async fn get(
        &self,
        operation: &'static str,
        digest: Digest,
        path: Path,
        max_size: u64,
    ) -> Result<Option<Fetched>> {
        let this = self.clone();
        driven(operation, async move {
            this.counters.requests_get.add(1);
            let too_large = |size| {
                let message =
                    format!("the object has {size} bytes, more than {max_size} cannot be");
                corrupt(operation, digest, message)
            };
            if let Some(disk) = this.disk_here() {
                let _permit = this.limits.request().await;
                let opened = unless_absent(operation, digest, disk.open(&path))?;
                let Some((file, size)) = opened else { return Ok(None) };
                if size > max_size {
                    return Err(too_large(size));
                }
                let bytes = Fetched::File(file, 0, size).read();
                let bytes = bytes.map_err(|error| unreadable(operation, digest, error))?;
                return Ok(Some(Fetched::Bytes(bytes)));
            }
            let take = |answer: object_store::Result<object_store::GetResult>| async {
                let Some(result) = unless_absent(operation, digest, answer)? else {
                    return Ok(None);
                };
                let size = result.meta.size;
                if size > max_size {
                    return Err(too_large(size));
                }
                // A file that is open is no request any more.
                Ok(Some(match result.payload {
                    GetResultPayload::File(file, _) => {
                        Fetched::File(file, result.range.start, size)
                    }
                    GetResultPayload::Stream(stream) => Fetched::Bytes(
                        collect(stream, size)
                            .await
                            .map_err(|error| error.into_error(operation, digest, size))?,
                    ),
                }))
            };
            this.remote.get(&path, take).await
        })
        .await
    }

    pub(crate) async fn put(
        &self,
        operation: &'static str,
        digest: impl Into<Option<Digest>>,
        path: Path,
        object: Bytes,
    ) -> Result<()> {
        let (this, digest) = (self.clone(), digest.into());
        driven(operation, async move {
            this.counters.requests_put.add(1);
            let put = match this.disk_here() {
                Some(disk) => {
                    let _permit = this.limits.request().await;
                    disk.put(&path, &object)
                }
                None => this.remote.put(&path, object).await,
            };
            put.map_err(|error| store_error(operation, digest, error))
        })
        .await
    }

    /// Deletes an object; one that is not there is deleted already.
    pub(crate) async fn delete(
        &self,
        operation: &'static str,
        digest: impl Into<Option<Digest>>,
        path: Path,
    ) -> Result<()> {
        self.delete_if(operation, digest, path, || true).await?;
        Ok(())
    }

    /// Deletes an object, if `allowed` still says so at the moment when the request may be sent.
    /// Returns whether it did.
    pub(crate) async fn delete_if(
        &self,
        operation: &'static str,
        digest: impl Into<Option<Digest>>,
        path: Path,
        allowed: impl FnOnce() -> bool + Send + 'static,
    ) -> Result<bool> {
        let (this, digest) = (self.clone(), digest.into());
        driven(operation, async move {
            let counters = &this.counters;
            let allowed = || {
                let allowed = allowed();
                counters.requests_delete.add(u64::from(allowed));
                allowed
            };
            let deleted = this.remote.delete_if(&path, allowed).await;
            // An object that is not there is deleted already.
            Ok(unless_absent(operation, digest, deleted)?.unwrap_or(true))
        })
        .await
    }

    /// Copies an object within the store; returns whether it was there.
    ///
    /// On a local disk the copy has the time of the original, elsewhere one of its own.
    pub(crate) async fn copy(
        &self,
        operation: &'static str,
        digest: impl Into<Option<Digest>>,
        from: Path,
        to: Path,
    ) -> Result<bool> {
        let (this, digest) = (self.clone(), digest.into());
        driven(operation, async move {
            this.counters.requests_copy.add(1);
            let copied = unless_absent(operation, digest, this.remote.copy(&from, &to).await)?;
            Ok(copied.is_some())
        })
        .await
    }

    /// All objects under `prefix`, in the order of the store. Not one of the requests that are limited:
    /// whoever takes the objects may be slow.
    pub(crate) fn list(
        &self,
        operation: &'static str,
        prefix: &Path,
    ) -> BoxStream<'static, Result<ObjectMeta>> {
        self.counters.requests_list.add(1);
        self.remote
            .list(prefix)
            .map(move |item| item.map_err(|error| store_error(operation, None, error)))
            .boxed()
    }
}

impl Fetched {
    /// The size of the object in bytes.
    pub(crate) fn size(&self) -> u64 {
        match self {
            Fetched::Bytes(bytes) => bytes.len() as u64,
            Fetched::File(_, _, size) => *size,
        }
    }

    /// The bytes of the object. Blocks where it is a file: call it off the async threads.
    pub(crate) fn read(self) -> std::io::Result<Bytes> {
        match self {
            Fetched::Bytes(bytes) => Ok(bytes),
            Fetched::File(mut file, start, size) => {
                let mut bytes = Vec::with_capacity(size as usize);
                file.seek(SeekFrom::Start(start))?;
                file.take(size).read_to_end(&mut bytes)?;
                Ok(bytes.into())
            }
        }
    }
}

/// A file of the store that was opened but cannot be read.
pub(crate) fn unreadable(operation: &'static str, digest: Digest, error: std::io::Error) -> Error {
    let error = object_store::Error::Generic { store: "LocalFileSystem", source: Box::new(error) };
    store_error(operation, Some(digest), error)
}

enum CollectError {
    Store(object_store::Error),
    Length(u64),
}

impl CollectError {
    fn into_error(self, operation: &'static str, digest: Digest, size: u64) -> Error {
        match self {
            CollectError::Store(error) => store_error(operation, Some(digest), error),
            CollectError::Length(got) => {
                let message = format!("the store sent {got} bytes of an object of {size}");
                Error::new(ErrorKind::Unavailable, operation, message).with_digest(digest)
            }
        }
    }
}

/// Exactly `size` bytes of `stream`; without a copy where they come in one piece.
async fn collect(
    mut stream: BoxStream<'static, object_store::Result<Bytes>>,
    size: u64,
) -> std::result::Result<Bytes, CollectError> {
    let mut first = Bytes::new();
    let mut all = BytesMut::new();
    let mut length = 0;
    while let Some(piece) = stream.next().await {
        let piece = piece.map_err(CollectError::Store)?;
        length += piece.len() as u64;
        if length > size {
            return Err(CollectError::Length(length));
        }
        if first.is_empty() {
            first = piece;
            continue;
        }
        if all.is_empty() {
            all.reserve(size as usize);
            all.extend_from_slice(&first);
        }
        all.extend_from_slice(&piece);
    }
    if length < size {
        return Err(CollectError::Length(length));
    }
    Ok(if all.is_empty() { first } else { all.freeze() })
}

/// The store's answer about an object, `None` where that is merely absent.
fn unless_absent<T>(
    operation: &'static str,
    digest: impl Into<Option<Digest>>,
    answer: object_store::Result<T>,
) -> Result<Option<T>> {
    match answer {
        Ok(answer) => Ok(Some(answer)),
        Err(error) if absent(&error) => Ok(None),
        Err(error) => Err(store_error(operation, digest.into(), error)),
    }
}

/// Whether an object is merely not there, as opposed to what it would be in.
fn absent(error: &object_store::Error) -> bool {
    let object_store::Error::NotFound { source, .. } = error else { return false };
    // S3 names the missing thing in the body of its answer, which object_store keeps as a text.
    !chain(source.as_ref()).any(|error| {
        let text = error.to_string();
        text.contains("NoSuchBucket") || text.contains("ContainerNotFound")
    })
}
