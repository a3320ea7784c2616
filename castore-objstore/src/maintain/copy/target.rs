//! What is at the target of a copy already.

use std::collections::HashSet;
use std::pin::pin;
use std::sync::Arc;

use castore_core::{BlobIndex, ChunkMeta, Digest, Error, ErrorKind, Result};
use futures_util::{StreamExt, TryStreamExt, stream};

use crate::exec::clock::Moment;
use crate::exec::limits::off_thread;
use crate::maintain::observer::{Observer, Phase};
use crate::store::Store;
use crate::store::chunk::{Existing, Probe};
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

    /// With a listing of its chunks. A directory is asked chunk by chunk even so: that is as cheap, and
    /// tells files that were cut short.
    pub(super) async fn listed(shared: Arc<Store>, observer: &dyn Observer) -> Result<Target> {
        if shared.directory.is_some() {
            return Ok(Target::new(shared));
        }
        let begun = Moment::now();
        let mut phase = Phase::new(observer, LIST, None);
        let mut objects = shared.objects(LIST, shared.layout.all(Kind::Chunk));
        let mut chunks = Vec::new();
        while let Some(object) = objects.try_next().await? {
            // Of a power cut an object of no bytes is left.
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

    /// The index that is there, where it is one.
    pub(super) async fn index(&self, digest: &Digest) -> Result<Option<BlobIndex>> {
        match self.shared.fetch_index(digest).await {
            Ok(Listed::Chunks(index)) => Ok(Some(index)),
            Ok(Listed::OneChunk | Listed::Absent) => Ok(None),
            // It is overwritten.
            Err(error) if error.kind() == ErrorKind::Corrupt => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Whether every chunk of a blob is there, as far as a look tells.
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
            let look = self.shared.requests.begin(CHUNK, look).about(digest);
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

    /// What is known of a chunk without asking for it.
    pub(super) fn probe(&self, digest: &Digest) -> Probe {
        if let Some(seen) = self.shared.known.seen(digest) {
            return Probe::Seen(seen);
        }
        match &self.listing {
            Some(listing) if listing.begun.elapsed() < TRUSTED => {
                match listing.chunks.binary_search(digest) {
                    Ok(_) => Probe::Seen(listing.begun),
                    // One that came later is stored once more, which does no harm.
                    Err(_) => Probe::Absent,
                }
            }
            _ => Probe::Look,
        }
    }
}

/// The error of a chunk that an index at the source lists, and that is not there.
pub(super) fn missing(digest: Digest) -> Error {
    crate::error::corrupt(crate::store::chunk::READ_CHUNK, digest, "it is missing")
}
