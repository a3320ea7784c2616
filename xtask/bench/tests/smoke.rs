//! Tests the program from outside, with little data.

use std::path::Path;
use std::process::{Command, Output};

fn bench(data: &Path, arguments: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_castore-bench"));
    command.arg("--data").arg(data).args(arguments).output().expect("it runs")
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

#[test]
fn a_filtered_run_measures_checks_and_reports() {
    let data = tempfile::tempdir().unwrap();
    let (json, report) = (data.path().join("out.json"), data.path().join("report"));
    let (json_name, report_name) = (json.to_string_lossy(), report.to_string_lossy());
    let arguments = ["--quick", "--size", "3", "--filter", "random", "--markdown", "--json"];
    let output =
        bench(data.path(), &[&arguments[..], &[&json_name, "--report", &report_name]].concat());
    let (screen, errors) = (text(&output.stdout), text(&output.stderr));
    assert!(output.status.success(), "{screen}{errors}");
    for word in ["put_new", "read", "compress", "| scenario |", "MB/s"] {
        assert!(screen.contains(word), "{word}: {screen}");
    }
    let run: serde_json::Value =
        serde_json::from_slice(&std::fs::read(&json).unwrap()).expect("it is JSON");
    let measurements = run["measurements"].as_array().unwrap();
    let put = |who: &str| {
        measurements.iter().find(|found| found["who"] == who && found["scenario"] == "put_new")
    };
    for who in ["castore", "reference"] {
        let outcome = &put(who).unwrap()["outcomes"][0];
        assert_eq!(outcome["bytes"], 3_000_000);
        assert!(outcome["chunks"].as_u64().unwrap() > 5);
        assert!(outcome["requests"]["put"].as_u64().unwrap() > 5);
    }
    assert!(std::fs::read_to_string(report.join("index.html")).unwrap().contains("<svg"));
    let left = std::fs::read_dir(data.path()).unwrap();
    let left = left.filter(|entry| {
        entry.as_ref().unwrap().file_name().to_string_lossy().starts_with("stores-")
    });
    assert_eq!(left.count(), 0, "no store is left");
}

/// Every scenario once, on little data. A run fails when an answer is wrong, so this is a test of
/// castore on every store, in the profile of the tests: nothing is compiled for it alone.
#[test]
#[cfg(target_os = "linux")]
fn every_scenario_gives_right_answers() {
    let data = tempfile::tempdir().unwrap();
    let output = bench(data.path(), &["--quick"]);
    assert!(output.status.success(), "{}{}", text(&output.stdout), text(&output.stderr));
}

#[test]
fn a_filter_that_nothing_passes_is_an_error_that_says_so() {
    let data = tempfile::tempdir().unwrap();
    let output = bench(data.path(), &["--quick", "--filter", "nothing"]);
    assert_eq!(output.status.code(), Some(1));
    assert!(text(&output.stderr).contains("no case is called \"nothing\""));
}

#[test]
fn a_baseline_that_is_not_there_is_an_error_at_once() {
    let data = tempfile::tempdir().unwrap();
    let output = bench(data.path(), &["--baseline", "never-saved"]);
    assert_eq!(output.status.code(), Some(1));
    assert!(text(&output.stderr).contains("no measurements in"));
    assert!(output.stdout.is_empty());
}

#[test]
fn operations_are_measured_over_many_chunks() {
    let data = tempfile::tempdir().unwrap();
    let store = data.path().join("store");
    let mut command = Command::new(env!("CARGO_BIN_EXE_castore-bench"));
    let output = command.args(["scale", "2000"]).arg(&store).output().expect("it runs");
    let (screen, errors) = (text(&output.stdout), text(&output.stderr));
    assert!(output.status.success(), "{screen}{errors}");
    for store in ["memory ", "local "] {
        let rows = screen.lines().filter(|line| line.starts_with(store) && line.ends_with("MB"));
        assert!(rows.clone().any(|row| row.contains("stats")), "{screen}");
        assert!(rows.count() >= 2, "{screen}");
    }
    assert!(!store.exists(), "no store is left");
}
