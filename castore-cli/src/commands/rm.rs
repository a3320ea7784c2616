//! `castore rm`

use std::path::PathBuf;

use castore_core::{BlobService as _, Digest};
use futures_util::{StreamExt, TryStreamExt, stream};
use serde_json::json;

use super::{Mode, say_if_closed};
use crate::digests;
use crate::failure::{Failure, NO_BLOB, Result, say};
use crate::output;
use crate::store::{Location, Store, absent, check_digest, resolve};

/// The number of blobs removed concurrently.
const AT_ONCE: usize = 32;

pub(crate) async fn run(
    mode: Mode,
    location: &Location,
    digests: Vec<String>,
    lists: Vec<PathBuf>,
) -> Result<()> {
    digests::check_lists(&lists)?;
    let service = location.open()?;
    let wanted = wanted(&service, digests, lists).await?;
    let mut failed = None;
    let mut removed = std::pin::pin!(
        stream::iter(wanted)
            .map(|(text, digest)| {
                let service = &service;
                async move {
                    let result = match digest {
                        Ok(digest) => remove(service, digest).await,
                        Err(failure) => Err(failure),
                    };
                    (text, result)
                }
            })
            .buffered(AT_ONCE)
    );
    while let Some((text, outcome)) = removed.next().await {
        match outcome {
            Ok(digest) if mode.json => {
                output::json(&json!({ "digest": digest.to_string(), "removed": true }));
            }
            Ok(_) => {}
            // A failure does not keep the other blobs from being removed.
            Err(failure) => {
                if mode.json {
                    let error = failure.message();
                    output::json(&json!({ "digest": text, "removed": false, "error": error }));
                }
                failure.report(mode.verbose);
                failed.get_or_insert(failure.code());
                if failure.is_of_store() {
                    if removed.next().await.is_some() {
                        say("castore: gave up, as the store failed; not all was removed");
                    }
                    break;
                }
            }
        }
    }
    say_if_closed(mode);
    match failed {
        Some(code) => Err(Failure::reported(code)),
        None => Ok(()),
    }
}

/// A digest as given, and the blob that it names, or the reason why it names none.
type Wanted = (String, Result<Digest>);

/// All blobs to remove. No removal starts before every digest is read and understood: a list with
/// an error in its middle may be wrong from its beginning.
async fn wanted(service: &Store, digests: Vec<String>, lists: Vec<PathBuf>) -> Result<Vec<Wanted>> {
    let given: Vec<String> = digests::given(digests, lists)
        .and_then(|text| async move { check_digest(&text).map(|_| text) })
        .try_collect()
        .await?;
    stream::iter(given)
        .map(|text| async move {
            match resolve(service, &text).await {
                Err(failure) if failure.code() != NO_BLOB => Err(failure),
                digest => Ok((text, digest)),
            }
        })
        .buffered(AT_ONCE)
        .try_collect()
        .await
}

async fn remove(service: &Store, digest: Digest) -> Result<Digest> {
    match service.remove(&digest).await? {
        true => Ok(digest),
        false => Err(absent(service, digest).await),
    }
}
