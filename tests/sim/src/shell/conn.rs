//! The server's end of a connection: its session, and where its task is.
use bytes::BytesMut;
use millstream_proto::rtmp::ServerSession;
use millstream_proto::time::Time;

use super::egress::Play;

/// Where the task of a connection is.
#[derive(Debug)]
pub(crate) enum Task {
    /// `ingest::request` or `http::request`.
    Request,
    /// `Door::ask` waits for a pending step.
    Asking,
    /// In a mailbox, with no task at all.
    Mailed,
    /// `ingest::claim` waits for the place.
    Claim {
        channel: usize,
        until: Time,
    },
    /// `ingest::pump`; `fed`: the session has events that are not in the stream yet; `over`: the publish has ended.
    OnAir {
        channel: usize,
        fed: bool,
        over: bool,
    },
    /// `Channel::playable` waits for the owner.
    TuneIn {
        channel: usize,
        until: Time,
    },
    /// `egress::pump`.
    Playing,
    /// `finish`: what is left to say goes out.
    Goodbye,
    Over,
}

/// The server's end of a connection.
pub(crate) struct Conn {
    pub(crate) shard: usize,
    pub(crate) number: u64,
    pub(crate) task: Task,
    /// None for HTTP.
    pub(crate) rtmp: Option<Box<ServerSession>>,
    /// Bytes of an HTTP request.
    pub(crate) input: Vec<u8>,
    /// What the task is sending with `send_all`.
    pub(crate) out: BytesMut,
    pub(crate) asked: Option<super::requests::Asked>,
    pub(crate) deadline: Option<Time>,
    pub(crate) ending: Option<&'static str>,
    pub(crate) read_closed: bool,
    pub(crate) closed: bool,
    pub(crate) woken: bool,
    /// For the check: when its publisher was last heard.
    pub(crate) heard: Time,
    /// What admission said in the end.
    pub(crate) admitted: bool,
    pub(crate) play: Option<Play>,
}

/// What became of a wait for the socket.
pub(crate) enum Turn {
    /// The task goes on.
    On,
    Wait,
}

impl Conn {
    pub(crate) fn new(shard: usize, number: u64, rtmp: Option<Box<ServerSession>>, deadline: Time) -> Self {
        Self {
            shard,
            number,
            task: Task::Request,
            rtmp,
            input: Vec::new(),
            out: BytesMut::new(),
            asked: None,
            deadline: Some(deadline),
            ending: None,
            read_closed: false,
            closed: false,
            woken: false,
            heard: Time::ZERO,
            admitted: false,
            play: None,
        }
    }

    pub(crate) fn is_over(&self) -> bool {
        matches!(self.task, Task::Over)
    }

    /// Takes what the session has to say into the send.
    pub(crate) fn take_output(&mut self) {
        while let Some(bytes) = self.rtmp.as_mut().and_then(|rtmp| rtmp.poll_output()) {
            self.out.extend_from_slice(&bytes);
        }
    }

    /// The session of a connection that speaks RTMP.
    pub(crate) fn rtmp(&mut self) -> &mut ServerSession {
        self.rtmp.as_mut().expect("an RTMP connection")
    }
}
