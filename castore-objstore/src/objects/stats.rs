//! Counts of a service's work.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

/// Counts of a service's work since it was built, for progress and summaries.
///
/// The counts are read one after another, so those of a busy service may differ by the work done in
/// between.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Stats {
    /// Bytes that writers have taken in and cut into chunks.
    pub bytes_written: u64,
    /// Chunks that were not in the store, or were there but damaged, and were uploaded.
    pub chunks_new: u64,
    /// Chunks that were in the store, or whose upload was in progress already.
    pub chunks_reused: u64,
    /// The new chunks that replaced a damaged object
    /// ([`Builder::check_reused`](crate::Builder::check_reused)).
    pub chunks_replaced: u64,
    /// Uncompressed bytes of the uploaded chunks.
    pub bytes_new: u64,
    /// Compressed bytes of the uploaded chunks.
    pub bytes_stored: u64,
    /// Verified bytes of chunks that were read.
    pub bytes_read: u64,
    /// Requests that ask whether an object exists.
    pub requests_head: u64,
    /// Requests that fetch an object.
    pub requests_get: u64,
    /// Requests that store an object.
    pub requests_put: u64,
    /// Requests that delete an object.
    pub requests_delete: u64,
    /// Listings that were started; each takes about one request per thousand objects.
    pub requests_list: u64,
    /// Requests that copy an object within the store.
    pub requests_copy: u64,
}

#[derive(Debug, Default)]
pub(crate) struct Counters {
    pub(crate) bytes_written: Count,
    pub(crate) chunks_new: Count,
    pub(crate) chunks_reused: Count,
    pub(crate) chunks_replaced: Count,
    pub(crate) bytes_new: Count,
    pub(crate) bytes_stored: Count,
    pub(crate) bytes_read: Count,
    pub(crate) requests_head: Count,
    pub(crate) requests_get: Count,
    pub(crate) requests_put: Count,
    pub(crate) requests_delete: Count,
    pub(crate) requests_list: Count,
    pub(crate) requests_copy: Count,
}

#[derive(Debug, Default)]
pub(crate) struct Count(AtomicU64);

impl Count {
    pub(crate) fn add(&self, more: u64) {
        self.0.fetch_add(more, Relaxed);
    }

    fn now(&self) -> u64 {
        self.0.load(Relaxed)
    }
}

impl Counters {
    pub(crate) fn stats(&self) -> Stats {
        Stats {
            bytes_written: self.bytes_written.now(),
            chunks_new: self.chunks_new.now(),
            chunks_reused: self.chunks_reused.now(),
            chunks_replaced: self.chunks_replaced.now(),
            bytes_new: self.bytes_new.now(),
            bytes_stored: self.bytes_stored.now(),
            bytes_read: self.bytes_read.now(),
            requests_head: self.requests_head.now(),
            requests_get: self.requests_get.now(),
            requests_put: self.requests_put.now(),
            requests_delete: self.requests_delete.now(),
            requests_list: self.requests_list.now(),
            requests_copy: self.requests_copy.now(),
        }
    }
}
