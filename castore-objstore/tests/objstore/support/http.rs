//! A small HTTP server on the loopback interface that answers as a test tells it to.

use std::net::SocketAddr;
use std::sync::Arc;

use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};

#[derive(Debug)]
pub(crate) struct Request {
    pub(crate) method: String,
    /// The path and the query of the URL.
    pub(crate) target: String,
    pub(crate) body: Vec<u8>,
}

/// The status, with its text, and the body.
pub(crate) type Answer = (&'static str, Vec<u8>);

/// Serves until the runtime ends; returns the address.
pub(crate) async fn serve<F: Future<Output = Answer> + Send>(
    answer: impl Fn(Request) -> F + Send + Sync + 'static,
) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let answer = Arc::new(answer);
    tokio::spawn(async move {
        while let Ok((connection, _)) = listener.accept().await {
            let answer = Arc::clone(&answer);
            tokio::spawn(async move {
                let mut connection = BufReader::new(connection);
                while let Some(request) = read(&mut connection).await {
                    let head = request.method == "HEAD";
                    let (status, body) = answer(request).await;
                    let length = body.len();
                    let date = "Sat, 01 Jan 2022 00:00:00 GMT";
                    let mut bytes = format!(
                        "HTTP/1.1 {status}\r\ncontent-length: {length}\r\netag: \"x\"\r\nlast-modified: {date}\r\n\r\n"
                    )
                    .into_bytes();
                    if !head {
                        bytes.extend(body);
                    }
                    if connection.write_all(&bytes).await.is_err() {
                        return;
                    }
                }
            });
        }
    });
    address
}

async fn read(connection: &mut BufReader<TcpStream>) -> Option<Request> {
    let mut line = String::new();
    connection.read_line(&mut line).await.ok().filter(|length| *length > 0)?;
    let mut words = line.split(' ');
    let (method, target) = (words.next()?.to_owned(), words.next()?.to_owned());
    let mut length = 0;
    loop {
        let mut header = String::new();
        connection.read_line(&mut header).await.ok().filter(|length| *length > 0)?;
        let Some((name, value)) = header.trim_end().split_once(':') else { break };
        if name.eq_ignore_ascii_case("content-length") {
            length = value.trim().parse().ok()?;
        }
    }
    let mut body = vec![0; length];
    connection.read_exact(&mut body).await.ok()?;
    Some(Request { method, target, body })
}
