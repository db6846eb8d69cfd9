//! What all threads of a job share. Before it: [`super::Job`]; after it: each of the threads.
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, Weak};

use super::meeting::Meeting;
use crate::ffmpeg::Ffmpeg;
use crate::mark::MarkSet;
use crate::net::source::stream_of;
use crate::picture::{Colour, Picture};
use crate::protocol::{Capacity, Report, SecretUrl, Why};
use crate::queue::lock;
use crate::reporter::Reporter;
use crate::room::Room;

/// What a job's threads share.
#[derive(Debug)]
pub(super) struct Shared {
    pub(super) id: u64,
    pub(super) source: SecretUrl,
    pub(super) reporter: Reporter,
    /// The job is over.
    over: AtomicBool,
    pub(super) meeting: Meeting,
    marks: Mutex<Option<Arc<MarkSet>>>,
    pub(super) ffmpeg: Option<Ffmpeg>,
    pub(super) room: Room,
}

impl Shared {
    pub(super) fn new(id: u64, source: SecretUrl, reporter: Reporter, (ffmpeg, room): (Option<Ffmpeg>, Room)) -> Self {
        Self {
            id,
            source,
            reporter,
            over: AtomicBool::new(false),
            meeting: Meeting::default(),
            marks: Mutex::default(),
            ffmpeg,
            room,
        }
    }

    /// Whether the job is over.
    pub(super) fn is_over(&self) -> bool {
        self.over.load(Ordering::Relaxed)
    }

    /// Ends the job, and tells why, once.
    pub(super) fn end(&self, why: Why, error: Option<String>) {
        if !self.over.swap(true, Ordering::Relaxed) {
            tracing::info!(job = self.id, ?why, error, "job over");
            self.reporter.tell(Report::Ended { job: self.id, rendition: None, why, error });
        }
    }

    /// What is drawn over renditions.
    pub(super) fn marks(&self) -> Option<Arc<MarkSet>> {
        lock(&self.marks).clone()
    }

    /// Draws these over renditions from the next picture on.
    pub(super) fn set_marks(&self, marks: Option<Arc<MarkSet>>) {
        *lock(&self.marks) = marks;
    }

    /// Ends the job without a word.
    pub(super) fn leave(&self) {
        self.over.store(true, Ordering::Relaxed);
    }
}

/// The jobs that stand, for whoever wants a picture that is decoded anyway. Cheap to clone.
#[derive(Clone, Debug, Default)]
pub(crate) struct Jobs {
    standing: Arc<Mutex<Vec<Weak<Shared>>>>,
    ffmpeg: Option<Ffmpeg>,
    room: Room,
}

impl Jobs {
    /// Without any; with an `ffmpeg` that decodes and encodes for them, on a machine that does as much.
    pub(crate) fn new(ffmpeg: Option<Ffmpeg>, capacity: Capacity) -> Self {
        Self { standing: Arc::default(), ffmpeg, room: Room::new(capacity) }
    }

    /// What there is for renditions.
    pub(super) fn room(&self) -> Room {
        self.room.clone()
    }

    /// What decodes and encodes beside OpenH264.
    pub(crate) fn ffmpeg(&self) -> Option<Ffmpeg> {
        self.ffmpeg.clone()
    }

    pub(super) fn add(&self, job: &Arc<Shared>) {
        let mut jobs = lock(&self.standing);
        jobs.retain(|job| job.strong_count() > 0);
        jobs.push(Arc::downgrade(job));
    }

    /// The newest picture of a stream that a job is made of, its colours and when it is shown, if it is fresh. `stream`: see [`stream_of`].
    pub(crate) fn newest(&self, stream: &str) -> Option<(Arc<Picture>, Colour, u32)> {
        let jobs = lock(&self.standing);
        let standing = jobs.iter().filter_map(Weak::upgrade).filter(|job| !job.is_over());
        standing.into_iter().find_map(|job| (stream_of(&job.source) == stream).then(|| job.meeting.newest())?)
    }
}
