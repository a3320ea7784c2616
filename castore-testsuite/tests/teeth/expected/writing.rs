//! Writing: a writer's bytes are stored, and published only by `close`.

use super::teeth;

teeth! {
    digests_short_blobs_padded: DigestsShortBlobsPadded {
        meant: {
            writer { digest_is_blake3 }
        }
        besides: {
            writer {
                sizes_round_trip, write_splits_round_trip, abort_publishes_nothing,
                close_twice_returns_the_same, shutdown_is_close,
                write_after_close_is_invalid_input, data_that_looks_compressed_round_trips,
            }
            reader {
                chunks_have_the_digests_of_their_bytes, absent_is_none_everywhere,
                index_sums_to_size, reading_at_the_end_gives_nothing, pieces_are_never_empty,
            }
            storage { storing_again_changes_nothing }
            concurrency { same_blob_by_two_services }
            model { random_operations }
            tamper { records_stored_as_blobs_round_trip }
            listing { each_present_blob_is_listed_once, removed_blobs_are_absent }
            whole {
                bytes_round_trip, larger_blobs_are_invalid_input, readers_are_stored,
                stat_is_the_size,
            }
        }
    }

    loses_last_whole_chunk: LosesLastWholeChunk {
        meant: {
            writer { sizes_round_trip, chunk_edges_round_trip }
        }
        besides: {
            writer { write_splits_round_trip, abort_publishes_nothing, unclosed_is_absent }
            reader { chunks_are_no_blobs, index_sums_to_size }
            storage { deduplication_is_invisible }
            concurrency { idle_readers_hold_up_no_others }
            tamper { records_stored_as_blobs_round_trip }
            listing { removal_leaves_other_blobs_whole }
            whole { bytes_round_trip, stat_is_the_size }
        }
    }

    drops_lone_last_byte: DropsLoneLastByte {
        meant: {
            writer { chunk_edges_round_trip }
        }
    }

    loses_what_crosses_an_edge: LosesWhatCrossesAnEdge {
        meant: {
            writer { write_splits_round_trip, chunk_edges_round_trip, large_writes_round_trip }
        }
        besides: {
            writer { unclosed_is_absent, writers_outlive_their_service }
            concurrency { an_ended_writer_leaves_others_alone, same_blob_by_two_writers, sixteen_writers_at_once }
            cancellation {
                dropped_write_takes_nothing, dropped_close_leaves_the_service_usable,
                dropped_close_can_be_called_again, abort_ends_a_dropped_close,
            }
            model { random_operations }
        }
    }

    loses_byte_after_an_edge: LosesByteAfterAnEdge {
        meant: {
            writer { chunk_edges_round_trip }
        }
    }

    large_writes_overtake: LargeWritesOvertake {
        meant: {
            writer { large_writes_round_trip }
        }
    }

    refuses_empty_blob: RefusesEmptyBlob {
        meant: {
            writer { empty_blob }
        }
        besides: {
            writer { sizes_round_trip }
            reader { index_sums_to_size, reading_at_the_end_gives_nothing }
            storage { storing_again_changes_nothing }
            model { random_operations }
            listing { each_present_blob_is_listed_once }
            whole { bytes_round_trip, readers_are_stored, stat_is_the_size }
        }
    }

    publishes_on_drop: PublishesOnDrop {
        meant: {
            writer { drop_publishes_nothing }
            storage { unclosed_blobs_do_not_survive }
        }
        besides: {
            cancellation { dropped_abort_leaves_the_service_usable }
            model { random_operations }
        }
    }

    publishes_on_abort: PublishesOnAbort {
        meant: {
            writer { abort_publishes_nothing, write_after_abort_fails }
            cancellation {
                dropped_abort_leaves_the_service_usable, abort_ends_a_dropped_close,
            }
        }
        besides: {
            model { random_operations }
        }
    }

    publishes_on_write: PublishesOnWrite {
        meant: {
            writer { unclosed_is_absent }
            storage { unclosed_blobs_do_not_survive }
            restart { unclosed_blobs_do_not_survive }
        }
        besides: {
            writer { drop_publishes_nothing, abort_publishes_nothing, write_after_abort_fails }
            cancellation { dropped_abort_leaves_the_service_usable }
            model { random_operations }
            faults { close_again_returns_the_same_error }
            faults_and_restart { blobs_acknowledged_despite_failures_survive }
            restart { interrupted_blobs_are_whole_or_absent }
        }
    }

    shows_unclosed: ShowsUnclosed {
        meant: {
            writer { unclosed_is_absent }
        }
        besides: {
            model { random_operations }
        }
    }

    recovers_unclosed: RecoversUnclosed {
        meant: {
            storage { unclosed_blobs_do_not_survive }
            restart { unclosed_blobs_do_not_survive }
        }
        besides: {
            model { random_operations }
        }
    }

    writers_die_with_their_service: WritersDieWithTheirService {
        meant: {
            writer { writers_outlive_their_service }
        }
        besides: {
            model { random_operations }
        }
    }

    cuts_large_writes: CutsLargeWrites {
        meant: {
            writer { one_write_of_twenty_mebibytes }
        }
        besides: {
            writer { many_chunks_round_trip, repetitive_data_round_trips }
        }
    }

    counts_a_run_once: CountsARunOnce {
        meant: {
            writer { repetitive_data_round_trips }
        }
    }

    publishes_each_whole_chunk: PublishesEachWholeChunk {
        meant: {
            storage { beginnings_of_a_blob_are_absent }
        }
        besides: {
            writer { abort_publishes_nothing, drop_publishes_nothing, unclosed_is_absent }
            reader { chunks_are_no_blobs }
            listing { each_present_blob_is_listed_once }
        }
    }
}
