//! Tells control what happens, what came of orders, and every few seconds all that is live. Events wait until control has them; while
//! it is away the oldest of too many are given up, and leave a hole in the numbers.
use std::collections::{HashMap, VecDeque};
use std::pin::pin;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use millstream_control_protocol::PROTOCOL;
use millstream_control_protocol::event::{Event, What};
use millstream_control_protocol::exchange::{Report, Status};
use millstream_control_protocol::live::ViewerCount;
use millstream_engine::Remote;
use millstream_engine::admin::feed::Events;
use tokio::sync::watch;
use tokio::time::{Instant, Interval, sleep_until, timeout};

use super::agent::{Identity, Shared};
use super::beside::Beside;
use super::control::{Control, ControlError};
use super::diagnosis::{self, Diagnoses};
use super::recordings::Records;
use super::runner::Runs;
use super::worker::KnownWorker;
use millstream_fleet::backoff::Backoff;
use millstream_fleet::limits::{EVENTS_KEPT_MAX, EVENTS_PER_REPORT_MAX};
use millstream_fleet::numbers::Count;
use millstream_fleet::ticks;

/// All that is live is told this often.
const LIVE_EVERY: Duration = Duration::from_secs(5);
/// Hooks are looked at this often.
const FAILING_EVERY: Duration = Duration::from_secs(1);
/// Time for the shards to tell what is live.
const LIVE_WAIT: Duration = Duration::from_secs(2);
/// Time for the last report.
const LAST_WAIT: Duration = Duration::from_secs(2);
/// Tries to reach control again.
const RETRY: (Duration, Duration) = (Duration::from_millis(250), Duration::from_secs(5));

pub(super) struct Reporter {
    control: Control,
    engine: Remote,
    shared: Arc<Shared>,
    identity: Identity,
    runs: Runs,
    records: Records,
    beside: Beside,
    events: Option<Events>,
    waiting: VecDeque<Event>,
    /// Viewers of each stream, as they were counted last.
    viewers: HashMap<String, Vec<ViewerCount>>,
    given_up: u64,
    backoff: Backoff,
    failing: bool,
    diagnoses: Diagnoses,
    worker: KnownWorker,
    /// A condition came or went while a report was under way that does not have it.
    has_news: bool,
}

/// The next event; never, where somebody else has them or the engine has ended.
async fn next(events: &mut Option<Events>) -> Event {
    if let Some(open) = events {
        if let Some(event) = open.next().await {
            return event;
        }
        *events = None;
    }
    std::future::pending().await
}

/// The oldest event of the stream that has most.
fn crowded(waiting: &VecDeque<Event>) -> Option<usize> {
    let mut counts: HashMap<&str, usize> = HashMap::new();
    for event in waiting {
        *counts.entry(&event.stream).or_default() += 1;
    }
    let most = counts.values().max().copied()?;
    waiting.iter().position(|event| counts.get(event.stream.as_str()) == Some(&most))
}

impl Reporter {
    pub(super) fn new(
        control: Control,
        engine: Remote,
        shared: Arc<Shared>,
        identity: Identity,
        (runs, records, beside, worker): (Runs, Records, Beside, KnownWorker),
    ) -> Self {
        let (least, most) = RETRY;
        let backoff = Backoff::new(least, most, identity.node.run ^ 1);
        let events = engine.events();
        let diagnoses = Diagnoses::new(runs.clone(), worker.clone());
        Self {
            control,
            engine,
            shared,
            identity,
            runs,
            records,
            beside,
            events,
            waiting: VecDeque::new(),
            viewers: HashMap::new(),
            given_up: 0,
            backoff,
            failing: false,
            diagnoses,
            worker,
            has_news: false,
        }
    }

    pub(super) async fn run(mut self, mut stop: watch::Receiver<bool>) {
        let (mut tick, mut looks) = (ticks::interval(LIVE_EVERY), ticks::interval(FAILING_EVERY));
        let (shared, records) = (Arc::clone(&self.shared), self.records.clone());
        let mut judging = ticks::interval(diagnosis::LOOK_EVERY);
        let (mut with_live, mut with_diagnoses, mut not_before) = (false, false, Instant::now());
        loop {
            let (mut last, mut judges) = (false, false);
            tokio::select! {
                event = next(&mut self.events) => self.wait(event),
                () = shared.wake.notified() => {}
                () = records.changed() => {}
                _ = tick.tick() => (with_live, with_diagnoses) = (true, true),
                _ = judging.tick() => judges = true,
                // A hook that fails turns people away: control is to know at once.
                _ = looks.tick(), if self.runs.is_some() => {
                    if self.runs.failing().is_empty() {
                        continue;
                    }
                }
                () = sleep_until(not_before), if self.failing => {}
                _ = stop.wait_for(|stop| *stop) => last = true,
            }
            let mut is_told = false;
            while let Some(event) = self.events.as_mut().and_then(Events::try_next) {
                self.wait(event);
                is_told = true;
            }
            if judges {
                // What is wrong is told at once.
                let has_changed = self.judge(&mut judging).await;
                with_diagnoses |= has_changed;
                if !has_changed && !is_told {
                    continue;
                }
            }
            if last {
                self.say_the_last(&mut judging).await;
                return;
            }
            if Instant::now() < not_before {
                continue;
            }
            match self.send(with_live, with_diagnoses, &mut judging).await {
                Ok(()) => {
                    (with_live, with_diagnoses) = (false, std::mem::take(&mut self.has_news));
                    if with_diagnoses {
                        shared.wake.notify_one();
                    }
                }
                Err(error) => {
                    with_diagnoses |= std::mem::take(&mut self.has_news);
                    if !std::mem::replace(&mut self.failing, true) {
                        tracing::debug!(%error, "control does not take reports now");
                    }
                    not_before = Instant::now() + self.backoff.next_wait();
                    // Who asked has given up by the time that control is back.
                    shared.outcomes();
                }
            }
        }
    }

    /// Looks at all streams; true: a condition has come or gone.
    async fn judge(&mut self, judging: &mut Interval) -> bool {
        let began = Instant::now();
        let has_changed = self.diagnoses.look(&self.engine).await;
        judging.reset_at(ticks::after(diagnosis::next_look(began.elapsed()), diagnosis::LOOK_EVERY));
        has_changed
    }

    /// Events of the end, too, within a limit of time.
    async fn say_the_last(&mut self, judging: &mut Interval) {
        let all = async {
            while !self.waiting.is_empty() {
                if self.send(false, false, judging).await.is_err() {
                    return;
                }
            }
        };
        // Control may be gone before us.
        drop(timeout(LAST_WAIT, all).await);
        if !self.waiting.is_empty() {
            tracing::warn!(events = self.waiting.len(), "control did not take the last events: they are lost");
        }
    }

    fn wait(&mut self, mut event: Event) {
        self.diagnoses.event(&event);
        if let What::Unpublish { viewers, .. } = &mut event.what {
            viewers.clone_from(self.viewers.get(&event.stream).unwrap_or(&Vec::new()));
        }
        self.runs.happened(&event);
        if self.waiting.len() >= EVENTS_KEPT_MAX {
            // Of the stream that has most: it has only itself to blame, and others' are kept.
            if let Some(at) = crowded(&self.waiting) {
                self.waiting.remove(at);
            }
            self.given_up += 1;
        }
        self.waiting.push_back(event);
    }

    /// Streams are judged meanwhile: control may take long to answer, and windows of samples are not to have holes then.
    async fn send(
        &mut self,
        with_live: bool,
        with_diagnoses: bool,
        judging: &mut Interval,
    ) -> Result<(), ControlError> {
        let mut live =
            if with_live { timeout(LIVE_WAIT, self.engine.on_air()).await.ok().and_then(Result::ok) } else { None };
        if let Some(live) = &mut live {
            for live in live.iter_mut() {
                self.beside.add_to(live);
            }
            self.viewers = live.iter().map(|live| (live.id.clone(), live.viewers.clone())).collect();
        }
        let report = Report {
            protocol: PROTOCOL,
            node: self.identity.node.clone(),
            store: self.shared.in_force().store,
            at_unix_ms: SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_millis() as u64),
            status: self.status(),
            live,
            events: self.waiting.iter().take(EVENTS_PER_REPORT_MAX).cloned().collect(),
            outcomes: self.shared.outcomes(),
            failing_hooks: self.runs.failing(),
            tasks: self.records.news(),
            diagnoses: with_diagnoses.then(|| self.diagnoses.told()),
        };
        let control = self.control.clone();
        let mut reporting = pin!(control.report(report));
        let mut has_more = false;
        let answered = loop {
            tokio::select! {
                answered = &mut reporting => break answered,
                _ = judging.tick() => {
                    while let Some(event) = self.events.as_mut().and_then(Events::try_next) {
                        self.wait(event);
                        has_more = true;
                    }
                    self.has_news |= self.judge(judging).await;
                }
            }
        };
        let numbers = &self.shared.numbers;
        Count::of(&answered, &numbers.reports, &numbers.reports_failed);
        let receipt = answered?;
        numbers.control_heard.now();
        let before = self.waiting.len();
        while self.waiting.front().is_some_and(|event| event.seq <= receipt.events_through) {
            self.waiting.pop_front();
        }
        if self.waiting.is_empty() {
            // What a burst of them took, or a long time without control.
            self.waiting.shrink_to(EVENTS_PER_REPORT_MAX);
        }
        self.backoff.reset();
        self.failing = false;
        // A control that keeps none, because it has another store, is told again with the next tick.
        if !self.waiting.is_empty() && (has_more || self.waiting.len() < before) {
            self.shared.wake.notify_one();
        }
        Ok(())
    }

    fn status(&self) -> Status {
        let (counts, addresses) = (self.engine.counts(), self.engine.addresses());
        let in_force = self.shared.in_force();
        let (hooks, about_hooks) = self.shared.modules.told();
        Status {
            release: env!("CARGO_PKG_VERSION").to_owned(),
            started_unix_ms: self.identity.started_unix_ms,
            rtmp: addresses.rtmp.to_string(),
            http: addresses.http.to_string(),
            rtmp_url: self.identity.rtmp_url.clone(),
            http_url: self.identity.http_url.clone(),
            rtmps_url: self.identity.rtmps_url.clone(),
            worker_url: self.identity.worker_url.clone(),
            draining: self.engine.is_draining(),
            shards: self.engine.shards() as u32,
            connections: counts.connections,
            publishers: counts.publishers,
            viewers: counts.viewers,
            state_number: in_force.version.map(|version| version.number),
            state_epoch: in_force.version.map(|version| version.epoch),
            warnings: in_force
                .warnings
                .into_iter()
                .chain(about_hooks)
                .chain(self.shared.slates.warnings())
                .chain(self.shared.tls.warning())
                .collect(),
            hooks,
            record_store: self.records.place(),
            events_lost: counts.events_lost + self.given_up,
            worker: self.worker.load(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_stream_with_most_events_gives_up_its_oldest() {
        let of = |stream: &str, seq| Event { stream: stream.to_owned(), seq, ..Event::default() };
        let waiting = [of("a", 1), of("flood", 2), of("a", 3), of("flood", 4), of("flood", 5), of("b", 6)];
        assert_eq!(crowded(&waiting.into()), Some(1));
        assert_eq!(crowded(&[of("a", 1), of("b", 2)].into()), Some(0), "the oldest of all where none has more");
        assert_eq!(crowded(&VecDeque::new()), None);
    }
}
