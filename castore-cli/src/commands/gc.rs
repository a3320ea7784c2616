//! `castore gc`

use std::error::Error as _;
use std::path::Path;

use castore_core::Digest;
use castore_objstore::gc::{Amount, GcOptions, GcRefusal, GcReport, Roots};
use futures_util::stream;
use serde_json::{Value, json};

use super::Mode;
use crate::digests;
use crate::failure::{CORRUPT, Failure, NO_BLOB, Result, USAGE, say};
use crate::names::shown;
use crate::output;
use crate::phases::Phases;
use crate::size::iec;
use crate::store::Location;

pub(crate) async fn run(
    mode: Mode,
    location: &Location,
    keep: Option<&Path>,
    options: &GcOptions,
) -> Result<()> {
    let roots = match keep {
        None => Roots::Blobs,
        Some(file) => {
            let digests = kept(file).await.map_err(|failure| failure.about(shown(file)))?;
            Roots::keep(stream::iter(digests.into_iter().map(Ok)))
        }
    };
    let service = location.open()?;
    service.check().await?;
    service.must_exist().await?;
    let phases = Phases::start(mode.progress());
    let report = service.gc(roots, options, &phases).await;
    drop(phases);
    let report =
        report.map_err(|error| match error.source().and_then(|why| why.downcast_ref()) {
            Some(GcRefusal::Absent { absent, .. }) => {
                say_absent(absent);
                Failure::new(NO_BLOB, error.to_string())
            }
            _ => error.into(),
        })?;
    say_absent(&report.absent);
    print(mode, &report);
    for digest in &report.damaged {
        say(format_args!(
            "castore: {digest} is needed, and damaged in its place and in all copies that are set aside"
        ));
    }
    match report.damaged.as_slice() {
        [] => Ok(()),
        _ => Err(Failure::reported(CORRUPT)),
    }
}

fn say_absent(absent: &[Digest]) {
    for digest in absent {
        say(format_args!("castore: no blob {digest} in the store, though it is to be kept"));
    }
}

/// The digests in a file: the first word of each line, as `b3sum` and `castore put` print them.
async fn kept(file: &Path) -> Result<Vec<Digest>> {
    let digests = digests::whole(file).await?;
    match digests.is_empty() {
        false => Ok(digests),
        // An empty list is more likely a mistake than the wish to remove everything.
        true => Err(Failure::new(USAGE, "it names no digest, so that nothing would be kept")),
    }
}

fn print(mode: Mode, report: &GcReport) {
    let dry_run = report.dry_run;
    if mode.json {
        return output::json(&json!({
            "type": "gc",
            "dry_run": dry_run,
            "blobs": report.blobs,
            "named": report.named,
            "young_blobs": report.young_blobs,
            "chunks_listed": report.chunks_listed,
            "chunks": amount(&report.chunks),
            "set_aside": amount(&report.set_aside),
            "blobs_set_aside": amount(&report.blobs_set_aside),
            "young": amount(&report.young),
            "waiting": amount(&report.waiting),
            "put_back": amount(&report.put_back),
            "removed": amount(&report.removed),
            "absent": report.absent.iter().map(Digest::to_string).collect::<Vec<_>>(),
            "damaged": report.damaged.iter().map(Digest::to_string).collect::<Vec<_>>(),
        }));
    }
    let rows = [
        ("kept", report.blobs, None, "blobs"),
        ("named", report.named, None, "blobs that are to be kept"),
        ("kept as young", report.young_blobs, None, "blobs that are not named"),
        ("in place", report.chunks.objects, Some(&report.chunks), "chunks"),
        ("blobs set aside", report.blobs_set_aside.objects, None, "indexes"),
        (
            "set aside",
            report.set_aside.objects,
            Some(&report.set_aside),
            "chunks that no index lists",
        ),
        ("too young", report.young.objects, Some(&report.young), "chunks that no index lists"),
        ("put back", report.put_back.objects, Some(&report.put_back), "that are used after all"),
        ("removed", report.removed.objects, Some(&report.removed), "that were set aside before"),
        ("waiting", report.waiting.objects, Some(&report.waiting), "that were set aside before"),
    ];
    for (name, objects, bytes, what) in rows {
        // (Without a list of blobs, no blob is named, and none is kept as young.)
        if report.named == 0 && ["named", "kept as young"].contains(&name) {
            continue;
        }
        let bytes = bytes.map_or(String::new(), |amount| format!(" ({})", iec(amount.bytes)));
        output::line(format_args!("{name:<15}  {objects} {what}{bytes}"));
    }
    if dry_run && !mode.quiet {
        say("castore: this was a dry run; --run does it");
    }
}

fn amount(amount: &Amount) -> Value {
    json!({ "objects": amount.objects, "bytes": amount.bytes })
}
