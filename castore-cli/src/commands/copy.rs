//! `castore copy`

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU8, Ordering::Relaxed};
use std::time::{Duration, Instant};

use castore_core::{BlobService as _, Digest, Error};
use castore_objstore::Stats;
use castore_objstore::copy::{BlobCopy, CopyOptions, CopyOutcome};
use futures_util::stream::{BoxStream, StreamExt, TryStreamExt};
use serde_json::json;

use super::{Mode, say_if_closed};
use crate::digests;
use crate::failure::{CORRUPT, Failure, Result, say};
use crate::output;
use crate::phases::Phases;
use crate::size::iec;
use crate::store::{Location, Store, absent, resolve};

/// The number of digests looked up concurrently.
const AT_ONCE: usize = 32;

/// The blobs to copy.
pub(crate) enum Which {
    All,
    These { digests: Vec<String>, lists: Vec<PathBuf> },
}

pub(crate) async fn run(
    mode: Mode,
    location: &Location,
    target: &Location,
    which: Which,
    verify: bool,
) -> Result<()> {
    if let Which::These { lists, .. } = &which {
        digests::check_lists(lists)?;
    }
    let source = location.open()?;
    // A missing source must neither count as an empty one, nor make a target.
    source.must_exist().await?;
    let target = target.open_or_create(mode.quiet).await?;
    let begun = Instant::now();
    let phases = Phases::start(mode.progress());
    let all = matches!(which, Which::All);
    let options = CopyOptions::default().list_target(all).verify(verify);
    let failures = Failures::default();
    let mut counts = Counts::default();
    let blobs = blobs(&source, which, |failure| {
        phases.suspend(|| failures.add(mode, &failure));
    });
    let mut done = source.copy_to(&target, blobs, &options, &phases);
    while let Some(BlobCopy { digest, outcome, .. }) = done.try_next().await? {
        let failure = match &outcome {
            CopyOutcome::Failed(error) => {
                Some(Failure::from(error.clone()).about(format!("blob {digest}")))
            }
            // A listed blob that is absent was removed meanwhile.
            CopyOutcome::Absent if all => None,
            CopyOutcome::Absent => Some(absent(&source, digest).await),
            _ => None,
        };
        if let Some(failure) = failure {
            phases.suspend(|| failures.add(mode, &failure));
        }
        counts.add(&outcome);
        phases.suspend(|| print(mode, &digest, &outcome));
        if failures.of_store() {
            break;
        }
    }
    drop(done);
    drop(phases);
    if failures.of_store() {
        say("castore: gave up, as a store failed; what was copied so far is reused next time");
    }
    summarize(mode, &counts, &target.stats(), begun.elapsed());
    say_if_closed(mode);
    failures.end()
}

/// The requested blobs. Calls `fail` with each text that is no blob's digest.
fn blobs<'a>(
    source: &'a Store,
    which: Which,
    fail: impl Fn(Failure) + Send + Sync + 'a,
) -> BoxStream<'a, Result<Digest, Error>> {
    let Which::These { digests, lists } = which else { return source.list() };
    let fail = Arc::new(fail);
    digests::given(digests, lists)
        .map(move |text| async move { resolve(source, &text?).await })
        .buffered(AT_ONCE)
        .scan(false, move |ended, digest| {
            let fail = Arc::clone(&fail);
            let next = match digest {
                _ if *ended => None,
                Ok(digest) => Some(Some(Ok(digest))),
                Err(failure) => {
                    *ended = failure.is_of_store();
                    fail(failure);
                    Some(None)
                }
            };
            std::future::ready(next)
        })
        .filter_map(std::future::ready)
        .boxed()
}

/// The failures so far.
#[derive(Default)]
struct Failures {
    code: AtomicU8,
    of_store: AtomicBool,
}

impl Failures {
    /// Reports the failure at once.
    fn add(&self, mode: Mode, failure: &Failure) {
        failure.report(mode.verbose);
        self.of_store.fetch_or(failure.is_of_store(), Relaxed);
        // Damage outweighs every other failure; among the others the first decides.
        let before = self.code.load(Relaxed);
        if before == 0 || failure.code() == CORRUPT {
            self.code.store(failure.code(), Relaxed);
        }
    }

    /// Whether the store is unusable, so that the next request would fail as well.
    fn of_store(&self) -> bool {
        self.of_store.load(Relaxed)
    }

    fn end(&self) -> Result<()> {
        match self.code.load(Relaxed) {
            0 => Ok(()),
            code => Err(Failure::reported(code)),
        }
    }
}

#[derive(Default)]
struct Counts {
    copied: u64,
    there: u64,
    absent: u64,
    failed: u64,
}

impl Counts {
    fn add(&mut self, outcome: &CopyOutcome) {
        *match outcome {
            CopyOutcome::Copied(_) => &mut self.copied,
            CopyOutcome::AlreadyThere => &mut self.there,
            CopyOutcome::Absent => &mut self.absent,
            _ => &mut self.failed,
        } += 1;
    }
}

fn print(mode: Mode, digest: &Digest, outcome: &CopyOutcome) {
    if !mode.json {
        return match outcome {
            CopyOutcome::Copied(_) | CopyOutcome::AlreadyThere => output::line(digest),
            _ => {}
        };
    }
    let mut value = match outcome {
        CopyOutcome::Copied(copied) => json!({
            "outcome": "copied",
            "size": copied.size,
            "chunks_new": copied.chunks_new,
            "chunks_reused": copied.chunks_reused,
            "bytes_stored": copied.bytes_stored,
        }),
        CopyOutcome::AlreadyThere => json!({ "outcome": "there" }),
        CopyOutcome::Absent => json!({ "outcome": "absent" }),
        CopyOutcome::Failed(error) => {
            let error = Failure::from(error.clone()).message();
            json!({ "outcome": "failed", "error": error })
        }
        _ => json!({ "outcome": "unknown" }),
    };
    value["type"] = "blob".into();
    value["digest"] = digest.to_string().into();
    output::json(&value);
}

fn summarize(mode: Mode, counts: &Counts, stats: &Stats, time: Duration) {
    let seconds = time.as_secs_f64();
    if mode.json {
        output::json(&json!({
            "type": "summary",
            "blobs_copied": counts.copied,
            "blobs_there": counts.there,
            "blobs_absent": counts.absent,
            "blobs_failed": counts.failed,
            "chunks_new": stats.chunks_new,
            "chunks_reused": stats.chunks_reused,
            "bytes_new": stats.bytes_new,
            "bytes_stored": stats.bytes_stored,
            "seconds": seconds,
        }));
    } else if !mode.quiet {
        let few = |count: u64, name: &str| match count {
            0 => String::new(),
            count => format!(", {count} {name}"),
        };
        let failed = few(counts.absent, "absent") + &few(counts.failed, "not");
        say(format_args!(
            "{} blobs copied, {} there already{failed}; {} chunks copied, {} reused, {} moved, \
             {seconds:.1} s",
            counts.copied,
            counts.there,
            stats.chunks_new,
            stats.chunks_reused,
            iec(stats.bytes_stored),
        ));
    }
}
