//! What earlier runs have set aside: it is put back where an index lists it by now, and removed where
//! none does, and it was set aside long enough ago.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::SystemTime;

use castore_core::{Digest, Result};
use futures_util::TryStreamExt;
use object_store::path::Path;

use super::mark::Found;
use super::set_aside::LIFETIME;
use super::{OPERATION, Run};
use crate::exec::limits::driven;
use crate::maintain::observer::Phase;
use crate::store::Store;
use crate::store::layout::{Kind, aside_of, is_batch};

/// The batches there are, by name.
pub(super) struct Batches(BTreeMap<String, Batch>);

/// What the records of a batch say, by the store's clock.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Batch {
    /// When it began.
    begun: Option<SystemTime>,
    /// When the last of its deletes had ended.
    done: Option<SystemTime>,
    /// Whether all its deletes ended a grace period ago, or more.
    old: bool,
}

/// What becomes of a copy.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fate {
    Waits,
    PutBack,
    Removed,
    /// Its object is in its place, and it is not needed any more, or will not be.
    Spare,
}

/// A copy, and what was decided about it.
struct Copy {
    kind: Kind,
    digest: Digest,
    path: Path,
    /// Whether an index lists it, or it is the index of a blob that is kept.
    wanted: bool,
    /// Whether its batch is old.
    old: bool,
    /// The name of its batch, where no record of that was found.
    unrecorded: Option<String>,
    dry_run: bool,
}

impl Batch {
    /// When the last of its deletes has certainly ended.
    ///
    /// A batch that never said that it was done may have been interrupted, or may be about to go on:
    /// until it is as old as a batch may be.
    fn ended(&self) -> Option<SystemTime> {
        match (self.begun, self.done) {
            (Some(begun), Some(done)) if begun <= done => Some(done),
            (None, Some(done)) => Some(done),
            (Some(begun), _) => begun.checked_add(LIFETIME),
            (None, None) => None,
        }
    }
}

impl Run<'_> {
    /// All batches there are records of.
    pub(super) async fn batches(&self) -> Result<Batches> {
        let mut batches: BTreeMap<String, Batch> = BTreeMap::new();
        let mut records = self.shared.objects(OPERATION, &self.shared.layout.batches());
        while let Some(record) = records.try_next().await? {
            let name =
                record.path.as_ref().and_then(Path::filename).and_then(|name| name.split_once('.'));
            let Some((name, what)) = name.filter(|(name, _)| is_batch(name)) else { continue };
            let batch = batches.entry(name.to_owned()).or_default();
            match what {
                "begun" => batch.begun = Some(record.modified),
                "done" => batch.done = Some(record.modified),
                _ => {}
            }
        }
        let rules = &self.shared.rules;
        for batch in batches.values_mut() {
            let ended = batch.ended();
            batch.old = ended.is_some_and(|end| self.is_old(end)) || !rules.removal_waits;
        }
        Ok(Batches(batches))
    }

    /// Decides about everything that is set aside, and does it.
    pub(super) async fn second_look(
        &mut self,
        batches: &Batches,
        found: &Found,
        kind: Kind,
    ) -> Result<()> {
        let (shared, dry_run) = (self.shared, self.options.dry_run);
        let wanted = |digest: &Digest| match kind {
            Kind::Chunk => found.listed.contains(digest) && shared.rules.second_look,
            Kind::Blob => found.kept.as_ref().is_some_and(|kept| kept.contains(digest)),
        };
        let copies = shared.objects(OPERATION, &shared.layout.all_aside(kind));
        let mut copies = copies
            .try_filter_map(|object| {
                let path = object.path.as_ref();
                let copy = path.and_then(|path| aside_of(path).map(|named| (path, named)));
                let copy = copy.map(|(path, (digest, name))| {
                    let batch = batches.0.get(name);
                    let copy = Copy {
                        kind,
                        digest,
                        path: path.clone(),
                        wanted: wanted(&digest),
                        old: batch.is_some_and(|batch| batch.old),
                        unrecorded: batch.is_none().then(|| name.to_owned()),
                        dry_run,
                    };
                    (copy, object.size)
                });
                std::future::ready(Ok(copy))
            })
            .map_ok(|(copy, size)| {
                let done = driven(OPERATION, Arc::clone(shared).see_to(copy));
                async move { Ok((done.await?, size)) }
            })
            .try_buffer_unordered(self.at_once());
        let mut phase = Phase::new(self.observer, "look at what is set aside", None);
        while let Some((fate, size)) = copies.try_next().await? {
            match fate {
                Fate::Waits => self.report.waiting.add(size),
                Fate::PutBack => self.report.put_back.add(size),
                Fate::Removed => self.report.removed.add(size),
                Fate::Spare => {}
            }
            phase.step();
        }
        Ok(())
    }

    /// Removes the records of the batches of which nothing is left.
    pub(super) async fn forget(&self, batches: &Batches) -> Result<()> {
        if self.options.dry_run {
            return Ok(());
        }
        for (name, _) in batches.0.iter().filter(|(_, batch)| batch.old) {
            // Where only the second is left, the batch counts as one that was interrupted.
            for record in ["done", "begun"] {
                let path = self.shared.record(name, record);
                self.shared.requests.delete(OPERATION, None, path).await?;
            }
        }
        Ok(())
    }
}

impl Store {
    /// The key of a batch's record.
    pub(super) fn record(&self, batch: &str, record: &str) -> Path {
        self.layout.batches().join(format!("{batch}.{record}").as_str())
    }

    async fn see_to(self: Arc<Store>, copy: Copy) -> Result<Fate> {
        let Copy { kind, digest, old, wanted, dry_run, .. } = copy;
        if let Some(batch) = &copy.unrecorded {
            self.record_again(batch, dry_run).await?;
        }
        let mut fate = match (wanted, old) {
            (true, _) => Fate::Spare,
            (false, true) => Fate::Removed,
            (false, false) => Fate::Waits,
        };
        if wanted
            && self.rules.put_back_first
            && !self.is_in_place(OPERATION, kind, &digest).await?
        {
            // At once, even if the batch is not old: whoever reads it is waiting.
            let to = self.layout.object(kind, &digest);
            let copied =
                dry_run || self.requests.copy(OPERATION, digest, copy.path.clone(), to).await?;
            if copied {
                fate = Fate::PutBack;
            }
            if !dry_run {
                self.flush().await?;
            }
        }
        // One of a batch that is not old stays: the batch may be about to delete the original.
        if old && !dry_run {
            self.requests.delete(OPERATION, digest, copy.path).await?;
        }
        if wanted
            && !self.rules.put_back_first
            && !self.is_in_place(OPERATION, kind, &digest).await?
        {
            let path = self.layout.object(kind, &digest);
            for copy in self.copies_aside(OPERATION, kind, &digest).await? {
                self.requests.copy(OPERATION, digest, copy.path, path.clone()).await?;
            }
        }
        Ok(fate)
    }

    /// Copies without a record are left by a request that took effect when the batch was removed
    /// already. The batch gets a record again, and so is removed once more, when that is old.
    async fn record_again(&self, batch: &str, dry_run: bool) -> Result<()> {
        let path = self.record(batch, "begun");
        if !dry_run && self.requests.head(OPERATION, None, path.clone()).await?.is_none() {
            self.requests.put(OPERATION, None, path, Default::default()).await?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn a_batch_ends_when_it_is_done_or_can_delete_no_more() {
        let at = |seconds| Some(SystemTime::UNIX_EPOCH + Duration::from_secs(seconds));
        let ended = |begun, done| Batch { begun, done, old: false }.ended();
        assert_eq!(ended(at(100), at(200)), at(200));
        assert_eq!(ended(at(100), None), at(100 + LIFETIME.as_secs()));
        // Its record was written again after it was done: who did that knows more.
        assert_eq!(ended(at(300), at(200)), at(300 + LIFETIME.as_secs()));
        assert_eq!(ended(None, at(200)), at(200));
        assert_eq!(ended(None, None), None);
    }
}
