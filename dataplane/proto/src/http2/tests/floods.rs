//! What attackers do, each met by a limit with a name; and what a connection holds.
use super::super::StreamError;
use super::*;
use crate::limits::{HTTP2_CONTROL_FRAMES_MAX, HTTP2_RESETS_MAX};

/// Repeats what `make` makes until the connection ends; how often that was. Output is taken each time, as a caller does.
fn until(connection: &mut Connection, times: u32, mut make: impl FnMut(u32) -> Vec<u8>) -> (u32, ConnectionError) {
    for n in 0..times {
        if let (_, Some(error)) = feed(connection, &make(n)) {
            assert_eq!(error.code(), ErrorCode::ENHANCE_YOUR_CALM);
            return (n, error);
        }
        connection.poll_output();
        assert!(connection.held_bytes() < 64 << 10, "{}", connection.held_bytes());
    }
    panic!("nothing stops it");
}

fn stream(n: u32) -> u32 {
    2 * n + 1
}

/// CVE-2023-44487.
#[test]
fn rapid_reset() {
    let cancelled = |n: u32| [get(stream(n)), frame(Kind::RstStream, 0, stream(n), &[0, 0, 0, 8])].concat();
    let mut connection = connected(Limits::default());
    assert_eq!(until(&mut connection, 1_000, cancelled), (HTTP2_RESETS_MAX, ConnectionError::Resets));
    // Who also lets requests complete, or takes its time, may go on: a player that seeks.
    let mut connection = connected(Limits::default());
    for n in 0..1_000 {
        fed(&mut connection, &cancelled(2 * n));
        fed(&mut connection, &get(stream(2 * n + 1)));
        connection.respond(StreamId(stream(2 * n + 1)), &ok(), true).unwrap();
    }
    let mut connection = connected(Limits::default());
    for n in 0..1_000 {
        fed(&mut connection, &cancelled(n));
        if n % 50 == 0 {
            connection.tick().unwrap();
        }
    }
}

/// CVE-2025-8671: the peer makes this side reset.
#[test]
fn streams_that_are_broken_again_and_again() {
    let broken: [fn(u32) -> Vec<u8>; 3] = [
        |n| frame(Kind::Headers, flag::END_HEADERS | flag::END_STREAM, stream(n), &block(&GET[1..])),
        |n| [get(stream(n)), frame(Kind::WindowUpdate, 0, stream(n), &[0; 4])].concat(),
        |n| [get(stream(n)), frame(Kind::Priority, 0, stream(n), &[0; 4])].concat(),
    ];
    for make in broken {
        let mut connection = connected(Limits::default());
        assert_eq!(until(&mut connection, 1_000, make), (HTTP2_RESETS_MAX, ConnectionError::Resets));
    }
}

/// CVE-2019-9512, 9514, 9515, 9518 and the like.
#[test]
fn frames_that_bring_nothing() {
    let floods: [fn(u32) -> Vec<u8>; 8] = [
        |_| frame(Kind::Ping, 0, 0, b"12345678"),
        |_| frame(Kind::Settings, 0, 0, b""),
        |_| frame(Kind::Settings, flag::ACK, 0, b""),
        |_| frame(Kind::Priority, 0, 1, b"\0\0\0\x07\x10"),
        |_| frame(Kind::WindowUpdate, 0, 0, b"\0\0\0\x01"),
        |_| frame(Kind::WindowUpdate, 0, 3, b"\0\0\0\x01"),
        |_| frame(Kind::Data, 0, 1, b""),
        |_| raw(0xEE, 0, 0, b""),
    ];
    for make in floods {
        let mut connection = connected(Limits::default());
        fed(&mut connection, &[post(1), post(3)].concat());
        let (times, error) = until(&mut connection, 2_000, make);
        assert!(HTTP2_CONTROL_FRAMES_MAX - times < 3, "{times}");
        assert_eq!((error, error.label()), (ConnectionError::ControlFrames, "http2_control_frames"));
    }
}

/// A viewer that reads in small pieces says much, and what it is sent explains that.
#[test]
fn a_viewer_that_reads_in_small_pieces_is_no_flood() {
    let mut connection = connected(Limits::default());
    fed(&mut connection, &get(1));
    connection.respond(STREAM, &ok(), false).unwrap();
    for _ in 0..1_000 {
        let sent = connection.data(STREAM, 16_384, false).unwrap().unwrap().bytes;
        for _ in 0..sent.div_ceil(512) {
            fed(&mut connection, &frame(Kind::WindowUpdate, 0, 0, &512_u32.to_be_bytes()));
            fed(&mut connection, &frame(Kind::WindowUpdate, 0, 1, &512_u32.to_be_bytes()));
        }
    }
}

#[test]
fn a_peer_that_reads_no_answers() {
    let limits = Limits { control_frames: u32::MAX, ..Limits::default() };
    let mut connection = connected(limits);
    for _ in 0..10_000 {
        if let Err(error) = connection.receive(&frame(Kind::Ping, 0, 0, b"12345678")) {
            assert_eq!(error, ConnectionError::Output);
            assert!(connection.held_bytes() < 80 << 10, "{}", connection.held_bytes());
            return;
        }
    }
    panic!("nothing stops it");
}

/// CVE-2024-27316.
#[test]
fn header_blocks_without_an_end() {
    let mut connection = connected(Limits::default());
    fed(&mut connection, &frame(Kind::Headers, 0, 1, &block(&GET)));
    let (times, error) = until(&mut connection, 100, |_| frame(Kind::Continuation, 0, 1, b""));
    assert_eq!((times, error), (16, ConnectionError::Continuations));

    let mut connection = connected(Limits::default());
    fed(&mut connection, &frame(Kind::Headers, 0, 1, &[0x82; 16_000]));
    let (_, error) = feed(&mut connection, &frame(Kind::Continuation, 0, 1, &[0x82; 1_000]));
    assert_eq!(error, Some(ConnectionError::HeaderBlockLong));
}

#[test]
fn header_lists_that_are_too_long_are_answered() {
    let mut connection = connected(Limits::default());
    let long = "a".repeat(4_000);
    let fields: Vec<_> = GET.iter().copied().chain((0..5).map(|_| ("cookie", &*long))).collect();
    let request = |stream: u32, flags: u8| frame(Kind::Headers, flags, stream, &block(&fields));
    let events = fed(&mut connection, &request(1, flag::END_HEADERS | flag::END_STREAM));
    let reason = ResetReason::Violation(StreamError::HeaderListLong);
    assert_eq!(events, [Event::Reset { stream: STREAM, reason }]);
    let [(head, payload)] = &said(&mut connection)[..] else { panic!("one frame") };
    assert_eq!((head.kind, head.flags), (Kind::Headers, flag::END_HEADERS | flag::END_STREAM));
    let fields = Decoder::default().decode(payload, usize::MAX).unwrap();
    assert!(fields.iter().eq([(&b":status"[..], &b"431"[..])]));
    assert!(connection.is_idle());
    // With a body to come, that is not wanted either.
    fed(&mut connection, &request(3, flag::END_HEADERS));
    let kinds: Vec<_> = said(&mut connection).iter().map(|(head, _)| head.kind).collect();
    assert_eq!(kinds, [Kind::Headers, Kind::RstStream]);
    // Thousands of empty fields (CVE-2019-9516) count 32 bytes each.
    let empty = [block(&GET), b"\x00\x01a\x00".repeat(1_000)].concat();
    let events = fed(&mut connection, &frame(Kind::Headers, flag::END_HEADERS | flag::END_STREAM, 5, &empty));
    assert_eq!(events, [Event::Reset { stream: StreamId(5), reason }]);
}

#[test]
fn bodies_that_are_too_long_are_answered() {
    for answered in [false, true] {
        let mut connection = connected(Limits { body_bytes: 10, ..Limits::default() });
        fed(&mut connection, &post(1));
        if answered {
            connection.respond(STREAM, &ok(), false).unwrap();
        }
        let events =
            fed(&mut connection, &[frame(Kind::Data, 0, 1, b"12345678"), frame(Kind::Data, 0, 1, b"abc")].concat());
        let reason = ResetReason::Violation(StreamError::BodyLong);
        assert_eq!(events[1..], [Event::Reset { stream: STREAM, reason }]);
        let kinds: Vec<_> = said(&mut connection).iter().map(|(head, _)| head.kind).collect();
        let expected: &[Kind] = if answered { &[Kind::RstStream] } else { &[Kind::Headers, Kind::RstStream] };
        assert_eq!(kinds, expected);
    }
}

#[test]
fn nothing_is_read_while_events_wait() {
    let mut connection = connected(Limits::default());
    let wire: Vec<u8> = (0..40).flat_map(|n| get(stream(n))).collect();
    let taken = connection.receive(&wire).unwrap();
    assert_eq!(taken, 16 * get(1).len());
    assert_eq!(connection.receive(&wire[taken..]), Ok(0));
    assert_eq!(fed(&mut connection, b""), []);
    let mut requests = 0;
    while connection.poll_event().is_some() {
        requests += 1;
    }
    assert_eq!((requests, fed(&mut connection, &wire[taken..]).len()), (16, 24));
}

#[test]
fn a_connection_holds_little() {
    let mut connection = Connection::new(Limits::default());
    assert!(connection.held_bytes() <= 1 << 10, "{} when it is new", connection.held_bytes());
    feed(&mut connection, &hello());
    // Requests with a full table, all streams at once, bodies, one in pieces; then a long answer.
    let mut wire = Vec::new();
    for n in 0..100 {
        let mut fields = block(&POST);
        fields.extend_from_slice(b"\x40\x08");
        fields.extend_from_slice(format!("x-{n:06}").as_bytes());
        fields.push((n % 3) as u8);
        fields.extend_from_slice(&b"abc"[..(n % 3) as usize]);
        wire.extend(frame(Kind::Headers, flag::END_HEADERS, stream(n), &fields));
        wire.extend(frame(Kind::Data, flag::END_STREAM, stream(n), &[1; 300]));
    }
    let mut most = 0;
    for piece in wire.chunks(1_000) {
        let mut rest = piece;
        while !rest.is_empty() {
            rest = &rest[connection.receive(rest).unwrap()..];
            most = most.max(connection.held_bytes());
            while connection.poll_event().is_some() {}
        }
    }
    assert_eq!(connection.streams(), 100);
    assert!(most <= 32 << 10, "{most} with 100 streams");
    for n in 1..100 {
        connection.respond(StreamId(stream(n)), &ok(), true).unwrap();
    }
    connection.respond(STREAM, &ok(), false).unwrap();
    while connection.poll_output().is_some() {}
    connection.data(STREAM, 100, false).unwrap();
    connection.data(STREAM, 100, true).unwrap();
    assert!(connection.poll_event().is_none() && connection.is_idle());
    assert!(connection.held_bytes() <= 8 << 10, "{} when it waits", connection.held_bytes());
}

/// One viewer's stream for hours: requests are over, blocks go out, windows are lifted.
#[test]
fn a_viewer_holds_little() {
    let mut connection = connected(Limits::default());
    fed(&mut connection, &get(1));
    connection.respond(STREAM, &ok(), false).unwrap();
    for _ in 0..100 {
        while connection.data(STREAM, 16_384, false).unwrap().is_some() {}
        let lifted = [frame(Kind::WindowUpdate, 0, 0, &[0, 1, 0, 0]), frame(Kind::WindowUpdate, 0, 1, &[0, 1, 0, 0])];
        let events = fed(&mut connection, &lifted.concat());
        assert_eq!(events, [Event::Writable { stream: STREAM }]);
    }
    assert!(connection.held_bytes() <= 2 << 10, "{}", connection.held_bytes());
}
