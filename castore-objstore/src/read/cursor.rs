//! A cursor over the chunks of an index, whose pages may have to be fetched one by one.

use std::sync::Arc;

use castore_core::Result;

use super::paging::Pages;
use crate::exec::task::Task;
use crate::store::Store;
use crate::store::index::READ_INDEX;
use crate::store::pages::{Index, Open, Page, PagedIndex, PlacedChunk};

pub(super) struct Cursor {
    store: Arc<Store>,
    index: Index,
    pages: Pages<Page>,
}

impl Cursor {
    pub(super) fn new(store: Arc<Store>, index: Index) -> Cursor {
        Cursor { store, index, pages: Pages::new() }
    }

    /// The chunk at position `number`; `None` if its page has to be loaded first, or if the
    /// position is past the end.
    pub(super) fn chunk(&mut self, number: usize) -> Option<PlacedChunk> {
        let index = match &self.index {
            Index::Whole(index) => {
                let meta = index.listed.get(number)?;
                return Some(PlacedChunk { meta, start: index.listed.chunk_range(number)?.start });
            }
            Index::Paged(index) => index,
        };
        let wanted = index.listed.page_of(number);
        let page = self.pages.get(wanted)?;
        if page.is_late(number) && wanted + 1 < index.listed.pages() {
            self.pages.begin(wanted + 1, || fetch(&self.store, index, wanted + 1));
        }
        page.get(number)
    }

    /// Loads the page of the chunk at position `number`.
    pub(super) async fn load(&mut self, number: usize) -> Result<()> {
        if let Index::Paged(index) = &self.index {
            let page = index.listed.page_of(number);
            self.pages.load(page, || fetch(&self.store, index, page)).await?;
        }
        Ok(())
    }

    /// The position of the chunk that holds the byte at `offset`.
    pub(super) async fn locate(&mut self, offset: u64) -> Result<usize> {
        match &self.index {
            Index::Whole(index) => {
                let index = &index.listed;
                Ok(index.locate(offset).map_or(index.len(), |place| place.chunk))
            }
            Index::Paged(index) => {
                let page = index.listed.page_at(offset);
                let page = self.pages.load(page, || fetch(&self.store, index, page)).await?;
                Ok(page.locate(offset))
            }
        }
    }
}

fn fetch(store: &Arc<Store>, index: &Arc<Open<PagedIndex>>, page: usize) -> Task<Arc<Page>> {
    let (owned, index) = (Arc::clone(store), Arc::clone(index));
    let fetch = async move { owned.index_page(&index.listed, page).await };
    store.requests.spawn_unit(READ_INDEX, fetch)
}
