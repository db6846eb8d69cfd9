//! A viewer: a cursor into the log, not a queue. What it has yet to get is `log[cursor..head]`; what it is being sent owns its
//! references; when it falls off the log it goes on at the newest keyframe. After [`crate::log`]; before the engine's egress.
use std::collections::VecDeque;
use std::ops::Deref;
use std::rc::Rc;
use std::time::Duration;

use bytes::Bytes;
use millstream_proto::time::Time;

use crate::config::StreamConfig;
use crate::log::{EndReason, Log};
use crate::package::block::{EntryRef, Form, Format, Framing};

/// Buffers of one send at most (HOT_PATH, rule 2).
pub const SEND_PIECES_MAX: usize = 64;
/// Bytes of one send at most.
pub const SEND_BYTES_MAX: usize = 256 << 10;
/// Bytes of the viewer's own (stream headers, control messages) that may wait; more means that it asks and does not read.
pub const LEAD_BYTES_MAX: usize = 512 << 10;
/// Pieces of the viewer's own that may wait: each costs more memory than the few bytes of a pong.
pub const LEAD_PIECES_MAX: usize = 1024;

/// Why a viewer is closed by us.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
#[non_exhaustive]
pub enum CloseReason {
    /// It got everything of a stream that is over.
    Ended(EndReason),
    /// It fell off the log too often.
    Lagging,
    /// It took no byte for too long.
    Stalled,
    /// No keyframe came to start at.
    NoStart,
    /// It lets control messages pile up.
    ControlFlood,
    /// It said goodbye.
    PeerClosed,
    /// It broke the rules of its protocol.
    ProtocolError,
}

impl CloseReason {
    /// A short name for metrics and logs.
    pub const fn label(self) -> &'static str {
        match self {
            Self::Ended(EndReason::PublisherGone) => "ended",
            Self::Ended(EndReason::Shutdown) => "shutdown",
            Self::Lagging => "lagging",
            Self::Stalled => "stalled",
            Self::NoStart => "no_keyframe",
            Self::ControlFlood => "control_flood",
            Self::PeerClosed => "peer_closed",
            Self::ProtocolError => "protocol_error",
        }
    }
}

/// Where a viewer starts.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
pub enum Start {
    /// At the newest keyframe in the log: a picture at once.
    #[default]
    Newest,
    /// At the next keyframe: the lowest delay.
    Next,
    /// At the block of this number, which begins with a keyframe; where it has left the log, at the newest keyframe.
    At(u64),
}

/// What [`Viewer::fill`] found.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Fill {
    /// There are pieces to send.
    Send,
    /// Nothing to send until the log changes.
    Wait,
    /// Close it.
    Close(CloseReason),
}

#[derive(Debug)]
enum Source {
    /// A block; a reference within the shard.
    Block(EntryRef, Form),
    /// Bytes of the viewer's own, or the stream headers.
    Lead(Bytes),
}

impl Source {
    fn len(&self) -> usize {
        match self {
            Self::Block(entry, form) => entry.made(*form).len(),
            Self::Lead(bytes) => bytes.len(),
        }
    }
}

/// A run of bytes to send. Owns what it refers to.
#[derive(Debug)]
pub struct Piece {
    source: Source,
    from: usize,
    to: usize,
    /// Nothing of its source comes after it.
    is_last: bool,
}

impl Deref for Piece {
    type Target = [u8];
    fn deref(&self) -> &[u8] {
        match &self.source {
            Source::Block(entry, form) => &entry.made(*form)[self.from..self.to],
            Source::Lead(bytes) => &bytes[self.from..self.to],
        }
    }
}

impl Piece {
    /// As much of the rest of a source as there is room for.
    fn new(source: Source, from: usize, room: &mut usize) -> Self {
        let bytes = source.len();
        let to = bytes.min(from + *room);
        *room -= to - from;
        Self { source, from, to, is_last: to == bytes }
    }

    /// When the frames in it had arrived; `None` for what is not of the log.
    pub fn arrived(&self) -> Option<Time> {
        match &self.source {
            Source::Block(entry, _) => Some(entry.block.arrived),
            Source::Lead(_) => None,
        }
    }

    /// Whether it begins with a block that a decoder can start at.
    pub fn is_start(&self) -> bool {
        matches!(&self.source, Source::Block(entry, _) if entry.block.start)
    }
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum State {
    /// Waits for a block to start at, no older than `from`.
    Joining { since: Time, from: u64 },
    /// Was paused: goes on at a start if there is a newer one, else where it was.
    Resuming,
    /// Has started.
    Playing,
}

/// One viewer of one stream.
#[derive(Debug)]
pub struct Viewer {
    format: Format,
    /// The form of its blocks; those that a framing writes are as they are.
    form: Form,
    /// What writes its blocks, where that is not built in.
    framing: Option<&'static Framing>,
    state: State,
    /// Where it is to start, if that is still there.
    begins_at: Option<u64>,
    /// The next block to begin.
    next: u64,
    /// The block that it started at, or last jumped to.
    started_at: u64,
    /// A block that is partly sent, and how many of its bytes were: held, so that it can be finished after it left the log.
    partial: Option<(EntryRef, usize)>,
    /// Goes out before the next block begins, and never inside one.
    lead: VecDeque<Bytes>,
    lead_offset: usize,
    lead_bytes: usize,
    /// Its peer asks and does not read.
    flooded: bool,
    /// It said goodbye, and is paused for good: it is closed with this reason once what was begun, and its own bytes, are out.
    finishing: Option<CloseReason>,
    /// Generation of the configuration it has.
    generation: u32,
    needs_file_header: bool,
    paused: bool,
    skips: VecDeque<Time>,
    skips_total: u64,
    sent_bytes: u64,
    /// Since when it has had bytes to take and took none.
    stalled_since: Option<Time>,
    /// When it was first seen that nothing more comes.
    ended_since: Option<Time>,
}

impl Viewer {
    /// A viewer that joins now.
    pub fn new(format: Format, start: Start, log: &Log, now: Time) -> Self {
        let from = match start {
            Start::Newest | Start::At(_) => 0,
            Start::Next => log.head(),
        };
        Self {
            format,
            form: format.form().unwrap_or(Form::FlvChunked),
            framing: format.form().err(),
            state: State::Joining { since: now, from },
            begins_at: if let Start::At(seq) = start { Some(seq) } else { None },
            next: 0,
            started_at: u64::MAX,
            partial: None,
            lead: VecDeque::new(),
            lead_offset: 0,
            lead_bytes: 0,
            flooded: false,
            finishing: None,
            generation: 0,
            needs_file_header: true,
            paused: false,
            skips: VecDeque::new(),
            skips_total: 0,
            sent_bytes: 0,
            stalled_since: None,
            ended_since: None,
        }
    }

    /// Bytes of the viewer's own that go out before the next block: the response head, control messages. Where too many wait they
    /// are not kept, and the viewer is closed.
    pub fn lead(&mut self, bytes: Bytes) {
        self.flooded |= self.lead_bytes + bytes.len() > LEAD_BYTES_MAX || self.lead.len() == LEAD_PIECES_MAX;
        if !bytes.is_empty() && !self.flooded {
            self.lead_bytes += bytes.len();
            self.lead.push_back(bytes);
        }
    }

    /// Says goodbye: a block that is partly sent is finished, then `goodbye` goes out, then the viewer is closed with this reason. The
    /// first goodbye counts.
    pub fn finish(&mut self, goodbye: Bytes, reason: CloseReason) {
        if !self.is_finishing() {
            self.lead(goodbye);
            (self.finishing, self.paused) = (Some(reason), true);
        }
    }

    /// Whether it said goodbye.
    pub fn is_finishing(&self) -> bool {
        self.finishing.is_some()
    }

    /// Stops the media, or goes on with it: at the newest keyframe, or where it was if none came since.
    pub fn pause(&mut self, paused: bool, now: Time) {
        if self.is_finishing() {
            return;
        }
        if self.paused && !paused {
            self.state = match self.state {
                State::Joining { from, .. } => State::Joining { since: now, from },
                State::Resuming | State::Playing => State::Resuming,
            };
        }
        self.paused = paused;
    }

    /// How often it jumped.
    pub fn skips(&self) -> u64 {
        self.skips_total
    }

    /// Bytes that the kernel took for it.
    pub fn sent_bytes(&self) -> u64 {
        self.sent_bytes
    }

    /// Media that waits for it, milliseconds; of one that has fallen off the log, all that the log holds. 0 before its start, and while it is paused.
    pub fn behind_ms(&self, log: &Log) -> u64 {
        if self.paused || self.state != State::Playing {
            return 0;
        }
        let next = self.next.saturating_sub(u64::from(self.partial.is_some())).max(log.first());
        let (first, newest) = (log.get(next), log.get(log.head().wrapping_sub(1)));
        first
            .zip(newest)
            .map_or(0, |(first, newest)| (newest.block.last_ms - first.block.first_ms).max(0).unsigned_abs())
    }

    /// Gathers what to send next. At most one send is under way: [`Viewer::sent`] must be called before this is called again.
    pub fn fill(&mut self, log: &Log, config: &StreamConfig, now: Time, out: &mut Vec<Piece>) -> Fill {
        debug_assert!(out.is_empty());
        if self.flooded {
            return Fill::Close(CloseReason::ControlFlood);
        }
        if log.ended().is_some() {
            self.ended_since.get_or_insert(now);
        }
        let mut room = SEND_BYTES_MAX;
        if let Some((entry, sent)) = &self.partial {
            // A block that is partly sent is finished before the cursor jumps, wherever the log is by now.
            out.push(Piece::new(Source::Block(Rc::clone(entry), self.form), *sent, &mut room));
        } else if self.lead_offset == 0
            && let Some(close) = self.position(log, config, now)
            && (self.lead.is_empty() || close == CloseReason::Lagging)
        {
            return Fill::Close(close);
        }
        for (index, bytes) in self.lead.iter().enumerate() {
            if room == 0 || out.len() == SEND_PIECES_MAX {
                break;
            }
            let from = if index == 0 { self.lead_offset } else { 0 };
            out.push(Piece::new(Source::Lead(bytes.clone()), from, &mut room));
        }
        if self.state == State::Playing && !self.paused {
            for seq in self.next..log.head() {
                let Some(entry) = log.get(seq).filter(|_| room > 0 && out.len() < SEND_PIECES_MAX) else { break };
                if entry.has_leading() || self.framing.is_some() {
                    self.fill_rarely(entry, log, out, &mut room);
                    continue;
                }
                entry.make(self.form, log.limits.rtmp_chunk_bytes);
                out.push(Piece::new(Source::Block(Rc::clone(entry), self.form), 0, &mut room));
            }
        }
        if out.is_empty() {
            self.stalled_since = None;
            return Fill::Wait;
        }
        self.stalled_since.get_or_insert(now);
        Fill::Send
    }

    /// The same for a block with leading frames of an open GOP: without them where this viewer started at their keyframe. And for one that a
    /// framing writes, which need not write anything of it.
    #[cold]
    fn fill_rarely(&mut self, entry: &EntryRef, log: &Log, out: &mut Vec<Piece>, room: &mut usize) {
        if let Some(rest) = entry.for_viewer_from(self.started_at) {
            let rest = self.framing.map_or(rest, |framing| rest.framed(framing));
            rest.make(self.form, log.limits.rtmp_chunk_bytes);
            let piece = Piece::new(Source::Block(Rc::clone(rest), self.form), 0, room);
            if piece.to > 0 {
                return out.push(piece);
            }
        }
        if out.is_empty() {
            // Nothing of it is for this viewer.
            self.next = entry.block.seq + 1;
        }
    }

    /// Moves the cursor to a block that is held: the start for a joiner, the newest start for one that fell off.
    fn position(&mut self, log: &Log, config: &StreamConfig, now: Time) -> Option<CloseReason> {
        if self.paused {
            return self.finishing.or(log.ended().map(CloseReason::Ended));
        }
        if self.state == State::Resuming {
            match log.newest_start() {
                Some(start) if start >= self.next => self.begin_at(start, log),
                _ if self.next >= log.first() => self.state = State::Playing,
                _ => self.state = State::Joining { since: now, from: self.next },
            }
        }
        match self.state {
            State::Resuming => None,
            State::Joining { since, from } => {
                let chosen = self.begins_at.filter(|seq| log.get(*seq).is_some_and(|entry| entry.block.start));
                let start = chosen.or(log.newest_start()).filter(|&start| start >= from && log.is_open());
                let start = start.filter(|&start| log.get(start).is_none_or(|entry| !entry.block.catching_up));
                if let Some(start) = start {
                    self.begins_at = None;
                    self.begin_at(start, log);
                    return None;
                }
                let waited = now.since(since) > config.joiner_wait;
                log.ended().map(CloseReason::Ended).or(waited.then_some(CloseReason::NoStart))
            }
            State::Playing => {
                if self.next >= log.head() {
                    return log.ended().map(CloseReason::Ended);
                }
                if self.next >= log.first() {
                    return None;
                }
                self.skips_total += 1;
                self.skips.push_back(now);
                while self.skips.front().is_some_and(|&at| now.since(at) > config.lag_window) {
                    self.skips.pop_front();
                }
                if self.skips.len() >= config.lag_skips as usize {
                    return Some(CloseReason::Lagging);
                }
                match log.newest_start() {
                    Some(start) => self.begin_at(start, log),
                    None => self.state = State::Joining { since: now, from: 0 },
                }
                None
            }
        }
    }

    fn begin_at(&mut self, start: u64, log: &Log) {
        let Some(entry) = log.get(start) else { return };
        let stream_headers = log.stream_headers().for_start_at(&entry.block.stream_headers);
        if self.needs_file_header || stream_headers.generation != self.generation {
            let stamp = entry.block.first_ms as u32;
            self.lead(stream_headers.bytes(self.format, self.needs_file_header, stamp, log.limits.rtmp_chunk_bytes));
            self.needs_file_header = false;
        }
        self.generation = stream_headers.generation;
        self.state = State::Playing;
        (self.next, self.started_at) = (start, start);
    }

    /// `count` bytes of the pieces that [`Viewer::fill`] gave were taken by the kernel.
    pub fn sent(&mut self, pieces: &[Piece], count: usize) {
        if count > 0 {
            self.stalled_since = None;
        }
        // Counted for every send of every viewer: without the check that it overflows, which takes millennia.
        self.sent_bytes = self.sent_bytes.wrapping_add(count as u64);
        let mut left = count;
        for piece in pieces {
            let piece_bytes = piece.to - piece.from;
            let taken = left.min(piece_bytes);
            if taken == 0 {
                break;
            }
            left -= taken;
            let sent = piece.from + taken;
            let whole = taken == piece_bytes && piece.is_last;
            match &piece.source {
                Source::Lead(bytes) => {
                    self.lead_offset = if whole { 0 } else { sent };
                    if whole {
                        self.lead_bytes -= bytes.len();
                        self.lead.pop_front();
                    }
                }
                Source::Block(entry, _) => {
                    if piece.from == 0 {
                        self.next = entry.block.seq + 1;
                        self.generation = self.generation.max(entry.block.stream_headers.generation);
                    }
                    self.partial = (!whole).then(|| (Rc::clone(entry), sent));
                }
            }
        }
    }

    /// Whether to close it for waiting too long; asked now and then. Looks only at clocks, so it may be asked during a send.
    pub fn overdue(&self, config: &StreamConfig, now: Time) -> Option<CloseReason> {
        if self.flooded {
            return Some(CloseReason::ControlFlood);
        }
        // Nothing falls off a log that has ended: who reads it byte by byte would hold it for good.
        let over = self.ended_since.is_some_and(|since| now.since(since) > config.log_time_max + config.stall_close);
        if over || self.stalled_since.is_some_and(|since| now.since(since) > config.stall_close) {
            return Some(CloseReason::Stalled);
        }
        match self.state {
            State::Joining { since, .. } if !self.paused && now.since(since) > config.joiner_wait => {
                Some(CloseReason::NoStart)
            }
            _ => None,
        }
    }
}

/// Longest time between two looks at [`Viewer::overdue`] that keeps its promises to within a tenth.
pub const OVERDUE_LOOK_EVERY: Duration = Duration::from_millis(500);

#[cfg(test)]
mod tests;
