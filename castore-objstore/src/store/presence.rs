//! Chunks that are known to be stored, and chunks that are on their way.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use castore_core::Digest;
use quick_cache::sync::Cache;
use tokio::sync::{Mutex as AsyncMutex, OwnedMutexGuard};

use crate::exec::clock::Moment;

/// How many chunks are remembered: about 5 MiB of memory, and 16 GiB of chunks of 256 KiB. (Tests
/// make services by the thousand.)
const REMEMBERED: usize = if cfg!(test) { 256 } else { 64 * 1024 };

/// How long a chunk counts as stored after it was seen to be.
///
/// Somebody else may remove it from the store. A blob whose chunks were seen too long ago for that
/// is checked again before its index is written (`recheck.rs`); this spares most blobs from it.
pub(crate) const TRUSTED: Duration = Duration::from_secs(3600);

type Turn = Arc<AsyncMutex<()>>;

#[derive(Debug)]
pub(crate) struct Known {
    stored: Cache<Digest, Seen>,
    uploading: Mutex<HashMap<Digest, Turn>>,
}

/// A chunk that was seen in the store.
#[derive(Debug, Clone, Copy)]
struct Seen {
    at: Moment,
    /// The size of its object in bytes, where this service wrote or verified that.
    stored_size: Option<u64>,
}

impl Known {
    pub(crate) fn new() -> Known {
        Known { stored: Cache::new(REMEMBERED), uploading: Mutex::default() }
    }

    /// When the chunk was last seen to be stored, if that is a short while ago.
    pub(crate) fn seen(&self, digest: &Digest) -> Option<Moment> {
        self.stored.get(digest).map(|seen| seen.at).filter(|at| at.elapsed() < TRUSTED)
    }

    /// The size in bytes of the chunk's object, where this service once wrote or verified that.
    pub(crate) fn stored_size(&self, digest: &Digest) -> Option<u64> {
        self.stored.get(digest)?.stored_size
    }

    /// Remembers that the chunk was stored at `seen`: before the request that told so was sent.
    pub(crate) fn insert(&self, digest: Digest, seen: Moment) {
        let stored_size = self.stored_size(&digest);
        self.stored.insert(digest, Seen { at: seen, stored_size });
    }

    /// The same of an object of `stored_size` bytes, which was written or verified.
    pub(crate) fn insert_sized(&self, digest: Digest, seen: Moment, stored_size: u64) {
        self.stored.insert(digest, Seen { at: seen, stored_size: Some(stored_size) });
    }

    /// Forgets a chunk that is not there any more.
    pub(crate) fn forget(&self, digest: &Digest) {
        self.stored.remove(digest);
    }

    /// Waits for the turn to store the chunk `digest`: of identical chunks that are in flight, one is asked
    /// for and uploaded, and the others then find it known. When the holder of the turn fails or is given
    /// up, the next one stores the chunk itself.
    pub(crate) async fn turn(&self, digest: Digest) -> TurnGuard<'_> {
        let turn = Arc::clone(self.uploading().entry(digest).or_default());
        let mut guard = TurnGuard { known: self, digest, turn, held: None };
        guard.held = Some(Arc::clone(&guard.turn).lock_owned().await);
        guard
    }

    fn uploading(&self) -> MutexGuard<'_, HashMap<Digest, Turn>> {
        self.uploading.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A turn, waited for or held; the last one to leave removes it from the map.
pub(crate) struct TurnGuard<'a> {
    known: &'a Known,
    digest: Digest,
    turn: Turn,
    held: Option<OwnedMutexGuard<()>>,
}

impl Drop for TurnGuard<'_> {
    fn drop(&mut self) {
        let mut uploading = self.known.uploading();
        self.held = None;
        // The map's and ours, counted under the lock that whoever wants another must take.
        if Arc::strong_count(&self.turn) == 2 {
            uploading.remove(&self.digest);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn what_is_known_is_forgotten_after_a_while() {
        let known = Known::new();
        let digest = Digest::of(b"a");
        assert!(known.seen(&digest).is_none());
        known.insert(digest, Moment::now());
        assert!(known.seen(&digest).is_some());
        tokio::time::advance(TRUSTED).await;
        assert!(known.seen(&digest).is_none());
    }

    #[tokio::test]
    async fn turns_are_taken_one_at_a_time_and_leave_nothing_behind() {
        let known = Known::new();
        let digest = Digest::of(b"a");
        let first = known.turn(digest).await;
        let other = known.turn(Digest::of(b"b")).await;
        {
            let second = known.turn(digest);
            let mut second = std::pin::pin!(second);
            assert!(futures_util::poll!(&mut second).is_pending());
            drop(first);
            let held = second.await;
            let given_up = known.turn(digest);
            let mut given_up = Box::pin(given_up);
            assert!(futures_util::poll!(&mut given_up).is_pending());
            drop(held);
            drop(given_up);
        }
        drop(other);
        assert!(known.uploading().is_empty());
    }
}
