//! Verified ranges: no byte that is not the blob's, whatever chunks an index lists.

use super::teeth;

teeth! {
    proves_no_group: ProvesNoGroup {
        meant: {
            verified_ranges {
                swapped_entries_of_different_sizes, swapped_entries_of_equal_size, shifted_entries,
                swapped_groups, entries_of_another_blob, one_entry_of_another_blob,
            }
        }
        besides: {
            verified_ranges {
                blobs_of_one_group, proven_ranges_prove_no_other_index,
                restored_indexes_leave_no_trace,
            }
        }
    }

    proves_only_whole_reads: ProvesOnlyWholeReads {
        meant: {
            verified_ranges {
                swapped_entries_of_different_sizes, swapped_entries_of_equal_size, shifted_entries,
                swapped_groups, entries_of_another_blob, one_entry_of_another_blob,
            }
        }
        besides: {
            verified_ranges {
                blobs_of_one_group, proven_ranges_prove_no_other_index,
                restored_indexes_leave_no_trace,
            }
        }
    }

    proves_the_first_group: ProvesTheFirstGroup {
        meant: {
            verified_ranges { one_entry_of_another_blob }
        }
        besides: {
            verified_ranges { swapped_groups }
        }
    }

    proves_the_last_group: ProvesTheLastGroup {
        meant: {
            verified_ranges { one_entry_of_another_blob }
        }
        besides: {
            verified_ranges {
                entries_of_another_blob, proven_ranges_prove_no_other_index,
                restored_indexes_leave_no_trace, shifted_entries,
                swapped_entries_of_different_sizes, swapped_entries_of_equal_size, swapped_groups,
            }
        }
    }

    skips_parts_of_groups: SkipsPartsOfGroups {
        meant: {
            verified_ranges { one_entry_of_another_blob }
        }
        besides: {
            verified_ranges {
                blobs_of_one_group, entries_of_another_blob, proven_ranges_prove_no_other_index,
                restored_indexes_leave_no_trace, shifted_entries,
                swapped_entries_of_different_sizes, swapped_entries_of_equal_size, swapped_groups,
            }
        }
    }

    skips_short_groups: SkipsShortGroups {
        meant: {
            verified_ranges { shifted_entries, one_entry_of_another_blob }
        }
        besides: {
            verified_ranges {
                entries_of_another_blob, proven_ranges_prove_no_other_index,
                restored_indexes_leave_no_trace, swapped_entries_of_different_sizes,
            }
        }
    }

    skips_small_blobs: SkipsSmallBlobs {
        meant: {
            verified_ranges { blobs_of_one_group }
        }
    }

    skips_seeks: SkipsSeeks {
        meant: {
            verified_ranges { entries_of_another_blob }
        }
        besides: {
            verified_ranges {
                blobs_of_one_group, one_entry_of_another_blob, proven_ranges_prove_no_other_index,
                restored_indexes_leave_no_trace, shifted_entries,
                swapped_entries_of_different_sizes, swapped_entries_of_equal_size, swapped_groups,
            }
        }
    }

    returns_before_the_proof: ReturnsBeforeTheProof {
        meant: {
            verified_ranges { one_entry_of_another_blob }
        }
        besides: {
            verified_ranges {
                blobs_of_one_group, entries_of_another_blob, proven_ranges_prove_no_other_index,
                restored_indexes_leave_no_trace, shifted_entries,
                swapped_entries_of_different_sizes, swapped_entries_of_equal_size, swapped_groups,
            }
        }
    }

    accepts_any_group_of_the_blob: AcceptsAnyGroupOfTheBlob {
        meant: {
            verified_ranges { swapped_groups }
        }
    }

    trusts_the_list: TrustsTheList {
        meant: {
            verified_ranges { lists_with_wrong_values, lists_of_another_blob }
        }
        besides: {
            verified_ranges { lists_of_wrong_length }
        }
    }

    cuts_long_lists: CutsLongLists {
        meant: {
            verified_ranges { lists_of_wrong_length }
        }
    }

    does_without_short_lists: DoesWithoutShortLists {
        meant: {
            verified_ranges { lists_of_wrong_length }
        }
    }

    remembers_proofs_of_blobs: RemembersProofsOfBlobs {
        meant: {
            verified_ranges { proven_ranges_prove_no_other_index }
        }
    }

    remembers_proofs_of_readers: RemembersProofsOfReaders {
        meant: {
            verified_ranges { readers_opened_before }
        }
    }

    remembers_wrong_groups: RemembersWrongGroups {
        meant: {
            verified_ranges { restored_indexes_leave_no_trace }
        }
        besides: {
            verified_ranges { blobs_of_one_group }
        }
    }

    calls_wrong_groups_other: CallsWrongGroupsOther {
        meant: {
            verified_ranges { entries_of_another_blob, one_entry_of_another_blob }
        }
        besides: {
            verified_ranges {
                blobs_of_one_group, proven_ranges_prove_no_other_index,
                restored_indexes_leave_no_trace, shifted_entries,
                swapped_entries_of_different_sizes, swapped_entries_of_equal_size, swapped_groups,
            }
        }
    }

    gets_bytes_unproven: GetsBytesUnproven {
        meant: {
            verified_ranges { entries_of_another_blob }
        }
        besides: {
            verified_ranges {
                blobs_of_one_group, one_entry_of_another_blob, proven_ranges_prove_no_other_index,
                restored_indexes_leave_no_trace, shifted_entries,
                swapped_entries_of_different_sizes, swapped_entries_of_equal_size, swapped_groups,
            }
        }
    }

    covers_a_group_too_many: CoversAGroupTooMany {
        meant: {
            verified_ranges { undamaged_ranges }
        }
        besides: {
            verified_ranges { blobs_of_one_group }
        }
    }
}
