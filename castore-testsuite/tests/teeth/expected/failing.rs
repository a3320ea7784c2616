//! Failing and crashing storage: whoever asked is told, and what was acknowledged is there.

use super::teeth;

teeth! {
    swallows_failed_writes: SwallowsFailedWrites {
        meant: {
            faults { failed_writes_reach_close, one_failure_among_many_writers }
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
    }

    remembers_failure: RemembersFailure {
        meant: {
            faults { failed_reads_are_errors }
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
    }

    acknowledges_too_early: AcknowledgesTooEarly {
        meant: {
            restart { closed_blobs_survive, interrupted_blobs_are_whole_or_absent }
        }
        besides: {
            restart { interrupted_blobs_can_be_stored_again }
        }
    }

    publishes_the_index_first: PublishesTheIndexFirst {
        meant: {
            restart { interrupted_blobs_are_whole_or_absent }
        }
        besides: {
            cancellation { abort_ends_a_dropped_close, dropped_close_leaves_the_service_usable }
            faults { failed_writes_reach_close, failed_reads_reach_close }
        }
    }

    fills_chunks_in_place: FillsChunksInPlace {
        meant: {
            restart { interrupted_blobs_can_be_stored_again }
        }
        besides: {
            cancellation {
                dropped_close_leaves_the_service_usable, dropped_close_leaves_its_twin_alone,
                abort_ends_a_dropped_close,
            }
            faults { failed_writes_reach_close, one_failure_among_many_writers }
        }
    }
}
