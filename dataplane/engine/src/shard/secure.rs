//! The TLS handshake of a connection, and how many of them a shard works at. Before it: [`super::Shard`] has admitted the connection by the limits of
//! all ports; after it: the protocol, which reads and sends as without TLS.
use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::rc::{Rc, Weak};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use millstream_proto::http::response;
use millstream_proto::limits::TLS_HANDSHAKE_BYTES_MAX;
use millstream_proto::time::Time;
use millstream_tls::{Purpose, Records, Session as TlsSession, Stranger, TlsError, is_whole};

use super::context::ShardContext;
use super::introduce::introduce;
use super::session::{Arrival, Session};
use super::state::Port;
use super::wait::{Notify, select};
use crate::clock::unix_s;
use crate::close::CloseReason;
use crate::ingest::GOODBYE;
use crate::io::{Budget, HANDSHAKES, Socket, sleep};

/// Handshakes that have their turn one after the other: their signatures are the longest work of a shard, and a burst of them is not to hold up what is
/// on air. Who waits has come through the limit of connections that have asked for nothing, which bounds how many there are.
pub(crate) struct Handshakes {
    budget: Budget,
    waiting: RefCell<VecDeque<Weak<Notify>>>,
    /// A task calls them.
    running: Cell<bool>,
}

impl Default for Handshakes {
    fn default() -> Self {
        let budget = Budget::new(&HANDSHAKES, Time::ZERO);
        Self { budget, waiting: RefCell::default(), running: Cell::new(false) }
    }
}

impl Handshakes {
    /// Waits for this one's turn, or for the session's end.
    async fn turn(&self, shard: &Rc<ShardContext>, session: &Session) {
        if !self.running.get() {
            // The task below renews it once a millisecond as long as somebody waits.
            let now = shard.now();
            if self.budget.place(now).is_zero() {
                return;
            }
            self.running.set(true);
            let shard_of_task = Rc::clone(shard);
            shard.spawn(async move { call(&shard_of_task).await });
        }
        let called = Rc::new(Notify::default());
        self.waiting.borrow_mut().push_back(Rc::downgrade(&called));
        select(called.notified(), session.notify.notified()).await;
    }

    /// Calls those whose turn it is. True: more are waiting.
    fn call_some(&self) -> bool {
        let waiting = &mut *self.waiting.borrow_mut();
        let mut left = HANDSHAKES.pieces;
        while left > 0
            && let Some(next) = waiting.pop_front()
        {
            // Who has gone meanwhile takes nobody's turn.
            if let Some(next) = next.upgrade() {
                next.notify();
                left -= 1;
            }
        }
        !waiting.is_empty()
    }
}

async fn call(shard: &Rc<ShardContext>) {
    let _ends = Ends(&shard.handshakes.running);
    loop {
        // A turn is a millisecond, in which the runtime looks at what came in.
        sleep(Duration::from_millis(1)).await;
        if !shard.handshakes.call_some() {
            return;
        }
    }
}

/// Says that a task has ended, however it does.
struct Ends<'a>(&'a Cell<bool>);

impl Drop for Ends<'_> {
    fn drop(&mut self) {
        self.0.set(false);
    }
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
        Port::Http | Port::Control => ("http", "https", Purpose::Web, shard.config.header_timeout),
    };
    let mut held = Vec::new();
    if arrival == Arrival::Proxied {
        held = introduce(shard, session, &socket.reader, plain_protocol, timeout).await?;
    }
    // Those in force when it came.
    let config = shard.tls.borrow().as_ref().map(|tls| Arc::clone(tls.of(purpose)));
    let Some(mut tls) = config.and_then(|config| TlsSession::new(&config).ok()) else {
        return Err(CloseReason::Defect);
    };
    session.set_deadline(Some(shard.now() + timeout));
    let mut plain = Vec::new();
    let mut is_first = true;
    while tls.is_handshaking() {
        gather(shard, session, socket, &mut held, is_first).await?;
        is_first = false;
        shard.handshakes.turn(shard, session).await;
        if let Some(why) = session.ending() {
            return Err(why);
        }
        let mut out = Records::new();
        let received = tls.receive(&mut held, &mut plain, &mut out);
        held = Vec::new();
        if received.is_err() {
            session.set_deadline(Some(shard.now() + GOODBYE));
        }
        if !out.is_empty() {
            let sent = socket.writer.send_all(Bytes::from(out.into_vec())).await;
            if received.is_ok() {
                sent.map_err(|_| session.ended_by(CloseReason::PeerGone))?;
            }
        }
        if let Err(error) = received {
            return Err(failed(shard, session, socket, protocol, &error).await);
        }
    }
    shard.stats.tls_handshakes.add(1);
    Ok((tls, plain))
}

/// Reads until there is something that is worth a turn.
async fn gather(
    shard: &ShardContext,
    session: &Session,
    socket: &Socket,
    held: &mut Vec<u8>,
    is_first: bool,
) -> Result<(), CloseReason> {
    while !is_whole(held) {
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
    Ok(())
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
        TlsError::Stranger(Stranger::Rtmp) => words.push_str(&format!("; without TLS it is port {}", shard.rtmp_port)),
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
