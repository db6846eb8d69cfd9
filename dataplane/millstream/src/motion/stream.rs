//! What becomes of what is seen of one stream: events to control, pictures and films to the store. Before it: [`super::Follower`] gives segments, and a
//! worker says what it sees; after it: [`super::keep`].
//!
//! A film is made once the stream is past its motion's end. It begins [`PRE_ROLL_MS`] before the motion, or a little more: with a whole segment.
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use bytes::Bytes;
use millstream_control_protocol::event::{MotionRegion, What};
use millstream_control_protocol::live;
use millstream_proto::id::Id;
use millstream_proto::recorded::DatedKind;
use millstream_recorder::movie::reel::{Bounds, Film, Reel};
use millstream_transcoder::{Change, Region, Seen, WhyEnded};
use tokio::sync::mpsc::Receiver;
use tokio::time::sleep_until;

use super::keep::{keep, path};
use super::{Feed, OneAtWork, Shared};
use crate::clock::unix_ms;

/// What a film shows before the motion, milliseconds.
const PRE_ROLL_MS: u64 = 5_000;
/// Motion is told so long after it began, and a segment is closed so long after it did, at most: what is held on top of the pre-roll.
const LATE_MS: u64 = 10_000;
const REEL: Bounds = Bounds { back_ms: PRE_ROLL_MS + LATE_MS, bytes_max: 96 << 20, all_bytes_max: 1 << 30 };
/// An event whose end was not told in its time, and this long after it, is over.
const END_WAIT: Duration = Duration::from_secs(10);
/// The segment with a motion's end is waited for so long.
const SEGMENT_WAIT: Duration = Duration::from_secs(90);
/// Films that wait for their segments: one lasts as long as its motion at least, so there are few.
const FILMS_MAX: usize = 8;
/// Characters of what a hook calls it.
const LABEL_CHARS_MAX: usize = 64;
/// What begins sooner after the last one is not believed: the least that an event lasts is a second.
const BEGIN_EVERY: Duration = Duration::from_millis(500);

/// A stream that is watched.
pub(super) struct Stream {
    shared: Arc<Shared>,
    id: Id,
    reel: Reel,
    active: Option<Active>,
    /// Those whose segments are not all there.
    films: Vec<Waiting>,
    /// When the last motion began, Unix milliseconds.
    last_unix_ms: u64,
    /// When one was told to begin.
    begun: Option<Instant>,
    /// A worker looks at it; else as many are watched as can be.
    is_wanted: bool,
    /// An event lasts no longer.
    timeout: Duration,
    /// Which of the tasks of this stream it is: the one before may still be ending.
    number: u64,
    state: live::Motion,
}

struct Active {
    from_unix_ms: u64,
    began: Instant,
    score: f64,
    picture: String,
    /// It is over then, whatever is told.
    until: Instant,
}

/// A film that is to be made.
struct Waiting {
    motion_from_unix_ms: u64,
    /// On the stream's timeline, milliseconds.
    from_ms: u64,
    /// When the motion began, on the same.
    about_ms: u64,
    /// The motion's end; `None`: it goes on.
    to_ms: Option<u64>,
    /// Made of what there is then.
    until: Option<Instant>,
}

/// Bytes of a film on its way to the store, which count as held.
struct OnItsWay {
    shared: Arc<Shared>,
    bytes: usize,
}

impl OnItsWay {
    /// `None`: there is no room.
    fn of(shared: &Arc<Shared>, film: &Film) -> Option<Self> {
        let bytes = usize::try_from(film.bytes()).ok()?;
        let held = shared.held.fetch_add(bytes, Ordering::Relaxed);
        let on_its_way = Self { shared: Arc::clone(shared), bytes };
        (held.saturating_add(bytes) <= REEL.all_bytes_max).then_some(on_its_way)
    }
}

impl Drop for OnItsWay {
    fn drop(&mut self) {
        self.shared.held.fetch_sub(self.bytes, Ordering::Relaxed);
    }
}

impl Stream {
    pub(super) fn new(shared: Arc<Shared>, id: Id, timeout: Duration, is_wanted: bool) -> Self {
        let reel = Reel::new(REEL, Arc::clone(&shared.held));
        let why = (!is_wanted).then(|| "as many streams are watched as a worker takes".to_owned());
        let number = shared.numbers.tasks.fetch_add(1, Ordering::Relaxed);
        Self {
            shared,
            id,
            reel,
            active: None,
            films: Vec::new(),
            last_unix_ms: 0,
            begun: None,
            is_wanted,
            timeout,
            number,
            state: live::Motion { why, ..live::Motion::default() },
        }
    }

    /// Until the stream is over, or is no longer to be watched.
    pub(super) async fn run(mut self, mut segments: Receiver<Feed>, mut seen: Receiver<Seen>) {
        self.show();
        loop {
            let timer = async {
                match self.look_at() {
                    Some(at) => sleep_until(at.into()).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                feed = segments.recv() => match feed {
                    Some(Feed::Began) => self.reel.began(),
                    // What nobody looks at needs no film.
                    Some(Feed::Segment(segment)) if self.is_wanted => {
                        if !self.reel.push(*segment) {
                            self.film_up_to_here();
                        }
                    }
                    Some(Feed::Segment(_)) => {}
                    None => break,
                },
                Some(seen) = seen.recv() => self.see(seen).await,
                () = timer => {}
            }
            self.look().await;
        }
        while let Ok(seen) = seen.try_recv() {
            self.see(seen).await;
        }
        self.end(None, WhyEnded::Interrupted);
        self.films.iter_mut().for_each(|film| film.until = Some(Instant::now()));
        self.look().await;
        let mut streams = self.shared.streams();
        if streams.get(self.id.as_str()).is_some_and(|(number, _)| *number == self.number) {
            streams.remove(self.id.as_str());
        }
    }

    async fn see(&mut self, seen: Seen) {
        match seen {
            Seen::Watched { pictures_s, .. } => {
                (self.state.watched, self.state.why) = (true, None);
                // A worker is not believed: a number that JSON does not have would cost the node its report.
                let pictures_s = if pictures_s.is_finite() { f64::from(pictures_s).clamp(0.0, 1_000.0) } else { 0.0 };
                self.state.pictures_s = (pictures_s * 10.0).round() / 10.0;
            }
            // Nor that things begin to move all the time.
            Seen::Motion { change: Change::Started { .. }, .. }
                if self.begun.is_some_and(|begun| begun.elapsed() < BEGIN_EVERY) => {}
            Seen::Motion { now_ms, change: Change::Started { pts_ms, until_ms, score, regions, label }, picture } => {
                self.begun = Some(Instant::now());
                self.end(None, WhyEnded::Interrupted);
                self.begin((now_ms, pts_ms, until_ms), score, (&regions, label), picture).await;
            }
            Seen::Motion { now_ms, change: Change::Extended { until_ms, score }, .. } => {
                if let Some(active) = &mut self.active {
                    (active.until, active.score) = (until(now_ms, until_ms, self.timeout), score);
                    self.state.score = score;
                }
            }
            Seen::Motion { change: Change::Ended { pts_ms, score, why }, .. } => {
                if let Some(active) = &mut self.active {
                    active.score = score;
                }
                self.end(Some(self.on_timeline(pts_ms)), why);
            }
            Seen::Lost { why } => {
                tracing::info!(stream = %self.id, why, "motion is not looked for; it is tried again");
                self.end(None, WhyEnded::Interrupted);
                self.state = live::Motion { why: Some(why), ..live::Motion::default() };
            }
            _ => {}
        }
        self.show();
    }

    async fn begin(
        &mut self,
        times: (i64, i64, i64),
        score: f64,
        (regions, label): (&[Region], String),
        picture: Bytes,
    ) {
        let (now_ms, pts_ms, until_ms) = times;
        let at_ms = self.on_timeline(pts_ms);
        let ago_ms = u64::try_from(now_ms.saturating_sub(pts_ms)).unwrap_or_default();
        let from_unix_ms = self.reel.date_unix_ms(at_ms).unwrap_or_else(|| unix_ms().saturating_sub(ago_ms));
        // Two of them never have one name.
        let from_unix_ms = from_unix_ms.max(self.last_unix_ms + 1);
        self.last_unix_ms = from_unix_ms;
        self.shared.numbers.events.fetch_add(1, Ordering::Relaxed);
        let (below, whole) = path(&self.id, DatedKind::MotionImage, from_unix_ms);
        let (below, has_picture) = if picture.is_empty() { (String::new(), false) } else { (below, true) };
        let told = What::Motion {
            active: true,
            from_unix_ms,
            lasted_ms: 0,
            score,
            regions: regions.iter().map(shown).collect(),
            picture: below.clone(),
            label: label.chars().filter(|char| !char.is_control()).take(LABEL_CHARS_MAX).collect(),
            why: String::new(),
        };
        let (shared, id) = (Arc::clone(&self.shared), self.id.clone());
        if has_picture {
            // Whoever hears of the motion finds its picture.
            let at_work = OneAtWork::of(&shared);
            let keeping = async move {
                let is_stored = keep(&shared, &id, &whole, &[picture]).await;
                shared.numbers.pictures.count(is_stored);
                drop(at_work);
            };
            let kept = self.shared.runtime.spawn(keeping);
            // It goes on where the store is slow.
            let _ = tokio::time::timeout(Duration::from_secs(2), kept).await;
        }
        self.shared.tell(&self.id, unix_ms(), told);
        let (began, until) = (Instant::now(), until(now_ms, until_ms, self.timeout));
        self.active = Some(Active { from_unix_ms, began, score, picture: below, until });
        if self.films.len() < FILMS_MAX {
            let (motion_from_unix_ms, from_ms) = (from_unix_ms, at_ms.saturating_sub(PRE_ROLL_MS));
            self.films.push(Waiting { motion_from_unix_ms, from_ms, about_ms: at_ms, to_ms: None, until: None });
        } else {
            let why = "films of earlier motion wait for their segments".to_owned();
            let (path, from_ms) = (String::new(), from_unix_ms);
            let what =
                What::MotionClip { motion_from_unix_ms: from_ms, path, from_unix_ms: 0, duration_ms: 0, bytes: 0, why };
            self.shared.numbers.films.count(false);
            self.shared.tell(&self.id, unix_ms(), what);
        }
        (self.state.since_unix_ms, self.state.score) = (Some(from_unix_ms), score);
    }

    /// The motion that goes on is over: at that moment of the stream's timeline, or now.
    fn end(&mut self, at_ms: Option<u64>, why: WhyEnded) {
        let Some(active) = self.active.take() else { return };
        let word = match why {
            WhyEnded::Still => "still",
            WhyEnded::Timeout => "timeout",
            _ => "interrupted",
        };
        let now_ms = unix_ms();
        let lasted_ms = match at_ms.and_then(|at_ms| self.reel.date_unix_ms(at_ms)) {
            Some(end_ms) => end_ms.saturating_sub(active.from_unix_ms),
            None => u64::try_from(active.began.elapsed().as_millis()).unwrap_or_default(),
        };
        let told = What::Motion {
            active: false,
            from_unix_ms: active.from_unix_ms,
            lasted_ms,
            score: active.score,
            regions: Vec::new(),
            picture: active.picture,
            label: String::new(),
            why: word.to_owned(),
        };
        self.shared.tell(&self.id, now_ms, told);
        let film = self.films.iter_mut().find(|film| film.motion_from_unix_ms == active.from_unix_ms);
        if let Some(film) = film.filter(|film| film.to_ms.is_none()) {
            // Of one whose end is not known, as much as went by.
            let went_ms = u64::try_from(active.began.elapsed().as_millis()).unwrap_or_default();
            let to_ms = at_ms.unwrap_or(film.about_ms + went_ms);
            film.to_ms = Some(to_ms.max(film.about_ms + 1));
            film.until = Some(Instant::now() + SEGMENT_WAIT);
        }
        (self.state.since_unix_ms, self.state.score) = (None, 0.0);
        self.show();
    }

    /// There is no room for more: films end with what there is.
    fn film_up_to_here(&mut self) {
        tracing::warn!(stream = %self.id, "a film of motion ends early: no more is held in memory for it");
        let here_ms = self.reel.reaches_ms().unwrap_or_default();
        for film in &mut self.films {
            film.to_ms = Some(film.to_ms.unwrap_or(here_ms).min(here_ms).max(film.from_ms + 1));
            film.until = Some(Instant::now());
        }
    }

    /// Ends what has to end and makes the films that can be made.
    async fn look(&mut self) {
        let now = Instant::now();
        if self.active.as_ref().is_some_and(|active| now >= active.until) {
            self.end(None, WhyEnded::Interrupted);
        }
        let covers_ms = self.reel.covers_ms().unwrap_or_default();
        let is_due = |film: &Waiting| {
            let is_there = film.to_ms.is_some_and(|to_ms| covers_ms >= to_ms);
            is_there || film.until.is_some_and(|until| now >= until)
        };
        while let Some(at) = self.films.iter().position(is_due) {
            let film = self.films.swap_remove(at);
            self.film(&film).await;
        }
        self.reel.film_from(self.films.iter().map(|film| film.from_ms).min());
    }

    async fn film(&self, waiting: &Waiting) {
        let motion_from_unix_ms = waiting.motion_from_unix_ms;
        let film = self.reel.film(waiting.from_ms, waiting.to_ms.unwrap_or(u64::MAX), waiting.about_ms).await;
        let (shared, id) = (Arc::clone(&self.shared), self.id.clone());
        let told = move |shared: &Shared, what: Result<(String, u64, u64, u64), String>| {
            shared.numbers.films.count(what.is_ok());
            let (path, from_unix_ms, duration_ms, bytes, why) = match what {
                Ok((path, from_unix_ms, duration_ms, bytes)) => (path, from_unix_ms, duration_ms, bytes, String::new()),
                Err(why) => (String::new(), 0, 0, 0, why),
            };
            let what = What::MotionClip { motion_from_unix_ms, path, from_unix_ms, duration_ms, bytes, why };
            shared.tell(&id, unix_ms(), what);
        };
        match film {
            Ok(film) => {
                let id = self.id.clone();
                let Some(on_its_way) = OnItsWay::of(&shared, &film) else {
                    return told(&shared, Err("too many films wait for the store".to_owned()));
                };
                let at_work = OneAtWork::of(&shared);
                self.shared.runtime.spawn(async move {
                    let _counted = (on_its_way, at_work);
                    // By its motion: two of them may begin with one segment.
                    let (below, whole) = path(&id, DatedKind::MotionMp4, motion_from_unix_ms);
                    let is_stored = keep(&shared, &id, &whole, &film.pieces).await;
                    let (from_unix_ms, duration_ms, bytes) = (film.from_unix_ms, film.duration_ms, film.bytes());
                    let lost = || "the store did not take it; the log of the node says why".to_owned();
                    told(&shared, is_stored.then_some((below, from_unix_ms, duration_ms, bytes)).ok_or_else(lost));
                });
            }
            Err(error) => told(&shared, Err(error.to_string())),
        }
    }

    /// A stamp of a worker, which has 32 bits of it, on the stream's timeline.
    fn on_timeline(&self, pts_ms: i64) -> u64 {
        let near_ms = self.reel.reaches_ms();
        near_ms.map_or(u64::try_from(pts_ms).unwrap_or_default(), |near_ms| nearest(pts_ms as u32, near_ms))
    }

    /// When something has to be done without anything being told.
    fn look_at(&self) -> Option<Instant> {
        let films = self.films.iter().filter_map(|film| film.until);
        films.chain(self.active.as_ref().map(|active| active.until)).min()
    }

    /// From here on the API says so.
    fn show(&self) {
        let mut streams = self.shared.streams();
        if streams.get(self.id.as_str()).is_none_or(|(number, _)| *number <= self.number) {
            streams.insert(self.id.to_string(), (self.number, self.state.clone()));
        }
    }
}

/// When an event is over that was to end then, at the latest.
fn until(now_ms: i64, until_ms: i64, timeout: Duration) -> Instant {
    let left_ms = u64::try_from(until_ms.saturating_sub(now_ms)).unwrap_or_default();
    Instant::now() + Duration::from_millis(left_ms).min(timeout) + END_WAIT
}

/// The moment with this stamp that is nearest to another one.
fn nearest(stamp_ms: u32, near_ms: u64) -> u64 {
    let step_ms = stamp_ms.wrapping_sub(near_ms as u32) as i32;
    near_ms.saturating_add_signed(step_ms.into())
}

fn shown(region: &Region) -> MotionRegion {
    let Region { x, y, width, height, score } = *region;
    MotionRegion { x, y, width, height, score }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stamps_of_32_bits_are_near_what_is_known() {
        assert_eq!(nearest(5_000, 3_000), 5_000);
        assert_eq!(nearest(3_000, 5_000), 3_000);
        // Behind seven weeks.
        let wrap = 1_u64 << 32;
        assert_eq!(nearest(200, wrap - 300), wrap + 200);
        assert_eq!(nearest(u32::MAX - 99, 5 * wrap + 400), 5 * wrap - 100);
    }

    #[test]
    fn an_event_that_is_not_ended_in_its_time_has_some_more() {
        let timeout = Duration::from_mins(1);
        let left = |now_ms, until_ms| until(now_ms, until_ms, timeout).duration_since(Instant::now()).as_secs();
        assert_eq!(left(1_000, 6_500), 15);
        assert_eq!(left(i64::MIN, i64::MAX), 69, "no longer than the longest event");
        assert_eq!(left(9_000, 6_500), 9);
    }
}
