//! Large indexes, which are not held in memory as a whole: a reader keeps the positions of their
//! pages, and fetches the pages that it needs.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError, Weak};

use bytes::Bytes;
use castore_core::groups::{ChainingValue, GROUP_SIZE, GroupHashes, GroupPage, PAGE_GROUPS};
use castore_core::{BlobIndex, ChunkMeta, Digest, Error, ErrorKind, Result};
use castore_proto::{Decoded, Decoder, ListedChunk, ListedGroups};
use quick_cache::Weighter;
use quick_cache::sync::Cache;

use super::Store;
use super::index::READ_INDEX;
use super::proven::Proven;
use crate::error::corrupt;
use crate::exec::context::run_blocking;
use crate::objects::pieces::Take;

/// An index whose object is larger than this, in bytes, is read in pages. Such an index has at
/// least 9 thousand entries, for a blob of 2 GiB with chunks of usual size.
pub(crate) const MAX_WHOLE: u64 = 640 * 1024;

/// An index of at most this many bytes is decoded on the calling thread, even on an async one:
/// decoding takes tens of microseconds.
const DECODED_AT_ONCE: usize = 64 * 1024;

/// The largest number of chunks of a page: 256 MiB of a blob with chunks of usual size.
const PAGE_CHUNKS: usize = 1024;

/// The largest number of bytes of the index in a page, unless a single entry has more. A page of
/// usual entries has 40 KiB; unknown fields may lie between the entries.
const PAGE_BYTES: u64 = 128 * 1024;

/// The index of an open blob.
#[derive(Debug, Clone)]
pub(crate) enum Index {
    Whole(Arc<Open<Arc<BlobIndex>>>),
    Paged(Arc<Open<PagedIndex>>),
}

/// An index, and the groups of its blob that its readers have proven.
#[derive(Debug)]
pub(crate) struct Open<T> {
    pub(crate) listed: T,
    pub(crate) proven: Proven,
}

impl Index {
    /// An index that no other reader shares.
    pub(crate) fn of(index: Arc<BlobIndex>) -> Index {
        Index::Whole(Arc::new(Open::whole(index)))
    }

    pub(crate) fn digest(&self) -> Digest {
        match self {
            Index::Whole(index) => index.listed.digest(),
            Index::Paged(index) => index.listed.digest,
        }
    }

    /// The size of the blob in bytes.
    pub(crate) fn size(&self) -> u64 {
        match self {
            Index::Whole(index) => index.listed.size(),
            Index::Paged(index) => index.listed.size,
        }
    }

    /// The number of chunks.
    pub(crate) fn len(&self) -> usize {
        match self {
            Index::Whole(index) => index.listed.len(),
            Index::Paged(index) => index.listed.chunks,
        }
    }

    /// Whether the index has the group hashes of its blob.
    pub(crate) fn has_groups(&self) -> bool {
        match self {
            Index::Whole(index) => index.listed.groups().is_some(),
            Index::Paged(index) => index.listed.groups.is_some(),
        }
    }

    pub(crate) fn proven(&self) -> &Proven {
        match self {
            Index::Whole(index) => &index.proven,
            Index::Paged(index) => &index.proven,
        }
    }
}

impl Open<Arc<BlobIndex>> {
    fn whole(listed: Arc<BlobIndex>) -> Open<Arc<BlobIndex>> {
        let proven = Proven::new(listed.groups().map_or(0, GroupHashes::groups));
        Open { listed, proven }
    }
}

/// A checked index and the positions of its pages: 40 bytes for each thousand chunks, and 32 for
/// each thousand groups.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct PagedIndex {
    digest: Digest,
    size: u64,
    chunks: usize,
    pages: Vec<PageAt>,
    pub(crate) groups: Option<PagedGroups>,
}

/// The group hashes of a large index.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum PagedGroups {
    /// The list of a blob of one group, which has no values.
    Empty(GroupHashes),
    Listed(Arc<ListedGroups>),
}

/// The position of a page.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
struct PageAt {
    /// The position of the page's first chunk in the index, and of that chunk's first byte in the
    /// blob.
    first: u32,
    start: u64,
    /// The range of the index object that the page is decoded from.
    object: u64,
    length: u32,
    /// A hash of the page's chunks: an index that was replaced has other pages.
    hash: [u8; 16],
}

/// Consecutive chunks of an index.
#[derive(Debug)]
pub(crate) struct Page {
    first: usize,
    start: u64,
    digests: Vec<Digest>,
    /// The end of each chunk, in bytes from the start of the blob.
    ends: Vec<u64>,
}

/// A chunk, and its position in its blob.
#[derive(Debug, Clone, Copy)]
pub(crate) struct PlacedChunk {
    pub(crate) meta: ChunkMeta,
    /// The position of its first byte.
    pub(crate) start: u64,
}

impl PagedIndex {
    /// The page that has the chunk at position `number`.
    pub(crate) fn page_of(&self, number: usize) -> usize {
        self.pages.partition_point(|page| page.first as usize <= number).saturating_sub(1)
    }

    /// The page that has the byte at `offset` of the blob.
    pub(crate) fn page_at(&self, offset: u64) -> usize {
        self.pages.partition_point(|page| page.start <= offset).saturating_sub(1)
    }

    /// The number of pages.
    pub(crate) fn pages(&self) -> usize {
        self.pages.len()
    }

    pub(crate) fn digest(&self) -> Digest {
        self.digest
    }
}

impl PagedGroups {
    fn new(digest: Digest, size: u64, listed: Option<ListedGroups>) -> Option<PagedGroups> {
        match GroupHashes::new(digest, size, Vec::new()) {
            Ok(empty) => Some(PagedGroups::Empty(empty)),
            Err(_) => listed.map(|listed| PagedGroups::Listed(Arc::new(listed))),
        }
    }
}

impl Page {
    fn new(first: usize, start: u64, chunks: &[ChunkMeta]) -> Page {
        let mut end = start;
        let ends = chunks.iter().map(|chunk| {
            end += chunk.size;
            end
        });
        let ends = ends.collect();
        Page { first, start, digests: chunks.iter().map(|chunk| chunk.digest).collect(), ends }
    }

    /// The chunk at position `number` of the index.
    pub(crate) fn get(&self, number: usize) -> Option<PlacedChunk> {
        let place = number.checked_sub(self.first)?;
        let (digest, end) = (*self.digests.get(place)?, *self.ends.get(place)?);
        let start = if place == 0 { self.start } else { self.ends[place - 1] };
        Some(PlacedChunk { meta: ChunkMeta { digest, size: end - start }, start })
    }

    /// The position in the index of the chunk that holds the byte at `offset` of the blob.
    pub(crate) fn locate(&self, offset: u64) -> usize {
        self.first + self.ends.partition_point(|end| *end <= offset)
    }

    /// Whether the chunk at position `number` is in the second half of this page.
    pub(crate) fn is_late(&self, number: usize) -> bool {
        number >= self.first + self.digests.len() / 2
    }
}

fn hash_of(chunks: &[ChunkMeta]) -> [u8; 16] {
    let mut hasher = blake3::Hasher::new();
    for chunk in chunks {
        hasher.update(chunk.digest.as_bytes());
        hasher.update(&chunk.size.to_le_bytes());
    }
    let mut hash = [0; 16];
    hasher.finalize_xof().fill(&mut hash);
    hash
}

/// Receives the object of an index: keeps the bytes of a small one, and divides a large one into
/// pages.
pub(crate) struct IndexTaker {
    digest: Digest,
    /// The bytes of a small index.
    bytes: Vec<u8>,
    pager: Option<Pager>,
}

struct Pager {
    decoder: Decoder,
    pages: Pages,
}

#[derive(Default)]
struct Pages {
    done: Vec<PageAt>,
    /// The chunks of the page that is being built, and the range of the index that they are in.
    chunks: Vec<ChunkMeta>,
    object: std::ops::Range<u64>,
    /// How many chunks come before that page, and how many bytes of the blob.
    first: usize,
    start: u64,
    /// The first page, because a reader reads it first.
    first_page: Option<Page>,
}

/// The result of reading an index object.
pub(crate) enum Taken {
    /// An index without entries: the blob is one chunk, of unknown size.
    OneChunk,
    Whole(BlobIndex),
    /// The index, and its first page.
    Paged(PagedIndex, Page),
}

impl IndexTaker {
    pub(crate) fn new(digest: Digest) -> IndexTaker {
        IndexTaker { digest, bytes: Vec::new(), pager: None }
    }

    /// Ends the object.
    pub(crate) fn finish(self) -> Result<Taken> {
        let digest = self.digest;
        let Some(Pager { decoder, mut pages }) = self.pager else {
            let decoded = castore_proto::decode(&digest, &self.bytes);
            return match decoded.map_err(|error| malformed(digest, error))? {
                Some(index) => Ok(Taken::Whole(index)),
                None => Ok(Taken::OneChunk),
            };
        };
        let decoded = decoder.finish().map_err(|error| malformed(digest, error))?;
        let Some(Decoded { size, groups, .. }) = decoded else { return Ok(Taken::OneChunk) };
        if size == 0 {
            return Ok(Taken::Whole(BlobIndex::empty()));
        }
        pages.end_page();
        let Pages { done: pages, first: chunks, first_page, .. } = pages;
        let page = first_page.unwrap_or_else(|| Page::new(0, 0, &[]));
        let groups = PagedGroups::new(digest, size, groups);
        Ok(Taken::Paged(PagedIndex { digest, size, chunks, pages, groups }, page))
    }
}

impl Take for IndexTaker {
    fn begin(&mut self, size: u64) {
        self.bytes.clear();
        self.pager = None;
        if size <= MAX_WHOLE {
            self.bytes.reserve(size as usize);
        } else {
            let decoder = Decoder::new(self.digest);
            self.pager = Some(Pager { decoder, pages: Pages::default() });
        }
    }

    fn take(&mut self, piece: &[u8]) -> Result<()> {
        let Some(Pager { decoder, pages }) = &mut self.pager else {
            self.bytes.extend_from_slice(piece);
            return Ok(());
        };
        let taken = decoder.push(piece, |listed| pages.add(&listed));
        taken.map_err(|error| malformed(self.digest, error))
    }
}

impl Pages {
    fn add(&mut self, listed: &ListedChunk) {
        let is_full = self.chunks.len() == PAGE_CHUNKS;
        if !self.chunks.is_empty() && (is_full || listed.end - self.object.start > PAGE_BYTES) {
            self.end_page();
        }
        if self.chunks.is_empty() {
            self.object.start = listed.start;
        }
        self.object.end = listed.end;
        self.chunks.push(listed.chunk);
    }

    fn end_page(&mut self) {
        let page = PageAt {
            first: self.first as u32,
            start: self.start,
            object: self.object.start,
            // The whole object has less than 2^30 bytes.
            length: (self.object.end - self.object.start) as u32,
            hash: hash_of(&self.chunks),
        };
        if self.done.is_empty() {
            self.first_page = Some(Page::new(self.first, self.start, &self.chunks));
        }
        self.done.push(page);
        self.first += self.chunks.len();
        self.start += self.chunks.iter().map(|chunk| chunk.size).sum::<u64>();
        self.chunks.clear();
    }
}

fn malformed(digest: Digest, error: impl std::error::Error + Send + Sync + 'static) -> Error {
    corrupt(READ_INDEX, digest, "it is malformed").with_source(error)
}

/// The indexes of open blobs, which their readers share, and pages of them.
#[derive(Debug)]
pub(crate) struct Indexes {
    whole: Mutex<HashMap<Digest, Weak<Open<Arc<BlobIndex>>>>>,
    paged: Mutex<HashMap<Digest, Weak<Open<PagedIndex>>>>,
    pages: Cache<PageAt, Arc<Page>, PageWeight>,
    /// Pages of group hashes, by the value of their subtree, from which all of a page follows.
    group_pages: Cache<ChainingValue, Arc<GroupPage>>,
}

#[derive(Debug, Clone)]
struct PageWeight;

impl Weighter<PageAt, Arc<Page>> for PageWeight {
    fn weight(&self, _: &PageAt, page: &Arc<Page>) -> u64 {
        let chunk = size_of::<Digest>() + size_of::<u64>();
        (200 + page.digests.len() * chunk) as u64
    }
}

impl Indexes {
    /// Holds up to `bytes` of pages.
    pub(crate) fn new(bytes: u64) -> Indexes {
        let half = bytes / 2;
        let pages = (half / 40_000).max(4) as usize;
        let group_pages = (half / (PAGE_GROUPS as u64 * 32)).max(4) as usize;
        Indexes {
            whole: Mutex::default(),
            paged: Mutex::default(),
            pages: Cache::with_weighter(pages, half, PageWeight),
            group_pages: Cache::new(group_pages),
        }
    }

    /// A fetched index. If an open reader has an equal index, that one is returned.
    pub(crate) fn share(&self, taken: Taken) -> Option<Index> {
        match taken {
            Taken::OneChunk => None,
            Taken::Whole(index) => {
                let index = Open::whole(Arc::new(index));
                Some(Index::Whole(shared(&self.whole, index.listed.digest(), index)))
            }
            Taken::Paged(index, first) => {
                let groups = match &index.groups {
                    Some(_) => index.size.div_ceil(GROUP_SIZE) as usize,
                    None => 0,
                };
                let (digest, proven) = (index.digest, Proven::new(groups));
                let index = shared(&self.paged, digest, Open { listed: index, proven });
                if let Some(at) = index.listed.pages.first() {
                    self.pages.insert(*at, Arc::new(first));
                }
                Some(Index::Paged(index))
            }
        }
    }
}

/// The open index that is equal to `new`, or `new` itself.
fn shared<T: PartialEq>(
    open: &Mutex<HashMap<Digest, Weak<Open<T>>>>,
    digest: Digest,
    new: Open<T>,
) -> Arc<Open<T>> {
    let lock = || open.lock().unwrap_or_else(PoisonError::into_inner);
    let before = lock().get(&digest).and_then(Weak::upgrade);
    if let Some(before) = before.filter(|before| before.listed == new.listed) {
        return before;
    }
    let new = Arc::new(new);
    let mut open = lock();
    // Each time the map is full, the indexes that no reader has open are dropped.
    if open.len() == open.capacity() {
        open.retain(|_, index| index.strong_count() > 0);
    }
    open.insert(digest, Arc::downgrade(&new));
    new
}

impl Store {
    /// The index of a blob for a reader; `None` if there is none. A large index is checked once,
    /// and not held.
    pub(crate) async fn open_index(&self, digest: &Digest) -> Result<Option<Taken>> {
        let path = self.layout.blob(digest);
        let max_size = castore_proto::MAX_INDEX_SIZE;
        let taker = IndexTaker::new(*digest);
        let taken = self.requests.get_pieces(READ_INDEX, *digest, path, max_size, taker).await?;
        let Some(taken) = taken else { return Ok(None) };
        let is_short = taken.bytes.len() <= DECODED_AT_ONCE;
        let finish = move || taken.finish().map(Some);
        if is_short { finish() } else { run_blocking(READ_INDEX, finish).await? }
    }

    /// A page of an index.
    ///
    /// # Errors
    /// `Unavailable` if the index was replaced or removed since it was opened.
    pub(crate) async fn index_page(&self, index: &PagedIndex, number: usize) -> Result<Arc<Page>> {
        let digest = index.digest;
        let at = *index.pages.get(number).ok_or_else(|| replaced(digest))?;
        if let Some(page) = self.indexes.pages.get(&at) {
            return Ok(page);
        }
        let bytes = self.part_of_index(digest, at.object, u64::from(at.length)).await?;
        let mut chunks = Vec::with_capacity(PAGE_CHUNKS);
        // An index of many small entries is decoded in tens of microseconds.
        let decoded = Decoder::new(digest).push(&bytes, |listed| chunks.push(listed.chunk));
        if decoded.is_err() || hash_of(&chunks) != at.hash {
            return Err(replaced(digest));
        }
        let page = Arc::new(Page::new(at.first as usize, at.start, &chunks));
        self.indexes.pages.insert(at, Arc::clone(&page));
        Ok(page)
    }

    /// A page of the group hashes of the blob `digest`.
    ///
    /// # Errors
    /// Those of [`Self::index_page`].
    pub(crate) async fn group_page(
        &self,
        digest: Digest,
        ListedGroups { pages, start, .. }: &ListedGroups,
        number: usize,
    ) -> Result<Arc<GroupPage>> {
        let value = pages.value(number).ok_or_else(|| replaced(digest))?;
        if let Some(page) = self.indexes.group_pages.get(&value) {
            return Ok(page);
        }
        let size = size_of::<ChainingValue>() as u64;
        let groups = pages.groups(number);
        let start = start + groups.start as u64 * size;
        let bytes = self.part_of_index(digest, start, groups.len() as u64 * size).await?;
        let (values, rest) = bytes.as_chunks();
        let page = pages.page(number, values.to_vec()).filter(|_| rest.is_empty());
        let page = Arc::new(page.ok_or_else(|| replaced(digest))?);
        self.indexes.group_pages.insert(value, Arc::clone(&page));
        Ok(page)
    }

    async fn part_of_index(&self, digest: Digest, start: u64, length: u64) -> Result<Bytes> {
        let path = self.layout.blob(&digest);
        let part = start..start + length;
        let bytes = self.requests.get_range(READ_INDEX, digest, path, part).await?;
        bytes.ok_or_else(|| replaced(digest))
    }
}

fn replaced(digest: Digest) -> Error {
    let message = "it was replaced or removed while the blob was read; open the blob again";
    Error::new(ErrorKind::Unavailable, READ_INDEX, message).with_digest(digest)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn index(name: &str, chunks: usize) -> BlobIndex {
        let chunk = |number: usize| {
            let digest = Digest::of(format!("{name} {number}").as_bytes());
            ChunkMeta { digest, size: 1 + number as u64 % 1000 }
        };
        BlobIndex::new(Digest::of(b"blob"), (0..chunks).map(chunk)).unwrap()
    }

    fn taken(index: &BlobIndex, piece: usize) -> Taken {
        let object = castore_proto::encode(index);
        let mut taker = IndexTaker::new(index.digest());
        taker.begin(object.len() as u64);
        object.chunks(piece).for_each(|piece| taker.take(piece).unwrap());
        taker.finish().unwrap()
    }

    #[test]
    fn pages_have_all_chunks_of_an_index_in_order() {
        let index = index("a", 20_000);
        for piece in [1000, 100_000, usize::MAX] {
            let Taken::Paged(paged, first) = taken(&index, piece.min(1 << 30)) else { panic!() };
            assert_eq!((paged.size, paged.chunks), (index.size(), index.len()));
            assert_eq!(paged.pages(), index.len().div_ceil(PAGE_CHUNKS));
            let chunks: Vec<ChunkMeta> = index.iter().collect();
            for (number, chunk) in chunks.iter().enumerate() {
                let at = &paged.pages[paged.page_of(number)];
                let held = index.chunk_range(number).unwrap();
                assert_eq!(paged.page_at(held.start), paged.page_of(number));
                assert_eq!(paged.page_at(held.end - 1), paged.page_of(number));
                let page = &chunks[at.first as usize..]
                    [..PAGE_CHUNKS.min(chunks.len() - at.first as usize)];
                let page = Page::new(at.first as usize, at.start, page);
                let placed = page.get(number).unwrap();
                assert_eq!((placed.meta, placed.start), (*chunk, held.start));
                assert_eq!(page.locate(held.start), number);
                assert_eq!(page.locate(held.end - 1), number);
            }
            assert_eq!(first.get(0).map(|placed| placed.meta), index.get(0));
        }
    }

    #[test]
    fn open_readers_share_equal_indexes_and_no_others() {
        for chunks in [3, 20_000] {
            let indexes = Indexes::new(1 << 20);
            let open = |index: &BlobIndex| indexes.share(taken(index, 4096)).unwrap();
            let same = |a: &Index, b: &Index| match (a, b) {
                (Index::Whole(a), Index::Whole(b)) => Arc::ptr_eq(a, b),
                (Index::Paged(a), Index::Paged(b)) => Arc::ptr_eq(a, b),
                _ => panic!("{a:?} {b:?}"),
            };
            // Two indexes of one blob: the second replaces the first.
            let [before, after] = ["before", "after"].map(|name| index(name, chunks));
            let one = open(&before);
            assert!(same(&one, &open(&before)));
            let other = open(&after);
            assert!(!same(&one, &other));
            assert!(same(&other, &open(&after)));
        }
    }

    #[test]
    fn indexes_that_no_reader_has_are_forgotten() {
        let indexes = Indexes::new(1 << 20);
        for number in 0..10_000_u64 {
            let digest = Digest::of(&number.to_le_bytes());
            let index = BlobIndex::new(digest, [ChunkMeta { digest, size: 1 }]).unwrap();
            drop(indexes.share(Taken::Whole(index)));
        }
        let held = indexes.whole.lock().unwrap().len();
        assert!(held < 100, "{held} indexes");
    }

    #[test]
    fn a_page_has_up_to_128_kib_of_the_index() {
        let blob = Digest::of(b"blob");
        let entry = |name: &[u8]| {
            let chunk = ChunkMeta { digest: Digest::of(name), size: 100 };
            let other = ChunkMeta { digest: Digest::of(b"other"), size: 100 };
            let both = castore_proto::encode(&BlobIndex::new(blob, [chunk, other]).unwrap());
            both[..both.len() / 2].to_vec()
        };
        for (excess, pages) in [(0, 1), (1, 2)] {
            // Between two entries lies field 3, of which nothing is known.
            let [first, second] = [entry(b"a"), entry(b"b")];
            let unknown = 128 * 1024 - first.len() - second.len() - 4 + excess;
            let length = [0, 7, 14].map(|shift| (unknown >> shift) as u8 & 0x7f);
            let key = [0x1a, length[0] | 0x80, length[1] | 0x80, length[2]];
            let object = [&first[..], &key, &vec![0; unknown], &second].concat();
            let mut taker = IndexTaker::new(blob);
            taker.begin(MAX_WHOLE + 1);
            taker.take(&object).unwrap();
            let found = match taker.finish().unwrap() {
                Taken::Paged(paged, _) => paged.pages(),
                Taken::Whole(index) => 1 + index.len() - 2,
                Taken::OneChunk => 0,
            };
            assert_eq!(found, pages, "with {excess} bytes more");
        }
    }

    #[test]
    fn a_page_counts_with_its_chunks_and_is_late_from_its_middle_on() {
        let chunk = |number: u8| ChunkMeta { digest: Digest::of(&[number]), size: 1 };
        let chunks: Vec<ChunkMeta> = (0..10).map(chunk).collect();
        let page = Page::new(30, 0, &chunks);
        let late: Vec<bool> = (30..40).map(|number| page.is_late(number)).collect();
        assert_eq!(late, [[false; 5], [true; 5]].concat());
        let at = PageAt { first: 30, start: 0, object: 0, length: 0, hash: [0; 16] };
        assert_eq!(PageWeight.weight(&at, &Arc::new(page)), 200 + 10 * 40);
    }
}
