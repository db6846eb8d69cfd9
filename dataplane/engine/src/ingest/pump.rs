//! A publisher's media on its way from the socket to the stream's log, and its further streams to theirs. Before it: the session, which reads it; after it:
//! [`crate::shard::stream_handle::publisher`] and [`super::sides`].
use std::cell::Cell;
use std::pin::pin;
use std::rc::Rc;
use std::time::Duration;

use millstream_hub::stream::PUBLISHER_SILENT_AFTER;
use millstream_proto::media::MediaEvent;
use millstream_proto::rtmp::{Event, ServerSession};

use super::connection::{Connection, garbled};
use super::sides::Sides;
use crate::close::{CloseReason, GOING_DOWN};
use crate::io::{Socket, sleep_until};
use crate::shard::state::Shard;
use crate::shard::stream_handle::StreamHandle;
use crate::shard::wait::{Either, select};

/// A publisher's read buffer: two keyframes of a usual stream fit, and 2,000 publishers stay under 64 MiB.
const READ_BYTES: usize = 32 << 10;

/// A publisher that sends nothing for this long, not even answers to pings, is closed, also when nobody wants its place.
const PUBLISHER_IDLE: Duration = Duration::from_secs(15);

/// A publisher that sends nothing is pinged this often. What it answers is heard, so one whose screen does not change keeps its place, and
/// one whose network has died is silent for [`PUBLISHER_SILENT_AFTER`] soon: pings overlap, so this needs no answer within that time.
const PING_SILENT_EVERY: Duration = Duration::from_millis(400);
const _: () = assert!(PING_SILENT_EVERY.as_millis() * 2 < PUBLISHER_SILENT_AFTER.as_millis());

/// Socket to log, and to the sessions of the connection's further streams; without a place to publish at, to these alone, until the last
/// one ends. `None`: the client ended its publish and may ask again.
pub(super) async fn pump(
    shard: &Rc<Shard>,
    connection: &mut Connection,
    place: Option<(&StreamHandle, &Cell<u64>)>,
    sides: &mut Sides,
) -> Option<CloseReason> {
    let number = connection.session.number;
    let mut buf = Vec::with_capacity(READ_BYTES);
    let mut events = Vec::new();
    let mut of_sides = Vec::new();
    // One timer for as long as it lasts, not one a read: it looks at when the last read was.
    let mut silence = pin!(sleep_until(shard.clock.instant(shard.now() + PING_SILENT_EVERY)));
    loop {
        let now = shard.now();
        let mut over = drain(&mut connection.rtmp, &mut events, &mut of_sides, place.is_none());
        if let Some((handle, _)) = place
            && !handle.read(number, &mut events, now, shard)
        {
            return Some(CloseReason::Replaced);
        }
        if !(of_sides.is_empty() && sides.is_empty()) {
            // Boxed: few connections have it.
            Box::pin(sides.turn(shard, connection, &mut of_sides)).await;
        }
        if place.is_none() {
            if over && !sides.is_empty() {
                continue;
            }
            over = sides.is_empty();
        }
        if shard.is_draining() {
            // Said with the first frame after the drain has begun; a publisher that sends nothing hears it at the end.
            connection.rtmp.request_reconnect(now, GOING_DOWN);
        }
        if connection.rtmp.poll_timeout().is_some_and(|at| at <= now)
            && let Err(error) = connection.rtmp.handle_timeout(now)
        {
            return Some(error.into());
        }
        connection.session.set_deadline(Some(now + PUBLISHER_IDLE));
        if let Err(why) = connection.send_output().await {
            return Some(why);
        }
        if over {
            return None;
        }
        if connection.rtmp.is_closing() {
            return Some(CloseReason::Closed);
        }
        buf.clear();
        let Connection { socket: Socket { reader, writer }, rtmp, .. } = &mut *connection;
        let mut heard = now;
        let (result, back) = {
            let mut read = pin!(reader.recv(buf));
            loop {
                let waited = if sides.is_opening() {
                    let answered = Box::pin(select(silence.as_mut(), Box::pin(sides.answered(rtmp))));
                    select(read.as_mut(), answered).await
                } else {
                    let silent = async {
                        silence.as_mut().await;
                        Either::A(())
                    };
                    select(read.as_mut(), silent).await
                };
                match waited {
                    Either::A(read) => break read,
                    Either::B(Either::B(())) => {
                        if writer.send_all(rtmp.poll_output().unwrap_or_default()).await.is_err() {
                            return Some(CloseReason::PeerGone);
                        }
                    }
                    Either::B(Either::A(())) => {
                        let now = shard.now();
                        if heard + PING_SILENT_EVERY <= now {
                            heard = now;
                            rtmp.ping(now);
                            if writer.send_all(rtmp.poll_output().unwrap_or_default()).await.is_err() {
                                return Some(CloseReason::PeerGone);
                            }
                        }
                        silence.set(sleep_until(shard.clock.instant(heard + PING_SILENT_EVERY)));
                    }
                }
            }
        };
        buf = back;
        match result {
            Ok(0) => return Some(connection.session.ended_by(CloseReason::PeerClosed)),
            // A publisher that never pauses would not notice the end of its reading side.
            Ok(_) if connection.session.ending().is_some() => return connection.session.ending(),
            Ok(count) => {
                shard.stats.bytes_in.add(count as u64);
                if let Some((_, received_bytes)) = place {
                    received_bytes.set(received_bytes.get() + count as u64);
                }
            }
            Err(error) => return Some(connection.session.ended_by(CloseReason::of(&error))),
        }
        if let Err(error) = connection.rtmp.handle_input(shard.now(), &buf) {
            let why = garbled(shard, &connection.session, error);
            // What came whole before the error is the viewers'.
            drain(&mut connection.rtmp, &mut events, &mut of_sides, false);
            if let Some((handle, _)) = place {
                handle.read(number, &mut events, shard.now(), shard);
            }
            return Some(why);
        }
    }
}

/// Moves the session's media into `events`, and what its further streams did into `of_sides`; true: the publish is over, or, where these
/// are `alone`, one of them: what comes behind it may be for who reads next.
fn drain(rtmp: &mut ServerSession, events: &mut Vec<MediaEvent>, of_sides: &mut Vec<Event>, alone: bool) -> bool {
    while let Some(event) = rtmp.poll_event() {
        match event {
            Event::Media(media) => events.push(media),
            Event::PublishEnded => return true,
            side @ Event::SideEnded { .. } if alone => {
                of_sides.push(side);
                return true;
            }
            side @ (Event::SideRequested { .. } | Event::SideMessage(_) | Event::SideEnded { .. }) => {
                of_sides.push(side);
            }
            _ => {}
        }
    }
    false
}
