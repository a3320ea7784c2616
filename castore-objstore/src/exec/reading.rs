//! Memory for data that is read ahead, shared by all readers of a service.
//!
//! No reader waits for this memory: a reader that gets none fetches one chunk at a time. An idle
//! reader gives up the data that it has fetched when another one needs the memory.

use std::sync::{Arc, Mutex, PoisonError, TryLockError, Weak};
use std::time::Duration;

use tokio::sync::Semaphore;

use crate::exec::limits::Permit;

/// The unit of memory permits, in bytes: a semaphore hands out at most 2^32 permits at once.
const UNIT: u64 = 1024;

/// A reader that was not read from for this long is idle.
pub(crate) const IDLE_AFTER: Duration = Duration::from_secs(1);

/// The bytes that a reader has fetched ahead, and the permits for them.
pub(crate) trait Ahead: Send + 'static {
    /// Gives up the fetched bytes, if the reader is idle.
    fn give_up_if_idle(&mut self);
}

#[derive(Debug)]
pub(crate) struct ReadingMemory {
    free: Arc<Semaphore>,
    bytes: u64,
    holders: Holders,
}

#[derive(Default)]
struct Holders(Mutex<Vec<Weak<Mutex<dyn Ahead>>>>);

impl ReadingMemory {
    pub(crate) fn new(bytes: usize) -> ReadingMemory {
        let units = (bytes / UNIT as usize).max(1);
        let free = Arc::new(Semaphore::new(units));
        ReadingMemory { free, bytes: units as u64 * UNIT, holders: Holders::default() }
    }

    /// All the memory, in bytes.
    pub(crate) fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Registers the data that a reader holds, so that it can be asked to give them up.
    pub(crate) fn register<T: Ahead>(&self, ahead: T) -> Arc<Mutex<T>> {
        let ahead = Arc::new(Mutex::new(ahead));
        let shared: Arc<Mutex<dyn Ahead>> = ahead.clone();
        let mut holders = self.holders.lock();
        // Each time the list is full, the readers that are gone are dropped from it. The list keeps
        // its largest size, at a small cost for each entry.
        if holders.len() == holders.capacity() {
            holders.retain(|holder| holder.strong_count() > 0);
        }
        holders.push(Arc::downgrade(&shared));
        ahead
    }

    /// Takes `bytes` if they are free now, or if idle readers give up enough.
    pub(crate) fn try_take(&self, bytes: u64) -> Option<Permit> {
        if let Some(permit) = self.try_take_free(bytes) {
            return Some(permit);
        }
        if bytes > self.bytes {
            return None;
        }
        // A locked reader is being read from; one of them is the caller itself.
        let holders = self.holders.lock().clone();
        for holder in holders.iter().filter_map(Weak::upgrade) {
            let mut ahead = match holder.try_lock() {
                Ok(ahead) => ahead,
                Err(TryLockError::Poisoned(poisoned)) => poisoned.into_inner(),
                Err(TryLockError::WouldBlock) => continue,
            };
            ahead.give_up_if_idle();
            drop(ahead);
            if let Some(permit) = self.try_take_free(bytes) {
                return Some(permit);
            }
        }
        None
    }

    fn try_take_free(&self, bytes: u64) -> Option<Permit> {
        let units = u32::try_from(bytes.div_ceil(UNIT)).ok()?;
        let permit = Arc::clone(&self.free).try_acquire_many_owned(units).ok()?;
        Some(Permit::of(permit))
    }
}

impl Holders {
    fn lock(&self) -> std::sync::MutexGuard<'_, Vec<Weak<Mutex<dyn Ahead>>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl std::fmt::Debug for Holders {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Holders").finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The memory that a reader holds, and whether the reader is idle.
    struct Held {
        permits: Vec<Permit>,
        idle: bool,
    }

    impl Ahead for Held {
        fn give_up_if_idle(&mut self) {
            if self.idle {
                self.permits.clear();
            }
        }
    }

    fn held(idle: bool) -> Held {
        Held { permits: Vec::new(), idle }
    }

    #[test]
    fn idle_readers_give_up_memory_that_others_need_and_busy_ones_do_not() {
        let memory = ReadingMemory::new(100 * UNIT as usize);
        let [idle, busy] = [true, false].map(|idle| memory.register(held(idle)));
        for ahead in [&idle, &busy] {
            for _ in 0..5 {
                ahead.lock().unwrap().permits.push(memory.try_take(10 * UNIT).unwrap());
            }
        }
        let more = memory.try_take(50 * UNIT);
        assert!(more.is_some() && idle.lock().unwrap().permits.is_empty());
        assert!(memory.try_take(1).is_none());
        assert_eq!(busy.lock().unwrap().permits.len(), 5);
        drop(busy);
        assert!(memory.try_take(50 * UNIT).is_some());
    }

    /// The reader asks for more while it is locked itself.
    #[test]
    fn a_reader_that_asks_for_memory_gives_up_nothing_and_does_not_wait_for_itself() {
        let memory = ReadingMemory::new(10 * UNIT as usize);
        let ahead = memory.register(held(true));
        let mut locked = ahead.lock().unwrap();
        locked.permits.push(memory.try_take(10 * UNIT).unwrap());
        assert!(memory.try_take(UNIT).is_none());
        assert_eq!(locked.permits.len(), 1);
    }

    #[test]
    fn a_request_for_more_than_all_memory_takes_nothing_from_others() {
        let memory = ReadingMemory::new(10 * UNIT as usize);
        let ahead = memory.register(held(true));
        ahead.lock().unwrap().permits.push(memory.try_take(UNIT).unwrap());
        assert!(memory.try_take(11 * UNIT).is_none());
        assert_eq!(ahead.lock().unwrap().permits.len(), 1);
    }

    #[test]
    fn readers_that_are_gone_are_forgotten() {
        let memory = ReadingMemory::new(1);
        for _ in 0..10_000 {
            drop(memory.register(held(true)));
        }
        let holders = memory.holders.lock().len();
        assert!(holders < 100, "{holders} readers");
    }
}
