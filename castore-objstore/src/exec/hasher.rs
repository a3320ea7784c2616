//! The digest and the group hashes of a blob, computed piece by piece, concurrently with other work
//! on the pieces.

use std::collections::VecDeque;

use bytes::Bytes;
use castore_core::groups::{GROUP_SIZE, GroupHasher, Hashed};

use crate::error::Unfinished;
use crate::exec::context::spawn_blocking;
use crate::exec::limits::DIGESTED_AT_ONCE;
use crate::exec::pool::Started;

/// How many parts of one blob are hashed at once: more than a blob can be cut in the same time.
const PARTS_AT_ONCE: usize = 4;

/// Hashes small pieces on the calling thread, and large ones off the async threads.
///
/// Pieces that begin at the start of a group are hashed independently of the pieces before them, on
/// as many processors as are free. Other pieces wait for the pieces before them.
#[derive(Default)]
pub(crate) struct BlobHasher {
    /// The groups of the first pieces.
    done: GroupHasher,
    /// The parts after these, in order.
    parts: VecDeque<Started<GroupHasher>>,
    /// The number of bytes taken so far.
    taken: u64,
}

impl BlobHasher {
    /// Starts to hash the next bytes. `held` is dropped when they are hashed, and the bytes with
    /// it.
    pub(crate) async fn update(
        &mut self,
        pieces: Vec<Bytes>,
        held: impl Send + 'static,
    ) -> Result<(), Unfinished> {
        let bytes = pieces.iter().map(Bytes::len).sum::<usize>();
        let group = (self.taken / GROUP_SIZE) as usize;
        let begins_group = self.taken.is_multiple_of(GROUP_SIZE);
        self.taken += bytes as u64;
        let hash = move |mut hasher: GroupHasher| {
            for piece in &pieces {
                hasher.update(piece);
            }
            drop(held);
            hasher
        };
        if begins_group && bytes > DIGESTED_AT_ONCE {
            self.settle(PARTS_AT_ONCE - 1).await?;
            self.parts.push_back(spawn_blocking(move || hash(GroupHasher::from_group(group))));
            return Ok(());
        }
        self.settle(0).await?;
        let hasher = std::mem::take(&mut self.done);
        if bytes > DIGESTED_AT_ONCE {
            self.parts.push_back(spawn_blocking(move || hash(hasher)));
        } else {
            self.done = hash(hasher);
        }
        Ok(())
    }

    /// The digest and the group hashes of all bytes.
    pub(crate) async fn finish(&mut self) -> Result<Hashed, Unfinished> {
        self.settle(0).await?;
        Ok(std::mem::take(&mut self.done).finish())
    }

    /// Waits until at most `left` parts are under way.
    async fn settle(&mut self, left: usize) -> Result<(), Unfinished> {
        while self.parts.len() > left
            && let Some(part) = self.parts.front_mut()
        {
            let part = part.await?;
            self.parts.pop_front();
            self.done.join(part).expect("each part begins where the parts before it end");
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use castore_core::groups::GroupHashes;

    use super::*;

    fn noise(size: usize) -> Bytes {
        let mut bytes = vec![0; size];
        blake3::Hasher::new().update(b"hasher").finalize_xof().fill(&mut bytes);
        bytes.into()
    }

    #[tokio::test]
    async fn the_hashes_are_those_of_all_pieces_in_order() {
        let group = GROUP_SIZE as usize;
        let empty = BlobHasher::default().finish().await.unwrap();
        assert_eq!(empty.groups, Some(GroupHashes::of(b"")));
        let large = DIGESTED_AT_ONCE + 1;
        let all = noise(20 * large);
        for sizes in [
            vec![5, large, large, 5],
            vec![large, 5, large, large],
            vec![4 * group; 6],
            vec![4 * group, 4 * group, 3 * group, 1, 4 * group, 4 * group],
            vec![8 * group, 1, 4 * group - 1, 4 * group],
            vec![group, group, 3 * group + 7],
        ] {
            let mut hasher = BlobHasher::default();
            let mut rest = all.clone();
            for size in &sizes {
                let mut piece = rest.split_to(*size);
                let first = piece.split_to(size / 3);
                hasher.update(vec![first, piece], ()).await.unwrap();
                assert!(hasher.parts.len() <= PARTS_AT_ONCE);
            }
            let hashed = hasher.finish().await.unwrap();
            let read = &all[..all.len() - rest.len()];
            assert_eq!(hashed.groups, Some(GroupHashes::of(read)), "{sizes:?}");
            assert_eq!(hashed.size, read.len() as u64);
        }
    }

    #[tokio::test]
    async fn the_share_of_memory_is_held_until_the_bytes_are_hashed() {
        for size in [1, DIGESTED_AT_ONCE + 1] {
            let (held, mut dropped) = tokio::sync::oneshot::channel::<()>();
            let mut hasher = BlobHasher::default();
            hasher.update(vec![noise(size)], held).await.unwrap();
            hasher.settle(0).await.unwrap();
            dropped.try_recv().unwrap_err();
        }
    }
}
