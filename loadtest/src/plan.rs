//! What a run does: read from a preset or a TOML file, changed by flags, checked. After it: [`crate::schedule`] says when, and
//! [`crate::run()`] does it.
use std::fs;
use std::io::Read as _;
use std::path::PathBuf;
use std::time::Duration;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::limits::{
    DURATION_MAX, FPS_MAX, KBIT_MAX, PLAN_BYTES_MAX, PUBLISHERS_MAX, SAMPLE_MAX, SESSIONS_MAX, VIEWERS_MAX,
};
use crate::schedule;

/// The plans that are built in: name and text.
const PRESETS: [(&str, &str); 8] = [
    ("smoke", include_str!("../presets/smoke.toml")),
    ("viewers", include_str!("../presets/viewers.toml")),
    ("hls", include_str!("../presets/hls.toml")),
    ("ll-hls", include_str!("../presets/ll-hls.toml")),
    ("publishers", include_str!("../presets/publishers.toml")),
    ("slow-viewers", include_str!("../presets/slow-viewers.toml")),
    ("churn", include_str!("../presets/churn.toml")),
    ("flash-crowd", include_str!("../presets/flash-crowd.toml")),
];

/// Why a plan cannot be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PlanError {
    /// Neither a preset nor a file.
    #[error(
        "{name:?} is no preset (smoke, viewers, hls, ll-hls, publishers, slow-viewers, churn, flash-crowd), and not a file that can be read: {why}"
    )]
    Unknown {
        /// What was asked for.
        name: String,
        /// Why the file of that name cannot be read.
        why: std::io::Error,
    },
    /// Not TOML, a key that is not known, or a value of the wrong kind.
    #[error("{name}: {why}")]
    Syntax {
        /// The file or preset.
        name: String,
        /// Where and what.
        why: Box<toml::de::Error>,
    },
    /// A value that cannot be.
    #[error("{key}: {why}")]
    Value {
        /// The key, with its table.
        key: &'static str,
        /// What is wrong with it.
        why: String,
    },
}

/// A whole run.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Plan {
    /// One line about what it is for.
    #[serde(default)]
    pub about: String,
    /// How long viewers are served, from the first planned connection on.
    #[serde(deserialize_with = "duration", serialize_with = "seconds")]
    pub duration: Duration,
    /// Who pushes what.
    #[serde(default)]
    pub publish: Publish,
    /// Who watches, and when.
    #[serde(default)]
    pub view: View,
    /// What is trouble.
    #[serde(default)]
    pub expect: Expect,
}

/// The publishers.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct Publish {
    /// How many; 0 watches streams that somebody else publishes.
    pub count: usize,
    /// Name of the stream; with several publishers `-0`, `-1`... is added.
    pub stream: String,
    /// An FLV file, or `demo` for the product's own clip; without it, frames are synthetic.
    pub clip: Option<PathBuf>,
    /// Bit rate of the synthetic picture, kbit/s.
    pub video_kbit: u32,
    /// Frames per second.
    pub fps: u32,
    /// Time between keyframes.
    #[serde(deserialize_with = "duration", serialize_with = "seconds")]
    pub gop: Duration,
    /// Bit rate of the synthetic audio, kbit/s; 0 for none.
    pub audio_kbit: u32,
}

/// When viewers come.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Deserialize, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Shape {
    /// Evenly, spread over `over`.
    Ramp,
    /// `per_second` of them, until all are there.
    Steady,
    /// All at once, `over` after the start.
    Burst,
    /// Evenly over `over`; each goes after about `stay`, and the next takes its place.
    Churn,
}

/// The viewers.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct View {
    /// Over HTTP-FLV.
    pub flv: usize,
    /// Over RTMP.
    pub rtmp: usize,
    /// Over HLS: they poll the playlist and fetch whole segments.
    pub hls: usize,
    /// Over HLS with low latency: they wait for the playlist and fetch parts.
    pub ll_hls: usize,
    /// Whether those ask for the hinted part before it is listed; else they wait at the playlist only.
    pub hints: bool,
    /// How many of them parse all that they get.
    pub sample: usize,
    /// When they come.
    pub schedule: Shape,
    /// How long the coming takes.
    #[serde(deserialize_with = "duration", serialize_with = "seconds")]
    pub over: Duration,
    /// Comers per second, of `steady`.
    pub per_second: u32,
    /// How long each stays, of `churn`; each one's own time is between half and one and a half of it.
    #[serde(deserialize_with = "duration", serialize_with = "seconds")]
    pub stay: Duration,
    /// How many of the HTTP-FLV viewers read slowly; never part of the sample.
    pub slow: usize,
    /// How fast those read, kbit/s; 0 is not at all.
    pub slow_kbit: u32,
}

/// What is trouble.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct Expect {
    /// A viewer without a byte for this long is stalled.
    #[serde(deserialize_with = "duration", serialize_with = "seconds")]
    pub stall: Duration,
    /// A connection without its first keyframe for this long is given up, and so is a run in which nothing at all moves.
    #[serde(deserialize_with = "duration", serialize_with = "seconds")]
    pub patience: Duration,
}

impl Default for Publish {
    fn default() -> Self {
        Self {
            count: 1,
            stream: "load".to_owned(),
            clip: None,
            video_kbit: 1_000,
            fps: 30,
            gop: Duration::from_secs(2),
            audio_kbit: 64,
        }
    }
}

impl Default for View {
    fn default() -> Self {
        Self {
            flv: 10,
            rtmp: 0,
            hls: 0,
            ll_hls: 0,
            hints: true,
            sample: 4,
            schedule: Shape::Ramp,
            over: Duration::from_secs(1),
            per_second: 100,
            stay: Duration::from_secs(5),
            slow: 0,
            slow_kbit: 0,
        }
    }
}

impl View {
    /// Viewers at the same time.
    pub(crate) fn total(&self) -> usize {
        [self.flv, self.rtmp, self.hls, self.ll_hls].into_iter().fold(0, usize::saturating_add)
    }

    /// Those of them that are HLS viewers, who have two connections each.
    pub(crate) fn hls_total(&self) -> usize {
        self.hls.saturating_add(self.ll_hls)
    }
}

impl Default for Expect {
    fn default() -> Self {
        Self { stall: Duration::from_secs(1), patience: Duration::from_secs(10) }
    }
}

impl Plan {
    /// A preset by its name, or a file.
    pub fn load(name: &str) -> Result<Self, PlanError> {
        let text = if let Some((_, text)) = PRESETS.iter().find(|(preset, _)| *preset == name) {
            (*text).to_owned()
        } else {
            let mut text = String::new();
            let read = fs::File::open(name).and_then(|file| file.take(PLAN_BYTES_MAX).read_to_string(&mut text));
            read.map_err(|why| PlanError::Unknown { name: name.to_owned(), why })?;
            text
        };
        toml::from_str(&text).map_err(|why| PlanError::Syntax { name: name.to_owned(), why: Box::new(why) })
    }

    /// Names and purposes of the presets.
    pub fn presets() -> impl Iterator<Item = (&'static str, String)> {
        PRESETS.iter().filter_map(|(name, _)| Some((*name, Self::load(name).ok()?.about)))
    }

    /// Viewers at the same time.
    pub fn viewers(&self) -> usize {
        self.view.total()
    }

    /// Connections that they need at the same time.
    pub fn connections(&self) -> usize {
        self.viewers().saturating_add(self.view.hls_total())
    }

    /// Names of the streams.
    pub fn streams(&self) -> Vec<String> {
        match self.publish.count {
            0 | 1 => vec![self.publish.stream.clone()],
            count => (0..count).map(|n| format!("{}-{n}", self.publish.stream)).collect(),
        }
    }

    /// Says the first thing that cannot be.
    pub fn check(&self) -> Result<(), PlanError> {
        let (publish, view, expect) = (&self.publish, &self.view, &self.expect);
        let viewers = self.viewers();
        let second = Duration::from_secs(1);
        let rules: [(bool, &'static str, String); 14] = [
            (
                self.duration >= second && self.duration <= DURATION_MAX,
                "duration",
                format!("from 1s to {}h", DURATION_MAX.as_secs() / 3600),
            ),
            (viewers <= VIEWERS_MAX, "view", format!("{viewers} viewers; at most {VIEWERS_MAX}")),
            (publish.count <= PUBLISHERS_MAX, "publish.count", format!("at most {PUBLISHERS_MAX}")),
            (viewers + publish.count > 0, "view", "neither viewers nor publishers".to_owned()),
            (view.sample <= SAMPLE_MAX, "view.sample", format!("at most {SAMPLE_MAX}")),
            (view.slow <= view.flv, "view.slow", "slow viewers are some of the HTTP-FLV viewers".to_owned()),
            (view.over < self.duration, "view.over", "the coming must take less time than the run".to_owned()),
            (view.schedule != Shape::Steady || view.per_second > 0, "view.per_second", "at least 1".to_owned()),
            (
                view.schedule != Shape::Churn || view.stay >= second / 10,
                "view.stay",
                "at least 100ms, or the run is nothing but handshakes".to_owned(),
            ),
            ((1..=FPS_MAX).contains(&publish.fps), "publish.fps", format!("from 1 to {FPS_MAX}")),
            (
                (8..=KBIT_MAX).contains(&publish.video_kbit) && publish.audio_kbit <= KBIT_MAX,
                "publish.video_kbit",
                format!("from 8 to {KBIT_MAX} kbit/s"),
            ),
            (publish.gop >= second / 10 && publish.gop <= 60 * second, "publish.gop", "from 100ms to 60s".to_owned()),
            (expect.stall >= second / 10 && expect.patience >= second / 10, "expect", "at least 100ms".to_owned()),
            (
                schedule::sessions_estimate(view, self.duration) <= SESSIONS_MAX,
                "view.stay",
                format!("more than {SESSIONS_MAX} viewer sessions in one run"),
            ),
        ];
        match rules.into_iter().find(|(holds, ..)| !holds) {
            Some((_, key, why)) => Err(PlanError::Value { key, why }),
            None => Ok(()),
        }
    }
}

fn duration<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Duration, D::Error> {
    let text = String::deserialize(deserializer)?;
    humantime::parse_duration(&text)
        .map_err(|why| serde::de::Error::custom(format!("{text:?} is no duration ({why}); try \"10s\"")))
}

fn seconds<S: Serializer>(duration: &Duration, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(&humantime::format_duration(*duration).to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_preset_can_be_run() {
        for (name, about) in Plan::presets() {
            Plan::load(name).unwrap().check().unwrap_or_else(|error| panic!("{name}: {error}"));
            assert!(!about.is_empty(), "{name} says what it is for");
        }
        assert_eq!(Plan::presets().count(), PRESETS.len());
    }

    #[test]
    fn what_is_wrong_is_named() {
        let check = |text: &str, words: &str| {
            let file = tempfile::NamedTempFile::new().unwrap();
            fs::write(file.path(), text).unwrap();
            let error = Plan::load(file.path().to_str().unwrap()).and_then(|plan| plan.check()).unwrap_err();
            assert!(error.to_string().contains(words), "{error}");
        };
        check("duration = \"5s\"\nspeed = 1", "unknown field `speed`");
        check("duration = \"5 parsecs\"", "is no duration");
        check("duration = \"0s\"", "duration: from 1s");
        check("duration = \"5s\"\n[view]\nflv = 200000", "at most 100000");
        check("duration = \"5s\"\n[view]\nflv = 2\nslow = 3", "view.slow");
        check("duration = \"5s\"\n[view]\nover = \"5s\"", "view.over");
        check("duration = \"20h\"\n[view]\nflv = 99999\nschedule = \"churn\"\nstay = \"1s\"", "viewer sessions");
        assert!(Plan::load("smok").unwrap_err().to_string().contains("no preset (smoke"));
    }

    #[test]
    fn streams_are_named() {
        let mut plan = Plan::load("smoke").unwrap();
        assert_eq!(plan.streams(), ["load"]);
        plan.publish.count = 3;
        assert_eq!(plan.streams(), ["load-0", "load-1", "load-2"]);
    }
}
