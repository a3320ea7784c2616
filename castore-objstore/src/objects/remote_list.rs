//! A listing that continues after an outage.

use futures_util::StreamExt;
use futures_util::stream::{self, BoxStream};
use object_store::path::Path;
use object_store::{ObjectMeta, Result as StoreResult};
use std::time::Duration;

use crate::error::{Trouble, trouble};
use crate::objects::answer::noting;
use crate::objects::remote::{Remote, within};
use crate::objects::retry::Trial;

/// The limit for a page of a listing, which has about a thousand keys, and for the listing of a
/// directory in a store that has directories.
pub(super) const PAGE_TIME: Duration = Duration::from_secs(120);

/// The limit for a listing that comes as a whole.
const WHOLE_TIME: Duration = Duration::from_secs(3600);

struct Listing {
    remote: Remote,
    prefix: Path,
    pages: Option<BoxStream<'static, StoreResult<ObjectMeta>>>,
    /// The last key that the caller received.
    last: Option<Path>,
    /// Whether all keys so far were in order, so that the listing can continue after the last one.
    ordered: bool,
    trial: Trial,
}

/// Lists the objects under `prefix`. A page that fails is requested again, for as long as any
/// request.
pub(super) fn list(remote: Remote, prefix: Path) -> BoxStream<'static, StoreResult<ObjectMeta>> {
    let trial = Trial::default();
    let listing = Listing { remote, prefix, pages: None, last: None, ordered: true, trial };
    stream::unfold(listing, async |mut listing| {
        let next = listing.next().await?;
        Some((next, listing))
    })
    .boxed()
}

impl Listing {
    async fn next(&mut self) -> Option<StoreResult<ObjectMeta>> {
        loop {
            let Remote { store, patience, .. } = &self.remote;
            let pages = self.pages.get_or_insert_with(|| match &self.last {
                None => store.list(Some(&self.prefix)),
                Some(last) => store.list_with_offset(Some(&self.prefix), last),
            });
            let patience = patience.as_ref()?;
            let limit = if patience.backend.ordered_lists { PAGE_TIME } else { WHOLE_TIME };
            let next = within(Some(limit), async { Ok(pages.next().await) });
            let (next, status) = noting(next).await;
            let error = match next {
                Ok(Some(Ok(meta))) => {
                    patience.answered();
                    self.trial = Trial::default();
                    self.ordered &= self.last.as_ref().is_none_or(|last| *last < meta.location);
                    self.last = Some(meta.location.clone());
                    return Some(Ok(meta));
                }
                Ok(None) => {
                    patience.answered();
                    let _ = patience.bucket.set(());
                    return None;
                }
                Ok(Some(Err(error))) => error,
                Err(error) => {
                    // The failed stream must not be polled again.
                    self.pages = Some(stream::empty().boxed());
                    error
                }
            };
            let resumes = self.last.is_none() || (self.ordered && patience.backend.ordered_lists);
            let trouble =
                trouble(&error, status).filter(|trouble| resumes && *trouble != Trouble::Conflict);
            let Some(trouble) = trouble else { return Some(Err(error)) };
            let Some(wait) = patience.failed(&mut self.trial, trouble) else {
                return Some(Err(error));
            };
            tracing::debug!(%error, ?wait, "a listing failed and goes on");
            tokio::time::sleep(wait).await;
            self.pages = None;
        }
    }
}
