//! The requests for a directory that are made for every chunk, by the thread that asks.
//!
//! `object_store` hands each request to a thread of its own, and has its answer waited for. A thread
//! that sees to a chunk from its beginning to its end (`processors.rs`) may wait for the disk itself:
//! being handed over takes as long as many a request. What is there afterwards is the same, and so
//! are the names of what is left where a write is cut off.

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::path::{Path as FilePath, PathBuf};
use std::sync::Arc;

use object_store::local::LocalFileSystem;
use object_store::path::Path;
use object_store::{Error, Result};

/// A directory whose files need not be flushed one by one.
#[derive(Debug, Clone)]
pub(crate) struct Disk(Arc<LocalFileSystem>);

/// What could not be done with which file.
#[derive(Debug, thiserror::Error)]
#[error("unable to {action} {}", path.display())]
struct FileError {
    action: &'static str,
    path: PathBuf,
    source: io::Error,
}

impl Disk {
    pub(crate) fn new(directory: Arc<LocalFileSystem>) -> Disk {
        Disk(directory)
    }

    /// The size of a file in bytes.
    pub(crate) fn size(&self, path: &Path) -> Result<u64> {
        let path = self.0.path_to_filesystem(path)?;
        let metadata = std::fs::metadata(&path);
        metadata.and_then(|metadata| size_of_file(&metadata)).map_err(failed("look at", &path))
    }

    /// A file, and its size in bytes.
    pub(crate) fn open(&self, path: &Path) -> Result<(File, u64)> {
        let path = self.0.path_to_filesystem(path)?;
        let open = || {
            let file = File::open(&path)?;
            let size = size_of_file(&file.metadata()?)?;
            Ok((file, size))
        };
        open().map_err(failed("open", &path))
    }

    /// Makes or replaces a file, in an instant: it has another name while it is being written.
    pub(crate) fn put(&self, path: &Path, bytes: &[u8]) -> Result<()> {
        let path = self.0.path_to_filesystem(path)?;
        let (mut file, unfinished) = create_beside(&path).map_err(failed("create", &path))?;
        let written = file.write_all(bytes);
        // Closed first: an open file cannot be renamed everywhere.
        drop(file);
        let written = written.and_then(|()| std::fs::rename(&unfinished, &path));
        written.map_err(|error| {
            // If that fails too, it is a leftover like that of a process that was killed.
            let _ = std::fs::remove_file(&unfinished);
            failed("write", &path)(error)
        })
    }
}

/// A directory is no object.
fn size_of_file(metadata: &std::fs::Metadata) -> io::Result<u64> {
    match metadata.is_dir() {
        true => Err(io::ErrorKind::NotFound.into()),
        false => Ok(metadata.len()),
    }
}

/// A new file for what is to be `path`: of the names that `object_store` gives such files, the first
/// that is free.
fn create_beside(path: &FilePath) -> io::Result<(File, PathBuf)> {
    let mut number = 1;
    loop {
        let mut unfinished = path.as_os_str().to_owned();
        unfinished.push(format!("#{number}"));
        match OpenOptions::new().write(true).create_new(true).open(&unfinished) {
            Ok(file) => return Ok((file, unfinished.into())),
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => number += 1,
            Err(error) if error.kind() == io::ErrorKind::NotFound => match path.parent() {
                // Somebody may remove it again, but not for ever.
                Some(directory) => std::fs::create_dir_all(directory)?,
                None => return Err(error),
            },
            Err(error) => return Err(error),
        }
    }
}

fn failed(action: &'static str, path: &FilePath) -> impl FnOnce(io::Error) -> Error {
    move |source| {
        let absent = source.kind() == io::ErrorKind::NotFound;
        let source = Box::new(FileError { action, path: path.to_owned(), source });
        match absent {
            true => Error::NotFound { path: path.display().to_string(), source },
            false => Error::Generic { store: "LocalFileSystem", source },
        }
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use object_store::ObjectStoreExt;

    use super::*;
    use crate::objects::client::Fetched;

    struct Place {
        directory: tempfile::TempDir,
        store: Arc<LocalFileSystem>,
        disk: Disk,
    }

    fn place() -> Place {
        let directory = tempfile::tempdir().unwrap();
        let store = Arc::new(LocalFileSystem::new_with_prefix(directory.path()).unwrap());
        Place { disk: Disk::new(Arc::clone(&store)), directory, store }
    }

    impl Place {
        fn path(&self, path: &str) -> PathBuf {
            self.directory.path().join(path)
        }

        fn names(&self, directory: &str) -> Vec<String> {
            let entries = std::fs::read_dir(self.path(directory)).unwrap();
            entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect()
        }
    }

    fn read(disk: &Disk, path: &Path) -> Bytes {
        let (file, size) = disk.open(path).unwrap();
        assert_eq!(disk.size(path).unwrap(), size);
        Fetched::File(file, 0, size).read().unwrap()
    }

    #[tokio::test]
    async fn it_is_the_same_store() {
        let place = place();
        let [ours, theirs] = ["new/directories/ours", "theirs"].map(Path::from);
        place.disk.put(&ours, b"1").unwrap();
        assert_eq!(place.store.get(&ours).await.unwrap().bytes().await.unwrap(), "1");
        place.disk.put(&ours, b"22").unwrap();
        assert_eq!(read(&place.disk, &ours), "22");
        assert_eq!(place.names("new/directories"), ["ours"]);
        place.store.put(&theirs, "333".into()).await.unwrap();
        assert_eq!(read(&place.disk, &theirs), "333");
    }

    #[test]
    fn what_is_no_file_is_absent() {
        let place = place();
        place.disk.put(&Path::from("a/file"), b"1").unwrap();
        for path in ["nothing", "no/directory", "a"].map(Path::from) {
            assert!(matches!(place.disk.size(&path), Err(Error::NotFound { .. })), "{path}");
            assert!(matches!(place.disk.open(&path), Err(Error::NotFound { .. })), "{path}");
        }
    }

    #[test]
    fn what_somebody_else_is_writing_is_left_alone() {
        let place = place();
        std::fs::write(place.path("file#1"), "theirs").unwrap();
        place.disk.put(&Path::from("file"), b"ours").unwrap();
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
            let error = place.disk.put(&Path::from(path), b"1").unwrap_err();
            assert!(matches!(error, Error::Generic { .. }), "{error:?}");
            assert!(error.to_string().contains(path), "{error}");
        }
        assert_eq!(place.names("a"), ["directory"]);
    }
}
