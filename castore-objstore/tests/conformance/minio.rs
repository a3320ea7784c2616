//! MinIO, in one of three ways: a given server, a program, or a container.

mod container;
mod program;

use std::env;
use std::io::{self, Read, Write};
use std::net::TcpStream;
use std::path::PathBuf;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use async_trait::async_trait;
use castore_objstore::Builder;
use futures_util::{StreamExt, TryStreamExt};
use object_store::ObjectStore;
use object_store::path::Path;
use object_store::signer::Signer;
use tokio::runtime::Runtime;

use crate::backend::{Backend, Missing};
use crate::s3::Endpoint;

const BUCKET: &str = "castore-test";
const USER: &str = "minioadmin";
const PASSWORD: &str = "minioadmin";

/// The time limit for a server to become ready.
const READY: Duration = Duration::from_secs(60);

const THREE_WAYS: &str = "\
    there are three ways to have one: \
    (1) CASTORE_TEST_S3_ENDPOINT, CASTORE_TEST_S3_BUCKET, CASTORE_TEST_S3_ACCESS_KEY_ID and \
    CASTORE_TEST_S3_SECRET_ACCESS_KEY, of a server that runs already; \
    (2) the program `minio` on the PATH, or its path in CASTORE_TEST_MINIO; \
    (3) a container engine such as Docker (CASTORE_TEST_MINIO=container passes the PATH over)";

/// The MinIO server of the tests.
pub(crate) struct Minio {
    server: Result<Arc<Server>, Missing>,
    /// The prefix of all keys of this run, as the server may outlive it.
    run: String,
    buckets: AtomicUsize,
}

enum Way {
    Given(Endpoint),
    Program(PathBuf),
    Container {
        /// Whether the environment asks for a container, and for nothing else.
        asked_for: bool,
    },
}

impl Minio {
    /// Finds a server, starts it if needed, and reports which one it is.
    pub(crate) fn find() -> Minio {
        let server = match way() {
            Ok(way) => Server::start(way),
            Err(missing) => Err(missing),
        };
        match &server {
            Ok(server) => eprintln!("\nMinIO: {server}"),
            Err(missing) => eprintln!("\nMinIO: its tests do NOT RUN: {}", missing.reason),
        }
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let run = format!("castore-test-{:x}-{:x}", now.as_millis(), std::process::id());
        Minio { server: server.map(Arc::new), run, buckets: AtomicUsize::new(0) }
    }

    /// A separate place on the server that all tests share.
    pub(crate) fn shared(&self) -> Result<Bucket, Missing> {
        let number = self.buckets.fetch_add(1, Ordering::Relaxed);
        let base_path = format!("{}/{number}", self.run);
        Ok(Bucket { server: Arc::clone(self.server.as_ref().map_err(Missing::clone)?), base_path })
    }

    /// Removes the remaining objects from a server that stays.
    pub(crate) fn end(&self) {
        let Ok(server) = &self.server else { return };
        if let Way::Given(endpoint) = &server.way {
            let store = endpoint.store();
            let run = Path::from(self.run.as_str());
            let removal = async {
                let objects = store.list(Some(&run)).map_ok(|object| object.location);
                store.delete_stream(objects.boxed()).try_collect::<Vec<_>>().await
            };
            if let Err(error) = runtime().block_on(removal) {
                eprintln!("cannot remove what is below {run} in {}: {error}", endpoint.bucket);
            }
        }
        server.stop();
    }
}

/// The first available one of the three ways.
fn way() -> Result<Way, Missing> {
    let asked = |reason: String| Missing { reason, is_failure: true };
    if let Some(url) = variable("CASTORE_TEST_S3_ENDPOINT") {
        let required = |name: &str| {
            let missing = || asked(format!("CASTORE_TEST_S3_ENDPOINT is set, and {name} is not"));
            variable(name).ok_or_else(missing)
        };
        return Ok(Way::Given(Endpoint {
            url,
            region: variable("CASTORE_TEST_S3_REGION").unwrap_or("us-east-1".to_owned()),
            bucket: required("CASTORE_TEST_S3_BUCKET")?,
            access_key_id: required("CASTORE_TEST_S3_ACCESS_KEY_ID")?,
            secret_access_key: required("CASTORE_TEST_S3_SECRET_ACCESS_KEY")?,
        }));
    }
    let on_path = || {
        let directories = env::var_os("PATH").unwrap_or_default();
        let name = format!("minio{}", env::consts::EXE_SUFFIX);
        env::split_paths(&directories).map(|path| path.join(&name)).find(|path| path.is_file())
    };
    match variable("CASTORE_TEST_MINIO") {
        Some(container) if container == "container" => Ok(Way::Container { asked_for: true }),
        Some(path) if PathBuf::from(&path).is_file() => Ok(Way::Program(path.into())),
        Some(path) => Err(asked(format!("CASTORE_TEST_MINIO is {path:?}, which is no file"))),
        None => Ok(on_path().map_or(Way::Container { asked_for: false }, Way::Program)),
    }
}

fn variable(name: &str) -> Option<String> {
    env::var(name).ok().filter(|value| !value.is_empty())
}

/// A runtime for work outside of tests.
fn runtime() -> Runtime {
    let mut builder = tokio::runtime::Builder::new_multi_thread();
    builder.worker_threads(1).enable_all().build().expect("a runtime")
}

/// A running server.
struct Server {
    way: Way,
    running: Mutex<Running>,
}

enum Running {
    Given,
    Program(program::Program),
    Container(Box<container::Container>),
    Stopped,
}

impl std::fmt::Display for Server {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let url = self.endpoint().url;
        match &self.way {
            Way::Given(_) => write!(f, "the server at {url} that CASTORE_TEST_S3_ENDPOINT names"),
            Way::Program(program) => write!(f, "the program {}, at {url}", program.display()),
            Way::Container { .. } => write!(f, "a container of {}, at {url}", container::IMAGE),
        }
    }
}

impl Server {
    fn start(way: Way) -> Result<Server, Missing> {
        let running = match &way {
            Way::Given(_) => Running::Given,
            Way::Program(path) => match program::Program::start(path) {
                Ok(program) => Running::Program(program),
                Err(error) => {
                    let reason = format!("{} does not start: {error}", path.display());
                    return Err(Missing { reason, is_failure: true });
                }
            },
            Way::Container { asked_for } => match container::Container::start() {
                Ok(container) => Running::Container(Box::new(container)),
                Err(error) if *asked_for => {
                    let reason = format!("the container does not start: {error}");
                    return Err(Missing { reason, is_failure: true });
                }
                Err(error) => {
                    let reason = format!(
                        "there is no endpoint, no program, and no container ({error}); {THREE_WAYS}"
                    );
                    return Err(Missing { reason, is_failure: variable("CI").is_some() });
                }
            },
        };
        let server = Server { way, running: Mutex::new(running) };
        match server.wait_until_ready() {
            Ok(()) => Ok(server),
            Err(error) => {
                let reason = format!("{server} is not ready: {error}");
                Err(Missing { reason, is_failure: true })
            }
        }
    }

    fn running(&self) -> std::sync::MutexGuard<'_, Running> {
        self.running.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn endpoint(&self) -> Endpoint {
        let ours = |url: String| Endpoint {
            url,
            region: "us-east-1".to_owned(),
            bucket: BUCKET.to_owned(),
            access_key_id: USER.to_owned(),
            secret_access_key: PASSWORD.to_owned(),
        };
        match (&self.way, &*self.running()) {
            (Way::Given(endpoint), _) => endpoint.clone(),
            (_, Running::Program(program)) => ours(program.url()),
            (_, Running::Container(container)) => ours(container.url()),
            (_, Running::Given | Running::Stopped) => panic!("MinIO was stopped"),
        }
    }

    /// Waits until the server is ready, and creates the bucket if the server is ours.
    fn wait_until_ready(&self) -> io::Result<()> {
        let endpoint = self.endpoint();
        if let Way::Given(_) = self.way {
            return Ok(());
        }
        let health = format!("{}/minio/health/ready", endpoint.url);
        request_until("GET", &health, &[200])?;
        // object_store creates no buckets, but signs the request that does.
        let client = endpoint.client().build().map_err(io::Error::other)?;
        let signed = std::thread::spawn(move || {
            let minute = Duration::from_secs(60);
            let put = http::Method::PUT;
            runtime().block_on(client.signed_url(put, &Path::default(), minute))
        });
        let url = signed.join().expect("signing does not panic").map_err(io::Error::other)?;
        // 409: the bucket exists since before the restart.
        request_until("PUT", url.as_str(), &[200, 409])
    }

    /// Kills the server.
    fn kill(&self) {
        match &mut *self.running() {
            Running::Program(program) => program.kill(),
            Running::Container(container) => container.kill(),
            Running::Given | Running::Stopped => panic!("it is not ours to end"),
        }
    }

    /// Restarts the server, with its stored data.
    fn start_again(&self) {
        match &mut *self.running() {
            Running::Program(program) => program.start_again().expect("MinIO starts again"),
            Running::Container(container) => container.start_again(),
            Running::Given | Running::Stopped => panic!("it is not ours to start"),
        }
        self.wait_until_ready().expect("MinIO is ready again");
    }

    /// Ends the server for good, and removes its data.
    fn stop(&self) {
        *self.running() = Running::Stopped;
    }
}

/// Repeats a request until the answer has one of the statuses: a server that has just started may
/// not listen yet, or be busy with itself.
fn request_until(method: &str, url: &str, statuses: &[u16]) -> io::Result<()> {
    let end = Instant::now() + READY;
    loop {
        match request(method, url) {
            Ok(status) if statuses.contains(&status) => return Ok(()),
            _ if Instant::now() < end => std::thread::sleep(Duration::from_millis(50)),
            Ok(status) => return Err(io::Error::other(format!("{method} gave status {status}"))),
            Err(error) => return Err(error),
        }
    }
}

/// Makes one request without a body, and returns the status of the answer.
fn request(method: &str, url: &str) -> io::Result<u16> {
    let malformed = || io::Error::other("it does not answer as HTTP does");
    let url = url.strip_prefix("http://").ok_or_else(malformed)?;
    let (host, path) = url.split_once('/').ok_or_else(malformed)?;
    let mut connection = TcpStream::connect(host)?;
    connection.set_read_timeout(Some(Duration::from_secs(10)))?;
    write!(
        connection,
        "{method} /{path} HTTP/1.1\r\nHost: {host}\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
    )?;
    let mut answer = String::new();
    connection.take(1000).read_to_string(&mut answer)?;
    answer.split(' ').nth(1).and_then(|status| status.parse().ok()).ok_or_else(malformed)
}

/// A place for the objects of one test, on a server.
pub(crate) struct Bucket {
    server: Arc<Server>,
    base_path: String,
}

impl Bucket {
    /// The same place, on another server that no other test uses.
    pub(crate) fn another(self) -> Result<Bucket, Missing> {
        let way = match &self.server.way {
            Way::Given(_) => {
                let reason = "the server is not ours to end".to_owned();
                return Err(Missing { reason, is_failure: false });
            }
            Way::Program(program) => Way::Program(program.clone()),
            Way::Container { asked_for } => Way::Container { asked_for: *asked_for },
        };
        Ok(Bucket { server: Arc::new(Server::start(way)?), base_path: self.base_path })
    }

    /// Kills the server.
    pub(crate) async fn kill(&self) {
        self.blocking(Server::kill).await;
    }

    /// Restarts the server.
    pub(crate) async fn start_again(&self) {
        self.blocking(Server::start_again).await;
    }

    async fn blocking(&self, work: fn(&Server)) {
        let server = Arc::clone(&self.server);
        tokio::task::spawn_blocking(move || work(&server)).await.expect("MinIO obeys");
    }
}

#[async_trait]
impl Backend for Bucket {
    fn store(&self) -> Arc<dyn ObjectStore> {
        self.server.endpoint().store()
    }

    fn base_path(&self) -> &str {
        &self.base_path
    }

    fn builder(&self) -> Builder {
        self.server.endpoint().builder(&self.base_path)
    }

    async fn crash(&self) {
        self.kill().await;
        self.start_again().await;
    }
}
