//! Puts a file into a store, twice, and gets it back.
//!
//! ```sh
//! cargo run -p castore-objstore --features aws --example put_and_get -- s3://bucket/base FILE
//! ```
//!
//! Without arguments, the store is memory, and the file is this program.

use std::env;
use std::error::Error;

use castore_core::BlobService;
use castore_objstore::parse_url;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = env::args().skip(1);
    let url = arguments.next().unwrap_or_else(|| "memory:".to_owned());
    let file = arguments.next().map_or_else(env::current_exe, |file| Ok(file.into()))?;
    let data = std::fs::read(&file)?;

    let service = parse_url(&url)?.build()?;
    for attempt in ["first", "second"] {
        let before = service.stats();
        let mut writer = service.open_write().await?;
        writer.write_all(&data).await?;
        let digest = writer.close().await?;

        // The counts are those of the service, so the difference is this put.
        let after = service.stats();
        let new = after.chunks_new - before.chunks_new;
        let reused = after.chunks_reused - before.chunks_reused;
        println!("{attempt} put: {digest}, {new} chunks new, {reused} reused");

        let mut reader = service.open_read(&digest).await?.ok_or("the blob is absent")?;
        let mut read = Vec::new();
        reader.read_to_end(&mut read).await?;
        assert_eq!(read, data);
    }
    println!("{} bytes came back as they were", data.len());
    Ok(())
}
