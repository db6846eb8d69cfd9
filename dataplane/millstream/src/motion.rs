//! Motion in streams whose records ask for it (`isMotion`): events, pictures and films of it. Before it: the engine, which offers streams; after it: a
//! worker, which looks at their pictures, the store that recordings are in, and control, which is told.
//!
//! Reading order: this file (which streams are watched), [`stream`] (what becomes of what is seen of one), [`keep`] (pictures and films in the store).
//!
//! Invariants: a shard never waits for any of it; what is held of streams for films is bounded in all; an event that begins ends, also where the worker
//! dies or the stream does.
mod keep;
mod stream;

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;

use millstream_agent::beside::AddToLive;
use millstream_control_protocol::event::{Event, What};
use millstream_control_protocol::live;
use millstream_engine::Remote;
use millstream_engine::config::Config;
use millstream_engine::directory::Motion;
use millstream_engine::subscribers::SubscriberMaker;
use millstream_hub::subscriber::{ClosedSegment, Follows, NextSegment, Progress, SegmentCursor, Subscriber, View};
use millstream_objects::ObjectStore;
use millstream_proto::id::Id;
use millstream_transcoder::{MotionSettings, Watching, Workers};
use tokio::runtime::{Handle, Runtime};
use tokio::sync::mpsc::{Sender, channel};
use tokio::sync::watch;
use tokio::time::timeout;

use crate::own_metrics;

/// Segments on their way from a shard: they come every second or two, of two tracks.
const SEGMENTS_WAITING: usize = 32;
/// What is seen of a stream, on its way: a word a second at most.
const SEEN_WAITING: usize = 16;

/// When the server ends, what was seen is brought to its end within this time.
const FINISH_WAIT: Duration = Duration::from_secs(8);

/// Who has streams watched. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Motions(Arc<Shared>);

/// What the watched streams share.
struct Shared {
    workers: Workers,
    store: Arc<dyn ObjectStore>,
    runtime: Handle,
    keyframes_only: bool,
    engine: OnceLock<Remote>,
    /// How each stream does that is watched, by the task of it with the highest number.
    streams: Mutex<BTreeMap<String, (u64, live::Motion)>>,
    /// Bytes that are held for films of all streams.
    held: Arc<AtomicUsize>,
    /// Streams that are watched, and films on their way to the store.
    at_work: watch::Sender<usize>,
    numbers: Numbers,
}

/// One of those, until it is dropped.
struct OneAtWork(Arc<Shared>);

impl OneAtWork {
    fn of(shared: &Arc<Shared>) -> Self {
        shared.at_work.send_modify(|count| *count += 1);
        Self(Arc::clone(shared))
    }
}

impl Drop for OneAtWork {
    fn drop(&mut self) {
        self.0.at_work.send_modify(|count| *count -= 1);
    }
}

#[derive(Default)]
struct Numbers {
    /// Of streams that were watched, one after the other.
    tasks: AtomicU64,
    events: AtomicU64,
    pictures: Stored,
    films: Stored,
}

/// What was stored, and what could not be.
#[derive(Default)]
struct Stored {
    stored: AtomicU64,
    failed: AtomicU64,
}

impl Stored {
    fn count(&self, is_stored: bool) {
        let counter = if is_stored { &self.stored } else { &self.failed };
        counter.fetch_add(1, Ordering::Relaxed);
    }
}

/// The configuration of an engine whose streams are watched, where there is a worker to do it; and who has it done.
pub(crate) fn watched(
    config: Config,
    workers: Option<Workers>,
    store: Arc<dyn ObjectStore>,
    keyframes_only: bool,
    runtime: &Runtime,
) -> (Config, Option<Motions>) {
    let Some(workers) = workers else { return (config, None) };
    let motions = Motions(Arc::new(Shared {
        workers,
        store,
        runtime: runtime.handle().clone(),
        keyframes_only,
        engine: OnceLock::new(),
        streams: Mutex::default(),
        held: Arc::default(),
        at_work: watch::Sender::new(0),
        numbers: Numbers::default(),
    }));
    let counted = motions.clone();
    own_metrics::and(move || counted.numbers());
    let made = motions.clone();
    let maker = SubscriberMaker::new(
        move |id, settings| {
            let follower = settings.motion.map(|motion| made.follower(id, motion));
            follower.into_iter().map(|follower| Box::new(follower) as Box<dyn Subscriber>).collect()
        },
        |before, after| before.motion != after.motion,
    );
    let subscribers = config.subscribers.clone().and(maker);
    (Config { subscribers, ..config }, Some(motions))
}

impl Motions {
    /// From here on control hears of motion.
    pub(crate) fn tell_to(&self, engine: Remote) {
        let _ = self.0.engine.set(engine);
    }

    /// The engine is over: waits until what was seen is told, and films under way are stored or given up.
    pub(crate) fn finish(&self, runtime: &Runtime) {
        let mut at_work = self.0.at_work.subscribe();
        let done =
            runtime.block_on(async { timeout(FINISH_WAIT, at_work.wait_for(|count| *count == 0)).await.map(|_| ()) });
        if done.is_err() {
            tracing::warn!(
                "not all pictures and films of motion are stored: the store takes too long, and the server ends"
            );
        }
    }

    /// Adds to what is told of a stream how it is watched.
    pub(crate) fn beside(&self) -> AddToLive {
        let shared = Arc::clone(&self.0);
        Arc::new(move |live: &mut live::Live| {
            live.motion = shared.streams().get(&live.id).map(|(_, motion)| motion.clone());
        })
    }

    fn follower(&self, id: &Id, motion: Motion) -> Follower {
        let (shared, id) = (Arc::clone(&self.0), id.clone());
        Follower { shared, id, motion, cursor: SegmentCursor::new(), is_packaged: false, at_work: None }
    }

    fn numbers(&self) -> String {
        let Numbers { events, pictures, films, .. } = &self.0.numbers;
        let get = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        format!(
            "# HELP millstream_motion_events Times that something began to move in a stream's picture.\n\
             # TYPE millstream_motion_events counter\n\
             millstream_motion_events_total {}\n\
             # HELP millstream_motion_files Pictures and films of motion that were stored, or were to be and are not.\n\
             # TYPE millstream_motion_files counter\n\
             millstream_motion_files_total{{kind=\"picture\",result=\"stored\"}} {}\n\
             millstream_motion_files_total{{kind=\"picture\",result=\"failed\"}} {}\n\
             millstream_motion_files_total{{kind=\"film\",result=\"stored\"}} {}\n\
             millstream_motion_files_total{{kind=\"film\",result=\"failed\"}} {}\n\
             # HELP millstream_motion_held_bytes Segments that are held in memory for films of motion.\n\
             # TYPE millstream_motion_held_bytes gauge\n\
             millstream_motion_held_bytes {}\n",
            get(events),
            get(&pictures.stored),
            get(&pictures.failed),
            get(&films.stored),
            get(&films.failed),
            self.0.held.load(Ordering::Relaxed),
        )
    }
}

impl Shared {
    fn streams(&self) -> MutexGuard<'_, BTreeMap<String, (u64, live::Motion)>> {
        self.streams.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Tells control, once there is somebody to tell it by.
    fn tell(&self, stream: &Id, at_unix_ms: u64, what: What) {
        if let Some(engine) = self.engine.get() {
            engine.tell(Event { at_unix_ms, stream: stream.to_string(), what, ..Event::default() });
        }
    }
}

/// What goes from a shard to the task of a stream.
enum Feed {
    /// A session of playlists begins.
    Began,
    Segment(Box<ClosedSegment>),
}

/// The end on the stream's shard.
struct Follower {
    shared: Arc<Shared>,
    id: Id,
    motion: Motion,
    cursor: SegmentCursor,
    is_packaged: bool,
    at_work: Option<AtWork>,
}

/// Of a stream that is on air.
struct AtWork {
    segments: Sender<Feed>,
    /// `None`: as many are watched as can be. Dropped, the stream is no longer watched.
    _watching: Option<Watching>,
}

impl Subscriber for Follower {
    fn follows(&self) -> Follows {
        Follows::Segments
    }

    fn advance(&mut self, stream: View<'_>) -> Progress {
        if self.at_work.is_none() && stream.log.is_open() && stream.log.ended().is_none() {
            self.at_work = Some(self.begin());
        }
        loop {
            // Those of a stream that is packaged already come all at once.
            if self.at_work.as_ref().is_some_and(|at_work| at_work.segments.capacity() == 0) {
                return Progress::Behind;
            }
            let feed = match self.cursor.next(stream.window) {
                NextSegment::Began(_) => {
                    self.is_packaged = true;
                    Feed::Began
                }
                NextSegment::Segment(segment) => Feed::Segment(Box::new(segment)),
                // A hole in the film.
                NextSegment::Lost(..) => continue,
                NextSegment::Wait => break,
                NextSegment::Ended => return Progress::Done,
            };
            // Who does not take it has a hole in the film.
            if let Some(at_work) = &self.at_work {
                let _ = at_work.segments.try_send(feed);
            }
        }
        // A stream that was never packaged has no last segment.
        if stream.log.ended().is_some() && !self.is_packaged {
            return Progress::Done;
        }
        Progress::CaughtUp
    }
}

impl Follower {
    fn begin(&self) -> AtWork {
        let Motion { percent, diff, duration_s, timeout_s, zones } = self.motion;
        let settings = MotionSettings {
            percent,
            diff,
            duration_ms: duration_s.saturating_mul(1_000),
            timeout_ms: timeout_s.saturating_mul(1_000),
            every_ms: MotionSettings::EVERY_MS,
            keyframes_only: self.shared.keyframes_only,
            zones,
        };
        let ((segments, segments_taken), (seen, seen_taken)) = (channel(SEGMENTS_WAITING), channel(SEEN_WAITING));
        let watching = self.shared.workers.watch(&self.id, settings, seen);
        if watching.is_none() {
            tracing::warn!(stream = %self.id, "motion is not looked for: as many streams are watched as a worker takes");
        }
        let of_stream = stream::Stream::new(
            Arc::clone(&self.shared),
            self.id.clone(),
            Duration::from_secs(timeout_s.into()),
            watching.is_some(),
        );
        let at_work = OneAtWork::of(&self.shared);
        self.shared.runtime.spawn(async move {
            of_stream.run(segments_taken, seen_taken).await;
            drop(at_work);
        });
        AtWork { segments, _watching: watching }
    }
}
