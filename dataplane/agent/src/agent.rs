//! The node's loop: asks control for news, brings them into force, has orders done. Beside it run the [`super::reporter`] and, where
//! the state is kept on disk, whoever writes it.
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::pin::pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use millstream_control_protocol::exchange::{NodeId, Outcome, Push, Update};
use millstream_control_protocol::state::{Binding, State, Stream, Version};
use millstream_control_protocol::task::Task;
use millstream_control_protocol::{PROTOCOL, understands};
use millstream_engine::Remote;
use millstream_engine::directory::{Changed, Directory, Updated};
use tokio::sync::{Notify, Semaphore, watch};
use tokio::time::{sleep, timeout};

use super::beside::{AddToLive, Beside};
use super::certificates::{OfControl, TlsHost};
use super::control::Control;
use super::following::{Following, Judgement, Whole, is_whole, reassign, rebind, update_of};
use super::modules::Modules;
use super::players::{self, SharedPlayers};
use super::recordings::Records;
use super::reporter::Reporter;
use super::runner::{Runner, Runs};
use super::slates::Slates;
use super::worker::{KnownWorker, Worker};
use super::{kept, orders};
use millstream_fleet::backoff::Backoff;
use millstream_fleet::limits::{ORDERS_AT_ONCE_MAX, OUTCOMES_KEPT_MAX};
use millstream_fleet::numbers::{Count, Numbers};

/// How long a poll is to be kept waiting: below what proxies cut off.
const POLL_WAIT_MS: u32 = 25_000;
/// Tries to reach control again.
const RETRY: (Duration, Duration) = (Duration::from_millis(250), Duration::from_secs(10));
/// Shards apply a state within this time, or are asked once more.
const APPLY_WAIT: Duration = Duration::from_secs(2);
/// What is said of a control whose store was emptied or replaced.
const OTHER_STORE: &str = "control has another store than the one that this node follows: its streams are not taken, and those that are known stay. \
                           Restore control's store; or, if this one is meant, start control or this node once with --accept-new-key";
/// The state is written to disk no more often than this: with very many streams it is large.
const KEEP_EVERY: Duration = Duration::from_secs(1);

/// Who this node is.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Identity {
    /// Its name in the fleet and its run.
    pub node: NodeId,
    /// Which master key it has: see [`State::key_check`]; empty where it has none.
    pub key_check: String,
    /// When its process started, Unix milliseconds.
    pub started_unix_ms: u64,
    /// Where encoders push to it, as they reach it: `rtmp://host[:port]`.
    pub rtmp_url: String,
    /// Where players ask it, as they reach it: `http://host[:port]`.
    pub http_url: String,
    /// Where encoders push to it over TLS: `rtmps://host[:port]`; empty where it has no TLS.
    pub rtmps_url: String,
    /// Where workers of other machines come to it: `tcp://HOST:PORT` or `tls://HOST:PORT`; empty where it takes none.
    pub worker_url: String,
}

/// A node's end of the link, ready to run.
pub struct Agent {
    control: Control,
    engine: Remote,
    directory: Directory,
    identity: Identity,
    following: Following,
    /// By id.
    bindings: BTreeMap<String, Binding>,
    /// By id.
    tasks: BTreeMap<String, Task>,
    records: Records,
    worker: KnownWorker,
    beside: Beside,
    runs: Runs,
    modules_dir: Option<PathBuf>,
    slates_dir: Option<PathBuf>,
    keeping: Option<Keeping>,
    fixed: FixedStreams,
    shared: Arc<Shared>,
}

/// A way to give a node other streams of its configuration while it runs.
#[derive(Clone, Debug, Default)]
pub struct FixedStreams(Arc<Fixed>);

#[derive(Debug, Default)]
struct Fixed {
    streams: Mutex<Option<Vec<Stream>>>,
    changed: Notify,
}

impl FixedStreams {
    /// In force at once where the agent keeps its state, whether control is there or not. Else control is in this process, and is to be told
    /// of them, too: then with what it says next.
    pub fn change(&self, streams: Vec<Stream>) {
        *lock(&self.0.streams) = Some(streams);
        self.0.changed.notify_one();
    }
}

/// What the loop and the reporter both know.
#[derive(Debug, Default)]
pub(super) struct Shared {
    in_force: Mutex<InForce>,
    outcomes: Mutex<Vec<Outcome>>,
    pub(super) numbers: Arc<Numbers>,
    pub(super) modules: Modules,
    pub(super) slates: Slates,
    pub(super) tls: OfControl,
    /// How streams play.
    players: SharedPlayers,
    /// There is something to report.
    pub(super) wake: Notify,
}

/// The state that shards decide by.
#[derive(Clone, Debug, Default)]
pub(super) struct InForce {
    pub(super) version: Option<Version>,
    /// The store that is followed.
    pub(super) store: String,
    pub(super) warnings: Vec<String>,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // Every change under these locks is one step.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Shared {
    pub(super) fn in_force(&self) -> InForce {
        lock(&self.in_force).clone()
    }

    pub(super) fn outcomes(&self) -> Vec<Outcome> {
        std::mem::take(&mut *lock(&self.outcomes))
    }

    fn done(&self, outcome: Outcome) {
        let mut outcomes = lock(&self.outcomes);
        // Control has given up on those long since when it comes to this.
        if outcomes.len() < OUTCOMES_KEPT_MAX {
            outcomes.push(outcome);
        }
        self.wake.notify_one();
    }
}

/// The state on disk.
struct Keeping {
    path: PathBuf,
    state: Arc<Mutex<Whole>>,
    changed: Arc<Notify>,
}

impl Agent {
    /// For an engine that decides by `directory` now.
    pub fn new(control: Control, engine: Remote, directory: Directory, identity: Identity) -> Self {
        Self::counting(control, engine, directory, identity, Arc::default())
    }

    /// The same, counting what is said to control.
    pub fn counting(
        control: Control,
        engine: Remote,
        directory: Directory,
        identity: Identity,
        numbers: Arc<Numbers>,
    ) -> Self {
        let (bindings, shared) = (BTreeMap::new(), Arc::new(Shared { numbers, ..Shared::default() }));
        Self {
            control,
            engine,
            directory,
            identity,
            following: Following::default(),
            bindings,
            tasks: BTreeMap::new(),
            records: Records::default(),
            worker: KnownWorker::default(),
            beside: Beside::default(),
            runs: Runs::default(),
            modules_dir: None,
            slates_dir: None,
            keeping: None,
            fixed: FixedStreams::default(),
            shared,
        }
    }

    /// The streams of the configuration, to be changed.
    pub fn fixed_streams(&self) -> FixedStreams {
        self.fixed.clone()
    }

    /// Keeps the state there, and the modules of hooks and slates in `hooks` and `slates` beside it. `state` is what was found there, where the engine's
    /// directory holds it already.
    pub fn keep_at(mut self, path: PathBuf, state: Option<State>) -> Self {
        // Where it has not all that this release knows, control is asked for all of it.
        let whole = state.as_ref().filter(|state| is_whole(state));
        lock(&self.shared.in_force).version = whole.map(|state| state.version);
        if let Some(state) = &state {
            self.following = Following::from_kept(state, is_whole(state));
            lock(&self.shared.in_force).store.clone_from(&state.store);
        }
        if let Some(state) = whole {
            rebind(&mut self.bindings, &update_of(state));
            reassign(&mut self.tasks, &update_of(state));
        }
        if let Some(state) = &state {
            self.shared.slates.take_in(&update_of(state), |key| self.engine.has_slate(key));
        }
        self.slates_dir = Some(path.with_file_name("slates"));
        self.modules_dir = Some(path.with_file_name("hooks"));
        let state = Arc::new(Mutex::new(state.map(Whole::of).unwrap_or_default()));
        self.keeping = Some(Keeping { path, state, changed: Arc::default() });
        self
    }

    /// Bindings of hooks are in force by this.
    pub fn run_hooks(mut self, runner: Arc<dyn Runner>) -> Self {
        self.runs = Runs(Some(runner));
        self
    }

    /// Recordings are made and removed by this.
    pub fn run_recordings(mut self, records: Arc<dyn super::recordings::Recordings>) -> Self {
        self.records = Records(Some(records));
        self
    }

    /// Streams are pushed on by whoever this asks.
    pub fn beside(mut self, adds: Vec<AddToLive>) -> Self {
        self.beside = Beside(adds);
        self
    }

    /// Renditions are made, and motion is looked for, by this.
    pub fn run_worker(mut self, worker: Arc<dyn Worker>) -> Self {
        self.worker = KnownWorker(Some(worker));
        self
    }

    /// Control's certificate is taken by this.
    pub fn take_certificates(self, host: Arc<dyn TlsHost>) -> Self {
        self.shared.tls.is_taken_by(host);
        self
    }

    /// Follows whichever store control has, once: an operator has said that it may be another one than before.
    pub fn accept_any_store(mut self) -> Self {
        self.following.accept_any();
        self
    }

    /// Runs until it is told to stop (`true`), and then tells control what has happened up to there.
    pub async fn run(mut self, mut stop: watch::Receiver<bool>) {
        let beside = (self.runs.clone(), self.records.clone(), self.beside.clone(), self.worker.clone());
        let (control, engine, shared) = (self.control.clone(), self.engine.clone(), Arc::clone(&self.shared));
        let reporter = Reporter::new(control, engine, shared, self.identity.clone(), beside);
        let reporting = tokio::spawn(reporter.run(stop.clone()));
        let (players, numbers) = (self.shared.players.clone(), Arc::clone(&self.shared.numbers));
        let listening = tokio::spawn(players::follow(self.engine.clone(), players, numbers, stop.clone()));
        let keeping = self.keeping.as_ref().map(|keeping| {
            let (path, state, changed) =
                (keeping.path.clone(), Arc::clone(&keeping.state), Arc::clone(&keeping.changed));
            tokio::spawn(keep(path, state, changed, Arc::clone(&self.shared)))
        });
        let (control, dir, shared) = (self.control.clone(), self.modules_dir.clone(), Arc::clone(&self.shared));
        let seed = self.identity.node.run;
        // What is on disk was kept by the run before.
        shared.modules.kept(self.bindings.values());
        // A node that keeps no state has heard nothing yet: what its process began with goes on.
        if self.keeping.is_some() {
            shared.modules.want(self.bindings.values());
        }
        self.records.take_up(&self.identity.node.name, &self.tasks);
        let runs = self.runs.clone();
        let bringing = tokio::spawn(async move { shared.modules.bring(&control, dir, seed, (&shared, &runs)).await });
        let (control, engine) = (self.control.clone(), self.engine.clone());
        let (dir, shared) = (self.slates_dir.clone(), Arc::clone(&self.shared));
        let showing = tokio::spawn(async move { shared.slates.bring(&control, &engine, dir, seed, &shared).await });
        let (control, shared) = (self.control.clone(), Arc::clone(&self.shared));
        let certifying = tokio::spawn(async move {
            let tls = &shared.tls;
            tokio::join!(tls.bring(&control, seed, &shared.wake), tls.show())
        });
        tokio::select! {
            () = self.follow() => {}
            _ = stop.wait_for(|stop| *stop) => {}
        }
        bringing.abort();
        showing.abort();
        certifying.abort();
        if let Some(keeping) = keeping {
            keeping.abort();
        }
        // A defect in it has been printed.
        drop(reporting.await);
        drop(listening.await);
    }

    async fn follow(&mut self) {
        let (least, most) = RETRY;
        let mut backoff = Backoff::new(least, most, self.identity.node.run);
        let orders = Arc::new(Semaphore::new(ORDERS_AT_ONCE_MAX));
        let control = self.control.clone();
        let (mut away, mut strange) = (false, false);
        loop {
            // The first answer after control was away is wanted at once: it tells that control is back.
            let wait_ms = if away { 0 } else { POLL_WAIT_MS };
            let mut poll = self.following.poll(&self.identity.node, wait_ms);
            self.shared.tls.say(&mut poll);
            let answered = self.meanwhile(control.poll(&poll)).await;
            let numbers = &self.shared.numbers;
            Count::of(&answered, &numbers.polls, &numbers.polls_failed);
            match answered {
                Ok(push) => {
                    numbers.control_heard.now();
                    if std::mem::replace(&mut away, false) {
                        tracing::info!("control is back");
                    }
                    backoff.reset();
                    if !understands(push.protocol) && !std::mem::replace(&mut strange, true) {
                        let (theirs, ours) = (push.protocol, PROTOCOL);
                        tracing::warn!(
                            theirs,
                            ours,
                            "control is more than one release apart: what is understood of it is done; upgrade the older of the two"
                        );
                    }
                    self.handle(push, &orders).await;
                }
                Err(error) => {
                    if !std::mem::replace(&mut away, true) {
                        let streams = self.directory.records().len();
                        tracing::warn!(%error, streams, "control is away: going on with the streams that are known, and trying again");
                    }
                    self.meanwhile(sleep(backoff.next_wait())).await;
                }
            }
        }
    }

    /// Waits for this, and takes other streams of the configuration when they come.
    async fn meanwhile<T>(&mut self, waiting: impl Future<Output = T>) -> T {
        let fixed = self.fixed.clone();
        let mut waiting = pin!(waiting);
        loop {
            tokio::select! {
                done = &mut waiting => return done,
                () = fixed.0.changed.notified() => self.change_fixed().await,
            }
        }
    }

    /// Puts control's state, as it is kept, over other streams of the configuration.
    async fn change_fixed(&mut self) {
        let Some(keeping) = &self.keeping else { return };
        let state = lock(&keeping.state).state();
        let Some(fixed) = lock(&self.fixed.0.streams).take() else { return };
        let Updated { directory, changed, warnings } = Directory::new(&fixed).updated(&update_of(&state));
        if self.apply(&directory, &changed).await {
            tracing::debug!(
                fixed = fixed.len(),
                warnings = warnings.len(),
                "other streams of the configuration are in force"
            );
            self.directory = directory;
        }
    }

    /// Brings a directory to every shard; false: they end.
    async fn apply(&self, directory: &Directory, changed: &Changed) -> bool {
        let mut said = false;
        loop {
            match timeout(APPLY_WAIT, self.engine.apply(directory, changed)).await {
                Ok(Ok(())) => return true,
                // Its shards end one after the other.
                _ if self.engine.is_draining() => return false,
                _ => {
                    if !std::mem::replace(&mut said, true) {
                        tracing::warn!("not every shard has adopted the new state yet; trying again");
                    }
                    sleep(Duration::from_millis(100)).await;
                }
            }
        }
    }

    async fn handle(&mut self, push: Push, at_once: &Arc<Semaphore>) {
        if let Some(update) = push.update {
            self.bring_into_force(update).await;
        }
        for command in push.commands {
            let Ok(permit) = Arc::clone(at_once).try_acquire_owned() else {
                let reason = "the node has too much to do; try again in a moment".to_owned();
                let answer = millstream_control_protocol::exchange::Answer::Failed { reason };
                self.shared.done(Outcome { number: command.number, answer });
                continue;
            };
            let (engine, shared) = (self.engine.clone(), Arc::clone(&self.shared));
            let (control, runs) = (self.control.clone(), self.runs.clone());
            let (records, beside, players) = (self.records.clone(), self.beside.clone(), self.shared.players.clone());
            tokio::spawn(async move {
                let answer =
                    orders::carry_out(&engine, (&control, &runs), (&records, &beside, &players), &command.what).await;
                shared.done(Outcome { number: command.number, answer });
                drop(permit);
            });
        }
        // Last: it may wait.
        if let Some(told) = push.tls {
            self.shared.tls.take_in(told, self.following.refuses()).await;
        }
    }

    async fn bring_into_force(&mut self, update: Update) {
        if lock(&self.fixed.0.streams).is_some() && update.from.is_some() {
            // Streams that those of the configuration stood before are not here: everything is asked for, at once.
            lock(&self.shared.in_force).version = None;
            self.following.forget();
            return;
        }
        let refused = self.following.refuses();
        match self.following.judge(&update) {
            Judgement::Take => {}
            Judgement::Gap => {
                tracing::warn!("control sent a change of another state than this node has; asking for all of it");
                lock(&self.shared.in_force).version = None;
                return;
            }
            Judgement::OtherStore => {
                if !refused {
                    let streams = self.directory.records().len();
                    tracing::error!(streams, told = update.streams.len(), "{OTHER_STORE}");
                    self.shared.numbers.other_store(true);
                    let mut in_force = lock(&self.shared.in_force);
                    in_force.warnings.retain(|warning| warning != OTHER_STORE);
                    in_force.warnings.insert(0, OTHER_STORE.to_owned());
                    self.shared.wake.notify_one();
                }
                return;
            }
        }
        if let Some(fixed) = lock(&self.fixed.0.streams).take() {
            self.directory = Directory::new(&fixed);
        }
        let mut updated = self.directory.updated(&update);
        let same_key = self.identity.key_check == update.key_check;
        if !same_key && !self.identity.key_check.is_empty() && !update.key_check.is_empty() {
            let warning = "this node's master key is not control's: signatures that control makes are refused here; copy \
                             control's master-key file to this node's data directory, and restart it";
            if !lock(&self.shared.in_force).warnings.iter().any(|known| known == warning) {
                tracing::error!("{warning}");
            }
            updated.warnings.insert(0, warning.to_owned());
        }
        for warning in &updated.warnings {
            tracing::debug!(warning, "a part of control's state is not taken");
        }
        if !self.apply(&updated.directory, &updated.changed).await {
            return;
        }
        rebind(&mut self.bindings, &update);
        reassign(&mut self.tasks, &update);
        self.records.take_up(&self.identity.node.name, &self.tasks);
        self.shared.modules.want(self.bindings.values());
        self.shared.slates.take_in(&update, |key| self.engine.has_slate(key));
        if let Some(keeping) = &self.keeping {
            lock(&keeping.state).take_in(&update);
            keeping.changed.notify_one();
        }
        let (streams, warnings) = (updated.directory.records().len(), updated.warnings.len());
        if update.from.is_none() {
            tracing::info!(streams, bindings = self.bindings.len(), warnings, "control's state is in force");
        }
        // The last one to hold the directory before frees it: that is here, and not in a shard.
        self.directory = updated.directory;
        self.following.taken(&update);
        self.shared.numbers.other_store(false);
        self.shared.numbers.state_changed.now();
        *lock(&self.shared.in_force) = InForce {
            version: Some(update.version),
            store: self.following.store().to_owned(),
            warnings: updated.warnings,
        };
    }
}

/// Writes the state when it has changed.
async fn keep(path: PathBuf, state: Arc<Mutex<Whole>>, changed: Arc<Notify>, shared: Arc<Shared>) {
    let mut failing = false;
    loop {
        changed.notified().await;
        let (path, state) = (path.clone(), Arc::clone(&state));
        let saved = tokio::task::spawn_blocking(move || {
            let state = lock(&state).state();
            kept::save(&path, &state).map(|()| state.bindings.unwrap_or_default())
        });
        match saved.await {
            Ok(Ok(bindings)) => {
                failing = false;
                shared.modules.kept(bindings.iter());
            }
            Ok(Err(error)) => {
                if !std::mem::replace(&mut failing, true) {
                    let advice = "a restart while control is away would go back to what was kept before";
                    tracing::error!(%error, "cannot keep control's state on disk: {advice}");
                }
                changed.notify_one();
            }
            // The runtime is ending.
            Err(_) => return,
        }
        sleep(KEEP_EVERY).await;
    }
}
