//! `castore hash`

use std::path::{Path, PathBuf};

use castore_core::Digest;
use serde_json::json;

use super::Mode;
use crate::failure::{FAILED, Failure, Result};
use crate::input::Input;
use crate::{names, output};

pub(crate) async fn run(mode: Mode, mut files: Vec<PathBuf>) -> Result<()> {
    if files.is_empty() {
        files.push("-".into());
    }
    let mut failed = false;
    for file in files {
        match hash(&file).await {
            Ok((digest, change)) => {
                print(mode, &file, &digest, change.as_deref());
                failed |= change.is_some();
            }
            Err(failure) => {
                super::report_file(mode, &file, failure);
                failed = true;
            }
        }
    }
    if failed { Err(Failure::reported(FAILED)) } else { Ok(()) }
}

fn print(mode: Mode, file: &Path, digest: &Digest, change: Option<&str>) {
    match mode.json {
        true => {
            let mut line = json!({ "digest": digest.to_string(), "name": names::json(file) });
            if let Some(change) = change {
                line["warning"] = format!("it changed while it was read: {change}").into();
            }
            output::json(&line);
        }
        false => output::line(names::b3sum(digest, file)),
    }
    if let Some(change) = change {
        super::warn_changed(file, change);
    }
}

/// The digest of a file, and how the file changed during the read, if it did.
async fn hash(file: &Path) -> Result<(Digest, Option<String>)> {
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
    Ok((Digest::from_bytes(*hasher.finalize().as_bytes()), input.change().map(str::to_owned)))
}
