//! MinIO in a container, by the command `docker`.

use std::io;
use std::net::TcpListener;
use std::process::{Command, Stdio};

use super::{PASSWORD, USER};

pub(super) const IMAGE: &str = "quay.io/minio/minio:RELEASE.2025-02-28T09-55-16Z";

const PORT: u16 = 9000;

pub(super) struct Container {
    id: String,
    url: String,
}

impl Container {
    /// Starts one on a free port of the loopback. The engine pulls the image if the image is not there.
    pub(super) fn start() -> io::Result<Container> {
        // A port of our choice, so that the container has the same one when it is started again.
        let port = TcpListener::bind("127.0.0.1:0")?.local_addr()?.port();
        let user = format!("MINIO_ROOT_USER={USER}");
        let password = format!("MINIO_ROOT_PASSWORD={PASSWORD}");
        let publish = format!("127.0.0.1:{port}:{PORT}");
        let mut arguments = vec!["run", "--detach", "--quiet", "--publish", &publish];
        for variable in [&user, &password, "MINIO_UPDATE=off", "MINIO_BROWSER=off"] {
            arguments.extend(["--env", variable]);
        }
        arguments.extend([IMAGE, "server", "/data"]);
        Ok(Container { id: docker(&arguments)?, url: format!("http://127.0.0.1:{port}") })
    }

    pub(super) fn url(&self) -> String {
        self.url.clone()
    }

    /// Ends it without notice; its data stay.
    pub(super) fn kill(&self) {
        docker(&["kill", &self.id]).expect("the container can be killed");
    }

    pub(super) fn start_again(&self) {
        docker(&["start", &self.id]).expect("the container starts again");
    }
}

impl Drop for Container {
    fn drop(&mut self) {
        if let Err(error) = docker(&["rm", "--force", "--volumes", &self.id]) {
            eprintln!("cannot remove the container of MinIO: {error}");
        }
    }
}

/// The output of `docker`, or its message.
fn docker(arguments: &[&str]) -> io::Result<String> {
    let output = Command::new("docker").args(arguments).stdin(Stdio::null()).output()?;
    if !output.status.success() {
        let message = String::from_utf8_lossy(&output.stderr);
        return Err(io::Error::other(format!("docker {}: {}", arguments[0], message.trim())));
    }
    Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned())
}
