//! Flow control in both directions.
use super::*;

fn window_update(stream: u32, increment: u32) -> Vec<u8> {
    frame(Kind::WindowUpdate, 0, stream, &increment.to_be_bytes())
}

fn initial_window(bytes: u32) -> Vec<u8> {
    frame(Kind::Settings, 0, 0, &[&b"\0\x04"[..], &bytes.to_be_bytes()].concat())
}

/// Requests on the first streams, with heads that went.
fn answering(streams: u32) -> Connection {
    let mut connection = connected(Limits::default());
    for n in 0..streams {
        fed(&mut connection, &get(2 * n + 1));
        connection.respond(StreamId(2 * n + 1), &ok(), false).unwrap();
    }
    connection
}

fn sent(connection: &mut Connection, stream: u32, bytes: usize) -> usize {
    connection.data(StreamId(stream), bytes, false).unwrap().map_or(0, |frame| frame.bytes)
}

#[test]
fn a_stream_waits_for_its_own_window() {
    let mut connection = answering(2);
    fed(&mut connection, &[initial_window(10), window_update(1, 5)].concat());
    assert_eq!(sent(&mut connection, 1, 100), 15);
    assert_eq!((connection.writable(STREAM), sent(&mut connection, 1, 85)), (0, 0));
    assert_eq!(sent(&mut connection, 3, 10), 10);
    assert_eq!(fed(&mut connection, &window_update(3, 1)), [], "it did not ask for more");
    assert_eq!(fed(&mut connection, &window_update(0, 100)), []);
    assert_eq!(fed(&mut connection, &window_update(1, 7)), [Event::Writable { stream: STREAM }]);
    assert_eq!(fed(&mut connection, &window_update(1, 1)), [], "told once");
    assert_eq!((connection.writable(STREAM), sent(&mut connection, 1, 85)), (8, 8));
}

/// RFC 9113, 6.9.2: a window may be negative.
#[test]
fn a_setting_takes_back() {
    let mut connection = answering(1);
    assert_eq!(sent(&mut connection, 1, 1_000), 1_000);
    fed(&mut connection, &initial_window(100));
    assert_eq!((connection.writable(STREAM), sent(&mut connection, 1, 1)), (0, 0));
    assert_eq!(fed(&mut connection, &window_update(1, 900)), [], "still none");
    assert_eq!(fed(&mut connection, &window_update(1, 1)), [Event::Writable { stream: STREAM }]);
    assert_eq!(sent(&mut connection, 1, 5), 1);
    assert_eq!(fed(&mut connection, &initial_window(101)), [Event::Writable { stream: STREAM }]);
    assert_eq!(connection.writable(STREAM), 1);
    // New streams begin with it.
    fed(&mut connection, &get(3));
    assert_eq!(connection.writable(StreamId(3)), 101);
}

#[test]
fn streams_share_the_connection_s_window_in_turn() {
    let mut connection = answering(3);
    let wide: Vec<_> = [1, 3, 5].map(|stream| window_update(stream, 1 << 20)).concat();
    fed(&mut connection, &wide);
    let mut total = 0;
    for stream in [1, 3, 5, 1, 3] {
        total += sent(&mut connection, stream, 100_000);
    }
    assert_eq!(total, 65_535);
    assert_eq!([1, 3, 5].map(|stream| sent(&mut connection, stream, 100_000)), [0; 3]);
    let mut order = Vec::new();
    for _ in 0..2 {
        let mut take = |events: Vec<Event>, connection: &mut Connection| {
            for event in events {
                let Event::Writable { stream } = event else { panic!("{event:?}") };
                order.push((stream.0, sent(connection, stream.0, 100_000)));
            }
        };
        // One frame each, as a caller that serves in turn does.
        let mut window = window_update(0, 30_000);
        while !window.is_empty() {
            connection.receive(&window).unwrap();
            window.clear();
            while let Some(event) = connection.poll_event() {
                take(vec![event], &mut connection);
            }
        }
    }
    assert_eq!(order, [(1, 16_384), (3, 13_616), (5, 16_384), (1, 13_616)]);
}

#[test]
fn a_body_s_end_needs_no_window() {
    let mut connection = answering(1);
    fed(&mut connection, &initial_window(0));
    assert_eq!(connection.data(STREAM, 10, true), Ok(None));
    let end = connection.data(STREAM, 0, true).unwrap().unwrap();
    assert_eq!((end.bytes, end.end), (0, true));
    assert!(connection.is_idle() || connection.poll_output().is_some());
}

#[test]
fn an_end_goes_with_the_last_byte_only() {
    let mut connection = answering(1);
    fed(&mut connection, &initial_window(0));
    fed(&mut connection, &window_update(1, 3));
    let mut out = BytesMut::new();
    assert_eq!(connection.data_copied(STREAM, b"abcdef", true, &mut out), Ok(3));
    assert_eq!(&out.split()[..], b"\0\0\x03\0\0\0\0\0\x01abc");
    assert_eq!(fed(&mut connection, &window_update(1, 10)), [Event::Writable { stream: STREAM }]);
    assert_eq!(connection.data_copied(STREAM, b"def", true, &mut out), Ok(3));
    assert_eq!(&out[..], b"\0\0\x03\0\x01\0\0\0\x01def");
}

#[test]
fn frames_are_no_longer_than_is_asked_for() {
    let limits = Limits { data_frame_bytes: 1_000, ..Limits::default() };
    let mut connection = connected(limits);
    fed(&mut connection, &get(1));
    connection.respond(STREAM, &ok(), false).unwrap();
    assert_eq!(sent(&mut connection, 1, 5_000), 1_000);
    assert_eq!(fed(&mut connection, &window_update(0, 1)), [], "a full frame is no reason to wait");
    let mut wider = answering(1);
    fed(&mut wider, &frame(Kind::Settings, 0, 0, b"\0\x05\0\xff\xff\xff"));
    assert_eq!(sent(&mut wider, 1, 60_000), 16_384, "the peer would take more");
}

#[test]
fn what_is_taken_may_be_sent_again() {
    let mut connection = connected(Limits::default());
    fed(&mut connection, &post(1));
    let piece = frame(Kind::Data, 0, 1, &[7; 16_000]);
    assert_eq!(connection.receive(&piece), Ok(piece.len()));
    assert_eq!(connection.receive(&piece), Ok(piece.len()));
    assert_eq!(connection.receive(&piece), Ok(piece.len()));
    assert_eq!(said(&mut connection), [], "nothing is taken yet");
    while connection.poll_event().is_some() {}
    let increments: Vec<_> =
        said(&mut connection).iter().map(|(head, payload)| (head.kind, head.stream, payload.clone())).collect();
    let expected = |stream| (Kind::WindowUpdate, stream, 48_000_u32.to_be_bytes().to_vec());
    assert_eq!(increments, [expected(0), expected(1)]);
}

#[test]
fn more_than_the_window_is_refused() {
    let mut connection = connected(Limits { body_bytes: 1 << 30, ..Limits::default() });
    let piece = frame(Kind::Data, 0, 1, &[7; 16_384]);
    assert_eq!(connection.receive(&post(1)), Ok(post(1).len()));
    for _ in 0..3 {
        connection.receive(&piece).unwrap();
    }
    assert_eq!(connection.receive(&piece), Err(ConnectionError::WindowPassed));
    assert!(connection.held_bytes() < 128 << 10, "{}", connection.held_bytes());
}
