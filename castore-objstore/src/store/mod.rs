//! Chunks and indexes: their keys, their encodings, and their presence in the store.

pub(crate) mod chunk;
pub(crate) mod codec;
pub(crate) mod frames;
pub(crate) mod index;
pub(crate) mod layout;
pub(crate) mod list;
mod marker;
pub(crate) mod pages;
pub(crate) mod presence;
pub(crate) mod proven;
pub(crate) mod quarantine;
pub(crate) mod recheck;
pub(crate) mod safeguards;
pub(crate) mod temp_files;
pub(crate) mod trash;

use std::sync::Arc;
use std::time::Duration;

use castore_chunker::ChunkParams;

use self::codec::Codec;
use self::layout::Layout;
use self::pages::Indexes;
use self::presence::Presence;
use self::safeguards::Safeguards;
use crate::exec::gate::Gate;
use crate::exec::limits::Limits;
use crate::objects::barrier::Barrier;
use crate::objects::client::Requests;

/// The state that all clones, readers and writers of a service share.
#[derive(Debug)]
pub(crate) struct Store {
    pub(crate) requests: Requests,
    pub(crate) limits: Arc<Limits>,
    pub(crate) layout: Layout,
    pub(crate) codec: Arc<Codec>,
    pub(crate) presence: Presence,
    pub(crate) indexes: Indexes,
    pub(crate) barrier: Option<Barrier>,
    /// Whether a writer verifies a chunk that is already in the store before it relies on the
    /// chunk.
    pub(crate) check_reused: bool,
    pub(crate) params: ChunkParams,
    /// Whether the indexes that are written carry group hashes.
    pub(crate) group_hashes: bool,
    /// The proof that the bytes of a range are those of the blob.
    pub(crate) verify: Verify,
    /// A writer looks for its chunks again when it has last seen them longer ago than this: half
    /// the grace period.
    pub(crate) recheck_after: Duration,
    pub(crate) safeguards: Safeguards,
    /// Closed with the service.
    pub(crate) gate: Gate,
}

/// The proof that a reader has for bytes before it returns them
/// ([`Builder::verify`](crate::Builder::verify)).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub enum Verify {
    /// The blob's own digest: the bytes hash to the [group hashes](castore_core::groups) of the
    /// blob, if its index has them. Otherwise as [`Chunks`](Verify::Chunks).
    #[default]
    Groups,
    /// The index: the bytes are those of the chunks that the index lists. That the chunks are those
    /// of the blob is verified only for reads of the whole blob.
    Chunks,
}
