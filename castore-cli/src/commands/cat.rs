//! `castore cat`

use std::io::{self, Write};

use futures_util::StreamExt;

use crate::failure::{Failure, Result, USAGE};
use crate::size;
use crate::store::{Location, open_read, resolve};

pub(crate) async fn run(location: &Location, digest: &str, range: Option<&str>) -> Result<()> {
    let service = location.open()?;
    let digest = resolve(&service, digest).await?;
    let reader = open_read(&service, &digest).await?;
    let range = match range {
        Some(range) => {
            size::range(range, reader.size()).map_err(|error| Failure::new(USAGE, error))?
        }
        None => 0..reader.size(),
    };
    let mut pieces = reader.read_range(range);
    while let Some(piece) = pieces.next().await {
        let piece = piece?;
        let written = tokio::task::spawn_blocking(move || {
            let mut stdout = io::stdout().lock();
            stdout.write_all(&piece)?;
            stdout.flush()
        });
        let written = written.await.map_err(io::Error::other).flatten();
        written.map_err(|error| Failure::from(error).about("standard output"))?;
    }
    Ok(())
}
