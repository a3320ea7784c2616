//! The safety rules of garbage collection, by name. docs/gc.md argues for each of them.
//!
//! All of them hold in production. One test disables them one by one and checks that the store then
//! loses data.

/// The rules that are in force.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Safeguards {
    /// A collector removes a copy only once it has been set aside for a grace period, not in the
    /// next run.
    pub(crate) removal_waits: bool,
    /// Before it removes a copy, a collector reads all indexes again.
    pub(crate) second_look: bool,
    /// A collector copies a chunk aside before it deletes the chunk from its place.
    pub(crate) copy_aside: bool,
    /// Each batch has its own keys for its copies.
    pub(crate) keys_of_its_own: bool,
    /// A batch deletes nothing once its last look at the indexes is too long ago, or the batch
    /// itself is too old.
    pub(crate) deletes_in_time: bool,
    /// A batch deletes nothing once another collector has revoked the batch.
    pub(crate) deletes_unless_revoked: bool,
    /// A collector deletes a copy only after the chunk is in its place again.
    pub(crate) put_back_first: bool,
    /// A writer that has last seen its chunks too long ago looks for them again before it writes
    /// the index.
    pub(crate) writer_checks_again: bool,
    /// A reader that misses a chunk looks for copies that are set aside.
    pub(crate) reader_looks_aside: bool,
    /// A reader that finds no copy looks in the chunk's place again.
    pub(crate) reader_looks_again: bool,
}

impl Safeguards {
    pub(crate) const ALL: Safeguards = Safeguards {
        removal_waits: true,
        second_look: true,
        copy_aside: true,
        keys_of_its_own: true,
        deletes_in_time: true,
        deletes_unless_revoked: true,
        put_back_first: true,
        writer_checks_again: true,
        reader_looks_aside: true,
        reader_looks_again: true,
    };
}
