//! Objects that are bad are moved aside, so that the next writer stores them again.

use std::future::Future;

use castore_core::{Digest, Result};
use object_store::path::Path;

use crate::store::Store;

const OPERATION: &str = "move to the quarantine";

/// What became of an object that was to be moved.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Moved {
    /// It lies here now.
    To(Path),
    /// It is gone, or somebody wrote it again meanwhile.
    Changed,
}

impl Store {
    /// Moves the object at `path` aside, if it is bad still, as `is_bad` finds out.
    ///
    /// It is copied first and deleted last: whatever ends this in between, nothing is lost, and the
    /// next run goes on. Where it was written again since it was found to be bad, it stays. (Only a
    /// writer that replaces it between the last look and the deletion, two requests that follow each
    /// other, would have its object deleted: no store can delete on a condition.)
    pub(crate) async fn quarantine<F: Future<Output = bool>>(
        &self,
        digest: Digest,
        path: &Path,
        is_bad: impl FnOnce() -> F,
    ) -> Result<Moved> {
        let requests = &self.requests;
        let before = requests.version(OPERATION, digest, path.clone()).await?;
        let Some(before) = before else { return Ok(Moved::Changed) };
        if !is_bad().await {
            return Ok(Moved::Changed);
        }
        let aside = self.layout.quarantined(path);
        let there = requests.version(OPERATION, digest, aside.clone()).await?;
        // An earlier run may have come as far as this. On a local disk the copy is a link, and
        // linking it once more would leave a file behind.
        if !there.is_some_and(|there| there.is_copy_of(&before))
            && !requests.copy(OPERATION, digest, path.clone(), aside.clone()).await?
        {
            return Ok(Moved::Changed);
        }
        self.flush().await?;
        if requests.version(OPERATION, digest, path.clone()).await? != Some(before) {
            return Ok(Moved::Changed);
        }
        requests.delete(OPERATION, digest, path.clone()).await?;
        self.known.forget(&digest);
        Ok(Moved::To(aside))
    }
}
