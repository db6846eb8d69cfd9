//! Reads, signed addresses and listings: never as if whole where it is not.
use std::time::Duration;

use millstream_objects::{Body, ErrorKind, ObjectStore as _, Retry, Span};
use millstream_test_support::s3::proxy::{Fault, Reply, Request};

use crate::support::{BUCKET, Bench, first, http_get, key, noise, put_once, read};

#[tokio::test(flavor = "multi_thread")]
async fn a_read_that_is_cut_or_changed_ends_with_an_error_and_never_as_if_whole() {
    use ErrorKind::{Damaged, Refused, Unavailable};
    let bench = Bench::new();
    let store = bench.store().await;
    let (key, bytes) = (key("r.mp4"), noise(500_000));
    put_once(&store, &key, &Body::from(bytes.clone())).await.expect("stored");
    let gets = |request: &Request| request.method == "GET";
    for (fault, kind) in [
        (Fault::Reply(Reply::error(503, "SlowDown")), Unavailable),
        (Fault::Reset, Unavailable),
        (Fault::Hang, Unavailable),
        (Fault::CutAnswer(0), Unavailable),
        (Fault::CutAnswer(499_999), Unavailable),
        (Fault::StallAnswer(250_000), Unavailable),
        (Fault::FlipAnswer(250_000), Damaged),
        (Fault::Header("content-length", "500001".to_owned()), Unavailable),
        (Fault::Header("content-length", "499999".to_owned()), Damaged),
    ] {
        bench.proxy.script(first(1, gets, &fault));
        let error = read(&store, &key, Span::All).await.expect_err("the fault");
        assert_eq!((error.kind(), error.retry()), (kind, Retry::Soon), "{fault:?}: {error}");
        assert_eq!(read(&store, &key, Span::All).await.expect("the object"), bytes, "{fault:?}");
    }
    for (fault, kind) in [
        (Fault::CutAnswer(10), Unavailable),
        // A server that gives all where a part is asked for, and one that gives another part.
        (Fault::Reply(Reply::new(200, "all of it")), Refused),
        (Fault::Header("content-range", "bytes 0-99/500000".to_owned()), Refused),
        (Fault::Header("content-range", "nonsense".to_owned()), Refused),
    ] {
        bench.proxy.script(first(1, gets, &fault));
        let error = read(&store, &key, Span::Within(100, 299)).await.expect_err("the fault");
        assert_eq!(error.kind(), kind, "{fault:?}: {error}");
        assert_eq!(read(&store, &key, Span::Within(100, 299)).await.expect("the part"), &bytes[100..300]);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn who_stops_reading_stops_the_transfer() {
    let bench = Bench::new();
    let direct = bench.direct().await;
    let key = key("big.mp4");
    put_once(&direct, &key, &Body::from(noise(64 << 20))).await.expect("stored");
    let reading = direct.get(&key, Span::All).await.expect("an object");
    drop(reading);
    assert_eq!(read(&direct, &key, Span::Last(5)).await.expect("the end").len(), 5);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_presigned_address_is_read_by_plain_http_and_by_ranges() {
    let bench = Bench::new();
    let direct = bench.direct().await;
    let (key, bytes) = (key("live/mp4/2026/1/2/1767312000000.mp4"), noise(100_000));
    put_once(&direct, &key, &Body::from(bytes.clone())).await.expect("stored");
    let url = direct.presign(&key, Duration::from_mins(10)).await.expect("signed").expect("S3 signs");
    let (status, head, body) = http_get(url.expose(), None);
    assert_eq!(status, 200, "{head}");
    assert_eq!(body, bytes);
    assert!(head.to_ascii_lowercase().contains("content-type: video/mp4"), "{head}");
    assert!(head.to_ascii_lowercase().contains("cache-control: public, max-age=60"), "{head}");
    let (status, head, body) = http_get(url.expose(), Some("1000-1999"));
    assert_eq!((status, &*body), (206, &bytes[1_000..2_000]), "{head}");
    // Another object, or a changed signature, is refused.
    let other = url.expose().replace("1767312000000", "1767312000001");
    assert_eq!(http_get(&other, None).0, 403);
    let (before, signature) = url.expose().split_once("X-Amz-Signature=").expect("a signature");
    let changed = if signature.starts_with('0') { "1" } else { "0" };
    assert_eq!(http_get(&format!("{before}X-Amz-Signature={changed}{}", &signature[1..]), None).0, 403);
    for wrong in [Duration::ZERO, Duration::from_hours(192)] {
        assert_eq!(direct.presign(&key, wrong).await.expect_err("refused").kind(), ErrorKind::Invalid);
    }
    let short = direct.presign(&key, Duration::from_secs(1)).await.expect("signed").expect("S3 signs");
    tokio::time::sleep(Duration::from_millis(2_500)).await;
    assert_eq!(http_get(short.expose(), None).0, 403);
}

#[tokio::test(flavor = "multi_thread")]
async fn keys_of_others_in_the_bucket_are_not_listed_and_do_not_end_a_page() {
    let bench = Bench::new();
    let direct = bench.direct().await;
    let below = bench.dir.path().join(BUCKET).join("a/prefix");
    std::fs::create_dir_all(&below).expect("a directory");
    for n in 0..50 {
        std::fs::write(below.join(format!("a file of others {n}")), "x").expect("written");
    }
    std::fs::write(bench.dir.path().join(BUCKET).join("a/prefixed"), "x").expect("written");
    put_once(&direct, &key("z.mp4"), &Body::from(noise(10))).await.expect("stored");
    let page = direct.list(None, None, 7).await.expect("a page");
    assert_eq!(page.objects.iter().map(|object| object.key.as_str()).collect::<Vec<_>>(), ["z.mp4"]);
    assert_eq!(page.next, None);
}
