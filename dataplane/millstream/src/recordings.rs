//! Recordings of this node: the recorder follows streams whose records ask for it, a store keeps what it has recorded, and viewers get it from there.
//! Before it: the `[record]` table ([`crate::settings::record`]); after it: the engine, which is given a follower for each stream and whom to ask for
//! recorded files.
mod aging;
mod cutting;
mod past;
mod playback;
mod removing;
mod storing;
mod storyboard;
pub(crate) mod tasks;

use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use anyhow::Context as _;
use millstream_api::clock::Clock;
use millstream_control_protocol::event::{Event, What};
use millstream_engine::Remote;
use millstream_engine::config::Config;
use millstream_engine::subscribers::SubscriberMaker;
use millstream_objects::{FileStore, Location, ObjectStore};
#[cfg(feature = "s3")]
use millstream_objects::{S3Options, S3Store};
use millstream_proto::id::Id;
use millstream_recorder::recorder::{self, EventKind};
use millstream_recorder::recording::record::Reason;
use millstream_recorder::run::{self, Handle, Threads, metrics};
use millstream_recorder::settings::{Settings, StreamSettings};
use millstream_transcoder::Workers;
use nix::sys::statvfs::statvfs;
use tokio::runtime::Runtime;
use tokio::sync::mpsc::Receiver;

use self::playback::Playback;
pub(crate) use self::storing::Storing;
use self::storyboard::{Adding, Target};
use self::tasks::Tasks;
use crate::settings::record::{Deliver, RecordSettings};

/// Where what is not stored yet waits, in the data directory.
const SPOOL: &str = "spool";
/// What the spool may take where nothing is said: this, or a tenth of its disk.
const SPOOL_MAX_BYTES: u64 = 20 << 30;

/// The running recorder, and what it has recorded.
pub(crate) struct Recordings {
    handle: Handle,
    threads: Threads,
    /// What talks to the store for it, at a lower priority than the rest.
    uploads: Runtime,
    events: Receiver<recorder::Event>,
    store: Arc<dyn ObjectStore>,
    /// Where that is, for people.
    place: String,
    /// Where clips are made.
    clips_dir: PathBuf,
    /// Between what is added to a stored recording, and its removal.
    adding: Adding,
    deliver: Deliver,
    engine: Arc<OnceLock<Remote>>,
}

impl Recordings {
    /// Starts the recorder. What a crash left in the spool goes on.
    pub(crate) fn start(
        data_dir: &Path,
        settings: &RecordSettings,
        publisher_wait: Duration,
        runtime: &Runtime,
    ) -> anyhow::Result<Self> {
        if let Location::File { dir } = &settings.store {
            let directory = data_dir.join(dir);
            std::fs::create_dir_all(&directory)
                .with_context(|| format!("cannot make the directory {} for recordings", directory.display()))?;
        }
        let store = runtime.block_on(open(data_dir, &settings.store))?;
        let place = place(data_dir, &settings.store);
        let spool = data_dir.join(SPOOL);
        std::fs::create_dir_all(&spool).with_context(|| format!("cannot make the directory {}", spool.display()))?;
        let spool_max_bytes = settings.spool_max_bytes.unwrap_or_else(|| usual_spool_max(&spool));
        let deliver = settings.deliver;
        let settings = Settings { spool_max_bytes, publisher_wait, ..Settings::default() };
        let storing = Arc::new(Storing(Arc::clone(&store)));
        let uploads = run::background::runtime().context("cannot start the runtime of uploads")?;
        let started = run::start(&spool, settings, storing, uploads.handle().clone(), runtime.handle().clone());
        let (handle, threads, events) = started.context("recording is not possible")?;
        let (probed, recorder) = (Arc::clone(&store), handle.clone());
        runtime.spawn(async move {
            match probed.probe().await {
                Ok(probe) => probe.warnings.iter().for_each(|warning| tracing::warn!("recordings: {warning}")),
                // Uploads may have found the same: the recorder tells it once.
                Err(error) => recorder.store_unusable(error.to_string()),
            }
        });
        let clips_dir = data_dir.join(cutting::DIRECTORY);
        Ok(Self {
            handle,
            threads,
            uploads,
            events,
            store,
            place,
            clips_dir,
            adding: Adding::default(),
            deliver,
            engine: Arc::default(),
        })
    }

    /// The configuration of an engine whose streams it follows, and whose viewers get what it has.
    pub(crate) fn config(&self, config: Config, runtime: &Runtime) -> Config {
        let handle = self.handle.clone();
        let make = move |id: &Id, settings: &millstream_engine::directory::Settings| {
            let usual = StreamSettings::default();
            let settings = StreamSettings {
                is_on_demand: settings.on_demand_s.is_some(),
                ondemand_time_s: settings.on_demand_s.unwrap_or(usual.ondemand_time_s),
                is_video: settings.video_s.is_some(),
                video_time_s: settings.video_s.unwrap_or(usual.video_time_s),
                retention_days: settings.retention_days,
                dvr_window_s: settings.dvr_window_s.unwrap_or(usual.dvr_window_s),
            };
            let follower = settings.is_recorded().then(|| handle.follower(id, settings));
            follower.into_iter().collect()
        };
        let maker = SubscriberMaker::new(make, |before, after| {
            (before.on_demand_s, before.video_s) != (after.on_demand_s, after.video_s)
        });
        let subscribers = config.subscribers.clone().and(maker);
        let mut config = Config { subscribers, ..config };
        config.recorded.files = Some(Arc::new(Playback {
            store: Arc::clone(&self.store),
            runtime: runtime.handle().clone(),
            recorder: self.handle.clone(),
            redirects: self.deliver == Deliver::Redirect,
        }));
        config
    }

    /// Where what is recorded is kept.
    pub(crate) fn store(&self) -> Arc<dyn ObjectStore> {
        Arc::clone(&self.store)
    }

    /// The engine that it is told to tell ([`Self::tell`]); there once that runs.
    pub(crate) fn engine(&self) -> Arc<OnceLock<Remote>> {
        Arc::clone(&self.engine)
    }

    /// Its numbers as text, for as long as the process runs.
    pub(crate) fn numbers(&self) -> impl Fn() -> String + Send + Sync + 'static {
        let handle = self.handle.clone();
        move || metrics::text(&handle.snapshot())
    }

    /// Who does what control wants done about recordings.
    pub(crate) fn tasks(&self, runtime: &Runtime) -> Tasks {
        let (store, place, clips_dir) = (Arc::clone(&self.store), self.place.clone(), self.clips_dir.clone());
        Tasks::new(self.handle.clone(), store, (place, clips_dir), Arc::clone(&self.adding), runtime.handle().clone())
    }

    /// From here on control hears what happens to recordings, and those that are stored get a storyboard, where there is a worker to make it.
    pub(crate) fn tell(self, remote: Remote, workers: Option<Workers>, runtime: &Runtime) -> Running {
        let (mut events, place) = (self.events, self.place);
        // Nobody else sets it.
        let _ = self.engine.set(remote.clone());
        let (store, engine) = (Arc::clone(&self.store), remote.clone());
        runtime.spawn(aging::run(store, Clock::system(), move || {
            let engine = engine.clone();
            async move { engine.retained().await.unwrap_or_default() }
        }));
        let storyboards = workers.map(|workers| {
            let target = Target { store: self.store, adding: self.adding };
            storyboard::start(target, workers, remote.clone(), runtime)
        });
        runtime.spawn(async move {
            while let Some(event) = events.recv().await {
                if let EventKind::RecordingFailed { why } = &event.kind {
                    tracing::error!(stream = event.stream, recording = event.recording, why, "recording failed");
                }
                let stored = matches!(event.kind, EventKind::RecordingStored { .. }).then(|| storyboard::Stored {
                    stream: event.stream.clone(),
                    recording: event.recording.clone().unwrap_or_default(),
                });
                remote.tell(told(event, &place));
                if let (Some(stored), Some(storyboards)) = (stored, &storyboards)
                    && storyboards.try_send(stored).is_err()
                {
                    tracing::warn!("a recording has no storyboard: too many wait for theirs");
                }
            }
        });
        Running { handle: self.handle, threads: self.threads, uploads: self.uploads }
    }
}

/// The recorder, to be ended behind the engine.
pub(crate) struct Running {
    handle: Handle,
    threads: Threads,
    uploads: Runtime,
}

impl Running {
    /// Writes what is there. What is not stored yet is at the next start.
    pub(crate) fn stop(self) {
        self.handle.stop();
        self.threads.join();
        // What is under way is tried again at the next start.
        self.uploads.shutdown_background();
    }
}

/// The store at this place. A directory that is not there is not made.
#[cfg_attr(not(feature = "s3"), allow(clippy::unused_async))]
pub(crate) async fn open(data_dir: &Path, location: &Location) -> anyhow::Result<Arc<dyn ObjectStore>> {
    match location {
        Location::File { dir } => Ok(Arc::new(FileStore::new(data_dir.join(dir)))),
        #[cfg(feature = "s3")]
        Location::S3(bucket) => {
            let opened = S3Store::open(bucket.clone(), S3Options::default());
            Ok(Arc::new(opened.await.with_context(|| format!("cannot use {location}"))?))
        }
        other => anyhow::bail!("this build cannot keep recordings at {other}"),
    }
}

/// A store as it is told: that of a directory by its whole path.
pub(crate) fn place(data_dir: &Path, location: &Location) -> String {
    match location {
        Location::File { dir } => {
            let directory = data_dir.join(dir);
            format!("file:{}", directory.canonicalize().unwrap_or(directory).display())
        }
        other => other.to_string(),
    }
}

/// A tenth of the disk, and no more than [`SPOOL_MAX_BYTES`].
fn usual_spool_max(spool: &Path) -> u64 {
    let disk = statvfs(spool).map(|disk| disk.blocks().saturating_mul(disk.fragment_size()));
    disk.map_or(SPOOL_MAX_BYTES, |bytes| (bytes / 10).min(SPOOL_MAX_BYTES))
}

/// Why a recording has a gap, and what to do.
fn why(reason: Reason) -> &'static str {
    match reason {
        Reason::SpoolFull => {
            "the spool holds as much as record.spool_max says: the store does not take what is recorded quickly enough, or not at all"
        }
        Reason::DiskFull => {
            "the disk of the data directory is full, or as good as: 64 MiB of it are left to others; make room on it"
        }
        Reason::DiskError => "the disk of the data directory fails: the server's log says how",
        Reason::QueueFull => "the disk of the data directory is too slow for what is recorded",
        _ => "the server has stopped recording it",
    }
}

fn told(event: recorder::Event, place: &str) -> Event {
    let recording = event.recording.unwrap_or_default();
    let what = match event.kind {
        EventKind::RecordingStarted => What::RecordingStarted { recording, store: place.to_owned() },
        EventKind::RecordingPaused { reason } => What::RecordingPaused { recording, why: why(reason).to_owned() },
        EventKind::RecordingResumed => What::RecordingResumed { recording },
        EventKind::RecordingWaits { why } => What::RecordingWaits { recording, why },
        EventKind::RecordingStored { duration_ms, bytes } => What::RecordingStored { recording, duration_ms, bytes },
        EventKind::RecordingFile { path, from_unix_ms, duration_ms, bytes } => {
            What::RecordingFile { recording, path, from_unix_ms, duration_ms, bytes }
        }
        EventKind::RecordingFailed { why } => What::RecordingFailed { recording, why },
        _ => What::Unknown,
    };
    Event { at_unix_ms: event.unix_ms, stream: event.stream, what, ..Event::default() }
}
