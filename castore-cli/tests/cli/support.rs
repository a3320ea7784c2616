//! A directory with a store in it, in which the program runs.

use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use castore_core::Digest;
use tempfile::TempDir;

/// A directory for one test alone; its store is `store`.
pub(crate) struct Place {
    directory: TempDir,
}

/// The result of a run of the program.
#[derive(Debug)]
pub(crate) struct Ran {
    pub(crate) code: i32,
    pub(crate) stdout: Vec<u8>,
    pub(crate) stderr: String,
}

impl Place {
    pub(crate) fn new() -> Place {
        Place { directory: tempfile::tempdir().unwrap() }
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    pub(crate) fn write(&self, name: &str, bytes: &[u8]) -> Digest {
        std::fs::write(self.path(name), bytes).unwrap();
        Digest::of(bytes)
    }

    /// The program, in this directory and with no environment but the store's.
    pub(crate) fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_castore"));
        command
            .args(args)
            .current_dir(self.directory.path())
            .env_clear()
            .env("HOME", self.path("home"))
            .env("CASTORE_STORE", "store")
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        command
    }

    /// The program, started by the program `through[0]`, such as `env`.
    #[cfg(unix)]
    pub(crate) fn through(&self, through: &[&str], args: &[&str]) -> Command {
        let direct = self.command(args);
        let mut command = Command::new(through[0]);
        command
            .args(&through[1..])
            .arg(direct.get_program())
            .args(direct.get_args())
            .current_dir(self.directory.path())
            .env_clear()
            .envs(direct.get_envs().filter_map(|(name, value)| Some((name, value?))))
            .env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin")
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        command
    }

    pub(crate) fn run(&self, args: &[&str]) -> Ran {
        ran(&self.command(args).output().unwrap())
    }

    /// Runs a command that must succeed, and returns its standard output.
    pub(crate) fn ok(&self, args: &[&str]) -> String {
        let ran = self.run(args);
        assert_eq!(ran.code, 0, "{args:?}: {ran:?}");
        ran.text()
    }

    /// Runs a command that must fail with `code` and print one line. Returns the line.
    pub(crate) fn fails(&self, code: i32, args: &[&str]) -> String {
        let ran = self.run(args);
        assert_eq!(ran.code, code, "{args:?}: {ran:?}");
        assert_eq!(ran.stderr.lines().count(), 1, "{args:?}: {ran:?}");
        ran.stderr
    }

    /// The names in a directory, sorted.
    pub(crate) fn names(&self, directory: &str) -> Vec<String> {
        let entries = std::fs::read_dir(self.path(directory)).unwrap();
        let mut names: Vec<String> =
            entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    }

    /// All files of the store except its marker.
    pub(crate) fn objects(&self) -> Vec<PathBuf> {
        fn walk(directory: &Path, found: &mut Vec<PathBuf>) {
            let Ok(entries) = std::fs::read_dir(directory) else { return };
            for entry in entries {
                let path = entry.unwrap().path();
                if path.is_dir() { walk(&path, found) } else { found.push(path) }
            }
        }
        let mut found = Vec::new();
        walk(&self.path("store"), &mut found);
        found.retain(|path| *path != self.path("store/castore-format"));
        found
    }
}

impl Ran {
    pub(crate) fn text(&self) -> String {
        String::from_utf8(self.stdout.clone()).unwrap()
    }
}

pub(crate) fn ran(output: &Output) -> Ran {
    Ran {
        code: output.status.code().expect("it was not killed"),
        stdout: output.stdout.clone(),
        stderr: String::from_utf8(output.stderr.clone()).unwrap(),
    }
}

/// `size` bytes that do not compress and do not repeat (xorshift, so always the same).
pub(crate) fn noise(size: usize, seed: u64) -> Vec<u8> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut bytes = Vec::with_capacity(size + 8);
    while bytes.len() < size {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        bytes.extend_from_slice(&state.to_le_bytes());
    }
    bytes.truncate(size);
    bytes
}
