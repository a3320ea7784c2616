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
/// is checked again before its index is written (`check_again.rs`); this spares most blobs from it.
pub(crate) const TRUSTED: Duration = Duration::from_secs(3600);

type Turn = Arc<AsyncMutex<()>>;

#[derive(Debug)]
pub(crate) struct Known {
    stored: Cache<Digest, Moment>,
    uploading: Mutex<HashMap<Digest, Turn>>,
}

impl Known {
    pub(crate) fn new() -> Known {
        Known { stored: Cache::new(REMEMBERED), uploading: Mutex::default() }
    }

    /// When the chunk was last seen to be stored, if that is a short while ago.
    pub(crate) fn seen(&self, digest: &Digest) -> Option<Moment> {
        self.stored.get(digest).filter(|seen| seen.elapsed() < TRUSTED)
    }

    /// Remembers that the chunk was stored at `seen`: before the request that told so was sent.
    pub(crate) fn insert(&self, digest: Digest, seen: Moment) {
        self.stored.insert(digest, seen);
    }

    /// It is not there any more.
    pub(crate) fn forget(&self, digest: &Digest) {
        self.stored.remove(digest);
    }

    /// Waits for the turn to see to the chunk `digest`: of identical chunks that are in flight,
    /// one is asked for and uploaded, and the others then find it known. Where the one that had
    /// the turn failed or was given up, the next one does it for itself.
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
