//! `castore stat`

use std::collections::{BTreeMap, BTreeSet};

use castore_core::Digest;
use castore_objstore::StoredChunk;
use futures_util::{StreamExt, TryStreamExt, stream};
use serde_json::json;

use super::Mode;
use crate::failure::{CORRUPT, Failure, Result};
use crate::output;
use crate::size::iec;
use crate::store::{Location, chunks, resolve};

/// The number of chunks looked up concurrently.
const AT_ONCE: usize = 64;

pub(crate) async fn run(mode: Mode, location: &Location, digest: &str, list: bool) -> Result<()> {
    let service = location.open()?;
    let digest = resolve(&service, digest).await?;
    let index = chunks(&service, &digest).await?;
    let distinct: BTreeSet<Digest> = index.iter().map(|chunk| chunk.digest).collect();
    let stored: BTreeMap<Digest, Option<StoredChunk>> = stream::iter(distinct)
        .map(|chunk| {
            let service = &service;
            async move { Ok::<_, Failure>((chunk, service.locate_chunk(&chunk).await?)) }
        })
        .buffer_unordered(AT_ONCE)
        .try_collect()
        .await?;
    let bytes: u64 = stored.values().flatten().map(|chunk| chunk.size).sum();
    let aside = stored.values().flatten().filter(|chunk| chunk.aside).count();
    let missing: Vec<&Digest> =
        stored.iter().filter(|(_, stored)| stored.is_none()).map(|(chunk, _)| chunk).collect();

    if mode.json {
        let listed: Vec<_> = index
            .iter()
            .map(|chunk| {
                let digest = chunk.digest.to_string();
                let stored = stored[&chunk.digest];
                json!({
                    "digest": digest,
                    "size": chunk.size,
                    "stored": stored.map(|stored| stored.size),
                    "aside": stored.is_some_and(|stored| stored.aside),
                })
            })
            .collect();
        let mut value = json!({
            "digest": digest.to_string(),
            "size": index.size(),
            "chunks": index.len(),
            "distinct_chunks": stored.len(),
            "bytes_stored": bytes,
            "chunks_aside": aside,
        });
        if list {
            value["chunk_list"] = listed.into();
        }
        output::json(&value);
    } else if list {
        let mut offset = 0;
        for chunk in index.iter() {
            let (size, place) = match stored[&chunk.digest] {
                Some(stored) => (stored.size.to_string(), if stored.aside { " aside" } else { "" }),
                None => ("missing".to_owned(), ""),
            };
            output::line(format_args!(
                "{offset:>12} {:>8} {size:>8} {}{place}",
                chunk.size, chunk.digest
            ));
            offset += chunk.size;
        }
    } else {
        let size = index.size();
        output::line(format_args!("digest  {digest}"));
        output::line(format_args!("size    {size} ({})", iec(size)));
        output::line(format_args!("chunks  {}, {} of them distinct", index.len(), stored.len()));
        let ratio = if bytes == 0 { 1.0 } else { size as f64 / bytes as f64 };
        output::line(format_args!("stored  {bytes} ({}), {ratio:.2}:1", iec(bytes)));
        if aside > 0 {
            output::line(format_args!(
                "aside   {aside} chunks, which `castore gc --run` puts back"
            ));
        }
    }
    match missing.as_slice() {
        [] => Ok(()),
        [first, ..] => {
            let message = format!("{} of its chunks are missing, {first} first", missing.len());
            Err(Failure::new(CORRUPT, message).about(format!("blob {digest}")))
        }
    }
}
