//! Secrets in URLs and options: nothing that the program prints shows them.

use crate::support::{Place, ran};

#[test]
fn the_help_does_not_show_the_store() {
    let place = Place::new();
    for args in [&["--help"][..], &["-h"], &["put", "--help"], &["help", "ls"]] {
        let mut command = place.command(args);
        command.env("CASTORE_STORE", "https://user:PASSWORD@host/?sig=SECRET");
        let help = ran(&command.output().unwrap());
        assert_eq!(help.code, 0);
        let text = help.text();
        assert!(text.contains("Usage: castore") && text.contains("[env: CASTORE_STORE]"), "{text}");
        assert!(!text.contains("PASSWORD") && !text.contains("SECRET"), "{text}");
    }
}

#[test]
fn no_message_shows_a_secret() {
    let place = Place::new();
    place.write("in", b"hello");
    place.ok(&["-q", "put", "in"]);
    let digest = "0".repeat(64);
    for url in [
        "https://user:PASSWORD@ho st/",
        "https://user:PASS#WORD@host/",
        "https://user:PASSWORD@127.0.0.1:99999/x",
        "s3://user:PASSWORD@bucket/x",
        "gopher://user:PASSWORD@bucket/x",
        "https://acct.blob.core.windows.net/c?sv=1&sig=PASSWORD&se=2",
        "s3://bucket/x?X-Amz-Signature=PASSWORD",
        "missing?sig=PASSWORD",
    ] {
        for args in [
            &["ls"][..],
            &["-v", "ls"],
            &["put", "in"],
            &["--json", "cat", &digest],
            &["copy", "--to", url, "--all"],
            &["-s", "store", "repair", "--from", url],
        ] {
            let mut command = place.command(args);
            command.env("CASTORE_STORE", url);
            let run = ran(&command.output().unwrap());
            let said = run.text() + &run.stderr;
            assert!(!said.contains("PASS") && !said.contains("WORD"), "{url} {args:?}: {said}");
            assert!(run.code != 0 || url.starts_with("missing"), "{url} {args:?}");
        }
    }
}

#[test]
fn no_mistake_on_the_command_line_shows_a_secret() {
    let place = Place::new();
    for args in [
        &["ls", "http://user:PASSWORD@host/x?sig=PASSWORD"][..],
        &["https://user:PASSWORD@host/x"],
        &["put", "--at", "https://host/x?sig=PASSWORD"],
        &["--https://user:PASSWORD@host/x", "ls"],
    ] {
        let run = place.run(args);
        assert_eq!(run.code, 2, "{run:?}");
        assert!(run.stderr.starts_with("error: ") && !run.stderr.contains("PASSWORD"), "{run:?}");
    }
    assert!(place.run(&["ls", "--lnog"]).stderr.contains("--long"), "it still helps");
}

#[test]
fn an_option_that_is_malformed_is_not_repeated() {
    let place = Place::new();
    for args in [
        &["-o", "PASSWORD", "ls"][..],
        &["copy", "--to", "x", "--to-option", "PASSWORD", "--all"],
        &["repair", "--from-option", "PASSWORD"],
    ] {
        let run = place.run(args);
        assert_eq!(run.code, 2, "{run:?}");
        assert!(run.stderr.contains("is not KEY=VALUE"), "{run:?}");
        assert!(run.stderr.contains("option") && !run.stderr.contains("PASSWORD"), "{run:?}");
    }
}
