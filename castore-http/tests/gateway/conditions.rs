//! `If-None-Match`, `If-Match` and `If-Range`.

use castore_core::Digest;

use crate::support::{ask, blob_path, gateway_with, get, noise, request};

#[tokio::test]
async fn if_none_match_is_answered_without_the_blob_when_the_client_has_it() {
    let blob = noise(1000);
    let router = gateway_with(std::slice::from_ref(&blob)).await;
    let digest = Digest::of(&blob);
    let other = Digest::of(b"other");
    for (value, status) in [
        (format!("\"{digest}\""), 304),
        (format!("W/\"{digest}\""), 304),
        ("*".into(), 304),
        (format!("\"{other}\", \"{digest}\""), 304),
        (format!("\"a,b\" ,, W/\"{digest}\""), 304),
        (format!("\"{other}\""), 200),
        (format!("{digest}"), 200),
        (format!("\"{}\"", digest.to_string().to_uppercase()), 200),
        (format!("\"{digest}"), 200),
        (String::new(), 200),
    ] {
        for method in ["GET", "HEAD"] {
            let headers = [("if-none-match", &*value), ("range", "items=0-1")];
            let answer = ask(&router, request(method, &blob_path(digest), &headers)).await;
            assert_eq!(answer.status, status, "{method} {value}");
            assert_eq!(answer.header("etag"), Some(&*format!("\"{digest}\"")));
            let cache = Some("public, max-age=31536000, immutable");
            assert_eq!(answer.header("cache-control"), cache);
            assert_eq!(answer.header("content-length"), Some("1000"));
            let expected = if status == 200 && method == "GET" { 1000 } else { 0 };
            assert_eq!(answer.body.len(), expected);
        }
    }
    let two = [("if-none-match", "\"x\""), ("if-none-match", &*format!("\"{digest}\""))];
    assert_eq!(get(&router, &blob_path(digest), &two).await.status, 304);
}

#[tokio::test]
async fn no_condition_makes_an_absent_blob_present() {
    let router = gateway_with(&[]).await;
    let digest = Digest::of(b"absent");
    for (name, value) in [
        ("if-none-match", format!("\"{digest}\"")),
        ("if-none-match", "*".into()),
        ("if-match", "\"x\"".into()),
    ] {
        get(&router, &blob_path(digest), &[(name, &value)]).await.line(404);
    }
}

#[tokio::test]
async fn if_match_compares_strongly() {
    let blob = noise(1000);
    let router = gateway_with(std::slice::from_ref(&blob)).await;
    let digest = Digest::of(&blob);
    for (value, status) in [
        (format!("\"{digest}\""), 200),
        (format!("\"x\", \"{digest}\""), 200),
        ("*".into(), 200),
        (format!("W/\"{digest}\""), 412),
        ("\"x\"".into(), 412),
        (String::new(), 412),
    ] {
        let answer = get(&router, &blob_path(digest), &[("if-match", &value)]).await;
        assert_eq!(answer.status, status, "{value}");
        if status == 412 {
            answer.line(412);
        }
    }
    // If-Match comes first.
    let both = [("if-match", "\"x\""), ("if-none-match", "*")];
    get(&router, &blob_path(digest), &both).await.line(412);
}

#[tokio::test]
async fn a_range_counts_only_if_if_range_is_the_strong_tag() {
    let blob = noise(1000);
    let router = gateway_with(std::slice::from_ref(&blob)).await;
    let digest = Digest::of(&blob);
    let tag = format!("\"{digest}\"");
    for (value, status) in [
        (tag.clone(), 206),
        (format!("W/{tag}"), 200),
        ("\"x\"".into(), 200),
        (digest.to_string(), 200),
        (format!("{tag}, {tag}"), 200),
        ("*".into(), 200),
        ("Sat, 28 Nov 2026 12:00:00 GMT".into(), 200),
        (String::new(), 200),
    ] {
        let headers = [("range", "bytes=10-19"), ("if-range", &*value)];
        let answer = get(&router, &blob_path(digest), &headers).await;
        assert_eq!(answer.status, status, "{value}");
        let expected = if status == 206 { &blob[10..20] } else { &blob[..] };
        assert_eq!(answer.body, expected);
        // An unsatisfiable range is of no account either where the range does not count.
        let headers = [("range", "bytes=1000-"), ("if-range", &*value)];
        let answer = get(&router, &blob_path(digest), &headers).await;
        assert_eq!(answer.status, if status == 206 { 416 } else { 200 }, "{value}");
    }
    let twice = [("range", "bytes=0-1"), ("if-range", &*tag), ("if-range", &*tag)];
    assert_eq!(get(&router, &blob_path(digest), &twice).await.status, 200);
    let alone = get(&router, &blob_path(digest), &[("if-range", &tag)]).await;
    assert_eq!(alone.status, 200);
}
