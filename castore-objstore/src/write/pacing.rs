//! How the open writers of a service share the processors: the size of their batches, and the
//! number of threads that cut.

use std::num::NonZeroUsize;
use std::sync::Arc;
use std::sync::atomic::AtomicUsize;
use std::sync::atomic::Ordering::Relaxed;

use castore_chunker::ChunkParams;
use castore_core::groups::GROUP_SIZE;

/// With more writers than this, each one uses smaller batches: the bytes that a writer gathers, and
/// those that wait for memory, are not counted by the service's memory limit.
const FEW_WRITERS: usize = 4;

/// The smallest size of a batch, in bytes.
const MIN_BATCH: usize = 64 * 1024;

#[derive(Debug)]
pub(crate) struct Pacing {
    /// How many threads cut a blob while its writer is the only one.
    cutting_threads: NonZeroUsize,
    /// How many bytes a writer cuts at a time if there are a few writers.
    batch_size: usize,
    /// The same for a writer that is opened while no other is open.
    large_batch_size: usize,
    /// How many writers are open.
    writers: AtomicUsize,
}

/// An open writer's place among the others.
#[derive(Debug)]
pub(super) struct Place {
    pub(super) pacing: Arc<Pacing>,
    /// The number of bytes that the writer cuts at a time.
    pub(super) batch_size: usize,
}

impl Pacing {
    /// For a service with `memory` bytes, on this number of processors.
    pub(crate) fn new(
        params: &ChunkParams,
        memory: usize,
        processors: usize,
        cutting_threads: Option<NonZeroUsize>,
    ) -> Pacing {
        // The digests of a blob and of its chunks take two processors; only further ones can cut.
        let cutting_threads = cutting_threads.unwrap_or(match processors {
            0..=3 => NonZeroUsize::MIN,
            _ => NonZeroUsize::MIN.saturating_add(1),
        });
        // Two chunks of the largest size keep a cutting thread busy; an eighth of the memory leaves
        // room for other work at the same time.
        let batch_size = (2 * params.max_size()).min(memory / 8);
        // Several threads are faster than one only if each has a few chunks to itself.
        let large_batch_size = match cutting_threads.get() {
            1 => batch_size,
            threads => threads.saturating_mul(4 * params.max_size()).min(memory / 8),
        };
        Pacing { cutting_threads, batch_size, large_batch_size, writers: AtomicUsize::new(0) }
    }

    /// Adds a writer, until the place is dropped.
    pub(super) fn enter(self: &Arc<Pacing>) -> Place {
        let writers = 1 + self.writers.fetch_add(1, Relaxed);
        let batch_size = match writers {
            1 => self.large_batch_size,
            _ => self.batch_size * FEW_WRITERS / writers.max(FEW_WRITERS),
        };
        let batch_size = whole_groups(batch_size).max(MIN_BATCH);
        Place { pacing: Arc::clone(self), batch_size }
    }

    /// The number of threads that cut a batch now. If there are other writers, they keep the other
    /// processors busy.
    pub(super) fn cutting_threads(&self) -> NonZeroUsize {
        match self.writers.load(Relaxed) {
            0 | 1 => self.cutting_threads,
            _ => NonZeroUsize::MIN,
        }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.pacing.writers.fetch_sub(1, Relaxed);
    }
}

/// A batch of at least one group has whole groups: then the groups of each batch are hashed by
/// themselves.
fn whole_groups(size: usize) -> usize {
    let group = GROUP_SIZE as usize;
    if size < group { size } else { size / group * group }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_writer_cuts_more_at_a_time_and_many_writers_less() {
        const MIB: usize = 1 << 20;
        let pacing =
            |processors| Arc::new(Pacing::new(&ChunkParams::default(), 64 * MIB, processors, None));
        assert_eq!(pacing(2).enter().batch_size, MIB);
        let pacing = pacing(4);
        let alone = pacing.enter();
        assert_eq!((alone.batch_size, pacing.cutting_threads().get()), (4 * MIB, 2));
        let mut places: Vec<Place> = (0..30).map(|_| pacing.enter()).collect();
        assert_eq!(pacing.cutting_threads().get(), 1);
        let sizes: Vec<usize> = places.iter().map(|place| place.batch_size).collect();
        assert_eq!(sizes[..4], [MIB, MIB, MIB, 3 * MIB / 4]);
        assert!(sizes.is_sorted_by(|one, next| one >= next));
        let group = GROUP_SIZE as usize;
        assert!(sizes.iter().all(|size| *size < group || size.is_multiple_of(group)), "{sizes:?}");
        assert!(sizes.iter().all(|size| *size >= MIN_BATCH), "{sizes:?}");
        drop(alone);
        places.clear();
        assert_eq!(pacing.enter().batch_size, 4 * MIB);
    }
}
