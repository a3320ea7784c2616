//! Sharing: between blobs, between services, and between concurrent callers.

use super::teeth;

teeth! {
    knows_chunks_by_their_start: KnowsChunksByTheirStart {
        meant: {
            storage { deduplication_is_invisible, blobs_that_differ_in_one_byte }
        }
        besides: {
            model { random_operations }
            tamper { storing_again_heals }
        }
    }

    conflicts_with_the_same_blob: ConflictsWithTheSameBlob {
        meant: {
            storage { storing_again_changes_nothing }
        }
        besides: {
            concurrency { idle_writers_hold_up_no_others }
            cancellation {
                dropped_close_leaves_the_service_usable, dropped_close_leaves_its_twin_alone,
                abort_ends_a_dropped_close, dropped_puts_leave_a_present_blob_whole,
            }
            model { random_operations }
            faults {
                failed_reads_reach_close, a_failed_twin_takes_nothing_along,
                changes_done_but_reported_failed, failed_writes_of_a_long_blob_reach_close,
                failed_writes_reach_close,
            }
            restart { interrupted_blobs_can_be_stored_again, blobs_stored_over_remains_survive }
            faults_and_restart { blobs_stored_after_a_failure_survive }
            tamper { records_stored_as_blobs_round_trip, storing_again_heals }
            listing { each_present_blob_is_listed_once }
            whole { readers_are_stored }
        }
    }

    abort_deletes_shared_chunks: AbortDeletesSharedChunks {
        meant: {
            storage { storing_again_changes_nothing }
            concurrency { an_aborted_twin_takes_nothing_along }
        }
        besides: {
            cancellation { abort_ends_a_dropped_close }
            model { random_operations }
        }
    }

    writes_indexes_behind: WritesIndexesBehind {
        meant: {
            storage { closed_blobs_survive_reopening, blobs_are_seen_by_other_services }
            restart { closed_blobs_survive }
        }
        besides: {
            writer { writers_outlive_their_service }
            reader { readers_outlive_their_service }
            cancellation {
                dropped_questions_leave_the_service_usable, dropped_read_loses_no_byte,
                dropped_range_leaves_the_reader_usable, dropped_range_leaves_its_twin_alone,
                dropped_puts_leave_a_present_blob_whole,
            }
            model { random_operations }
            tamper {
                other_parts_of_a_damaged_blob_can_be_read, flipped_bits, truncated_records,
                extended_records, emptied_records, swapped_records, records_of_garbage,
                damage_stays_where_it_is, undone_damage_is_gone,
                records_stored_as_blobs_round_trip, storing_again_heals,
            }
            faults {
                readers_go_on_after_a_failure, failed_ranges_are_errors,
                failed_writes_reach_close, failed_reads_reach_close, failed_questions_are_errors,
                failed_reads_are_errors, lasting_failures_reach_every_writer,
                one_failure_among_many_writers, one_failure_among_writers_of_one_blob,
                a_failed_fetch_ends_every_reader, changes_done_but_reported_failed,
                failed_writes_leave_a_present_blob_whole,
                failed_writes_of_a_long_blob_reach_close,
            }
            restart {
                interrupted_blobs_are_whole_or_absent, interrupted_blobs_can_be_stored_again,
                blobs_stored_over_remains_survive,
            }
            concurrency {
                a_dropped_twin_takes_nothing_along, an_aborted_twin_takes_nothing_along,
            }
            faults_and_restart {
                blobs_acknowledged_despite_failures_survive, blobs_stored_after_a_failure_survive,
            }
            storage { opening_leaves_the_work_of_others_alone }
            listing { removal_leaves_other_blobs_whole, removed_blobs_are_absent }
        }
    }

    remembers_absence: RemembersAbsence {
        meant: {
            storage { blobs_are_seen_by_other_services }
        }
        besides: {
            model { random_operations }
            listing { removed_blobs_are_absent }
        }
    }

    conflicts_with_its_twin: ConflictsWithItsTwin {
        meant: {
            concurrency { same_blob_by_two_writers, same_blob_by_two_services }
        }
        besides: {
            cancellation { dropped_close_leaves_its_twin_alone }
            faults { one_failure_among_writers_of_one_blob }
        }
    }

    mixes_writers: MixesWriters {
        meant: {
            concurrency { sixteen_writers_at_once }
        }
        besides: {
            concurrency { idle_writers_hold_up_no_others }
            faults { a_failed_twin_takes_nothing_along }
        }
    }

    abort_clears_all_buffers: AbortClearsAllBuffers {
        meant: {
            concurrency { an_ended_writer_leaves_others_alone }
            model { random_operations }
        }
        besides: {
            concurrency { an_aborted_twin_takes_nothing_along }
        }
    }

    writers_hold_places: WritersHoldPlaces (hangs) {
        meant: {
            concurrency { sixteen_writers_at_once, idle_writers_hold_up_no_others }
        }
        besides: {
            concurrency { idle_readers_and_writers_hold_up_no_others }
        }
    }

    readers_share_a_position: ReadersShareAPosition {
        meant: {
            concurrency { two_readers_at_once, ranges_at_once }
        }
        besides: {
            reader { ranges_outlive_their_reader }
            concurrency { idle_readers_and_writers_hold_up_no_others, idle_readers_hold_up_no_others, readers_during_writes }
            cancellation { dropped_range_leaves_its_twin_alone }
            model { random_operations }
            faults { a_failed_fetch_ends_every_reader }
        }
    }

    reads_the_blob_opened_last: ReadsTheBlobOpenedLast {
        meant: {
            concurrency { two_blobs_read_at_once }
        }
        besides: {
            model { random_operations }
        }
    }

    one_range_per_reader: OneRangePerReader {
        meant: {
            concurrency { ranges_at_once }
        }
        besides: {
            concurrency { idle_readers_and_writers_hold_up_no_others }
            reader { ranges_outlive_their_reader }
            model { random_operations }
        }
    }

    reads_hold_places: ReadsHoldPlaces (hangs) {
        meant: {
            concurrency { idle_readers_hold_up_no_others }
        }
        besides: {
            concurrency { idle_readers_and_writers_hold_up_no_others }
        }
    }

    readers_and_writers_share_places: ReadersAndWritersSharePlaces (hangs) {
        meant: {
            concurrency { idle_readers_and_writers_hold_up_no_others }
        }
    }

    dropped_writer_keeps_its_place: DroppedWriterKeepsItsPlace (hangs) {
        meant: {
            concurrency { abandoned_writers_hold_up_no_others }
        }
    }

    dropped_read_keeps_its_place: DroppedReadKeepsItsPlace (hangs) {
        meant: {
            concurrency { abandoned_readers_hold_up_no_others }
        }
    }

    bound_to_its_thread: BoundToItsThread {
        meant: {
            concurrency { sixteen_readers_at_once }
        }
    }

    writers_lock_readers_out: WritersLockReadersOut {
        meant: {
            concurrency { idle_writers_hold_up_no_others, readers_during_writes }
        }
        besides: {
            concurrency { idle_readers_and_writers_hold_up_no_others }
            cancellation { dropped_questions_leave_the_service_usable }
            model { random_operations }
            whole { readers_are_stored }
        }
    }

    drop_deletes_shared_chunks: DropDeletesSharedChunks {
        meant: {
            concurrency { a_dropped_twin_takes_nothing_along }
        }
        besides: {
            cancellation { dropped_close_leaves_its_twin_alone, dropped_puts_leave_a_present_blob_whole }
            model { random_operations }
        }
    }

    failure_deletes_shared_chunks: FailureDeletesSharedChunks {
        meant: {
            faults { a_failed_twin_takes_nothing_along, failed_writes_leave_a_present_blob_whole }
        }
        besides: {
            faults { changes_done_but_reported_failed, failed_reads_reach_close, failed_writes_of_a_long_blob_reach_close, failed_writes_reach_close, one_failure_among_writers_of_one_blob }
            faults_and_restart { blobs_acknowledged_despite_failures_survive }
        }
    }

    opening_cleans_up: OpeningCleansUp {
        meant: {
            storage { opening_leaves_the_work_of_others_alone }
        }
        besides: {
            model { random_operations }
        }
    }

    replaces_by_deleting: ReplacesByDeleting {
        meant: {
            cancellation { dropped_puts_leave_a_present_blob_whole }
            faults { failed_writes_leave_a_present_blob_whole }
        }
    }
}
