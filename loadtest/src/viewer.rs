//! One place for a viewer, and who sits there: connecting, joining, then draining, sampling or reading slowly. Before it: the event loop
//! says that its socket is ready; after it: [`crate::tally`].
use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use bytes::Bytes;
use millstream_proto::media::{MediaEvent, Unpacker};
use millstream_proto::time::Time;

use crate::clock::Clock;
use crate::ledger::{Ledger, Place, Sum};
use crate::limits::{JOINING_READ_BYTES, VIEWER_OUTPUT_BYTES_MAX};
use crate::media::stamp_us;
use crate::net::{Connection, Got, Ready};
use crate::schedule::{Habit, Protocol, Slot};
use crate::secure::Secure;
use crate::tally::Tally;
use crate::wire::{ACK_EVERY, Heard, Wire, acknowledgement};

/// Bytes that the kernel may hold for a viewer that reads slowly: otherwise megabytes pass before the server notices.
const SLOW_RECEIVE_BYTES: usize = 64 << 10;

/// What a viewer parses with.
#[derive(Debug)]
struct Parser {
    /// Goes when the viewer only drains.
    tls: Option<Box<Secure>>,
    wire: Wire,
    unpacker: Unpacker,
    place: Place,
    started: bool,
    /// Bytes that had come when it said the last thing before it was accepted: its request. What follows is the stream.
    prelude_bytes: u64,
}

#[derive(Debug)]
enum Stage {
    Absent,
    Connecting(Box<Parser>),
    Joining(Box<Parser>),
    Draining,
    Sampling(Box<Parser>),
    /// Bytes that it may read, and when that was reckoned.
    Slow {
        allowance: u64,
        since: Time,
    },
}

/// Where the socket has to be polled now.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Next {
    Stay,
    /// It only drains from now on.
    Bulk,
    /// It reads by the clock from now on.
    Slow,
    /// It has ended; the connection is closed.
    Gone,
}

#[derive(Debug)]
pub(crate) struct Viewer {
    pub(crate) slot: Slot,
    /// Counts visits, so that an event for an earlier one is told apart.
    pub(crate) visit: u32,
    stage: Stage,
    connection: Option<Connection>,
    begun: Time,
    /// When its request was handed to the kernel.
    asked: Time,
    accepted: Time,
    last_data: Time,
    bytes: u64,
    acknowledged: u64,
}

/// What a viewer shares with the others.
pub(crate) struct Hall<'a> {
    pub(crate) now: Time,
    /// For what is timed more finely than the turns of the loop.
    pub(crate) clock: Clock,
    pub(crate) stall: Duration,
    pub(crate) scratch: &'a mut [u8],
    /// What was decrypted.
    pub(crate) plain: &'a mut Vec<u8>,
    pub(crate) heard: &'a mut Vec<Heard>,
    pub(crate) tally: &'a mut Tally,
    pub(crate) ledger: &'a mut Ledger,
}

impl Viewer {
    pub(crate) fn new(slot: Slot) -> Self {
        let stage = Stage::Absent;
        let (begun, asked, accepted, last_data) = (Time::ZERO, Time::ZERO, Time::ZERO, Time::ZERO);
        Self { slot, visit: 0, stage, connection: None, begun, asked, accepted, last_data, bytes: 0, acknowledged: 0 }
    }

    pub(crate) fn begin(
        &mut self,
        address: SocketAddr,
        tls: Option<Box<Secure>>,
        wire: Wire,
        now: Time,
    ) -> io::Result<()> {
        let receive_bytes = matches!(self.slot.habit, Habit::Slow(_)).then_some(SLOW_RECEIVE_BYTES);
        let connection = Connection::begin(address, receive_bytes)?;
        self.visit = self.visit.wrapping_add(1);
        let (unpacker, place) = (Unpacker::new(), Place::default());
        let parser = Parser { tls, wire, unpacker, place, started: false, prelude_bytes: 0 };
        self.stage = Stage::Connecting(Box::new(parser));
        (self.begun, self.last_data, self.bytes, self.acknowledged) = (now, now, 0, 0);
        self.connection = Some(connection);
        Ok(())
    }

    pub(crate) fn connection(&self) -> Option<&Connection> {
        self.connection.as_ref()
    }

    pub(crate) fn present(&self) -> bool {
        self.connection.is_some()
    }

    /// Not yet at its first keyframe.
    pub(crate) fn joining(&self) -> bool {
        matches!(self.stage, Stage::Connecting(_) | Stage::Joining(_))
    }

    /// Plays, and has got nothing for that long. Those who read slowly have only themselves to blame.
    pub(crate) fn stalled(&self, now: Time, stall: Duration) -> bool {
        matches!(self.stage, Stage::Draining | Stage::Sampling(_)) && now.since(self.last_data) > stall
    }

    /// Acts on what the poll says.
    pub(crate) fn ready(&mut self, ready: Ready, hall: &mut Hall<'_>) -> Next {
        match self.try_ready(ready, hall) {
            Ok(next) => next,
            Err(why) => {
                self.lose(&why, hall.tally);
                Next::Gone
            }
        }
    }

    fn try_ready(&mut self, ready: Ready, hall: &mut Hall<'_>) -> Result<Next, String> {
        let Some(connection) = &mut self.connection else { return Ok(Next::Stay) };
        if let Stage::Connecting(_) = self.stage {
            if !ready.writable && !ready.closed {
                return Ok(Next::Stay);
            }
            connection.connected().map_err(|error| format!("cannot connect: {error}"))?;
            if let Stage::Connecting(parser) = std::mem::replace(&mut self.stage, Stage::Absent) {
                self.stage = Stage::Joining(parser);
            }
        }
        self.send(hall.clock)?;
        if !ready.readable {
            return Ok(Next::Stay);
        }
        match self.stage {
            Stage::Draining => self.drain(ready.closed, hall),
            Stage::Slow { .. } => {
                // Only its end is polled for; what came before is still read by the clock.
                if ready.closed { Err("closed by the server".to_owned()) } else { Ok(Next::Stay) }
            }
            _ => self.listen(ready.closed, hall),
        }
    }

    /// Counts what came, without a look at it.
    fn drain(&mut self, closed: bool, hall: &mut Hall<'_>) -> Result<Next, String> {
        loop {
            let Some(connection) = &self.connection else { return Ok(Next::Stay) };
            match connection.discard(hall.now, hall.scratch) {
                Ok(Got::Nothing) => break,
                Ok(Got::End) => return Err("closed by the server".to_owned()),
                Err(error) => return Err(format!("connection lost: {error}")),
                Ok(Got::Bytes(count, _)) => {
                    self.count(count, hall.now, hall);
                    // A read that does not fill its room has emptied the socket (epoll(7)); an end is a read of its own.
                    if count < hall.scratch.len() && !closed {
                        break;
                    }
                }
            }
        }
        if self.slot.protocol == Protocol::Rtmp && self.bytes - self.acknowledged >= ACK_EVERY {
            self.acknowledged = self.bytes;
            if let Some(connection) = &mut self.connection {
                let sent = connection.send(&acknowledgement(self.bytes));
                bounded(sent)?;
            }
        }
        Ok(Next::Stay)
    }

    fn listen(&mut self, closed: bool, hall: &mut Hall<'_>) -> Result<Next, String> {
        loop {
            let Some(connection) = &self.connection else { return Ok(Next::Stay) };
            // A read is stamped with the arrival of its last byte: short ones tell when the first keyframe began to arrive.
            let room = if let Stage::Joining(_) = self.stage { JOINING_READ_BYTES } else { hall.scratch.len() };
            let (count, arrived) = match connection.read(hall.now, &mut hall.scratch[..room]) {
                Ok(Got::Nothing) => return Ok(Next::Stay),
                Ok(Got::End) => return Err(self.ended()),
                Err(error) => return Err(format!("connection lost: {error}")),
                Ok(Got::Bytes(count, arrived)) => (count, arrived),
            };
            self.count(count, arrived, hall);
            let (Stage::Joining(parser) | Stage::Sampling(parser)) = &mut self.stage else { return Ok(Next::Stay) };
            hall.heard.clear();
            let mut bytes = &hall.scratch[..count];
            if let Some(tls) = &mut parser.tls {
                hall.plain.clear();
                tls.take(bytes, hall.plain).map_err(|error| format!("TLS: {error}"))?;
                bytes = hall.plain;
            }
            parser.wire.take(bytes, hall.heard).map_err(|broken| broken.to_string())?;
            let mut joined = false;
            for heard in hall.heard.drain(..) {
                match heard {
                    Heard::Accepted => {
                        self.accepted = arrived;
                        hall.tally.received_prelude_bytes += parser.prelude_bytes;
                    }
                    Heard::Keyframe => joined = true,
                    Heard::Ended => return Err("ended by the server".to_owned()),
                    Heard::Message { kind, timestamp, body } => {
                        let Ok(MediaEvent::Frame(frame)) = parser.unpacker.push(kind, timestamp, body) else {
                            hall.tally.frames.other += 1;
                            continue;
                        };
                        let stamp = stamp_us(&frame.body)
                            .map(|us| Clock::place(arrived, arrival_wall_us(arrived, hall.now), us));
                        let sum = Sum::of(&frame.body);
                        let found = parser.place.find(hall.ledger, frame.track, frame.dts_ms, sum, stamp);
                        let started = parser.started;
                        hall.tally.frame(found, frame.track, frame.keyframe, arrived, self.accepted, started);
                        parser.started |= matches!(found, crate::ledger::Found::Frame { .. });
                    }
                }
            }
            self.send(hall.clock)?;
            if joined {
                hall.tally.join.record(arrived.since(self.begun));
                if self.slot.protocol == Protocol::Flv {
                    hall.tally.answer.record(arrived.since(self.asked));
                }
                hall.tally.joined += 1;
                match self.join(hall.now) {
                    Next::Stay => {}
                    next => return Ok(next),
                }
            }
            if count < room && !closed {
                return Ok(Next::Stay);
            }
        }
    }

    /// What comes after joining.
    fn join(&mut self, now: Time) -> Next {
        let stage = std::mem::replace(&mut self.stage, Stage::Draining);
        match (self.slot.habit, stage) {
            (Habit::Sample, Stage::Joining(parser)) => {
                self.stage = Stage::Sampling(parser);
                Next::Stay
            }
            (Habit::Slow(_), _) => {
                self.stage = Stage::Slow { allowance: 0, since: now };
                Next::Slow
            }
            _ => Next::Bulk,
        }
    }

    /// Lets a slow viewer read what it may by now.
    pub(crate) fn sip(&mut self, hall: &mut Hall<'_>) -> Next {
        let (Stage::Slow { allowance, since }, Habit::Slow(rate), Some(connection)) =
            (&mut self.stage, self.slot.habit, &self.connection)
        else {
            return Next::Stay;
        };
        *allowance += u64::from(rate) * hall.now.since(*since).as_millis() as u64 / 1000;
        *since = hall.now;
        let room = usize::try_from(*allowance).unwrap_or(usize::MAX).min(hall.scratch.len());
        if room == 0 {
            return Next::Stay;
        }
        match connection.discard(hall.now, &mut hall.scratch[..room]) {
            Ok(Got::Bytes(count, _)) => {
                *allowance = allowance.saturating_sub(count as u64);
                self.count(count, hall.now, hall);
                Next::Stay
            }
            Ok(Got::Nothing) => {
                // What was not there to be read is not saved up.
                *allowance = 0;
                Next::Stay
            }
            Ok(Got::End) | Err(_) => {
                self.lose("closed by the server", hall.tally);
                Next::Gone
            }
        }
    }

    fn count(&mut self, count: usize, at: Time, hall: &mut Hall<'_>) {
        self.bytes += count as u64;
        hall.tally.bytes_received += count as u64;
        hall.tally.last_data = hall.now;
        let silence = at.since(self.last_data);
        if silence > hall.stall && matches!(self.stage, Stage::Draining | Stage::Sampling(_)) {
            hall.tally.stalls += 1;
            hall.tally.stalled += silence;
        }
        self.last_data = at;
    }

    fn send(&mut self, clock: Clock) -> Result<(), String> {
        let Some(connection) = &mut self.connection else { return Ok(()) };
        let output = match &mut self.stage {
            Stage::Joining(parser) | Stage::Sampling(parser) => {
                // Before hands are shaken there is nothing to ask.
                let can_ask = parser.tls.as_ref().is_none_or(|tls| !tls.is_handshaking());
                let output = if can_ask { parser.wire.output() } else { None };
                if output.is_some() {
                    parser.prelude_bytes = self.bytes;
                    self.asked = clock.now();
                }
                let output = output.unwrap_or_default();
                match &mut parser.tls {
                    Some(tls) => tls.say(&output).into(),
                    None => output,
                }
            }
            _ => Bytes::new(),
        };
        bounded(connection.send(&output))
    }

    fn ended(&self) -> String {
        if self.bytes == 0 { "closed by the server without an answer" } else { "closed by the server" }.to_owned()
    }

    /// Ends a visit that should have gone on.
    pub(crate) fn lose(&mut self, why: &str, tally: &mut Tally) {
        if matches!(self.slot.habit, Habit::Slow(_)) && !self.joining() {
            tally.slow_closed += 1;
        } else {
            tally.lost += 1;
            tally.troubles.add(format!("viewer: {why}"));
        }
        self.close();
    }

    /// Ends a visit as planned, or because the run is over.
    pub(crate) fn close(&mut self) {
        self.connection = None;
        self.stage = Stage::Absent;
    }

    /// Why a viewer that has waited too long has waited.
    pub(crate) fn overdue(&self, now: Time, patience: Duration) -> Option<&'static str> {
        let late = self.joining() && now.since(self.begun) > patience;
        late.then_some(match &self.stage {
            Stage::Connecting(_) => "no connection in time",
            _ if self.bytes == 0 => "no answer in time",
            _ => "no keyframe in time",
        })
    }

    /// At the end of the run: frames that should have come long ago, and a silence that still lasts.
    pub(crate) fn settle(&self, now: Time, stall: Duration, ledger: &Ledger, tally: &mut Tally) {
        if let Stage::Sampling(parser) = &self.stage {
            for planned in ledger.outstanding(&parser.place).filter(|planned| *planned >= self.accepted) {
                let age = now.since(planned);
                if age > stall {
                    tally.overdue(age);
                }
            }
        }
        if self.stalled(now, stall) {
            tally.stalls += 1;
            tally.stalled += now.since(self.last_data);
        }
    }
}

fn bounded(sent: io::Result<usize>) -> Result<(), String> {
    match sent {
        Ok(waiting) if waiting > VIEWER_OUTPUT_BYTES_MAX => Err("takes no requests".to_owned()),
        Ok(_) => Ok(()),
        Err(error) => Err(format!("connection lost: {error}")),
    }
}

/// The wall-clock time at which something arrived.
fn arrival_wall_us(arrived: Time, now: Time) -> u64 {
    Clock::wall_us().saturating_sub(now.since(arrived).as_micros() as u64)
}
