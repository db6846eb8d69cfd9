//! One HLS viewer: a connection for the frames and one for the audio, each with one request out at a time, as players do that speak
//! HTTP/1.1. Before it: the event loop says that a socket is ready or that a time has come; after it: [`crate::tally`].
//!
//! A low-latency viewer asks for the hinted part, which the server holds until it is there, and then for the playlist that lists it, which is
//! there by then; without hints it waits at the playlist instead. Other viewers poll the playlist and fetch whole segments.
use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::time::Duration;

use millstream_proto::media::Track;
use millstream_proto::time::Time;

use super::edge::{Edges, Wanted};
use super::fragment::{self, Sample};
use super::lane::{Answer, Ask};
use super::player::Player;
use super::playlist::{self, Key, Variant};
use crate::clock::Clock;
use crate::ledger::{Found, Ledger, Place, Sum};
use crate::limits::HLS_REFUSALS_MAX;
use crate::media::stamp_us;
use crate::net::{Connection, Got, Interest, Poll, Ready};
use crate::schedule::{Habit, Protocol, Slot};
use crate::tally::Tally;
use crate::target::HttpTarget;

/// After an answer that is no use, before the next try.
const RETRY: Duration = Duration::from_millis(500);
/// Media time that jumps by more than this is a new beginning, microseconds.
const JUMP_US: i64 = 1_000_000;

/// When a lane goes on by itself: time, place, visit, lane.
pub(crate) type Wake = Reverse<(Time, usize, u32, usize)>;

#[derive(Debug)]
struct Lane {
    connection: Connection,
    connecting: bool,
    playlist: String,
    /// What is out, or goes out when there is a connection; `None` while it waits for its time.
    ask: Option<Ask>,
    answer: Answer,
    /// The last part or segment that it got, and its name: a hint may be listed under another number than it was expected at.
    position: Option<Key>,
    got: String,
    /// Its own playlists reach up to here.
    listed: Key,
    map: Option<String>,
    track: Option<fragment::Track>,
    last_piece: Time,
    /// When the request that is out was sent.
    asked: Time,
    refusals: u32,
    /// The connection was closed between two answers, once; a second time in a row is a loss.
    reopened: bool,
}

#[derive(Debug)]
pub(crate) struct HlsViewer {
    pub(crate) slot: Slot,
    pub(crate) visit: u32,
    lanes: [Option<Lane>; 2],
    begun: Time,
    joined: bool,
    place: Place,
    started: bool,
    player: Player,
    media_end_us: Option<i64>,
}

/// What a viewer shares with the others.
pub(crate) struct HlsHall<'a> {
    pub(crate) now: Time,
    pub(crate) stall: Duration,
    /// Ask for hinted parts.
    pub(crate) hints: bool,
    pub(crate) target: &'a HttpTarget,
    pub(crate) stream: &'a str,
    /// Where its sockets wait.
    pub(crate) poll: &'a Poll,
    /// What its sockets are registered as: that of the first lane, and how to make that of the second.
    pub(crate) tokens: [u64; 2],
    pub(crate) place: usize,
    pub(crate) wakes: &'a mut BinaryHeap<Wake>,
    pub(crate) scratch: &'a mut [u8],
    pub(crate) tally: &'a mut Tally,
    pub(crate) edges: &'a mut Edges,
    pub(crate) ledger: &'a mut Ledger,
}

impl HlsViewer {
    pub(crate) fn new(slot: Slot) -> Self {
        Self {
            slot,
            visit: 0,
            lanes: [None, None],
            begun: Time::ZERO,
            joined: false,
            place: Place::default(),
            started: false,
            player: Player::default(),
            media_end_us: None,
        }
    }

    pub(crate) fn begin(&mut self, hall: &mut HlsHall<'_>) -> Result<(), String> {
        *self = Self { visit: self.visit, begun: hall.now, ..Self::new(self.slot) };
        self.open(0, String::new(), Ask::Master, hall)
    }

    pub(crate) fn present(&self) -> bool {
        self.lanes[0].is_some()
    }

    /// Not yet at its first picture.
    pub(crate) fn joining(&self) -> bool {
        self.present() && !self.joined
    }

    /// Ends a visit as planned, or because the run is over.
    pub(crate) fn close(&mut self) {
        self.lanes = [None, None];
    }

    /// Ends a visit that should have gone on.
    pub(crate) fn lose(&mut self, why: &str, tally: &mut Tally) {
        tally.lost += 1;
        tally.troubles.add(format!("viewer: {why}"));
        self.close();
    }

    /// At the end of the run: frames that a low-latency viewer should have got long ago. Of a whole segment nobody can say when it is due.
    pub(crate) fn settle(&self, now: Time, stall: Duration, ledger: &Ledger, tally: &mut Tally) {
        if !(self.low_latency() && self.samples() && self.started) {
            return;
        }
        for planned in ledger.outstanding(&self.place).filter(|planned| *planned >= self.begun) {
            let age = now.since(planned);
            if age > stall * 2 {
                tally.overdue(age);
            }
        }
    }

    /// Why a viewer that has waited too long has waited.
    pub(crate) fn overdue(&self, now: Time, patience: Duration) -> Option<&'static str> {
        (self.joining() && now.since(self.begun) > patience).then_some("no picture in time")
    }

    fn low_latency(&self) -> bool {
        self.slot.protocol == Protocol::LlHls
    }

    fn samples(&self) -> bool {
        self.slot.habit == Habit::Sample
    }

    fn open(&mut self, lane: usize, playlist: String, ask: Ask, hall: &mut HlsHall<'_>) -> Result<(), String> {
        let connection =
            Connection::begin(hall.target.address, None).map_err(|error| format!("cannot connect: {error}"))?;
        hall.poll.add(&connection, hall.tokens[lane], Interest::ReadWrite).map_err(|error| error.to_string())?;
        self.lanes[lane] = Some(Lane {
            connection,
            connecting: true,
            playlist,
            ask: Some(ask),
            answer: Answer::default(),
            position: None,
            got: String::new(),
            listed: (0, 0),
            map: None,
            track: None,
            last_piece: hall.now,
            asked: hall.now,
            refusals: 0,
            reopened: false,
        });
        Ok(())
    }

    /// Acts on what the poll says. The error is why the viewer is lost.
    pub(crate) fn ready(&mut self, lane: usize, ready: Ready, hall: &mut HlsHall<'_>) -> Result<(), String> {
        let Some(open) = &mut self.lanes[lane] else { return Ok(()) };
        if open.connecting {
            if !ready.writable && !ready.closed {
                return Ok(());
            }
            open.connection.connected().map_err(|error| format!("cannot connect: {error}"))?;
            open.connecting = false;
            return self.send(lane, hall);
        }
        if let Err(error) = open.connection.send(&[]) {
            return self.ended(lane, &format!("connection lost: {error}"), hall);
        }
        if ready.readable { self.read(lane, ready.closed, hall) } else { Ok(()) }
    }

    /// Goes on with what was put off.
    pub(crate) fn wake(&mut self, lane: usize, hall: &mut HlsHall<'_>) -> Result<(), String> {
        let Some(open) = self.lanes[lane].as_mut().filter(|open| open.ask.is_none()) else { return Ok(()) };
        open.ask = Some(if open.playlist.is_empty() { Ask::Master } else { Ask::Playlist(None) });
        self.send(lane, hall)
    }

    /// Sends the request that is to go out.
    fn send(&mut self, lane: usize, hall: &mut HlsHall<'_>) -> Result<(), String> {
        let Some(open) = &mut self.lanes[lane] else { return Ok(()) };
        let Some(ask) = open.ask.as_ref().filter(|_| !open.connecting) else { return Ok(()) };
        let name = match ask {
            Ask::Master => String::new(),
            Ask::Playlist(None) => open.playlist.clone(),
            Ask::Playlist(Some((msn, part))) => format!("{}?_HLS_msn={msn}&_HLS_part={part}", open.playlist),
            Ask::Init(uri) => beside(&open.playlist, uri),
            Ask::Part(wanted) | Ask::Segment(wanted) => beside(&open.playlist, &wanted.uri),
        };
        let request = hall.target.request_beside(hall.stream, &name);
        hall.tally.hls.requests += 1;
        open.asked = hall.now;
        match open.connection.send(&request) {
            Ok(_) => Ok(()),
            Err(error) => self.ended(lane, &format!("connection lost: {error}"), hall),
        }
    }

    fn read(&mut self, lane: usize, closed: bool, hall: &mut HlsHall<'_>) -> Result<(), String> {
        loop {
            let Some(open) = &mut self.lanes[lane] else { return Ok(()) };
            let discard = open.answer.to_discard().min(hall.scratch.len());
            let room = if discard > 0 { discard } else { hall.scratch.len() };
            let got = if discard > 0 {
                open.connection.discard(hall.now, &mut hall.scratch[..discard])
            } else {
                open.connection.read(hall.now, hall.scratch)
            };
            let (count, arrived) = match got {
                Ok(Got::Nothing) => return Ok(()),
                Ok(Got::End) => return self.ended(lane, "closed by the server", hall),
                Ok(Got::Bytes(count, arrived)) => (count, arrived),
                Err(error) => return self.ended(lane, &format!("connection lost: {error}"), hall),
            };
            hall.tally.bytes_received += count as u64;
            hall.tally.last_data = hall.now;
            open.reopened = false;
            if discard > 0 {
                open.answer.discarded(count);
                self.finish(lane, arrived, hall)?;
            } else {
                self.take(lane, count, arrived, hall)?;
            }
            // A read that does not fill its room has emptied the socket (epoll(7)).
            if count < room && !closed {
                return Ok(());
            }
        }
    }

    /// Gives what was read to the answer that it belongs to.
    fn take(&mut self, lane: usize, count: usize, arrived: Time, hall: &mut HlsHall<'_>) -> Result<(), String> {
        let mut from = 0;
        while from < count {
            let samples = self.samples();
            let Some(open) = &mut self.lanes[lane] else { return Ok(()) };
            let Some(ask) = &open.ask else { return Err("sent something that was not asked for".to_owned()) };
            let keep = |status: u16| {
                let wanted = match ask {
                    Ask::Master | Ask::Playlist(None) => true,
                    // What somebody else has read already is not read again.
                    Ask::Playlist(Some(key)) => !hall.edges[lane].knows(*key),
                    Ask::Init(_) | Ask::Part(_) | Ask::Segment(_) => false,
                };
                status == 200 && (wanted || samples)
            };
            let used = open.answer.take(&hall.scratch[from..count], keep).map_err(|broken| broken.to_string())?;
            from += used;
            self.finish(lane, arrived, hall)?;
        }
        Ok(())
    }

    /// The server has closed the connection: between two answers that is its right, and a request that met it is sent once more.
    fn ended(&mut self, lane: usize, why: &str, hall: &mut HlsHall<'_>) -> Result<(), String> {
        let Some(open) = self.lanes[lane].as_mut().filter(|open| !open.answer.begun() && !open.reopened) else {
            return Err(why.to_owned());
        };
        let _ = hall.poll.remove(&open.connection);
        open.connection =
            Connection::begin(hall.target.address, None).map_err(|error| format!("cannot connect: {error}"))?;
        (open.connecting, open.reopened) = (true, true);
        hall.poll.add(&open.connection, hall.tokens[lane], Interest::ReadWrite).map_err(|error| error.to_string())
    }

    /// Acts on the answer, if it is whole.
    fn finish(&mut self, lane: usize, arrived: Time, hall: &mut HlsHall<'_>) -> Result<(), String> {
        let Some(open) = &mut self.lanes[lane] else { return Ok(()) };
        let Some(status) = open.answer.whole() else { return Ok(()) };
        let body = std::mem::take(&mut open.answer).kept;
        let Some(ask) = open.ask.take() else { return Ok(()) };
        if status != 200 {
            hall.tally.troubles.add(format!("viewer: answered with status {status} for {}", ask.name()));
            open.refusals += 1;
            if open.refusals > HLS_REFUSALS_MAX {
                return Err(format!("answered with status {status} again and again"));
            }
            hall.wakes.push(Reverse((hall.now + RETRY, hall.place, self.visit, lane)));
            return Ok(());
        }
        match ask {
            Ask::Master => {
                let found = playlist::variant(&text(&body)).map_err(|broken| broken.to_string())?;
                return self.begin_lanes(found, hall);
            }
            Ask::Playlist(_) => {
                hall.tally.hls.playlists += 1;
                if !body.is_empty() {
                    let media = playlist::media(&text(&body)).map_err(|broken| broken.to_string())?;
                    if media.ended {
                        return Err("told that the stream has ended".to_owned());
                    }
                    hall.edges[lane].learn(media);
                }
                let reach = hall.edges[lane].newest().map_or(open.listed, |newest| newest.next);
                let unchanged = open.listed == reach;
                open.listed = reach;
                return self.go_on(lane, unchanged, hall);
            }
            Ask::Init(uri) => {
                if !body.is_empty() {
                    open.track = Some(fragment::init(&body).map_err(|broken| broken.to_string())?);
                }
                open.map = Some(uri);
            }
            Ask::Part(wanted) => {
                hall.tally.hls.parts += 1;
                self.got(lane, &wanted, &body, arrived, hall)?;
            }
            Ask::Segment(wanted) => {
                hall.tally.hls.segments += 1;
                self.got(lane, &wanted, &body, arrived, hall)?;
            }
        }
        self.go_on(lane, false, hall)
    }

    fn begin_lanes(&mut self, found: Variant, hall: &mut HlsHall<'_>) -> Result<(), String> {
        let Some(first) = &mut self.lanes[0] else { return Ok(()) };
        first.playlist = found.video;
        first.ask = Some(Ask::Playlist(None));
        if let Some(audio) = found.audio {
            self.open(1, audio, Ask::Playlist(None), hall)?;
        }
        self.send(0, hall)
    }

    /// Decides what to ask for next.
    fn go_on(&mut self, lane: usize, unchanged: bool, hall: &mut HlsHall<'_>) -> Result<(), String> {
        let low_latency = self.low_latency();
        let Some(open) = &mut self.lanes[lane] else { return Ok(()) };
        let edge = &hall.edges[lane];
        let Some(newest) = edge.newest() else { return Err("sent no playlist".to_owned()) };
        if low_latency && (newest.part_hold_back.is_none() || !newest.can_block) {
            return Err("has no low-latency playlists".to_owned());
        }
        // What comes next, or when to look again.
        let mut wait = None;
        let next = match (low_latency, open.position) {
            (true, None) => edge.first_part().map(Ask::Part),
            // The part that was hinted is there, and the playlist that lists it is still to be fetched.
            (true, Some(at)) if open.listed <= at => Some(Ask::Playlist(Some(at))),
            (true, Some(at)) => {
                let mut next = edge.part_after(at, hall.hints);
                if let Some(same) = next.take_if(|next| next.uri == open.got) {
                    open.position = Some(same.key);
                    next = edge.part_after(same.key, hall.hints);
                }
                Some(next.map_or(Ask::Playlist(Some(newest.next)), Ask::Part))
            }
            (false, None) => edge.first_segment().map(Ask::Segment),
            (false, Some((msn, _))) => {
                let next = edge.segment_after(msn).filter(|wanted| wanted.key.0 < open.listed.0);
                // A target duration, or half of one where nothing was new (RFC 8216bis, 6.3.4).
                wait = Some(if unchanged { newest.target / 2 } else { newest.target });
                next.map(Ask::Segment)
            }
        };
        open.ask = match (next, &newest.map) {
            // A stream whose configuration has changed has another initialisation.
            (Some(Ask::Part(_) | Ask::Segment(_)), Some(map)) if open.map.as_ref() != Some(map) => {
                Some(Ask::Init(map.clone()))
            }
            (next, _) => next,
        };
        if open.ask.is_none() {
            hall.wakes.push(Reverse((hall.now + wait.unwrap_or(RETRY), hall.place, self.visit, lane)));
        }
        self.send(lane, hall)
    }

    /// A part or segment is there.
    fn got(
        &mut self,
        lane: usize,
        wanted: &Wanted,
        body: &[u8],
        arrived: Time,
        hall: &mut HlsHall<'_>,
    ) -> Result<(), String> {
        let low_latency = self.low_latency();
        let Some(open) = &mut self.lanes[lane] else { return Ok(()) };
        let silence = arrived.since(open.last_piece);
        let newest = hall.edges[lane].newest();
        let usual =
            newest.map_or(Duration::ZERO, |media| if low_latency { media.target / 2 } else { media.target * 2 });
        if open.position.is_some() && silence > hall.stall + usual {
            hall.tally.stalls += 1;
            hall.tally.stalled += silence;
        }
        (open.last_piece, open.position, open.refusals) = (arrived, Some(wanted.key), 0);
        open.got.clone_from(&wanted.uri);
        if lane == 0 && !self.joined {
            self.joined = true;
            hall.tally.joined += 1;
            hall.tally.join.record(arrived.since(self.begun));
        }
        let hold_back = newest.map_or(Duration::ZERO, |media| {
            let plain = media.hold_back.unwrap_or(media.target * 3);
            if low_latency { media.part_hold_back.unwrap_or(plain) } else { plain }
        });
        let asked = open.asked;
        let Some(track) = open.track.filter(|_| self.samples()) else { return Ok(()) };
        let samples = fragment::samples(track, body).map_err(|broken| broken.to_string())?;
        if lane == 0 {
            self.play(&samples, arrived, hold_back, hall.tally);
        }
        let mut last = None;
        for sample in &samples {
            last = self.compare(lane, sample, arrived, hall);
        }
        // What was there before the viewer asked says nothing about how quickly it comes.
        if let Some(planned) = last.filter(|planned| *planned >= asked) {
            hall.tally.hls.part.record(arrived.since(planned));
        }
        Ok(())
    }

    /// Lets the model player have what came.
    fn play(&mut self, samples: &[Sample<'_>], arrived: Time, hold_back: Duration, tally: &mut Tally) {
        let (Some(first), Some(last)) = (samples.first(), samples.last()) else { return };
        let end_us = last.dts_us + last.duration_us;
        if self.media_end_us.is_some_and(|end| (first.dts_us - end).abs() > JUMP_US) {
            self.player.restart();
        }
        self.media_end_us = Some(end_us);
        let duration = Duration::from_micros((end_us - first.dts_us).unsigned_abs());
        let waited = self.player.part(first.dts_us, duration, arrived, hold_back);
        if !waited.is_zero() {
            tally.hls.rebuffers += 1;
            tally.hls.rebuffered += waited;
        }
    }

    /// Looks a frame up, as it was published; when that was planned.
    fn compare(&mut self, lane: usize, sample: &Sample<'_>, arrived: Time, hall: &mut HlsHall<'_>) -> Option<Time> {
        let age_us = hall.now.since(arrived).as_micros() as u64;
        let stamp = stamp_us(sample.data).map(|us| Clock::place(arrived, Clock::wall_us().saturating_sub(age_us), us));
        let dts_ms = (sample.dts_us + 500) / 1_000;
        let (track, found) = if lane == 0 {
            let heads = sample.video_heads();
            let mut found = Found::Unknown;
            for head in &heads {
                let sum = Sum::of_parts(&[head, sample.data]);
                match self.place.find(hall.ledger, Track::Video, dts_ms, sum, stamp) {
                    other @ (Found::Unknown | Found::TooEarly) if found != Found::Damaged => found = other,
                    Found::Unknown | Found::TooEarly => {}
                    Found::Damaged => found = Found::Damaged,
                    other => {
                        found = other;
                        break;
                    }
                }
            }
            (Track::Video, found)
        } else {
            let sum = Sum::of_parts(&[&Sample::AUDIO_HEAD, sample.data]);
            (Track::Audio, self.place.find(hall.ledger, Track::Audio, dts_ms, sum, stamp))
        };
        hall.tally.frame(found, track, sample.sync, arrived, self.begun, self.started);
        let Found::Frame { planned, .. } = found else { return None };
        self.started = true;
        if lane == 0
            && let (Some(planned), Some(shown)) = (planned, self.player.shown(sample.dts_us + sample.cts_us))
        {
            hall.tally.hls.playhead.record(shown.since(planned));
        }
        planned
    }
}

/// What a playlist names is relative to the playlist.
fn beside(playlist: &str, uri: &str) -> String {
    match playlist.split('?').next().and_then(|path| path.rsplit_once('/')) {
        Some((directory, _)) if !uri.starts_with('/') => format!("{directory}/{uri}"),
        _ => uri.to_owned(),
    }
}

fn text(body: &[u8]) -> std::borrow::Cow<'_, str> {
    String::from_utf8_lossy(body)
}
