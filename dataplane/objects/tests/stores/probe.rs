//! What an operator reads when a bucket is set up wrongly.
use std::time::Duration;

use millstream_objects::{Body, ErrorKind, ObjectStore as _, Retry};
use millstream_test_support::s3::SECRET_ACCESS_KEY;
use millstream_test_support::s3::proxy::{Fault, Reply, Request};

use crate::support::{BUCKET, Bench, any_put, first, key, noise, put_once, store_at, store_of};

/// What an operator reads when something is set up wrongly: what, where, and what to do.
#[tokio::test(flavor = "multi_thread")]
async fn a_probe_names_what_is_wrong_and_what_to_do() {
    let bench = Bench::new();
    let hour_ago = {
        let at = std::time::SystemTime::now() - Duration::from_hours(1);
        let seconds = at.duration_since(std::time::UNIX_EPOCH).expect("after 1970").as_secs();
        http_date(seconds)
    };
    let answer = |status, code: &str| Fault::Reply(Reply::error(status, code));
    let region =
        |status, code: &str| Fault::Reply(Reply::error(status, code).with_header("x-amz-bucket-region", "eu-west-3"));
    let skewed = Fault::Reply(Reply::error(403, "RequestTimeTooSkewed").with_header("date", &hour_ago));
    let lists: fn(&Request) -> bool = |request| request.method == "GET" && request.query.contains("list-type");
    for (meant, fault, kind, says) in [
        (lists, answer(404, "NoSuchBucket"), ErrorKind::Missing, "make the bucket"),
        (lists, region(301, "PermanentRedirect"), ErrorKind::Region, "set region=eu-west-3"),
        (lists, region(400, "AuthorizationHeaderMalformed"), ErrorKind::Region, "set region=eu-west-3"),
        (lists, answer(403, "InvalidAccessKeyId"), ErrorKind::Credentials, "AWS_ACCESS_KEY_ID"),
        (lists, answer(403, "SignatureDoesNotMatch"), ErrorKind::Credentials, "AWS_SECRET_ACCESS_KEY"),
        (lists, answer(400, "ExpiredToken"), ErrorKind::Credentials, "role of this machine"),
        (lists, skewed, ErrorKind::Clock, "ahead of the store's"),
        (any_put, answer(403, "AccessDenied"), ErrorKind::Denied, "allow s3:PutObject"),
        (any_put, answer(507, "XMinioStorageFull"), ErrorKind::Full, "free space at the store"),
        (any_put, answer(403, "QuotaExceeded"), ErrorKind::Full, "raise its quota"),
        (any_put, answer(418, "Teapot"), ErrorKind::Refused, "418, Teapot"),
        (
            lists,
            Fault::Reply(Reply::new(200, "<html>hello</html>")),
            ErrorKind::Refused,
            "check whether the endpoint is an S3 server",
        ),
        (lists, Fault::Reset, ErrorKind::Unavailable, "check the endpoint"),
    ] {
        bench.proxy.script(first(99, meant, &fault));
        // A new one: the SDK learns from the first answer how far the clocks are apart, and the next request would be right.
        let error = bench.store().await.probe().await.expect_err("wrong");
        assert_eq!(error.kind(), kind, "{fault:?}: {error}");
        let text = error.to_string();
        assert!(
            text.contains(says) && text.contains("s3://recordings/a/prefix") && text.contains("127.0.0.1"),
            "{text}"
        );
        assert!(text.len() < 1_000 && !text.contains('\n') && !text.contains(SECRET_ACCESS_KEY), "{text}");
    }
    // What a server that may only be written to allows: it records, and says what it cannot.
    let deletes: fn(&Request) -> bool = |request| request.method == "DELETE" && !request.query.contains("uploadId");
    let aborts: fn(&Request) -> bool = |request| request.method == "DELETE" && request.query.contains("uploadId");
    for (meant, says) in
        [(lists, "allow s3:ListBucket"), (deletes, "allow s3:DeleteObject"), (aborts, "allow s3:AbortMultipartUpload")]
    {
        bench.proxy.script(first(99, meant, &answer(403, "AccessDenied")));
        let warnings = bench.store().await.probe().await.expect("it can be used").warnings;
        assert!(warnings.len() == 1 && warnings[0].contains(says), "{warnings:?}");
    }
}

fn http_date(unix_s: u64) -> String {
    let output = std::process::Command::new("date")
        .args(["-u", "-d", &format!("@{unix_s}"), "+%a, %d %b %Y %H:%M:%S GMT"])
        .env("LC_ALL", "C")
        .output()
        .expect("date");
    String::from_utf8(output.stdout).expect("text").trim().to_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_probe_of_a_real_server_tells_a_wrong_secret_a_missing_bucket_and_no_server() {
    let bench = Bench::new();
    let endpoint = bench.server.endpoint();
    let closed = {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
        format!("http://{}", listener.local_addr().expect("an address"))
    };
    let tls = endpoint.replace("http:", "https:");
    for (endpoint, bucket, secret, kind) in [
        (endpoint.as_str(), BUCKET, "wrong", ErrorKind::Credentials),
        (&endpoint, "nothing-here", SECRET_ACCESS_KEY, ErrorKind::Missing),
        (&closed, BUCKET, SECRET_ACCESS_KEY, ErrorKind::Unavailable),
        (&tls, BUCKET, SECRET_ACCESS_KEY, ErrorKind::Unavailable),
        ("http://nothing.invalid", BUCKET, SECRET_ACCESS_KEY, ErrorKind::Unavailable),
    ] {
        let error = store_at(endpoint, bucket, secret).await.probe().await.expect_err("wrong");
        assert_eq!(error.kind(), kind, "{endpoint} {bucket}: {error}");
        assert!(error.to_string().contains(bucket) && error.to_string().contains("; "), "{error}");
        assert_ne!(error.retry(), Retry::Never, "{error}");
    }
    // Set right, it works: without a prefix and without path style, too.
    let host = endpoint.replace("127.0.0.1", "localhost");
    assert_eq!(store_at(&endpoint, BUCKET, SECRET_ACCESS_KEY).await.probe().await.expect("right").warnings.len(), 0);
    let plain = store_of(&format!("s3://{BUCKET}?endpoint={host}"), SECRET_ACCESS_KEY).await;
    assert_eq!(plain.probe().await.expect("right").warnings.len(), 0);
    put_once(&plain, &key("top.mp4"), &Body::from(noise(10))).await.expect("stored");
    assert!(bench.dir.path().join(BUCKET).join("top.mp4").exists());
}

/// An uploader's requests, not the probe's: each says what to do, and the same store goes on once it is done.
#[tokio::test(flavor = "multi_thread")]
async fn what_is_mended_at_the_store_is_taken_without_a_new_start() {
    let bench = Bench::new();
    let body = Body::from(noise(1_000));
    let later = store_at(&bench.server.endpoint(), "made-later", SECRET_ACCESS_KEY).await;
    // Who only looks must not believe that the object is gone.
    let error = later.head(&key("a.mp4")).await.expect_err("there is no bucket");
    assert_eq!(error.kind(), ErrorKind::Missing, "{error}");
    assert!(error.to_string().contains("made-later") && error.to_string().contains("make the bucket"), "{error}");
    bench.server.make_bucket("made-later").expect("a bucket");
    assert_eq!(later.head(&key("a.mp4")).await.expect("an answer"), None);
    put_once(&later, &key("a.mp4"), &body).await.expect("stored");

    let store = bench.store().await;
    let region = Reply::error(301, "PermanentRedirect").with_header("x-amz-bucket-region", "eu-west-3");
    for (reply, kind, says) in [
        (Reply::error(404, "NoSuchBucket"), ErrorKind::Missing, "make the bucket"),
        (region, ErrorKind::Region, "set region=eu-west-3"),
        (Reply::error(403, "InvalidAccessKeyId"), ErrorKind::Credentials, "AWS_ACCESS_KEY_ID"),
        (Reply::error(403, "SignatureDoesNotMatch"), ErrorKind::Credentials, "AWS_SECRET_ACCESS_KEY"),
        (Reply::error(403, "AccessDenied"), ErrorKind::Denied, "allow s3:PutObject"),
    ] {
        bench.proxy.script(first(1, any_put, &Fault::Reply(reply)));
        let error = put_once(&store, &key("b.mp4"), &body).await.expect_err("it is refused");
        assert_eq!((error.kind(), error.retry()), (kind, Retry::AfterRepair), "{error}");
        assert!(error.to_string().contains(says), "{error}");
        put_once(&store, &key("b.mp4"), &body).await.expect("it is mended");
    }
}
