//! `cargo xtask scale`: time and memory of operating a store of very many chunks.
//!
//! The chunks are tiny, and their objects are written without the service. The cost of listing,
//! reading and counting chunks does not depend on their size. Each measurement runs in a separate
//! process, so no memory of one is left for the next.

use std::future::Future;
use std::path::Path;
use std::pin::Pin;
use std::process::{Command, ExitCode, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail, ensure};
use bytes::Bytes;
use castore_core::{BlobIndex, BlobService as _, ChunkMeta, Digest};
use castore_objstore::ObjectStoreBlobService;
use castore_objstore::copy::{CopyOptions, CopyOutcome};
use castore_objstore::gc::{GcOptions, Roots};
use castore_objstore::verify::{VerifyLevel, VerifyOptions};
use futures_util::{StreamExt, TryStreamExt, stream};
use object_store::local::LocalFileSystem;
use object_store::memory::InMemory;
use object_store::{ObjectStore, ObjectStoreExt};

use crate::random::Random;
use crate::usage::Clock;

/// The memory limit of an operation for a million chunks, in bytes: 100 MB.
const LIMIT: u64 = 100_000_000;

/// The chunks of one blob.
const PER_BLOB: u64 = 1000;

/// One of this many blobs is missing: no index lists its chunks.
const REMOVED: u64 = 100;

/// The number of concurrent writes.
const AT_ONCE: usize = 64;

type Run = for<'a> fn(&'a Subject) -> Pin<Box<dyn Future<Output = Result<()>> + 'a>>;

/// The measurements, by name: each operation examines the whole store, and checks the answers. The
/// first is the cost of the store's own listing: a store in memory makes the whole list at once, so
/// every operation that lists may take that much more.
const OPERATIONS: &[(&str, Run)] = &[
    ("the store's own listing", |subject| Box::pin(subject.list())),
    ("stats", |subject| Box::pin(subject.stats())),
    ("copy --all, nothing to do", |subject| Box::pin(subject.copy_nothing())),
    ("verify, the indexes", |subject| Box::pin(subject.verify())),
    ("gc, a dry run", |subject| Box::pin(subject.gc(true))),
    // This operation changes the store, and so comes last.
    ("gc, setting aside", |subject| Box::pin(subject.gc(false))),
];

/// A filled store.
struct Subject {
    store: Arc<dyn ObjectStore>,
    service: ObjectStoreBlobService,
    filled: Filled,
}

/// The numbers of blobs, chunks and unreferenced chunks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Filled {
    blobs: u64,
    chunks: u64,
    unreferenced: u64,
}

/// Measures all operations over `chunks` chunks, in memory and in `directory`, which is removed.
pub(crate) fn run(chunks: u64, directory: &Path) -> Result<ExitCode> {
    let chunks = chunks.div_ceil(PER_BLOB) * PER_BLOB;
    let _removal = Removal(directory);
    let _ = std::fs::remove_dir_all(directory);
    std::fs::create_dir_all(directory)?;
    let begun = Instant::now();
    runtime()?.block_on(fill(Arc::new(LocalFileSystem::new_with_prefix(directory)?), chunks))?;
    let seconds = begun.elapsed().as_secs_f64();
    println!("{chunks} chunks; on disk they were written in {seconds:.0} s");
    println!(
        "{:<8} {:<28} {:>9} {:>10} {:>10} {:>16}",
        "store", "operation", "time", "memory", "own", "a million chunks"
    );
    let mut good = true;
    for (store, place) in [("memory", None), ("local", Some(directory))] {
        let mut listing = 0;
        for (number, (name, _)) in OPERATIONS.iter().enumerate() {
            let (seconds, bytes) = in_a_child(number, chunks, place)?;
            if number == 0 && place.is_none() {
                listing = bytes;
            }
            let own = bytes.saturating_sub(listing);
            let per_million = own * 1_000_000 / chunks;
            // With few chunks, the fixed cost dominates.
            let too_much = number > 0 && per_million > LIMIT && chunks >= 1_000_000;
            good &= !too_much;
            println!(
                "{store:<8} {name:<28} {seconds:>7.1} s {:>7.1} MB {:>7.1} MB {:>13.1} MB{}",
                bytes as f64 / 1e6,
                own as f64 / 1e6,
                per_million as f64 / 1e6,
                if too_much { "  TOO MUCH" } else { "" }
            );
        }
    }
    Ok(if good { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// Seconds and peak bytes of an operation, measured by another process.
fn in_a_child(operation: usize, chunks: u64, place: Option<&Path>) -> Result<(f64, u64)> {
    let mut command = Command::new(std::env::current_exe()?);
    command.arg("scale-one").arg(operation.to_string()).arg(chunks.to_string()).args(place);
    let output = command.stderr(Stdio::inherit()).output()?;
    ensure!(output.status.success(), "{} failed", OPERATIONS[operation].0);
    let text = String::from_utf8(output.stdout)?;
    let (seconds, bytes) = text.trim().split_once(' ').context("it tells two numbers")?;
    Ok((seconds.parse()?, bytes.parse()?))
}

/// Does one measurement, and prints its seconds and its peak bytes.
pub(crate) fn one(operation: usize, chunks: u64, place: Option<&Path>) -> Result<()> {
    let Some((_, run)) = OPERATIONS.get(operation) else { bail!("there is no such operation") };
    let runtime = runtime()?;
    let (store, service): (Arc<dyn ObjectStore>, _) = match place {
        // The parent has filled the store.
        Some(place) => (
            Arc::new(LocalFileSystem::new_with_prefix(place)?),
            ObjectStoreBlobService::local(place).build()?,
        ),
        None => {
            let store: Arc<dyn ObjectStore> = Arc::new(InMemory::new());
            runtime.block_on(fill(Arc::clone(&store), chunks))?;
            let service = ObjectStoreBlobService::builder(Arc::clone(&store)).build()?;
            (store, service)
        }
    };
    let subject = Subject { store, service, filled: Filled::of(chunks) };
    let clock = Clock::start(false);
    runtime.block_on(run(&subject))?;
    let outcome = clock.stop();
    let bytes =
        outcome.peak_bytes.context("peak memory is read from /proc, which only Linux has")?;
    println!("{} {bytes}", outcome.wall_seconds);
    Ok(())
}

fn runtime() -> Result<tokio::runtime::Runtime> {
    Ok(tokio::runtime::Builder::new_multi_thread().enable_all().build()?)
}

/// Removes a directory at the end, even after a failure.
struct Removal<'a>(&'a Path);

impl Drop for Removal<'_> {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(self.0);
    }
}

impl Filled {
    fn of(chunks: u64) -> Filled {
        let blobs = chunks / PER_BLOB;
        let removed = blobs / REMOVED;
        Filled { blobs: blobs - removed, chunks, unreferenced: removed * PER_BLOB }
    }
}

/// Writes blobs with chunks of 64 to 300 bytes, all different.
async fn fill(store: Arc<dyn ObjectStore>, chunks: u64) -> Result<()> {
    let blobs = chunks / PER_BLOB;
    let removed = blobs / REMOVED;
    let objects =
        stream::iter(0..blobs).flat_map(|blob| stream::iter(objects(blob, blob < removed)));
    objects
        .map(|(key, bytes)| {
            let store = Arc::clone(&store);
            // Each write is a task, so that objects are compressed in parallel.
            async move { tokio::spawn(async move { store.put(&key, bytes.into()).await }).await? }
        })
        .buffer_unordered(AT_ONCE)
        .map_err(|error: object_store::Error| error)
        .try_for_each(|_| async { Ok(()) })
        .await?;
    Ok(())
}

/// The objects of a blob, by their keys; `removed` ones have no index.
fn objects(blob: u64, removed: bool) -> Vec<(object_store::path::Path, Bytes)> {
    let mut random = Random::new(&format!("castore scale {blob}"));
    let mut objects = Vec::new();
    let mut metas = Vec::new();
    let mut whole = blake3::Hasher::new();
    let key = |kind: &str, digest: &Digest| format!("{kind}/b3/{digest:.4}/{digest}").into();
    let mut compressor = zstd::bulk::Compressor::new(1).expect("a compressor");
    for _ in 0..PER_BLOB {
        let mut chunk = vec![0; 64 + random.below(237) as usize];
        random.fill(&mut chunk);
        whole.update(&chunk);
        let digest = Digest::of(&chunk);
        metas.push(ChunkMeta { digest, size: chunk.len() as u64 });
        objects
            .push((key("chunks", &digest), compressor.compress(&chunk).expect("it fits").into()));
    }
    if !removed {
        let index = BlobIndex::new(Digest::from_bytes(*whole.finalize().as_bytes()), metas)
            .expect("a valid index");
        objects.push((key("blobs", &index.digest()), castore_proto::encode(&index)));
    }
    objects
}

impl Subject {
    async fn list(&self) -> Result<()> {
        let chunks = self.store.list(Some(&"chunks".into()));
        let found = chunks.try_fold(0, |count, _| async move { Ok(count + 1) }).await?;
        ensure!(found == self.filled.chunks, "{found} chunks are listed");
        Ok(())
    }

    async fn stats(&self) -> Result<()> {
        let usage = self.service.usage(&()).await?;
        let found = Filled {
            blobs: usage.blobs,
            chunks: usage.chunks + usage.chunks_unreferenced,
            unreferenced: usage.chunks_unreferenced,
        };
        ensure!(found == self.filled && usage.chunks_missing == 0, "there is {usage:?}");
        Ok(())
    }

    async fn verify(&self) -> Result<()> {
        let options = VerifyOptions::default().level(VerifyLevel::Index);
        let report = self.service.verify(&options, &(), |_| {}).await?;
        let found = Filled {
            blobs: report.blobs,
            chunks: report.chunks,
            unreferenced: report.unlisted_chunks,
        };
        ensure!(found == self.filled, "there is {report:?}");
        ensure!(report.damaged + report.harmless == 0, "there is {report:?}");
        Ok(())
    }

    async fn gc(&self, dry_run: bool) -> Result<()> {
        let options = GcOptions::default().grace(Duration::ZERO).max_fraction(1.0).dry_run(dry_run);
        let report = self.service.gc(Roots::Blobs, &options, &()).await?;
        let found = Filled {
            blobs: report.blobs,
            chunks: report.chunks.objects,
            unreferenced: report.set_aside.objects,
        };
        ensure!(found == self.filled, "there is {report:?}");
        Ok(())
    }

    /// Copies the store to itself, which has everything.
    async fn copy_nothing(&self) -> Result<()> {
        let target = &self.service;
        self.copy(target, |outcome| matches!(outcome, CopyOutcome::AlreadyThere)).await
    }

    async fn copy(
        &self,
        target: &ObjectStoreBlobService,
        expected: fn(&CopyOutcome) -> bool,
    ) -> Result<()> {
        let options = CopyOptions::default().list_target(true);
        let mut done = self.service.copy_to(target, self.service.list(), &options, &());
        let mut blobs = 0;
        while let Some(blob) = done.try_next().await? {
            ensure!(expected(&blob.outcome), "{blob:?}");
            blobs += 1;
        }
        ensure!(blobs == self.filled.blobs, "{blobs} blobs were dealt with");
        Ok(())
    }
}
