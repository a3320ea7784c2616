//! Asking and reading: absent blobs are absent, and a range has its own bytes.

use super::teeth;

teeth! {
    empty_blob_only_where_written: EmptyBlobOnlyWhereWritten {
        meant: {
            reader { empty_blob_is_always_there }
        }
        besides: {
            model { random_operations }
            listing { removed_blobs_are_absent }
            whole { many_questions_have_many_answers }
        }
    }

    panics_on_absent: PanicsOnAbsent {
        meant: {
            reader { absent_is_none_everywhere }
        }
        besides: {
            writer {
                drop_publishes_nothing, abort_publishes_nothing, unclosed_is_absent,
                write_after_close_is_invalid_input, write_after_abort_fails,
            }
            reader { chunks_are_no_blobs }
            storage {
                unclosed_blobs_do_not_survive, blobs_are_seen_by_other_services,
                beginnings_of_a_blob_are_absent,
            }
            cancellation {
                dropped_questions_leave_the_service_usable,
                dropped_abort_leaves_the_service_usable, abort_ends_a_dropped_close,
            }
            model { random_operations }
            tamper { removed_records }
            faults {
                failed_writes_reach_close, failed_reads_reach_close,
                close_again_returns_the_same_error, lasting_failures_reach_every_writer,
                one_failure_among_many_writers, changes_done_but_reported_failed,
                failed_writes_of_a_long_blob_reach_close,
            }
            restart { unclosed_blobs_do_not_survive, interrupted_blobs_are_whole_or_absent }
            faults_and_restart { blobs_acknowledged_despite_failures_survive }
            listing { removed_blobs_are_absent }
            whole { failed_input_stores_nothing }
        }
    }

    gives_wrong_chunks: GivesWrongChunks {
        meant: {
            reader { chunks_by_their_digests_are_the_chunks }
        }
    }

    has_any_chunk: HasAnyChunk {
        meant: {
            reader { chunks_by_their_digests_are_the_chunks }
        }
    }

    gets_the_first_piece: GetsTheFirstPiece {
        meant: {
            whole { bytes_round_trip }
        }
    }

    cuts_at_the_limit: CutsAtTheLimit {
        meant: {
            whole { larger_blobs_are_invalid_input }
        }
    }

    stores_failed_input: StoresFailedInput {
        meant: {
            whole { failed_input_stores_nothing }
        }
    }

    stores_the_first_megabyte: StoresTheFirstMegabyte {
        meant: {
            whole { readers_are_stored }
        }
        besides: {
            whole { failed_input_stores_nothing }
        }
    }

    keeps_sizes_in_20_bits: KeepsSizesIn20Bits {
        meant: {
            whole { stat_is_the_size }
        }
    }

    sorts_its_answers: SortsItsAnswers {
        meant: {
            whole { many_questions_have_many_answers }
        }
    }

    lists_blobs_per_chunk: ListsBlobsPerChunk {
        meant: {
            listing { each_present_blob_is_listed_once }
        }
    }

    lists_chunks_as_blobs: ListsChunksAsBlobs {
        meant: {
            listing { each_present_blob_is_listed_once }
        }
        besides: {
            listing { removed_blobs_are_absent }
        }
    }

    removes_shared_chunks: RemovesSharedChunks {
        meant: {
            listing { removal_leaves_other_blobs_whole }
        }
    }

    removes_for_itself_only: RemovesForItselfOnly {
        meant: {
            listing { removed_blobs_are_absent }
        }
    }

    removes_absent_blobs: RemovesAbsentBlobs {
        meant: {
            listing { removed_blobs_are_absent }
        }
    }

    takes_chunks_for_blobs: TakesChunksForBlobs {
        meant: {
            reader { chunks_are_no_blobs }
        }
        besides: {
            storage { beginnings_of_a_blob_are_absent }
            listing { removed_blobs_are_absent }
        }
    }

    fails_where_nothing_is_stored: FailsWhereNothingIsStored {
        meant: {
            reader { absent_is_none_everywhere }
        }
        besides: {
            writer {
                drop_publishes_nothing, abort_publishes_nothing, unclosed_is_absent,
                write_after_abort_fails,
            }
            storage { blobs_are_seen_by_other_services }
            cancellation { dropped_abort_leaves_the_service_usable }
            tamper { removed_records }
            faults {
                failed_writes_reach_close, failed_reads_reach_close,
                close_again_returns_the_same_error, lasting_failures_reach_every_writer,
                failed_writes_of_a_long_blob_reach_close,
            }
            faults_and_restart { blobs_acknowledged_despite_failures_survive }
            restart { unclosed_blobs_do_not_survive }
            whole { failed_input_stores_nothing }
        }
    }

    lists_wrong_digests: ListsWrongDigests {
        meant: {
            reader { chunks_have_the_digests_of_their_bytes }
        }
    }

    lists_the_last_chunk_twice: ListsTheLastChunkTwice {
        meant: {
            reader { index_sums_to_size }
        }
        besides: {
            tamper { other_parts_of_a_damaged_blob_can_be_read }
            reader { chunks_are_no_blobs, ranges_of_one_byte, ranges_across_chunks }
            model { random_operations }
        }
    }

    rounds_small_sizes_up: RoundsSmallSizesUp {
        meant: {
            writer { sizes_round_trip }
            reader {
                ranges_outside_are_invalid_input, seeks_before_the_start_are_invalid_input,
                seeks_past_the_end_are_invalid_input,
            }
        }
        besides: {
            writer {
                write_splits_round_trip, chunk_edges_round_trip, abort_publishes_nothing,
                unclosed_is_absent, shutdown_is_close, write_after_close_is_invalid_input,
                writers_outlive_their_service, data_that_looks_compressed_round_trips,
            }
            reader { chunks_are_no_blobs, reading_at_the_end_gives_nothing }
            storage {
                blobs_that_differ_in_one_byte, closed_blobs_survive_reopening,
                storing_again_changes_nothing,
            }
            concurrency {
                same_blob_by_two_services, a_dropped_twin_takes_nothing_along,
                an_aborted_twin_takes_nothing_along,
            }
            cancellation {
                dropped_close_leaves_the_service_usable, dropped_close_can_be_called_again,
                dropped_close_leaves_its_twin_alone, abort_ends_a_dropped_close,
                dropped_puts_leave_a_present_blob_whole,
            }
            model { random_operations }
            tamper {
                flipped_bits, truncated_records, extended_records, emptied_records,
                removed_records, swapped_records, records_of_garbage, undone_damage_is_gone,
                records_stored_as_blobs_round_trip, storing_again_heals,
            }
            faults {
                failed_writes_reach_close, failed_reads_reach_close, failed_questions_are_errors,
                failed_reads_are_errors, lasting_failures_reach_every_writer,
                one_failure_among_many_writers, one_failure_among_writers_of_one_blob,
                a_failed_twin_takes_nothing_along, changes_done_but_reported_failed,
                failed_writes_leave_a_present_blob_whole,
            }
            restart {
                closed_blobs_survive, interrupted_blobs_are_whole_or_absent,
                interrupted_blobs_can_be_stored_again, blobs_stored_over_remains_survive,
            }
            faults_and_restart { blobs_acknowledged_despite_failures_survive }
            listing { removed_blobs_are_absent }
            whole { bytes_round_trip, readers_are_stored }
        }
    }

    skips_the_last_byte_of_a_chunk: SkipsTheLastByteOfAChunk {
        meant: {
            reader { ranges_of_one_byte, ranges_across_chunks }
        }
    }

    keeps_offsets_in_17_bits: KeepsOffsetsIn17Bits {
        meant: {
            whole { reads_at_any_offset }
            reader {
                ranges_of_one_byte, random_ranges, seeks_from_the_start, seeks_from_the_end,
                seeks_from_the_position,
            }
        }
        besides: {
            reader { ranges_across_chunks }
            concurrency { ranges_at_once }
            model { random_operations }
        }
    }

    ignores_the_end_of_a_range: IgnoresTheEndOfARange {
        meant: {
            reader { ranges_of_one_byte, ranges_across_chunks, random_ranges }
        }
        besides: {
            faults { failed_ranges_are_errors }
            reader { ranges_outlive_their_reader }
            concurrency { ranges_at_once }
            cancellation { dropped_range_leaves_the_reader_usable }
            model { random_operations }
            tamper {
                flipped_bits, truncated_records, extended_records, emptied_records,
                removed_records, swapped_records, records_of_garbage, undone_damage_is_gone,
            }
            whole { reads_at_any_offset }
        }
    }

    takes_tails_for_wholes: TakesTailsForWholes {
        meant: {
            reader { reading_at_the_end_gives_nothing, ranges_to_the_end }
        }
        besides: {
            faults { readers_go_on_after_a_failure, failed_ranges_are_errors }
            reader {
                ranges_of_one_byte, ranges_across_chunks, seeks_from_the_start,
                seeks_from_the_position, pieces_are_never_empty,
            }
            concurrency { two_readers_at_once }
            model { random_operations }
            whole { reads_at_any_offset }
        }
    }

    readers_die_with_their_service: ReadersDieWithTheirService {
        meant: {
            reader { readers_outlive_their_service }
        }
        besides: {
            model { random_operations }
        }
    }

    ranges_die_with_their_reader: RangesDieWithTheirReader {
        meant: {
            reader { ranges_outlive_their_reader }
        }
    }

    goes_back_to_the_page_start: GoesBackToThePageStart {
        meant: {
            reader { seeks_within_what_was_read }
        }
        besides: {
            reader { seeks_from_the_end }
            model { random_operations }
        }
    }

    counts_chunks_in_a_byte: CountsChunksInAByte {
        meant: {
            writer { many_chunks_round_trip }
        }
    }

    gives_empty_pieces: GivesEmptyPieces {
        meant: {
            reader { pieces_are_never_empty }
        }
    }

    takes_data_for_compressed: TakesDataForCompressed {
        meant: {
            writer { data_that_looks_compressed_round_trips }
        }
    }

    takes_data_for_an_index: TakesDataForAnIndex {
        meant: {
            tamper { records_stored_as_blobs_round_trip }
        }
    }
}
