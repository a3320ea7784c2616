//! Damaged storage: an error of kind `Corrupt`, and no byte that is wrong.

use super::teeth;

teeth! {
    serves_unverified_chunks: ServesUnverifiedChunks {
        meant: {
            tamper { flipped_bits, swapped_records, records_of_garbage }
        }
        besides: {
            tamper { other_parts_of_a_damaged_blob_can_be_read, undone_damage_is_gone, verified_data_is_verified_again }
        }
    }

    verifies_only_whole_reads: VerifiesOnlyWholeReads {
        meant: {
            tamper { flipped_bits, swapped_records, records_of_garbage }
        }
        besides: {
            tamper { other_parts_of_a_damaged_blob_can_be_read, undone_damage_is_gone }
        }
    }

    does_not_verify_the_whole: DoesNotVerifyTheWhole {
        meant: {
            tamper { extended_records, swapped_records }
        }
    }

    accepts_any_chunk_of_the_blob: AcceptsAnyChunkOfTheBlob {
        meant: {
            tamper { swapped_records }
        }
    }

    takes_zeros_for_a_hole: TakesZerosForAHole {
        meant: {
            tamper { records_of_garbage }
        }
    }

    fills_in_missing_chunks: FillsInMissingChunks {
        meant: {
            tamper { removed_records }
        }
    }

    serves_long_chunks_whole: ServesLongChunksWhole {
        meant: {
            tamper { extended_records }
        }
    }

    calls_wrong_bytes_other: CallsWrongBytesOther {
        meant: {
            tamper { flipped_bits, records_of_garbage }
        }
        besides: {
            tamper { other_parts_of_a_damaged_blob_can_be_read, swapped_records, undone_damage_is_gone, verified_data_is_verified_again }
        }
    }

    calls_short_chunks_other: CallsShortChunksOther {
        meant: {
            tamper { truncated_records, emptied_records }
        }
        besides: {
            tamper { swapped_records, records_of_garbage }
        }
    }

    calls_missing_chunks_unavailable: CallsMissingChunksUnavailable {
        meant: {
            tamper { removed_records }
        }
        besides: {
            tamper { flipped_bits }
        }
    }

    says_absent_for_damage: SaysAbsentForDamage {
        meant: {
            tamper {
                flipped_bits, truncated_records, extended_records, emptied_records,
                records_of_garbage,
            }
        }
        besides: {
            tamper { swapped_records, damage_stays_where_it_is, undone_damage_is_gone }
        }
    }

    takes_empty_records_for_absent: TakesEmptyRecordsForAbsent {
        meant: {
            tamper { emptied_records }
        }
    }

    panics_on_half_an_entry: PanicsOnHalfAnEntry {
        meant: {
            tamper { truncated_records, extended_records }
        }
        besides: {
            tamper { swapped_records, records_of_garbage }
        }
    }

    one_damage_stops_all: OneDamageStopsAll {
        meant: {
            tamper { damage_stays_where_it_is }
        }
    }

    remembers_damage: RemembersDamage {
        meant: {
            tamper { undone_damage_is_gone }
        }
    }

    trusts_existence: TrustsExistence {
        meant: {
            tamper { storing_again_heals }
        }
    }

    trusts_length: TrustsLength {
        meant: {
            tamper { storing_again_heals }
        }
    }

    trusts_itself: TrustsItself {
        meant: {
            tamper { storing_again_heals }
        }
    }

    leaves_indexes_alone: LeavesIndexesAlone {
        meant: {
            tamper { storing_again_heals }
        }
    }

    verifies_once: VerifiesOnce {
        meant: {
            tamper { verified_data_is_verified_again }
        }
    }

    reads_the_whole_for_a_range: ReadsTheWholeForARange {
        meant: {
            tamper { other_parts_of_a_damaged_blob_can_be_read }
        }
    }
}
