//! Setting things aside, a batch at a time: copied, then deleted from their place.

use std::sync::Arc;
use std::time::Duration;

use castore_core::{Digest, Error, ErrorKind, Result};
use futures_util::{StreamExt, TryStreamExt, stream};

use super::mark::{Found, Unwanted};
use super::{OPERATION, Run};
use crate::exec::clock::Moment;
use crate::exec::limits::driven;
use crate::maintain::observer::Phase;
use crate::store::Store;
use crate::store::layout::Kind;

/// How old a batch may be, by a clock of the machine that it is made on, when it deletes the last
/// object: an hour. What is left then waits for another batch.
///
/// From then on a batch that was interrupted is known not to delete any more.
pub(super) const LIFETIME: Duration = Duration::from_secs(3600);

/// How many objects make a batch: a few minutes' work, and two records for so many copies.
const BATCH: usize = 4096;

/// What became of an object that was to be set aside.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fate {
    /// It was set aside.
    Aside,
    /// Somebody else was faster.
    Gone,
    /// It was written again meanwhile, and stays.
    Fresh,
    /// The batch is too old.
    Late,
}

impl Run<'_> {
    /// Sets aside the indexes of the blobs that are not kept. One that was written again meanwhile
    /// stays, and its chunks are listed after all.
    pub(super) async fn set_aside_blobs(&mut self, found: &mut Found) -> Result<()> {
        let unwanted = std::mem::take(&mut found.unwanted);
        let total = Some(unwanted.len() as u64);
        let mut phase = Phase::new(self.observer, "set blobs aside", total);
        for batch in unwanted.chunks(BATCH) {
            let done = self.set_aside(Kind::Blob, batch).await?;
            for (unwanted, fate) in done {
                let Unwanted { digest, size, .. } = unwanted;
                match fate {
                    Fate::Aside => self.report.blobs_set_aside.add(size),
                    Fate::Gone => {}
                    Fate::Fresh | Fate::Late => {
                        let path = self.shared.layout.blob(&digest);
                        let chunks = self.shared.listed_chunks(digest, path, size).await?;
                        for chunk in chunks.into_iter().flatten() {
                            found.listed.insert(chunk);
                        }
                        self.report.blobs += 1;
                    }
                }
                phase.step();
            }
        }
        found.listed.sort();
        Ok(())
    }

    /// Sets aside the chunks that are not listed.
    pub(super) async fn set_aside_chunks(&mut self, found: &Found) -> Result<()> {
        let mut phase = Phase::new(self.observer, "look at the chunks", None);
        let mut chunks = self.shared.objects(OPERATION, self.shared.layout.all(Kind::Chunk));
        let mut batch = Vec::new();
        loop {
            let chunk = chunks.try_next().await?;
            let ended = chunk.is_none();
            if let Some(chunk) = chunk {
                batch.extend(self.unwanted(&chunk, found));
                phase.step();
            }
            if batch.len() == BATCH || ended && !batch.is_empty() {
                for (unwanted, fate) in self.set_aside(Kind::Chunk, &batch).await? {
                    if fate == Fate::Aside {
                        self.report.set_aside.add(unwanted.size);
                    }
                }
                batch.clear();
            }
            if ended {
                return Ok(());
            }
        }
    }

    fn unwanted(&mut self, chunk: &crate::store::list::Object, found: &Found) -> Option<Unwanted> {
        let (digest, size, modified) = (chunk.digest?, chunk.size, chunk.modified);
        self.report.chunks.add(size);
        // An object of no bytes is what a power cut leaves of a chunk. Writers store it anew, which a
        // copy of it would not bring back.
        if found.listed.contains(&digest) || size == 0 {
            return None;
        }
        if !self.is_old(modified) {
            self.report.young.add(size);
            return None;
        }
        Some(Unwanted { digest, size, modified })
    }

    /// Sets a batch aside, and says what became of each.
    async fn set_aside(&self, kind: Kind, unwanted: &[Unwanted]) -> Result<Vec<(Unwanted, Fate)>> {
        let (shared, at_once) = (self.shared, self.at_once());
        if self.options.dry_run {
            return Ok(unwanted.iter().map(|unwanted| (*unwanted, Fate::Aside)).collect());
        }
        let name = match shared.rules.keys_of_its_own {
            true => name(),
            false => "shared".to_owned(),
        };
        let begun = Moment::now();
        let record = |what: &str| shared.record(&name, what);
        shared.requests.put(OPERATION, None, record("begun"), Default::default()).await?;

        let copied: Vec<(Unwanted, bool)> = stream::iter(unwanted.iter().copied())
            .map(|unwanted| {
                let copy = Arc::clone(shared).copy_aside(kind, unwanted.digest, name.clone());
                async move { Ok::<_, Error>((unwanted, copy.await?)) }
            })
            .buffer_unordered(at_once)
            .try_collect()
            .await?;
        // Nothing is deleted of which a power cut could take the copy.
        let flushed = Arc::clone(shared);
        driven(OPERATION, async move { flushed.flush().await }).await?;
        let done: Vec<(Unwanted, Fate)> = stream::iter(copied)
            .map(|(unwanted, copied)| {
                let shared = Arc::clone(shared);
                let delete = driven(OPERATION, async move {
                    match copied {
                        true => shared.delete_original(kind, unwanted, begun).await,
                        false => Ok(Fate::Gone),
                    }
                });
                async move { Ok::<_, Error>((unwanted, delete.await?)) }
            })
            .buffer_unordered(at_once)
            .try_collect()
            .await?;

        let count = |fate: Fate| done.iter().filter(|(_, found)| *found == fate).count();
        if count(Fate::Late) == 0 {
            shared.requests.put(OPERATION, None, record("done"), Default::default()).await?;
        } else if count(Fate::Late) == done.len() {
            let message = "copying a batch took more than an hour, so that nothing was deleted; \
                           the store, or this machine, is too slow or was suspended";
            return Err(Error::new(ErrorKind::Unavailable, OPERATION, message));
        }
        Ok(done)
    }
}

impl Store {
    async fn copy_aside(
        self: Arc<Store>,
        kind: Kind,
        digest: Digest,
        batch: String,
    ) -> Result<bool> {
        if !self.rules.copy_aside {
            return Ok(true);
        }
        let (from, to) =
            (self.layout.object(kind, &digest), self.layout.aside(kind, &digest, &batch));
        self.requests.copy(OPERATION, digest, from, to).await
    }

    /// Deletes what was copied, if it is still what was looked at.
    async fn delete_original(&self, kind: Kind, unwanted: Unwanted, begun: Moment) -> Result<Fate> {
        let Unwanted { digest, modified, .. } = unwanted;
        let path = self.layout.object(kind, &digest);
        let Some(meta) = self.requests.look(OPERATION, digest, path.clone()).await? else {
            return Ok(Fate::Gone);
        };
        // (Whole seconds in some answers, and parts of them in others: an earlier time is the same.)
        if meta.modified > modified {
            return Ok(Fate::Fresh);
        }
        // Nobody shall count on it any more in this process.
        self.known.forget(&digest);
        let in_time = !self.rules.deletes_in_time;
        let allowed = move || in_time || begun.elapsed() < LIFETIME;
        match self.requests.delete_if(OPERATION, digest, path, allowed).await? {
            true => Ok(Fate::Aside),
            false => Ok(Fate::Late),
        }
    }
}

/// A name that no other batch has: when it was made, and 64 random bits.
#[cfg(not(test))]
fn name() -> String {
    use std::hash::{BuildHasher, Hasher, RandomState};
    use std::time::SystemTime;

    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    let random = RandomState::new().build_hasher().finish();
    format!("{:08x}-{random:016x}", now.as_secs())
}

/// Tests have the same names each time.
#[cfg(test)]
fn name() -> String {
    use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

    thread_local! {
        static NAMES: AtomicU64 = const { AtomicU64::new(0) };
    }
    format!("test-{:08x}", NAMES.with(|names| names.fetch_add(1, Relaxed)))
}
