//! `castore verify`

use std::time::{Duration, Instant, SystemTime};

use castore_objstore::verify::{
    Finding, Sample, Verified, VerifyLevel, VerifyOptions, VerifyReport,
};
use serde_json::{Value, json};

use super::Mode;
use super::resume::{Found, Record};
use crate::args::{Level, VerifyArgs};
use crate::failure::{CORRUPT, FAILED, Failure, NO_STORE, Result, USAGE, on_interrupt, say};
use crate::names::shown;
use crate::output;
use crate::phases::Phases;
use crate::size::iec;
use crate::store::Location;
use crate::time;

pub(crate) async fn run(mode: Mode, location: &Location, args: &VerifyArgs) -> Result<()> {
    let service = location.open()?;
    service.check().await?;
    let begun = Instant::now();
    let plan = Plan::new(args)?;
    let mut record = match &args.resume {
        Some(path) => {
            let file = shown(path);
            on_interrupt(format!("the same command with --resume {file} goes on from there"));
            Some(Record::open(path, &plan.described(&location.identity()))?)
        }
        None => {
            on_interrupt("with --resume FILE it would go on from there next time");
            None
        }
    };
    let (options, before) = match &record {
        Some(record) => (plan.options(record.begun(), record.part())?, record.before()),
        None => (plan.options(SystemTime::now(), None)?, Found::default()),
    };
    let options = match record.as_ref().and_then(Record::checkpoint) {
        Some(checkpoint) => {
            if !mode.quiet {
                say(format_args!("castore: goes on from {checkpoint}"));
            }
            options.resume(checkpoint)
        }
        None => options,
    };

    let phases = Phases::start(mode.progress());
    let report = service
        .verify(&options, &phases, |event| match event {
            Verified::Finding(finding) => {
                phases.suspend(|| print(mode, &finding));
                if let Some(record) = &mut record {
                    record.found(&finding);
                }
            }
            // The record stays before a finding that could not be printed.
            Verified::UpTo(checkpoint) if !output::is_closed() => {
                if let Some(record) = &mut record {
                    record.up_to(checkpoint);
                }
            }
            _ => {}
        })
        .await?;
    phases.end();
    if report.blobs == 0
        && report.chunks == 0
        && let Err(failure) = service.must_exist().await
    {
        if let Some(record) = record
            && failure.code() == NO_STORE
        {
            record.finish()?;
        }
        return Err(failure);
    }
    let damaged = before.damaged + report.damaged;
    let unknown = before.unknown + report.unknown;
    // A closed standard output matters only if a finding was lost.
    if report.damaged + report.unknown + report.harmless > 0 && output::is_closed() {
        if let Some(path) = &args.resume {
            say(format_args!(
                "castore: standard output was closed; the same command with --resume {} prints the findings \
                 that are missing",
                shown(path)
            ));
        }
    } else if let Some(record) = record {
        record.finish()?;
    }
    summarize(mode, &report, Found { damaged, unknown }, begun.elapsed());
    match (damaged, unknown) {
        (0, 0) => Ok(()),
        // An object that could not be read is not known to be damaged.
        (0, _) => Err(Failure::reported(FAILED)),
        _ => Err(Failure::reported(CORRUPT)),
    }
}

/// The requested verification, before the start of a resumed one is known.
struct Plan<'a> {
    args: &'a VerifyArgs,
    level: VerifyLevel,
    fraction: Option<f64>,
}

impl<'a> Plan<'a> {
    fn new(args: &'a VerifyArgs) -> Result<Plan<'a>> {
        let reads = args.sample.is_some() || args.since.is_some();
        let level = match (args.level, reads) {
            (None, false) | (Some(Level::Index), false) => VerifyLevel::Index,
            (None, true) | (Some(Level::Data), _) => VerifyLevel::Data,
            (Some(Level::Blob), _) => VerifyLevel::Blob,
            (Some(Level::Index), true) => {
                let message = "--sample and --since are about what is read: use --level data";
                return Err(Failure::new(USAGE, message));
            }
        };
        let fraction = args.sample.as_deref().map(fraction).transpose()?;
        Ok(Plan { args, level, fraction })
    }

    fn options(&self, begun: SystemTime, part: Option<u64>) -> Result<VerifyOptions> {
        let mut options = VerifyOptions::default().level(self.level);
        if let Some(fraction) = self.fraction {
            // By default another part each day.
            let part = part.or(self.args.part).unwrap_or_else(|| time::today(begun));
            options = options.sample(Sample::new(fraction, part)?);
        }
        if let Some(since) = &self.args.since {
            let since = time::point(since, begun);
            options = options.since(since.map_err(|message| Failure::new(USAGE, message))?);
        }
        Ok(options)
    }

    /// The settings that must be the same for a verification to resume.
    fn described(&self, store: &str) -> Value {
        let level = format!("{:?}", self.level).to_lowercase();
        let VerifyArgs { sample, part, since, .. } = self.args;
        json!({ "store": store, "level": level, "sample": sample, "part": part, "since": since })
    }
}

/// Parses `5%` or `0.05`.
fn fraction(text: &str) -> Result<f64> {
    let number = match text.strip_suffix('%') {
        Some(percent) => percent.parse::<f64>().map(|percent| percent / 100.0),
        None => text.parse(),
    };
    match number {
        Ok(fraction) if fraction > 0.0 && fraction <= 1.0 => Ok(fraction),
        _ => {
            let message = format!("--sample {text:?} is not a part of everything, such as 5%");
            Err(Failure::new(USAGE, message))
        }
    }
}

/// A finding as a line of JSON.
pub(crate) fn as_json(finding: &Finding) -> Value {
    let blobs: Vec<String> = finding.blobs.iter().map(ToString::to_string).collect();
    json!({
        "type": "finding",
        "problem": finding.problem.name(),
        "damage": finding.is_damage(),
        "unknown": finding.is_unknown(),
        "key": finding.key,
        "digest": finding.digest.map(|digest| digest.to_string()),
        "detail": finding.detail,
        "blobs": blobs,
        "blob_count": finding.blob_count,
    })
}

fn print(mode: Mode, finding: &Finding) {
    match mode.json {
        true => output::json(&as_json(finding)),
        false => output::line(output::one_line(finding)),
    }
}

fn summarize(mode: Mode, report: &VerifyReport, found: Found, time: Duration) {
    let Found { damaged, unknown } = found;
    let seconds = time.as_secs_f64();
    if mode.json {
        output::json(&json!({
            "type": "summary",
            "blobs": report.blobs,
            "chunks": report.chunks,
            "unlisted_chunks": report.unlisted_chunks,
            "chunks_read": report.chunks_read,
            "bytes_read": report.bytes_read,
            "blobs_read": report.blobs_read,
            "damaged": damaged,
            "unknown": unknown,
            "harmless": report.harmless,
            "quarantined": report.quarantined,
            "without_group_hashes": report.without_group_hashes,
            "seconds": seconds,
        }));
    } else if !mode.quiet {
        let mut line = format!(
            "{} blobs, {} chunks ({} that no blob lists)",
            report.blobs, report.chunks, report.unlisted_chunks
        );
        if report.chunks_read > 0 {
            line += &format!(
                ", {} chunks read ({}, {}/s)",
                report.chunks_read,
                iec(report.bytes_read),
                iec((report.bytes_read as f64 / seconds.max(1e-9)) as u64)
            );
        }
        if report.blobs_read > 0 {
            line += &format!(", {} blobs read", report.blobs_read);
        }
        let mut found = match (damaged, unknown) {
            (0, 0) => "all good".to_owned(),
            (0, unknown) => format!("{unknown} could not be read, the rest is good"),
            (damaged, 0) => format!("{damaged} DAMAGED"),
            (damaged, unknown) => format!("{damaged} DAMAGED, {unknown} could not be read"),
        };
        if report.harmless > 0 {
            found += &format!(", {} objects that are no part of it", report.harmless);
        }
        if report.quarantined > 0 {
            found += &format!(", {} objects in the quarantine", report.quarantined);
        }
        say(format_args!("{line}, {seconds:.1} s: {found}"));
        if report.without_group_hashes > 0 {
            let number = report.without_group_hashes;
            let how = "`castore repair --add-group-hashes` adds them";
            say(format_args!("castore: {number} blobs have no group hashes; {how}"));
        }
    }
}
