//! The network: one direction of a connection is a pipe with a delay and a bound, that can die without saying so.
use std::collections::VecDeque;

use bytes::{Buf, Bytes};
use millstream_proto::time::Time;

/// What a read found.
pub(crate) enum Read {
    Data(Bytes),
    Eof,
    Wait,
}

pub(crate) struct Pipe {
    /// Written and not yet read, each with its time of arrival.
    parts: VecDeque<(Time, Bytes)>,
    held: usize,
    /// What the kernels of both sides hold.
    room_max: usize,
    latency_us: u64,
    newest: Time,
    /// The writer has closed; this arrives then.
    fin: Option<Time>,
    /// The line is cut: what is written arrives never.
    pub(crate) dead: bool,
    /// The reader has closed.
    pub(crate) reader_gone: bool,
    /// The writer waits for room.
    pub(crate) writer_waits: bool,
}

impl Pipe {
    pub(crate) fn new(room_max: usize, latency_us: u64) -> Self {
        Self {
            parts: VecDeque::new(),
            held: 0,
            room_max,
            latency_us,
            newest: Time::ZERO,
            fin: None,
            dead: false,
            reader_gone: false,
            writer_waits: false,
        }
    }

    /// Bytes that a write would take.
    pub(crate) fn room(&self) -> usize {
        self.room_max - self.held
    }

    /// Whether the writer has closed it.
    pub(crate) fn is_finished(&self) -> bool {
        self.fin.is_some()
    }

    /// Takes bytes, of which there must be no more than there is room for; says when they arrive.
    pub(crate) fn write(&mut self, now: Time, bytes: Bytes) -> Option<Time> {
        assert!(bytes.len() <= self.room() && self.fin.is_none());
        if bytes.is_empty() {
            return None;
        }
        self.held += bytes.len();
        let at = self.arrival(now);
        self.parts.push_back((at, bytes));
        (!self.dead).then_some(at)
    }

    /// The writer closes; says when the reader hears of it.
    pub(crate) fn finish(&mut self, now: Time) -> Option<Time> {
        if self.fin.is_some() {
            return None;
        }
        let at = self.arrival(now);
        self.fin = Some(at);
        (!self.dead).then_some(at)
    }

    fn arrival(&mut self, now: Time) -> Time {
        self.newest = self.newest.max(Time::from_micros(now.as_micros() + self.latency_us));
        self.newest
    }

    /// Reads at most that many bytes of what has arrived.
    pub(crate) fn read(&mut self, now: Time, bytes_max: usize) -> Read {
        if self.dead {
            return Read::Wait;
        }
        match self.parts.front_mut() {
            Some((at, part)) if *at <= now => {
                let count = part.len().min(bytes_max);
                let data = part.split_to(count);
                if !part.has_remaining() {
                    self.parts.pop_front();
                }
                self.held -= count;
                Read::Data(data)
            }
            None if self.fin.is_some_and(|at| at <= now) => Read::Eof,
            _ => Read::Wait,
        }
    }
}
