//! Computes the group hashes of a blob.

use blake3::Hasher;
use blake3::hazmat::HasherExt;

use super::{ChainingValue, GROUP_SIZE, GroupHashes, GroupPager, MAX_GROUPS, hasher_at, tree};
use crate::Digest;

/// Computes group hashes of bytes that come piece by piece.
///
/// A hasher may begin at any group, so that several hash parts of one blob at the same time;
/// [`join`](GroupHasher::join) puts neighbours together.
#[derive(Debug, Clone)]
pub struct GroupHasher {
    /// The first group, as a number.
    first: usize,
    /// The values of the groups that are complete, unless `beyond` has them.
    values: Vec<ChainingValue>,
    /// Has the values once there are more than `most`.
    beyond: Option<GroupPager>,
    /// The largest number of values that is kept.
    most: usize,
    /// Has the bytes of the group that is not complete.
    hasher: Hasher,
    /// The number of these bytes, at most [`GROUP_SIZE`]: a complete group is finished by the next
    /// byte, because the only group of a blob has the digest for its hash.
    filled: usize,
}

/// A blob that was hashed to its end.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Hashed {
    /// The digest of the blob.
    pub digest: Digest,
    /// The size of the blob in bytes.
    pub size: u64,
    /// The group hashes, unless the blob has more than [`MAX_GROUPS`] groups.
    pub groups: Option<GroupHashes>,
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
        GroupHasher {
            first,
            values: Vec::new(),
            beyond: None,
            most: MAX_GROUPS,
            hasher: hasher_at(first),
            filled: 0,
        }
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
        if self.filled > 0 || self.next_group() != next.first || next.beyond.is_some() {
            return Err(Box::new(next));
        }
        next.values.into_iter().for_each(|value| self.push(value));
        (self.hasher, self.filled) = (next.hasher, next.filled);
        Ok(())
    }

    /// The digest and the group hashes of the blob that ends here.
    ///
    /// # Panics
    /// If the hasher does not begin at the start of the blob.
    pub fn finish(mut self) -> Hashed {
        assert!(self.first == 0, "group {} is not the start of a blob", self.first);
        let size = self.next_group() as u64 * GROUP_SIZE + self.filled as u64;
        if self.next_group() == 0 {
            let digest = Digest::from_bytes(*self.hasher.finalize().as_bytes());
            let groups = GroupHashes { digest, size, values: Vec::new() };
            return Hashed { digest, size, groups: Some(groups) };
        }
        if self.filled > 0 {
            self.end_group();
        }
        if let Some(beyond) = self.beyond {
            return Hashed { digest: beyond.root(), size, groups: None };
        }
        let digest = tree::root(&self.values);
        Hashed { digest, size, groups: Some(GroupHashes { digest, size, values: self.values }) }
    }

    fn end_group(&mut self) {
        self.push(self.hasher.finalize_non_root());
        self.hasher = hasher_at(self.next_group());
        self.filled = 0;
    }

    fn push(&mut self, value: ChainingValue) {
        if self.values.len() == self.most {
            let beyond = self.beyond.get_or_insert_default();
            std::mem::take(&mut self.values).into_iter().for_each(|value| beyond.push(value));
        }
        match &mut self.beyond {
            Some(beyond) => beyond.push(value),
            None => self.values.push(value),
        }
    }

    /// The number of the group after the complete ones.
    fn next_group(&self) -> usize {
        let beyond = self.beyond.as_ref().map_or(0, GroupPager::len);
        self.first + self.values.len() + beyond
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_blob_of_too_many_groups_has_its_digest_and_no_list() {
        let bytes: Vec<u8> = (0..9 * GROUP_SIZE + 5).map(|at| (at / 1000) as u8).collect();
        for most in [1, 2, 8, 9, 10, 11] {
            let mut hasher = GroupHasher { most, ..GroupHasher::new() };
            let (start, end) = bytes.split_at(4 * GROUP_SIZE as usize);
            hasher.update(start);
            let mut part = GroupHasher::from_group(4);
            part.update(end);
            hasher.join(part).unwrap();
            let hashed = hasher.finish();
            assert_eq!((hashed.digest, hashed.size), (Digest::of(&bytes), bytes.len() as u64));
            assert_eq!(hashed.groups, (most >= 10).then(|| GroupHashes::of(&bytes)), "{most}");
        }
    }
}
