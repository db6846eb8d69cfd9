//! HTTP/2: a whole connection, and header blocks by themselves.
use millstream_proto::http2::frame::{HEAD_BYTES, Head, Kind};
use millstream_proto::http2::hpack::{Decoder, encode_field};
use millstream_proto::http2::{Connection, Event, HeadBlock, Limits, PREFACE, RequestHead, SendError, StreamId};
use millstream_proto::limits::{HPACK_TABLE_BYTES_MAX, HTTP2_HEADER_LIST_BYTES_MAX, HTTP2_STREAMS_MAX};

/// A connection never holds more: a frame and a header block (each may have doubled), the connection's window of bodies, events, output, streams.
const HELD_BYTES_MAX: usize = 512 << 10;

/// A client's bytes, every request answered. The highest bit of the first byte puts the preface and SETTINGS in front, so that the rest is frames;
/// the next one makes the caller drain, the next one tick.
pub fn http2(data: &[u8]) {
    let first = data.first().copied().unwrap_or_default();
    let mut server = Server::default();
    if first & 0x80 != 0 {
        server.hear(PREFACE);
        server.hear(b"\0\0\0\x04\0\0\0\0\0");
    }
    for piece in crate::pieces(data) {
        server.hear(piece);
        if first & 0x40 != 0 {
            server.connection.drain();
        }
        if first & 0x20 != 0 {
            server.tick();
        }
    }
    server.say();
    if server.failed {
        assert!(server.connection.is_finished(), "nothing is left behind an error");
        assert_eq!(server.last_said, Some(Kind::GoAway), "it says why");
    }
}

struct Server {
    connection: Connection,
    head: HeadBlock,
    begun: Vec<StreamId>,
    failed: bool,
    last_said: Option<Kind>,
}

impl Default for Server {
    fn default() -> Self {
        let head = HeadBlock::of_http1(b"HTTP/1.1 200 OK\r\nDate: x\r\n\r\n").expect("a head");
        let connection = Connection::new(Limits::default());
        Self { connection, head, begun: Vec::new(), failed: false, last_said: None }
    }
}

impl Server {
    fn tick(&mut self) {
        if self.connection.tick().is_err() {
            assert!(!self.failed, "an error is told once");
            self.failed = true;
            self.say();
        }
    }

    fn hear(&mut self, mut bytes: &[u8]) {
        while !bytes.is_empty() {
            match self.connection.receive(bytes) {
                Ok(taken) => {
                    assert!(taken > 0 && taken <= bytes.len());
                    bytes = &bytes[taken..];
                }
                Err(error) => {
                    assert!(!self.failed, "an error is told once");
                    assert!(!error.to_string().is_empty() && !error.code().name().is_empty());
                    self.failed = true;
                    bytes = &[];
                }
            }
            assert!(self.connection.held_bytes() <= HELD_BYTES_MAX, "{}", self.connection.held_bytes());
            assert!(self.connection.streams() <= HTTP2_STREAMS_MAX);
            while let Some(event) = self.connection.poll_event() {
                self.answer(event);
            }
        }
        self.say();
    }

    /// One answer in three is a head alone; the others have bodies, some of which end.
    fn answer(&mut self, event: Event) {
        match event {
            Event::Request { stream, head, .. } => {
                let _ = head.to_request();
                assert!(!self.begun.contains(&stream), "a stream begins once");
                self.begun.push(stream);
                let alone = stream.get() % 3 == 0;
                if self.connection.respond(stream, &self.head, alone).is_ok() && !alone {
                    assert_eq!(self.connection.respond(stream, &self.head, true), Err(SendError::HeadTwice));
                    self.send(stream);
                }
            }
            Event::Writable { stream } => {
                assert!(self.connection.writable(stream) > 0);
                self.send(stream);
            }
            Event::Body { stream, bytes } => assert!(self.begun.contains(&stream) && !bytes.is_empty()),
            Event::End { stream } => assert!(self.begun.contains(&stream)),
            Event::Reset { stream, .. } => {
                assert_eq!(self.connection.data(stream, 1, true), Err(SendError::Closed));
            }
            _ => {}
        }
    }

    fn send(&mut self, stream: StreamId) {
        let room = self.connection.writable(stream);
        let end = stream.get() % 3 == 1;
        match self.connection.data(stream, 1_000, end) {
            Ok(Some(frame)) => {
                let head = Head::parse(frame.head);
                assert_eq!((head.kind, head.length, head.stream), (Kind::Data, frame.bytes, stream.get()));
                assert!(
                    frame.bytes == room.min(1_000) && frame.bytes > 0 && frame.end == (end && frame.bytes == 1_000)
                );
            }
            Ok(None) => assert_eq!(room, 0),
            Err(error) => assert_eq!(error, SendError::Closed),
        }
    }

    /// What it says is frames.
    fn say(&mut self) {
        let output = self.connection.poll_output().unwrap_or_default();
        let mut rest = &output[..];
        while let Some((head, behind)) = rest.split_first_chunk::<HEAD_BYTES>() {
            let head = Head::parse(*head);
            assert!(head.kind != Kind::Unknown && head.length <= behind.len());
            self.last_said = Some(head.kind);
            rest = &behind[head.length..];
        }
        assert!(rest.is_empty());
    }
}

/// Header blocks of one connection: each has its length before it. The table and the lists have their maxima; what is read is the same when
/// it is written and read again.
pub fn hpack(data: &[u8]) {
    let (mut decoder, mut rest) = (Decoder::default(), data);
    while let Some((&length, behind)) = rest.split_first() {
        let (block, behind) = behind.split_at(usize::from(length).min(behind.len()));
        rest = behind;
        let Ok(fields) = decoder.decode(block, HTTP2_HEADER_LIST_BYTES_MAX) else { return };
        assert!(decoder.held_bytes() <= 2 * HPACK_TABLE_BYTES_MAX);
        assert!(fields.held_bytes() <= 4 * HTTP2_HEADER_LIST_BYTES_MAX);
        if fields.is_too_long() {
            continue;
        }
        let mut written = Vec::new();
        for (name, value) in fields.iter() {
            encode_field(&mut written, name, value);
        }
        let again =
            Decoder::default().decode(&written, HTTP2_HEADER_LIST_BYTES_MAX).expect("what we write can be read");
        assert!(again.iter().eq(fields.iter()));
        if let Ok(head) = RequestHead::new(fields) {
            let _ = head.to_request();
        }
    }
}
