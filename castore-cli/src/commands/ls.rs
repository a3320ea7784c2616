//! `castore ls`

use castore_core::{BlobService, Digest};
use futures_util::{StreamExt, TryStreamExt};
use serde_json::json;

use super::Mode;
use crate::failure::{FAILED, Failure, Result};
use crate::output;
use crate::store::{Location, Store};

/// The number of indexes fetched concurrently.
const AT_ONCE: usize = 32;

/// Fails if the store lists a blob that it has just reported absent.
async fn still_listed(service: &Store, digest: &Digest) -> Result<()> {
    match service.find(&digest.to_string()).await?.is_empty() {
        true => Ok(()),
        false => {
            let message = format!("{digest}: the store lists its index and does not give it");
            Err(Failure::new(FAILED, message))
        }
    }
}

pub(crate) async fn run(mode: Mode, location: &Location, long: bool) -> Result<()> {
    let service = location.open()?;
    let mut blobs = service
        .list()
        .map(|digest| {
            let service = &service;
            async move {
                let digest = digest?;
                let index = if long { service.chunks(&digest).await } else { Ok(None) };
                if long && matches!(index, Ok(None)) {
                    still_listed(service, &digest).await?;
                }
                Ok::<_, Failure>((digest, index))
            }
        })
        .buffered(AT_ONCE);
    // A blob with an unreadable index does not hide the others.
    let (mut found, mut failed) = (false, None);
    while let Some((digest, index)) = blobs.try_next().await? {
        found = true;
        let index = match index {
            Ok(index) => index,
            Err(error) => {
                let failure = Failure::from(error);
                if mode.json {
                    let (digest, error) = (digest.to_string(), failure.message());
                    output::json(&json!({ "digest": digest, "error": error }));
                }
                failure.report(mode.verbose);
                failed = Some(failure.code());
                continue;
            }
        };
        match (mode.json, index) {
            (true, None) => output::json(&json!({ "digest": digest.to_string() })),
            (true, Some(index)) => output::json(&json!({
                "digest": digest.to_string(), "size": index.size(), "chunks": index.len()
            })),
            // The blob was removed after it was listed.
            (false, None) if long => {}
            (false, None) => output::line(digest),
            (false, Some(index)) => {
                output::line(format_args!("{digest} {:>14} {:>8}", index.size(), index.len()));
            }
        }
        if output::is_closed() {
            break;
        }
    }
    if !found {
        service.must_exist().await?;
    }
    match failed {
        Some(code) => Err(Failure::reported(code)),
        None => Ok(()),
    }
}
