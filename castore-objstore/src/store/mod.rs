//! Chunks and indexes: where they are, what they hold, and whether they are there.

pub(crate) mod chunk;
pub(crate) mod codec;
pub(crate) mod frames;
pub(crate) mod index;
pub(crate) mod layout;
pub(crate) mod list;
mod marker;
pub(crate) mod pages;
pub(crate) mod presence;
pub(crate) mod quarantine;
pub(crate) mod recheck;
pub(crate) mod safeguards;
pub(crate) mod temp_files;
pub(crate) mod trash;

use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::AtomicUsize;
use std::time::Duration;

use castore_chunker::ChunkParams;

use self::codec::Codec;
use self::layout::Layout;
use self::pages::Indexes;
use self::presence::Known;
use self::safeguards::Safeguards;
use crate::exec::gate::Gate;
use crate::exec::limits::Limits;
use crate::objects::barrier::Barrier;
use crate::objects::client::Requests;

/// What all clones, readers and writers of a service share.
#[derive(Debug)]
pub(crate) struct Store {
    pub(crate) requests: Requests,
    pub(crate) limits: Arc<Limits>,
    pub(crate) layout: Layout,
    pub(crate) codec: Arc<Codec>,
    pub(crate) known: Known,
    pub(crate) indexes: Indexes,
    /// The root of a local store, which the base path is relative to.
    pub(crate) directory: Option<PathBuf>,
    pub(crate) barrier: Option<Barrier>,
    /// Whether what is there is verified before a writer relies on it.
    pub(crate) check_reused: bool,
    pub(crate) params: ChunkParams,
    /// How long after its chunks were seen a writer looks for them again: half the grace period.
    pub(crate) recheck_after: Duration,
    pub(crate) rules: Safeguards,
    /// How many threads cut a blob that is the only one being written.
    pub(crate) cutting_threads: NonZeroUsize,
    /// How many bytes a writer cuts at a time, unless there are many writers.
    pub(crate) batch_size: usize,
    /// The same for a writer that is opened while there is no other.
    pub(crate) large_batch_size: usize,
    /// How many writers are open.
    pub(crate) writers: AtomicUsize,
    /// Closed with the service.
    pub(crate) gate: Gate,
}
