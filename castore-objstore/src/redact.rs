//! Keeps secrets out of messages: a URL is shown without its user information, and without the
//! values of query parameters that may be signatures or tokens.

use std::borrow::Cow;
use std::error::Error as StdError;
use std::fmt;

/// The replacement for a secret.
const HIDDEN: &str = "***";

/// The query parameters of the stores' own protocols, which never hold a secret. Any other
/// parameter may hold one.
const HARMLESS: [&str; 23] = [
    "alt",
    "comp",
    "continuation-token",
    "delete",
    "delimiter",
    "encoding-type",
    "fields",
    "include",
    "key-marker",
    "list-type",
    "marker",
    "max-keys",
    "maxresults",
    "pagetoken",
    "partnumber",
    "prefix",
    "prettyprint",
    "restype",
    "showonly",
    "start-after",
    "startoffset",
    "versions",
    "x-id",
];

/// `url` for messages and logs: without user information, and without the values of query
/// parameters that may be secrets, which are replaced by `***`. The fragment is hidden as a whole.
///
/// The text need not be a well-formed URL, because URLs in error messages often are not. In doubt
/// more is hidden than is secret. A path of a local directory is returned unchanged.
///
/// ```
/// use castore_objstore::redact_url;
///
/// assert_eq!(redact_url("https://me:secret@host/a?sig=secret"), "https://***@host/a?sig=***");
/// assert_eq!(redact_url("s3://bucket/base"), "s3://bucket/base");
/// assert_eq!(redact_url("/srv/a:b@c?d"), "/srv/a:b@c?d");
/// ```
pub fn redact_url(url: &str) -> String {
    let Some((scheme, rest)) = split_scheme(url) else { return url.to_owned() };
    let mut shown = url[..scheme].to_owned();
    let rest = match end_of_user(rest) {
        Some(end) => {
            shown.push_str(HIDDEN);
            &rest[end..]
        }
        None => rest,
    };
    let (rest, fragment) = split_at_first(rest, '#');
    let (path, query) = split_at_first(rest, '?');
    shown.push_str(path);
    if let Some(query) = query {
        for (number, pair) in query.split('&').enumerate() {
            shown.push(if number == 0 { '?' } else { '&' });
            match pair.split_once('=') {
                Some((name, _)) if !is_harmless(name) => {
                    shown.push_str(name);
                    shown.push('=');
                    shown.push_str(HIDDEN);
                }
                None if !is_harmless(pair) => shown.push_str(HIDDEN),
                _ => shown.push_str(pair),
            }
        }
    }
    if fragment.is_some() {
        shown.push('#');
        shown.push_str(HIDDEN);
    }
    shown
}

/// `text` with every URL in it redacted.
pub(crate) fn redact_text(text: &str) -> Cow<'_, str> {
    let mut shown = String::new();
    let mut rest = text;
    while let Some(colon) = rest.find("://") {
        let start = rest[..colon].rfind(|c: char| !is_scheme_char(c));
        let start = start.map_or(0, |at| at + rest[at..].chars().next().map_or(1, char::len_utf8));
        let end = rest[start..].find(ends_url).map_or(rest.len(), |length| start + length);
        shown.push_str(&rest[..start]);
        shown.push_str(&redact_url(&rest[start..end]));
        rest = &rest[end..];
    }
    shown.push_str(rest);
    if shown == text { Cow::Borrowed(text) } else { Cow::Owned(shown) }
}

/// `error` unchanged if its texts show no secret; otherwise the texts of `error` and its sources
/// with their secrets hidden.
pub(crate) fn redact_error<E: StdError + Send + Sync + 'static>(
    error: E,
) -> Box<dyn StdError + Send + Sync> {
    let shows_secret = |error: &(dyn StdError + 'static)| {
        let shown = error.to_string();
        matches!(redact_text(&shown), Cow::Owned(_))
    };
    let debug = format!("{error:?}");
    let clean = matches!(redact_text(&debug), Cow::Borrowed(_))
        && !crate::error::chain(&error).any(shows_secret);
    match clean {
        true => Box::new(error),
        false => Box::new(Redacted::new(&error)),
    }
}

/// The redacted texts of an error and its sources.
#[derive(Debug)]
struct Redacted {
    text: String,
    source: Option<Box<Redacted>>,
}

impl Redacted {
    fn new(error: &(dyn StdError + 'static)) -> Redacted {
        let text = redact_text(&error.to_string()).into_owned();
        let source = error.source().map(|source| Box::new(Redacted::new(source)));
        Redacted { text, source }
    }
}

impl fmt::Display for Redacted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl StdError for Redacted {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        Some(self.source.as_deref()?)
    }
}

/// The length of the scheme with its colon and slashes, and the rest; `None` if `url` is a path.
fn split_scheme(url: &str) -> Option<(usize, &str)> {
    let (scheme, rest) = url.split_once(':')?;
    // A scheme of one letter is a Windows drive.
    if scheme.len() < 2 || !scheme.chars().all(is_scheme_char) {
        return None;
    }
    let after = rest.trim_start_matches(['/', '\\']);
    Some((url.len() - after.len(), after))
}

/// The position of the `@` that ends the user information at the start of `rest`.
///
/// A password that is not percent-encoded may contain characters that end the host of a well-formed
/// URL. So if the host is followed by a colon and something other than a port number, the last `@`
/// in the text ends the password.
fn end_of_user(rest: &str) -> Option<usize> {
    let host = rest.find(['/', '\\', '?', '#']).unwrap_or(rest.len());
    if let Some(end) = rest[..host].rfind('@') {
        return Some(end);
    }
    let (_, port) = rest[..host].rsplit_once(':')?;
    let is_port = port.bytes().all(|byte| byte.is_ascii_digit()) || rest.starts_with('[');
    if is_port { None } else { rest.rfind('@') }
}

fn split_at_first(text: &str, separator: char) -> (&str, Option<&str>) {
    match text.split_once(separator) {
        Some((before, after)) => (before, Some(after)),
        None => (text, None),
    }
}

fn is_harmless(parameter: &str) -> bool {
    HARMLESS.iter().any(|harmless| parameter.eq_ignore_ascii_case(harmless)) || parameter.is_empty()
}

fn is_scheme_char(c: char) -> bool {
    c.is_ascii_alphanumeric() || matches!(c, '+' | '-' | '.')
}

fn ends_url(c: char) -> bool {
    c.is_whitespace() || matches!(c, '"' | '\'' | '<' | '>' | '`' | ')' | '}' | ',')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_secret_of_a_url_is_shown() {
        for (url, shown) in [
            ("https://user:SECRET@host/x", "https://***@host/x"),
            ("https://SECRET@host", "https://***@host"),
            ("https://user:SECRET@ho st/", "https://***@ho st/"),
            ("https://user:SECRET@127.0.0.1:99999/x", "https://***@127.0.0.1:99999/x"),
            ("https://user:SE/CRET@host/x", "https://***@host/x"),
            ("https://user:SE?CRET@host/x", "https://***@host/x"),
            ("https://user:SE#CRET@host/x", "https://***@host/x"),
            ("https://user:SEC@RET@host/x", "https://***@host/x"),
            ("https:user:SECRET@host/x", "https:***@host/x"),
            ("https:\\\\user:SECRET@host\\x", "https:\\\\***@host\\x"),
            (
                "https://a.blob.core.windows.net/c?sig=SECRET",
                "https://a.blob.core.windows.net/c?sig=***",
            ),
            ("https://host/c?comp=list&sig=SECRET&se=1", "https://host/c?comp=list&sig=***&se=***"),
            ("https://host/c?SECRET", "https://host/c?***"),
            ("https://host/c#SECRET", "https://host/c#***"),
            ("s3://bucket:9000/x@y", "s3://bucket:9000/x@y"),
            ("s3://bucket/x", "s3://bucket/x"),
            ("http://[::1]:80/a@b", "http://[::1]:80/a@b"),
            ("./a:b@c", "./a:b@c"),
            ("C:\\a@b?c", "C:\\a@b?c"),
        ] {
            assert_eq!(redact_url(url), shown, "{url}");
        }
    }

    #[test]
    fn every_url_in_a_text_is_redacted() {
        let text = "Error performing GET https://h/c?list-type=2&sig=SECRET \
                    (from \"http://u:SECRET@p:1/\") in 3s";
        let shown =
            "Error performing GET https://h/c?list-type=2&sig=*** (from \"http://***@p:1/\") in 3s";
        assert_eq!(redact_text(text), shown);
        let clean = "GET http://127.0.0.1:9000/b?list-type=2&prefix=a%2Fb in 3\u{b5}s: status 503";
        assert!(matches!(redact_text(clean), Cow::Borrowed(_)));
        assert_eq!(redact_text("\u{e4}\u{20ac}https://u:SECRET@h"), "\u{e4}\u{20ac}https://***@h");
    }

    #[test]
    fn an_error_keeps_its_type_unless_it_shows_a_secret() {
        let clean = redact_error(std::io::Error::other("https://host/c?list-type=2"));
        assert!(clean.downcast_ref::<std::io::Error>().is_some());
        let inner = std::io::Error::other("GET https://u:SECRET@host");
        let outer = object_store::Error::Generic { store: "test", source: Box::new(inner) };
        let redacted = redact_error(outer);
        let texts: Vec<_> =
            crate::error::chain(redacted.as_ref()).map(ToString::to_string).collect();
        assert!(texts.len() > 1 && texts.iter().all(|text| text.contains("***@host")), "{texts:?}");
        assert!(!format!("{redacted:?} {texts:?}").contains("SECRET"), "{redacted:?}");
    }
}
