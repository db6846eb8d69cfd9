//! The TLS handshake of a connection. Before it: [`super::Shard`] has admitted the connection by the limits of
//! all ports; after it: the protocol, which reads and sends as without TLS.
use std::fmt::Write as _;
use std::rc::Rc;

use bytes::Bytes;
use millstream_proto::http::response;
use millstream_proto::limits::TLS_HANDSHAKE_BYTES_MAX;
use millstream_tls::{Purpose, Records, Session as TlsSession, Stranger, TlsError, whole};

use super::context::ShardContext;
use super::introduce::introduce;
use super::session::Session;
use super::sessions::Arrival;
use super::state::Port;
use crate::clock::unix_s;
use crate::close::CloseReason;
use crate::ingest::connection::GOODBYE;
use crate::io::Socket;

/// Waits for this one's turn, or for the session's end. `begun`: it is not the first.
async fn turn(shard: &Rc<ShardContext>, session: &Session, begun: bool) {
    if shard.handshakes.is_free(shard.now()) {
        return;
    }
    if shard.handshakes.needs_caller() {
        let of_task = Rc::clone(shard);
        shard.spawn(async move { of_task.handshakes.call(|| of_task.now()).await });
    }
    shard.handshakes.called(session, begun).await;
}

/// Shakes hands: gives the connection with TLS on it, or, where there is none, as it was with why.
pub(crate) async fn secure(
    shard: &Rc<ShardContext>,
    session: &Session,
    mut socket: Socket,
    port: Port,
    arrival: Arrival,
) -> Result<Socket, (Socket, CloseReason)> {
    match shake(shard, session, &mut socket, port, arrival).await {
        Ok((tls, plain)) => {
            tracing::debug!(parent: &session.span, tls = tls.describe(), "TLS");
            session.set_secure(true);
            Ok(socket.secure(tls, plain))
        }
        Err(why) => Err((socket, why)),
    }
}

async fn shake(
    shard: &Rc<ShardContext>,
    session: &Session,
    socket: &mut Socket,
    port: Port,
    arrival: Arrival,
) -> Result<(TlsSession, Vec<u8>), CloseReason> {
    let (plain_protocol, protocol, purpose, timeout) = match port {
        Port::Rtmp => ("rtmp", "rtmps", Purpose::Media, shard.config.handshake_timeout),
        Port::Http => ("http", "https", Purpose::Viewers, shard.config.header_timeout),
        Port::Control => ("http", "https", Purpose::Web, shard.config.header_timeout),
    };
    let mut held = Vec::new();
    if arrival == Arrival::Proxied {
        held = introduce(shard, session, &socket.reader, plain_protocol, timeout).await?;
    }
    // Those in force when it came.
    let tls = shard.tls.borrow().as_ref().and_then(|tls| tls.session(purpose).ok());
    let Some(mut tls) = tls else {
        return Err(CloseReason::Defect);
    };
    session.set_deadline(Some(shard.now() + timeout));
    let mut plain = Vec::new();
    let mut is_first = true;
    while tls.is_handshaking() {
        let count = gather(shard, session, socket, &mut held, is_first).await?;
        turn(shard, session, !is_first).await;
        is_first = false;
        if let Some(why) = session.ending() {
            return Err(why);
        }
        let rest = held.split_off(count);
        let records = std::mem::replace(&mut held, rest);
        answer(shard, session, socket, protocol, (&mut tls, &mut plain), records).await?;
    }
    if tls.is_challenge() {
        return Err(session.ended_by(CloseReason::Challenge));
    }
    // The beginning of what the peer says first.
    answer(shard, session, socket, protocol, (&mut tls, &mut plain), held).await?;
    shard.stats.tls_handshakes.add(1);
    Ok((tls, plain))
}

/// Has TLS look at these, and sends what it answers.
async fn answer(
    shard: &ShardContext,
    session: &Session,
    socket: &mut Socket,
    protocol: &'static str,
    (tls, plain): (&mut TlsSession, &mut Vec<u8>),
    mut bytes: Vec<u8>,
) -> Result<(), CloseReason> {
    let mut out = Records::new();
    let began = shard.now();
    let received = tls.receive(&mut bytes, plain, &mut out);
    shard.handshakes.worked(began, shard.now());
    if received.is_err() {
        session.set_deadline(Some(shard.now() + GOODBYE));
    }
    if !out.is_empty() {
        let sent = socket.writer.send_all(Bytes::from(out.into_vec())).await;
        if received.is_ok() {
            sent.map_err(|_| session.ended_by(CloseReason::PeerGone))?;
        }
    }
    match received {
        Ok(()) => Ok(()),
        Err(error) => Err(failed(shard, session, socket, protocol, &error).await),
    }
}

/// Reads until there is something that is worth a turn: how many bytes of it.
async fn gather(
    shard: &ShardContext,
    session: &Session,
    socket: &Socket,
    held: &mut Vec<u8>,
    is_first: bool,
) -> Result<usize, CloseReason> {
    loop {
        let count = whole(held);
        if count > 0 {
            return Ok(count);
        }
        socket.reader.readable().await.map_err(|_| session.ended_by(CloseReason::PeerGone))?;
        let scratch = &mut *shard.scratch.borrow_mut();
        let room = TLS_HANDSHAKE_BYTES_MAX.saturating_sub(held.len()).clamp(1, scratch.len());
        match socket.reader.recv_now(scratch.get_mut(..room).unwrap_or_default()) {
            Ok(None) => {}
            // Half a hello is somebody's; nothing at all is a load balancer's look.
            Ok(Some(0)) if is_first && held.is_empty() => return Err(session.ended_by(CloseReason::PeerClosed)),
            Ok(Some(0)) => return Err(session.ended_by(CloseReason::TlsUnfinished)),
            Ok(Some(count)) => held.extend_from_slice(scratch.get(..count).unwrap_or_default()),
            Err(_) => return Err(session.ended_by(CloseReason::PeerGone)),
        }
    }
}

/// Tells what is wrong with a client, in the log and, where it can understand it, itself.
async fn failed(
    shard: &ShardContext,
    session: &Session,
    socket: &mut Socket,
    protocol: &'static str,
    error: &TlsError,
) -> CloseReason {
    let why = CloseReason::Tls(error.label());
    let mut words = error.to_string();
    match error {
        TlsError::Stranger(Stranger::Rtmp) => {
            // Writing to a string cannot fail.
            let _ = write!(words, "; without TLS it is port {}", shard.rtmp_port);
        }
        TlsError::Stranger(Stranger::Http) => {
            let answer = response::error(400, "this port has TLS: use https://", false, false, Some(unix_s()));
            // What it makes of it is its own.
            let _ = socket.writer.send_all(answer).await;
        }
        _ => {}
    }
    shard.garbled(session, protocol, why, &words);
    // A connection that is closed over unread bytes is reset, and the alert or answer may be lost.
    socket.reader.linger(&shard.scratch).await;
    why
}
