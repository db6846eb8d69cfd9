//! What a server session reports, and the words in which it is answered. After it in the pipeline: the engine.
use crate::media::{MediaEvent, Track};
use crate::rtmp::message::Message;
use crate::rtmp::request::Request;

/// What a connection is used for.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Role {
    /// Nothing was accepted yet, or it has ended.
    Undecided,
    /// It publishes.
    Publisher,
    /// It plays.
    Player,
}

/// Why a request is refused.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
#[non_exhaustive]
pub enum Refusal {
    /// The name is not one that can be used.
    BadName,
    /// Someone else publishes under that name.
    Busy,
    /// Admission says no.
    Denied,
    /// There is no such stream.
    NotFound,
    /// It would be right, but it cannot be done now.
    Failed,
}

/// What a client did.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum Event {
    /// Wants to publish; nothing more is parsed until it is answered.
    PublishRequested(Request),
    /// Wants to play; nothing more is parsed until it is answered.
    PlayRequested(Request),
    /// Sent media; only after publish was accepted.
    Media(MediaEvent),
    /// Wants to publish a further stream on this connection; what comes of it is held until it is answered.
    SideRequested {
        /// Its message stream.
        stream_id: u32,
        /// What is asked for.
        request: Request,
    },
    /// Sent a message of a further stream that was accepted.
    SideMessage(Message),
    /// Ended a further stream.
    SideEnded {
        /// Its message stream.
        stream_id: u32,
    },
    /// Ended its publish; the connection may ask again.
    PublishEnded,
    /// Ended its play; the connection may ask again.
    PlayEnded,
    /// A player paused, or goes on.
    Paused(bool),
    /// A player turned a track on or off.
    Receive {
        /// The track.
        track: Track,
        /// Whether it is wanted.
        on: bool,
    },
}

/// What a request is for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Asked {
    Publish,
    Play,
}

pub(super) fn refusal_code(asked: Asked, refusal: Refusal) -> &'static str {
    match (asked, refusal) {
        (Asked::Publish, Refusal::BadName | Refusal::Busy | Refusal::NotFound) => "NetStream.Publish.BadName",
        (Asked::Publish, Refusal::Denied) => "NetStream.Publish.Denied",
        (Asked::Publish, Refusal::Failed) => "NetStream.Publish.Failed",
        (Asked::Play, Refusal::BadName | Refusal::NotFound) => "NetStream.Play.StreamNotFound",
        (Asked::Play, Refusal::Busy | Refusal::Denied | Refusal::Failed) => "NetStream.Play.Failed",
    }
}
