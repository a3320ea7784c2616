//! The promises of a backend that claims verified ranges: whatever chunks an index lists, no read
//! returns a byte that is not the blob's.
//!
//! Every chunk that a poisoned index lists is stored and has the bytes of its digest, so the
//! verification of chunks finds nothing. Only group hashes prove that a chunk is at its place. A
//! read of the whole blob must fail, which also finds a hook that replaces nothing; a read of less
//! may be right, because its groups may be.

use std::sync::Arc;

use bytes::Bytes;
use castore_core::groups::{ChainingValue, GROUP_SIZE, GroupHashes};
use castore_core::{BlobIndex, BlobService, ChunkMeta};

use self::reads::{Outcome, Readers, expect};
use super::put;
use crate::ReplaceIndex;
use crate::data::random;
use crate::steps::Step;

mod reads;

/// The size of most blobs here: seven groups, of which the last one is short.
const SIZE: usize = 1_700_003;

/// The size of a group in bytes.
const GROUP: usize = GROUP_SIZE as usize;

/// A blob as it was before any damage.
struct Original {
    data: Bytes,
    index: BlobIndex,
    groups: GroupHashes,
}

impl Original {
    async fn store(service: &dyn BlobService, data: Bytes) -> Original {
        let digest = put(service, &data).await;
        let index = service.chunks(&digest).must("chunks").await.expect("the blob is absent");
        let groups = GroupHashes::of(&data);
        Original { data, index, groups }
    }

    fn chunks(&self) -> Vec<ChunkMeta> {
        self.index.iter().collect()
    }

    /// An index of this blob that lists `chunks`, with the group hashes of this blob.
    fn listing(&self, chunks: impl IntoIterator<Item = ChunkMeta>) -> BlobIndex {
        let index = BlobIndex::new(self.index.digest(), chunks).expect("an index of these chunks");
        index.with_groups(self.groups.clone()).expect("the chunks have the size of the blob")
    }

    /// Replaces the index by one that lists `chunks`, and leaves the group hashes as they are.
    async fn list(&self, harness: &dyn ReplaceIndex, chunks: &[ChunkMeta]) {
        let index = self.listing(chunks.iter().copied());
        self.replace(harness, &index, self.groups.values()).await;
    }

    async fn replace(
        &self,
        harness: &dyn ReplaceIndex,
        index: &BlobIndex,
        groups: &[ChainingValue],
    ) {
        harness.replace_index(index, groups).named("replace_index").await;
    }
}

/// Poisons the index with `chunks`, and checks all reads of the blob with a service that remembers
/// nothing.
async fn check(harness: &dyn ReplaceIndex, blob: &Original, chunks: &[ChunkMeta], what: &str) {
    blob.list(harness, chunks).await;
    expect(&harness.open().await, blob, Outcome::WholeIsCorrupt, what).await;
}

/// The first two entries that `is_wanted`, and that are different chunks.
fn pair(
    chunks: &[ChunkMeta],
    is_wanted: impl Fn(&ChunkMeta, &ChunkMeta) -> bool,
) -> Option<(usize, usize)> {
    let pairs = (0..chunks.len()).flat_map(|one| (0..one).map(move |other| (other, one)));
    pairs.into_iter().find(|(one, other)| {
        let (one, other) = (&chunks[*one], &chunks[*other]);
        one.digest != other.digest && is_wanted(one, other)
    })
}

/// The bytes of `data`, with another bit at `place`.
fn flipped(data: &[u8], place: usize) -> Bytes {
    let mut data = data.to_vec();
    data[place] ^= 1;
    data.into()
}

/// A byte in the first quarter of a chunk: content-defined chunking looks for the end of a chunk
/// behind it, so a change there moves no cut.
fn early_byte(range: &std::ops::Range<u64>) -> usize {
    (range.start + (range.end - range.start) / 4) as usize
}

/// The chunks of `parts`, each stored as a blob of its own.
async fn parts(service: &dyn BlobService, parts: &[Bytes]) -> Vec<Vec<ChunkMeta>> {
    let mut chunks = Vec::new();
    for part in parts {
        chunks.push(Original::store(service, part.clone()).await.chunks());
    }
    chunks
}

/// At least two chunks with the bytes of `blob`: those of its halves if the service does not cut
/// it. A blob of one chunk has no other index, because the chunk has the blob's digest.
async fn several(service: &dyn BlobService, blob: &Original) -> Vec<ChunkMeta> {
    match blob.index.len() {
        0 | 1 => {
            let middle = blob.data.len() / 2;
            let halves = [blob.data.slice(..middle), blob.data.slice(middle..)];
            parts(service, &halves).await.concat()
        }
        _ => blob.chunks(),
    }
}

/// All reads of undamaged blobs are right, also those of ranges that were read before.
pub async fn undamaged_ranges(harness: Arc<dyn ReplaceIndex>) {
    let writer = harness.open().await;
    for size in [1, 1000, GROUP - 1, GROUP, GROUP + 1, 2 * GROUP, SIZE] {
        let data = random(&format!("undamaged {size}"), size);
        let blob = Original::store(&writer, data).await;
        let service = harness.open().await;
        for time in ["first", "second"] {
            let what = format!("the {time} reads of a blob of {size} bytes");
            expect(&service, &blob, Outcome::Right, &what).await;
        }
    }
}

/// Two entries of different sizes trade places, so that all bytes from the first to the last of
/// them move.
pub async fn swapped_entries_of_different_sizes(harness: Arc<dyn ReplaceIndex>) {
    let service = harness.open().await;
    let blob = Original::store(&service, random("swapped", SIZE)).await;
    let mut chunks = blob.chunks();
    if let Some((one, other)) = pair(&chunks, |one, other| one.size != other.size) {
        chunks.swap(one, other);
        check(&*harness, &blob, &chunks, "entries of different sizes were swapped").await;
    }
}

/// Two entries of the same size trade places, so that no other byte moves.
pub async fn swapped_entries_of_equal_size(harness: Arc<dyn ReplaceIndex>) {
    let service = harness.open().await;
    let source = Original::store(&service, random("equal sizes", SIZE)).await;
    let first = source.index.chunk_range(0).expect("the blob has a chunk");
    let (chunk, rest) = source.data.split_at(first.end as usize);
    // The first chunk comes twice, the second time with another start: the bytes that follow the
    // chunk in its blob, because content-defined chunking may look at these to end the chunk.
    let start = rest.len().min(chunk.len() / 4);
    let twin = [&rest[..start], &chunk[start..]].concat();
    let data = [chunk, &twin, rest].concat();
    let blob = Original::store(&service, data.into()).await;
    let mut chunks = blob.chunks();
    if let Some((one, other)) = pair(&chunks, |one, other| one.size == other.size) {
        chunks.swap(one, other);
        check(&*harness, &blob, &chunks, "entries of equal size were swapped").await;
    }
}

/// The list begins with its second entry, and ends with its first.
pub async fn shifted_entries(harness: Arc<dyn ReplaceIndex>) {
    let service = harness.open().await;
    let blob = Original::store(&service, random("shifted", SIZE)).await;
    let mut chunks = blob.chunks();
    if chunks.len() > 1 {
        chunks.rotate_left(1);
        check(&*harness, &blob, &chunks, "the first entry was moved to the end").await;
    }
}

/// The entries list the groups of the blob in another order: each group is one of the blob's, but
/// not at its place.
pub async fn swapped_groups(harness: Arc<dyn ReplaceIndex>) {
    let service = harness.open().await;
    let blob = Original::store(&service, random("swapped groups", 4 * GROUP)).await;
    let groups: Vec<Bytes> = (0..4).map(|n| blob.data.slice(n * GROUP..(n + 1) * GROUP)).collect();
    let groups = parts(&service, &groups).await;
    for order in [[1, 0, 2, 3], [0, 2, 1, 3], [2, 3, 0, 1], [0, 0, 1, 2]] {
        let chunks = order.map(|number: usize| &*groups[number]).concat();
        check(&*harness, &blob, &chunks, &format!("the groups are {order:?}")).await;
    }
}

/// The index lists all chunks of another blob, which is as large.
pub async fn entries_of_another_blob(harness: Arc<dyn ReplaceIndex>) {
    let service = harness.open().await;
    let blob = Original::store(&service, random("a blob", SIZE)).await;
    let other = Original::store(&service, random("another blob", SIZE)).await;
    let chunks = several(&service, &other).await;
    check(&*harness, &blob, &chunks, "all entries are those of another blob").await;
    expect(&harness.open().await, &other, Outcome::Right, "the other blob").await;
}

/// One entry is that of another blob, which differs in one bit: at the start, in the middle and at
/// the end of the blob.
pub async fn one_entry_of_another_blob(harness: Arc<dyn ReplaceIndex>) {
    let service = harness.open().await;
    let blob = Original::store(&service, random("one entry", SIZE)).await;
    for place in [0, SIZE / 2, SIZE - 1] {
        let chunk = blob.index.locate(place as u64).expect("the blob has this byte").chunk;
        let range = blob.index.chunk_range(chunk).expect("the blob has this chunk");
        let place = early_byte(&range);
        let other = Original::store(&service, flipped(&blob.data, place)).await;
        // A service that has moved a cut all the same lists several other chunks here.
        let what = format!("the entry with byte {place} is that of another blob");
        check(&*harness, &blob, &several(&service, &other).await, &what).await;
    }
}

/// A blob of at most one group has no list: its digest proves all of it, also if it has several
/// chunks.
pub async fn blobs_of_one_group(harness: Arc<dyn ReplaceIndex>) {
    let service = harness.open().await;
    for sizes in [[1000, 1000, 500], [100_000, 100_000, GROUP - 200_000]] {
        let pieces = sizes.iter().enumerate();
        let pieces: Vec<_> = pieces.map(|(n, size)| random(&format!("piece {n}"), *size)).collect();
        let blob = Original::store(&service, pieces.concat().into()).await;
        let pieces = parts(&service, &pieces).await;
        for order in [[1, 0, 2], [0, 2, 1], [0, 0, 2], [2, 1, 0]] {
            let chunks = order.map(|number: usize| &*pieces[number]).concat();
            let size = blob.data.len();
            let what = format!("the pieces of a blob of {size} bytes are {order:?}");
            check(&*harness, &blob, &chunks, &what).await;
        }
        let chunks = pieces.concat();
        blob.list(&*harness, &chunks).await;
        let what = "the blob is divided otherwise";
        expect(&harness.open().await, &blob, Outcome::Right, what).await;
    }
}

/// Stores each of the lists in turn, with the right chunks, and checks that no read succeeds.
async fn check_lists(
    harness: &dyn ReplaceIndex,
    name: &str,
    lists: impl Fn(&[ChainingValue]) -> Vec<(&'static str, Vec<ChainingValue>)>,
) {
    let blob = Original::store(&harness.open().await, random(name, SIZE)).await;
    let index = blob.listing(blob.chunks());
    for (what, list) in lists(blob.groups.values()) {
        blob.replace(harness, &index, &list).await;
        expect(&harness.open().await, &blob, Outcome::Unreadable, what).await;
    }
}

fn changed(
    values: &[ChainingValue],
    change: impl FnOnce(&mut Vec<ChainingValue>),
) -> Vec<ChainingValue> {
    let mut values = values.to_vec();
    change(&mut values);
    values
}

/// The list has a wrong value, or its values are in another order.
pub async fn lists_with_wrong_values(harness: Arc<dyn ReplaceIndex>) {
    check_lists(&*harness, "wrong values", |values| {
        let last = values.len() - 1;
        vec![
            ("a bit of the first value is flipped", changed(values, |list| list[0][0] ^= 1)),
            ("a bit of the last value is flipped", changed(values, |list| list[last][31] ^= 0x80)),
            ("two values are swapped", changed(values, |list| list.swap(1, 2))),
            ("one value comes twice", changed(values, |list| list[2] = list[1])),
        ]
    })
    .await;
}

/// The list is longer or shorter than that of a blob of this size.
pub async fn lists_of_wrong_length(harness: Arc<dyn ReplaceIndex>) {
    check_lists(&*harness, "wrong length", |values| {
        let last = values.len() - 1;
        vec![
            ("the last value is missing", changed(values, |list| list.truncate(last))),
            ("the first value is missing", values[1..].to_vec()),
            ("a value follows", changed(values, |list| list.push([7; 32]))),
            ("the last value comes again", changed(values, |list| list.push(list[last]))),
            ("the list is empty", Vec::new()),
        ]
    })
    .await;
}

/// Entries and list are those of another blob, and agree with each other: only the digest of the
/// blob tells that they are not the blob's.
pub async fn lists_of_another_blob(harness: Arc<dyn ReplaceIndex>) {
    let service = harness.open().await;
    let blob = Original::store(&service, random("a list", SIZE)).await;
    let other = Original::store(&service, random("another list", SIZE)).await;
    let what = "the list is that of another blob";
    blob.replace(&*harness, &blob.listing(blob.chunks()), other.groups.values()).await;
    expect(&harness.open().await, &blob, Outcome::Unreadable, what).await;
    let what = "the entries and the list are those of another blob";
    let chunks = several(&service, &other).await;
    blob.replace(&*harness, &blob.listing(chunks), other.groups.values()).await;
    expect(&harness.open().await, &blob, Outcome::Unreadable, what).await;
}

/// A service that has proven ranges, and remembers that, returns no byte of another index of the
/// same blob unproven.
pub async fn proven_ranges_prove_no_other_index(harness: Arc<dyn ReplaceIndex>) {
    let service = harness.open().await;
    let blob = Original::store(&service, random("proven", SIZE)).await;
    let other = Original::store(&service, random("not proven", SIZE)).await;
    let chunks = several(&service, &other).await;
    expect(&service, &blob, Outcome::Right, "before the index was replaced").await;
    blob.list(&*harness, &chunks).await;
    let what = "the index was replaced after all ranges were proven";
    expect(&service, &blob, Outcome::RightOrCorrupt, what).await;
    expect(&harness.open().await, &blob, Outcome::WholeIsCorrupt, what).await;
}

/// Readers that were opened before the index was replaced, and have read or not, return no byte of
/// the new index unproven.
pub async fn readers_opened_before(harness: Arc<dyn ReplaceIndex>) {
    let service = harness.open().await;
    let blob = Original::store(&service, random("opened before", SIZE)).await;
    let other = Original::store(&service, random("stored before", SIZE)).await;
    let chunks = several(&service, &other).await;
    let service = harness.open().await;
    let unread = Readers::open(&service, &blob).must("open_read").await;
    let mut begun = Readers::open(&service, &blob).must("open_read").await;
    begun.begin(&blob).await;
    blob.list(&*harness, &chunks).await;
    let what = "the reader was opened before the index was replaced";
    unread.expect(&blob, Outcome::RightOrCorrupt, what).await;
    let what = "the read was begun before the index was replaced";
    begun.expect(&blob, Outcome::RightOrCorrupt, what).await;
}

/// After the true index is back, every read is right again.
pub async fn restored_indexes_leave_no_trace(harness: Arc<dyn ReplaceIndex>) {
    let service = harness.open().await;
    let blob = Original::store(&service, random("restored", SIZE)).await;
    let other = Original::store(&service, random("for a while", SIZE)).await;
    let what = "the index is for a while that of another blob";
    check(&*harness, &blob, &several(&service, &other).await, what).await;
    blob.list(&*harness, &blob.chunks()).await;
    expect(&harness.open().await, &blob, Outcome::Right, "the true index is back").await;
    expect(&harness.open().await, &other, Outcome::Right, "the other blob").await;
}
