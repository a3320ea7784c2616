//! `castore chunk`

use std::collections::HashMap;
use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};
use std::thread::available_parallelism;

use bytes::Bytes;
use castore_chunker::{ChunkParams, Cutter};
use castore_core::Digest;
use futures_util::{StreamExt, TryStreamExt, stream};
use serde_json::json;

use super::Mode;
use crate::failure::{FAILED, Failure, NO_STORE, Result, say};
use crate::input::Input;
use crate::output;
use crate::size::iec;
use crate::store::{Location, Store};

/// The bytes of one read: with one thread, for each of several threads, and at most.
const PIECE: usize = 1024 * 1024;
const PIECE_PER_THREAD: usize = 4 * 1024 * 1024;
const LARGEST_PIECE: usize = 64 * 1024 * 1024;

/// The number of concurrent requests to the store.
const AT_ONCE: usize = 64;

pub(crate) async fn run(
    mode: Mode,
    location: &Location,
    files: &[PathBuf],
    list: bool,
    threads: Option<NonZeroUsize>,
) -> Result<()> {
    let threads = threads.or_else(|| available_parallelism().ok()).unwrap_or(NonZeroUsize::MIN);
    let service = match location.open() {
        Ok(service) => Some(service),
        Err(failure) if failure.code() == NO_STORE => None,
        Err(failure) => return Err(failure),
    };
    let params = service.as_ref().map(|store| store.chunk_params()).unwrap_or_default();
    let mut found = Found::default();
    let mut failed = false;
    for file in files {
        let cut = cut(file, params, threads, |offset, chunk| {
            found.add(chunk);
            let Chunk { digest, size } = chunk;
            match (list, mode.json) {
                (true, false) => output::line(format_args!("{offset:>12} {size:>8} {digest}")),
                (true, true) => {
                    let digest = digest.to_string();
                    let chunk = json!({ "type": "chunk", "offset": offset, "size": size, "digest": digest });
                    output::json(&chunk);
                }
                (false, _) => {}
            }
        });
        match cut.await {
            Ok(None) => {}
            Ok(Some(change)) => {
                super::warn_changed(file, &change);
                failed = true;
            }
            Err(failure) => {
                super::report_file(mode, file, failure);
                failed = true;
            }
        }
    }
    let stored = match &service {
        Some(service) => found.in_store(service).await?,
        None => 0,
    };
    if service.is_none() && !mode.quiet {
        say("castore: there is no store yet, so all of it would be new");
    }
    found.report(mode, stored);
    if failed { Err(Failure::reported(FAILED)) } else { Ok(()) }
}

#[derive(Clone, Copy)]
struct Chunk {
    digest: Digest,
    size: u64,
}

/// Cuts a file and digests its chunks off the async threads, while it reads more of the file.
/// Returns how the file changed meanwhile, if it did.
async fn cut(
    file: &Path,
    params: ChunkParams,
    threads: NonZeroUsize,
    mut each: impl FnMut(u64, Chunk),
) -> Result<Option<String>> {
    // Several threads need enough bytes for each to be worth its start.
    let size = match threads.get() {
        1 => PIECE,
        threads => threads.saturating_mul(PIECE_PER_THREAD).min(LARGEST_PIECE),
    };
    let mut input = Input::in_pieces(file, size).await?;
    let mut cutter = Cutter::new(params);
    let mut offset = 0;
    let mut piece = input.next().await?;
    loop {
        let last = piece.is_none();
        let work = tokio::task::spawn_blocking(move || {
            let mut chunks = Vec::new();
            match piece {
                Some(piece) => cutter.push_parallel(piece, threads, |chunk| chunks.push(chunk)),
                None => chunks.extend(cutter.finish()),
            }
            (cutter, chunks)
        });
        let next = if last { None } else { input.next().await? };
        let chunks;
        (cutter, chunks) = work.await.map_err(anyhow::Error::new)?;
        for chunk in digested(chunks, threads).await? {
            each(offset, chunk);
            offset += chunk.size;
        }
        if last {
            return Ok(input.change().map(str::to_owned));
        }
        piece = next;
    }
}

/// Returns the chunks with their digests, computed by `threads` threads.
async fn digested(mut chunks: Vec<Bytes>, threads: NonZeroUsize) -> Result<Vec<Chunk>> {
    let share = chunks.len().div_ceil(threads.get()).max(1);
    let mut work = Vec::new();
    while !chunks.is_empty() {
        let rest = chunks.split_off(share.min(chunks.len()));
        let part = std::mem::replace(&mut chunks, rest);
        work.push(tokio::task::spawn_blocking(move || {
            let chunk =
                |chunk: &Bytes| Chunk { digest: Digest::of(chunk), size: chunk.len() as u64 };
            part.iter().map(chunk).collect::<Vec<_>>()
        }));
    }
    let mut digested = Vec::new();
    for part in work {
        digested.extend(part.await.map_err(anyhow::Error::new)?);
    }
    Ok(digested)
}

#[derive(Default)]
struct Found {
    bytes: u64,
    chunks: u64,
    distinct: HashMap<Digest, u64>,
}

impl Found {
    fn add(&mut self, chunk: Chunk) {
        self.bytes += chunk.size;
        self.chunks += 1;
        self.distinct.insert(chunk.digest, chunk.size);
    }

    /// The number of bytes of the distinct chunks that the store already has.
    async fn in_store(&self, service: &Store) -> Result<u64> {
        stream::iter(&self.distinct)
            .map(|(digest, size)| async move {
                let stored = service.stored_size(digest).await?;
                // A power cut leaves empty objects; put replaces them.
                Ok::<_, Failure>(if stored.is_some_and(|stored| stored > 0) { *size } else { 0 })
            })
            .buffer_unordered(AT_ONCE)
            .try_fold(0, |sum, size| async move { Ok(sum + size) })
            .await
    }

    fn report(&self, mode: Mode, stored: u64) {
        let distinct: u64 = self.distinct.values().sum();
        let new = distinct - stored;
        if mode.json {
            output::json(&json!({
                "type": "summary",
                "bytes_read": self.bytes,
                "chunks": self.chunks,
                "distinct_chunks": self.distinct.len(),
                "bytes_distinct": distinct,
                "bytes_in_store": stored,
                "bytes_new": new,
            }));
            return;
        }
        let part = |bytes: u64| match self.bytes {
            0 => 0.0,
            all => 100.0 * bytes as f64 / all as f64,
        };
        let row = |name: &str, bytes: u64| {
            output::line(format_args!("{name:<28} {:>11} {:>6.1}%", iec(bytes), part(bytes)));
        };
        output::line(format_args!("{} chunks, {} distinct", self.chunks, self.distinct.len()));
        row("read", self.bytes);
        row("shared among themselves", self.bytes - distinct);
        row("in the store already", stored);
        row("new, before compression", new);
        self.histogram();
    }

    /// Prints the distribution of the sizes of the distinct chunks, by powers of two.
    fn histogram(&self) {
        let (Some(min), Some(max)) = (self.distinct.values().min(), self.distinct.values().max())
        else {
            return;
        };
        let mean = self.distinct.values().sum::<u64>() / self.distinct.len() as u64;
        output::line(format_args!(
            "sizes: {} to {}, {} on average",
            iec(*min),
            iec(*max),
            iec(mean)
        ));
        let mut counts = [0_usize; 64];
        for size in self.distinct.values() {
            counts[size.ilog2() as usize] += 1;
        }
        let most = counts.iter().copied().max().unwrap_or(1).max(1);
        for (power, count) in counts.into_iter().enumerate().filter(|(_, count)| *count > 0) {
            let bar = "#".repeat((40 * count).div_ceil(most));
            output::line(format_args!("{:>11} and more {count:>8} {bar}", iec(1 << power)));
        }
    }
}
