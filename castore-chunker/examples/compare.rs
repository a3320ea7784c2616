//! Cuts files in every way that this crate offers, and compares the results with the `fastcdc`
//! crate:
//!
//! ```sh
//! cargo run --release -p castore-chunker --example compare -- FILE...
//! ```
//!
//! Files are read as a whole. Directories are walked; links are not followed.

use std::io;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use castore_chunker::{ChunkParams, Kernel, Normalization};

#[path = "../tests/chunker/differential.rs"]
#[expect(dead_code, reason = "of the tests' functions one is enough")]
mod differential;

#[derive(Default)]
struct Compared {
    files: u64,
    bytes: u64,
    chunks: u64,
}

impl Compared {
    fn add(&mut self, path: &Path) -> io::Result<()> {
        let kind = path.symlink_metadata()?.file_type();
        if kind.is_dir() {
            let mut entries: Vec<PathBuf> =
                path.read_dir()?.map(|entry| Ok(entry?.path())).collect::<io::Result<_>>()?;
            entries.sort();
            return entries.iter().try_for_each(|entry| self.add(entry));
        }
        if !kind.is_file() {
            return Ok(());
        }
        let data = std::fs::read(path)?;
        let format = ChunkParams::default();
        // The format's parameters, and others with shorter chunks, another seed and another level.
        let small = ChunkParams::new(1000, 16_384, 100_000).map_err(io::Error::other)?;
        let small = small.with_normalization(Normalization::Level2).with_seed(0x5eed);
        for params in [format, small] {
            let chunks = differential::check(&data, params, 1024 * 1024);
            self.chunks += chunks.len() as u64;
            self.bytes += data.len() as u64;
        }
        self.files += 1;
        Ok(())
    }
}

fn main() -> ExitCode {
    let mut compared = Compared::default();
    for path in std::env::args_os().skip(1) {
        let path = PathBuf::from(path);
        if let Err(error) = compared.add(&path) {
            eprintln!("{}: {error}", path.display());
            return ExitCode::FAILURE;
        }
    }
    let kernels: Vec<_> = Kernel::available().map(|kernel| kernel.name()).collect();
    let Compared { files, bytes, chunks } = compared;
    println!("{files} files, {bytes} bytes, {chunks} chunks: the same by {}", kernels.join(", "));
    ExitCode::SUCCESS
}
