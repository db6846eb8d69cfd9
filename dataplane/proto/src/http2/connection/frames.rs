//! What each type of frame does (RFC 9113, 6).
use super::super::error::{ConnectionError, ErrorCode, Fault, StreamError};
use super::super::event::{Event, ResetReason};
use super::super::frame::{Head, Kind, StreamId, flag, number, write};
use super::{Connection, DRAIN_PING, Drain};

impl Connection {
    /// Handles a frame whose length and stream are such as its type has.
    pub(super) fn handle(&mut self, head: Head, payload: &[u8]) -> Result<(), Fault> {
        match head.kind {
            Kind::Data => self.handle_data(head, payload),
            Kind::Headers => self.handle_headers(head, payload),
            Kind::Continuation => self.handle_continuation(head, payload),
            Kind::RstStream => self.handle_reset(head.stream, ErrorCode(word(payload))),
            Kind::PushPromise => Err(ConnectionError::Push.into()),
            kind => {
                self.flood.control_frame(&self.limits)?;
                match kind {
                    Kind::Priority => self.handle_priority(head.stream, payload),
                    Kind::Settings => self.handle_settings(head, payload).map_err(Fault::from),
                    Kind::Ping => {
                        self.handle_ping(head, payload);
                        Ok(())
                    }
                    Kind::GoAway => {
                        self.handle_go_away(payload);
                        Ok(())
                    }
                    Kind::WindowUpdate => self.handle_window_update(head.stream, number(payload)),
                    // To be ignored (section 4.1).
                    _ => Ok(()),
                }
            }
        }
    }

    /// A stream that has not begun: nothing but HEADERS and PRIORITY may be sent for it (section 5.1).
    pub(super) fn check_begun(&self, kind: Kind, id: u32) -> Result<(), ConnectionError> {
        if id > self.last_stream || id.is_multiple_of(2) { Err(ConnectionError::Idle(kind.name())) } else { Ok(()) }
    }

    fn handle_reset(&mut self, id: u32, code: ErrorCode) -> Result<(), Fault> {
        self.check_begun(Kind::RstStream, id)?;
        if self.streams.remove(id).is_some() {
            self.flood.reset(&self.limits)?;
            self.events.push_back(Event::Reset { stream: StreamId(id), reason: ResetReason::Peer(code) });
        } else {
            // The two ends may end a stream at the same time.
            self.flood.control_frame(&self.limits)?;
            self.streams.is_discarded(id, true);
        }
        Ok(())
    }

    /// Priorities are ignored (section 5.3.2), but for what cannot be one.
    fn handle_priority(&mut self, id: u32, payload: &[u8]) -> Result<(), Fault> {
        let (error, whole) = match payload.len() {
            5 if number(payload) != id => return Ok(()),
            5 => (StreamError::SelfDependency, ConnectionError::SelfDependency),
            _ => (StreamError::PriorityLength, ConnectionError::FrameLength(Kind::Priority.name())),
        };
        // RST_STREAM is not for streams that have not begun, and not needed for those that are over.
        if self.streams.get(id).is_some() { Err(error.into()) } else { Err(whole.into()) }
    }

    fn handle_settings(&mut self, head: Head, payload: &[u8]) -> Result<(), ConnectionError> {
        if head.has(flag::ACK) {
            self.settings_acknowledged = true;
            return Ok(());
        }
        let before = self.peer;
        self.peer = before.with(payload)?;
        if self.peer.initial_window != before.initial_window {
            let change = i64::from(self.peer.initial_window) - i64::from(before.initial_window);
            for stream in self.streams.iter_mut() {
                stream.send_window.change(change).map_err(|_| ConnectionError::WindowSetting)?;
            }
            self.lifted |= change > 0;
        }
        self.table_size_due |= self.peer.lowers_table() && !before.lowers_table() && !self.table_size_said;
        write(&mut self.output, Kind::Settings, flag::ACK, 0, &[]);
        Ok(())
    }

    fn handle_ping(&mut self, head: Head, payload: &[u8]) {
        if !head.has(flag::ACK) {
            write(&mut self.output, Kind::Ping, flag::ACK, 0, payload);
        } else if self.drain == Drain::Announced && payload == DRAIN_PING {
            // What the peer began before it knew has come before this.
            self.finish_drain();
        }
    }

    fn handle_go_away(&mut self, payload: &[u8]) {
        let code = payload.get(4..).map_or(ErrorCode::NO_ERROR, |rest| ErrorCode(word(rest)));
        // It may be said twice.
        if !self.peer_drains {
            self.peer_drains = true;
            self.events.push_back(Event::GoAway { code });
        }
    }

    fn handle_window_update(&mut self, id: u32, increment: u32) -> Result<(), Fault> {
        if id == 0 {
            if increment == 0 {
                return Err(ConnectionError::WindowZero.into());
            }
            self.send_window.change(i64::from(increment)).map_err(|_| ConnectionError::WindowLong)?;
            self.lifted = true;
            return Ok(());
        }
        self.check_begun(Kind::WindowUpdate, id)?;
        // One for a stream that is over may have been on its way (section 5.1).
        let Some(stream) = self.streams.get_mut(id) else { return Ok(()) };
        if increment == 0 {
            return Err(StreamError::WindowZero.into());
        }
        stream.send_window.change(i64::from(increment)).map_err(|_| StreamError::WindowLong)?;
        self.lifted |= stream.blocked;
        Ok(())
    }
}

/// The 32-bit number at the start of a payload.
fn word(payload: &[u8]) -> u32 {
    payload.first_chunk().map_or(0, |bytes| u32::from_be_bytes(*bytes))
}
