//! The digest in the path of a request.

use axum::extract::{FromRequestParts, RawPathParams};
use axum::http::request::Parts;
use castore_core::{Digest, ParseDigestError};

use crate::failure::Failure;

/// The digest that the path of a request names.
#[derive(Debug)]
pub(crate) struct Named(pub(crate) Digest);

impl<S: Send + Sync> FromRequestParts<S> for Named {
    type Rejection = Failure;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Named, Failure> {
        let Ok(parameters) = RawPathParams::from_request_parts(parts, state).await else {
            return Err(Failure::bad_request("the path is not UTF-8"));
        };
        // A router around the gateway may have parameters of its own, which come first.
        let digests = parameters.iter().filter(|(name, _)| *name == "digest");
        parse(digests.last().map_or("", |(_, value)| value)).map(Named)
    }
}

/// Accepts one spelling only: two URLs of one blob would be two entries of each cache.
fn parse(text: &str) -> Result<Digest, Failure> {
    let digest = text.parse().map_err(|error: ParseDigestError| {
        Failure::bad_request(format!("the path names no digest: {error}"))
    })?;
    match text.bytes().any(|byte| byte.is_ascii_uppercase()) {
        true => Err(Failure::bad_request("the digest must be in lower case")),
        false => Ok(digest),
    }
}
