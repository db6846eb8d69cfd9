//! A connection as clients drive it: what these tests share, and the life of requests. `cases` holds the rules of the RFC, `floods` what
//! attackers do, `windows` flow control, `splits` random pieces and damage.
mod cases;
mod floods;
mod splits;
mod windows;

use bytes::BytesMut;

use super::frame::{HEAD_BYTES, Head, Kind, PREFACE, flag};
use super::hpack::{Decoder, encode_field};
use super::{Connection, ConnectionError, ErrorCode, Event, HeadBlock, Limits, ResetReason, SendError, StreamId};
use crate::limits::HTTP2_SETTINGS_TICKS_MAX;

/// A frame of the peer.
fn frame(kind: Kind, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    raw(kind as u8, flags, stream, payload)
}

fn raw(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let [_, length @ ..] = (payload.len() as u32).to_be_bytes();
    [&length[..], &[kind, flags], &stream.to_be_bytes(), payload].concat()
}

fn block(fields: &[(&str, &str)]) -> Vec<u8> {
    let mut block = Vec::new();
    for (name, value) in fields {
        encode_field(&mut block, name.as_bytes(), value.as_bytes());
    }
    block
}

const GET: [(&str, &str); 4] =
    [(":method", "GET"), (":scheme", "https"), (":path", "/cam/live.flv"), (":authority", "a")];
const POST: [(&str, &str); 4] =
    [(":method", "POST"), (":scheme", "https"), (":path", "/cam/grant"), (":authority", "a")];

/// A request without a body.
fn get(stream: u32) -> Vec<u8> {
    frame(Kind::Headers, flag::END_HEADERS | flag::END_STREAM, stream, &block(&GET))
}

/// The head of a request with a body.
fn post(stream: u32) -> Vec<u8> {
    frame(Kind::Headers, flag::END_HEADERS, stream, &block(&POST))
}

/// What every client begins with.
fn hello() -> Vec<u8> {
    [&PREFACE[..], &frame(Kind::Settings, 0, 0, b"")].concat()
}

/// Gives a connection all of these bytes; what it tells, and its error. Bodies lose their pieces.
fn feed(connection: &mut Connection, mut bytes: &[u8]) -> (Vec<Event>, Option<ConnectionError>) {
    let mut events = Vec::new();
    while !bytes.is_empty() {
        match connection.receive(bytes) {
            Ok(taken) => {
                assert!(taken > 0, "it goes on when its events are taken");
                bytes = &bytes[taken..];
            }
            Err(error) => {
                events.extend(std::iter::from_fn(|| connection.poll_event()));
                return (events, Some(error));
            }
        }
        events.extend(std::iter::from_fn(|| connection.poll_event()));
    }
    (events, None)
}

/// A connection with its first frames behind it, and nothing to say.
fn connected(limits: Limits) -> Connection {
    let mut connection = Connection::new(limits);
    assert_eq!(feed(&mut connection, &hello()), (vec![], None));
    let said = said(&mut connection);
    assert_eq!(
        said.iter().map(|(head, _)| (head.kind, head.flags)).collect::<Vec<_>>(),
        [(Kind::Settings, 0), (Kind::Settings, flag::ACK)]
    );
    connection
}

/// Feeds what breaks nothing.
fn fed(connection: &mut Connection, bytes: &[u8]) -> Vec<Event> {
    let (events, error) = feed(connection, bytes);
    assert_eq!(error, None);
    events
}

/// The frames that it has to say.
fn said(connection: &mut Connection) -> Vec<(Head, Vec<u8>)> {
    connection.poll_output().map_or_else(Vec::new, |bytes| frames(&bytes))
}

fn frames(mut bytes: &[u8]) -> Vec<(Head, Vec<u8>)> {
    let mut frames = Vec::new();
    while !bytes.is_empty() {
        let (head, rest) = bytes.split_first_chunk::<HEAD_BYTES>().expect("a head");
        let head = Head::parse(*head);
        frames.push((head, rest[..head.length].to_vec()));
        bytes = &rest[head.length..];
    }
    frames
}

fn ok() -> HeadBlock {
    HeadBlock::of_http1(b"HTTP/1.1 200 OK\r\nContent-Type: video/x-flv\r\n\r\n").unwrap()
}

const STREAM: StreamId = StreamId(1);

#[test]
fn a_request_is_answered_piece_by_piece() {
    let mut connection = connected(Limits::default());
    let events = fed(&mut connection, &get(1));
    let [Event::Request { stream: STREAM, head, end: true }] = &events[..] else { panic!("{events:?}") };
    let request = head.to_request().unwrap();
    assert_eq!((request.path, request.host.as_deref()), (vec!["cam".to_owned(), "live.flv".to_owned()], Some("a")));

    let head = ok();
    let before = connection.respond(STREAM, &head, false).unwrap();
    let wire = [before.as_bytes(), head.block()].concat();
    let [(frame, payload)] = &frames(&wire)[..] else { panic!("one frame") };
    assert_eq!((frame.kind, frame.flags, frame.stream), (Kind::Headers, flag::END_HEADERS, 1));
    let fields = Decoder::default().decode(payload, usize::MAX).unwrap();
    assert!(fields.iter().eq([(&b":status"[..], &b"200"[..]), (b"content-type", b"video/x-flv")]));

    let first = connection.data(STREAM, 20_000, false).unwrap().unwrap();
    assert_eq!((first.bytes, first.end, first.head), (16_384, false, *b"\x00\x40\x00\0\0\0\0\0\x01"));
    let second = connection.data(STREAM, 20_000 - first.bytes, false).unwrap().unwrap();
    assert_eq!((second.bytes, connection.writable(STREAM)), (3_616, 65_535 - 20_000));
    let last = connection.data(STREAM, 0, true).unwrap().unwrap();
    assert_eq!((last.bytes, last.end, last.head), (0, true, *b"\0\0\0\0\x01\0\0\0\x01"));
    assert_eq!(connection.data(STREAM, 1, false), Err(SendError::Closed));
    assert!(connection.is_idle() && connection.poll_event().is_none() && connection.poll_output().is_none());
}

#[test]
fn answers_have_an_order() {
    let mut connection = connected(Limits::default());
    fed(&mut connection, &get(1));
    assert_eq!(connection.data(STREAM, 1, false), Err(SendError::NoHead));
    assert_eq!(connection.respond(StreamId(3), &ok(), false), Err(SendError::Closed));
    connection.respond(STREAM, &ok(), false).unwrap();
    assert_eq!(connection.respond(STREAM, &ok(), false), Err(SendError::HeadTwice));
    assert_eq!(connection.data(STREAM, 0, false), Ok(None), "an empty frame would say nothing");
}

#[test]
fn a_head_alone_is_an_answer() {
    let mut connection = connected(Limits::default());
    fed(&mut connection, &get(1));
    let before = connection.respond(STREAM, &ok(), true).unwrap();
    let head = Head::parse(*before.as_bytes().first_chunk().unwrap());
    assert!(head.has(flag::END_STREAM) && head.has(flag::END_HEADERS));
    assert!(connection.is_idle());
}

#[test]
fn a_body_comes_in_pieces_and_trailers_are_dropped() {
    let mut connection = connected(Limits::default());
    let trailers = frame(Kind::Headers, flag::END_HEADERS | flag::END_STREAM, 1, &block(&[("x-sum", "1")]));
    let padded = frame(Kind::Data, flag::PADDED, 1, b"\x03def\0\0\0");
    let wire = [post(1), frame(Kind::Data, 0, 1, b"abc"), padded, trailers].concat();
    let events = fed(&mut connection, &wire);
    assert!(matches!(events[0], Event::Request { stream: STREAM, end: false, .. }));
    let body = |bytes: &'static [u8]| Event::Body { stream: STREAM, bytes: bytes.into() };
    assert_eq!(events[1..], [body(b"abc"), body(b"def"), Event::End { stream: STREAM }]);
    let mut out = BytesMut::new();
    connection.respond(STREAM, &ok(), false).unwrap();
    assert_eq!(connection.data_copied(STREAM, b"hello", true, &mut out), Ok(5));
    assert_eq!(&out[..], b"\0\0\x05\0\x01\0\0\0\x01hello");
    assert!(connection.is_idle() && connection.poll_output().is_none());
}

/// RFC 9113, 8.1: the peer is to stop a body that nobody will read, and that is no error.
#[test]
fn an_answer_that_ends_first_ends_the_request() {
    let mut connection = connected(Limits::default());
    fed(&mut connection, &post(1));
    connection.respond(STREAM, &ok(), true).unwrap();
    assert_eq!(said(&mut connection), frames(&frame(Kind::RstStream, 0, 1, &[0; 4])));
    // What was on its way is ignored, and counts for the connection's window only.
    let late = [frame(Kind::Data, 0, 1, &[0; 16_384]), frame(Kind::Data, 0, 1, &[0; 16_384])].concat();
    assert_eq!(fed(&mut connection, &late), []);
    assert_eq!(said(&mut connection), frames(&frame(Kind::WindowUpdate, 0, 0, &32_768_u32.to_be_bytes())));
    let trailers = frame(Kind::Headers, flag::END_HEADERS | flag::END_STREAM, 1, &block(&[("a", "b")]));
    assert_eq!(fed(&mut connection, &trailers), []);
    // It has ended now.
    assert_eq!(feed(&mut connection, &trailers).1, Some(ConnectionError::Closed("HEADERS")));
}

#[test]
fn a_short_rest_of_a_request_is_let_come() {
    for (length, kinds) in [("40000", &[][..]), ("70000", &[Kind::RstStream])] {
        let mut connection = connected(Limits::default());
        let head = block(&[&POST[..], &[("content-length", length)]].concat());
        fed(&mut connection, &frame(Kind::Headers, flag::END_HEADERS, 1, &head));
        connection.respond(STREAM, &ok(), true).unwrap();
        let said: Vec<_> = said(&mut connection).iter().map(|(head, _)| head.kind).collect();
        assert_eq!((&said[..], connection.streams()), (kinds, 0));
        assert_eq!(fed(&mut connection, &frame(Kind::Data, flag::END_STREAM, 1, &[0; 10_000])), []);
    }
}

#[test]
fn resets_of_both_sides() {
    let mut connection = connected(Limits::default());
    let cancel = frame(Kind::RstStream, 0, 1, &ErrorCode::CANCEL.0.to_be_bytes());
    let events = fed(&mut connection, &[get(1), cancel.clone()].concat());
    let reason = ResetReason::Peer(ErrorCode::CANCEL);
    assert_eq!(events[1..], [Event::Reset { stream: STREAM, reason }]);
    assert_eq!(connection.respond(STREAM, &ok(), true), Err(SendError::Closed));
    assert_eq!(connection.writable(STREAM), 0);

    fed(&mut connection, &get(3));
    assert!(
        connection.reset(StreamId(3), ErrorCode::INTERNAL_ERROR) && !connection.reset(StreamId(3), ErrorCode::CANCEL)
    );
    assert_eq!(said(&mut connection), frames(&frame(Kind::RstStream, 0, 3, &[0, 0, 0, 2])));
    // The two may cross.
    let crossed = frame(Kind::RstStream, 0, 3, &[0, 0, 0, 8]);
    assert_eq!(fed(&mut connection, &crossed), []);
    assert!(connection.is_idle());
}

#[test]
fn a_drain_lets_streams_end() {
    let mut connection = connected(Limits::default());
    fed(&mut connection, &get(1));
    connection.drain();
    let said_first = said(&mut connection);
    assert_eq!(said_first[0].1, [&0x7FFF_FFFF_u32.to_be_bytes()[..], &[0; 4]].concat());
    assert_eq!(said_first[1].0.kind, Kind::Ping);
    assert!(!connection.is_finished());
    // It began this one before it knew.
    assert!(matches!(fed(&mut connection, &get(3))[..], [Event::Request { .. }]));
    fed(&mut connection, &frame(Kind::Ping, flag::ACK, 0, &said_first[1].1));
    assert_eq!(said(&mut connection), frames(&frame(Kind::GoAway, 0, 0, b"\0\0\0\x03\0\0\0\0")));
    let events = fed(&mut connection, &get(5));
    assert!(matches!(events[..], [Event::Reset { stream: StreamId(5), .. }]), "{events:?}");
    assert_eq!(said(&mut connection), frames(&frame(Kind::RstStream, 0, 5, &[0, 0, 0, 7])));
    connection.respond(STREAM, &ok(), true).unwrap();
    assert!(!connection.is_finished());
    connection.respond(StreamId(3), &ok(), true).unwrap();
    assert!(connection.is_finished());

    // A peer that does not answer is told at the second call.
    let mut connection = connected(Limits::default());
    connection.drain();
    said(&mut connection);
    connection.drain();
    assert_eq!(said(&mut connection), frames(&frame(Kind::GoAway, 0, 0, &[0; 8])));
    assert!(connection.is_finished());
    connection.drain();
    assert_eq!(said(&mut connection), []);
}

#[test]
fn a_close_says_why_and_hears_nothing() {
    let mut connection = connected(Limits::default());
    fed(&mut connection, &get(1));
    connection.close(ErrorCode::ENHANCE_YOUR_CALM);
    connection.close(ErrorCode::NO_ERROR);
    assert_eq!(said(&mut connection), frames(&frame(Kind::GoAway, 0, 0, b"\0\0\0\x01\0\0\0\x0b")));
    assert!(connection.is_finished());
    assert_eq!(fed(&mut connection, &get(3)), []);
    assert_eq!(connection.respond(STREAM, &ok(), true), Err(SendError::Closed));
    connection.drain();
    assert_eq!(said(&mut connection), []);
}

#[test]
fn a_peer_that_goes_is_let_go() {
    let mut connection = connected(Limits::default());
    fed(&mut connection, &get(1));
    let go_away = frame(Kind::GoAway, 0, 0, b"\0\0\0\0\0\0\0\x02bye");
    let events = fed(&mut connection, &[go_away.clone(), go_away].concat());
    assert_eq!(events, [Event::GoAway { code: ErrorCode::INTERNAL_ERROR }]);
    assert!(!connection.is_finished());
    connection.respond(STREAM, &ok(), true).unwrap();
    assert!(connection.is_finished());
}

/// RFC 7541, 4.2: a decoder whose size was lowered waits for word of it, once.
#[test]
fn a_smaller_table_is_acknowledged_in_the_next_block() {
    let mut connection = connected(Limits::default());
    let smaller = frame(Kind::Settings, 0, 0, b"\0\x01\0\0\0\0");
    fed(&mut connection, &[get(1), get(3), get(5), smaller.clone()].concat());
    let before = connection.respond(STREAM, &ok(), false).unwrap();
    assert_eq!((before.as_bytes().len(), before.as_bytes()[9]), (10, 0x20));
    let head = ok();
    let wire = [before.as_bytes(), head.block()].concat();
    let [(_, payload)] = &frames(&wire)[..] else { panic!("one frame") };
    assert_eq!(Decoder::default().decode(payload, usize::MAX).unwrap().len(), 2);
    assert_eq!(connection.respond(StreamId(3), &head, false).unwrap().as_bytes().len(), 9);
    let larger = frame(Kind::Settings, 0, 0, b"\0\x01\0\0\x10\0");
    fed(&mut connection, &[larger, smaller].concat());
    assert_eq!(connection.respond(StreamId(5), &head, false).unwrap().as_bytes().len(), 9);
}

#[test]
fn pings_and_settings_are_answered() {
    let mut connection = connected(Limits::default());
    assert!(!connection.has_settings_acknowledged());
    fed(&mut connection, &[frame(Kind::Ping, 0, 0, b"12345678"), frame(Kind::Settings, flag::ACK, 0, b"")].concat());
    assert_eq!(said(&mut connection), frames(&frame(Kind::Ping, flag::ACK, 0, b"12345678")));
    assert!(connection.has_settings_acknowledged());
}

/// RFC 9113, 6.5.3.
#[test]
fn settings_that_are_never_acknowledged_end_the_connection() {
    let mut connection = connected(Limits::default());
    for _ in 0..HTTP2_SETTINGS_TICKS_MAX {
        assert_eq!(connection.tick(), Ok(()));
    }
    let mut in_time = connected(Limits::default());
    (0..HTTP2_SETTINGS_TICKS_MAX).for_each(|_| in_time.tick().unwrap());
    fed(&mut in_time, &frame(Kind::Settings, flag::ACK, 0, b""));
    (0..100).for_each(|_| in_time.tick().unwrap());
    assert_eq!(connection.tick(), Err(ConnectionError::SettingsTimeout));
    let words = ConnectionError::SettingsTimeout.to_string();
    let expected = [&0_u32.to_be_bytes()[..], &ErrorCode::SETTINGS_TIMEOUT.0.to_be_bytes(), words.as_bytes()].concat();
    assert_eq!(said(&mut connection), frames(&frame(Kind::GoAway, 0, 0, &expected)));
    assert_eq!(connection.tick(), Ok(()), "it is told once");
    assert!(connection.is_finished());
}
