//! Checks of deletes.

use super::fault::{Finding, unfit};
use super::objects::{expect, sized};
use super::{Examination, bytes};

pub(super) async fn delete(x: &Examination<'_>) -> Finding {
    for number in 50..54 {
        let key = x.chunk(number);
        x.place.put(&key, bytes(number, 500)).await?;
        // Read the object before the delete: a store may cache the object for its readers.
        expect(x, &key, &bytes(number, 500)).await?;
        x.place.delete(&key).await?;
        for (request, answer) in [
            ("get", x.place.get(&key).await.map(drop)),
            ("head", x.place.head(&key).await.map(drop)),
        ] {
            match answer {
                Err(fault) if fault.is_absence() => {}
                Err(fault) => return Err(fault.into()),
                Ok(()) => {
                    return unfit(format!("{request}: an object is there after its delete"));
                }
            }
        }
    }
    Ok(String::new())
}

pub(super) async fn absent(x: &Examination<'_>) -> Finding {
    match x.place.delete(&x.chunk(55)).await {
        Ok(()) => Ok("it succeeds".to_owned()),
        Err(fault) if fault.is_absence() => Ok("it is told as absent".to_owned()),
        Err(fault) => Err(fault.into()),
    }
}

pub(super) async fn again(x: &Examination<'_>) -> Finding {
    let key = x.chunk(56);
    for number in 56..60 {
        let object = bytes(number, 500 + number as usize);
        x.place.put(&key, object.clone()).await?;
        expect(x, &key, &object).await?;
        sized(x, &key, object.len() as u64).await?;
        x.place.delete(&key).await?;
    }
    Ok(String::new())
}
