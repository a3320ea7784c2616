//! MinIO is killed in the middle of a put. The put finishes or fails clearly, and can be repeated.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use castore_core::{BlobService, Digest, Error, ErrorKind};
use castore_objstore::ObjectStoreBlobService;
use futures_util::StreamExt;
use libtest_mimic::{Completion, Trial};
use object_store::ObjectStore;
use object_store::path::Path;
use tokio::io::AsyncReadExt;

use crate::Make;
use crate::backend::Backend;
use crate::minio::Bucket;

/// The size of the blob in bytes: its put takes long enough to interrupt.
const SIZE: usize = 96 << 20;

pub(crate) fn trials(make: impl Make<Bucket>) -> Vec<Trial> {
    [false, true]
        .into_iter()
        .map(|stays_away| {
            let name = match stays_away {
                false => "minio::interrupted::killed_and_back_at_once",
                true => "minio::interrupted::killed_and_back_after_the_put_failed",
            };
            let make = make.clone();
            Trial::ignorable_test(name, move || match make() {
                Ok(bucket) => {
                    let runtime = tokio::runtime::Runtime::new()?;
                    runtime.block_on(killed_in_the_middle_of_a_put(&bucket, stays_away));
                    Ok(Completion::Completed)
                }
                Err(missing) => missing.outcome(),
            })
        })
        .collect()
}

async fn killed_in_the_middle_of_a_put(bucket: &Bucket, stays_away: bool) {
    // Few requests at once, so that the put takes its time. The service waits for a server that
    // stays away, but here only for seconds instead of the default minutes.
    let patience = Duration::from_secs(if stays_away { 5 } else { 300 });
    let builder = bucket.builder().requests(2).retry_timeout(patience);
    let service = builder.build().expect("a service");
    let service = Arc::new(service);
    let mut data = vec![0; SIZE];
    blake3::Hasher::new().update(b"interrupted").finalize_xof().fill(&mut data);
    let data = Bytes::from(data);
    let digest = Digest::of(&data);

    let put = {
        let (service, data) = (Arc::clone(&service), data.clone());
        tokio::spawn(async move { put(&service, data).await })
    };
    let base = Path::from(bucket.base_path());
    while bucket.store().list(Some(&base)).take(20).count().await < 20 {
        assert!(!put.is_finished(), "the put ended before it could be interrupted");
    }
    bucket.kill().await;
    let result = if stays_away {
        let result = put.await.expect("the put does not panic");
        assert!(result.is_err(), "it cannot finish without the server");
        bucket.start_again().await;
        result
    } else {
        bucket.start_again().await;
        put.await.expect("the put does not panic")
    };

    match result {
        Ok(stored) => assert_eq!(stored, digest),
        Err(error) => {
            assert_eq!(error.kind(), ErrorKind::Unavailable, "{error:?}");
            let fresh = bucket.builder().build().expect("a service");
            assert!(!fresh.has(&digest).await.expect("has"), "it failed, and is there");
        }
    }
    assert_eq!(put_again(&service, data.clone()).await, digest);
    let fresh = bucket.builder().build().expect("a service");
    let mut reader = fresh.open_read(&digest).await.expect("open_read").expect("it is stored");
    let mut read = Vec::new();
    reader.read_to_end(&mut read).await.expect("read_to_end");
    assert!(read == data, "{} bytes were read that are not those stored", read.len());
}

async fn put(service: &ObjectStoreBlobService, data: Bytes) -> Result<Digest, Error> {
    let mut writer = service.open_write().await?;
    for start in (0..data.len()).step_by(1 << 20) {
        writer.write_bytes(data.slice(start..data.len().min(start + (1 << 20)))).await?;
    }
    writer.close().await
}

async fn put_again(service: &ObjectStoreBlobService, data: Bytes) -> Digest {
    put(service, data).await.expect("the same service stores it when the server is back")
}
