//! The file that `get` writes: under a temporary name in the same directory until it is whole, with
//! holes, and with the mode of the file it replaces.

use std::fs::{File, Permissions};
use std::io::{self, Seek, SeekFrom, Write};
use std::path::Path;

use tempfile::{Builder, NamedTempFile, TempPath};

/// The granularity of holes, in bytes: offset and size of a hole are multiples of it.
const HOLE: usize = 16 * 1024;

static ZEROS: [u8; HOLE] = [0; HOLE];

/// Creates a temporary file beside `output`. If it replaces a file, which may be private, others
/// can read the new file only once it is whole.
pub(crate) fn temporary(output: &Path, replaces: bool) -> io::Result<NamedTempFile> {
    let directory = match output.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    };
    let mut builder = Builder::new();
    builder.prefix(".castore-");
    #[cfg(unix)]
    if !replaces {
        use std::os::unix::fs::PermissionsExt;
        // The system applies the process's umask, as for any new file.
        builder.permissions(Permissions::from_mode(0o666));
    }
    builder.tempfile_in(directory)
}

/// Gives `file` the mode of the file at `output`, and its owner and group if the system allows
/// that. If not, no user may do more with the new file than with the old one.
#[cfg(unix)]
pub(crate) fn be_like(file: &File, output: &Path) -> io::Result<()> {
    use std::os::unix::fs::{MetadataExt, PermissionsExt, fchown};

    let (old, new) = (output.metadata()?, file.metadata()?);
    let mut mode = old.mode() & 0o7777;
    if new.gid() != old.gid() && fchown(file, None, Some(old.gid())).is_err() {
        // Members of the new group may do only as much as all other users.
        mode = mode & !0o2070 | (mode & 0o007) << 3;
    }
    if new.uid() != old.uid() && fchown(file, Some(old.uid()), None).is_err() {
        mode &= !0o4000;
    }
    // The mode comes after the owner, because a change of owner clears some bits.
    file.set_permissions(Permissions::from_mode(mode))
}

#[cfg(not(unix))]
pub(crate) fn be_like(file: &File, output: &Path) -> io::Result<()> {
    let permissions: Permissions = output.metadata()?.permissions();
    file.set_permissions(permissions)
}

/// Gives the file its name atomically. Fails with `AlreadyExists` if the name is taken and `force`
/// is not given.
pub(crate) fn publish(path: TempPath, output: &Path, force: bool) -> io::Result<()> {
    if force {
        return path.persist(output).map_err(|error| error.error);
    }
    match path.persist_noclobber(output) {
        Err(failed) if failed.error.kind() != io::ErrorKind::AlreadyExists => {
            claim(failed.path, output)
        }
        published => published.map_err(|error| error.error),
    }
}

/// The same on a filesystem with neither hard links nor a rename that spares an existing file.
/// Claims the name with an empty file first, so that no file of others is replaced.
fn claim(path: TempPath, output: &Path) -> io::Result<()> {
    File::create_new(output)?;
    path.persist(output).map_err(|failed| {
        let _ = std::fs::remove_file(output);
        failed.error
    })
}

/// Writes to a new file, with holes in place of long runs of zeros.
pub(crate) struct Sparse {
    file: File,
    /// The number of bytes given so far, those of holes included.
    size: u64,
    /// The offset of the file itself, in bytes.
    position: u64,
}

impl Sparse {
    pub(crate) fn new(file: File) -> Sparse {
        Sparse { file, size: 0, position: 0 }
    }

    pub(crate) fn write(&mut self, mut bytes: &[u8]) -> io::Result<()> {
        let hole = HOLE as u64;
        let mut solid = 0;
        // Everything up to the next hole is written at once.
        while solid < bytes.len() {
            let rest = &bytes[solid..];
            let at = self.size + solid as u64;
            let length = rest.len().min((hole - at % hole) as usize);
            // The other part of an incomplete unit may be in the next piece, or was a hole in the
            // last one.
            let may_be_part = at.is_multiple_of(hole) || (solid == 0 && self.position < self.size);
            let is_last = length == rest.len();
            let may_be_hole = length == HOLE || (may_be_part && (is_last || solid == 0));
            if may_be_hole && rest[..length] == ZEROS[..length] {
                self.write_all(&bytes[..solid])?;
                self.size += length as u64;
                bytes = &rest[length..];
                solid = 0;
            } else {
                solid += length;
            }
        }
        self.write_all(bytes)
    }

    fn write_all(&mut self, bytes: &[u8]) -> io::Result<()> {
        if bytes.is_empty() {
            return Ok(());
        }
        if self.position != self.size {
            self.file.seek(SeekFrom::Start(self.size))?;
        }
        self.file.write_all(bytes)?;
        self.size += bytes.len() as u64;
        self.position = self.size;
        Ok(())
    }

    /// Returns the file, extended to its full size.
    pub(crate) fn end(self) -> io::Result<File> {
        if self.position != self.size {
            self.file.set_len(self.size)?;
        }
        Ok(self.file)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Writes `bytes` in pieces of `size` bytes and reads them back.
    fn written(bytes: &[u8], size: usize) -> Vec<u8> {
        let temporary = NamedTempFile::new().unwrap();
        let mut sparse = Sparse::new(temporary.reopen().unwrap());
        for piece in bytes.chunks(size.max(1)) {
            sparse.write(piece).unwrap();
        }
        sparse.end().unwrap();
        std::fs::read(temporary.path()).unwrap()
    }

    #[test]
    fn a_file_with_holes_has_the_same_bytes() {
        let lengths = [0, 1, HOLE - 1, HOLE, HOLE + 1, 3 * HOLE, 5 * HOLE + 7];
        for zeros in lengths {
            for around in lengths {
                let (before, after) = (vec![1; around], vec![2; around / 2]);
                let bytes = [&before[..], &vec![0; zeros], &after].concat();
                for size in [bytes.len(), HOLE, 10_007] {
                    assert!(written(&bytes, size) == bytes, "{zeros} {around} {size}");
                }
            }
        }
    }

    #[cfg(unix)]
    #[test]
    fn a_long_run_of_zeros_takes_up_no_space() {
        use std::os::unix::fs::MetadataExt;

        let temporary = NamedTempFile::new().unwrap();
        let mut sparse = Sparse::new(temporary.reopen().unwrap());
        sparse.write(&[1; 100]).unwrap();
        for _ in 0..64 {
            sparse.write(&vec![0; 1 << 20]).unwrap();
        }
        let metadata = sparse.end().unwrap().metadata().unwrap();
        assert_eq!(metadata.size(), 100 + (64 << 20));
        assert!(metadata.blocks() * 512 < 1 << 20, "{} blocks", metadata.blocks());
    }

    #[test]
    fn a_name_that_is_taken_by_an_empty_file_spares_others() {
        let directory = tempfile::tempdir().unwrap();
        let output = directory.path().join("out");
        let file = || {
            let mut file = temporary(&output, false).unwrap();
            file.write_all(b"new").unwrap();
            file.into_temp_path()
        };
        claim(file(), &output).unwrap();
        assert_eq!(std::fs::read(&output).unwrap(), b"new");
        std::fs::write(&output, b"old").unwrap();
        assert_eq!(claim(file(), &output).unwrap_err().kind(), io::ErrorKind::AlreadyExists);
        assert_eq!(std::fs::read(&output).unwrap(), b"old");
        assert_eq!(std::fs::read_dir(&directory).unwrap().count(), 1);
    }
}
