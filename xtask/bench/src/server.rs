//! The S3 servers, in separate processes, so that their use of resources is not counted.

use std::io::{Read, Write};
use std::net::{TcpListener as StdListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto::Builder as Connections;
use object_store::signer::Signer;
use s3s::auth::SimpleAuth;
use s3s::service::S3ServiceBuilder;
use s3s_fs::FileSystem;
use tokio::net::TcpListener;

use crate::children::{end_with_input, start_own, wait_for_own};
use crate::job::Endpoint;
use crate::store::client;

const BUCKET: &str = "castore-bench";
const ACCESS_KEY_ID: &str = "bench-key";
const SECRET_ACCESS_KEY: &str = "bench-secret";

fn endpoint(port: u16) -> Endpoint {
    Endpoint {
        url: format!("http://127.0.0.1:{port}"),
        bucket: BUCKET.to_owned(),
        access_key_id: ACCESS_KEY_ID.to_owned(),
        secret_access_key: SECRET_ACCESS_KEY.to_owned(),
    }
}

/// Tells the parent process that the server is ready.
fn announce(endpoint: &Endpoint) -> Result<()> {
    let mut output = std::io::stdout();
    writeln!(output, "{}", serde_json::to_string(endpoint)?)?;
    Ok(output.flush()?)
}

/// Serves `directory` until the input ends.
pub(crate) fn s3(directory: &Path) -> Result<()> {
    end_with_input();
    std::fs::create_dir_all(directory.join(BUCKET))?;
    let Ok(files) = FileSystem::new(directory) else { bail!("cannot serve the directory") };
    let mut service = S3ServiceBuilder::new(files);
    service.set_auth(SimpleAuth::from_single(ACCESS_KEY_ID, SECRET_ACCESS_KEY));
    let service = service.build();

    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    runtime.block_on(async {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        announce(&endpoint(listener.local_addr()?.port()))?;
        loop {
            let (connection, _) = listener.accept().await?;
            // Small answers must not wait for more data.
            connection.set_nodelay(true)?;
            let service = service.clone();
            tokio::spawn(async move {
                let connections = Connections::new(TokioExecutor::new());
                // An error here shows at the client as well.
                let _ = connections.serve_connection(TokioIo::new(connection), service).await;
            });
        }
    })
}

/// The program to run as MinIO, if there is one.
pub(crate) fn minio_program() -> Option<PathBuf> {
    match std::env::var_os("CASTORE_TEST_MINIO").map(PathBuf::from) {
        Some(program) if program.is_file() => Some(program),
        _ => crate::peers::on_path("minio"),
    }
}

/// Runs MinIO over `directory` until the input ends.
pub(crate) fn minio(program: &Path, directory: &Path) -> Result<()> {
    end_with_input();
    std::fs::create_dir_all(directory)?;
    let port = StdListener::bind("127.0.0.1:0")?.local_addr()?.port();
    let mut command = Command::new(program);
    command.arg("server").arg(directory).args(["--address", &format!("127.0.0.1:{port}")]);
    command.env("MINIO_ROOT_USER", ACCESS_KEY_ID).env("MINIO_ROOT_PASSWORD", SECRET_ACCESS_KEY);
    command.env("MINIO_BROWSER", "off").env("MINIO_UPDATE", "off");
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    start_own(&mut command)?;

    let endpoint = endpoint(port);
    request_until("GET", &format!("{}/minio/health/ready", endpoint.url))?;
    // object_store makes no buckets, but signs the request that makes one.
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let minute = Duration::from_secs(60);
    let root = object_store::path::Path::default();
    let client = client(&endpoint).build()?;
    let url = runtime.block_on(client.signed_url(http::Method::PUT, &root, minute))?;
    request_until("PUT", url.as_str())?;
    announce(&endpoint)?;
    wait_for_own()?;
    bail!("MinIO has ended by itself");
}

/// Repeats a request until it succeeds: a server that has just started may not listen yet.
fn request_until(method: &str, url: &str) -> Result<()> {
    let end = Instant::now() + Duration::from_secs(60);
    loop {
        match request(method, url) {
            Ok(200) => return Ok(()),
            _ if Instant::now() < end => std::thread::sleep(Duration::from_millis(50)),
            Ok(status) => bail!("MinIO answers a {method} with status {status}"),
            Err(error) => return Err(error.context("MinIO does not answer")),
        }
    }
}

/// Makes one request without a body, and returns the status of the answer.
fn request(method: &str, url: &str) -> Result<u16> {
    let url = url.strip_prefix("http://").context("it is no URL of HTTP")?;
    let (host, path) = url.split_once('/').context("it has no path")?;
    let mut connection = TcpStream::connect(host)?;
    connection.set_read_timeout(Some(Duration::from_secs(10)))?;
    write!(
        connection,
        "{method} /{path} HTTP/1.1\r\nHost: {host}\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
    )?;
    let mut answer = String::new();
    connection.take(1000).read_to_string(&mut answer)?;
    answer.split(' ').nth(1).and_then(|status| status.parse().ok()).context("it is not HTTP")
}
