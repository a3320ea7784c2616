//! A scenario in this process: prepared off the clock, run on the clock, checked afterwards.

use std::fs::File;
use std::io::Read;
use std::path::Path;
use std::sync::Arc;

use anyhow::{Context as _, Result};
use bytes::Bytes;
use castore_core::Digest;
use tokio::runtime::{Builder, Runtime};

use crate::job::{Outcome, Place, Scenario, ScenarioJob, Who};
use crate::random::Random;
use crate::store::Store;
use crate::subject::{AT_A_TIME, Opened, Subject, at_a_time, open, pieces};
use crate::usage::Clock;

/// The size of a random read: 64 KiB, a quarter of an average chunk.
const READ_SIZE: usize = 64 << 10;

/// Small files have 1 to 64 KiB, and so one chunk each.
const SMALL: std::ops::Range<usize> = 1 << 10..(64 << 10) + 1;

/// The number of passes of `long_put` through the corpus.
pub(crate) const LONG: u64 = 4;

/// Runs the scenario that `job` names.
pub(crate) fn run(job: &ScenarioJob) -> Result<Outcome> {
    if let Place::Local { directory, .. } = &job.place {
        std::fs::create_dir_all(directory)?;
    }
    let data = load(&job.corpus, job.limit)?;
    let store = Store::new(job.place.clone());
    let runtime = runtime(job.who)?;
    runtime.block_on(measure(job, data, &store))
}

/// The runtime that a program using castore has. The reference has one thread.
fn runtime(who: Who) -> Result<Runtime> {
    let mut builder = match who {
        Who::Castore => Builder::new_multi_thread(),
        Who::Reference => Builder::new_current_thread(),
    };
    Ok(builder.enable_all().build()?)
}

/// The first `limit` bytes of the file.
pub(crate) fn load(path: &Path, limit: u64) -> Result<Bytes> {
    let name = || format!("cannot read {}", path.display());
    let mut data = Vec::with_capacity(limit as usize);
    File::open(path).with_context(name)?.take(limit).read_to_end(&mut data).with_context(name)?;
    Ok(data.into())
}

async fn measure(job: &ScenarioJob, data: Bytes, store: &Store) -> Result<Outcome> {
    if job.prepare && job.scenario.needs_stored() {
        let before = match &job.before {
            Some(before) => load(before, job.limit)?,
            None => data.clone(),
        };
        // Preparation uses another subject, so that the measured one knows nothing yet.
        let other = open(job.who, &store.without_latency())?;
        other.put(pieces(before)).await.context("the preparation failed")?;
    }
    let subject = open(job.who, store)?;
    let work = Work::new(job, data.clone());
    let opened = match job.scenario {
        Scenario::RandomReads => Some(subject.open(work.digests[0]).await?),
        _ => None,
    };
    store.settle();
    let before = subject.requests();

    let clock = Clock::start(job.scenario == Scenario::LongPut);
    let done = work.run(job, &subject, opened).await;
    let mut outcome = clock.stop();

    let after = subject.requests();
    outcome.requests = Some(crate::job::Requests {
        head: after.head - before.head,
        get: after.get - before.get,
        put: after.put - before.put,
    });
    outcome.bytes = work.bytes;
    outcome.operations = work.operations;
    outcome.wrong = match done {
        Ok(digests) if digests == work.digests => None,
        Ok(_) => Some("the digest is wrong".to_owned()),
        Err(error) => Some(format!("{error:#}")),
    };
    if outcome.wrong.is_none() {
        let store = store.without_latency();
        outcome.stored_bytes = Some(store.stored_bytes().await?);
        if let [digest] = work.digests[..] {
            outcome.chunks = Some(open(job.who, &store)?.chunks(digest).await?);
        }
    }
    Ok(outcome)
}

/// The input of a scenario, and its expected results.
struct Work {
    data: Bytes,
    /// The parts of the data, if it is more than one blob.
    parts: Vec<Bytes>,
    /// The offsets of random reads.
    offsets: Vec<u64>,
    digests: Vec<Digest>,
    bytes: u64,
    operations: u64,
}

impl Work {
    fn new(job: &ScenarioJob, data: Bytes) -> Work {
        let mut work = Work {
            data,
            parts: Vec::new(),
            offsets: Vec::new(),
            digests: Vec::new(),
            bytes: 0,
            operations: 1,
        };
        work.bytes = work.data.len() as u64;
        match job.scenario {
            Scenario::SmallFiles | Scenario::SmallFilesSerial => {
                work.parts = small_files(&work.data, job.count);
            }
            Scenario::Writers16 => {
                let size = work.data.len().div_ceil(AT_A_TIME).max(1);
                let starts = (0..work.data.len()).step_by(size);
                let end = |start| work.data.len().min(start + size);
                work.parts = starts.map(|start| work.data.slice(start..end(start))).collect();
            }
            Scenario::RandomReads => {
                let mut random = Random::new("random reads");
                let last = work.data.len().saturating_sub(READ_SIZE) as u64;
                work.offsets = (0..job.count).map(|_| random.below(last + 1)).collect();
                work.operations = job.count as u64;
                work.bytes = (job.count * READ_SIZE.min(work.data.len())) as u64;
            }
            _ => {}
        }
        if job.scenario == Scenario::LongPut {
            work.bytes = LONG * work.data.len() as u64;
            let mut whole = blake3::Hasher::new();
            long_pieces(work.data.clone()).for_each(|piece| {
                whole.update(&piece);
            });
            work.digests = vec![Digest::from_bytes(*whole.finalize().as_bytes())];
        } else if work.parts.is_empty() {
            work.digests = vec![Digest::of(&work.data)];
        } else {
            work.digests = work.parts.iter().map(|part| Digest::of(part)).collect();
            work.bytes = work.parts.iter().map(|part| part.len() as u64).sum();
            work.operations = work.parts.len() as u64;
        }
        work
    }

    /// Runs the scenario, and returns the digests of the blobs put or read.
    async fn run(
        &self,
        job: &ScenarioJob,
        subject: &Arc<dyn Subject>,
        opened: Option<Box<dyn Opened>>,
    ) -> Result<Vec<Digest>> {
        match job.scenario {
            Scenario::PutNew | Scenario::PutAgain | Scenario::PutEdited => {
                Ok(vec![subject.put(pieces(self.data.clone())).await?])
            }
            Scenario::LongPut => {
                Ok(vec![subject.put(Box::new(long_pieces(self.data.clone()))).await?])
            }
            Scenario::Read => {
                subject.read(self.digests[0], &self.data).await?;
                Ok(self.digests.clone())
            }
            Scenario::RandomReads => {
                let opened: Arc<dyn Opened> = opened.context("it was opened")?.into();
                let limit = if job.who == Who::Castore { AT_A_TIME } else { 1 };
                at_a_time(self.offsets.iter().copied(), limit, |offset| {
                    let (opened, data) = (Arc::clone(&opened), self.data.clone());
                    async move {
                        let end = data.len().min(offset as usize + READ_SIZE);
                        let expected = &data[offset as usize..end];
                        opened.read_range(offset..end as u64, expected).await?;
                        Ok(Digest::EMPTY)
                    }
                })
                .await?;
                Ok(self.digests.clone())
            }
            Scenario::SmallFiles | Scenario::SmallFilesSerial | Scenario::Writers16 => {
                let several = job.who == Who::Castore && job.scenario != Scenario::SmallFilesSerial;
                let limit = if several { AT_A_TIME } else { 1 };
                at_a_time(self.parts.iter().cloned(), limit, |part| {
                    let subject = Arc::clone(subject);
                    async move { subject.put(pieces(part)).await }
                })
                .await
            }
        }
    }
}

/// Small parts of `data`, of seeded sizes, all different.
fn small_files(data: &Bytes, count: usize) -> Vec<Bytes> {
    let mut random = Random::new("small files");
    let mut start = 0;
    (0..count as u64)
        .map(|number| {
            let size = SMALL.start + random.below(SMALL.len() as u64) as usize;
            let size = size.min(data.len());
            if start + size > data.len() {
                start = 0;
            }
            let mut file = data[start..start + size].to_vec();
            start += size;
            let marked = size.min(8);
            file[..marked].copy_from_slice(&number.to_le_bytes()[..marked]);
            file.into()
        })
        .collect()
}

/// The data several times over, each time with other bytes that compress as well.
fn long_pieces(data: Bytes) -> impl Iterator<Item = Bytes> + Send {
    (0..LONG as u8).flat_map(move |round| {
        pieces(data.clone()).map(move |piece| piece.iter().map(|byte| byte ^ round).collect())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn small_files_differ_and_are_the_same_each_time() {
        let data = Bytes::from(vec![7; 100_000]);
        let files = small_files(&data, 50);
        assert_eq!(files, small_files(&data, 50));
        assert!(files.iter().all(|file| SMALL.contains(&file.len())));
        let distinct: std::collections::HashSet<_> = files.iter().collect();
        assert_eq!(distinct.len(), 50);
    }
}
