//! The output timeline of a stream: starts at 0, never runs backwards within a track, goes on when a publisher comes back, and stays
//! contiguous when its stamps jump. Between [`crate::stream`] and the tags it packages.
//!
//! Each track has an offset from the publisher's stamps to the stream's. A frame's stamp is judged by its **step** from the track's last
//! frame and by its **lead**: its output stamp minus the time of its arrival. A network delays frames and delivers them in bursts, which lowers
//! leads and raises them again; it cannot raise a lead above what it was. The limit of a lead is therefore the highest of the track's last
//! [`WINDOW`] to twice that, or the one that the other track has now.
//!
//! | what comes | it is | output |
//! | --- | --- | --- |
//! | a step of the usual length, whatever the arrival | a frame (live, in a burst, or of a file that is pushed as fast as it goes) | offset kept |
//! | a longer step that wall time covers (lead within [`AHEAD_MS`] of the limit) | a pause, lost frames, a low frame rate | offset kept |
//! | a longer step, the lead passes the limit by more | a jump forwards | re-anchored |
//! | the same, while steps of the usual length raise the leads (faster than real time) | a jump only beyond [`UNPACED_AHEAD_MS`] | re-anchored |
//! | a stamp behind the track's highest by up to [`BACK_MS`] or four frames | disorder | offset kept, stamp held |
//! | a stamp further behind | a jump backwards | re-anchored |
//! | what the other track's jump of the last [`OWED_FOR`] makes contiguous | the same jump | the other track's change of offset |
//! | the first frame of the second track within [`FIRST_APART_MS`] of where the first track is | the same clock | the same offset |
//! | the same, further away | a clock of its own | an offset of its own |
//! | stamps that go on after a pause in arrival (a laptop that slept) | a lag | offset kept: viewers go on where they were |
//!
//! *Re-anchored:* with the other track's offset where that is contiguous to within [`SYNC_MS`], so that video and audio stay together, else the
//! frame follows the track's last one as the usual step has it. If more than [`PAUSE_MS`] passed without a frame of the track, that time passes
//! on the timeline too, and [`Timeline::broke`] says that a hole is left.
use std::time::Duration;

use millstream_proto::media::Track;
use millstream_proto::time::Time;

/// Longest step beyond the usual one, and highest lead above the limit, that is not a jump, milliseconds.
const AHEAD_MS: i64 = 500;
/// The same for a publisher that is faster than real time: arrival tells little of its stamps.
const UNPACED_AHEAD_MS: i64 = 10_000;
/// How long a publisher counts as faster than real time after its leads have risen by [`AHEAD_MS`] in usual steps.
const UNPACED_FOR: Duration = Duration::from_secs(2);
/// Stamps this far behind are disorder, not a jump, milliseconds: B-frames of encoders that stamp with presentation times.
const BACK_MS: i64 = 300;
/// Where four usual steps are longer than [`BACK_MS`], steps count as no longer than this, milliseconds.
const BACK_STEP_MS_MAX: i64 = 1_000;
/// An offset that is shared keeps video and audio together; a hole or an overlap of this length is the price, milliseconds.
const SYNC_MS: i64 = 500;
/// The other track has made the same jump within this time, or makes none.
const OWED_FOR: Duration = Duration::from_secs(5);
/// First frames of two tracks with one clock are no further apart, milliseconds.
const FIRST_APART_MS: i64 = 3_000;
/// A jump after a longer time without a frame leaves that time on the timeline, milliseconds.
const PAUSE_MS: i64 = 1_000;
/// Length of a stretch over which the highest lead is kept; the one before counts as well.
const WINDOW: Duration = Duration::from_secs(3);
/// Longest step that says something of the frame rate, milliseconds.
const STEP_MS_MAX: i64 = 60_000;
/// Divides a millisecond in the estimate of the usual step.
const FRACTIONS: i64 = 16;
/// The usual step before there was one, milliseconds.
const FIRST_STEP_MS: i64 = 33;

/// Maps a publisher's stamps to the stream's.
#[derive(Debug, Default)]
pub struct Timeline {
    video: Clock,
    audio: Clock,
    newest_ms: i64,
    newest_at: Option<Time>,
    /// The publisher is faster than real time, as far as is known.
    unpaced_until: Time,
    rebases: u64,
    broke: bool,
    /// Stamps are those of another stream's timeline.
    as_stamped: bool,
    /// With them: the newest stamp of each track, picture first.
    given_ms: [Option<i64>; 2],
}

/// One track's stamps.
#[derive(Clone, Copy, Debug, Default)]
struct Clock {
    /// A frame of this publisher has come.
    begun: bool,
    /// Added to the publisher's stamps.
    offset_ms: i64,
    /// The publisher's stamp of the last frame.
    stamp_ms: i64,
    /// Its highest stamp since the offset changed.
    peak_ms: i64,
    /// The last output.
    out_ms: i64,
    at: Time,
    /// The usual step, in 1/[`FRACTIONS`] of a millisecond; 0 before the first.
    usual: i64,
    /// Leads: of the last frame, and the highest of this stretch and of the one before, milliseconds.
    lead_ms: i64,
    highest_ms: i64,
    highest_before_ms: i64,
    /// When this stretch began, and by how much usual steps have raised the highest lead since.
    stretch: Time,
    risen_ms: i64,
    /// What a jump of the other track has added to its offset, until this one has made the same; 0 for nothing.
    owed_ms: i64,
    owed_until: Time,
}

/// What a stamp turned out to be.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Verdict {
    Goes,
    /// Makes the jump that the other track has made.
    Follows,
    Jumps,
}

impl Clock {
    fn usual_ms(&self) -> i64 {
        if self.usual == 0 { FIRST_STEP_MS } else { self.usual / FRACTIONS }
    }

    /// Where its next frame is to be, whatever its stamp.
    fn next_ms(&self, now: Time) -> i64 {
        let silent_ms = ms(now.since(self.at));
        let step_ms = if silent_ms > PAUSE_MS { silent_ms } else { self.usual_ms().min(PAUSE_MS) };
        self.out_ms + step_ms.max(1)
    }

    /// The highest lead of late.
    fn limit_ms(&self) -> i64 {
        self.highest_ms.max(self.highest_before_ms)
    }

    fn judge(&self, other: &Self, ahead_ms_max: i64, stamp_ms: i64, now: Time) -> Verdict {
        let out_ms = stamp_ms + self.offset_ms;
        if self.owed_ms != 0 && now < self.owed_until {
            let next_ms = self.next_ms(now);
            let off_ms = (out_ms - next_ms).abs();
            if off_ms > self.owed_ms.abs() / 2 && (out_ms + self.owed_ms - next_ms).abs() <= SYNC_MS {
                return Verdict::Follows;
            }
        }
        let (step_ms, behind_ms) = (stamp_ms - self.stamp_ms, self.peak_ms - stamp_ms);
        if step_ms <= AHEAD_MS && behind_ms <= BACK_MS {
            // Nearly every frame: neither limit is passed, whatever the usual step is.
            return Verdict::Goes;
        }
        let usual_ms = self.usual_ms();
        if behind_ms > BACK_MS.max(4 * usual_ms.min(BACK_STEP_MS_MAX)) {
            return Verdict::Jumps;
        }
        if step_ms - usual_ms > AHEAD_MS {
            let theirs_ms = if other.begun { other.lead_ms } else { i64::MIN };
            if out_ms - since_epoch_ms(now) > self.limit_ms().max(theirs_ms).saturating_add(ahead_ms_max) {
                return Verdict::Jumps;
            }
        }
        Verdict::Goes
    }

    /// The offset with which a stamp that has jumped goes on.
    fn anchor(&self, other: &Self, stamp_ms: i64, now: Time) -> i64 {
        let next_ms = self.next_ms(now);
        let theirs = (other.begun && other.offset_ms != self.offset_ms).then_some(other.offset_ms);
        let owed = (self.owed_ms != 0 && now < self.owed_until).then_some(self.offset_ms + self.owed_ms);
        let off_ms = |offset_ms: &i64| (stamp_ms + offset_ms - next_ms).abs();
        let shared = [theirs, owed].into_iter().flatten().min_by_key(off_ms);
        shared.filter(|offset_ms| off_ms(offset_ms) <= SYNC_MS).unwrap_or(next_ms - stamp_ms)
    }

    /// Takes a frame; true: usual steps raise its leads as only a publisher that is faster than real time does.
    fn take(&mut self, stamp_ms: i64, now: Time, verdict: Verdict) -> bool {
        let out_ms = stamp_ms + self.offset_ms;
        self.lead_ms = out_ms - since_epoch_ms(now);
        let step_ms = stamp_ms - self.stamp_ms;
        if !self.begun {
            (self.highest_ms, self.highest_before_ms, self.stretch) = (self.lead_ms, self.lead_ms, now);
            (self.peak_ms, self.risen_ms) = (stamp_ms, 0);
        } else if verdict == Verdict::Goes {
            if (1..=STEP_MS_MAX).contains(&step_ms) {
                self.learn(step_ms);
            }
            self.peak_ms = self.peak_ms.max(stamp_ms);
        } else {
            self.peak_ms = stamp_ms;
        }
        let raised_ms = (self.lead_ms - self.limit_ms()).max(0);
        if now > self.stretch + WINDOW {
            (self.highest_before_ms, self.highest_ms) = (self.highest_ms, self.lead_ms);
            (self.stretch, self.risen_ms) = (now, 0);
        }
        self.highest_ms = self.highest_ms.max(self.lead_ms);
        self.risen_ms += raised_ms;
        self.begun = true;
        self.stamp_ms = stamp_ms;
        self.out_ms = self.out_ms.max(out_ms);
        self.at = now;
        self.risen_ms > AHEAD_MS
    }

    /// Follows shorter steps quickly and longer ones slowly: one pause says nothing of the rate.
    fn learn(&mut self, step_ms: i64) {
        let step = step_ms * FRACTIONS;
        self.usual = match self.usual {
            0 => step,
            usual if step < usual => usual - (usual - step + 1) / 2,
            usual => usual + (step - usual) / 8,
        };
    }
}

impl Timeline {
    /// A new publisher's first frame goes on where the last one ended, plus the wall time in between.
    pub fn restart(&mut self) {
        for clock in [&mut self.video, &mut self.audio] {
            *clock = Clock { out_ms: clock.out_ms, ..Clock::default() };
        }
        self.unpaced_until = Time::ZERO;
        self.broke = false;
    }

    /// From here on stamps are those of another stream's timeline, of which only the low 32 bits are known; it is at `near_ms` now.
    pub fn follow(&mut self, near_ms: i64) {
        self.as_stamped = true;
        self.newest_ms = near_ms;
        for clock in [&mut self.video, &mut self.audio] {
            clock.out_ms = clock.out_ms.min(near_ms);
        }
    }

    /// Whether a frame of a timeline that is followed is there already: who sends it has begun anew, some seconds back.
    pub fn is_repeated(&self, track: Track, dts_ms: i64) -> bool {
        let given = self.given_ms[usize::from(track == Track::Audio)];
        self.as_stamped && given.is_some_and(|given_ms| unwrapped_ms(dts_ms, self.newest_ms) <= given_ms)
    }

    /// The output stamp of a frame that has one of another stream's.
    #[cold]
    fn mapped_as_stamped(&mut self, track: Track, dts_ms: i64, now: Time) -> i64 {
        let ms = unwrapped_ms(dts_ms, self.newest_ms);
        let clock = match track {
            Track::Video => &mut self.video,
            Track::Audio => &mut self.audio,
        };
        let step_ms = ms - clock.stamp_ms;
        if clock.begun && (1..=STEP_MS_MAX).contains(&step_ms) {
            clock.learn(step_ms);
        }
        (clock.begun, clock.stamp_ms, clock.at) = (true, ms, now);
        clock.out_ms = clock.out_ms.max(ms);
        self.given_ms[usize::from(track == Track::Audio)] = Some(clock.out_ms);
        if clock.out_ms >= self.newest_ms {
            (self.newest_ms, self.newest_at) = (clock.out_ms, Some(now));
        }
        self.broke = false;
        clock.out_ms
    }

    /// The output stamp of a frame with decode time `dts_ms` that arrived at `now`.
    pub fn map(&mut self, track: Track, dts_ms: i64, now: Time) -> i64 {
        if self.as_stamped {
            return self.mapped_as_stamped(track, dts_ms, now);
        }
        let (own, other) = match track {
            Track::Video => (&mut self.video, &mut self.audio),
            Track::Audio => (&mut self.audio, &mut self.video),
        };
        self.broke = false;
        let unpaced = now < self.unpaced_until;
        let mut verdict = Verdict::Goes;
        if own.begun {
            verdict = own.judge(other, if unpaced { UNPACED_AHEAD_MS } else { AHEAD_MS }, dts_ms, now);
            if verdict != Verdict::Goes {
                let (before_ms, usual_ms) = (own.out_ms, own.usual_ms());
                self.rebases += u64::from(verdict == Verdict::Jumps);
                own.rebase(other, verdict, dts_ms, now);
                self.broke = dts_ms + own.offset_ms - before_ms > usual_ms + SYNC_MS;
            }
        } else if other.begun {
            let there_ms = other.out_ms + ms(now.since(other.at));
            let apart_ms = (dts_ms + other.offset_ms - there_ms).abs();
            let shares = apart_ms <= if unpaced { UNPACED_AHEAD_MS } else { FIRST_APART_MS };
            // A clock of its own is no jump: its stamps go on evenly.
            own.offset_ms = if shares { other.offset_ms } else { there_ms - dts_ms };
        } else {
            let first_ms = self.newest_at.map_or(0, |at| self.newest_ms + ms(now.since(at)).max(1));
            own.offset_ms = first_ms - dts_ms;
        }
        if own.take(dts_ms, now, verdict) {
            self.unpaced_until = now + UNPACED_FOR;
        }
        let out_ms = own.out_ms;
        if self.newest_at.is_none() || out_ms >= self.newest_ms {
            self.newest_ms = out_ms;
            self.newest_at = Some(now);
        }
        out_ms
    }

    /// The newest output stamp.
    pub fn newest_ms(&self) -> i64 {
        self.newest_ms
    }

    /// How often stamps jumped.
    pub fn rebases(&self) -> u64 {
        self.rebases
    }

    /// How far the newest frame's arrival is behind its stamp, milliseconds from anywhere; `None` before the first, and where stamps are another
    /// stream's.
    pub fn arrival_lag_ms(&self) -> Option<i64> {
        self.newest_at.filter(|_| !self.as_stamped).map(|at| since_epoch_ms(at) - self.newest_ms)
    }

    /// How much further audio is stamped than video that arrives at the same time, milliseconds; `None`: not both have come, or their stamps are
    /// another stream's.
    pub fn audio_ahead_ms(&self) -> Option<i64> {
        (self.video.begun && self.audio.begun && !self.as_stamped).then(|| self.audio.lead_ms - self.video.lead_ms)
    }

    /// How far frames are apart as a rule, milliseconds; `None` before the second one of a publisher.
    pub fn picture_ms(&self) -> Option<u32> {
        u32::try_from(self.video.usual / FRACTIONS).ok().filter(|ms| *ms > 0)
    }

    /// Whether the last frame was re-anchored with a hole before it.
    pub fn broke(&self) -> bool {
        self.broke
    }
}

impl Clock {
    /// Changes the offset for a stamp that has jumped, and tells the other track.
    #[cold]
    fn rebase(&mut self, other: &mut Self, verdict: Verdict, stamp_ms: i64, now: Time) {
        let before_ms = self.offset_ms;
        self.offset_ms = match verdict {
            Verdict::Follows => before_ms + self.owed_ms,
            _ => self.anchor(other, stamp_ms, now),
        };
        let follows = self.offset_ms == before_ms + self.owed_ms || self.offset_ms == other.offset_ms;
        self.owed_ms = 0;
        if follows {
            other.owed_ms = 0;
        } else {
            // Two jumps before the other track has made one: it makes both at once, or none where the second took the first back.
            let still_ms = if now < other.owed_until { other.owed_ms } else { 0 };
            other.owed_ms = still_ms + self.offset_ms - before_ms;
            other.owed_until = now + OWED_FOR;
        }
    }
}

fn ms(time: Duration) -> i64 {
    i64::try_from(time.as_millis()).unwrap_or(i64::MAX / 4)
}

/// The stamp with these low 32 bits that is nearest to that one.
fn unwrapped_ms(stamp_ms: i64, near_ms: i64) -> i64 {
    const TURN_MS: i64 = 1 << 32;
    let turns = (near_ms.saturating_sub(stamp_ms).saturating_add(TURN_MS / 2)).div_euclid(TURN_MS);
    stamp_ms.saturating_add(turns.saturating_mul(TURN_MS))
}

fn since_epoch_ms(now: Time) -> i64 {
    (now.as_micros() / 1_000) as i64
}

#[cfg(test)]
mod tests;
