//! Properties: the pieces in which bytes come change nothing, and no bytes do harm.
use super::*;
use crate::limits::HTTP2_OUTPUT_BYTES_MAX;
use crate::testkit::{Random, survives_damage};

/// A client that does a little of everything.
fn talk() -> Vec<u8> {
    let whole = block(&[&POST[..], &[("content-length", "6"), ("cookie", "a=b"), ("cookie", "c=d")]].concat());
    let indexed = [&block(&GET)[..], b"\x40\x05x-one\x03two\x40\x82\x94\xe7\x01v\xbe\xbf"].concat();
    [
        hello(),
        frame(Kind::Settings, 0, 0, b"\0\x01\0\0\0\0\0\x04\0\0\0\x10\0\x05\0\0\x50\0"),
        frame(Kind::Settings, flag::ACK, 0, b""),
        frame(Kind::WindowUpdate, 0, 0, b"\0\x10\0\0"),
        frame(Kind::Headers, 0, 1, &whole[..5]),
        frame(Kind::Continuation, 0, 1, &whole[5..9]),
        frame(Kind::Continuation, flag::END_HEADERS, 1, &whole[9..]),
        frame(Kind::Data, flag::PADDED, 1, b"\x02abc\0\0"),
        frame(Kind::Priority, 0, 5, b"\0\0\0\x01\x10"),
        get(3),
        frame(Kind::Headers, flag::END_HEADERS | flag::END_STREAM, 5, &indexed),
        frame(Kind::Data, 0, 1, b"def"),
        frame(Kind::Ping, 0, 0, b"12345678"),
        frame(Kind::Headers, flag::END_HEADERS | flag::END_STREAM, 1, &block(&[("x-sum", "1")])),
        frame(Kind::WindowUpdate, 0, 3, b"\0\0\0\x10"),
        frame(Kind::RstStream, 0, 5, b"\0\0\0\x08"),
        raw(0x42, 0xFF, 7, b"unknown"),
        frame(Kind::Headers, flag::END_HEADERS | flag::END_STREAM, 7, b"\x82\x87\x84\xbe\xbf"),
        frame(Kind::GoAway, 0, 0, b"\0\0\0\0\0\0\0\0bye"),
        get(9),
    ]
    .concat()
}

/// What is told and said of these pieces. `answers`: every request is answered when it is told, with as much as may go.
fn run<'a>(pieces: impl Iterator<Item = &'a [u8]>, answers: bool) -> (Vec<Event>, Option<ConnectionError>, Vec<u8>) {
    let mut connection = Connection::new(Limits::default());
    let (mut events, mut failed, mut wire) = (Vec::new(), None, Vec::new());
    for piece in pieces {
        let mut rest = piece;
        while !rest.is_empty() {
            match connection.receive(rest) {
                Ok(taken) => rest = &rest[taken..],
                Err(error) => {
                    assert_eq!(failed.replace(error), None, "an error is told once");
                    rest = &[];
                }
            }
            while let Some(event) = connection.poll_event() {
                match &event {
                    Event::Request { head, .. } if !answers => drop(head.to_request()),
                    Event::Request { stream, .. } => {
                        let _ = connection.respond(*stream, &ok(), false);
                        let _ = connection.data(*stream, 40, false);
                    }
                    Event::Writable { stream } => drop(connection.data(*stream, 8, stream.0 == 3)),
                    _ => {}
                }
                events.push(event);
            }
            assert!(connection.held_bytes() < 256 << 10);
        }
        wire.extend(connection.poll_output().unwrap_or_default());
    }
    wire.extend(connection.poll_output().unwrap_or_default());
    assert!(failed.is_none() || connection.is_finished());
    // It is HTTP/2, whatever came.
    for (head, _) in frames(&wire) {
        assert!(head.length <= HTTP2_OUTPUT_BYTES_MAX && head.kind != Kind::Unknown);
    }
    (events, failed, wire)
}

#[test]
fn pieces_change_nothing() {
    let talk = talk();
    let whole = run(std::iter::once(&talk[..]), false);
    assert_eq!(whole.1, None);
    assert!(whole.0.len() == 10, "{:?}", whole.0);
    for piece_bytes in 1..60 {
        assert!(run(talk.chunks(piece_bytes), false) == whole, "{piece_bytes}");
    }
    for at in 0..talk.len() {
        let (first, second) = talk.split_at(at);
        assert!(run([first, second].into_iter(), false) == whole, "{at}");
    }
    let mut random = Random::new(5);
    for _ in 0..500 {
        let (mut pieces, mut rest) = (Vec::new(), &talk[..]);
        while !rest.is_empty() {
            let (piece, behind) = rest.split_at(1 + random.below(rest.len().min(200)));
            pieces.push(piece);
            rest = behind;
        }
        assert!(run(pieces.into_iter(), false) == whole);
    }
}

#[test]
fn damage_is_survived_in_whatever_pieces() {
    let talk = talk();
    let mut random = Random::new(9);
    survives_damage(&[&talk, &talk[..200], &[hello(), get(1), post(3)].concat()], |bytes| {
        run(std::iter::once(bytes), true);
        if random.below(20) == 0 {
            let whole = run(std::iter::once(bytes), false);
            let pieces = run(bytes.chunks(1 + random.below(40)), false);
            assert!(pieces == whole, "{bytes:x?}");
        }
    });
}

#[test]
fn noise_is_survived() {
    let mut random = Random::new(1);
    for _ in 0..20_000 {
        let mut wire = if random.below(4) == 0 { Vec::new() } else { hello() };
        for _ in 0..random.below(8) {
            let payload: Vec<u8> = (0..random.below(40)).map(|_| random.next() as u8).collect();
            let stream = [0, 1, 1, 3, 5, 2, 0x7FFF_FFFF][random.below(7)];
            wire.extend(raw(random.below(11) as u8, random.next() as u8, stream, &payload));
        }
        run(wire.chunks(1 + random.below(100)), true);
    }
}
