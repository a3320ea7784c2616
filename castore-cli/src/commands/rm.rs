//! `castore rm`

use serde_json::json;

use super::Mode;
use crate::failure::{Failure, Result};
use crate::output;
use crate::store::{Location, absent, resolve};

pub(crate) async fn run(mode: Mode, location: &Location, digests: &[String]) -> Result<()> {
    let service = location.open()?;
    let mut failed = None;
    for text in digests {
        let removed = async {
            let digest = resolve(&service, text).await?;
            match service.remove(&digest).await? {
                true => Ok(digest),
                false => Err(absent(&service, digest).await),
            }
        };
        match removed.await {
            Ok(digest) if mode.json => {
                output::json(&json!({ "digest": digest.to_string(), "removed": true }))?;
            }
            Ok(_) => {}
            // What can be removed is, whatever becomes of the others.
            Err(failure) => {
                failure.report(mode.verbose);
                failed.get_or_insert(failure.code());
            }
        }
    }
    match failed {
        Some(code) => Err(Failure::reported(code)),
        None => Ok(()),
    }
}
