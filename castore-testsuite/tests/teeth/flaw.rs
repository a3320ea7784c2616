//! What can be wrong with a blob service: one bug each, as narrow as somebody would write it.

macro_rules! flaws {
    ($($(#[$doc:meta])* $name:ident,)*) => {
        /// A bug of the service that is tested. The doc comment completes "a service that …".
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
    /// Takes the chunk in the buffer for the last one, also where the blob ends with a whole chunk.
    LosesLastWholeChunk,
    /// Drops the last byte of a blob that is one byte longer than its whole chunks.
    DropsLoneLastByte,
    /// Of a write that begins within a chunk, stores only what fits into that chunk.
    LosesWhatCrossesAnEdge,
    /// Loses the first byte of a write that begins at the end of a chunk.
    LosesByteAfterAnEdge,
    /// Stores a write of 1 MiB or more ahead of the bytes that are buffered.
    LargeWritesOvertake,
    /// Cuts a write to 8 MiB.
    CutsLargeWrites,
    /// Lists a chunk at most a hundred times in a row.
    CountsARunOnce,
    /// Publishes with every whole chunk those that there are so far.
    PublishesEachWholeChunk,
    /// Fails to close a writer that was given nothing.
    RefusesEmptyBlob,
    /// Publishes what a writer was given when it is dropped.
    PublishesOnDrop,
    /// Publishes what a writer was given when it is aborted.
    PublishesOnAbort,
    /// Publishes with every write what there is so far.
    PublishesOnWrite,
    /// Has blobs, it says, whose writers are not closed.
    ShowsUnclosed,
    /// Publishes what unclosed writers have left behind when the storage is opened.
    RecoversUnclosed,
    /// Fails a writer that outlives the service that opened it.
    WritersDieWithTheirService,

    // Asking and reading.

    /// Has the empty blob only once somebody has written it.
    EmptyBlobOnlyWhereWritten,
    /// Panics when it is asked for the chunks of an absent blob.
    PanicsOnAbsent,
    /// Takes a chunk that no index lists under its digest for a blob.
    TakesChunksForBlobs,
    /// Fails to open a blob where nothing at all is stored, instead of saying that it is absent.
    FailsWhereNothingIsStored,
    /// Lists chunks under other digests than those of their bytes.
    ListsWrongDigests,
    /// Gives other bytes for a chunk that is asked for by its digest.
    GivesWrongChunks,
    /// Lists the last chunk of a blob twice.
    ListsTheLastChunkTwice,
    /// Counts the chunks of a blob in a byte.
    CountsChunksInAByte,
    /// Gives an empty piece before each range.
    GivesEmptyPieces,
    /// Takes a chunk that begins as compressed data does for compressed.
    TakesDataForCompressed,
    /// Takes a chunk whose bytes are an index for an index.
    TakesDataForAnIndex,
    /// Says that a blob of one chunk is as large as the blocks of 512 bytes that it takes.
    RoundsSmallSizesUp,
    /// Takes the last byte of a chunk for the first of the next one where a range begins there.
    SkipsTheLastByteOfAChunk,
    /// Keeps the offset in a chunk at which a range begins in 17 bits.
    KeepsOffsetsIn17Bits,
    /// Serves the last chunk of a range to the chunk's end.
    IgnoresTheEndOfARange,
    /// Compares every range that ends with the blob with the digest of the whole blob.
    TakesTailsForWholes,
    /// Fails a reader that outlives the service that opened it.
    ReadersDieWithTheirService,
    /// Ends a range when the reader that began it is dropped.
    RangesDieWithTheirReader,
    /// Begins a range that goes back into the page read before the last one at that page's start.
    GoesBackToThePageStart,

    // What is stored already.

    /// Knows a chunk by its size and its first 64 bytes.
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

    // Many at once.

    /// Fails to publish a blob while another writer is publishing it.
    ConflictsWithItsTwin,
    /// Has eight buffers, which writers use in turn.
    MixesWriters,
    /// Clears the buffers of all writers when one is aborted.
    AbortClearsAllBuffers,
    /// Opens no more than eight writers at once, and lets others wait.
    WritersHoldPlaces,
    /// Has one position for all readers of a blob.
    ReadersShareAPosition,
    /// Binds a reader at its first read, to the blob that its thread has opened last.
    ReadsTheBlobOpenedLast,
    /// Ends a range when another one of the same reader is begun.
    OneRangePerReader,
    /// Lets no more than sixteen reads be under way at once, and others wait.
    ReadsHoldPlaces,
    /// Has 48 places for writers and reads together, and lets others wait.
    ReadersAndWritersSharePlaces,
    /// Does not give back one of 64 places where a writer is dropped that is not closed.
    DroppedWriterKeepsItsPlace,
    /// Does not give back one of 100 places where a read is dropped before its end.
    DroppedReadKeepsItsPlace,
    /// Finds blobs only on the thread that has opened the service.
    BoundToItsThread,
    /// Cannot read a chunk while a writer is open.
    WritersLockReadersOut,

    // Futures that are dropped.

    /// Keeps its lock for ever where a question is dropped.
    DroppedQuestionKeepsTheLock,
    /// Keeps its lock for ever where a `close` is dropped.
    DroppedCloseKeepsTheLock,
    /// Keeps its lock for ever where an `abort` is dropped.
    DroppedAbortKeepsTheLock,
    /// Leaves a `close` that was dropped and aborted to publish its blob when the next writer is opened.
    AbortLeavesTheClose,
    /// Keeps its lock for ever where a read is dropped.
    DroppedReadKeepsTheLock,
    /// Returns from an `abort` while a chunk is still on its way.
    AbortReturnsTooEarly,
    /// Wakes whoever polled first, also when somebody else has polled since.
    WakesTheFirstPoller,
    /// Waits for ever for a writer that was storing the same chunk, where that one is dropped.
    WaitsForDroppedWriters,
    /// Waits for ever for a read that was fetching the same chunk, where that one is dropped.
    WaitsForDroppedReads,
    /// Takes a chunk for stored when who was storing it has ended, in whatever way.
    TrustsTheLeader,
    /// Takes a chunk for stored from the moment on at which it begins to store it.
    KnowsChunksTooEarly,

    // Damaged storage.

    /// Does not verify chunks.
    ServesUnverifiedChunks,
    /// Verifies chunks only where the whole blob is read.
    VerifiesOnlyWholeReads,
    /// Says that it verifies the digest of a blob that is read as a whole, and does not.
    DoesNotVerifyTheWhole,
    /// Verifies that a chunk is one of the blob's, but not which.
    AcceptsAnyChunkOfTheBlob,
    /// Takes a chunk of zeros for a hole, which it does not verify.
    TakesZerosForAHole,
    /// Fills in zeros for a chunk that is missing, without verifying them.
    FillsInMissingChunks,
    /// Verifies as many bytes of a chunk as it should have, and serves all that there are.
    ServesLongChunksWhole,
    /// Reports a chunk with other bytes as `Other`.
    CallsWrongBytesOther,
    /// Reports a chunk that is too short as `Other`.
    CallsShortChunksOther,
    /// Reports a chunk that is missing as `Unavailable`.
    CallsMissingChunksUnavailable,
    /// Says that a blob is absent where its index is damaged.
    SaysAbsentForDamage,
    /// Says that a blob is absent where its index is an empty record.
    TakesEmptyRecordsForAbsent,
    /// Panics where an index ends within an entry.
    PanicsOnHalfAnEntry,
    /// Opens nothing where any index of the storage is damaged.
    OneDamageStopsAll,
    /// Takes a chunk for stored where there is a record of its name.
    TrustsExistence,
    /// Takes a chunk for stored where there is a record of its name and length.
    TrustsLength,
    /// Takes a chunk for stored because this service has stored it.
    TrustsItself,
    /// Takes an index for written where there is a record of its name.
    LeavesIndexesAlone,
    /// Reads all chunks of a blob for a range of it.
    ReadsTheWholeForARange,
    /// Verifies each chunk once.
    VerifiesOnce,
    /// Keeps a list of damaged chunks in the storage, and never reads them again.
    RemembersDamage,

    // Failing storage.

    /// Goes on where storing a chunk fails.
    SwallowsFailedWrites,
    /// Takes a chunk for stored where asking for it fails.
    TakesAFailedLookForPresence,
    /// Goes on where storing a chunk fails that is the eleventh of a blob or later.
    SwallowsLateFailures,
    /// Says that a blob is absent where the second of two looks fails.
    TakesAFailedSecondLookForAbsence,
    /// Lets readers wait for ever for a fetch that another one has begun and that fails.
    SharedFetchesHang,
    /// Fails to publish a blob whose index it could not write before, and finds there.
    ConflictsWithItsOwnRemains,
    /// Deletes the index that it could not write, whatever was there before.
    DeletesWhatFailed,
    /// Has a blob, it says, from before its index is written.
    HasBlobsTooEarly,
    /// Says that a blob is absent where fetching its index fails.
    SaysAbsentOnFailure,
    /// Reports a failure to fetch a chunk as damage.
    CallsFailureDamage,
    /// Reports a failure to fetch a chunk for less than the whole blob as damage.
    CallsFailedRangesDamage,
    /// Never tries again to fetch a chunk when that has failed once.
    RemembersFailure,
    /// Reads nothing more by a reader that has once failed to read all of its blob.
    ReadersStayFailed,
    /// Does not give back one of eight places where storing fails.
    FailedWriteKeepsItsPlace,
    /// Tells whichever writer is closed next that a write has failed.
    TellsAnotherWriter,

    // Crashing storage.

    /// Acknowledges a blob before its index is safe.
    AcknowledgesTooEarly,
    /// Syncs the index of a blob before its chunks.
    SyncsTheIndexFirst,
    /// Syncs the index of a blob, and no chunk.
    SyncsTheIndexOnly,
    /// Syncs the chunks of a blob that were not there before, and no other.
    SyncsOnlyNewChunks,
    /// Goes on where a sync fails.
    SwallowsFailedSyncs,
    /// Writes the index of a blob before its last chunk.
    PublishesTheIndexFirst,
    /// Creates the record of a chunk first, and fills it afterwards; and trusts its existence.
    FillsChunksInPlace,
}
