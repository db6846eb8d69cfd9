//! Further streams of a publisher's connection. Each may belong to another shard, and the connection cannot be in two places: so each gets
//! a session of its own, joined to the connection by a pair of local sockets, and goes on as any other publisher does: at its owner's shard, with
//! its own place, takeover, limits and events. What the client sends of it is written on as it is; what its session answers is relayed.
use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::rc::Rc;
use std::task::Poll;
use std::time::Duration;

use bytes::BytesMut;
use millstream_policy::Action;
use millstream_proto::limits::RTMP_CHUNK_SIZE_OUT;
use millstream_proto::media::TagKind;
use millstream_proto::rtmp::chunk::ChunkReader;
use millstream_proto::rtmp::chunk_write::{CSID_CONTROL, MESSAGE_STREAM, media_csid, write_message};
use millstream_proto::rtmp::command::Command;
use millstream_proto::rtmp::message::{Message, UserControl, kind};
use millstream_proto::rtmp::{self, Event, Refusal, ServerSession};

use super::admit::pace;
use super::connection::{Connection, PROTOCOL};
use super::question::{needs_tls, question, refusal};
use super::resume;
use crate::close::CloseReason;
use crate::io::{Socket, sleep_until};
use crate::shard::budget::OfConnection;
use crate::shard::events::Refused;
use crate::shard::mailbox::{Handoff, Mail};
use crate::shard::session::Session;
use crate::shard::sessions::Lease;
use crate::shard::state::Shard;
use crate::shard::wait::{Either, select};

/// A further stream's session answers within this time: its place may be taken by one that has just died.
const ANSWER_WAIT: Duration = Duration::from_secs(3);

/// One that is on air.
struct Side {
    stream_id: u32,
    socket: Socket,
    /// That socket counts, as its session does at its owner's shard.
    _lease: Lease,
    reader: ChunkReader,
    /// What came before its answer, and has not been sent yet.
    held: Vec<Message>,
}

/// What came of asking for one: its session's answer, and what that said, for the client.
struct Opened {
    side: Result<Option<Side>, (Refusal, String)>,
    heard: Vec<Message>,
}

/// One whose session has not answered yet.
struct Opening {
    stream_id: u32,
    opened: Pin<Box<dyn Future<Output = Opened>>>,
}

/// All of a connection.
#[derive(Default)]
pub(super) struct Sides {
    on_air: Vec<Side>,
    opening: Vec<Opening>,
}

impl Sides {
    pub(super) fn is_empty(&self) -> bool {
        self.on_air.is_empty() && self.opening.is_empty()
    }

    /// Whether one that was asked for waits for its answer.
    pub(super) fn is_opening(&self) -> bool {
        !self.opening.is_empty()
    }

    /// Does what the client asked for and sent, and relays what the sessions on air say.
    pub(super) async fn turn(&mut self, shard: &Rc<Shard>, connection: &mut Connection, events: &mut Vec<Event>) {
        for event in events.drain(..) {
            match event {
                Event::SideRequested { stream_id, request } => {
                    let rtmp = Box::new(connection.rtmp.relayed(shard.now(), stream_id));
                    let (shard, session) = (Rc::clone(shard), Rc::clone(&connection.session));
                    let opened = async move {
                        let mut heard = Vec::new();
                        let side = open(&shard, &session, rtmp, stream_id, request, &mut heard).await;
                        Opened { side, heard }
                    };
                    self.opening.push(Opening { stream_id, opened: Box::pin(opened) });
                }
                Event::SideMessage(message) => {
                    if let Some(side) = self.on_air.iter_mut().find(|side| side.stream_id == message.stream_id) {
                        // One that is gone is noticed below.
                        let _ = side.send(&message).await;
                    }
                }
                Event::SideEnded { stream_id } => {
                    self.on_air.retain(|side| side.stream_id != stream_id);
                    self.opening.retain(|opening| opening.stream_id != stream_id);
                }
                _ => {}
            }
        }
        let mut on_air = Vec::with_capacity(self.on_air.len());
        for mut side in self.on_air.drain(..) {
            // One that is gone is noticed with what follows.
            let _ = side.send_held().await;
            let (heard, more) = side.hear(shard);
            for message in heard {
                side.relay(&mut connection.rtmp, &message).await;
            }
            if more {
                on_air.push(side);
            } else {
                connection.rtmp.end_side(side.stream_id);
            }
        }
        self.on_air = on_air;
    }

    /// Waits until one that was asked for is on air or refused, and tells the client. Nothing is lost where this is dropped.
    pub(super) async fn answered(&mut self, rtmp: &mut ServerSession) {
        let (stream_id, Opened { side, heard }) = poll_fn(|cx| {
            for (at, opening) in self.opening.iter_mut().enumerate() {
                if let Poll::Ready(opened) = opening.opened.as_mut().poll(cx) {
                    return Poll::Ready((self.opening.swap_remove(at).stream_id, opened));
                }
            }
            Poll::Pending
        })
        .await;
        for message in heard.iter().filter(|message| message.type_id == kind::COMMAND) {
            rtmp.relay(message);
        }
        match side {
            Ok(Some(mut side)) => {
                let Some(held) = rtmp.accept_side(stream_id) else { return };
                side.held = held;
                self.on_air.push(side);
            }
            Ok(None) => rtmp.reject_side(stream_id, None),
            Err((refusal, reason)) => rtmp.reject_side(stream_id, Some((refusal, &reason))),
        }
    }
}

/// Starts a further stream and waits for its session's answer; what the session says goes into `heard`. `Ok(None)`: its answer was no.
async fn open(
    shard: &Rc<Shard>,
    session: &Session,
    rtmp: Box<ServerSession>,
    stream_id: u32,
    request: rtmp::Request,
    heard: &mut Vec<Message>,
) -> Result<Option<Side>, (Refusal, String)> {
    let failed = || (Refusal::Failed, "the server has no place for this stream now; try again in a moment".to_owned());
    let question = question(shard, session, Action::Publish, request).map_err(|no| (no.refusal, no.reason))?;
    let (named, encoder) = (question.name.clone(), question.client.user_agent.clone());
    // It counts for the connection; the session of the further stream publishes once.
    pace(shard, session).await;
    let granted = shard.admission.ask(shard, question).await.map_err(|denial| (refusal(denial.why), denial.reason))?;
    let id = granted.publishes(named);
    if let Some(reason) = needs_tls(shard, session, &id) {
        let refused = Refused::of(session, PROTOCOL, CloseReason::NeedsTls.label(), &reason);
        shard.refused(&Refused { action: Action::Publish.as_str(), stream: id.as_str(), ..refused });
        return Err((Refusal::Denied, reason));
    }
    let lease = shard.sessions.lease(session.peer().ip()).map_err(|limit| {
        let reason = "the server, or this address, has as many connections as it may have";
        let refused = Refused::of(session, PROTOCOL, limit.refusal_label(Action::Publish), reason);
        shard.refused(&Refused { action: Action::Publish.as_str(), stream: id.as_str(), ..refused });
        (Refusal::Failed, reason.to_owned())
    })?;
    let (socket, fd) = Socket::pair().map_err(|_| failed())?;
    let (peer, number, owner) = (session.peer(), shard.number(), shard.home(&id));
    let publishes = OfConnection::default();
    let handoff =
        Box::new(Handoff { fd, rtmp, peer, number, id, encoder, publishes, granted, secure: session.is_secure() });
    if owner == shard.index {
        shard.spawn(resume(Rc::clone(shard), handoff));
    } else {
        shard.put(owner, Mail::Publisher(handoff)).map_err(|_| failed())?;
        shard.stats.handovers_total.add(1);
    }
    let mut side = Side { stream_id, socket, _lease: lease, reader: ChunkReader::new(), held: Vec::new() };
    side.reader.admit();
    let until = shard.clock.instant(shard.now() + ANSWER_WAIT);
    loop {
        let (said, more) = side.hear(shard);
        let mut started = None;
        for message in &said {
            let code = Command::parse(message).map(|command| command.info("code").to_owned());
            match code.as_deref() {
                Some("NetStream.Publish.Start") => started = Some(true),
                Some(code) if code.starts_with("NetStream.Publish.") => started = Some(false),
                _ => {}
            }
        }
        heard.extend(said);
        match started {
            Some(true) => {
                let mut announced = BytesMut::new();
                let bytes = (RTMP_CHUNK_SIZE_OUT as u32).to_be_bytes();
                write_message(&mut announced, CSID_CONTROL, 0, kind::SET_CHUNK_SIZE, 0, &bytes, RTMP_CHUNK_SIZE_OUT);
                side.socket.writer.send_all(announced.freeze()).await.map_err(|_| failed())?;
                return Ok(Some(side));
            }
            Some(false) => return Ok(None),
            None if !more => return Err(failed()),
            None => {}
        }
        if let Either::B(()) = select(side.socket.reader.readable(), sleep_until(until)).await {
            return Err(failed());
        }
    }
}

impl Side {
    /// Writes a message on to its session, behind what was held.
    async fn send(&mut self, message: &Message) -> std::io::Result<()> {
        self.send_held().await?;
        self.write(message).await
    }

    async fn send_held(&mut self) -> std::io::Result<()> {
        for message in std::mem::take(&mut self.held) {
            self.write(&message).await?;
        }
        Ok(())
    }

    async fn write(&mut self, message: &Message) -> std::io::Result<()> {
        let tag = match message.type_id {
            kind::AUDIO => TagKind::Audio,
            kind::DATA | kind::DATA_AMF3 => TagKind::Script,
            _ => TagKind::Video,
        };
        let mut out = BytesMut::new();
        let Message { timestamp, type_id, ref payload, .. } = *message;
        write_message(&mut out, media_csid(tag), timestamp, type_id, MESSAGE_STREAM, payload, RTMP_CHUNK_SIZE_OUT);
        self.socket.writer.send_all(out.freeze()).await
    }

    /// What its session has said, as far as it is there. False: it has ended.
    fn hear(&mut self, shard: &Shard) -> (Vec<Message>, bool) {
        let mut heard = Vec::new();
        let scratch = &mut *shard.scratch.borrow_mut();
        loop {
            let count = match self.socket.reader.recv_now(scratch) {
                Ok(None) => return (heard, true),
                Ok(Some(0)) | Err(_) => return (heard, false),
                Ok(Some(count)) => count,
            };
            let mut bytes = scratch.get(..count).unwrap_or_default();
            while let Ok(Some(message)) = self.reader.read(&mut bytes) {
                heard.push(message);
            }
        }
    }

    /// Tells the client what its session says in commands, and answers what that asks of a connection: the client is heard, or this would
    /// not run.
    async fn relay(&mut self, rtmp: &mut ServerSession, message: &Message) {
        match message.type_id {
            kind::COMMAND => rtmp.relay(message),
            kind::USER_CONTROL => {
                if let Some(UserControl::PingRequest(stamp)) = UserControl::parse(&message.payload) {
                    let mut pong = BytesMut::new();
                    let payload = UserControl::PingResponse(stamp).encode();
                    write_message(&mut pong, CSID_CONTROL, 0, kind::USER_CONTROL, 0, &payload, RTMP_CHUNK_SIZE_OUT);
                    // One that is gone is noticed with the next look.
                    let _ = self.socket.writer.send_all(pong.freeze()).await;
                }
            }
            _ => {}
        }
    }
}
