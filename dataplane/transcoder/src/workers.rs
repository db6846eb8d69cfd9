//! What shards talk to: they say which renditions, pictures and motion are wanted, and a worker is kept that makes them. It runs from the first wish on: who has no
//! renditions has no worker. Before it: the engine; after it: its parts ([`keep`]: there is a worker; [`orders`]: what it is told; [`reports`]: what it says;
//! [`load`]: how much it does), and [`super::process`].
mod keep;
mod load;
mod orders;
mod reports;

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fmt;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use bytes::Bytes;
use millstream_engine::Remote;
use millstream_engine::renditions::{NoPicture, Transcoder, Trouble};
use millstream_fleet::http::guard::Guard;
use millstream_hub::config::Rendition;
use millstream_proto::id::Id;
use millstream_proto::sign::job::{JOB_KEY_BYTES, JobKey};
use millstream_proto::watermark::Watermark;
use millstream_worker::protocol::MotionSettings;
use tokio::runtime::Handle;
use tokio::sync::Notify;
use tokio::sync::mpsc::Sender;

use self::load::Maker;
use super::addresses::Addresses;
use super::crashes::{CRASHED, Crashes, in_words};
use super::encoder::EncoderChoice;
use super::ffmpeg::{Installed, NoFfmpeg};
use super::greeting::GreetingError;
use super::hooks::MotionHooks;
use super::loads::Loads;
use super::marks::Marks;
use super::process::SILENT_MOST;
use super::program::{Program, arguments_of};
use super::remote::{Place, RemotePort};
use super::snapshots::{Asker, Snapshots};
use super::sprites::{Keyframe, NoSprite, Sprite, Sprites};
use super::states::States;
use super::table::Wanted;
use super::watches::{Seen, Watches};
use super::{remote, table};

/// A picture comes within this time, or not at all.
const PICTURE_WAIT: Duration = Duration::from_secs(6);
/// A sprite is made within this time, or not at all: a worker is niced, and renditions may take all of the machine.
const SPRITE_WAIT: Duration = Duration::from_mins(2);

/// Where workers are.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Where {
    /// On this machine.
    #[default]
    Local,
    /// On other machines.
    Remote,
    /// On another machine as long as one of there has come, else on this one.
    Any,
}

/// Keeps a worker. Cheap to clone.
#[derive(Clone)]
pub struct Workers(Arc<Shared>);

pub(crate) struct Shared {
    runtime: Handle,
    program: Program,
    whence: Where,
    /// The worker of another machine.
    pub(crate) remote: Place,
    /// What is known of the worker that there is, or was last.
    maker: Mutex<Maker>,
    /// The application that publishers name.
    app: String,
    jobs: JobKey,
    addresses: OnceLock<Addresses>,
    wanted: Mutex<Wanted>,
    snapshots: Mutex<Snapshots>,
    watches: Mutex<Watches>,
    sprites: Mutex<Sprites>,
    marks: Mutex<Marks>,
    /// Where images of watermarks may be fetched.
    guard: Guard,
    engine: OnceLock<Remote>,
    /// Somebody keeps the worker.
    kept: OnceLock<()>,
    notify: Notify,
    started: AtomicUsize,
    restarts: AtomicU64,
    /// Who knows which hooks look for motion.
    hooks: OnceLock<Arc<dyn MotionHooks>>,
    /// A worker of this machine that owes a word is not silent for longer.
    silent_most: Duration,
    /// Renditions that the machine is too slow for, by their streams.
    shed: Mutex<BTreeMap<Id, Vec<String>>>,
    states: Mutex<States>,
    loads: Mutex<Loads>,
    crashes: Mutex<Crashes>,
    /// What was found of an `ffmpeg`, once it was looked for.
    ffmpeg: OnceLock<Result<Installed, NoFfmpeg>>,
    /// What renditions are encoded with.
    encoder: EncoderChoice,
    /// Whether anything is wrong with any rendition: looked at without the lock.
    has_trouble: AtomicBool,
    /// Whether any stream has ever ended a worker.
    has_crashes: AtomicBool,
}

impl Workers {
    /// Whose jobs have tokens of this key, and which fetch images where `guard` lets them.
    pub fn new(
        runtime: Handle,
        (program, whence): (Program, Where),
        app: String,
        key: [u8; JOB_KEY_BYTES],
        guard: Guard,
        encoder: EncoderChoice,
    ) -> Self {
        let of_here = if whence == Where::Remote { String::new() } else { encoder.to_string() };
        let maker = Maker { encoder: of_here, ..Maker::default() };
        Self(Arc::new(Shared {
            ffmpeg: OnceLock::new(),
            encoder,
            runtime,
            program,
            whence,
            remote: Place::new(u64::from(std::process::id())),
            maker: Mutex::new(maker),
            app,
            jobs: JobKey::new(key),
            addresses: OnceLock::new(),
            wanted: Mutex::default(),
            snapshots: Mutex::default(),
            watches: Mutex::default(),
            sprites: Mutex::default(),
            marks: Mutex::default(),
            guard,
            engine: OnceLock::new(),
            kept: OnceLock::new(),
            notify: Notify::new(),
            started: AtomicUsize::new(0),
            restarts: AtomicU64::new(0),
            hooks: OnceLock::new(),
            silent_most: SILENT_MOST,
            shed: Mutex::default(),
            states: Mutex::default(),
            loads: Mutex::default(),
            crashes: Mutex::default(),
            has_trouble: AtomicBool::new(false),
            has_crashes: AtomicBool::new(false),
        }))
    }

    /// Says which engine asks, and where it listens: once, when it has been started.
    pub fn reach(&self, engine: Remote, addresses: Addresses) {
        let _ = self.0.engine.set(engine);
        let _ = self.0.addresses.set(addresses);
        self.0.notify.notify_one();
    }

    /// Takes workers of other machines at this port from here on.
    pub fn listen(&self, port: RemotePort) {
        self.0.runtime.spawn(remote::listen(Arc::clone(&self.0), port));
        if self.0.whence == Where::Remote {
            // That there is none is said before anybody asks.
            self.0.keep();
        }
    }

    /// Says which `ffmpeg` of this machine may be used, or why none: once. No worker is started here before that.
    pub fn equip(&self, found: Result<Installed, NoFfmpeg>) {
        match &found {
            Ok(Installed { program, h264, hevc, av1, x265 }) => {
                tracing::info!(program = %program.display(), h264, hevc, av1, x265, "ffmpeg decodes and encodes beside OpenH264");
            }
            Err(why) => tracing::info!(%why, "no ffmpeg is used: streams that are not H.264 have no renditions"),
        }
        let _ = self.0.ffmpeg.set(found);
        if self.0.remote.serving().is_none() {
            self.0.is_of_here();
        }
        self.0.notify.notify_one();
    }

    /// Says who knows which hooks look for motion: once.
    pub fn look_by(&self, hooks: Arc<dyn MotionHooks>) {
        let _ = self.0.hooks.set(hooks);
        self.0.notify.notify_one();
    }

    /// Other hooks look for motion from here on.
    pub fn hooks_changed(&self) {
        self.0.notify.notify_one();
    }

    /// The newest picture of a stream that is on air, as a JPEG.
    pub async fn picture(&self, stream: &Id) -> Result<Bytes, NoPicture> {
        let (asker, taken) = tokio::sync::oneshot::channel();
        self.0.want_picture(Asker::Task(asker), stream);
        // What is given up is forgotten with who asked.
        tokio::time::timeout(PICTURE_WAIT, taken).await.ok().and_then(Result::ok).unwrap_or(Err(NoPicture::Busy))
    }

    /// Small pictures of these keyframes in one JPEG, in rows of so many, each within a box of that size, pixels.
    pub async fn sprite(&self, keyframes: &[Keyframe], columns: u32, within: (u32, u32)) -> Result<Sprite, NoSprite> {
        let (asker, made) = tokio::sync::oneshot::channel();
        self.0.sprites().want(keyframes, columns, within, asker)?;
        self.0.notify.notify_one();
        self.0.keep();
        tokio::time::timeout(SPRITE_WAIT, made).await.ok().and_then(Result::ok).unwrap_or(Err(NoSprite::Late))
    }

    /// Has a stream that is on air watched for motion until what this gives is dropped. What is seen is told to `tell`, and lost where that is full.
    /// `None`: as many streams are watched as a worker takes.
    pub fn watch(&self, stream: &Id, settings: MotionSettings, tell: Sender<Seen>) -> Option<Watching> {
        let number = self.0.watches().want(stream, settings, tell)?;
        self.0.notify.notify_one();
        self.0.keep();
        Some(Watching { shared: Arc::clone(&self.0), stream: stream.clone(), number })
    }
}

/// A stream that is watched. Dropped, it is no more.
pub struct Watching {
    shared: Arc<Shared>,
    stream: Id,
    number: u64,
}

impl fmt::Debug for Watching {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Watching").field(&self.stream).finish()
    }
}

impl Drop for Watching {
    fn drop(&mut self) {
        self.shared.watches().unwant(&self.stream, self.number);
        self.shared.notify.notify_one();
    }
}

impl fmt::Debug for Workers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Workers").field(&self.0.program).finish()
    }
}

impl Transcoder for Workers {
    fn want(&self, stream: &Id, rendition: &Rendition) {
        if table::want(&mut self.0.wanted(), stream, rendition) {
            self.0.notify.notify_one();
        }
        self.0.keep();
    }

    fn snapshot(&self, shard: usize, stream: &Id) {
        self.0.want_picture(Asker::Shard(shard), stream);
    }

    fn unwant(&self, rendition: &Id) {
        let Some((stream, name)) = rendition.rendition() else { return };
        let (removed, is_last) = {
            let mut wanted = self.0.wanted();
            (table::unwant(&mut wanted, &stream, &name), !wanted.contains_key(&stream))
        };
        if is_last {
            self.0.marks().forget(&stream);
        }
        if removed {
            self.0.notify.notify_one();
            self.0.changes(|states, _| states.unwanted(rendition, Instant::now()).into_iter().collect());
        }
    }

    fn mark(&self, stream: &Id, watermark: Option<&Arc<Watermark>>) {
        if self.0.marks().set(stream, watermark) {
            self.0.notify.notify_one();
        }
    }

    fn has_trouble(&self) -> bool {
        self.0.has_trouble.load(Ordering::Relaxed) || self.0.has_crashes.load(Ordering::Relaxed)
    }

    fn trouble(&self, rendition: &Id) -> Option<Trouble> {
        let now = Instant::now();
        let left_out = rendition.rendition().and_then(|(stream, _)| self.0.crashes().left_out(&stream, now));
        if let Some(until) = left_out {
            return Some(Trouble { reason: CRASHED, text: in_words(until - now) });
        }
        self.0.states().trouble(rendition, now)
    }
}

/// What a lock holds: whoever panicked with it has left nothing half done.
fn held<T>(of: &Mutex<T>) -> MutexGuard<'_, T> {
    of.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Shared {
    /// What a worker of this machine is started with beside its own arguments.
    pub(crate) fn ffmpeg_arguments(&self) -> Vec<OsString> {
        arguments_of(self.ffmpeg.get().and_then(|found| found.as_ref().ok()), self.encoder.of_ffmpeg())
    }

    fn maker(&self) -> MutexGuard<'_, Maker> {
        held(&self.maker)
    }

    /// How long a worker of this machine may be silent.
    pub(crate) fn silent_most(&self) -> Duration {
        self.silent_most
    }

    /// The ports that workers connect to, once they are known.
    pub(crate) fn ports(&self) -> Option<Vec<u16>> {
        self.addresses.get().map(Addresses::ports)
    }

    /// The same, for a worker that has reached this machine at that address.
    pub(crate) fn ports_for(&self, reached: std::net::IpAddr) -> Result<Vec<u16>, GreetingError> {
        let addresses = self.addresses.get().ok_or(GreetingError::Early)?;
        match addresses.out_of_reach(reached) {
            Some(at) => Err(GreetingError::Loopback(at.to_string())),
            None => Ok(addresses.ports()),
        }
    }

    fn snapshots(&self) -> MutexGuard<'_, Snapshots> {
        held(&self.snapshots)
    }

    fn watches(&self) -> MutexGuard<'_, Watches> {
        held(&self.watches)
    }

    fn sprites(&self) -> MutexGuard<'_, Sprites> {
        held(&self.sprites)
    }

    fn marks(&self) -> MutexGuard<'_, Marks> {
        held(&self.marks)
    }

    fn loads(&self) -> MutexGuard<'_, Loads> {
        held(&self.loads)
    }

    fn crashes(&self) -> MutexGuard<'_, Crashes> {
        held(&self.crashes)
    }

    fn states(&self) -> MutexGuard<'_, States> {
        held(&self.states)
    }

    fn wanted(&self) -> MutexGuard<'_, Wanted> {
        held(&self.wanted)
    }

    fn want_picture(self: &Arc<Self>, asker: Asker, stream: &Id) {
        let now = Instant::now();
        let left_out = self.crashes().left_out(stream, now);
        if let Some(until) = left_out {
            return self.tell_picture(stream, asker, Err(NoPicture::LeftOut(in_words(until - now))));
        }
        let there = self.snapshots().want(asker, stream, now);
        match there {
            Some((asker, picture)) => self.tell_picture(stream, asker, picture),
            None => self.notify.notify_one(),
        }
        self.keep();
    }

    /// Something is wanted, or wanted no more.
    pub(crate) async fn changed(&self) {
        self.notify.notified().await;
    }
}
