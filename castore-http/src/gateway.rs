//! The gateway's settings, and its routes.

use std::sync::Arc;

use axum::Router;
use axum::extract::{Request, State};
use axum::http::{Method, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::{MethodRouter, get};
use castore_core::BlobService;

use crate::failure::Failure;
use crate::write::Upload;
use crate::{lists, read, write};

/// Serves a blob service over HTTP; [`into_router`](Gateway::into_router) makes it a router.
///
/// ```
/// use std::sync::Arc;
///
/// use castore_core::MemoryBlobService;
/// use castore_http::Gateway;
///
/// let gateway = Gateway::new(Arc::new(MemoryBlobService::new()));
/// let router: axum::Router = gateway.max_body(1 << 30).into_router();
/// # let _ = router;
/// ```
#[derive(Debug, Clone)]
pub struct Gateway {
    service: Arc<dyn BlobService>,
    read_only: bool,
    max_body: u64,
}

impl Gateway {
    /// The largest body of a `PUT` or `POST` by default, in bytes: 5 GiB, as for one `PUT` of S3.
    pub const DEFAULT_MAX_BODY: u64 = 5 << 30;

    /// A gateway to `service` that reads and writes.
    pub fn new(service: Arc<dyn BlobService>) -> Gateway {
        Gateway { service, read_only: false, max_body: Gateway::DEFAULT_MAX_BODY }
    }

    /// Whether `PUT` and `POST` are answered with 405; `false` by default.
    #[must_use]
    pub fn read_only(self, read_only: bool) -> Gateway {
        Gateway { read_only, ..self }
    }

    /// The largest body of a `PUT` or `POST`, in bytes; a larger one is answered with 413, and is
    /// not published. `u64::MAX` is no limit. The memory of an upload does not grow with
    /// this limit, but for 32 bytes for each 256 KiB of its body.
    #[must_use]
    pub fn max_body(self, bytes: u64) -> Gateway {
        Gateway { max_body: bytes, ..self }
    }

    /// The routes of the gateway.
    ///
    /// The router has no fallback: it merges with any router that has none of its routes, and
    /// nests below any path. `Location` of a `POST` names the full path.
    pub fn into_router(self) -> Router {
        let (mut blob, mut blobs) = (get(read::blob), MethodRouter::new());
        if !self.read_only {
            (blob, blobs) = (blob.put(write::put), blobs.post(write::post));
        }
        let routes = [
            ("/blobs", blobs),
            ("/blobs/{digest}", blob),
            ("/blobs/{digest}/chunks", get(lists::chunks)),
            ("/blobs/{digest}/outboard", get(lists::outboard)),
            ("/healthz", get(healthz)),
        ];
        let router = routes.into_iter().fold(Router::new(), |router, (path, methods)| {
            router.route(path, methods.fallback(method_not_allowed))
        });
        router.with_state(Arc::new(self))
    }

    pub(crate) fn service(&self) -> &dyn BlobService {
        &*self.service
    }

    pub(crate) fn body_limit(&self) -> u64 {
        self.max_body
    }
}

async fn healthz() -> Response {
    let headers =
        [(header::CONTENT_TYPE, "text/plain; charset=utf-8"), (header::CACHE_CONTROL, "no-store")];
    (headers, "ok").into_response()
}

/// axum adds the header `Allow`, which is empty for `/blobs` of a gateway that only reads.
async fn method_not_allowed(
    State(gateway): State<Arc<Gateway>>,
    method: Method,
    request: Request,
) -> Failure {
    Upload::new(request, 0).settle().await;
    let line = match gateway.read_only && (method == Method::PUT || method == Method::POST) {
        true => "this gateway only reads".to_owned(),
        false => format!("the method {method} is not allowed here"),
    };
    Failure::new(StatusCode::METHOD_NOT_ALLOWED, line)
}
