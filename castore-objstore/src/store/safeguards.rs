//! The safety rules of garbage collection, by name. docs/gc.md argues for each of them.
//!
//! All of them always hold in a program. The crate's own tests disable them one by one, and check
//! that the store then loses data.

/// Declares the rules. A rule is a method that returns `true`, and, in the crate's own tests only,
/// the field of the same name.
macro_rules! safeguards {
    ($($(#[$doc:meta])* $rule:ident,)*) => {
        /// The rules in force.
        #[derive(Debug, Clone, Copy)]
        pub(crate) struct Safeguards {
            $(#[cfg(test)]
            pub(crate) $rule: bool,)*
        }

        impl Safeguards {
            pub(crate) const ALL: Safeguards = Safeguards {
                $(#[cfg(test)]
                $rule: true,)*
            };

            $($(#[$doc])*
            pub(crate) fn $rule(self) -> bool {
                #[cfg(test)]
                return self.$rule;
                #[cfg(not(test))]
                true
            })*
        }
    };
}

safeguards! {
    /// A collector removes a copy only once it has been set aside for a grace period, not in the
    /// next run.
    removal_waits,
    /// Before it removes a copy, a collector reads all indexes again.
    second_look,
    /// A collector copies a chunk aside before it deletes the chunk from its place.
    copy_aside,
    /// Each batch has its own keys for its copies.
    keys_of_its_own,
    /// A batch deletes nothing once its last look at the indexes is too long ago, or the batch
    /// itself is too old.
    deletes_in_time,
    /// A batch deletes nothing once another collector has revoked the batch.
    deletes_unless_revoked,
    /// A collector deletes a copy only after the chunk is in its place again.
    put_back_first,
    /// A writer that has last seen its chunks too long ago looks for them again before it writes
    /// the index.
    writer_checks_again,
    /// A reader that misses a chunk looks for copies that are set aside.
    reader_looks_aside,
    /// A reader that finds no copy looks in the chunk's place again.
    reader_looks_again,
}
