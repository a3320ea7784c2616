//! Copies blobs to another store: only the chunks that the target lacks, in their stored form.
//!
//! A copy decompresses and verifies each chunk on its way, and passes the stored form on unchanged.
//! The index is written last, as by any writer: so an interrupted copy can be started again, and
//! finds the chunks that it has already copied.

mod blob;
mod target;

use std::sync::{Arc, Mutex, PoisonError};

use castore_core::{Digest, Error, Result};
use futures_core::Stream;
use futures_util::stream::{self, BoxStream};
use futures_util::{StreamExt, TryStreamExt};

use self::blob::Copying;
use self::target::Target;
use super::observer::{Observer, Phase};
use crate::service::ObjectStoreBlobService;

/// How many blobs are under way at once: enough to hide the latency of small blobs. Each blob holds
/// its index, 40 bytes for a chunk.
const BLOBS_AT_ONCE: usize = 32;

/// Options of a copy.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[must_use = "options do nothing by themselves"]
pub struct CopyOptions {
    list_target: bool,
    verify: bool,
    trust_indexes: bool,
}

impl CopyOptions {
    /// Lists the chunks of the target first, instead of asking for each chunk. A directory is asked
    /// for each chunk in any case. Off by default.
    ///
    /// A listing takes one request for each thousand chunks of the target, and 32 bytes of memory
    /// for each chunk. Listing is cheaper for a copy of most of a store, and dearer for a few blobs
    /// that go to a large store.
    pub fn list_target(mut self, list: bool) -> CopyOptions {
        self.list_target = list;
        self
    }

    /// Reads each blob from the target, and verifies its digest, before the copy writes the index
    /// there; reads also those blobs that the target has already. Off by default.
    ///
    /// The check finds damaged chunks that the target had, and costs reading all of the blob there.
    pub fn verify(mut self, verify: bool) -> CopyOptions {
        self.verify = verify;
        self
    }

    /// Does not verify that the chunks in an index of the source are those of its blob. Off by
    /// default.
    ///
    /// Without this option, a copy reads every chunk of the blob at the source, also those that the
    /// target has, and computes the digest of the whole before it writes the index. With it, a copy
    /// reads only the chunks that the target lacks, and passes on an index that lists the chunks of
    /// another blob; a reader of the blob detects that.
    pub fn trust_indexes(mut self, trust: bool) -> CopyOptions {
        self.trust_indexes = trust;
        self
    }
}

/// A blob of a copy, and its outcome.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct BlobCopy {
    /// The digest of the blob.
    pub digest: Digest,
    /// The outcome for this blob.
    pub outcome: CopyOutcome,
}

/// The outcome of copying a blob.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub enum CopyOutcome {
    /// The target has the blob now.
    Copied(CopiedBlob),
    /// The target had the blob already.
    AlreadyThere,
    /// The blob is absent from the source, or was removed meanwhile.
    Absent,
    /// The blob was not copied. The error is `Corrupt` if the blob is damaged at the source.
    Failed(Error),
}

/// The amount of data in the copy of a blob.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct CopiedBlob {
    /// The size of the blob in bytes.
    pub size: u64,
    /// How many chunks were copied.
    pub chunks_new: u64,
    /// How many chunks the target had. Repetitions of a chunk within the blob count, too.
    pub chunks_reused: u64,
    /// Compressed bytes of the chunks that were copied.
    pub bytes_stored: u64,
}

impl ObjectStoreBlobService {
    /// Copies `blobs` to `target`, several at once, and reports each as soon as it is safe there,
    /// in the order of completion.
    ///
    /// The target has a blob if it has the same index as the source, and every chunk that the index
    /// lists. Otherwise the copy writes the chunks that the target lacks, then the index. Every
    /// copied chunk is verified, and its compressed form is passed on. The digest of the whole blob
    /// is verified before the index is written, unless [`CopyOptions::trust_indexes`] is set: an
    /// index that lists the chunks of another blob is `Corrupt`. The copy checks that the target's
    /// own chunks are present, and with [`CopyOptions::verify`] reads and verifies them.
    ///
    /// A blob that cannot be copied ends with [`CopyOutcome::Failed`] and stops no other blob.
    /// Stored data counts in the target's [`stats`](ObjectStoreBlobService::stats), and data read
    /// in those of this service. The memory for chunks in transit comes from both services' memory
    /// for writing.
    ///
    /// The copy starts when the stream is first polled. Dropping the stream ends the copy. Blobs
    /// that were not reported may or may not be at the target; copying them again continues from
    /// there.
    ///
    /// # Errors
    /// The errors of `blobs`, and those of listing the target. They end the stream.
    pub fn copy_to<'a>(
        &self,
        target: &ObjectStoreBlobService,
        blobs: impl Stream<Item = Result<Digest>> + Send + 'a,
        options: &CopyOptions,
        observer: &'a dyn Observer,
    ) -> BoxStream<'a, Result<BlobCopy>> {
        let (source, target) = (Arc::clone(&self.shared), Arc::clone(&target.shared));
        let CopyOptions { list_target, verify, trust_indexes } = *options;
        let begin = async move {
            let target = match list_target {
                true => Target::listed(target, observer).await?,
                false => Target::new(target),
            };
            let phase = Mutex::new(Phase::new(observer, "copy chunks", None));
            let copying =
                Arc::new(Copying { source, target: Arc::new(target), verify, trust_indexes });
            let context = Arc::new((copying, phase));
            Ok(blobs
                .map_ok(move |digest| {
                    let context = Arc::clone(&context);
                    async move {
                        let (copying, phase) = &*context;
                        let step = || phase.lock().unwrap_or_else(PoisonError::into_inner).step();
                        let outcome = copying.blob(digest, &step).await;
                        let outcome = outcome.unwrap_or_else(CopyOutcome::Failed);
                        Ok(BlobCopy { digest, outcome })
                    }
                })
                .try_buffer_unordered(BLOBS_AT_ONCE))
        };
        stream::once(begin).try_flatten().boxed()
    }
}
