//! The program from outside, for a second.

use std::process::{Command, Output};

fn fuzz(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_castore-fuzz")).args(arguments).output().expect("it runs")
}

fn errors(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

#[test]
fn every_target_passes_a_few_seeded_inputs() {
    let output = fuzz(&["--seconds", "2", "--seed", "1"]);
    let errors = errors(&output);
    assert!(output.status.success(), "{errors}");
    assert!(errors.contains("seed 1\n"), "{errors}");
    for target in castore_fuzz::TARGETS.iter().map(|target| target.name) {
        assert!(errors.contains(&format!("{target}: ")), "{target}: {errors}");
    }
}

#[test]
fn an_input_that_fails_is_named_and_fails_again() {
    for seed in ["1", "2", "3"] {
        let output = fuzz(&["canary", "--seconds", "60", "--seed", seed]);
        let errors = errors(&output);
        assert_eq!(output.status.code(), Some(1), "{errors}");
        let again = errors.lines().find_map(|line| line.split_once("--input "));
        let (_, file) = again.expect("the file is named");
        let output = fuzz(&["canary", "--input", file]);
        assert!(!output.status.success(), "{file} passes");
        std::fs::remove_file(file).unwrap();
    }
}

#[test]
fn an_unknown_target_is_an_error_that_says_so() {
    let output = fuzz(&["nothing"]);
    assert_eq!(output.status.code(), Some(1));
    assert!(errors(&output).contains("there is no target \"nothing\""));
}
