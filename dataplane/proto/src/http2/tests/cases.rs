//! The rules of RFC 9113 and RFC 7541, in the order of h2spec, each as frames and what they lead to.
use super::*;

/// What frames lead to.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Outcome {
    /// GOAWAY with this code.
    Connection(ErrorCode),
    /// RST_STREAM on this stream with this code; the connection goes on.
    Stream(u32, ErrorCode),
    /// An answer with this status on stream 1; the connection goes on.
    Status(u16),
    /// Nothing that is wrong.
    Fine,
}

const PROTOCOL: Outcome = Outcome::Connection(ErrorCode::PROTOCOL_ERROR);
const FRAME_SIZE: Outcome = Outcome::Connection(ErrorCode::FRAME_SIZE_ERROR);
const FLOW_CONTROL: Outcome = Outcome::Connection(ErrorCode::FLOW_CONTROL_ERROR);
const COMPRESSION: Outcome = Outcome::Connection(ErrorCode::COMPRESSION_ERROR);
const CLOSED: Outcome = Outcome::Connection(ErrorCode::STREAM_CLOSED);
const MALFORMED: Outcome = Outcome::Stream(1, ErrorCode::PROTOCOL_ERROR);

/// What the output says. A PING at the end of the input shows whether the connection goes on.
fn outcome(frames: &[(Head, Vec<u8>)]) -> Outcome {
    let code = |payload: &[u8]| ErrorCode(u32::from_be_bytes(*payload.first_chunk().unwrap()));
    let answered = frames.iter().any(|(head, payload)| head.kind == Kind::Ping && payload == b"12345678");
    for (head, payload) in frames {
        match head.kind {
            Kind::GoAway => {
                assert!(!answered && head.stream == 0);
                return Outcome::Connection(code(&payload[4..]));
            }
            Kind::RstStream => {
                assert!(answered);
                return Outcome::Stream(head.stream, code(payload));
            }
            Kind::Headers => {
                let fields = Decoder::default().decode(payload, usize::MAX).unwrap();
                let (_, status) = fields.iter().next().unwrap();
                assert!(answered && head.has(flag::END_STREAM) && head.stream == 1);
                return Outcome::Status(std::str::from_utf8(status).unwrap().parse().unwrap());
            }
            _ => {}
        }
    }
    assert!(answered);
    Outcome::Fine
}

/// Each case in one piece and byte by byte.
fn check(name: &str, frames_of_client: &[Vec<u8>], expected: Outcome) {
    check_raw(name, &[hello(), frames_of_client.concat()].concat(), expected);
}

fn check_raw(name: &str, bytes: &[u8], expected: Outcome) {
    let wire = [bytes, &frame(Kind::Ping, 0, 0, b"12345678")].concat();
    for piece_bytes in [wire.len(), 1] {
        let mut connection = Connection::new(Limits::default());
        let mut failed = None;
        for piece in wire.chunks(piece_bytes) {
            let (_, error) = feed(&mut connection, piece);
            assert!(failed.is_none() || error.is_none(), "{name}: an error is told once");
            failed = failed.or(error);
        }
        let found = outcome(&said(&mut connection));
        assert_eq!(found, expected, "{name}");
        match (failed, found) {
            (Some(error), Outcome::Connection(code)) => assert_eq!(error.code(), code, "{name}"),
            (None, found) => assert!(!matches!(found, Outcome::Connection(_)), "{name}"),
            other => panic!("{name}: {other:?}"),
        }
    }
}

fn headers(stream: u32, flags: u8, block: &[u8]) -> Vec<u8> {
    frame(Kind::Headers, flags, stream, block)
}

const END: u8 = flag::END_STREAM;
const WHOLE: u8 = flag::END_HEADERS;

fn data(stream: u32, flags: u8, payload: &[u8]) -> Vec<u8> {
    frame(Kind::Data, flags, stream, payload)
}

fn continuation(stream: u32, flags: u8, payload: &[u8]) -> Vec<u8> {
    frame(Kind::Continuation, flags, stream, payload)
}

fn priority(stream: u32, payload: &[u8]) -> Vec<u8> {
    frame(Kind::Priority, 0, stream, payload)
}

fn reset(stream: u32) -> Vec<u8> {
    frame(Kind::RstStream, 0, stream, &[0, 0, 0, 8])
}

fn window_update(stream: u32, increment: u32) -> Vec<u8> {
    frame(Kind::WindowUpdate, 0, stream, &increment.to_be_bytes())
}

fn setting(id: u16, value: u32) -> Vec<u8> {
    frame(Kind::Settings, 0, 0, &[&id.to_be_bytes()[..], &value.to_be_bytes()].concat())
}

/// Section 3.4.
#[test]
fn prefaces() {
    check("3.4 a client that says hello", &[], Outcome::Fine);
    check_raw("3.4 another preface", b"INVALID CONNECTION PREFACE\r\n\r\n", PROTOCOL);
    check_raw("3.4 HTTP/1.1", b"GET / HTTP/1.1\r\nHost: a\r\n\r\n", PROTOCOL);
    check_raw("3.4 no SETTINGS", &[&PREFACE[..], &get(1)].concat(), PROTOCOL);
    check_raw("3.4 an ACK first", &[&PREFACE[..], &frame(Kind::Settings, flag::ACK, 0, b"")].concat(), PROTOCOL);
}

/// Section 4.
#[test]
fn frame_format() {
    check("4.1 unknown type", &[raw(0xFF, 0, 0, b"12345678"), raw(0x16, 0xFF, 0x8000_0007, b"")], Outcome::Fine);
    check("4.1 undefined flags", &[frame(Kind::Ping, 0x16, 0, b"abcdefgh")], Outcome::Fine);
    check("4.1 reserved bit", &[frame(Kind::Ping, 0, 0x8000_0000, b"abcdefgh")], Outcome::Fine);
    check("4.2 DATA of 2^14", &[post(1), data(1, END, &[0; 16_384])], Outcome::Fine);
    let too_long = vec![0; 16_385];
    check("4.2 DATA above", &[post(1), data(1, 0, &too_long)], FRAME_SIZE);
    check("4.2 HEADERS above", &[headers(1, WHOLE | END, &too_long)], FRAME_SIZE);
    check("4.2 unknown above", &[raw(0x20, 0, 0, &too_long)], FRAME_SIZE);
    check("4.3 invalid block", &[headers(1, WHOLE | END, b"\x40")], COMPRESSION);
    check("4.3 PRIORITY within a block", &[headers(1, END, &block(&GET)), priority(1, &[0; 5])], PROTOCOL);
    check("4.3 HEADERS within a block", &[headers(1, END, &block(&GET)), get(3)], PROTOCOL);
}

/// Section 5.1.
#[test]
fn stream_states() {
    check("5.1 idle: DATA", &[data(1, 0, b"a")], PROTOCOL);
    check("5.1 idle: RST_STREAM", &[reset(1)], PROTOCOL);
    check("5.1 idle: WINDOW_UPDATE", &[window_update(1, 100)], PROTOCOL);
    check("5.1 idle: CONTINUATION", &[continuation(1, WHOLE, &block(&GET))], PROTOCOL);
    check("5.1 idle: DATA on a server's stream", &[get(3), data(2, 0, b"a")], PROTOCOL);
    check("5.1 idle: PRIORITY", &[priority(1, b"\0\0\0\x07\x10"), get(1)], Outcome::Fine);
    let closed = Outcome::Stream(1, ErrorCode::STREAM_CLOSED);
    check("5.1 half-closed (remote): DATA", &[get(1), data(1, END, b"a")], closed);
    check("5.1 half-closed (remote): HEADERS", &[get(1), get(1)], closed);
    check("5.1 half-closed (remote): CONTINUATION", &[get(1), continuation(1, WHOLE, b"")], PROTOCOL);
    check(
        "5.1 half-closed (remote): WINDOW_UPDATE",
        &[get(1), window_update(1, 1), priority(1, &[0; 5])],
        Outcome::Fine,
    );
    check("5.1 closed by RST_STREAM: DATA", &[post(1), reset(1), data(1, 0, b"a")], closed);
    check("5.1 closed by RST_STREAM: HEADERS", &[post(1), reset(1), get(1)], CLOSED);
    check("5.1 closed by RST_STREAM: CONTINUATION", &[post(1), reset(1), continuation(1, WHOLE, b"")], PROTOCOL);
    let late = [get(1), reset(1), reset(1), window_update(1, 1), priority(1, &[0; 5])];
    check("5.1 closed: what may be on its way", &late, Outcome::Fine);
    check("5.1.1 a server's stream", &[get(2)], PROTOCOL);
    check("5.1.1 lower than before", &[get(5), get(3)], PROTOCOL);
    check("5.1.1 streams may be left out", &[get(1), get(9), get(11)], Outcome::Fine);
    let many: Vec<_> = (0..101).map(|n| get(2 * n + 1)).collect();
    check("5.1.2 as many as may be", &many[..100], Outcome::Fine);
    check("5.1.2 one more", &many, Outcome::Stream(201, ErrorCode::REFUSED_STREAM));
}

/// Sections 5.3 to 5.5.
#[test]
fn priorities_errors_and_extensions() {
    let with_priority = |priority: &[u8]| [priority, &block(&GET)].concat();
    let flags = WHOLE | END | flag::PRIORITY;
    check("5.3.1 HEADERS", &[headers(1, flags, &with_priority(b"\x80\0\0\x05\xff"))], Outcome::Fine);
    check("5.3.1 HEADERS on itself", &[headers(1, flags, &with_priority(b"\0\0\0\x01\xff"))], MALFORMED);
    check("5.3.1 HEADERS too short", &[headers(1, flags, b"\0\0\0\x05")], FRAME_SIZE);
    check("5.3.1 PRIORITY on itself, idle", &[priority(1, b"\0\0\0\x01\xff")], PROTOCOL);
    check("5.3.1 PRIORITY on itself", &[get(1), priority(1, b"\0\0\0\x01\xff")], MALFORMED);
    check("5.4.1 what follows an error is not heard", &[frame(Kind::Ping, 0, 0, b""), get(1)], FRAME_SIZE);
    check("5.5 unknown extension", &[raw(0x10, 0, 0, b"\0\0\0\x01u=1"), get(1), raw(0xF0, 1, 1, b"x")], Outcome::Fine);
    check("5.5 within a block", &[headers(1, END, &block(&GET)), raw(0xF0, 0, 0, b"x")], PROTOCOL);
}

/// Sections 6.1 to 6.4.
#[test]
fn data_headers_priority_reset() {
    check("6.1 DATA on stream 0", &[data(0, 0, b"a")], PROTOCOL);
    check("6.1 DATA with wrong padding", &[post(1), data(1, END | flag::PADDED, b"\x05abc")], PROTOCOL);
    check("6.1 DATA with padding alone", &[post(1), data(1, END | flag::PADDED, b"\x03\0\0\0")], Outcome::Fine);
    check("6.1 DATA without a padding length", &[post(1), data(1, flag::PADDED, b"")], FRAME_SIZE);
    check("6.2 HEADERS on stream 0", &[headers(0, WHOLE, &block(&GET))], PROTOCOL);
    check("6.2 HEADERS with wrong padding", &[headers(1, WHOLE | END | flag::PADDED, b"\xff\x82\x87\x84")], PROTOCOL);
    let padded = [&b"\x04"[..], &block(&GET), &[0; 4]].concat();
    check("6.2 HEADERS with padding", &[headers(1, WHOLE | END | flag::PADDED, &padded)], Outcome::Fine);
    check("6.3 PRIORITY on stream 0", &[priority(0, &[0; 5])], PROTOCOL);
    check("6.3 PRIORITY of 4 bytes", &[get(1), priority(1, &[0; 4])], Outcome::Stream(1, ErrorCode::FRAME_SIZE_ERROR));
    check("6.3 PRIORITY of 4 bytes, idle", &[priority(1, &[0; 4])], FRAME_SIZE);
    check("6.4 RST_STREAM on stream 0", &[reset(0)], PROTOCOL);
    check("6.4 RST_STREAM of 3 bytes", &[get(1), frame(Kind::RstStream, 0, 1, &[0; 3])], FRAME_SIZE);
}

/// Sections 6.5 to 6.8.
#[test]
fn settings_push_ping_goaway() {
    check("6.5 ACK with a payload", &[frame(Kind::Settings, flag::ACK, 0, &[0; 6])], FRAME_SIZE);
    check("6.5 on a stream", &[frame(Kind::Settings, 0, 1, &[0; 6])], PROTOCOL);
    check("6.5 of 3 bytes", &[frame(Kind::Settings, 0, 0, &[0; 3])], FRAME_SIZE);
    check("6.5.2 ENABLE_PUSH", &[setting(2, 2)], PROTOCOL);
    check("6.5.2 INITIAL_WINDOW_SIZE", &[setting(4, 0x8000_0000)], FLOW_CONTROL);
    check("6.5.2 MAX_FRAME_SIZE below", &[setting(5, 16_383)], PROTOCOL);
    check("6.5.2 MAX_FRAME_SIZE above", &[setting(5, 1 << 24)], PROTOCOL);
    check("6.5.2 unknown", &[setting(0xFF, 1), setting(0, 0), setting(8, 1)], Outcome::Fine);
    check("6.6 PUSH_PROMISE", &[get(1), frame(Kind::PushPromise, WHOLE, 1, b"\0\0\0\x02\x82")], PROTOCOL);
    check("6.7 unasked ACK", &[frame(Kind::Ping, flag::ACK, 0, &[0; 8])], Outcome::Fine);
    check("6.7 on a stream", &[frame(Kind::Ping, 0, 1, &[0; 8])], PROTOCOL);
    check("6.7 of 6 bytes", &[frame(Kind::Ping, 0, 0, &[0; 6])], FRAME_SIZE);
    check("6.8 on a stream", &[frame(Kind::GoAway, 0, 1, &[0; 8])], PROTOCOL);
    check("6.8 of 7 bytes", &[frame(Kind::GoAway, 0, 0, &[0; 7])], FRAME_SIZE);
    check(
        "7 unknown codes",
        &[get(1), frame(Kind::RstStream, 0, 1, &[0xFF; 4]), frame(Kind::GoAway, 0, 0, &[0xFF; 8])],
        Outcome::Fine,
    );
}

/// Section 6.9.
#[test]
fn window_updates() {
    check("6.9 by 0", &[window_update(0, 0)], PROTOCOL);
    check("6.9 by 0 on a stream", &[get(1), window_update(1, 0)], MALFORMED);
    check("6.9 of 3 bytes", &[frame(Kind::WindowUpdate, 0, 0, &[0, 0, 1])], FRAME_SIZE);
    check("6.9.1 above 2^31-1", &[window_update(0, 0x7FFF_FFFF)], FLOW_CONTROL);
    check("6.9.1 up to 2^31-1", &[window_update(0, 0x7FFF_FFFF - 65_535)], Outcome::Fine);
    let too_much = [get(1), window_update(1, 0x7FFF_FFFF), window_update(1, 1)];
    check("6.9.1 above 2^31-1 on a stream", &too_much[..2], Outcome::Stream(1, ErrorCode::FLOW_CONTROL_ERROR));
    check("6.9.1 and again, when it is over", &too_much, Outcome::Stream(1, ErrorCode::FLOW_CONTROL_ERROR));
    let lifted = [get(1), window_update(1, 0x7FFF_FFFF - 65_535), setting(4, 65_536)];
    check("6.9.2 by a setting", &lifted, FLOW_CONTROL);
}

/// Section 6.10.
#[test]
fn continuations() {
    let whole = block(&GET);
    let (first, second) = whole.split_at(3);
    let pieces = [headers(1, END, first), continuation(1, 0, &second[..2]), continuation(1, WHOLE, &second[2..])];
    check("6.10 several", &pieces, Outcome::Fine);
    let empty = [headers(1, END, b""), continuation(1, 0, &whole), continuation(1, WHOLE, b"")];
    check("6.10 empty ones", &empty, Outcome::Fine);
    check("6.10 another frame", &[headers(1, END, first), data(1, 0, b"a")], PROTOCOL);
    check("6.10 on stream 0", &[headers(1, END, first), continuation(0, WHOLE, second)], PROTOCOL);
    check("6.10 on another stream", &[headers(1, END, first), continuation(3, WHOLE, second)], PROTOCOL);
    check("6.10 behind END_HEADERS", &[get(1), continuation(1, WHOLE, second)], PROTOCOL);
    let over = [headers(1, END, first), continuation(1, WHOLE, second), continuation(1, WHOLE, second)];
    check("6.10 behind END_HEADERS of another", &over, PROTOCOL);
    check("6.10 behind DATA", &[post(1), data(1, 0, b"a"), continuation(1, WHOLE, second)], PROTOCOL);
}

/// Sections 8.1 and 8.2; the fields themselves are in `request`.
#[test]
fn messages() {
    let with = |more: &[(&str, &str)]| headers(1, WHOLE | END, &block(&[&GET[..], more].concat()));
    check("8.1 a second head", &[post(1), headers(1, WHOLE, &block(&[("a", "b")]))], MALFORMED);
    check("8.1 trailers", &[post(1), headers(1, WHOLE | END, &block(&[("a", "b")]))], Outcome::Fine);
    check(
        "8.1 trailers with a pseudo-header",
        &[post(1), headers(1, WHOLE | END, &block(&[(":method", "GET")]))],
        MALFORMED,
    );
    check(
        "8.1 trailers of no end",
        &[post(1), headers(1, END, &block(&[("a", "b")])), continuation(1, WHOLE, b"")],
        Outcome::Fine,
    );
    check("8.2 upper case", &[with(&[("X-Test", "a")])], MALFORMED);
    check("8.2.1 line end in a value", &[with(&[("x", "a\r\nb: c")])], MALFORMED);
    check("8.2.2 Connection", &[with(&[("connection", "keep-alive")])], MALFORMED);
    check("8.2.2 TE", &[with(&[("te", "trailers, gzip")])], MALFORMED);
    check("8.3 unknown pseudo-header", &[with(&[(":test", "a")])], MALFORMED);
    check("8.3 pseudo-header of an answer", &[with(&[(":status", "200")])], MALFORMED);
    check("8.3 behind a header", &[with(&[("a", "b"), (":path", "/")])], MALFORMED);
    check("8.3.1 twice", &[with(&[(":path", "/")])], MALFORMED);
    let bare = |fields: &[(&str, &str)]| headers(1, WHOLE | END, &block(fields));
    check("8.3.1 no method", &[bare(&GET[1..])], MALFORMED);
    check("8.3.1 no path", &[bare(&[GET[0], GET[1], GET[3]])], MALFORMED);
    check("8.3.1 empty path", &[bare(&[GET[0], GET[1], (":path", ""), GET[3]])], MALFORMED);
    check("8.3.1 no scheme", &[bare(&[GET[0], GET[2], GET[3]])], MALFORMED);
    check("8.4 PUSH_PROMISE", &[frame(Kind::PushPromise, WHOLE, 1, b"\0\0\0\x02\x82")], PROTOCOL);
    check("8.5 CONNECT", &[bare(&[(":method", "CONNECT"), (":authority", "a:443")])], Outcome::Status(501));
    let websocket =
        [(":method", "CONNECT"), (":protocol", "websocket"), (":scheme", "https"), (":path", "/"), (":authority", "a")];
    check("RFC 8441, which is not offered", &[bare(&websocket)], MALFORMED);
}

/// Section 8.1.1.
#[test]
fn content_lengths() {
    let with =
        |length: &str, flags: u8| headers(1, flags, &block(&[&POST[..], &[("content-length", length)]].concat()));
    check("8.1.1 as it says", &[with("2", WHOLE), data(1, 0, b"a"), data(1, END, b"b")], Outcome::Fine);
    check("8.1.1 no body", &[with("0", WHOLE | END)], Outcome::Fine);
    check("8.1.1 no body where one is said", &[with("1", WHOLE | END)], MALFORMED);
    check("8.1.1 shorter", &[with("3", WHOLE), data(1, END, b"ab")], MALFORMED);
    check("8.1.1 longer", &[with("1", WHOLE), data(1, 0, b"a"), data(1, END, b"b")], MALFORMED);
    let trailers = headers(1, WHOLE | END, &block(&[("a", "b")]));
    check("8.1.1 shorter, with trailers", &[with("3", WHOLE), data(1, 0, b"ab"), trailers.clone()], MALFORMED);
    check("8.1.1 as it says, with trailers", &[with("2", WHOLE), data(1, 0, b"ab"), trailers], Outcome::Fine);
    check("8.1.1 no number", &[with("two", WHOLE)], MALFORMED);
}

/// RFC 7541, 2.3.3 to 6.3; strings and integers are in `hpack`.
#[test]
fn header_compression() {
    let with = |more: &[u8]| headers(1, WHOLE | END, &[&block(&GET), more].concat());
    check("HPACK 2.3.3 index", &[with(b"\xff\x01")], COMPRESSION);
    check("HPACK 2.3.3 index of a name", &[with(b"\x7f\x01\x01a")], COMPRESSION);
    check("HPACK 4.2 size behind a field", &[with(b"\x20")], COMPRESSION);
    check("HPACK 5.2 padding of 8 bits", &[with(b"\x00\x01a\x82\x1f\xff")], COMPRESSION);
    check("HPACK 5.2 padding of zeros", &[with(b"\x00\x01a\x81\x18")], COMPRESSION);
    check("HPACK 5.2 EOS", &[with(b"\x00\x01a\x84\xff\xff\xff\xff")], COMPRESSION);
    check("HPACK 6.1 index 0", &[with(b"\x80")], COMPRESSION);
    let sized = |size: &[u8]| headers(1, WHOLE | END, &[size, &block(&GET)].concat());
    check("HPACK 6.3 larger than agreed on", &[sized(b"\x3f\xe2\x1f")], COMPRESSION);
    check("HPACK 6.3 as agreed on", &[sized(b"\x20\x3f\xe1\x1f")], Outcome::Fine);
    // The block of a stream that is refused still counts for the next one.
    let first = headers(1, WHOLE | END, &[&block(&GET)[..], b"\x40\x01A\x01b"].concat());
    let second = headers(3, WHOLE | END, &[&block(&GET)[..], b"\xbe"].concat());
    check("HPACK 2.2 state", &[first, second], MALFORMED);
}
