//! The proofs of a blob's groups; the list of values may have to be fetched in pages.

use std::sync::Arc;

use castore_core::Result;
use castore_core::groups::{GroupPage, GroupPages, GroupProof};

use crate::exec::task::Task;
use crate::store::Store;
use crate::store::index::READ_INDEX;
use crate::store::pages::{Index, PagedGroups};

/// The next page is fetched so many groups before its first one is needed: 16 MiB of the blob.
const AHEAD: usize = 64;

pub(super) struct Proofs {
    store: Arc<Store>,
    index: Index,
    /// The page that was needed last, with its number.
    page: Option<(usize, Arc<GroupPage>)>,
    /// A page in flight.
    ahead: Option<(usize, Task<Arc<GroupPage>>)>,
}

impl Proofs {
    pub(super) fn new(store: Arc<Store>, index: Index) -> Proofs {
        Proofs { store, index, page: None, ahead: None }
    }

    /// Starts to fetch the page that has the group `number`, if its proof needs one.
    pub(super) fn fetch(&mut self, number: usize) {
        let Index::Paged(index) = &self.index else { return };
        let Some(PagedGroups::Listed(listed)) = &index.listed.groups else { return };
        let wanted = GroupPages::page_of(number);
        let is_here = self.page.as_ref().is_some_and(|(at, _)| *at == wanted);
        let is_on_its_way = self.ahead.as_ref().is_some_and(|(at, _)| *at == wanted);
        if wanted >= listed.pages.pages() || is_here || is_on_its_way {
            return;
        }
        let (store, listed) = (Arc::clone(&self.store), Arc::clone(listed));
        let digest = index.listed.digest();
        let fetch = async move { store.group_page(digest, &listed, wanted).await };
        self.ahead = Some((wanted, self.store.requests.spawn_unit(READ_INDEX, fetch)));
    }

    /// The proof of the group `number`; `None` if the blob has no such group.
    ///
    /// # Errors
    /// Those of [`Store::group_page`].
    pub(super) async fn proof(&mut self, number: usize) -> Result<Option<GroupProof>> {
        match &self.index {
            Index::Whole(index) => {
                return Ok(index.listed.groups().and_then(|groups| groups.proof(number)));
            }
            Index::Paged(index) => match &index.listed.groups {
                None => return Ok(None),
                Some(PagedGroups::Empty(groups)) => return Ok(groups.proof(number)),
                Some(PagedGroups::Listed(_)) => self.load(number).await?,
            },
        }
        self.fetch(number + AHEAD);
        Ok(self.page.as_ref().and_then(|(_, page)| page.proof(number)))
    }

    /// Loads the page that has the group `number`.
    async fn load(&mut self, number: usize) -> Result<()> {
        let wanted = GroupPages::page_of(number);
        if self.page.as_ref().is_some_and(|(at, _)| *at == wanted) {
            return Ok(());
        }
        self.fetch(number);
        if let Some((at, task)) = &mut self.ahead {
            let (at, page) = (*at, task.await);
            self.ahead = None;
            self.page = Some((at, page?));
        }
        Ok(())
    }
}
