//! A run stops if a repair has moved the index of a blob to the quarantine.
//!
//! No index lists the chunks of such a blob any more. A later repair can rebuild the blob only from
//! these chunks, wholly or for the most part: so they are garbage only if the caller says so.

use castore_core::Result;

use super::mark::Found;
use super::{OPERATION, Run};
use crate::error::corrupt;

impl Run<'_> {
    /// Fails if a blob lies in the quarantine that would be kept otherwise, unless the options say
    /// to ignore the quarantine. Takes one listing, and one request for each blob in the
    /// quarantine.
    ///
    /// # Errors
    /// `Corrupt` if such a blob exists; the errors of the requests.
    pub(super) async fn refuse_quarantined(&self, found: &Found) -> Result<()> {
        if self.options.ignore_quarantine {
            return Ok(());
        }
        let quarantined = self.shared.quarantined_blobs(OPERATION).await?;
        let mut lost = quarantined
            .iter()
            .filter(|blob| found.kept.as_ref().is_none_or(|kept| kept.contains(blob)));
        let Some(first) = lost.next() else { return Ok(()) };
        let others = match lost.count() {
            0 => String::new(),
            others => format!(" (and those of {others} other blobs)"),
        };
        let message = format!(
            "its index lies in the quarantine{others}, and its chunks would be garbage; repair it from a \
             store or a file that has it, store it again, or ignore the quarantine"
        );
        Err(corrupt(OPERATION, *first, message))
    }
}
