//! Clouds and HTTP: `object_store`'s own builders, configured from the environment and then by
//! options.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

use castore_core::{Error, ErrorKind, Result};
use object_store::{ClientConfigKey, ObjectStore, RetryConfig};
use url::Url;

use super::client::Watched;
use super::{OPEN, OPTIONS, wrong};
use crate::error::Broken;
use crate::objects::retry::Backend;
use crate::redact::{redact_error, redact_url};

/// The default timeout of a whole request. The service ends a stalled request much earlier; this
/// timeout is for stalls that the service cannot detect. (`object_store`'s own 30 seconds would end
/// an upload that makes progress.)
const TIMEOUT: &str = "1 day";

/// A cloud and how its requests behave.
pub(super) type Opened = (Arc<dyn ObjectStore>, Backend);

/// The service retries requests itself, because it knows the other requests in flight.
fn no_retry() -> RetryConfig {
    RetryConfig { max_retries: 0, retry_timeout: Duration::ZERO, ..RetryConfig::default() }
}

/// The store that `build` creates. A panic of the store's builder becomes an error: some builders
/// trust the environment, and settings that they expect to be validated already.
fn build<S: ObjectStore>(
    kind: &str,
    build: impl FnOnce() -> object_store::Result<S>,
) -> Result<Arc<dyn ObjectStore>> {
    let incomplete = "its settings are not complete or contradict each other";
    let error = |message: String| Error::new(ErrorKind::InvalidInput, OPEN, message);
    match catch_unwind(AssertUnwindSafe(build)) {
        Ok(Ok(store)) => Ok(Arc::new(store)),
        Ok(Err(source)) => {
            Err(error(format!("{kind}: {incomplete}")).with_source(redact_error(source)))
        }
        Err(panic) => {
            let source = redact_error(Broken::panicked(panic.as_ref()));
            Err(error(format!("{kind}: a setting makes no sense")).with_source(source))
        }
    }
}

/// Sets each option on `builder`. The first unknown option is an error.
fn with_options<B, K: FromStr<Err = object_store::Error>>(
    builder: B,
    kind: &str,
    options: &[(String, String)],
    set: impl Fn(B, K, String) -> B,
) -> Result<B> {
    options.iter().try_fold(builder, |builder, (key, value)| {
        let known = key.to_ascii_lowercase().replace('-', "_").parse().map_err(|error| {
            wrong(format!("{kind} has no option {key:?}; there are {OPTIONS}, and object_store's"))
                .with_source(error)
        })?;
        Ok(set(builder, known, value.clone()))
    })
}

/// An endpoint must be the URL of a host alone. `object_store` concatenates it with keys as text,
/// and panics at the first request if the result is no URL.
#[cfg_attr(not(any(feature = "aws", feature = "gcp", feature = "azure")), allow(dead_code))]
fn check_endpoint(kind: &str, endpoint: &str) -> Result<()> {
    let problem = match Url::parse(endpoint) {
        Ok(url) if !matches!(url.scheme(), "http" | "https") => "its scheme is not http or https",
        Ok(url) if !url.username().is_empty() || url.password().is_some() => {
            "it has a user or a password"
        }
        Ok(url) if url.query().is_some() || url.fragment().is_some() => {
            "it has a query or a fragment"
        }
        Ok(_)
            if endpoint
                .contains(|c: char| c.is_whitespace() || c.is_control() || !c.is_ascii()) =>
        {
            "it has a character that no URL has"
        }
        Ok(_) => return Ok(()),
        Err(_) => "it is not a URL",
    };
    Err(wrong(format!("{kind}: the endpoint {:?} does not work: {problem}", redact_url(endpoint))))
}

/// Defines a constructor for one kind of cloud: their builders are alike but share no trait.
#[cfg(any(feature = "aws", feature = "gcp", feature = "azure"))]
macro_rules! cloud {
    ($name:ident, $builder:ty, $key:ident, [$($endpoint:ident),+], $prefix:literal, $kind:literal) => {
        pub(super) fn $name(url: &Url, options: &[(String, String)]) -> Result<Opened> {
            use $builder as Builder;

            let timeout = $key::Client(ClientConfigKey::Timeout);
            let mut builder = Builder::from_env();
            if !environment_sets($prefix, &timeout) {
                builder = builder.with_config(timeout, TIMEOUT);
            }
            let builder = with_options(
                builder.with_retry(no_retry()).with_http_connector(Watched).with_url(url.as_str()),
                $kind,
                options,
                |builder: Builder, key: $key, value| builder.with_config(key, value),
            )?;
            let endpoints = [$(builder.get_config_value(&$key::$endpoint)),+];
            let endpoints: Vec<String> = endpoints.into_iter().flatten().collect();
            for endpoint in &endpoints {
                check_endpoint($kind, endpoint)?;
            }
            // An explicit endpoint without encryption is intended.
            let plain = endpoints.iter().any(|endpoint| endpoint.starts_with("http://"));
            let builder = match plain {
                true => builder.with_config($key::Client(ClientConfigKey::AllowHttp), "true"),
                false => builder,
            };
            let backend =
                Backend { ordered_lists: true, has_bucket: true, makes_directories: false };
            Ok((build($kind, || builder.build())?, backend))
        }
    };
}

/// Whether an environment variable sets `wanted`, by any of the names that `object_store` knows.
#[cfg(any(feature = "aws", feature = "gcp", feature = "azure"))]
fn environment_sets<K: FromStr + PartialEq>(prefix: &str, wanted: &K) -> bool {
    std::env::vars_os().any(|(name, value)| {
        let name =
            name.to_str().filter(|name| name.starts_with(prefix) && value.to_str().is_some());
        name.is_some_and(|name| {
            name.to_ascii_lowercase().parse().is_ok_and(|key: K| key == *wanted)
        })
    })
}

#[cfg(feature = "aws")]
use object_store::aws::AmazonS3ConfigKey;
#[cfg(feature = "aws")]
cloud!(
    s3,
    object_store::aws::AmazonS3Builder,
    AmazonS3ConfigKey,
    [Endpoint, S3Endpoint],
    "AWS_",
    "S3"
);

#[cfg(feature = "azure")]
use object_store::azure::AzureConfigKey;
#[cfg(feature = "azure")]
cloud!(
    azure,
    object_store::azure::MicrosoftAzureBuilder,
    AzureConfigKey,
    [Endpoint],
    "AZURE_",
    "Azure"
);

#[cfg(feature = "gcp")]
use object_store::gcp::GoogleConfigKey;
#[cfg(feature = "gcp")]
cloud!(
    gcs,
    object_store::gcp::GoogleCloudStorageBuilder,
    GoogleConfigKey,
    [BaseUrl],
    "GOOGLE_",
    "GCS"
);

#[cfg(feature = "http")]
pub(super) fn http(url: &Url, options: &[(String, String)]) -> Result<Opened> {
    use object_store::http::HttpBuilder;

    let builder = HttpBuilder::new()
        .with_config(ClientConfigKey::Timeout, TIMEOUT)
        .with_config(ClientConfigKey::AllowHttp, "true")
        .with_retry(no_retry())
        .with_http_connector(Watched)
        .with_url(&url[..url::Position::BeforePath]);
    let builder = with_options(builder, "HTTP", options, HttpBuilder::with_config)?;
    let backend = Backend { ordered_lists: false, has_bucket: false, makes_directories: true };
    Ok((build("HTTP", || builder.build())?, backend))
}
