//! The second look at the objects that earlier runs have set aside: a chunk that an index lists by
//! now is put back, and the copies of old batches are removed.

use std::sync::Arc;

use bytes::Bytes;
use castore_core::{Digest, Result};
use futures_util::TryStreamExt;
use object_store::path::Path;

use super::mark::Found;
use super::records::Batches;
use super::{OPERATION, Run};
use crate::error::is_corrupt;
use crate::exec::context::{in_own_task, run_blocking};
use crate::maintain::observer::Phase;
use crate::objects::client::unreadable;
use crate::store::Store;
use crate::store::layout::{Kind, aside_of};

/// The fate of a copy.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fate {
    Waits,
    PutBack,
    Removed,
    /// The object is in its place: the copy is not needed any more, or will not be.
    Spare,
    /// The object is needed, and good neither in its place nor in any copy.
    Damaged,
}

/// The state of the place of a listed object.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Place {
    /// The place holds the object, as far as this run has checked.
    Taken,
    /// This run has put the object back.
    PutBack,
    /// The place lacks a good object, and none of the copies is good.
    Damaged,
}

/// A copy, with the facts that decide its fate.
struct Copy {
    kind: Kind,
    digest: Digest,
    path: Path,
    /// The stored size of the copy in bytes.
    size: u64,
    /// The name of the batch that made the copy.
    batch: String,
    /// Whether an index lists the chunk, or the copy is the index of a kept blob.
    wanted: bool,
    /// Whether the batch is old.
    old: bool,
    dry_run: bool,
}

impl Run<'_> {
    /// Decides the fate of every copy that is set aside, and carries it out.
    pub(super) async fn second_look(
        &mut self,
        batches: &mut Batches,
        found: &Found,
        kind: Kind,
    ) -> Result<()> {
        let (shared, dry_run) = (self.shared, self.options.dry_run);
        let wanted = |digest: &Digest| match kind {
            Kind::Chunk => found.listed.contains(digest) && shared.safeguards.second_look(),
            Kind::Blob => found.kept.as_ref().is_some_and(|kept| kept.contains(digest)),
        };
        let mut unrecorded = Vec::new();
        let mut damaged = Vec::new();
        let known = &*batches;
        let copies = shared.objects(OPERATION, &shared.layout.all_aside(kind));
        let mut copies = copies
            .try_filter_map(|object| {
                let path = object.path.as_ref();
                let copy = path.and_then(|path| aside_of(path).map(|named| (path, named)));
                let copy = copy.map(|(path, (digest, name))| {
                    let batch = known.get(name);
                    if batch.is_none() {
                        unrecorded.push(name.to_owned());
                        unrecorded.dedup();
                    }
                    Copy {
                        kind,
                        digest,
                        path: path.clone(),
                        size: object.size,
                        batch: name.to_owned(),
                        wanted: wanted(&digest),
                        old: batch.is_some_and(|batch| batch.old),
                        dry_run,
                    }
                });
                std::future::ready(Ok(copy))
            })
            .map_ok(|copy| {
                let (size, digest, batch) = (copy.size, copy.digest, copy.batch.clone());
                let done = in_own_task(OPERATION, Arc::clone(shared).settle(copy));
                async move { Ok((done.await?, size, digest, batch)) }
            })
            .try_buffer_unordered(self.at_once());
        let mut phase = Phase::new(self.observer, "look at what is set aside", None);
        while let Some((fate, size, digest, batch)) = copies.try_next().await? {
            match fate {
                Fate::Waits => self.report.waiting.add(size),
                Fate::PutBack => self.report.put_back.add(size),
                Fate::Removed => self.report.removed.add(size),
                Fate::Spare => {}
                Fate::Damaged => damaged.push((digest, batch)),
            }
            phase.step();
        }
        drop(copies);
        batches.unrecorded.extend(unrecorded);
        for (digest, batch) in damaged {
            self.report.damaged.push(digest);
            batches.kept.insert(batch);
        }
        self.report.damaged.sort_unstable();
        self.report.damaged.dedup();
        Ok(())
    }
}

impl Store {
    async fn settle(self: Arc<Store>, copy: Copy) -> Result<Fate> {
        let Copy { kind, digest, old, wanted, dry_run, .. } = copy;
        let mut fate = match (wanted, old) {
            (true, _) => Fate::Spare,
            (false, true) => Fate::Removed,
            (false, false) => Fate::Waits,
        };
        if wanted && self.safeguards.put_back_first() {
            let _memory =
                self.limits.writing(usize::try_from(copy.size).unwrap_or(usize::MAX)).await;
            // Tasks that handle other copies of the chunk wait, and then find the chunk in its
            // place.
            let _turn = self.presence.single_flight(digest).await;
            match self.put_back(&copy).await? {
                Place::Taken => {}
                Place::PutBack => fate = Fate::PutBack,
                Place::Damaged => return Ok(Fate::Damaged),
            }
        }
        // A copy of a batch that is not old stays: the batch may be about to delete the original.
        if old && !dry_run {
            self.requests.delete(OPERATION, digest, copy.path).await?;
        }
        if wanted
            && !self.safeguards.put_back_first()
            && !self.is_in_place(OPERATION, kind, &digest).await?
        {
            let path = self.layout.object(kind, &digest);
            for copy in self.copies_aside(OPERATION, kind, &digest).await? {
                self.requests.copy(OPERATION, digest, copy.path, path.clone()).await?;
            }
        }
        Ok(fate)
    }

    /// Puts an object back if it is missing from its place: at once, even if the batch is not old,
    /// since readers may be waiting.
    ///
    /// Before the copy of an old batch is deleted, this verifies the object in its place: the copy
    /// may be the last good one.
    async fn put_back(&self, copy: &Copy) -> Result<Place> {
        let Copy { kind, digest, old, dry_run, .. } = *copy;
        let path = self.layout.object(kind, &digest);
        let is_there = match old {
            true => self.read_good(kind, digest, path.clone()).await?.is_some(),
            false => self.is_in_place(OPERATION, kind, &digest).await?,
        };
        if is_there {
            return Ok(Place::Taken);
        }
        let good = match kind {
            Kind::Chunk => self.good_copy(OPERATION, &digest).await?.map(|(_, stored)| stored),
            Kind::Blob => self.good_index_copy(digest).await?,
        };
        if let Some(stored) = good {
            if !dry_run {
                self.requests.put(OPERATION, digest, path, stored).await?;
                self.flush().await?;
            }
            return Ok(Place::PutBack);
        }
        // Another collector may have put the object back, and removed this copy.
        let is_there = self.read_good(kind, digest, path).await?.is_some()
            || self.requests.head(OPERATION, digest, copy.path.clone()).await?.is_none();
        Ok(if is_there { Place::Taken } else { Place::Damaged })
    }

    /// The stored bytes of the object at `path`, or `None` if the object is absent, or is not the
    /// index or the chunk with this digest.
    async fn read_good(&self, kind: Kind, digest: Digest, path: Path) -> Result<Option<Bytes>> {
        let stored = match kind {
            Kind::Chunk => {
                let found = self.get_verified(OPERATION, digest, None, path).await;
                found.map(|found| found.map(|found| found.stored))
            }
            Kind::Blob => self.read_index_object(digest, path).await,
        };
        match stored {
            Err(error) if is_corrupt(&error) => Ok(None),
            stored => stored,
        }
    }

    async fn read_index_object(&self, digest: Digest, path: Path) -> Result<Option<Bytes>> {
        let max_size = castore_proto::MAX_INDEX_SIZE;
        let Some(object) = self.requests.get(OPERATION, digest, path, max_size).await? else {
            return Ok(None);
        };
        let decoded = run_blocking(OPERATION, move || {
            let stored = object.read()?;
            let is_good = castore_proto::decode(&digest, &stored).is_ok();
            Ok(is_good.then_some(stored))
        });
        decoded.await?.map_err(|error| unreadable(OPERATION, digest, error))
    }

    async fn good_index_copy(&self, digest: Digest) -> Result<Option<Bytes>> {
        for copy in self.copies_aside(OPERATION, Kind::Blob, &digest).await? {
            if let Some(stored) = self.read_good(Kind::Blob, digest, copy.path).await? {
                return Ok(Some(stored));
            }
        }
        Ok(None)
    }
}
