//! A service that needs a second thread: it blocks the thread that asks it until a task has run.

use std::sync::{Arc, mpsc};
use std::time::Duration;

use async_trait::async_trait;
use castore_core::{
    BlobIndex, BlobReader, BlobService, BlobWriter, Digest, MemoryBlobService, Result,
};
use castore_testsuite::{CONTRACT, Runtime, TIME_LIMIT};

#[derive(Debug, Clone, Default)]
struct BlocksOnATask(MemoryBlobService);

#[async_trait]
impl BlobService for BlocksOnATask {
    async fn has(&self, digest: &Digest) -> Result<bool> {
        let (done, ended) = mpsc::channel();
        tokio::spawn(async move { done.send(()) });
        ended.recv().expect("the task ends");
        self.0.has(digest).await
    }

    async fn chunks(&self, digest: &Digest) -> Result<Option<BlobIndex>> {
        self.0.chunks(digest).await
    }

    async fn open_read(&self, digest: &Digest) -> Result<Option<BlobReader>> {
        self.0.open_read(digest).await
    }

    async fn open_write(&self) -> Result<BlobWriter> {
        self.0.open_write().await
    }
}

#[test]
fn a_service_that_needs_another_thread_fails_on_one() {
    let case = CONTRACT.iter().find(|case| case.name() == "reader::empty_blob_is_always_there");
    let case = case.expect("the suite has this case");
    let harness = || {
        let service = BlocksOnATask::default();
        Arc::new(move || service.clone())
    };
    assert_eq!(case.run_in(Runtime::MultiThread, harness(), TIME_LIMIT), Ok(()));
    let short = Duration::from_millis(300);
    let failure = case.run_in(Runtime::CurrentThread, harness(), short).unwrap_err().to_string();
    assert!(failure.starts_with("the case did not end within 300ms"), "{failure}");
    assert!(failure.contains("it waits for has ("), "{failure}");
}
