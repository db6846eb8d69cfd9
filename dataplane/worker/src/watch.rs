//! Looks for motion in a stream, by one thread: from a connection to the node, through a decoder, to what the node is told. Before it: [`crate::run`] has
//! an order; after it: [`crate::motion`] looks at pictures, and a report goes out with what it says.
//!
//! Where renditions of the stream are made, their decode serves here as well: frames that come are then left out. When they are no longer made, the
//! watch goes on by itself with the next keyframe.
//!
//! Invariants: a watch has one connection, one decoder and no queue: what is not read in time is skipped by the node. A picture is made a JPEG where an
//! event starts, and nowhere else.
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use bytes::Bytes;

use crate::codec::jpeg::jpeg;
use crate::crash::{self, Of};
use crate::job::Jobs;
use crate::motion::hooked::Hooked;
use crate::motion::{Detector, Luma, Shrinker};
use crate::net::source::{SourceConnection, SourceError, SourceTag, stream_of};
use crate::picture::{Colour, Picture};
use crate::protocol::{Change, MotionSettings, PAYLOAD_BYTES_MAX, QUALITY, Report, SecretUrl, Why};
use crate::reporter::Reporter;
use crate::transcode::{Choice, Piece, Source, Ticks, Unfit};

/// How often a watch looks whether it is still wanted, and whether renditions are made.
const LOOK_EVERY: Duration = Duration::from_millis(100);
/// Waits between connections.
const RETRY: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(2));
/// Between two reports.
const TOLD_EVERY: Duration = Duration::from_secs(5);
/// Between two reports of what calls of a hook came to.
const HOOKED_EVERY: Duration = Duration::from_secs(1);
/// An event is over when nothing has come for its duration and so long.
const SILENT: Duration = Duration::from_secs(2);

/// A watch. Dropped, it ends.
#[derive(Debug)]
pub(crate) struct Watch(Arc<AtomicBool>);

impl Watch {
    /// Starts one. `jobs`: what is decoded for renditions; `hooked`: what looks in place of the built-in detector, and what looks beside it.
    pub(crate) fn start(
        id: u64,
        source: SecretUrl,
        settings: MotionSettings,
        reporter: Reporter,
        jobs: Jobs,
        [hooked, shadow]: [Option<Hooked>; 2],
    ) -> io::Result<Self> {
        let over = Arc::new(AtomicBool::new(false));
        let choice = if settings.keyframes_only {
            Choice::keyframes(settings.every_ms)
        } else {
            Choice::references(settings.every_ms)
        };
        let decoding = Source::choosing(choice).with_ffmpeg(jobs.ffmpeg());
        let watching = Watching {
            id,
            stream: stream_of(&source),
            url: source,
            settings,
            reporter,
            jobs,
            over: Arc::clone(&over),
            source: decoding,
            shrinker: Shrinker::new(),
            looker: hooked.map_or_else(
                || Looker::BuiltIn(Box::new(Detector::new(settings))),
                |hook| Looker::Hook(Box::new(hook)),
            ),
            shadow: shadow.map(Shadow::new),
            colour: None,
            ticks: Ticks::default(),
            last_ms: None,
            seen_at: Instant::now(),
            job_looked_at: Instant::now(),
            by_job: false,
            told: Told { at: None, pictures: 0 },
            hooked_at: None,
        };
        crash::spawn(format!("watch {id}"), Of::Watch(id), move || watching.run())?;
        Ok(Self(over))
    }

    /// It has ended.
    pub(crate) fn is_over(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// Why a connection, or the watch, is over.
#[derive(Debug, thiserror::Error)]
enum WatchError {
    #[error(transparent)]
    Source(#[from] SourceError),
    #[error(transparent)]
    Unfit(#[from] Unfit),
}

/// What was told of the watch.
struct Told {
    at: Option<Instant>,
    /// Pictures that were looked at since then.
    pictures: u32,
}

/// Who looks for motion.
enum Looker {
    BuiltIn(Box<Detector>),
    Hook(Box<Hooked>),
}

impl Looker {
    fn is_active(&self) -> bool {
        match self {
            Self::BuiltIn(detector) => detector.is_active(),
            Self::Hook(hooked) => hooked.is_active(),
        }
    }

    fn interrupt(&mut self) -> Option<Change> {
        match self {
            Self::BuiltIn(detector) => detector.interrupt(),
            Self::Hook(hooked) => hooked.interrupt(),
        }
    }

    /// Between two pictures, milliseconds.
    const fn every_ms(&self, settings: &MotionSettings) -> u32 {
        match self {
            Self::BuiltIn(_) => settings.every_ms,
            Self::Hook(hooked) => hooked.every_ms(),
        }
    }
}

/// A hook that looks beside.
struct Shadow {
    hooked: Box<Hooked>,
    ticks: Ticks,
}

impl Shadow {
    fn new(hooked: Hooked) -> Self {
        Self { hooked: Box::new(hooked), ticks: Ticks::default() }
    }

    /// Takes a picture that the other one has seen.
    fn look(&mut self, luma: &Luma, pts_ms: i64, size: (u32, u32), other_is_active: bool) {
        if self.ticks.is_due(pts_ms, i64::from(self.hooked.every_ms())) {
            self.hooked.push(luma, pts_ms, size, Instant::now());
            self.hooked.compare(other_is_active);
        }
    }
}

struct Watching {
    id: u64,
    url: SecretUrl,
    stream: String,
    settings: MotionSettings,
    reporter: Reporter,
    jobs: Jobs,
    over: Arc<AtomicBool>,
    source: Source,
    shrinker: Shrinker,
    looker: Looker,
    /// What looks beside it: nothing that it sees is told.
    shadow: Option<Shadow>,
    colour: Option<Colour>,
    ticks: Ticks,
    /// When the last picture that was looked at is shown, and when that was.
    last_ms: Option<i64>,
    seen_at: Instant,
    job_looked_at: Instant,
    /// Renditions are made of the stream.
    by_job: bool,
    told: Told,
    /// When calls of its hook were told.
    hooked_at: Option<Instant>,
}

impl Watching {
    fn is_over(&self) -> bool {
        self.over.load(Ordering::Relaxed)
    }

    fn run(mut self) {
        tracing::info!(watch = self.id, keyframes_only = self.settings.keyframes_only, "watch starts");
        let (least, most) = RETRY;
        let mut wait = least;
        while !self.is_over() {
            let before = self.seen_at;
            let error = match self.connection() {
                Ok(()) => return,
                Err(error) => error,
            };
            let why = match &error {
                WatchError::Source(SourceError::Gone) => Some(Why::Gone),
                WatchError::Source(SourceError::Address) => Some(Why::BadOrder),
                WatchError::Source(_) => None,
                WatchError::Unfit(unfit) => Some(unfit.why()),
            };
            if let Some(why) = why {
                return self.end(why, &error);
            }
            tracing::warn!(watch = self.id, %error, "the watched stream ended; it is tried again");
            if self.seen_at > before {
                wait = least;
            }
            let until = Instant::now() + wait;
            while Instant::now() < until && !self.is_over() {
                thread::sleep(LOOK_EVERY.min(wait));
                self.silence();
                self.tell_how();
            }
            wait = (wait * 2).min(most);
        }
    }

    fn end(&mut self, why: Why, error: &WatchError) {
        if let Some(change) = self.looker.interrupt() {
            self.tell(change, None);
        }
        // Nobody who waits for it to end is told anything.
        if !self.over.swap(true, Ordering::Relaxed) {
            tracing::info!(watch = self.id, ?why, %error, "watch over");
            self.reporter.tell(Report::WatchEnded { watch: self.id, why, error: Some(error.to_string()) });
        }
    }

    /// Reads one connection. `Ok`: the watch is over.
    fn connection(&mut self) -> Result<(), WatchError> {
        let mut connection = SourceConnection::open(&self.url)?;
        connection.wait_at_most(LOOK_EVERY)?;
        self.source.reconnected();
        let mut tags = Vec::new();
        while !self.is_over() {
            let read = connection.read(&mut tags);
            for tag in tags.drain(..) {
                self.tag(tag)?;
            }
            read?;
            if self.job_looked_at.elapsed() >= LOOK_EVERY {
                self.look_at_job();
                self.silence();
                self.tell_how();
            }
        }
        Ok(())
    }

    fn tag(&mut self, tag: SourceTag) -> Result<(), Unfit> {
        if self.by_job && tag.is_frame() {
            // Who goes on by itself begins with a keyframe.
            self.source.reconnected();
            return Ok(());
        }
        self.source.push(tag.kind, tag.timestamp_ms, tag.body)?;
        while let Some(piece) = self.source.poll() {
            match piece {
                Piece::Params(params) => self.colour = Some(params.colour),
                Piece::Picture(shown) => self.look(&shown.picture, shown.pts_ms),
                _ => {}
            }
        }
        Ok(())
    }

    /// Takes the newest picture that was decoded for renditions, if there are any.
    fn look_at_job(&mut self) {
        self.job_looked_at = Instant::now();
        let newest = self.jobs.newest(&self.stream);
        self.by_job = newest.is_some();
        if let Some((picture, colour, pts_ms)) = newest {
            self.colour = Some(colour);
            self.look(&picture, i64::from(pts_ms));
        }
    }

    fn look(&mut self, picture: &Picture, pts_ms: i64) {
        if !self.ticks.is_due(pts_ms, i64::from(self.looker.every_ms(&self.settings))) {
            return;
        }
        let Some(luma) = self.shrinker.shrink(picture) else { return };
        (self.last_ms, self.seen_at) = (Some(pts_ms), Instant::now());
        self.told.pictures += 1;
        let change = match &mut self.looker {
            Looker::BuiltIn(detector) => detector.push(&luma, pts_ms),
            Looker::Hook(hooked) => {
                let size = (picture.width(), picture.height());
                hooked.push(&luma, pts_ms, size, Instant::now())
            }
        };
        if let Some(shadow) = &mut self.shadow {
            shadow.look(&luma, pts_ms, (picture.width(), picture.height()), self.looker.is_active());
        }
        if let Some(change) = change {
            self.tell(change, Some(picture));
        }
        if self.told.at.is_none() {
            self.tell_how();
        }
    }

    /// An event of a stream that does not go on is over.
    fn silence(&mut self) {
        let patience = Duration::from_millis(self.settings.duration_ms.into()).saturating_add(SILENT);
        if self.seen_at.elapsed() < patience {
            return;
        }
        if let Some(shadow) = self.shadow.as_mut().filter(|shadow| shadow.hooked.is_active()) {
            shadow.hooked.interrupt();
        }
        if self.looker.is_active()
            && let Some(change) = self.looker.interrupt()
        {
            self.tell(change, None);
        }
    }

    /// Tells what calls of the hooks came to.
    fn tell_hooked(&mut self) {
        if self.hooked_at.is_some_and(|at| at.elapsed() < HOOKED_EVERY) {
            return;
        }
        let looks = if let Looker::Hook(hooked) = &mut self.looker { Some(&mut **hooked) } else { None };
        let beside = self.shadow.as_mut().map(|shadow| &mut *shadow.hooked);
        for (hooked, shadow) in
            looks.into_iter().map(|hooked| (hooked, false)).chain(beside.map(|hooked| (hooked, true)))
        {
            let tally = hooked.take_tally();
            if !tally.is_empty() {
                self.hooked_at = Some(Instant::now());
                self.reporter.tell(Report::Hooked { watch: self.id, tally, shadow });
            }
        }
    }

    fn tell(&self, change: Change, picture: Option<&Picture>) {
        let starts = matches!(change, Change::Started { .. });
        let image = picture.filter(|_| starts).and_then(|picture| {
            let colour = self.colour.unwrap_or(Colour::assumed(picture.width(), picture.height()));
            jpeg(picture, colour, QUALITY).filter(|bytes| bytes.len() <= PAYLOAD_BYTES_MAX)
        });
        let since_ms = i64::try_from(self.seen_at.elapsed().as_millis()).unwrap_or_default();
        let now_ms = self.last_ms.unwrap_or_default().saturating_add(since_ms);
        let report = Report::Motion { watch: self.id, now_ms, motion: change };
        self.reporter.tell_with(report, image.map_or_else(Bytes::new, Bytes::from));
    }

    fn tell_how(&mut self) {
        self.tell_hooked();
        let since = self.told.at.map(|at| at.elapsed());
        if since.map_or(self.told.pictures == 0, |since| since < TOLD_EVERY) {
            return;
        }
        let pictures = self.told.pictures as f32;
        self.reporter.tell(Report::Watched {
            watch: self.id,
            pictures_s: since.map_or(0.0, |since| pictures / since.as_secs_f32()),
            shared: self.by_job,
            frames_lost: self.source.stats().lost,
        });
        self.told = Told { at: Some(Instant::now()), pictures: 0 };
    }
}
