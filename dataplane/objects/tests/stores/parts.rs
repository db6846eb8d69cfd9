//! Uploads in parts: whole or nothing, and no parts are left behind.
use std::time::{Duration, Instant};

use millstream_objects::{Body, ErrorKind, ObjectStore as _, Retry, Span};
use millstream_test_support::s3::proxy::{Fault, Reply, Request};

use crate::support::{Bench, first, key, noise, put_once, put_until_stored, read};

const MIB: usize = 1024 * 1024;

fn creates(request: &Request) -> bool {
    request.method == "POST" && request.query.contains("uploads")
}

fn part_2(request: &Request) -> bool {
    request.method == "PUT" && request.query.contains("partNumber=2")
}

fn completes(request: &Request) -> bool {
    request.method == "POST" && request.query.contains("uploadId")
}

/// Which requests a fault hits.
type Hits = fn(&Request) -> bool;

#[tokio::test(flavor = "multi_thread")]
async fn an_upload_in_parts_is_whole_or_nothing_and_leaves_no_parts() {
    use ErrorKind::{Damaged, Unavailable};
    let bench = Bench::new();
    let (store, direct) = (bench.store().await, bench.direct().await);
    let bytes = noise(16 * MIB + 200_000);
    let body = Body::from(bytes.clone());
    let slow_down = || Fault::Reply(Reply::error(503, "SlowDown"));
    let faults: [(Hits, Fault, ErrorKind); 11] = [
        (creates, slow_down(), Unavailable),
        (creates, Fault::Reset, Unavailable),
        (part_2, slow_down(), Unavailable),
        (part_2, Fault::Reset, Unavailable),
        (part_2, Fault::StallRequest(1_000), Unavailable),
        (part_2, Fault::CutRequest(100_000), Unavailable),
        (part_2, Fault::LoseAnswer, Unavailable),
        // This server does not look at the sum of a part: the name of the whole tells.
        (part_2, Fault::FlipRequest(100_000), Damaged),
        (completes, slow_down(), Unavailable),
        (completes, Fault::Reply(Reply { status: 200, ..Reply::error(200, "InternalError") }), Unavailable),
        (completes, Fault::Hang, Unavailable),
    ];
    for (n, (meant, fault, kind)) in faults.into_iter().enumerate() {
        let key = key(&format!("parts/{n}.mp4"));
        bench.proxy.script(first(1, meant, &fault));
        let error = put_once(&store, &key, &body).await.expect_err("the fault");
        assert_eq!(error.kind(), kind, "{fault:?}: {error}");
        assert_eq!(error.retry(), Retry::Soon);
        assert_eq!(bench.server.unfinished_uploads().expect("a look"), Vec::<String>::new(), "{fault:?}");
        if kind == Unavailable {
            assert_eq!(direct.head(&key).await.expect("an answer"), None, "{fault:?}");
        }
        assert_eq!(put_until_stored(&store, &key, &body).await, [], "{fault:?}");
        assert_eq!(read(&direct, &key, Span::All).await.expect("the object"), bytes, "{fault:?}");
        assert_eq!(bench.server.unfinished_uploads().expect("a look"), Vec::<String>::new(), "{fault:?}");
    }
    let stored = direct.head(&key("parts/0.mp4")).await.expect("an answer").expect("an object");
    assert_eq!(stored.crc32.map(|sum| sum.0), Some(crc32fast::hash(&bytes)));
    assert_eq!(
        (stored.content_type.as_str(), stored.cache_control.as_deref()),
        ("video/mp4", Some("public, max-age=60"))
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_to_the_last_request_of_an_upload_that_is_lost_may_have_been_a_success() {
    let bench = Bench::new();
    let (store, direct) = (bench.store().await, bench.direct().await);
    let bytes = noise(17 * MIB);
    bench.proxy.script(first(1, completes, &Fault::LoseAnswer));
    let error = put_once(&store, &key("lost.mp4"), &Body::from(bytes.clone())).await.expect_err("the fault");
    assert_eq!(error.kind(), ErrorKind::Unavailable);
    // The abort that follows harms it not.
    assert_eq!(read(&direct, &key("lost.mp4"), Span::All).await.expect("the object"), bytes);
    assert_eq!(put_until_stored(&store, &key("lost.mp4"), &Body::from(bytes)).await, []);
    assert_eq!(bench.server.unfinished_uploads().expect("a look"), Vec::<String>::new());
}

#[tokio::test(flavor = "multi_thread")]
async fn an_upload_that_its_caller_gives_up_is_aborted() {
    let bench = Bench::new();
    let store = bench.store().await;
    bench.proxy.script(first(1, part_2, &Fault::StallRequest(1_000)));
    let (key, body) = (key("given-up.mp4"), Body::from(noise(17 * MIB)));
    let put = put_once(&store, &key, &body);
    let stalled = async {
        while !bench.proxy.requests().iter().any(part_2) {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        assert_ne!(bench.server.unfinished_uploads().expect("a look"), Vec::<String>::new());
    };
    tokio::select! {
        result = put => panic!("it was not given up: {result:?}"),
        () = stalled => {}
    }
    let deadline = Instant::now() + Duration::from_secs(10);
    while !bench.server.unfinished_uploads().expect("a look").is_empty() {
        assert!(Instant::now() < deadline, "the upload is still there");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    assert_eq!(store.head(&key).await.expect("an answer"), None);
}

/// What a kill leaves at the store: an upload that nobody remembers.
#[tokio::test(flavor = "multi_thread")]
async fn uploads_that_were_left_behind_are_swept_when_they_are_old() {
    let bench = Bench::new();
    let (store, direct) = (bench.store().await, bench.direct().await);
    // The answer that names the upload is lost: as if killed.
    bench.proxy.script(first(2, creates, &Fault::LoseAnswer));
    for name in ["old.mp4", "young.mp4"] {
        put_once(&store, &key(name), &Body::from(noise(17 * MIB))).await.expect_err("the fault");
    }
    let unfinished = bench.server.unfinished_uploads().expect("a look");
    let ids: Vec<&str> = unfinished.iter().filter_map(|n| n.strip_prefix(".upload-")?.strip_suffix(".json")).collect();
    let [old, young] = *ids else { panic!("{unfinished:?}") };
    // The server itself cannot list uploads: that is no error.
    assert_eq!(direct.sweep(Duration::ZERO).await.expect("nothing to sweep"), 0);
    let upload = |key: &str, id: &str, initiated: &str| {
        format!("<Upload><Key>{key}</Key><UploadId>{id}</UploadId><Initiated>{initiated}</Initiated></Upload>")
    };
    let listed = format!(
        "<?xml version=\"1.0\"?><ListMultipartUploadsResult><IsTruncated>false</IsTruncated>{}{}{}</ListMultipartUploadsResult>",
        upload("a/prefix/old.mp4", old, "2020-01-01T00:00:00.000Z"),
        upload("a/prefix/young.mp4", young, "2999-01-01T00:00:00.000Z"),
        upload("of-others/old.mp4", young, "2020-01-01T00:00:00.000Z"),
    );
    bench.proxy.script(move |request| {
        let lists = request.method == "GET" && request.query.contains("uploads");
        lists.then(|| Fault::Reply(Reply::new(200, listed.clone())))
    });
    assert_eq!(store.sweep(Duration::from_hours(24)).await.expect("swept"), 1);
    let left = bench.server.unfinished_uploads().expect("a look");
    assert!(left.len() == 1 && left[0].contains(young), "{left:?}");
}
