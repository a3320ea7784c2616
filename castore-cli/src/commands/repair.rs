//! `castore repair`

use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

use castore_objstore::repair::{RepairOptions, RepairOutcome, RepairReport};
use castore_objstore::verify::{Finding, VerifyLevel};
use serde_json::json;

use super::{Mode, verify};
use crate::args::{Level, RepairArgs};
use crate::failure::{CORRUPT, FAILED, Failure, Result, on_interrupt, say};
use crate::output;
use crate::phases::Phases;
use crate::store::Location;

pub(crate) async fn run(mode: Mode, location: &Location, args: &RepairArgs) -> Result<()> {
    let service = location.open()?;
    service.check().await?;
    let begun = Instant::now();
    let level = match args.level {
        Level::Index => VerifyLevel::Index,
        Level::Data => VerifyLevel::Data,
        Level::Blob => VerifyLevel::Blob,
    };
    let options = RepairOptions::default().dry_run(args.dry_run).level(level);
    let mut options = options.add_group_hashes(args.add_group_hashes);
    for from in &args.from {
        if Path::new(from).is_file() {
            options = options.from_file(from);
            continue;
        }
        let source = Location::new(Some(from.clone()), args.from_options.clone())?;
        let source = async {
            let source = source.open()?;
            // A missing source must not count as one that lacks everything.
            source.check().await?;
            source.must_exist().await?;
            Ok(source)
        };
        let source = source.await.map_err(|failure: Failure| failure.about("--from"))?;
        options = options.from_service(Arc::new(source.service().clone()));
    }

    on_interrupt("what is repaired stays so, and the same command does the rest");
    let phases = Phases::start(mode.progress());
    let report = service
        .repair(&options, &phases, |finding, outcome| {
            phases.suspend(|| print(mode, finding, outcome));
        })
        .await?;
    phases.end();
    if report.verified.blobs == 0 && report.verified.chunks == 0 {
        service.must_exist().await?;
    }
    summarize(mode, &report, args.dry_run, begun.elapsed().as_secs_f64());
    match (report.unrepaired, report.failed + report.not_known) {
        (0, 0) => Ok(()),
        (0, _) => Err(Failure::reported(FAILED)),
        _ => Err(Failure::reported(CORRUPT)),
    }
}

fn print(mode: Mode, finding: &Finding, outcome: &RepairOutcome) {
    let more = match outcome {
        RepairOutcome::Quarantined(key) => Some(key.clone()),
        RepairOutcome::Failed(error) | RepairOutcome::NotKnown(error) => {
            Some(Failure::from(error.clone()).message())
        }
        _ => None,
    };
    if mode.json {
        let mut line = verify::as_json(finding);
        line["outcome"] = outcome.name().into();
        match outcome {
            RepairOutcome::Quarantined(key) => line["quarantine"] = key.clone().into(),
            RepairOutcome::Failed(error) | RepairOutcome::NotKnown(error) => {
                line["error"] = Failure::from(error.clone()).message().into();
            }
            _ => {}
        }
        return output::json(&line);
    }
    let more = more.map(|more| format!("  -> {more}")).unwrap_or_default();
    let line = format!("{:<11}  {finding}{more}", outcome.name());
    output::line(output::one_line(line));
}

fn summarize(mode: Mode, report: &RepairReport, dry_run: bool, seconds: f64) {
    if mode.json {
        output::json(&json!({
            "type": "summary",
            "dry_run": dry_run,
            "blobs": report.verified.blobs,
            "chunks": report.verified.chunks,
            "damaged": report.verified.damaged,
            "harmless": report.verified.harmless,
            "repaired": report.repaired,
            "quarantined": report.quarantined,
            "lost": report.lost,
            "removed": report.removed,
            "failed": report.failed,
            "not_known": report.not_known,
            "without_group_hashes": report.verified.without_group_hashes,
            "group_hashes_added": report.group_hashes_added,
            "unrepaired": report.unrepaired,
            "seconds": seconds,
        }));
    } else if !mode.quiet {
        let RepairReport { verified, repaired, quarantined, lost, removed, .. } = report;
        let would = if dry_run { "dry run, nothing was changed: " } else { "" };
        say(format_args!(
            "{would}{} damaged, {repaired} repaired, {quarantined} quarantined, {lost} lost, {} failed, {} not known, {removed} leftovers removed, {seconds:.1} s",
            verified.damaged, report.failed, report.not_known
        ));
        if report.group_hashes_added > 0 {
            let added = report.group_hashes_added;
            let would = if dry_run { "would get" } else { "got" };
            say(format_args!("castore: {added} indexes {would} group hashes"));
        }
        if report.not_known > 0 {
            say(
                "castore: what is not known stays as it is; repair again when the store and the sources can be read",
            );
        }
        if report.unrepaired > 0 {
            say(
                "castore: some blobs still cannot be read; put them again, or repair from a store or file that has them",
            );
        }
    }
}
