//! Failing and crashing storage: every caller gets its error, and acknowledged blobs survive.

use super::teeth;

teeth! {
    swallows_failed_writes: SwallowsFailedWrites {
        meant: {
            faults { failed_writes_reach_close, one_failure_among_many_writers }
        }
        besides: {
            faults { failed_writes_of_a_long_blob_reach_close }
            faults_and_restart { blobs_acknowledged_despite_failures_survive }
        }
    }

    takes_a_failed_look_for_presence: TakesAFailedLookForPresence {
        meant: {
            faults { failed_reads_reach_close }
        }
    }

    has_blobs_too_early: HasBlobsTooEarly {
        meant: {
            faults { failed_writes_reach_close }
        }
        besides: {
            faults { failed_writes_of_a_long_blob_reach_close, one_failure_among_many_writers }
            listing { removed_blobs_are_absent }
        }
    }

    says_absent_on_failure: SaysAbsentOnFailure {
        meant: {
            faults { failed_questions_are_errors }
        }
        besides: {
            faults { failed_reads_are_errors }
        }
    }

    calls_failure_damage: CallsFailureDamage {
        meant: {
            faults { failed_reads_are_errors }
        }
        besides: {
            faults { readers_go_on_after_a_failure, failed_ranges_are_errors, a_failed_fetch_ends_every_reader }
        }
    }

    calls_failed_ranges_damage: CallsFailedRangesDamage {
        meant: {
            faults { failed_ranges_are_errors }
        }
    }

    readers_stay_failed: ReadersStayFailed {
        meant: {
            faults { readers_go_on_after_a_failure }
        }
    }

    remembers_failure: RemembersFailure {
        meant: {
            faults { failed_reads_are_errors }
        }
        besides: {
            faults { readers_go_on_after_a_failure, failed_ranges_are_errors, a_failed_fetch_ends_every_reader }
        }
    }

    failed_write_keeps_its_place: FailedWriteKeepsItsPlace (hangs) {
        meant: {
            faults { lasting_failures_reach_every_writer }
        }
    }

    tells_another_writer: TellsAnotherWriter {
        meant: {
            faults { one_failure_among_many_writers }
        }
        besides: {
            faults { lasting_failures_reach_every_writer }
        }
    }

    acknowledges_too_early: AcknowledgesTooEarly {
        meant: {
            restart { closed_blobs_survive, interrupted_blobs_are_whole_or_absent, interrupted_blobs_can_be_stored_again }
        }
        besides: {
            restart { blobs_stored_over_remains_survive }
            faults_and_restart {
                blobs_acknowledged_despite_failures_survive,
                blobs_stored_after_a_failure_survive,
            }
        }
    }

    publishes_the_index_first: PublishesTheIndexFirst {
        meant: {
            restart { interrupted_blobs_are_whole_or_absent }
        }
        besides: {
            cancellation { abort_ends_a_dropped_close, dropped_close_leaves_the_service_usable }
            faults {
                failed_writes_reach_close, failed_reads_reach_close,
                changes_done_but_reported_failed, failed_writes_of_a_long_blob_reach_close,
                one_failure_among_many_writers,
            }
            faults_and_restart { blobs_acknowledged_despite_failures_survive }
        }
    }

    fills_chunks_in_place: FillsChunksInPlace {
        meant: {
            restart { blobs_stored_over_remains_survive }
        }
        besides: {
            cancellation {
                dropped_close_leaves_the_service_usable, dropped_close_leaves_its_twin_alone,
                abort_ends_a_dropped_close,
            }
            faults {
                failed_writes_reach_close, one_failure_among_many_writers,
                a_failed_twin_takes_nothing_along, changes_done_but_reported_failed,
                failed_writes_of_a_long_blob_reach_close,
            }
            faults_and_restart { blobs_stored_after_a_failure_survive }
            tamper { storing_again_heals }
        }
    }

    swallows_late_failures: SwallowsLateFailures {
        meant: {
            faults { failed_writes_of_a_long_blob_reach_close }
        }
    }

    takes_a_failed_second_look_for_absence: TakesAFailedSecondLookForAbsence {
        meant: {
            faults { failed_questions_are_errors }
        }
        besides: {
            faults { failed_reads_are_errors }
        }
    }

    shared_fetches_hang: SharedFetchesHang (hangs) {
        meant: {
            faults { a_failed_fetch_ends_every_reader }
        }
        besides: {
            cancellation { dropped_range_leaves_its_twin_alone }
        }
    }

    deletes_what_failed: DeletesWhatFailed {
        meant: {
            faults { failed_writes_leave_a_present_blob_whole }
        }
        besides: {
            faults { one_failure_among_writers_of_one_blob }
        }
    }

    syncs_the_index_first: SyncsTheIndexFirst {
        meant: {
            restart { interrupted_blobs_are_whole_or_absent }
            faults_and_restart { blobs_acknowledged_despite_failures_survive }
        }
    }

    syncs_the_index_only: SyncsTheIndexOnly {
        meant: {
            restart { closed_blobs_survive }
        }
        besides: {
            restart { blobs_stored_over_remains_survive, interrupted_blobs_are_whole_or_absent, interrupted_blobs_can_be_stored_again }
            faults_and_restart { blobs_acknowledged_despite_failures_survive, blobs_stored_after_a_failure_survive }
        }
    }

    syncs_only_new_chunks: SyncsOnlyNewChunks {
        meant: {
            restart { blobs_stored_over_remains_survive }
            faults_and_restart { blobs_stored_after_a_failure_survive }
        }
    }

    swallows_failed_syncs: SwallowsFailedSyncs {
        meant: {
            faults_and_restart { blobs_acknowledged_despite_failures_survive }
        }
    }

    conflicts_with_its_own_remains: ConflictsWithItsOwnRemains {
        meant: {
            faults { changes_done_but_reported_failed }
        }
    }
}
