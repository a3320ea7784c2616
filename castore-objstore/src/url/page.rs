//! Checks the pages of a listing before `object_store` reads them.
//!
//! `object_store` ends a listing at the first page that names no next one, even if that page says
//! that more follow. Servers that support only the first version of S3's protocol answer so. A
//! listing that ends early makes chunks look unused, and a garbage collector removes them.

use std::borrow::Cow;

use bytes::{Bytes, BytesMut};
use futures_util::{Stream, TryStreamExt};
use object_store::client::{HttpError, HttpRequest};

use crate::error::FailedAnswer;

/// The longest page, in bytes: 5,000 entries with keys of 1,024 bytes, each byte of them escaped,
/// take a third of that.
const MAX_PAGE: usize = 32 * 1024 * 1024;

/// The largest part of a failed request's body that is read, in bytes: enough for every message.
const MAX_MESSAGE: usize = 64 * 1024;

/// The names by which requests and answers refer to pages, if `request` asks for a page of a
/// listing.
pub(super) fn asks_for_page(request: &HttpRequest) -> Option<Protocol> {
    let query = request.uri().query().unwrap_or_default();
    let has = |name: &str, value: &str| parameters(query).any(|(n, v)| n == name && v == value);
    match request.method().as_str() {
        "GET" if has("list-type", "2") => {
            Some(Protocol { asked: "continuation-token", next: "NextContinuationToken" })
        }
        "GET" if has("comp", "list") => Some(Protocol { asked: "marker", next: "NextMarker" }),
        _ => None,
    }
}

/// The body of an answer, as a stream.
pub(super) trait Body: Stream<Item = Result<Bytes, HttpError>> + Unpin {}

impl<S: Stream<Item = Result<Bytes, HttpError>> + Unpin> Body for S {}

/// How a protocol requests a page of a listing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Protocol {
    /// The parameter that names the page.
    asked: &'static str,
    /// The element of the answer that names the next page.
    next: &'static str,
}

impl Protocol {
    /// The page that `request` asks for; `None` for the first.
    pub(super) fn asked(self, request: &HttpRequest) -> Option<String> {
        let query = request.uri().query().unwrap_or_default();
        parameters(query).find(|(name, _)| name == self.asked).map(|(_, token)| token.into_owned())
    }

    /// The bytes of a page, after the check that the page either is the last one or names another
    /// one.
    pub(super) async fn read(
        self,
        asked: Option<String>,
        body: impl Body,
    ) -> Result<Bytes, HttpError> {
        let page = up_to(MAX_PAGE, body).await?.ok_or(FailedAnswer::LongPage(MAX_PAGE))?;
        self.check(asked.as_deref(), &String::from_utf8_lossy(&page))?;
        Ok(page)
    }

    /// Checks `page`, the answer to a request for the page `asked`.
    fn check(self, asked: Option<&str>, page: &str) -> Result<(), FailedAnswer> {
        let next = element(page, self.next).filter(|token| !token.is_empty());
        match (next, asked) {
            (Some(next), Some(asked)) if next == asked => Err(FailedAnswer::RepeatedPage),
            (None, _) if element(page, "IsTruncated").is_some_and(|text| text == "true") => {
                Err(FailedAnswer::NoNextPage)
            }
            _ => Ok(()),
        }
    }
}

/// The body of a failed request, truncated to the length of the longest message.
pub(super) async fn message(body: impl Body) -> Result<Bytes, HttpError> {
    let mut message = collect(MAX_MESSAGE, body).await?;
    message.truncate(MAX_MESSAGE);
    Ok(message.freeze())
}

/// The whole body, or `None` if it is longer than `most` bytes.
pub(super) async fn up_to(most: usize, body: impl Body) -> Result<Option<Bytes>, HttpError> {
    let whole = collect(most, body).await?;
    Ok((whole.len() <= most).then(|| whole.freeze()))
}

/// The body, up to the piece that exceeds `most` bytes in total.
async fn collect(most: usize, mut body: impl Body) -> Result<BytesMut, HttpError> {
    let mut collected = BytesMut::new();
    while collected.len() <= most
        && let Some(piece) = body.try_next().await?
    {
        collected.extend_from_slice(&piece);
    }
    Ok(collected)
}

fn parameters(query: &str) -> impl Iterator<Item = (Cow<'_, str>, Cow<'_, str>)> {
    url::form_urlencoded::parse(query.as_bytes())
}

/// The text of the first element of this name in an XML document. XML escapes text, so a key cannot
/// look like an element.
fn element<'a>(document: &'a str, name: &str) -> Option<Cow<'a, str>> {
    let (_, rest) = document.split_once(&format!("<{name}>"))?;
    let (text, _) = rest.split_once("</")?;
    let text = text.trim();
    if !text.contains('&') {
        return Some(Cow::Borrowed(text));
    }
    let entities =
        [("&lt;", "<"), ("&gt;", ">"), ("&quot;", "\""), ("&apos;", "'"), ("&amp;", "&")];
    let unescape =
        |text: String, (entity, character): (&str, &str)| text.replace(entity, character);
    Some(Cow::Owned(entities.into_iter().fold(text.to_owned(), unescape)))
}

#[cfg(test)]
mod tests {
    use super::*;

    const S3: Protocol = Protocol { asked: "continuation-token", next: "NextContinuationToken" };

    fn page(elements: &str) -> String {
        format!(
            "<ListBucketResult><Name>b</Name><Contents><Key>a&lt;IsTruncated&gt;true</Key>\
             </Contents>{elements}</ListBucketResult>"
        )
    }

    #[test]
    fn a_page_before_others_names_the_next_one() {
        let more = "<IsTruncated>true</IsTruncated>";
        let next = |token: &str| {
            page(&format!("{more}<NextContinuationToken>{token}</NextContinuationToken>"))
        };
        assert_eq!(S3.check(None, &page("<IsTruncated>false</IsTruncated>")), Ok(()));
        assert_eq!(S3.check(None, &page("")), Ok(()));
        assert_eq!(S3.check(None, &next("1")), Ok(()));
        assert_eq!(S3.check(Some("0"), &next("1")), Ok(()));
        assert_eq!(S3.check(Some("1"), &next("1")), Err(FailedAnswer::RepeatedPage));
        assert_eq!(S3.check(Some("a&b"), &next("a&amp;b")), Err(FailedAnswer::RepeatedPage));
        for page in [page(more), next(""), page(&format!("{more}<NextMarker>k</NextMarker>"))] {
            assert_eq!(S3.check(None, &page), Err(FailedAnswer::NoNextPage), "{page}");
            assert_eq!(S3.check(Some("1"), &page), Err(FailedAnswer::NoNextPage), "{page}");
        }
    }

    #[test]
    fn only_listings_are_asked_for_by_page() {
        let protocol = |method: &str, uri: &str| {
            let request = http::Request::builder().method(method).uri(uri);
            let request = request.body(Bytes::new().into()).unwrap();
            let protocol = asks_for_page(&request);
            protocol.map(|protocol| (protocol.next, protocol.asked(&request)))
        };
        let s3 = "http://h/b?list-type=2&prefix=x&continuation-token=a%2Bb";
        assert_eq!(protocol("GET", s3), Some(("NextContinuationToken", Some("a+b".to_owned()))));
        assert_eq!(protocol("GET", "http://h/b?list-type=2").unwrap().1, None);
        let azure = "http://h/c?restype=container&comp=list&marker=m";
        assert_eq!(protocol("GET", azure), Some(("NextMarker", Some("m".to_owned()))));
        assert_eq!(protocol("GET", "http://h/b/key"), None);
        assert_eq!(protocol("PUT", "http://h/b/key?list-type=2"), None);
    }

    #[tokio::test]
    async fn a_body_is_held_up_to_the_size_of_a_page_or_a_message() {
        let endless = || {
            let piece = Bytes::from_static(&[b'x'; 60_000]);
            futures_util::stream::repeat_with(move || Ok(piece.clone()))
        };
        let error = S3.read(None, endless()).await.unwrap_err();
        assert!(std::error::Error::source(&error).unwrap().is::<FailedAnswer>(), "{error:?}");
        assert_eq!(message(endless()).await.unwrap().len(), MAX_MESSAGE);
    }
}
