//! The rules that collecting garbage keeps to, by name. docs/gc.md argues each of them.
//!
//! All of them always hold, except in the test that takes them out one by one, to see that the store
//! loses data then.

/// Which rules hold.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Safeguards {
    /// What is set aside is removed a grace period after, and not by any run that comes.
    pub(crate) removal_waits: bool,
    /// Before it is removed, all indexes are looked at again.
    pub(crate) second_look: bool,
    /// A chunk is copied aside before it is deleted from its place.
    pub(crate) copy_aside: bool,
    /// Each batch has keys of its own for its copies.
    pub(crate) keys_of_its_own: bool,
    /// A batch deletes nothing long after its last look, or once it is older than a batch may be.
    pub(crate) deletes_in_time: bool,
    /// A batch deletes nothing once another collector has revoked it.
    pub(crate) deletes_unless_revoked: bool,
    /// A copy goes only after the chunk is in its place again.
    pub(crate) put_back_first: bool,
    /// A writer whose chunks were seen long ago looks for them again.
    pub(crate) writer_checks_again: bool,
    /// A reader that misses a chunk looks for a copy that is set aside.
    pub(crate) reader_looks_aside: bool,
    /// One that finds none looks in its place again.
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
