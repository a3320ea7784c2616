//! A missing bucket, and keys that are refused, as S3 answers.

use std::io::{BufRead, BufReader, Write};
use std::net::{SocketAddr, TcpListener};

use crate::support::{Place, Ran, ran};

/// A server that answers every request with `status` and, but for HEAD, the XML error `code`.
pub(crate) fn server(status: &'static str, code: &'static str) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = BufReader::new(stream.unwrap());
            let mut request = String::new();
            loop {
                let mut line = String::new();
                if stream.read_line(&mut line).unwrap_or(0) == 0 || line == "\r\n" {
                    break;
                }
                request += &line;
            }
            let body = format!(
                "<?xml version=\"1.0\"?>\n<Error><Code>{code}</Code>\n<Message>It is {code}.</Message></Error>"
            );
            let sent = if request.starts_with("HEAD") { "" } else { &body };
            let answer = format!(
                "HTTP/1.1 {status}\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{sent}",
                body.len()
            );
            // The client may have gone; then it reports that itself.
            let _ = stream.get_mut().write_all(answer.as_bytes());
        }
    });
    address
}

fn run(address: SocketAddr, args: &[&str]) -> Ran {
    let place = Place::new();
    place.write("in", b"hello");
    let mut command = place.command(args);
    command
        .env("CASTORE_STORE", "s3://bucket/base")
        .env("AWS_ENDPOINT", format!("http://{address}"))
        .env("AWS_ACCESS_KEY_ID", "key")
        .env("AWS_SECRET_ACCESS_KEY", "secret");
    ran(&command.output().unwrap())
}

#[test]
fn a_missing_bucket_is_a_missing_store() {
    let address = server("404 Not Found", "NoSuchBucket");
    let digest = "0".repeat(64);
    for args in [&["ls"][..], &["cat", &digest], &["stat", "00000000"], &["rm", &digest]] {
        let ran = run(address, args);
        assert_eq!(ran.code, 10, "{args:?}: {ran:?}");
        assert_eq!(ran.stderr.lines().count(), 1, "{ran:?}");
        assert!(ran.stderr.contains("create the bucket"), "{ran:?}");
        assert!(!ran.stderr.contains("<Code>"), "{ran:?}");
    }
}

#[test]
fn refused_keys_are_said_to_be_refused() {
    let address = server("403 Forbidden", "InvalidAccessKeyId");
    let ran = run(address, &["-q", "ls"]);
    assert_eq!((ran.code, ran.stderr.lines().count()), (1, 1), "{ran:?}");
    assert!(ran.stderr.contains("check the credentials"), "{ran:?}");
    assert!(ran.stderr.contains("InvalidAccessKeyId") && !ran.stderr.contains('<'), "{ran:?}");
}
