//! A publisher on the shard that owns its stream, from the answer to its end: it takes the publisher's place, and gives it up however the session ends. Before it:
//! [`super::admit`]; between the two: [`super::pump`], which moves its media; after it: the connection's next request.
use std::cell::Cell;
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::Duration;

use millstream_control_protocol::event::What;
use millstream_hub::stream::{PUBLISHER_SILENT_AFTER, Taken};
use millstream_policy::Action;
use millstream_policy::records::Labels;
use millstream_proto::id::Id;
use millstream_proto::rtmp::Refusal;
use millstream_proto::rtmp::relay_path::{RelayPath, Stop};
use millstream_proto::time::Time;

use super::connection::{Connection, PROTOCOL, Rejection, Turn};
use super::pump::pump;
use super::sides::Sides;
use crate::close::{CloseReason, GOING_DOWN};
use crate::io::sleep_until;
use crate::shard::events::OfSession;
use crate::shard::state::Shard;
use crate::shard::stream_handle::StreamHandle;
use crate::shard::stream_handle::publisher::Publisher;
use crate::shard::wait::{Place, select};

/// A publisher on the shard that owns its stream, from the answer to its end.
pub(super) async fn publish(shard: &Rc<Shard>, mut connection: Connection, id: &Id, encoder: String) -> Turn {
    connection.session.asked();
    let no_place = |connection: Connection, why, reason: &str| {
        connection.reject(shard, Action::Publish, Rejection::new(why, Refusal::Failed, id, reason))
    };
    let publishes = || shard.publishes.publish(id, connection.session.peer().ip(), shard.now());
    match if id.is_rendition() { Some(Duration::ZERO) } else { publishes() } {
        Some(Duration::ZERO) => {}
        Some(wait) => sleep_until(shard.clock.instant(shard.now() + wait)).await,
        None => {
            let reason = "this stream, or this address, publishes too often; try again in a moment";
            return no_place(connection, CloseReason::PublishRate, reason);
        }
    }
    if shard.is_draining() {
        return no_place(connection, CloseReason::Shutdown, GOING_DOWN);
    }
    if RelayPath::read(&encoder).has(Stop::new(shard.config.relay_seed, id)) {
        let reason = "this stream has come through itself: its relay (relayURL), or that of a stream behind it, leads back to it";
        return connection.reject(
            shard,
            Action::Publish,
            Rejection::new(CloseReason::Refused, Refusal::Denied, id, reason),
        );
    }
    // A stream that is on air, or waits for its publisher, is not a new one.
    if !shard.holds(id) && !shard.sessions.has_room(Action::Publish) {
        let reason = "the server has no room for new streams now; try again in a moment";
        return no_place(connection, CloseReason::Overload, reason);
    }
    let labels = connection.session.granted.borrow().labels.clone();
    let record = connection.session.granted.borrow().record;
    let who = Publisher { peer: connection.session.peer(), protocol: PROTOCOL, encoder, labels };
    let Claimed { handle, replaced } = match claim(shard, id, connection.session.number, &who).await {
        Ok(place) => place,
        Err(NoPlace::Full) if id.is_rendition() => {
            // Refused: nobody is told.
            return no_place(connection, CloseReason::Refused, "this rendition is wanted no more");
        }
        Err(NoPlace::Full) => {
            return no_place(connection, CloseReason::Streams, "the server has as many streams as it may have");
        }
        Err(NoPlace::Taken(taken)) => {
            let rejection = Rejection::new(CloseReason::Taken, Refusal::Busy, id, taken.to_string());
            return connection.reject(shard, Action::Publish, rejection);
        }
    };
    handle.record_as_granted(record, shard);
    let replaced_heard_ago_ms = replaced.map(|(_, heard_ago)| heard_ago.as_millis() as u64);
    if let Some(old) = replaced.and_then(|(number, _)| shard.sessions.get(number)) {
        old.end(CloseReason::Replaced);
    }
    // Of one that comes too often the log has one line, the events all that there is.
    let is_slowed = connection.session.publishes.get().is_slowed();
    if !is_slowed {
        tracing::info!(parent: &connection.session.span, stream = %id, "publish started");
    }
    if !id.is_rendition() {
        shard.stats.publishes_total.add(1);
        shard.stats.publishers.add(1);
    }
    let number = connection.session.number;
    let Publisher { peer, encoder, labels, .. } = who;
    let session = OfSession { stream: id.as_str(), number, peer, protocol: PROTOCOL, labels: labels.as_ref() };
    if !id.is_rendition() {
        shard.tell(&session, || What::Publish { encoder, replaced_heard_ago_ms });
    }
    let on_air = OnAir {
        shard,
        handle: &handle,
        number,
        peer,
        labels,
        since: shard.now(),
        bytes: Cell::new(0),
        why: Cell::new(CloseReason::Defect),
    };
    let mut sides = Sides::default();
    // Media may already be there: it came with the request.
    let accepted = connection.rtmp.accept(shard.now());
    let ended = match accepted {
        Ok(()) => pump(shard, &mut connection, Some((&handle, &on_air.bytes)), &mut sides).await,
        Err(error) => Some(error.into()),
    };
    let why = connection.session.ending().or(ended).unwrap_or(CloseReason::Unpublished);
    on_air.why.set(why);
    drop(on_air);
    if !is_slowed {
        tracing::info!(parent: &connection.session.span, stream = %id, why = why.label(), "publish ended");
    }
    let ended = match ended {
        // The further streams of the connection go on without the first one.
        None if !sides.is_empty() => Box::pin(pump(shard, &mut connection, None, &mut sides)).await,
        ended => ended,
    };
    match ended {
        None => {
            // What it was admitted for is over, and what it held is given back.
            connection.session.granted.take();
            Turn::Again(connection)
        }
        Some(why) => Turn::Ended(connection, why),
    }
}

/// A publisher's place.
struct Claimed {
    handle: Rc<StreamHandle>,
    /// The session that had it, and how long ago that was heard.
    replaced: Option<(u64, Duration)>,
}

/// Why a publisher gets no place.
enum NoPlace {
    /// There are too many streams.
    Full,
    /// Somebody else has it.
    Taken(Taken),
}

/// Takes the publisher's place, also where the one before is just leaving: encoders that stop and start have their new connection
/// here before we have read the end of the old one, and those whose network died are back before the old one is known to be
/// silent.
async fn claim(shard: &Rc<Shard>, id: &Id, number: u64, who: &Publisher) -> Result<Claimed, NoPlace> {
    let until = shard.now() + PUBLISHER_SILENT_AFTER;
    let place = Place::default();
    loop {
        // Asked for each time: the stream may end with its last publisher, and this one then begins it anew.
        let handle = shard.own(id).ok_or(NoPlace::Full)?;
        let seen = handle.waiters.seen();
        let now = shard.now();
        match handle.publish(number, who, now >= until, now, shard) {
            Ok(replaced) => return Ok(Claimed { handle, replaced }),
            Err(taken) if now < until => {
                let look_at = until.min(now + taken.silent_in());
                select(handle.waiters.changed(seen, &place), sleep_until(shard.clock.instant(look_at))).await;
            }
            Err(taken) => return Err(NoPlace::Taken(taken)),
        }
    }
}

/// Gives the publisher's place up, and tells so, however the session ends.
struct OnAir<'a> {
    shard: &'a Rc<Shard>,
    handle: &'a StreamHandle,
    number: u64,
    peer: SocketAddr,
    labels: Option<Labels>,
    since: Time,
    /// Received from it.
    bytes: Cell<u64>,
    why: Cell<CloseReason>,
}

impl Drop for OnAir<'_> {
    fn drop(&mut self) {
        let Self { shard, handle, number, .. } = *self;
        let now = shard.now();
        if !handle.id.is_rendition() {
            shard.stats.publishers.add(-1);
        }
        // Whom the operator or the end of the server sends away is not stood in for.
        let dismissed = self.why.get() == CloseReason::Kicked || shard.is_draining();
        handle.leave(number, dismissed, shard);
        let session = OfSession {
            stream: handle.id.as_str(),
            number,
            peer: self.peer,
            protocol: PROTOCOL,
            labels: self.labels.as_ref(),
        };
        if handle.id.is_rendition() {
            return;
        }
        shard.tell(&session, || What::Unpublish {
            why: self.why.get().label().to_owned(),
            lasted_ms: u64::try_from(now.since(self.since).as_millis()).unwrap_or(u64::MAX),
            received_bytes: self.bytes.get(),
            // They are on all shards; the reporter, which asks all of them, fills them in.
            viewers: Vec::new(),
        });
    }
}
