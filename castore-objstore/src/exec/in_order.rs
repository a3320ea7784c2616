//! Runs many items of work at once, and hands out their results in order.

use std::future::Future;
use std::pin::pin;

use castore_core::Result;
use futures_util::stream::{FuturesOrdered, Stream, StreamExt};

use crate::exec::limits::Limits;

/// The limits on concurrent work.
#[derive(Debug, Clone, Copy)]
pub(crate) struct InOrder {
    at_once: usize,
    /// A single item that is larger may run alone.
    max_bytes: u64,
}

impl InOrder {
    /// As much as a service's limits on requests and on memory for reading allow.
    pub(crate) fn of(limits: &Limits) -> InOrder {
        InOrder { at_once: limits.requests_at_once(), max_bytes: limits.reading_bytes() }
    }

    /// At most `at_once` items.
    pub(crate) fn limited_to(self, at_once: usize) -> InOrder {
        InOrder { at_once: at_once.min(self.at_once), ..self }
    }

    /// Runs `work` on each of `items`, which state the bytes of memory that they take. Hands the
    /// results to `each` in the order of the items. Ends with the first error.
    pub(crate) async fn in_order<T, R, F: Future<Output = R>>(
        self,
        items: impl Stream<Item = Result<(T, u64)>>,
        work: impl Fn(T) -> F,
        mut each: impl FnMut(R) -> Result<()>,
    ) -> Result<()> {
        let mut items = pin!(items.fuse());
        let mut next: Option<(T, u64)> = None;
        let mut ended = false;
        let mut bytes = 0;
        let mut under_way = FuturesOrdered::new();
        loop {
            if next.is_none() && !ended {
                tokio::select! {
                    Some((done, size)) = under_way.next(), if !under_way.is_empty() => {
                        bytes -= size;
                        each(done)?;
                        continue;
                    }
                    item = items.next() => match item {
                        Some(item) => next = Some(item?),
                        None => ended = true,
                    },
                }
            }
            let (count, idle) = (under_way.len(), under_way.is_empty());
            let fits = |size: u64| {
                idle || (count < self.at_once && size.saturating_add(bytes) <= self.max_bytes)
            };
            if let Some((item, size)) = next.take_if(|(_, size)| fits(*size)) {
                let doing = work(item);
                bytes += size;
                under_way.push_back(async move { (doing.await, size) });
                continue;
            }
            match under_way.next().await {
                Some((done, size)) => {
                    bytes -= size;
                    each(done)?;
                }
                None if ended => return Ok(()),
                None => {}
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;
    use std::time::Duration;

    use castore_core::{Error, ErrorKind};
    use futures_util::stream;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn results_come_in_order_and_the_bounds_are_kept() {
        for (at_once, max_bytes, peak) in [(4, 1000, 4), (100, 10, 3), (100, 1, 1), (1, 1000, 1)] {
            let window = InOrder { at_once, max_bytes };
            let (now, most) = (&Cell::new(0), &Cell::new(0));
            let items = stream::iter((0..50_u64).map(|number| Ok((number, 3))));
            let mut results = Vec::new();
            let work = |number: u64| async move {
                now.set(now.get() + 1);
                most.set(most.get().max(now.get()));
                tokio::time::sleep(Duration::from_millis(100 - number)).await;
                now.set(now.get() - 1);
                number
            };
            let each = |number| {
                results.push(number);
                Ok(())
            };
            window.in_order(items, work, each).await.unwrap();
            assert_eq!(results, (0..50).collect::<Vec<_>>());
            assert_eq!(most.get(), peak);
        }
    }

    #[tokio::test]
    async fn an_error_ends_it() {
        let window = InOrder { at_once: 4, max_bytes: 10 };
        let error = || Error::new(ErrorKind::Other, "test", "x");
        let items = stream::iter([Ok((1, 1)), Err(error())]);
        assert!(window.in_order(items, |_| async {}, |()| Ok(())).await.is_err());
        let items = stream::iter([Ok((1, 1)), Ok((2, 1))]);
        assert!(window.in_order(items, |_| async {}, |()| Err(error())).await.is_err());
    }
}
