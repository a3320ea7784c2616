//! The answers to requests that fail: a status, and one line of text.

use axum::http::{HeaderName, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use castore_core::{Digest, Error, ErrorKind};

/// After so many seconds a client may try again where the store was not available. The service has
/// tried for some time itself before it gave up.
const RETRY_AFTER_SECONDS: &str = "5";

/// A failed request.
#[derive(Debug)]
pub(crate) struct Failure {
    status: StatusCode,
    line: String,
    header: Option<(HeaderName, String)>,
    /// The error of the service behind it, for the server's own logs.
    error: Option<Error>,
}

impl Failure {
    pub(crate) fn new(status: StatusCode, line: impl Into<String>) -> Failure {
        Failure { status, line: line.into(), header: None, error: None }
    }

    pub(crate) fn bad_request(line: impl Into<String>) -> Failure {
        Failure::new(StatusCode::BAD_REQUEST, line)
    }

    pub(crate) fn absent(digest: Digest) -> Failure {
        Failure::new(StatusCode::NOT_FOUND, format!("there is no blob {digest}"))
    }

    pub(crate) fn precondition() -> Failure {
        let line = "a condition of the request does not hold";
        Failure::new(StatusCode::PRECONDITION_FAILED, line)
    }

    pub(crate) fn with_header(self, name: HeaderName, value: impl Into<String>) -> Failure {
        Failure { header: Some((name, value.into())), ..self }
    }
}

impl From<Error> for Failure {
    fn from(error: Error) -> Failure {
        let (status, summary) = match error.kind() {
            ErrorKind::Corrupt => (StatusCode::INTERNAL_SERVER_ERROR, "the stored blob is damaged"),
            ErrorKind::Unavailable => {
                (StatusCode::SERVICE_UNAVAILABLE, "the store is not available")
            }
            ErrorKind::StoreNotFound => {
                (StatusCode::SERVICE_UNAVAILABLE, "the store does not exist")
            }
            ErrorKind::PermissionDenied => {
                (StatusCode::BAD_GATEWAY, "the store refuses the gateway")
            }
            ErrorKind::InvalidInput => (StatusCode::BAD_REQUEST, "the store cannot accept this"),
            ErrorKind::Unsupported => (StatusCode::NOT_IMPLEMENTED, "the store cannot do this"),
            _ => (StatusCode::INTERNAL_SERVER_ERROR, "the store failed"),
        };
        // A message of a service may have control characters, which would not be one line.
        let message = error.message().replace(char::is_control, " ");
        let mut failure = Failure::new(status, format!("{summary}: {message}"));
        if error.is_retryable() {
            failure = failure.with_header(header::RETRY_AFTER, RETRY_AFTER_SECONDS);
        }
        Failure { error: Some(error), ..failure }
    }
}

impl IntoResponse for Failure {
    fn into_response(self) -> Response {
        let mut response = text(self.status, &self.line);
        if let Some((name, value)) = self.header
            && let Ok(value) = HeaderValue::try_from(value)
        {
            response.headers_mut().insert(name, value);
        }
        if let Some(error) = self.error {
            response.extensions_mut().insert(error);
        }
        response
    }
}

/// A response of one line of text that no cache keeps.
pub(crate) fn text(status: StatusCode, line: &str) -> Response {
    let headers = [
        (header::CONTENT_TYPE, "text/plain; charset=utf-8"),
        (header::CACHE_CONTROL, "no-store"),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
    ];
    (status, headers, format!("{line}\n")).into_response()
}
