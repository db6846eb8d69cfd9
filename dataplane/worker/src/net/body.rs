//! The answer to a GET, sans-IO: its head, and its body out of the chunks. Before it: [`super::source`] reads a socket; after it: FLV.
use httparse::{EMPTY_HEADER, Response, Status};

/// Bytes of a head.
const HEAD_BYTES_MAX: usize = 16 << 10;
const HEADERS_MAX: usize = 64;

/// An answer that is no stream.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[non_exhaustive]
pub(crate) enum BodyError {
    /// The server says no.
    #[error("the server answers with status {0}")]
    Status(u16),
    /// No HTTP, or HTTP that is too long.
    #[error("the answer is not HTTP")]
    NotHttp,
    /// A chunk without its size.
    #[error("the answer's chunks are malformed")]
    Chunk,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum State {
    Head,
    /// To the end of the connection.
    Plain,
    Size,
    Extension,
    SizeEnd,
    Data,
    DataEnd,
    Ended,
}

/// Takes bytes of an answer in any pieces.
#[derive(Debug)]
pub(crate) struct Body {
    state: State,
    head: Vec<u8>,
    left: u64,
    digits: u32,
}

impl Body {
    pub(crate) fn new() -> Self {
        Self { state: State::Head, head: Vec::new(), left: 0, digits: 0 }
    }

    /// The last chunk has come.
    pub(crate) fn ended(&self) -> bool {
        self.state == State::Ended
    }

    /// The next piece of body at the front of `input`, which may be empty; moves `input` on.
    pub(crate) fn next<'a>(&mut self, input: &mut &'a [u8]) -> Result<&'a [u8], BodyError> {
        match self.state {
            State::Head => {
                self.head(input)?;
                Ok(&[])
            }
            State::Plain => Ok(std::mem::take(input)),
            State::Data => {
                let count = input.len().min(usize::try_from(self.left).unwrap_or(usize::MAX));
                let (piece, rest) = input.split_at(count);
                *input = rest;
                self.left -= count as u64;
                if self.left == 0 {
                    self.state = State::DataEnd;
                }
                Ok(piece)
            }
            _ => {
                if let Some((&byte, rest)) = input.split_first() {
                    *input = rest;
                    self.state = self.between_data(byte)?;
                }
                Ok(&[])
            }
        }
    }

    fn between_data(&mut self, byte: u8) -> Result<State, BodyError> {
        Ok(match (self.state, byte) {
            (State::Size, b'0'..=b'9' | b'a'..=b'f' | b'A'..=b'F') if self.digits < 8 => {
                self.left = self.left << 4 | u64::from((byte as char).to_digit(16).unwrap_or(0));
                self.digits += 1;
                State::Size
            }
            (State::Size, b';') if self.digits > 0 => State::Extension,
            (State::Size, b'\r') if self.digits > 0 => State::SizeEnd,
            (State::Extension, b'\r') => State::SizeEnd,
            (State::Extension, _) => State::Extension,
            (State::SizeEnd, b'\n') => {
                self.digits = 0;
                if self.left == 0 { State::Ended } else { State::Data }
            }
            (State::DataEnd, b'\r') => State::DataEnd,
            (State::DataEnd, b'\n') => State::Size,
            // Trailers.
            (State::Ended, _) => State::Ended,
            _ => return Err(BodyError::Chunk),
        })
    }

    fn head(&mut self, input: &mut &[u8]) -> Result<(), BodyError> {
        let before = self.head.len();
        let (new, _) = input.split_at(input.len().min(HEAD_BYTES_MAX - before));
        self.head.extend_from_slice(new);
        let mut headers = [EMPTY_HEADER; HEADERS_MAX];
        let mut response = Response::new(&mut headers);
        match response.parse(&self.head) {
            Ok(Status::Complete(end)) => {
                match response.code {
                    Some(200) => {}
                    Some(status) => return Err(BodyError::Status(status)),
                    None => return Err(BodyError::NotHttp),
                }
                let chunked = response.headers.iter().any(|header| {
                    header.name.eq_ignore_ascii_case("transfer-encoding")
                        && header.value.trim_ascii().eq_ignore_ascii_case(b"chunked")
                });
                self.state = if chunked { State::Size } else { State::Plain };
                *input = input.get(end.saturating_sub(before)..).unwrap_or_default();
                self.head = Vec::new();
                Ok(())
            }
            Ok(Status::Partial) if self.head.len() < HEAD_BYTES_MAX => {
                *input = &[];
                Ok(())
            }
            _ => Err(BodyError::NotHttp),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(bytes: &[u8], piece: usize) -> Result<(Vec<u8>, bool), BodyError> {
        let (mut body, mut out) = (Body::new(), Vec::new());
        for mut piece in bytes.chunks(piece) {
            while !piece.is_empty() {
                out.extend_from_slice(body.next(&mut piece)?);
            }
        }
        Ok((out, body.ended()))
    }

    #[test]
    fn bodies_in_pieces_of_any_size() {
        let chunked = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: Chunked\r\n\r\n5\r\nhello\r\n1;x=y\r\n!\r\n0\r\n\r\n";
        let plain = b"HTTP/1.0 200 OK\r\nX: y\r\n\r\nhello!";
        for piece in [1, 2, 7, 1000] {
            assert_eq!(read(chunked, piece), Ok((b"hello!".to_vec(), true)), "{piece}");
            assert_eq!(read(plain, piece), Ok((b"hello!".to_vec(), false)));
        }
    }

    #[test]
    fn what_is_no_stream() {
        assert_eq!(read(b"HTTP/1.1 404 Not Found\r\n\r\n", 9), Err(BodyError::Status(404)));
        assert_eq!(read(b"SSH-2.0-OpenSSH\r\n", 9), Err(BodyError::NotHttp));
        assert_eq!(read(&[&b"HTTP/1.1 200 OK\r\nX: "[..], &vec![b'y'; 20_000]].concat(), 999), Err(BodyError::NotHttp));
        let head = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n";
        for chunk in [&b"\r\n"[..], b"zz\r\n", b"123456789\r\n", b"1\r\nab"] {
            assert_eq!(read(&[head, chunk].concat(), 9), Err(BodyError::Chunk));
        }
    }
}
