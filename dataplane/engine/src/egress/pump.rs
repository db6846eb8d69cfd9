//! A viewer's own sends, one at a time: what it is behind by, and what a socket that was full takes later. Once it has all there is it
//! rests in its [`super::fan_out`], where most of what it gets is sent. Nothing is allocated here per frame: vectors come from the shard's pool.
use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::time::Duration;

use millstream_hub::viewer::{self, Fill, Piece, Viewer};
use millstream_proto::time::Time;

use super::fan_out::FanOutPlace;
use crate::admin::plays::{Play, PlayNews, PlayViewer};
use crate::clock::unix_ms;
use crate::close::CloseReason;
use crate::io::Writer;
use crate::output::OutputFormat;
use crate::shard::context::ShardContext;
use crate::shard::session::{Session, Watched};
use crate::shard::stream_handle::ViewerGuard;

/// Why a viewer's sends are over.
pub(crate) enum Done {
    /// By the hub's rules. Goodbye can be said.
    Closed(viewer::CloseReason, Writer),
    /// By its peer, or by the sweep.
    Gone(CloseReason),
}

impl Done {
    /// Why the session ends with it.
    pub(crate) fn reason(&self) -> CloseReason {
        match self {
            Self::Closed(reason, _) => CloseReason::from(*reason),
            Self::Gone(reason) => *reason,
        }
    }
}

/// A play session under way: counted while it is held.
pub(crate) struct Playing {
    shard: Rc<ShardContext>,
    format: &'static OutputFormat,
    pub(crate) viewer_guard: ViewerGuard,
    pub(crate) viewer: Rc<RefCell<Viewer>>,
    pub(crate) session: Rc<Session>,
    /// Why its reading side gave up, if it did.
    pub(crate) left: Cell<Option<CloseReason>>,
    pub(super) place: FanOutPlace,
    started: Cell<bool>,
    asked_at: Time,
    since: Time,
    /// Whoever wants to know was told that it began.
    is_told: bool,
}

impl Playing {
    /// Begins: the sweep looks after it from here on.
    pub(crate) fn begin(
        shard: &Rc<ShardContext>,
        session: &Rc<Session>,
        viewer_guard: ViewerGuard,
        viewer: Viewer,
        asked_at: Time,
        format: &'static OutputFormat,
    ) -> Rc<Self> {
        let viewer = Rc::new(RefCell::new(viewer));
        session.asked();
        session.set_deadline(None);
        let protocol = format.protocol;
        let (config, of_session) = (viewer_guard.handle.config, Rc::clone(&viewer));
        session.watch(Watched { config, viewer: of_session, protocol, since: shard.now() });
        if format.role.is_some() {
            viewer_guard.handle.audience.join(session, protocol);
            shard.stats.plays_total.add(1);
            count_viewer(shard, format, 1);
        }
        if format.role.is_some() {
            tracing::info!(parent: &session.span, stream = %viewer_guard.handle.id, "play started");
        } else {
            tracing::debug!(parent: &session.span, stream = %viewer_guard.handle.id, "a {protocol} reads");
        }
        let mut playing = Self {
            shard: Rc::clone(shard),
            format,
            viewer_guard,
            viewer,
            session: Rc::clone(session),
            left: Cell::new(None),
            place: FanOutPlace::default(),
            started: Cell::new(false),
            asked_at,
            since: shard.now(),
            is_told: false,
        };
        playing.is_told = playing.tell(PlayNews::Began);
        Rc::new(playing)
    }

    /// Tells who wants to know what becomes of it; false: nobody does, or there is no room.
    fn tell(&self, what: PlayNews) -> bool {
        let Self { shard, format, session, .. } = self;
        if format.role.is_none() || !shard.plays.is_wanted() {
            return false;
        }
        let told = shard.plays.put(Play {
            at_unix_ms: unix_ms(),
            stream: self.viewer_guard.handle.id.stream(),
            viewer: PlayViewer::Session(session.number),
            peer: session.peer(),
            protocol: format.protocol,
            secure: session.is_secure(),
            labels: session.granted.borrow().labels.clone(),
            what,
        });
        if !told {
            shard.plays.lose();
        }
        told
    }

    /// Why it is over, if it is.
    pub(super) fn ending(&self) -> Option<CloseReason> {
        self.left.get().or(self.session.ending())
    }

    /// The kernel took `count` bytes of these. `caught_up`: it had all there was before, so that it tells what delay we add.
    pub(super) fn count(&self, pieces: &[Piece], count: usize, caught_up: bool, now: Time) {
        let stats = &self.shard.stats;
        stats.sends.add(1);
        stats.bytes_out.add(count as u64);
        if count == 0 {
            return;
        }
        if caught_up && let Some(arrived) = pieces.iter().find_map(Piece::arrived) {
            stats.added_delay.observe(seconds(now.since(arrived)));
        }
        if !self.started.get() && pieces.iter().any(Piece::is_start) {
            self.started.set(true);
            stats.first_frame.observe(seconds(now.since(self.asked_at)));
        }
    }

    /// Its reading side gave up: the sending side is to stop.
    pub(crate) fn leave(&self, why: CloseReason) {
        self.left.set(Some(why));
        self.session.end(why);
    }
}

impl Drop for Playing {
    fn drop(&mut self) {
        if self.format.role.is_some() {
            count_viewer(&self.shard, self.format, -1);
            self.viewer_guard.handle.audience.leave(self.session.number);
        }
        if self.is_told {
            let lasted_ms = u64::try_from(self.shard.now().since(self.since).as_millis()).unwrap_or(u64::MAX);
            let why = self.ending().map_or("ended", CloseReason::label);
            self.tell(PlayNews::Ended { why, lasted_ms });
        }
        self.shard.stats.skips.add(self.viewer.borrow().skips());
    }
}

fn count_viewer(shard: &ShardContext, format: &OutputFormat, change: i64) {
    if let Some(gauge) = shard.stats.viewers_of(format.protocol) {
        gauge.add(change);
    }
}

/// Sends until the viewer is done.
pub(crate) async fn pump(playing: &Rc<Playing>, mut writer: Writer) -> Done {
    let Playing { shard, viewer_guard, viewer, .. } = &**playing;
    let handle = &viewer_guard.handle;
    let mut caught_up = false;
    let mut now = shard.now();
    loop {
        if let Some(why) = playing.ending() {
            return Done::Gone(why);
        }
        // What is encrypted already is no stall of what comes next.
        if writer.flush().await.is_err() {
            return Done::Gone(playing.session.ended_by(CloseReason::PeerGone));
        }
        let load = {
            let pieces = &mut *shard.pieces.borrow_mut();
            // A viewer that a defect ended may have left some.
            pieces.clear();
            let log = handle.log.borrow();
            match viewer.borrow_mut().fill(&log, &handle.config, now, pieces) {
                Fill::Send => Some(shard.loads.load(pieces)),
                Fill::Wait => None,
                Fill::Close(reason) => return Done::Closed(reason, writer),
            }
        };
        let Some(load) = load else {
            caught_up = true;
            let Some(back) = handle.fan_out.wait_idle(playing, writer).await else {
                return Done::Gone(CloseReason::Defect);
            };
            (writer, now) = (back, shard.now());
            continue;
        };
        shard.stats.sends_in_flight.add(1);
        let (result, load) = writer.send(load).await;
        shard.stats.sends_in_flight.add(-1);
        let count = match result {
            Ok(0) => return Done::Gone(playing.session.ended_by(CloseReason::PeerClosed)),
            Ok(count) => count,
            Err(_) => return Done::Gone(playing.session.ended_by(CloseReason::PeerGone)),
        };
        now = shard.now();
        viewer.borrow_mut().sent(load.pieces(), count);
        playing.count(load.pieces(), count, caught_up, now);
        shard.loads.unload(load);
    }
}

fn seconds(duration: Duration) -> f64 {
    duration.as_secs_f64()
}
