//! Checks of listings: a collector takes an index that a listing omits for absent, and its chunks
//! for garbage.

use std::collections::{BTreeMap, BTreeSet};

use object_store::path::Path;

use super::fault::{Finding, Flaw, unfit};
use super::{Examination, bytes};
use crate::objects::meta::Meta;
use crate::store::layout::Kind;

/// The number of the first object of the long listing.
const FIRST: u64 = 10_000;

/// The number of shards of the long listing.
const SHARDS: u64 = 4;

pub(super) async fn list(x: &Examination<'_>) -> Finding {
    let prefix = x.layout.part("blobs").join("b3").join("0aa0");
    let mut expected = BTreeMap::new();
    listed(x, &prefix, &expected).await?;
    // A key that merely starts with the prefix's characters does not lie below the prefix.
    let sibling = x.layout.part("blobs").join("b3").join("0aa0b").join("x");
    x.place.put(&sibling, bytes(0, 3)).await?;
    for number in 80..86 {
        let (key, size) = (prefix.clone().join(x.name(number, "0aa0").as_str()), number as usize);
        x.place.put(&key, bytes(number, size)).await?;
        expected.insert(key, size as u64);
        listed(x, &prefix, &expected).await?;
    }
    // After another put of an object, the listing must show the new size.
    if let Some((key, size)) = expected.iter_mut().next() {
        *size = 333;
        x.place.put(key, bytes(0, 333)).await?;
    }
    listed(x, &prefix, &expected).await?;
    let odd = x.odd_keys();
    for key in &odd {
        x.place.put(key, bytes(0, 3)).await?;
    }
    let all: BTreeSet<Path> =
        x.place.list(x.place.scratch(), None).await?.into_iter().map(|meta| meta.path).collect();
    match odd.iter().find(|key| !all.contains(key)) {
        None => Ok(String::new()),
        Some(key) => {
            let name = key.filename().unwrap_or_default();
            unfit(format!("list: an object with a name such as {name} is not listed"))
        }
    }
}

async fn listed(
    x: &Examination<'_>,
    prefix: &Path,
    expected: &BTreeMap<Path, u64>,
) -> Result<(), Flaw> {
    let listed = x.place.list(prefix, None).await?;
    compare(&listed, expected)
}

/// Checks that each object is listed once, with its size.
fn compare(listed: &[Meta], expected: &BTreeMap<Path, u64>) -> Result<(), Flaw> {
    let mut seen = BTreeSet::new();
    let (mut twice, mut others) = (0, 0);
    for meta in listed {
        match expected.get(&meta.path) {
            None => others += 1,
            Some(_) if !seen.insert(&meta.path) => twice += 1,
            Some(size) if *size != meta.size => {
                return unfit(format!("list: {} bytes are told of an object of {size}", meta.size));
            }
            Some(_) => {}
        }
    }
    let missing = expected.len() - seen.len();
    let all = expected.len();
    if missing > 0 {
        return unfit(format!("list: {missing} of {all} objects are not listed"));
    }
    if others > 0 {
        return unfit(format!("list: {others} objects are listed that are not there"));
    }
    match twice {
        0 => Ok(()),
        _ => unfit(format!("list: {twice} of {all} objects are listed twice")),
    }
}

pub(super) async fn complete(x: &Examination<'_>) -> Finding {
    let expected = many(x);
    let mut phase = x.phase("put objects for a long listing", expected.len() as u64);
    let objects = (FIRST..)
        .zip(&expected)
        .map(|(number, (key, size))| (key.clone(), bytes(number, *size as usize)));
    x.place.put_all(objects.collect::<Vec<_>>(), x.at_once(), || phase.step()).await?;
    let prefix = x.layout.all(Kind::Chunk);
    let listed = x.place.list(prefix, None).await?;
    // Other checks write chunks, too.
    let ours: Vec<Meta> =
        listed.into_iter().filter(|meta| is_of_many(prefix, &meta.path)).collect();
    compare(&ours, &expected)?;
    let keys: Vec<Path> = ours.into_iter().map(|meta| meta.path).collect();
    x.keep_listed(keys);
    Ok(format!("{} objects", expected.len()))
}

/// The objects of the long listing, with their sizes.
fn many(x: &Examination<'_>) -> BTreeMap<Path, u64> {
    let prefix = x.layout.all(Kind::Chunk);
    (0..x.options.objects as u64)
        .map(|number| {
            let shard = shard(number);
            let name = x.name(FIRST + number, &shard);
            (prefix.clone().join(shard.as_str()).join(name.as_str()), 1 + number % 50)
        })
        .collect()
}

fn shard(number: u64) -> String {
    format!("{:04x}", number % SHARDS)
}

fn is_of_many(prefix: &Path, path: &Path) -> bool {
    (0..SHARDS).any(|number| path.prefix_matches(&prefix.clone().join(shard(number).as_str())))
}

pub(super) async fn offset(x: &Examination<'_>) -> Finding {
    let expected = many(x);
    let prefix = x.layout.all(Kind::Chunk);
    let keys: Vec<&Path> = expected.keys().collect();
    for at in [0, keys.len() / 3, keys.len().saturating_sub(2)] {
        let Some(offset) = keys.get(at) else { continue };
        let listed = x.place.list(prefix, Some(offset)).await?;
        let ours: Vec<Meta> =
            listed.into_iter().filter(|meta| is_of_many(prefix, &meta.path)).collect();
        let rest = expected.iter().filter(|(key, _)| key > offset);
        let rest = rest.map(|(key, size)| (key.clone(), *size)).collect();
        compare(&ours, &rest).map_err(|flaw| match flaw {
            Flaw::Unfit(reason) => Flaw::Unfit(format!("after a key, {reason}")),
            other => other,
        })?;
    }
    Ok(String::new())
}

pub(super) async fn order(x: &Examination<'_>) -> Finding {
    match x.listed().is_sorted() {
        true => Ok(String::new()),
        false => unfit("it is not: a listing that an outage ends begins anew"),
    }
}

pub(super) async fn deleted(x: &Examination<'_>) -> Finding {
    let prefix = x.layout.part("blobs").join("b3").join("0dd0");
    let mut expected = BTreeMap::new();
    for number in 90..96 {
        let key = prefix.clone().join(x.name(number, "0dd0").as_str());
        x.place.put(&key, bytes(number, 5)).await?;
        expected.insert(key, 5);
    }
    while let Some((key, _)) = expected.pop_first() {
        x.place.delete(&key).await?;
        listed(x, &prefix, &expected).await?;
    }
    Ok(String::new())
}
