//! Checks of single objects: put, get, head, ranges, overwrites.

use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::Duration;

use bytes::Bytes;
use object_store::path::Path;

use super::fault::{Finding, Flaw, unfit};
use super::{Examination, bytes};

/// The number of overwrites of one key in a row. A store that shows an old object at times is
/// unlikely to show the new one after all of them.
const OVERWRITES: u64 = 12;

/// The size of the object that is overwritten during reads, in bytes: more than one packet.
const WHOLE_SIZE: usize = 192 * 1024;

/// The number of reads without a pause while an object is overwritten.
const MANY_READS: u32 = 200;

pub(super) async fn absent(x: &Examination<'_>) -> Finding {
    let key = x.chunk(1);
    for (request, answer) in
        [("get", x.place.get(&key).await.map(drop)), ("head", x.place.head(&key).await.map(drop))]
    {
        match answer {
            Err(fault) if fault.is_absence() => {}
            Err(fault) => return Err(fault.into()),
            Ok(()) => return unfit(format!("{request}: a key that was never put has an object")),
        }
    }
    Ok(String::new())
}

/// Puts the key that `absent` has asked for: a store may cache the absence.
pub(super) async fn put(x: &Examination<'_>) -> Finding {
    x.place.put(&x.chunk(1), bytes(1, 1000)).await?;
    Ok(String::new())
}

pub(super) async fn get(x: &Examination<'_>) -> Finding {
    expect(x, &x.chunk(1), &bytes(1, 1000)).await?;
    for number in 2..6 {
        let (key, object) = (x.chunk(number), bytes(number, 4096));
        // The store answers that the object is absent, and may cache that.
        match x.place.get(&key).await {
            Err(fault) if fault.is_absence() => {}
            Err(fault) => return Err(fault.into()),
            Ok(_) => return unfit("get: a key that was never put has an object"),
        }
        x.place.put(&key, object.clone()).await?;
        expect(x, &key, &object).await?;
    }
    Ok(String::new())
}

pub(super) async fn head(x: &Examination<'_>) -> Finding {
    for (number, size) in [(10, 1), (11, 1000), (12, 70_001)] {
        let (key, object) = (x.chunk(number), bytes(number, size));
        match x.place.head(&key).await {
            Err(fault) if fault.is_absence() => {}
            Err(fault) => return Err(fault.into()),
            Ok(_) => return unfit("head: a key that was never put has an object"),
        }
        x.place.put(&key, object).await?;
        sized(x, &key, size as u64).await?;
    }
    Ok(String::new())
}

pub(super) async fn empty(x: &Examination<'_>) -> Finding {
    let key = x.chunk(20);
    x.place.put(&key, Bytes::new()).await?;
    expect(x, &key, b"").await?;
    sized(x, &key, 0).await?;
    Ok(String::new())
}

pub(super) async fn range(x: &Examination<'_>) -> Finding {
    const SIZE: u64 = 70_001;

    let (key, object) = (x.chunk(21), bytes(21, SIZE as usize));
    x.place.put(&key, object.clone()).await?;
    for range in [0..1, SIZE - 1..SIZE, 1000..50_000, 0..SIZE] {
        let got = x.place.get_range(&key, range.clone()).await?;
        if got != object[range.start as usize..range.end as usize] {
            return unfit(format!(
                "the range {}..{} of {SIZE} bytes came as {} bytes{}",
                range.start,
                range.end,
                got.len(),
                if got == object { ", the whole object" } else { "" },
            ));
        }
    }
    // A store may cut a range that extends past the end, or fail. A range that begins past the end
    // is empty.
    if let Ok(got) = x.place.get_range(&key, SIZE - 10..SIZE + 10).await
        && got != object[SIZE as usize - 10..]
    {
        return unfit(format!("a range with the last 10 bytes came as {} bytes", got.len()));
    }
    match x.place.get_range(&key, SIZE + 1..SIZE + 10).await {
        Ok(got) if !got.is_empty() => {
            unfit(format!("a range past the end came as {} bytes", got.len()))
        }
        _ => Ok(String::new()),
    }
}

pub(super) async fn large(x: &Examination<'_>) -> Finding {
    let (key, object) = (x.chunk(22), bytes(22, x.options.large));
    match x.place.put(&key, object.clone()).await {
        Ok(()) => {}
        // The store took smaller objects, so this does not refuse all objects.
        Err(fault) if fault.to_string().contains("413") => return unfit(fault.to_string()),
        Err(fault) => return Err(fault.into()),
    }
    expect(x, &key, &object).await?;
    sized(x, &key, object.len() as u64).await?;
    Ok(format!("{} bytes", object.len()))
}

pub(super) async fn keys(x: &Examination<'_>) -> Finding {
    for (number, key) in (30..).zip(x.odd_keys()) {
        let object = bytes(number, 50);
        x.place.put(&key, object.clone()).await?;
        expect(x, &key, &object).await?;
    }
    // All keys differ: a store that truncates or folds keys has overwritten one object by another.
    for (number, key) in (30..).zip(x.odd_keys()) {
        expect(x, &key, &bytes(number, 50)).await?;
    }
    Ok(String::new())
}

pub(super) async fn overwrite(x: &Examination<'_>) -> Finding {
    let key = x.chunk(40);
    for number in 0..OVERWRITES {
        // Sizes change, too: a stale size is as wrong as a stale object.
        let object = bytes(100 + number, 100 + 10 * number as usize);
        x.place.put(&key, object.clone()).await?;
        expect(x, &key, &object).await?;
        sized(x, &key, object.len() as u64).await?;
    }
    Ok(String::new())
}

pub(super) async fn whole(x: &Examination<'_>) -> Finding {
    let key = x.chunk(41);
    let objects = [bytes(41, WHOLE_SIZE), bytes(42, WHOLE_SIZE / 2)];
    x.place.put(&key, objects[0].clone()).await?;
    let done = AtomicBool::new(false);
    let write = async {
        let mut result = Ok(());
        for number in 1..=OVERWRITES as usize {
            result = x.place.put(&key, objects[number % 2].clone()).await;
            if result.is_err() {
                break;
            }
        }
        done.store(true, Relaxed);
        result
    };
    let read = async {
        let mut reads = 0_u32;
        while !done.load(Relaxed) {
            let got = x.place.get(&key).await?;
            if !objects.contains(&got) {
                let size = got.len();
                return unfit(format!(
                    "get: {size} bytes that are neither the old nor the new object"
                ));
            }
            reads += 1;
            // A disk answers so fast that more reads are of no use.
            if reads > MANY_READS {
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
        }
        Ok(reads)
    };
    let (written, first, second) = futures_util::join!(write, read, async {
        match x.place.get(&key).await {
            Ok(got) if !objects.contains(&got) => unfit("get: a part of an object"),
            Ok(_) => Ok(()),
            Err(fault) => Err(fault.into()),
        }
    });
    written?;
    second?;
    Ok(format!("{} reads", first?))
}

/// Checks that a read of the object returns these bytes.
pub(super) async fn expect(x: &Examination<'_>, key: &Path, object: &[u8]) -> Result<(), Flaw> {
    match x.place.get(key).await {
        Ok(got) if got == object => Ok(()),
        Ok(got) if got.len() != object.len() => unfit(format!(
            "get: {} bytes came of an object of {} bytes that was just put",
            got.len(),
            object.len()
        )),
        Ok(_) => unfit("get: other bytes than those that were just put"),
        Err(fault) if fault.is_absence() => {
            unfit("get: an object that was just put is told as absent")
        }
        Err(fault) => Err(fault.into()),
    }
}

/// Checks that HEAD returns this size.
pub(super) async fn sized(x: &Examination<'_>, key: &Path, size: u64) -> Result<(), Flaw> {
    match x.place.head(key).await {
        Ok(meta) if meta.size == size => Ok(()),
        Ok(meta) => unfit(format!("head: {} bytes are told of an object of {size}", meta.size)),
        Err(fault) if fault.is_absence() => {
            unfit("head: an object that was just put is told as absent")
        }
        Err(fault) => Err(fault.into()),
    }
}
