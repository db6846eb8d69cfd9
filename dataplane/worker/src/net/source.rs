//! A stream as HTTP-FLV: one connection, read to tags. Before it: an address of the node; after it: the decoder's thread, or a snapshot.
use std::io::{self, Read as _, Write as _};
use std::net::TcpStream;

use bytes::Bytes;
use millstream_proto::flv::{Item, ReadError, Reader};
use millstream_proto::media::TagKind;

use super::body::{Body, BodyError};
use super::{Port, connect, is_wait};
use crate::protocol::SecretUrl;

const READ_BYTES: usize = 64 << 10;
const PORT: u16 = 80;

/// Why there is no stream, or no more of it. Never holds the address.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub(crate) enum SourceError {
    /// No address of a stream.
    #[error("the source's address is not http://HOST:PORT/PATH")]
    Address,
    /// There is no such stream.
    #[error("the server has no such stream")]
    Gone,
    /// See [`BodyError`].
    #[error(transparent)]
    Body(BodyError),
    /// Not FLV.
    #[error(transparent)]
    Flv(#[from] ReadError),
    /// The connection failed, or is over.
    #[error("the connection to the source: {0}")]
    Io(#[from] io::Error),
}

/// A tag as it came.
#[derive(Clone, Debug)]
pub(crate) struct SourceTag {
    pub(crate) kind: TagKind,
    pub(crate) timestamp_ms: u32,
    pub(crate) body: Bytes,
}

impl SourceTag {
    /// A frame of video, and no configuration.
    pub(crate) fn is_frame(&self) -> bool {
        // As FLV has had it ever since (7 is H.264), and by FourCC: `CodedFrames` and `CodedFramesX`.
        self.kind == TagKind::Video
            && match *self.body {
                [first, 1, ..] if first & 0x8F == 7 => true,
                [first, ..] => first & 0x80 != 0 && matches!(first & 0x0F, 1 | 3),
                [] => false,
            }
    }
}

/// Host, port, and path with its query.
fn parts(url: &str) -> Option<(&str, u16, &str)> {
    let rest = url.strip_prefix("http://")?;
    let (authority, path) = rest.find('/').map(|at| rest.split_at(at))?;
    let (host, port) = match authority.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
        Some((host, port)) => (host, port.strip_prefix(':')),
        None => authority.split_once(':').map_or((authority, None), |(host, port)| (host, Some(port))),
    };
    let port = port.map_or(Some(PORT), |port| port.parse().ok())?;
    let clean = !host.is_empty() && !url.chars().any(|c| c.is_whitespace() || c.is_control());
    clean.then_some((host, port, path))
}

/// The address without its query, by which two requests are for the same stream.
pub(crate) fn stream_of(url: &SecretUrl) -> String {
    url.expose().split('?').next().unwrap_or_default().to_owned()
}

/// One connection to a source.
pub(crate) struct SourceConnection {
    stream: TcpStream,
    body: Body,
    reader: Reader,
    buffer: Vec<u8>,
}

impl SourceConnection {
    /// Connects and asks.
    pub(crate) fn open(url: &SecretUrl) -> Result<Self, SourceError> {
        let (host, port, path) = parts(url.expose()).ok_or(SourceError::Address)?;
        let mut stream = connect(Port::Http, host, port)?;
        let host = if host.contains(':') { format!("[{host}]") } else { host.to_owned() };
        let request = format!(
            "GET {path} HTTP/1.1\r\nHost: {host}:{port}\r\nUser-Agent: Millstream-Worker\r\nAccept: video/x-flv\r\n\r\n"
        );
        stream.write_all(request.as_bytes())?;
        Ok(Self { stream, body: Body::new(), reader: Reader::new(), buffer: vec![0; READ_BYTES] })
    }

    /// Sets how long a read waits.
    pub(crate) fn wait_at_most(&self, wait: std::time::Duration) -> Result<(), SourceError> {
        Ok(self.stream.set_read_timeout(Some(wait.max(std::time::Duration::from_millis(1))))?)
    }

    /// Reads once and appends the tags that are whole. `false`: nothing came in time.
    pub(crate) fn read(&mut self, tags: &mut Vec<SourceTag>) -> Result<bool, SourceError> {
        let length = match self.stream.read(&mut self.buffer) {
            Ok(0) => return Err(io::Error::from(io::ErrorKind::UnexpectedEof).into()),
            Ok(length) => length,
            Err(error) if is_wait(&error) => return Ok(false),
            Err(error) => return Err(error.into()),
        };
        let mut input = self.buffer.get(..length).unwrap_or_default();
        while !input.is_empty() {
            let piece = self.body.next(&mut input).map_err(|error| match error {
                BodyError::Status(404) => SourceError::Gone,
                other => SourceError::Body(other),
            })?;
            self.reader.push(piece)?;
            while let Some(item) = self.reader.poll()? {
                if let Item::Tag { kind, timestamp_ms, body } = item {
                    tags.push(SourceTag { kind, timestamp_ms, body });
                }
            }
        }
        if self.body.ended() {
            return Err(io::Error::from(io::ErrorKind::UnexpectedEof).into());
        }
        Ok(true)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses() {
        assert_eq!(parts("http://127.0.0.1:8080/cam/live.flv?job=x"), Some(("127.0.0.1", 8080, "/cam/live.flv?job=x")));
        assert_eq!(parts("http://[::1]:81/a"), Some(("::1", 81, "/a")));
        assert_eq!(parts("http://[::1]/a"), Some(("::1", 80, "/a")));
        assert_eq!(parts("http://host/a"), Some(("host", 80, "/a")));
        for wrong in ["https://h/a", "http://h", "http:///a", "http://h:x/a", "http://h/a b", "http://h/a\r\nX: y", ""]
        {
            assert_eq!(parts(wrong), None, "{wrong}");
        }
        assert_eq!(stream_of(&SecretUrl::new("http://h/cam/live.flv?job=x")), "http://h/cam/live.flv");
    }
}
