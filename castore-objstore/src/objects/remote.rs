//! Requests to a store behind `object_store`: any of the clouds, WebDAV, memory, or a store of the
//! caller's own.

use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use futures_util::stream::BoxStream;
use futures_util::{FutureExt, StreamExt, TryStreamExt};
use object_store::path::Path;
use object_store::{
    Error as StoreError, GetResult, GetResultPayload, ObjectMeta, ObjectStore, ObjectStoreExt,
    PutPayload, Result as StoreResult,
};

use crate::error::{Broken, Trouble, answered_status, trouble};
use crate::exec::limits::Limits;
use crate::objects::answer::noting;
use crate::objects::fetched::Fetched;
use crate::objects::line::{ANSWER_TIME, Line, Load};
use crate::objects::meta::Entry;
use crate::objects::remote_list::list;
use crate::objects::remote_walk::walk;
use crate::objects::retry::{Backend, Patience, Trial};
use crate::objects::walk::Enters;

/// A copy within the store counts as stalled after this time.
const COPY_TIME: Duration = Duration::from_secs(600);

/// The bytes that a GET reserves on the line before its answer states the size of the object: a
/// chunk of the default size that does not compress.
pub(super) const USUAL_OBJECT: u64 = 256 * 1024;

/// A store behind `object_store`, and the limit on concurrent requests to it.
///
/// Every method waits for its share of the requests. A request lasts until its bytes have arrived.
/// While a request waits to be retried, it releases its share.
#[derive(Clone)]
pub(crate) struct Remote {
    pub(super) store: Arc<dyn ObjectStore>,
    limits: Arc<Limits>,
    /// How requests are retried, if this service retries them and not the store.
    pub(super) patience: Option<Arc<Patience>>,
}

/// The answer to a request for an object.
pub(crate) enum Got {
    Object(Fetched),
    /// An object of this many bytes, more than the request allows.
    TooLarge(u64),
}

impl std::fmt::Debug for Remote {
    /// A store's own `Debug` may show keys and tokens.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Remote { store, limits, patience } = self;
        f.debug_struct("Remote")
            .field("store", &format_args!("{store}"))
            .field("limits", limits)
            .field("patience", patience)
            .finish()
    }
}

impl Remote {
    pub(crate) fn new(
        store: Arc<dyn ObjectStore>,
        limits: Arc<Limits>,
        patience: Option<Patience>,
    ) -> Remote {
        Remote { store, limits, patience: patience.map(Arc::new) }
    }

    pub(crate) async fn head(&self, path: &Path) -> StoreResult<ObjectMeta> {
        let head = |_| within(self.limit(ANSWER_TIME), self.store.head(path));
        let answer = self.persist(None, |_| false, head).await;
        if let (Err(StoreError::NotFound { .. }), Some(patience)) = (&answer, &self.patience) {
            self.find_bucket(patience, path).await?;
        }
        answer
    }

    /// Fetches an object, unless it has more than `max_size` bytes.
    pub(crate) async fn get(&self, path: &Path, max_size: u64) -> StoreResult<Got> {
        let line = self.patience.as_ref().map(|patience| (&patience.down, USUAL_OBJECT));
        let limit = self.limit(ANSWER_TIME);
        let get = |load: Option<Load>| async move {
            let result = match within(limit, self.store.get(path)).await {
                Ok(result) => result,
                Err(error) => return Err(stalled(load, error)),
            };
            if result.meta.size > max_size {
                return Ok(Got::TooLarge(result.meta.size));
            }
            self.take(result, load, limit).await.map(Got::Object)
        };
        self.persist(line, |_| false, get).await
    }

    async fn take(
        &self,
        result: GetResult,
        mut load: Option<Load>,
        limit: Option<Duration>,
    ) -> StoreResult<Fetched> {
        let size = result.meta.size;
        let stream = match result.payload {
            // An open file does not count as a request any more.
            GetResultPayload::File(file, _) => {
                return Ok(Fetched::File(file, result.range.start, size));
            }
            GetResultPayload::Stream(stream) => stream,
        };
        if let Some(load) = &mut load {
            load.resize(size);
        }
        match collect(stream, size, limit).await {
            Ok(bytes) => {
                if let Some(load) = load {
                    load.arrived();
                }
                Ok(Fetched::Bytes(bytes))
            }
            Err(error) => Err(stalled(load, error)),
        }
    }

    /// The bytes `range` of an object.
    pub(crate) async fn get_range(&self, path: &Path, range: Range<u64>) -> StoreResult<Bytes> {
        let limit = self.limit(ANSWER_TIME);
        let get = |_| within(limit, self.store.get_range(path, range.clone()));
        self.persist(None, |_| false, get).await
    }

    /// Puts an object if `allowed` returns `true` when the request may be sent, and before each
    /// further attempt. Returns whether the object is stored. If not, an earlier attempt may still
    /// have taken effect.
    pub(crate) async fn put_if(
        &self,
        path: &Path,
        object: Bytes,
        mut allowed: impl FnMut() -> bool,
    ) -> StoreResult<bool> {
        let bytes = object.len() as u64;
        let line = self.patience.as_ref().map(|patience| (&patience.up, bytes));
        let put = |load: Option<Load>| {
            let payload = allowed().then(|| PutPayload::from_bytes(object.clone()));
            async move {
                let Some(payload) = payload else { return Ok(false) };
                let longest = self.patience.as_ref().map(|patience| patience.longest_request);
                let put = within(longest, self.store.put(path, payload));
                let answer = match &load {
                    None => put.await,
                    Some(load) => match load.unless_stalled(put).await {
                        Ok(answer) => answer,
                        Err(time) => Err(Broken::Stalled(time).into()),
                    },
                };
                match answer {
                    Ok(_) => {
                        if let Some(load) = load {
                            load.arrived();
                        }
                        Ok(true)
                    }
                    Err(error) => Err(stalled(load, error)),
                }
            }
        };
        let conflicts = |backend: Backend| backend.makes_directories;
        self.persist(line, conflicts, put).await
    }

    /// Deletes an object if `allowed` returns `true` when the request may be sent, and before each
    /// further attempt. Returns whether it did.
    pub(crate) async fn delete_if(
        &self,
        path: &Path,
        mut allowed: impl FnMut() -> bool,
    ) -> StoreResult<bool> {
        let limit = self.limit(ANSWER_TIME);
        let mut tried = false;
        let delete = |_| {
            let (allowed, again) = (allowed(), tried);
            tried |= allowed;
            async move {
                match (allowed, again) {
                    (true, _) => within(limit, self.store.delete(path)).await.map(|()| true),
                    (false, false) => Ok(false),
                    // The first attempt may have taken effect.
                    (false, true) => Err(Broken::TooLate.into()),
                }
            }
        };
        self.persist(None, |_| false, delete).await
    }

    pub(crate) async fn copy(&self, from: &Path, to: &Path) -> StoreResult<()> {
        let copy = |_| within(self.limit(COPY_TIME), self.store.copy(from, to));
        self.persist(None, |backend| backend.makes_directories, copy).await
    }

    /// Lists the objects under `prefix`; in a store that has directories, those in the directories
    /// that `enters` accepts. A listing that comes in pages does not count as one of the limited
    /// requests: its caller may take the objects slowly.
    pub(crate) fn list(
        &self,
        prefix: &Path,
        enters: Enters,
    ) -> BoxStream<'static, StoreResult<Entry>> {
        let listed = match &self.patience {
            Some(patience) if patience.backend.makes_directories => {
                return walk(self.clone(), prefix.clone(), enters);
            }
            Some(_) => list(self.clone(), prefix.clone()),
            None => self.store.list(Some(prefix)),
        };
        listed.map_ok(|object| Entry::Object(object.into())).boxed()
    }

    /// The time that a request may take, if requests are retried.
    pub(super) fn limit(&self, time: Duration) -> Option<Duration> {
        self.patience.as_ref().map(|_| time)
    }

    /// Makes attempts until one is answered, or the time for retries is over. `line` is the
    /// direction in which bytes travel, and their number; `conflicts` says for which stores a
    /// conflict is retried.
    pub(super) async fn persist<T, F: Future<Output = StoreResult<T>>>(
        &self,
        line: Option<(&Arc<Line>, u64)>,
        conflicts: impl Fn(Backend) -> bool,
        mut attempt: impl FnMut(Option<Load>) -> F,
    ) -> StoreResult<T> {
        let Some(patience) = &self.patience else {
            let _permit = self.limits.request().await;
            return attempt(None).await;
        };
        let mut trial = Trial::default();
        loop {
            // A request first waits for room on the line and then for a share of the requests,
            // never in the other order: a HEAD need not wait for a slow line.
            let load = match line {
                Some((line, bytes)) => Some(line.load(bytes).await),
                None => None,
            };
            let permit = self.limits.request().await;
            let (answer, status) = noting(attempt(load)).await;
            let error = match answer {
                Ok(answer) => {
                    permit.answered();
                    patience.answered();
                    // An answer other than "not found" shows that the bucket exists.
                    let _ = patience.bucket.set(());
                    return Ok(answer);
                }
                Err(error) => error,
            };
            let trouble = trouble(&error, status)
                .filter(|trouble| *trouble != Trouble::Conflict || conflicts(patience.backend));
            let Some(trouble) = trouble else {
                permit.answered();
                patience.answered();
                return Err(error);
            };
            let Some(wait) = patience.failed(&mut trial, trouble) else { return Err(error) };
            if trouble == Trouble::Refused {
                permit.refused();
            }
            drop(permit);
            tracing::debug!(%error, ?wait, "a request failed and is tried again");
            tokio::time::sleep(wait).await;
        }
    }

    /// Checks, once, that an absent object is not absent because its bucket is.
    ///
    /// The answer to a HEAD has no body that could distinguish the two. A listing under the absent
    /// object's key has a body, and is otherwise empty.
    async fn find_bucket(&self, patience: &Patience, absent: &Path) -> StoreResult<()> {
        if !patience.backend.has_bucket {
            return Ok(());
        }
        let ask = || async {
            match self.list(absent, Arc::new(|_| false)).next().await {
                None | Some(Ok(_)) => Ok(()),
                Some(Err(error)) if answered_status(&error) == Some(404) => {
                    Err(StoreError::Generic { store: "bucket", source: Box::new(error) })
                }
                Some(Err(error)) if trouble(&error, None).is_some() => Err(error),
                // The store answers but refuses to list: this service may lack the permission.
                Some(Err(_)) => Ok(()),
            }
        };
        patience.bucket.get_or_try_init(ask).await.copied()
    }
}

/// The result of `request`, or an error that says that the request stalls if it takes longer than
/// `limit`.
pub(super) async fn within<T>(
    limit: Option<Duration>,
    request: impl Future<Output = StoreResult<T>>,
) -> StoreResult<T> {
    match limit {
        None => request.await,
        Some(limit) => match tokio::time::timeout(limit, request).await {
            Ok(result) => result,
            Err(_) => Err(Broken::Stalled(limit).into()),
        },
    }
}

/// Returns `error`. If it says that the request stalled, the line is told first.
pub(super) fn stalled(load: Option<Load>, error: StoreError) -> StoreError {
    if let Some(load) = load
        && matches!(Broken::of(&error), Some(Broken::Stalled(_)))
    {
        load.stalled();
    }
    error
}

/// Exactly `size` bytes of `stream`, without a copy if they come in one piece. Each piece must come
/// within `limit`.
async fn collect(
    mut stream: BoxStream<'static, StoreResult<Bytes>>,
    size: u64,
    limit: Option<Duration>,
) -> StoreResult<Bytes> {
    let mut first = Bytes::new();
    let mut all = BytesMut::new();
    let mut length = 0;
    let wrong = |got| StoreError::from(Broken::Length { got, size });
    while let Some(piece) = within(limit, stream.next().map(Option::transpose)).await? {
        length += piece.len() as u64;
        if length > size {
            return Err(wrong(length));
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
        return Err(wrong(length));
    }
    Ok(if all.is_empty() { first } else { all.freeze() })
}
