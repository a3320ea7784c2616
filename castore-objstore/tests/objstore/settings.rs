//! Nonsensical settings are rejected before they have any effect, and no error shows a secret.

use castore_core::{Error, ErrorKind};
use castore_objstore::parse_url_opts;

fn error(url: &str, options: &[(&str, &str)]) -> Error {
    match parse_url_opts(url, options.iter().copied()) {
        Ok(builder) => builder.build().expect_err(&format!("{url} {options:?}")),
        Err(error) => error,
    }
}

/// The texts of an error and its sources, as users and logs see them.
fn texts(error: &Error) -> String {
    let mut texts = format!("{error:?} {error}");
    let mut next = std::error::Error::source(error);
    while let Some(error) = next {
        texts += &format!(" | {error:?} {error}");
        next = error.source();
    }
    texts
}

#[test]
fn hostile_settings_are_errors_and_never_panics() {
    let huge = "18446744073709551615";
    let s3 = "s3://bucket/base";
    for (url, key, value) in [
        ("memory:", "requests", huge),
        ("memory:", "requests", "65537"),
        ("memory:", "requests", "0"),
        ("memory:", "requests", "-1"),
        ("memory:", "memory", "0"),
        ("memory:", "memory", huge),
        ("memory:", "memory", "17179869183GiB"),
        ("memory:", "chunk-size", "0"),
        ("memory:", "chunk-size", huge),
        ("memory:", "chunk-size", "3"),
        ("memory:", "zstd-level", "2147483647"),
        ("memory:", "zstd-level", "-2147483648"),
        ("memory:", "grace", "0s"),
        ("memory:", "grace", "18446744073709551615s"),
        ("memory:", "grace", "200000000000000d"),
        ("memory:", "retry-timeout", "18446744073709551615s"),
        ("memory:", "retry-timeout", "soon"),
        (s3, "endpoint", ""),
        (s3, "endpoint", "localhost:9000"),
        (s3, "endpoint", "http://"),
        (s3, "endpoint", "http://ho st"),
        (s3, "endpoint", "http://host/a b"),
        (s3, "endpoint", "http://host/\u{e4}"),
        (s3, "endpoint", "http://host:99999"),
        (s3, "endpoint", "http://user:SECRET@host"),
        (s3, "endpoint", "http://host?sig=SECRET"),
        (s3, "endpoint", "ftp://host"),
        (s3, "timeout", "a while"),
        (s3, "timeout", "-1s"),
        (s3, "connect_timeout", ""),
        (s3, "proxy_url", "http://user:SECRET@[::1"),
        (s3, "proxy_url", "\0"),
        (s3, "allow_http", "maybe"),
        (s3, "user_agent", "a\nb"),
        (s3, "region", "a\nb"),
        (s3, "checksum_algorithm", "rot13"),
        (s3, "conditional_put", "?"),
        (s3, "copy_if_not_exists", "?"),
        (s3, "http2_max_frame_size", "many"),
        (s3, "colour", "red"),
    ] {
        let options = [("region", "somewhere"), ("access_key_id", "x"), ("secret_access_key", "x")];
        let mut options = if url == s3 { options.to_vec() } else { Vec::new() };
        options.push((key, value));
        let error = error(url, &options);
        assert_eq!(error.kind(), ErrorKind::InvalidInput, "{key}={value:?}: {}", texts(&error));
        assert!(!texts(&error).contains("SECRET"), "{key}={value:?}: {}", texts(&error));
    }
}

#[test]
fn a_url_with_a_part_that_its_store_would_not_use_is_refused_without_its_secrets() {
    for (url, named) in [
        ("s3://user@bucket:9000/base", "a user"),
        ("s3://bucket:9000/base", "a port"),
        ("s3://SECRET@bucket/base", "a user"),
        ("s3://user:SECRET@bucket/base", "a password"),
        ("s3://bucket/base?sig=SECRET", "a query"),
        ("s3://bucket/base#SECRET", "a fragment"),
        ("gs://bucket:1/base", "a port"),
        ("az://container:1/base", "a port"),
        ("abfss://container:SECRET@acct.dfs.core.windows.net/x", "a password"),
        ("https://acct.blob.core.windows.net/c?sig=SECRET", "a query"),
        ("https://bucket.s3.eu-west-1.amazonaws.com:8443/x", "a port"),
        ("https://user:SECRET@127.0.0.1:99999/x", "not a URL"),
        ("https://user:SECRET@ho st/", "not a URL"),
        ("https://SECRET@host/", "a user"),
        ("gopher://user:SECRET@host/", "not a store"),
        ("memory:/x?SECRET", "a query"),
    ] {
        let error = error(url, &[]);
        assert_eq!(error.kind(), ErrorKind::InvalidInput, "{url}: {error}");
        assert!(error.to_string().contains(named), "{url}: {error}");
        assert!(!texts(&error).contains("SECRET"), "{url}: {}", texts(&error));
    }
}

#[test]
fn no_debug_output_shows_a_key() {
    let mut stores = vec![(
        "s3://bucket/base",
        vec![
            ("region", "x"),
            ("access_key_id", "SECRET"),
            ("secret_access_key", "SECRET"),
            ("token", "SECRET"),
        ],
    )];
    if cfg!(feature = "azure") {
        let sas = "sv=2022-11-02&sig=SECRET";
        stores.push(("az://container/base", vec![("account_name", "a"), ("sas_key", sas)]));
        stores.push((
            "az://container/base",
            vec![("account_name", "a"), ("account_key", "U0VDUkVU")],
        ));
    }
    for (url, options) in stores {
        let builder = parse_url_opts(url, options).unwrap();
        let shown = format!("{builder:?} {builder:#?}");
        let service = builder.build().unwrap();
        let shown = format!("{shown} {service:?} {service:#?}");
        assert!(!shown.contains("SECRET") && !shown.contains("U0VDUkVU"), "{shown}");
        assert!(shown.contains("bucket") || shown.contains("container"), "{shown}");
    }
}
