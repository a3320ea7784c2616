//! `castore outboard`

use std::path::Path;

use bytes::Bytes;
use futures_util::{StreamExt, stream};

use super::Mode;
use super::get::Output;
use crate::args::Sparse;
use crate::failure::Result;
use crate::output;
use crate::progress::Progress;
use crate::store::{Location, absent, resolve};

/// How many pairs of hashes, of 64 bytes each, are written at a time.
const PAIRS: usize = 4096;

pub(crate) async fn run(
    mode: Mode,
    location: &Location,
    digest: &str,
    output: Option<&Path>,
    force: bool,
) -> Result<()> {
    let output = output.filter(|output| output.as_os_str() != "-");
    let output = output.map(|output| Output::checked(output, force, "outboard")).transpose()?;
    let service = location.open()?;
    let digest = resolve(&service, digest).await?;
    // A blob whose index has no group hashes is read as a whole.
    let progress = Progress::start(mode.progress(), &service, None, |stats| stats.bytes_read);
    let Some(hashes) = service.group_hashes(&digest).await? else {
        return Err(absent(&service, &digest).await);
    };
    drop(progress);
    let mut pairs = hashes.outboard();
    let pieces = std::iter::from_fn(move || {
        let piece: Vec<u8> = pairs.by_ref().take(PAIRS).flatten().flatten().collect();
        (!piece.is_empty()).then(|| Ok(Bytes::from(piece)))
    });
    let pieces = stream::iter(pieces).boxed();
    match output {
        Some(output) => output.save(pieces, force, Sparse::Never, ()).await,
        None => output::blob(pieces).await,
    }
}
