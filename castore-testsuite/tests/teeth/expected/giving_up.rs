//! Giving up: a dropped future leaves nothing behind that harms others.

use super::teeth;

teeth! {
    dropped_question_keeps_the_lock: DroppedQuestionKeepsTheLock (hangs) {
        meant: {
            cancellation { dropped_questions_leave_the_service_usable }
        }
    }

    dropped_close_keeps_the_lock: DroppedCloseKeepsTheLock (hangs) {
        meant: {
            cancellation {
                dropped_close_leaves_the_service_usable, dropped_close_leaves_its_twin_alone,
                abort_ends_a_dropped_close,
            }
        }
    }

    dropped_abort_keeps_the_lock: DroppedAbortKeepsTheLock (hangs) {
        meant: {
            cancellation { dropped_abort_leaves_the_service_usable }
        }
    }

    abort_leaves_the_close: AbortLeavesTheClose {
        meant: {
            cancellation { abort_ends_a_dropped_close }
        }
    }

    dropped_read_keeps_the_lock: DroppedReadKeepsTheLock (hangs) {
        meant: {
            cancellation {
                dropped_range_leaves_the_reader_usable, dropped_range_leaves_its_twin_alone,
            }
        }
        besides: {
            concurrency { abandoned_readers_hold_up_no_others }
        }
    }

    wakes_the_first_poller: WakesTheFirstPoller (hangs) {
        meant: {
            cancellation {
                dropped_write_takes_nothing, dropped_close_can_be_called_again,
                dropped_read_loses_no_byte,
            }
        }
        besides: {
            cancellation {
                dropped_close_leaves_its_twin_alone, dropped_range_leaves_its_twin_alone,
            }
            storage { opening_leaves_the_work_of_others_alone }
        }
    }

    waits_for_dropped_writers: WaitsForDroppedWriters (hangs) {
        meant: {
            cancellation { dropped_close_leaves_its_twin_alone }
        }
    }

    waits_for_dropped_reads: WaitsForDroppedReads (hangs) {
        meant: {
            cancellation { dropped_range_leaves_its_twin_alone }
        }
    }

    trusts_the_leader: TrustsTheLeader {
        meant: {
            cancellation { dropped_close_leaves_its_twin_alone }
            faults { one_failure_among_writers_of_one_blob }
        }
    }

    knows_chunks_too_early: KnowsChunksTooEarly {
        meant: {
            cancellation { dropped_close_leaves_the_service_usable, abort_ends_a_dropped_close }
            faults { failed_writes_reach_close }
        }
        besides: {
            cancellation { dropped_close_leaves_its_twin_alone }
            faults {
                failed_reads_reach_close, lasting_failures_reach_every_writer,
                one_failure_among_many_writers, one_failure_among_writers_of_one_blob,
                a_failed_twin_takes_nothing_along, failed_writes_of_a_long_blob_reach_close,
            }
            faults_and_restart { blobs_stored_after_a_failure_survive }
            tamper { storing_again_heals }
        }
    }

    abort_returns_too_early: AbortReturnsTooEarly {
        meant: {
            tamper { abort_leaves_no_work_behind }
        }
    }
}
