//! Which streams there are and which hooks are bound to them, and what the data plane obeys of their settings. Before it: the records of
//! a store or a configuration file; after it: [`crate::exchange::Push`] carries it, and a node keeps it on disk.
//!
//! No secret of ours is in here: a stream's secret is derived from the master key, which every node has a copy of. Keys of other servers are, in
//! [`RelayAddress`].
use std::collections::BTreeMap;
use std::fmt;

use serde::{Deserialize, Serialize};

use crate::watermark::Watermark;

use crate::task::Task;

/// Which state: of two with the same epoch the one with the higher number is newer; states of different epochs cannot be compared,
/// and the one that control sends counts.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Version {
    /// Chosen when control starts: Unix microseconds.
    pub epoch: u64,
    /// Rises by one with each change.
    pub number: u64,
}

/// All streams at one moment: what a node keeps on disk.
#[derive(Clone, PartialEq, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct State {
    /// [`crate::PROTOCOL`] of who wrote it.
    pub protocol: u32,
    /// Which one.
    pub version: Version,
    /// Tells whether two processes have the same master key without telling the key; empty where it is not known.
    pub key_check: String,
    /// Which store it is of; empty where that is not known. A node does not take the state of another store than it has followed, unless
    /// an operator says so: an emptied control must not take every stream off the air.
    pub store: String,
    /// Every stream that may be published or played, in the order of their ids.
    pub streams: Vec<Stream>,
    /// Every binding of a hook, in the order of their ids; `None`: a release that knew none wrote this, so they are to be asked for.
    pub bindings: Option<Vec<Binding>>,
    /// What is to be done about recordings, in the order of the ids; `None`: a release that knew none wrote this, so it is to be asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tasks: Option<Vec<Task>>,
}

/// One stream.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(default)]
pub struct Stream {
    /// Its id: `[A-Za-z0-9_-]{1,64}`. A node leaves out a stream whose id it cannot take, and says so.
    pub id: String,
    /// The generation of its secret that is in force; starts at 1.
    pub generation: u64,
    /// Generations before it that still admit, each up to its time.
    pub previous: Vec<Previous>,
    /// When its frames go out; `None`: as the node's configuration says.
    pub flush: Option<Flush>,
    /// Which outputs it has.
    pub outputs: Outputs,
    /// Seconds of an HLS segment; `None`: as the node's configuration says.
    pub hls_segment_s: Option<u32>,
    /// Segments of an HLS playlist; `None`: as the node's configuration says.
    pub hls_window: Option<u32>,
    /// Paths of other servers that encoders push it to: `app/name`, as they say it.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub push_paths: Vec<String>,
    /// HTTP paths of other servers that players ask for it by.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub play_paths: Vec<String>,
    /// What becomes of it when its publisher has gone; `None`: as the node's configuration says.
    pub on_unpublish: Option<OnUnpublish>,
    /// The clip that it shows then, with [`OnUnpublish::Slate`]: SHA-256 of the file, 64 hexadecimal digits; `None`: as the node's
    /// configuration says.
    pub slate: Option<String>,
    /// It is recorded for later.
    #[serde(skip_serializing_if = "is_off")]
    pub on_demand: bool,
    /// Seconds that an object of a recording holds; `None`: 60.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub on_demand_s: Option<u32>,
    /// MP4 files are made of it.
    #[serde(skip_serializing_if = "is_off")]
    pub video: bool,
    /// Seconds that such a file holds; `None`: 60.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub video_s: Option<u32>,
    /// Pictures of it are kept.
    #[serde(skip_serializing_if = "is_off")]
    pub image: bool,
    /// Seconds between two of them; `None`: 30.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub image_s: Option<u32>,
    /// Motion is looked for in it.
    #[serde(skip_serializing_if = "is_off")]
    pub motion: bool,
    /// How much of the picture must change, percent; `None`: 30.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub motion_percent: Option<u32>,
    /// How much a pixel must change, grey levels; `None`: 10.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub motion_diff: Option<u32>,
    /// Seconds that an event of motion lasts behind the newest motion; `None`: 5.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub motion_duration_s: Option<u32>,
    /// Seconds that it lasts at most; `None`: 60.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub motion_timeout_s: Option<u32>,
    /// Where in the picture motion counts: `LEFT,TOP,WIDTH,HEIGHT` in percent, with semicolons between; empty: everywhere.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub motion_zones: String,
    /// Days that a recording is kept, for who removes what is old; 0: for ever.
    #[serde(skip_serializing_if = "is_none_days")]
    pub retention_days: u32,
    /// Seconds that viewers of what is recorded may go back from the live edge, 0 not at all; `None`: four hours.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub dvr_window_s: Option<u32>,
    /// It is pushed over TLS, and not without.
    #[serde(skip_serializing_if = "is_off")]
    pub rtmps: bool,
    /// Where it is pushed on to.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub relays: Vec<RelayAddress>,
    /// Renditions of it that viewers may ask for.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub renditions: Vec<Rendition>,
    /// What is drawn over their picture.
    #[serde(skip_serializing_if = "Watermark::is_usual")]
    pub watermark: Watermark,
    /// The operator's own words about it, for hooks: the data plane carries them and does not read them.
    pub labels: BTreeMap<String, String>,
}

impl Stream {
    /// Whether the switch for this rendition is on.
    pub fn has_rendition(&self, rung: &LadderRung) -> bool {
        self.renditions.iter().any(|rendition| rendition.name == rung.name)
    }

    /// Whether its renditions are to be H.265.
    pub fn is_hevc(&self) -> bool {
        self.renditions.iter().any(|rendition| rendition.codec == HEVC)
    }

    /// The settings that it has of its own, named as in the API, for hooks.
    pub fn own_settings(&self) -> Vec<(&'static str, String)> {
        let usual = Self::default();
        let mut own = Vec::new();
        let mut add = |name, value: Option<String>| own.extend(value.map(|value| (name, value)));
        let switch = |on: bool, usual: bool| (on != usual).then(|| on.to_string());
        add("isFlv", switch(self.outputs.flv, usual.outputs.flv));
        add("isHls", switch(self.outputs.hls, usual.outputs.hls));
        add("isCMAF", switch(self.outputs.cmaf, usual.outputs.cmaf));
        add("hls_time", self.hls_segment_s.map(|seconds| seconds.to_string()));
        add("hls_list_size", self.hls_window.map(|segments| segments.to_string()));
        add("isOnDemand", switch(self.on_demand, usual.on_demand));
        add("ondemand_time", self.on_demand_s.map(|seconds| seconds.to_string()));
        add("isVideo", switch(self.video, usual.video));
        add("video_time", self.video_s.map(|seconds| seconds.to_string()));
        add("isImage", switch(self.image, usual.image));
        add("image_time", self.image_s.map(|seconds| seconds.to_string()));
        add("isMotion", switch(self.motion, usual.motion));
        add("motion_percent", self.motion_percent.map(|percent| percent.to_string()));
        add("motion_diff", self.motion_diff.map(|levels| levels.to_string()));
        add("motion_duration", self.motion_duration_s.map(|seconds| seconds.to_string()));
        add("motion_timeout", self.motion_timeout_s.map(|seconds| seconds.to_string()));
        add("motion_zones", (!self.motion_zones.is_empty()).then(|| self.motion_zones.clone()));
        add("retention_days", (self.retention_days != 0).then(|| self.retention_days.to_string()));
        add("dvr_window_s", self.dvr_window_s.map(|seconds| seconds.to_string()));
        add("isRtmps", switch(self.rtmps, usual.rtmps));
        add("isCodec", switch(!self.renditions.is_empty(), false));
        add("codec", self.is_hevc().then(|| LIBX265.to_owned()));
        for rung in &LADDER {
            add(rung.switch, switch(self.has_rendition(rung), false));
        }
        for (name, value) in self.watermark.own_settings() {
            add(name, Some(value));
        }
        add("flush", self.flush.and_then(Flush::word).map(str::to_owned));
        add("on_unpublish", self.on_unpublish.and_then(OnUnpublish::word).map(str::to_owned));
        own
    }
}

impl Default for Stream {
    fn default() -> Self {
        Self {
            id: String::new(),
            generation: 1,
            previous: Vec::new(),
            flush: None,
            outputs: Outputs::default(),
            hls_segment_s: None,
            hls_window: None,
            push_paths: Vec::new(),
            play_paths: Vec::new(),
            on_unpublish: None,
            slate: None,
            on_demand: false,
            on_demand_s: None,
            video: false,
            video_s: None,
            image: false,
            image_s: None,
            motion: false,
            motion_percent: None,
            motion_diff: None,
            motion_duration_s: None,
            motion_timeout_s: None,
            motion_zones: String::new(),
            retention_days: 0,
            dvr_window_s: None,
            rtmps: false,
            relays: Vec::new(),
            renditions: Vec::new(),
            watermark: Watermark::default(),
            labels: BTreeMap::new(),
        }
    }
}

// serde's shape.
#[allow(clippy::trivially_copy_pass_by_ref)]
const fn is_none_days(days: &u32) -> bool {
    *days == 0
}

// serde's shape.
#[allow(clippy::trivially_copy_pass_by_ref)]
const fn is_off(on: &bool) -> bool {
    !*on
}

/// A smaller form of a stream's picture, made when somebody asks for it.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema), schema(as = Rung))]
pub struct Rendition {
    /// Its name, as it stands in paths: `360p`.
    pub name: String,
    /// The picture is no wider than this, pixels.
    pub width: u32,
    /// And no higher.
    pub height: u32,
    /// Bits per second of the picture, thousands.
    pub video_kbit_s: u32,
    /// What the picture is encoded as: `h264`, `hevc` or `av1`. Absent: what the node usually encodes.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub codec: String,
    /// It is made as long as its stream is on air. Absent: while somebody asks for it.
    #[serde(skip_serializing_if = "is_off")]
    pub always: bool,
}

/// A rendition that the settings of a stream have a switch for.
#[derive(Clone, Copy, Debug)]
pub struct LadderRung {
    /// The setting.
    pub switch: &'static str,
    /// As in [`Rendition`], here and below.
    pub name: &'static str,
    /// Across.
    pub width: u32,
    /// Down.
    pub height: u32,
    /// Its rate.
    pub video_kbit_s: u32,
}

/// H.265, as renditions name it.
pub const HEVC: &str = "hevc";
/// The same in the setting `codec`.
pub const LIBX265: &str = "libx265";

/// All of them, the smallest first.
pub const LADDER: [LadderRung; 4] = [
    LadderRung { switch: "ld", name: "360p", width: 640, height: 360, video_kbit_s: 400 },
    LadderRung { switch: "sd", name: "480p", width: 854, height: 480, video_kbit_s: 600 },
    LadderRung { switch: "hd", name: "720p", width: 1280, height: 720, video_kbit_s: 1_000 },
    LadderRung { switch: "ud", name: "1080p", width: 1920, height: 1080, video_kbit_s: 2_000 },
];

impl LadderRung {
    /// What is made where it is switched on.
    pub fn rendition(&self) -> Rendition {
        let Self { name, width, height, video_kbit_s, .. } = *self;
        Rendition { name: name.to_owned(), width, height, video_kbit_s, ..Rendition::default() }
    }
}

/// Where a stream is pushed on to: an `rtmp://` or `rtmps://` address with another server's stream key, so `Debug` does not show it.
#[derive(Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(transparent)]
pub struct RelayAddress(String);

impl RelayAddress {
    /// Wraps it.
    pub fn new(address: impl Into<String>) -> Self {
        Self(address.into())
    }

    /// The address: for connecting, never for printing.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for RelayAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("[redacted]")
    }
}

/// A generation that has been rotated away, and admits until its grace is over.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Previous {
    /// Which generation.
    pub generation: u64,
    /// It admits up to, and not including, this second of Unix time.
    pub until_unix_s: u64,
}

/// When frames go out to viewers: the words of the configuration.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub enum Flush {
    /// At once.
    Low,
    /// With a video frame.
    Balanced,
    /// Every 100 ms.
    Dense,
    /// A word of a later version: as if none were set.
    #[serde(other)]
    Unknown,
}

impl Flush {
    /// The word for it; `None`: this release does not know it.
    pub const fn word(self) -> Option<&'static str> {
        match self {
            Self::Low => Some("low"),
            Self::Balanced => Some("balanced"),
            Self::Dense => Some("dense"),
            Self::Unknown => None,
        }
    }
}

impl OnUnpublish {
    /// The word for it; `None`: this release does not know it.
    pub const fn word(self) -> Option<&'static str> {
        match self {
            Self::Wait => Some("wait"),
            Self::End => Some("end"),
            Self::Slate => Some("slate"),
            Self::Unknown => None,
        }
    }
}

/// What becomes of a stream when its publisher has gone: the words of the configuration.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub enum OnUnpublish {
    /// Viewers wait for its return.
    Wait,
    /// The stream ends.
    End,
    /// Viewers get a clip until it is back.
    Slate,
    /// A word of a later version: as if none were set.
    #[serde(other)]
    Unknown,
}

/// A hook at its place: which module runs where, for which streams, and with what. Control has resolved "the newest version".
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Binding {
    /// Its id.
    pub id: String,
    /// The hook's name.
    pub hook: String,
    /// The world that it is made for: `auth`, `policy`, `motion`, `events`; an open set.
    pub kind: String,
    /// Which version of the hook.
    pub version: u64,
    /// SHA-256 of that version's module, 64 hexadecimal digits: what `GET /link/v1/hooks/{sha256}` gives.
    pub sha256: String,
    /// The module's size, bytes.
    pub bytes: u64,
    /// The stream that it is for; `None`: all.
    pub stream: Option<String>,
    /// Where it is asked: `publish`, `play`, `renditions`, `motion`, `events`; an open set.
    pub point: String,
    /// Its place among those of the same point: lower ones are asked first, those of the same one in the order of their ids.
    pub order: u32,
    /// How much it counts.
    pub mode: Mode,
    /// With [`Mode::Canary`]: of how many streams in a hundred it decides.
    pub canary_percent: u32,
    /// What it may read as its configuration.
    pub config: BTreeMap<String, String>,
    /// Names of secrets that it may have used for it. Their values are the node's own configuration's, and never here.
    pub secrets: Vec<String>,
    /// Rises with each change of its version by an operator or by a rollback: what a node counts is of one of these.
    #[serde(skip_serializing_if = "is_zero")]
    pub generation: u64,
    /// The signature of the module, in base64url: Ed25519 over its SHA-256; where it has several, with spaces between them. A node whose configuration names keys runs no other modules.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub signature: Option<String>,
}

#[allow(clippy::trivially_copy_pass_by_ref, reason = "serde's form")]
pub(crate) const fn is_zero(number: &u64) -> bool {
    *number == 0
}

impl Binding {
    /// Whether a node needs the module: not of one that is off.
    pub fn is_on(&self) -> bool {
        matches!(self.mode, Mode::Shadow | Mode::Canary | Mode::Live)
    }
}

/// How much a hook's answers count.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Mode {
    /// It is not asked.
    #[default]
    Off,
    /// It is asked, and its answers are counted and not followed.
    Shadow,
    /// It decides for a share of the streams, and is a shadow for the others.
    Canary,
    /// It decides.
    Live,
    /// A word of a later version: it is not asked, and that is said.
    #[serde(other)]
    Unknown,
}

/// Which outputs exist; one that is off is not found. What is not said is on, so that a stream is never lost by an upgrade.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(default)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Outputs {
    /// HTTP-FLV.
    pub flv: bool,
    /// HLS.
    pub hls: bool,
    /// DASH over CMAF.
    pub cmaf: bool,
}

impl Default for Outputs {
    fn default() -> Self {
        Self { flv: true, hls: true, cmaf: true }
    }
}
