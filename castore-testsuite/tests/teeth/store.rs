//! The state that a service shares with its readers and writers: the storage and its memory.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::future::Future;
use std::pin::Pin;
use std::sync::atomic::AtomicUsize;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Waker};
use std::thread::{self, ThreadId};

use bytes::{Bytes, BytesMut};
use castore_core::{BlobIndex, Digest, Error, Result};
use tokio::sync::Semaphore;

use crate::flaw::Flaw;
use crate::harness::Kind;
use crate::records::Records;

/// Every operation on the storage awaits first, so that a future can be dropped before it.
#[derive(Debug, Clone)]
pub(crate) struct Store {
    pub(crate) flaw: Option<Flaw>,
    /// Whether the service claims verified ranges.
    pub(crate) proves: bool,
    pub(crate) records: Arc<Records>,
    pub(crate) memory: Arc<Memory>,
}

/// The memory of a service. A sound one remembers nothing: each flaw uses the fields it needs.
#[derive(Debug)]
pub(crate) struct Memory {
    /// A lock, or a number of places.
    pub(crate) permits: Arc<Semaphore>,
    /// Blobs or chunks about which a flaw believes something.
    pub(crate) digests: Mutex<BTreeSet<Digest>>,
    /// Blobs that a flaw believes to be present.
    pub(crate) indexes: Mutex<BTreeMap<Digest, BlobIndex>>,
    /// An error that the next writer gets.
    pub(crate) error: Mutex<Option<Error>>,
    /// The numbers of writers opened so far, and of those still open.
    pub(crate) writers: AtomicUsize,
    pub(crate) open_writers: AtomicUsize,
    /// The number of aborted writers.
    pub(crate) aborts: AtomicUsize,
    /// Buffers that writers share.
    pub(crate) buffers: Mutex<[BytesMut; 8]>,
    /// The position of the next chunk of a blob, for all its readers.
    pub(crate) positions: Mutex<BTreeMap<Digest, usize>>,
    /// The chunks that are being stored or fetched, each with a semaphore that is closed at the
    /// end.
    pub(crate) under_way: Mutex<BTreeMap<Digest, Arc<Semaphore>>>,
    /// The blob that each thread opened last.
    pub(crate) opened_last: Mutex<HashMap<ThreadId, Arc<BlobIndex>>>,
    /// The thread that opened the service.
    pub(crate) opened_on: ThreadId,
}

impl Store {
    pub(crate) fn new(Kind { flaw, proves }: Kind, records: Arc<Records>) -> Store {
        let permits = match flaw {
            Some(Flaw::WritersHoldPlaces | Flaw::FailedWriteKeepsItsPlace) => 8,
            Some(Flaw::ReadsHoldPlaces) => 16,
            Some(Flaw::ReadersAndWritersSharePlaces) => 48,
            Some(Flaw::DroppedWriterKeepsItsPlace) => 64,
            Some(Flaw::DroppedReadKeepsItsPlace) => 100,
            _ => 1,
        };
        let memory = Memory {
            permits: Arc::new(Semaphore::new(permits)),
            digests: Mutex::default(),
            indexes: Mutex::default(),
            error: Mutex::default(),
            writers: AtomicUsize::new(0),
            open_writers: AtomicUsize::new(0),
            aborts: AtomicUsize::new(0),
            buffers: Mutex::default(),
            positions: Mutex::default(),
            under_way: Mutex::default(),
            opened_last: Mutex::default(),
            opened_on: thread::current().id(),
        };
        Store { flaw, proves, records, memory: Arc::new(memory) }
    }

    pub(crate) fn is(&self, flaw: Flaw) -> bool {
        self.flaw == Some(flaw)
    }

    /// Waits, as any real storage makes its callers wait.
    pub(crate) async fn turn(&self) {
        if self.is(Flaw::WakesTheFirstPoller) {
            return FirstPoller::default().await;
        }
        tokio::task::yield_now().await;
    }

    pub(crate) async fn fetch(&self, name: &str) -> Result<Option<Bytes>> {
        self.turn().await;
        self.records.get(name)
    }

    pub(crate) async fn store(&self, name: &str, data: Bytes) -> Result<()> {
        self.turn().await;
        if self.is(Flaw::FailedWriteKeepsItsPlace) {
            let place = self.memory.permits.acquire().await.expect("never closed");
            self.records.put(name, data).inspect_err(|_| place.forget())
        } else {
            self.records.put(name, data)
        }
    }

    /// Makes these records survive a crash. Other writers sync their own.
    pub(crate) async fn sync(&self, names: &[String]) -> Result<()> {
        self.turn().await;
        match self.records.sync(names) {
            Err(_) if self.is(Flaw::SwallowsFailedSyncs) => Ok(()),
            synced => synced,
        }
    }

    /// Does `work`; with the flaw, under a lock that is never released if the future is dropped.
    pub(crate) async fn locking<T>(&self, flaw: Flaw, work: impl Future<Output = T>) -> T {
        if !self.is(flaw) {
            return work.await;
        }
        self.memory.permits.acquire().await.expect("never closed").forget();
        let result = work.await;
        self.memory.permits.add_permits(1);
        result
    }
}

/// Ready when polled for the fourth time. One spurious wake-up is legitimate, because a task that
/// is polled anyway may have been woken before. A second one is an error.
#[derive(Default)]
struct FirstPoller {
    waker: Option<Waker>,
    polled: usize,
}

impl Future for FirstPoller {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        self.polled += 1;
        if self.polled > 3 {
            return Poll::Ready(());
        }
        self.waker.get_or_insert_with(|| cx.waker().clone()).wake_by_ref();
        Poll::Pending
    }
}
