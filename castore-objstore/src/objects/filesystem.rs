//! How writes to a directory are made durable: by flushing the whole filesystem, or file by file.

use std::fs::File;
use std::io;
use std::path::Path;

/// The way in which the files of a directory are flushed.
#[derive(Debug)]
pub(crate) enum Flushing {
    /// No flush at all.
    Never,
    /// All files together, by flushing the filesystem that holds the directory. The directory stays
    /// open, because the system reports only failures since it was opened.
    #[cfg_attr(not(target_os = "linux"), expect(dead_code, reason = "needs syncfs"))]
    Filesystem(File),
    /// Each file by itself, and then each directory.
    Files,
}

impl Flushing {
    /// The way of flushing for the directory `root`.
    ///
    /// `syncfs` does nothing on some filesystems (FUSE, for example), and before Linux 5.8 it does
    /// not report write errors. So this uses `syncfs` only if both the filesystem and the kernel
    /// are known to support it.
    pub(crate) fn of(root: &Path, durable: bool) -> io::Result<Flushing> {
        if !durable {
            return Ok(Flushing::Never);
        }
        #[cfg(target_os = "linux")]
        {
            let directory = File::open(root)?;
            let (kind, name) = linux::filesystem(&directory)?;
            if kind == linux::Kind::Flushes && linux::reports_errors() {
                tracing::info!(root = %root.display(), filesystem = name, "flushed as a whole (syncfs)");
                return Ok(Flushing::Filesystem(directory));
            }
            tracing::info!(root = %root.display(), filesystem = name, "each file is flushed by itself");
        }
        #[cfg(not(target_os = "linux"))]
        tracing::info!(root = %root.display(), "each file is flushed by itself");
        Ok(Flushing::Files)
    }

    pub(crate) fn is_durable(&self) -> bool {
        !matches!(self, Flushing::Never)
    }
}

/// The name of the filesystem that holds a directory, for people.
pub(crate) fn filesystem_name(directory: &Path) -> &'static str {
    #[cfg(target_os = "linux")]
    if let Ok(directory) = File::open(directory)
        && let Ok((_, name)) = linux::filesystem(&directory)
    {
        return name;
    }
    let _ = directory;
    "a filesystem"
}

/// Flushes the filesystem that holds `directory`.
#[cfg(target_os = "linux")]
pub(crate) fn flush_filesystem(directory: &File) -> io::Result<()> {
    rustix::fs::syncfs(directory).map_err(io::Error::from)
}

#[cfg(not(target_os = "linux"))]
pub(crate) fn flush_filesystem(_: &File) -> io::Result<()> {
    Err(io::ErrorKind::Unsupported.into())
}

/// Flushes the entries of a directory, if the system can.
pub(crate) fn flush_directory(path: &Path) -> io::Result<()> {
    // Only Unix can open a directory.
    if !cfg!(unix) {
        return Ok(());
    }
    let flushed = File::open(path).and_then(|directory| directory.sync_all());
    match flushed {
        // The directory is gone, with its entries, or its filesystem does not flush directories.
        Err(error)
            if matches!(
                error.kind(),
                io::ErrorKind::NotFound | io::ErrorKind::InvalidInput | io::ErrorKind::Unsupported
            ) =>
        {
            Ok(())
        }
        flushed => flushed,
    }
}

/// How many files this process may have open at once.
pub(crate) fn open_files() -> Option<u64> {
    #[cfg(unix)]
    return rustix::process::getrlimit(rustix::process::Resource::Nofile).current;
    #[cfg(not(unix))]
    None
}

#[cfg(target_os = "linux")]
mod linux {
    use std::fs::File;
    use std::io;

    #[derive(Debug, Clone, Copy, PartialEq, Eq)]
    pub(super) enum Kind {
        /// `syncfs` writes everything, and reports write errors.
        Flushes,
        Unknown,
    }

    /// Filesystems whose `syncfs` is right: their magic numbers, and names.
    const FLUSHES: [(u32, &str); 6] = [
        (0xef53, "ext4"),
        (0x5846_5342, "xfs"),
        (0x9123_683e, "btrfs"),
        (0xf2f5_2010, "f2fs"),
        // Filesystems in memory, which write nothing to disk.
        (0x0102_1994, "tmpfs"),
        (0x8584_58f6, "ramfs"),
    ];

    /// Other filesystems, known by name for messages only.
    const OTHERS: [(u32, &str); 10] = [
        (0x6969, "NFS"),
        (0x794c_7630, "overlayfs"),
        (0x6573_5546, "FUSE"),
        (0x2fc1_2fc1, "ZFS"),
        (0xff53_4d42, "CIFS"),
        (0xfe53_4d42, "SMB"),
        (0x0102_1997, "9p"),
        (0x4d44, "FAT"),
        (0x2011_bab0, "exFAT"),
        (0x00c3_6400, "Ceph"),
    ];

    pub(super) fn filesystem(directory: &File) -> io::Result<(Kind, &'static str)> {
        let magic = rustix::fs::fstatfs(directory)?.f_type as u32;
        Ok(kind_of(magic))
    }

    pub(super) fn kind_of(magic: u32) -> (Kind, &'static str) {
        match FLUSHES.iter().find(|(known, _)| *known == magic) {
            Some((_, name)) => (Kind::Flushes, name),
            None => {
                let other = OTHERS.iter().find(|(known, _)| *known == magic);
                (Kind::Unknown, other.map_or("a filesystem of another kind", |(_, name)| name))
            }
        }
    }

    /// Whether the running kernel reports errors of `syncfs`.
    pub(super) fn reports_errors() -> bool {
        let name = rustix::system::uname();
        name.release().to_str().is_ok_and(is_new_enough)
    }

    pub(super) fn is_new_enough(release: &str) -> bool {
        let mut numbers = release.split(|c: char| !c.is_ascii_digit()).map(str::parse::<u32>);
        match (numbers.next(), numbers.next()) {
            (Some(Ok(major)), Some(Ok(minor))) => (major, minor) >= (5, 8),
            _ => false,
        }
    }
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use super::linux::{Kind, is_new_enough, kind_of};

    #[test]
    fn syncfs_is_trusted_on_known_filesystems_of_new_kernels_only() {
        assert_eq!(kind_of(0xef53), (Kind::Flushes, "ext4"));
        for fuse_nfs_and_overlayfs in [0x6573_5546, 0x6969, 0x794c_7630] {
            assert_eq!(kind_of(fuse_nfs_and_overlayfs).0, Kind::Unknown);
        }
        for (release, new) in
            [("5.8.0", true), ("6.1-rc2", true), ("5.7.19", false), ("4.19.0", false), ("x", false)]
        {
            assert_eq!(is_new_enough(release), new, "{release}");
        }
    }
}
