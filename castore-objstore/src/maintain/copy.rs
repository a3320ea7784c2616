//! Copying blobs to another store: only the chunks that it lacks, and those as they are stored.
//!
//! The stored form of a chunk is decompressed and verified on its way, and passed on as it is. The
//! index is written last, as by any writer; so whoever is interrupted begins again, and finds there
//! what was copied before.

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

/// How many blobs are under way at once: enough to hide what a small one waits for. Each of them
/// holds its index, 40 bytes for a chunk.
const BLOBS_AT_ONCE: usize = 32;

/// How blobs are copied.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[must_use = "options do nothing by themselves"]
pub struct CopyOptions {
    list_target: bool,
    verify: bool,
    trust_indexes: bool,
}

impl CopyOptions {
    /// Lists the chunks of the target first, instead of asking for each chunk. A directory is asked for
    /// each chunk in any case. Off by default.
    ///
    /// A listing takes one request for each thousand chunks of the target, and 32 bytes of memory for
    /// each chunk. Listing is cheaper for a copy of most of a store, and dearer for a few blobs that go
    /// to a large store.
    pub fn list_target(mut self, list: bool) -> CopyOptions {
        self.list_target = list;
        self
    }

    /// Reads each blob from the target, and verifies its digest, before the copy writes the index there;
    /// reads also those blobs that the target has already. Off by default.
    ///
    /// The check finds damaged chunks that the target had, and costs reading all of the blob there.
    pub fn verify(mut self, verify: bool) -> CopyOptions {
        self.verify = verify;
        self
    }

    /// Does not verify that the chunks in an index of the source are those of its blob. Off by default.
    ///
    /// Without this option, a copy reads every chunk of the blob at the source, also those that the
    /// target has, and computes the digest of the whole before it writes the index. With it, a copy reads
    /// only the chunks that the target lacks, and passes on an index that lists the chunks of another
    /// blob; a reader of the blob detects that.
    pub fn trust_indexes(mut self, trust: bool) -> CopyOptions {
        self.trust_indexes = trust;
        self
    }
}

/// A blob that was to be copied, and what became of it.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct BlobCopy {
    /// The blob.
    pub digest: Digest,
    /// What became of it.
    pub outcome: CopyOutcome,
}

/// What became of a blob that was to be copied.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub enum CopyOutcome {
    /// The target has it now.
    Copied(CopiedBlob),
    /// The target had it already.
    AlreadyThere,
    /// The source does not have it, or not any more.
    Absent,
    /// It was not copied. `Corrupt` where it is damaged at the source.
    Failed(Error),
}

/// What it took to copy a blob.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct CopiedBlob {
    /// The size of the blob in bytes.
    pub size: u64,
    /// How many chunks were copied.
    pub chunks_new: u64,
    /// How many chunks the target had, those counted that the blob has repeatedly.
    pub chunks_reused: u64,
    /// Compressed bytes of the chunks that were copied.
    pub bytes_stored: u64,
}

impl ObjectStoreBlobService {
    /// Copies `blobs` to `target`, several at once, and tells of each as soon as it is safe there:
    /// in the order in which they get done.
    ///
    /// The target has a blob if it has the same index as the source, and every chunk that the index lists.
    /// Otherwise the chunks that it lacks are copied, then the index. Every chunk that is copied is
    /// verified, and its compressed form is passed on. The digest of the whole blob is verified before the
    /// index is written, unless [`CopyOptions::trust_indexes`] says otherwise: an index that lists the
    /// chunks of another blob is `Corrupt`. The chunks that the target has are looked at, and are read and
    /// verified with [`CopyOptions::verify`].
    ///
    /// A blob that cannot be copied ends with [`CopyOutcome::Failed`] and stops no other one. What
    /// is stored counts in the target's [`stats`](ObjectStoreBlobService::stats), and what is read
    /// in those of this service. The memory of chunks on their way is taken of both services' memory
    /// for writing.
    ///
    /// Nothing is begun unless the stream is polled. Dropping it ends the copying; blobs of which it
    /// has not told may be at the target or not, and copying them again goes on from there.
    ///
    /// # Errors
    /// Those of `blobs`, and of listing the target. They end the stream.
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
