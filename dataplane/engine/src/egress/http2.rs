//! HTTP/2 connections, on the HTTPS port: requests are taken off them, and each is answered as a connection of its own would be, at the same time as
//! the others. Before it: [`super::http`], which passes on connections that agreed on HTTP/2; after it: the same router and answers.
use std::cell::Cell;
use std::io::IoSlice;
use std::net::SocketAddr;
use std::rc::Rc;

use millstream_proto::http::response;
use millstream_proto::http2::{ConnectionError, RequestHead};
use millstream_proto::time::Time;

use super::http::{KEEP_ALIVE, over, play, send};
use super::pass::Pass;
use super::reply::{Answer, Reply};
use super::stream;
use crate::clock::unix_s;
use crate::close::CloseReason;
use crate::ingest::connection::GOODBYE;
use crate::io::{Http2, NewRequest, Reader, Socket, WriterSlot};
use crate::shard::events::Refused;
use crate::shard::session::Session;
use crate::shard::state::Shard;

/// The protocol, as far as a connection has one; a request has that of its stream, as over HTTP/1.
const HTTP2: &str = "http/2";
/// As many seconds halve whatever a peer has used up of its budgets to nothing.
const TICKS_MAX: u32 = 16;

/// A connection's parts, for the tasks that answer its requests.
struct Connection {
    shard: Rc<Shard>,
    session: Rc<Session>,
    http2: Rc<Http2>,
    /// A proxy that names its clients with each request.
    proxy: Option<SocketAddr>,
    /// What it may do too much of came back to it last.
    ticked: Cell<Time>,
    /// It has said something.
    has_spoken: Cell<bool>,
    /// It was asked for no more requests.
    is_draining: Cell<bool>,
    /// What it has begun to say without a request under way is to be complete by then.
    half_until: Cell<Option<Time>>,
}

/// Ends a connection however its task ends.
struct Closing(Rc<Http2>);

impl Drop for Closing {
    fn drop(&mut self) {
        self.0.close();
    }
}

/// Serves a connection to its end.
pub(super) async fn serve(shard: Rc<Shard>, session: Rc<Session>, (mut reader, http2): (Reader, Rc<Http2>)) {
    shard.stats.http2_connections.add(1);
    let closing = Closing(Rc::clone(&http2));
    let connection = Rc::new(Connection {
        proxy: Some(session.peer()).filter(|peer| shard.trusts(peer.ip())),
        ticked: Cell::new(shard.now()),
        has_spoken: Cell::new(false),
        is_draining: Cell::new(false),
        half_until: Cell::new(None),
        shard: Rc::clone(&shard),
        session: Rc::clone(&session),
        http2: Rc::clone(&http2),
    });
    let idle = Rc::downgrade(&connection);
    http2.when_idle(move || {
        if let Some(connection) = idle.upgrade() {
            connection.rest();
        }
    });
    session.set_deadline(Some(shard.now() + shard.config.header_timeout));
    http2.say();
    let why = loop {
        if reader.readable().await.is_err() {
            break session.ended_by(CloseReason::PeerGone);
        }
        if let Err(why) = connection.read(&reader) {
            break why;
        }
        if http2.is_idle() && http2.is_finished() {
            break CloseReason::Answered;
        }
    };
    session.set_idle(false);
    if matches!(why, CloseReason::Shutdown | CloseReason::GaveWay) {
        // There was nothing to answer. It is told that nothing was, so that what it asks for meanwhile can be asked for elsewhere.
        http2.drain();
        http2.drain();
        http2.say();
    }
    http2.end(why != CloseReason::PeerGone);
    let is_unsaid = !connection.has_spoken.get();
    drop(connection);
    over(&shard, &session, &mut reader, why, is_unsaid).await;
    drop(closing);
}

impl Connection {
    /// Reads what is there, and has its requests answered.
    fn read(self: &Rc<Self>, reader: &Reader) -> Result<(), CloseReason> {
        let Self { shard, session, http2, .. } = &**self;
        let scratch = &mut *shard.scratch.borrow_mut();
        let count = match reader.recv_now(scratch) {
            // TLS may have had something to say.
            Ok(None) => 0,
            Ok(Some(0)) => return Err(session.ended_by(CloseReason::PeerClosed)),
            Ok(Some(count)) => count,
            Err(error) => return Err(session.ended_by(CloseReason::of(&error))),
        };
        self.tick(shard.now())?;
        self.has_spoken.set(self.has_spoken.get() || count > 0);
        if shard.is_draining() {
            self.ask_for_no_more();
        }
        let mut rest = scratch.get(..count).unwrap_or_default();
        while !rest.is_empty() {
            let taken = http2.receive(rest).map_err(|error| self.broke_rules(error))?;
            rest = rest.get(taken..).unwrap_or_default();
            while let Some(request) = http2.next_request() {
                self.begin(request);
            }
        }
        http2.say();
        self.wait_for_the_rest();
        Ok(())
    }

    /// Who has begun to ask has as long as over HTTP/1.
    fn wait_for_the_rest(&self) {
        let Self { shard, session, http2, half_until, .. } = self;
        if !http2.is_idle() || session.is_new() {
            return;
        }
        if http2.is_half_said() {
            let until = half_until.get().unwrap_or_else(|| shard.now() + shard.config.header_timeout);
            half_until.set(Some(until));
            session.set_deadline(Some(until));
        } else if half_until.take().is_some() {
            session.set_deadline(Some(shard.now() + KEEP_ALIVE));
        }
    }

    /// Gives back what the peer may do too much of, for the time since the last look; fails where it lacks what it should have said long ago.
    fn tick(&self, now: Time) -> Result<(), CloseReason> {
        let ticks = now.since(self.ticked.get()).as_secs() as u32;
        if ticks > 0 {
            self.ticked.set(now);
            (0..ticks.min(TICKS_MAX)).try_for_each(|_| self.http2.tick()).map_err(|error| self.broke_rules(error))?;
        }
        Ok(())
    }

    fn broke_rules(&self, error: ConnectionError) -> CloseReason {
        let (why, reason) = (CloseReason::Http2(error), error.to_string());
        let refused = Refused::of(&self.session, HTTP2, why.label(), &reason);
        self.shard.refused(&Refused { action: "speak", ..refused });
        // It is told why.
        self.http2.say();
        why
    }

    /// Once: what it asks for until it knows is still answered. Its answer to this ends the connection when nothing is under way.
    fn ask_for_no_more(&self) {
        if !self.is_draining.replace(true) {
            self.http2.drain();
            self.http2.say();
        }
    }

    /// Nothing is asked at present.
    fn rest(&self) {
        let Self { shard, session, http2, proxy, .. } = self;
        session.set_carries(false, proxy.is_none());
        if shard.is_draining() {
            self.ask_for_no_more();
        }
        if http2.is_finished() {
            return session.end_politely(CloseReason::Answered);
        }
        session.set_idle(true);
        session.set_deadline(Some(shard.now() + KEEP_ALIVE));
    }

    /// Has a request answered, by a task and a session of its own.
    fn begin(self: &Rc<Self>, NewRequest { stream, head }: NewRequest) {
        let Self { shard, session, http2, proxy, half_until, .. } = &**self;
        shard.stats.http2_requests.add(1);
        session.asked();
        session.set_idle(false);
        session.set_deadline(None);
        session.set_carries(true, proxy.is_none());
        half_until.set(None);
        let is_head = head.first(":method") == Some(b"HEAD");
        let (number, peer) = (shard.number(), session.peer());
        let mut socket = http2.open(stream, is_head);
        let (shard_index, connection) = (shard.index, session.number);
        let span = if proxy.is_none() {
            tracing::info_span!(parent: None, "session", session = number, %peer, shard = shard_index, protocol = HTTP2, connection)
        } else {
            let no_peer = tracing::field::Empty;
            tracing::info_span!(parent: None, "session", session = number, peer = no_peer, shard = shard_index, protocol = HTTP2, connection, proxy = %peer)
        };
        let counted = proxy.is_none();
        match shard.sessions.begin_request(number, session, (socket.reader.closer(), span), counted) {
            Ok(session) => {
                let of_peer = Rc::downgrade(&session);
                http2.when_over(stream, move || {
                    if let Some(session) = of_peer.upgrade() {
                        session.end(CloseReason::PeerClosed);
                    }
                });
                let connection = Rc::clone(self);
                shard.spawn(async move { answer(&connection, session, socket, (head, is_head)).await });
            }
            Err(limit) => {
                shard.refused(&Refused::at_arrival(number, peer, HTTP2, limit));
                let reason = "there are as many connections and requests as there may be; try again in a moment";
                let status = if limit == CloseReason::PerAddress { 429 } else { 503 };
                let text = response::error(status, reason, true, is_head, Some(unix_s()));
                // Nobody waits for it: what does not go now is taken back with the stream.
                socket.writer.send_now(&[IoSlice::new(&text)]);
            }
        }
    }
}

/// Answers a request.
async fn answer(connection: &Connection, session: Rc<Session>, socket: Socket, (head, is_head): (RequestHead, bool)) {
    let Connection { shard, proxy, .. } = connection;
    let Socket { reader, mut writer } = socket;
    let mut request = match head.to_request() {
        Ok(request) => request,
        Err(error) => {
            let reason = error.to_string();
            let refused = Refused::of(&session, HTTP2, CloseReason::BadRequest.label(), &reason);
            shard.refused(&Refused { action: "connect", ..refused });
            let text = response::error(error.status(), &reason, true, is_head, Some(unix_s()));
            session.set_deadline(Some(shard.now() + GOODBYE));
            // What it makes of it is its own.
            let _ = writer.send_all(text).await;
            return;
        }
    };
    drop(head);
    let pass = Pass::take(&mut request, &shard.config.grants);
    let home = WriterSlot::default();
    home.put(writer);
    let reply =
        Reply { shard, session: &session, request: &request, keep_alive: true, base: None, pass, writer: &home };
    let answer = match proxy.map(|proxy| reply.name_client(proxy)) {
        Some(Err(limit)) => reply.one_too_many(limit),
        _ => play(&reply).await,
    };
    let Some(mut writer) = home.take() else { return shard.ended(&session, CloseReason::Defect) };
    let sent = match answer {
        Answer::Stream(play) => {
            if proxy.is_some() {
                session.name_peer();
            }
            return shard.spawn(stream::play(Rc::clone(shard), Rc::clone(&session), Socket { reader, writer }, play));
        }
        answer => send(&reply, &mut writer, answer).await,
    };
    let why = match sent {
        Ok(()) => CloseReason::Answered,
        Err(why) => session.ending().unwrap_or(why),
    };
    if !matches!(why, CloseReason::Answered | CloseReason::PeerClosed | CloseReason::PeerGone) {
        shard.ended(&session, why);
    }
}
