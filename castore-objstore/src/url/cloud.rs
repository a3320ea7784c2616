//! Clouds and HTTP: `object_store`'s own builders, from the environment, then options.

use std::sync::Arc;
use std::time::Duration;

use castore_core::{Error, ErrorKind, Result};
use object_store::{BackoffConfig, ClientConfigKey, ObjectStore, RetryConfig};
use url::Url;

use super::{OPEN, OPTIONS, wrong};

/// A whole request may take this long: a large chunk over a slow line. What stalls is ended by
/// [`READ_TIMEOUT`]. (`object_store`'s own 30 seconds would end an upload that gets on well.)
const TIMEOUT: &str = "1 hour";
const READ_TIMEOUT: &str = "30 seconds";

/// 5 to 15 seconds of trying again, mostly 11: a server that is started anew is waited for, and a
/// wrong address is told soon enough. (The waits are random, each up to thrice the last one.)
fn retry() -> RetryConfig {
    RetryConfig {
        max_retries: 10,
        retry_timeout: Duration::from_secs(60),
        backoff: BackoffConfig {
            init_backoff: Duration::from_millis(200),
            max_backoff: Duration::from_secs(2),
            base: 3.0,
        },
    }
}

fn build<S: ObjectStore>(store: object_store::Result<S>) -> Result<Arc<dyn ObjectStore>> {
    match store {
        Ok(store) => Ok(Arc::new(store)),
        Err(error) => {
            let message = "its settings are not complete or contradict each other";
            Err(Error::new(ErrorKind::InvalidInput, OPEN, message).with_source(error))
        }
    }
}

/// Sets each option on `builder`; the first one that `parse` does not know is an error.
fn with_options<B, K>(
    builder: B,
    kind: &str,
    options: &[(String, String)],
    parse: impl Fn(&str) -> object_store::Result<K>,
    set: impl Fn(B, K, String) -> B,
) -> Result<B> {
    options.iter().try_fold(builder, |builder, (key, value)| {
        let known = parse(&key.to_ascii_lowercase().replace('-', "_")).map_err(|error| {
            wrong(format!("{kind} has no option {key:?}; there are {OPTIONS}, and object_store's"))
                .with_source(error)
        })?;
        Ok(set(builder, known, value.clone()))
    })
}

/// Defines a constructor for one kind of cloud; their builders are alike but share no trait.
#[cfg(any(feature = "aws", feature = "gcp", feature = "azure"))]
macro_rules! cloud {
    ($name:ident, $builder:ty, $key:ident :: $endpoint:ident, $kind:literal) => {
        pub(super) fn $name(
            url: &Url,
            options: &[(String, String)],
        ) -> Result<Arc<dyn ObjectStore>> {
            use $builder as Builder;
            let builder = Builder::from_env()
                .with_config($key::Client(ClientConfigKey::Timeout), TIMEOUT)
                .with_config($key::Client(ClientConfigKey::ReadTimeout), READ_TIMEOUT)
                .with_retry(retry())
                .with_url(url.as_str());
            let builder = with_options(
                builder,
                $kind,
                options,
                |key| key.parse::<$key>(),
                |builder, key, value| builder.with_config(key, value),
            )?;
            // Who gives an endpoint that is not encrypted has said that it is meant so.
            let plain = builder
                .get_config_value(&$key::$endpoint)
                .is_some_and(|endpoint| endpoint.starts_with("http://"));
            let builder = match plain {
                true => builder.with_config($key::Client(ClientConfigKey::AllowHttp), "true"),
                false => builder,
            };
            build(builder.build())
        }
    };
}

#[cfg(feature = "aws")]
use object_store::aws::AmazonS3ConfigKey;
#[cfg(feature = "aws")]
cloud!(s3, object_store::aws::AmazonS3Builder, AmazonS3ConfigKey::Endpoint, "S3");

#[cfg(feature = "azure")]
use object_store::azure::AzureConfigKey;
#[cfg(feature = "azure")]
cloud!(azure, object_store::azure::MicrosoftAzureBuilder, AzureConfigKey::Endpoint, "Azure");

#[cfg(feature = "gcp")]
use object_store::gcp::GoogleConfigKey;
#[cfg(feature = "gcp")]
cloud!(gcs, object_store::gcp::GoogleCloudStorageBuilder, GoogleConfigKey::BaseUrl, "GCS");

#[cfg(feature = "http")]
pub(super) fn http(url: &Url, options: &[(String, String)]) -> Result<Arc<dyn ObjectStore>> {
    use object_store::http::HttpBuilder;

    let builder = HttpBuilder::new()
        .with_config(ClientConfigKey::Timeout, TIMEOUT)
        .with_config(ClientConfigKey::ReadTimeout, READ_TIMEOUT)
        .with_config(ClientConfigKey::AllowHttp, "true")
        .with_retry(retry())
        .with_url(&url[..url::Position::BeforePath]);
    let builder = with_options(
        builder,
        "HTTP",
        options,
        |key| key.parse::<ClientConfigKey>(),
        |builder, key, value| builder.with_config(key, value),
    )?;
    build(builder.build())
}
