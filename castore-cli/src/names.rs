//! File names as printed. Different names are printed differently, whatever bytes they hold.

use std::borrow::Cow;
use std::fmt::Write as _;
use std::path::Path;

use castore_core::Digest;

/// A digest and a name in the format of `b3sum`. A name with a line break, a backslash or bytes
/// that are not UTF-8 is escaped (`\n`, `\r`, `\\`, `\xff`), and the line then starts with a
/// backslash.
pub(crate) fn b3sum(digest: &Digest, path: &Path) -> String {
    let name = text(path);
    match name {
        Cow::Borrowed(name) if !name.contains(['\\', '\n', '\r']) => format!("{digest}  {name}"),
        _ => format!("\\{digest}  {}", escaped(path).replace('\n', "\\n").replace('\r', "\\r")),
    }
}

/// A name in JSON: unchanged, or escaped if it is not UTF-8 or contains `\x`. A name with `\x` in
/// it is thus always an escaped one, in which `\\` is a backslash and `\xff` a byte.
pub(crate) fn json(path: &Path) -> Cow<'_, str> {
    match text(path) {
        Cow::Borrowed(name) if !name.contains("\\x") => Cow::Borrowed(name),
        _ => Cow::Owned(escaped(path)),
    }
}

/// A path in a message: on one line, whatever characters it has.
pub(crate) fn shown(path: &Path) -> String {
    match text(path) {
        Cow::Borrowed(name) if name.is_empty() || name.contains(char::is_control) => {
            format!("{name:?}")
        }
        Cow::Borrowed(name) => name.to_owned(),
        Cow::Owned(_) => {
            let mut name = String::new();
            for c in escaped(path).chars() {
                match c.is_control() {
                    true => name.extend(c.escape_default()),
                    false => name.push(c),
                }
            }
            format!("\"{name}\"")
        }
    }
}

/// Borrowed if the name is UTF-8.
fn text(path: &Path) -> Cow<'_, str> {
    path.to_string_lossy()
}

/// The name with `\\` for each backslash and `\xff` for each byte that is not a part of UTF-8.
fn escaped(path: &Path) -> String {
    let mut name = String::new();
    for chunk in path.as_os_str().as_encoded_bytes().utf8_chunks() {
        name.push_str(&chunk.valid().replace('\\', "\\\\"));
        for byte in chunk.invalid() {
            // Writing to a string cannot fail.
            let _ = write!(name, "\\x{byte:02x}");
        }
    }
    name
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_escaped_as_b3sum_does() {
        let line = |name: &str| b3sum(&Digest::EMPTY, Path::new(name));
        assert_eq!(line("a b"), format!("{}  a b", Digest::EMPTY));
        assert_eq!(line("a\\b\nc"), format!("\\{}  a\\\\b\\nc", Digest::EMPTY));
    }

    #[cfg(unix)]
    #[test]
    fn names_that_differ_are_printed_differently() {
        use std::collections::HashSet;
        use std::ffi::OsStr;
        use std::os::unix::ffi::OsStrExt;

        let names = [
            &b"a\xff"[..],
            b"a\xfe",
            b"a\\xff",
            b"a\\\\xff",
            b"a\\\xff",
            b"a\xef\xbf\xbd",
            b"a\n\xff",
            b"a\\n\xff",
            b"a",
            b"a\\",
        ];
        let paths = names.map(|name| Path::new(OsStr::from_bytes(name)));
        let distinct = |printed: [String; 10]| printed.into_iter().collect::<HashSet<_>>().len();
        assert_eq!(distinct(paths.map(|path| b3sum(&Digest::EMPTY, path))), names.len());
        assert_eq!(distinct(paths.map(|path| json(path).into_owned())), names.len());
        assert_eq!(json(paths[0]), "a\\xff");
        assert_eq!(json(paths[9]), "a\\");
        assert_eq!(b3sum(&Digest::EMPTY, paths[0]), format!("\\{}  a\\xff", Digest::EMPTY));
        assert_eq!(shown(paths[0]), "\"a\\xff\"");
        assert_eq!(shown(paths[6]), "\"a\\n\\xff\"");
        assert!(paths.iter().all(|path| !shown(path).contains(char::is_control)));
    }
}
