//! A rendition published by RTMP: one connection. Before it: [`crate::job`] has the rendition's tags; after it: the node.
use std::io::{self, Read as _, Write as _};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use bytes::Buf as _;
use millstream_proto::amf0::{self, Value};
use millstream_proto::media::TagKind;
use millstream_proto::rtmp::address::{AddressError, PushAddress};
use millstream_proto::rtmp::{ClientEvent, ClientSession, SessionError};
use millstream_proto::time::Time;
use rustix::net::{RecvFlags, recv};

use super::{LOOK_EVERY, Port, connect, is_wait};
use crate::protocol::SecretUrl;
use crate::transcode::Tag;

/// From the connection to the node's yes.
const ACCEPT_WAIT: Duration = Duration::from_secs(5);
/// A node that takes nothing for so long has gone.
const STALL: Duration = Duration::from_secs(5);
/// For the goodbye.
const GOODBYE_WAIT: Duration = Duration::from_millis(200);
/// Chunk size, bytes: a frame is one chunk more often than not.
const CHUNK_BYTES: usize = 1 << 20;
const READ_BYTES: usize = 4 << 10;
/// Characters of the node's own words that are told.
const WORDS_MAX: usize = 200;

/// Why a connection is no more. Never holds the address.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub(crate) enum PublishError {
    /// No address of a stream.
    #[error("the address to publish at: {0}")]
    Address(#[from] AddressError),
    /// By TLS: the worker has none.
    #[error("the address to publish at is rtmps://, which a worker does not speak")]
    Secure,
    /// The node says no.
    #[error("the stream was refused: {0}")]
    Refused(String),
    /// The node ended it.
    #[error("the stream was ended: {0}")]
    Ended(String),
    /// It does not speak RTMP as it should.
    #[error(transparent)]
    Session(#[from] SessionError),
    /// The connection failed.
    #[error("the connection to publish by: {0}")]
    Io(#[from] io::Error),
    /// It is not wanted any more.
    #[error("it is not wanted any more")]
    Unwanted,
}

/// One publishing connection.
pub(crate) struct Publisher {
    stream: TcpStream,
    session: ClientSession,
}

impl Publisher {
    /// Connects, and returns when the node has said yes. `wanted` is asked all the while.
    pub(crate) fn open(url: &SecretUrl, wanted: impl Fn() -> bool) -> Result<Self, PublishError> {
        let address: PushAddress = url.expose().parse()?;
        if address.secure {
            return Err(PublishError::Secure);
        }
        let stream = connect(Port::Rtmp, &address.host, address.port)?;
        stream.set_write_timeout(Some(STALL))?;
        let mut config = address.client_config();
        config.chunk_size = CHUNK_BYTES;
        let mut publisher = Self { stream, session: ClientSession::new(Time::ZERO, config) };
        let until = Instant::now() + ACCEPT_WAIT;
        let mut buffer = [0; READ_BYTES];
        loop {
            publisher.flush()?;
            match publisher.stream.read(&mut buffer) {
                Ok(0) => return Err(io::Error::from(io::ErrorKind::UnexpectedEof).into()),
                Ok(length) => {
                    if publisher.take(buffer.get(..length).unwrap_or_default())? {
                        publisher.flush()?;
                        return Ok(publisher);
                    }
                }
                Err(error) if is_wait(&error) => {}
                Err(error) => return Err(error.into()),
            }
            if !wanted() {
                return Err(PublishError::Unwanted);
            }
            if Instant::now() >= until {
                return Err(io::Error::from(io::ErrorKind::TimedOut).into());
            }
        }
    }

    /// Sends a tag, and looks at what the node says.
    pub(crate) fn send(&mut self, tag: &Tag) -> Result<(), PublishError> {
        if tag.kind == TagKind::Script {
            let prefix = amf0::encode(&[Value::string("@setDataFrame")]);
            self.session.send(tag.kind, tag.timestamp_ms, &[&prefix, &tag.body[..]].concat())?;
        } else {
            self.session.send(tag.kind, tag.timestamp_ms, &tag.body)?;
        }
        self.listen()
    }

    /// Takes what the node has said, without a wait, and answers it.
    pub(crate) fn listen(&mut self) -> Result<(), PublishError> {
        self.flush()?;
        let mut buffer = [0; READ_BYTES];
        loop {
            match recv(&self.stream, &mut buffer, RecvFlags::DONTWAIT) {
                Ok((0, _)) => return Err(io::Error::from(io::ErrorKind::UnexpectedEof).into()),
                Ok((length, _)) => drop(self.take(buffer.get(..length).unwrap_or_default())?),
                Err(error) if is_wait(&error.into()) => break,
                Err(error) => return Err(io::Error::from(error).into()),
            }
        }
        self.flush()
    }

    /// Says goodbye.
    pub(crate) fn finish(mut self) {
        self.session.finish();
        let said = self.stream.set_write_timeout(Some(GOODBYE_WAIT)).is_ok() && self.flush().is_ok();
        if said && self.stream.shutdown(std::net::Shutdown::Write).is_ok() {
            // What the node has said meanwhile is read: unread bytes would reset the connection, and the goodbye would be lost with it.
            let until = Instant::now() + GOODBYE_WAIT;
            let _ = self.stream.set_read_timeout(Some(LOOK_EVERY));
            let mut buffer = [0; READ_BYTES];
            while Instant::now() < until && self.stream.read(&mut buffer).is_ok_and(|length| length > 0) {}
        }
    }

    /// Whether what came is the node's yes.
    fn take(&mut self, bytes: &[u8]) -> Result<bool, PublishError> {
        self.session.handle_input(Time::ZERO, bytes)?;
        let mut ready = false;
        while let Some(event) = self.session.poll_event() {
            match event {
                ClientEvent::Ready => ready = true,
                ClientEvent::Refused { code, description } => {
                    return Err(PublishError::Refused(words(&code, &description)));
                }
                ClientEvent::Ended { code, description } => {
                    return Err(PublishError::Ended(words(&code, &description)));
                }
                _ => {}
            }
        }
        Ok(ready)
    }

    fn flush(&mut self) -> Result<(), PublishError> {
        while let Some(mut output) = self.session.poll_output() {
            let until = Instant::now() + STALL;
            while output.has_remaining() {
                match self.stream.write(&output) {
                    Ok(0) => return Err(io::Error::from(io::ErrorKind::WriteZero).into()),
                    Ok(length) => output.advance(length),
                    Err(error) if is_wait(&error) && Instant::now() < until => {}
                    Err(error) => return Err(error.into()),
                }
            }
        }
        Ok(())
    }
}

/// The node's words, cut and without control characters.
fn words(code: &str, description: &str) -> String {
    let words = [code, description].join(" ");
    words.trim().chars().filter(|c| !c.is_control()).take(WORDS_MAX).collect()
}
