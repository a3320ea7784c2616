//! Sets objects aside, a batch at a time: copies them, then deletes the originals.

use std::sync::Arc;
use std::time::Duration;

use castore_core::{Digest, Error, ErrorKind, Result};
use futures_util::{StreamExt, TryStreamExt, stream};

use super::mark::{Found, Unwanted};
use super::{Amount, LOOK_LASTS, OPERATION, Run};
use crate::exec::clock::Moment;
use crate::exec::context::in_own_task;
use crate::maintain::observer::Phase;
use crate::store::Store;
use crate::store::layout::Kind;

/// The largest age of a batch when it deletes its last object, by a clock of the machine that runs
/// it: an hour. Objects that are left after that wait for another batch.
///
/// A run that finds an older batch without an end revokes that batch.
pub(super) const LIFETIME: Duration = Duration::from_secs(3600);

/// The number of objects in a batch: a few minutes' work, and two records for so many copies.
const BATCH: usize = 4096;

/// The chunks to set aside, in batches, so that the memory grows in small steps.
#[derive(Debug, Default)]
pub(super) struct Candidates {
    batches: Vec<Vec<Unwanted>>,
    amount: Amount,
}

impl Candidates {
    fn push(&mut self, unwanted: Unwanted) {
        self.amount.add(unwanted.size);
        match self.batches.last_mut() {
            Some(batch) if batch.len() < BATCH => batch.push(unwanted),
            _ => self.batches.push(vec![unwanted]),
        }
    }

    pub(super) fn amount(&self) -> Amount {
        self.amount
    }
}

/// The fate of an object of a batch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fate {
    /// The object was set aside.
    Aside,
    /// The object is absent: another collector was faster.
    Gone,
    /// A writer wrote the object again meanwhile: the object stays.
    Fresh,
    /// The batch is too old, or another collector has revoked it: the object stays.
    Late,
}

impl Run<'_> {
    /// Sets aside the indexes of the blobs that are not kept. An index that was written again
    /// meanwhile stays, and the run then counts its chunks as listed.
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

    /// Lists all chunks, and returns those to set aside.
    pub(super) async fn candidates(&mut self, found: &Found) -> Result<Candidates> {
        let mut phase = Phase::new(self.observer, "look at the chunks", None);
        let mut chunks = self.shared.objects(OPERATION, self.shared.layout.all(Kind::Chunk));
        let mut candidates = Candidates::default();
        while let Some(chunk) = chunks.try_next().await? {
            if let Some(unwanted) = self.unwanted(&chunk, found) {
                candidates.push(unwanted);
            }
            phase.step();
        }
        Ok(candidates)
    }

    /// Sets aside the chunks that no index lists.
    pub(super) async fn set_aside_chunks(
        &mut self,
        candidates: Candidates,
        found: &Found,
    ) -> Result<()> {
        let total = Some(candidates.amount.objects);
        let mut phase = Phase::new(self.observer, "set chunks aside", total);
        for mut batch in candidates.batches {
            // The index of a blob that is not kept may have been written again meanwhile, and may
            // list some of these chunks.
            batch.retain(|unwanted| !found.listed.contains(&unwanted.digest));
            if batch.is_empty() {
                continue;
            }
            for (unwanted, fate) in self.set_aside(Kind::Chunk, &batch).await? {
                if fate == Fate::Aside {
                    self.report.set_aside.add(unwanted.size);
                }
                phase.step();
            }
        }
        Ok(())
    }

    fn unwanted(&mut self, chunk: &crate::store::list::Object, found: &Found) -> Option<Unwanted> {
        let (digest, size, modified) = (chunk.digest?, chunk.size, chunk.modified);
        self.report.chunks.add(size);
        // A power cut can leave an empty object in place of a chunk. Writers store such a chunk
        // anew, and a copy of the empty object could not replace the new one.
        if found.listed.contains(&digest) || size == 0 {
            return None;
        }
        if !self.is_old(modified) {
            self.report.young.add(size);
            return None;
        }
        Some(Unwanted { digest, size, modified })
    }

    /// Sets a batch aside, and returns the fate of each object.
    async fn set_aside(&self, kind: Kind, unwanted: &[Unwanted]) -> Result<Vec<(Unwanted, Fate)>> {
        let (shared, at_once) = (self.shared, self.at_once());
        if self.options.dry_run {
            return Ok(unwanted.iter().map(|unwanted| (*unwanted, Fate::Aside)).collect());
        }
        let name = match shared.safeguards.keys_of_its_own() {
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
        // Flush the copies before any delete: a power cut must not take a copy whose original is
        // gone.
        let flushed = Arc::clone(shared);
        in_own_task(OPERATION, async move { flushed.flush().await }).await?;
        let done: Vec<(Unwanted, Fate)> = stream::iter(copied)
            .map(|(unwanted, copied)| {
                let (shared, name) = (Arc::clone(shared), name.clone());
                let delete = in_own_task(OPERATION, async move {
                    match copied {
                        true => shared.delete_original(kind, unwanted, &name, begun).await,
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
            let message = "nothing was deleted: copying a batch took more than an hour, or another \
                           collector has revoked the batch; the store, or this machine, is too slow or \
                           was suspended";
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
        if !self.safeguards.copy_aside() {
            return Ok(true);
        }
        let (from, to) =
            (self.layout.object(kind, &digest), self.layout.aside(kind, &digest, &batch));
        self.requests.copy(OPERATION, digest, from, to).await
    }

    /// Deletes an object that was copied, if the object has not changed since it was listed, its
    /// copy is complete, and the batch was not revoked. The looks come one after another, right
    /// before the delete: docs/gc.md bounds the pause between the last look and the delete.
    async fn delete_original(
        &self,
        kind: Kind,
        unwanted: Unwanted,
        batch: &str,
        begun: Moment,
    ) -> Result<Fate> {
        let Unwanted { digest, modified, .. } = unwanted;
        let path = self.layout.object(kind, &digest);
        let Some(meta) = self.requests.look(OPERATION, digest, path.clone()).await? else {
            return Ok(Fate::Gone);
        };
        // (Some answers give whole seconds, others fractions: an earlier time means the same
        // object.)
        if meta.modified > modified {
            return Ok(Fate::Fresh);
        }
        if self.safeguards.copy_aside() {
            let copy = self.layout.aside(kind, &digest, batch);
            match self.requests.head(OPERATION, digest, copy).await? {
                Some(size) if size == meta.size => {}
                Some(size) => return Err(incomplete(digest, size, meta.size)),
                // A collector that revoked the batch long ago has removed the copy.
                None => return Ok(Fate::Late),
            }
        }
        let looked = Moment::now();
        if self.safeguards.deletes_unless_revoked() {
            let record = self.record(batch, "begun");
            if self.requests.head(OPERATION, None, record).await?.is_none() {
                return Ok(Fate::Late);
            }
        }
        // From here on, no writer of this process may rely on the chunk.
        self.presence.forget(&digest);
        let at_any_time = !self.safeguards.deletes_in_time();
        let allowed =
            move || at_any_time || looked.elapsed() < LOOK_LASTS && begun.elapsed() < LIFETIME;
        match self.requests.delete_if(OPERATION, digest, path, allowed).await? {
            true => Ok(Fate::Aside),
            false => Ok(Fate::Late),
        }
    }
}

fn incomplete(digest: Digest, size: u64, of: u64) -> Error {
    let message = format!(
        "its copy has {size} of {of} bytes, so that the original stays; the store has not finished \
         the copy, or cannot copy objects"
    );
    Error::new(ErrorKind::Unavailable, OPERATION, message).with_digest(digest)
}

/// A unique name for a batch: the time in seconds, and 64 random bits.
#[cfg(not(test))]
fn name() -> String {
    use std::hash::{BuildHasher, Hasher, RandomState};
    use std::time::SystemTime;

    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    let random = RandomState::new().build_hasher().finish();
    format!("{:08x}-{random:016x}", now.as_secs())
}

/// In tests, batches have the same names each time.
#[cfg(test)]
fn name() -> String {
    use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

    thread_local! {
        static NAMES: AtomicU64 = const { AtomicU64::new(0) };
    }
    format!("test-{:08x}", NAMES.with(|names| names.fetch_add(1, Relaxed)))
}
