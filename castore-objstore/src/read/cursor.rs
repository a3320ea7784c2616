//! A cursor over the chunks of an index, whose pages may have to be fetched one by one.

use std::sync::Arc;

use castore_core::Result;
use futures_util::FutureExt;

use crate::exec::task::Task;
use crate::store::Store;
use crate::store::index::READ_INDEX;
use crate::store::pages::{Index, Open, Page, PagedIndex, PlacedChunk};

pub(super) struct Cursor {
    store: Arc<Store>,
    index: Index,
    /// The page that was needed last, with its number.
    page: Option<(usize, Arc<Page>)>,
    /// The page after it, in flight.
    ahead: Option<(usize, Task<Arc<Page>>)>,
}

impl Cursor {
    pub(super) fn new(store: Arc<Store>, index: Index) -> Cursor {
        Cursor { store, index, page: None, ahead: None }
    }

    /// The chunk at position `number`; `None` if its page has to be loaded first, or if the
    /// position is past the end.
    pub(super) fn chunk(&mut self, number: usize) -> Option<PlacedChunk> {
        let index = match &self.index {
            Index::Whole(index) => {
                let meta = index.listed.get(number)?;
                return Some(PlacedChunk { meta, start: index.listed.chunk_range(number)?.start });
            }
            Index::Paged(index) => Arc::clone(index),
        };
        let wanted = index.listed.page_of(number);
        if let Some((at, task)) = &mut self.ahead
            && *at == wanted
        {
            // If the fetch has failed, `load` repeats it and returns the error.
            let page = task.now_or_never()?;
            self.ahead = None;
            self.page = Some((wanted, page.ok()?));
        }
        let page = self.page.as_ref().filter(|(at, _)| *at == wanted).map(|(_, page)| page)?;
        let chunk = page.get(number);
        if page.is_late(number) && self.ahead.is_none() && wanted + 1 < index.listed.pages() {
            self.ahead = Some((wanted + 1, self.fetch(index, wanted + 1)));
        }
        chunk
    }

    /// Loads the page of the chunk at position `number`.
    pub(super) async fn load(&mut self, number: usize) -> Result<()> {
        if let Index::Paged(index) = &self.index {
            let index = Arc::clone(index);
            let page = index.listed.page_of(number);
            self.load_page(index, page).await?;
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
                let index = Arc::clone(index);
                let page = index.listed.page_at(offset);
                Ok(self.load_page(index, page).await?.locate(offset))
            }
        }
    }

    async fn load_page(
        &mut self,
        index: Arc<Open<PagedIndex>>,
        wanted: usize,
    ) -> Result<Arc<Page>> {
        if let Some((_, page)) = self.page.as_ref().filter(|(at, _)| *at == wanted) {
            return Ok(Arc::clone(page));
        }
        let task = match &mut self.ahead {
            Some((at, task)) if *at == wanted => task,
            ahead => {
                let fetch = fetch(&self.store, index, wanted);
                &mut ahead.insert((wanted, fetch)).1
            }
        };
        let page = task.await;
        self.ahead = None;
        let page = page?;
        self.page = Some((wanted, Arc::clone(&page)));
        Ok(page)
    }

    fn fetch(&self, index: Arc<Open<PagedIndex>>, page: usize) -> Task<Arc<Page>> {
        fetch(&self.store, index, page)
    }
}

fn fetch(store: &Arc<Store>, index: Arc<Open<PagedIndex>>, page: usize) -> Task<Arc<Page>> {
    let owned = Arc::clone(store);
    let fetch = async move { owned.index_page(&index.listed, page).await };
    store.requests.spawn_unit(READ_INDEX, fetch)
}
