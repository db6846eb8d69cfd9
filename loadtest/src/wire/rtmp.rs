//! RTMP play: a client session, and what is left of one when nobody parses any more.
use bytes::Bytes;
use millstream_proto::media::TagKind;
use millstream_proto::rtmp::{ClientConfig, ClientEvent, ClientSession};
use millstream_proto::time::Time;

use super::{Broken, Heard};
use crate::media::is_keyframe;

/// A drained viewer acknowledges each time it has received so many bytes: half of the window that clients of ours announce.
pub(crate) const ACK_EVERY: u64 = 1_250_000;

#[derive(Debug)]
pub(crate) struct RtmpWire {
    session: ClientSession,
    joined: bool,
    parse: bool,
}

impl RtmpWire {
    /// `parse`: all of it, not only up to the first keyframe.
    pub(crate) fn new(config: ClientConfig, parse: bool) -> Self {
        // The client session has no timers: what time it is makes no difference to it.
        Self { session: ClientSession::new(Time::ZERO, config), joined: false, parse }
    }

    pub(super) fn output(&mut self) -> Option<Bytes> {
        self.session.poll_output()
    }

    pub(super) fn take(&mut self, bytes: &[u8], heard: &mut Vec<Heard>) -> Result<(), Broken> {
        self.session.handle_input(Time::ZERO, bytes)?;
        while let Some(event) = self.session.poll_event() {
            match event {
                ClientEvent::Ready => heard.push(Heard::Accepted),
                ClientEvent::Refused { code, description } => {
                    return Err(Broken::Refused(format!("{code} {description}").trim().to_owned()));
                }
                ClientEvent::Ended { .. } => heard.push(Heard::Ended),
                ClientEvent::Message { kind, timestamp, body } => {
                    let keyframe = kind == TagKind::Video && body.first_chunk().is_some_and(|head| is_keyframe(*head));
                    if keyframe && !self.joined {
                        self.joined = true;
                        heard.push(Heard::Keyframe);
                    }
                    if self.parse {
                        heard.push(Heard::Message { kind, timestamp, body });
                    }
                }
                _ => {}
            }
        }
        Ok(())
    }
}

/// The message that acknowledges so many bytes, as a chunk of its own (RTMP 1.0, sections 5.3.1 and 5.4.3): chunk stream 2, format 0,
/// time 0, length 4, type 3, message stream 0.
pub(crate) fn acknowledgement(bytes: u64) -> [u8; 16] {
    let [a, b, c, d] = (bytes as u32).to_be_bytes();
    [2, 0, 0, 0, 0, 0, 4, 3, 0, 0, 0, 0, a, b, c, d]
}

#[cfg(test)]
mod tests {
    use millstream_proto::rtmp::chunk::ChunkReader;

    use super::*;

    #[test]
    fn the_acknowledgement_is_a_message() {
        let bytes = acknowledgement(0x1_0203_0405);
        let message = ChunkReader::new().read(&mut &bytes[..]).unwrap().unwrap();
        assert_eq!((message.type_id, message.stream_id, &message.payload[..]), (3, 0, &[2, 3, 4, 5][..]));
    }
}
