//! Group hashes: the proof that bytes at an offset of a blob are those of the blob.
//!
//! BLAKE3 hashes its input as a binary tree, and the digest is the root (the BLAKE3 paper, section
//! 2.1, "Tree structure"). A *group* is an aligned piece of 256 KiB of a blob; the last group of a
//! blob may be shorter. The *chaining value* of a group is the value of its subtree. The values of
//! all groups, in order, merge to the digest of the blob; so a list of values that merges to the
//! digest proves each group by itself, in any order, without the other groups. The list takes 32
//! bytes for each 256 KiB.
//!
//! The same tree, cut at the same height, is the *outboard* of [bao] with chunk groups of 2^8:
//! [`GroupHashes::outboard`] lists its pairs.
//!
//! ```
//! use castore_core::Digest;
//! use castore_core::groups::{GROUP_SIZE, GroupHashes};
//!
//! let blob: Vec<u8> = (0..1_000_000_u32).map(|number| (number / 7) as u8).collect();
//! let hashes = GroupHashes::of(&blob);
//! assert_eq!(hashes.digest(), Digest::of(&blob));
//!
//! // A reader that has the digest and the list verifies any group by itself.
//! let hashes = GroupHashes::new(Digest::of(&blob), 1_000_000, hashes.values().to_vec())?;
//! let third = hashes.range(2);
//! assert_eq!(third, 2 * GROUP_SIZE..3 * GROUP_SIZE);
//! let bytes = &blob[third.start as usize..third.end as usize];
//! assert!(hashes.verify(2, bytes));
//! assert!(!hashes.verify(1, bytes));
//! # Ok::<(), castore_core::groups::GroupsError>(())
//! ```
//!
//! [bao]: https://github.com/oconnor663/bao/blob/master/docs/spec.md

use std::ops::Range;

use blake3::Hasher;
use blake3::hazmat::{
    HasherExt, Mode, left_subtree_len, merge_subtrees_non_root, merge_subtrees_root,
};

use crate::Digest;

/// The size of a group in bytes: 256 KiB, which is 2^8 chunks of BLAKE3 (of 1 KiB each).
pub const GROUP_SIZE: u64 = 256 * 1024;

/// The value of a group's subtree: 32 bytes.
pub type ChainingValue = [u8; 32];

/// The chaining values of all groups of a blob, which merge to the digest of the blob.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GroupHashes {
    digest: Digest,
    size: u64,
    /// Empty for a blob of at most one group: the digest is the hash of that group.
    values: Vec<ChainingValue>,
}

/// The reason why a list of chaining values is not the list of the given blob.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum GroupsError {
    /// The list has another length than the size of the blob demands.
    #[error("a blob of {size} bytes has {expected} group hashes, this list has {found}")]
    Count {
        /// The size of the blob in bytes.
        size: u64,
        /// The number of values for this size; 0 for a blob of at most one group.
        expected: u64,
        /// The number of values in the list.
        found: usize,
    },
    /// The values merge to the digest of another blob.
    #[error("the group hashes are those of {0}")]
    OtherBlob(Digest),
}

impl GroupHashes {
    /// Checks that `values` are the chaining values of the groups of the blob `digest` of `size`
    /// bytes. Takes two hashes of 64 bytes for each group.
    ///
    /// # Errors
    /// A list of the wrong length, or one that merges to another digest. For a blob of at most one
    /// group only the empty list is right.
    pub fn new(
        digest: Digest,
        size: u64,
        values: Vec<ChainingValue>,
    ) -> Result<GroupHashes, GroupsError> {
        let expected = match size.div_ceil(GROUP_SIZE) {
            0 | 1 => 0,
            groups => groups,
        };
        if values.len() as u64 != expected {
            return Err(GroupsError::Count { size, expected, found: values.len() });
        }
        if expected > 0 {
            let found = root(&values, size);
            if found != digest {
                return Err(GroupsError::OtherBlob(found));
            }
        }
        Ok(GroupHashes { digest, size, values })
    }

    /// The group hashes of a blob in memory.
    pub fn of(blob: &[u8]) -> GroupHashes {
        let mut hasher = GroupHasher::new();
        hasher.update(blob);
        hasher.finish()
    }

    /// The digest of the blob.
    pub fn digest(&self) -> Digest {
        self.digest
    }

    /// The size of the blob in bytes.
    pub fn size(&self) -> u64 {
        self.size
    }

    /// The chaining values in the order of the groups; empty for a blob of at most one group.
    pub fn values(&self) -> &[ChainingValue] {
        &self.values
    }

    /// The number of groups of the blob.
    pub fn groups(&self) -> usize {
        self.size.div_ceil(GROUP_SIZE) as usize
    }

    /// The bytes of the blob that are the group `number`; empty from the end of the blob on.
    pub fn range(&self, number: usize) -> Range<u64> {
        let start = (number as u64).saturating_mul(GROUP_SIZE).min(self.size);
        start..start.saturating_add(GROUP_SIZE).min(self.size)
    }

    /// The numbers of the groups that have bytes of `range`, an empty range of numbers if none has.
    pub fn covering(&self, range: Range<u64>) -> Range<usize> {
        let (start, end) = (range.start.min(self.size), range.end.min(self.size));
        match start < end {
            true => (start / GROUP_SIZE) as usize..end.div_ceil(GROUP_SIZE) as usize,
            false => 0..0,
        }
    }

    /// Whether `bytes` are all bytes of the group `number`. Hashes them on the calling thread.
    pub fn verify(&self, number: usize, bytes: &[u8]) -> bool {
        let range = self.range(number);
        if range.is_empty() || bytes.len() as u64 != range.end - range.start {
            return false;
        }
        match self.values.get(number) {
            Some(value) => group_hash(number, bytes) == *value,
            None => self.values.is_empty() && Digest::of(bytes) == self.digest,
        }
    }

    /// The pairs of chaining values of all nodes of the tree above the groups, a parent before its
    /// children and the left child's before the right child's: the pre-order outboard of bao with
    /// chunk groups of 2^8, without its header. Empty for a blob of at most one group.
    pub fn outboard(&self) -> Vec<[ChainingValue; 2]> {
        let mut pairs = Vec::with_capacity(self.values.len().saturating_sub(1));
        if self.values.len() > 1 {
            pre_order(&self.values, self.size, &mut pairs);
        }
        pairs
    }
}

/// Computes group hashes of bytes that come piece by piece.
///
/// A hasher may begin at any group, so that several hash parts of one blob at the same time;
/// [`join`](GroupHasher::join) puts neighbours together.
#[derive(Debug, Clone)]
pub struct GroupHasher {
    /// The first group, as a number.
    first: usize,
    /// The values of the groups that are complete.
    values: Vec<ChainingValue>,
    /// Has the bytes of the group that is not complete.
    hasher: Hasher,
    /// The number of these bytes, at most [`GROUP_SIZE`]: a complete group is finished by the next
    /// byte, because the only group of a blob has the digest for its hash.
    filled: usize,
}

impl Default for GroupHasher {
    fn default() -> GroupHasher {
        GroupHasher::new()
    }
}

impl GroupHasher {
    /// A hasher of a blob from its start.
    pub fn new() -> GroupHasher {
        GroupHasher::from_group(0)
    }

    /// A hasher of a blob from the start of the group `first` on.
    pub fn from_group(first: usize) -> GroupHasher {
        GroupHasher { first, values: Vec::new(), hasher: hasher_at(first), filled: 0 }
    }

    /// Takes the next bytes, on the calling thread.
    pub fn update(&mut self, mut bytes: &[u8]) {
        while !bytes.is_empty() {
            if self.filled as u64 == GROUP_SIZE {
                self.end_group();
            }
            let room = GROUP_SIZE as usize - self.filled;
            let (now, rest) = bytes.split_at(room.min(bytes.len()));
            self.hasher.update(now);
            self.filled += now.len();
            bytes = rest;
        }
    }

    /// Goes on from the end of this hasher with the groups of `next`, which must begin there.
    ///
    /// # Errors
    /// Gives `next` back if this hasher's bytes do not end where the groups of `next` begin.
    pub fn join(&mut self, next: GroupHasher) -> Result<(), Box<GroupHasher>> {
        if self.filled as u64 == GROUP_SIZE {
            self.end_group();
        }
        if self.filled > 0 || self.next_group() != next.first {
            return Err(Box::new(next));
        }
        self.values.extend(next.values);
        (self.hasher, self.filled) = (next.hasher, next.filled);
        Ok(())
    }

    /// The group hashes and the digest of the blob that ends here.
    ///
    /// # Panics
    /// If the hasher does not begin at the start of the blob.
    pub fn finish(mut self) -> GroupHashes {
        assert!(self.first == 0, "group {} is not the start of a blob", self.first);
        let size = self.values.len() as u64 * GROUP_SIZE + self.filled as u64;
        if self.values.is_empty() {
            let digest = Digest::from_bytes(*self.hasher.finalize().as_bytes());
            return GroupHashes { digest, size, values: Vec::new() };
        }
        if self.filled > 0 {
            self.end_group();
        }
        GroupHashes { digest: root(&self.values, size), size, values: self.values }
    }

    fn end_group(&mut self) {
        self.values.push(self.hasher.finalize_non_root());
        self.hasher = hasher_at(self.next_group());
        self.filled = 0;
    }

    /// The number of the group after the complete ones.
    fn next_group(&self) -> usize {
        self.first + self.values.len()
    }
}

/// The chaining value of the group `number`, which has these bytes: at least one, and at most
/// [`GROUP_SIZE`].
fn group_hash(number: usize, bytes: &[u8]) -> ChainingValue {
    hasher_at(number).update(bytes).finalize_non_root()
}

fn hasher_at(number: usize) -> Hasher {
    let mut hasher = Hasher::new();
    hasher.set_input_offset(number as u64 * GROUP_SIZE);
    hasher
}

/// The digest of the blob of `size` bytes with these values, of which there are at least two.
fn root(values: &[ChainingValue], size: u64) -> Digest {
    let (left, right) = children(values, size);
    let hash = merge_subtrees_root(&left, &right, Mode::Hash);
    Digest::from_bytes(*hash.as_bytes())
}

/// The value of the subtree with these groups, which have `size` bytes together.
fn subtree(values: &[ChainingValue], size: u64) -> ChainingValue {
    match values {
        [value] => *value,
        _ => {
            let (left, right) = children(values, size);
            merge_subtrees_non_root(&left, &right, Mode::Hash)
        }
    }
}

/// The values of the two children of the node with these groups. The depth of the recursion is the
/// height of the tree: 46 for the largest blob.
fn children(values: &[ChainingValue], size: u64) -> (ChainingValue, ChainingValue) {
    let (left, right, left_size) = halves(values, size);
    (subtree(left, left_size), subtree(right, size - left_size))
}

/// The groups of the left and of the right child, and the bytes of the left one: the largest power
/// of two that leaves a byte for the right one, and so a whole number of groups.
fn halves(values: &[ChainingValue], size: u64) -> (&[ChainingValue], &[ChainingValue], u64) {
    let left_size = left_subtree_len(size);
    let (left, right) = values.split_at((left_size / GROUP_SIZE) as usize);
    (left, right, left_size)
}

/// Adds the pairs of all nodes above these groups, parents first; returns the value of the subtree.
fn pre_order(
    values: &[ChainingValue],
    size: u64,
    pairs: &mut Vec<[ChainingValue; 2]>,
) -> ChainingValue {
    if let [value] = values {
        return *value;
    }
    let (left, right, left_size) = halves(values, size);
    // The pair is known after those of the children, and stands before them.
    let own = pairs.len();
    pairs.push([[0; 32]; 2]);
    let left = pre_order(left, left_size, pairs);
    let right = pre_order(right, size - left_size, pairs);
    pairs[own] = [left, right];
    merge_subtrees_non_root(&left, &right, Mode::Hash)
}

#[cfg(test)]
mod tests {
    use super::*;

    const GROUP: usize = GROUP_SIZE as usize;

    fn blob(size: usize) -> Vec<u8> {
        let mut bytes = vec![0; size];
        Hasher::new().update(b"groups").finalize_xof().fill(&mut bytes);
        bytes
    }

    fn sizes() -> impl Iterator<Item = usize> {
        let around = (0..=9)
            .chain([15, 16, 17, 31, 32, 33])
            .flat_map(|groups| [-1025, -1, 0, 1, 1024].map(|more| (groups * GROUP) as i64 + more));
        around.filter_map(|size| usize::try_from(size).ok())
    }

    #[test]
    fn every_size_has_its_digest_and_its_list() {
        let all = blob(34 * GROUP);
        for size in sizes() {
            let bytes = &all[..size];
            let hashes = GroupHashes::of(bytes);
            assert_eq!(hashes.digest(), Digest::of(bytes), "{size}");
            assert_eq!(hashes.size(), size as u64);
            let values = hashes.values().to_vec();
            let expected = if size <= GROUP { 0 } else { size.div_ceil(GROUP) };
            assert_eq!(values.len(), expected, "{size}");
            let checked = GroupHashes::new(Digest::of(bytes), size as u64, values).unwrap();
            assert_eq!(checked, hashes);
            let groups: Vec<&[u8]> = bytes.chunks(GROUP).collect();
            assert_eq!(hashes.groups(), groups.len());
            for (number, group) in groups.iter().enumerate() {
                let range = hashes.range(number);
                assert_eq!(*group, &bytes[range.start as usize..range.end as usize]);
                assert!(hashes.verify(number, group), "{size} {number}");
                assert!(!hashes.verify(number + 1, group), "{size} {number}");
                assert!(!hashes.verify(number, &group[1..]), "{size} {number}");
                let mut other = group.to_vec();
                other[group.len() / 2] ^= 1;
                assert!(!hashes.verify(number, &other), "{size} {number}");
            }
        }
    }

    #[test]
    fn pieces_and_parts_may_be_split_anywhere() {
        let bytes = blob(5 * GROUP + 77);
        let whole = GroupHashes::of(&bytes);
        for piece in [1000, 65_536, GROUP - 1, GROUP, GROUP + 1, 3 * GROUP] {
            let mut hasher = GroupHasher::new();
            bytes.chunks(piece).for_each(|piece| hasher.update(piece));
            assert_eq!(hasher.finish(), whole, "{piece}");
        }
        for cut in 0..=5 {
            let (start, end) = bytes.split_at(cut * GROUP);
            let (mut first, mut second) = (GroupHasher::new(), GroupHasher::from_group(cut));
            second.update(end);
            first.update(start);
            first.join(second).unwrap();
            assert_eq!(first.finish(), whole, "{cut}");
        }
        // A part that begins elsewhere is given back.
        let mut first = GroupHasher::new();
        first.update(&bytes[..GROUP + 1]);
        for number in [0, 1, 2, 3] {
            assert!(first.join(GroupHasher::from_group(number)).is_err(), "{number}");
        }
    }

    #[test]
    fn a_wrong_list_is_told_from_a_right_one() {
        let bytes = blob(3 * GROUP + 5);
        let hashes = GroupHashes::of(&bytes);
        let (digest, size) = (hashes.digest(), hashes.size());
        let values = hashes.values().to_vec();
        for number in 0..4 {
            let mut wrong = values.clone();
            wrong[number][7] ^= 1;
            let error = GroupHashes::new(digest, size, wrong).unwrap_err();
            assert!(matches!(error, GroupsError::OtherBlob(_)), "{error}");
        }
        let mut swapped = values.clone();
        swapped.swap(0, 1);
        assert!(GroupHashes::new(digest, size, swapped).is_err());
        for found in [0, 3] {
            let error = GroupHashes::new(digest, size, values[..found].to_vec()).unwrap_err();
            assert_eq!(error, GroupsError::Count { size, expected: 4, found });
        }
        // Not even the value of the only group is right for a blob of one group.
        let one = Digest::of(&bytes[..GROUP]);
        assert!(GroupHashes::new(one, GROUP_SIZE, values[..1].to_vec()).is_err());
        assert!(GroupHashes::new(one, GROUP_SIZE, Vec::new()).is_ok());
        assert!(GroupHashes::new(digest, u64::MAX, values).is_err());
    }

    #[test]
    fn groups_cover_ranges() {
        let hashes = GroupHashes::of(&blob(2 * GROUP + 1));
        let size = hashes.size();
        for (range, expected) in [
            (0..1, 0..1),
            (0..size, 0..3),
            (GROUP_SIZE - 1..GROUP_SIZE + 1, 0..2),
            (GROUP_SIZE..2 * GROUP_SIZE, 1..2),
            (size - 1..u64::MAX, 2..3),
            (5..5, 0..0),
            (size..size + 9, 0..0),
        ] {
            assert_eq!(hashes.covering(range.clone()), expected, "{range:?}");
        }
        assert_eq!(GroupHashes::of(b"").covering(0..9), 0..0);
    }

    /// Reads an outboard as bao's specification has it: each pair hashes to the value that its
    /// parent has, from the digest down.
    #[test]
    fn the_outboard_proves_each_group_from_the_digest_down() {
        for size in sizes().filter(|size| *size > GROUP) {
            let bytes = blob(size);
            let hashes = GroupHashes::of(&bytes);
            let mut pairs = hashes.outboard().into_iter();
            let [left, right] = pairs.next().unwrap();
            let hash = merge_subtrees_root(&left, &right, Mode::Hash);
            assert_eq!(Digest::from_bytes(*hash.as_bytes()), Digest::of(&bytes));
            let left_size = left_subtree_len(size as u64) as usize;
            let mut open = vec![(right, left_size..size), (left, 0..left_size)];
            let mut leaves = Vec::new();
            while let Some((value, range)) = open.pop() {
                if range.len() <= GROUP {
                    leaves.push(value);
                    continue;
                }
                let [left, right] = pairs.next().unwrap();
                assert_eq!(merge_subtrees_non_root(&left, &right, Mode::Hash), value);
                let middle = range.start + left_subtree_len(range.len() as u64) as usize;
                open.push((right, middle..range.end));
                open.push((left, range.start..middle));
            }
            assert_eq!(leaves, hashes.values(), "{size}");
            assert!(pairs.next().is_none());
        }
        assert!(GroupHashes::of(b"abc").outboard().is_empty());
    }
}
