//! Which object holds what: FORMAT.md, "Object keys".

use castore_core::Digest;
use object_store::path::{Path, PathPart};

/// The keys of a store whose objects all lie under one base path.
#[derive(Debug, Clone)]
pub(crate) struct Layout {
    blobs: Path,
    chunks: Path,
}

impl Layout {
    pub(crate) fn new(base: &Path) -> Layout {
        let kind = |kind: &'static str| base.clone().join(kind).join("b3");
        Layout { blobs: kind("blobs"), chunks: kind("chunks") }
    }

    /// The index of a blob.
    pub(crate) fn blob(&self, digest: &Digest) -> Path {
        object(&self.blobs, digest)
    }

    /// A chunk.
    pub(crate) fn chunk(&self, digest: &Digest) -> Path {
        object(&self.chunks, digest)
    }

    /// What all indexes lie under.
    pub(crate) fn blobs(&self) -> &Path {
        &self.blobs
    }

    /// What all chunks lie under.
    pub(crate) fn chunks(&self) -> &Path {
        &self.chunks
    }

    /// What all indexes, and what all chunks, lie under whose digests start with the four
    /// hexadecimal digits `shard`.
    pub(crate) fn shards(&self, shard: &str) -> [Path; 2] {
        [self.blobs.clone().join(shard), self.chunks.clone().join(shard)]
    }
}

/// The digest that an object is named after; `None` for an object that is not named as ours are.
pub(crate) fn digest_of(path: &Path) -> Option<Digest> {
    let name = path.filename()?;
    let digest: Digest = name.parse().ok()?;
    let mut parts = path.as_ref().rsplit('/');
    // Upper case parses, but is another key.
    let named = parts.next() == Some(&digest.to_string()) && parts.next() == Some(&name[..4]);
    named.then_some(digest)
}

fn object(kind: &Path, digest: &Digest) -> Path {
    let hex = digest.to_string();
    let shard = PathPart::from(&hex[..4]);
    kind.clone().join(shard).join(hex.as_str())
}

#[cfg(test)]
mod tests {
    use super::*;

    const HELLO: &str = "41f8394111eb713a22165c46c90ab8f0fd9399c92028fd6d288944b23ff5bf76";

    #[test]
    fn keys_are_those_of_the_format() {
        let digest = Digest::of(b"Hello World");
        let root = Layout::new(&Path::default());
        assert_eq!(root.blob(&digest).as_ref(), format!("blobs/b3/41f8/{HELLO}"));
        assert_eq!(root.chunk(&digest).as_ref(), format!("chunks/b3/41f8/{HELLO}"));
        let based = Layout::new(&Path::from("a/b"));
        assert_eq!(based.chunk(&digest).as_ref(), format!("a/b/chunks/b3/41f8/{HELLO}"));
    }

    #[test]
    fn only_our_own_names_are_digests() {
        let path = |text: &str| Path::parse(text).unwrap();
        let digest = Digest::of(b"Hello World");
        assert_eq!(digest_of(&Layout::new(&path("x")).blob(&digest)), Some(digest));
        for other in [
            format!("blobs/b3/41f9/{HELLO}"),
            format!("blobs/b3/41F8/{}", HELLO.to_uppercase()),
            format!("blobs/b3/41f8/{}", &HELLO[1..]),
            HELLO.to_owned(),
            "README".to_owned(),
        ] {
            assert_eq!(digest_of(&path(&other)), None, "{other}");
        }
    }
}
