//! MinIO as a program that runs beside the tests.

use std::fs::{self, File};
use std::io;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use tempfile::TempDir;

use super::{PASSWORD, USER};

pub(super) struct Program {
    path: PathBuf,
    directory: TempDir,
    port: u16,
    child: Option<Child>,
}

impl Program {
    /// Starts MinIO on a free port of the loopback interface, with a temporary directory for its
    /// data.
    pub(super) fn start(path: &Path) -> io::Result<Program> {
        let directory = tempfile::Builder::new().prefix("castore-minio-").tempdir()?;
        let port = TcpListener::bind("127.0.0.1:0")?.local_addr()?.port();
        let mut program = Program { path: path.to_owned(), directory, port, child: None };
        program.start_again()?;
        Ok(program)
    }

    pub(super) fn url(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    pub(super) fn start_again(&mut self) -> io::Result<()> {
        let data = self.directory.path().join("data");
        fs::create_dir_all(&data)?;
        let log =
            File::options().create(true).append(true).open(self.directory.path().join("log"))?;
        let child = command(&self.path)
            .arg("server")
            .arg(data)
            .args(["--address", &format!("127.0.0.1:{}", self.port), "--quiet"])
            .env("MINIO_ROOT_USER", USER)
            .env("MINIO_ROOT_PASSWORD", PASSWORD)
            .env("MINIO_BROWSER", "off")
            .env("MINIO_UPDATE", "off")
            .stdin(Stdio::piped())
            .stdout(log.try_clone()?)
            .stderr(log)
            .spawn()?;
        self.child = Some(child);
        Ok(())
    }

    pub(super) fn kill(&mut self) {
        if let Some(mut child) = self.child.take() {
            if cfg!(not(unix)) {
                child.kill().expect("it can be killed");
            }
            // Waiting closes the child's standard input.
            child.wait().expect("it ends");
        }
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        self.kill();
    }
}

/// A shell that runs the program, and kills it when the shell's standard input ends: that happens
/// however the tests end.
#[cfg(unix)]
fn command(path: &Path) -> Command {
    let mut command = Command::new("sh");
    command.args(["-c", r#""$@" </dev/null & read -r _; kill -9 $!; wait"#, "sh"]).arg(path);
    command
}

#[cfg(not(unix))]
fn command(path: &Path) -> Command {
    Command::new(path)
}
