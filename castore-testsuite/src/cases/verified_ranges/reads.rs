//! Reads a blob in every way, and checks that no wrong byte comes.

use std::ops::Range;

use bytes::Bytes;
use castore_core::groups::GROUP_SIZE;
use castore_core::{BlobReader, BlobService, Digest, Error, ErrorKind};
use futures_util::StreamExt;
use tokio::io::{AsyncReadExt, AsyncSeekExt};

use super::Original;
use crate::cases::difference;
use crate::data::Numbers;
use crate::steps::Step;

/// The permitted results of the reads of a blob. No result has a wrong byte.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Outcome {
    /// Every read is right.
    Right,
    /// Every read is right, or is `Corrupt`.
    RightOrCorrupt,
    /// As before, and a read of the whole blob is `Corrupt`.
    WholeIsCorrupt,
    /// Every read is `Corrupt`.
    Unreadable,
}

/// The number of readers that jump.
const JUMPING: usize = 5;

/// The bytes that a reader reads after its first jump.
const AFTER_A_JUMP: u64 = 70_000;

/// Checks all reads of the blob with readers that `service` opens now.
pub(super) async fn expect(
    service: &dyn BlobService,
    blob: &Original,
    outcome: Outcome,
    what: &str,
) {
    match Readers::open(service, blob).await {
        Ok(readers) => readers.expect(blob, outcome, what).await,
        Err(error) => expect_error(&error, outcome, what),
    }
    let size = blob.data.len() as u64;
    let read = service.get_bytes(&Digest::of(&blob.data), size).named("get_bytes").await;
    let (read, error) = match read {
        Ok(read) => (read.unwrap_or_else(|| panic!("get_bytes is None: {what}")), None),
        Err(error) => (Bytes::new(), Some(error)),
    };
    Part { blob, outcome, what }.expect(0..size, &read, error, "get_bytes");
}

fn expect_error(error: &Error, outcome: Outcome, what: &str) {
    assert!(outcome != Outcome::Right, "{error}: {what}");
    assert_eq!(error.kind(), ErrorKind::Corrupt, "{error}: {what}");
}

/// Readers of one blob: one for each way of reading that moves the position.
pub(super) struct Readers {
    whole: BlobReader,
    /// The bytes that `whole` has returned so far.
    read: Vec<u8>,
    ranges: BlobReader,
    jumping: Vec<BlobReader>,
}

impl Readers {
    pub(super) async fn open(service: &dyn BlobService, blob: &Original) -> Result<Readers, Error> {
        let digest = Digest::of(&blob.data);
        let mut readers = Vec::new();
        for _ in 0..JUMPING + 2 {
            let reader = service.open_read(&digest).named("open_read").await?;
            let reader = reader.unwrap_or_else(|| panic!("open_read: the blob is absent"));
            assert_eq!(reader.size(), blob.data.len() as u64, "the size");
            readers.push(reader);
        }
        let (Some(whole), Some(ranges)) = (readers.pop(), readers.pop()) else { unreachable!() };
        Ok(Readers { whole, read: Vec::new(), ranges, jumping: readers })
    }

    /// Begins to read with every reader. The blob must be undamaged.
    pub(super) async fn begin(&mut self, blob: &Original) {
        let Readers { whole, read, ranges, jumping } = self;
        read.resize(300_000, 0);
        whole.read_exact(read).must("read_exact").await;
        ranges.read_at(0, &mut [0; 1000]).must("read_at").await;
        for reader in jumping {
            reader.read_exact(&mut [0; 1000]).must("read_exact").await;
        }
        assert!(blob.data.starts_with(read), "{}: undamaged", difference(read, &blob.data));
    }

    /// Checks all reads.
    pub(super) async fn expect(self, blob: &Original, outcome: Outcome, what: &str) {
        let Readers { mut whole, mut read, ranges, jumping } = self;
        let part = Part { blob, outcome, what };
        let size = blob.data.len() as u64;
        let random = &mut Numbers::new(what);

        for range in some_ranges(blob, random) {
            let (read, error) = collect(&ranges, range.clone()).await;
            part.expect(range, &read, error, "read_range");
        }
        let (read_before, error) = collect(&ranges, 0..size).await;
        part.expect(0..size, &read_before, error, "read_range");
        for _ in 0..JUMPING {
            let start = random.below(size);
            let end = size.min(start + AFTER_A_JUMP);
            let mut buf = vec![0; (end - start) as usize];
            match ranges.read_at(start, &mut buf).named("read_at").await {
                Ok(count) => part.expect(start..end, &buf[..count], None, "read_at"),
                Err(error) => part.expect(start..end, &[], Some(error), "read_at"),
            }
        }

        let result = whole.read_to_end(&mut read).named("read_to_end").await;
        let error = result.err().map(|error| own(error, what));
        let has_failed = error.is_some();
        part.expect(0..size, &read, error, "read_to_end");
        let again = whole.read(&mut [0; 1]).named("read again").await;
        assert_eq!(again.is_err(), has_failed, "a read after the end or the error: {what}");

        for (number, reader) in jumping.into_iter().enumerate() {
            let first = random.below(size);
            let second = if number == 0 { 0 } else { random.below(size) };
            part.jump(reader, first, second).await;
        }
    }
}

/// The blob that reads must return, and the results that they may have.
#[derive(Clone, Copy)]
struct Part<'a> {
    blob: &'a Original,
    outcome: Outcome,
    what: &'a str,
}

impl Part<'_> {
    /// Checks the bytes that a read of `range` has returned, and its error if it has failed.
    fn expect(self, range: Range<u64>, read: &[u8], error: Option<Error>, how: &str) {
        let Part { blob, outcome, what } = self;
        let all = &blob.data[range.start as usize..range.end as usize];
        let is_whole = all.len() == blob.data.len();
        let is_right = all.starts_with(read);
        assert!(is_right, "{how} {range:?}: {}: {what}", difference(read, all));
        match error {
            None => {
                assert_eq!(read.len(), all.len(), "{how} {range:?} has ended early: {what}");
                let must_fail = match outcome {
                    Outcome::Right | Outcome::RightOrCorrupt => false,
                    Outcome::WholeIsCorrupt => is_whole,
                    Outcome::Unreadable => true,
                };
                assert!(!must_fail, "{how} {range:?} has found no damage: {what}");
            }
            Some(error) => {
                expect_error(&error, outcome, &format!("{how} {range:?}: {what}"));
                let comes_late = is_whole && read.len() == all.len();
                assert!(!comes_late, "{how}: all bytes came before the error: {what}");
            }
        }
    }

    /// Reads a little after one jump, and up to the end after another.
    async fn jump(self, mut reader: BlobReader, first: u64, second: u64) {
        let Part { blob, what, .. } = self;
        let size = blob.data.len() as u64;
        for (start, end) in [(first, size.min(first + AFTER_A_JUMP)), (second, size)] {
            let step = format!("seek to {start}");
            let seek = reader.seek(std::io::SeekFrom::Start(start)).named(step.clone()).await;
            seek.unwrap_or_else(|error| panic!("{step}: {error}: {what}"));
            let mut read = Vec::new();
            let mut rest = (&mut reader).take(end - start);
            let result = rest.read_to_end(&mut read).named("read after a seek").await;
            let error = result.err().map(|error| own(error, what));
            let has_failed = error.is_some();
            self.expect(start..end, &read, error, "a read after a seek");
            if has_failed {
                return;
            }
        }
    }
}

/// The error of a service in an error of a reader.
fn own(error: std::io::Error, what: &str) -> Error {
    error.downcast::<Error>().unwrap_or_else(|error| panic!("{error}: {what}"))
}

/// The bytes of a range up to its end or its error.
async fn collect(reader: &BlobReader, range: Range<u64>) -> (Vec<u8>, Option<Error>) {
    let mut pieces = reader.read_range(range.clone());
    let mut read = Vec::new();
    while let Some(piece) = pieces.next().named(format!("read_range {range:?}")).await {
        match piece {
            Ok(piece) => read.extend_from_slice(&piece),
            Err(error) => return (read, Some(error)),
        }
    }
    (read, None)
}

/// Ranges at and across the edges of groups and chunks, within them, and of any size; none is the
/// whole blob, unless that is small.
fn some_ranges(blob: &Original, random: &mut Numbers) -> Vec<Range<u64>> {
    let size = blob.data.len() as u64;
    let groups = (0..size).step_by(GROUP_SIZE as usize);
    let edges = groups.clone().chain(blob.index.pieces(0..size).map(|piece| piece.start));
    let mut ranges: Vec<Range<u64>> = edges.map(|edge| edge.saturating_sub(1)..edge + 1).collect();
    for start in groups {
        ranges.extend([start..start + GROUP_SIZE, start + 1000..start + 200_000]);
    }
    ranges.extend([0..size - 1, 1..size, size / 3..size / 2, size - 1..size]);
    for _ in 0..6 {
        let (one, other) = (random.below(size), random.below(size));
        ranges.push(one.min(other)..one.max(other));
    }
    let clipped = ranges.into_iter().map(|range| range.start.min(size)..range.end.min(size));
    clipped.filter(|range| !range.is_empty()).collect()
}
