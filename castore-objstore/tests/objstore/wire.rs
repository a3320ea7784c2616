//! Stores named by URLs, over HTTP: answers that only their own clients see.

use std::collections::{HashMap, HashSet};
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use castore_core::{BlobService, Digest, Error, ErrorKind};
use castore_objstore::{ObjectStoreBlobService, parse_url_opts};
use futures_util::StreamExt;

use crate::support::data::{MIB, random};
use crate::support::http::{Answer, serve};
use crate::support::service::{put, read};

fn s3(address: std::net::SocketAddr) -> ObjectStoreBlobService {
    let endpoint = format!("http://{address}");
    let options = [
        ("endpoint", endpoint.as_str()),
        ("region", "somewhere"),
        ("access_key_id", "x"),
        ("secret_access_key", "x"),
    ];
    parse_url_opts("s3://bucket/base", options).unwrap().build().unwrap()
}

fn answer(status: &'static str, body: &str) -> Answer {
    (status, body.as_bytes().to_vec())
}

const NO_BUCKET: &str = "<Error><Code>NoSuchBucket</Code><Message>no</Message></Error>";
const EMPTY_LIST: &str = "<ListBucketResult><IsTruncated>false</IsTruncated></ListBucketResult>";

#[tokio::test]
async fn nothing_is_absent_from_a_bucket_that_does_not_exist() {
    let address = serve(async |_| answer("404 Not Found", NO_BUCKET)).await;
    let service = s3(address);
    let digest = Digest::of(b"absent");
    assert_eq!(service.has(&digest).await.unwrap_err().kind(), ErrorKind::StoreNotFound);
    assert_eq!(service.chunks(&digest).await.unwrap_err().kind(), ErrorKind::StoreNotFound);
    assert_eq!(service.open_read(&digest).await.unwrap_err().kind(), ErrorKind::StoreNotFound);
}

#[tokio::test]
async fn the_bucket_is_looked_for_once() {
    let lists = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&lists);
    let address = serve(move |request| {
        let list = request.method == "GET" && request.target.contains("list-type");
        counted.fetch_add(usize::from(list), Relaxed);
        async move {
            match list {
                true => answer("200 OK", EMPTY_LIST),
                false => answer("404 Not Found", "<Error><Code>NoSuchKey</Code></Error>"),
            }
        }
    })
    .await;
    let service = s3(address);
    for blob in 0..3_u8 {
        assert!(!service.has(&Digest::of(&[blob])).await.unwrap());
    }
    assert_eq!(lists.load(Relaxed), 1);
}

/// The server gives each status once, then the right answer.
#[tokio::test]
async fn statuses_of_a_busy_or_failing_store_are_tried_again() {
    let failures = [
        ("503 Slow Down", "<Error><Code>SlowDown</Code></Error>"),
        ("429 Too Many Requests", ""),
        ("500 Internal Server Error", "<Error><Code>InternalError</Code></Error>"),
        ("502 Bad Gateway", "<html>"),
        ("408 Request Timeout", ""),
        ("400 Bad Request", "<Error><Code>RequestTimeout</Code></Error>"),
    ];
    let seen = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&seen);
    let address = serve(move |_| {
        let (status, body) = match failures.get(count.fetch_add(1, Relaxed)) {
            Some((status, body)) => (*status, *body),
            None => ("403 Forbidden", "<Error><Code>AccessDenied</Code></Error>"),
        };
        async move { answer(status, body) }
    })
    .await;
    let error = s3(address).chunks(&Digest::of(b"x")).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::PermissionDenied);
    assert_eq!(seen.load(Relaxed), failures.len() + 1);
}

#[tokio::test]
async fn a_full_store_and_one_that_cannot_do_it_are_not_waited_for() {
    for status in ["507 Insufficient Storage", "501 Not Implemented", "400 Bad Request"] {
        let seen = Arc::new(AtomicUsize::new(0));
        let count = Arc::clone(&seen);
        let address = serve(move |_| {
            count.fetch_add(1, Relaxed);
            async move { answer(status, "<Error><Code>Other</Code></Error>") }
        })
        .await;
        s3(address).chunks(&Digest::of(b"x")).await.unwrap_err();
        assert_eq!(seen.load(Relaxed), 1, "{status}");
    }
}

/// The second page fails at first. No object is listed twice, and none is left out.
#[tokio::test]
async fn a_listing_resumes_at_the_failed_page() {
    let digests: Vec<Digest> = (0..4_u8).map(|n| Digest::of(&[n])).collect();
    let mut keys: Vec<String> = digests
        .iter()
        .map(|digest| {
            let hex = digest.to_string();
            let hex = hex.rsplit(':').next().unwrap().to_owned();
            format!("base/blobs/b3/{}/{hex}", &hex[..4])
        })
        .collect();
    keys.sort();
    let failed = Arc::new(AtomicUsize::new(0));
    let address = serve({
        let (keys, failed) = (keys.clone(), Arc::clone(&failed));
        move |request| {
            let second = request.target.contains("continuation-token");
            let resumed = request.target.contains("start-after");
            let page = |keys: &[String], more: &str| {
                let contents: String = keys
                    .iter()
                    .map(|key| format!("<Contents><Key>{key}</Key><Size>1</Size><LastModified>2022-01-01T00:00:00.000Z</LastModified></Contents>"))
                    .collect();
                answer("200 OK", &format!("<ListBucketResult>{contents}{more}</ListBucketResult>"))
            };
            let result = match (second, resumed) {
                (false, false) => page(&keys[..2], "<IsTruncated>true</IsTruncated><NextContinuationToken>t</NextContinuationToken>"),
                (true, _) => {
                    failed.fetch_add(1, Relaxed);
                    answer("503 Slow Down", "<Error><Code>SlowDown</Code></Error>")
                }
                (false, true) => page(&keys[2..], ""),
            };
            async move { result }
        }
    })
    .await;
    let blobs: Vec<Result<Digest, Error>> = s3(address).list().collect().await;
    let mut listed: Vec<Digest> = blobs.into_iter().map(Result::unwrap).collect();
    listed.sort();
    let mut digests = digests;
    digests.sort();
    assert_eq!(listed, digests);
    assert_eq!(failed.load(Relaxed), 1);
}

/// A WebDAV server: a file can only be put into an existing directory, and creating one takes a
/// while.
#[derive(Default)]
struct Dav {
    directories: HashSet<String>,
    files: HashMap<String, Vec<u8>>,
    conflicts: usize,
    /// A directory that exists but that the server denies to have.
    hidden: Option<String>,
}

impl Dav {
    /// The answer to a PROPFIND: a directory and its members, whatever depth the client asked for.
    fn members(&self, path: &str) -> Option<String> {
        if !self.directories.contains(path) || self.hidden.as_deref() == Some(path) {
            return None;
        }
        let is_member =
            |member: &&String| member.rsplit_once('/').is_some_and(|(parent, _)| parent == path);
        let directories = self.directories.iter().filter(is_member).map(String::as_str);
        let directories = std::iter::once(path)
            .chain(directories)
            .map(|path| Self::response(path, "<D:resourcetype><D:collection/></D:resourcetype>"));
        let files = self.files.iter().filter(|(path, _)| is_member(path)).map(|(path, file)| {
            let size = file.len();
            let size = format!("<D:getcontentlength>{size}</D:getcontentlength><D:resourcetype/>");
            Self::response(path, &size)
        });
        let members: String = directories.chain(files).collect();
        Some(format!("<D:multistatus xmlns:D=\"DAV:\">{members}</D:multistatus>"))
    }

    fn response(path: &str, properties: &str) -> String {
        format!(
            "<D:response><D:href>{path}</D:href><D:propstat><D:prop>\
             <D:getlastmodified>Sat, 28 Nov 2026 05:00:00 GMT</D:getlastmodified>{properties}\
             </D:prop><D:status>HTTP/1.1 200 OK</D:status></D:propstat></D:response>"
        )
    }
}

#[cfg(feature = "http")]
#[tokio::test(flavor = "multi_thread")]
async fn parallel_puts_make_the_directories_of_a_webdav_base_and_a_walk_lists_them() {
    use castore_objstore::verify::VerifyLevel;
    use futures_util::TryStreamExt;

    let dav = Arc::new(Mutex::new(Dav::default()));
    let served = Arc::clone(&dav);
    let address = serve(move |request| {
        let dav = Arc::clone(&served);
        async move {
            let path = request.target.trim_end_matches('/').to_owned();
            let parent =
                path.rsplit_once('/').map_or(String::new(), |(parent, _)| parent.to_owned());
            let has_parent = |dav: &Dav| parent.is_empty() || dav.directories.contains(&parent);
            match request.method.as_str() {
                "MKCOL" => {
                    if !has_parent(&dav.lock().unwrap()) {
                        return answer("409 Conflict", "");
                    }
                    tokio::time::sleep(Duration::from_millis(5)).await;
                    let mut dav = dav.lock().unwrap();
                    if dav.directories.insert(path) {
                        return answer("201 Created", "");
                    }
                    dav.conflicts += 1;
                    answer("405 Method Not Allowed", "")
                }
                "PUT" => {
                    let mut dav = dav.lock().unwrap();
                    if !has_parent(&dav) {
                        return answer("409 Conflict", "");
                    }
                    dav.files.insert(path, request.body);
                    answer("201 Created", "")
                }
                "PROPFIND" => match dav.lock().unwrap().members(&path) {
                    Some(members) => ("207 Multi-Status", members.into_bytes()),
                    None => answer("404 Not Found", ""),
                },
                _ => match dav.lock().unwrap().files.get(&path) {
                    Some(file) => ("200 OK", file.clone()),
                    None => answer("404 Not Found", ""),
                },
            }
        }
    })
    .await;
    let url = format!("http://{address}/fresh/base");
    let patience = Duration::from_secs(1);
    let builder = castore_objstore::parse_url(&url).unwrap().retry_timeout(patience);
    let service = builder.build().unwrap();
    let data = random("webdav", 8 * MIB);
    let digest = put(&service, &data).await;
    assert_eq!(read(&service, &digest).await, data);
    assert!(dav.lock().unwrap().conflicts > 0, "no two made the same directory");

    let listed: Vec<_> = service.list().try_collect().await.unwrap();
    assert_eq!(listed, [digest], "the server lists one level at a time");
    let (report, findings) = crate::damaged::verify(&service, VerifyLevel::Blob).await;
    assert!(report.chunks > 20 && report.damaged + report.unknown == 0, "{report:?} {findings:?}");
    // The server lists this directory in its parent, and then denies to have it.
    dav.lock().unwrap().hidden = Some(format!("/fresh/base/blobs/b3/{digest:.4}"));
    let error = service.list().try_collect::<Vec<_>>().await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unavailable, "{error}");
}
