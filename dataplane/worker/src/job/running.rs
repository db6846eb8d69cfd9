//! One rendition at work: its state, and where pieces are given to it. Before it: [`super::pipeline`], which gives; after it: [`super::encoder`].
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::time::{Duration, Instant};

use super::shared::Shared;
use crate::capacity;
use crate::ffmpeg::Ffmpeg;
use crate::mark::MarkSet;
use crate::protocol::{PictureCodec, Rendition, Report, SecretUrl, Why};
use crate::queue::{NotPushed, Receiver, Sender};
use crate::room::Room;
use crate::transcode::{Piece, Target};

/// What a picture weighs in the queue to an encoder, and what else comes.
const PICTURE_WEIGHT: usize = 64;
/// Eight pictures, or fewer and audio.
pub(super) const FEED_WEIGHT_MAX: usize = 8 * PICTURE_WEIGHT;

/// What goes to an encoder.
#[derive(Debug)]
pub(super) enum Feed {
    /// A piece, and when the tag that it was made from came.
    Piece(Piece, Instant),
    /// The rest comes here.
    Continue(Receiver<Feed>),
}

/// Where a pipeline gives pieces to one rendition.
#[derive(Debug)]
pub(super) struct Outlet {
    pub(super) running: Arc<Running>,
    pub(super) feed: Sender<Feed>,
}

impl Outlet {
    /// Gives a piece; `false`: nobody takes it any more. Waits for room as long as `patience` says so.
    pub(super) fn give(&self, piece: &Piece, arrived: Instant, mut patience: impl FnMut() -> bool) -> bool {
        let weight = if matches!(piece, Piece::Picture(_)) { PICTURE_WEIGHT } else { 1 };
        let mut feed = Feed::Piece(piece.clone(), arrived);
        loop {
            match self.feed.push(feed, weight, Duration::from_millis(50)) {
                Ok(()) => return true,
                Err(NotPushed::Closed) => return false,
                Err(NotPushed::Full(back)) => feed = back,
            }
            if self.running.is_over() || !patience() {
                return false;
            }
        }
    }
}

/// A rendition's state.
#[derive(Debug)]
pub(super) struct Running {
    shared: Arc<Shared>,
    pub(super) name: String,
    pub(super) push: SecretUrl,
    pub(super) target: Target,
    over: AtomicBool,
    width: AtomicU32,
    height: AtomicU32,
    behind_ms: AtomicU32,
}

impl Running {
    pub(super) fn new(shared: Arc<Shared>, rendition: &Rendition) -> Self {
        Self {
            shared,
            name: rendition.name.clone(),
            push: rendition.push.clone(),
            target: Target {
                within: (rendition.width_max, rendition.height_max),
                kbit_s: rendition.video_kbit_s,
                codec: rendition.codec,
            },
            over: AtomicBool::new(false),
            width: AtomicU32::new(0),
            height: AtomicU32::new(0),
            behind_ms: AtomicU32::new(0),
        }
    }

    pub(super) fn is_over(&self) -> bool {
        self.over.load(Ordering::Relaxed) || self.shared.is_over()
    }

    /// Ends it, and tells why, once; of a job that is over as a whole, only that is told.
    pub(super) fn end(&self, why: Why, error: Option<String>) {
        if !self.over.swap(true, Ordering::Relaxed) && !self.shared.is_over() {
            let job = self.shared.id;
            tracing::info!(job, rendition = self.name, ?why, error, "rendition over");
            self.shared.reporter.tell(Report::Ended { job, rendition: Some(self.name.clone()), why, error });
        }
    }

    /// The node has said yes.
    pub(super) fn started(&self) {
        let (job, rendition) = (self.shared.id, self.name.clone());
        let (width, height) = (self.width.load(Ordering::Relaxed), self.height.load(Ordering::Relaxed));
        tracing::info!(job, rendition, width, height, "rendition on air");
        self.shared.reporter.tell(Report::Started { job, rendition, width, height });
    }

    pub(super) fn set_size(&self, (width, height): (u32, u32)) {
        self.width.store(width, Ordering::Relaxed);
        self.height.store(height, Ordering::Relaxed);
    }

    /// A tag was sent so long after its source came.
    pub(super) fn sent(&self, behind: Duration) {
        self.behind_ms.fetch_max(u32::try_from(behind.as_millis()).unwrap_or(u32::MAX), Ordering::Relaxed);
    }

    /// The longest of those since the last call, milliseconds.
    pub(super) fn behind_ms(&self) -> u32 {
        self.behind_ms.swap(0, Ordering::Relaxed)
    }

    /// By which the highest rendition is known.
    pub(super) fn height_of_target(&self) -> (u32, u32) {
        (self.target.within.0.saturating_mul(self.target.within.1), self.target.kbit_s)
    }

    /// What is drawn over its pictures.
    pub(super) fn marks(&self) -> Option<Arc<MarkSet>> {
        self.shared.marks()
    }

    /// What may encode in place of OpenH264.
    pub(super) fn ffmpeg(&self) -> Option<Ffmpeg> {
        self.shared.ffmpeg.clone()
    }

    /// What there is for renditions; of AV1 measured where it is needed.
    pub(super) fn room(&self) -> Room {
        let room = self.shared.room.clone();
        if self.target.codec == PictureCodec::Av1 {
            room.measured_av1(capacity::measure_av1);
        }
        room
    }

    pub(super) fn job(&self) -> u64 {
        self.shared.id
    }
}
