//! Verifies that every index decodes, and that every chunk that it lists is present.

use std::collections::HashMap;
use std::sync::Arc;

use castore_core::groups::{GROUP_SIZE, MAX_GROUPS};
use castore_core::{BlobIndex, ChunkMeta, Digest, Error, Result};
use futures_util::TryStreamExt;

use super::{
    Finding, InOrder, LIST, Phase, Problem, Run, Verified, VerifyLevel, is_corrupt, one_line,
};
use crate::store::Store;
use crate::store::index::{Listed, READ_INDEX};
use crate::store::layout::Kind;
use crate::store::list::Object;

/// How many of the blobs that list a missing chunk are named.
const NAMED: usize = 4;

/// The memory for an index, as a multiple of the size of its object: the object and its decoded
/// form.
const MEMORY: u64 = 2;

/// A listed chunk that the listing of the store lacked.
pub(super) struct Missing {
    /// A few blobs that list the chunk.
    pub(super) blobs: Vec<Digest>,
    pub(super) count: u64,
    /// The number of the last blob that lists the chunk.
    last: u32,
    /// Whether the chunk was looked for in vain, and reported.
    pub(super) reported: bool,
}

/// The state of an index.
pub(crate) enum Indexed {
    /// The index is absent by now.
    Absent,
    /// An index without an entry.
    OneChunk,
    Chunks(BlobIndex),
    Malformed(Error),
    Unreadable(Error),
}

/// Reads an index, as one unit of work: so the file of a local store stays open no longer than
/// that.
pub(crate) async fn read_index(shared: &Arc<Store>, digest: &Digest) -> Indexed {
    let (this, digest) = (Arc::clone(shared), *digest);
    let read = async move { Ok(read_index_here(&this, &digest).await) };
    shared.requests.spawn_unit(READ_INDEX, read).await.unwrap_or_else(Indexed::Unreadable)
}

/// Reads an index that a listing shows.
pub(crate) async fn read_listed_index(shared: &Arc<Store>, digest: &Digest) -> Indexed {
    match read_index(shared, digest).await {
        Indexed::Absent => match shared.confirm_absent(READ_INDEX, Kind::Blob, digest).await {
            Ok(()) => Indexed::Absent,
            Err(error) => Indexed::Unreadable(error),
        },
        indexed => indexed,
    }
}

/// Reads a malformed index twice: a writer may be replacing it.
async fn read_index_here(shared: &Store, digest: &Digest) -> Indexed {
    let mut listed = shared.get_index(digest).await;
    if listed.as_ref().is_err_and(is_corrupt) {
        listed = shared.get_index(digest).await;
    }
    match listed {
        Ok(Listed::Absent) => Indexed::Absent,
        Ok(Listed::OneChunk) => Indexed::OneChunk,
        Ok(Listed::Chunks(index)) => Indexed::Chunks(index),
        Err(error) if is_corrupt(&error) => {
            let (path, most) = (shared.layout.blob(digest), castore_proto::MAX_INDEX_SIZE);
            match shared.confirm_given(READ_INDEX, *digest, path, most).await {
                Ok(()) => Indexed::Malformed(error),
                Err(error) => Indexed::Unreadable(error),
            }
        }
        Err(error) => Indexed::Unreadable(error),
    }
}

impl<E: FnMut(Verified) + Send> Run<'_, E> {
    pub(super) async fn read_indexes(&mut self) -> Result<()> {
        let shared = Arc::clone(&self.shared);
        let mut phase = Phase::new(self.observer, "read the indexes", None);
        let objects = shared
            .objects(LIST, &shared.layout.part("blobs"))
            .map_ok(|object| (object.size.saturating_mul(MEMORY), object))
            .map_ok(|(size, object)| (object, size));
        let read = |object: Object| {
            let shared = &shared;
            async move {
                let digest = object.digest;
                let indexed = match &digest {
                    Some(digest) => read_listed_index(shared, digest).await,
                    None => Indexed::Absent,
                };
                (object, digest, indexed)
            }
        };
        let mut unread = Vec::new();
        let result = InOrder::of(&shared.limits)
            .in_order(objects, read, |(object, digest, indexed)| {
                phase.step();
                match (digest, indexed) {
                    (Some(digest), Indexed::Unreadable(error)) => {
                        unread.push((object, digest, error.clone()));
                        self.note_result(Some(&error))
                    }
                    (Some(digest), indexed) => self.take_index(&object, digest, indexed),
                    (None, _) => {
                        self.found(Finding::new(Problem::Stray, object.key, ""));
                        Ok(())
                    }
                }
            })
            .await;
        for (object, digest, error) in unread {
            // Read the object again: an outage may be over by now. Skip this if the store fails
            // altogether.
            let indexed = match result {
                Ok(()) => read_listed_index(&shared, &digest).await,
                Err(_) => Indexed::Unreadable(error),
            };
            self.take_index(&object, digest, indexed)?;
        }
        result?;
        let unlisted = self.inventory.after(None).filter(|chunk| chunk.blobs == 0).count();
        self.report.unlisted_chunks = unlisted as u64;
        Ok(())
    }

    fn take_index(&mut self, object: &Object, digest: Digest, indexed: Indexed) -> Result<()> {
        let bad = |problem, error: Error| {
            let finding = Finding::new(problem, object.key.clone(), one_line(&error));
            finding.of(digest).affecting(vec![digest], 1).because(error)
        };
        let index = match indexed {
            // The index was removed since it was listed.
            Indexed::Absent => return Ok(()),
            Indexed::Malformed(error) => {
                self.report.blobs += 1;
                self.found(bad(Problem::MalformedIndex, error));
                return self.note_result(None);
            }
            Indexed::Unreadable(error) => {
                self.report.blobs += 1;
                self.found(bad(Problem::UnreadableIndex, error));
                return Ok(());
            }
            Indexed::OneChunk => None,
            Indexed::Chunks(index) => Some(index),
        };
        self.note_result(None)?;
        self.report.blobs += 1;
        let number = self.inventory.add_blob(digest);
        let Some(index) = index else {
            self.refer(&digest, None, digest, number);
            return Ok(());
        };
        self.report.without_group_hashes += u64::from(lacks_group_hashes(&index));
        for chunk in index.iter() {
            self.refer(&chunk.digest, Some(chunk.size), digest, number);
        }
        let several = index.len() > 1;
        if self.options.level == VerifyLevel::Blob
            && several
            && self.selects(&digest, object.modified)
        {
            self.to_read.push(digest);
        }
        Ok(())
    }

    /// Notes that the blob lists the chunk.
    fn refer(&mut self, chunk: &Digest, size: Option<u64>, blob: Digest, number: u32) {
        if self.inventory.refer(chunk, size, number) {
            return;
        }
        let missing = self.missing.entry(*chunk).or_insert_with(|| Missing {
            blobs: Vec::new(),
            count: 0,
            last: number,
            reported: false,
        });
        if missing.count > 0 && missing.last == number {
            return;
        }
        missing.last = number;
        missing.count += 1;
        if missing.blobs.len() < NAMED {
            missing.blobs.push(blob);
        }
    }

    pub(super) fn is_reported_missing(&self, chunk: &Digest) -> bool {
        self.missing.get(chunk).is_some_and(|missing| missing.reported)
    }

    /// Finds the indexes that state wrong sizes, by comparison with the real sizes of the chunks.
    pub(super) async fn blame_for_sizes(&mut self) -> Result<()> {
        if self.wrong_sizes.is_empty() {
            return Ok(());
        }
        let shared = Arc::clone(&self.shared);
        let sizes = std::mem::take(&mut self.wrong_sizes);
        let mut phase = Phase::new(self.observer, "look for wrong sizes", Some(self.report.blobs));
        let objects = shared.objects(LIST, shared.layout.blobs()).try_filter_map(|object| {
            let size = object.size.saturating_mul(MEMORY);
            let item = object.digest.map(|digest| (digest, size));
            std::future::ready(Ok(item))
        });
        let read = |digest: Digest| {
            let (shared, sizes) = (&shared, &sizes);
            async move {
                match read_index(shared, &digest).await {
                    Indexed::Chunks(index) => {
                        wrong_size(&index, sizes).map(|detail| (digest, Ok(detail)))
                    }
                    Indexed::Unreadable(error) => Some((digest, Err(error))),
                    _ => None,
                }
            }
        };
        InOrder::of(&shared.limits)
            .in_order(objects, read, |wrong| {
                phase.step();
                if let Some((digest, detail)) = wrong {
                    let key = shared.layout.blob(&digest);
                    let finding = match detail {
                        Ok(detail) => {
                            self.wrong_blobs.insert(digest);
                            Finding::new(Problem::WrongSize, key, detail)
                        }
                        Err(error) => Finding::new(Problem::UnreadableIndex, key, one_line(&error))
                            .because(error),
                    };
                    self.found(finding.of(digest).affecting(vec![digest], 1));
                }
                Ok(())
            })
            .await
    }
}

/// Whether the index has no group hashes, although its blob is not too large for a list of them.
pub(crate) fn lacks_group_hashes(index: &BlobIndex) -> bool {
    index.groups().is_none() && index.size() <= MAX_GROUPS as u64 * GROUP_SIZE
}

fn wrong_size(index: &BlobIndex, sizes: &HashMap<Digest, u64>) -> Option<String> {
    let wrong = index.iter().find_map(|chunk| {
        let size = *sizes.get(&chunk.digest)?;
        (size != chunk.size).then_some((chunk, size))
    });
    wrong.map(|(chunk, size)| said_of_size(chunk, size))
}

/// The detail for an index that lists `chunk` with a wrong size, while the chunk has `size` bytes.
pub(super) fn said_of_size(chunk: ChunkMeta, size: u64) -> String {
    format!("it states {} bytes for chunk {}, which has {size}", chunk.size, chunk.digest)
}
