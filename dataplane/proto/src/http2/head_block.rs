//! Answer heads as header blocks: made of the HTTP/1 text that the engine writes anyway, once, and shared by all who get the same answer.
use bytes::Bytes;

use super::hpack::encode_field;
use crate::limits::{HTTP_HEADERS_MAX, HTTP2_FRAME_BYTES_MAX};

/// A text that is no answer's head.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum HeadBlockError {
    /// It is not HTTP/1, not whole, or has too many headers.
    #[error("this is not the whole head of an HTTP/1 answer")]
    Syntax,
    /// A status below 200: 101 does not exist in HTTP/2, and others are no answers.
    #[error("the status {0} is no answer's")]
    Informational(u16),
    /// It does not fit into one frame.
    #[error("the head does not fit into one frame")]
    Long,
}

/// The head of an answer. A clone shares its bytes.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct HeadBlock {
    block: Bytes,
    status: u16,
    head_bytes: usize,
    content_length: Option<u64>,
}

impl HeadBlock {
    /// Makes it of an HTTP/1 head, which a body may follow. Headers of one connection are left out: `Connection` and what it names,
    /// `Keep-Alive`, `Proxy-Connection`, `Transfer-Encoding`, `Upgrade`.
    pub fn of_http1(text: &[u8]) -> Result<Self, HeadBlockError> {
        let mut headers = [httparse::EMPTY_HEADER; HTTP_HEADERS_MAX];
        let mut parsed = httparse::Response::new(&mut headers);
        let Ok(httparse::Status::Complete(head_bytes)) = parsed.parse(text) else {
            return Err(HeadBlockError::Syntax);
        };
        let status = parsed.code.ok_or(HeadBlockError::Syntax)?;
        if status < 200 {
            return Err(HeadBlockError::Informational(status));
        }
        let (mut block, mut content_length) = (status_block(status), None);
        let named: Vec<&[u8]> = parsed
            .headers
            .iter()
            .filter(|header| header.name.eq_ignore_ascii_case("Connection"))
            .flat_map(|header| header.value.split(|byte| *byte == b','))
            .map(<[u8]>::trim_ascii)
            .collect();
        for header in parsed.headers.iter() {
            let name = header.name.to_ascii_lowercase();
            let is_of_connection = ["connection", "keep-alive", "proxy-connection", "transfer-encoding", "upgrade"]
                .contains(&&*name)
                || named.iter().any(|named| named.eq_ignore_ascii_case(name.as_bytes()));
            if name == "content-length" {
                let digits = std::str::from_utf8(header.value.trim_ascii()).ok();
                content_length = Some(digits.and_then(|digits| digits.parse().ok()).ok_or(HeadBlockError::Syntax)?);
            }
            if !is_of_connection {
                encode_field(&mut block, name.as_bytes(), header.value.trim_ascii());
            }
        }
        Self::new(block, status, head_bytes, content_length)
    }

    fn new(
        block: Vec<u8>,
        status: u16,
        head_bytes: usize,
        content_length: Option<u64>,
    ) -> Result<Self, HeadBlockError> {
        // A byte is left for a change of the table's size, which connections may have to say before their first block.
        if block.len() >= HTTP2_FRAME_BYTES_MAX {
            return Err(HeadBlockError::Long);
        }
        Ok(Self { block: block.into(), status, head_bytes, content_length })
    }

    /// The payload of the HEADERS frame.
    pub const fn block(&self) -> &Bytes {
        &self.block
    }

    /// The status.
    pub const fn status(&self) -> u16 {
        self.status
    }

    /// Bytes of the body; `None`: the head does not say, and the body ends when its sender says so.
    pub const fn body_bytes(&self) -> Option<u64> {
        match self.status {
            // They have none, whatever their head says (RFC 9110, 8.6).
            204 | 304 => Some(0),
            _ => self.content_length,
        }
    }

    /// Bytes of the text that were the head: what follows is the body.
    pub const fn head_bytes(&self) -> usize {
        self.head_bytes
    }
}

/// A block with the status alone, in front of others or as an answer of its own.
pub(super) fn status_block(status: u16) -> Vec<u8> {
    let mut block = Vec::new();
    encode_field(&mut block, b":status", format!("{status:03}").as_bytes());
    block
}

#[cfg(test)]
mod tests {
    use super::super::hpack::Decoder;
    use super::*;
    use crate::http::response::{Body, Cache, Head, error};

    fn lines(head: &HeadBlock) -> Vec<String> {
        let fields = Decoder::default().decode(head.block(), usize::MAX).unwrap();
        let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
        fields.iter().map(|(name, value)| format!("{}: {}", text(name), text(value))).collect()
    }

    #[test]
    fn a_stream_s_head() {
        let text =
            Head::new(200, Body::Chunked, Cache::NoStore, true).content_type("video/x-flv").date(784_111_777).finish();
        let head = HeadBlock::of_http1(&text).unwrap();
        assert_eq!((head.status(), head.head_bytes()), (200, text.len()));
        assert_eq!(
            lines(&head),
            [
                ":status: 200",
                "cache-control: no-store",
                "access-control-allow-origin: *",
                "access-control-expose-headers: Age, Date",
                "content-type: video/x-flv",
                "date: Sun, 06 Nov 1994 08:49:37 GMT",
            ]
        );
        assert!(head.block().len() < text.len() / 2, "{}", head.block().len());
        assert_eq!(head.body_bytes(), None);
    }

    #[test]
    fn answers_that_never_have_a_body() {
        for text in
            ["204 No Content\r\n", "304 Not Modified\r\nContent-Length: 9\r\n", "200 OK\r\nContent-Length: 0\r\n"]
        {
            let head = HeadBlock::of_http1(format!("HTTP/1.1 {text}\r\n").as_bytes()).unwrap();
            assert_eq!(head.body_bytes(), Some(0), "{text}");
        }
    }

    #[test]
    fn a_whole_answer_is_split() {
        let text = error(404, "no stream of that name is on air", false, false, None);
        let head = HeadBlock::of_http1(&text).unwrap();
        assert_eq!(&text[head.head_bytes()..], b"404 Not Found: no stream of that name is on air\n");
        assert!(lines(&head).contains(&"content-length: 48".to_owned()));
        assert_eq!(head.body_bytes(), Some(48));
        assert!(!lines(&head).iter().any(|line| line.starts_with("connection")));
    }

    #[test]
    fn headers_of_one_connection_are_left_out() {
        let text = b"HTTP/1.1 426 Upgrade Required\r\nUpgrade: websocket\r\nConnection: X-Hop, Upgrade\r\nX-Hop: 1\r\n\
            Keep-Alive: timeout=5\r\nProxy-Connection: close\r\nTransfer-Encoding: chunked\r\nX-End: 2\r\nSet-Cookie: a=b\r\n\r\n";
        assert_eq!(lines(&HeadBlock::of_http1(text).unwrap()), [":status: 426", "x-end: 2", "set-cookie: a=b"]);
    }

    #[test]
    fn texts_that_are_none() {
        let check = |text: &[u8], expected: HeadBlockError| assert_eq!(HeadBlock::of_http1(text), Err(expected));
        check(b"", HeadBlockError::Syntax);
        check(b"HTTP/1.1 200 OK\r\nA: b\r\n", HeadBlockError::Syntax);
        check(b"GET / HTTP/1.1\r\n\r\n", HeadBlockError::Syntax);
        check(b"HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\n", HeadBlockError::Syntax);
        check(b"HTTP/1.1 101 Switching Protocols\r\n\r\n", HeadBlockError::Informational(101));
        let long = format!("HTTP/1.1 200 OK\r\nA: {}\r\n\r\n", "{".repeat(20_000));
        check(long.as_bytes(), HeadBlockError::Long);
    }
}
