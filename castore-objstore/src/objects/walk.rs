//! The listing of a directory: every error fails it, and every name is reported.
//!
//! A listing decides which chunks a garbage collector keeps. So the walk must not skip an entry
//! that it cannot read: it fails instead. Two cases are no errors: an entry that vanishes while the
//! walk reads it, and a listed directory that does not exist.

use std::fs::Metadata;
use std::io;
use std::path::{Path as FilePath, PathBuf};
use std::sync::Arc;

use castore_core::Digest;
use object_store::path::Path;

use crate::objects::local::{LocalError, dangling, failed, tag_of};
use crate::objects::meta::{Entry, Meta, Stray};

/// A step of a walk ends after the directory in which it has found this many entries.
const STEP: usize = 1000;

/// Whether a directory with this key holds objects, or directories that do. The walk enters no
/// other directory, and reports each other one as a stray.
pub(crate) type Enters = Arc<dyn Fn(&str) -> bool + Send + Sync>;

/// A walk over the files below a directory, in the order of their keys. Keeps in memory the names
/// of the directories on the way, and the entries of one shard.
pub(crate) struct Walk {
    enters: Enters,
    /// The directories still to be read, the next one last.
    left: Vec<Directory>,
    /// The store's root and the prefix at which the walk starts, until the first step.
    start: Option<(PathBuf, String)>,
}

struct Directory {
    path: PathBuf,
    key: String,
    /// The identities of this directory and of all directories on the way to it.
    way: Vec<Identity>,
}

/// The device and the inode number of a directory.
type Identity = (u64, u64);

impl Walk {
    /// A walk below the directory `prefix` of the store at `root`. Makes no request.
    pub(crate) fn new(root: &FilePath, prefix: &str, enters: Enters) -> Walk {
        Walk { enters, left: Vec::new(), start: Some((root.to_owned(), prefix.to_owned())) }
    }

    /// The next entries; none at the end. Blocks.
    pub(crate) fn step(&mut self) -> Result<Vec<Entry>, LocalError> {
        if let Some((root, prefix)) = self.start.take() {
            self.left.extend(enter(&root, &prefix)?);
        }
        let mut entries = Vec::new();
        while entries.len() < STEP
            && let Some(directory) = self.left.pop()
        {
            self.read(&directory, &mut entries)?;
        }
        Ok(entries)
    }

    fn read(&mut self, directory: &Directory, entries: &mut Vec<Entry>) -> Result<(), LocalError> {
        let unreadable = |error| failed("list", &directory.path)(error);
        let listing = match std::fs::read_dir(&directory.path) {
            Ok(listing) => listing,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                return vanished(&directory.path, error);
            }
            Err(error) => return Err(unreadable(error)),
        };
        let names: io::Result<Vec<_>> =
            listing.map(|entry| entry.map(|entry| entry.file_name())).collect();
        let mut names = names.map_err(unreadable)?;
        names.sort_unstable();
        let mut directories = Vec::new();
        for name in names {
            let path = directory.path.join(&name);
            let plain = name.to_str().filter(|name| is_plain(name));
            if plain.is_some_and(is_staging) {
                continue;
            }
            let shown = match plain {
                Some(name) => name.to_owned(),
                None => shown(&name.to_string_lossy()),
            };
            let key = match directory.key.is_empty() {
                true => shown,
                false => format!("{}/{shown}", directory.key),
            };
            let metadata = match std::fs::metadata(&path) {
                Ok(metadata) => metadata,
                Err(error) if plain.is_some_and(is_ours) || (self.enters)(&key) => {
                    if error.kind() != io::ErrorKind::NotFound {
                        return Err(failed("look at", &path)(error));
                    }
                    vanished(&path, error)?;
                    continue;
                }
                // A stray holds no objects of the store, so a dangling link among the strays is
                // harmless.
                Err(_) => match std::fs::symlink_metadata(&path) {
                    Ok(metadata) => metadata,
                    Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
                    Err(error) => return Err(failed("look at", &path)(error)),
                },
            };
            let identity = identity(&metadata);
            if plain.is_some()
                && metadata.is_dir()
                && (self.enters)(&key)
                && identity.is_none_or(|identity| !directory.way.contains(&identity))
            {
                let mut way = directory.way.clone();
                way.extend(identity);
                directories.push(Directory { path, key, way });
                continue;
            }
            let (size, modified) = look(&metadata, &path)?;
            entries.push(match plain.and_then(|_| Path::parse(&key).ok()) {
                // A directory in the place of an object is reported like an object without bytes,
                // as a pipe is. A reader of that object reports the error.
                Some(path) if !metadata.is_dir() || plain.is_some_and(is_ours) => {
                    Entry::Object(Meta { path, size, modified, tag: tag_of(&metadata) })
                }
                _ => Entry::Stray(Stray { key, size, modified }),
            });
        }
        directories.reverse();
        self.left.extend(directories);
        Ok(())
    }
}

/// The directory `prefix` below `root`; `None` if it does not exist.
fn enter(root: &FilePath, prefix: &str) -> Result<Option<Directory>, LocalError> {
    let (mut path, mut way) = (root.to_owned(), Vec::new());
    let mut parts = prefix.split('/').filter(|part| !part.is_empty());
    loop {
        let metadata = match std::fs::metadata(&path) {
            Ok(metadata) => metadata,
            // If the root is missing, the store is missing, and its listing is not known to be
            // empty.
            Err(error) if error.kind() == io::ErrorKind::NotFound && path != root => {
                vanished(&path, error)?;
                return Ok(None);
            }
            Err(error) => return Err(failed("look at", &path)(error)),
        };
        if !metadata.is_dir() {
            return Err(failed("list", &path)(io::ErrorKind::NotADirectory.into()));
        }
        way.extend(identity(&metadata));
        match parts.next() {
            Some(part) => path.push(part),
            None => return Ok(Some(Directory { path, key: prefix.to_owned(), way })),
        }
    }
}

/// An entry that has vanished is no error. A dangling symbolic link is one: its target may be on a
/// disk that is not mounted.
fn vanished(path: &FilePath, error: io::Error) -> Result<(), LocalError> {
    match std::fs::symlink_metadata(path) {
        Err(gone) if gone.kind() == io::ErrorKind::NotFound => Ok(()),
        Ok(metadata) if !metadata.is_symlink() => Ok(()),
        Ok(_) => Err(dangling(path)),
        Err(_) => Err(failed("look at", path)(error)),
    }
}

fn look(metadata: &Metadata, path: &FilePath) -> Result<(u64, std::time::SystemTime), LocalError> {
    let size = if metadata.is_file() { metadata.len() } else { 0 };
    Ok((size, metadata.modified().map_err(failed("look at", path))?))
}

#[cfg(unix)]
fn identity(metadata: &Metadata) -> Option<Identity> {
    use std::os::unix::fs::MetadataExt;

    metadata.is_dir().then(|| (metadata.dev(), metadata.ino()))
}

#[cfg(not(unix))]
fn identity(_: &Metadata) -> Option<Identity> {
    None
}

/// Whether a key can be shown and addressed unchanged.
fn is_plain(name: &str) -> bool {
    !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_graphic() || byte == b' ')
}

/// Whether an object of the store may have this name: a digest, a record of the collector, or
/// either with more after a dot.
fn is_ours(name: &str) -> bool {
    let (stem, rest) = name.split_once('.').unwrap_or((name, ""));
    let is_record = matches!(rest, "begun" | "done" | "revoked");
    stem.parse::<Digest>().is_ok() || is_record || stem == "clock"
}

/// Whether this is the name of an object that is being written: `#` and a number end the name.
pub(crate) fn is_staging(name: &str) -> bool {
    let Some((object, number)) = name.rsplit_once('#') else { return false };
    let numbered = !number.is_empty() && number.bytes().all(|byte| byte.is_ascii_digit());
    numbered && is_ours(object)
}

/// A name for display. Control characters, and backslashes, which could pass for these escapes, are
/// escaped.
pub(crate) fn shown(name: &str) -> String {
    let mut shown = String::new();
    for c in name.chars() {
        match c.is_control() || c == '\\' {
            true => shown.extend(c.escape_default()),
            false => shown.push(c),
        }
    }
    shown
}

#[cfg(all(test, unix))]
mod tests {
    use std::collections::BTreeMap;
    use std::ffi::OsStr;
    use std::fs;
    use std::os::unix::ffi::OsStrExt;
    use std::os::unix::fs::symlink;

    use super::*;
    use crate::store::layout::Layout;

    struct Place(tempfile::TempDir);

    impl Place {
        fn new() -> Place {
            Place(tempfile::tempdir().unwrap())
        }

        fn path(&self, path: impl AsRef<FilePath>) -> PathBuf {
            self.0.path().join(path)
        }

        fn write(&self, path: impl AsRef<FilePath>) {
            let path = self.path(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, "x").unwrap();
        }

        /// The keys of all objects below `prefix`, and of all strays with a mark.
        fn list(&self, prefix: &str) -> Result<Vec<String>, LocalError> {
            let layout = Layout::new(&Path::default());
            let enters: Enters = Arc::new(move |key: &str| layout.is_directory(key));
            let mut walk = Walk::new(self.0.path(), prefix, enters);
            let mut keys = Vec::new();
            loop {
                let entries = walk.step()?;
                if entries.is_empty() {
                    return Ok(keys);
                }
                keys.extend(entries.into_iter().map(|entry| match entry {
                    Entry::Object(meta) => meta.path.to_string(),
                    Entry::Stray(stray) => format!("stray {}", stray.key),
                }));
            }
        }
    }

    /// The key of a chunk.
    fn chunk(number: u32) -> String {
        let digest = Digest::of(&number.to_le_bytes());
        format!("chunks/b3/{digest:.4}/{digest}")
    }

    #[test]
    fn objects_are_listed_in_order_and_files_on_their_way_are_not() {
        let place = Place::new();
        let mut keys: Vec<_> = (0..50).map(chunk).collect();
        keys.iter().for_each(|key| place.write(key));
        place.write(format!("{}#1", keys[0]));
        keys.sort();
        assert_eq!(place.list("chunks").unwrap(), keys);
        assert_eq!(place.list("chunks/b3").unwrap(), keys);
        assert_eq!(place.list("blobs").unwrap(), [""; 0]);
        let records = ["gc/batches/a-1.begun", "gc/batches/a-1.done", "gc/clock"];
        records.iter().for_each(|key| place.write(key));
        place.write("gc/batches/a-2.begun#3");
        assert_eq!(place.list("gc").unwrap(), ["gc/clock", records[0], records[1]]);
    }

    #[test]
    fn steps_are_as_large_as_a_shard_needs_and_miss_nothing() {
        let place = Place::new();
        let digest = Digest::of(b"").to_string();
        for number in 0..2 * STEP + 7 {
            place.write(format!("chunks/b3/{}/{}{number:060x}", &digest[..4], &digest[..4]));
        }
        assert_eq!(place.list("chunks/b3").unwrap().len(), 2 * STEP + 7);
    }

    #[test]
    fn odd_names_and_directories_are_strays_and_listed_once() {
        let place = Place::new();
        let key = chunk(1);
        let shard = FilePath::new(&key).parent().unwrap();
        place.write(&key);
        place.write(shard.join(OsStr::from_bytes(b"\xff\xfe")));
        place.write(shard.join("Icon\n"));
        place.write(shard.join("notes#1"));
        place.write(format!("chunks/b3/backup/{}", &key[10..]));
        place.write(format!("chunks/b4/{}", &key[10..]));
        symlink("nowhere", place.path("chunks/README")).unwrap();
        let listed = place.list("chunks").unwrap();
        let shard = shard.display();
        let expected = [
            "chunks/README".to_owned(),
            "stray chunks/b4".to_owned(),
            "stray chunks/b3/backup".to_owned(),
            key.clone(),
            format!("stray {shard}/Icon\\n"),
            format!("{shard}/notes#1"),
            format!("stray {shard}/\u{fffd}\u{fffd}"),
        ];
        let sorted = |mut keys: Vec<String>| {
            keys.sort();
            keys
        };
        assert_eq!(sorted(listed), sorted(expected.to_vec()));
    }

    #[test]
    fn shards_on_another_disk_are_entered_and_links_to_ancestors_are_not() {
        let place = Place::new();
        let (key, shard) = (chunk(1), &chunk(1)[..14]);
        place.write("elsewhere/file");
        fs::create_dir_all(place.path("chunks/b3")).unwrap();
        symlink(place.path("elsewhere"), place.path(shard)).unwrap();
        place.write(&key);
        symlink("..", place.path("chunks/b3/0000")).unwrap();
        symlink(".", place.path("chunks/b3/0001")).unwrap();
        let listed = place.list("chunks").unwrap();
        assert_eq!(listed[0], "stray chunks/b3/0000");
        assert_eq!(listed[1], "stray chunks/b3/0001");
        assert_eq!(listed[2..], [key, format!("{shard}/file")]);
    }

    #[test]
    fn an_unreadable_entry_ends_the_listing_with_an_error() {
        let cases: BTreeMap<&str, fn(&Place)> = BTreeMap::from([
            (
                "a shard that leads nowhere",
                (|place| {
                    symlink("nowhere", place.path("chunks/b3/0000")).unwrap();
                }) as fn(&Place),
            ),
            ("an object that leads nowhere", |place| {
                fs::remove_file(place.path(chunk(1))).unwrap();
                symlink("nowhere", place.path(chunk(1))).unwrap();
            }),
            ("a shard in a circle", |place| {
                symlink("0000", place.path("chunks/b3/0000")).unwrap();
            }),
            ("a part of the store that leads nowhere", |place| {
                fs::remove_dir_all(place.path("chunks")).unwrap();
                symlink("nowhere", place.path("chunks")).unwrap();
            }),
            ("a file in the place of a part of the store", |place| {
                fs::remove_dir_all(place.path("chunks")).unwrap();
                place.write("chunks");
            }),
        ]);
        for (name, spoil) in cases {
            let place = Place::new();
            place.write(chunk(1));
            spoil(&place);
            let error = place.list("chunks/b3").expect_err(name);
            assert!(!error.is_absent(), "{name}: {error}");
        }
        let place = Place::new();
        let layout = Layout::new(&Path::default());
        let enters: Enters = Arc::new(move |key: &str| layout.is_directory(key));
        Walk::new(&place.path("gone"), "chunks", enters).step().expect_err("no root");
    }

    #[test]
    fn a_pipe_or_a_directory_in_the_place_of_an_object_is_listed_as_one_without_bytes() {
        let place = Place::new();
        fs::create_dir_all(place.path(chunk(1))).unwrap();
        assert_eq!(place.list("chunks").unwrap(), [chunk(1)]);
    }
}
