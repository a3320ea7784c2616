//! Requests to a directory: blocking methods, called on threads that may wait for the disk.
//!
//! A key is the path of its file below the root. While a file is written, its name is that of its
//! object, `#` and a number. The file is renamed to its key once its bytes are durable: at the next
//! flush of the filesystem (`staging.rs`), or at once if each file is flushed by itself.

use std::fs::{File, Metadata, OpenOptions};
use std::io::{self, Write};
use std::path::{Path as FilePath, PathBuf};
use std::sync::Arc;
use std::time::SystemTime;

use object_store::path::Path;

use crate::objects::filesystem::{Flushing, filesystem_name};
use crate::objects::meta::Meta;
use crate::objects::staging::{Patience, Staging};
use crate::objects::walk::{Enters, Walk};

type Result<T> = std::result::Result<T, LocalError>;

/// A failed request to a directory.
#[derive(Debug, thiserror::Error)]
pub(crate) enum LocalError {
    #[error("unable to {action} {}", path.display())]
    Io { action: &'static str, path: PathBuf, source: io::Error },
    /// A directory, a pipe, a socket or a device lies in the place of an object.
    #[error("{} is not a regular file", path.display())]
    NotAFile { path: PathBuf },
}

impl LocalError {
    /// Whether the request failed because the object does not exist.
    pub(crate) fn is_absent(&self) -> bool {
        match self {
            LocalError::Io { source, .. } => source.kind() == io::ErrorKind::NotFound,
            LocalError::NotAFile { .. } => false,
        }
    }
}

/// A directory that holds a store.
#[derive(Debug, Clone)]
pub(crate) struct Local {
    root: Arc<FilePath>,
    /// The filesystem that holds the root.
    device: Option<u64>,
    staging: Arc<Staging>,
}

/// When an object gets its key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Put {
    /// Once the object is durable. If another object already waits under the same key, both have
    /// the same content.
    Durable,
    /// At once, because the object's time matters.
    AtOnce,
}

impl Local {
    /// The store in the directory `root`, which must exist.
    pub(crate) fn open(root: &FilePath, durable: bool) -> io::Result<Local> {
        Local::with(root, Flushing::of(root, durable)?, Patience::default())
    }

    fn with(root: &FilePath, flushing: Flushing, patience: Patience) -> io::Result<Local> {
        // The process may change its working directory later.
        let root = std::fs::canonicalize(root)?;
        let device = device(&std::fs::metadata(&root)?);
        let staging = Arc::new(Staging::new(flushing, patience));
        Ok(Local { root: root.into(), device, staging })
    }

    pub(crate) fn root(&self) -> &FilePath {
        &self.root
    }

    /// Makes everything durable that was written before, and renames the waiting objects to their
    /// keys. If `whole` is set, the keys are durable as well; otherwise they become durable before
    /// the key of any later object does.
    pub(crate) fn flush(&self, whole: bool) -> io::Result<()> {
        self.staging.flush(whole)
    }

    /// Whether a file has to be flushed by itself, because the flush of the filesystem, if any,
    /// does not reach it.
    fn flushes_alone(&self, metadata: &Metadata) -> bool {
        match self.staging.flushing() {
            Flushing::Never => false,
            Flushing::Files => true,
            Flushing::Filesystem(_) => device(metadata) != self.device,
        }
    }

    fn path(&self, key: &Path) -> PathBuf {
        let mut path = self.root.to_path_buf();
        path.extend(key.parts().map(|part| part.as_ref().to_owned()));
        path
    }

    /// The metadata of an object. If the object's place holds something other than a file, its size
    /// is 0, as for an object without readable bytes.
    pub(crate) fn head(&self, key: &Path) -> Result<Meta> {
        let path = self.path(key);
        let metadata = self.at(&path, |path| std::fs::metadata(path));
        let metadata = metadata.map_err(|error| self.failed("look at", &path, error))?;
        let modified = metadata.modified().map_err(failed("look at", &path))?;
        let size = if metadata.is_file() { metadata.len() } else { 0 };
        self.note_reuse(&path, &metadata)?;
        Ok(Meta { path: key.clone(), size, modified, tag: tag_of(&metadata) })
    }

    /// Ensures that the next flush covers the object and its name, because a writer relies on the
    /// object.
    pub(crate) fn rely_on(&self, key: &Path) -> Result<()> {
        self.head(key).map(drop)
    }

    /// Notes a reused file, and the directories above it, for the next flush: the process that
    /// wrote the file may have been killed before it flushed them.
    fn note_reuse(&self, path: &FilePath, metadata: &Metadata) -> Result<()> {
        if !metadata.is_file() || !self.flushes_alone(metadata) {
            return Ok(());
        }
        let above = path.ancestors().skip(1).take_while(|above| above.starts_with(&*self.root));
        let noted = std::iter::once(path).chain(above).try_for_each(|path| self.staging.note(path));
        noted.map_err(failed("flush", path))
    }

    /// Runs `act` on the file of an object, under the file's current name.
    fn at<T>(&self, path: &FilePath, act: impl Fn(&FilePath) -> io::Result<T>) -> io::Result<T> {
        if let Some(staged) = self.staging.staged(path) {
            match act(&staged) {
                // The staged file was renamed or deleted meanwhile.
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                answer => return answer,
            }
        }
        act(path)
    }

    fn note_directory(&self, path: &FilePath) -> io::Result<()> {
        path.parent().map_or(Ok(()), |directory| self.staging.note(directory))
    }

    /// Opens an object. Also returns its size in bytes.
    pub(crate) fn open_object(&self, key: &Path) -> Result<(File, u64)> {
        let path = self.path(key);
        let mut options = OpenOptions::new();
        options.read(true);
        // Opening a pipe would wait for a writer.
        #[cfg(unix)]
        std::os::unix::fs::OpenOptionsExt::custom_flags(
            &mut options,
            rustix::fs::OFlags::NONBLOCK.bits() as i32,
        );
        let opened = self.at(&path, |path| options.open(path));
        let opened = opened.and_then(|file| Ok((file.metadata()?, file)));
        match opened {
            Ok((metadata, file)) if metadata.is_file() => Ok((file, metadata.len())),
            Ok(_) => Err(LocalError::NotAFile { path }),
            // A socket, for example, cannot be opened.
            Err(_) if std::fs::metadata(&path).is_ok_and(|metadata| !metadata.is_file()) => {
                Err(LocalError::NotAFile { path })
            }
            Err(error) => Err(self.failed("open", &path, error)),
        }
    }

    /// Creates or replaces an object atomically.
    pub(crate) fn put(&self, key: &Path, bytes: &[u8], how: Put) -> Result<()> {
        let path = self.path(key);
        self.staging.check().map_err(failed("write", &path))?;
        let (mut file, staged) = self.create_beside(&path)?;
        let is_durable = self.staging.flushing().is_durable();
        let written = file.metadata().and_then(|metadata| {
            file.write_all(bytes)?;
            let alone = self.flushes_alone(&metadata);
            let at_once = alone || how == Put::AtOnce || !is_durable;
            if alone || at_once && is_durable && !bytes.is_empty() {
                file.sync_data()?;
            }
            // Some filesystems report write errors only on close.
            close(file)?;
            Ok((alone, at_once))
        });
        let done = written.map_err(failed("write", &path)).and_then(|(alone, at_once)| {
            if path.is_dir() {
                let error = io::ErrorKind::IsADirectory.into();
                return Err(failed(IN_PLACE_OF_DIRECTORY, &path)(error));
            }
            if !at_once {
                let added = self.staging.add(path.clone(), staged.clone(), bytes.len() as u64);
                return added.map_err(failed("write", &path));
            }
            replace(&staged, &path)?;
            match alone {
                true => self.note_directory(&path).map_err(failed("flush", &path)),
                false => Ok(()),
            }
        });
        if done.is_err() {
            // If the removal fails as well, the file remains as a leftover, as after a killed
            // process.
            let _ = std::fs::remove_file(&staged);
        }
        done
    }

    /// Deletes an object.
    pub(crate) fn delete(&self, key: &Path) -> Result<()> {
        let path = self.path(key);
        let waited = self.staging.remove(&path);
        let removed = std::fs::remove_file(&path);
        if waited && removed.as_ref().is_err_and(|error| error.kind() == io::ErrorKind::NotFound) {
            return Ok(());
        }
        removed.map_err(|error| self.failed("delete", &path, error))
    }

    /// Copies an object; the copy keeps the original's time. The copy is a hard link if the
    /// filesystem supports links.
    pub(crate) fn copy(&self, from: &Path, to: &Path) -> Result<()> {
        let (from, to) = (self.path(from), self.path(to));
        if self.staging.staged(&from).is_some() {
            self.flush(false).map_err(failed("flush", &from))?;
        }
        let metadata =
            std::fs::metadata(&from).map_err(|error| self.failed("copy", &from, error))?;
        if !metadata.is_file() {
            return Err(LocalError::NotAFile { path: from });
        }
        let alone = self.flushes_alone(&metadata);
        if alone {
            let flushed = File::open(&from).and_then(|file| file.sync_data());
            flushed.map_err(failed("flush", &from))?;
        }
        // A link to a symbolic link would be a copy of the link.
        let is_link = std::fs::symlink_metadata(&from).is_ok_and(|metadata| metadata.is_symlink());
        let linked = match is_link {
            true => Err(io::ErrorKind::Unsupported.into()),
            false => self.beside(&to, |staged| std::fs::hard_link(&from, staged)),
        };
        let staged = match linked {
            Ok(((), staged)) => staged,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                return Err(self.failed("copy", &from, error));
            }
            // The filesystem has no links, or the copy is on another filesystem.
            Err(_) => self.copy_bytes(&from, &to, metadata.modified().ok())?,
        };
        let copied = replace(&staged, &to);
        // If both names are already links to the same file, renaming one to the other keeps both.
        let _ = std::fs::remove_file(&staged);
        copied?;
        match alone || std::fs::metadata(&to).is_ok_and(|metadata| self.flushes_alone(&metadata)) {
            true => self.note_directory(&to).map_err(failed("flush", &to)),
            false => Ok(()),
        }
    }

    fn copy_bytes(
        &self,
        from: &FilePath,
        to: &FilePath,
        modified: Option<SystemTime>,
    ) -> Result<PathBuf> {
        let mut source = File::open(from).map_err(|error| self.failed("copy", from, error))?;
        let (mut copy, staged) = self.create_beside(to)?;
        let copied = io::copy(&mut source, &mut copy);
        if let Some(time) = modified {
            // Some filesystems cannot set times; the copy is valid without the original's.
            let _ = copy.set_modified(time);
        }
        let copied = copied.and_then(|_| copy.sync_all()).and_then(|()| close(copy));
        if copied.is_err() {
            let _ = std::fs::remove_file(&staged);
        }
        copied.map(|()| staged).map_err(failed("write", to))
    }

    /// Whether writes are flushed at all.
    pub(crate) fn is_durable(&self) -> bool {
        self.staging.flushing().is_durable()
    }

    /// A description of how writes are flushed. An error with the description if the way is not the
    /// fast one.
    pub(crate) fn describe_flushing(&self) -> std::result::Result<String, String> {
        let name = filesystem_name(&self.root);
        match self.staging.flushing() {
            Flushing::Never => Ok(format!("{name}, not flushed: durable=false")),
            Flushing::Filesystem(_) => Ok(format!("{name}, by syncfs")),
            Flushing::Files => Err(format!(
                "{name}: each file is flushed by itself, which is right and takes longer"
            )),
        }
    }

    /// Whether two objects are one file; `None` if the system does not tell.
    pub(crate) fn is_link(&self, first: &Path, second: &Path) -> Result<Option<bool>> {
        let identity = |key: &Path| {
            let path = self.path(key);
            let metadata = std::fs::metadata(&path).map_err(failed("look at", &path))?;
            #[cfg(unix)]
            return Ok(Some(std::os::unix::fs::MetadataExt::ino(&metadata)));
            #[cfg(not(unix))]
            return Ok(drop::<Metadata>(metadata)).map(|()| None::<u64>);
        };
        let (first, second) = (identity(first)?, identity(second)?);
        Ok(first.zip(second).map(|(first, second)| first == second))
    }

    /// Removes the directory `key` with all its content, and then `parent` above it if that is
    /// empty. A caller names only directories that it has created.
    pub(crate) fn remove_directory(&self, key: &Path, parent: &Path) -> Result<()> {
        let (path, parent) = (self.path(key), self.path(parent));
        match std::fs::remove_dir_all(&path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                return Err(failed("remove", &path)(error));
            }
            _ => {}
        }
        // Another run may have its own directory in `parent`.
        let _ = std::fs::remove_dir(parent);
        Ok(())
    }

    /// A walk over the objects below `prefix`.
    pub(crate) fn walk(&self, prefix: &Path, enters: Enters) -> Walk {
        Walk::new(&self.root, prefix.as_ref(), enters)
    }

    /// Creates a new file that will be renamed to `path`.
    fn create_beside(&self, path: &FilePath) -> Result<(File, PathBuf)> {
        let create =
            |staged: &FilePath| OpenOptions::new().write(true).create_new(true).open(staged);
        self.beside(path, create).map_err(|error| match error.kind() {
            // The kind must not be `NotFound`: a failed write does not mean that an object is
            // absent.
            io::ErrorKind::NotFound => self.failed("create", path, io::Error::other(error)),
            _ => failed("create", path)(error),
        })
    }

    /// Creates, with `make`, an entry that will be renamed to `path`, under its first free
    /// temporary name. Also creates the missing directories on the way.
    fn beside<T>(
        &self,
        path: &FilePath,
        make: impl Fn(&FilePath) -> io::Result<T>,
    ) -> io::Result<(T, PathBuf)> {
        /// How many times the directories are created again. A program that tidies up does not
        /// remove a directory more often than this.
        const TIMES: u32 = 16;

        let (mut number, mut times) = (1_u64, 0);
        loop {
            let mut staged = path.as_os_str().to_owned();
            staged.push(format!("#{number}"));
            let staged = PathBuf::from(staged);
            match make(&staged) {
                Ok(made) => return Ok((made, staged)),
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => number += 1,
                Err(error) if error.kind() == io::ErrorKind::NotFound && times < TIMES => {
                    times += 1;
                    self.create_directories(path)?;
                }
                Err(error) => return Err(error),
            }
        }
    }

    /// Creates the directories between the root and the file `path`, but never the root: if the
    /// root is gone, its disk is not mounted.
    fn create_directories(&self, path: &FilePath) -> io::Result<()> {
        let parts = path.parent().and_then(|parent| parent.strip_prefix(&self.root).ok());
        let mut directory = self.root.to_path_buf();
        if !directory.is_dir() {
            return Err(io::Error::other("the directory of the store is gone"));
        }
        for part in parts.into_iter().flatten() {
            directory.push(part);
            match std::fs::create_dir(&directory) {
                Ok(()) if matches!(self.staging.flushing(), Flushing::Files) => {
                    self.note_directory(&directory)?;
                }
                Ok(()) => {}
                Err(_) if directory.is_dir() => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    /// The error of a request for `path`. An object is absent only if that is certain. The target
    /// of a dangling symbolic link is not absent, since its disk may not be mounted; nor is
    /// anything below a root that is gone.
    fn failed(&self, action: &'static str, path: &FilePath, error: io::Error) -> LocalError {
        if error.kind() != io::ErrorKind::NotFound {
            return failed(action, path)(error);
        }
        for place in path.ancestors() {
            match std::fs::symlink_metadata(place) {
                Ok(metadata) if metadata.is_symlink() && std::fs::metadata(place).is_err() => {
                    return dangling(place);
                }
                Ok(_) => break,
                Err(_) if place == &*self.root => {
                    let error = io::Error::other("the directory of the store is gone");
                    return failed(action, place)(error);
                }
                Err(_) => {}
            }
        }
        failed(action, path)(error)
    }
}

const IN_PLACE_OF_DIRECTORY: &str = "put a file in the place of the directory";

/// The filesystem that holds a file, if the system tells.
#[cfg(unix)]
fn device(metadata: &Metadata) -> Option<u64> {
    Some(std::os::unix::fs::MetadataExt::dev(metadata))
}

#[cfg(not(unix))]
fn device(_: &Metadata) -> Option<u64> {
    None
}

/// Renames a complete file to `path`.
fn replace(staged: &FilePath, path: &FilePath) -> Result<()> {
    std::fs::rename(staged, path).map_err(|error| match path.is_dir() {
        true => failed(IN_PLACE_OF_DIRECTORY, path)(error),
        false => failed("write", path)(error),
    })
}

/// Closes a written file. Some filesystems report write errors only then.
#[cfg(unix)]
fn close(file: File) -> io::Result<()> {
    nix::unistd::close(file).map_err(io::Error::from)
}

#[cfg(not(unix))]
fn close(file: File) -> io::Result<()> {
    drop(file);
    Ok(())
}

/// The error of a dangling symbolic link.
pub(crate) fn dangling(path: &FilePath) -> LocalError {
    let error = io::Error::other("it is a symbolic link to something that is not there");
    failed("follow", path)(error)
}

pub(crate) fn failed(
    action: &'static str,
    path: &FilePath,
) -> impl FnOnce(io::Error) -> LocalError {
    move |source| LocalError::Io { action, path: path.to_owned(), source }
}

/// A tag that changes when the file does.
#[cfg(unix)]
pub(crate) fn tag_of(metadata: &Metadata) -> Option<String> {
    use std::os::unix::fs::MetadataExt;

    let (inode, seconds, nanoseconds) = (metadata.ino(), metadata.mtime(), metadata.mtime_nsec());
    Some(format!("{inode:x}-{seconds:x}.{nanoseconds:x}-{:x}", metadata.len()))
}

#[cfg(not(unix))]
pub(crate) fn tag_of(_: &Metadata) -> Option<String> {
    None
}

#[cfg(all(test, unix))]
mod tests;
