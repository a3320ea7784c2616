//! Chunks that are known to be stored, and chunks whose upload is in progress.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use castore_core::Digest;
use quick_cache::sync::Cache;
use tokio::sync::{Mutex as AsyncMutex, OwnedMutexGuard};

use crate::exec::clock::Moment;

/// How many chunks are remembered: about 5 MiB of memory, for 16 GiB of chunks of 256 KiB. (Tests
/// make thousands of services.)
const REMEMBERED: usize = if cfg!(test) { 256 } else { 64 * 1024 };

/// How long a chunk counts as stored after it was last seen.
///
/// Another process may remove the chunk from the store. Before a writer writes an index, it looks
/// for the blob's chunks again if it has last seen them longer ago than half the grace period
/// (`recheck.rs`). This shorter time spares most blobs that check.
pub(crate) const TRUSTED: Duration = Duration::from_secs(3600);

type Turn = Arc<AsyncMutex<()>>;

#[derive(Debug)]
pub(crate) struct Presence {
    stored: Cache<Digest, Seen>,
    uploading: Mutex<HashMap<Digest, Turn>>,
}

/// A chunk that was seen in the store.
#[derive(Debug, Clone, Copy)]
struct Seen {
    at: Moment,
    /// The size of the chunk's object in bytes, if this service wrote or verified the object.
    stored_size: Option<u64>,
}

impl Presence {
    pub(crate) fn new() -> Presence {
        Presence { stored: Cache::new(REMEMBERED), uploading: Mutex::default() }
    }

    /// The moment at which the chunk was last seen in the store, unless that is longer ago than
    /// [`TRUSTED`].
    pub(crate) fn seen(&self, digest: &Digest) -> Option<Moment> {
        self.stored.get(digest).map(|seen| seen.at).filter(|at| at.elapsed() < TRUSTED)
    }

    /// The size of the chunk's object in bytes, if this service wrote or verified the object.
    pub(crate) fn stored_size(&self, digest: &Digest) -> Option<u64> {
        self.stored.get(digest)?.stored_size
    }

    /// Remembers that the chunk was in the store at `seen`: the moment before the request was sent
    /// that showed it.
    pub(crate) fn insert(&self, digest: Digest, seen: Moment) {
        let stored_size = self.stored_size(&digest);
        self.stored.insert(digest, Seen { at: seen, stored_size });
    }

    /// The same for an object of `stored_size` bytes that this service wrote or verified.
    pub(crate) fn insert_sized(&self, digest: Digest, seen: Moment, stored_size: u64) {
        self.stored.insert(digest, Seen { at: seen, stored_size: Some(stored_size) });
    }

    /// Forgets a chunk that the store does not have any more.
    pub(crate) fn forget(&self, digest: &Digest) {
        self.stored.remove(digest);
    }

    /// Waits for the turn to store the chunk `digest`: of several identical chunks in flight, one
    /// is looked up and uploaded, and the others then find it known. If the holder of the turn
    /// fails or is dropped, the next one stores the chunk itself.
    pub(crate) async fn single_flight(&self, digest: Digest) -> TurnGuard<'_> {
        let turn = Arc::clone(self.uploading().entry(digest).or_default());
        let mut guard = TurnGuard { presence: self, digest, turn, held: None };
        guard.held = Some(Arc::clone(&guard.turn).lock_owned().await);
        guard
    }

    fn uploading(&self) -> MutexGuard<'_, HashMap<Digest, Turn>> {
        self.uploading.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A turn that a task waits for or holds. The last task to leave removes the turn from the map.
pub(crate) struct TurnGuard<'a> {
    presence: &'a Presence,
    digest: Digest,
    turn: Turn,
    held: Option<OwnedMutexGuard<()>>,
}

impl Drop for TurnGuard<'_> {
    fn drop(&mut self) {
        let mut uploading = self.presence.uploading();
        self.held = None;
        // Two references are left: the map's and this guard's. A task that takes another one needs
        // the lock held here, so the count cannot grow meanwhile.
        if Arc::strong_count(&self.turn) == 2 {
            uploading.remove(&self.digest);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn known_chunks_are_forgotten_after_a_while() {
        let known = Presence::new();
        let digest = Digest::of(b"a");
        assert!(known.seen(&digest).is_none());
        known.insert(digest, Moment::now());
        assert!(known.seen(&digest).is_some());
        tokio::time::advance(TRUSTED).await;
        assert!(known.seen(&digest).is_none());
    }

    #[tokio::test]
    async fn turns_are_taken_one_at_a_time_and_leave_nothing_behind() {
        let known = Presence::new();
        let digest = Digest::of(b"a");
        let first = known.single_flight(digest).await;
        let other = known.single_flight(Digest::of(b"b")).await;
        {
            let second = known.single_flight(digest);
            let mut second = std::pin::pin!(second);
            assert!(futures_util::poll!(&mut second).is_pending());
            drop(first);
            let held = second.await;
            let given_up = known.single_flight(digest);
            let mut given_up = Box::pin(given_up);
            assert!(futures_util::poll!(&mut given_up).is_pending());
            drop(held);
            drop(given_up);
        }
        drop(other);
        assert!(known.uploading().is_empty());
    }
}
