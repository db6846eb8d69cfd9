//! One connection of an HLS viewer, sans-IO: which request is out, and the answer as it comes: head, then a body that is kept or only
//! counted. Before it: [`super::viewer`] reads the socket; after it: [`super::viewer`] acts on the whole answer.
use crate::limits::{HTTP_HEAD_BYTES_MAX, HTTP_HEADERS_MAX, PART_BYTES_MAX, PLAYLIST_BYTES_MAX};

use super::edge::Wanted;
use super::playlist::Key;

/// Why an answer is of no use: always what the server sent.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub(crate) enum Unreadable {
    #[error("answered with something that is not HTTP")]
    NotHttp,
    #[error("answered without Content-Length")]
    NoLength,
    #[error("answered with more than can be: {0} bytes")]
    Long(u64),
    #[error("sent something that is not a playlist: {0}")]
    Playlist(&'static str),
    #[error("sent something that is not fragmented MP4: {0}")]
    Mp4(&'static str),
}

/// What was asked for.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum Ask {
    Master,
    /// The media playlist; with a key, once that part is in it.
    Playlist(Option<Key>),
    Init(String),
    Part(Wanted),
    Segment(Wanted),
}

impl Ask {
    /// For people.
    pub(crate) fn name(&self) -> &'static str {
        match self {
            Self::Master => "the multivariant playlist",
            Self::Playlist(_) => "a media playlist",
            Self::Init(_) => "an initialisation",
            Self::Part(_) => "a part",
            Self::Segment(_) => "a segment",
        }
    }
}

/// Where in an answer a lane is.
#[derive(Debug, Default)]
pub(crate) struct Answer {
    head: Vec<u8>,
    /// Status and bytes that are still to come, once the head is whole.
    body: Option<(u16, u64)>,
    /// The body, where it is kept.
    pub(crate) kept: Vec<u8>,
    keep: bool,
}

impl Answer {
    /// Takes bytes that belong to this answer; how many of them, and whether the head was made whole by them. `keep` is asked then whether
    /// the body is to be kept.
    pub(crate) fn take(&mut self, bytes: &[u8], keep: impl FnOnce(u16) -> bool) -> Result<usize, Unreadable> {
        let mut used = 0;
        if self.body.is_none() {
            let before = self.head.len();
            let room = HTTP_HEAD_BYTES_MAX - before;
            self.head.extend_from_slice(&bytes[..bytes.len().min(room)]);
            let Some((end, status, length)) = parse(&self.head)? else {
                return if self.head.len() == HTTP_HEAD_BYTES_MAX { Err(Unreadable::NotHttp) } else { Ok(bytes.len()) };
            };
            used = end - before;
            self.head = Vec::new();
            self.body = Some((status, length));
            self.keep = keep(status);
            let most = if self.keep { PLAYLIST_BYTES_MAX.max(PART_BYTES_MAX) } else { u64::MAX };
            if length > most {
                return Err(Unreadable::Long(length));
            }
        }
        if let Some((_, left)) = &mut self.body {
            let count = (bytes.len() - used).min(usize::try_from(*left).unwrap_or(usize::MAX));
            if self.keep {
                self.kept.extend_from_slice(&bytes[used..used + count]);
            }
            *left -= count as u64;
            used += count;
        }
        Ok(used)
    }

    /// Bytes of a body that nobody keeps: they need not be copied.
    pub(crate) fn to_discard(&self) -> usize {
        match self.body {
            Some((_, left)) if !self.keep => usize::try_from(left).unwrap_or(usize::MAX),
            _ => 0,
        }
    }

    /// Counts bytes that were discarded.
    pub(crate) fn discarded(&mut self, count: usize) {
        if let Some((_, left)) = &mut self.body {
            *left = left.saturating_sub(count as u64);
        }
    }

    /// The status, when all is there.
    pub(crate) fn whole(&self) -> Option<u16> {
        self.body.filter(|(_, left)| *left == 0).map(|(status, _)| status)
    }

    /// Whether anything of it has come.
    pub(crate) fn begun(&self) -> bool {
        self.body.is_some() || !self.head.is_empty()
    }
}

/// Where the head ends, status, length of the body; `None` while it is not whole.
fn parse(bytes: &[u8]) -> Result<Option<(usize, u16, u64)>, Unreadable> {
    let mut headers = [httparse::EMPTY_HEADER; HTTP_HEADERS_MAX];
    let mut response = httparse::Response::new(&mut headers);
    match response.parse(bytes) {
        Ok(httparse::Status::Partial) => Ok(None),
        Ok(httparse::Status::Complete(end)) => {
            let status = response.code.ok_or(Unreadable::NotHttp)?;
            let length = response.headers.iter().find(|header| header.name.eq_ignore_ascii_case("content-length"));
            let length = length.and_then(|h| std::str::from_utf8(h.value).ok()?.trim().parse().ok());
            Ok(Some((end, status, length.ok_or(Unreadable::NoLength)?)))
        }
        Err(_) => Err(Unreadable::NotHttp),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_in_pieces_of_any_size_follow_one_another() {
        let wire = b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhelloHTTP/1.1 404 No\r\ncontent-length: 0\r\n\r\n";
        for piece in 1..wire.len() {
            let (mut answer, mut got) = (Answer::default(), Vec::new());
            for bytes in wire.chunks(piece) {
                let mut rest = bytes;
                while !rest.is_empty() {
                    let used = answer.take(rest, |status| status == 200).unwrap();
                    rest = &rest[used..];
                    if let Some(status) = answer.whole() {
                        got.push((status, std::mem::take(&mut answer).kept));
                    }
                }
            }
            assert_eq!(got, [(200, b"hello".to_vec()), (404, vec![])], "pieces of {piece}");
        }
    }

    #[test]
    fn a_body_that_nobody_keeps_is_only_counted() {
        let mut answer = Answer::default();
        answer.take(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n12345", |_| false).unwrap();
        assert_eq!((answer.to_discard(), answer.whole()), (95, None));
        answer.discarded(95);
        assert_eq!((answer.whole(), answer.kept.len()), (Some(200), 0));
    }

    #[test]
    fn what_is_no_answer_is_named() {
        let refuse = |bytes: &[u8]| Answer::default().take(bytes, |_| true).unwrap_err();
        assert_eq!(refuse(b"SSH-2.0\r\n"), Unreadable::NotHttp);
        assert_eq!(refuse(&vec![b'x'; 20_000]), Unreadable::NotHttp);
        assert_eq!(refuse(b"HTTP/1.1 200 OK\r\n\r\n"), Unreadable::NoLength);
        assert_eq!(refuse(b"HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\n"), Unreadable::NoLength);
        assert_eq!(refuse(b"HTTP/1.1 200 OK\r\nContent-Length: 99999999999\r\n\r\n"), Unreadable::Long(99_999_999_999));
    }
}
