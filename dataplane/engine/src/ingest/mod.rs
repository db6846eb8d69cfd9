//! RTMP connections: bytes from the socket go into `proto::rtmp`'s session, its requests to admission, its media to the stream's
//! log; players are handed to [`crate::egress::rtmp`]. A publisher of another shard's stream is handed to that shard.
//!
//! Reading order: this file (a connection from its arrival to its end), [`connection`] (what it is), [`question`] and [`admit`] (a request), [`publish`] (its stream),
//! [`pump`] (its media), [`sides`] (its further streams).
mod admit;
pub(crate) mod connection;
mod publish;
mod pump;
pub(crate) mod question;
mod sides;

use std::rc::Rc;

use millstream_policy::Action;
use millstream_proto::rtmp::{self, Event, ServerConfig, ServerSession};

use self::admit::admit_publisher;
use self::connection::{Connection, GOODBYE, PROTOCOL, Turn, closed, feed, turn_away};
use self::publish::publish;
use crate::close::{CloseReason, GOING_DOWN};
use crate::io::Socket;
use crate::shard::events::Refused;
use crate::shard::introduce::introduce;
use crate::shard::mailbox::Handoff;
use crate::shard::session::Session;
use crate::shard::sessions::Arrival;
use crate::shard::state::Shard;

/// What a session that the operator ends is told.
const KICKED_BY_OPERATOR: &str = "the operator has ended this session";

/// A request that a client makes.
struct Asked {
    action: Action,
    request: rtmp::Request,
}

/// Serves a fresh connection to its end.
pub(crate) async fn serve(shard: Rc<Shard>, session: Rc<Session>, socket: Socket, arrival: Arrival) {
    let config = ServerConfig { chunk_size: shard.config.chunk_size, ..ServerConfig::default() };
    let rtmp = Box::new(ServerSession::new(shard.now(), config));
    let mut connection = Connection { session, socket, rtmp };
    if arrival == Arrival::Proxied {
        let Connection { session, socket, rtmp } = &mut connection;
        let timeout = shard.config.handshake_timeout;
        let introduced = introduce(&shard, session, &socket.reader, PROTOCOL, timeout).await;
        if let Err(why) = introduced.and_then(|rest| feed(&shard, session, rtmp, &rest)) {
            return finish(&shard, connection, why).await;
        }
    }
    converse(&shard, connection).await;
}

/// Goes on with a publisher that another shard handed over.
pub(crate) async fn resume(shard: Rc<Shard>, handoff: Box<Handoff>) {
    let Handoff { fd, rtmp, peer, number, id, encoder, publishes, granted, secure } = *handoff;
    let Ok(socket) = Socket::from_fd(fd) else { return };
    let session = match shard.readmit(number, peer, &socket) {
        Ok(session) => session,
        Err(limit) => {
            turn_away(&shard, socket, rtmp, "the server has as many connections as it may have");
            return shard.refused(&Refused::at_arrival(number, peer, PROTOCOL, limit));
        }
    };
    session.set_secure(secure);
    session.publishes.set(publishes);
    session.granted.replace(granted);
    match publish(&shard, Connection { session, socket, rtmp }, &id, encoder).await {
        Turn::Gone => {}
        Turn::Again(connection) => converse(&shard, connection).await,
        Turn::Ended(connection, why) => finish(&shard, connection, why).await,
    }
}

/// Requests and what comes of them, until the connection ends.
async fn converse(shard: &Rc<Shard>, mut connection: Connection) {
    loop {
        let turn = match request(shard, &mut connection).await {
            Ok(Asked { action: Action::Publish, request }) => admit_publisher(shard, connection, request).await,
            Ok(Asked { action: Action::Play, request }) => crate::egress::rtmp::play(shard, connection, request).await,
            Err(why) => Turn::Ended(connection, why),
        };
        match turn {
            Turn::Gone => return,
            Turn::Again(again) => connection = again,
            Turn::Ended(connection, why) => return finish(shard, connection, why).await,
        }
    }
}

/// Reads until the client asks to publish or play.
async fn request(shard: &Shard, connection: &mut Connection) -> Result<Asked, CloseReason> {
    connection.session.set_deadline(Some(shard.now() + shard.config.handshake_timeout));
    loop {
        let mut asked = None;
        while let Some(event) = connection.rtmp.poll_event() {
            match event {
                Event::PublishRequested(request) => asked = Some(Asked { action: Action::Publish, request }),
                Event::PlayRequested(request) => asked = Some(Asked { action: Action::Play, request }),
                _ => {}
            }
        }
        // Answers to the commands before it go out without waiting for the verdict.
        connection.send_output().await?;
        if let Some(asked) = asked {
            connection.session.asked();
            return Ok(asked);
        }
        if connection.rtmp.is_closing() {
            return Err(CloseReason::Closed);
        }
        connection.read_little(shard).await?;
    }
}

/// Says goodbye where the session has something to say, counts, logs.
async fn finish(shard: &Rc<Shard>, mut connection: Connection, why: CloseReason) {
    let why = connection.session.ending().unwrap_or(why);
    if why == CloseReason::Shutdown {
        connection.rtmp.request_reconnect(shard.now(), GOING_DOWN);
        connection.rtmp.end(shard.now(), GOING_DOWN);
    }
    if why == CloseReason::Kicked {
        connection.rtmp.end(shard.now(), KICKED_BY_OPERATOR);
    }
    connection.session.set_deadline(Some(shard.now() + GOODBYE));
    // The peer may be gone: what could not be said is lost with it.
    if connection.send_output().await.is_ok() && connection.rtmp.is_closing() {
        connection.socket.reader.linger(&shard.scratch).await;
    }
    shard.leave(&connection.session).await;
    closed(shard, &connection.session, &connection.rtmp, why);
}
