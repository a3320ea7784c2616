//! The test data: made by a recipe from files of every Rust installation, and kept for the next
//! run.

use std::fs::{self, File};
use std::io::{BufWriter, Read, Write};
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result, bail};
use serde::{Deserialize, Serialize};

use crate::random::Random;

/// The corpora.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Corpus {
    /// The files of the Rust toolchain's `lib`, one after another as in a tar.
    Libraries,
    /// The sources of cargo's registry, likewise.
    Sources,
    /// The sources with 1% changed.
    Edited,
    /// Incompressible bytes.
    Random,
    /// Perfectly compressible bytes.
    Zeros,
}

impl Corpus {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Corpus::Libraries => "libraries",
            Corpus::Sources => "sources",
            Corpus::Edited => "edited",
            Corpus::Random => "random",
            Corpus::Zeros => "zeros",
        }
    }
}

/// A corpus on disk.
#[derive(Debug, Clone)]
pub(crate) struct Made {
    pub(crate) path: PathBuf,
    /// In bytes: less than requested if the machine has not enough files.
    pub(crate) size: u64,
}

/// Increased with every change of a recipe, so that no old file passes for a new one.
const RECIPE: u32 = 1;

/// Makes the corpus in `directory`, with at most `size` bytes, unless it exists already.
pub(crate) fn make(corpus: Corpus, size: u64, directory: &Path) -> Result<Made> {
    fs::create_dir_all(directory)
        .with_context(|| format!("cannot make {}", directory.display()))?;
    let (fingerprint, recipe) = recipe(corpus, size, directory)?;
    let prefix = format!("{}-{}-", corpus.name(), size);
    let path = directory.join(format!("{prefix}{fingerprint}.bin"));
    if !path.exists() {
        remove_older(directory, &prefix)?;
        let part = path.with_extension("part");
        let mut output = BufWriter::with_capacity(1 << 20, File::create(&part)?);
        write(&recipe, size, &mut output)
            .with_context(|| format!("cannot make the corpus {}", corpus.name()))?;
        output.flush()?;
        fs::rename(&part, &path)?;
    }
    let size = fs::metadata(&path)?.len();
    Ok(Made { path, size })
}

fn remove_older(directory: &Path, prefix: &str) -> Result<()> {
    for entry in fs::read_dir(directory)? {
        let entry = entry?;
        if entry.file_name().to_string_lossy().starts_with(prefix) {
            fs::remove_file(entry.path())?;
        }
    }
    Ok(())
}

/// The recipe of a corpus.
enum Recipe {
    /// From the files with these names below this directory.
    Files(PathBuf, Vec<(String, u64)>),
    /// From this other corpus.
    Edited(PathBuf),
    Random,
    Zeros,
}

/// The recipe, and a text that changes whenever its result would.
fn recipe(corpus: Corpus, size: u64, directory: &Path) -> Result<(String, Recipe)> {
    let fixed = |recipe| Ok((format!("v{RECIPE}"), recipe));
    let files = |root: PathBuf| {
        let files = list(&root, size)?;
        if files.is_empty() {
            bail!("there are no files in {}", root.display());
        }
        let mut hasher = blake3::Hasher::new();
        for (name, size) in &files {
            hasher.update(format!("{name}\0{size}\0").as_bytes());
        }
        let fingerprint = format!("v{RECIPE}-{:.16}", hasher.finalize().to_hex());
        Ok((fingerprint, Recipe::Files(root, files)))
    };
    match corpus {
        Corpus::Libraries => files(sysroot()?.join("lib")),
        Corpus::Sources => files(registry()?),
        Corpus::Edited => {
            let sources = make(Corpus::Sources, size, directory)?;
            let name = sources.path.file_stem().unwrap_or_default().to_string_lossy().into_owned();
            let fingerprint = name.rsplit('-').next().unwrap_or_default().to_owned();
            Ok((format!("v{RECIPE}-{fingerprint}"), Recipe::Edited(sources.path)))
        }
        Corpus::Random => fixed(Recipe::Random),
        Corpus::Zeros => fixed(Recipe::Zeros),
    }
}

fn sysroot() -> Result<PathBuf> {
    let rustc = std::env::var_os("RUSTC").unwrap_or_else(|| "rustc".into());
    let output =
        Command::new(rustc).args(["--print", "sysroot"]).output().context("cannot run rustc")?;
    Ok(PathBuf::from(String::from_utf8(output.stdout)?.trim()))
}

/// The unpacked sources, or the packed ones if there are no others.
fn registry() -> Result<PathBuf> {
    let home = std::env::home_dir().map(|home| home.join(".cargo"));
    let home = std::env::var_os("CARGO_HOME").map(PathBuf::from).or(home);
    let registry = home.context("there is no home directory")?.join("registry");
    let found = ["src", "cache"].iter().map(|name| registry.join(name)).find(|path| path.is_dir());
    found.with_context(|| format!("there is neither src nor cache in {}", registry.display()))
}

/// The names and sizes of the first files below `root`, in the order of their names, up to `enough`
/// bytes.
fn list(root: &Path, enough: u64) -> Result<Vec<(String, u64)>> {
    fn walk(root: &Path, name: &str, files: &mut Vec<(String, u64)>) -> Result<()> {
        let directory = root.join(name);
        let entries = fs::read_dir(&directory)
            .with_context(|| format!("cannot list {}", directory.display()))?;
        for entry in entries {
            let entry = entry?;
            let (kind, own) = (entry.file_type()?, entry.file_name());
            // Names that are not text are skipped: their order would differ between systems.
            let Some(own) = own.to_str() else { continue };
            let name = if name.is_empty() { own.to_owned() } else { format!("{name}/{own}") };
            if kind.is_dir() {
                walk(root, &name, files)?;
            } else if kind.is_file() {
                files.push((name, entry.metadata()?.len()));
            }
        }
        Ok(())
    }
    let mut files = Vec::new();
    walk(root, "", &mut files)?;
    files.sort();
    let mut total = 0;
    files.retain(|(_, size)| {
        let is_wanted = total < enough;
        total += size;
        is_wanted
    });
    Ok(files)
}

fn write(recipe: &Recipe, size: u64, output: &mut impl Write) -> Result<()> {
    match recipe {
        Recipe::Files(root, files) => write_files(root, files, size, output),
        Recipe::Edited(source) => {
            let mut data = Vec::new();
            File::open(source)?.read_to_end(&mut data)?;
            output.write_all(&edited(&data))?;
            Ok(())
        }
        Recipe::Random => {
            let mut random = Random::new("castore bench corpus");
            fill(size, output, |buffer| random.fill(buffer))
        }
        Recipe::Zeros => fill(size, output, |_| ()),
    }
}

fn fill(size: u64, output: &mut impl Write, mut make: impl FnMut(&mut [u8])) -> Result<()> {
    let mut buffer = vec![0; 1 << 20];
    let mut left = size;
    while left > 0 {
        make(&mut buffer);
        let count = left.min(buffer.len() as u64);
        output.write_all(&buffer[..count as usize])?;
        left -= count;
    }
    Ok(())
}

/// Writes each file after a header of 512 bytes, padded to a multiple of that, as tar does.
fn write_files(
    root: &Path,
    files: &[(String, u64)],
    size: u64,
    output: &mut impl Write,
) -> Result<()> {
    const BLOCK: usize = 512;
    let mut left = size as usize;
    let mut write = |bytes: &[u8]| {
        let count = bytes.len().min(left);
        left -= count;
        output.write_all(&bytes[..count])
    };
    for (name, length) in files {
        let mut header = [0; BLOCK];
        let text = format!("{length:012o} {name}");
        let count = text.len().min(BLOCK);
        header[..count].copy_from_slice(&text.as_bytes()[..count]);
        write(&header)?;
        let bytes = fs::read(root.join(name)).with_context(|| format!("cannot read {name}"))?;
        write(&bytes)?;
        write(&[0; BLOCK][..bytes.len().next_multiple_of(BLOCK) - bytes.len()])?;
    }
    Ok(())
}

/// `data` with about 1% of it inserted, deleted or overwritten, in pieces of 32 KiB on average: a
/// change every 3.2 MB, as between two versions of a source tree.
fn edited(data: &[u8]) -> Vec<u8> {
    const EDIT: u64 = 64 << 10;
    const GAP: u64 = 100 * EDIT;
    let mut random = Random::new("castore bench edits");
    let mut edited = Vec::with_capacity(data.len() + data.len() / 50);
    let mut at = 0;
    loop {
        let end = (at + 1 + random.below(GAP) as usize).min(data.len());
        edited.extend_from_slice(&data[at..end]);
        if end == data.len() {
            return edited;
        }
        at = end;
        let length = 1 + random.below(EDIT) as usize;
        let kind = random.below(3);
        if kind != 0 {
            let start = edited.len();
            edited.resize(start + length, 0);
            random.fill(&mut edited[start..]);
        }
        if kind != 1 {
            at = (at + length).min(data.len());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_corpus_is_the_same_each_time_and_of_the_size_asked_for() {
        let directory = tempfile::tempdir().unwrap();
        let digest = |corpus| {
            let made = make(corpus, 3_000_000, directory.path()).unwrap();
            let bytes = fs::read(&made.path).unwrap();
            fs::remove_file(&made.path).unwrap();
            assert_eq!(bytes.len() as u64, made.size);
            (blake3::hash(&bytes), made.size)
        };
        for corpus in [Corpus::Random, Corpus::Zeros, Corpus::Libraries] {
            let (first, size) = digest(corpus);
            assert_eq!(size, 3_000_000, "{corpus:?}");
            assert_eq!(digest(corpus), (first, size), "{corpus:?}");
        }
        // The digest is the same on every machine. A change of the recipe must increase RECIPE.
        let (random, _) = digest(Corpus::Random);
        assert!(random.to_hex().starts_with("486051dc43cdf247"), "{random}");
    }

    #[test]
    fn files_follow_in_the_order_of_their_names() {
        let directory = tempfile::tempdir().unwrap();
        fs::create_dir(directory.path().join("b")).unwrap();
        fs::write(directory.path().join("b/x"), [1; 600]).unwrap();
        fs::write(directory.path().join("a"), [2; 10]).unwrap();
        let files = list(directory.path(), 1000).unwrap();
        assert_eq!(files, [("a".to_owned(), 10), ("b/x".to_owned(), 600)]);
        assert_eq!(list(directory.path(), 10).unwrap().len(), 1);
        let mut output = Vec::new();
        write_files(directory.path(), &files, 10_000, &mut output).unwrap();
        assert_eq!(output.len(), 512 + 512 + 512 + 1024);
        assert_eq!(output[512..522], [2; 10]);
        let mut cut = Vec::new();
        write_files(directory.path(), &files, 700, &mut cut).unwrap();
        assert_eq!(cut, output[..700]);
    }

    #[test]
    fn about_one_percent_is_edited() {
        let mut data = vec![0; 64_000_000];
        Random::new("test").fill(&mut data);
        let edited = edited(&data);
        assert_eq!(edited, super::edited(&data));
        let params = castore_chunker::ChunkParams::with_average(16 << 10).unwrap();
        let digests = |data: &[u8]| -> std::collections::HashMap<_, _> {
            let chunks = castore_chunker::cut_points(data, params);
            chunks.map(|range| (blake3::hash(&data[range.clone()]), range.len())).collect()
        };
        let old = digests(&data);
        let new: usize = digests(&edited)
            .iter()
            .filter(|(digest, _)| !old.contains_key(*digest))
            .map(|(_, size)| size)
            .sum();
        assert!((300_000..2_500_000).contains(&new), "{new} of 64,000,000 bytes are new");
    }
}
