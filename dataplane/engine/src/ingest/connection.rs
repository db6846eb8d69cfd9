//! A connection and the RTMP session that is spoken on it: bytes in, answers out, refusals, and the words about its end. Before it: its socket; after it: who serves it,
//! [`super`] or [`crate::egress::rtmp`].
use std::io::IoSlice;
use std::rc::Rc;
use std::time::Duration;

use millstream_policy::Action;
use millstream_proto::id::Id;
use millstream_proto::rtmp::{Refusal, ServerSession, SessionError};

use crate::close::CloseReason;
use crate::io::Socket;
use crate::shard::events::Refused;
use crate::shard::session::Session;
use crate::shard::state::Shard;

/// Time for a peer to take our last words and to close.
pub(crate) const GOODBYE: Duration = Duration::from_secs(2);

/// The protocol, as events and admission name it.
pub(super) const PROTOCOL: &str = "rtmp";

/// A connection and the session that is spoken on it.
pub(crate) struct Connection {
    pub(crate) session: Rc<Session>,
    pub(crate) socket: Socket,
    pub(crate) rtmp: Box<ServerSession>,
}

/// Why a request is not granted.
pub(crate) struct Rejection {
    pub(crate) why: CloseReason,
    pub(crate) refusal: Refusal,
    /// What the client is told.
    pub(crate) reason: String,
    /// `None`: it named none that can be.
    pub(crate) stream: Option<Id>,
}

impl Rejection {
    /// Of a request for this stream.
    pub(crate) fn new(why: CloseReason, refusal: Refusal, stream: &Id, reason: impl Into<String>) -> Self {
        Self { why, refusal, reason: reason.into(), stream: Some(stream.clone()) }
    }
}

/// What came of a request.
pub(crate) enum Turn {
    /// The connection is somebody else's by now: another shard's, or a play's, which ended it.
    Gone,
    /// The connection may ask again.
    Again(Connection),
    Ended(Connection, CloseReason),
}

impl Connection {
    /// Sends what the session has to say.
    pub(crate) async fn send_output(&mut self) -> Result<(), CloseReason> {
        while let Some(bytes) = self.rtmp.poll_output() {
            self.socket.writer.send_all(bytes).await.map_err(|_| CloseReason::PeerGone)?;
        }
        Ok(())
    }

    /// Waits for input without a buffer, and feeds it to the session.
    pub(super) async fn read_little(&mut self, shard: &Shard) -> Result<(), CloseReason> {
        self.socket.reader.readable().await.map_err(|_| CloseReason::PeerGone)?;
        read_now(shard, &self.session, &self.socket.reader, &mut self.rtmp)
    }

    /// Refuses the request that waits, and tells so.
    pub(crate) fn reject(mut self, shard: &Shard, action: Action, rejection: Rejection) -> Turn {
        let Rejection { why, refusal, reason, stream } = rejection;
        // What is told of it, [`Shard::refused`] tells, which lets no flood into the log.
        tracing::debug!(parent: &self.session.span, reason, "refused");
        self.rtmp.reject(shard.now(), refusal, &reason);
        // What the policy refuses, admission has told.
        if why != CloseReason::Refused {
            let refused = Refused::of(&self.session, PROTOCOL, why.refusal_label(action), &reason);
            let stream = stream.as_ref().map_or("", Id::as_str);
            shard.refused(&Refused { action: action.as_str(), stream, ..refused });
        }
        Turn::Ended(self, why)
    }
}

/// Feeds what is there to read to the session.
pub(crate) fn read_now(
    shard: &Shard,
    session: &Session,
    reader: &crate::io::Reader,
    rtmp: &mut ServerSession,
) -> Result<(), CloseReason> {
    let scratch = &mut *shard.scratch.borrow_mut();
    let count = match reader.recv_now(scratch) {
        Ok(None) => return Ok(()),
        Ok(Some(0)) => return Err(session.ended_by(CloseReason::PeerClosed)),
        Ok(Some(count)) => count,
        Err(error) => return Err(session.ended_by(CloseReason::of(&error))),
    };
    feed(shard, session, rtmp, scratch.get(..count).unwrap_or_default())
}

pub(super) fn feed(
    shard: &Shard,
    session: &Session,
    rtmp: &mut ServerSession,
    bytes: &[u8],
) -> Result<(), CloseReason> {
    rtmp.handle_input(shard.now(), bytes).map_err(|error| garbled(shard, session, error))
}

/// Tells what a client got wrong, and what to do where it is in the wrong place; gives the reason of the session's end.
pub(super) fn garbled(shard: &Shard, session: &Session, error: SessionError) -> CloseReason {
    let words = match error {
        SessionError::Http => match shard.https_port.filter(|_| session.is_secure()) {
            Some(port) => format!("an HTTPS request on the RTMPS port: the HTTPS port is {port}"),
            None => format!("an HTTP request on the RTMP port: the HTTP port is {}", shard.http_port),
        },
        SessionError::Tls => match shard.rtmps_port {
            Some(port) => format!("a TLS connection on the RTMP port: RTMPS is on port {port}"),
            None => "a TLS connection on the RTMP port, which has none: push to rtmp://".to_owned(),
        },
        other => other.to_string(),
    };
    let protocol = if session.is_secure() { "rtmps" } else { PROTOCOL };
    shard.garbled(session, protocol, error.into(), &words);
    error.into()
}

/// Counts and logs the end of a session.
pub(crate) fn closed(shard: &Shard, session: &Session, rtmp: &ServerSession, why: CloseReason) {
    let stats = rtmp.stats();
    shard.stats.c2_mismatches.add(stats.c2_mismatches);
    for (reason, count) in stats.skipped() {
        shard.stats.dropped.add(reason, count);
    }
    if stats.bytes_in == 0 && why.is_peers() {
        return checked(shard, session);
    }
    let why = why.label();
    shard.stats.closed.add(why, 1);
    if session.is_quiet() {
        tracing::debug!(parent: &session.span, why, "session ended");
    } else {
        tracing::info!(parent: &session.span, why, "session ended");
    }
}

/// Counts a connection that was only to see that we are here, and is quiet about it.
pub(crate) fn checked(shard: &Shard, session: &Session) {
    shard.stats.closed.add(CloseReason::HealthCheck.label(), 1);
    tracing::debug!(parent: &session.span, "connected and left without a byte");
}

/// Refuses the waiting request of a connection that no task serves, as far as that is possible without waiting for it.
pub(super) fn turn_away(shard: &Shard, mut socket: Socket, mut rtmp: Box<ServerSession>, reason: &str) {
    rtmp.reject(shard.now(), Refusal::Failed, reason);
    socket.writer.send_now(&[IoSlice::new(&rtmp.poll_output().unwrap_or_default())]);
}
