//! All nodes, and the state that they are to have, which control changes. Before it: control's API; after it: [`crate::polled`] (nodes hear of the state) and
//! [`crate::asked`] (nodes are asked).
use std::sync::atomic::AtomicU64;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use millstream_control_protocol::state::{Binding, Stream, Version};
use tokio::sync::{Notify, broadcast};
use tokio::time::{Instant, timeout_at};

use crate::certificates::DesiredTls;
use crate::desired_state::DesiredState;
use crate::event_sink::{EventSink, NodeEvent};
use crate::limits::EVENTS_BEHIND_MAX;
use crate::node_registry::NodeRegistry;
use crate::numbers::Numbers;
use crate::replays::Offers;
use crate::shares::Shares;
use crate::time_series::TimeSeries;
use crate::work::Workers;

/// Control's end of the link. Cheap to clone; all clones are one.
#[derive(Clone)]
pub struct Fleet(pub(crate) Arc<Inner>);

pub(crate) struct Inner {
    pub(crate) desired: Mutex<DesiredState>,
    pub(crate) tls: Mutex<DesiredTls>,
    pub(crate) registry: Mutex<NodeRegistry>,
    pub(crate) workers: Mutex<Workers>,
    pub(crate) shares: Mutex<Shares>,
    pub(crate) series: Mutex<TimeSeries>,
    /// Modules that are not kept, while a replay needs them.
    pub(crate) offers: Mutex<Offers>,
    /// There is a newer state. Whoever waits is woken in the order in which they came, which a simulation repeats; a watch channel's waiters
    /// are woken in a random one.
    pub(crate) changed: Notify,
    /// Some node has a newer state in force than before.
    pub(crate) caught_up: Notify,
    /// Some node has told of its tasks.
    pub(crate) task_told: Notify,
    pub(crate) heard: broadcast::Sender<NodeEvent>,
    pub(crate) sink: Box<dyn EventSink>,
    pub(crate) numbers: Arc<Numbers>,
    /// Events of control's own.
    pub(crate) own_events: AtomicU64,
}

impl std::fmt::Debug for Fleet {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Fleet")
            .field("desired", &self.0.desired)
            .field("registry", &self.0.registry)
            .finish_non_exhaustive()
    }
}

pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // What a panic left is whole: every change under these locks is made of steps that do not panic between each other.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Fleet {
    /// A fleet without nodes yet, with these streams. `key_check` is [`millstream_proto::sign::MasterKey`]'s, or empty.
    pub fn new(streams: impl IntoIterator<Item = Stream>, key_check: String, sink: impl EventSink) -> Self {
        Self::counting(streams, key_check, sink, Arc::default())
    }

    /// The same, counting what nodes say.
    pub fn counting(
        streams: impl IntoIterator<Item = Stream>,
        key_check: String,
        sink: impl EventSink,
        numbers: Arc<Numbers>,
    ) -> Self {
        let run = SystemTime::now().duration_since(UNIX_EPOCH).map_or(1, |since| since.as_micros() as u64);
        Self::of_run(run, streams, key_check, sink, numbers)
    }

    /// The same, of a run of control that has this number: another one than every run before it.
    pub fn of_run(
        run: u64,
        streams: impl IntoIterator<Item = Stream>,
        key_check: String,
        sink: impl EventSink,
        numbers: Arc<Numbers>,
    ) -> Self {
        let desired = DesiredState::new(run, key_check, streams);
        Self(Arc::new(Inner {
            desired: Mutex::new(desired),
            tls: Mutex::default(),
            registry: Mutex::default(),
            workers: Mutex::default(),
            shares: Mutex::new(Shares::new(Instant::now())),
            series: Mutex::default(),
            offers: Mutex::default(),
            changed: Notify::new(),
            caught_up: Notify::new(),
            task_told: Notify::new(),
            heard: broadcast::channel(EVENTS_BEHIND_MAX).0,
            sink: Box::new(sink),
            numbers,
            own_events: AtomicU64::new(0),
        }))
    }

    pub(crate) fn change(&self, what: impl FnOnce(&mut DesiredState)) -> Version {
        let (before, version) = {
            let mut desired = lock(&self.0.desired);
            let before = desired.version();
            what(&mut desired);
            (before, desired.version())
        };
        if version != before {
            self.0.changed.notify_waiters();
        }
        version
    }

    /// Says which store the streams are of, and which ones an operator has put it in the place of. To be called before nodes come.
    pub fn is_of(&self, store: String, stands_for: Vec<String>) {
        lock(&self.0.desired).is_of(store, stands_for);
    }

    /// Says which nodes were there before control began, in the order in which they came. To be called before nodes come.
    pub fn came_before(&self, names: Vec<String>) {
        lock(&self.0.registry).came_before(names);
    }

    /// Names of nodes in the order in which they came, for the next run.
    pub fn came(&self) -> Vec<String> {
        lock(&self.0.registry).came()
    }

    /// Creates or changes a stream.
    pub fn put(&self, stream: Stream) -> Version {
        self.change(|desired| desired.put(stream))
    }

    /// What `look` finds at the first stream, in the order of their ids, of which it finds something.
    pub fn find_stream<T>(&self, look: impl FnMut(&Stream) -> Option<T>) -> Option<T> {
        lock(&self.0.desired).find_stream(look)
    }

    /// Takes a stream out: nobody is admitted to it any more. Who is on air goes on; see [`Fleet::kick_stream`].
    pub fn remove(&self, id: &str) -> Version {
        self.change(|desired| desired.remove(id))
    }

    /// These are all streams from here on.
    pub fn replace(&self, streams: impl IntoIterator<Item = Stream>) -> Version {
        self.change(|desired| desired.replace(streams))
    }

    /// Binds a hook, or changes how it is bound.
    pub fn bind(&self, binding: Binding) -> Version {
        self.change(|desired| desired.bind(binding))
    }

    /// Binds all of these in one step: a node has all of them or none.
    pub fn bind_all(&self, bindings: impl IntoIterator<Item = Binding>) -> Version {
        self.change(|desired| bindings.into_iter().for_each(|binding| desired.bind(binding)))
    }

    /// Takes a binding out.
    pub fn unbind(&self, id: &str) -> Version {
        self.change(|desired| desired.unbind(id))
    }

    /// The newest state.
    pub fn version(&self) -> Version {
        lock(&self.0.desired).version()
    }

    /// Waits until every node that is here has this state in force; false: not in this time.
    pub async fn in_force(&self, version: Version, wait: Duration) -> bool {
        let until = Instant::now() + wait;
        loop {
            // Before the look: whatever comes after that ends the wait.
            let caught_up = self.0.caught_up.notified();
            if lock(&self.0.registry).all_have(version) {
                return true;
            }
            if timeout_at(until, caught_up).await.is_err() {
                return false;
            }
        }
    }
}
