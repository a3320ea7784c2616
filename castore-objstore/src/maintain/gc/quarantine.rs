//! A run stops where a repair has moved the index of a blob to the quarantine.
//!
//! No index lists the chunks of such a blob any more. They are all that a later repair can make the blob
//! of, or most of it: so they are garbage only if the caller says so.

use castore_core::Result;

use super::mark::Found;
use super::{OPERATION, Run};
use crate::error::corrupt;

impl Run<'_> {
    /// Looks for blobs that lie in the quarantine and would be kept otherwise, unless told to ignore
    /// them. Takes one listing, and a request for each blob in the quarantine.
    ///
    /// # Errors
    /// `Corrupt` where there is one; those of the requests.
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
