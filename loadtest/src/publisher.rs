//! One publisher: an RTMP client session, a connection and a feed whose frames are due at planned times. Before it: [`crate::media`];
//! after it: the server, and the ledger that its viewers look frames up in.
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use millstream_proto::media::{TagKind, Track};
use millstream_proto::rtmp::{ClientConfig, ClientEvent, ClientSession};
use millstream_proto::time::Time;

use crate::clock::Clock;
use crate::ledger::{Ledger, Sum};
use crate::limits::PUBLISHER_OUTPUT_BYTES_MAX;
use crate::media::{Feed, Source};
use crate::net::{Connection, Got, Ready};
use crate::tally::Tally;

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Stage {
    Connecting,
    Asking,
    /// Since this time, which its frames are planned from.
    OnAir(Time),
    Over,
}

#[derive(Debug)]
pub(crate) struct Publisher {
    pub(crate) connection: Connection,
    pub(crate) stream: usize,
    session: ClientSession,
    feed: Feed,
    stage: Stage,
    pictures: u32,
    sent_bytes: u64,
}

/// What a publisher shares with the others.
pub(crate) struct PublisherContext<'a> {
    pub(crate) now: Time,
    pub(crate) scratch: &'a mut [u8],
    pub(crate) body: &'a mut Vec<u8>,
    pub(crate) tally: &'a mut Tally,
    /// None where nobody looks frames up.
    pub(crate) ledger: Option<&'a mut Ledger>,
}

impl Publisher {
    pub(crate) fn begin(
        address: SocketAddr,
        config: ClientConfig,
        source: Arc<Source>,
        stream: usize,
    ) -> io::Result<Self> {
        let connection = Connection::begin(address, None)?;
        let session = ClientSession::new(Time::ZERO, config);
        Ok(Self {
            connection,
            stream,
            session,
            feed: Feed::new(source),
            stage: Stage::Connecting,
            pictures: 0,
            sent_bytes: 0,
        })
    }

    /// Whether viewers find something to start with.
    pub(crate) fn plays(&self) -> bool {
        matches!(self.stage, Stage::OnAir(_)) && self.pictures > 0
    }

    pub(crate) fn over(&self) -> bool {
        self.stage == Stage::Over
    }

    /// When its next frame is due.
    pub(crate) fn due(&self) -> Option<Time> {
        match self.stage {
            Stage::OnAir(since) => Some(since + self.feed.peek().due),
            _ => None,
        }
    }

    /// Acts on what the poll says; an error ends it, and says why.
    pub(crate) fn ready(&mut self, ready: Ready, context: &mut PublisherContext<'_>) -> Result<(), String> {
        let result = self.try_ready(ready, context);
        if result.is_err() {
            self.stage = Stage::Over;
        }
        result
    }

    fn try_ready(&mut self, ready: Ready, context: &mut PublisherContext<'_>) -> Result<(), String> {
        if self.stage == Stage::Over {
            return Ok(());
        }
        if self.stage == Stage::Connecting {
            if !ready.writable && !ready.closed {
                return Ok(());
            }
            self.connection.connected().map_err(|error| format!("cannot connect: {error}"))?;
            self.stage = Stage::Asking;
        }
        if ready.readable {
            self.read(context)?;
        }
        self.flush(context)
    }

    fn read(&mut self, context: &mut PublisherContext<'_>) -> Result<(), String> {
        loop {
            match self.connection.read(context.now, context.scratch) {
                Ok(Got::Nothing) => return Ok(()),
                Ok(Got::End) => return Err("the server closed the connection".to_owned()),
                Err(error) => return Err(format!("connection lost: {error}")),
                Ok(Got::Bytes(count, _)) => {
                    let taken = self.session.handle_input(Time::ZERO, &context.scratch[..count]);
                    taken.map_err(|error| format!("the server sent something that is not RTMP: {error}"))?;
                }
            }
            while let Some(event) = self.session.poll_event() {
                match event {
                    ClientEvent::Ready => {
                        self.stage = Stage::OnAir(context.now);
                        // Nothing waits in the session: what it had to say so far was the request.
                        context.tally.published_prelude_bytes += self.sent_bytes;
                        for (kind, body) in self.feed.head() {
                            self.session.send(*kind, 0, body).map_err(|error| error.to_string())?;
                        }
                    }
                    ClientEvent::Refused { code, description } => return Err(format!("refused: {code} {description}")),
                    ClientEvent::Ended { code, description } => {
                        return Err(format!("ended by the server: {code} {description}").trim().to_owned());
                    }
                    _ => {}
                }
            }
        }
    }

    /// Sends what is due.
    pub(crate) fn send_due(&mut self, context: &mut PublisherContext<'_>) -> Result<(), String> {
        let result = self.try_send_due(context);
        if result.is_err() {
            self.stage = Stage::Over;
        }
        result
    }

    fn try_send_due(&mut self, context: &mut PublisherContext<'_>) -> Result<(), String> {
        let Stage::OnAir(since) = self.stage else { return Ok(()) };
        let behind =
            Duration::from_micros(Clock::wall_us()).checked_sub(Duration::from_micros(context.now.as_micros()));
        while let Some(planned) = self.due().filter(|due| *due <= context.now) {
            let wall = behind.unwrap_or_default() + planned.since(Time::ZERO);
            let frame = self.feed.next(wall.as_micros() as u64, context.body);
            let ts_ms = frame.due.as_millis();
            let track = if frame.kind == TagKind::Video { Track::Video } else { Track::Audio };
            if let Some(ledger) = context.ledger.as_deref_mut() {
                ledger.enter(track, ts_ms as i64, Sum::of(context.body), Some(planned));
            }
            self.pictures = self.pictures.saturating_add(u32::from(frame.kind == TagKind::Video));
            context.tally.published_frames += 1;
            context.tally.publish_late.record(context.now.since(planned));
            // Time stamps of RTMP are modulo 2^32.
            self.session.send(frame.kind, ts_ms as u32, context.body).map_err(|error| error.to_string())?;
            debug_assert!(planned >= since);
        }
        self.flush(context)
    }

    fn flush(&mut self, context: &mut PublisherContext<'_>) -> Result<(), String> {
        let output = self.session.poll_output();
        let output = output.as_deref().unwrap_or_default();
        context.tally.published_bytes += output.len() as u64;
        self.sent_bytes += output.len() as u64;
        match self.connection.send(output) {
            Ok(waiting) if waiting > PUBLISHER_OUTPUT_BYTES_MAX => {
                Err(format!("the server does not take what it is sent: {waiting} bytes wait"))
            }
            Ok(_) => Ok(()),
            Err(error) => Err(format!("connection lost: {error}")),
        }
    }

    /// Says goodbye, as far as the kernel takes it at once.
    pub(crate) fn goodbye(mut self) {
        self.session.finish();
        if let Some(output) = self.session.poll_output() {
            // The server may have gone first, and that is as good.
            drop(self.connection.send(&output));
        }
    }
}
