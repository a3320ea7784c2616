//! The check before an index is written: the writer looks again for chunks that it has last seen
//! too long ago.
//!
//! A garbage collector may have set aside chunks that no index lists yet, and removes them for good
//! a grace period later. docs/gc.md derives how long a writer may take, and says why this machine's
//! clocks measure that time and not the store's.

use std::collections::HashSet;
use std::time::Duration;

use castore_core::{BlobIndex, Digest, Error, ErrorKind, Result};
use futures_util::{StreamExt, TryStreamExt, stream};

use crate::exec::clock::Moment;
use crate::store::Store;

const OPERATION: &str = "store blob";

/// The default of [`Builder::grace`](crate::Builder::grace), and of
/// [`GcOptions::grace`](crate::gc::GcOptions::grace): a day.
pub const DEFAULT_GRACE: Duration = Duration::from_secs(24 * 3600);

/// How many times a writer looks for the chunks, if one look takes so long that it has to be
/// repeated.
const TIMES: usize = 3;

impl Store {
    /// Makes sure that all chunks of a blob are in the store, each seen less than half the grace
    /// period ago, and durable. `seen` is when the first of them was seen. Returns that moment, or
    /// a later one if the chunks were looked for again.
    ///
    /// # Errors
    /// `Unavailable` if a chunk was removed meanwhile, or if looking takes longer than half the
    /// grace period: storing the blob again helps.
    pub(crate) async fn check_again(&self, index: &BlobIndex, mut seen: Moment) -> Result<Moment> {
        let failed = |message: &str| {
            Error::new(ErrorKind::Unavailable, OPERATION, message).with_digest(index.digest())
        };
        let in_time = self.in_time();
        for _ in 0..TIMES {
            if in_time(seen) {
                return Ok(seen);
            }
            tracing::info!(blob = %index.digest(), "its chunks were seen long ago: looking again");
            seen = Moment::now();
            if let Some(missing) = self.first_not_in_place(index, seen).await? {
                let message = format!(
                    "chunk {missing} was removed from the store while the blob was written; store it again"
                );
                return Err(failed(&message));
            }
            self.flush().await?;
        }
        match in_time(seen) {
            true => Ok(seen),
            false => Err(failed("looking for its chunks takes longer than half the grace period")),
        }
    }

    /// The check whether an index whose chunks were seen at a given moment may still be sent.
    pub(crate) fn in_time(&self) -> impl Fn(Moment) -> bool + Copy + Send + 'static {
        let (time, checks) = (self.recheck_after, self.safeguards.writer_checks_again());
        move |seen| seen.elapsed() <= time || !checks
    }

    async fn first_not_in_place(&self, index: &BlobIndex, seen: Moment) -> Result<Option<Digest>> {
        let mut distinct = HashSet::new();
        let digests = index.iter().map(|chunk| chunk.digest);
        let digests = digests.filter(|digest| distinct.insert(*digest));
        let missing = stream::iter(digests)
            .map(|digest| async move {
                let in_place = self.ensure_in_place(OPERATION, &digest).await?;
                match in_place {
                    true => self.presence.insert(digest, seen),
                    false => self.presence.forget(&digest),
                }
                Ok((!in_place).then_some(digest))
            })
            .buffer_unordered(self.limits.requests_at_once())
            .try_filter_map(|missing| async move { Ok(missing) });
        std::pin::pin!(missing).try_next().await
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::time::Duration;

    use castore_chunker::ChunkParams;
    use castore_core::BlobService;
    use object_store::memory::InMemory;
    use object_store::path::Path;
    use object_store::{ObjectStore, ObjectStoreExt};

    use super::*;
    use crate::ObjectStoreBlobService;
    use crate::exec::clock as moment;
    use crate::store::layout::{Kind, Layout};

    const DAY: Duration = Duration::from_secs(24 * 3600);
    const SECOND: Duration = Duration::from_secs(1);

    fn service(store: &Arc<InMemory>) -> ObjectStoreBlobService {
        let params = ChunkParams::new(64, 256, 1024).unwrap();
        let builder = ObjectStoreBlobService::builder(Arc::clone(store) as Arc<dyn ObjectStore>);
        builder.chunk_params(params).build().unwrap()
    }

    /// A stored blob of several chunks: its index, its first chunk, and when the chunks were seen.
    async fn stored(service: &ObjectStoreBlobService) -> (BlobIndex, Digest, Moment) {
        let mut noise = vec![0; 20_000];
        blake3::Hasher::new().update(b"slow").finalize_xof().fill(&mut noise);
        let seen = Moment::now();
        let mut writer = service.open_write().await.unwrap();
        writer.write_bytes(noise.into()).await.unwrap();
        let digest = writer.close().await.unwrap();
        let index = service.chunks(&digest).await.unwrap().unwrap();
        let first = index.get(0).unwrap().digest;
        (index, first, seen)
    }

    #[tokio::test]
    async fn chunks_that_were_seen_long_ago_are_brought_back_from_aside() {
        let store = Arc::new(InMemory::new());
        let service = service(&store);
        let (index, first, seen) = stored(&service).await;
        let layout = Layout::new(&Path::default());
        let (chunk, aside) = (layout.chunk(&first), layout.aside(Kind::Chunk, &first, "batch"));
        store.rename(&chunk, &aside).await.unwrap();
        moment::pass(DAY / 2 + SECOND);
        service.shared.check_again(&index, seen).await.unwrap();
        store.head(&chunk).await.expect("it was put back");
    }

    #[tokio::test]
    async fn a_missing_chunk_is_named_in_the_error_and_forgotten() {
        let store = Arc::new(InMemory::new());
        let service = service(&store);
        let (index, first, seen) = stored(&service).await;
        store.delete(&Layout::new(&Path::default()).chunk(&first)).await.unwrap();
        moment::pass(DAY / 2 + SECOND);
        service.shared.presence.insert(first, Moment::now());
        let error = service.shared.check_again(&index, seen).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Unavailable);
        assert_eq!(error.digest(), Some(index.digest()));
        assert!(error.to_string().contains(&first.to_string()), "{error}");
        assert!(service.shared.presence.seen(&first).is_none());
    }

    #[tokio::test]
    async fn chunks_that_were_seen_in_time_cost_nothing() {
        let store = Arc::new(InMemory::new());
        let service = service(&store);
        let (index, _, seen) = stored(&service).await;
        let before = service.stats();
        moment::pass(DAY / 2 - SECOND);
        service.shared.check_again(&index, seen).await.unwrap();
        assert_eq!(service.stats(), before);
    }

    #[tokio::test]
    async fn an_index_whose_request_had_to_wait_for_too_long_is_checked_again_and_not_sent() {
        let store = Arc::new(InMemory::new());
        let builder = ObjectStoreBlobService::builder(Arc::clone(&store) as Arc<dyn ObjectStore>);
        let params = ChunkParams::new(64, 256, 1024).unwrap();
        let service = builder.chunk_params(params).requests(1).build().unwrap();
        let (index, first, seen) = stored(&service).await;
        let layout = Layout::new(&Path::default());
        store.delete(&layout.blob(&index.digest())).await.unwrap();

        let busy = service.shared.limits.request().await;
        let shared = Arc::clone(&service.shared);
        let written = tokio::spawn(async move { shared.write_index(&index, Some(seen)).await });
        for _ in 0..10 {
            tokio::task::yield_now().await;
        }
        moment::pass(DAY / 2 + SECOND);
        store.delete(&layout.chunk(&first)).await.unwrap();
        drop(busy);
        let error = written.await.unwrap().unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Unavailable);
        assert!(error.to_string().contains(&first.to_string()), "{error}");
        let blob = layout.blob(&error.digest().unwrap());
        store.head(&blob).await.expect_err("no index lists a chunk that is gone");
    }

    #[test]
    fn the_grace_period_is_a_day_by_default() {
        assert_eq!(DEFAULT_GRACE.as_secs(), 86_400);
    }
}
