//! Reads a range of a blob in a store, and fetches no more than the chunks that cover the range.
//!
//! ```sh
//! cargo run -p castore-objstore --features aws --example remote_range -- s3://bucket/base DIGEST
//! ```
//!
//! Without arguments, the store is memory, and the blob is made first.

use std::env;
use std::error::Error;

use castore_core::{BlobService, Digest};
use castore_objstore::{ObjectStoreBlobService, parse_url};
use futures_util::TryStreamExt;
use tokio::io::AsyncWriteExt;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = env::args().skip(1);
    let url = arguments.next().unwrap_or_else(|| "memory:".to_owned());
    let service = parse_url(&url)?.build()?;
    let digest = match arguments.next() {
        Some(digest) => digest.parse()?,
        None => example_blob(&service).await?,
    };

    let reader = service.open_read(&digest).await?.ok_or("the blob is absent")?;
    let middle = reader.size() / 2;
    let range = middle..reader.size().min(middle + 1000);

    let before = service.stats();
    let mut pieces = reader.read_range(range.clone());
    let mut len = 0;
    while let Some(piece) = pieces.try_next().await? {
        len += piece.len() as u64;
    }
    assert_eq!(len, range.end - range.start);
    let requests = service.stats().requests_get - before.requests_get;
    println!("bytes {range:?} of {} took {requests} GET requests", reader.size());
    Ok(())
}

/// A blob of 20 MB, of which all chunks differ.
async fn example_blob(service: &ObjectStoreBlobService) -> Result<Digest, Box<dyn Error>> {
    let mut writer = service.open_write().await?;
    for number in 0..5_000_000_u32 {
        writer.write_all(&number.to_le_bytes()).await?;
    }
    Ok(writer.close().await?)
}
