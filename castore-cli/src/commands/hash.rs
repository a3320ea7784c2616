//! `castore hash`

use std::path::{Path, PathBuf};

use castore_core::Digest;
use serde_json::json;

use super::Mode;
use crate::failure::{FAILED, Failure, Result};
use crate::input::Input;
use crate::output;

pub(crate) async fn run(mode: Mode, mut files: Vec<PathBuf>) -> Result<()> {
    if files.is_empty() {
        files.push("-".into());
    }
    let mut failed = false;
    for file in files {
        match hash(&file).await {
            Ok(digest) if mode.json => {
                let name = file.to_string_lossy();
                output::json(&json!({ "digest": digest.to_string(), "name": name }))?;
            }
            Ok(digest) => output::line(output::b3sum(&digest, &file))?,
            Err(failure) => {
                failure.about(output::shown(&file)).report(mode.verbose);
                failed = true;
            }
        }
    }
    if failed { Err(Failure::reported(FAILED)) } else { Ok(()) }
}

async fn hash(file: &Path) -> Result<Digest> {
    let mut input = Input::open(file).await?;
    let mut hasher = blake3::Hasher::new();
    while let Some(piece) = input.next().await? {
        hasher = tokio::task::spawn_blocking(move || {
            hasher.update(&piece);
            hasher
        })
        .await
        .map_err(anyhow::Error::new)?;
    }
    Ok(hasher.finalize().into())
}
