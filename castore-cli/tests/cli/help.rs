//! The help of each command.

use crate::support::Place;

#[test]
fn every_command_explains_itself() {
    let place = Place::new();
    let mut all = place.ok(&["--help"]);
    for command in [
        "put",
        "get",
        "cat",
        "outboard",
        "stat",
        "ls",
        "rm",
        "gc",
        "copy",
        "stats",
        "diff",
        "doctor",
        "verify",
        "repair",
        "chunk",
        "hash",
        "completions",
    ] {
        all += &format!("\n----- castore {command} --help\n");
        all += &place.ok(&[command, "--help"]);
    }
    insta::assert_snapshot!(all);
}

#[test]
fn every_shell_has_completions() {
    let place = Place::new();
    for shell in ["bash", "elvish", "fish", "powershell", "zsh"] {
        assert!(place.ok(&["completions", shell]).contains("castore"), "{shell}");
    }
}
