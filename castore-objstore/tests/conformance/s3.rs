//! S3 in this process: a server over a directory, reached by HTTP on the loopback interface.

use std::net::SocketAddr;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;
use castore_objstore::{Builder, parse_url_opts};
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto::Builder as Connections;
use object_store::ObjectStore;
use object_store::aws::AmazonS3Builder;
use s3s::auth::SimpleAuth;
use s3s::service::S3ServiceBuilder;
use s3s_fs::FileSystem;
use tokio::net::TcpListener;
use tokio::runtime::Runtime;

use crate::backend::{Backend, Directory};

/// The address and the credentials of a bucket on an S3 server.
#[derive(Debug, Clone)]
pub(crate) struct Endpoint {
    pub(crate) url: String,
    pub(crate) region: String,
    pub(crate) bucket: String,
    pub(crate) access_key_id: String,
    pub(crate) secret_access_key: String,
}

impl Endpoint {
    pub(crate) fn client(&self) -> AmazonS3Builder {
        AmazonS3Builder::new()
            .with_endpoint(&self.url)
            .with_allow_http(true)
            .with_region(&self.region)
            .with_bucket_name(&self.bucket)
            .with_access_key_id(&self.access_key_id)
            .with_secret_access_key(&self.secret_access_key)
    }

    pub(crate) fn store(&self) -> Arc<dyn ObjectStore> {
        Arc::new(self.client().build().expect("a client of S3"))
    }

    /// A service, from a URL and options as users give them.
    pub(crate) fn builder(&self, base_path: &str) -> Builder {
        let url = format!("s3://{}/{base_path}", self.bucket);
        let options = [
            ("endpoint", &self.url),
            ("region", &self.region),
            ("access_key_id", &self.access_key_id),
            ("secret_access_key", &self.secret_access_key),
        ];
        parse_url_opts(&url, options).expect("a URL and options")
    }
}

const BUCKET: &str = "bucket";
const ACCESS_KEY_ID: &str = "some-key";
const SECRET_ACCESS_KEY: &str = "some-secret";

pub(crate) struct Server {
    directory: Directory,
    running: Mutex<Option<Running>>,
}

struct Running {
    runtime: Runtime,
    address: SocketAddr,
}

impl Server {
    pub(crate) fn start() -> Server {
        let directory = Directory::new();
        std::fs::create_dir(directory.path().join(BUCKET)).expect("a directory");
        let running = Mutex::new(Some(Running::start(&directory.path())));
        Server { directory, running }
    }

    fn running(&self) -> MutexGuard<'_, Option<Running>> {
        self.running.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn endpoint(&self) -> Endpoint {
        let running = self.running();
        let address = running.as_ref().expect("the server runs").address;
        Endpoint {
            url: format!("http://{address}"),
            region: "us-east-1".to_owned(),
            bucket: BUCKET.to_owned(),
            access_key_id: ACCESS_KEY_ID.to_owned(),
            secret_access_key: SECRET_ACCESS_KEY.to_owned(),
        }
    }
}

impl Running {
    fn start(directory: &Path) -> Running {
        let files = FileSystem::new(directory).expect("the server's directory");
        let mut service = S3ServiceBuilder::new(files);
        service.set_auth(SimpleAuth::from_single(ACCESS_KEY_ID, SECRET_ACCESS_KEY));
        let service = service.build();

        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(2)
            .enable_all()
            .build()
            .expect("a runtime");
        let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a free port");
        listener.set_nonblocking(true).expect("a listener that does not block");
        let address = listener.local_addr().expect("its address");
        runtime.spawn(async move {
            let listener = TcpListener::from_std(listener).expect("a listener");
            while let Ok((connection, _)) = listener.accept().await {
                // Send small answers without delay.
                connection.set_nodelay(true).expect("a socket without delay");
                let service = service.clone();
                tokio::spawn(async move {
                    let connections = Connections::new(TokioExecutor::new());
                    // A failure of the connection also reaches the client, which reports it.
                    let _ = connections.serve_connection(TokioIo::new(connection), service).await;
                });
            }
        });
        Running { runtime, address }
    }
}

#[async_trait]
impl Backend for Server {
    fn store(&self) -> Arc<dyn ObjectStore> {
        self.endpoint().store()
    }

    fn base_path(&self) -> &str {
        "some/base"
    }

    fn builder(&self) -> Builder {
        self.endpoint().builder(self.base_path())
    }

    /// Another server, at another address, continues with the renamed directory.
    async fn crash(&self) {
        let mut running = self.running();
        if let Some(running) = running.take() {
            running.runtime.shutdown_background();
        }
        self.directory.rename();
        *running = Some(Running::start(&self.directory.path()));
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        if let Some(running) = self.running().take() {
            // The drop may happen on a thread that must not block.
            running.runtime.shutdown_background();
        }
    }
}
