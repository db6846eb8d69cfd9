//! How a viewer's bytes become tags again: HTTP head, chunked coding or WebSocket messages, and FLV, or RTMP by proto's client session. Fails where a
//! tag is torn.
use bytes::{Bytes, BytesMut};
use millstream_hub::package::block::Format;
use millstream_proto::flv::{Item, Reader};
use millstream_proto::media::TagKind;

pub(crate) enum Got {
    /// The status of the answer.
    Status(u16),
    Tag(TagKind, u32, Bytes),
    /// The last chunk, or the close frame.
    LastChunk,
}

/// Reads an HTTP answer that holds FLV.
pub(crate) struct HttpFlv {
    format: Format,
    bytes: BytesMut,
    status: Option<u16>,
    /// Bytes left of the chunk that is being read, its line end included.
    chunk_left: usize,
    over: bool,
    flv: Flv,
}

/// Reads FLV, and looks at what proto's reader does not: the sizes behind the tags, and where the tags end.
#[derive(Default)]
pub(crate) struct Flv {
    reader: Reader,
    pushed: usize,
    read: usize,
}

const FILE_HEADER_BYTES: usize = 13;
const TAG_FRAME_BYTES: usize = 15;

impl Flv {
    fn push(&mut self, bytes: &[u8], got: &mut Vec<Got>) {
        self.reader.push(bytes).expect("the FLV reader has room");
        self.pushed += bytes.len();
        while let Some(item) = self.reader.poll().unwrap_or_else(|error| panic!("a torn tag: {error}")) {
            match item {
                Item::Tag { kind, timestamp_ms, body } => {
                    self.read += TAG_FRAME_BYTES + body.len();
                    got.push(Got::Tag(kind, timestamp_ms, body));
                }
                _ => self.read += FILE_HEADER_BYTES,
            }
        }
    }

    fn check_whole(&self, where_: &str) {
        assert_eq!(self.pushed, self.read, "a torn tag at {where_}");
    }
}

impl HttpFlv {
    pub(crate) fn new(format: Format) -> Self {
        let flv = Flv::default();
        Self { format, bytes: BytesMut::new(), status: None, chunk_left: 0, over: false, flv }
    }

    /// FLV as the body of a stream of HTTP/2, whose status was this.
    pub(crate) fn of_status(status: u16, got: &mut Vec<Got>) -> Self {
        got.push(Got::Status(status));
        Self { status: Some(status), ..Self::new(Format::FlvPlain) }
    }

    /// Takes what was read from the connection.
    pub(crate) fn push(&mut self, bytes: &[u8], got: &mut Vec<Got>) {
        self.bytes.extend_from_slice(bytes);
        if self.status.is_none() {
            let Some(end) = self.bytes.windows(4).position(|four| four == b"\r\n\r\n") else { return };
            let head = self.bytes.split_to(end + 4);
            let digits = std::str::from_utf8(&head[9..12]).expect("a status line");
            let status = digits.parse().expect("a status");
            self.status = Some(status);
            got.push(Got::Status(status));
        }
        match self.format {
            _ if !self.plays() => self.bytes.clear(),
            Format::FlvChunked => while self.next_chunk(got) {},
            Format::FlvWebSocket => while self.next_message(got) {},
            Format::FlvPlain | Format::Rtmp | Format::Framed(_) => {
                let rest = self.bytes.split();
                self.flv.push(&rest, got);
            }
        }
    }

    /// It was let in.
    fn plays(&self) -> bool {
        self.status == Some(if self.format == Format::FlvWebSocket { 101 } else { 200 })
    }

    /// Takes a whole message.
    fn next_message(&mut self, got: &mut Vec<Got>) -> bool {
        let [first, second, rest @ ..] = &self.bytes[..] else { return false };
        assert!(!self.over, "bytes behind the close frame");
        let (head, length) = match (second, rest) {
            (126, [a, b, ..]) => (4, usize::from(u16::from_be_bytes([*a, *b]))),
            (127, rest) if rest.len() >= 8 => {
                (10, rest[..8].iter().fold(0, |length, byte| length << 8 | usize::from(*byte)))
            }
            (126 | 127, _) => return false,
            (short, _) => (2, usize::from(*short)),
        };
        if self.bytes.len() < head + length {
            return false;
        }
        assert!(matches!(first, 0x82 | 0x88), "a torn tag: no message begins here");
        self.over = *first == 0x88;
        let message = self.bytes.split_to(head + length);
        if self.over {
            got.push(Got::LastChunk);
        } else {
            self.flv.push(&message[head..], got);
            self.flv.check_whole("the end of a message");
        }
        true
    }

    fn next_chunk(&mut self, got: &mut Vec<Got>) -> bool {
        if self.bytes.is_empty() {
            return false;
        }
        if self.chunk_left == 0 {
            assert!(!self.over, "bytes behind the last chunk");
            let Some(line) = self.bytes.windows(2).position(|two| two == b"\r\n") else {
                assert!(self.bytes.len() < 12, "a torn tag: no chunk begins here");
                return false;
            };
            let line = self.bytes.split_to(line + 2);
            let digits = std::str::from_utf8(&line[..line.len() - 2]).expect("a torn tag: no chunk size");
            let size =
                usize::from_str_radix(digits, 16).unwrap_or_else(|_| panic!("a torn tag: chunk size {digits:?}"));
            self.chunk_left = size + 2;
            if size == 0 {
                self.over = true;
                got.push(Got::LastChunk);
            }
            return true;
        }
        let data = (self.chunk_left - 2).min(self.bytes.len());
        if data > 0 {
            let part = self.bytes.split_to(data);
            self.chunk_left -= data;
            self.flv.push(&part, got);
            return true;
        }
        if self.bytes.len() < 2 {
            return false;
        }
        assert_eq!(&self.bytes.split_to(2)[..], b"\r\n", "a torn tag: the chunk has no end");
        self.chunk_left = 0;
        self.flv.check_whole("the end of a chunk");
        true
    }

    /// The connection was closed by a server that had time to finish.
    pub(crate) fn check_end(&self) {
        if self.plays() {
            self.flv.check_whole("the end");
            assert!(self.format == Format::FlvPlain || self.over, "no last chunk, or no close frame");
        }
    }
}
