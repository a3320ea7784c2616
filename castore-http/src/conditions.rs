//! Conditional requests (RFC 9110, section 13). The entity tag of a blob is its digest.

use axum::http::{HeaderMap, HeaderName, header};
use castore_core::Digest;

/// The outcome of the conditions of a request that reads a present blob.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Verdict {
    Proceed,
    /// The client has the blob.
    NotModified,
    /// `If-Match` asks for other content, and a blob never has any.
    Failed,
}

/// The entity tag of a blob, with its quotes.
pub(crate) fn entity_tag(digest: Digest) -> String {
    format!("\"{digest}\"")
}

/// Judges a `GET` or `HEAD` of a present blob.
pub(crate) fn judge_read(headers: &HeaderMap, digest: Digest) -> Verdict {
    if headers.contains_key(header::IF_MATCH) && !lists(headers, &header::IF_MATCH, digest) {
        return Verdict::Failed;
    }
    match lists(headers, &header::IF_NONE_MATCH, digest) {
        true => Verdict::NotModified,
        false => Verdict::Proceed,
    }
}

/// Whether the conditions of a `PUT` let it happen.
pub(crate) fn allow_write(headers: &HeaderMap, digest: Digest, is_known: bool) -> bool {
    match is_known {
        true => judge_read(headers, digest) == Verdict::Proceed,
        // No tag, and not even `*`, matches a blob that is absent.
        false => !headers.contains_key(header::IF_MATCH),
    }
}

/// Whether `Range` counts: `If-Range` is absent, or is the strong tag of the blob. A date never
/// matches, because no answer has `Last-Modified`.
pub(crate) fn range_counts(headers: &HeaderMap, digest: Digest) -> bool {
    let mut values = headers.get_all(header::IF_RANGE).iter();
    match (values.next(), values.next()) {
        (None, _) => true,
        (Some(value), None) => value.as_bytes() == entity_tag(digest).as_bytes(),
        (Some(_), Some(_)) => false,
    }
}

/// Whether the header lists the tag of the blob, or is `*`. Only `If-None-Match` compares weakly.
fn lists(headers: &HeaderMap, name: &HeaderName, digest: Digest) -> bool {
    let is_weak = *name == header::IF_NONE_MATCH;
    let mut values = headers.get_all(name).iter().filter_map(|value| value.to_str().ok());
    values.any(|value| has_tag(value, &digest.to_string(), is_weak))
}

/// Whether a list of entity tags has `tag`; the tags after a malformed one do not count.
fn has_tag(value: &str, tag: &str, weak_tags_count: bool) -> bool {
    if value.trim_matches([' ', '\t']) == "*" {
        return true;
    }
    let mut rest = value;
    loop {
        rest = rest.trim_start_matches([' ', '\t', ',']);
        let strong = rest.strip_prefix("W/");
        let is_weak = strong.is_some();
        let quoted = strong.unwrap_or(rest).strip_prefix('"');
        let Some((found, after)) = quoted.and_then(|quoted| quoted.split_once('"')) else {
            return false;
        };
        if found == tag && (weak_tags_count || !is_weak) {
            return true;
        }
        rest = after;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_of_tags_are_read_as_the_rfc_has_them() {
        for (value, weakly, strongly) in [
            ("\"a\"", true, true),
            ("W/\"a\"", true, false),
            ("*", true, true),
            (" * ", true, true),
            ("\"b\", \"a\"", true, true),
            ("\"b\",W/\"a\"", true, false),
            (" ,, \"b\" ,\t\"a\",", true, true),
            ("\"x,y\", \"a\"", true, true),
            ("", false, false),
            ("a", false, false),
            ("\"b\"", false, false),
            ("\"a", false, false),
            ("\"aa\"", false, false),
            ("w/\"a\"", false, false),
            ("\"b\", *", false, false),
            ("b, \"a\"", false, false),
        ] {
            assert_eq!(has_tag(value, "a", true), weakly, "{value}");
            assert_eq!(has_tag(value, "a", false), strongly, "{value}");
        }
    }
}
