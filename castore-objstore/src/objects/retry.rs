//! How long a request is retried, and how long it waits between attempts.

use std::hash::{BuildHasher, Hasher, RandomState};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::OnceCell;
use tokio::time::Instant;

use crate::error::Trouble;
use crate::objects::line::Line;

/// The service waits this long for a store that has never answered: a store restarts within that
/// time, and a wrong address is reported soon.
const FIRST_ANSWER: Duration = Duration::from_secs(12);

/// If this time passes without any failure, the next failure starts a new wait for a store that has
/// never answered.
const FORGOTTEN: Duration = Duration::from_secs(60);

/// An outage is logged once it has lasted this long.
const WORTH_A_WARNING: Duration = Duration::from_secs(3);

/// The waits of a request double from the first to the longest, each multiplied by a random number
/// below 1.
const SHORTEST_WAIT: Duration = Duration::from_millis(200);
const LONGEST_WAIT: Duration = Duration::from_secs(5);

/// Requests that conflict because they create the same directory at once are retried this often.
const CONFLICTS: u32 = 10;
const SHORTEST_CONFLICT: Duration = Duration::from_millis(50);
const LONGEST_CONFLICT: Duration = Duration::from_secs(1);

/// Upload bytes in flight before the line is measured. At 64 kbit/s they take 17 minutes, and at
/// 100 MB/s they are the first 80 ms.
const FIRST_UPLOADS: u64 = 8 * 1024 * 1024;

/// The same for downloads: each of the default 128 requests fetches a chunk of 256 KiB.
const FIRST_DOWNLOADS: u64 = 32 * 1024 * 1024;

/// The properties of a kind of store that requests depend on.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Backend {
    /// A listing comes in pages, in the order of the keys, and can begin after any key.
    pub(crate) ordered_lists: bool,
    /// The bucket may be missing, and the answer to a HEAD does not say so.
    pub(crate) has_bucket: bool,
    /// A put creates the directories that it needs, and may conflict with another put that creates
    /// the same ones.
    pub(crate) makes_directories: bool,
}

/// The state that all requests to one store share: whether the store answers, and how fast.
#[derive(Debug)]
pub(crate) struct Patience {
    pub(crate) backend: Backend,
    timeout: Duration,
    /// The longest time that one attempt of an upload may take. The times of garbage collection
    /// rely on this: an index that takes effect later may list chunks that are gone (`R` in
    /// docs/gc.md).
    pub(crate) longest_request: Duration,
    health: Mutex<Health>,
    pub(crate) up: Arc<Line>,
    pub(crate) down: Arc<Line>,
    /// Set once the bucket is known to exist.
    pub(crate) bucket: OnceCell<()>,
}

#[derive(Debug, Default)]
struct Health {
    last_answer: Option<Instant>,
    /// The first and the last failure before any answer.
    unanswered: Option<(Instant, Instant)>,
    /// The beginning of an outage that was logged.
    outage: Option<Instant>,
}

/// The failures of one request.
#[derive(Debug, Default)]
pub(crate) struct Trial {
    first_failure: Option<Instant>,
    failures: u32,
    conflicts: u32,
}

impl Patience {
    pub(crate) fn new(timeout: Duration, longest_request: Duration, backend: Backend) -> Patience {
        Patience {
            backend,
            timeout,
            longest_request,
            health: Mutex::default(),
            up: Arc::new(Line::new(FIRST_UPLOADS)),
            down: Arc::new(Line::new(FIRST_DOWNLOADS)),
            bucket: OnceCell::new(),
        }
    }

    /// Notes that the store has answered a request, even if the answer is that an object does not
    /// exist.
    pub(crate) fn answered(&self) {
        let mut health = self.health.lock().unwrap_or_else(PoisonError::into_inner);
        health.last_answer = Some(Instant::now());
        if let Some(since) = health.outage.take() {
            tracing::info!(after = ?since.elapsed(), "the store answers again");
        }
    }

    /// Notes a failure of a request. Returns how long the request waits before its next attempt;
    /// `None` if it is not retried.
    ///
    /// The time counts from the request's first failure since the store last answered any request.
    /// So a request survives an outage of minutes, and in a bad hour with many requests a single
    /// unlucky one does not end the work. A request that always fails while others are answered is
    /// retried for at most twice that time.
    pub(crate) fn failed(&self, trial: &mut Trial, trouble: Trouble) -> Option<Duration> {
        if trouble == Trouble::Conflict {
            trial.conflicts += 1;
            let wait = wait(trial.conflicts, SHORTEST_CONFLICT, LONGEST_CONFLICT);
            return (trial.conflicts <= CONFLICTS).then_some(wait);
        }
        let now = Instant::now();
        let first = *trial.first_failure.get_or_insert(now);
        trial.failures += 1;
        let mut health = self.health.lock().unwrap_or_else(PoisonError::into_inner);
        let (since, timeout) = match health.last_answer {
            Some(answer) => (first.max(answer), self.timeout),
            None => (health.unanswered_since(now), self.timeout.min(FIRST_ANSWER)),
        };
        let passed = now.duration_since(since);
        if passed >= timeout || now.duration_since(first) >= self.timeout.saturating_mul(2) {
            return None;
        }
        if passed >= WORTH_A_WARNING && health.outage.is_none() {
            health.outage = Some(since);
            let up_to = timeout.saturating_sub(passed);
            tracing::warn!(?passed, ?up_to, "the store does not answer: waiting for it");
        }
        // The last attempt comes at the end of the time, not earlier.
        Some(wait(trial.failures, SHORTEST_WAIT, LONGEST_WAIT).min(timeout - passed))
    }
}

impl Health {
    /// Notes a failure before any answer; returns the time of the first one.
    fn unanswered_since(&mut self, now: Instant) -> Instant {
        let first = match self.unanswered {
            Some((first, last)) if now.duration_since(last) < FORGOTTEN => first,
            _ => now,
        };
        self.unanswered = Some((first, now));
        first
    }
}

/// The random wait after the `failures`th failure: at most `shortest`, then twice that, and so on
/// up to `longest`.
fn wait(failures: u32, shortest: Duration, longest: Duration) -> Duration {
    let doubled = 1_u32.checked_shl(failures.saturating_sub(1)).unwrap_or(u32::MAX);
    let most = shortest.saturating_mul(doubled).min(longest);
    // Each `RandomState` has its own keys.
    let random = RandomState::new().build_hasher().finish();
    most.mul_f64(random as f64 / u64::MAX as f64)
}

#[cfg(test)]
mod tests {
    use super::*;

    const MINUTES: Duration = Duration::from_secs(300);

    fn patience() -> Patience {
        Patience::new(MINUTES, MINUTES, Backend::default())
    }

    /// How long a request is retried that fails each time, if each attempt takes `attempt`.
    async fn endures(patience: &Patience, attempt: Duration, between: impl Fn()) -> Duration {
        let (start, mut trial) = (Instant::now(), Trial::default());
        loop {
            tokio::time::advance(attempt).await;
            let Some(wait) = patience.failed(&mut trial, Trouble::Away) else {
                return start.elapsed();
            };
            tokio::time::advance(wait).await;
            between();
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_store_that_never_answered_is_given_up_soon() {
        let patience = patience();
        let took = endures(&patience, Duration::from_millis(10), || ()).await;
        assert!((12..14).contains(&took.as_secs()), "{took:?}");
        // The next request fails after its first attempt.
        let took = endures(&patience, Duration::from_millis(10), || ()).await;
        assert_eq!(took, Duration::from_millis(10));
        // Much later a new request is retried again.
        tokio::time::advance(Duration::from_secs(3600)).await;
        let took = endures(&patience, Duration::from_millis(10), || ()).await;
        assert!((12..14).contains(&took.as_secs()), "{took:?}");
    }

    #[tokio::test(start_paused = true)]
    async fn an_outage_of_minutes_is_waited_for_by_every_request() {
        let patience = patience();
        patience.answered();
        for _ in 0..20 {
            let took = endures(&patience, Duration::from_millis(10), || ()).await;
            assert!((300..302).contains(&took.as_secs()), "{took:?}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn answers_to_others_prolong_a_request_that_always_fails_to_twice_the_time() {
        let patience = patience();
        patience.answered();
        let took = endures(&patience, Duration::from_millis(10), || patience.answered()).await;
        assert!((600..606).contains(&took.as_secs()), "{took:?}");
    }

    #[tokio::test(start_paused = true)]
    async fn a_request_with_no_time_for_retries_has_one_attempt() {
        let patience = Patience::new(Duration::ZERO, MINUTES, Backend::default());
        patience.answered();
        assert_eq!(patience.failed(&mut Trial::default(), Trouble::Away), None);
    }

    #[test]
    fn waits_double_up_to_the_longest_and_are_random() {
        for failures in [1, 2, 5, 40, u32::MAX] {
            let most = SHORTEST_WAIT.saturating_mul(1 << failures.min(10).saturating_sub(1));
            let most = most.min(LONGEST_WAIT);
            let waits: Vec<_> =
                (0..200).map(|_| wait(failures, SHORTEST_WAIT, LONGEST_WAIT)).collect();
            assert!(waits.iter().all(|wait| *wait <= most));
            assert!(waits.iter().any(|wait| *wait > most / 2));
            assert!(waits.iter().any(|wait| *wait < most / 2));
        }
    }
}
