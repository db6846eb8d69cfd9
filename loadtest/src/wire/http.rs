//! HTTP-FLV: the request, the head of the answer, the body out of its chunks, or out of WebSocket messages.
use bytes::Bytes;
use millstream_proto::flv::{Item, Reader};

use super::messages::{ACCEPT, Messages};
use super::scout::Scout;
use super::{Broken, Heard};
use crate::limits::{HTTP_HEAD_BYTES_MAX, HTTP_HEADERS_MAX};

/// Where in the answer a viewer is.
#[derive(Debug)]
enum Phase {
    Head(Vec<u8>),
    Body(Framing),
}

/// What the body is in.
#[derive(Debug)]
enum Framing {
    Nothing,
    Chunks(Dechunker),
    Messages(Messages),
}

#[derive(Debug)]
pub(crate) struct FlvWire {
    websocket: bool,
    request: Option<Bytes>,
    phase: Phase,
    body: Body,
}

impl FlvWire {
    /// `websocket`: the request is for an upgrade; `parse`: all of it, not only up to the first keyframe.
    pub(crate) fn new(request: Bytes, websocket: bool, parse: bool) -> Self {
        let body = Body { scout: Some(Scout::default()), reader: parse.then(Reader::new) };
        Self { websocket, request: Some(request), phase: Phase::Head(Vec::new()), body }
    }

    pub(super) fn output(&mut self) -> Option<Bytes> {
        self.request.take()
    }

    pub(super) fn take(&mut self, bytes: &[u8], heard: &mut Vec<Heard>) -> Result<(), Broken> {
        let mut rest = bytes;
        let mut head_read = 0;
        if let Phase::Head(head) = &mut self.phase {
            let before = head.len();
            let room = HTTP_HEAD_BYTES_MAX - before;
            head.extend_from_slice(&rest[..rest.len().min(room)]);
            let Some((end, framing)) = parse_head(head, self.websocket)? else {
                return if head.len() == HTTP_HEAD_BYTES_MAX { Err(Broken::NotHttp) } else { Ok(()) };
            };
            head_read = end - before;
            self.phase = Phase::Body(framing);
            heard.push(Heard::Accepted);
        }
        rest = &rest[head_read..];
        match &mut self.phase {
            Phase::Body(Framing::Chunks(dechunker)) => {
                while !rest.is_empty() {
                    let piece = dechunker.next(&mut rest)?;
                    self.body.take(piece, heard)?;
                }
                if dechunker.ended() {
                    heard.push(Heard::Ended);
                }
                Ok(())
            }
            Phase::Body(Framing::Messages(messages)) => {
                while !rest.is_empty() {
                    let piece = messages.next(&mut rest)?;
                    self.body.take(piece, heard)?;
                }
                if messages.ended() {
                    heard.push(Heard::Ended);
                }
                Ok(())
            }
            Phase::Body(Framing::Nothing) => self.body.take(rest, heard),
            Phase::Head(_) => Ok(()),
        }
    }
}

/// Who looks at the body.
#[derive(Debug)]
struct Body {
    scout: Option<Scout>,
    reader: Option<Reader>,
}

impl Body {
    fn take(&mut self, bytes: &[u8], heard: &mut Vec<Heard>) -> Result<(), Broken> {
        if let Some(scout) = &mut self.scout
            && scout.take(bytes)?
        {
            self.scout = None;
            heard.push(Heard::Keyframe);
        }
        let Some(reader) = &mut self.reader else { return Ok(()) };
        reader.push(bytes)?;
        while let Some(item) = reader.poll()? {
            if let Item::Tag { kind, timestamp_ms, body } = item {
                heard.push(Heard::Message { kind, timestamp: timestamp_ms, body });
            }
        }
        Ok(())
    }
}

/// Where the head ends and what the body is in; `None` while it is not whole.
fn parse_head(bytes: &[u8], websocket: bool) -> Result<Option<(usize, Framing)>, Broken> {
    let mut headers = [httparse::EMPTY_HEADER; HTTP_HEADERS_MAX];
    let mut response = httparse::Response::new(&mut headers);
    match response.parse(bytes) {
        Ok(httparse::Status::Complete(end)) => match response.code {
            Some(status) if status == if websocket { 101 } else { 200 } => {
                let says = |name: &str, value: &[u8]| {
                    let mut headers = response.headers.iter();
                    headers.any(|header| {
                        header.name.eq_ignore_ascii_case(name) && header.value.trim_ascii().eq_ignore_ascii_case(value)
                    })
                };
                if websocket && !says("sec-websocket-accept", ACCEPT) {
                    return Err(Broken::NotHttp);
                }
                let framing = match says("transfer-encoding", b"chunked") {
                    _ if websocket => Framing::Messages(Messages::default()),
                    true => Framing::Chunks(Dechunker::default()),
                    false => Framing::Nothing,
                };
                Ok(Some((end, framing)))
            }
            Some(status) => Err(Broken::Status(status)),
            None => Err(Broken::NotHttp),
        },
        Ok(httparse::Status::Partial) => Ok(None),
        Err(_) => Err(Broken::NotHttp),
    }
}

/// Takes the chunks off a body, without a copy.
#[derive(Debug, Default)]
struct Dechunker {
    state: Chunk,
    /// Size so far, or bytes left.
    left: u64,
    digits: u32,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
enum Chunk {
    #[default]
    Size,
    /// A chunk extension, to the end of its line.
    Extension,
    /// The line feed behind the size.
    SizeEnd,
    Data,
    /// The line break behind the data.
    DataEnd,
    Ended,
}

impl Dechunker {
    fn ended(&self) -> bool {
        self.state == Chunk::Ended
    }

    /// The next piece of body at the front of `input`, which may be empty; moves `input` on.
    fn next<'a>(&mut self, input: &mut &'a [u8]) -> Result<&'a [u8], Broken> {
        if self.state == Chunk::Data {
            let count = input.len().min(usize::try_from(self.left).unwrap_or(usize::MAX));
            let (piece, rest) = input.split_at(count);
            *input = rest;
            self.left -= count as u64;
            if self.left == 0 {
                self.state = Chunk::DataEnd;
            }
            return Ok(piece);
        }
        let Some((&byte, rest)) = input.split_first() else { return Ok(&[]) };
        *input = rest;
        self.state = match (self.state, byte) {
            (Chunk::Size, b'0'..=b'9' | b'a'..=b'f' | b'A'..=b'F') if self.digits < 8 => {
                self.left = self.left << 4 | u64::from((byte as char).to_digit(16).unwrap_or(0));
                self.digits += 1;
                Chunk::Size
            }
            (Chunk::Size, b';') if self.digits > 0 => Chunk::Extension,
            (Chunk::Extension, b'\r') => Chunk::SizeEnd,
            (Chunk::Extension, _) => Chunk::Extension,
            (Chunk::Size, b'\r') if self.digits > 0 => Chunk::SizeEnd,
            (Chunk::SizeEnd, b'\n') => {
                self.digits = 0;
                if self.left == 0 { Chunk::Ended } else { Chunk::Data }
            }
            (Chunk::DataEnd, b'\r') => Chunk::DataEnd,
            (Chunk::DataEnd, b'\n') => Chunk::Size,
            // Trailers, and the empty line at the very end.
            (Chunk::Ended, _) => Chunk::Ended,
            _ => return Err(Broken::Chunk),
        };
        Ok(&[])
    }
}

#[cfg(test)]
mod tests {
    use bytes::BytesMut;
    use millstream_proto::flv::{file_header, write_tag};
    use millstream_proto::media::TagKind;

    use super::*;

    fn body() -> Vec<u8> {
        let mut body = BytesMut::from(&file_header(true, true)[..]);
        for (kind, bytes) in [(TagKind::Video, &b"\x17\0\0\0\0x"[..]), (TagKind::Audio, b"\xaf\x01zz")] {
            write_tag(&mut body, kind, 0, bytes).unwrap();
        }
        write_tag(&mut body, TagKind::Video, 40, b"\x17\x01\0\0\0keyframe").unwrap();
        body.to_vec()
    }

    fn chunked(body: &[u8], size: usize) -> Vec<u8> {
        let mut out = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n".to_vec();
        for chunk in body.chunks(size) {
            out.extend_from_slice(format!("{:x};note=1\r\n", chunk.len()).as_bytes());
            out.extend_from_slice(chunk);
            out.extend_from_slice(b"\r\n");
        }
        out.extend_from_slice(b"0\r\n\r\n");
        out
    }

    fn in_messages(body: &[u8], size: usize) -> Vec<u8> {
        let accept = std::str::from_utf8(ACCEPT).unwrap();
        let mut out =
            format!("HTTP/1.1 101 Switching Protocols\r\nSec-WebSocket-Accept: {accept}\r\n\r\n").into_bytes();
        for message in body.chunks(size) {
            if message.len() < 126 {
                out.extend([0x82, message.len() as u8]);
            } else {
                out.extend([&[0x82, 126], &(message.len() as u16).to_be_bytes()[..]].concat());
            }
            out.extend_from_slice(message);
        }
        out.extend([0x88, 2, 3, 0xE8]);
        out
    }

    fn hear(bytes: &[u8], piece: usize, parse: bool) -> Result<Vec<Heard>, Broken> {
        let mut wire = FlvWire::new(Bytes::from_static(b"GET"), bytes.starts_with(b"HTTP/1.1 101"), parse);
        let mut heard = Vec::new();
        for piece in bytes.chunks(piece) {
            wire.take(piece, &mut heard)?;
        }
        Ok(heard)
    }

    #[test]
    fn pieces_of_any_size_say_the_same() {
        for (size, piece) in [(1, 1), (7, 3), (1000, 1), (1000, 10_000), (5, 10_000)] {
            let heard = hear(&chunked(&body(), size), piece, true).unwrap();
            let messages = heard.iter().filter(|h| matches!(h, Heard::Message { .. })).count();
            assert_eq!((heard.first(), messages), (Some(&Heard::Accepted), 3), "{size} {piece}");
            let keyframe = heard.iter().position(|h| *h == Heard::Keyframe);
            let its_message = heard.iter().position(|h| matches!(h, Heard::Message { timestamp: 40, .. }));
            assert!(keyframe < its_message, "the first byte is noticed no later than the whole");
            assert_eq!(heard.last(), Some(&Heard::Ended));
        }
        for piece in [1, 3, 10_000] {
            let heard = hear(&in_messages(&body(), 200), piece, true).unwrap();
            let messages = heard.iter().filter(|h| matches!(h, Heard::Message { .. })).count();
            assert_eq!((heard.first(), messages, heard.last()), (Some(&Heard::Accepted), 3, Some(&Heard::Ended)));
        }
        let plain = [b"HTTP/1.0 200 OK\r\n\r\n", &body()[..]].concat();
        assert_eq!(hear(&plain, 9, false).unwrap(), [Heard::Accepted, Heard::Keyframe]);
    }

    #[test]
    fn what_is_not_a_stream_is_named() {
        let check = |bytes: &[u8], expected: Broken| assert_eq!(hear(bytes, 10_000, false), Err(expected));
        check(b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n", Broken::Status(404));
        check(b"HTTP/1.1 101 x\r\nSec-WebSocket-Accept: x\r\n\r\n", Broken::NotHttp);
        check(b"HTTP/1.1 503 Busy\r\n\r\n", Broken::Status(503));
        check(b"SSH-2.0-OpenSSH_9.2\r\n", Broken::NotHttp);
        check(&vec![b'x'; 20_000], Broken::NotHttp);
        check(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n", Broken::Chunk);
        check(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nfffffffff\r\n", Broken::Chunk);
        let endless = [b"HTTP/1.1 200 OK\r\nX: ", &[b'y'; HTTP_HEAD_BYTES_MAX][..]].concat();
        check(&endless, Broken::NotHttp);
        let garbage = hear(b"HTTP/1.1 200 OK\r\n\r\n<html>sorry</html>", 10_000, false);
        assert!(matches!(garbage, Err(Broken::Flv(_))), "{garbage:?}");
    }
}
