//! Names of files in lines of text, as `b3sum` writes them.

use std::ffi::OsStr;
use std::path::Path;

/// A checksum line: `<hex>  <name>`, without the line break.
///
/// A name with a line break or a backslash in it is escaped, and the line then starts with a
/// backslash. What is not Unicode is replaced by U+FFFD.
pub(crate) fn checksum_line(hex: &str, name: &OsStr) -> String {
    let name = name.to_string_lossy();
    if !name.contains(['\\', '\n', '\r']) {
        return format!("{hex}  {name}");
    }
    let name = name.replace('\\', "\\\\").replace('\n', "\\n").replace('\r', "\\r");
    format!("\\{hex}  {name}")
}

/// A path in a message: in one line, whatever is in it.
pub(crate) fn shown(path: &Path) -> String {
    let text = path.to_string_lossy();
    match text.is_empty() || text.contains(|c: char| c.is_control()) {
        true => format!("{text:?}"),
        false => text.into_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_escaped_as_b3sum_does() {
        let line = |name: &str| checksum_line("00ff", OsStr::new(name));
        assert_eq!(line("a b"), "00ff  a b");
        assert_eq!(line("a\\b"), "\\00ff  a\\\\b");
        assert_eq!(line("a\nb"), "\\00ff  a\\nb");
        assert_eq!(line("a\rb"), "\\00ff  a\\rb");
    }

    #[test]
    fn a_path_in_a_message_stays_in_its_line() {
        assert_eq!(shown(Path::new("a/b c")), "a/b c");
        assert_eq!(shown(Path::new("a\nb")), "\"a\\nb\"");
        assert_eq!(shown(Path::new("")), "\"\"");
    }
}
