//! `engine/egress`: from a log to a viewer's socket, one send at a time, and what an RTMP player says meanwhile.
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use millstream_hub::package::block::Format;
use millstream_hub::viewer::{CloseReason, Fill, Piece, SEND_BYTES_MAX, SEND_PIECES_MAX, Start, Viewer};
use millstream_proto::http::request::{Parsed, parse};
use millstream_proto::http::response::{Body, Cache, Head};
use millstream_proto::http::websocket;
use millstream_proto::rtmp::Event as RtmpEvent;

use super::conn::Task;
use super::ingest::GOODBYE;
use crate::Sabotage;
use crate::net::Read;
use crate::world::{Event, World};

/// How a play ended.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Done {
    /// By the hub's rules.
    Closed(CloseReason),
    /// By its peer, or by the sweep.
    Gone,
}

/// A play under way.
pub(crate) struct Play {
    pub(crate) channel: usize,
    pub(crate) format: Format,
    pub(crate) viewer: Viewer,
    /// The send under way.
    load: Vec<Piece>,
    /// All of the last send was taken.
    whole: bool,
    pub(crate) paused: bool,
    pub(crate) resumes: u64,
    pub(crate) done: Option<Done>,
}

impl Play {
    /// Jumps that account for what is missing.
    pub(crate) fn counted(&self) -> u64 {
        self.viewer.skips() + self.resumes
    }
}

impl World {
    /// The beginnings of `egress::rtmp::run`, `flv::play` and `websocket::play`.
    pub(crate) fn begin_play(&mut self, link: usize, channel: usize, format: Format, start: Start) {
        let now = self.now;
        let mut viewer = Viewer::new(format, start, &self.channels[channel].log, now);
        let conn = &mut self.links[link].conn;
        if let Some(rtmp) = &mut conn.rtmp {
            rtmp.accept(now).expect("nothing wrong waits behind a play");
            while let Some(bytes) = rtmp.poll_output() {
                viewer.lead(bytes);
            }
        } else if format == Format::FlvWebSocket {
            let Ok(Parsed::Complete { request, .. }) = parse(&conn.input) else { panic!("it has asked") };
            viewer.lead(request.websocket.expect("an upgrade").accept().expect("a right upgrade"));
        } else {
            let body = if format == Format::FlvChunked { Body::Chunked } else { Body::UntilClose };
            viewer.lead(Head::new(200, body, Cache::NoStore, false).content_type("video/x-flv").date(0).finish());
        }
        conn.deadline = None;
        conn.play = Some(Play {
            channel,
            format,
            viewer,
            load: Vec::new(),
            whole: false,
            paused: false,
            resumes: 0,
            done: None,
        });
        conn.task = Task::Playing;
        self.trace.note(now, "play", link, channel as u64);
        if self.heed(link).is_err() {
            return self.done(link, Done::Gone);
        }
        self.wake(link);
    }

    fn playing(&mut self, link: usize) -> &mut Play {
        self.links[link].conn.play.as_mut().expect("it plays")
    }

    /// Both tasks of a viewer: `listen` or `notice_close`, then `pump`.
    pub(crate) fn play_on(&mut self, link: usize) {
        loop {
            match self.recv(link, 64 << 10) {
                Read::Wait => break,
                Read::Eof => return self.done(link, Done::Gone),
                Read::Data(bytes) => {
                    let now = self.now;
                    let Some(rtmp) = &mut self.links[link].conn.rtmp else { continue };
                    if rtmp.handle_input(now, &bytes).is_err() || self.heed(link).is_err() {
                        return self.done(link, Done::Gone);
                    }
                }
            }
        }
        self.pump(link);
    }

    /// `heed`.
    fn heed(&mut self, link: usize) -> Result<(), ()> {
        let now = self.now;
        let conn = &mut self.links[link].conn;
        let (Some(rtmp), Some(play)) = (&mut conn.rtmp, &mut conn.play) else { return Ok(()) };
        while let Some(event) = rtmp.poll_event() {
            match event {
                RtmpEvent::Paused(paused) => {
                    play.viewer.pause(paused, now);
                    play.resumes += u64::from(play.paused && !paused);
                    play.paused = paused;
                }
                RtmpEvent::PlayEnded => return Err(()),
                _ => {}
            }
        }
        rtmp.handle_timeout(now).map_err(drop)?;
        while let Some(bytes) = rtmp.poll_output() {
            play.viewer.lead(bytes);
        }
        if rtmp.is_closing() { Err(()) } else { Ok(()) }
    }

    /// `pump`, one round of its loop up to the send.
    fn pump(&mut self, link: usize) {
        let conn = &mut self.links[link].conn;
        let play = conn.play.as_mut().expect("it plays");
        if conn.ending.is_some() || conn.closed {
            return self.done(link, Done::Gone);
        }
        if !play.load.is_empty() {
            return;
        }
        let channel = &mut self.channels[play.channel];
        // Between two blocks only, or it would be another defect.
        let rewinds = self.sabotage == Some(Sabotage::Rewind) && play.whole && play.format == Format::Rtmp;
        if rewinds && self.random.chance(20) {
            play.viewer = Viewer::new(play.format, Start::Newest, &channel.log, self.now);
        }
        match play.viewer.fill(&channel.log, &channel.config, self.now, &mut play.load) {
            Fill::Send => {
                let bytes: usize = play.load.iter().map(|piece| piece.len()).sum();
                assert!(bytes > 0 && bytes <= SEND_BYTES_MAX && play.load.len() <= SEND_PIECES_MAX, "{bytes} to send");
                let soon = Duration::from_micros(self.random.below(3_000));
                self.after(soon, Event::Sent(link));
            }
            Fill::Wait => {
                if !channel.waiters.contains(&link) {
                    channel.waiters.push(link);
                }
            }
            Fill::Close(reason) => self.done(link, Done::Closed(reason)),
        }
    }

    /// The send of `pump` completes, as soon as one byte at least was taken.
    pub(crate) fn sent(&mut self, link: usize) {
        let end = &self.links[link];
        let Some(play) = end.conn.play.as_ref().filter(|play| play.done.is_none()) else { return };
        if end.down.reader_gone || end.conn.closed {
            return self.done(link, Done::Gone);
        }
        let bytes: usize = play.load.iter().map(|piece| piece.len()).sum();
        let mut count = bytes.min(end.down.room());
        if bytes == 0 {
            return;
        }
        if count == 0 {
            self.links[link].down.writer_waits = true;
            return;
        }
        if self.random.chance(250) {
            count = self.random.within(1, count as u64 + 1) as usize;
        }
        let play = self.links[link].conn.play.as_mut().expect("it plays");
        let mut taken = BytesMut::with_capacity(count);
        for piece in &play.load {
            taken.extend_from_slice(&piece[..piece.len().min(count - taken.len())]);
        }
        play.viewer.sent(&play.load, count);
        play.load.clear();
        play.whole = count == bytes;
        let mut taken: Bytes = taken.freeze();
        if self.sabotage == Some(Sabotage::TornTag) && count > 1 && self.random.chance(5) {
            taken.truncate(count - 1);
        }
        self.trace.note(self.now, "sends", link, count as u64);
        self.put(link, false, taken);
        self.wake(link);
    }

    /// What follows `pump` in `egress::rtmp::run`, `flv::play` and `websocket::play`.
    fn done(&mut self, link: usize, done: Done) {
        let now = self.now;
        let play = self.playing(link);
        if play.done.replace(done).is_some() {
            return;
        }
        play.load.clear();
        let (channel, format, skips) = (play.channel, play.format, play.viewer.skips());
        self.totals.skips += skips;
        self.stand_up(channel);
        let Done::Closed(reason) = done else { return self.over(link, "peer_gone") };
        if matches!(reason, CloseReason::Ended(_)) {
            self.totals.ended += 1;
        } else {
            self.totals.closed += 1;
        }
        let conn = &mut self.links[link].conn;
        match format {
            Format::Rtmp => {
                conn.rtmp().end(now, "the stream has ended");
                conn.take_output();
            }
            Format::FlvChunked => conn.out.extend_from_slice(b"0\r\n\r\n"),
            Format::FlvWebSocket => conn.out.extend_from_slice(&websocket::close(websocket::code::NORMAL, "")),
            Format::FlvPlain | Format::Framed(_) => {}
        }
        (conn.deadline, conn.task) = (Some(now + GOODBYE), Task::Goodbye);
        self.trace.note(now, reason.label(), link, 3);
        self.wake(link);
    }
}
