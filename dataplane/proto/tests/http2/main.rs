//! The server's end of HTTP/2 against the client of another implementation, over a pipe in memory.
mod fixture;

use bytes::Bytes;
use fixture::{body, get, pair, post, whole, within};
use h2::client::Builder;
use http::HeaderValue;
use millstream_proto::http2::{ErrorCode, Limits, ResetReason, StreamError};

#[tokio::test]
async fn requests_one_after_the_other_and_all_at_once() {
    let mut pair = pair(Limits::default(), &Builder::new()).await;
    for bytes in [0, 1, 1_000, 16_384, 16_385] {
        assert_eq!(pair.ask(get(&format!("/whole/{bytes}"))).await.unwrap(), (200, body(bytes)));
    }
    assert_eq!(pair.ask(get("/other")).await.unwrap().0, 404);
    assert_eq!(pair.ask(get("/a/../b")).await.unwrap().0, 400, "paths have the rules of HTTP/1");
    let mut answers = Vec::new();
    for n in 0..90 {
        let client = pair.client.clone();
        answers.push(tokio::spawn(async move {
            let mut client = client.ready().await.unwrap();
            let (response, _) = client.send_request(get(&format!("/whole/{}", n * 1_000)), true).unwrap();
            whole(response.await.unwrap()).await.unwrap()
        }));
    }
    for (n, answer) in answers.into_iter().enumerate() {
        assert_eq!(within(answer).await.unwrap(), (200, body(n * 1_000)), "{n}");
    }
    let seen = pair.end().await;
    assert_eq!(seen.requests, 97);
    assert!(seen.streams_max > 10 && seen.held_bytes_max < 32 << 10, "{seen:?}");
}

#[tokio::test]
async fn a_large_body_through_small_windows() {
    for (window, bytes) in [(1, 500), (100, 50_000), (3_000, 1 << 20), (1 << 20, 8 << 20)] {
        let mut builder = Builder::new();
        builder.initial_window_size(window).max_frame_size(20_000);
        let mut pair = pair(Limits::default(), &builder).await;
        assert_eq!(pair.ask(get(&format!("/whole/{bytes}"))).await.unwrap(), (200, body(bytes)), "{window}");
        let seen = pair.end().await;
        assert!(seen.writable > 0 && seen.frames >= bytes / 16_384, "{window}: {seen:?}");
    }
}

#[tokio::test]
async fn streams_share_a_small_connection_window() {
    let mut builder = Builder::new();
    builder.initial_window_size(1 << 20).initial_connection_window_size(65_535);
    let mut pair = pair(Limits::default(), &builder).await;
    let mut answers = Vec::new();
    for _ in 0..8 {
        pair.client = pair.client.clone().ready().await.unwrap();
        answers.push(pair.client.send_request(get("/whole/200000"), true).unwrap().0);
    }
    let tasks: Vec<_> =
        answers.into_iter().map(|answer| tokio::spawn(async { whole(answer.await.unwrap()).await })).collect();
    for task in tasks {
        assert_eq!(within(task).await.unwrap().unwrap(), (200, body(200_000)));
    }
    assert!(pair.end().await.writable > 8);
}

#[tokio::test]
async fn bodies_and_trailers_of_requests() {
    let mut pair = pair(Limits { body_bytes: 1 << 20, ..Limits::default() }, &Builder::new()).await;
    for bytes in [0, 1, 16_384, 300_000] {
        let mut trailers = http::HeaderMap::new();
        trailers.insert("x-sum", HeaderValue::from_static("1"));
        assert_eq!(pair.ask_with(post("/echo"), body(bytes), None).await.unwrap(), (200, body(bytes)));
        assert_eq!(pair.ask_with(post("/echo"), body(bytes), Some(trailers)).await.unwrap(), (200, body(bytes)));
    }
    pair.end().await;
}

#[tokio::test]
async fn a_body_that_is_too_long_or_not_wanted() {
    let mut pair = pair(Limits::default(), &Builder::new()).await;
    let answer = pair.ask_with(post("/echo"), body(200_000), None).await.unwrap();
    assert_eq!(answer.0, 413);
    let mut request = post("/echo");
    request.headers_mut().insert("content-length", HeaderValue::from_static("200000"));
    assert_eq!(pair.ask_with(request, body(200_000), None).await.unwrap().0, 413);
    assert_eq!(pair.ask_with(post("/early"), body(60_000), None).await.unwrap().0, 404);
    assert_eq!(pair.ask(get("/whole/5")).await.unwrap(), (200, body(5)), "the connection goes on");
    pair.end().await;
}

#[tokio::test]
async fn resets_of_both_sides() {
    let mut pair = pair(Limits::default(), &Builder::new()).await;
    let error = pair.ask(get("/reset")).await.unwrap_err();
    assert_eq!(error.reason(), Some(h2::Reason::INTERNAL_ERROR));
    for _ in 0..30 {
        pair.client = pair.client.clone().ready().await.unwrap();
        let (response, mut stream) = pair.client.send_request(get("/whole/1000000"), true).unwrap();
        let mut response = within(response).await.unwrap();
        let first = within(response.body_mut().data()).await.unwrap().unwrap();
        assert!(!first.is_empty());
        stream.send_reset(h2::Reason::CANCEL);
        drop(response);
        assert_eq!(pair.ask(get("/whole/20000")).await.unwrap(), (200, body(20_000)));
    }
    let seen = pair.end().await;
    assert_eq!(seen.resets, vec![ResetReason::Peer(ErrorCode::CANCEL); 30]);
}

#[tokio::test]
async fn large_headers_in_continuations_and_cookies_in_crumbs() {
    let limits = Limits { header_list_bytes: 64 << 10, header_block_bytes: 64 << 10, ..Limits::default() };
    let mut pair = pair(limits, &Builder::new()).await;
    let mut request = get("/fields");
    let long: String = (0..40_000_u32).map(|n| char::from(b'!' + (n * n % 90) as u8)).collect();
    request.headers_mut().insert("x-long", HeaderValue::from_str(&long).unwrap());
    for n in 0..40 {
        request.headers_mut().append("x-many", HeaderValue::from(n));
    }
    // Of one head and of the next, which finds some of it in the table.
    for _ in 0..3 {
        assert_eq!(pair.ask(request.clone()).await.unwrap(), (200, Bytes::from("45")));
    }
    let mut request = get("/cookie");
    for cookie in ["a=b", "c=d", "e=f"] {
        request.headers_mut().append("cookie", HeaderValue::from_static(cookie));
    }
    assert_eq!(pair.ask(request).await.unwrap(), (200, Bytes::from("a=b; c=d; e=f")));
    pair.end().await;
}

#[tokio::test]
async fn headers_that_are_too_long() {
    let mut pair = pair(Limits { header_block_bytes: 64 << 10, ..Limits::default() }, &Builder::new()).await;
    let mut request = get("/fields");
    request.headers_mut().insert("x-long", HeaderValue::from_str(&"a".repeat(17_000)).unwrap());
    assert_eq!(pair.ask(request).await.unwrap().0, 431);
    let mut many = get("/fields");
    for n in 0..70 {
        many.headers_mut().append("x-many", HeaderValue::from(n));
    }
    assert_eq!(pair.ask(many).await.unwrap().0, 431, "as many headers as HTTP/1 allows");
    assert_eq!(pair.ask(get("/whole/5")).await.unwrap(), (200, body(5)));
    let seen = pair.end().await;
    assert_eq!(seen.resets, [ResetReason::Violation(StreamError::HeaderListLong)]);
}

#[tokio::test]
async fn clients_without_a_table() {
    for table_bytes in [0, 100, 4_096, 65_536] {
        let mut builder = Builder::new();
        builder.header_table_size(table_bytes);
        let mut pair = pair(Limits::default(), &builder).await;
        for _ in 0..5 {
            assert_eq!(pair.ask(get("/whole/10")).await.unwrap(), (200, body(10)), "{table_bytes}");
        }
        pair.end().await;
    }
}

#[tokio::test]
async fn pings_and_settings_while_a_body_goes() {
    let (near, far) = tokio::io::duplex(4_000);
    let server = tokio::spawn(fixture::serve(far, Limits::default()));
    let mut builder = Builder::new();
    builder.initial_window_size(1_000);
    let (client, mut connection) = builder.handshake(near).await.unwrap();
    let mut pings = connection.ping_pong().unwrap();
    // The connection has to be driven and told of another window at once.
    let (widen, mut widened) = tokio::sync::mpsc::channel::<u32>(4);
    let connection = tokio::spawn(async move {
        let mut open = true;
        loop {
            tokio::select! {
                over = &mut connection => return over,
                size = widened.recv(), if open => match size {
                    Some(size) => connection.set_initial_window_size(size).unwrap(),
                    None => open = false,
                },
            }
        }
    });
    let mut pair = fixture::Pair { client, connection, server };
    // The settings that it began with are acknowledged by then.
    within(pings.ping(h2::Ping::opaque())).await.unwrap();
    for size in [70_000, 500, 1 << 20] {
        let (response, _) = pair.client.send_request(get("/whole/300000"), true).unwrap();
        widen.send(size).await.unwrap();
        let all = tokio::spawn(async { whole(response.await.unwrap()).await });
        within(pings.ping(h2::Ping::opaque())).await.unwrap();
        assert_eq!(within(all).await.unwrap().unwrap(), (200, body(300_000)), "{size}");
        pair.client = pair.client.clone().ready().await.unwrap();
    }
    drop(widen);
    pair.end().await;
}

#[tokio::test]
async fn a_client_keeps_to_the_number_of_streams() {
    let mut pair = pair(Limits { streams: 3, ..Limits::default() }, &Builder::new()).await;
    assert_eq!(pair.ask(get("/whole/5")).await.unwrap().0, 200);
    let mut answers = Vec::new();
    for _ in 0..20 {
        let client = pair.client.clone();
        answers.push(tokio::spawn(async move {
            let (response, _) = client.ready().await.unwrap().send_request(get("/whole/70000"), true).unwrap();
            whole(response.await.unwrap()).await.unwrap()
        }));
    }
    for answer in answers {
        assert_eq!(within(answer).await.unwrap(), (200, body(70_000)));
    }
    let seen = pair.end().await;
    assert_eq!((seen.streams_max, seen.resets.len()), (3, 0));
}

#[tokio::test]
async fn a_drain_ends_well() {
    let mut pair = pair(Limits::default(), &Builder::new()).await;
    pair.client = pair.client.clone().ready().await.unwrap();
    let (first, _) = pair.client.send_request(get("/whole/500000"), true).unwrap();
    let first = tokio::spawn(async { whole(within(first).await.unwrap()).await });
    assert_eq!(pair.ask(get("/drain")).await.unwrap(), (200, body(100_000)));
    assert_eq!(within(first).await.unwrap().unwrap(), (200, body(500_000)));
    let seen = pair.end().await;
    assert_eq!((seen.requests, seen.resets.len()), (2, 0));
}
