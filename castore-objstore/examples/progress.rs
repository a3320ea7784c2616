//! Shows how far a long operation is: an `Observer` is told of every object that a verification
//! looks at.
//!
//! ```sh
//! cargo run -p castore-objstore --features aws --example progress -- s3://bucket/base
//! ```
//!
//! Without an argument, the store is memory, and a blob is stored first.

use std::env;
use std::error::Error;
use std::sync::Mutex;

use castore_core::BlobService;
use castore_objstore::{Progress, parse_url};
use tokio::io::AsyncWriteExt;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn Error>> {
    let url = env::args().nth(1);
    let service = parse_url(url.as_deref().unwrap_or("memory:"))?.build()?;
    if url.is_none() {
        let mut writer = service.open_write().await?;
        writer.write_all(&vec![7; 50_000_000]).await?;
        println!("stored {}", writer.close().await?);
    }

    // The observer is called from the task that does the work, so it returns soon: one line per
    // phase.
    let phase = Mutex::new("");
    let observer = |progress: &Progress| {
        let mut last = phase.lock().expect("no observer panics");
        if *last != progress.phase {
            *last = progress.phase;
            match progress.total {
                Some(total) => println!("{}: {total} in all", progress.phase),
                None => println!("{}", progress.phase),
            }
        }
    };
    let each = |found| println!("found: {found:?}");
    let report = service.verify(&Default::default(), &observer, each).await?;
    println!("{} blobs and {} chunks looked at", report.blobs, report.chunks);
    Ok(())
}
