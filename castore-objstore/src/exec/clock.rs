//! Moments in time, by clocks of this machine that continue while the machine is suspended.

use std::time::{Duration, SystemTime};

use tokio::time::Instant;

/// A moment, whose age can be measured later.
///
/// A monotonic clock may stand still while the machine is suspended, and the wall clock may be set
/// back. So the longer of the two measured times counts: a caller that relies on something being
/// recent then errs on the safe side.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Moment {
    monotonic: Instant,
    wall: SystemTime,
}

impl Moment {
    pub(crate) fn now() -> Moment {
        Moment { monotonic: Instant::now(), wall: wall() }
    }

    /// The longest time that may have passed since this moment.
    pub(crate) fn elapsed(self) -> Duration {
        let wall = wall().duration_since(self.wall).unwrap_or_default();
        self.monotonic.elapsed().max(wall)
    }

    /// A moment that is not later than either of the two.
    pub(crate) fn earlier(self, other: Moment) -> Moment {
        Moment { monotonic: self.monotonic.min(other.monotonic), wall: self.wall.min(other.wall) }
    }
}

#[cfg(not(test))]
fn wall() -> SystemTime {
    SystemTime::now()
}

/// The wall clock of the tests advances only when a test sets it.
#[cfg(test)]
fn wall() -> SystemTime {
    SystemTime::UNIX_EPOCH + AHEAD.get()
}

#[cfg(test)]
thread_local! {
    static AHEAD: std::cell::Cell<Duration> = const { std::cell::Cell::new(Duration::from_secs(1 << 30)) };
}

/// Sets the wall clock of this thread's tests to a time after the epoch.
#[cfg(test)]
pub(crate) fn set(time: Duration) {
    AHEAD.set(time);
}

/// Sets the wall clock of this thread's tests forward.
#[cfg(test)]
pub(crate) fn pass(time: Duration) {
    AHEAD.set(AHEAD.get() + time);
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOUR: Duration = Duration::from_secs(3600);

    #[tokio::test(start_paused = true)]
    async fn the_clock_that_says_more_is_believed() {
        let start = Moment::now();
        tokio::time::advance(HOUR).await;
        assert_eq!(start.elapsed(), HOUR, "the wall clock stands still");
        pass(2 * HOUR);
        assert_eq!(start.elapsed(), 2 * HOUR, "the monotonic clock stands still");
        let later = Moment::now();
        assert_eq!(later.elapsed(), Duration::ZERO);
        assert_eq!(later.earlier(start).elapsed(), 2 * HOUR);
    }
}
