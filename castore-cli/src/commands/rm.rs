//! `castore rm`

use std::path::PathBuf;

use futures_util::StreamExt;
use serde_json::json;

use super::Mode;
use crate::digests;
use crate::failure::{Failure, Result, say};
use crate::output;
use crate::store::{Location, absent, resolve};

/// How many blobs are removed at once.
const AT_ONCE: usize = 32;

pub(crate) async fn run(
    mode: Mode,
    location: &Location,
    digests: Vec<String>,
    lists: Vec<PathBuf>,
) -> Result<()> {
    digests::check_lists(&lists)?;
    let service = location.open()?;
    let mut failed = None;
    let given = digests::given(digests, lists);
    let mut removed = std::pin::pin!(
        given
            .map(|text| {
                let service = &service;
                async move {
                    let text = text?;
                    let digest = resolve(service, &text).await?;
                    match service.remove(&digest).await? {
                        true => Ok(digest),
                        false => Err(absent(service, digest).await),
                    }
                }
            })
            .buffered(AT_ONCE)
    );
    while let Some(outcome) = removed.next().await {
        match outcome {
            Ok(digest) if mode.json => {
                output::json(&json!({ "digest": digest.to_string(), "removed": true }))?;
            }
            Ok(_) => {}
            // What can be removed is, whatever becomes of the others.
            Err(failure) => {
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
    match failed {
        Some(code) => Err(Failure::reported(code)),
        None => Ok(()),
    }
}
