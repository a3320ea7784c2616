//! The calls of each program: with its usual settings, and zstd level 3 if that can be set.

use std::path::{Path, PathBuf};

/// The programs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Program {
    Castore,
    CastoreNotDurable,
    Restic,
    Borg,
    Casync,
    Desync,
    Kopia,
    Rclone,
}

/// The calls, each a program and its arguments.
pub(super) struct Plan {
    pub(super) environment: Vec<(String, String)>,
    /// The calls that make the repository; not measured.
    pub(super) prepare: Vec<Vec<String>>,
    pub(super) put: Vec<String>,
    pub(super) again: Vec<String>,
    pub(super) read: Vec<String>,
    /// The file that `read` makes.
    pub(super) restored: PathBuf,
    pub(super) repository: PathBuf,
}

impl Program {
    pub(super) const ALL: [Program; 8] = [
        Program::Castore,
        Program::CastoreNotDurable,
        Program::Restic,
        Program::Borg,
        Program::Casync,
        Program::Desync,
        Program::Kopia,
        Program::Rclone,
    ];

    pub(super) fn name(self) -> &'static str {
        match self {
            Program::Castore => "castore",
            Program::CastoreNotDurable => "castore, not durable",
            Program::Restic => "restic",
            Program::Borg => "borg",
            Program::Casync => "casync",
            Program::Desync => "desync",
            Program::Kopia => "kopia",
            Program::Rclone => "rclone (a copy)",
        }
    }

    pub(super) fn is_castore(self) -> bool {
        matches!(self, Program::Castore | Program::CastoreNotDurable)
    }

    pub(super) fn find(self) -> Option<PathBuf> {
        match self {
            Program::Castore | Program::CastoreNotDurable => None,
            Program::Rclone => super::on_path("rclone"),
            other => super::on_path(other.name()),
        }
    }

    /// The remark that a reader needs for a fair comparison.
    pub(super) fn remark(self) -> &'static str {
        match self {
            Program::Castore => {
                "put, put, get -o FILE; chunks of 256 KiB, zstd level 3, flushes once per blob; \
                 not encrypted"
            }
            Program::CastoreNotDurable => "the same with -o durable=false: flushes nothing",
            Program::Restic => {
                "backup --force, so that it reads what it knows, and restore; encrypts always, \
                 chunks of 1 MiB in packs, its own zstd level, flushes every pack"
            }
            Program::Borg => {
                "init -e none, create with zstd,3 and without its cache of files, extract; chunks \
                 of 2 MiB in segments that it flushes"
            }
            Program::Casync => {
                "make and extract of a blob; chunks of 64 KiB, zstd, flushes nothing"
            }
            Program::Desync => "make and extract; chunks of 64 KiB, zstd, flushes nothing",
            Program::Kopia => {
                "snapshot with zstd, hashing all again, and restore; encrypts always, chunks of \
                 4 MiB in packs"
            }
            Program::Rclone => "copies: neither cut nor compressed nor named by content",
        }
    }

    /// The calls of the program at `path` that store `file` in a repository below `directory`. They
    /// run in `directory/out`, which exists.
    pub(super) fn plan(self, path: &Path, directory: &Path, file: &Path, digest: &str) -> Plan {
        let below = |name: &str| directory.join(name).to_string_lossy().into_owned();
        let (repository, out) = (below("repository"), below("out"));
        let file_text = file.to_string_lossy().into_owned();
        let call = |arguments: &[&str]| {
            let program = path.to_string_lossy().into_owned();
            let arguments = arguments.iter().map(|argument| (*argument).to_owned());
            std::iter::once(program).chain(arguments).collect::<Vec<String>>()
        };
        // The path of a restored file below its whole original path.
        let whole: PathBuf = Path::new(&out).join(file.components().skip(1).collect::<PathBuf>());
        let single = below("out/restored");
        let variables = |pairs: &[(&str, &str)]| {
            pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
        };
        let plan = |environment, prepare, put, again, read, restored: PathBuf| Plan {
            environment,
            prepare,
            put,
            again,
            read,
            restored,
            repository: repository.clone().into(),
        };
        match self {
            Program::Castore | Program::CastoreNotDurable => {
                let durable = format!("durable={}", self == Program::Castore);
                let own = ["-q", "-s", &repository, "-o", &durable];
                let put = call(&[&own[..], &["put", &file_text]].concat());
                let read = call(&[&own[..], &["get", digest, "-o", &single]].concat());
                plan(Vec::new(), Vec::new(), put.clone(), put, read, single.clone().into())
            }
            Program::Restic => {
                let cache = below("cache");
                let environment = variables(&[
                    ("RESTIC_REPOSITORY", &repository),
                    ("RESTIC_PASSWORD", "bench"),
                    ("RESTIC_CACHE_DIR", &cache),
                ]);
                let put = call(&["backup", "-q", "--force", &file_text]);
                let read = call(&["restore", "-q", "latest", "--target", &out]);
                let prepare = vec![call(&["init", "-q"])];
                plan(environment, prepare, put.clone(), put, read, whole)
            }
            Program::Borg => {
                let base = below("base");
                let environment = variables(&[
                    ("BORG_REPO", &repository),
                    ("BORG_BASE_DIR", &base),
                    ("BORG_UNKNOWN_UNENCRYPTED_REPO_ACCESS_IS_OK", "yes"),
                ]);
                let put = |archive: &str| {
                    let options = ["create", "--compression", "zstd,3", "--files-cache=disabled"];
                    call(&[&options[..], &[archive, &file_text]].concat())
                };
                let prepare = vec![call(&["init", "-e", "none"])];
                let read = call(&["extract", "::one"]);
                plan(environment, prepare, put("::one"), put("::two"), read, whole)
            }
            Program::Casync => {
                let store = format!("--store={repository}");
                let (one, two) = (below("one.caibx"), below("two.caibx"));
                let put =
                    |index: &str| call(&["make", "--compression=zstd", &store, index, &file_text]);
                let read = call(&["extract", &store, &one, &single]);
                plan(Vec::new(), Vec::new(), put(&one), put(&two), read, single.clone().into())
            }
            Program::Desync => {
                let (one, two) = (below("one.caibx"), below("two.caibx"));
                let put = |index: &str| call(&["make", "-s", &repository, index, &file_text]);
                let read = call(&["extract", "-s", &repository, &one, &single]);
                let prepare = vec![vec!["mkdir".to_owned(), repository.clone()]];
                plan(Vec::new(), prepare, put(&one), put(&two), read, single.clone().into())
            }
            Program::Kopia => {
                let (config, cache, logs) = (below("config"), below("cache"), below("logs"));
                let environment = variables(&[
                    ("KOPIA_PASSWORD", "bench"),
                    ("KOPIA_CONFIG_PATH", &config),
                    ("KOPIA_CACHE_DIRECTORY", &cache),
                    ("KOPIA_LOG_DIR", &logs),
                    ("KOPIA_CHECK_FOR_UPDATES", "false"),
                ]);
                let prepare = vec![
                    call(&["repository", "create", "filesystem", "--path", &repository]),
                    call(&["policy", "set", "--global", "--compression", "zstd"]),
                ];
                let put = call(&["snapshot", "create", &file_text]);
                let again = call(&["snapshot", "create", "--force-hash", "100", &file_text]);
                let read = call(&["snapshot", "restore", &file_text, &single]);
                plan(environment, prepare, put, again, read, single.clone().into())
            }
            Program::Rclone => {
                let config = below("rclone.conf");
                let environment = variables(&[("RCLONE_CONFIG", &config)]);
                let copy = format!("{repository}/copy");
                let put = call(&["copyto", "--ignore-times", &file_text, &copy]);
                let read = call(&["copyto", &copy, &single]);
                plan(environment, Vec::new(), put.clone(), put, read, single.clone().into())
            }
        }
    }
}
