//! Turns a URL and options into a builder.

use std::path::{Path as FilePath, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use castore_chunker::ChunkParams;
use castore_core::{Error, ErrorKind, Result};
use object_store::memory::InMemory;
use object_store::{ObjectStore, ObjectStoreScheme};
use url::Url;

use self::units::{parse_size, parse_time};
use crate::builder::Builder;
use crate::redact::redact_url;
use crate::service::ObjectStoreBlobService;
use crate::store::Verify;

const OPEN: &str = "open the store";

/// This crate's own options, for every kind of store. The error for an unknown option lists them.
const OPTIONS: &str = "chunk-size, zstd-level, memory, requests, durable, create, grace, \
                       retry-timeout, group-hashes, verify";

/// The builder of the service that `url` names; see [`parse_url_opts`].
///
/// # Errors
/// Those of [`parse_url_opts`].
pub fn parse_url(url: &str) -> Result<Builder> {
    parse_url_opts(url, std::iter::empty::<(&str, &str)>())
}

/// The builder of the service that `url` names, with `options`.
///
/// | URL | store |
/// |---|---|
/// | `memory:` | memory, fresh for each call |
/// | `file:///DIRECTORY`, or a path | a directory |
/// | `s3://BUCKET/BASE` | S3 and compatible stores, with the feature `aws` |
/// | `gs://BUCKET/BASE` | Google Cloud Storage, with the feature `gcp` |
/// | `az://CONTAINER/BASE` | Azure, with the feature `azure` |
/// | `http://HOST/BASE`, `https://HOST/BASE` | WebDAV, with the feature `http` |
///
/// The other forms that `object_store` knows, such as
/// `https://BUCKET.s3.REGION.amazonaws.com/BASE`, also work. Clouds are configured from the
/// environment first (`AWS_ENDPOINT`, `AWS_ACCESS_KEY_ID`, ... and similar variables), then by
/// options. The names of options are those of `object_store`'s configuration keys, and for every
/// store:
///
/// | option | sets | example |
/// |---|---|---|
/// | `chunk-size` | average of [`Builder::chunk_params`]; bounds: half and twice of it | `256KiB` |
/// | `zstd-level` | [`Builder::zstd_level`] | `3` |
/// | `memory` | [`Builder::memory`] | `64MiB` |
/// | `requests` | [`Builder::requests`] | `64` |
/// | `durable` | [`Builder::durable`], for directories | `false` |
/// | `create` | [`Builder::create`], for directories | `true` |
/// | `grace` | [`Builder::grace`] | `24h` |
/// | `retry-timeout` | [`Builder::retry_timeout`] | `5m` |
/// | `group-hashes` | [`Builder::group_hashes`] | `false` |
/// | `verify` | [`Builder::verify`]: `groups` or `chunks` | `chunks` |
///
/// The service retries requests, not `object_store`, and never ends a request because the line is
/// slow. `timeout`, `read_timeout` and `connect_timeout` (`AWS_TIMEOUT`, ...) are `object_store`'s
/// own options and, if set, have the effect that it documents: a read timeout ends an upload that
/// takes longer.
///
/// Makes no request, and does not check that a directory exists: [`Builder::build`] does.
///
/// # Errors
/// `InvalidInput` for a URL or an option that is unknown or malformed, and for a URL with a part
/// that the store would ignore: a user, a password, a port of a bucket, a query, a fragment.
/// `Unsupported` for a kind of store that this build does not include. No error shows a secret of
/// the URL.
pub fn parse_url_opts<K, V>(url: &str, options: impl IntoIterator<Item = (K, V)>) -> Result<Builder>
where
    K: AsRef<str>,
    V: AsRef<str>,
{
    let options = options
        .into_iter()
        .map(|(key, value)| (key.as_ref().to_owned(), value.as_ref().to_owned()));
    let (own, others): (Vec<_>, Vec<_>) = options.partition(|(key, _)| is_own(key));
    let odd = own.iter().chain(&others).find(|(_, value)| value.contains(char::is_control));
    if let Some((key, _)) = odd {
        return Err(wrong(format!("option {key}: its value holds a control character")));
    }

    let mut builder = match local_path(url)? {
        Some(path) => {
            no_others(&others, "a directory")?;
            ObjectStoreBlobService::local(path)
        }
        None => remote(url, &others)?,
    };
    for (key, value) in own {
        builder = set(builder, &key, &value)?;
    }
    Ok(builder)
}

/// The directory that `url` names, or `None` if the URL names another kind of store.
///
/// # Errors
/// `InvalidInput` for an empty or malformed URL.
pub fn local_path(url: &str) -> Result<Option<PathBuf>> {
    if url.is_empty() {
        return Err(wrong("the store has no name".to_owned()));
    }
    let Some((scheme, _)) = url.split_once(':') else { return Ok(Some(url.into())) };
    // A single letter is a Windows drive, and a text with a separator before the colon is a path.
    let is_scheme = scheme.len() > 1
        && scheme.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"+-.".contains(&byte));
    if !is_scheme || FilePath::new(url).exists() {
        return Ok(Some(url.into()));
    }
    if !scheme.eq_ignore_ascii_case("file") {
        return Ok(None);
    }
    let path = Url::parse(url).ok().and_then(|url| url.to_file_path().ok());
    match path {
        Some(path) => Ok(Some(path)),
        None => Err(wrong(format!("{:?} is not a path of this machine", redact_url(url)))),
    }
}

#[cfg_attr(
    not(any(feature = "aws", feature = "gcp", feature = "azure", feature = "http")),
    allow(unreachable_code)
)]
fn remote(text: &str, options: &[(String, String)]) -> Result<Builder> {
    let shown = redact_url(text);
    let url = Url::parse(text)
        .map_err(|error| wrong(format!("{shown:?} is not a URL")).with_source(error))?;
    let (scheme, base) = ObjectStoreScheme::parse(&url).map_err(|_| {
        let known = "memory:, file:, s3:, gs:, az:, http: and https:";
        wrong(format!("{shown:?} is not a store; there are {known}"))
    })?;
    if let Some(part) = unused_part(&url, &scheme) {
        return Err(wrong(format!("{shown:?} has {part}")));
    }
    let (store, backend) = match scheme {
        ObjectStoreScheme::Memory => {
            no_others(options, "a store in memory")?;
            let store: Arc<dyn ObjectStore> = Arc::new(InMemory::new());
            let builder = ObjectStoreBlobService::builder(store).base_path(base);
            return Ok(builder.longest_request(Duration::ZERO));
        }
        #[cfg(feature = "aws")]
        ObjectStoreScheme::AmazonS3 => cloud::s3(&url, options)?,
        #[cfg(feature = "gcp")]
        ObjectStoreScheme::GoogleCloudStorage => cloud::gcs(&url, options)?,
        #[cfg(feature = "azure")]
        ObjectStoreScheme::MicrosoftAzure => cloud::azure(&url, options)?,
        #[cfg(feature = "http")]
        ObjectStoreScheme::Http => cloud::http(&url, options)?,
        other => {
            let message = format!("this build has no support for {other:?} stores");
            return Err(Error::new(ErrorKind::Unsupported, OPEN, message));
        }
    };
    let builder = Builder::of_backend(store, backend).base_path(base);
    Ok(builder.longest_request(longest_request(options)))
}

/// The part of `url` that its store would ignore, and the reason why this is an error.
fn unused_part(url: &Url, scheme: &ObjectStoreScheme) -> Option<&'static str> {
    if url.password().is_some() {
        return Some(
            "a password, which does not belong into a URL: use the environment or an option",
        );
    }
    // In "abfss://CONTAINER@ACCOUNT.dfs.core.windows.net/" the container is in the user's place.
    let names_container = matches!(url.scheme(), "az" | "abfs" | "abfss");
    if !url.username().is_empty() && !names_container {
        return Some("a user, which no store has a use for: use the environment or an option");
    }
    if url.query().is_some() {
        return Some("a query, which no store has a use for: use the environment or an option");
    }
    if url.fragment().is_some() {
        return Some("a fragment, which no store has a use for");
    }
    if url.port().is_some() && *scheme != ObjectStoreScheme::Http {
        return Some("a port, but names a bucket: the option endpoint is for the server's address");
    }
    None
}

/// How long a request over a network may be in flight: as long as one attempt may take, plus the
/// time in which others are started in its stead.
fn longest_request(options: &[(String, String)]) -> Duration {
    const MINUTE: Duration = Duration::from_secs(60);
    let given = options.iter().rev().find(|(key, _)| key.eq_ignore_ascii_case("timeout"));
    given.and_then(|(_, value)| parse_time(value)).unwrap_or(60 * MINUTE).saturating_add(MINUTE)
}

fn is_own(key: &str) -> bool {
    OPTIONS.split(", ").any(|own| own == key)
}

fn no_others(options: &[(String, String)], store: &str) -> Result<()> {
    match options.first() {
        None => Ok(()),
        Some((key, _)) => Err(unknown(key, store)),
    }
}

fn unknown(key: &str, store: &str) -> Error {
    wrong(format!("{store} has no option {key:?}; there are {OPTIONS}"))
}

fn wrong(message: String) -> Error {
    Error::new(ErrorKind::InvalidInput, OPEN, message)
}

fn set(builder: Builder, key: &str, value: &str) -> Result<Builder> {
    let bad = |what: &str| wrong(format!("option {key}: {value:?} is not {what}"));
    let number = || value.parse::<i32>().map_err(|error| bad("a number").with_source(error));
    let size = || {
        let size = parse_size(value).and_then(|size| usize::try_from(size).ok());
        size.ok_or_else(|| bad("a size such as 256KiB"))
    };
    let flag = || match value {
        "true" => Ok(true),
        "false" => Ok(false),
        _ => Err(bad("true or false")),
    };
    Ok(match key {
        "chunk-size" => {
            let params = ChunkParams::with_average(size()?).map_err(|error| {
                wrong(format!("option {key}: {value:?} will not do")).with_source(error)
            })?;
            builder.chunk_params(params)
        }
        "zstd-level" => builder.zstd_level(number()?),
        "memory" => builder.memory(size()?),
        "requests" => {
            builder.requests(value.parse().map_err(|error| bad("a number").with_source(error))?)
        }
        "durable" => builder.durable(flag()?),
        "create" => builder.create(flag()?),
        "group-hashes" => builder.group_hashes(flag()?),
        "verify" => builder.verify(match value {
            "groups" => Verify::Groups,
            "chunks" => Verify::Chunks,
            _ => return Err(bad("groups or chunks")),
        }),
        "retry-timeout" => {
            builder.retry_timeout(parse_time(value).ok_or_else(|| bad("a time such as 5m"))?)
        }
        "grace" => builder.grace(parse_time(value).ok_or_else(|| bad("a time such as 24h"))?),
        _ => return Err(unknown(key, "a store")),
    })
}

#[cfg(any(feature = "aws", feature = "gcp", feature = "azure", feature = "http"))]
mod client;
#[cfg(any(feature = "aws", feature = "gcp", feature = "azure", feature = "http"))]
mod cloud;
#[cfg(any(feature = "aws", feature = "gcp", feature = "azure", feature = "http"))]
mod page;
pub mod units;

#[cfg(test)]
mod tests {
    use super::*;

    fn error(url: &str, options: &[(&str, &str)]) -> (ErrorKind, String) {
        let error = match parse_url_opts(url, options.iter().copied()) {
            Ok(builder) => builder.build().unwrap_err(),
            Err(error) => error,
        };
        (error.kind(), error.to_string())
    }

    #[test]
    fn paths_and_file_urls_are_local() {
        let local = |url: &str| local_path(url).unwrap();
        assert_eq!(local("/a/b"), Some("/a/b".into()));
        assert_eq!(local("a b#c"), Some("a b#c".into()));
        assert_eq!(local("./s3:x"), Some("./s3:x".into()));
        assert_eq!(local("C:\\store"), Some("C:\\store".into()));
        assert_eq!(local("memory:"), None);
        assert_eq!(local("s3://bucket"), None);
        assert!(local_path("").is_err());
        if cfg!(unix) {
            assert_eq!(local("file:///a/b%20c"), Some("/a/b c".into()));
            assert_eq!(local("file:/a"), Some("/a".into()));
            assert!(local_path("file://host/a").is_err());
        }
    }

    #[test]
    fn unknown_options_and_urls_are_errors_that_name_them() {
        for (url, options, named) in [
            ("memory:", &[("colour", "red")][..], "colour"),
            ("/nowhere", &[("access_key_id", "x")], "access_key_id"),
            ("memory:", &[("zstd-level", "x")], "\"x\""),
            ("memory:", &[("zstd-level", "23")], "23"),
            ("memory:", &[("memory", "12 parsecs")], "12 parsecs"),
            ("memory:", &[("memory", "99999999999999999999GiB")], "GiB"),
            ("memory:", &[("chunk-size", "1000")], "1000"),
            ("memory:", &[("requests", "0")], "request"),
            ("memory:", &[("durable", "true")], "local"),
            ("/nowhere", &[("durable", "maybe")], "maybe"),
            ("memory:", &[("grace", "a while")], "a while"),
            ("gopher://x/y", &[], "gopher"),
            ("s3:bucket", &[], "s3:bucket"),
            ("s3://user:secret@bucket/x", &[], "password"),
            ("s3://bucket/x?y=z", &[], "query"),
        ] {
            let (kind, message) = error(url, options);
            assert_eq!(kind, ErrorKind::InvalidInput, "{url} {options:?}: {message}");
            assert!(message.contains(named), "{url} {options:?}: {message}");
            assert!(!message.contains("secret"), "{message}");
        }
    }

    #[test]
    fn options_reach_the_service() {
        let options = [("chunk-size", "64KiB"), ("zstd-level", "-5"), ("memory", "8M")];
        let service = parse_url_opts("memory:/base", options).unwrap().build().unwrap();
        assert_eq!(service.chunk_params().max_size(), 128 * 1024);
    }

    #[test]
    fn a_missing_directory_is_an_error_unless_create_is_set() {
        let parent = tempfile::tempdir().unwrap();
        let path = parent.path().join("new");
        let path = path.to_str().unwrap();
        let (kind, message) = error(path, &[]);
        assert_eq!(kind, ErrorKind::StoreNotFound);
        assert!(message.contains(path) && message.contains("no such directory"), "{message}");
        parse_url_opts(path, [("create", "true")]).unwrap().build().unwrap();
        parse_url(path).unwrap().build().unwrap();
    }
}
