//! Indexes too large to be held in memory are read in pages, with the same results.

use bytes::Bytes;
use castore_core::groups::GroupHasher;
use castore_core::{BlobIndex, BlobService, ChunkMeta, Digest, Error, ErrorKind};
use castore_objstore::ObjectStoreBlobService;
use futures_util::future::join_all;
use tokio::io::{AsyncReadExt, AsyncSeekExt};

use crate::support::data::{KIB, MIB, random};
use crate::support::probe::{Kind, Part, Probe};
use crate::support::service::{
    assert_absent, builder, collect_until_error, index_key, put, read, service,
};

/// The number of entries from which on an index is read in pages.
const MANY: usize = 20_000;

/// A blob of `chunks` chunks, made of a few distinct ones of `size` bytes and more.
async fn blob(probe: &Probe, chunks: usize, size: usize) -> (Bytes, BlobIndex) {
    let service = service(probe);
    let mut some = Vec::new();
    for number in 0..7 {
        let chunk = random(&format!("chunk {number}"), size + number);
        let digest = put(&service, &chunk).await;
        some.push((chunk, digest));
    }
    // The order has no period, so that no page looks like another.
    let order: Vec<usize> =
        (0..chunks).map(|n| (n * n / 3 + n.count_ones() as usize) % 7).collect();
    let data: Vec<&[u8]> = order.iter().map(|number| &some[*number].0[..]).collect();
    let data = Bytes::from(data.concat());
    let listed = order.iter().map(|number| {
        let (chunk, digest) = &some[*number];
        ChunkMeta { digest: *digest, size: chunk.len() as u64 }
    });
    let index = BlobIndex::new(Digest::of(&data), listed).unwrap();
    probe.overwrite(&index_key(&index.digest()), castore_proto::encode(&index)).await;
    (data, index)
}

async fn error_of_range(
    service: &ObjectStoreBlobService,
    digest: &Digest,
    between: impl AsyncFnOnce(),
) -> (Vec<u8>, Option<Error>) {
    let reader = service.open_read(digest).await.unwrap().unwrap();
    between().await;
    let size = reader.size();
    collect_until_error(reader.read_range(size - 10..size)).await
}

#[tokio::test]
async fn a_blob_with_a_large_index_is_read_as_any_other() {
    let probe = Probe::new();
    let (data, index) = blob(&probe, MANY, 50).await;
    let service = service(&probe);
    assert_eq!(read(&service, &index.digest()).await, data);
    assert_eq!(service.chunks(&index.digest()).await.unwrap(), Some(index.clone()));

    let mut reader = service.open_read(&index.digest()).await.unwrap().unwrap();
    let size = reader.size();
    assert_eq!(size, data.len() as u64);
    let edges = [1023, 1024, 1025, 2048, MANY - 1].map(|number| index.chunk_range(number).unwrap());
    for edge in edges {
        for range in [edge.clone(), edge.start - 1..edge.end, edge.start..(edge.end + 1).min(size)]
        {
            let (read, error) = collect_until_error(reader.read_range(range.clone())).await;
            assert!(error.is_none(), "{range:?}: {error:?}");
            assert_eq!(read, data[range.start as usize..range.end as usize], "{range:?}");
            let mut read = vec![0; (range.end - range.start) as usize];
            reader.seek(std::io::SeekFrom::Start(range.start)).await.unwrap();
            reader.read_exact(&mut read).await.unwrap();
            assert_eq!(read, data[range.start as usize..range.end as usize], "{range:?}");
        }
    }
    let (read, error) = collect_until_error(reader.read_range(size..size)).await;
    assert!(read.is_empty() && error.is_none());
}

#[tokio::test]
async fn each_page_of_an_index_is_one_request() {
    let probe = Probe::new();
    let (data, index) = blob(&probe, MANY, 50).await;
    probe.forget();
    let service = service(&probe);
    let mut reader = service.open_read(&index.digest()).await.unwrap().unwrap();
    let mut all = Vec::new();
    reader.read_to_end(&mut all).await.unwrap();
    assert_eq!(all, data);
    // The first page comes with the index.
    assert_eq!(probe.count(Kind::Get, Part::Blobs), MANY.div_ceil(1024));

    probe.forget();
    reader.seek(std::io::SeekFrom::Start(data.len() as u64 / 2)).await.unwrap();
    reader.read_u8().await.unwrap();
    assert_eq!(probe.count(Kind::Get, Part::Blobs), 0, "the pages are remembered");
}

#[tokio::test]
async fn an_index_that_is_replaced_or_removed_ends_a_read_as_unavailable() {
    let probe = Probe::new();
    let (_, index) = blob(&probe, MANY, 50).await;
    let key = index_key(&index.digest());
    let object = probe.object(&key).await;
    let swapped = index.iter().collect::<Vec<_>>();
    let swapped = swapped[1..].iter().chain(&swapped[..1]).copied();
    let other = castore_proto::encode(&BlobIndex::new(index.digest(), swapped).unwrap());
    for new in [other, Bytes::new(), Bytes::from(vec![7; 2 * MIB])] {
        let (bytes, error) = error_of_range(&service(&probe), &index.digest(), async || {
            probe.overwrite(&key, new).await;
        })
        .await;
        assert_eq!((bytes.len(), error.unwrap().kind()), (0, ErrorKind::Unavailable));
        probe.overwrite(&key, object.clone()).await;
    }
    let (bytes, error) = error_of_range(&service(&probe), &index.digest(), async || {
        probe.overwrite(&key, object.clone()).await;
    })
    .await;
    assert_eq!((bytes.len(), error.map(|error| error.kind())), (10, None), "it is the same index");
    let (bytes, error) =
        error_of_range(&service(&probe), &index.digest(), async || probe.remove(&key).await).await;
    assert_eq!((bytes.len(), error.unwrap().kind()), (0, ErrorKind::Unavailable));
    assert_absent(&service(&probe), &index.digest()).await;
}

#[tokio::test]
async fn a_large_index_that_is_malformed_is_corrupt() {
    let probe = Probe::new();
    let (_, index) = blob(&probe, MANY, 50).await;
    let key = index_key(&index.digest());
    let object = probe.object(&key).await;
    let empty_chunk = [&b"\x12\x24\x0a\x20"[..], &[1; 32], b"\x10\x00"].concat();
    let itself = [&b"\x12\x24\x0a\x20"[..], index.digest().as_bytes(), b"\x10\x01"].concat();
    for (what, bad) in [
        ("cut short", object.slice(..object.len() - 1)),
        ("an empty chunk", [&object[..], &empty_chunk].concat().into()),
        ("the blob itself", [&object[..], &itself].concat().into()),
        ("a wrong wire type", [&object[..], b"\x10\x00"].concat().into()),
        ("garbage", random("garbage", MIB)),
    ] {
        probe.overwrite(&key, bad).await;
        let service = service(&probe);
        let chunks = service.chunks(&index.digest()).await.unwrap_err();
        let open = service.open_read(&index.digest()).await.unwrap_err();
        assert_eq!(
            (chunks.kind(), open.kind()),
            (ErrorKind::Corrupt, ErrorKind::Corrupt),
            "{what}"
        );
        let source = |error: &Error| std::error::Error::source(error).unwrap().to_string();
        assert_eq!(source(&chunks), source(&open), "{what}");
    }
}

/// An unknown field, which readers skip, makes any index large.
#[tokio::test]
async fn an_index_of_few_entries_may_be_large() {
    let probe = Probe::new();
    let unknown = [&[0x1a, 0x80, 0x80, 0x40][..], &vec![0; MIB]].concat();
    for chunks in [1, 2, 3] {
        let (data, index) = match chunks {
            1 => {
                let data = random("one chunk", 1000);
                let digest = put(&service(&probe), &data).await;
                (data, service(&probe).chunks(&digest).await.unwrap().unwrap())
            }
            _ => blob(&probe, chunks, 50).await,
        };
        let key = index_key(&index.digest());
        let entries = probe.object(&key).await;
        let entry = entries.len() / chunks;
        let after_first = [&entries[..entry], &unknown, &entries[entry..]].concat();
        let before = [&unknown[..], &entries].concat();
        let both = [&before[..], &unknown].concat();
        for object in [after_first, before, both] {
            probe.overwrite(&key, object).await;
            assert_eq!(read(&service(&probe), &index.digest()).await, data, "{chunks} chunks");
        }
        if chunks == 1 {
            probe.overwrite(&key, unknown.clone()).await;
            assert_eq!(read(&service(&probe), &index.digest()).await, data, "no entries");
        }
    }
}

#[tokio::test]
async fn many_readers_of_a_large_index_read_it_at_once() {
    let probe = Probe::new();
    let (data, index) = blob(&probe, MANY, 50).await;
    let service = service(&probe);
    let digest = index.digest();
    let reads = (0..16).map(|_| read(&service, &digest));
    for all in join_all(reads).await {
        assert_eq!(all, data);
    }
}

/// A reader fetches no more chunks at once than there may be requests, however small the chunks
/// are.
#[tokio::test]
async fn a_reader_of_tiny_chunks_has_few_of_them_on_their_way() {
    let probe = Probe::new();
    let (_, index) = blob(&probe, MANY, 1).await;
    let requests = 32;
    let service = builder(&probe).requests(requests).build().unwrap();
    let metrics = tokio::runtime::Handle::current().metrics();
    let mut reader = service.open_read(&index.digest()).await.unwrap().unwrap();
    for _ in 0..500 {
        reader.read_u8().await.unwrap();
        let tasks = metrics.num_alive_tasks();
        assert!(tasks <= requests + 8, "{tasks} tasks");
    }
}

/// A blob of 266 MiB, whose list of group hashes has two pages, in chunks of 16 KiB.
async fn long_blob(probe: &Probe) -> (Vec<Bytes>, BlobIndex) {
    let service = service(probe);
    let some: Vec<Bytes> =
        (0..7).map(|number| random(&format!("long {number}"), 16 * KIB)).collect();
    let mut listed = Vec::new();
    for chunk in &some {
        listed.push(ChunkMeta { digest: put(&service, chunk).await, size: chunk.len() as u64 });
    }
    let order: Vec<usize> =
        (0..17_000_usize).map(|n| (n * n / 3 + n.count_ones() as usize) % 7).collect();
    let mut hasher = GroupHasher::new();
    order.iter().for_each(|number| hasher.update(&some[*number]));
    let groups = hasher.finish().groups.unwrap();
    assert_eq!(groups.groups(), 1063);
    let index = BlobIndex::new(groups.digest(), order.iter().map(|number| listed[*number]));
    let chunks = order.iter().map(|number| some[*number].clone()).collect();
    (chunks, index.unwrap().with_groups(groups).unwrap())
}

/// The bytes of `range`, which must be whole chunks.
async fn chunks_of(
    service: &ObjectStoreBlobService,
    digest: &Digest,
    range: std::ops::Range<usize>,
) -> (Vec<u8>, Option<Error>) {
    let reader = service.open_read(digest).await.unwrap().unwrap();
    let bytes = |number: usize| (number * 16 * KIB) as u64;
    collect_until_error(reader.read_range(bytes(range.start)..bytes(range.end))).await
}

#[tokio::test]
async fn group_hashes_of_a_large_index_are_read_in_pages() {
    let probe = Probe::new();
    let (chunks, index) = long_blob(&probe).await;
    let digest = index.digest();
    let key = index_key(&digest);
    // Around the limit of the two pages: each group has 16 chunks.
    let limit = 1024 * 16;
    let ranges = [0..1, limit - 1..limit, limit..limit + 1, limit - 20..limit + 20, 16_999..17_000];

    let object = castore_proto::encode(&index);
    let entries = castore_proto::encode(&index.clone().without_groups()).len();
    // The list of group hashes may also come first.
    let first = [&object[entries..], &object[..entries]].concat();
    for object in [object, first.into()] {
        probe.overwrite(&key, object).await;
        let service = service(&probe);
        for range in ranges.clone() {
            let (read, error) = chunks_of(&service, &digest, range.clone()).await;
            assert!(error.is_none(), "{range:?}: {error:?}");
            assert_eq!(read, chunks[range.clone()].concat(), "{range:?}");
        }
        let reader = service.open_read(&digest).await.unwrap().unwrap();
        probe.forget();
        let (read, error) = chunks_of(&service, &digest, 0..17_000).await;
        assert!(error.is_none(), "{error:?}");
        assert!(read == chunks.concat());
        // The index is opened again. Its pages are the same, and some of them are remembered.
        let requests = probe.count(Kind::Get, Part::Blobs);
        assert!(requests <= 1 + 17 + 2, "{requests} requests");
        drop(reader);
    }

    // Two chunks of the second page have changed places.
    let mut swapped: Vec<ChunkMeta> = index.iter().collect();
    let other = (limit + 40..).find(|number| swapped[*number] != swapped[limit + 16]).unwrap();
    swapped.swap(limit + 16, other);
    let swapped = BlobIndex::new(digest, swapped).unwrap();
    let swapped = swapped.with_groups(index.groups().unwrap().clone()).unwrap();
    probe.overwrite(&key, castore_proto::encode(&swapped)).await;
    let service = service(&probe);
    for range in ranges {
        let (read, error) = chunks_of(&service, &digest, range.clone()).await;
        let touches = range.end > limit + 16 && range.start < limit + 48;
        assert_eq!(error.map(|error| error.kind()), touches.then_some(ErrorKind::Corrupt));
        let wanted = chunks[range.clone()].concat();
        assert!(wanted.starts_with(&read), "{range:?}");
    }

    // Without the service's memory of the pages, an index that is written again is another one.
    probe.overwrite(&key, castore_proto::encode(&index)).await;
    let new = builder(&probe).build().unwrap();
    let reader = new.open_read(&digest).await.unwrap().unwrap();
    let mut list = castore_proto::encode(&index).to_vec();
    let last = list.len() - 1;
    list[last] ^= 1;
    probe.overwrite(&key, list).await;
    let size = reader.size();
    let (read, error) = collect_until_error(reader.read_range(size - 10..size)).await;
    assert_eq!((read.len(), error.unwrap().kind()), (0, ErrorKind::Unavailable));
}
