//! The HTTP client of the stores that a URL names: `object_store`'s own client, with checks of its
//! answers.

use async_trait::async_trait;
use object_store::ClientOptions;
use object_store::client::{
    HttpClient, HttpConnector, HttpError, HttpRequest, HttpResponse, HttpService, ReqwestConnector,
};

use crate::error::FailedAnswer;
use crate::objects::answer::note;
use crate::url::page;

/// The longest listing, in bytes, of a directory of a WebDAV server: 65,536 shards take half of
/// that.
const MAX_DIRECTORY: usize = 128 * 1024 * 1024;

/// Creates clients that note the status of each answer, for the task that makes the request.
#[derive(Debug)]
pub(super) struct Watched;

impl HttpConnector for Watched {
    fn connect(&self, options: &ClientOptions) -> object_store::Result<HttpClient> {
        let client = ReqwestConnector::default().connect(options)?;
        Ok(HttpClient::new(WatchedClient(client)))
    }
}

#[derive(Debug)]
struct WatchedClient(HttpClient);

#[async_trait]
impl HttpService for WatchedClient {
    async fn call(&self, request: HttpRequest) -> Result<HttpResponse, HttpError> {
        let lists = request.method().as_str() == "PROPFIND";
        let page = page::asks_for_page(&request).map(|page| (page, page.asked(&request)));
        let response = self.0.execute(request).await?;
        let status = response.status().as_u16();
        note(status);
        // `object_store` takes "207 Multi-Status" for success. That is right only for a listing. A
        // COPY or DELETE with this answer has failed in part, and for a single object there is no
        // other part.
        if status == 207 && !lists {
            return Err(FailedAnswer::InPart(status).into());
        }
        // `object_store` reads each of these bodies as a whole.
        let (parts, body) = response.into_parts();
        let body = match page {
            _ if !parts.status.is_success() => page::message(body.bytes_stream()).await?.into(),
            Some((protocol, asked)) => protocol.read(asked, body.bytes_stream()).await?.into(),
            None if lists => {
                let directory = page::up_to(MAX_DIRECTORY, body.bytes_stream()).await?;
                directory.ok_or(FailedAnswer::LongPage(MAX_DIRECTORY))?.into()
            }
            None => body,
        };
        Ok(HttpResponse::from_parts(parts, body))
    }
}

#[cfg(all(test, feature = "http"))]
mod tests {
    use std::io::{Read, Write};
    use std::net::TcpListener;

    use object_store::ObjectStoreExt;
    use object_store::path::Path;

    use crate::error::trouble;
    use crate::url::cloud;

    /// Serves one connection, and answers every request with `status`.
    fn serve(status: &'static str) -> url::Url {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        std::thread::spawn(move || {
            let (mut connection, _) = listener.accept().unwrap();
            let mut request = [0; 4096];
            while connection.read(&mut request).is_ok_and(|length| length > 0) {
                let answer = format!("HTTP/1.1 {status}\r\ncontent-length: 0\r\n\r\n");
                connection.write_all(answer.as_bytes()).unwrap();
            }
        });
        format!("http://{address}/").parse().unwrap()
    }

    #[tokio::test]
    async fn a_copy_or_delete_that_fails_in_part_is_not_done() {
        let (store, _) = cloud::http(&serve("207 Multi-Status"), &[]).unwrap();
        let (from, to) = (Path::from("a"), Path::from("b"));
        let error = store.copy(&from, &to).await.unwrap_err();
        assert_eq!(trouble(&error, None), None, "{error}");
        store.delete(&from).await.unwrap_err();
        let (store, _) = cloud::http(&serve("201 Created"), &[]).unwrap();
        store.copy(&from, &to).await.unwrap();
        store.delete(&from).await.unwrap();
    }
}
