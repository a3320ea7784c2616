//! Faults: the reasons why a request or a check did not end well.

use std::error::Error as StdError;
use std::time::Duration;

use castore_core::ErrorKind;

use crate::error::{Trouble, absent, answered_status, chain, store_error, trouble};
use crate::objects::local::LocalError;
use crate::redact::redact_text;

/// The longest quotation of a store's own words on a line, in characters.
const MAX_DETAIL: usize = 160;

/// A request without a useful answer.
#[derive(Debug, Clone)]
pub(super) struct Fault {
    /// The request: `get`, `list`, ...
    pub(super) request: &'static str,
    pub(super) kind: Kind,
    text: String,
    /// The trouble because of which another attempt may succeed, if any.
    pub(super) trouble: Option<Trouble>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// The object is absent.
    Absent,
    /// The bucket or directory of the whole store is absent.
    NoStore,
    /// The credentials do not allow the request.
    Denied,
    /// The store does not support the request.
    Unsupported,
    /// No answer came in time.
    Silent,
    /// The request failed for another reason, which reveals nothing about the store's abilities.
    Failed,
}

impl Fault {
    /// Makes a fault of the store's own error. `status` is the HTTP status that the client noted.
    pub(super) fn of_store(
        request: &'static str,
        error: object_store::Error,
        status: Option<u16>,
    ) -> Fault {
        let absent = absent(&error);
        let code = chain(&error).find_map(|error| code_in(&error.to_string()));
        let no_bucket = matches!(code.as_deref(), Some("NoSuchBucket" | "ContainerNotFound"));
        // A conflict arises only when two requests create the same directory, so only for puts and
        // copies.
        let conflicts = matches!(request, "put" | "copy") && !absent && !no_bucket;
        let trouble = trouble(&error, status);
        let trouble = trouble.filter(|trouble| *trouble != Trouble::Conflict || conflicts);
        let status = status.filter(|status| *status >= 300).or_else(|| answered_status(&error));
        let own = innermost(&error);
        let error = store_error(request, None, error);
        let kind = match error.kind() {
            _ if absent => Kind::Absent,
            _ if no_bucket => Kind::NoStore,
            // A status of 405 may be a conflict, and so was retried. After the last attempt, the
            // request counts as unsupported.
            _ if matches!(status, Some(405 | 501)) => Kind::Unsupported,
            _ if trouble.is_some() => Kind::Failed,
            ErrorKind::StoreNotFound => Kind::NoStore,
            ErrorKind::PermissionDenied => Kind::Denied,
            ErrorKind::Unsupported => Kind::Unsupported,
            _ => Kind::Failed,
        };
        let detail = match (status, code) {
            (Some(status), Some(code)) => format!("{status} {code}"),
            (Some(status), None) => status.to_string(),
            (None, Some(code)) => code,
            (None, None) => own,
        };
        let text = match kind {
            Kind::Absent => "there is no such object".to_owned(),
            Kind::NoStore => format!("the bucket does not exist ({detail})"),
            Kind::Denied => format!("refused ({detail})"),
            Kind::Unsupported => format!("the store cannot do it ({detail})"),
            Kind::Silent | Kind::Failed => detail,
        };
        Fault { request, kind, text: one_line(&text), trouble }
    }

    /// Makes a fault of the error of a request to a directory.
    pub(super) fn of_directory(request: &'static str, error: &LocalError) -> Fault {
        use std::io::ErrorKind as Io;

        let io = match error {
            LocalError::Io { source, .. } => Some(source.kind()),
            LocalError::NotAFile { .. } => None,
        };
        let kind = match io {
            _ if error.is_absent() => Kind::Absent,
            Some(Io::PermissionDenied | Io::ReadOnlyFilesystem) => Kind::Denied,
            Some(Io::Unsupported) => Kind::Unsupported,
            _ => Kind::Failed,
        };
        let cause = StdError::source(error).map(|cause| format!(": {cause}")).unwrap_or_default();
        let text = one_line(without_number(&format!("{error}{cause}")));
        Fault { request, kind, text, trouble: None }
    }

    pub(super) fn io(request: &'static str, error: &std::io::Error) -> Fault {
        Fault::failed(request, without_number(&error.to_string()))
    }

    pub(super) fn failed(request: &'static str, text: &str) -> Fault {
        Fault { request, kind: Kind::Failed, text: one_line(text), trouble: None }
    }

    pub(super) fn silent(request: &'static str, limit: Duration) -> Fault {
        let text = format!("no answer within {limit:?}");
        Fault { request, kind: Kind::Silent, text, trouble: None }
    }

    /// The fault of a request that was not made because too many before it were not answered.
    pub(super) fn given_up() -> Fault {
        let text = "not asked, because the store left several requests in a row without an answer";
        Fault { request: "request", kind: Kind::Silent, text: text.to_owned(), trouble: None }
    }

    pub(super) fn is_absence(&self) -> bool {
        self.kind == Kind::Absent
    }
}

impl std::fmt::Display for Fault {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}: {}", self.request, self.text)
    }
}

/// The reason why a check did not pass.
#[derive(Debug, Clone)]
pub(super) enum Flaw {
    /// The store does not behave as it should.
    Unfit(String),
    /// The result is unknown.
    Unknown(String),
}

/// The result of a check: a remark for the reader, which may be empty, or a flaw.
pub(super) type Finding = Result<String, Flaw>;

impl From<Fault> for Flaw {
    /// Absences are flaws here: a check that allows an absence handles it first.
    fn from(fault: Fault) -> Flaw {
        match fault.kind {
            Kind::Absent | Kind::NoStore | Kind::Denied | Kind::Unsupported => {
                Flaw::Unfit(fault.to_string())
            }
            Kind::Silent | Kind::Failed => Flaw::Unknown(fault.to_string()),
        }
    }
}

/// Fails a check.
pub(super) fn unfit<T>(reason: impl Into<String>) -> Result<T, Flaw> {
    Err(Flaw::Unfit(reason.into()))
}

/// The error code in an XML answer, such as `AccessDenied`.
fn code_in(text: &str) -> Option<String> {
    let (_, rest) = text.split_once("<Code>")?;
    let (code, _) = rest.split_once("</Code>")?;
    let is_code = !code.is_empty() && code.bytes().all(|byte| byte.is_ascii_alphanumeric());
    is_code.then(|| code.to_owned())
}

/// The last message of a chain of errors: the most specific and least repetitive one.
fn innermost(error: &(dyn StdError + 'static)) -> String {
    chain(error).last().map(ToString::to_string).unwrap_or_default()
}

/// `text` without the number of a system error at its end.
fn without_number(text: &str) -> &str {
    text.split_once(" (os error ").map_or(text, |(text, _)| text)
}

/// `text` on one line, without secrets, and cut to [`MAX_DETAIL`] characters.
fn one_line(text: &str) -> String {
    let words: Vec<&str> = text.split(|c: char| c.is_whitespace() || c.is_control()).collect();
    let words: Vec<&str> = words.into_iter().filter(|word| !word.is_empty()).collect();
    let line = words.join(" ");
    let line = redact_text(&line);
    match line.char_indices().nth(MAX_DETAIL) {
        Some((end, _)) => format!("{}...", &line[..end]),
        None => line.into_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(text: &'static str, status: Option<u16>) -> Fault {
        let source = text.into();
        Fault::of_store("get", object_store::Error::Generic { store: "S3", source }, status)
    }

    #[test]
    fn faults_give_the_answer_of_the_store_on_one_short_line() {
        let xml = "Server returned non-2xx status code: 403 Forbidden: <Error>\n\
                   <Code>AccessDenied</Code><Message>no</Message></Error>";
        for (fault, kind, text) in [
            (of(xml, None), Kind::Denied, "get: refused (403 AccessDenied)"),
            (of("two\nlines", None), Kind::Failed, "get: two lines"),
            (of("in other words", Some(503)), Kind::Failed, "get: 503"),
            (
                of("in other words", Some(501)),
                Kind::Unsupported,
                "get: the store cannot do it (501)",
            ),
        ] {
            assert_eq!((fault.kind, fault.to_string().as_str()), (kind, text));
        }
    }

    #[test]
    fn an_absence_is_final_and_no_conflict() {
        let absent = |request, text: &'static str| {
            let (path, source) = ("x".to_owned(), text.into());
            let error = object_store::Error::NotFound { path, source };
            let fault = Fault::of_store(request, error, Some(404));
            (fault.kind, fault.trouble)
        };
        for request in ["get", "head", "copy", "delete"] {
            assert_eq!(absent(request, "<Code>NoSuchKey</Code>"), (Kind::Absent, None));
            assert_eq!(absent(request, "<Code>NoSuchBucket</Code>"), (Kind::NoStore, None));
        }
        let conflict = "Server returned non-2xx status code: 409 Conflict: x";
        assert_eq!(of(conflict, None).trouble, None, "a get makes no directory");
    }

    #[test]
    fn no_fault_shows_a_secret_or_a_page() {
        let fault = of("GET https://me:secret@host/a?sig=secret failed", None).to_string();
        assert!(!fault.contains("secret"), "{fault}");
        let long = Fault::failed("get", &"x".repeat(10_000)).to_string();
        assert!(long.len() < 200, "{long}");
    }
}
