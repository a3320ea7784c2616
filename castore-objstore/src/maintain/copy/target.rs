//! What is at the target of a copy already.

use std::sync::Arc;

use castore_core::{Digest, Error, ErrorKind, Result};
use futures_util::TryStreamExt;

use crate::exec::clock::Moment;
use crate::exec::limits::off_thread;
use crate::maintain::observer::{Observer, Phase};
use crate::store::Store;
use crate::store::index::Listed;
use crate::store::layout::Kind;
use crate::store::presence::TRUSTED;

const CHUNK: &str = "look for chunk at the target";
const LIST: &str = "list the chunks of the target";

/// The store that is copied to.
pub(super) struct Target {
    pub(super) shared: Arc<Store>,
    listing: Option<Listing>,
}

/// The chunks that were there at some time, sorted.
struct Listing {
    chunks: Vec<Digest>,
    begun: Moment,
}

impl Target {
    pub(super) fn new(shared: Arc<Store>) -> Target {
        Target { shared, listing: None }
    }

    /// With a listing of its chunks.
    pub(super) async fn listed(shared: Arc<Store>, observer: &dyn Observer) -> Result<Target> {
        let begun = Moment::now();
        let mut phase = Phase::new(observer, LIST, None);
        let mut objects = shared.objects(LIST, shared.layout.all(Kind::Chunk));
        let mut chunks = Vec::new();
        while let Some(object) = objects.try_next().await? {
            // What has no bytes is no chunk, but what a power cut leaves of one.
            if object.size > 0 {
                chunks.extend(object.digest);
            }
            phase.step();
        }
        drop(objects);
        let chunks = off_thread(LIST, move || {
            chunks.sort_unstable();
            chunks
        });
        let chunks = chunks.await?;
        Ok(Target { shared, listing: Some(Listing { chunks, begun }) })
    }

    /// Whether the blob is there: its index is, and is one.
    pub(super) async fn has_blob(&self, digest: &Digest) -> Result<bool> {
        match self.shared.fetch_index(digest).await {
            Ok(Listed::Chunks(_)) => Ok(true),
            Ok(Listed::OneChunk) => Ok(self.has_chunk(*digest).await?.is_some()),
            Ok(Listed::Absent) => Ok(false),
            // It is overwritten.
            Err(error) if error.kind() == ErrorKind::Corrupt => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// When the chunk was there, now or a short while ago; `None` where it is not.
    pub(super) async fn has_chunk(&self, digest: Digest) -> Result<Option<Moment>> {
        let known = &self.shared.known;
        if let Some(seen) = known.seen(&digest) {
            return Ok(Some(seen));
        }
        if let Some(listing) = &self.listing
            && listing.begun.elapsed() < TRUSTED
        {
            // One that came later is stored once more, which does no harm.
            return Ok(listing.chunks.binary_search(&digest).is_ok().then_some(listing.begun));
        }
        let seen = Moment::now();
        if !self.shared.is_in_place(CHUNK, Kind::Chunk, &digest).await? {
            return Ok(None);
        }
        known.insert(digest, seen);
        Ok(Some(seen))
    }
}

/// What is not at the source although an index lists it.
pub(super) fn missing(digest: Digest) -> Error {
    crate::error::corrupt(crate::store::chunk::READ_CHUNK, digest, "it is missing")
}
