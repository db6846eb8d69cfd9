//! Further streams that a publisher publishes on its connection, each on a message stream of its own (encoders of several bit rates do that).
//! What they carry is not unpacked here: the engine hands each of them to a session of its own, see [`ServerSession::relayed`].
//!
//! Each ends by itself. Where the first one ends before them, they go on, and what is published then is one more of them: the connection is free
//! for another use when the last one has ended.
use super::{Asked, Event, Phase, Refusal, ServerSession, State, refusal_code};
use crate::limits::{RTMP_INBOX_BYTES_MAX, RTMP_STREAMS_MAX};
use crate::rtmp::chunk_write::MESSAGE_STREAM;
use crate::rtmp::command::{self, Command};
use crate::rtmp::error::SessionError;
use crate::rtmp::message::{Message, kind};
use crate::time::Time;

/// Messages of a further stream that wait for the answer to its request: those of some seconds.
const MESSAGES_HELD_MAX: usize = 1024;

/// The further streams of a connection.
#[derive(Default)]
pub(super) struct Sides {
    streams: Vec<Side>,
    /// The name of the first stream, without its query.
    first: String,
    /// There was one: from then on message streams are told apart.
    seen: bool,
    /// Message streams that createStream has answered.
    created: u32,
}

/// One of them.
struct Side {
    stream_id: u32,
    name: String,
    /// What came before the request was answered; `None`: it has been admitted.
    held: Option<Vec<Message>>,
}

/// A stream's name without the query that encoders may leave out when they end it.
pub(super) fn bare_name(name: &str) -> &str {
    name.split_once('?').map_or(name, |(name, _)| name)
}

impl Sides {
    /// What createStream answers: message streams are counted up to a maximum, from the first one on again where nothing is used.
    pub(super) fn create(&mut self) -> u32 {
        self.created = if self.created < RTMP_STREAMS_MAX { self.created + 1 } else { MESSAGE_STREAM };
        self.created
    }

    /// The first stream is asked for by this name.
    pub(super) fn named_first(&mut self, name: &str) {
        bare_name(name).clone_into(&mut self.first);
    }

    /// Whether a command that names a stream may mean the first one: while there is no other, encoders may call it as they like.
    pub(super) fn may_mean_first(&self, bare_name: &str) -> bool {
        !self.seen || bare_name == self.first
    }

    /// There are none.
    pub(super) fn is_empty(&self) -> bool {
        self.streams.is_empty()
    }

    fn has(&self, stream_id: u32) -> bool {
        self.streams.iter().any(|side| side.stream_id == stream_id)
    }
}

impl ServerSession {
    /// A session for one of this one's further streams: connected as this one is, and its publish waits for its answer.
    pub fn relayed(&self, now: Time, stream_id: u32) -> Self {
        let mut relayed = Self::new(now, self.config);
        (relayed.phase, relayed.connect) = (Phase::Open, self.connect.clone());
        (relayed.state, relayed.stream_id) = (State::Asked(Asked::Publish), stream_id);
        relayed
    }

    /// Admits a further stream that was asked for; gives what came of it meanwhile. `None`: the client has ended it meanwhile.
    pub fn accept_side(&mut self, stream_id: u32) -> Option<Vec<Message>> {
        self.sides.streams.iter_mut().find(|side| side.stream_id == stream_id)?.held.take()
    }

    /// Does not admit it; a refusal is told here, unless it has been [relayed](ServerSession::relay).
    pub fn reject_side(&mut self, stream_id: u32, refusal: Option<(Refusal, &str)>) {
        let waits = |side: &Side| side.stream_id == stream_id && side.held.is_some();
        let Some(at) = self.sides.streams.iter().position(waits) else { return };
        self.sides.streams.swap_remove(at);
        self.free_if_over();
        if let Some((refusal, description)) = refusal {
            self.side_status(stream_id, "error", refusal_code(Asked::Publish, refusal), description);
        }
    }

    /// A further stream is over from our side: what still comes on it is dropped.
    pub fn end_side(&mut self, stream_id: u32) {
        self.sides.streams.retain(|side| side.stream_id != stream_id);
        self.free_if_over();
    }

    /// The first stream or a further one has ended. Once all have, the connection is as it was before the first.
    pub(super) fn free_if_over(&mut self) {
        if matches!(self.state, State::Idle) && self.sides.is_empty() {
            self.sides = Sides::default();
            self.reader.dismiss();
        }
    }

    /// Whether the first stream has ended and further ones go on.
    pub(super) fn outlive_first(&self) -> bool {
        matches!(self.state, State::Idle) && !self.sides.is_empty()
    }

    /// Whether a message stream is one of a further stream, admitted or not.
    pub(super) fn is_further(&self, stream_id: u32) -> bool {
        self.sides.seen && (self.outlive_first() || stream_id.max(MESSAGE_STREAM) != self.stream_id)
    }

    /// Says a command of a further stream's session to the client.
    pub fn relay(&mut self, command: &Message) {
        self.outbox.encoded(command.stream_id, &command.payload);
    }

    /// A publish on another message stream than the one in use.
    pub(super) fn ask_side(&mut self, command: &Command, stream_id: u32) -> Result<(), SessionError> {
        let stream_id = stream_id.max(MESSAGE_STREAM);
        let connect = self.connect.as_ref().ok_or(SessionError::NotConnected)?;
        let first = usize::from(!self.outlive_first());
        let full = self.sides.streams.len() + first >= RTMP_STREAMS_MAX as usize;
        let request = connect.request(command.text(0)).map_err(|error| error.to_string());
        let refused = match request {
            _ if self.sides.has(stream_id) => "This message stream is in use already.".to_owned(),
            _ if full => format!("A connection publishes at most {RTMP_STREAMS_MAX} streams."),
            Err(reason) => reason,
            Ok(request) => {
                self.sides.seen = true;
                self.sides.streams.push(Side { stream_id, name: command.text(0).to_owned(), held: Some(Vec::new()) });
                self.events.push_back(Event::SideRequested { stream_id, request });
                return Ok(());
            }
        };
        self.stats.commands_refused += 1;
        self.side_status(stream_id, "error", "NetStream.Publish.BadName", &refused);
        Ok(())
    }

    /// Whether a publish on this message stream is for a further stream.
    pub(super) fn is_side(&self, stream_id: u32) -> bool {
        matches!(self.state, State::Publishing(_)) && stream_id > 0 && stream_id != self.stream_id
            || self.outlive_first()
            || self.sides.has(stream_id)
    }

    /// Ends the further stream of this message stream, or of this name, if there is one.
    pub(super) fn leave_side(&mut self, of: impl Fn(u32, &str) -> bool) -> bool {
        let Some(at) = self.sides.streams.iter().position(|side| of(side.stream_id, &side.name)) else {
            return false;
        };
        let Side { stream_id, .. } = self.sides.streams.remove(at);
        self.events.push_back(Event::SideEnded { stream_id });
        self.side_status(stream_id, "status", "NetStream.Unpublish.Success", "Unpublished.");
        self.free_if_over();
        true
    }

    /// Takes a message of a further stream. False: it is the first one's, or none of a stream.
    pub(super) fn side_message(&mut self, message: &Message) -> bool {
        let is_media =
            matches!(message.type_id, kind::AUDIO | kind::VIDEO | kind::DATA | kind::DATA_AMF3 | kind::AGGREGATE);
        if !is_media || !self.is_further(message.stream_id) {
            return false;
        }
        match self.sides.streams.iter_mut().find(|side| side.stream_id == message.stream_id) {
            Some(Side { held: None, .. }) => self.events.push_back(Event::SideMessage(message.clone())),
            Some(Side { held: Some(held), .. }) => {
                let bytes: usize = held.iter().map(|message| message.payload.len()).sum();
                if bytes + message.payload.len() <= RTMP_INBOX_BYTES_MAX && held.len() < MESSAGES_HELD_MAX {
                    held.push(message.clone());
                } else {
                    self.reject_side(
                        message.stream_id,
                        Some((Refusal::Failed, "More came before the answer than is kept: wait for Publish.Start.")),
                    );
                    self.events.push_back(Event::SideEnded { stream_id: message.stream_id });
                }
            }
            // It was refused or has ended: never mixed into another one.
            None => self.stats.skip("unpublished"),
        }
        true
    }

    fn side_status(&mut self, stream_id: u32, level: &str, code: &str, description: &str) {
        self.outbox.command(stream_id, &command::status("onStatus", level, code, description));
    }
}
