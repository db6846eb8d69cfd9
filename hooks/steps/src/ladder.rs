//! Policy hooks: which renditions a stream has. Before it: what is known of a stream on air; after it: whoever has the engine offer them.
//!
//! The first binding in the order of the chain that decides about the stream is asked. Where its hook fails the stream's own settings count: the next
//! binding is not asked, for what it would say was not meant for this.
use std::fmt;
use std::sync::Arc;

use millstream_control_protocol::live::Live;
use millstream_control_protocol::state::{Binding, Rendition};
use millstream_hooks::wit::{policy, types};
use millstream_hooks::{Called, Hook};
use millstream_policy::records::{Labels, Record};
use millstream_proto::id::Id;
use millstream_proto::limits::RENDITIONS_MAX;

use crate::failing::Counted;
use crate::numbers::OfVersion;
use crate::reach::{Counts, Reach};

/// Whether the engine can offer a rendition of this name, size and bit rate.
pub type CanBe = fn(&Rendition) -> bool;

/// Who chooses: a hook, or in tests something else.
pub trait Chooser: Send + Sync {
    /// The renditions of a stream.
    fn select_renditions(&self, source: &policy::Source) -> Called<Vec<policy::Rendition>>;
}

impl Chooser for Hook {
    fn select_renditions(&self, source: &policy::Source) -> Called<Vec<policy::Rendition>> {
        self.select_renditions(source)
    }
}

/// A policy hook that is bound.
pub struct Choosing {
    /// The binding's id.
    pub id: String,
    /// The hook's name.
    pub hook: String,
    /// Which version of it.
    pub version: u64,
    /// Its place: lower ones go first, those of the same one in the order of their ids.
    pub order: u32,
    /// Its streams.
    pub reach: Reach,
    /// How often it was called lately, and failed.
    pub calls: Counted,
    /// `None`: its module is not here yet.
    pub chooser: Option<Arc<dyn Chooser>>,
    numbers: Arc<OfVersion>,
}

impl Choosing {
    /// A binding of a policy hook; `None`: it is for something else, or nobody is asked.
    pub fn new(binding: &Binding, chooser: Option<Arc<dyn Chooser>>, numbers: Arc<OfVersion>) -> Option<Self> {
        let is_of_renditions = binding.kind == "policy" && binding.point == "renditions";
        let reach = Reach::of(binding).filter(|_| is_of_renditions)?;
        Some(Self {
            id: binding.id.clone(),
            hook: binding.hook.clone(),
            version: binding.version,
            order: binding.order,
            reach,
            calls: Counted::default(),
            chooser,
            numbers,
        })
    }

    /// What its hook says of a stream. An error is for people.
    fn ask(&self, source: &policy::Source, can_be: CanBe) -> Result<Rungs, String> {
        let Some(chooser) = &self.chooser else {
            self.numbers.failed("not_ready");
            return Err("its module is not ready on this node".to_owned());
        };
        let Called { result, cpu } = chooser.select_renditions(source);
        self.numbers.took(cpu);
        self.calls.called();
        result.map(|chosen| rungs(&chosen, (source.width, source.height), can_be)).map_err(|failure| {
            if failure.is_hooks_fault() {
                self.calls.failed_for_nobody();
            }
            self.numbers.failed(failure.label());
            self.numbers.said(&failure.to_string());
            failure.to_string()
        })
    }
}

impl fmt::Debug for Choosing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Choosing").field("id", &self.id).field("hook", &self.hook).finish_non_exhaustive()
    }
}

/// Renditions as a hook chose them.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Rungs {
    /// Those that can be made, the smallest first.
    pub made: Vec<Rendition>,
    /// The others, and why not, in sentences.
    pub left_out: Vec<String>,
}

/// What a stream has by a policy hook.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Chosen {
    /// The hook's name.
    pub hook: String,
    /// Which version of it.
    pub version: u64,
    /// The binding's id.
    pub binding: String,
    /// Its choice; an error: it failed, and the stream's own settings count.
    pub rungs: Result<Rungs, String>,
}

/// Asks about a stream on air; `None`: no binding decides about it. `all` are in their order. `own` are the renditions of the stream's own settings, which
/// those that do not decide are compared with where nobody does. Calls hooks: milliseconds.
pub fn choose(
    all: &[Arc<Choosing>],
    stream: &Id,
    source: &policy::Source,
    own: &[Rendition],
    can_be: CanBe,
) -> Option<Chosen> {
    let with = |wanted: Counts| all.iter().filter(move |one| one.reach.counts(stream) == wanted);
    let chosen = with(Counts::Decides).next().map(|one| Chosen {
        hook: one.hook.clone(),
        version: one.version,
        binding: one.id.clone(),
        rungs: one.ask(source, can_be),
    });
    let in_force = chosen.as_ref().and_then(|chosen| chosen.rungs.as_ref().ok()).map_or(own, |rungs| &rungs.made);
    for one in with(Counts::Compared) {
        match one.ask(source, can_be) {
            Ok(rungs) => one.numbers.compared(rungs.made == in_force),
            Err(_) => one.numbers.not_compared(),
        }
    }
    chosen
}

/// Whether any of these is to be asked about a stream.
pub fn is_asked(all: &[Arc<Choosing>], stream: &Id) -> bool {
    all.iter().any(|one| one.reach.counts(stream) != Counts::NotAsked)
}

/// What pictures are encoded as, where a node has the encoder.
const CODECS: [&str; 3] = ["h264", "hevc", "av1"];

/// What can be made of an answer, for a picture of this size.
fn rungs(answer: &[policy::Rendition], source: (u32, u32), can_be: CanBe) -> Rungs {
    let mut rungs = Rungs::default();
    for rendition in answer {
        match rung(rendition, source) {
            Ok(made) if !can_be(&made) => {
                let why = "its name, size or bit rate is none that a rendition may have, or this node has no encoder of its codec";
                rungs.left_out.push(format!("{}: {why}", rendition.name));
            }
            Ok(made) if rungs.made.iter().any(|other| other.name == made.name) => {
                rungs.left_out.push(format!("{}: there are two of this name", rendition.name));
            }
            // Those that cannot be take nobody's place.
            Ok(_) if rungs.made.len() == RENDITIONS_MAX => {
                rungs.left_out.push(format!("{}: a stream has at most {RENDITIONS_MAX} renditions", rendition.name));
            }
            Ok(made) => rungs.made.push(made),
            Err(why) => rungs.left_out.push(format!("{}: {why}", rendition.name)),
        }
    }
    rungs.made.sort_by_key(|rung| (rung.height, rung.video_kbit_s));
    rungs
}

fn rung(rendition: &policy::Rendition, (width, height): (u32, u32)) -> Result<Rendition, &'static str> {
    let policy::Picture::Encode(encode) = &rendition.picture else {
        return Err("the picture is to be encoded: the source itself is served as it is");
    };
    if !CODECS.contains(&encode.codec.as_str()) {
        return Err("the picture can be encoded as h264, hevc or av1 alone");
    }
    if !matches!(rendition.sound, policy::Sound::Copy) {
        return Err("sound can be passed on as it is alone");
    }
    if encode.kbps == 0 {
        return Err("kbps is missing");
    }
    // Of a picture whose size follows from one side, the other one does not bound it.
    let of = |known: u32, ours: u32, other: u32| (u64::from(known) * u64::from(other)).div_ceil(u64::from(ours.max(1)));
    let even = |pixels: u64| u32::try_from(pixels + pixels % 2).unwrap_or(u32::MAX);
    let (width, height) = match (encode.width, encode.height) {
        (0, 0) => (width, height),
        (0, high) => (even(of(high, height, width)), high),
        (wide, 0) => (wide, even(of(wide, width, height))),
        both => both,
    };
    let (name, codec) = (rendition.name.clone(), encode.codec.clone());
    Ok(Rendition { name, width, height, video_kbit_s: encode.kbps, codec, always: !rendition.on_demand })
}

/// A stream on air as policy hooks are asked about it; `None`: its publisher has gone, or what it sends is not known yet. `app`: the application that
/// streams are below; `is_measured`: rates are those of some seconds.
pub fn source(
    live: &Live,
    record: Option<&Record>,
    (app, load_percent, is_measured): (&str, u32, bool),
) -> Option<policy::Source> {
    let publisher = live.publisher.as_ref()?;
    let video = publisher.video.as_ref()?;
    let (width, height) = (video.width?, video.height?);
    let pairs = |labels: Option<&Labels>| -> Vec<types::Pair> {
        let pair = |(name, value): &(String, String)| types::Pair { name: name.clone(), value: value.clone() };
        labels.into_iter().flat_map(|labels| labels.iter()).map(pair).collect()
    };
    let mut labels = pairs(record.and_then(|record| record.labels.as_ref()));
    let of_session = |(name, value): (&String, &String)| types::Pair { name: name.clone(), value: value.clone() };
    labels.extend(publisher.labels.iter().map(of_session));
    let audio = publisher.audio.as_ref();
    let viewers: u64 = live.viewers.iter().map(|viewers| viewers.count).sum();
    // Half frames do not matter, and 29.97 is 30000 / 1001.
    let thousandths = (video.fps * 1_000.0).round() as u32;
    Some(policy::Source {
        target: types::Target {
            app: app.to_owned(),
            name: live.id.clone(),
            params: Vec::new(),
            settings: pairs(record.and_then(|record| record.settings.as_ref())),
            labels,
            extra: Vec::new(),
        },
        video: codec(&video.codec).to_owned(),
        width,
        height,
        fps_num: if is_measured { thousandths } else { 0 },
        fps_den: if is_measured && thousandths > 0 { 1_000 } else { 1 },
        kbps: if is_measured { u32::try_from(publisher.bitrate_bps / 1_000).unwrap_or(u32::MAX) } else { 0 },
        gop_ms: video.keyframe_interval_ms.map_or(0, |ms| u32::try_from(ms).unwrap_or(u32::MAX)),
        b_frames: video.reordered_frames > 0,
        audio: audio.map_or("", |audio| codec(&audio.codec)).to_owned(),
        sample_rate: audio.and_then(|audio| audio.rate_hz).unwrap_or(0),
        channels: audio.and_then(|audio| audio.channels).unwrap_or(0),
        viewers: u32::try_from(viewers).unwrap_or(u32::MAX),
        load_percent: load_percent.min(100),
        extra: Vec::new(),
    })
}

/// The contract's word for a codec that RFC 6381 names.
fn codec(name: &str) -> &str {
    let first = name.split('.').next().unwrap_or_default();
    match first {
        "avc1" | "avc3" => "h264",
        "hvc1" | "hev1" => "hevc",
        "av01" => "av1",
        "vp08" => "vp8",
        "vp09" => "vp9",
        "mp4a" if name.starts_with("mp4a.6") => "mp3",
        "mp4a" => "aac",
        "Opus" | "opus" => "opus",
        other => other,
    }
}
