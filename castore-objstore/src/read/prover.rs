//! Holds the bytes of a read back until they are proven to be those of the blob.
//!
//! Chunks come in order, and each of them is verified. Here their bytes are hashed group by group:
//! a group that has the hash which the blob's digest demands proves that its bytes are those of the
//! blob, and are at the right place. So an index that lists other chunks is found at the first group
//! that differs, before a byte of that group is handed out.
//!
//! The readers of a blob remember which groups are proven: a range of proven groups costs no more
//! than its own chunks.

use std::collections::VecDeque;
use std::ops::Range;
use std::sync::Arc;

use bytes::Bytes;
use castore_core::groups::{GROUP_SIZE, GroupProof};
use castore_core::{BlobMismatch, Error, Result};

use super::proofs::Proofs;
use super::read_ahead::BLOB;
use crate::error::task_error;
use crate::exec::context::spawn_blocking;
use crate::exec::limits::{DIGESTED_AT_ONCE, Permit};
use crate::exec::pool::Started;
use crate::store::Store;
use crate::store::pages::Index;

pub(super) struct Prover {
    index: Index,
    proofs: Proofs,
    /// Whether groups are hashed: the index has group hashes, and the service uses them.
    is_on: bool,
    /// The bytes that may be handed out, once they are proven.
    held: VecDeque<Held>,
    /// The bytes up to here were taken in.
    fed: u64,
    /// The bytes from here on are not needed.
    end: u64,
    /// The pieces of the group at `fed`, if that group has to be proven.
    group: Option<Vec<Bytes>>,
    /// Groups with all their bytes, in order.
    complete: Vec<Complete>,
    /// Groups that are being hashed, in order.
    checks: VecDeque<Check>,
}

/// Bytes of one chunk.
struct Held {
    start: u64,
    bytes: Bytes,
    _permit: Option<Permit>,
}

/// A group with all its bytes.
struct Complete {
    proof: GroupProof,
    pieces: Vec<Bytes>,
}

/// A run of groups that are being hashed.
struct Check {
    first: usize,
    /// The first of them that has another hash.
    wrong: Started<Option<usize>>,
}

impl Prover {
    /// For a read of `range` of a blob.
    pub(super) fn new(
        store: &Arc<Store>,
        index: &Index,
        range: &Range<u64>,
        is_on: bool,
    ) -> Prover {
        let mut prover = Prover {
            proofs: Proofs::new(Arc::clone(store), index.clone()),
            index: index.clone(),
            is_on: is_on && index.has_groups(),
            held: VecDeque::new(),
            fed: range.start,
            end: 0,
            group: None,
            complete: Vec::new(),
            checks: VecDeque::new(),
        };
        prover.end = prover.needed_for(range.end);
        let first = group_of(range.start);
        if !prover.is_proven(first) {
            prover.fed = start_of(first);
            prover.group = Some(Vec::new());
            prover.proofs.fetch(first);
        }
        prover
    }

    /// Whether the bytes are proven by the digest of the blob.
    pub(super) fn is_on(&self) -> bool {
        self.is_on
    }

    /// The bytes up to here were taken in.
    pub(super) fn fed(&self) -> u64 {
        self.fed
    }

    /// The bytes from here on are not needed.
    pub(super) fn end(&self) -> u64 {
        self.end
    }

    /// The end of the bytes that are needed to hand out those up to `end`.
    pub(super) fn needed_for(&self, end: u64) -> u64 {
        match end.checked_sub(1).map(group_of) {
            Some(last) if !self.is_proven(last) => self.end_of(last),
            _ => end,
        }
    }

    /// The number of bytes that are held back.
    pub(super) fn held_bytes(&self) -> u64 {
        self.held.front().map_or(0, |first| self.fed - first.start)
    }

    /// Takes the verified bytes of the next chunk, which begins at `start` of the blob.
    pub(super) async fn feed(
        &mut self,
        start: u64,
        chunk: &Bytes,
        permit: Option<Permit>,
    ) -> Result<()> {
        let clip = |at: u64| at.saturating_sub(start).min(chunk.len() as u64) as usize;
        let mut rest = chunk.slice(clip(self.fed)..clip(self.end));
        self.held.push_back(Held { start: self.fed, bytes: rest.clone(), _permit: permit });
        while !rest.is_empty() {
            let number = group_of(self.fed);
            let end = self.end_of(number);
            if self.fed == start_of(number) {
                self.group = (!self.is_proven(number)).then(Vec::new);
            }
            let piece = rest.split_to((end - self.fed).min(rest.len() as u64) as usize);
            self.fed += piece.len() as u64;
            if let Some(pieces) = &mut self.group {
                pieces.push(piece);
            }
            if self.fed == end
                && let Some(pieces) = self.group.take()
            {
                let proof = self.proofs.proof(number).await?;
                let proof = proof.ok_or_else(|| self.mismatch(number))?;
                self.complete.push(Complete { proof, pieces });
            }
        }
        Ok(())
    }

    /// Starts to hash the groups that have all their bytes; hashes few of them at once.
    pub(super) fn start(&mut self) -> Result<()> {
        let Some(first) = self.complete.first().map(|group| group.proof.number()) else {
            return Ok(());
        };
        let complete = std::mem::take(&mut self.complete);
        let bytes = complete.iter().map(|group| group.proof.size()).sum::<u64>();
        if bytes > DIGESTED_AT_ONCE as u64 {
            let last = complete.len() - 1;
            let index = self.index.clone();
            let wrong = spawn_blocking(move || prove(&index, &complete));
            debug_assert!(last > 0, "a group is small");
            self.checks.push_back(Check { first, wrong });
            return Ok(());
        }
        match prove(&self.index, &complete) {
            Some(wrong) => Err(self.mismatch(wrong)),
            None => Ok(()),
        }
    }

    /// Whether groups are being hashed.
    pub(super) fn is_hashing(&self) -> bool {
        !self.checks.is_empty()
    }

    /// Waits until the first groups are hashed that are being hashed.
    pub(super) async fn settle(&mut self) -> Result<()> {
        let Some(check) = self.checks.front_mut() else { return Ok(()) };
        let wrong = (&mut check.wrong).await.map_err(|error| task_error(BLOB, error))?;
        self.checks.pop_front();
        match wrong {
            Some(wrong) => Err(self.mismatch(wrong)),
            None => Ok(()),
        }
    }

    /// The next proven bytes of `range`.
    pub(super) fn release(&mut self, range: &Range<u64>) -> Option<Bytes> {
        let proven = self.proven_to().min(range.end);
        while let Some(first) = self.held.front_mut() {
            let before = range.start.saturating_sub(first.start).min(first.bytes.len() as u64);
            drop(first.bytes.split_to(before as usize));
            first.start += before;
            let count = proven.saturating_sub(first.start).min(first.bytes.len() as u64);
            let bytes = first.bytes.split_to(count as usize);
            first.start += count;
            if first.bytes.is_empty() {
                self.held.pop_front();
            } else if bytes.is_empty() {
                return None;
            }
            if !bytes.is_empty() {
                return Some(bytes);
            }
        }
        None
    }

    /// The end of the proven bytes.
    fn proven_to(&self) -> u64 {
        let checked = self.checks.front().map(|check| check.first);
        let complete = || self.complete.first().map(|group| group.proof.number());
        let open = || self.group.as_ref().map(|_| group_of(self.fed));
        let unproven = checked.or_else(complete).or_else(open);
        unproven.map_or(self.fed, start_of)
    }

    fn is_proven(&self, number: usize) -> bool {
        !self.is_on || self.index.proven().has(number)
    }

    fn end_of(&self, number: usize) -> u64 {
        start_of(number + 1).min(self.index.size())
    }

    fn mismatch(&self, number: usize) -> Error {
        let bytes = start_of(number)..self.end_of(number);
        Error::blob_mismatch(BLOB, self.index.digest(), BlobMismatch::Group { bytes })
    }
}

/// Hashes `groups`, up to the first that has another hash, which is returned.
fn prove(index: &Index, groups: &[Complete]) -> Option<usize> {
    for Complete { proof, pieces } in groups {
        if !proof.verify(pieces.iter().map(|piece| &**piece)) {
            return Some(proof.number());
        }
        index.proven().set(proof.number());
    }
    None
}

fn group_of(position: u64) -> usize {
    (position / GROUP_SIZE) as usize
}

fn start_of(number: usize) -> u64 {
    number as u64 * GROUP_SIZE
}
