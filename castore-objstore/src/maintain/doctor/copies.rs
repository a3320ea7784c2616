//! Checks of copies that the store makes: a garbage collector deletes an original because the store
//! said that its copy exists.

use super::fault::{Finding, Flaw, unfit};
use super::{Examination, bytes};

/// The sizes of the copied objects in bytes.
const SIZES: [usize; 4] = [1, 1000, 150_000, 1 << 20];

pub(super) async fn copy(x: &Examination<'_>) -> Finding {
    for (number, size) in (60..).zip(SIZES) {
        let (from, to) = (x.chunk(number), x.set_aside(number));
        let object = bytes(number, size);
        x.place.put(&from, object.clone()).await?;
        // The first copy goes to a new key, the second one over another object.
        for round in ["", " over another object"] {
            x.place.copy(&from, &to).await?;
            same(x.place.head(&to).await.map(|meta| meta.size), size, round)?;
            match x.place.get(&to).await {
                Ok(got) if got.len() == size && got != object => {
                    return unfit(format!("the copy{round} has other bytes than its original"));
                }
                got => same(got.map(|got| got.len() as u64), size, round)?,
            }
            match x.place.get(&from).await {
                Ok(got) if got == object => {}
                Ok(_) => return unfit("the original is another object after the copy"),
                Err(fault) => return Err(fault.into()),
            }
            x.place.put(&to, bytes(number + 10, 77)).await?;
        }
    }
    Ok(String::new())
}

fn same(got: Result<u64, super::fault::Fault>, size: usize, round: &str) -> Result<(), Flaw> {
    match got {
        Ok(got) if got == size as u64 => Ok(()),
        Ok(got) => {
            unfit(format!("the copy{round} has {got} of {size} bytes when the request is answered"))
        }
        Err(fault) if fault.is_absence() => {
            unfit(format!("the copy{round} is not there when the request is answered"))
        }
        Err(fault) => Err(fault.into()),
    }
}

pub(super) async fn absent(x: &Examination<'_>) -> Finding {
    let to = x.set_aside(75);
    match x.place.copy(&x.chunk(75), &to).await {
        Err(fault) if fault.is_absence() => Ok(String::new()),
        Err(fault) => Err(fault.into()),
        Ok(()) => unfit("copy: the copy of an absent object is said to be made"),
    }
}
