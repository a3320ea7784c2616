//! The proofs of a blob's groups; the list of values may have to be fetched in pages.

use std::sync::Arc;

use castore_core::groups::{GroupPage, GroupPages, GroupProof};
use castore_core::{Digest, Result};
use castore_proto::ListedGroups;

use super::paging::Pages;
use crate::exec::task::Task;
use crate::store::Store;
use crate::store::index::READ_INDEX;
use crate::store::pages::{Index, PagedGroups};

/// The next page is fetched so many groups before its first one is needed: 16 MiB of the blob.
const AHEAD: usize = 64;

pub(super) struct Proofs {
    store: Arc<Store>,
    index: Index,
    pages: Pages<GroupPage>,
}

impl Proofs {
    pub(super) fn new(store: Arc<Store>, index: Index) -> Proofs {
        Proofs { store, index, pages: Pages::new() }
    }

    /// Starts to fetch the page that has the group `number`, if its proof needs one.
    pub(super) fn fetch(&mut self, number: usize) {
        let Index::Paged(index) = &self.index else { return };
        let Some(PagedGroups::Listed(listed)) = &index.listed.groups else { return };
        let page = GroupPages::page_of(number);
        if page < listed.pages.pages() {
            let digest = index.listed.digest();
            self.pages.begin(page, || fetch(&self.store, digest, listed, page));
        }
    }

    /// The proof of the group `number`; `None` if the blob has no such group.
    ///
    /// # Errors
    /// Those of [`Store::group_page`].
    pub(super) async fn proof(&mut self, number: usize) -> Result<Option<GroupProof>> {
        let index = match &self.index {
            Index::Whole(index) => {
                return Ok(index.listed.groups().and_then(|groups| groups.proof(number)));
            }
            Index::Paged(index) => &index.listed,
        };
        let listed = match &index.groups {
            None => return Ok(None),
            Some(PagedGroups::Empty(groups)) => return Ok(groups.proof(number)),
            Some(PagedGroups::Listed(listed)) => listed,
        };
        let page = GroupPages::page_of(number);
        let fetch = || fetch(&self.store, index.digest(), listed, page);
        let page = self.pages.load(page, fetch).await?;
        self.fetch(number + AHEAD);
        Ok(page.proof(number))
    }
}

fn fetch(
    store: &Arc<Store>,
    digest: Digest,
    listed: &Arc<ListedGroups>,
    page: usize,
) -> Task<Arc<GroupPage>> {
    let (owned, listed) = (Arc::clone(store), Arc::clone(listed));
    let fetch = async move { owned.group_page(digest, &listed, page).await };
    store.requests.spawn_unit(READ_INDEX, fetch)
}
