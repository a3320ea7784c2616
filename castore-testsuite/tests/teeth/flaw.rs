//! The flaws of the tested blob services: one narrow, plausible bug each.

macro_rules! flaws {
    ($($(#[$doc:meta])* $name:ident,)*) => {
        /// A bug of the tested service. The doc comment completes "a service that …".
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
        pub(crate) enum Flaw {
            $($(#[$doc])* $name,)*
        }

        impl Flaw {
            pub(crate) const ALL: &[Flaw] = &[$(Flaw::$name,)*];
        }
    };
}

flaws! {
    // Writing.

    /// Gives blobs shorter than a block of BLAKE3 the digest of that block, padded with zeros.
    DigestsShortBlobsPadded,
    /// Takes the chunk in the buffer for the last one, even if the blob ends with a whole chunk.
    LosesLastWholeChunk,
    /// Drops the last byte of a blob that is one byte longer than its whole chunks.
    DropsLoneLastByte,
    /// Stores only the part within that chunk of a write that begins within a chunk.
    LosesWhatCrossesAnEdge,
    /// Loses the first byte of a write that begins at the end of a chunk.
    LosesByteAfterAnEdge,
    /// Stores a write of 1 MiB or more before the bytes that are buffered.
    LargeWritesOvertake,
    /// Cuts a write to 8 MiB.
    CutsLargeWrites,
    /// Lists a chunk at most a hundred times in a row.
    CountsARunOnce,
    /// Publishes the chunks so far with every whole chunk.
    PublishesEachWholeChunk,
    /// Fails to close a writer that got no bytes.
    RefusesEmptyBlob,
    /// Publishes the bytes of a writer that is dropped.
    PublishesOnDrop,
    /// Publishes the bytes of a writer that is aborted.
    PublishesOnAbort,
    /// Publishes the bytes so far with every write.
    PublishesOnWrite,
    /// Reports blobs as present whose writers are not closed.
    ShowsUnclosed,
    /// Publishes the remains of unclosed writers when the storage is opened.
    RecoversUnclosed,
    /// Fails a writer that outlives the service that opened it.
    WritersDieWithTheirService,

    // Asking and reading.

    /// Has the empty blob only after it was written.
    EmptyBlobOnlyWhereWritten,
    /// Panics when it is asked for the chunks of an absent blob.
    PanicsOnAbsent,
    /// Takes the digest of a chunk that no index lists for a blob.
    TakesChunksForBlobs,
    /// Fails to open a blob if nothing at all is stored, instead of reporting it absent.
    FailsWhereNothingIsStored,
    /// Lists chunks under other digests than those of their bytes.
    ListsWrongDigests,
    /// Returns other bytes for a chunk requested by its digest.
    GivesWrongChunks,
    /// Reports every chunk as present.
    HasAnyChunk,
    /// Returns the first chunk for the whole blob.
    GetsTheFirstPiece,
    /// Returns the first bytes of a blob that is larger than the limit.
    CutsAtTheLimit,
    /// Stores the bytes of a reader that fails.
    StoresFailedInput,
    /// Stores only the first megabyte of a reader.
    StoresTheFirstMegabyte,
    /// Keeps the size of a blob in 20 bits.
    KeepsSizesIn20Bits,
    /// Returns the answers about present blobs before those about absent ones.
    SortsItsAnswers,
    /// Lists a blob once for each of its chunks.
    ListsBlobsPerChunk,
    /// Lists the chunks that have the size of a small blob.
    ListsChunksAsBlobs,
    /// Removes the chunks of a blob together with its index.
    RemovesSharedChunks,
    /// Removes a blob only from the lists of this service.
    RemovesForItselfOnly,
    /// Reports that it removed a blob that was absent.
    RemovesAbsentBlobs,
    /// Lists the last chunk of a blob twice.
    ListsTheLastChunkTwice,
    /// Counts the chunks of a blob in one byte.
    CountsChunksInAByte,
    /// Returns an empty piece before each range.
    GivesEmptyPieces,
    /// Takes a chunk that begins like compressed data for compressed.
    TakesDataForCompressed,
    /// Takes a chunk whose bytes form an index for an index.
    TakesDataForAnIndex,
    /// Rounds the size of a blob of one chunk up to blocks of 512 bytes.
    RoundsSmallSizesUp,
    /// Takes the last byte of a chunk for the first of the next one if a range begins there.
    SkipsTheLastByteOfAChunk,
    /// Keeps the offset in a chunk at which a range begins in 17 bits.
    KeepsOffsetsIn17Bits,
    /// Returns the last chunk of a range up to the chunk's end.
    IgnoresTheEndOfARange,
    /// Compares every range that ends with the blob with the digest of the whole blob.
    TakesTailsForWholes,
    /// Fails a reader that outlives the service that opened it.
    ReadersDieWithTheirService,
    /// Ends a range when the reader that began it is dropped.
    RangesDieWithTheirReader,
    /// Starts a range that goes back into the page read before the last one at that page's start.
    GoesBackToThePageStart,

    // Data that is stored already.

    /// Recognises a chunk by its size and its first 64 bytes.
    KnowsChunksByTheirStart,
    /// Fails to publish a blob that is published already.
    ConflictsWithTheSameBlob,
    /// Deletes all chunks of an aborted writer, also those of other blobs.
    AbortDeletesSharedChunks,
    /// Deletes all chunks of a dropped writer, also those of other blobs.
    DropDeletesSharedChunks,
    /// Deletes all chunks of a writer that fails, also those of other blobs.
    FailureDeletesSharedChunks,
    /// Deletes the chunks that no index lists when the storage is opened.
    OpeningCleansUp,
    /// Deletes an index before it writes it again.
    ReplacesByDeleting,
    /// Writes the index of a blob when the next one is closed.
    WritesIndexesBehind,
    /// Remembers that a blob was absent.
    RemembersAbsence,

    // Concurrency.

    /// Fails to publish a blob while another writer is publishing it.
    ConflictsWithItsTwin,
    /// Has eight buffers that writers use in turn.
    MixesWriters,
    /// Clears the buffers of all writers when one is aborted.
    AbortClearsAllBuffers,
    /// Opens no more than eight writers at once, and lets others wait.
    WritersHoldPlaces,
    /// Has one position for all readers of a blob.
    ReadersShareAPosition,
    /// Binds a reader, at its first read, to the blob that its thread opened last.
    ReadsTheBlobOpenedLast,
    /// Ends a range when another one of the same reader is begun.
    OneRangePerReader,
    /// Allows no more than sixteen reads at once, and lets others wait.
    ReadsHoldPlaces,
    /// Has 48 places for writers and reads together, and lets others wait.
    ReadersAndWritersSharePlaces,
    /// Leaks one of 64 places when a writer is dropped that is not closed.
    DroppedWriterKeepsItsPlace,
    /// Leaks one of 100 places when a read is dropped before its end.
    DroppedReadKeepsItsPlace,
    /// Finds blobs only on the thread that opened the service.
    BoundToItsThread,
    /// Cannot read a chunk while a writer is open.
    WritersLockReadersOut,

    // Dropped futures.

    /// Never releases its lock after a question is dropped.
    DroppedQuestionKeepsTheLock,
    /// Never releases its lock after a `close` is dropped.
    DroppedCloseKeepsTheLock,
    /// Never releases its lock after an `abort` is dropped.
    DroppedAbortKeepsTheLock,
    /// Lets a `close` that was dropped and aborted publish its blob when the next writer is opened.
    AbortLeavesTheClose,
    /// Never releases its lock after a read is dropped.
    DroppedReadKeepsTheLock,
    /// Returns from an `abort` while a chunk is still being stored.
    AbortReturnsTooEarly,
    /// Wakes the task that polled first, even if another task has polled since.
    WakesTheFirstPoller,
    /// Waits for ever for a writer that was storing the same chunk and is dropped.
    WaitsForDroppedWriters,
    /// Waits for ever for a read that was fetching the same chunk and is dropped.
    WaitsForDroppedReads,
    /// Takes a chunk for stored once the writer that was storing it has ended, in any way.
    TrustsTheLeader,
    /// Takes a chunk for stored as soon as it begins to store it.
    KnowsChunksTooEarly,

    // Damaged storage.

    /// Does not verify chunks.
    ServesUnverifiedChunks,
    /// Verifies chunks only if the whole blob is read.
    VerifiesOnlyWholeReads,
    /// Claims to verify the digest of a blob that is read as a whole, but does not.
    DoesNotVerifyTheWhole,
    /// Verifies that a chunk is one of the blob's, but not which.
    AcceptsAnyChunkOfTheBlob,
    /// Takes a chunk of zeros for a hole, and does not verify it.
    TakesZerosForAHole,
    /// Fills in zeros for a missing chunk, without verifying them.
    FillsInMissingChunks,
    /// Verifies a chunk up to its expected size, and returns all bytes that are stored.
    ServesLongChunksWhole,
    /// Reports a chunk with other bytes as `Other`.
    CallsWrongBytesOther,
    /// Reports a chunk that is too short as `Other`.
    CallsShortChunksOther,
    /// Reports a missing chunk as `Unavailable`.
    CallsMissingChunksUnavailable,
    /// Reports a blob with a damaged index as absent.
    SaysAbsentForDamage,
    /// Reports a blob as absent if its index is an empty record.
    TakesEmptyRecordsForAbsent,
    /// Panics on an index that ends within an entry.
    PanicsOnHalfAnEntry,
    /// Opens no blob at all if any index of the storage is damaged.
    OneDamageStopsAll,
    /// Takes a chunk for stored if a record of its name exists.
    TrustsExistence,
    /// Takes a chunk for stored if a record of its name and length exists.
    TrustsLength,
    /// Takes a chunk for stored because this service has stored it.
    TrustsItself,
    /// Takes an index for written if a record of its name exists.
    LeavesIndexesAlone,
    /// Reads all chunks of a blob for any range of it.
    ReadsTheWholeForARange,
    /// Verifies each chunk only once.
    VerifiesOnce,
    /// Keeps a list of damaged chunks in the storage, and never reads these again.
    RemembersDamage,

    // Failing storage.

    /// Ignores a failure to store a chunk.
    SwallowsFailedWrites,
    /// Takes a chunk for stored if the look for it fails.
    TakesAFailedLookForPresence,
    /// Ignores a failure to store the eleventh chunk of a blob or a later one.
    SwallowsLateFailures,
    /// Reports a blob as absent if the second of two looks fails.
    TakesAFailedSecondLookForAbsence,
    /// Lets readers wait for ever for a fetch that another one has begun and that fails.
    SharedFetchesHang,
    /// Fails to publish a blob after it could not write the index, and finds the index present.
    ConflictsWithItsOwnRemains,
    /// Deletes the index that it could not write, even if an older one was present.
    DeletesWhatFailed,
    /// Reports a blob as present before its index is written.
    HasBlobsTooEarly,
    /// Reports a blob as absent if fetching its index fails.
    SaysAbsentOnFailure,
    /// Reports a failure to fetch a chunk as damage.
    CallsFailureDamage,
    /// Reports a failure to fetch a chunk for less than the whole blob as damage.
    CallsFailedRangesDamage,
    /// Never fetches a chunk again after one failure.
    RemembersFailure,
    /// Reads nothing more with a reader that has once failed to read all of its blob.
    ReadersStayFailed,
    /// Leaks one of eight places when storing fails.
    FailedWriteKeepsItsPlace,
    /// Reports a failed write to the writer that is closed next, whichever that is.
    TellsAnotherWriter,

    // Crashing storage.

    /// Acknowledges a blob before its index is durable.
    AcknowledgesTooEarly,
    /// Syncs the index of a blob before its chunks.
    SyncsTheIndexFirst,
    /// Syncs the index of a blob, but no chunk.
    SyncsTheIndexOnly,
    /// Syncs the new chunks of a blob, but none that was present before.
    SyncsOnlyNewChunks,
    /// Ignores a failed sync.
    SwallowsFailedSyncs,
    /// Writes the index of a blob before its last chunk.
    PublishesTheIndexFirst,
    /// Creates the record of a chunk first and fills it afterwards, and trusts its existence.
    FillsChunksInPlace,

    // Verified ranges. Only services with these flaws, and the sound one, claim them.

    /// Checks the group hashes of a blob, and proves nothing by them.
    ProvesNoGroup,
    /// Proves groups only if the whole blob is read.
    ProvesOnlyWholeReads,
    /// Proves the first group of a range, and no other.
    ProvesTheFirstGroup,
    /// Proves the last group of a range, and no other.
    ProvesTheLastGroup,
    /// Proves only groups that lie in the range with all their bytes.
    SkipsPartsOfGroups,
    /// Does not prove a last group that is shorter than the others.
    SkipsShortGroups,
    /// Does not prove a blob that needs no list.
    SkipsSmallBlobs,
    /// Does not prove the bytes that are read after a seek.
    SkipsSeeks,
    /// Returns a group first, and proves it afterwards.
    ReturnsBeforeTheProof,
    /// Proves that a group is one of the blob's, but not which.
    AcceptsAnyGroupOfTheBlob,
    /// Does not check that a list of group hashes is that of the blob.
    TrustsTheList,
    /// Cuts a list of group hashes that is too long.
    CutsLongLists,
    /// Takes a list of group hashes that is too short for none, and proves nothing.
    DoesWithoutShortLists,
    /// Remembers which groups of a blob are proven, for any index of the blob.
    RemembersProofsOfBlobs,
    /// Remembers which groups a reader has proven, but fetches the index again for each range.
    RemembersProofsOfReaders,
    /// Keeps a list of blobs with a wrong group in the storage, and never reads these again.
    RemembersWrongGroups,
    /// Reports a wrong group as `Other`.
    CallsWrongGroupsOther,
    /// Proves the bytes of readers, but not those of `get_bytes`.
    GetsBytesUnproven,
    /// Takes the group after a range for a part of it if the range ends where a group ends, unless
    /// the range is the whole blob.
    CoversAGroupTooMany,
}

impl Flaw {
    /// Whether this is a flaw of a service that claims verified ranges.
    ///
    /// The proof of a group finds damage that other flaws would return, so services with those
    /// flaws store no group hashes.
    pub(crate) fn is_of_verified_ranges(self) -> bool {
        self >= Flaw::ProvesNoGroup
    }
}
