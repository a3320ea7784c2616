//! The network line to the store: how many bytes may be in flight, according to the measured rate
//! at which they arrive.
//!
//! The kernel accepts the bytes of an upload at once, far ahead of a slow line. So a timeout cannot
//! distinguish a slow upload from one that has stopped. Instead the bytes in flight are limited to
//! as many as the line carries in [`SPAN`], and each upload must be answered within a time that
//! follows from the bytes in flight before it.

use std::pin::pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::{Mutex as Turnstile, Notify};
use tokio::time::{Instant, timeout};

/// The bytes in flight are limited to as many as the line carries in this time.
const SPAN: Duration = Duration::from_secs(10);

/// At least this many bytes may always be in flight: enough to measure a fast line again after a
/// slow hour.
const FLOOR: u64 = 1024 * 1024;

/// Bytes per second, assumed for a line that was never measured: an upload gets as much time as it
/// needs at 64 kbit/s.
const UNKNOWN_RATE: f64 = 8192.0;

/// Bytes per second. Slower measurements are raised to this.
const MIN_RATE: f64 = 1024.0;

/// The time a store may take to answer when nothing is in flight.
pub(crate) const ANSWER_TIME: Duration = Duration::from_secs(60);

/// One direction of the line.
#[derive(Debug)]
pub(crate) struct Line {
    /// The bytes that may be in flight before the first measurement.
    start: u64,
    state: Mutex<State>,
    /// The request that waits for room holds this, so that requests enter in their order.
    turn: Turnstile<()>,
    freed: Notify,
}

#[derive(Debug)]
struct State {
    in_flight: u64,
    /// Bytes that have arrived so far.
    arrived: u64,
    /// Bytes per second.
    rate: Option<f64>,
}

/// Bytes of one request in flight, until it is dropped.
#[derive(Debug)]
pub(crate) struct Load {
    line: Arc<Line>,
    bytes: u64,
    begun: Instant,
    arrived_before: u64,
    in_flight_before: u64,
}

impl Line {
    pub(crate) fn new(start: u64) -> Line {
        let state = State { in_flight: 0, arrived: 0, rate: None };
        Line { start, state: Mutex::new(state), turn: Turnstile::new(()), freed: Notify::new() }
    }

    /// Waits until `bytes` more may be in flight, in the order of the calls. An object larger than
    /// the bound enters alone. Cancel safe.
    pub(crate) async fn load(self: &Arc<Self>, bytes: u64) -> Load {
        let _turn = self.turn.lock().await;
        loop {
            let freed = self.freed.notified();
            if let Some(load) = self.try_load(bytes) {
                return load;
            }
            freed.await;
        }
    }

    fn try_load(self: &Arc<Self>, bytes: u64) -> Option<Load> {
        let mut state = self.state();
        let in_flight = state.in_flight.saturating_add(bytes);
        if state.in_flight > 0 && in_flight > state.bound(self.start) {
            return None;
        }
        state.in_flight = in_flight;
        Some(Load {
            line: Arc::clone(self),
            bytes,
            begun: Instant::now(),
            arrived_before: state.arrived,
            in_flight_before: in_flight,
        })
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn bound(&self, start: u64) -> u64 {
        match self.rate {
            Some(rate) => ((rate * SPAN.as_secs_f64()) as u64).max(FLOOR),
            None => start,
        }
    }
}

impl Load {
    /// How long the request may take before it counts as stalled, according to the current state.
    /// The result changes: later requests share the line, and new measurements arrive.
    pub(crate) fn allowance(&self) -> Duration {
        let state = self.line.state();
        let rate = state.rate.unwrap_or(UNKNOWN_RATE);
        let bytes = self.in_flight_before.max(state.in_flight);
        ANSWER_TIME + Duration::from_secs_f64(4.0 * bytes as f64 / rate)
    }

    /// The result of `request`, or the allowance if the request takes longer than that.
    pub(crate) async fn unless_stalled<T>(
        &self,
        request: impl Future<Output = T>,
    ) -> Result<T, Duration> {
        let mut request = pin!(request);
        loop {
            let left = self.allowance().saturating_sub(self.begun.elapsed());
            if let Ok(answer) = timeout(left.min(SPAN), &mut request).await {
                return Ok(answer);
            }
            let allowance = self.allowance();
            if self.begun.elapsed() >= allowance {
                return Err(allowance);
            }
        }
    }

    /// Changes the number of bytes once the real number is known.
    pub(crate) fn resize(&mut self, bytes: u64) {
        let mut state = self.line.state();
        state.in_flight = state.in_flight.saturating_sub(self.bytes).saturating_add(bytes);
        self.bytes = bytes;
        drop(state);
        self.line.freed.notify_one();
    }

    /// Notes that all bytes have arrived.
    pub(crate) fn arrived(self) {
        let mut state = self.line.state();
        state.arrived += self.bytes;
        // Counts all bytes that have arrived since this request began, not only its own: the
        // requests share the line.
        let bytes = (state.arrived - self.arrived_before) as f64;
        let seconds = self.begun.elapsed().as_secs_f64().max(0.001);
        let measured = (bytes / seconds).max(MIN_RATE);
        // The first of many requests that share a line evenly arrives nearly as late as the last
        // one, and so measures too low a rate. An average over a few requests is accurate enough.
        state.rate = Some(match state.rate {
            Some(rate) => rate + (measured - rate) / 4.0,
            None => measured,
        });
    }

    /// Notes that the request has stalled: the line is slower than assumed.
    pub(crate) fn stalled(self) {
        let mut state = self.line.state();
        let bytes = self.in_flight_before.max(state.in_flight) as f64;
        let seconds = self.begun.elapsed().as_secs_f64().max(1.0);
        let at_most = (bytes / seconds / 2.0).max(MIN_RATE);
        state.rate = Some(state.rate.map_or(at_most, |rate| rate.min(at_most)));
    }
}

impl Drop for Load {
    fn drop(&mut self) {
        let mut state = self.line.state();
        state.in_flight = state.in_flight.saturating_sub(self.bytes);
        drop(state);
        self.line.freed.notify_one();
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt;

    use super::*;

    const MIB: u64 = 1024 * 1024;

    fn line() -> Arc<Line> {
        Arc::new(Line::new(8 * MIB))
    }

    #[tokio::test(start_paused = true)]
    async fn a_line_takes_8_mib_before_it_was_measured_and_10_seconds_worth_afterwards() {
        let line = line();
        let mut loads: Vec<_> = (0..8).map(|_| line.load(MIB).now_or_never().unwrap()).collect();
        assert!(line.load(1).now_or_never().is_none());
        // All of them arrive together after 8 s: 1 MiB a second.
        tokio::time::advance(Duration::from_secs(8)).await;
        loads.drain(..).for_each(Load::arrived);
        let mut loads: Vec<_> = std::iter::from_fn(|| line.load(MIB / 4).now_or_never()).collect();
        assert!((20..=40).contains(&loads.len()), "{}", loads.len());
        // The measured rate falls to a quarter, step by step.
        for _ in 0..20 {
            tokio::time::advance(Duration::from_secs(1)).await;
            loads.remove(0).arrived();
        }
        drop(loads);
        let loads: Vec<_> = std::iter::from_fn(|| line.load(MIB / 4).now_or_never()).collect();
        assert!((10..=14).contains(&loads.len()), "{}", loads.len());
    }

    #[tokio::test(start_paused = true)]
    async fn one_object_of_any_size_is_let_in_alone_and_given_time() {
        let line = line();
        let index = line.load(168 * MIB).now_or_never().unwrap();
        assert!(line.load(1).now_or_never().is_none());
        assert!(index.allowance() > Duration::from_secs(168 * 1024 / 8));
        tokio::time::advance(Duration::from_secs(168 * 20)).await;
        index.arrived();
        let index = line.load(168 * MIB).now_or_never().unwrap();
        assert!(index.allowance() > Duration::from_secs(4 * 168 * 20));
    }

    #[tokio::test(start_paused = true)]
    async fn waiting_requests_enter_in_their_order() {
        let line = line();
        let first = line.load(8 * MIB).await;
        let mut large = Box::pin(line.load(7 * MIB));
        assert!(large.as_mut().now_or_never().is_none());
        let mut small = Box::pin(line.load(2 * MIB));
        assert!(small.as_mut().now_or_never().is_none());
        drop(first);
        let large = large.as_mut().now_or_never().unwrap();
        assert!(small.as_mut().now_or_never().is_none());
        drop(large);
        assert!(small.as_mut().now_or_never().is_some());
    }

    #[tokio::test(start_paused = true)]
    async fn a_line_that_became_slow_is_noticed_by_one_round_of_stalls() {
        let line = line();
        line.load(MIB).await.arrived();
        let loads: Vec<_> = (0..48).map(|_| line.load(MIB / 4).now_or_never().unwrap()).collect();
        let allowance = loads.last().unwrap().allowance();
        assert!(allowance < ANSWER_TIME + Duration::from_secs(1));
        tokio::time::advance(allowance).await;
        loads.into_iter().for_each(Load::stalled);
        let loads: Vec<_> = std::iter::from_fn(|| line.load(MIB / 4).now_or_never()).collect();
        assert_eq!(loads.len(), 4);
        // 1 MiB gets the time that a line needs which carries 12 MiB in 250 s.
        let allowance = loads.last().unwrap().allowance();
        assert!(allowance > Duration::from_secs(80), "{allowance:?}");
    }
}
