//! The hook by which a program measures every request of a service.

use std::fmt;
use std::future::Future;
use std::sync::Arc;
use std::time::{Duration, Instant};

use castore_core::{ErrorKind, Result};
use futures_util::FutureExt;

/// Receives a report of every request that a service makes to its store.
///
/// A closure is an implementation. [`Builder::metrics`](crate::Builder::metrics) sets it; a program
/// feeds a histogram or a log with it:
///
/// ```
/// use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
/// use std::sync::Arc;
///
/// use castore_core::BlobService;
/// use castore_objstore::metrics::{Request, RequestKind};
/// use castore_objstore::parse_url;
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> castore_core::Result<()> {
/// let sent = Arc::new(AtomicU64::new(0));
/// let total = Arc::clone(&sent);
/// let observe = move |request: &Request| {
///     if request.kind == RequestKind::Put {
///         total.fetch_add(request.bytes, Relaxed);
///     }
/// };
/// let service = parse_url("memory:")?.metrics(Arc::new(observe)).build()?;
/// service.put_bytes("Hello World".into()).await?;
/// assert!(sent.load(Relaxed) > service.stats().bytes_stored, "a chunk and an index");
/// # Ok(())
/// # }
/// ```
pub trait Metrics: Send + Sync + 'static {
    /// Called when a request has ended, on the task or thread that has made the request: it must
    /// return soon, and must not block. A request whose caller gives up before the end is not
    /// reported.
    fn request(&self, request: &Request);
}

impl<F: Fn(&Request) + Send + Sync + 'static> Metrics for F {
    fn request(&self, request: &Request) {
        self(request);
    }
}

/// A request that has ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct Request {
    /// The kind of request.
    pub kind: RequestKind,
    /// The operation that needed the request, as errors name it, such as `"read chunk"`.
    pub operation: &'static str,
    /// The time from the decision to make the request until its result: the wait for a free slot
    /// among [`Builder::requests`](crate::Builder::requests), every attempt and the pauses between
    /// attempts count.
    pub duration: Duration,
    /// The bytes of the object that a successful put has sent or a successful get has received; 0
    /// for other requests.
    pub bytes: u64,
    /// The result.
    pub outcome: RequestOutcome,
}

/// The kind of a request. A listing is not reported: its caller decides how fast it goes on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum RequestKind {
    /// Asks for the size and the times of an object.
    Head,
    /// Fetches an object or a range of it.
    Get,
    /// Stores an object.
    Put,
    /// Deletes an object.
    Delete,
    /// Copies an object within the store.
    Copy,
}

impl RequestKind {
    /// The name in lower case, such as `get`: a label for a metric.
    pub fn name(self) -> &'static str {
        match self {
            RequestKind::Head => "head",
            RequestKind::Get => "get",
            RequestKind::Put => "put",
            RequestKind::Delete => "delete",
            RequestKind::Copy => "copy",
        }
    }
}

/// The result of a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum RequestOutcome {
    /// The store did the request.
    Done,
    /// The store has no such object.
    Absent,
    /// The request failed after its last attempt.
    Failed(ErrorKind),
}

/// The success of a request, as far as the hook is concerned.
pub(super) enum Answered {
    /// With the bytes of the object that was sent or received.
    Done(u64),
    Absent,
    /// The caller withdrew the request before its first attempt.
    NotSent,
}

impl Answered {
    /// Of a request for an object that may be absent.
    pub(super) fn of<T>(object: Option<&T>, bytes: impl FnOnce(&T) -> u64) -> Answered {
        object.map_or(Answered::Absent, |object| Answered::Done(bytes(object)))
    }
}

/// The hook of a service, if any.
#[derive(Clone, Default)]
pub(crate) struct Hook(Option<Arc<dyn Metrics>>);

impl fmt::Debug for Hook {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.0.is_some() { "Metrics" } else { "no Metrics" })
    }
}

impl Hook {
    pub(crate) fn new(metrics: Arc<dyn Metrics>) -> Hook {
        Hook(Some(metrics))
    }

    /// Reports `work` when it has ended; `answered` classifies its result.
    ///
    /// The future holds `work` once, and no copy: a reader of small chunks has a thousand of them.
    pub(super) fn observe<T>(
        &self,
        kind: RequestKind,
        operation: &'static str,
        answered: impl FnOnce(&T) -> Answered,
        work: impl Future<Output = Result<T>>,
    ) -> impl Future<Output = Result<T>> {
        let observer = self.0.clone().map(|metrics| (metrics, Instant::now()));
        work.inspect(move |result| {
            let Some((metrics, begun)) = observer else { return };
            let (outcome, bytes) = match result.as_ref().map(answered) {
                Ok(Answered::Done(bytes)) => (RequestOutcome::Done, bytes),
                Ok(Answered::Absent) => (RequestOutcome::Absent, 0),
                Ok(Answered::NotSent) => return,
                Err(error) => (RequestOutcome::Failed(error.kind()), 0),
            };
            let duration = begun.elapsed();
            metrics.request(&Request { kind, operation, duration, bytes, outcome });
        })
    }
}
