//! One stream: what its samples and events say, held so that nothing flickers. Before it: [`super::streams`]; it puts [`super::publisher`],
//! [`super::viewers`] and [`super::told`] together.
use millstream_control_protocol::diagnosis::Condition;
use millstream_control_protocol::event::Event;
use millstream_control_protocol::live::{Live, Watching};

use crate::hold::{Finding, Hold};
use crate::hooks::HookTrouble;
use crate::kind::{Kind, Times};
use crate::publisher::{self, PublisherLook};
use crate::told::{self, Told, cut};
use crate::viewers::{self, ViewersLook};

/// What was wrong with a publisher that has gone is told for so long: an encoder that reconnects is back by then.
const GONE_MS: u64 = 5_000;

/// A stream at one moment.
#[derive(Clone, Copy, Debug, Default)]
pub struct Sample<'a> {
    /// As its node tells of it; `None`: it is not held.
    pub live: Option<&'a Live>,
    /// How some of its viewers keep up: the same ones each time, as long as they stay.
    pub watching: &'a [Watching],
    /// Renditions that are asked for, and that the worker is too slow to make.
    pub shed: &'a [String],
}

/// The judgement of one stream.
#[derive(Clone, Debug, Default)]
pub struct Judge {
    holds: [Hold; Kind::ALL.len()],
    publisher: PublisherLook,
    viewers: ViewersLook,
    told: Told,
    gone_since_ms: Option<u64>,
    is_held: bool,
}

impl Judge {
    /// Something has happened to the stream.
    pub fn event(&mut self, event: &Event) {
        self.told.event(event);
    }

    /// A hook has turned people away from it, or failed.
    pub fn trouble(&mut self, trouble: &HookTrouble, now_ms: u64) {
        self.told.trouble(trouble, now_ms);
    }

    /// Looks at it, about once a second; Unix milliseconds.
    pub fn look(&mut self, sample: &Sample<'_>, now_ms: u64) {
        self.is_held = sample.live.is_some();
        if let Some((live, publisher)) = sample.live.and_then(|live| Some((live, live.publisher.as_ref()?))) {
            self.gone_since_ms = None;
            self.told.adopt(publisher.session, &publisher.peer);
            self.told.heard(now_ms.saturating_sub(publisher.heard_ago_ms));
            let publisher::Found { gop_too_long, timestamps_jump, uplink_starves, b_frames, audio } =
                self.publisher.look(live, publisher, now_ms);
            let viewers::Found { bitrate_above_viewers, viewers_lag } =
                self.viewers.look(live, publisher, sample.watching, now_ms);
            for (kind, found) in [
                (Kind::GopTooLong, gop_too_long),
                (Kind::TimestampsJump, timestamps_jump),
                (Kind::UplinkStarves, uplink_starves),
                (Kind::BFrames, b_frames),
                (Kind::Audio, audio),
                (Kind::BitrateAboveViewers, bitrate_above_viewers),
                (Kind::ViewersLag, viewers_lag),
            ] {
                self.hold(kind, found, now_ms);
            }
        } else if now_ms.saturating_sub(*self.gone_since_ms.get_or_insert(now_ms)) >= GONE_MS {
            for kind in Kind::ALL.into_iter().filter(|kind| is_of_publisher(*kind)) {
                self.holds[index(kind)].look(None, Times { raise_ms: 0, clear_ms: 0 }, now_ms);
            }
        }
        let told::Found { encoder_reconnects, publisher_replaced, hook, recording_paused } = self.told.look(now_ms);
        self.hold(Kind::EncoderReconnects, encoder_reconnects, now_ms);
        self.hold(Kind::PublisherReplaced, publisher_replaced, now_ms);
        self.hold(Kind::Hook, hook, now_ms);
        self.hold(Kind::RecordingPaused, recording_paused, now_ms);
        let about = cut(&sample.shed.join(", "));
        let figures = vec![("renditions", sample.shed.len() as f64)];
        let sheds = (!sample.shed.is_empty()).then(|| Finding { about, figures, ..Finding::default() });
        self.hold(Kind::WorkerSheds, sheds, now_ms);
    }

    fn hold(&mut self, kind: Kind, found: Option<Finding>, now_ms: u64) {
        self.holds[index(kind)].look(found, kind.times(), now_ms);
    }

    /// Its conditions, in the order of [`Kind::ALL`].
    pub fn conditions(&self) -> Vec<Condition> {
        let raised = Kind::ALL.into_iter().zip(&self.holds).filter_map(|(kind, hold)| Some((kind, hold.raised()?)));
        let condition = |(kind, (since_unix_ms, finding)): (Kind, (u64, &Finding))| Condition {
            kind: kind.word().to_owned(),
            form: finding.form.to_owned(),
            since_unix_ms,
            about: finding.about.clone(),
            why: finding.why.clone(),
            figures: finding.figures.iter().map(|(name, figure)| ((*name).to_owned(), *figure)).collect(),
        };
        raised.map(condition).collect()
    }

    /// Whether the stream was held at the last look.
    pub fn is_held(&self) -> bool {
        self.is_held
    }

    /// There is nothing to tell of it, and nothing to remember.
    pub fn is_over(&mut self, now_ms: u64) -> bool {
        !self.is_held && self.told.is_over(now_ms) && self.holds.iter().all(|hold| hold.raised().is_none())
    }
}

fn index(kind: Kind) -> usize {
    Kind::ALL.into_iter().position(|one| one == kind).unwrap_or(0)
}

/// It is seen in samples of who publishes, and of who watches that.
const fn is_of_publisher(kind: Kind) -> bool {
    matches!(
        kind,
        Kind::GopTooLong
            | Kind::TimestampsJump
            | Kind::UplinkStarves
            | Kind::BFrames
            | Kind::Audio
            | Kind::BitrateAboveViewers
            | Kind::ViewersLag
    )
}
