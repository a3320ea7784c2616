//! Services that are broken on purpose must fail in the cases that are meant for them.

use std::panic::{AssertUnwindSafe, catch_unwind};

use async_trait::async_trait;
use bytes::Bytes;
use castore_core::{
    BlobIndex, BlobReader, BlobService, BlobSink, BlobWriter, Digest, MemoryBlobService, Result,
};
use castore_testsuite::{Harness, cases, run};
use tokio::io::AsyncWriteExt;

fn fails(case: impl FnOnce()) -> bool {
    catch_unwind(AssertUnwindSafe(case)).is_err()
}

/// What is wrong with a service.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Fault {
    None,
    DropsTheLastByte,
    PublishesWhenDropped,
    ForgetsTheEmptyBlob,
}

#[derive(Debug, Clone)]
struct Broken {
    inner: MemoryBlobService,
    fault: Fault,
}

#[async_trait]
impl BlobService for Broken {
    async fn has(&self, digest: &Digest) -> Result<bool> {
        if self.fault == Fault::ForgetsTheEmptyBlob && *digest == Digest::EMPTY {
            return Ok(false);
        }
        self.inner.has(digest).await
    }

    async fn chunks(&self, digest: &Digest) -> Result<Option<BlobIndex>> {
        self.inner.chunks(digest).await
    }

    async fn open_read(&self, digest: &Digest) -> Result<Option<BlobReader>> {
        self.inner.open_read(digest).await
    }

    async fn open_write(&self) -> Result<BlobWriter> {
        let writer = self.inner.open_write().await?;
        Ok(BlobWriter::new(Sink { writer: Some(writer), fault: self.fault }))
    }
}

struct Sink {
    writer: Option<BlobWriter>,
    fault: Fault,
}

#[async_trait]
impl BlobSink for Sink {
    async fn write(&mut self, mut data: Bytes) -> Result<()> {
        if self.fault == Fault::DropsTheLastByte {
            data.truncate(data.len() - 1);
        }
        let writer = self.writer.as_mut().unwrap();
        writer.write_bytes(data).await
    }

    async fn close(&mut self) -> Result<Digest> {
        self.writer.as_mut().unwrap().close().await
    }
}

impl Drop for Sink {
    fn drop(&mut self) {
        if self.fault == Fault::PublishesWhenDropped
            && let Some(mut writer) = self.writer.take()
        {
            let close = std::thread::spawn(move || {
                let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
                runtime.block_on(async { writer.shutdown().await })
            });
            // Closing twice is fine, and so is closing what has failed.
            let _ = close.join().unwrap();
        }
    }
}

fn broken(fault: Fault) -> impl Harness {
    let service = Broken { inner: MemoryBlobService::new(), fault };
    move || service.clone()
}

#[test]
fn an_unbroken_service_passes() {
    run(broken(Fault::None), cases::writer::digest_is_blake3);
    run(broken(Fault::None), cases::writer::drop_publishes_nothing);
    run(broken(Fault::None), cases::reader::empty_blob_is_always_there);
}

#[test]
fn dropping_the_last_byte_is_caught() {
    let fault = Fault::DropsTheLastByte;
    assert!(fails(|| run(broken(fault), cases::writer::digest_is_blake3)));
    assert!(fails(|| run(broken(fault), cases::writer::sizes_and_splits_round_trip)));
    run(broken(fault), cases::reader::empty_blob_is_always_there);
}

#[test]
fn publishing_what_was_dropped_is_caught() {
    let fault = Fault::PublishesWhenDropped;
    assert!(fails(|| run(broken(fault), cases::writer::drop_publishes_nothing)));
    assert!(fails(|| run(broken(fault), cases::storage::unclosed_blobs_do_not_survive)));
    run(broken(fault), cases::writer::digest_is_blake3);
}

#[test]
fn forgetting_the_empty_blob_is_caught() {
    let fault = Fault::ForgetsTheEmptyBlob;
    assert!(fails(|| run(broken(fault), cases::reader::empty_blob_is_always_there)));
    assert!(fails(|| run(broken(fault), cases::writer::empty_blob)));
    run(broken(fault), cases::writer::digest_is_blake3);
}
