//! Pictures that are kept: of streams whose records ask for it (`isImage`), one every so many seconds that they are on air. Before it: the engine, which
//! offers streams; after it: a worker, which takes the picture, the store that recordings are in, and control, which is told of each.
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use millstream_control_protocol::event::{Event, What};
use millstream_engine::Remote;
use millstream_engine::config::Config;
use millstream_engine::subscribers::SubscriberMaker;
use millstream_hub::subscriber::{Follows, Progress, Subscriber, View};
use millstream_objects::{Body, Key, Meta, ObjectStore};
use millstream_proto::id::Id;
use millstream_proto::recorded::{DatedKind, Day, RecordedFile, RecordedPath};
use millstream_transcoder::Workers;
use tokio::runtime::{Handle, Runtime};

use crate::clock::unix_ms;
use crate::own_metrics;

/// Caches may keep a picture so long: it never changes.
const CACHE_CONTROL: &str = "public, max-age=86400";
/// What could not be stored is tried so often.
const TRIES: u32 = 5;
/// And after this long at first.
const TRY_AGAIN: Duration = Duration::from_secs(1);

/// Takes pictures and puts them into the store.
struct Camera {
    workers: Workers,
    store: Arc<dyn ObjectStore>,
    runtime: Handle,
    engine: Arc<OnceLock<Remote>>,
    taken: AtomicU64,
    failed: AtomicU64,
}

/// The configuration of an engine of whose streams pictures are kept. By `engine`, which is there once that runs, control hears of them.
pub(crate) fn photographed(
    config: Config,
    workers: Option<Workers>,
    store: Arc<dyn ObjectStore>,
    engine: Arc<OnceLock<Remote>>,
    runtime: &Runtime,
) -> Config {
    let Some(workers) = workers else { return config };
    let (taken, failed) = (AtomicU64::new(0), AtomicU64::new(0));
    let camera = Arc::new(Camera { workers, store, runtime: runtime.handle().clone(), engine, taken, failed });
    let counted = Arc::clone(&camera);
    own_metrics::and(move || counted.numbers());
    let maker = SubscriberMaker::new(
        move |id, settings| {
            let shutter = settings.image_s.map(|seconds| Shutter {
                camera: Arc::clone(&camera),
                id: id.clone(),
                every: Duration::from_secs(seconds.into()),
                last: None,
                is_taking: Arc::default(),
            });
            shutter.into_iter().map(|shutter| Box::new(shutter) as Box<dyn Subscriber>).collect()
        },
        |before, after| before.image_s != after.image_s,
    );
    let subscribers = config.subscribers.clone().and(maker);
    Config { subscribers, ..config }
}

/// Says when a picture of a stream is due.
struct Shutter {
    camera: Arc<Camera>,
    id: Id,
    every: Duration,
    /// When the last one was asked for.
    last: Option<Instant>,
    is_taking: Arc<AtomicBool>,
}

impl Subscriber for Shutter {
    fn follows(&self) -> Follows {
        Follows::Blocks
    }

    fn advance(&mut self, stream: View<'_>) -> Progress {
        if stream.log.ended().is_some() {
            return Progress::Done;
        }
        let is_due = self.last.is_none_or(|last| last.elapsed() >= self.every);
        // A worker that is slow gets no second request of the same stream.
        if stream.log.is_open() && is_due && !self.is_taking.swap(true, Ordering::AcqRel) {
            self.last = Some(Instant::now());
            let (camera, id, is_taking) = (Arc::clone(&self.camera), self.id.clone(), Arc::clone(&self.is_taking));
            self.camera.runtime.spawn(async move {
                camera.take(&id).await;
                is_taking.store(false, Ordering::Release);
            });
        }
        Progress::CaughtUp
    }
}

impl Camera {
    async fn take(&self, id: &Id) {
        let at_ms = unix_ms();
        let picture = match self.workers.picture(id).await {
            Ok(picture) => picture,
            Err(error) => {
                self.failed.fetch_add(1, Ordering::Relaxed);
                return tracing::warn!(stream = %id, %error, "no picture was taken; the next one is tried in its time");
            }
        };
        let file = RecordedFile::Dated { kind: DatedKind::Image, day: Day::of_unix_ms(at_ms), at_ms };
        let path = RecordedPath { stream: id.clone(), file: file.clone() }.to_string();
        let Ok(key) = Key::parse(&path) else { return };
        for tries in 1..=TRIES {
            let mut body = Body::default();
            body.push(picture.clone());
            match self.store.put(&key, body, Meta::of(&key, CACHE_CONTROL)).await {
                Ok(_) => {
                    self.taken.fetch_add(1, Ordering::Relaxed);
                    return self.tell(id, &file, at_ms, picture.len());
                }
                Err(error) if tries == TRIES => {
                    self.failed.fetch_add(1, Ordering::Relaxed);
                    tracing::error!(stream = %id, %error, "a picture could not be stored, and is lost");
                }
                Err(_) => tokio::time::sleep(TRY_AGAIN * tries).await,
            }
        }
    }

    fn tell(&self, id: &Id, file: &RecordedFile, taken_unix_ms: u64, bytes: usize) {
        let Some(engine) = self.engine.get() else { return };
        let what = What::Snapshot { path: file.to_string(), taken_unix_ms, bytes: bytes as u64 };
        engine.tell(Event { at_unix_ms: unix_ms(), stream: id.to_string(), what, ..Event::default() });
    }

    fn numbers(&self) -> String {
        let (taken, failed) = (self.taken.load(Ordering::Relaxed), self.failed.load(Ordering::Relaxed));
        format!(
            "# HELP millstream_pictures Pictures of streams that were stored, or were to be and are not.\n\
             # TYPE millstream_pictures counter\n\
             millstream_pictures_total{{result=\"stored\"}} {taken}\n\
             millstream_pictures_total{{result=\"failed\"}} {failed}\n"
        )
    }
}
