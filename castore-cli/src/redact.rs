//! Removes secrets in URLs and settings from all output of the program.

use std::borrow::Cow;
use std::ops::Range;

/// Replaces a secret.
const HIDDEN: &str = "***";

/// The ends of the names of parameters and settings whose values are secrets, in lower case.
const SECRET: [&str; 15] = [
    "sig",
    "sas",
    "signature",
    "token",
    "password",
    "passwd",
    "secret",
    "credential",
    "authorization",
    "accountkey",
    "accesskey",
    "sharedkey",
    "apikey",
    "_key",
    "_key_base64",
];

/// `text` without secrets: `***` replaces the user information of each URL, and the value of each
/// parameter whose name marks a secret (`?sig=...`, `aws_secret_access_key=...`).
pub(crate) fn redacted(text: &str) -> Cow<'_, str> {
    let mut secrets: Vec<Range<usize>> = user_information(text).chain(parameters(text)).collect();
    if secrets.is_empty() {
        return Cow::Borrowed(text);
    }
    secrets.sort_by_key(|secret| secret.start);
    let mut clean = String::with_capacity(text.len());
    let mut end = 0;
    for secret in secrets {
        if secret.start >= end {
            clean.push_str(&text[end..secret.start]);
            clean.push_str(HIDDEN);
        }
        end = end.max(secret.end);
    }
    clean.push_str(&text[end..]);
    Cow::Owned(clean)
}

/// The parts between `://` and `@`.
fn user_information(text: &str) -> impl Iterator<Item = Range<usize>> {
    text.match_indices("://").filter_map(|(at, separator)| {
        let start = at + separator.len();
        let rest = &text[start..];
        let ends = |c: char| "/?#\\".contains(c) || is_quote(c) || c.is_whitespace();
        let authority = &rest[..rest.find(ends).unwrap_or(rest.len())];
        if let Some(length) = authority.rfind('@') {
            return Some(start..start + length);
        }
        // A password with an unescaped special character looks like an invalid port.
        let (_, port) = authority.rsplit_once(':').filter(|_| !authority.starts_with('['))?;
        let next = rest[authority.len()..].chars().next();
        if port.bytes().all(|byte| byte.is_ascii_digit())
            && (!port.is_empty() || next.is_none_or(char::is_whitespace))
        {
            return None;
        }
        let line = &rest[..rest.find(|c| is_quote(c) || c == '\n').unwrap_or(rest.len())];
        let first = line.find('@')?;
        let word = line[first..].find(char::is_whitespace).map_or(line.len(), |end| first + end);
        let length = line[..word].rfind('@')?;
        Some(start..start + length)
    })
}

/// The values of secret parameters.
fn parameters(text: &str) -> impl Iterator<Item = Range<usize>> {
    text.match_indices('=').filter_map(|(at, _)| {
        let named = |c: char| c.is_ascii_alphanumeric() || "_-.".contains(c);
        let name = &text[..at];
        let name = name[name.trim_end_matches(named).len()..].to_ascii_lowercase();
        if !SECRET.iter().any(|secret| name.ends_with(secret)) {
            return None;
        }
        let value = &text[at + 1..];
        let quote = value.chars().next().filter(|c| is_quote(*c));
        let skipped = quote.map_or(0, char::len_utf8);
        let ends = |c: char| match quote {
            Some(quote) => c == quote,
            None => "&;,)#".contains(c) || is_quote(c) || c.is_whitespace(),
        };
        let length = value[skipped..].find(ends).unwrap_or(value.len() - skipped);
        let start = at + 1 + skipped;
        (length > 0).then_some(start..start + length)
    })
}

fn is_quote(c: char) -> bool {
    "\"'`<>".contains(c)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secrets_are_hidden_and_all_else_stays() {
        for (text, clean) in [
            ("https://user:PASSWORD@host/x", "https://***@host/x"),
            ("s3://AKIA@bucket/base: refused", "s3://***@bucket/base: refused"),
            ("\"https://user:PASS WORD@ho st/\" is no URL", "\"https://***@ho st/\" is no URL"),
            ("https://user:PASS/WORD@host/a@b c", "https://***@b c"),
            ("https://u:p@ss@host/", "https://***@host/"),
            (
                "https://acct.example/c?sv=1&sig=SEC%2BRET%3D&se=2",
                "https://acct.example/c?sv=1&sig=***&se=2",
            ),
            ("?X-Amz-Signature=SECRET&X-Amz-Date=1", "?X-Amz-Signature=***&X-Amz-Date=1"),
            ("AccountKey=SECRET==;Next=1", "AccountKey=***;Next=1"),
            ("aws_secret_access_key=\"SEC RET\" x=1", "aws_secret_access_key=\"***\" x=1"),
            ("a https://u:p@h b https://v:q@h c", "a https://***@h b https://***@h c"),
        ] {
            assert_eq!(redacted(text), clean);
        }
        for text in [
            "s3://bucket/a@b",
            "http://127.0.0.1:99999/x: refused; ask admin@example.com",
            "http://[::1]:80/x y@z",
            "http://host: it is down; ask admin@example.com",
            "region=eu-west-1 sig=",
            "digest  a=b",
        ] {
            assert_eq!(redacted(text), text);
        }
    }

    #[test]
    fn no_text_makes_it_fail() {
        for text in
            ["://", "://@", "=", "sig=\"", "é://é:é/é@é", "tokené=é", "token=é", "https://u:é é@é"]
        {
            assert!(redacted(text).len() <= text.len() + 2 * HIDDEN.len(), "{text}");
        }
    }
}
