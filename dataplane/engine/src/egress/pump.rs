//! The innermost loop: what the log has, to one viewer's socket, one send at a time. Nothing is allocated here per frame: the
//! usual send is one piece, and vectors for more come from the shard's pool.
use std::cell::{Cell, RefCell};
use std::future::poll_fn;
use std::rc::Rc;
use std::task::Poll;
use std::time::Duration;

use millstream_hub::viewer::{CloseReason, Fill, Piece, Viewer};
use millstream_proto::time::Time;

use crate::ingest::Ended;
use crate::io::{Area, Spot, Writer};
use crate::metrics::Gauge;
use crate::shard::Shard;
use crate::shard::channel::Seat;
use crate::shard::session::Session;
use crate::shard::view;
use crate::shard::wait::Place;

/// Bytes of a sending task's state that each visit touches, about.
const STATE_BYTES: usize = 512;

/// Why a viewer's sends are over.
pub(crate) enum Done {
    /// By the hub's rules.
    Closed(CloseReason),
    /// By its peer, or by the sweep.
    Gone(Ended),
}

impl Done {
    /// A short name.
    pub(crate) fn label(&self) -> Ended {
        match self {
            Self::Closed(reason) => reason.label(),
            Self::Gone(why) => why,
        }
    }
}

/// A play session under way: counted while it is held.
pub(crate) struct Playing {
    shard: Rc<Shard>,
    gauge: fn(&Shard) -> &Gauge,
    /// Where it sits.
    pub(crate) seat: Seat,
    /// Its cursor.
    pub(crate) viewer: Rc<RefCell<Viewer>>,
    /// Its session.
    pub(crate) session: Rc<Session>,
    /// Why its reading side gave up, if it did.
    pub(crate) left: Cell<Option<Ended>>,
    asked_at: Time,
}

impl Playing {
    /// Begins: the sweep looks after it from here on.
    pub(crate) fn begin(
        shard: &Rc<Shard>,
        session: &Rc<Session>,
        seat: Seat,
        viewer: Viewer,
        asked_at: Time,
        gauge: fn(&Shard) -> &Gauge,
    ) -> Rc<Self> {
        let viewer = Rc::new(RefCell::new(viewer));
        session.asked();
        session.set_deadline(None);
        session.watch(&seat.channel, &viewer, shard.now());
        seat.channel.audience.join(session, view::protocol(viewer.borrow().format()));
        shard.stats.plays_total.add(1);
        gauge(shard).add(1);
        tracing::info!(parent: &session.span, stream = %seat.channel.id, "play started");
        Rc::new(Self {
            shard: Rc::clone(shard),
            gauge,
            seat,
            viewer,
            session: Rc::clone(session),
            left: Cell::new(None),
            asked_at,
        })
    }

    /// Its reading side gave up: the sending side is to stop.
    pub(crate) fn leave(&self, why: Ended) {
        self.left.set(Some(why));
        self.session.end(why);
    }
}

impl Drop for Playing {
    fn drop(&mut self) {
        (self.gauge)(&self.shard).add(-1);
        self.seat.channel.audience.leave(self.session.number);
        self.shard.stats.skips.add(self.viewer.borrow().skips());
    }
}

/// Sends until the viewer is done.
pub(crate) async fn pump(playing: &Playing, writer: &mut Writer) -> Done {
    let Playing { shard, seat, viewer, session, .. } = playing;
    let (channel, stats) = (&seat.channel, &shard.stats);
    let mut started = false;
    let mut caught_up = false;
    let place = Place::default();
    let spot = poll_fn(|cx| {
        Poll::Ready(Spot::new([
            Area::of_task(cx.waker()),
            // This function's own state, which the wait's place is part of, and that of its callers around it.
            Area::reaching(&place, STATE_BYTES),
            Area::of(playing),
            Area::of(&**session),
            Area::of(&**viewer),
            writer.area(),
        ]))
    })
    .await;
    spot.visit(&shard.recent);
    let mut now = shard.now();
    loop {
        let seen = channel.waiters.seen();
        if let Some(why) = playing.left.get().or(session.ending()) {
            return Done::Gone(why);
        }
        let load = {
            let pieces = &mut *shard.pieces.borrow_mut();
            // A viewer that a defect ended may have left some.
            pieces.clear();
            let log = channel.log.borrow();
            match viewer.borrow_mut().fill(&log, &channel.config, now, pieces) {
                Fill::Send => Some(shard.loads.load(pieces)),
                Fill::Wait => None,
                Fill::Close(reason) => return Done::Closed(reason),
            }
        };
        let Some(load) = load else {
            caught_up = true;
            channel.waiters.changed_or(seen, &session.nudge, &place).await;
            // One visit per turn of this task: who comes a few visits later is then the same task in every turn.
            spot.visit(&shard.recent);
            now = shard.now();
            continue;
        };
        stats.sends_in_flight.add(1);
        let (result, load) = writer.send(load).await;
        spot.visit(&shard.recent);
        stats.sends_in_flight.add(-1);
        let count = match result {
            Ok(0) => return Done::Gone("peer_closed"),
            Ok(count) => count,
            Err(_) => return Done::Gone(session.ending().unwrap_or("peer_gone")),
        };
        now = shard.now();
        viewer.borrow_mut().sent(load.pieces(), count);
        stats.sends.add(1);
        stats.bytes_out.add(count as u64);
        if caught_up && let Some(arrived) = load.pieces().iter().find_map(Piece::arrived) {
            stats.added_delay.observe(seconds(now.since(arrived)));
        }
        if !started && load.pieces().iter().any(Piece::is_start) {
            started = true;
            stats.first_frame.observe(seconds(now.since(playing.asked_at)));
        }
        shard.loads.unload(load);
    }
}

fn seconds(duration: Duration) -> f64 {
    duration.as_secs_f64()
}
