//! Holds the bytes of a read back until they are proven to be those of the blob.
//!
//! Chunks come in order, and each of them is verified. Here their bytes are hashed group by group:
//! a group that has the hash which the blob's digest demands proves that its bytes are those of the
//! blob, and are at the right place. So an index that lists other chunks is found at the first
//! group that differs, before a byte of that group is handed out.
//!
//! The readers of a blob remember which groups are proven: a range of proven groups costs no more
//! than its own chunks.
//!
//! A long read hashes each byte once: its groups prove all bytes, and the digests of the chunks are
//! not computed ([`Proof::GroupsAlone`]). Such a read remembers nothing: that the bytes were right
//! does not mean that the index lists the right chunks.

use std::collections::VecDeque;
use std::ops::Range;
use std::sync::Arc;

use bytes::Bytes;
use castore_core::groups::{GROUP_SIZE, GroupProof};
use castore_core::{BlobMismatch, Error, Result};

use super::proofs::Proofs;
use super::read_ahead::BLOB;
use crate::exec::context::run_blocking;
use crate::exec::limits::DIGESTED_AT_ONCE;
use crate::store::Store;
use crate::store::pages::Index;

/// The proof that the bytes of a read are those of the blob.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Proof {
    /// None but the digests of the chunks: the index has no group hashes, or they are not used.
    Chunks,
    /// The digests of the chunks, and the hash of each group that is not proven yet.
    Groups,
    /// The hashes of all groups.
    GroupsAlone,
}

pub(super) struct Prover {
    index: Index,
    proofs: Proofs,
    proof: Proof,
    /// The bytes that were not handed out: the rest of each chunk, and its position.
    held: VecDeque<(u64, Bytes)>,
    /// The bytes up to here were taken in.
    fed: u64,
    /// The bytes from here on are not needed.
    end: u64,
    /// The pieces of the group at `fed`, if that group has to be proven.
    group: Option<Vec<Bytes>>,
}

/// A group with all its bytes.
struct Complete {
    proof: GroupProof,
    pieces: Vec<Bytes>,
}

impl Prover {
    /// For a read of `range` of a blob.
    pub(super) fn new(
        store: &Arc<Store>,
        index: &Index,
        range: &Range<u64>,
        proof: Proof,
    ) -> Prover {
        let mut prover = Prover {
            proofs: Proofs::new(Arc::clone(store), index.clone()),
            index: index.clone(),
            proof: if index.has_groups() { proof } else { Proof::Chunks },
            held: VecDeque::new(),
            fed: range.start,
            end: 0,
            group: None,
        };
        prover.end = prover.needed_for(range.end);
        let first = group_of(range.start);
        if !prover.is_proven(first) {
            prover.fed = start_of(first);
        }
        prover
    }

    /// Starts to fetch the hashes of the first group, if that is not proven.
    pub(super) fn prefetch(&mut self) {
        let first = group_of(self.fed);
        if !self.is_proven(first) {
            self.proofs.fetch(first);
        }
    }

    pub(super) fn proof(&self) -> Proof {
        self.proof
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

    /// Takes the bytes of the next chunk, which begins at `start` of the blob, and proves
    /// the groups that are complete with them.
    ///
    /// # Errors
    /// `Corrupt` with a [`BlobMismatch`] for a group that has another hash, and errors of fetching
    /// the hashes.
    pub(super) async fn feed(&mut self, start: u64, chunk: &Bytes) -> Result<()> {
        let clip = |at: u64| at.saturating_sub(start).min(chunk.len() as u64) as usize;
        let mut rest = chunk.slice(clip(self.fed)..clip(self.end));
        self.held.push_back((self.fed, rest.clone()));
        let mut complete = Vec::new();
        while !rest.is_empty() {
            let number = group_of(self.fed);
            if self.fed == start_of(number) {
                self.group = (!self.is_proven(number)).then(Vec::new);
            }
            let end = self.end_of(number);
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
                complete.push(Complete { proof, pieces });
            }
        }
        match self.prove(complete).await? {
            Some(wrong) => Err(self.mismatch(wrong)),
            None => Ok(()),
        }
    }

    /// Hashes `groups`, up to the first that has another hash, which is returned.
    async fn prove(&self, groups: Vec<Complete>) -> Result<Option<usize>> {
        let bytes = groups.iter().map(|group| group.proof.size()).sum::<u64>();
        let (index, remembers) = (self.index.clone(), self.proof == Proof::Groups);
        let prove = move || {
            for Complete { proof, pieces } in &groups {
                if !proof.verify(pieces.iter().map(|piece| &**piece)) {
                    return Some(proof.number());
                }
                if remembers {
                    index.proven().set(proof.number());
                }
            }
            None
        };
        match bytes <= DIGESTED_AT_ONCE as u64 {
            true => Ok(prove()),
            false => run_blocking(BLOB, prove).await,
        }
    }

    /// The next proven bytes of `range`.
    pub(super) fn release(&mut self, range: &Range<u64>) -> Option<Bytes> {
        let group = self.group.as_ref().map(|_| start_of(group_of(self.fed)));
        let proven = group.unwrap_or(self.fed).min(range.end);
        while let Some((start, bytes)) = self.held.front_mut() {
            let within = |at: u64| at.saturating_sub(*start).min(bytes.len() as u64) as usize;
            let (before, end) = (within(range.start), within(proven));
            let released = bytes.slice(before..end.max(before));
            let is_all = end == bytes.len();
            *start += end as u64;
            drop(bytes.split_to(end));
            if is_all {
                self.held.pop_front();
            }
            if !released.is_empty() {
                return Some(released);
            }
            if !is_all {
                break;
            }
        }
        None
    }

    fn is_proven(&self, number: usize) -> bool {
        match self.proof {
            Proof::Chunks => true,
            Proof::Groups => self.index.proven().has(number),
            Proof::GroupsAlone => false,
        }
    }

    fn end_of(&self, number: usize) -> u64 {
        start_of(number + 1).min(self.index.size())
    }

    fn mismatch(&self, number: usize) -> Error {
        let bytes = start_of(number)..self.end_of(number);
        Error::blob_mismatch(BLOB, self.index.digest(), BlobMismatch::Group { bytes })
    }
}

fn group_of(position: u64) -> usize {
    (position / GROUP_SIZE) as usize
}

fn start_of(number: usize) -> u64 {
    number as u64 * GROUP_SIZE
}
