//! Further streams of a publisher's connection. Each may belong to another shard, and the connection cannot be in two places: so each gets
//! a session of its own, joined to the connection by a pair of local sockets, and goes on as any other publisher does: at its owner's shard, with
//! its own place, takeover, limits and events. What the client sends of it is written on as it is; what its session answers is relayed.
use std::os::unix::net::UnixStream;
use std::rc::Rc;
use std::time::Duration;

use bytes::BytesMut;
use millstream_policy::{Action, Verdict};
use millstream_proto::limits::RTMP_CHUNK_SIZE_OUT;
use millstream_proto::media::TagKind;
use millstream_proto::rtmp::chunk::ChunkReader;
use millstream_proto::rtmp::chunk_write::{CSID_CONTROL, MESSAGE_STREAM, media_csid, write_message};
use millstream_proto::rtmp::command::Command;
use millstream_proto::rtmp::message::{Message, UserControl, kind};
use millstream_proto::rtmp::{self, Event, Refusal};

use super::{Connection, Parcel, question, refusal, resume};
use crate::io::{Socket, sleep_until};
use crate::shard::Shard;
use crate::shard::mailbox::Mail;
use crate::shard::wait::{First, first};

/// A further stream's session answers within this time: its place may be taken by one that has just died.
const ANSWER_WAIT: Duration = Duration::from_secs(3);

/// One of them.
struct Side {
    stream_id: u32,
    socket: Socket,
    reader: ChunkReader,
}

/// All of a connection.
#[derive(Default)]
pub(super) struct Sides(Vec<Side>);

impl Sides {
    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Does what the client asked for and sent, and relays what the sessions answer. True: a request has been answered, so that more may lie
    /// behind it.
    pub(super) async fn turn(
        &mut self,
        shard: &Rc<Shard>,
        connection: &mut Connection,
        events: &mut Vec<Event>,
    ) -> bool {
        let mut answered = false;
        for event in events.drain(..) {
            match event {
                Event::SideRequested { stream_id, request } => {
                    answered = true;
                    self.open(shard, connection, (stream_id, request)).await;
                }
                Event::SideMessage(message) => {
                    if let Some(side) = self.0.iter_mut().find(|side| side.stream_id == message.stream_id) {
                        // One that is gone is noticed below.
                        let _ = side.send(&message).await;
                    }
                }
                Event::SideEnded { stream_id } => self.0.retain(|side| side.stream_id != stream_id),
                _ => {}
            }
        }
        let mut open = Vec::with_capacity(self.0.len());
        for mut side in self.0.drain(..) {
            let (heard, more) = side.hear(shard);
            for message in heard {
                side.relay(connection, &message).await;
            }
            if more {
                open.push(side);
            } else {
                connection.rtmp.end_side(side.stream_id);
            }
        }
        self.0 = open;
        answered
    }

    async fn open(
        &mut self,
        shard: &Rc<Shard>,
        connection: &mut Connection,
        (stream_id, request): (u32, rtmp::Request),
    ) {
        let opened = begin(shard, connection, (stream_id, request)).await;
        let now = shard.now();
        // What is wrong with what lies behind it is found again with the next read.
        let _ = match opened {
            Ok(Some(side)) => {
                self.0.push(side);
                connection.rtmp.accept_side(now)
            }
            Ok(None) => connection.rtmp.reject_side(now, None),
            Err((refusal, reason)) => connection.rtmp.reject_side(now, Some((refusal, &reason))),
        };
    }
}

/// Starts a further stream and waits for its answer, which is relayed; `None`: the answer was no.
async fn begin(
    shard: &Rc<Shard>,
    connection: &mut Connection,
    (stream_id, request): (u32, rtmp::Request),
) -> Result<Option<Side>, (Refusal, String)> {
    let failed = || (Refusal::Failed, "the server has no place for this stream now; try again in a moment".to_owned());
    let question =
        question(shard, &connection.session, Action::Publish, request).map_err(|reason| (Refusal::BadName, reason))?;
    let (id, encoder) = (question.name.clone(), question.client.user_agent.clone());
    if let Verdict::Deny(denial) = shard.door.ask(shard, question).await {
        return Err((refusal(denial.why), denial.reason));
    }
    let pair = || -> std::io::Result<(Socket, UnixStream)> {
        let (ours, theirs) = UnixStream::pair()?;
        ours.set_nonblocking(true)?;
        theirs.set_nonblocking(true)?;
        Ok((Socket::from_fd(ours.into())?, theirs))
    };
    let (socket, theirs) = pair().map_err(|_| failed())?;
    let now = shard.now();
    let rtmp = Box::new(connection.rtmp.relayed(now, stream_id));
    let (peer, number, owner) = (connection.session.peer(), shard.number(), shard.owner(&id));
    let parcel = Box::new(Parcel { fd: theirs.into(), rtmp, peer, number, id, encoder });
    if owner == shard.index {
        shard.spawn(resume(Rc::clone(shard), parcel));
    } else {
        shard.put(owner, Mail::Publisher(parcel)).map_err(|_| failed())?;
        shard.stats.handovers_total.add(1);
    }
    let mut side = Side { stream_id, socket, reader: ChunkReader::new() };
    side.reader.admit();
    let until = shard.clock.instant(now + ANSWER_WAIT);
    loop {
        let (heard, more) = side.hear(shard);
        let mut started = None;
        for message in heard {
            let code = Command::parse(&message).map(|command| command.info("code").to_owned());
            match code.as_deref() {
                Some("NetStream.Publish.Start") => started = Some(true),
                Some(code) if code.starts_with("NetStream.Publish.") => started = Some(false),
                _ => {}
            }
            side.relay(connection, &message).await;
        }
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
        if let First::B(()) = first(side.socket.reader.readable(), sleep_until(until)).await {
            return Err(failed());
        }
    }
}

impl Side {
    /// Writes a message on to its session.
    async fn send(&mut self, message: &Message) -> std::io::Result<()> {
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
    async fn relay(&mut self, connection: &mut Connection, message: &Message) {
        match message.type_id {
            kind::COMMAND => connection.rtmp.relay(message),
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
