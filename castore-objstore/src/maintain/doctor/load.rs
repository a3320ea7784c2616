//! A check of many requests at once.

use futures_util::{StreamExt, stream};

use super::fault::{Finding, unfit};
use super::{Examination, bytes};

/// The number of rounds of puts and gets.
const ROUNDS: u64 = 2;

pub(super) async fn parallel(x: &Examination<'_>) -> Finding {
    let at_once = x.options.at_once;
    let before = x.place.tally();
    for round in 0..ROUNDS {
        let first = 1000 + round * at_once as u64;
        let numbers = first..first + at_once as u64;
        let objects = numbers.clone().map(|number| (x.chunk(number), bytes(number, 3000)));
        x.place.put_all(objects, at_once, || ()).await?;
        let gets = numbers.map(|number| async move {
            let got = x.place.get(&x.chunk(number)).await?;
            match got == bytes(number, 3000) {
                true => Ok(()),
                false => {
                    unfit("get: other bytes than those that were put, with many requests at once")
                }
            }
        });
        let mut gets = stream::iter(gets).buffer_unordered(at_once);
        while let Some(got) = gets.next().await {
            got?;
        }
    }
    let after = x.place.tally();
    let (refused, repeated) = (after.refused - before.refused, after.repeated - before.repeated);
    if refused > 0 {
        x.refuses();
        return unfit(format!(
            "{refused} requests were refused with {at_once} at once: castore asks for fewer then"
        ));
    }
    if repeated > 0 {
        return unfit(format!("{repeated} requests failed at first with {at_once} at once"));
    }
    Ok(format!("{at_once} at once"))
}
