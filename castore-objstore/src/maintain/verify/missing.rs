//! Decides whether listed chunks that are not in their places are missing.
//!
//! A chunk may be younger than the listing, a garbage collector may set it aside or put it back,
//! and the blobs that list it may be removed. So each chunk is looked for again right before it is
//! reported.

use std::sync::Arc;

use castore_core::{Digest, Result};
use futures_util::{StreamExt, stream};

use super::{Finding, InOrder, Phase, Problem, Run, Verified, one_line};
use crate::store::Store;
use crate::store::layout::Kind;

const INDEX: &str = "look for the index of blob";
const CHUNK: &str = "look for chunk";

/// Whether a chunk is missing at this moment: absent from its place, from the copies set aside, and
/// once more from its place, while one of the blobs that list it is present. Returns details if it
/// is missing, which may be empty. `blobs` are some of the `count` blobs that list the chunk.
///
/// # Errors
/// The errors of the requests, never `Corrupt`. After an error it is unknown whether the chunk is
/// missing.
pub(crate) async fn look_again(
    shared: &Store,
    chunk: &Digest,
    blobs: &[Digest],
    count: u64,
) -> Result<Option<String>> {
    if shared.has_chunk(CHUNK, chunk).await? || !is_listed(shared, blobs, count).await? {
        return Ok(None);
    }
    shared.confirm_absent(CHUNK, Kind::Chunk, chunk).await?;
    let junk = shared.copies_aside(CHUNK, Kind::Chunk, chunk).await?.len();
    Ok(Some(match junk {
        0 => String::new(),
        junk => format!("of {junk} copies that are set aside none is good"),
    }))
}

/// Whether one of the blobs still has an index. Only a few of them are known by name: if these are
/// gone, one of the others may remain.
async fn is_listed(shared: &Store, blobs: &[Digest], count: u64) -> Result<bool> {
    for blob in blobs {
        if shared.is_in_place(INDEX, Kind::Blob, blob).await? {
            return Ok(true);
        }
    }
    Ok(count > blobs.len() as u64)
}

impl<E: FnMut(Verified) + Send> Run<'_, E> {
    /// Looks for the chunks that the listing lacked. An index may be younger than the listing; then
    /// its chunks may be, too.
    pub(super) async fn confirm_missing(&mut self) -> Result<()> {
        let shared = Arc::clone(&self.shared);
        let mut missing: Vec<(Digest, Vec<Digest>, u64)> = self
            .missing
            .iter()
            .map(|(chunk, missing)| (*chunk, missing.blobs.clone(), missing.count))
            .collect();
        missing.sort_unstable();
        let total = Some(missing.len() as u64);
        let mut phase = Phase::new(self.observer, "look for missing chunks", total);
        let look = |(chunk, blobs, count): (Digest, Vec<Digest>, u64)| {
            let shared = &shared;
            async move {
                let answer = look_again(shared, &chunk, &blobs, count).await;
                (chunk, blobs, count, answer)
            }
        };
        let items = stream::iter(missing).map(|item| Ok((item, 0)));
        let mut not_known = Vec::new();
        let result = InOrder::of(&shared.limits)
            .in_order(items, look, |(chunk, blobs, count, answer)| {
                phase.step();
                match answer {
                    Err(error) => {
                        not_known.push((chunk, blobs, count, error.clone()));
                        return self.note_result(Some(&error));
                    }
                    answer => self.take_missing(chunk, blobs, count, answer),
                }
                self.note_result(None)
            })
            .await;
        for (chunk, blobs, count, error) in not_known {
            let answer = match result {
                Ok(()) => look_again(&shared, &chunk, &blobs, count).await,
                Err(_) => Err(error),
            };
            self.take_missing(chunk, blobs, count, answer);
        }
        result
    }

    fn take_missing(
        &mut self,
        chunk: Digest,
        blobs: Vec<Digest>,
        count: u64,
        answer: Result<Option<String>>,
    ) {
        let key = self.shared.layout.chunk(&chunk);
        let finding = match answer {
            Ok(None) => return,
            Ok(Some(detail)) => Finding::new(Problem::MissingChunk, key, detail),
            Err(error) => {
                Finding::new(Problem::UnreadableChunk, key, one_line(&error)).because(error)
            }
        };
        if let Some(missing) = self.missing.get_mut(&chunk) {
            missing.reported = true;
        }
        self.found(finding.of(chunk).affecting(blobs, count));
    }
}
