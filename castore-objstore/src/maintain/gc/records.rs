//! The records of batches: when each began and ended, and which are revoked.

use std::collections::{BTreeMap, BTreeSet};
use std::time::SystemTime;

use castore_core::Result;
use futures_util::TryStreamExt;
use object_store::path::Path;

use super::set_aside::LIFETIME;
use super::{OPERATION, Run};
use crate::store::Store;
use crate::store::layout::is_batch;

/// The batches that a run finds in the store.
pub(super) struct Batches {
    /// The batches with records, by name.
    recorded: BTreeMap<String, Batch>,
    /// The names of batches that have copies, but no record.
    pub(super) unrecorded: BTreeSet<String>,
    /// The names of old batches whose copies stay, because no copy of some chunk is good.
    pub(super) kept: BTreeSet<String>,
}

/// The records of a batch, by the store's clock.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Batch {
    /// When the batch began. The collector that owns the batch writes this record once, before
    /// everything else it does. That collector deletes nothing unless it sees the record right
    /// before the delete.
    begun: Option<SystemTime>,
    /// When the last delete of the batch had been answered.
    done: Option<SystemTime>,
    /// When another collector revoked the batch; by then the record `begun` was gone.
    revoked: Option<SystemTime>,
    /// Whether all deletes of the batch ended a grace period ago, or more.
    pub(super) old: bool,
    /// Whether the batch began so long ago, without an end, that other collectors may revoke it.
    interrupted: bool,
}

impl Batch {
    /// When the last delete of the batch had been answered, or from when on the batch sends no
    /// more.
    fn ended(&self) -> Option<SystemTime> {
        match (self.begun, self.done, self.revoked) {
            (_, Some(done), _) => Some(done),
            (None, None, revoked) => revoked,
            // As long as a collector finds the record `begun` it may delete, whatever else was
            // written.
            (Some(_), None, _) => None,
        }
    }
}

impl Batches {
    pub(super) fn get(&self, name: &str) -> Option<&Batch> {
        self.recorded.get(name)
    }
}

impl Run<'_> {
    /// Lists all batches that have records.
    pub(super) async fn batches(&self) -> Result<Batches> {
        let mut recorded: BTreeMap<String, Batch> = BTreeMap::new();
        let mut records = self.shared.objects(OPERATION, &self.shared.layout.batches());
        while let Some(record) = records.try_next().await? {
            let name = record.path.as_ref().and_then(Path::filename);
            let name = name.and_then(|name| name.split_once('.'));
            let Some((name, what)) = name.filter(|(name, _)| is_batch(name)) else { continue };
            let batch = recorded.entry(name.to_owned()).or_default();
            match what {
                "begun" => batch.begun = Some(record.modified),
                "done" => batch.done = Some(record.modified),
                "revoked" => batch.revoked = Some(record.modified),
                _ => {}
            }
        }
        let safeguards = self.shared.safeguards;
        for batch in recorded.values_mut() {
            let ended = batch.ended();
            batch.old = ended.is_some_and(|end| self.is_old(end)) || !safeguards.removal_waits();
            let too_old =
                |begun: SystemTime| begun.checked_add(LIFETIME).is_some_and(|end| end <= self.now);
            batch.interrupted = ended.is_none() && batch.begun.is_some_and(too_old);
        }
        Ok(Batches { recorded, unrecorded: BTreeSet::new(), kept: BTreeSet::new() })
    }

    /// Removes the records of batches that have no copies left, and revokes interrupted batches.
    pub(super) async fn settle_records(&self, batches: &Batches) -> Result<()> {
        if self.options.dry_run {
            return Ok(());
        }
        let shared = self.shared;
        for (name, batch) in &batches.recorded {
            if batch.old && !batches.kept.contains(name) {
                for record in ["begun", "done", "revoked"] {
                    shared.requests.delete(OPERATION, None, shared.record(name, record)).await?;
                }
            } else if batch.interrupted {
                // The order matters: at the time of `revoked`, `begun` must be gone.
                shared.requests.delete(OPERATION, None, shared.record(name, "begun")).await?;
                shared.write_record(name, "revoked").await?;
            }
        }
        // Copies lack a record if a run was killed while it revoked the batch, if the copies were
        // made after the batch was removed, or if the batch began after this run listed the
        // records.
        for name in &batches.unrecorded {
            let begun = shared.record(name, "begun");
            if shared.requests.head(OPERATION, None, begun).await?.is_none() {
                shared.write_record(name, "revoked").await?;
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

    pub(super) async fn write_record(&self, batch: &str, record: &str) -> Result<()> {
        let path = self.record(batch, record);
        self.requests.put(OPERATION, None, path, Default::default()).await
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn a_batch_ends_when_it_is_done_or_finds_its_record_no_more() {
        let at = |seconds| Some(SystemTime::UNIX_EPOCH + Duration::from_secs(seconds));
        let ended =
            |begun, done, revoked| Batch { begun, done, revoked, ..Batch::default() }.ended();
        assert_eq!(ended(at(100), at(200), None), at(200));
        assert_eq!(ended(at(100), None, None), None, "it may be paused, for any time");
        assert_eq!(ended(at(100), None, at(300)), None, "it still finds its record");
        assert_eq!(ended(None, None, at(300)), at(300));
        assert_eq!(ended(None, at(200), at(300)), at(200));
        assert_eq!(ended(None, at(200), None), at(200));
        assert_eq!(ended(None, None, None), None);
    }
}
