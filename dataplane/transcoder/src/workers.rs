//! What shards talk to: they say which renditions are wanted, and a worker is kept that makes them. It runs from the first wish on: who has no
//! renditions has no worker. Before it: the engine; after it: [`super::process`].
use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fmt;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use millstream_control_protocol::event::{Event, What};
use millstream_control_protocol::exchange::WorkerLoad;
use millstream_engine::Remote;
use millstream_engine::renditions::{NoPicture, Transcoder, Trouble};
use millstream_fleet::backoff::Backoff;
use millstream_fleet::http::guard::Guard;
use millstream_hub::config::Rendition;
use millstream_hub::decodable::Beside;
use millstream_hub::encodable::PictureCodec;
use millstream_proto::id::Id;
use millstream_proto::sign::job::{JOB_KEY_BYTES, JobKey};
use millstream_proto::watermark::Watermark;
use millstream_worker::protocol::{
    Capacity, EncoderName, HookKey, HookUse, MotionSettings, Order, PAYLOAD_BYTES_MAX, QUALITY, Report, SecretUrl,
};
use tokio::runtime::Handle;
use tokio::sync::Notify;
use tokio::sync::mpsc::Sender;

use super::addresses::{Addresses, At, Way};
use super::encoder::EncoderChoice;
use super::fetch::fetch;
use super::ffmpeg::{Installed, NoFfmpeg};
use super::greeting::GreetingError;
use super::hooks::{Looks, MotionHook, MotionHooks};
use super::loads::Loads;
use super::marks::Marks;
use super::process;
use super::remote::{self, Arrived, Left, Place, RemotePort};
use super::snapshots::{Asker, Picture, Snapshots};
use super::sprites::{Keyframe, NoSprite, Sprite, Sprites};
use super::states::{Counts, States};
use super::table::{self, Told, Wanted};
use super::watches::{Seen, WatchOrder, Watches};

/// A worker that ends is started again after this long at first, and at most.
const RESTART_LEAST: Duration = Duration::from_millis(100);
const RESTART_MOST: Duration = Duration::from_secs(10);
/// A picture comes within this time, or not at all.
const PICTURE_WAIT: Duration = Duration::from_secs(6);
/// Characters of what is told of a watermark.
const WHY_CHARS_MAX: usize = 300;
/// A sprite is made within this time, or not at all: a worker is niced, and renditions may take all of the machine.
const SPRITE_WAIT: Duration = Duration::from_mins(2);
/// What `ffmpeg` can is known within this time.
const FFMPEG_WAIT: Duration = Duration::from_secs(25);
/// Where workers are of other machines alone, one that has gone may be back within this time: then nobody is told that there is none.
const AWAY_AFTER: Duration = Duration::from_secs(2);
/// One that has lasted this long was all right.
const LASTED: Duration = Duration::from_secs(30);

/// Flags of a worker: the path of an `ffmpeg`, and the encoder of it that is used.
const WITH_FFMPEG: &str = "--with-ffmpeg";
const WITH_ENCODER: &str = "--with-encoder";

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

/// What is run as a worker.
#[derive(Clone, Debug)]
pub struct Program {
    /// The program.
    pub path: PathBuf,
    /// What it is started with.
    pub arguments: Vec<OsString>,
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
    /// Renditions that the machine is too slow for, by their streams.
    shed: Mutex<BTreeMap<Id, Vec<String>>>,
    states: Mutex<States>,
    loads: Mutex<Loads>,
    /// What was found of an `ffmpeg`, once it was looked for.
    ffmpeg: OnceLock<Result<Installed, NoFfmpeg>>,
    /// What renditions are encoded with.
    encoder: EncoderChoice,
    /// Whether anything is wrong with any rendition: looked at without the lock.
    has_trouble: AtomicBool,
}

/// What is known of a worker.
#[derive(Clone, Debug, Default)]
struct Maker {
    capacity: Capacity,
    encoder: String,
    no_ffmpeg: String,
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
            shed: Mutex::default(),
            states: Mutex::default(),
            loads: Mutex::default(),
            has_trouble: AtomicBool::new(false),
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
            Ok(Installed { program, h264, hevc, av1 }) => {
                tracing::info!(program = %program.display(), h264, hevc, av1, "ffmpeg decodes beside OpenH264");
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

    /// Renditions of a stream that somebody asks for, and that this machine is too slow to make.
    pub fn shed(&self, stream: &str) -> Vec<String> {
        let shed = self.0.shed.lock().unwrap_or_else(PoisonError::into_inner);
        // Few have any: then no id is read.
        if shed.is_empty() {
            return Vec::new();
        }
        Id::new(stream).ok().and_then(|id| shed.get(&id).cloned()).unwrap_or_default()
    }

    /// What the worker does.
    pub fn load(&self) -> WorkerLoad {
        let wanted: usize = self.0.wanted().values().map(Vec::len).sum();
        let (_, watched) = self.0.watches().counts();
        let (decoded_fps, behind_ms) = self.0.loads().sum(Instant::now());
        let Maker { capacity, encoder, no_ffmpeg } = self.0.maker().clone();
        WorkerLoad {
            renditions: self.0.started.load(Ordering::Relaxed) as u64,
            renditions_wanted: wanted as u64,
            watched: watched as u64,
            decoded_fps,
            behind_ms,
            shed: self.0.states().counts().shed,
            restarts: self.0.restarts.load(Ordering::Relaxed),
            decodes: decodes(Beside::get()),
            encoder,
            no_ffmpeg,
            remote: self.0.remote.serving().unwrap_or_default(),
            cores: u64::from(capacity.cores),
            decode_mb_s: capacity.decode_mb_s as u64,
            encode_mb_s: capacity.encode_mb_s as u64,
        }
    }

    /// Has a stream that is on air watched for motion until what this gives is dropped. What is seen is told to `tell`, and lost where that is full.
    /// `None`: as many streams are watched as a worker takes.
    pub fn watch(&self, stream: &Id, settings: MotionSettings, tell: Sender<Seen>) -> Option<Watching> {
        let number = self.0.watches().want(stream, settings, tell)?;
        self.0.notify.notify_one();
        self.0.keep();
        Some(Watching { shared: Arc::clone(&self.0), stream: stream.clone(), number })
    }

    /// OpenMetrics text, without its end.
    pub fn numbers(&self) -> String {
        let WorkerLoad { renditions, renditions_wanted, watched, restarts, .. } = self.load();
        let (watches_wanted, _) = self.0.watches().counts();
        let Counts { started: begun, failed, shed } = self.0.states().counts();
        format!(
            "# HELP millstream_renditions Renditions that viewers ask for, and those that are made now.\n\
             # TYPE millstream_renditions gauge\n\
             millstream_renditions{{state=\"wanted\"}} {renditions_wanted}\n\
             millstream_renditions{{state=\"made\"}} {renditions}\n\
             # HELP millstream_renditions_begun Renditions that were begun because somebody asked for them.\n\
             # TYPE millstream_renditions_begun counter\n\
             millstream_renditions_begun_total {begun}\n\
             # HELP millstream_renditions_failed Renditions that somebody asked for and that could not be made, or broke off.\n\
             # TYPE millstream_renditions_failed counter\n\
             millstream_renditions_failed_total {failed}\n\
             # HELP millstream_renditions_shed Those of them that this machine was too slow for.\n\
             # TYPE millstream_renditions_shed counter\n\
             millstream_renditions_shed_total {shed}\n\
             # HELP millstream_worker_restarts Workers that ended and were started again.\n\
             # TYPE millstream_worker_restarts counter\n\
             millstream_worker_restarts_total {restarts}\n\
             # HELP millstream_motion_streams Streams in which motion is looked for, and those whose pictures are looked at now.\n\
             # TYPE millstream_motion_streams gauge\n\
             millstream_motion_streams{{state=\"wanted\"}} {watches_wanted}\n\
             millstream_motion_streams{{state=\"watched\"}} {watched}\n"
        )
    }
}

/// What a worker with an `ffmpeg` is started with.
pub(crate) fn arguments_of(ffmpeg: Option<&Installed>, encoder: Option<EncoderName>) -> Vec<OsString> {
    let Some(found) = ffmpeg else { return Vec::new() };
    let mut all = vec![OsString::from(WITH_FFMPEG), found.program.clone().into_os_string()];
    if let Some(encoder) = encoder {
        all.extend([OsString::from(WITH_ENCODER), OsString::from(encoder.as_str())]);
    }
    all
}

/// Codecs in the API's words.
pub(crate) fn decodes(beside: Beside) -> Vec<String> {
    let all = [("h264", true), ("h264_any", beside.h264), ("hevc", beside.hevc), ("av1", beside.av1)];
    all.into_iter().filter(|(_, is)| *is).map(|(name, _)| name.to_owned()).collect()
}

/// Encoders in the API's words.
pub(crate) fn encoder_name(encoder: Option<EncoderName>) -> String {
    encoder.map_or(EncoderChoice::OpenH264, EncoderChoice::Ffmpeg).to_string()
}

/// Why no `ffmpeg` is used; empty: one is, or it is not known yet.
pub(crate) fn no_ffmpeg(found: Option<&Result<Installed, NoFfmpeg>>) -> String {
    found.and_then(|found| found.as_ref().err()).map(NoFfmpeg::to_string).unwrap_or_default()
}

impl Installed {
    /// What a worker with it decodes.
    pub(crate) fn beside(&self) -> Beside {
        Beside { h264: self.h264, hevc: self.hevc, av1: self.av1 }
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
        self.0.has_trouble.load(Ordering::Relaxed)
    }

    fn trouble(&self, rendition: &Id) -> Option<Trouble> {
        self.0.states().trouble(rendition, Instant::now())
    }
}

/// Keeps a worker for as long as the process runs: one of another machine while there is one, where that may be.
async fn keep_worker(shared: Arc<Shared>) {
    // No worker begins that does not know which ports it may connect to.
    while shared.addresses.get().is_none() {
        shared.changed().await;
    }
    let is_equipped = || shared.whence == Where::Remote || shared.ffmpeg.get().is_some();
    let equipped = async {
        while !is_equipped() {
            shared.changed().await;
        }
    };
    let _ = tokio::time::timeout(FFMPEG_WAIT, equipped).await;
    let mut backoff = Backoff::new(RESTART_LEAST, RESTART_MOST, u64::from(std::process::id()));
    loop {
        let (begun, mut was_ready) = (Instant::now(), false);
        let far = if shared.whence == Where::Remote { Some(shared.awaited().await) } else { shared.remote.take() };
        let is_far = far.is_some();
        let ended = match far {
            Some(arrived) => {
                let ended = process::run_far(&shared, arrived, &mut was_ready).await;
                let how = if was_ready && begun.elapsed() >= LASTED {
                    Left::Worked
                } else if shared.whence == Where::Any && !ended.is_meant() {
                    // What is made here is not given up again and again for one that makes nothing.
                    Left::Failed
                } else {
                    Left::Free
                };
                shared.remote.left(how);
                ended
            }
            None => process::run(&shared, &shared.program, &mut was_ready).await,
        };
        shared.snapshots().forget_requests();
        shared.sprites().forget_request();
        shared.watches().forget();
        shared.changes(|states, _| states.worker_gone(Instant::now()));
        if ended.is_meant() {
            tracing::info!(why = %ended, "another worker takes over");
            if is_far && matches!(ended, process::Ended::Hooks) {
                // It comes back in a moment, as one that may run hooks.
                let _ = tokio::time::timeout(AWAY_AFTER, shared.remote.arrives()).await;
            }
            continue;
        }
        shared.restarts.fetch_add(1, Ordering::Relaxed);
        if is_far {
            tracing::warn!(why = %ended, "the worker of another machine is away");
            continue;
        }
        if was_ready && begun.elapsed() >= LASTED {
            backoff.reset();
        }
        let wait = backoff.next_wait();
        tracing::warn!(why = %ended, again_in_ms = wait.as_millis() as u64, "worker ended; another one is started");
        let _ = tokio::time::timeout(wait, shared.remote.arrives()).await;
    }
}

impl Shared {
    /// What a worker of this machine is started with beside its own arguments.
    pub(crate) fn ffmpeg_arguments(&self) -> Vec<OsString> {
        arguments_of(self.ffmpeg.get().and_then(|found| found.as_ref().ok()), self.encoder.of_ffmpeg())
    }

    /// A worker of another machine, once one has come. Until then renditions are told not to be made, but for a moment at first.
    async fn awaited(&self) -> Arrived {
        let mut is_told = false;
        loop {
            if let Some(arrived) = self.remote.take() {
                return arrived;
            }
            if is_told {
                self.remote.arrives().await;
            } else if tokio::time::timeout(AWAY_AFTER, self.remote.arrives()).await.is_err() {
                is_told = true;
                tracing::warn!("no worker of another machine is here: renditions, snapshots and motion wait for one");
                self.changes(|states, _| {
                    states.worker_awaited();
                    Vec::new()
                });
            }
        }
    }

    fn maker(&self) -> MutexGuard<'_, Maker> {
        self.maker.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What is decoded and encoded is what this machine can.
    pub(crate) fn is_of_here(&self) {
        let found = self.ffmpeg.get();
        found.and_then(|found| found.as_ref().ok()).map(Installed::beside).unwrap_or_default().set();
        *self.maker() = Maker { encoder: self.encoder.to_string(), no_ffmpeg: no_ffmpeg(found), ..Maker::default() };
    }

    /// It is what that worker can.
    pub(crate) fn is_of(&self, arrived: &Arrived) {
        let skills = &arrived.skills;
        Beside { h264: skills.h264_any, hevc: skills.hevc, av1: skills.av1 }.set();
        // What of H.264 is encoded with is the worker's; that it is to be AV1 is the node's.
        let is_h264 = self.encoder.codec() == PictureCodec::H264;
        let encoder = if is_h264 { skills.encoder.clone() } else { self.encoder.to_string() };
        let no_ffmpeg = skills.no_ffmpeg.clone();
        *self.maker() = Maker { encoder, no_ffmpeg, ..Maker::default() };
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

    /// From here on there is a worker.
    pub(crate) fn keep(self: &Arc<Self>) {
        if self.kept.set(()).is_ok() {
            self.runtime.spawn(keep_worker(Arc::clone(self)));
        }
    }

    fn snapshots(&self) -> MutexGuard<'_, Snapshots> {
        self.snapshots.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn watches(&self) -> MutexGuard<'_, Watches> {
        self.watches.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn sprites(&self) -> MutexGuard<'_, Sprites> {
        self.sprites.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes what came of a sprite.
    pub(crate) fn heard_of_sprite(&self, report: &Report, payload: &Bytes) {
        if self.sprites().heard(report, payload) {
            self.notify.notify_one();
        }
    }

    fn marks(&self) -> MutexGuard<'_, Marks> {
        self.marks.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Fetches images that are wanted; gives when there may be more to fetch.
    fn fetch_images(self: &Arc<Self>) -> Option<Instant> {
        let without_room = self.marks().without_room();
        for (stream, why) in without_room {
            self.tell_of_marks(&stream, &why);
        }
        let (urls, next) = self.marks().fetches(Instant::now());
        for url in urls {
            let (shared, wait) = (Arc::clone(self), self.marks().begin(&url));
            self.runtime.spawn(async move {
                let fetched = fetch(&url, &shared.guard).await.map_err(|error| error.to_string());
                let told = shared.marks().fetched(&url, fetched, wait, Instant::now());
                for (stream, why) in told {
                    shared.tell_of_marks(&stream, &why);
                }
                shared.notify.notify_one();
            });
        }
        next
    }

    /// Takes what a worker says of the marks of a stream.
    pub(crate) fn heard_of_marks(&self, stream: Option<&Id>, report: &Report) {
        let (Some(stream), Report::Marked { lacking, error, .. }) = (stream, report) else { return };
        let told = self.marks().heard(stream, lacking, error.as_deref());
        for why in told {
            self.tell_of_marks(stream, &why);
        }
    }

    fn tell_of_marks(&self, stream: &Id, why: &str) {
        // Words of a decoder may repeat some of the file.
        let why: String =
            why.chars().map(|char| if char.is_control() { ' ' } else { char }).take(WHY_CHARS_MAX).collect();
        tracing::warn!(%stream, why, "the watermark is not drawn, or not all of it");
        self.tell(stream, What::WatermarkFailed { why });
    }

    /// Tells control what happened.
    fn tell(&self, stream: &Id, what: What) {
        let Some(engine) = self.engine.get() else { return };
        let at_unix_ms = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_millis() as u64);
        engine.tell(Event { at_unix_ms, stream: stream.to_string(), what, ..Event::default() });
    }

    /// Pictures of some stream are looked at.
    pub(crate) fn is_watching(&self) -> bool {
        self.watches().counts().1 > 0
    }

    /// Takes what was seen of a stream.
    pub(crate) fn heard_of_motion(&self, report: &Report, payload: &Bytes) {
        self.watches().heard(report, payload, Instant::now());
    }

    fn want_picture(self: &Arc<Self>, asker: Asker, stream: &Id) {
        let there = self.snapshots().want(asker, stream, Instant::now());
        match there {
            Some((asker, picture)) => self.tell_picture(stream, asker, picture),
            None => self.notify.notify_one(),
        }
        self.keep();
    }

    fn tell_picture(&self, stream: &Id, asker: Asker, picture: Picture) {
        match (asker, self.engine.get()) {
            (Asker::Shard(shard), Some(engine)) => engine.snapshot(shard, stream.clone(), picture),
            (Asker::Shard(_), None) => {}
            // It may have given up.
            (Asker::Task(task), _) => drop(task.send(picture)),
        }
    }

    /// Takes an answer about a picture.
    pub(crate) fn heard_of_picture(&self, report: &Report, payload: Bytes) {
        let told = self.snapshots().heard(report, payload, Instant::now());
        if let Some((stream, askers, picture)) = told {
            for asker in askers {
                self.tell_picture(&stream, asker, picture.clone());
            }
        }
    }

    /// How a stream's job does, by the worker's words.
    pub(crate) fn heard_of_load(&self, stream: &Id, decoded_fps: f32, behind_ms: u32) {
        self.loads().heard(stream, (decoded_fps, behind_ms), Instant::now());
    }

    fn loads(&self) -> MutexGuard<'_, Loads> {
        self.loads.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn states(&self) -> MutexGuard<'_, States> {
        self.states.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A worker takes orders.
    pub(crate) fn worker_is_ready(&self, capacity: Capacity) {
        self.maker().capacity = capacity;
        self.changes(|states, _| {
            states.worker_ready();
            Vec::new()
        });
    }

    /// Takes what a worker says of a stream or a rendition.
    pub(crate) fn heard_of_rendition(&self, of: &Id, report: &Report) {
        if !matches!(report, Report::Started { .. } | Report::Ended { .. }) {
            return;
        }
        self.changes(|states, wanted| states.heard(of, report, wanted, Instant::now()));
    }

    /// Changes how renditions do, and tells control what came of it.
    fn changes(&self, change: impl FnOnce(&mut States, &Wanted) -> Vec<(Id, What)>) {
        let told = {
            // In this order wherever both are held.
            let (wanted, mut states) = (self.wanted(), self.states());
            let told = change(&mut states, &wanted);
            self.has_trouble.store(states.has_trouble(Instant::now()), Ordering::Relaxed);
            told
        };
        for (stream, what) in told {
            self.tell(&stream, what);
        }
    }

    fn wanted(&self) -> MutexGuard<'_, Wanted> {
        self.wanted.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What a worker that has been told that much is to be told now, and when there may be more.
    pub(crate) fn orders(self: &Arc<Self>, told: &mut Told, way: Way) -> (Vec<Due>, Option<Instant>) {
        match self.addresses.get() {
            Some(addresses) => {
                let at = At { addresses, app: &self.app, jobs: &self.jobs, marks: &self.marks, way };
                let plain = |order| Due::Order(Box::new(order), Bytes::new());
                let with = |(order, payload)| Due::Order(Box::new(order), payload);
                let introduction = addresses.introduction(way).filter(|_| told.begin());
                let mut orders: Vec<_> = introduction.map(plain).into_iter().collect();
                let (of_renditions, look_at) = told.orders(&self.wanted(), &at, Instant::now());
                orders.extend(of_renditions.into_iter().map(with));
                let picture = |(request, stream)| Order::Snapshot {
                    request,
                    source: SecretUrl::new(at.stream(&stream)),
                    width_max: None,
                    quality: QUALITY,
                };
                let fetch_at = self.fetch_images();
                orders.extend(self.snapshots().requests().into_iter().map(picture).map(plain));
                orders.extend(self.sprites().order().map(with));
                let (watches, watch_at) = self.watches().orders(Instant::now(), |stream| self.hooks_of(stream));
                orders.extend(watches.into_iter().map(|order| match order {
                    WatchOrder::Watch(watch, stream, motion, hooks) => {
                        let source = SecretUrl::new(at.stream(&stream));
                        let of_stream = |hook| HookUse { hook, app: self.app.clone(), stream: stream.to_string() };
                        let [hook, shadow] = hooks.map(|hook| hook.map(of_stream));
                        plain(Order::Watch { watch, source, motion, hook, shadow })
                    }
                    WatchOrder::Unwatch(watch) => plain(Order::Unwatch { watch }),
                    WatchOrder::Unhook(hook) => plain(Order::Unhook { hook }),
                    WatchOrder::Hook(number, hook) => Due::Hook(number, hook),
                }));
                (orders, look_at.into_iter().chain(watch_at).chain(fetch_at).min())
            }
            None => (Vec::new(), None),
        }
    }

    fn hooks_of(&self, stream: &Id) -> Looks {
        let of = |hooks: &Arc<dyn MotionHooks>| Looks { hook: hooks.of(stream), shadow: hooks.beside(stream) };
        self.hooks.get().map(of).unwrap_or_default()
    }

    /// Whether a worker has to run hooks for what is wanted now.
    pub(crate) fn needs_hooks(&self) -> bool {
        self.hooks.get().is_some()
            && self.watches().streams().any(|stream| self.hooks_of(stream).all().next().is_some())
    }

    /// Something is wanted, or wanted no more.
    pub(crate) async fn changed(&self) {
        self.notify.notified().await;
    }

    /// Keeps which renditions this machine is too slow for.
    pub(crate) fn sheds(&self, told: &Told) {
        let shed = told.shed(&self.wanted(), Instant::now());
        *self.shed.lock().unwrap_or_else(PoisonError::into_inner) = shed;
    }

    /// So many renditions are made.
    pub(crate) fn is_started(&self, started: usize) {
        self.started.store(started, Ordering::Relaxed);
    }
}

/// What a worker is to be told.
pub(crate) enum Due {
    Order(Box<Order>, Bytes),
    /// A hook with this number, whose code has yet to be read.
    Hook(u64, Arc<MotionHook>),
}

impl Due {
    /// The order. Code is read, and made good for the worker with this key, on a thread that may wait.
    pub(crate) async fn order(self, key: Option<&HookKey>) -> (Order, Bytes) {
        let (hook, of) = match self {
            Self::Order(order, payload) => return (*order, payload),
            Self::Hook(hook, of) => (hook, of),
        };
        let sealed = match key.copied() {
            Some(key) => {
                let of = Arc::clone(&of);
                tokio::task::spawn_blocking(move || (of.sealed)(&key)).await.ok().flatten()
            }
            None => None,
        };
        let sealed = sealed.filter(|sealed| sealed.len() <= PAYLOAD_BYTES_MAX);
        if key.is_none() {
            tracing::error!(
                hook = ?of,
                "its code goes to no worker of another machine without TLS, so it cannot look for motion: let transcode.worker_url begin with tls://"
            );
        } else if sealed.is_none() {
            tracing::warn!(
                hook = ?of,
                "its compiled form is not kept here, or is larger than 16 MiB: it cannot look for motion"
            );
        }
        (Order::Hook { hook, spec: of.spec.clone() }, sealed.unwrap_or_default())
    }
}
