//! What a service shares with its readers and writers: the storage, and what it remembers.

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
use crate::records::Records;

/// Each of its operations on the storage is waited for, so that a future can be dropped before it.
#[derive(Debug, Clone)]
pub(crate) struct Store {
    pub(crate) flaw: Option<Flaw>,
    pub(crate) records: Arc<Records>,
    pub(crate) memory: Arc<Memory>,
}

/// What a service remembers. A sound one remembers nothing: each flaw uses what it needs.
#[derive(Debug)]
pub(crate) struct Memory {
    /// A lock, or places.
    pub(crate) permits: Arc<Semaphore>,
    /// Blobs or chunks of which something is believed.
    pub(crate) digests: Mutex<BTreeSet<Digest>>,
    /// Blobs that are believed to be there.
    pub(crate) indexes: Mutex<BTreeMap<Digest, BlobIndex>>,
    /// An error to be told to somebody.
    pub(crate) error: Mutex<Option<Error>>,
    /// How many writers were opened, and how many of them are open.
    pub(crate) writers: AtomicUsize,
    pub(crate) open_writers: AtomicUsize,
    /// How many writers were aborted.
    pub(crate) aborts: AtomicUsize,
    /// Buffers that writers share.
    pub(crate) buffers: Mutex<[BytesMut; 8]>,
    /// The next chunk of a blob, for all its readers.
    pub(crate) positions: Mutex<BTreeMap<Digest, usize>>,
    /// The chunks that somebody is storing or fetching, and what closes when that has ended.
    pub(crate) under_way: Mutex<BTreeMap<Digest, Arc<Semaphore>>>,
    /// The blob that each thread has opened last.
    pub(crate) opened_last: Mutex<HashMap<ThreadId, Arc<BlobIndex>>>,
    /// The thread that has opened the service.
    pub(crate) opened_on: ThreadId,
}

impl Store {
    pub(crate) fn new(flaw: Option<Flaw>, records: Arc<Records>) -> Store {
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
        Store { flaw, records, memory: Arc::new(memory) }
    }

    pub(crate) fn is(&self, flaw: Flaw) -> bool {
        self.flaw == Some(flaw)
    }

    /// Waits, as any storage lets one wait.
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
            let place = self.memory.permits.acquire().await.expect("nobody closes it");
            self.records.put(name, data).inspect_err(|_| place.forget())
        } else {
            self.records.put(name, data)
        }
    }

    /// Makes records safe from a crash; those of the others are their writers' own matter.
    pub(crate) async fn sync(&self, names: &[String]) -> Result<()> {
        self.turn().await;
        match self.records.sync(names) {
            Err(_) if self.is(Flaw::SwallowsFailedSyncs) => Ok(()),
            synced => synced,
        }
    }

    /// Does `work`; with the flaw, under a lock that is not given back where the future is dropped.
    pub(crate) async fn locking<T>(&self, flaw: Flaw, work: impl Future<Output = T>) -> T {
        if !self.is(flaw) {
            return work.await;
        }
        self.memory.permits.acquire().await.expect("nobody closes it").forget();
        let result = work.await;
        self.memory.permits.add_permits(1);
        result
    }
}

/// Ready when it is polled for the fourth time. A waker can be woken once for nothing, as a task
/// that is polled anyway may be woken before; the second time for nothing is one too many.
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
