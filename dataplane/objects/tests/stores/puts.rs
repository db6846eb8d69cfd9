//! Puts in one request: each fault is overcome by trying again, and nothing half is ever there.
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use millstream_objects::{Body, ErrorKind, Key, ObjectStore as _, Span, confirm};
use millstream_test_support::s3::proxy::{Fault, Reply};

use crate::support::{Bench, any_put, first, key, noise, put_once, put_until_stored, read};

fn etag_of_others() -> String {
    format!("\"{}\"", "0123456789abcdef".repeat(2))
}

#[tokio::test(flavor = "multi_thread")]
async fn every_fault_of_a_put_is_overcome_by_trying_again() {
    use ErrorKind::{Damaged, Unavailable};
    let bench = Bench::new();
    let (store, direct) = (bench.store().await, bench.direct().await);
    let bytes = noise(300_000);
    let body = Body::from(bytes.clone());
    // The fault, what the uploader sees each time, and whether the server may have the object after it.
    let faults = [
        (Fault::Reply(Reply::error(503, "SlowDown")), Some(Unavailable), false),
        (Fault::Reply(Reply::error(503, "SlowDown").early()), Some(Unavailable), false),
        (Fault::Reply(Reply::error(500, "InternalError")), Some(Unavailable), false),
        (Fault::Reply(Reply::new(502, "<html>Bad Gateway</html>")), Some(Unavailable), false),
        (Fault::Reply(Reply::new(429, "")), Some(Unavailable), false),
        (Fault::Hang, Some(Unavailable), false),
        (Fault::StallRequest(1_000), Some(Unavailable), false),
        (Fault::Reset, Some(Unavailable), false),
        (Fault::CutRequest(0), Some(Unavailable), false),
        (Fault::CutRequest(299_999), Some(Unavailable), false),
        (Fault::LoseAnswer, Some(Unavailable), true),
        // This server has stored what came when it finds that it is something else.
        (Fault::FlipRequest(77_777), Some(Damaged), true),
        // Success that is none.
        (Fault::Reply(Reply::new(200, "")), Some(Damaged), false),
        (Fault::Reply(Reply::new(200, "").with_header("etag", &etag_of_others())), Some(Damaged), false),
    ];
    for (n, (fault, kind, stored)) in faults.into_iter().enumerate() {
        let key = key(&format!("faults/{n}.mp4"));
        bench.proxy.script(first(1, any_put, &fault));
        let result = put_once(&store, &key, &body).await;
        assert_eq!(result.as_ref().err().map(millstream_objects::ObjectError::kind), kind, "{fault:?}: {result:?}");
        if !stored {
            assert_eq!(direct.head(&key).await.expect("an answer"), None, "{fault:?}");
        }
        bench.proxy.script(first(2, any_put, &fault));
        assert_eq!(put_until_stored(&store, &key, &body).await, vec![kind.expect("a kind"); 2], "{fault:?}");
        assert_eq!(read(&direct, &key, Span::All).await.expect("the object"), bytes, "{fault:?}");
    }
    let page = direct.list(None, None, 100).await.expect("a page");
    assert_eq!(page.objects.len(), 14);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_failed_put_is_one_request_and_not_repeated_behind_the_callers_back() {
    let bench = Bench::new();
    let store = bench.store().await;
    for fault in [Fault::Reply(Reply::error(503, "SlowDown")), Fault::Reset, Fault::LoseAnswer] {
        bench.proxy.script(first(9, |_| true, &fault));
        let before = bench.proxy.requests().len();
        put_once(&store, &key("once.mp4"), &Body::from(noise(1_000))).await.expect_err("the fault");
        assert_eq!(bench.proxy.requests().len(), before + 1, "{fault:?}");
        store.head(&key("once.mp4")).await.expect_err("the fault");
        assert_eq!(bench.proxy.requests().len(), before + 2, "{fault:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_that_names_another_md5_is_believed_only_when_the_content_is_right() {
    let bench = Bench::new();
    let store = bench.store().await;
    let body = Body::from(noise(1_000));
    // A server that names objects by something else is found out once, and then no more asked for the content.
    bench.proxy.script(|request| any_put(request).then(|| Fault::Header("etag", etag_of_others())));
    for name in ["1.mp4", "2.mp4", "3.mp4"] {
        put_once(&store, &key(name), &body).await.expect("stored");
    }
    let gets = bench.proxy.requests().iter().filter(|request| request.method == "GET").count();
    assert_eq!(gets, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_object_of_no_bytes_after_success_is_noticed_before_the_last_copy_is_gone() {
    let bench = Bench::new();
    let (store, direct) = (bench.store().await, bench.direct().await);
    let key = key("zero.mp4");
    let body = Body::from(noise(1_000));
    put_once(&direct, &key, &Body::default()).await.expect("an empty object");
    bench.proxy.script(first(1, any_put, &Fault::Reply(Reply::new(200, ""))));
    let error = put_once(&store, &key, &body).await.expect_err("it is empty");
    assert_eq!(error.kind(), ErrorKind::Damaged);
    assert!(error.to_string().contains("0 bytes of 1000"), "{error}");
    assert_eq!(put_until_stored(&store, &key, &body).await, []);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_head_that_lies_about_the_length_is_not_believed() {
    let bench = Bench::new();
    let store = bench.store().await;
    let body = Body::from(noise(1_000));
    for length in ["999", "1001", "0"] {
        let fault = Fault::Header("content-length", length.to_owned());
        bench.proxy.script(first(2, |request| request.method == "HEAD", &fault));
        let kinds = put_until_stored(&store, &key("lie.mp4"), &body).await;
        assert_eq!(kinds, [ErrorKind::Damaged; 2], "{length}");
    }
    for lost in [Fault::Reply(Reply::new(503, "")), Fault::Reset, Fault::Hang] {
        bench.proxy.script(first(1, |request| request.method == "HEAD", &lost));
        assert_eq!(put_until_stored(&store, &key("lie.mp4"), &body).await, [ErrorKind::Unavailable], "{lost:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn ten_minutes_of_503_lose_nothing_and_keep_the_order() {
    let bench = Bench::new();
    let (store, direct) = (bench.store().await, bench.direct().await);
    let failed = Arc::new(AtomicUsize::new(0));
    let counting = Arc::clone(&failed);
    // Every second request fails in another way, whatever it is.
    bench.proxy.script(move |request| {
        (request.number % 2 == 0).then(|| match counting.fetch_add(1, Ordering::Relaxed) % 4 {
            0 => Fault::Reply(Reply::error(503, "SlowDown")),
            1 => Fault::Reset,
            2 => Fault::LoseAnswer,
            _ => Fault::CutRequest(500),
        })
    });
    let objects: Vec<(Key, Vec<u8>)> = (0..40).map(|n| (key(&format!("o/{n:03}.m4s")), noise(1_000 + n))).collect();
    for (key, bytes) in &objects {
        put_until_stored(&store, key, &Body::from(bytes.clone())).await;
    }
    assert!(failed.load(Ordering::Relaxed) >= 20);
    for (key, bytes) in &objects {
        assert_eq!(read(&direct, key, Span::All).await.expect("the object"), *bytes);
        confirm(&direct, key, Body::from(bytes.clone()).sums().expect("sums")).await.expect("it is there");
    }
    let listed = direct.list(None, None, 100).await.expect("a page").objects;
    assert_eq!(listed.iter().map(|o| &o.key).collect::<Vec<_>>(), objects.iter().map(|(k, _)| k).collect::<Vec<_>>());
}
