//! Checks of times: the garbage collector measures the grace period by the store's clock.

use std::time::{Duration, SystemTime};

use tokio::time::Instant;

use super::fault::{Fault, Finding, unfit};
use super::{Examination, bytes};
use crate::maintain::CLOCK_ERROR;

/// After this time, a clock of whole seconds, as in HTTP, has advanced.
const TICK: Duration = Duration::from_millis(2100);

/// The allowed difference between the store's clock and that of this machine, in seconds: S3
/// refuses requests beyond it.
const SKEW: f64 = 15.0 * 60.0;

/// One reading of the store's clock.
#[derive(Debug, Clone, Copy)]
pub(super) struct Sample {
    /// When the write was sent and when the store answered it, by this machine.
    sent: Instant,
    answered: Instant,
    /// The time of the written object.
    modified: SystemTime,
}

/// A clock of this machine that cannot be set while the checks run.
#[derive(Debug, Clone, Copy)]
pub(super) struct LocalClock {
    start: Instant,
    wall: SystemTime,
}

impl LocalClock {
    pub(super) fn start() -> LocalClock {
        LocalClock { start: Instant::now(), wall: SystemTime::now() }
    }

    /// Seconds since the start.
    fn seconds(&self, at: Instant) -> f64 {
        at.duration_since(self.start).as_secs_f64()
    }

    /// The seconds from the start to `time`, which may lie before it.
    fn seconds_to(&self, time: SystemTime) -> f64 {
        match time.duration_since(self.wall) {
            Ok(after) => after.as_secs_f64(),
            Err(before) => -before.duration().as_secs_f64(),
        }
    }

    /// The least and the most seconds by which the store's clock is ahead.
    fn ahead(&self, sample: &Sample) -> (f64, f64) {
        let modified = self.seconds_to(sample.modified);
        // A time in whole seconds may be up to a second too early.
        (modified - self.seconds(sample.answered), modified + 1.0 - self.seconds(sample.sent))
    }
}

/// Writes the object that gives a collector the time, and looks at it.
pub(super) async fn sample(x: &Examination<'_>) -> Result<Sample, Fault> {
    let key = x.layout.clock();
    let sent = Instant::now();
    x.place.put_record(&key).await?;
    let answered = Instant::now();
    let modified = x.place.head(&key).await?.modified;
    Ok(Sample { sent, answered, modified })
}

pub(super) async fn renewed(x: &Examination<'_>) -> Finding {
    let first = match x.samples().first() {
        Some(first) => *first,
        None => sample(x).await?,
    };
    let passed = first.answered.elapsed();
    if passed < TICK {
        tokio::time::sleep(TICK - passed).await;
    }
    let last = sample(x).await?;
    x.keep_sample(last);
    match last.modified > first.modified {
        true => Ok(String::new()),
        false => unfit(format!(
            "an object that is put again {:.1} s later has the same time, or an earlier one",
            last.sent.duration_since(first.answered).as_secs_f64()
        )),
    }
}

pub(super) async fn forward(x: &Examination<'_>) -> Finding {
    for _ in 0..4 {
        x.keep_sample(sample(x).await?);
    }
    let samples = x.samples();
    let allowed = CLOCK_ERROR.as_secs_f64();
    let mut back = 0.0_f64;
    for pair in samples.windows(2) {
        let step = x.clock.seconds_to(pair[1].modified) - x.clock.seconds_to(pair[0].modified);
        back = back.max(-step);
    }
    if back > allowed {
        return unfit(format!("it went back by {back:.0} s from one write to the next"));
    }
    let ahead = samples.iter().map(|sample| x.clock.ahead(sample));
    let (least, most) = ahead
        .fold((f64::NEG_INFINITY, f64::INFINITY), |all, one| (all.0.max(one.0), all.1.min(one.1)));
    // Each sample gives bounds for how far the clock is ahead; a good clock lies within all of
    // them.
    match least - most {
        apart if apart > allowed => {
            unfit(format!("it gained or lost {apart:.0} s within {:.0} s", x.elapsed()))
        }
        _ if back > 0.0 => Ok(format!("it went back by {back:.3} s, which gc allows for")),
        _ => Ok(String::new()),
    }
}

pub(super) async fn same(x: &Examination<'_>) -> Finding {
    let prefix = x.layout.part("blobs").join("b3").join("0ee0");
    for number in 110..113 {
        let key = prefix.clone().join(x.name(number, "0ee0").as_str());
        x.place.put(&key, bytes(number, 5)).await?;
    }
    for listed in x.place.list(&prefix, None).await? {
        let head = x.place.head(&listed.path).await?.modified;
        // If HEAD gives a later time than the listing, a collector believes that the chunk was
        // written again.
        if let Ok(later) = head.duration_since(listed.modified)
            && !later.is_zero()
        {
            return unfit(format!(
                "HEAD tells a time that is {:.3} s later than the listing's: gc takes every chunk for \
                 one that was just written again, and sets none aside",
                later.as_secs_f64()
            ));
        }
        if let Ok(earlier) = listed.modified.duration_since(head)
            && earlier > Duration::from_secs(1)
        {
            return unfit(format!(
                "HEAD tells a time that is {:.1} s earlier than the listing's",
                earlier.as_secs_f64()
            ));
        }
    }
    Ok(String::new())
}

pub(super) async fn clock(x: &Examination<'_>) -> Finding {
    let last = match x.samples().last() {
        Some(last) => *last,
        None => sample(x).await?,
    };
    let (least, most) = x.clock.ahead(&last);
    let (off, text) = match (least, most) {
        (least, _) if least > 0.0 => (least, format!("it is {} ahead", seconds(least))),
        (_, most) if most < 0.0 => (-most, format!("it is {} behind", seconds(-most))),
        _ => (0.0, "the same, as far as can be told".to_owned()),
    };
    match off > SKEW {
        true => unfit(format!("{text}: an age, as in `verify --since`, is off by as much")),
        false => Ok(text),
    }
}

fn seconds(seconds: f64) -> String {
    match seconds < 10.0 {
        true => format!("{seconds:.1} s"),
        false => format!("{seconds:.0} s"),
    }
}
