//! Checks of a directory, through castore's own client: flushes and links.

use super::fault::{Finding, Flaw, unfit};
use super::objects::expect;
use super::{Examination, bytes};
use crate::exec::context::run_blocking;
use crate::objects::local::Local;

/// The examined directory. The checks in this module apply to no other store.
fn local<'a>(x: &'a Examination<'_>) -> Result<&'a Local, Flaw> {
    x.place.directory().ok_or_else(|| Flaw::Unknown("this is no directory".to_owned()))
}

pub(super) async fn flush(x: &Examination<'_>) -> Finding {
    let begun = tokio::time::Instant::now();
    let objects = (120..136).map(|number| (x.chunk(number), bytes(number, 10_000)));
    x.place.put_all(objects, x.options.at_once, || ()).await?;
    let took = begun.elapsed();
    for number in 120..136 {
        expect(x, &x.chunk(number), &bytes(number, 10_000)).await?;
    }
    Ok(match local(x)?.is_durable() {
        true => format!("16 objects in {} ms", took.as_millis()),
        false => "not asked for (durable=false)".to_owned(),
    })
}

pub(super) async fn filesystem(x: &Examination<'_>) -> Finding {
    local(x)?.describe_flushing().or_else(unfit)
}

pub(super) async fn links(x: &Examination<'_>) -> Finding {
    let (from, to) = (x.chunk(140), x.set_aside(140));
    x.place.put(&from, bytes(140, 1000)).await?;
    x.place.copy(&from, &to).await?;
    let local = local(x)?.clone();
    let linked = run_blocking("look at a copy", move || local.is_link(&from, &to)).await;
    match linked {
        Ok(Ok(Some(true))) => Ok(String::new()),
        Ok(Ok(Some(false))) => unfit("it is not: a chunk that gc sets aside is written again"),
        Ok(Ok(None)) => Ok("this system does not tell".to_owned()),
        Ok(Err(error)) => Err(Flaw::Unknown(error.to_string())),
        Err(error) => Err(Flaw::Unknown(error.to_string())),
    }
}
