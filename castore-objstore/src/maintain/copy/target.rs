//! The chunks and indexes that the target of a copy already has.

use std::collections::HashSet;
use std::pin::pin;
use std::sync::Arc;

use castore_core::{BlobIndex, ChunkMeta, Digest, Error, ErrorKind, Result};
use futures_util::{StreamExt, TryStreamExt, stream};

use crate::exec::clock::Moment;
use crate::exec::context::run_blocking;
use crate::maintain::observer::{Observer, Phase};
use crate::store::Store;
use crate::store::chunk::{Existing, Probe};
use crate::store::index::Listed;
use crate::store::layout::Kind;
use crate::store::presence::TRUSTED;

const CHUNK: &str = "look for chunk at the target";
const LIST: &str = "list the chunks of the target";

/// The store that receives the copy.
pub(super) struct Target {
    pub(super) shared: Arc<Store>,
    listing: Option<Listing>,
}

/// The chunks of the target at the time of the listing, sorted.
struct Listing {
    chunks: Vec<Digest>,
    begun: Moment,
}

impl Target {
    pub(super) fn new(shared: Arc<Store>) -> Target {
        Target { shared, listing: None }
    }

    /// Lists the chunks of the target first. A directory is asked chunk by chunk even so: that is
    /// as cheap, and detects files that were cut short.
    pub(super) async fn listed(shared: Arc<Store>, observer: &dyn Observer) -> Result<Target> {
        if shared.requests.root().is_some() {
            return Ok(Target::new(shared));
        }
        let begun = Moment::now();
        let mut phase = Phase::new(observer, LIST, None);
        let mut objects = shared.objects(LIST, shared.layout.all(Kind::Chunk));
        let mut chunks = Vec::new();
        while let Some(object) = objects.try_next().await? {
            // A power cut can leave an empty object, which holds no chunk.
            if object.size > 0 {
                chunks.extend(object.digest);
            }
            phase.step();
        }
        drop(objects);
        let chunks = run_blocking(LIST, move || {
            chunks.sort_unstable();
            chunks
        });
        let chunks = chunks.await?;
        Ok(Target { shared, listing: Some(Listing { chunks, begun }) })
    }

    /// The index at the target, if it is a good one with entries.
    pub(super) async fn index(&self, digest: &Digest) -> Result<Option<BlobIndex>> {
        match self.shared.get_index(digest).await {
            Ok(Listed::Chunks(index)) => Ok(Some(index)),
            Ok(Listed::OneChunk | Listed::Absent) => Ok(None),
            // The copy overwrites the corrupt index.
            Err(error) if error.kind() == ErrorKind::Corrupt => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Whether the target has every chunk of a blob, as far as a look without reading tells.
    pub(super) async fn has_chunks_of(&self, index: &BlobIndex) -> Result<bool> {
        let mut distinct = HashSet::new();
        let chunks = index.iter().filter(|chunk| distinct.insert(chunk.digest));
        let looks = stream::iter(chunks).map(|ChunkMeta { digest, size }| async move {
            match self.probe(&digest) {
                Probe::Seen(_) => return Ok(true),
                Probe::Absent => return Ok(false),
                Probe::Look => {}
            }
            let shared = Arc::clone(&self.shared);
            let look = async move { shared.look_at_chunk(digest, size).await };
            let look = self.shared.requests.spawn_unit(CHUNK, look).about(digest);
            Ok(look.await? == Existing::Intact)
        });
        let mut looks = pin!(looks.buffer_unordered(super::blob::CHUNKS_AT_ONCE));
        while let Some(intact) = looks.try_next().await? {
            if !intact {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// Looks a chunk up in the recent sightings and in the listing, without a request.
    pub(super) fn probe(&self, digest: &Digest) -> Probe {
        if let Some(seen) = self.shared.presence.seen(digest) {
            return Probe::Seen(seen);
        }
        match &self.listing {
            Some(listing) if listing.begun.elapsed() < TRUSTED => {
                match listing.chunks.binary_search(digest) {
                    Ok(_) => Probe::Seen(listing.begun),
                    // A chunk that was written after the listing is stored once more, which does no
                    // harm.
                    Err(_) => Probe::Absent,
                }
            }
            _ => Probe::Look,
        }
    }
}

/// The error for a chunk that an index at the source lists, but the source lacks.
pub(super) fn missing(digest: Digest) -> Error {
    crate::error::corrupt(crate::store::chunk::READ_CHUNK, digest, "it is missing")
}
