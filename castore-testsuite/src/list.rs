//! The list of all cases: the only one.

/// Calls the macro `$callback` with all cases, by module, and with the tokens given.
///
/// Not for use outside of this crate; it is public because [`conformance!`](crate::conformance!)
/// expands to it.
#[doc(hidden)]
#[macro_export]
macro_rules! __for_all_cases {
    ($callback:path, $($tokens:tt)*) => {
        $callback! {
            ($($tokens)*)
            writer {
                digest_is_blake3,
                sizes_and_splits_round_trip,
                large_writes_round_trip,
                empty_blob,
                drop_publishes_nothing,
                abort_publishes_nothing,
                unclosed_is_absent,
                close_twice_returns_the_same,
                shutdown_is_close,
                write_after_close_is_invalid_input,
                write_after_abort_fails,
                same_blob_by_two_writers,
                sixteen_writers_at_once,
                dropped_close_leaves_the_service_usable,
            }
            reader {
                absent_is_none_everywhere,
                empty_blob_is_always_there,
                index_sums_to_size,
                read_sizes,
                ranges,
                ranges_outside_are_invalid_input,
                seeks,
                seeks_outside_are_invalid_input,
                two_readers_at_once,
                dropped_reader_leaves_the_service_usable,
            }
            storage {
                closed_blobs_survive_reopening,
                unclosed_blobs_do_not_survive,
                blobs_are_seen_by_other_services,
                deduplication_is_invisible,
                storing_again_changes_nothing,
            }
        }
    };
}

/// Expands to one `#[test]` per case, in the module `conformance`.
///
/// The argument is an expression that makes a fresh [`Harness`](crate::Harness); it is evaluated
/// once for each case, and may use what is in scope where the macro is called.
#[macro_export]
macro_rules! conformance {
    ($harness:expr) => {
        $crate::__for_all_cases! { $crate::__conformance_tests, $harness }
    };
}

#[doc(hidden)]
#[macro_export]
macro_rules! __conformance_tests {
    (($harness:expr) $($module:ident { $($case:ident,)* })*) => {
        #[cfg(test)]
        mod conformance {
            $(mod $module {
                #[allow(unused_imports, reason = "the harness may need nothing from there")]
                use super::super::*;

                $(#[test]
                fn $case() {
                    $crate::run($harness, $crate::cases::$module::$case);
                })*
            })*
        }
    };
}

macro_rules! names {
    (() $($module:ident { $($case:ident,)* })*) => {
        /// The names of all cases.
        pub const CASES: &[&str] = &[$($(concat!(stringify!($module), "::", stringify!($case)),)*)*];
    };
}

__for_all_cases! { names, }
