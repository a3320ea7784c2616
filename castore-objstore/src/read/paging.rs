//! The pages of a list that is read in order: the one that was needed last, and one in flight.

use std::sync::Arc;

use castore_core::Result;
use futures_util::FutureExt;

use crate::exec::task::Task;

pub(super) struct Pages<P> {
    /// The page that was needed last, with its number.
    here: Option<(usize, Arc<P>)>,
    /// A page in flight, mostly the one after it.
    ahead: Option<(usize, Task<Arc<P>>)>,
}

impl<P> Pages<P> {
    pub(super) fn new() -> Pages<P> {
        Pages { here: None, ahead: None }
    }

    /// The page `number`, if it is here or has just arrived.
    pub(super) fn get(&mut self, number: usize) -> Option<Arc<P>> {
        if let Some((at, task)) = &mut self.ahead
            && *at == number
        {
            // If the fetch has failed, `load` repeats it and returns the error.
            let page = task.now_or_never()?;
            self.ahead = None;
            self.here = Some((number, page.ok()?));
        }
        self.here.as_ref().filter(|(at, _)| *at == number).map(|(_, page)| Arc::clone(page))
    }

    /// Starts to fetch the page `number`, unless it is here or on its way.
    pub(super) fn begin(&mut self, number: usize, fetch: impl FnOnce() -> Task<Arc<P>>) {
        let is_here = self.here.as_ref().is_some_and(|(at, _)| *at == number);
        let is_on_its_way = self.ahead.as_ref().is_some_and(|(at, _)| *at == number);
        if !is_here && !is_on_its_way {
            self.ahead = Some((number, fetch()));
        }
    }

    /// The page `number`, which is fetched if need be.
    ///
    /// # Errors
    /// Those of the fetch.
    pub(super) async fn load(
        &mut self,
        number: usize,
        fetch: impl FnOnce() -> Task<Arc<P>>,
    ) -> Result<Arc<P>> {
        if let Some((_, page)) = self.here.as_ref().filter(|(at, _)| *at == number) {
            return Ok(Arc::clone(page));
        }
        let task = match &mut self.ahead {
            Some((at, task)) if *at == number => task,
            ahead => &mut ahead.insert((number, fetch())).1,
        };
        let page = task.await;
        self.ahead = None;
        let page = page?;
        self.here = Some((number, Arc::clone(&page)));
        Ok(page)
    }
}
