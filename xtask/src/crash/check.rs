//! Checks that all acknowledged blobs are present.

use std::collections::BTreeSet;

use anyhow::Result;

use super::files::Blob;

/// The blobs of `acknowledged` that cannot be read back as they were stored, one line each. `read`
/// returns the bytes of a blob, or the reason why it has none.
pub(super) fn losses(
    blobs: &[Blob],
    acknowledged: &BTreeSet<String>,
    read: impl Fn(&str) -> Result<Result<Vec<u8>, String>>,
) -> Result<Vec<String>> {
    let mut losses = Vec::new();
    for digest in acknowledged {
        let Some(blob) = blobs.iter().find(|blob| blob.digest == *digest) else {
            losses.push(format!("it told of {digest}, which nobody has stored"));
            continue;
        };
        match read(digest)? {
            Ok(data) if data == blob.data => {}
            Ok(data) => losses.push(format!(
                "{digest} has {} bytes that are not the {} that were stored",
                data.len(),
                blob.data.len()
            )),
            Err(said) => losses.push(format!("{digest} is LOST: {said}")),
        }
    }
    Ok(losses)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn blob(data: &[u8]) -> Blob {
        let digest = blake3::hash(data).to_string();
        Blob { name: String::new(), data: data.to_vec(), digest }
    }

    #[test]
    fn every_kind_of_loss_is_noticed() {
        let blobs = [blob(b"good"), blob(b"lost"), blob(b"altered"), blob(b"not acknowledged")];
        let read = |digest: &str| {
            Ok(match blobs.iter().position(|blob| blob.digest == digest) {
                Some(0) => Ok(b"good".to_vec()),
                Some(2) => Ok(b"altereD".to_vec()),
                _ => Err("no blob".to_owned()),
            })
        };
        let acknowledged = |numbers: &[usize]| {
            numbers.iter().map(|number| blobs[*number].digest.clone()).collect::<BTreeSet<_>>()
        };
        assert_eq!(losses(&blobs, &acknowledged(&[0]), read).unwrap(), [""; 0]);
        for bad in [1, 2] {
            let found = losses(&blobs, &acknowledged(&[0, bad]), read).unwrap();
            assert_eq!(found.len(), 1);
            assert!(found[0].contains(&blobs[bad].digest), "{found:?}");
        }
        let unknown = BTreeSet::from(["0000".to_owned()]);
        assert_eq!(losses(&blobs, &unknown, read).unwrap().len(), 1);
    }
}
