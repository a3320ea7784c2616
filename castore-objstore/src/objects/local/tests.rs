use std::os::unix::fs::symlink;
use std::time::Duration;

use bytes::Bytes;
use object_store::ObjectStoreExt;
use object_store::local::LocalFileSystem;

use super::*;
use crate::objects::client::Fetched;

struct Place {
    directory: tempfile::TempDir,
    local: Local,
}

fn place() -> Place {
    let directory = tempfile::tempdir().unwrap();
    Place { local: Local::open(directory.path(), false).unwrap(), directory }
}

impl Place {
    fn path(&self, path: &str) -> PathBuf {
        self.directory.path().join(path)
    }

    fn names(&self, directory: &str) -> Vec<String> {
        let entries = std::fs::read_dir(self.path(directory)).unwrap();
        entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect()
    }

    fn read(&self, key: &str) -> Bytes {
        let key = Path::from(key);
        let (file, size) = self.local.open_object(&key).unwrap();
        assert_eq!(self.local.head(&key).unwrap().size, size);
        Fetched::File(file, 0, size).read().unwrap()
    }

    fn put(&self, key: &str, bytes: &str) -> Result<()> {
        self.local.put(&Path::from(key), bytes.as_bytes(), Put::Durable)
    }

    fn copy(&self, from: &str, to: &str) -> Result<()> {
        self.local.copy(&Path::from(from), &Path::from(to))
    }
}

fn make_pipe(path: &FilePath) {
    let made = std::process::Command::new("mkfifo").arg(path).status().unwrap();
    assert!(made.success());
}

#[tokio::test]
async fn files_are_the_same_as_those_of_object_store() {
    let place = place();
    let theirs = LocalFileSystem::new_with_prefix(place.directory.path()).unwrap();
    for base in ["a b", "100%", "ü", "a~b"] {
        let key = Path::parse(format!("{base}/file")).unwrap();
        place.local.put(&key, b"1", Put::Durable).unwrap();
        assert_eq!(theirs.get(&key).await.unwrap().bytes().await.unwrap(), "1", "{base}");
        theirs.put(&key, "22".into()).await.unwrap();
        assert_eq!(place.local.head(&key).unwrap().size, 2, "{base}");
        assert_eq!(place.names(base), ["file"]);
    }
}

#[test]
fn only_missing_objects_are_absent() {
    let place = place();
    place.put("a/file", "1").unwrap();
    for key in ["nothing", "no/directory"].map(Path::from) {
        assert!(place.local.head(&key).unwrap_err().is_absent(), "{key}");
        assert!(place.local.open_object(&key).unwrap_err().is_absent(), "{key}");
        assert!(place.local.delete(&key).unwrap_err().is_absent(), "{key}");
        assert!(place.local.copy(&key, &Path::from("to")).unwrap_err().is_absent(), "{key}");
    }
    symlink("nowhere", place.path("link")).unwrap();
    for key in ["a/file/x", "link", "link/x/y"].map(Path::from) {
        assert!(!place.local.head(&key).unwrap_err().is_absent(), "{key}");
        assert!(!place.local.open_object(&key).unwrap_err().is_absent(), "{key}");
    }
}

#[test]
fn nothing_is_absent_or_created_below_a_root_that_is_gone() {
    let place = place();
    std::fs::remove_dir(place.directory.path()).unwrap();
    assert!(!place.local.head(&Path::from("a/b")).unwrap_err().is_absent());
    assert!(!place.put("a/b", "1").unwrap_err().is_absent());
    assert!(!place.directory.path().exists());
}

#[test]
fn entries_that_are_no_files_neither_hang_nor_mislead_and_are_replaced_if_possible() {
    let place = place();
    make_pipe(&place.path("pipe"));
    std::os::unix::net::UnixListener::bind(place.path("socket")).unwrap();
    std::fs::create_dir(place.path("directory")).unwrap();
    for key in ["pipe", "socket", "directory"] {
        let error = place.local.open_object(&Path::from(key)).unwrap_err();
        assert!(matches!(error, LocalError::NotAFile { .. }), "{key}: {error}");
        assert_eq!(place.local.head(&Path::from(key)).unwrap().size, 0);
        assert!(matches!(place.copy(key, "copy"), Err(LocalError::NotAFile { .. })), "{key}");
    }
    for key in ["pipe", "socket"] {
        place.put(key, "1").unwrap();
        assert_eq!(place.read(key), "1");
    }
    let error = place.put("directory", "1").unwrap_err().to_string();
    assert!(error.contains("in the place of the directory"), "{error}");
    assert!(place.names(".").iter().all(|name| !name.contains('#')));
}

#[test]
fn files_of_other_writers_are_left_alone() {
    let place = place();
    std::fs::write(place.path("file#1"), "theirs").unwrap();
    place.put("file", "ours").unwrap();
    assert_eq!(std::fs::read(place.path("file#1")).unwrap(), b"theirs");
    assert_eq!(std::fs::read(place.path("file")).unwrap(), b"ours");
    assert!(!place.path("file#2").exists());
}

#[test]
fn a_write_that_fails_says_why_and_leaves_nothing() {
    let place = place();
    std::fs::create_dir_all(place.path("a/directory")).unwrap();
    std::fs::write(place.path("file"), "").unwrap();
    for path in ["a/directory", "file/in/a/file"] {
        let error = place.put(path, "1").unwrap_err();
        assert!(!error.is_absent(), "{error:?}");
        assert!(error.to_string().contains(path), "{error}");
    }
    assert_eq!(place.names("a"), ["directory"]);
}

#[test]
fn a_copy_has_the_time_of_the_original_and_leaves_nothing_else() {
    let place = place();
    place.put("a/file", "1").unwrap();
    let original = place.local.head(&Path::from("a/file")).unwrap();
    // The second time both names are links to one file.
    for _ in 0..2 {
        place.copy("a/file", "b/copy").unwrap();
        let copy = place.local.head(&Path::from("b/copy")).unwrap();
        assert_eq!((copy.modified, copy.tag), (original.modified, original.tag.clone()));
        assert_eq!(place.names("b"), ["copy"]);
    }
    // An object that is a symbolic link is copied as a file, and so is one on another disk.
    symlink(place.path("a/file"), place.path("a/link")).unwrap();
    place.copy("a/link", "b/copy").unwrap();
    assert!(std::fs::symlink_metadata(place.path("b/copy")).unwrap().is_file());
    assert_eq!(place.read("b/copy"), "1");
    assert_eq!(place.local.head(&Path::from("b/copy")).unwrap().modified, original.modified);
    assert_eq!(place.names("b"), ["copy"]);
}

fn filesystem(directory: &FilePath) -> Flushing {
    Flushing::Filesystem(File::open(directory).unwrap())
}

fn place_with(flushing: impl FnOnce(&FilePath) -> Flushing, patience: Patience) -> Place {
    let directory = tempfile::tempdir().unwrap();
    let local = Local::with(directory.path(), flushing(directory.path()), patience);
    Place { local: local.unwrap(), directory }
}

/// Limits that no test reaches.
const PATIENT: Patience = Patience { bytes: u64::MAX, time: Duration::from_secs(3600) };

#[test]
fn an_object_gets_its_key_when_flushed_and_is_readable_before() {
    let place = place_with(filesystem, PATIENT);
    place.put("a/one", "1").unwrap();
    place.put("a/two", "22").unwrap();
    place.put("a/one", "1").unwrap();
    let mut names = place.names("a");
    names.sort();
    assert_eq!(names, ["one#1", "two#1"]);
    assert_eq!((place.read("a/one"), place.read("a/two")), ("1".into(), "22".into()));
    place.copy("a/two", "a/three").unwrap();
    place.put("a/four", "4444").unwrap();
    place.local.delete(&Path::from("a/four")).unwrap();
    assert!(place.local.head(&Path::from("a/four")).unwrap_err().is_absent());
    place.local.flush(true).unwrap();
    let mut names = place.names("a");
    names.sort();
    assert_eq!(names, ["one", "three", "two"]);
    assert_eq!((place.read("a/one"), place.read("a/three")), ("1".into(), "22".into()));
}

#[test]
fn an_object_whose_time_matters_has_its_key_at_once() {
    let place = place_with(filesystem, PATIENT);
    place.local.put(&Path::from("gc/clock"), b"", Put::AtOnce).unwrap();
    assert_eq!(place.names("gc"), ["clock"]);
}

#[test]
fn objects_that_were_not_flushed_go_with_the_service() {
    let place = place_with(filesystem, PATIENT);
    place.put("a/one", "1").unwrap();
    let Place { directory, local } = place;
    drop(local);
    assert_eq!(std::fs::read_dir(directory.path().join("a")).unwrap().count(), 0);
}

#[test]
#[cfg(target_os = "linux")]
fn after_a_failed_flush_nothing_gets_its_key_and_everything_fails() {
    use std::os::unix::fs::OpenOptionsExt;

    // A descriptor opened with `O_PATH` cannot be flushed.
    let failing = |path: &FilePath| {
        let flags = rustix::fs::OFlags::PATH.bits() as i32;
        let directory = OpenOptions::new().read(true).custom_flags(flags).open(path);
        Flushing::Filesystem(directory.unwrap())
    };
    let place = place_with(failing, PATIENT);
    place.put("a/one", "1").unwrap();
    let error = place.local.flush(false).unwrap_err().to_string();
    assert!(place.names("a").is_empty(), "{:?}", place.names("a"));
    assert!(place.local.head(&Path::from("a/one")).unwrap_err().is_absent());
    place.put("a/two", "2").expect_err("nothing can be vouched for");
    assert!(place.names("a").is_empty(), "{:?}", place.names("a"));
    assert_eq!(place.local.flush(true).unwrap_err().to_string(), error);
}

/// Waits until `name` is in the directory `a`.
fn wait_for(place: &Place, name: &str) {
    let begun = std::time::Instant::now();
    while !place.names("a").iter().any(|other| other == name) {
        assert!(begun.elapsed() < Duration::from_secs(60), "{:?}", place.names("a"));
        std::thread::yield_now();
    }
}

#[test]
fn many_bytes_get_their_keys_without_a_writer_that_waits() {
    let place = place_with(filesystem, Patience { bytes: 5, ..PATIENT });
    place.put("a/one", "11").unwrap();
    place.put("a/two", "2222").unwrap();
    wait_for(&place, "one");
    wait_for(&place, "two");
}

#[test]
fn after_a_while_an_object_gets_its_key_without_a_writer_that_waits() {
    let patience = Patience { time: Duration::from_millis(1), ..PATIENT };
    let place = place_with(filesystem, patience);
    for name in ["one", "two"] {
        place.put(&format!("a/{name}"), "1").unwrap();
        wait_for(&place, name);
    }
}

#[test]
fn on_other_filesystems_and_other_disks_each_file_is_flushed_by_itself() {
    let each = place_with(|_| Flushing::Files, PATIENT);
    let mut other = place_with(filesystem, PATIENT);
    // Simulates a root on one disk and everything below it on another.
    other.local.device = Some(u64::MAX);
    for place in [each, other] {
        place.put("a/b/one", "1").unwrap();
        assert_eq!(place.names("a/b"), ["one"]);
        let unflushed = place.local.staging.unflushed();
        let root = std::fs::canonicalize(place.directory.path()).unwrap();
        assert!(unflushed.contains(&root.join("a/b")), "{unflushed:?}");
        place.local.flush(true).unwrap();
        // A writer that relies on the object has it flushed, because the process that wrote it may
        // not have flushed it.
        place.local.head(&Path::from("a/b/one")).unwrap();
        let unflushed = place.local.staging.unflushed();
        let above = [root.clone(), root.join("a"), root.join("a/b")];
        assert_eq!(unflushed, [&above[..], &[root.join("a/b/one")]].concat());
        place.copy("a/b/one", "c/two").unwrap();
        assert!(place.local.staging.unflushed().contains(&root.join("c")));
        place.local.flush(true).unwrap();
        assert!(place.local.staging.unflushed().is_empty());
    }
}
