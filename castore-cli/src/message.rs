//! What is said on stderr: one line for each thing, whatever the errors in it look like.

use std::io::Write;

use castore_core::ErrorKind;
use clap::builder::styling::AnsiColor;

use crate::exit::{self, Failure};

/// Says `text` on stderr, as a line of its own. Where nobody listens, nothing is said.
pub(crate) fn say(text: &str) {
    let style = AnsiColor::BrightBlack.on_default();
    let _ = writeln!(anstream::stderr(), "{style}castore:{style:#} {text}");
}

/// Says that something failed.
pub(crate) fn complain(text: &str) {
    let style = AnsiColor::Red.on_default().bold();
    let _ = writeln!(anstream::stderr(), "{style}castore:{style:#} {text}");
}

/// The whole of `error` in one line, and what to do about it where that is known.
pub(crate) fn of_error(error: &anyhow::Error) -> String {
    let mut line = String::new();
    for error in error.chain() {
        let text = tidy(&error.to_string());
        // Many an error repeats its source.
        if line.is_empty() {
            line = text;
        } else if !line.contains(&text) {
            line = format!("{line}: {text}");
        }
    }
    match advice(error) {
        Some(advice) => format!("{line}; {advice}"),
        None => line,
    }
}

/// Every error in the chain on a line of its own, and all that is known of them, for `-v`.
pub(crate) fn details(error: &anyhow::Error) -> String {
    format!("{error:#?}")
}

fn advice(error: &anyhow::Error) -> Option<&'static str> {
    if error.downcast_ref::<Failure>().is_some() {
        return None;
    }
    let store = error.downcast_ref::<castore_core::Error>()?;
    if exit::no_such_bucket(store) {
        return Some("create the bucket first, or check its name and the endpoint");
    }
    let text = store.to_string();
    let says = |part: &str| text.contains(part);
    match store.kind() {
        ErrorKind::PermissionDenied if says("credentials") || says("refused") => Some(
            "check the credentials, which come from the environment \
             (AWS_ACCESS_KEY_ID and the like) or from -o",
        ),
        ErrorKind::Corrupt => Some("putting the same data again repairs it"),
        _ => None,
    }
}

/// One line out of an error's text: no line breaks, no XML, no number of an operating system's
/// error after its name.
fn tidy(text: &str) -> String {
    let text = match (text.find("<?xml"), text.find("<Error")) {
        (Some(start), _) | (None, Some(start)) => {
            let (before, xml) = text.split_at(start);
            let parts: Vec<&str> =
                ["Code", "Message"].iter().filter_map(|tag| element(xml, tag)).collect();
            format!("{before}{}", parts.join(": "))
        }
        (None, None) => text.to_owned(),
    };
    let mut words: Vec<&str> = text.split_whitespace().collect();
    while let Some(at) = words.windows(3).position(is_os_error) {
        words.drain(at..at + 3);
    }
    words.join(" ")
}

/// `(os error 2)`, which the text before it says better. With a colon after it, it stays.
fn is_os_error(words: &[&str]) -> bool {
    words[0] == "(os"
        && words[1] == "error"
        && words[2].strip_suffix(')').is_some_and(|number| number.parse::<i32>().is_ok())
}

fn element<'a>(xml: &'a str, tag: &str) -> Option<&'a str> {
    let (_, rest) = xml.split_once(&format!("<{tag}>"))?;
    let (text, _) = rest.split_once(&format!("</{tag}>"))?;
    Some(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_in_xml_becomes_its_message() {
        let text = "Client error with status 403 Forbidden: <?xml version=\"1.0\"?>\n<Error>\
                    <Code>InvalidAccessKeyId</Code>\n <Message>No such key.</Message></Error>";
        assert_eq!(
            tidy(text),
            "Client error with status 403 Forbidden: InvalidAccessKeyId: No such key."
        );
    }

    #[test]
    fn sources_are_not_repeated() {
        let source = std::io::Error::from_raw_os_error(2);
        let text = source.to_string();
        let error = anyhow::Error::new(source).context(format!("cannot open x: {text}"));
        let line = of_error(&error);
        assert_eq!(line.matches("No such file").count(), 1, "{line}");
        assert!(!line.contains("os error"), "{line}");
    }

    #[test]
    fn lines_are_joined() {
        let error = anyhow::anyhow!("a\n  b").context("c");
        assert_eq!(of_error(&error), "c: a b");
    }
}
