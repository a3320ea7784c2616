//! MinIO in a container.

use std::net::TcpListener;
use testcontainers_modules::minio::MinIO;

use testcontainers_modules::testcontainers::core::IntoContainerPort;
use testcontainers_modules::testcontainers::core::error::Result;
use testcontainers_modules::testcontainers::runners::AsyncRunner;
use testcontainers_modules::testcontainers::{ContainerAsync, ImageExt, TestcontainersError};
use tokio::runtime::Runtime;

use super::{PASSWORD, USER, runtime};

/// The image's name differs from the module's, because MinIO's images are at another registry now.
/// The tag is the same.
const NAME: &str = "quay.io/minio/minio";
pub(super) const IMAGE: &str = "quay.io/minio/minio:RELEASE.2025-02-28T09-55-16Z";

const PORT: u16 = 9000;

pub(super) struct Container {
    runtime: Option<Runtime>,
    container: Option<ContainerAsync<MinIO>>,
    url: String,
}

impl Container {
    /// Starts a container, by a runtime of its own, as the container outlives the runtimes of the
    /// tests.
    pub(super) fn start() -> Result<Container> {
        std::thread::spawn(|| {
            let runtime = runtime();
            // A fixed port, so that a restart keeps it.
            let port = TcpListener::bind("127.0.0.1:0")?.local_addr()?.port();
            let (container, url) = runtime.block_on(async {
                let image = MinIO::default()
                    .with_name(NAME)
                    .with_mapped_port(port, PORT.tcp())
                    .with_env_var("MINIO_ROOT_USER", USER)
                    .with_env_var("MINIO_ROOT_PASSWORD", PASSWORD)
                    .with_env_var("MINIO_UPDATE", "off");
                let container = image.start().await?;
                let url = format!("http://{}:{port}", container.get_host().await?);
                Ok::<_, TestcontainersError>((container, url))
            })?;
            Ok(Container { runtime: Some(runtime), container: Some(container), url })
        })
        .join()
        .expect("starting a container does not panic")
    }

    pub(super) fn url(&self) -> String {
        self.url.clone()
    }

    pub(super) fn kill(&mut self) {
        let (Some(runtime), Some(container)) = (&self.runtime, &self.container) else { return };
        let stop = container.stop_with_timeout(Some(0));
        runtime.block_on(stop).expect("the container can be stopped");
    }

    pub(super) fn start_again(&mut self) {
        let (Some(runtime), Some(container)) = (&self.runtime, &self.container) else { return };
        runtime.block_on(container.start()).expect("the container starts again");
    }
}

impl Drop for Container {
    fn drop(&mut self) {
        let (Some(runtime), Some(container)) = (self.runtime.take(), self.container.take()) else {
            return;
        };
        // A separate thread removes the container, because the drop may happen on a thread that
        // must not block.
        let removal = std::thread::spawn(move || runtime.block_on(container.rm()));
        if let Ok(Err(error)) = removal.join() {
            eprintln!("cannot remove the container of MinIO: {error}");
        }
    }
}
