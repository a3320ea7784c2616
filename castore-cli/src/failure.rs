//! Failures: one line for a person, an exit code for a script.

use std::error::Error as StdError;
use std::io::{self, Write};
use std::sync::{Mutex, PoisonError};

use castore_core::{Error, ErrorKind};

use crate::redact::redacted;

pub(crate) const FAILED: u8 = 1;
pub(crate) const USAGE: u8 = 2;
pub(crate) const CORRUPT: u8 = 3;
pub(crate) const NO_BLOB: u8 = 4;
pub(crate) const NO_STORE: u8 = 10;

pub(crate) type Result<T, E = Failure> = std::result::Result<T, E>;

/// Writes a line to standard error, without secrets. A closed standard error loses only the line.
pub(crate) fn say(line: impl std::fmt::Display) {
    let line = line.to_string();
    let _ = writeln!(anstream::stderr(), "{}", redacted(&line));
}

static AFTER_INTERRUPT: Mutex<Option<String>> = Mutex::new(None);

/// Sets the advice that an interrupt prints from now on.
pub(crate) fn on_interrupt(advice: impl Into<String>) {
    *AFTER_INTERRUPT.lock().unwrap_or_else(PoisonError::into_inner) = Some(advice.into());
}

/// The advice that an interrupt prints.
pub(crate) fn interrupted() -> String {
    let advice = AFTER_INTERRUPT.lock().unwrap_or_else(PoisonError::into_inner).take();
    advice.unwrap_or_else(|| {
        "the store is good, and what was stored so far is reused next time".to_owned()
    })
}

/// The reason why a command did not do everything that was asked.
#[derive(Debug)]
pub(crate) struct Failure {
    code: u8,
    error: Option<anyhow::Error>,
}

impl Failure {
    pub(crate) fn new(code: u8, message: impl Into<String>) -> Failure {
        Failure { code, error: Some(anyhow::anyhow!(message.into())) }
    }

    /// The end of a command that has already reported each of its failures.
    pub(crate) fn reported(code: u8) -> Failure {
        Failure { code, error: None }
    }

    /// The same failure, with its subject before it.
    pub(crate) fn about(self, what: impl std::fmt::Display) -> Failure {
        let error = self.error.map(|error| error.context(what.to_string()));
        Failure { code: self.code, error }
    }

    /// Prints the failure on standard error.
    pub(crate) fn report(&self, verbose: bool) {
        let Some(error) = &self.error else { return };
        say(format_args!("castore: {}", line(error)));
        if verbose {
            say(format_args!("{error:?}"));
        }
    }

    /// The line that [`Self::report`] prints, without secrets.
    pub(crate) fn message(&self) -> String {
        let message = self.error.as_ref().map(line).unwrap_or_default();
        redacted(&message).into_owned()
    }

    /// Whether the store is unusable, so that the next request would fail as well.
    pub(crate) fn is_of_store(&self) -> bool {
        let Some(error) = &self.error else { return false };
        self.code == NO_STORE
            || error.chain().filter_map(|error| error.downcast_ref::<Error>()).any(|error| {
                matches!(
                    error.kind(),
                    ErrorKind::Unavailable | ErrorKind::StoreNotFound | ErrorKind::PermissionDenied
                )
            })
    }

    pub(crate) fn code(&self) -> u8 {
        self.code
    }
}

impl From<anyhow::Error> for Failure {
    fn from(error: anyhow::Error) -> Failure {
        let code = error.chain().find_map(code_of).unwrap_or(FAILED);
        Failure { code, error: Some(error) }
    }
}

impl From<Error> for Failure {
    fn from(error: Error) -> Failure {
        anyhow::Error::new(error).into()
    }
}

impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Failure {
        // The readers wrap the library's errors in I/O errors; the inner ones say more.
        match error.downcast::<Error>() {
            Ok(error) => error.into(),
            Err(error) => anyhow::Error::new(error).into(),
        }
    }
}

fn code_of(error: &(dyn StdError + 'static)) -> Option<u8> {
    let code = match error.downcast_ref::<Error>()?.kind() {
        ErrorKind::Corrupt => CORRUPT,
        ErrorKind::InvalidInput | ErrorKind::Unsupported => USAGE,
        ErrorKind::StoreNotFound => NO_STORE,
        _ => FAILED,
    };
    Some(code)
}

/// The messages of the chain on one line, without those that repeat the one before.
fn line(error: &anyhow::Error) -> String {
    let mut line = String::new();
    for cause in error.chain() {
        let message = tidy(&cause.to_string());
        if line.contains(&message) {
            continue;
        }
        if !line.is_empty() {
            line.push_str(": ");
        }
        // Our own messages may end with a list of schemes, each with its colon.
        line.push_str(message.trim_end_matches(':'));
    }
    // Some errors include their source's message in their own, which would repeat it.
    let twice = |at: &usize| line[..*at].ends_with(&line[at + 2..]);
    if let Some(at) = line.match_indices(": ").map(|(at, _)| at).find(twice) {
        line.truncate(at);
    }
    if let Some(advice) = error.chain().find_map(advice) {
        line.push_str("; ");
        line.push_str(advice);
    }
    line
}

/// Advice on how to fix the error, if known.
fn advice(error: &(dyn StdError + 'static)) -> Option<&'static str> {
    let error = error.downcast_ref::<Error>()?;
    if code_of(error) == Some(NO_STORE) {
        // The store itself is missing, or something else is at its place.
        return Some(match error.source() {
            Some(_) => "create the bucket, or check its name and the endpoint",
            None => "check the path or URL",
        });
    }
    let text = error.to_string();
    let credentials = text.contains("credentials") || text.contains("the store refused");
    match error.kind() {
        ErrorKind::PermissionDenied if credentials => Some(
            "check the credentials, from the environment (AWS_ACCESS_KEY_ID and the like) or -o",
        ),
        _ => None,
    }
}

/// `text` on one line: of an XML answer only its code and message, and without the error numbers of
/// the system.
fn tidy(text: &str) -> String {
    let text = match text.find("<?xml").or_else(|| text.find("<Error")) {
        Some(start) => {
            let (before, xml) = text.split_at(start);
            let said: Vec<&str> =
                ["Code", "Message"].iter().filter_map(|tag| element(xml, tag)).collect();
            format!("{before}{}", said.join(": "))
        }
        None => text.to_owned(),
    };
    let line = text.split_whitespace().collect::<Vec<_>>().join(" ");
    match line.split_once(" (os error ") {
        Some((before, rest)) => match rest.split_once(')') {
            Some((_, after)) => format!("{before}{after}"),
            None => line,
        },
        None => line,
    }
}

fn element<'a>(xml: &'a str, tag: &str) -> Option<&'a str> {
    let (_, rest) = xml.split_once(&format!("<{tag}>"))?;
    rest.split_once(&format!("</{tag}>")).map(|(text, _)| text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_line_that_says_everything_once() {
        let inner = io::Error::other("two\n   lines");
        let error =
            Error::new(ErrorKind::Unavailable, "test", "the store failed").with_source(inner);
        let failure = Failure::from(error).about("a.txt");
        let line = line(failure.error.as_ref().unwrap());
        assert_eq!(line, "a.txt: cannot test: the store failed: two lines");
        assert_eq!(failure.code(), FAILED);
    }

    #[test]
    fn a_repeated_part_of_a_message_is_said_once() {
        let source = io::Error::other("no right to x: HEAD x in 1 ms: 403: HEAD x in 1 ms: 403");
        let error = Error::new(ErrorKind::PermissionDenied, "test", "refused").with_source(source);
        let failure = Failure::from(error);
        let line = line(failure.error.as_ref().unwrap());
        assert_eq!(line, "cannot test: refused: no right to x: HEAD x in 1 ms: 403");
    }

    #[test]
    fn an_answer_in_xml_becomes_its_message() {
        let text = "status 403: <?xml version=\"1.0\"?>\n<Error><Code>NoKey</Code>\n \
                    <Message>No such key.</Message></Error>";
        assert_eq!(tidy(text), "status 403: NoKey: No such key.");
        assert_eq!(tidy("No such file (os error 2) at a"), "No such file at a");
    }

    #[test]
    fn the_kind_makes_the_code() {
        let code = |kind| Failure::from(Error::new(kind, "test", "x")).code();
        assert_eq!(code(ErrorKind::Corrupt), CORRUPT);
        assert_eq!(code(ErrorKind::InvalidInput), USAGE);
        assert_eq!(code(ErrorKind::Other), FAILED);
        let io = io::Error::from(Error::new(ErrorKind::Corrupt, "test", "x"));
        assert_eq!(Failure::from(io).code(), CORRUPT);
    }
}
