//! What workers say, and who hears of it: control, the tasks and shards that asked. Before it: [`crate::process`], which reads the reports.
use std::sync::atomic::Ordering;
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use millstream_control_protocol::event::{Event, What};
use millstream_engine::renditions::NoPicture;
use millstream_proto::id::Id;
use millstream_worker::protocol::{Capacity, Report};

use super::{Shared, held};
use crate::crashes::in_words;
use crate::snapshots::{Asker, Picture};
use crate::states::States;
use crate::table::{Told, Wanted};

/// Characters of what is told of a watermark.
const WHY_CHARS_MAX: usize = 300;

impl Shared {
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
    pub(super) fn changes(&self, change: impl FnOnce(&mut States, &Wanted) -> Vec<(Id, What)>) {
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

    /// How a stream's job does, by the worker's words.
    pub(crate) fn heard_of_load(&self, stream: &Id, decoded_fps: f32, behind_ms: u32) {
        self.loads().heard(stream, (decoded_fps, behind_ms), Instant::now());
    }

    /// Takes what came of a sprite.
    pub(crate) fn heard_of_sprite(&self, report: &Report, payload: &Bytes) {
        if self.sprites().heard(report, payload) {
            self.notify.notify_one();
        }
    }

    /// Takes what was seen of a stream.
    pub(crate) fn heard_of_motion(&self, report: &Report, payload: &Bytes) {
        self.watches().heard(report, payload, Instant::now());
    }

    /// Takes the last report of a worker that a fault ends. True: one stream is to blame, which is left out from here on.
    pub(crate) fn heard_of_crash(&self, told: &Told, report: &Report) -> bool {
        let Report::Crashed { job, watch, request } = report else { return false };
        let of_job = job.and_then(|job| told.stream_of(job).cloned());
        let of_watch = || watch.and_then(|watch| self.watches().stream_of(watch).cloned());
        let of_request = || self.snapshots().stream_of((*request)?).cloned();
        let Some(stream) = of_job.or_else(of_watch).or_else(of_request) else { return false };
        let now = Instant::now();
        let wait = self.crashes().add(&stream, now);
        self.has_crashes.store(true, Ordering::Relaxed);
        let why = in_words(wait);
        tracing::error!(%stream, left_out_s = wait.as_secs(), "a thread that worked for this stream has ended the worker: the stream is left out for a while; please report it, with a recording of the stream");
        self.watches().leave_out(&stream, now + wait, &why);
        let askers = self.snapshots().give_up(&stream);
        for asker in askers {
            self.tell_picture(&stream, asker, Err(NoPicture::LeftOut(why.clone())));
        }
        self.changes(|states, wanted| states.crashed(&stream, &why, wanted, now + wait));
        true
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

    pub(super) fn tell_picture(&self, stream: &Id, asker: Asker, picture: Picture) {
        match (asker, self.engine.get()) {
            (Asker::Shard(shard), Some(engine)) => engine.snapshot(shard, stream.clone(), picture),
            (Asker::Shard(_), None) => {}
            // It may have given up.
            (Asker::Task(task), _) => drop(task.send(picture)),
        }
    }

    /// Takes what a worker says of the marks of a stream.
    pub(crate) fn heard_of_marks(&self, stream: Option<&Id>, report: &Report) {
        let (Some(stream), Report::Marked { lacking, error, .. }) = (stream, report) else { return };
        let told = self.marks().heard(stream, lacking, error.as_deref());
        for why in told {
            self.tell_of_marks(stream, &why);
        }
    }

    pub(super) fn tell_of_marks(&self, stream: &Id, why: &str) {
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

    /// Keeps which renditions this machine is too slow for.
    pub(crate) fn sheds(&self, told: &Told) {
        let shed = told.shed(&self.wanted(), Instant::now());
        *held(&self.shed) = shed;
    }

    /// So many renditions are made.
    pub(crate) fn is_started(&self, started: usize) {
        self.started.store(started, Ordering::Relaxed);
    }
}
