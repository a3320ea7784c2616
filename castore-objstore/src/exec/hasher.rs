//! The digest of a whole blob, computed piece by piece, concurrently with other work on the pieces.

use bytes::Bytes;
use castore_core::Digest;

use crate::error::Unfinished;
use crate::exec::context::spawn_blocking;
use crate::exec::limits::DIGESTED_AT_ONCE;
use crate::exec::pool::Started;

/// Digests small pieces on the calling thread, and large ones off the async threads.
#[derive(Default)]
pub(crate) struct RunningDigest {
    hasher: blake3::Hasher,
    /// Holds the hasher while it digests large pieces.
    started: Option<Started<blake3::Hasher>>,
}

impl RunningDigest {
    /// Starts to digest the next bytes, once the bytes before are digested.
    pub(crate) async fn update(&mut self, pieces: Vec<Bytes>) -> Result<(), Unfinished> {
        self.settle().await?;
        if pieces.iter().map(Bytes::len).sum::<usize>() <= DIGESTED_AT_ONCE {
            for piece in &pieces {
                self.hasher.update(piece);
            }
            return Ok(());
        }
        let mut hasher = std::mem::take(&mut self.hasher);
        self.started = Some(spawn_blocking(move || {
            for piece in &pieces {
                hasher.update(piece);
            }
            hasher
        }));
        Ok(())
    }

    /// The digest of all bytes so far.
    pub(crate) async fn finish(&mut self) -> Result<Digest, Unfinished> {
        self.settle().await?;
        Ok(Digest::from_bytes(*self.hasher.finalize().as_bytes()))
    }

    async fn settle(&mut self) -> Result<(), Unfinished> {
        if let Some(started) = self.started.take() {
            self.hasher = started.await?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn the_digest_is_that_of_all_pieces_in_order() {
        let large = Bytes::from(vec![7; DIGESTED_AT_ONCE + 1]);
        let small = Bytes::from_static(b"small");
        let mut running = RunningDigest::default();
        assert_eq!(running.finish().await.unwrap(), Digest::EMPTY);
        running.update(vec![small.clone(), large.clone()]).await.unwrap();
        running.update(vec![large.clone()]).await.unwrap();
        running.update(vec![small.clone()]).await.unwrap();
        let all = [&small[..], &large, &large, &small].concat();
        assert_eq!(running.finish().await.unwrap(), Digest::of(&all));
    }
}
