//! Gets a MinIO for the tests, if possible.

use std::env;
use std::path::PathBuf;
use std::process::{Command, Stdio};

/// The variable that tells the tests the path of the program.
pub(super) const VARIABLE: &str = "CASTORE_TEST_MINIO";

/// MinIO is distributed as source. This is the commit of a release, as Go's proxy names it.
const VERSION: &str = "v0.0.0-20260212201848-7aac2a2c5b7c";

const IMAGE: &str = "quay.io/minio/minio:RELEASE.2025-02-28T09-55-16Z";

/// The program for the tests, built if needed; `None` if the tests find one by themselves, or will
/// report that there is none.
pub(super) fn find() -> Option<PathBuf> {
    if [VARIABLE, "CASTORE_TEST_S3_ENDPOINT"].iter().any(|name| env::var_os(name).is_some())
        || on_path("minio")
    {
        return None;
    }
    let directory = cache()?.join("castore").join(format!("minio-{VERSION}"));
    let program = directory.join(format!("minio{}", env::consts::EXE_SUFFIX));
    if program.is_file() {
        return Some(program);
    }
    if image_is_there() {
        return None;
    }
    if !on_path("go") {
        eprintln!("there is neither MinIO, nor its image, nor Go to build it with");
        return None;
    }
    eprintln!("building MinIO with Go, once, into {}: some minutes", directory.display());
    let status = Command::new("go")
        .args(["install", &format!("github.com/minio/minio@{VERSION}")])
        .env("CGO_ENABLED", "0")
        .env("GOBIN", &directory)
        .status();
    match status {
        Ok(status) if status.success() && program.is_file() => Some(program),
        Ok(status) => {
            eprintln!("MinIO was not built: go install ended with {status}");
            None
        }
        Err(error) => {
            eprintln!("MinIO was not built: {error}");
            None
        }
    }
}

/// Whether a container engine has the image, or can pull it.
fn image_is_there() -> bool {
    ["inspect", "pull"].iter().any(|action| {
        let mut docker = Command::new("docker");
        docker.args(["image", action, IMAGE]).stdin(Stdio::null());
        docker.stdout(Stdio::null()).stderr(Stdio::null());
        docker.status().is_ok_and(|status| status.success())
    })
}

fn on_path(name: &str) -> bool {
    let name = format!("{name}{}", env::consts::EXE_SUFFIX);
    let directories = env::var_os("PATH").unwrap_or_default();
    env::split_paths(&directories).any(|directory| directory.join(&name).is_file())
}

/// The directory for files that can be made again.
fn cache() -> Option<PathBuf> {
    let from = |name: &str| env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    from("XDG_CACHE_HOME")
        .or_else(|| from("LOCALAPPDATA"))
        .or_else(|| from("HOME").map(|home| home.join(".cache")))
}
