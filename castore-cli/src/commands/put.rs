//! `castore put`

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use castore_core::{BlobService, Digest};
use castore_objstore::{ObjectStoreBlobService, Stats};
use futures_util::{StreamExt, stream};
use serde_json::json;

use super::{Mode, report_file, say_if_closed, warn_changed};
use crate::failure::{FAILED, Failure, Result, USAGE, say};
use crate::input::{Input, total};
use crate::names;
use crate::output;
use crate::progress::Progress;
use crate::size::iec;
use crate::store::Location;

/// The number of concurrent files: enough to hide the waits of small files.
const AT_ONCE: usize = 8;

pub(crate) async fn run(mode: Mode, location: &Location, files: Vec<PathBuf>) -> Result<()> {
    if files.iter().filter(|file| file.as_os_str() == "-").count() > 1 {
        return Err(Failure::new(USAGE, "standard input (-) can be stored only once"));
    }
    let service = location.open_or_create(mode.quiet).await?;
    let begun = Instant::now();
    let progress =
        Progress::start(mode.progress(), &service, total(&files), |stats| stats.bytes_written);

    let count = files.len();
    let mut ended = 0;
    let mut failed = None;
    let mut stored = stream::iter(files)
        .map(|file| {
            let service = service.service().clone();
            // A separate task makes progress while the line of an earlier file is awaited.
            let task = tokio::spawn(async move {
                let result = put(&service, &file).await;
                (file, result)
            });
            AbortOnDrop(task)
        })
        .buffered(AT_ONCE);
    while let Some(done) = stored.next().await {
        let (file, result) = done.map_err(anyhow::Error::new)?;
        ended += 1;
        match result {
            Ok(stored) => {
                Progress::suspend(progress.as_ref(), || print(mode, &file, &stored));
                if stored.change.is_some() {
                    failed.get_or_insert(FAILED);
                }
            }
            Err(failure) => {
                let (unusable, code) = (failure.is_of_store(), failure.code());
                Progress::suspend(progress.as_ref(), || report_file(mode, &file, failure));
                failed.get_or_insert(if code == USAGE { FAILED } else { code });
                if unusable {
                    break;
                }
            }
        }
    }
    drop(stored);
    drop(progress);
    if ended < count {
        let left = count - ended;
        say(format_args!(
            "castore: gave up, as the store failed; not stored of what was given: {left} more"
        ));
    }
    summarize(mode, &service.stats(), begun.elapsed());
    say_if_closed(mode);
    match failed {
        Some(code) => Err(Failure::reported(code)),
        None => Ok(()),
    }
}

/// A stored blob.
struct Stored {
    digest: Digest,
    /// In bytes.
    size: u64,
    /// How the file changed during the read, if it did.
    change: Option<String>,
}

fn print(mode: Mode, file: &Path, stored: &Stored) {
    let Stored { digest, size, change } = stored;
    if mode.json {
        let (name, digest) = (names::json(file), digest.to_string());
        let mut blob = json!({ "type": "blob", "digest": digest, "name": name, "size": size });
        if let Some(change) = change {
            blob["warning"] = format!("it changed while it was read: {change}").into();
        }
        output::json(&blob);
    } else {
        output::line(names::b3sum(digest, file));
    }
    if let Some(change) = change {
        warn_changed(file, change);
    }
}

/// Stores a file.
async fn put(service: &ObjectStoreBlobService, file: &Path) -> Result<Stored> {
    let mut writer = service.open_write().await?;
    let mut input = Input::in_pieces(file, writer.preferred_write_size()).await?;
    let mut size = 0;
    while let Some(piece) = input.next().await? {
        size += piece.len() as u64;
        writer.write_bytes(piece).await?;
    }
    let change = input.change().map(str::to_owned);
    Ok(Stored { digest: writer.close().await?, size, change })
}

fn summarize(mode: Mode, stats: &Stats, time: Duration) {
    let seconds = time.as_secs_f64();
    if mode.json {
        output::json(&json!({
            "type": "summary",
            "bytes_read": stats.bytes_written,
            "chunks_new": stats.chunks_new,
            "chunks_reused": stats.chunks_reused,
            "chunks_replaced": stats.chunks_replaced,
            "bytes_new": stats.bytes_new,
            "bytes_stored": stats.bytes_stored,
            "seconds": seconds,
        }));
    } else if !mode.quiet {
        let ratio = match stats.bytes_stored {
            0 => String::new(),
            stored => format!(" ({:.2}:1)", stats.bytes_written as f64 / stored as f64),
        };
        let replaced = match stats.chunks_replaced {
            0 => String::new(),
            count => format!(" ({count} of them bad before)"),
        };
        say(format_args!(
            "{} read, {} chunks new{replaced}, {} reused, {} stored{ratio}, {seconds:.1} s, {}/s",
            iec(stats.bytes_written),
            stats.chunks_new,
            stats.chunks_reused,
            iec(stats.bytes_stored),
            iec((stats.bytes_written as f64 / seconds.max(1e-9)) as u64),
        ));
    }
}

/// A task that ends with its owner.
struct AbortOnDrop<T>(tokio::task::JoinHandle<T>);

impl<T> Future for AbortOnDrop<T> {
    type Output = Result<T, tokio::task::JoinError>;

    fn poll(
        mut self: std::pin::Pin<&mut Self>,
        cx: &mut std::task::Context<'_>,
    ) -> std::task::Poll<Self::Output> {
        std::pin::Pin::new(&mut self.0).poll(cx)
    }
}

impl<T> Drop for AbortOnDrop<T> {
    fn drop(&mut self) {
        self.0.abort();
    }
}
