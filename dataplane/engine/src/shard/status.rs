//! Whether a stream is on air, as its owner's shard knows it, for whoever asks any shard: what `/<id>/live.json` says. Before it: the
//! stream handle; after it: [`crate::egress::status`], which writes it down.
//!
//! A shard that does not own the stream asks the owner by mailbox, and remembers the answer for a moment: a crowd whose stream has just been
//! interrupted costs the owner four questions a second and shard.
use std::cell::RefCell;
use std::collections::HashMap;
use std::rc::Rc;
use std::time::Duration;

use millstream_hub::findings::{Dropped, Findings};
use millstream_hub::publisher_stats::Reading;
use millstream_proto::codec::Shape;
use millstream_proto::id::Id;
use millstream_proto::media::Track;
use millstream_proto::time::Time;

use super::Shard;
use super::mailbox::Mail;
use super::stream_handle::NotPlayable;
use super::view::name;
use super::wait::{Either, Place, Waiters, select};
use crate::clock::unix_ms;
use crate::io::sleep_until;

/// An answer of the owner is good for this long.
const FRESH: Duration = Duration::from_millis(250);
/// A question that was not answered is asked again after this long.
const ASK_AGAIN: Duration = Duration::from_millis(500);
/// The owner answers within this time, or who asked is told to come again.
const ANSWER_WAIT: Duration = Duration::from_secs(2);
/// Streams of other shards that answers are remembered of.
const REMEMBERED_MAX: usize = 4_096;
/// A publisher that has sent no frame for this long, and for [`SILENT_FRAMES`] times what it takes to send one, is silent.
const SILENT_AFTER: Duration = Duration::from_millis(1_500);
const SILENT_FRAMES: u32 = 4;

/// What a stream is doing.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Phase {
    /// Nobody publishes it, and nobody is waited for.
    Off,
    /// Somebody has begun to publish, and has sent no frame yet.
    Starting,
    /// Frames come.
    Live,
    /// Its publisher is connected, and has stopped sending.
    Silent,
    /// Its publisher has gone, and is waited for.
    Waiting,
    /// The same, and viewers get its slate.
    Slate,
}

/// A track as people and players name it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct TrackStatus {
    pub(crate) track: Track,
    /// RFC 6381's name, or a FourCC.
    pub(crate) codec: String,
    pub(crate) shape: Option<Shape>,
}

/// The status of a stream.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Status {
    pub(crate) phase: Phase,
    /// Since when, Unix milliseconds; 0 where it is off.
    pub(crate) since_unix_ms: u64,
    /// Which publisher, of this run of the server; 0 without one.
    pub(crate) publication: u64,
    pub(crate) tracks: Vec<TrackStatus>,
    /// Tracks that some outputs do not carry, or none.
    pub(crate) left_out: Vec<Dropped>,
}

impl Status {
    /// Of a stream that nobody publishes.
    fn off() -> Self {
        Self { phase: Phase::Off, since_unix_ms: 0, publication: 0, tracks: Vec::new(), left_out: Vec::new() }
    }
}

/// Answers about streams of other shards.
#[derive(Default)]
pub(crate) struct Statuses {
    remembered: RefCell<HashMap<Id, Remembered>>,
}

#[derive(Default)]
struct Remembered {
    /// Who waits for an answer about this stream.
    waiters: Rc<Waiters>,
    asked_at: Option<Time>,
    told: Option<Told>,
}

/// An answer of the owner.
struct Told {
    at: Time,
    status: Status,
}

/// What a shard knows of another's stream.
enum Known {
    Told(Status),
    /// Its owner has been asked; who waits here is woken when it has answered.
    Asked(Rc<Waiters>),
}

impl Remembered {
    fn fresh(&self, now: Time) -> Option<&Status> {
        self.told.as_ref().filter(|told| now.since(told.at) <= FRESH).map(|told| &told.status)
    }

    fn is_asked(&self, now: Time) -> bool {
        self.asked_at.is_some_and(|at| now.since(at) <= ASK_AGAIN)
    }
}

impl Statuses {
    pub(super) fn sweep(&self, now: Time) {
        self.remembered.borrow_mut().retain(|_, known| known.fresh(now).is_some() || known.is_asked(now));
    }

    fn told(&self, id: &Id, status: Status, now: Time) {
        if let Some(known) = self.remembered.borrow_mut().get_mut(id) {
            known.asked_at = None;
            known.told = Some(Told { at: now, status });
            known.waiters.wake_all();
        }
    }
}

impl Shard {
    /// The status of a stream, whichever shard owns it.
    pub(crate) async fn status(&self, id: &Id) -> Result<Status, NotPlayable> {
        if self.owner(id) == self.index {
            return Ok(self.own_status(id));
        }
        let deadline = self.now() + ANSWER_WAIT;
        loop {
            let place = Place::default();
            let now = self.now();
            let waiters = match self.remembered_status(id, now)? {
                Known::Told(status) => return Ok(status),
                Known::Asked(waiters) => waiters,
            };
            let told = waiters.changed(waiters.seen(), &place);
            if let Either::B(()) = select(told, sleep_until(self.clock.instant(deadline.min(now + ASK_AGAIN)))).await
                && self.now() >= deadline
            {
                return Err(NotPlayable::Busy);
            }
        }
    }

    /// What the owner said a moment ago; else it is asked.
    fn remembered_status(&self, id: &Id, now: Time) -> Result<Known, NotPlayable> {
        let remembered = &mut *self.statuses.remembered.borrow_mut();
        if let Some(known) = remembered.get(id) {
            if let Some(status) = known.fresh(now) {
                return Ok(Known::Told(status.clone()));
            }
            if known.is_asked(now) {
                return Ok(Known::Asked(Rc::clone(&known.waiters)));
            }
        } else if remembered.len() >= REMEMBERED_MAX
            && let Some(any) = remembered.keys().next().cloned()
        {
            // Made-up names push out each other, and now and then one that is asked for: its question is put again.
            remembered.remove(&any);
        }
        let (from, about) = (self.index, id.clone());
        let ask = Mail::Work(Box::new(move |owner: &Rc<Shard>| {
            let status = owner.own_status(&about);
            let answer =
                Mail::Work(Box::new(move |asker: &Rc<Shard>| asker.statuses.told(&about, status, asker.now())));
            // Without room the asker asks again.
            drop(owner.put(from, answer));
        }));
        self.put(self.owner(id), ask).map_err(|_| NotPlayable::Busy)?;
        let known = remembered.entry(id.clone()).or_default();
        known.asked_at = Some(now);
        Ok(Known::Asked(Rc::clone(&known.waiters)))
    }

    /// The status of a stream that this shard owns.
    fn own_status(&self, id: &Id) -> Status {
        let now = self.now();
        self.live(id).and_then(|handle| handle.status(now)).unwrap_or_else(Status::off)
    }
}

/// What a publisher's session number, readings and findings say of its stream.
pub(super) fn of_publisher(publication: u64, reading: &Reading, findings: &Findings, now: Time) -> Status {
    let frames = reading.video_frames + reading.audio_frames;
    let sent_for = now.since(reading.since).saturating_sub(reading.heard_ago);
    let per_frame = sent_for.checked_div(u32::try_from(frames).unwrap_or(u32::MAX)).unwrap_or_default();
    let silent = reading.heard_ago > SILENT_AFTER.max(per_frame * SILENT_FRAMES);
    let (phase, ago) = match frames {
        0 => (Phase::Starting, now.since(reading.since)),
        _ if silent => (Phase::Silent, reading.heard_ago),
        _ => (Phase::Live, now.since(reading.since)),
    };
    let left_out = findings.dropped().cloned().collect();
    Status { phase, since_unix_ms: before(ago), publication, tracks: tracks(reading), left_out }
}

/// What is said while a publisher is waited for that left so long ago.
pub(super) fn of_absence(ago: Duration, publication: u64, last: &Reading, findings: &Findings) -> Status {
    let left_out = findings.dropped().cloned().collect();
    Status { phase: Phase::Waiting, since_unix_ms: before(ago), publication, tracks: tracks(last), left_out }
}

/// What is said while viewers get the slate, since so long ago.
pub(super) fn of_slate(ago: Duration, publication: u64, last: &Reading, findings: &Findings) -> Status {
    Status { phase: Phase::Slate, ..of_absence(ago, publication, last, findings) }
}

fn before(ago: Duration) -> u64 {
    unix_ms().saturating_sub(u64::try_from(ago.as_millis()).unwrap_or(u64::MAX))
}

fn tracks(reading: &Reading) -> Vec<TrackStatus> {
    let both = [(Track::Video, &reading.video), (Track::Audio, &reading.audio)];
    let status = |(track, coding): (Track, &Option<millstream_hub::publisher_stats::Coding>)| {
        let coding = coding.clone()?;
        let shape = coding.summary.as_ref().and_then(|summary| summary.shape);
        Some(TrackStatus { track, codec: name(track, coding), shape })
    };
    both.into_iter().filter_map(status).collect()
}
