//! `engine/ingest/mod.rs`: RTMP connections, publishers above all. A task is a state here; [`World::run`] polls it.
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use millstream_hub::config::Takeover;
use millstream_hub::stream::{PUBLISHER_SILENT_AFTER, Taken};
use millstream_proto::id::Id;
use millstream_proto::media::MediaEvent;
use millstream_proto::rtmp::{self, Event as RtmpEvent, Refusal};
use millstream_proto::time::Time;

use super::conn::{Task, Turn};
use super::shard::Mail;
use crate::Sabotage;
use crate::net::Read;
use crate::world::{Event, World};

/// A publisher's read buffer.
const READ_BYTES: usize = 32 << 10;
const PUBLISHER_IDLE: Duration = Duration::from_secs(15);
pub(crate) const GOODBYE: Duration = Duration::from_secs(2);

impl World {
    /// Polls the task of that link until it waits.
    pub(crate) fn run(&mut self, link: usize) {
        loop {
            let conn = &self.links[link].conn;
            // These wait for the shard, whatever becomes of their sockets.
            if matches!(conn.task, Task::Asking | Task::Mailed | Task::Over) {
                return;
            }
            if matches!(conn.task, Task::Playing) {
                return self.play_on(link);
            }
            if !conn.out.is_empty() && !self.flush(link) {
                return;
            }
            let turn = match self.links[link].conn.task {
                Task::Request => self.request(link),
                Task::Claim { channel, until } => self.claim(link, channel, until),
                Task::OnAir { channel, fed, over } => self.on_air(link, channel, fed, over),
                Task::TuneIn { channel, until } => self.playable(link, channel, until),
                Task::Goodbye => return self.over(link, "said goodbye"),
                Task::Asking | Task::Mailed | Task::Playing | Task::Over => continue,
            };
            if matches!(turn, Turn::Wait) {
                return;
            }
        }
    }

    /// `Writer::send_all`. False: it waits for room, or the peer is gone and so is the task.
    fn flush(&mut self, link: usize) -> bool {
        if self.links[link].conn.closed || self.links[link].down.reader_gone {
            let Task::OnAir { channel, .. } = self.links[link].conn.task else {
                self.over(link, "peer_gone");
                return false;
            };
            self.leave(channel, self.links[link].conn.number);
            self.over(link, "peer_gone");
            return false;
        }
        let bytes = self.links[link].conn.out.split().freeze();
        let count = self.write(link, false, &bytes);
        if count < bytes.len() {
            self.links[link].conn.out = BytesMut::from(&bytes[count..]);
            if self.links[link].down.room() > 0 {
                self.wake(link);
            } else {
                self.links[link].down.writer_waits = true;
            }
            return false;
        }
        true
    }

    /// `Reader::recv`, and the peer's writer that gets room by it.
    pub(crate) fn recv(&mut self, link: usize, bytes_max: usize) -> Read {
        let conn = &self.links[link].conn;
        if conn.read_closed || conn.closed {
            return Read::Eof;
        }
        let bytes_max = if self.random.chance(100) { self.random.within(1, 200) as usize } else { bytes_max };
        let read = self.links[link].up.read(self.now, bytes_max);
        if let Read::Data(bytes) = &read {
            self.trace.note(self.now, "server reads", link, bytes.len() as u64);
            if std::mem::take(&mut self.links[link].up.writer_waits) {
                self.at(self.now, Event::Down(link));
            }
        }
        read
    }

    /// Its task is polled soon.
    pub(crate) fn wake(&mut self, link: usize) {
        if !std::mem::replace(&mut self.links[link].conn.woken, true) {
            self.at(self.now, Event::Wake(link));
        }
    }

    /// `Session::end`.
    pub(crate) fn end(&mut self, link: usize, why: &'static str) {
        let conn = &mut self.links[link].conn;
        conn.ending.get_or_insert(why);
        conn.closed = true;
        self.trace.note(self.now, why, link, 0);
        self.close(link, false);
        self.wake(link);
    }

    /// `Session::end_politely`.
    pub(crate) fn end_politely(&mut self, link: usize, why: &'static str) {
        let conn = &mut self.links[link].conn;
        conn.ending.get_or_insert(why);
        conn.read_closed = true;
        self.wake(link);
    }

    /// The task is over, and the socket closed.
    pub(crate) fn over(&mut self, link: usize, why: &'static str) {
        let conn = &mut self.links[link].conn;
        if matches!(std::mem::replace(&mut conn.task, Task::Over), Task::Over) {
            return;
        }
        conn.closed = true;
        conn.rtmp = None;
        self.trace.note(self.now, why, link, 1);
        self.links[link].up.reader_gone = true;
        self.close(link, false);
    }

    /// `finish`.
    pub(crate) fn finish_conn(&mut self, link: usize, why: &'static str) {
        let now = self.now;
        let conn = &mut self.links[link].conn;
        if let Some(rtmp) = &mut conn.rtmp
            && conn.ending.unwrap_or(why) == "shutdown"
        {
            rtmp.end(now, "the server is going down; connect again");
        }
        conn.deadline = Some(now + GOODBYE);
        conn.take_output();
        conn.task = Task::Goodbye;
        self.trace.note(now, why, link, 2);
        self.wake(link);
    }

    /// `Connection::reject`, and the way out.
    pub(crate) fn refuse(&mut self, link: usize, refusal: Refusal, reason: &str) {
        self.totals.refused += 1;
        let now = self.now;
        self.links[link].conn.rtmp().reject(now, refusal, reason);
        self.finish_conn(link, "refused");
    }

    /// `hand_over`.
    pub(crate) fn hand_over(&mut self, link: usize, id: &Id) {
        let (from, owner) = (self.links[link].conn.shard, self.owner(id));
        self.links[link].conn.task = Task::Mailed;
        if self.mail(from, owner, Mail::Publisher(link)).is_ok() {
            self.totals.handovers += 1;
        } else {
            self.turn_away(link, "the server is busy; try again in a moment");
        }
    }

    /// `turn_away`: what fits is said, and that is all.
    fn turn_away(&mut self, link: usize, reason: &str) {
        let now = self.now;
        let conn = &mut self.links[link].conn;
        conn.rtmp().reject(now, Refusal::Failed, reason);
        conn.take_output();
        let bytes: Bytes = conn.out.split().freeze();
        self.totals.refused += 1;
        if !self.links[link].down.is_finished() {
            self.write(link, false, &bytes);
        }
        self.over(link, "turned away");
    }

    /// `resume`: the owner has the parcel.
    pub(crate) fn resume(&mut self, shard: usize, link: usize) {
        if matches!(self.links[link].conn.task, Task::Mailed) {
            self.links[link].conn.shard = shard;
            let id = Self::id(self.links[link].peer.plan().stream);
            self.publish(link, &id);
        }
    }

    /// `publish`, up to the wait in `claim`.
    pub(crate) fn publish(&mut self, link: usize, id: &Id) {
        let shard = self.links[link].conn.shard;
        assert_eq!(self.owner(id), shard, "publishers are at their owner");
        if self.shards[shard].draining {
            return self.refuse(link, Refusal::Failed, "the server is going down; connect again");
        }
        let Some(channel) = self.own(shard, id) else {
            return self.refuse(link, Refusal::Failed, "the server has as many streams as it may have");
        };
        let until = self.now + PUBLISHER_SILENT_AFTER;
        self.links[link].conn.task = Task::Claim { channel, until };
        self.at(until, Event::Wake(link));
        // Its first round is run at once, before the channel's own task is.
        self.run(link);
    }

    /// `claim`, one round of its loop, and the start of `pump`.
    fn claim(&mut self, link: usize, channel: usize, until: Time) -> Turn {
        let replaced = match self.claim_place(channel, self.links[link].conn.number, self.now >= until) {
            Ok(replaced) => replaced,
            Err(taken) if self.now < until => {
                self.channels[channel].waiters.push(link);
                self.at(until.min(self.now + taken.silent_in()), Event::Wake(link));
                return Turn::Wait;
            }
            Err(_) if self.sabotage == Some(Sabotage::TwoPublishers) => None,
            Err(taken @ Taken { .. }) => {
                self.refuse(link, Refusal::Busy, &taken.to_string());
                return Turn::On;
            }
        };
        if let Some(old) = replaced
            && let Some(old) = self.links.iter().position(|other| other.conn.number == old && !other.conn.is_over())
        {
            self.totals.takeovers += 1;
            let silent = self.now.since(self.links[old].conn.heard);
            let insisted = self.now >= until && self.settings.stream.takeover == Takeover::Replace;
            let gave_way = silent >= PUBLISHER_SILENT_AFTER || insisted;
            assert!(gave_way, "a publisher gave way that was heard {silent:?} ago");
            self.end(old, "replaced");
        }
        self.trace.note(self.now, "on air", link, 0);
        let now = self.now;
        self.links[link].conn.heard = now;
        match self.links[link].conn.rtmp().accept(now) {
            Ok(()) => self.links[link].conn.task = Task::OnAir { channel, fed: true, over: false },
            Err(error) => self.off_air(link, channel, error.label()),
        }
        Turn::On
    }

    /// `OnAir::drop`, and the end of the connection.
    fn off_air(&mut self, link: usize, channel: usize, why: &'static str) {
        self.leave(channel, self.links[link].conn.number);
        self.finish_conn(link, why);
    }

    /// `pump`, one round of its loop.
    fn on_air(&mut self, link: usize, channel: usize, fed: bool, over: bool) -> Turn {
        let now = self.now;
        if fed {
            self.links[link].conn.heard = now;
            let (events, over) = drain(self.links[link].conn.rtmp());
            if !self.read(channel, link, events) {
                self.off_air(link, channel, "replaced");
                return Turn::On;
            }
            let conn = &mut self.links[link].conn;
            if conn.rtmp().poll_timeout().is_some_and(|at| at <= now)
                && let Err(error) = conn.rtmp().handle_timeout(now)
            {
                self.off_air(link, channel, error.label());
                return Turn::On;
            }
            conn.deadline = Some(now + PUBLISHER_IDLE);
            conn.take_output();
            conn.task = Task::OnAir { channel, fed: false, over };
            return Turn::On;
        }
        if over {
            self.leave(channel, self.links[link].conn.number);
            let conn = &mut self.links[link].conn;
            (conn.task, conn.deadline) = (Task::Request, Some(now + super::requests::HANDSHAKE_TIMEOUT));
            return Turn::On;
        }
        if self.links[link].conn.rtmp().is_closing() {
            self.off_air(link, channel, "closed");
            return Turn::On;
        }
        match self.recv(link, READ_BYTES) {
            Read::Wait => return Turn::Wait,
            Read::Eof => self.off_air(link, channel, "peer_closed"),
            Read::Data(bytes) => {
                if let Err(error) = self.links[link].conn.rtmp().handle_input(now, &bytes) {
                    let (events, _) = drain(self.links[link].conn.rtmp());
                    self.read(channel, link, events);
                    self.off_air(link, channel, error.label());
                } else {
                    self.links[link].conn.task = Task::OnAir { channel, fed: true, over: false };
                }
            }
        }
        Turn::On
    }
}

/// `drain`.
fn drain(rtmp: &mut rtmp::ServerSession) -> (Vec<MediaEvent>, bool) {
    let mut events = Vec::new();
    while let Some(event) = rtmp.poll_event() {
        match event {
            RtmpEvent::Media(media) => events.push(media),
            RtmpEvent::PublishEnded => return (events, true),
            _ => {}
        }
    }
    (events, false)
}
