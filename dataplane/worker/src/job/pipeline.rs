//! A decoding thread and where its pieces go. Before it: [`super::reader`]; after it: an [`super::encoder`] for each rendition.
//!
//! Each job has one pipeline that decodes for all; renditions that were added have another one until they have gone over to it.
use std::collections::VecDeque;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use millstream_proto::media::TagKind;

use super::pace::Pace;
use super::reader::{self, Incoming};
use super::running::{FEED_WEIGHT_MAX, Feed, Outlet, Running};
use super::shared::Shared;
use crate::crash::{self, Of};
use crate::net::source::{SourceError, SourceTag};
use crate::protocol::{Report, Why};
use crate::queue::{Popped, Receiver, queue};
use crate::transcode::{Piece, Source, Unfit};

const LOOK_EVERY: Duration = Duration::from_millis(50);
/// Between two reports of a job.
const LOAD_EVERY: Duration = Duration::from_secs(3);
/// How long a pipeline that joins waits at a keyframe for the job's to come there.
const TAKE_WAIT: Duration = Duration::from_millis(500);
/// Tags of video whose arrival is known: more than ever wait for their turn to be shown.
const ARRIVALS_MAX: usize = 32;
/// A pipeline that has been taken over and gets nothing for so long does not hold the job's up.
const SILENT: Duration = Duration::from_secs(1);

/// What a pipeline is to its job.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Role {
    /// It decodes for the job.
    Whole,
    /// It decodes for what was added, until the job's pipeline does.
    Joins,
}

/// What has gone over, while the keyframe is not there at which it does.
struct Handover {
    wish: u64,
    /// What the encoders take from that keyframe on.
    rest: Vec<(Arc<Running>, Receiver<Feed>)>,
}

pub(super) struct Pipeline {
    shared: Arc<Shared>,
    role: Role,
    unneeded: Arc<AtomicBool>,
    outlets: Vec<Outlet>,
    source: Source,
    /// The headers in force, for those who come.
    params: Option<Piece>,
    metadata: Option<Piece>,
    audio: Option<Piece>,
    handover: Option<Handover>,
    /// Stamps of the newest tags of video, and when they came.
    arrivals: VecDeque<(u32, Instant)>,
    pace: Pace,
    heard: Instant,
    load: Load,
    connections: u32,
}

/// What is told every few seconds.
struct Load {
    since: Instant,
    decoded: u64,
    shed: Vec<String>,
}

impl Pipeline {
    /// Starts the reading and the decoding thread.
    pub(super) fn start(
        shared: &Arc<Shared>,
        role: Role,
        outlets: Vec<Outlet>,
        unneeded: Arc<AtomicBool>,
    ) -> io::Result<()> {
        let (out, tags) = queue(reader::TAGS_BYTES_MAX);
        let now = Instant::now();
        let pipeline = Self {
            shared: Arc::clone(shared),
            role,
            unneeded,
            outlets,
            source: Source::new().with_ffmpeg(shared.ffmpeg.clone()),
            params: None,
            metadata: None,
            audio: None,
            handover: None,
            arrivals: VecDeque::new(),
            pace: Pace::new(now),
            heard: now,
            load: Load { since: now, decoded: 0, shed: Vec::new() },
            connections: 0,
        };
        reader::start(shared.id, shared.source.clone(), out)?;
        let name = format!("decode {}", shared.id);
        crash::spawn(name, Of::Job(shared.id), move || pipeline.run(&tags))
    }

    fn run(mut self, tags: &Receiver<Incoming>) {
        while !self.shared.is_over() && !self.unneeded.load(Ordering::Relaxed) {
            let goes_on = match tags.pop(LOOK_EVERY) {
                Popped::Item(Incoming::Tag(tag, arrived)) => self.tag(tag, arrived),
                Popped::Item(Incoming::Connected) => {
                    self.connections += 1;
                    self.source.reconnected();
                    true
                }
                Popped::Item(Incoming::Over(error)) => self.over(&error),
                Popped::Nothing => self.silence(),
                Popped::Closed => false,
            };
            if !goes_on {
                return;
            }
            if self.role == Role::Whole {
                self.tell_load();
            }
        }
    }

    /// `false`: the pipeline is over.
    fn tag(&mut self, tag: SourceTag, arrived: Instant) -> bool {
        self.heard = Instant::now();
        self.outlets.retain(|outlet| !outlet.running.is_over());
        if self.outlets.is_empty() {
            if self.role == Role::Joins {
                return false;
            }
            // Nobody wants pictures: who comes begins at a keyframe.
            if !self.shared.meeting.has_wishes() && tag.is_frame() {
                self.source.reconnected();
                return true;
            }
        }
        if tag.kind == TagKind::Video {
            self.arrivals.truncate(ARRIVALS_MAX - 1);
            self.arrivals.push_front((tag.timestamp_ms, arrived));
        }
        if let Err(unfit) = self.source.push(tag.kind, tag.timestamp_ms, tag.body) {
            return self.unfit(&unfit);
        }
        while let Some(piece) = self.source.poll() {
            if !self.piece(&piece, arrived) {
                return false;
            }
        }
        let newest_ms = self.source.newest_ms();
        match self.role {
            Role::Whole => self.shared.meeting.at(newest_ms),
            Role::Joins if self.handover.is_none() && self.shared.meeting.is_near(newest_ms) => self.wish(),
            Role::Joins => {}
        }
        if self.pace.is_too_slow(Instant::now(), arrived.elapsed()) {
            shed(&self.outlets, &mut self.load.shed);
        }
        true
    }

    /// `false`: the pipeline is over.
    fn piece(&mut self, piece: &Piece, arrived: Instant) -> bool {
        match piece {
            Piece::Params(_) => self.params = Some(piece.clone()),
            Piece::Metadata(_) => self.metadata = Some(piece.clone()),
            Piece::Audio { header: true, .. } => self.audio = Some(piece.clone()),
            Piece::Audio { .. } => {}
            Piece::Picture(shown) => match self.role {
                Role::Whole => {
                    if let Some(Piece::Params(params)) = &self.params {
                        self.shared.meeting.show(shown, params.colour);
                    }
                    if shown.keyframe {
                        self.take(shown.dts_ms, arrived);
                    }
                }
                Role::Joins => {
                    if shown.keyframe && self.is_taken_before(shown.dts_ms) {
                        self.hand_over();
                        return false;
                    }
                }
            },
        }
        // What viewers of the source have got is that frame of its own order, not the one that let this one go.
        let came = match piece {
            Piece::Picture(shown) => {
                let of = |(stamp, _): &&(u32, Instant)| *stamp == shown.dts_ms as u32;
                self.arrivals.iter().find(of).map_or(arrived, |(_, came)| *came)
            }
            _ => arrived,
        };
        let Self { outlets, pace, load, shared, .. } = self;
        let runnings: Vec<Arc<Running>> = outlets.iter().map(|outlet| Arc::clone(&outlet.running)).collect();
        outlets.retain(|outlet| {
            outlet.give(piece, came, || {
                if pace.is_too_slow(Instant::now(), arrived.elapsed()) {
                    shed_of(&runnings, &mut load.shed);
                }
                !shared.is_over()
            })
        });
        true
    }

    /// Takes over what others wish, with the headers in force.
    fn take(&mut self, keyframe_ms: i64, arrived: Instant) {
        for outlet in self.shared.meeting.take(keyframe_ms) {
            let mut headers = [&self.metadata, &self.params, &self.audio].into_iter().flatten();
            if headers.all(|header| outlet.give(header, arrived, || false)) {
                self.outlets.push(outlet);
            }
        }
    }

    /// Wishes that the job's pipeline takes over.
    fn wish(&mut self) {
        let (mut rest, mut outlets) = (Vec::new(), Vec::new());
        for outlet in &self.outlets {
            let (feed, pieces) = queue(FEED_WEIGHT_MAX);
            let running = Arc::clone(&outlet.running);
            rest.push((Arc::clone(&running), pieces));
            outlets.push(Outlet { running, feed });
        }
        self.handover = Some(Handover { wish: self.shared.meeting.wish(outlets), rest });
    }

    /// Whether the job's pipeline gives what begins with this keyframe.
    fn is_taken_before(&self, keyframe_ms: i64) -> bool {
        let Some(handover) = &self.handover else { return false };
        let taken = self.shared.meeting.taken_at(handover.wish, TAKE_WAIT);
        taken.is_some_and(|taken_ms| taken_ms <= keyframe_ms)
    }

    /// Lets the encoders go on with what the job's pipeline gives.
    fn hand_over(&mut self) {
        if self.handover.is_none() {
            self.wish();
        }
        let Some(handover) = self.handover.take() else { return };
        tracing::debug!(job = self.shared.id, "renditions go over to the job's decoder");
        for (running, rest) in handover.rest {
            let Some(outlet) = self.outlets.iter().find(|outlet| Arc::ptr_eq(&outlet.running, &running)) else {
                continue;
            };
            // The encoder takes all that waits before it; nothing is heavier than the queue.
            if outlet.feed.push(Feed::Continue(rest), 0, Duration::from_secs(2)).is_err() {
                running.end(Why::TooSlow, None);
            }
        }
        self.shared.meeting.done(handover.wish);
    }

    /// Nothing came for a while. `false`: the pipeline is over.
    fn silence(&mut self) -> bool {
        let taken =
            self.handover.as_ref().is_some_and(|it| self.shared.meeting.taken_at(it.wish, Duration::ZERO).is_some());
        if taken && self.heard.elapsed() > SILENT {
            self.hand_over();
            return false;
        }
        self.role == Role::Whole || self.outlets.iter().any(|outlet| !outlet.running.is_over())
    }

    /// The source is no more. `false`: the pipeline is over.
    fn over(&mut self, error: &SourceError) -> bool {
        match (self.role, error) {
            // The job's pipeline finds out by itself.
            (Role::Joins, _) => self.hand_over(),
            (Role::Whole, SourceError::Gone) => self.shared.end(Why::Gone, None),
            (Role::Whole, error) => self.shared.end(Why::BadOrder, Some(error.to_string())),
        }
        false
    }

    fn unfit(&mut self, unfit: &Unfit) -> bool {
        match self.role {
            Role::Joins => self.hand_over(),
            Role::Whole => self.shared.end(unfit.why(), Some(unfit.to_string())),
        }
        false
    }

    fn tell_load(&mut self) {
        let since = self.load.since.elapsed();
        if since < LOAD_EVERY {
            return;
        }
        let stats = self.source.stats();
        let decoded = stats.decoded - self.load.decoded;
        (self.load.since, self.load.decoded) = (Instant::now(), stats.decoded);
        self.shared.reporter.tell(Report::Load {
            job: self.shared.id,
            decoded_fps: decoded as f32 / since.as_secs_f32(),
            behind_ms: self.outlets.iter().map(|outlet| outlet.running.behind_ms()).max().unwrap_or_default(),
            frames_lost: stats.lost,
            connections: self.connections,
            shed: self.load.shed.clone(),
        });
    }
}

/// Ends the highest rendition.
fn shed(outlets: &[Outlet], shed: &mut Vec<String>) {
    let runnings: Vec<Arc<Running>> = outlets.iter().map(|outlet| Arc::clone(&outlet.running)).collect();
    shed_of(&runnings, shed);
}

fn shed_of(runnings: &[Arc<Running>], shed: &mut Vec<String>) {
    let standing = runnings.iter().filter(|running| !running.is_over());
    if let Some(highest) = standing.max_by_key(|running| running.height_of_target()) {
        shed.push(highest.name.clone());
        highest.end(Why::TooSlow, None);
    }
}
