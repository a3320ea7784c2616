//! The files to store, the same every time; and operations on directories of files.

use std::collections::BTreeMap;
use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use anyhow::Result;

/// A file, and the digest that castore must give it.
pub(super) struct Blob {
    pub(super) name: String,
    pub(super) data: Vec<u8>,
    pub(super) digest: String,
}

/// The number of files.
const FILES: usize = 24;

/// The size of the part that all large files share, in bytes.
const SHARED: usize = 1 << 20;

/// Files of a few bytes to a few megabytes, most of which share a part.
pub(super) fn blobs() -> Vec<Blob> {
    let mut random = Random::new("castore crash files");
    let shared = random.bytes(SHARED);
    let blob = |number: usize| {
        let own = match number % 4 {
            0 => 1 + random.below(100_000),
            _ => 1_000_000 + random.below(4_000_000),
        };
        let mut data = random.bytes(own);
        if number % 4 > 1 {
            data.extend_from_slice(&shared);
        }
        let digest = blake3::hash(&data).to_string();
        Blob { name: format!("file-{number}"), data, digest }
    };
    (0..FILES).map(blob).collect()
}

/// A few small files, of one chunk and of many, some of which share a part: for stores with chunks
/// of a few KiB.
#[cfg(all(target_os = "linux", target_arch = "x86_64"))]
pub(super) fn small_blobs() -> Vec<Blob> {
    let mut random = Random::new("castore crash small files");
    let shared = random.bytes(40_000);
    let blob = |number: usize| {
        let own = match number % 3 {
            0 => 1 + random.below(3_000),
            _ => 10_000 + random.below(60_000),
        };
        let mut data = random.bytes(own);
        if number % 3 == 2 {
            data.extend_from_slice(&shared);
        }
        let digest = blake3::hash(&data).to_string();
        Blob { name: format!("file-{number}"), data, digest }
    };
    (0..9).map(blob).collect()
}

/// All files below the directory, and their sizes in bytes; none if the directory does not exist.
pub(super) fn sizes(directory: &Path) -> Result<BTreeMap<PathBuf, u64>> {
    let mut sizes = BTreeMap::new();
    let entries = match fs::read_dir(directory) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(sizes),
        entries => entries?,
    };
    for entry in entries {
        let entry = entry?;
        if entry.file_type()?.is_dir() {
            sizes.extend(self::sizes(&entry.path())?);
        } else {
            sizes.insert(entry.path(), entry.metadata()?.len());
        }
    }
    Ok(sizes)
}

/// Copies all files below the directory.
pub(super) fn copy(from: &Path, to: &Path) -> Result<()> {
    for path in sizes(from)?.into_keys() {
        let copy = to.join(path.strip_prefix(from)?);
        fs::create_dir_all(copy.parent().unwrap_or(to))?;
        fs::copy(path, copy)?;
    }
    Ok(())
}

/// Pseudorandom numbers from a named seed.
pub(super) struct Random(blake3::OutputReader);

impl Random {
    pub(super) fn new(seed: &str) -> Random {
        Random(blake3::Hasher::new().update(seed.as_bytes()).finalize_xof())
    }

    fn bytes(&mut self, size: usize) -> Vec<u8> {
        let mut bytes = vec![0; size];
        self.0.fill(&mut bytes);
        bytes
    }

    fn next(&mut self) -> u64 {
        let mut bytes = [0; 8];
        self.0.fill(&mut bytes);
        u64::from_le_bytes(bytes)
    }

    pub(super) fn below(&mut self, bound: usize) -> usize {
        (self.next() % bound as u64) as usize
    }

    /// A number from 0 up to, but not including, 1.
    pub(super) fn fraction(&mut self) -> f64 {
        (self.next() >> 11) as f64 / (1_u64 << 53) as f64
    }
}
