//! The only list of all cases, by group.

use crate::{Case, Faults, FaultsAndRestart, Harness, ReplaceIndex, Restart, Tamper, cases};

/// Calls the macro `$callback` with the given tokens, the trait that the group's cases need, and
/// the cases, by module.
///
/// Not for use outside of this crate. The macro is public because
/// [`conformance!`](crate::conformance!) expands to it.
#[doc(hidden)]
#[macro_export]
macro_rules! __cases_of {
    (contract, $callback:path, $($tokens:tt)*) => {
        $callback! {
            ($($tokens)*)
            Harness,
            writer {
                digest_is_blake3,
                sizes_round_trip,
                write_splits_round_trip,
                chunk_edges_round_trip,
                large_writes_round_trip,
                empty_blob,
                drop_publishes_nothing,
                abort_publishes_nothing,
                unclosed_is_absent,
                close_twice_returns_the_same,
                shutdown_is_close,
                write_after_close_is_invalid_input,
                write_after_abort_fails,
                writers_outlive_their_service,
                one_write_of_twenty_mebibytes,
                many_chunks_round_trip,
                repetitive_data_round_trips,
                data_that_looks_compressed_round_trips,
            }
            reader {
                absent_is_none_everywhere,
                chunks_are_no_blobs,
                chunks_by_their_digests_are_the_chunks,
                empty_blob_is_always_there,
                index_sums_to_size,
                chunks_have_the_digests_of_their_bytes,
                read_sizes,
                reading_at_the_end_gives_nothing,
                empty_ranges,
                ranges_of_one_byte,
                ranges_across_chunks,
                ranges_to_the_end,
                random_ranges,
                ranges_outside_are_invalid_input,
                seeks_from_the_start,
                seeks_from_the_end,
                seeks_from_the_position,
                seeks_before_the_start_are_invalid_input,
                seeks_past_the_end_are_invalid_input,
                seeks_within_what_was_read,
                readers_outlive_their_service,
                ranges_outlive_their_reader,
                pieces_are_never_empty,
            }
            whole {
                bytes_round_trip,
                larger_blobs_are_invalid_input,
                readers_are_stored,
                failed_input_stores_nothing,
                stat_is_the_size,
                many_questions_have_many_answers,
                reads_at_any_offset,
            }
            listing {
                each_present_blob_is_listed_once,
                removed_blobs_are_absent,
                removal_leaves_other_blobs_whole,
            }
            storage {
                closed_blobs_survive_reopening,
                unclosed_blobs_do_not_survive,
                blobs_are_seen_by_other_services,
                deduplication_is_invisible,
                blobs_that_differ_in_one_byte,
                storing_again_changes_nothing,
                opening_leaves_the_work_of_others_alone,
                beginnings_of_a_blob_are_absent,
            }
            concurrency {
                same_blob_by_two_writers,
                same_blob_by_two_services,
                sixteen_writers_at_once,
                idle_writers_hold_up_no_others,
                abandoned_writers_hold_up_no_others,
                two_readers_at_once,
                two_blobs_read_at_once,
                sixteen_readers_at_once,
                ranges_at_once,
                idle_readers_hold_up_no_others,
                idle_readers_and_writers_hold_up_no_others,
                abandoned_readers_hold_up_no_others,
                readers_during_writes,
                an_aborted_twin_takes_nothing_along,
                a_dropped_twin_takes_nothing_along,
                an_ended_writer_leaves_others_alone,
            }
            cancellation {
                dropped_questions_leave_the_service_usable,
                dropped_write_takes_nothing,
                dropped_close_leaves_the_service_usable,
                dropped_close_can_be_called_again,
                dropped_close_leaves_its_twin_alone,
                abort_ends_a_dropped_close,
                dropped_abort_leaves_the_service_usable,
                dropped_read_loses_no_byte,
                dropped_range_leaves_the_reader_usable,
                dropped_range_leaves_its_twin_alone,
                dropped_puts_leave_a_present_blob_whole,
            }
            model {
                random_operations,
            }
        }
    };
    (tamper, $callback:path, $($tokens:tt)*) => {
        $callback! {
            ($($tokens)*)
            Tamper,
            tamper {
                flipped_bits,
                truncated_records,
                extended_records,
                emptied_records,
                removed_records,
                swapped_records,
                records_of_garbage,
                damage_stays_where_it_is,
                undone_damage_is_gone,
                storing_again_heals,
                verified_data_is_verified_again,
                other_parts_of_a_damaged_blob_can_be_read,
                records_stored_as_blobs_round_trip,
                abort_leaves_no_work_behind,
            }
        }
    };
    (verified_ranges, $callback:path, $($tokens:tt)*) => {
        $callback! {
            ($($tokens)*)
            ReplaceIndex,
            verified_ranges {
                undamaged_ranges,
                swapped_entries_of_different_sizes,
                swapped_entries_of_equal_size,
                shifted_entries,
                swapped_groups,
                entries_of_another_blob,
                one_entry_of_another_blob,
                blobs_of_one_group,
                lists_with_wrong_values,
                lists_of_wrong_length,
                lists_of_another_blob,
                proven_ranges_prove_no_other_index,
                readers_opened_before,
                restored_indexes_leave_no_trace,
            }
        }
    };
    (faults, $callback:path, $($tokens:tt)*) => {
        $callback! {
            ($($tokens)*)
            Faults,
            faults {
                failed_writes_reach_close,
                failed_reads_reach_close,
                close_again_returns_the_same_error,
                failed_questions_are_errors,
                failed_reads_are_errors,
                failed_ranges_are_errors,
                readers_go_on_after_a_failure,
                lasting_failures_reach_every_writer,
                one_failure_among_many_writers,
                one_failure_among_writers_of_one_blob,
                changes_done_but_reported_failed,
                failed_writes_of_a_long_blob_reach_close,
                failed_writes_leave_a_present_blob_whole,
                a_failed_fetch_ends_every_reader,
                a_failed_twin_takes_nothing_along,
            }
        }
    };
    (restart, $callback:path, $($tokens:tt)*) => {
        $callback! {
            ($($tokens)*)
            Restart,
            restart {
                closed_blobs_survive,
                unclosed_blobs_do_not_survive,
                interrupted_blobs_are_whole_or_absent,
                interrupted_blobs_can_be_stored_again,
                blobs_stored_over_remains_survive,
            }
        }
    };
    (faults_and_restart, $callback:path, $($tokens:tt)*) => {
        $callback! {
            ($($tokens)*)
            FaultsAndRestart,
            faults_and_restart {
                blobs_acknowledged_despite_failures_survive,
                blobs_stored_after_a_failure_survive,
            }
        }
    };
    ($other:ident, $($tokens:tt)*) => {
        compile_error!(concat!(
            "there is no group `", stringify!($other), "`; there are `tamper`, \
             `verified_ranges`, `faults`, `restart` and `faults_and_restart`"
        ));
    };
}

/// Expands to one `#[test]` per case, in the module `conformance`.
///
/// The first argument is an expression that makes a fresh [`Harness`](crate::Harness). Each test
/// evaluates it once, and it may use names that are in scope at the call of the macro. The names of
/// optional groups may follow. Each group needs its hook: `tamper` ([`Tamper`]), `verified_ranges`
/// ([`ReplaceIndex`]), `faults` ([`Faults`]), `restart` ([`Restart`]), `faults_and_restart`
/// ([`FaultsAndRestart`]).
///
/// ```
/// # use castore_core::MemoryBlobService;
/// # use castore_testsuite::{Harness, conformance};
/// fn harness() -> impl Harness {
///     let service = MemoryBlobService::new();
///     move || service.clone()
/// }
///
/// conformance!(harness());
/// ```
///
/// Each case of the contract runs twice: in a runtime of several threads
/// (`conformance::writer::empty_blob`) and in one of a single thread
/// (`conformance::current_thread::writer::empty_blob`).
///
/// After the last test a table lists the results: a [`Report`](crate::Report). The macro accepts
/// reasons for the groups that do not run:
///
/// ```
/// # use castore_core::MemoryBlobService;
/// # use castore_testsuite::{Harness, conformance};
/// # fn harness() -> impl Harness {
/// #     let service = MemoryBlobService::new();
/// #     move || service.clone()
/// # }
/// conformance!(harness(); without restart: "nothing in memory survives a crash");
/// ```
///
/// A group without its hook does not compile:
///
/// ```compile_fail,E0277
/// # use castore_core::MemoryBlobService;
/// # use castore_testsuite::{Harness, conformance};
/// # fn harness() -> impl Harness {
/// #     let service = MemoryBlobService::new();
/// #     move || service.clone()
/// # }
/// # macro_rules! compiled_in_tests_only { () => {
/// conformance!(harness(), tamper);
/// # } }
/// # castore_testsuite::__conformance!(harness(), tamper;);
/// ```
#[macro_export]
macro_rules! conformance {
    (
        $harness:expr $(, $group:ident)* $(,)?
        $(; without $($left_out:ident: $why:literal),+ $(,)?)?
    ) => {
        #[cfg(test)]
        mod conformance {
            #[allow(unused_imports, reason = "the harness may need nothing from there")]
            use super::*;

            $crate::__conformance!($harness $(, $group)*; $($($left_out $why)+)?);
        }
    };
}

#[doc(hidden)]
#[macro_export]
macro_rules! __conformance {
    ($harness:expr $(, $group:ident)*; $($left_out:ident $why:literal)*) => {
        static CONFORMANCE_REPORT: ::std::sync::LazyLock<$crate::Report> = ::std::sync::LazyLock::new(|| {
            $crate::Report::new(::std::module_path!())
                .claim("contract", $crate::CONTRACT.len())
                .claim("current_thread", $crate::CONTRACT.len())
                $(.claim(stringify!($group), $crate::__count!($group)))*
                $(.leave_out(stringify!($left_out), $why))*
        });

        $crate::__cases_of! { contract, $crate::__tests, contract, $harness }
        $($crate::__cases_of! { $group, $crate::__tests, $group, $harness })*

        mod current_thread {
            use super::CONFORMANCE_REPORT;

            $crate::__cases_of! { contract, $crate::__tests, current_thread, $harness }
        }
    };
}

/// The number of cases in a group. An unknown name causes an error elsewhere.
#[doc(hidden)]
#[macro_export]
macro_rules! __count {
    (tamper) => {
        $crate::TAMPER.len()
    };
    (verified_ranges) => {
        $crate::VERIFIED_RANGES.len()
    };
    (faults) => {
        $crate::FAULTS.len()
    };
    (restart) => {
        $crate::RESTART.len()
    };
    (faults_and_restart) => {
        $crate::FAULTS_AND_RESTART.len()
    };
    ($other:ident) => {
        0
    };
}

#[doc(hidden)]
#[macro_export]
macro_rules! __tests {
    (($group:ident, $harness:expr) $hook:ident, $($module:ident { $($case:ident,)* })*) => {
        $(mod $module {
            #[allow(unused_imports, reason = "the harness may need nothing from there")]
            use super::super::*;
            use super::CONFORMANCE_REPORT;

            $(#[test]
            fn $case() {
                let harness: ::std::sync::Arc<dyn $crate::$hook> = ::std::sync::Arc::new($harness);
                let name = concat!(stringify!($module), "::", stringify!($case));
                let case = $crate::cases::$module::$case;
                $crate::run(&CONFORMANCE_REPORT, stringify!($group), name, harness, case);
            })*
        })*
    };
}

macro_rules! list {
    (($(#[$doc:meta])* $name:ident) $hook:ident, $($module:ident { $($case:ident,)* })*) => {
        $(#[$doc])*
        pub const $name: &[Case<dyn $hook>] = &[$($(Case {
            name: concat!(stringify!($module), "::", stringify!($case)),
            body: |harness| Box::pin(cases::$module::$case(harness)),
        },)*)*];
    };
}

__cases_of! {
    contract, list,
    /// The cases that every service has to pass.
    CONTRACT
}
__cases_of! {
    tamper, list,
    /// The cases of the group `tamper`: stored data is damaged.
    TAMPER
}
__cases_of! {
    verified_ranges, list,
    /// The cases of the group `verified_ranges`: indexes list other chunks than those of their
    /// blobs.
    VERIFIED_RANGES
}
__cases_of! {
    faults, list,
    /// The cases of the group `faults`: operations of the storage fail.
    FAULTS
}
__cases_of! {
    restart, list,
    /// The cases of the group `restart`: the storage crashes.
    RESTART
}
__cases_of! {
    faults_and_restart, list,
    /// The cases of the group `faults_and_restart`: operations fail, and the storage crashes.
    FAULTS_AND_RESTART
}
