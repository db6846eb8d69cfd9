//! The stages of a run: publishers come on air; viewers come, stay and go; publishers fall silent and the last bytes are read, so that both
//! ends' counters can be compared; all say goodbye.
use std::cmp::Reverse;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use millstream_proto::rtmp::ClientRole;
use millstream_proto::time::Time;

use super::hls::SECOND_LANE;
use super::viewer_slot::ViewerSlot;
use super::{BULK_EVERY, Mark, Run, RunError, Watch};
use crate::limits::CONNECTS_PER_TURN_MAX;
use crate::media::Source;
use crate::net::{Interest, Ready};
use crate::plan::Shape;
use crate::publisher::{Publisher, PublisherContext};
use crate::schedule::{Habit, Protocol};
use crate::server::Metrics;
use crate::viewer::{Hall, Next, Viewer};
use crate::wire::{FlvWire, RtmpWire, Wire};

/// Tokens of publishers have this bit; those of viewers have the visit's number above the place's.
const PUBLISHER: u64 = 1 << 63;
const VISIT_SHIFT: u32 = 32;
const VISIT_MASK: u32 = 0x7FFF_FFFF;
/// How long the streams run before the first viewer.
const WARM_UP: Duration = Duration::from_millis(500);
/// Between the first connections of publishers, so that they do not stand in each other's way.
const PUBLISHER_GAP: Duration = Duration::from_millis(2);
/// After the publishers, the run ends when nothing has come for this long, or after so long at most.
const QUIET: Duration = Duration::from_millis(500);
const QUIET_MAX: Duration = Duration::from_secs(5);
/// How often slow viewers sip, and how often all are looked through for those that wait too long.
const SIP_EVERY: Duration = Duration::from_millis(50);
const LOOK_EVERY: Duration = Duration::from_millis(500);
/// Draining viewers that are served between two looks at the hot poll.
const BULK_BATCH: usize = 64;

/// How the stages went.
pub(super) struct Ended {
    pub(super) early: Option<String>,
    pub(super) interrupted: bool,
    pub(super) seconds: f64,
    pub(super) publishers_on_air: usize,
    pub(super) viewers: usize,
    pub(super) mark: Mark,
    pub(super) metrics: Option<Metrics>,
}

/// What a viewer's socket is registered as.
pub(super) fn token(slot: &ViewerSlot, place: usize) -> u64 {
    u64::from(slot.visit() & VISIT_MASK) << VISIT_SHIFT | place as u64
}

/// What the loop does by the clock.
struct Clockwork {
    bulk: Time,
    sip: Time,
    look: Time,
    second: Time,
}

impl Run<'_> {
    pub(super) fn stages(&mut self, source: &Arc<Source>, watch: &mut dyn Watch) -> Result<Ended, RunError> {
        self.now = self.clock.now();
        let due = self.now;
        let mut clockwork = Clockwork { bulk: due, sip: due, look: due, second: due + Duration::from_secs(1) };
        let mut early = self.go_on_air(source, &mut clockwork, watch)?;
        let publishers_on_air = self.publishers.iter().filter(|publisher| publisher.plays()).count();
        self.before = Some(self.mark());
        let start = self.now;
        self.tally.last_data = start;
        if early.is_none() {
            early = self.serve(start, &mut clockwork, watch)?;
        }
        let (mark, viewers, seconds) = (self.mark(), self.present, self.now.since(start).as_secs_f64());
        for viewer in &self.viewers {
            let ledger = &self.ledgers[viewer.slot().stream];
            viewer.settle(self.now, self.plan.expect.stall, ledger, &mut self.tally);
        }
        let metrics = self.fall_silent(&mut clockwork, watch)?;
        self.viewers.iter_mut().for_each(ViewerSlot::close);
        self.publishers.drain(..).for_each(Publisher::goodbye);
        let interrupted = self.stopped();
        Ok(Ended { early, interrupted, seconds, publishers_on_air, viewers, mark, metrics })
    }

    /// Connects the publishers and waits until viewers find something. Why the run ends here, if it does.
    fn go_on_air(
        &mut self,
        source: &Arc<Source>,
        clockwork: &mut Clockwork,
        watch: &mut dyn Watch,
    ) -> Result<Option<String>, RunError> {
        let count = self.plan.publish.count;
        let Some(target) = self.options.rtmp.as_ref().filter(|_| count > 0) else { return Ok(None) };
        let start = self.now;
        let deadline = start + PUBLISHER_GAP * count as u32 + self.plan.expect.patience;
        let mut warm_at = None;
        while !self.stopped() {
            while self.publishers.len() < count && start + PUBLISHER_GAP * self.publishers.len() as u32 <= self.now {
                let index = self.publishers.len();
                let config = target.config(&self.streams[index], ClientRole::Publish);
                let publisher = Publisher::begin(target.address, config, Arc::clone(source), index);
                let publisher = match publisher {
                    Ok(publisher) => publisher,
                    Err(error) => return Ok(Some(format!("publishers cannot connect: {error}"))),
                };
                self.hot.add(&publisher.connection, PUBLISHER | index as u64, Interest::ReadWrite)?;
                self.publishers.push(publisher);
            }
            let waiting = self.publishers.iter().filter(|p| !p.plays() && !p.over()).count();
            if self.publishers.len() == count && waiting == 0 {
                if self.publishers.iter().all(Publisher::over) {
                    return Ok(Some("no publisher came on air".to_owned()));
                }
                if *warm_at.get_or_insert(self.now + WARM_UP) <= self.now {
                    return Ok(None);
                }
            } else if self.now > deadline {
                self.tally.troubles.add_many("publisher: not on air in time", waiting as u64);
                return Ok((waiting == count).then(|| "no publisher came on air".to_owned()));
            }
            self.turn(self.now + PUBLISHER_GAP, None, clockwork, watch)?;
        }
        Ok(None)
    }

    /// Lets viewers come and go, for as long as planned. Why it ended before, if it did.
    fn serve(
        &mut self,
        start: Time,
        clockwork: &mut Clockwork,
        watch: &mut dyn Watch,
    ) -> Result<Option<String>, RunError> {
        let end = start + self.plan.duration;
        let view = &self.plan.view;
        let all_came = match view.schedule {
            Shape::Steady => Duration::from_secs_f64(self.viewers.len() as f64 / f64::from(view.per_second.max(1))),
            _ => view.over,
        };
        let all_came = start + all_came;
        while self.now < end && !self.stopped() {
            self.come_and_go(start)?;
            if self.full.is_none()
                && self.now >= all_came
                && (self.joining == 0 || self.now >= all_came + self.plan.expect.patience)
            {
                self.full = Some(self.mark());
                self.tally.steady = true;
            }
            if let Some(why) = self.hopeless() {
                return Ok(Some(why));
            }
            let visit = self.visits.get(self.next_visit).map_or(end, |visit| start + visit.at);
            let leave = self.leaves.peek().map_or(end, |Reverse((at, ..))| *at);
            self.turn(visit.min(leave).min(end), Some(start), clockwork, watch)?;
        }
        Ok(None)
    }

    /// Why there is nothing left to measure, if so.
    fn hopeless(&self) -> Option<String> {
        if !self.publishers.is_empty() && self.publishers.iter().all(Publisher::over) {
            return Some("every publisher was lost".to_owned());
        }
        let silence = self.now.since(self.tally.last_data);
        if self.present > self.joining + self.slow.len() && silence > self.plan.expect.patience {
            return Some(format!("the server stalls: no viewer got a byte for {:.0} s", silence.as_secs_f64()));
        }
        let all_came = self.next_visit == self.visits.len();
        (all_came && !self.viewers.is_empty() && self.present == 0 && self.leaves.is_empty() && self.tally.lost > 0)
            .then(|| "every viewer was lost".to_owned())
    }

    /// Publishers send no more, and what is on its way is read. The server's counters, when it is all there.
    fn fall_silent(&mut self, clockwork: &mut Clockwork, watch: &mut dyn Watch) -> Result<Option<Metrics>, RunError> {
        self.dues.clear();
        let start = self.now;
        self.tally.last_data = start;
        while self.now.since(self.tally.last_data) < QUIET && self.now.since(start) < QUIET_MAX {
            // Nobody asks for more: what is answered while the counters are read would be taken for lost.
            self.hls_wakes.clear();
            self.turn(self.now + QUIET / 10, None, clockwork, watch)?;
        }
        Ok(self.server.metrics())
    }

    fn stopped(&self) -> bool {
        self.options.stop.load(Ordering::Relaxed)
    }

    /// Begins and ends the visits whose time has come.
    fn come_and_go(&mut self, start: Time) -> Result<(), RunError> {
        while let Some(&Reverse((_, place, visit))) = self.leaves.peek().filter(|Reverse((at, ..))| *at <= self.now) {
            self.leaves.pop();
            let viewer = &mut self.viewers[place];
            if viewer.visit() == visit && viewer.present() {
                self.joining -= usize::from(viewer.joining());
                viewer.close();
                self.present -= 1;
                self.tally.left += 1;
            }
        }
        for _ in 0..CONNECTS_PER_TURN_MAX {
            let Some(visit) = self.visits.get(self.next_visit).copied().filter(|v| start + v.at <= self.now) else {
                return Ok(());
            };
            self.next_visit += 1;
            self.tally.visits += 1;
            self.tally.connect_late.record(self.now.since(start + visit.at));
            self.begin_visit(visit.slot, visit.until.map(|until| start + until))?;
        }
        Ok(())
    }

    fn begin_visit(&mut self, place: usize, until: Option<Time>) -> Result<(), RunError> {
        if self.viewers[place].slot().protocol.is_hls() {
            self.begin_hls(place)?;
        } else {
            self.begin_stream(place)?;
        }
        if !self.viewers[place].present() {
            return Ok(());
        }
        if let Some(until) = until {
            self.leaves.push(Reverse((until, place, self.viewers[place].visit())));
        }
        self.most = self.most.max(self.present);
        Ok(())
    }

    fn begin_stream(&mut self, place: usize) -> Result<(), RunError> {
        let ViewerSlot::Stream(viewer) = &mut self.viewers[place] else { return Ok(()) };
        let stream = &self.streams[viewer.slot.stream];
        let parse = viewer.slot.habit == Habit::Sample;
        let mut tls = None;
        let (wire, address) = match (viewer.slot.protocol, &self.options.http, &self.options.rtmp) {
            (Protocol::Flv, Some(http), _) => {
                tls = http.tls.as_ref().map(|tls| tls.session().map(Box::new)).transpose()?;
                (Wire::Flv(FlvWire::new(http.request(stream), http.websocket, parse)), http.address)
            }
            (Protocol::Rtmp, _, Some(rtmp)) => {
                let config = rtmp.config(stream, ClientRole::Play);
                (Wire::Rtmp(Box::new(RtmpWire::new(config, parse))), rtmp.address)
            }
            _ => return Err(RunError::NoTarget("viewers", "--http or --rtmp")),
        };
        // Not the time at which the turn began: others may have been connected since.
        let now = self.clock.now();
        if let Err(error) = viewer.begin(address, tls, wire, now) {
            viewer.lose(&format!("cannot connect: {error}"), &mut self.tally);
            return Ok(());
        }
        let token = token(&self.viewers[place], place);
        if let ViewerSlot::Stream(viewer) = &self.viewers[place]
            && let Some(connection) = viewer.connection()
        {
            self.hot.add(connection, token, Interest::ReadWrite)?;
        }
        self.present += 1;
        self.joining += 1;
        Ok(())
    }

    /// Waits for whatever is first, until `wake` at most, and acts on it.
    fn turn(
        &mut self,
        wake: Time,
        start: Option<Time>,
        clockwork: &mut Clockwork,
        watch: &mut dyn Watch,
    ) -> Result<(), RunError> {
        let due = self.dues.peek().map_or(wake, |Reverse((due, _))| *due);
        let hls = self.hls_wakes.peek().map_or(wake, |Reverse((at, ..))| *at);
        let wake =
            wake.min(hls).min(due).min(clockwork.bulk).min(clockwork.sip).min(clockwork.look).min(clockwork.second);
        self.hot_turn(wake.since(self.clock.now()))?;
        self.wake_hls();
        if self.now >= clockwork.bulk {
            let more = self.bulk_turn()?;
            clockwork.bulk = if more { self.now } else { self.now + BULK_EVERY };
        }
        if self.now >= clockwork.sip {
            clockwork.sip = self.now + SIP_EVERY;
            for n in (0..self.slow.len()).rev() {
                let place = self.slow[n];
                if self.serve_viewer(place, super::super::viewer::Viewer::sip)? {
                    self.slow.swap_remove(n);
                }
            }
        }
        if self.now >= clockwork.look {
            clockwork.look = self.now + LOOK_EVERY;
            self.look_through();
        }
        if self.now >= clockwork.second {
            clockwork.second = self.now + Duration::from_secs(1);
            self.tick(start, watch);
        }
        Ok(())
    }

    /// Serves what is timed: frames that are due, publishers, viewers that join or are sampled.
    fn hot_turn(&mut self, wait: Duration) -> Result<(), RunError> {
        let mut ready = std::mem::take(&mut self.hot_ready);
        ready.clear();
        self.hot.wait(wait, &mut ready)?;
        self.now = self.clock.now();
        self.send_due();
        for event in &ready {
            if event.token & PUBLISHER != 0 {
                self.publisher_ready((event.token & !PUBLISHER) as usize, *event);
            } else {
                self.viewer_ready(*event)?;
            }
        }
        self.hot_ready = ready;
        Ok(())
    }

    /// Serves some of those who only drain, with looks at the hot poll in between. Whether there may be more.
    fn bulk_turn(&mut self) -> Result<bool, RunError> {
        let mut ready = std::mem::take(&mut self.bulk_ready);
        ready.clear();
        let more = self.bulk.wait(Duration::ZERO, &mut ready)?;
        for batch in ready.chunks(BULK_BATCH) {
            for event in batch {
                self.viewer_ready(*event)?;
            }
            self.hot_turn(Duration::ZERO)?;
        }
        self.bulk_ready = ready;
        Ok(more)
    }

    fn send_due(&mut self) {
        while let Some(&Reverse((_, index))) = self.dues.peek().filter(|Reverse((due, _))| *due <= self.now) {
            self.dues.pop();
            self.with_publisher(index, Publisher::send_due);
            if let Some(due) = self.publishers[index].due() {
                self.dues.push(Reverse((due, index)));
            }
        }
    }

    fn publisher_ready(&mut self, index: usize, ready: Ready) {
        let was_due = self.publishers[index].due();
        self.with_publisher(index, |publisher, context| publisher.ready(ready, context));
        if let (None, Some(due)) = (was_due, self.publishers[index].due()) {
            self.dues.push(Reverse((due, index)));
        }
    }

    fn with_publisher(
        &mut self,
        index: usize,
        act: impl FnOnce(&mut Publisher, &mut PublisherContext<'_>) -> Result<(), String>,
    ) {
        let publisher = &mut self.publishers[index];
        let stream = publisher.stream;
        let ledger = self.watched[stream].then_some(&mut self.ledgers[stream]);
        let (scratch, body, tally) = (&mut self.scratch[..], &mut self.body, &mut self.tally);
        let mut context = PublisherContext { now: self.now, scratch, body, tally, ledger };
        if let Err(why) = act(publisher, &mut context) {
            self.tally.troubles.add(format!("publisher: {why}"));
            // Its descriptor goes when the run does; until then nothing more is asked of it.
            let _ = self.hot.remove(&publisher.connection);
        }
    }

    fn viewer_ready(&mut self, ready: Ready) -> Result<(), RunError> {
        let place = (ready.token & (SECOND_LANE - 1)) as usize;
        let visit = (ready.token >> VISIT_SHIFT) as u32;
        let slot = &self.viewers[place];
        if slot.visit() & VISIT_MASK != visit || !slot.present() {
            return Ok(());
        }
        if let ViewerSlot::Hls(_) = slot {
            self.hls_ready(place, ready);
        } else {
            self.serve_viewer(place, |viewer, hall| viewer.ready(ready, hall))?;
        }
        Ok(())
    }

    /// Lets a viewer act, and its socket wait where it should. Whether it is gone.
    fn serve_viewer(
        &mut self,
        place: usize,
        act: impl FnOnce(&mut Viewer, &mut Hall<'_>) -> Next,
    ) -> Result<bool, RunError> {
        let token = token(&self.viewers[place], place);
        let ViewerSlot::Stream(viewer) = &mut self.viewers[place] else { return Ok(false) };
        let was_joining = viewer.joining();
        let mut hall = Hall {
            now: self.now,
            clock: self.clock,
            stall: self.plan.expect.stall,
            scratch: &mut self.scratch,
            plain: &mut self.plain,
            heard: &mut self.heard,
            tally: &mut self.tally,
            ledger: &mut self.ledgers[viewer.slot.stream],
        };
        let next = act(viewer, &mut hall);
        self.joining -= usize::from(was_joining && !viewer.joining());
        match (next, viewer.connection()) {
            (Next::Bulk, Some(connection)) => {
                self.hot.remove(connection)?;
                self.bulk.add(connection, token, Interest::Read)?;
            }
            (Next::Slow, Some(connection)) => {
                self.hot.change(connection, token, Interest::Close)?;
                self.slow.push(place);
            }
            (Next::Gone, _) => {
                self.present -= 1;
                return Ok(true);
            }
            _ => {}
        }
        Ok(false)
    }

    /// Gives up on those that have waited too long.
    fn look_through(&mut self) {
        let patience = self.plan.expect.patience;
        for viewer in &mut self.viewers {
            if let Some(why) = viewer.overdue(self.now, patience) {
                viewer.lose(why, &mut self.tally);
                self.present -= 1;
                self.joining -= 1;
            }
        }
    }
}
