//! A server on a port of its own, and a client of HTTP/1.1 that sends the bytes it is given.

use std::io::ErrorKind;
use std::net::SocketAddr;
use std::time::Duration;

use axum::Router;
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;
use tokio::time::timeout;

use super::Answer;

/// A test fails that waits longer for the server.
const PATIENCE: Duration = Duration::from_secs(60);

pub(crate) struct Server {
    address: SocketAddr,
    task: JoinHandle<()>,
}

impl Server {
    pub(crate) async fn start(router: Router) -> Server {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let task = tokio::spawn(async move { axum::serve(listener, router).await.unwrap() });
        Server { address, task }
    }

    pub(crate) async fn connect(&self) -> Connection {
        let stream = TcpStream::connect(self.address).await.unwrap();
        Connection { stream, buffered: Vec::new() }
    }

    /// The answer to a request on a connection of its own. The answer must have a length.
    pub(crate) async fn answer(&self, request: &[u8]) -> Answer {
        let mut connection = self.connect().await;
        connection.send(request).await;
        connection.answer().await
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.task.abort();
    }
}

pub(crate) struct Connection {
    stream: TcpStream,
    buffered: Vec<u8>,
}

impl Connection {
    pub(crate) async fn send(&mut self, bytes: &[u8]) {
        timeout(PATIENCE, self.stream.write_all(bytes)).await.expect("time is over").unwrap();
    }

    /// Ends the sending, as a client does that dies while its system lives.
    pub(crate) async fn end(&mut self) {
        self.stream.shutdown().await.unwrap();
    }

    /// Reads more; `false` at the end of the connection, in whichever way it ends.
    async fn fill(&mut self) -> bool {
        let read = timeout(PATIENCE, self.stream.read_buf(&mut self.buffered));
        match read.await.expect("time is over") {
            Ok(count) => count > 0,
            Err(error) if error.kind() == ErrorKind::ConnectionReset => false,
            Err(error) => panic!("{error}"),
        }
    }

    /// The status and the headers of the next response; `None` if the server has closed.
    pub(crate) async fn head(&mut self) -> Option<(StatusCode, HeaderMap)> {
        let end = loop {
            match self.buffered.windows(4).position(|window| window == b"\r\n\r\n") {
                Some(end) => break end + 4,
                None if self.fill().await => {}
                None => return None,
            }
        };
        let head: Vec<u8> = self.buffered.drain(..end).collect();
        let head = String::from_utf8(head).unwrap();
        let mut lines = head.trim_end().split("\r\n");
        let status = lines.next().unwrap().strip_prefix("HTTP/1.1 ").unwrap()[..3].parse().unwrap();
        let headers = lines.map(|line| {
            let (name, value) = line.split_once(": ").unwrap();
            (name.parse::<HeaderName>().unwrap(), value.parse::<HeaderValue>().unwrap())
        });
        Some((status, headers.collect()))
    }

    /// The next response, with as much of a body as it states.
    pub(crate) async fn answer(&mut self) -> Answer {
        let (status, headers) = self.head().await.expect("the server has closed");
        let length: usize = headers["content-length"].to_str().unwrap().parse().unwrap();
        while self.buffered.len() < length {
            assert!(self.fill().await, "the body was cut off");
        }
        let body: Vec<u8> = self.buffered.drain(..length).collect();
        Answer { status, headers, body: body.into() }
    }

    /// All bytes until the server closes.
    pub(crate) async fn rest(&mut self) -> Vec<u8> {
        while self.fill().await {}
        std::mem::take(&mut self.buffered)
    }
}
