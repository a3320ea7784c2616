//! The HTTP status of a store's answer, passed from the HTTP client to the request that it answers.
//!
//! `object_store` keeps a status only in the text of its errors. This crate builds its stores with
//! an HTTP client that notes each status in the task that makes the request.

use std::cell::Cell;
use std::future::Future;

tokio::task_local! {
    static STATUS: Cell<Option<u16>>;
}

/// Notes the status of an answer for the request that this task makes.
#[cfg_attr(
    not(any(feature = "aws", feature = "gcp", feature = "azure", feature = "http")),
    allow(dead_code)
)]
pub(crate) fn note(status: u16) {
    // Requests outside of `noting`, such as those of another library, have no place for the status.
    let _ = STATUS.try_with(|noted| noted.set(Some(status)));
}

/// The result of `request`, and the last status noted while it ran.
pub(crate) async fn noting<T>(request: impl Future<Output = T>) -> (T, Option<u16>) {
    let noting = async {
        let result = request.await;
        (result, STATUS.with(Cell::get))
    };
    STATUS.scope(Cell::new(None), noting).await
}
