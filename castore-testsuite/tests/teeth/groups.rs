//! Verified ranges: a range as a stream of the groups that cover it, each proven by its group hash.

use std::collections::BTreeSet;
use std::ops::Range;
use std::sync::{Arc, Mutex};

use blake3::hazmat::HasherExt;
use bytes::Bytes;
use castore_core::groups::{ChainingValue, GROUP_SIZE, GroupHashes};
use castore_core::{BlobIndex, Digest, Error, ErrorKind, Result};
use futures_util::stream::{self, BoxStream, StreamExt};

use crate::chunk::Blob;
use crate::flaw::Flaw;
use crate::index::decode_groups;
use crate::records::{blob_name, locked};
use crate::store::Store;

/// The list by which the groups of an open blob are proven.
#[derive(Debug)]
pub(crate) enum Groups {
    /// The list of the blob.
    Checked(GroupHashes),
    /// Any list, for `TrustsTheList`.
    Trusted(Vec<ChainingValue>),
}

impl Groups {
    /// Whether `bytes` are the group `number`.
    fn verify(&self, number: usize, bytes: &[u8]) -> bool {
        match self {
            Groups::Checked(hashes) => {
                hashes.proof(number).is_some_and(|proof| proof.verify([bytes]))
            }
            Groups::Trusted(values) => {
                let mut hasher = blake3::Hasher::new();
                hasher.set_input_offset(number as u64 * GROUP_SIZE);
                hasher.update(bytes);
                values.get(number) == Some(&hasher.finalize_non_root())
            }
        }
    }

    /// Whether the blob has at most one group, which its digest proves.
    fn is_small(&self) -> bool {
        matches!(self, Groups::Checked(hashes) if hashes.values().is_empty())
    }
}

impl Store {
    /// The index with the group hashes of its record, if the service claims verified ranges.
    pub(crate) fn with_groups(&self, index: BlobIndex, record: &[u8]) -> Result<BlobIndex> {
        if !self.proves || self.is(Flaw::TrustsTheList) {
            return Ok(index);
        }
        let (digest, size) = (index.digest(), index.size());
        let mut values = decode_groups(record);
        let expected = if size > GROUP_SIZE { size.div_ceil(GROUP_SIZE) as usize } else { 0 };
        if self.is(Flaw::CutsLongLists) {
            values.truncate(expected);
        }
        if self.is(Flaw::DoesWithoutShortLists) && values.len() < expected {
            return Ok(index);
        }
        let hashes = GroupHashes::new(digest, size, values);
        hashes.and_then(|hashes| index.with_groups(hashes)).map_err(|error| {
            let message = "its group hashes are wrong";
            let corrupt = Error::new(ErrorKind::Corrupt, "read an index", message);
            corrupt.with_digest(digest).with_source(error)
        })
    }

    /// The list by which the blob of `index` is proven.
    pub(crate) fn groups(&self, index: &BlobIndex) -> Result<Option<Groups>> {
        if !self.proves {
            return Ok(None);
        }
        if self.is(Flaw::TrustsTheList) && index.size() > GROUP_SIZE {
            let record = self.records.get(&blob_name(&index.digest()))?;
            return Ok(record.map(|record| Groups::Trusted(decode_groups(&record))));
        }
        Ok(index.groups().cloned().map(Groups::Checked))
    }
}

/// Groups that were proven before, for some flaws.
pub(crate) type Proven = Mutex<BTreeSet<usize>>;

/// The bytes of `range`, group by group.
pub(crate) fn proven(
    blob: Blob,
    by_reader: Arc<Proven>,
    range: Range<u64>,
) -> BoxStream<'static, Result<Bytes>> {
    let is_whole = range == (0..blob.index.size());
    let end = match blob.is(Flaw::CoversAGroupTooMany) && !is_whole {
        true => range.end + 1,
        false => range.end,
    };
    let numbers = (range.start / GROUP_SIZE) as usize..end.div_ceil(GROUP_SIZE) as usize;
    let left = numbers.clone();
    let proving = Proving { blob, by_reader, range, numbers, left, unproven: None };
    stream::unfold(Some(proving), |proving| async {
        let mut proving = proving?;
        match proving.next().await {
            Ok(Some(piece)) => Some((Ok(piece), Some(proving))),
            Ok(None) => None,
            Err(error) => Some((Err(error), None)),
        }
    })
    .boxed()
}

/// A range that is being read.
struct Proving {
    blob: Blob,
    by_reader: Arc<Proven>,
    range: Range<u64>,
    /// The groups that cover the range, and those of them that were not read yet.
    numbers: Range<usize>,
    left: Range<usize>,
    /// The group that was returned last, for `ReturnsBeforeTheProof`.
    unproven: Option<(usize, Bytes)>,
}

impl Proving {
    fn is(&self, flaw: Flaw) -> bool {
        self.blob.is(flaw)
    }

    /// The part of the next group that lies in the range.
    async fn next(&mut self) -> Result<Option<Bytes>> {
        if let Some((number, bytes)) = self.unproven.take() {
            self.prove(number, &bytes)?;
        }
        if self.is(Flaw::RemembersProofsOfReaders)
            && let Some(index) = self.blob.store.index(&self.blob.index.digest()).await?
        {
            self.blob.index = Arc::new(index);
        }
        let Some(number) = self.left.next() else { return Ok(None) };
        let index = Arc::clone(&self.blob.index);
        let group = group(number, index.size());
        let is_whole = self.range == (0..index.size());
        let mut bytes = Vec::new();
        for piece in index.pieces(group.clone()) {
            let chunk = self.blob.read_chunk(piece.meta, is_whole).await?;
            bytes.extend_from_slice(&piece.clip(&chunk));
        }
        let bytes = Bytes::from(bytes);
        if self.is(Flaw::ReturnsBeforeTheProof) {
            self.unproven = Some((number, bytes.clone()));
        } else {
            self.prove(number, &bytes)?;
        }
        let start = self.range.start.max(group.start) - group.start;
        let end = self.range.end.min(group.end) - group.start;
        Ok(Some(bytes.slice(start as usize..end as usize)))
    }

    /// Checks that `bytes` are the group `number` of the blob.
    fn prove(&self, number: usize, bytes: &[u8]) -> Result<()> {
        let digest = self.blob.index.digest();
        let Some(groups) = &self.blob.groups else { return Ok(()) };
        let wrong = |kind, message| Error::new(kind, "read a group", message).with_digest(digest);
        let records = &self.blob.store.records;
        let listed = format!("wrong/{digest}");
        if self.is(Flaw::RemembersWrongGroups) && records.contains(&listed) {
            return Err(wrong(ErrorKind::Corrupt, "the blob had a wrong group before"));
        }
        let of_blob = &self.blob.store.memory.digests;
        let name = Digest::of(&[&digest.as_bytes()[..], &number.to_le_bytes()].concat());
        let is_proven = self.is(Flaw::RemembersProofsOfBlobs) && locked(of_blob).contains(&name)
            || self.is(Flaw::RemembersProofsOfReaders) && locked(&self.by_reader).contains(&number);
        if is_proven || self.skips(groups, number) {
            return Ok(());
        }
        let any = self.is(Flaw::AcceptsAnyGroupOfTheBlob);
        let last = group_count(self.blob.index.size());
        if groups.verify(number, bytes) || any && (0..last).any(|n| groups.verify(n, bytes)) {
            if self.is(Flaw::RemembersProofsOfBlobs) {
                locked(of_blob).insert(name);
            }
            if self.is(Flaw::RemembersProofsOfReaders) {
                locked(&self.by_reader).insert(number);
            }
            return Ok(());
        }
        if self.is(Flaw::RemembersWrongGroups) {
            records.replace(&listed, Some(Bytes::new()));
        }
        if self.is(Flaw::CallsWrongGroupsOther) {
            return Err(wrong(ErrorKind::Other, "it has other bytes"));
        }
        Err(wrong(ErrorKind::Corrupt, "it has other bytes"))
    }

    /// Whether a flaw leaves the group `number` unproven.
    fn skips(&self, groups: &Groups, number: usize) -> bool {
        let size = self.blob.index.size();
        let group = group(number, size);
        match self.blob.store.flaw {
            Some(Flaw::ProvesNoGroup) => true,
            Some(Flaw::ProvesOnlyWholeReads) => self.range != (0..size),
            Some(Flaw::ProvesTheFirstGroup) => number != self.numbers.start,
            Some(Flaw::ProvesTheLastGroup) => number + 1 != self.numbers.end,
            Some(Flaw::SkipsPartsOfGroups) => {
                group.start < self.range.start || group.end > self.range.end
            }
            Some(Flaw::SkipsShortGroups) => number > 0 && group.end - group.start < GROUP_SIZE,
            Some(Flaw::SkipsSmallBlobs) => groups.is_small(),
            _ => false,
        }
    }
}

fn group_count(size: u64) -> usize {
    size.div_ceil(GROUP_SIZE) as usize
}

/// The bytes of the blob that are the group `number`.
fn group(number: usize, size: u64) -> Range<u64> {
    let start = number as u64 * GROUP_SIZE;
    start.min(size)..(start + GROUP_SIZE).min(size)
}
