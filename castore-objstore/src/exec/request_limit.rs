//! The limit on requests in flight: it shrinks while the store answers that there are too many.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::Instant;

/// The limit shrinks at most this often. When a store begins to refuse, it refuses all requests in
/// flight together: they are one sign, not a hundred.
const SHRINK_INTERVAL: Duration = Duration::from_millis(500);

/// The limit shrinks to 7/10, and to no less than one request.
///
/// The minimum is one, because a store may accept no more than one at once, and would refuse all
/// above for ever. One is no trap either: the limit grows by one for each full window of answers,
/// from 1 to 10 within 55.
const SHRINK: (usize, usize) = (7, 10);

/// An adaptive limit on requests, between 1 and a ceiling.
#[derive(Debug)]
pub(crate) struct RequestLimit {
    free: Arc<Semaphore>,
    ceiling: usize,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    limit: usize,
    /// The number of permits to discard when they are dropped, because the limit has shrunk
    /// meanwhile.
    surplus: usize,
    /// Answers since the limit last changed.
    answers: usize,
    shrunk: Option<Instant>,
}

/// The right to have one request in flight, until this is dropped.
#[derive(Debug)]
pub(crate) struct RequestPermit {
    limit: Arc<RequestLimit>,
    permit: Option<OwnedSemaphorePermit>,
}

impl RequestLimit {
    /// `ceiling` is at least 1, and at most a semaphore's maximum; the builder checks it.
    pub(crate) fn new(ceiling: usize) -> RequestLimit {
        let state = State { limit: ceiling, surplus: 0, answers: 0, shrunk: None };
        RequestLimit { free: Arc::new(Semaphore::new(ceiling)), ceiling, state: Mutex::new(state) }
    }

    /// How many requests may be in flight at once while the store does not object.
    pub(crate) fn ceiling(&self) -> usize {
        self.ceiling
    }

    /// Waits until one more request may be in flight, in the order of the calls. Cancel safe.
    pub(crate) async fn acquire(self: &Arc<Self>) -> RequestPermit {
        // Only a closed semaphore returns an error, and this one is never closed.
        let permit = Arc::clone(&self.free).acquire_owned().await.ok();
        RequestPermit { limit: Arc::clone(self), permit }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The store has answered a request normally: the limit grows by one after a full window of
    /// such answers.
    fn grow(&self) {
        let mut state = self.state();
        if state.limit >= self.ceiling {
            return;
        }
        state.answers += 1;
        if state.answers < state.limit {
            return;
        }
        state.answers = 0;
        state.limit += 1;
        match state.surplus {
            0 => self.free.add_permits(1),
            _ => state.surplus -= 1,
        }
    }

    /// The store has refused a request because there are too many.
    fn shrink(&self) {
        let mut state = self.state();
        let now = Instant::now();
        if state.shrunk.is_some_and(|shrunk| now.duration_since(shrunk) < SHRINK_INTERVAL) {
            return;
        }
        state.shrunk = Some(now);
        state.answers = 0;
        let limit = (state.limit * SHRINK.0 / SHRINK.1).max(1);
        let fewer = state.limit - limit;
        state.limit = limit;
        let taken = self.free.forget_permits(fewer);
        state.surplus += fewer - taken;
        tracing::debug!(limit, "the store refuses so many requests at once: fewer are sent");
    }
}

impl RequestPermit {
    /// Notes that the store has answered this request normally.
    pub(crate) fn answered(&self) {
        self.limit.grow();
    }

    /// Notes that the store has refused this request because there are too many.
    pub(crate) fn refused(&self) {
        self.limit.shrink();
    }
}

impl Drop for RequestPermit {
    fn drop(&mut self) {
        let mut state = self.limit.state();
        if state.surplus > 0
            && let Some(permit) = self.permit.take()
        {
            state.surplus -= 1;
            permit.forget();
        }
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt;

    use super::*;

    /// How many permits are available now.
    fn available(limit: &Arc<RequestLimit>) -> usize {
        let permits: Vec<_> = std::iter::from_fn(|| limit.acquire().now_or_never()).collect();
        permits.len()
    }

    async fn refuse(limit: &Arc<RequestLimit>) {
        tokio::time::advance(SHRINK_INTERVAL).await;
        limit.acquire().await.refused();
    }

    #[tokio::test(start_paused = true)]
    async fn refusals_shrink_the_limit_to_one_request() {
        let limit = Arc::new(RequestLimit::new(128));
        assert_eq!(available(&limit), 128);
        let mut seen = Vec::new();
        for _ in 0..15 {
            refuse(&limit).await;
            seen.push(available(&limit));
        }
        assert_eq!(seen, [89, 62, 43, 30, 21, 14, 9, 6, 4, 2, 1, 1, 1, 1, 1]);
    }

    #[tokio::test(start_paused = true)]
    async fn refusals_at_the_same_time_count_as_one() {
        let limit = Arc::new(RequestLimit::new(50));
        let permits: Vec<_> = std::iter::from_fn(|| limit.acquire().now_or_never()).collect();
        for permit in &permits {
            permit.refused();
        }
        drop(permits);
        assert_eq!(available(&limit), 35);
    }

    #[tokio::test(start_paused = true)]
    async fn permits_that_are_out_when_the_limit_shrinks_do_not_come_back() {
        let limit = Arc::new(RequestLimit::new(10));
        let mut permits: Vec<_> = std::iter::from_fn(|| limit.acquire().now_or_never()).collect();
        permits[0].refused();
        for out in (7..10).rev() {
            drop(permits.pop());
            assert_eq!(available(&limit), 0, "{out} are still under way, and 7 may be");
        }
        drop(permits.pop());
        assert_eq!(available(&limit), 1);
        drop(permits);
        assert_eq!(available(&limit), 7);
    }

    #[tokio::test(start_paused = true)]
    async fn the_limit_grows_by_one_for_each_window_of_answers_up_to_the_ceiling() {
        let limit = Arc::new(RequestLimit::new(4));
        refuse(&limit).await;
        refuse(&limit).await;
        assert_eq!(available(&limit), 1);
        for (answers, grown) in [(1, 2), (2, 3), (3, 4), (100, 4)] {
            for _ in 0..answers {
                assert!(available(&limit) < grown || grown == 4);
                limit.acquire().await.answered();
            }
            assert_eq!(available(&limit), grown);
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_limit_that_grows_while_permits_are_out_keeps_them() {
        let limit = Arc::new(RequestLimit::new(2));
        let (a, b) = (limit.acquire().await, limit.acquire().await);
        a.refused();
        b.answered();
        drop((a, b));
        assert_eq!(available(&limit), 2);
    }
}
