//! `castore stats`

use std::fmt::Write as _;

use castore_objstore::usage::{Estimate, Prices, SizeClass, Usage};
use serde_json::{Value, json};

use super::Mode;
use crate::failure::{CORRUPT, Failure, Result};
use crate::output;
use crate::phases::Phases;
use crate::size::iec;
use crate::store::Location;

/// The width of the longest bar of the histogram, in characters.
const BAR: u64 = 40;

pub(crate) async fn run(mode: Mode, location: &Location, prices: &[String]) -> Result<()> {
    let prices = match prices {
        [] => None,
        prices => Some(prices.join(",").parse::<Prices>()?),
    };
    let service = location.open()?;
    // A missing bucket looks empty to commands that only list.
    service.check().await?;
    let phases = Phases::start(mode.progress());
    let usage = service.usage(&phases).await?;
    drop(phases);
    if usage.blobs == 0 && usage.objects() == 0 {
        service.must_exist().await?;
    }
    let estimate = prices.map(|prices| usage.estimate(&prices));
    if mode.json {
        output::json(&value(&usage, estimate.as_ref()));
    } else {
        output::line(text(&usage, estimate.as_ref()).trim_end());
    }
    match (usage.blobs_unreadable, usage.chunks_missing) {
        (0, 0) => Ok(()),
        (blobs, chunks) => {
            let message = format!("{blobs} blobs are unreadable, and {chunks} chunks are missing");
            Err(Failure::new(CORRUPT, message))
        }
    }
}

fn value(usage: &Usage, estimate: Option<&Estimate>) -> Value {
    let class = |class: SizeClass| {
        let SizeClass { sizes, chunks, bytes, .. } = class;
        json!({ "from": sizes.start, "to": sizes.end, "chunks": chunks, "bytes": bytes })
    };
    let mut value = json!({
        "blobs": usage.blobs,
        "blobs_unreadable": usage.blobs_unreadable,
        "logical_bytes": usage.logical_bytes,
        "chunks_listed": usage.chunks_listed,
        "chunks": usage.chunks,
        "chunk_bytes": usage.chunk_bytes,
        "chunk_bytes_stored": usage.chunk_bytes_stored,
        "chunks_missing": usage.chunks_missing,
        "chunks_unreferenced": usage.chunks_unreferenced,
        "unreferenced_bytes_stored": usage.unreferenced_bytes_stored,
        "index_bytes_stored": usage.index_bytes_stored,
        "strays": usage.strays,
        "stray_bytes_stored": usage.stray_bytes_stored,
        "beside": usage.beside,
        "beside_bytes_stored": usage.beside_bytes_stored,
        "quarantined": usage.quarantined,
        "objects": usage.objects(),
        "bytes_stored": usage.bytes_stored(),
        "deduplication_ratio": usage.deduplication_ratio(),
        "compression_ratio": usage.compression_ratio(),
        "objects_to_read": usage.objects_to_read,
        "bytes_to_read": usage.bytes_to_read,
        "chunk_sizes": usage.chunk_sizes.classes().map(class).collect::<Vec<_>>(),
    });
    if let Some(estimate) = estimate {
        let lines = estimate.lines.iter().map(|line| {
            json!({
                "purpose": line.purpose, "unit": line.unit, "units": line.units,
                "price": line.price, "cost": line.cost(),
            })
        });
        value["estimate"] = lines.collect();
    }
    value
}

fn text(usage: &Usage, estimate: Option<&Estimate>) -> String {
    let mut text = String::new();
    let mut line = |name: &str, rest: String| {
        // Writing to a string cannot fail.
        let _ = writeln!(text, "{name:<13} {rest}");
    };
    let bytes = |bytes: u64| format!("{bytes} ({})", iec(bytes));
    let ratio =
        |ratio: Option<f64>| ratio.map_or("none".to_owned(), |ratio| format!("{ratio:.2}:1"));
    line("blobs", format!("{}, {}", usage.blobs, bytes(usage.logical_bytes)));
    if usage.blobs_unreadable > 0 {
        line("unreadable", format!("{} blobs", usage.blobs_unreadable));
    }
    line(
        "chunks",
        format!(
            "{}, listed {} times, {}",
            usage.chunks,
            usage.chunks_listed,
            bytes(usage.chunk_bytes)
        ),
    );
    if usage.chunks_missing > 0 {
        line("missing", format!("{} chunks", usage.chunks_missing));
    }
    line("unreferenced", {
        let stored = bytes(usage.unreferenced_bytes_stored);
        format!("{} chunks, {stored} stored", usage.chunks_unreferenced)
    });
    line("objects", format!("{}", usage.objects()));
    line("stored", {
        let chunks = iec(usage.chunk_bytes_stored + usage.unreferenced_bytes_stored);
        let all = bytes(usage.bytes_stored());
        format!("{all}: chunks {chunks}, indexes {}", iec(usage.index_bytes_stored))
    });
    if usage.strays > 0 {
        let stored = bytes(usage.stray_bytes_stored);
        line("strays", format!("{} objects, {stored}", usage.strays));
    }
    if usage.beside > 0 {
        let stored = bytes(usage.beside_bytes_stored);
        line("moved aside", format!("{} objects, {stored}", usage.beside));
    }
    if usage.quarantined > 0 {
        line("quarantined", format!("{} of these objects", usage.quarantined));
    }
    line(
        "ratios",
        format!(
            "deduplication {}, compression {}",
            ratio(usage.deduplication_ratio()),
            ratio(usage.compression_ratio())
        ),
    );
    text.push_str(&plot(usage));
    if let Some(estimate) = estimate {
        text.push_str(&costs(estimate));
    }
    text
}

/// The histogram of chunk sizes, one bar per line.
fn plot(usage: &Usage) -> String {
    let classes: Vec<SizeClass> = usage.chunk_sizes.classes().collect();
    let most = classes.iter().map(|class| class.chunks).max().unwrap_or(0);
    let mut text = String::new();
    if most > 0 {
        let _ = writeln!(text, "\n{:>10}  {:>10}  chunks of that size and up", "size", "chunks");
    }
    for class in classes {
        // Even a single chunk gets a bar.
        let width = (class.chunks * BAR).div_ceil(most) as usize;
        let bar = "#".repeat(width);
        let size = iec(class.sizes.start);
        let row = format!("{size:>10}  {:>10}  {bar}", class.chunks);
        let _ = writeln!(text, "{}", row.trim_end());
    }
    text
}

/// The cost of each item, and its computation.
fn costs(estimate: &Estimate) -> String {
    let mut text = String::new();
    for purpose in [Usage::STORING, Usage::WRITING, Usage::READING, Usage::LISTING] {
        let _ = writeln!(text, "\n{purpose}: {:.4}", estimate.cost(purpose));
        for line in estimate.lines.iter().filter(|line| line.purpose == purpose) {
            let (units, price) = (line.units, line.price);
            let _ = writeln!(text, "  {units:.3} {} at {price} = {:.4}", line.unit, line.cost());
        }
    }
    text
}
