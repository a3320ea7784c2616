//! One caller does the work that several want, and the others wait: for the flaws of waiting.

use std::future::Future;
use std::sync::Arc;

use castore_core::Digest;
use tokio::sync::Semaphore;

use crate::flaw::Flaw;
use crate::records::locked;
use crate::store::Store;

impl Store {
    /// Does `work`, or waits for the caller that is doing it for `digest` and returns `None`.
    pub(crate) async fn once<T>(&self, digest: Digest, work: impl Future<Output = T>) -> Option<T> {
        let mut result = None;
        let work = async {
            result = Some(work.await);
            true
        };
        self.once_if(digest, work).await;
        result
    }

    /// Does `work`, or waits for the caller that is doing it for `digest`. Returns whether it did
    /// the work itself. The waiting callers are woken if `work` returns true.
    pub(crate) async fn once_if(&self, digest: Digest, work: impl Future<Output = bool>) -> bool {
        let done = Arc::new(Semaphore::new(0));
        let before = {
            let mut under_way = locked(&self.memory.under_way);
            let before = under_way.get(&digest).cloned();
            under_way.entry(digest).or_insert_with(|| Arc::clone(&done));
            before
        };
        if let Some(before) = before {
            // The semaphore has no permits: this returns with an error when the leader closes it.
            let _ = before.acquire().await;
            return false;
        }
        let mut leader = Leader { store: self, digest, done, has_ended: false };
        leader.has_ended = work.await;
        true
    }
}

/// Wakes the waiting callers when it is dropped.
struct Leader<'a> {
    store: &'a Store,
    digest: Digest,
    done: Arc<Semaphore>,
    has_ended: bool,
}

impl Drop for Leader<'_> {
    fn drop(&mut self) {
        locked(&self.store.memory.under_way).remove(&self.digest);
        if self.has_ended || self.store.is(Flaw::TrustsTheLeader) {
            self.done.close();
        }
    }
}
