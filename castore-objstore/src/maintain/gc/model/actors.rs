//! The actors that work on the store, and the blobs they work on.

use std::num::NonZeroUsize;
use std::sync::OnceLock;

use bytes::Bytes;
use castore_chunker::ChunkParams;
use castore_core::{BlobIndex, BlobService, ChunkMeta, Digest, ErrorKind};
use object_store::ObjectStoreExt;
use object_store::path::Path;
use tokio::io::AsyncReadExt;

use super::store::{GRACE, IN_FLIGHT, World};
use crate::maintain::gc::{GcOptions, Roots};
use crate::service::ObjectStoreBlobService;
use crate::store::codec::Codec;
use crate::store::layout::{Kind, Layout};
use crate::store::safeguards::Safeguards;

/// A blob that actors store, with its objects.
#[derive(Debug)]
pub(super) struct Blob {
    pub(super) data: Bytes,
    pub(super) digest: Digest,
    pub(super) chunks: Vec<(Digest, Bytes)>,
    pub(super) index: Bytes,
}

impl Blob {
    fn of(parts: &[&[u8]]) -> Blob {
        let data: Bytes = parts.concat().into();
        let codec = Codec::new(LEVEL);
        let stored = |part: &&[u8]| (Digest::of(part), codec.compress(part).unwrap());
        let metas = parts
            .iter()
            .map(|part| ChunkMeta { digest: Digest::of(part), size: part.len() as u64 });
        let digest = Digest::of(&data);
        let index = castore_proto::encode(&BlobIndex::new(digest, metas).unwrap());
        Blob { data, digest, chunks: parts.iter().map(stored).collect(), index }
    }

    pub(super) fn chunk_digests(&self) -> Vec<Digest> {
        self.chunks.iter().map(|(digest, _)| *digest).collect()
    }
}

/// Three blobs: one has a single chunk; the others have two chunks each and share the first.
pub(super) fn blobs() -> &'static [Blob] {
    static BLOBS: OnceLock<Vec<Blob>> = OnceLock::new();
    BLOBS.get_or_init(|| {
        let mut noise = vec![0; 4096];
        blake3::Hasher::new().update(b"model").finalize_xof().fill(&mut noise);
        // The first chunk ends at the same place if the same byte follows it; a short rest is not
        // cut.
        let mut cutter = castore_chunker::Cutter::new(params());
        let mut first = None;
        cutter.push(noise.clone().into(), |chunk: Bytes| {
            first.get_or_insert(chunk);
        });
        let first = first.expect("so much has more than one chunk");
        let end =
            |from: usize| [&noise[first.len()..=first.len()], &noise[from..from + 39]].concat();
        let blobs = vec![
            Blob::of(&[&noise[3200..3240]]),
            Blob::of(&[&first, &end(3000)]),
            Blob::of(&[&first, &end(3100)]),
        ];
        for blob in &blobs {
            let mut cutter = castore_chunker::Cutter::new(params());
            let mut cut = Vec::new();
            cutter.push(blob.data.clone(), |chunk| cut.push(Digest::of(&chunk)));
            cut.extend(cutter.finish().map(|chunk| Digest::of(&chunk)));
            assert_eq!(cut, blob.chunk_digests(), "a writer of ours cuts them alike");
        }
        blobs
    })
}

/// The fastest level: the tests make thousands of services.
const LEVEL: i32 = -7;

fn params() -> ChunkParams {
    ChunkParams::new(64, 256, 1024).expect("these are the limits")
}

pub(super) fn service(
    world: &World,
    actor: &'static str,
    rules: Safeguards,
) -> ObjectStoreBlobService {
    ObjectStoreBlobService::builder(world.store(actor))
        .chunk_params(params())
        .zstd_level(LEVEL)
        .cutting_threads(NonZeroUsize::MIN)
        .grace(GRACE)
        .safeguards(rules)
        .build()
        .unwrap()
}

/// Stores this blob with a writer of this crate, at once.
pub(super) async fn writer_of(world: World, name: &'static str, rules: Safeguards, blob: usize) {
    let service = service(&world, name, rules);
    put(&world, &service, &blobs()[blob]).await;
}

async fn put(world: &World, service: &ObjectStoreBlobService, blob: &Blob) {
    let before = world.storing(blob.digest);
    let mut writer = service.open_write().await.unwrap();
    let written = writer.write_bytes(blob.data.clone()).await;
    if written.is_ok() && writer.close().await.is_ok() {
        world.stored(blob.digest, before);
    }
}

/// Stores blobs with a writer of this crate.
pub(super) async fn writer(world: World, name: &'static str, rules: Safeguards, times: usize) {
    let service = service(&world, name, rules);
    for _ in 0..times {
        world.turn(name).await;
        let blob = &blobs()[world.choose(blobs().len())];
        put(&world, &service, blob).await;
    }
}

/// Stores a blob as a foreign writer may that knows nothing of collectors: without a second look at
/// the chunks, but in time.
pub(super) async fn foreign_writer(world: World, name: &'static str) {
    world.turn(name).await;
    let blob = world.choose(blobs().len());
    foreign_writer_of(world, name, blob).await;
}

/// Like [`foreign_writer`], but stores this blob.
pub(super) async fn foreign_writer_later(world: World, name: &'static str, blob: usize) {
    world.turn(name).await;
    foreign_writer_of(world, name, blob).await;
}

/// Like [`foreign_writer_later`], but at once.
pub(super) async fn foreign_writer_of(world: World, name: &'static str, blob: usize) {
    let blob = &blobs()[blob];
    let before = world.storing(blob.digest);
    let in_time = world.within(GRACE / 2 + IN_FLIGHT);
    if foreign_put(&world, name, blob).await.is_ok() {
        world.stored(blob.digest, before);
    }
    drop(in_time);
}

async fn foreign_put(world: &World, name: &'static str, blob: &Blob) -> object_store::Result<()> {
    let store = world.store(name);
    let layout = Layout::new(&Path::default());
    let there = async |path: &Path| match store.head(path).await {
        Ok(_) => Ok(true),
        Err(object_store::Error::NotFound { .. }) => Ok(false),
        Err(error) => Err(error),
    };
    for (digest, stored) in &blob.chunks {
        let path = layout.chunk(digest);
        if !there(&path).await? {
            store.put(&path, stored.clone().into()).await?;
        }
    }
    // The foreign writer may do other work before it writes the index.
    world.turn(name).await;
    store.put(&layout.blob(&blob.digest), blob.index.clone().into()).await?;
    Ok(())
}

/// Reads a stored blob, in a bounded time.
pub(super) async fn reader(world: World, name: &'static str, rules: Safeguards) {
    world.turn(name).await;
    let blob = world.choose(blobs().len());
    reader_of(world, name, rules, blob).await;
}

/// Like [`reader`], but reads this blob, at once.
pub(super) async fn reader_of(world: World, name: &'static str, rules: Safeguards, blob: usize) {
    let service = service(&world, name, rules);
    let blob = &blobs()[blob];
    if !world.is_guaranteed(blob.digest) {
        return;
    }
    let before = world.storing(blob.digest);
    let in_time = world.within(GRACE / 2);
    let read = async {
        let reader = service.open_read(&blob.digest).await?;
        let Some(mut reader) = reader else { return Ok(None) };
        let mut bytes = Vec::new();
        reader.read_to_end(&mut bytes).await?;
        Ok::<_, std::io::Error>(Some(bytes))
    };
    let read = read.await;
    drop(in_time);
    if world.storing(blob.digest) != before {
        return;
    }
    match read {
        Ok(Some(bytes)) if bytes == blob.data => {}
        Ok(None) => world.wrong(format!("blob {:.6} is absent to a reader", blob.digest)),
        Ok(Some(_)) => world.wrong("a reader got other bytes"),
        Err(error) => {
            // Requests may fail.
            let error: castore_core::Error = error.downcast().unwrap();
            if error.kind() != ErrorKind::Unavailable {
                world.wrong(format!("blob {:.6} cannot be read: {error}", blob.digest));
            }
        }
    }
}

pub(super) async fn remover(world: World, name: &'static str, rules: Safeguards) {
    let service = service(&world, name, rules);
    world.turn(name).await;
    let blob = &blobs()[world.choose(blobs().len())];
    world.removing(blob.digest);
    let _ = service.remove(&blob.digest).await;
    world.removed(blob.digest);
}

/// Collects garbage `runs` times. A run may be killed at any instant; the next one follows.
pub(super) async fn collector(world: World, name: &'static str, rules: Safeguards, runs: usize) {
    let service = service(&world, name, rules);
    for _ in 0..runs {
        world.turn(name).await;
        let options = GcOptions::default().max_fraction(1.0);
        let run = service.gc(Roots::Blobs, &options, &());
        if world.one_in(4) {
            tokio::select! {
                biased;
                _ = run => {}
                () = world.turn("kill") => {}
            }
        } else {
            // A failed request also ends a run.
            let _ = run.await;
        }
    }
}

/// Puts the chunks of a blob, and its index if `index` is set, into the store, as if written long
/// ago.
pub(super) fn preset(world: &World, blob: &Blob, index: bool) {
    let layout = Layout::new(&Path::default());
    for (digest, stored) in &blob.chunks {
        world.preset(layout.chunk(digest), stored.clone());
    }
    if index {
        world.preset(layout.blob(&blob.digest), blob.index.clone());
        world.stored(blob.digest, (0, 0));
    }
}

/// Puts a blob into the store whose chunks were set aside long ago, before the index was written.
pub(super) fn preset_aside(world: &World, blob: &Blob) {
    preset_copies(world, blob, "long-ago");
    world.preset(Layout::new(&Path::default()).blob(&blob.digest), blob.index.clone());
    world.stored(blob.digest, (0, 0));
}

/// Puts copies of a blob's chunks into the store, as if the batch `batch` had made them long ago.
pub(super) fn preset_copies(world: &World, blob: &Blob, batch: &str) {
    let layout = Layout::new(&Path::default());
    for record in ["begun", "done"] {
        world.preset(layout.batches().join(format!("{batch}.{record}").as_str()), Bytes::new());
    }
    for (digest, stored) in &blob.chunks {
        world.preset(layout.aside(Kind::Chunk, digest, batch), stored.clone());
    }
}
