//! A power cut loses nothing on a local disk: copies are flushed before their originals are
//! deleted.

use std::fs;
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use castore_core::BlobService;

use super::{GcOptions, Roots};
use crate::ObjectStoreBlobService;
use crate::objects::barrier::Barrier;

/// Counts the files below the directory.
fn files(directory: &Path) -> usize {
    let Ok(entries) = fs::read_dir(directory) else { return 0 };
    let count = |entry: fs::DirEntry| match entry.file_type().unwrap().is_dir() {
        true => files(&entry.path()),
        false => 1,
    };
    entries.map(|entry| count(entry.unwrap())).sum()
}

#[tokio::test]
async fn a_chunk_is_deleted_when_its_copy_was_flushed() {
    let directory = tempfile::tempdir().unwrap();
    let root = directory.path().to_owned();
    let mut service = ObjectStoreBlobService::local(&root).build().unwrap();
    // For each flush of the store: how many chunks are in their place, and how many aside.
    let flushes = Arc::new(Mutex::new(Vec::new()));
    let seen = Arc::clone(&flushes);
    let look = root.clone();
    let local = service.shared.requests.directory().unwrap().clone();
    let flush = move || {
        let found = (files(&look.join("chunks")), files(&look.join("gc/chunks")));
        seen.lock().unwrap().push(found);
        local.flush(true)
    };
    Arc::get_mut(&mut service.shared).unwrap().barrier = Some(Barrier::new(flush));
    let flushes = || std::mem::take(&mut *flushes.lock().unwrap());

    let mut writer = service.open_write().await.unwrap();
    writer.write_bytes("one chunk".into()).await.unwrap();
    let digest = writer.close().await.unwrap();
    let index = root.join("blobs/b3").join(format!("{digest:.4}")).join(digest.to_string());
    let listed = fs::read(&index).unwrap();
    assert!(service.remove(&digest).await.unwrap());
    flushes();

    let collect = async || {
        let options = GcOptions::default().grace(Duration::ZERO).max_fraction(1.0);
        service.gc(Roots::Blobs, &options, &()).await.unwrap()
    };
    assert_eq!(collect().await.set_aside.objects, 1);
    let seen = flushes();
    assert!(seen.contains(&(1, 1)), "it was deleted before its copy was flushed: {seen:?}");
    assert_eq!((files(&root.join("chunks")), files(&root.join("gc/chunks"))), (0, 1));

    fs::write(index, listed).unwrap();
    assert_eq!(collect().await.put_back.objects, 1);
    let seen = flushes();
    assert!(seen.contains(&(1, 1)), "the copy was deleted before the chunk was flushed: {seen:?}");
    assert_eq!((files(&root.join("chunks")), files(&root.join("gc/chunks"))), (1, 0));
}
