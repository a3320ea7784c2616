//! Collecting garbage: chunks that no index lists are set aside, and removed a grace period later.
//!
//! docs/gc.md has the protocol and the argument for it. In short: a run copies unlisted chunks
//! aside and deletes the originals (`set_aside.rs`). A run at least a grace period later reads all
//! indexes again (`mark.rs`), puts back the chunks that an index lists by then, and removes the
//! rest (`sweep.rs`). By then, every writer that relied on a chunk before its delete has written
//! its index. Runs that look like a mistake are refused (`refusal.rs`).

mod digest_set;
mod mark;
#[cfg(test)]
mod model;
#[cfg(test)]
mod power_cut;
mod quarantine;
mod records;
mod refusal;
mod set_aside;
mod sweep;
mod unfinished;

use std::fmt;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use castore_core::{Digest, Error, ErrorKind, Result};
use futures_core::Stream;
use futures_util::StreamExt;
use futures_util::stream::BoxStream;

use crate::maintain::Observer;
use crate::service::ObjectStoreBlobService;
use crate::store::Store;
use crate::store::layout::Kind;
use crate::store::recheck::DEFAULT_GRACE;

const OPERATION: &str = "collect garbage";

/// The longest time between a collector's last look at the record of its batch and the delete that
/// follows, by the collector's own clocks: five minutes. Part of `F` in docs/gc.md.
pub(crate) const LOOK_LASTS: Duration = Duration::from_secs(300);

/// The largest error of the store's clock: `e` in docs/gc.md.
pub(crate) const CLOCK_ERROR: Duration = Duration::from_secs(30);

pub use refusal::GcRefusal;

/// Which blobs a collection keeps, along with their chunks.
#[non_exhaustive]
pub enum Roots {
    /// All blobs in the store: those that have an index.
    Blobs,
    /// Only these blobs, and those whose index was written within the grace period. The indexes of
    /// all other blobs are set aside, too.
    ///
    /// A named blob has an index, in its place or set aside. If a named blob has neither, the run
    /// refuses, unless absent blobs are [allowed](GcOptions::allow_absent). The empty blob is
    /// always present.
    Keep(BoxStream<'static, Result<Digest>>),
}

impl Roots {
    /// [`Roots::Keep`] of any stream of digests.
    pub fn keep(digests: impl Stream<Item = Result<Digest>> + Send + 'static) -> Roots {
        Roots::Keep(digests.boxed())
    }
}

impl fmt::Debug for Roots {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Roots::Blobs => "Blobs",
            Roots::Keep(_) => "Keep(..)",
        })
    }
}

/// How [`gc`](ObjectStoreBlobService::gc) collects garbage.
#[derive(Debug, Clone)]
#[must_use = "options do nothing by themselves"]
pub struct GcOptions {
    grace: Duration,
    dry_run: bool,
    max_fraction: f64,
    allow_absent: bool,
    ignore_quarantine: bool,
}

impl Default for GcOptions {
    fn default() -> GcOptions {
        GcOptions {
            grace: DEFAULT_GRACE,
            dry_run: false,
            max_fraction: DEFAULT_MAX_FRACTION,
            allow_absent: false,
            ignore_quarantine: false,
        }
    }
}

/// The default of [`GcOptions::max_fraction`].
const DEFAULT_MAX_FRACTION: f64 = 0.5;

impl GcOptions {
    /// How long a chunk must be unlisted before a run sets it aside, and how long its copy then
    /// stays before a run removes it; by the store's clock. A day by default.
    ///
    /// A writer must write the index of a blob within half of this time after it found the blob's
    /// chunks stored, or stored them. Writers of this crate check that
    /// ([`Builder::grace`](crate::Builder::grace)). With a shorter time than the writers use, or
    /// with zero, no other program may write during the run.
    pub fn grace(mut self, grace: Duration) -> GcOptions {
        self.grace = grace;
        self
    }

    /// Only counts the objects that a run would set aside and remove, and changes nothing. The
    /// clock of this machine then decides how old an object is. Off by default.
    pub fn dry_run(mut self, dry_run: bool) -> GcOptions {
        self.dry_run = dry_run;
        self
    }

    /// The largest share that a run may set aside, from 0 to 1: of all chunks by their stored
    /// bytes, and of all indexes by their number. A half by default. A run that would take more,
    /// and one that finds chunks but no index, is [refused](GcRefusal) unless the share is 1.
    pub fn max_fraction(mut self, share: f64) -> GcOptions {
        self.max_fraction = share;
        self
    }

    /// Allows [`Roots::Keep`] to name blobs that are not in the store. Off by default. At least one
    /// named blob must be in the store in any case.
    pub fn allow_absent(mut self, allow: bool) -> GcOptions {
        self.allow_absent = allow;
        self
    }

    /// Collects garbage even if a repair has moved the index of a blob to the quarantine and the
    /// blob is not in its place. The chunks of that blob are then garbage, too, and only a source
    /// that has all of the blob can restore it. Off by default: a run stops at such a blob.
    pub fn ignore_quarantine(mut self, ignore: bool) -> GcOptions {
        self.ignore_quarantine = ignore;
        self
    }
}

/// A number of objects and their size.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Amount {
    /// The number of objects.
    pub objects: u64,
    /// Their stored size in bytes.
    pub bytes: u64,
}

impl Amount {
    fn add(&mut self, bytes: u64) {
        self.objects += 1;
        self.bytes += bytes;
    }
}

/// The result of a garbage collection; for a dry run, the result that a run would have.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct GcReport {
    /// Whether the run only counted ([`GcOptions::dry_run`]).
    pub dry_run: bool,
    /// The blobs whose chunks are kept.
    pub blobs: u64,
    /// The number of blobs named to be kept, each counted once.
    pub named: u64,
    /// Blobs that were not named, but are kept because their index is younger than the grace
    /// period.
    pub young_blobs: u64,
    /// The distinct chunks that the kept blobs list.
    pub chunks_listed: u64,
    /// All chunks found in their place.
    pub chunks: Amount,
    /// Chunks that no index lists, and that this run set aside.
    pub set_aside: Amount,
    /// Indexes of blobs that are not kept, and that this run set aside.
    pub blobs_set_aside: Amount,
    /// Chunks that no index lists, but that are too young to be set aside.
    pub young: Amount,
    /// Objects that an earlier run set aside, and that are too young to be removed.
    pub waiting: Amount,
    /// Objects that an earlier run set aside, and that this run put back because an index lists
    /// them.
    pub put_back: Amount,
    /// Objects that an earlier run set aside, and that this run removed.
    pub removed: Amount,
    /// Blobs named to be kept that are absent from the store, in order.
    pub absent: Vec<Digest>,
    /// Listed chunks and indexes of named blobs that are good neither in their place nor in any
    /// copy set aside, in order. All their copies stay.
    pub damaged: Vec<Digest>,
}

impl ObjectStoreBlobService {
    /// Collects garbage: sets aside the chunks that no kept blob lists, and removes those that an
    /// earlier run set aside at least a grace period before.
    ///
    /// Other processes may read, write and collect garbage meanwhile. A run takes less than 64 MB
    /// for each million listed chunks, 56 bytes for each chunk to be set aside, and 100 bytes for
    /// each blob that is named or whose index is set aside.
    ///
    /// # Cancel safety
    /// The run may end at any instant, by dropping the future or with the whole machine: another
    /// run does the rest.
    ///
    /// # Errors
    /// Before the run sets aside, puts back or removes anything:
    /// - `InvalidInput` if an option is outside of its bounds, if none of the named blobs is in the
    ///   store, or if one is absent and that is not allowed;
    /// - `Other` if more than the allowed share would go, or if there are chunks but no index. The
    ///   [source](std::error::Error::source) of these is a [`GcRefusal`];
    /// - `Corrupt` if an index cannot be decoded, since its chunks are unknown then, or if an index
    ///   lies in the quarantine ([`GcOptions::ignore_quarantine`]).
    ///
    /// The first error of the store ends the run. The run also fails with `Unavailable` if the
    /// store makes incomplete copies; then the originals stay.
    pub async fn gc(
        &self,
        roots: Roots,
        options: &GcOptions,
        observer: &dyn Observer,
    ) -> Result<GcReport> {
        let shared = &self.shared;
        if !(0.0..=1.0).contains(&options.max_fraction) {
            let message = format!("a largest share of {} is not in 0..=1", options.max_fraction);
            return Err(Error::new(ErrorKind::InvalidInput, OPERATION, message));
        }
        let now = match options.dry_run {
            true => SystemTime::now(),
            false => shared.store_time().await?,
        };
        let report = GcReport { dry_run: options.dry_run, ..GcReport::default() };
        let mut run = Run { shared, options, observer, now, report };
        // The run decides which batches are old before it looks at the indexes (docs/gc.md, "Why
        // nothing is lost").
        let mut batches = run.batches().await?;
        let mut found = run.look(roots).await?;
        run.refuse_quarantined(&found).await?;
        let candidates = run.candidates(&found).await?;
        run.refuse_too_much(&found, &candidates).await?;
        run.second_look(&mut batches, &found, Kind::Chunk).await?;
        run.second_look(&mut batches, &found, Kind::Blob).await?;
        run.settle_records(&batches).await?;
        run.remove_unfinished().await?;
        run.set_aside_blobs(&mut found).await?;
        run.set_aside_chunks(candidates, &found).await?;
        Ok(run.report)
    }
}

/// One run of the collector.
struct Run<'a> {
    shared: &'a Arc<Store>,
    options: &'a GcOptions,
    observer: &'a dyn Observer,
    /// When the run began, by the store's clock.
    now: SystemTime,
    report: GcReport,
}

/// Decides by the grace period which objects are old enough.
#[derive(Debug, Clone, Copy)]
struct Age {
    now: SystemTime,
    grace: Duration,
}

impl Age {
    /// Whether an object from `time` is older than the grace period.
    fn is_old(self, time: SystemTime) -> bool {
        time.checked_add(self.grace).is_some_and(|end| end <= self.now)
    }
}

impl Run<'_> {
    fn age(&self) -> Age {
        Age { now: self.now, grace: self.options.grace }
    }

    fn is_old(&self, time: SystemTime) -> bool {
        self.age().is_old(time)
    }

    /// How many objects the run works on at once. Each needs one request at a time.
    fn at_once(&self) -> usize {
        self.shared.limits.requests_at_once()
    }
}

impl Store {
    /// The time of the store's clock.
    async fn store_time(&self) -> Result<SystemTime> {
        let clock = self.layout.clock();
        self.requests.put(OPERATION, None, clock.clone(), Default::default()).await?;
        match self.requests.look(OPERATION, None, clock).await? {
            Some(written) => Ok(written.modified),
            None => {
                let message = "an object that was just written is not there";
                Err(Error::new(ErrorKind::Unavailable, OPERATION, message))
            }
        }
    }
}
