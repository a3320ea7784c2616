//! An HTTP gateway to any blob service of **castore**, as an axum [`Router`](axum::Router).
//!
//! [`Gateway`] wraps a [`BlobService`](castore_core::BlobService) and becomes a router, which a
//! server of your own mounts at its root or below a path:
//!
//! ```
//! use std::sync::Arc;
//!
//! use axum::Router;
//! use axum::body::{Body, to_bytes};
//! use axum::http::{Request, StatusCode};
//! use castore_core::{BlobService, MemoryBlobService};
//! use castore_http::Gateway;
//! use tower::ServiceExt;
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let service = Arc::new(MemoryBlobService::new());
//! let digest = service.put_bytes("Hello World".into()).await?;
//! let app = Router::new().nest("/store", Gateway::new(service).into_router());
//!
//! let request = Request::get(format!("/store/blobs/{digest}")).header("range", "bytes=6-");
//! let response = app.oneshot(request.body(Body::empty())?).await?;
//! assert_eq!(response.status(), StatusCode::PARTIAL_CONTENT);
//! assert_eq!(response.headers()["content-range"], "bytes 6-10/11");
//! assert_eq!(to_bytes(response.into_body(), 1024).await?, "World");
//! # Ok(())
//! # }
//! ```
//!
//! # Routes
//!
//! | route | answer |
//! |---|---|
//! | `GET`, `HEAD /blobs/{digest}` | the blob, or one range of it |
//! | `PUT /blobs/{digest}` | stores the body if it has this digest |
//! | `POST /blobs` | stores the body, and tells its digest |
//! | `GET`, `HEAD /blobs/{digest}/chunks` | the chunks of the blob, as JSON |
//! | `GET`, `HEAD /blobs/{digest}/outboard` | the BLAKE3 tree, which proves any part of the blob |
//! | `GET`, `HEAD /healthz` | `ok`, without asking the store |
//!
//! A digest is 64 hexadecimal digits in lower case. The document `docs/http.md` of the repository
//! lists every header and status.
//!
//! # Reading
//!
//! - A blob never changes, so its strong `ETag` is its digest, and caches may keep it for a year.
//!   `If-Match`, `If-None-Match` and `If-Range` are honoured.
//! - One range is answered with 206, clipped to the blob. A range that has no byte of the blob is
//!   answered with 416. Several ranges at once, and malformed ones, are ignored, as RFC 9110
//!   allows: the answer is the whole blob, with 200.
//! - Bodies are streamed, in the pieces of the service, as fast as the client takes them. The
//!   first piece is read before the status is sent, so damage there is a clean 500. A later failure
//!   is an error of the body, and the server breaks the connection off: no client takes a part of
//!   a body for all of it.
//!
//! # Writing
//!
//! - A body is hashed as it passes, and published only if it is complete and has the right digest.
//!   A body that is cut off, too large, or another blob publishes nothing. (A store may keep some
//!   of its chunks until garbage is collected.)
//! - A `PUT` of a known blob is answered at once. With `Expect: 100-continue` the client sends no
//!   body then; without it, up to 1 MiB of the body are read and dropped, because clients that
//!   write before they read would lose the answer otherwise.
//! - `POST` always passes the bytes to the service, and so may repair a damaged blob.
//!
//! # Errors
//!
//! The body of a failure is one line of text, and no cache keeps it. The line of a failed service
//! is the [message](castore_core::Error::message) of its error, without the error's source. The
//! response carries the [`Error`](castore_core::Error) itself as an extension: a middleware that
//! logs failures finds it there.
//!
//! | `ErrorKind` | status |
//! |---|---|
//! | `Corrupt` | 500 |
//! | `Unavailable` | 503, with `Retry-After` |
//! | `StoreNotFound` | 503 |
//! | `PermissionDenied` | 502: the store refuses the gateway, which is no fault of the client |
//! | `InvalidInput` | 400 |
//! | `Unsupported` | 501 |
//! | `Other` | 500 |
//!
//! # Security
//!
//! The gateway authenticates no client: mount it behind a layer that does, or
//! [read only](Gateway::read_only). Blobs are sent as attachments, with `nosniff` and a sandbox, so
//! that a browser does not run an uploaded page in the name of your site.
//!
//! # Types of other crates in the public API
//!
//! Signatures name types of `castore-core` and `axum` 0.8 ([`Router`](axum::Router)). The crate has
//! no features, starts no task, and needs no runtime of its own.

#![forbid(unsafe_code)]

mod conditions;
mod failure;
mod gateway;
mod lists;
mod named;
mod range;
mod read;
mod write;

pub use gateway::Gateway;

/// The README's examples are tests.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
