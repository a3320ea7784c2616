//! The keys of objects: FORMAT.md, "Object keys".

use castore_core::Digest;
use object_store::path::{Path, PathPart};

/// The keys of a store whose objects all have one base path.
#[derive(Debug, Clone)]
pub(crate) struct Layout {
    base: Path,
    blobs: Path,
    chunks: Path,
    gc: Path,
}

/// The kind of an object.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Blob,
    Chunk,
}

impl Layout {
    pub(crate) fn new(base: &Path) -> Layout {
        let kind = |kind: &'static str| base.clone().join(kind).join("b3");
        Layout {
            base: base.clone(),
            blobs: kind("blobs"),
            chunks: kind("chunks"),
            gc: base.clone().join("gc"),
        }
    }

    /// The key of a blob's index.
    pub(crate) fn blob(&self, digest: &Digest) -> Path {
        object(&self.blobs, digest)
    }

    /// The key of a chunk.
    pub(crate) fn chunk(&self, digest: &Digest) -> Path {
        object(&self.chunks, digest)
    }

    /// The key of an index or a chunk.
    pub(crate) fn object(&self, kind: Kind, digest: &Digest) -> Path {
        object(self.all(kind), digest)
    }

    /// The prefix of all indexes, or of all chunks.
    pub(crate) fn all(&self, kind: Kind) -> &Path {
        match kind {
            Kind::Blob => &self.blobs,
            Kind::Chunk => &self.chunks,
        }
    }

    /// The key of the copy of an index or a chunk that the batch `batch` has set aside.
    pub(crate) fn aside(&self, kind: Kind, digest: &Digest, batch: &str) -> Path {
        let name = format!("{digest}.{batch}");
        self.aside_shard(kind, digest).join(name.as_str())
    }

    /// The prefix of all copies of a kind that are set aside.
    pub(crate) fn all_aside(&self, kind: Kind) -> Path {
        let kind = match kind {
            Kind::Blob => "blobs",
            Kind::Chunk => "chunks",
        };
        self.gc.clone().join(kind).join("b3")
    }

    /// The prefix of the copies whose digests have the same first four digits as `digest`.
    pub(crate) fn aside_shard(&self, kind: Kind, digest: &Digest) -> Path {
        self.all_aside(kind).join(format!("{digest:.4}").as_str())
    }

    /// The prefix of the records of all batches.
    pub(crate) fn batches(&self) -> Path {
        self.gc.clone().join("batches")
    }

    /// The key of the marker by which a store is recognised.
    pub(crate) fn marker(&self) -> Path {
        self.base.clone().join("castore-format")
    }

    /// The key of an object that a collector writes to read the store's clock.
    pub(crate) fn clock(&self) -> Path {
        self.gc.clone().join("clock")
    }

    /// The prefix of all indexes.
    pub(crate) fn blobs(&self) -> &Path {
        &self.blobs
    }

    /// The prefix of one part of the store: `blobs`, `chunks`, or one of the parts beside them.
    pub(crate) fn part(&self, name: &'static str) -> Path {
        self.base.clone().join(name)
    }

    /// The key in the quarantine of a bad object that cannot be repaired.
    pub(crate) fn quarantined(&self, object: &Path) -> Path {
        let quarantine = self.part("quarantine");
        match object.prefix_match(&self.base) {
            Some(parts) => parts.fold(quarantine, |path, part| path.join(part)),
            None => quarantine.join(object.as_ref()),
        }
    }

    /// Whether the directory with this key holds objects of the store, or directories that do. The
    /// names of all shards are four lower-case hexadecimal digits.
    pub(crate) fn is_directory(&self, key: &str) -> bool {
        let rest = match self.base.as_ref() {
            "" => Some(key),
            base => key.strip_prefix(base).and_then(|rest| rest.strip_prefix('/')),
        };
        let mut parts = rest.into_iter().flat_map(|rest| rest.split('/'));
        let mut part = parts.next();
        if let Some("gc" | "quarantine") = part {
            let beside = part;
            part = parts.next();
            if part.is_none() || beside == Some("gc") && part == Some("batches") {
                return parts.next().is_none();
            }
        }
        matches!(part, Some("blobs" | "chunks"))
            && parts.next().is_none_or(|part| part == "b3")
            && parts.next().is_none_or(is_shard)
            && parts.next().is_none()
    }

    /// The prefix of the indexes or chunks whose digests have the same first four digits as
    /// `digest`.
    pub(crate) fn shard(&self, kind: Kind, digest: &Digest) -> Path {
        self.all(kind).clone().join(format!("{digest:.4}").as_str())
    }

    /// The same prefix in the quarantine.
    pub(crate) fn quarantine_shard(&self, kind: Kind, digest: &Digest) -> Path {
        self.quarantined(&self.shard(kind, digest))
    }

    /// The index or the chunk that was moved to `path`. The object's name is the digest or, if the
    /// quarantine already held an object of that digest, the digest, a dot and a number.
    pub(crate) fn quarantined_at(&self, path: &Path) -> Option<(Kind, Digest)> {
        [Kind::Blob, Kind::Chunk].into_iter().find_map(|kind| {
            let all = self.quarantined(self.all(kind));
            let rest = path.as_ref().strip_prefix(all.as_ref())?.strip_prefix('/')?;
            let (shard, name) = rest.split_once('/')?;
            let hex = match name.split_once('.') {
                Some((hex, number)) => is_number(number).then_some(hex)?,
                None => name,
            };
            let digest: Digest = hex.parse().ok()?;
            (digest.to_string() == hex && shard == &hex[..4]).then_some((kind, digest))
        })
    }

    /// The blob whose index is at `path`.
    pub(crate) fn blob_at(&self, path: &Path) -> Option<Digest> {
        digest_under(&self.blobs, path)
    }

    /// The chunk at `path`.
    pub(crate) fn chunk_at(&self, path: &Path) -> Option<Digest> {
        digest_under(&self.chunks, path)
    }
}

/// The digest in the name of an object; `None` if the name or the shard is not one of this format.
pub(crate) fn digest_of(path: &Path) -> Option<Digest> {
    let name = path.filename()?;
    let digest: Digest = name.parse().ok()?;
    let mut parts = path.as_ref().rsplit('/');
    // Upper case parses, but is another key.
    let named = parts.next() == Some(&digest.to_string()) && parts.next() == Some(&name[..4]);
    named.then_some(digest)
}

/// Whether this is the name of a shard: the first four digits of the digests in it.
fn is_shard(name: &str) -> bool {
    name.len() == 4 && name.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
}

/// The digest and the batch in the name of a copy that is set aside.
pub(crate) fn aside_of(path: &Path) -> Option<(Digest, &str)> {
    let (name, batch) = path.filename()?.split_once('.')?;
    let digest: Digest = name.parse().ok()?;
    let named = digest.to_string() == name && is_batch(batch);
    named.then_some((digest, batch))
}

/// Whether this is a valid name of a batch.
pub(crate) fn is_batch(name: &str) -> bool {
    !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
}

fn is_number(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit())
}

fn digest_under(kind: &Path, path: &Path) -> Option<Digest> {
    let rest = path.as_ref().strip_prefix(kind.as_ref())?;
    // A slash, the shard, another slash, and the name.
    (rest.len() == 1 + 4 + 1 + 2 * Digest::LEN).then(|| digest_of(path)).flatten()
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
    fn copies_aside_name_their_digest_and_batch_and_are_no_chunks() {
        let digest = Digest::of(b"Hello World");
        let based = Layout::new(&Path::from("a/b"));
        let path = based.aside(Kind::Chunk, &digest, "6566-07ab");
        let expected = format!("a/b/gc/chunks/b3/41f8/{HELLO}.6566-07ab");
        assert_eq!(path.as_ref(), expected);
        assert_eq!(aside_of(&path), Some((digest, "6566-07ab")));
        assert_eq!(digest_of(&path), None);
        assert_eq!(aside_of(&based.chunk(&digest)), None);
        for other in [
            format!("{HELLO}."),
            format!("{HELLO}.a.b"),
            format!("{}.a", HELLO.to_uppercase()),
            format!("{}.a", &HELLO[1..]),
        ] {
            assert_eq!(aside_of(&Path::from(other.as_str())), None, "{other}");
        }
    }

    #[test]
    fn objects_are_told_by_their_whole_key() {
        for base in ["", "a/b"] {
            let layout = Layout::new(&Path::from(base));
            let digest = Digest::of(b"Hello World");
            let (blob, chunk) = (layout.blob(&digest), layout.chunk(&digest));
            assert_eq!(
                (layout.blob_at(&blob), layout.chunk_at(&chunk)),
                (Some(digest), Some(digest))
            );
            assert_eq!((layout.blob_at(&chunk), layout.chunk_at(&blob)), (None, None));
            let other = layout.part("chunks").join("b4").join("41f8").join(HELLO);
            assert_eq!(layout.chunk_at(&other), None);
            let other = layout.part("chunks").join("b3").join("x").join("41f8").join(HELLO);
            assert_eq!(layout.chunk_at(&other), None);
            let aside = layout.quarantined(&chunk);
            let expected =
                layout.part("quarantine").to_string() + &format!("/chunks/b3/41f8/{HELLO}");
            assert_eq!(aside.as_ref(), expected);
        }
    }

    #[test]
    fn only_directories_of_the_format_hold_objects() {
        for base in ["", "a/b"] {
            let layout = Layout::new(&Path::from(base));
            let key = |key: &str| Path::from(base).join("x").to_string().replace('x', key);
            for inside in [
                "blobs",
                "chunks/b3",
                "blobs/b3/41f8",
                "gc",
                "gc/batches",
                "gc/chunks/b3/41f8",
                "quarantine",
                "quarantine/blobs/b3/0000",
            ] {
                assert!(layout.is_directory(&key(inside)), "{base} {inside}");
            }
            for outside in [
                "",
                "x",
                "blobs/b4",
                "blobs/b3/41F8",
                "chunks/b3/41f80",
                "chunks/b3/backup/41f8",
                "chunks/b3/41f8/41f8",
                "gc/batches/x",
                "gc/quarantine",
                "quarantine/gc",
            ] {
                assert!(!layout.is_directory(&key(outside)), "{base} {outside}");
            }
        }
    }

    #[test]
    fn keys_in_the_quarantine_name_kind_and_digest() {
        let digest = Digest::of(b"Hello World");
        for base in ["", "a/b"] {
            let layout = Layout::new(&Path::from(base));
            for kind in [Kind::Blob, Kind::Chunk] {
                let key = layout.quarantined(&layout.object(kind, &digest));
                for suffix in ["", ".1", ".12"] {
                    let path = Path::from(format!("{key}{suffix}"));
                    assert_eq!(layout.quarantined_at(&path), Some((kind, digest)), "{path}");
                    assert!(path.prefix_matches(&layout.quarantine_shard(kind, &digest)));
                }
                for suffix in [".", ".x", ".1.2", "#1", "/1"] {
                    let path = Path::from(format!("{key}{suffix}"));
                    assert_eq!(layout.quarantined_at(&path), None, "{path}");
                }
                assert_eq!(layout.quarantined_at(&layout.object(kind, &digest)), None);
                // In the wrong shard, and in upper case, which parses, but is another key.
                let key = key.to_string();
                for other in
                    [key.replace("/41f8/", "/41f9/"), key.replace(HELLO, &HELLO.to_uppercase())]
                {
                    assert_ne!(other, key);
                    assert_eq!(layout.quarantined_at(&Path::from(other.as_str())), None, "{other}");
                }
            }
        }
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
