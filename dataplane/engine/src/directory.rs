//! What a shard knows of streams before anybody publishes them: who may (records), and how they behave (settings). Before it: the
//! configuration's `[[stream]]` entries, and over the link the state that control wants; after it: each shard holds one, and is
//! given the next one as a whole.
//!
//! A directory does not change. The next one is made beside the shards and shares with it what stays, see `policy::table`.
mod watermark;

use std::sync::Arc;

use millstream_control_protocol::exchange::Update;
use millstream_control_protocol::state::{self, Flush, LADDER, LadderRung, Outputs, Stream};
use millstream_control_protocol::task::{Task, Work};
use millstream_hub::config::{FlushPolicy, OnUnpublish, Rendition};
use millstream_hub::encodable::Encodable;
use millstream_policy::records::{GENERATIONS_MAX, Record, Records};
use millstream_policy::table::Table;
use millstream_proto::id::{Id, RenditionName};
use millstream_proto::limits::{RELAYS_MAX, RENDITION_KBIT_S_MAX, RENDITION_PIXELS_MAX, RENDITIONS_MAX};
use millstream_proto::output::Output;
use millstream_proto::rtmp::address::PushAddress;
use millstream_proto::watermark::Watermark;
use millstream_proto::zones::Zones;

use crate::paths::{Own, Paths};

use crate::slates::SlateKey;

/// Sentences about streams that cannot be taken: a state that is wrong as a whole needs no more to be noticed.
const WARNINGS_MAX: usize = 16;

/// Seconds that an object of a recording holds where nothing is said.
const ON_DEMAND_S: u32 = 60;
/// Seconds that an MP4 file holds where nothing is said.
const VIDEO_S: u32 = 60;
/// Seconds between two pictures that are kept where nothing is said.
const IMAGE_S: u32 = 30;

/// How motion is looked for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Motion {
    /// How much of the picture must change, percent, 1 to 100.
    pub percent: u8,
    /// How much a pixel must change, grey levels.
    pub diff: u8,
    /// Seconds that an event lasts behind the newest motion.
    pub duration_s: u32,
    /// Seconds that it lasts at most.
    pub timeout_s: u32,
    /// Where in the picture it counts.
    pub zones: Zones,
}

impl Motion {
    /// Where nothing is said.
    const USUAL: Self = Self { percent: 30, diff: 10, duration_s: 5, timeout_s: 60, zones: Zones::WHOLE };
    /// Longest of its times, seconds.
    const SECONDS_MAX: u32 = 86_400;

    fn of(stream: &Stream) -> Option<Self> {
        let small = |said: Option<u32>, usual: u8, most: u8| {
            said.map_or(usual, |said| u8::try_from(said).unwrap_or(most).clamp(1, most))
        };
        let seconds = |said: Option<u32>, usual| said.unwrap_or(usual).clamp(1, Self::SECONDS_MAX);
        stream.motion.then(|| Self {
            percent: small(stream.motion_percent, Self::USUAL.percent, 100),
            diff: small(stream.motion_diff, Self::USUAL.diff, u8::MAX),
            duration_s: seconds(stream.motion_duration_s, Self::USUAL.duration_s),
            timeout_s: seconds(stream.motion_timeout_s, Self::USUAL.timeout_s),
            // Of another release, or of a file that somebody has written: motion is looked for everywhere.
            zones: stream.motion_zones.parse().unwrap_or_default(),
        })
    }
}

/// How a stream behaves.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Settings {
    /// When its frames go out; `None`: as the configuration says of all streams.
    pub flush: Option<FlushPolicy>,
    /// What becomes of it when its publisher has gone; `None`: as the configuration says of all streams.
    pub on_unpublish: Option<OnUnpublish>,
    /// The clip that it shows then; `None`: as the configuration says of all streams.
    pub slate: Option<SlateKey>,
    /// Which outputs it has.
    pub outputs: Outputs,
    /// Seconds of an HLS segment; `None`: as the configuration says of all streams.
    pub hls_segment_s: Option<u32>,
    /// Segments of an HLS playlist; `None`: as the configuration says of all streams.
    pub hls_window: Option<u32>,
    /// It is recorded, in objects of this many seconds.
    pub on_demand_s: Option<u32>,
    /// Seconds that viewers of what is recorded may go back, 0 not at all; `None`: four hours.
    pub dvr_window_s: Option<u32>,
    /// MP4 files of this many seconds are made of it.
    pub video_s: Option<u32>,
    /// A picture of it is kept every so many seconds.
    pub image_s: Option<u32>,
    /// Motion is looked for in it.
    pub motion: Option<Motion>,
    /// Seconds that an object of a recording holds, whether it is recorded or not; `None`: as usual.
    pub object_s: Option<u32>,
    /// Days that a recording is kept; 0: for ever.
    pub retention_days: u32,
    /// Somebody has begun or ended its recording by hand.
    pub by_hand: Option<ByHand>,
    /// It is pushed over TLS, and not without.
    pub rtmps: bool,
    /// Where it is pushed on to; `None`: nowhere.
    pub relays: Option<Arc<[PushAddress]>>,
    /// Its renditions, the smallest first; `None`: it has none.
    pub renditions: Option<Arc<[Rendition]>>,
    /// What is drawn over their pictures; `None`: nothing.
    pub watermark: Option<Arc<Watermark>>,
}

/// A recording that was begun or ended by hand: it counts for the life of the stream that was on air then.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct ByHand {
    /// It is to be recorded.
    pub wanted: bool,
    /// Tells one such wish from another.
    pub number: u64,
}

impl Settings {
    /// These settings, with what was done by hand in force, or without.
    #[must_use]
    pub fn recorded_by(self, by_hand: Option<ByHand>) -> Self {
        let on_demand_s = match by_hand {
            Some(ByHand { wanted: true, .. }) => self.on_demand_s.or(self.object_s).or(Some(ON_DEMAND_S)),
            Some(ByHand { wanted: false, .. }) => None,
            None => self.on_demand_s,
        };
        let is_ended = by_hand.is_some_and(|by_hand| !by_hand.wanted);
        Self { on_demand_s, video_s: self.video_s.filter(|_| !is_ended), by_hand, ..self }
    }
}

/// All streams that exist. Cheap to clone.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct Directory {
    streams: Streams,
    /// Those of the configuration: they are always there, and nothing changes them.
    fixed: Streams,
    /// Recordings that were begun or ended by hand, of any stream.
    by_hand: Table<ByHand>,
}

#[derive(Clone, PartialEq, Debug, Default)]
struct Streams {
    records: Records,
    settings: Table<Settings>,
    paths: Paths,
}

/// Which streams a directory has otherwise than the one before.
#[derive(Clone, Debug)]
pub enum Changed {
    /// Any of them.
    Any,
    /// These.
    These(Arc<[Id]>),
}

/// A directory that came of an update.
#[derive(Clone, Debug)]
pub struct Updated {
    /// The directory.
    pub directory: Directory,
    /// What is different in it.
    pub changed: Changed,
    /// What of the update was left out, and why; the first few.
    pub warnings: Vec<String>,
}

impl Directory {
    /// A directory of the configuration's streams, which no update changes. Their ids must be valid; others are left out.
    pub fn new<'a>(fixed: impl IntoIterator<Item = &'a Stream>) -> Self {
        let mut nobody = Vec::new();
        let fixed = Streams::default().with(fixed.into_iter().filter_map(|stream| read(stream, &mut nobody)));
        Self { streams: fixed.clone(), fixed, by_hand: Table::default() }
    }

    /// The records that decisions are made by.
    pub fn records(&self) -> &Records {
        &self.streams.records
    }

    /// How a stream behaves; the defaults where nothing is set.
    pub fn settings(&self, id: &Id) -> Settings {
        let id = &id.stream();
        let settings = self.streams.settings.get(id).cloned().unwrap_or_default();
        Settings { by_hand: self.by_hand.get(id).copied(), ..settings }
    }

    /// Streams of which what is kept is removed after so many days; those that keep it for ever are left out.
    pub fn retained(&self) -> Vec<(Id, u32)> {
        let all = self.streams.settings.iter().map(|(id, settings)| (id.clone(), settings.retention_days));
        all.filter(|(_, days)| *days > 0).collect()
    }

    /// Which outputs a stream has: asked with each request, so without the rest.
    pub(crate) fn outputs(&self, id: &Id) -> Outputs {
        self.streams.settings.get(&id.stream()).map_or_else(Outputs::default, |settings| settings.outputs)
    }

    /// Recordings that were begun or ended by hand.
    pub(crate) fn by_hand(&self) -> Table<ByHand> {
        self.by_hand.clone()
    }

    /// The stream that a client means by an application and a name of another server, and the path that it said.
    pub(crate) fn pushed(&self, app: &str, name: &str) -> Option<(Id, String)> {
        self.streams.paths.pushed(app, name)
    }

    /// The stream and the output that a player means by an HTTP path of another server.
    pub(crate) fn played(&self, segments: &[String]) -> Option<(Id, &'static Output)> {
        self.streams.paths.played(segments)
    }

    /// The directory after an update of the link.
    pub fn updated(&self, update: &Update) -> Updated {
        let mut warnings = Vec::new();
        let mut changes: Vec<_> = update.streams.iter().filter_map(|stream| read(stream, &mut warnings)).collect();
        changes.extend(update.removed.iter().filter_map(|id| Some((Id::new(id).ok()?, None))));
        changes.retain(|(id, _)| self.fixed.records.get(id).is_none());
        let hands: Vec<_> =
            update.settled.iter().filter_map(|id| no_hand(id)).chain(update.tasks.iter().filter_map(hand)).collect();
        let nobody = Table::default();
        let (before, hands_before, differs) = if update.from.is_none() {
            (&self.fixed, &nobody, Changed::Any)
        } else {
            let ids = changes.iter().map(|(id, _)| id).chain(hands.iter().map(|(id, _)| id));
            (&self.streams, &self.by_hand, Changed::These(ids.cloned().collect()))
        };
        let directory =
            Self { streams: before.with(changes), fixed: self.fixed.clone(), by_hand: hands_before.with(hands) };
        Updated { directory, changed: differs, warnings }
    }
}

/// What a task says of a stream that is recorded by hand.
fn hand(task: &Task) -> Option<(Id, Option<ByHand>)> {
    let Work::ByHand { wanted, number } = task.what else { return None };
    Some((Id::new(&task.stream).ok()?, Some(ByHand { wanted, number })))
}

/// The stream of such a task that is no more.
fn no_hand(task: &str) -> Option<(Id, Option<ByHand>)> {
    Some((Id::new(Task::by_hand_stream(task)?).ok()?, None))
}

type Change = (Id, Option<(Record, Settings, Own)>);

impl Streams {
    fn with(&self, changes: impl IntoIterator<Item = Change>) -> Self {
        let changes: Vec<Change> = changes.into_iter().collect();
        let settings = changes.iter().map(|(id, value)| {
            let settings = value.as_ref().map(|(_, settings, _)| settings.clone());
            // Most streams have none of their own.
            (id.clone(), settings.filter(|settings| *settings != Settings::default()))
        });
        let settings = self.settings.with(settings);
        let paths = self.paths.with(changes.iter().map(|(id, value)| (id, value.as_ref().map(|(_, _, own)| own))));
        let records = changes.into_iter().map(|(id, value)| (id, value.map(|(record, ..)| record)));
        Self { records: self.records.with(records), settings, paths }
    }
}

/// A stream of the link as the data plane takes it; `None`, with a warning added, where it cannot.
fn read(stream: &Stream, warnings: &mut Vec<String>) -> Option<Change> {
    let id = match Id::new(&stream.id) {
        Ok(id) => id,
        Err(error) => {
            if warnings.len() < WARNINGS_MAX {
                // The id can hold anything: shown as a literal, and not for ever.
                let shown: String = stream.id.chars().take(64).collect();
                warnings.push(format!("stream {shown:?} is left out: {error}"));
            }
            return None;
        }
    };
    let previous = stream.previous.iter().map(|previous| (previous.generation, previous.until_unix_s));
    let labels = stream.labels.iter().map(|(name, value)| (name.clone(), value.clone()));
    let labels = (!stream.labels.is_empty()).then(|| labels.collect());
    let own = stream.own_settings();
    let settings = (!own.is_empty()).then(|| own.into_iter().map(|(name, value)| (name.to_owned(), value)).collect());
    let previous = previous.take(GENERATIONS_MAX).collect();
    let record = Record { generation: stream.generation, previous, labels, settings };
    let flush = stream.flush.and_then(|flush| match flush {
        Flush::Low => Some(FlushPolicy::Low),
        Flush::Balanced => Some(FlushPolicy::Balanced),
        Flush::Dense => Some(FlushPolicy::Dense),
        Flush::Unknown => None,
    });
    let (hls_segment_s, hls_window) = (stream.hls_segment_s, stream.hls_window);
    let own = Own::of(stream, |warning| {
        if warnings.len() < WARNINGS_MAX {
            warnings.push(warning);
        }
    });
    let on_unpublish = stream.on_unpublish.and_then(|on_unpublish| match on_unpublish {
        state::OnUnpublish::Wait => Some(OnUnpublish::Wait),
        state::OnUnpublish::End => Some(OnUnpublish::End),
        state::OnUnpublish::Slate => Some(OnUnpublish::Slate),
        state::OnUnpublish::Unknown => None,
    });
    let slate = stream.slate.as_deref().and_then(SlateKey::from_hex);
    let outputs = stream.outputs;
    let relays = relays(stream, warnings);
    let watermark = watermark::of(stream, warnings).map(Arc::new);
    let renditions = renditions(stream, watermark.is_some(), warnings);
    let on_demand_s = stream.on_demand.then(|| stream.on_demand_s.unwrap_or(ON_DEMAND_S));
    let settings = Settings {
        flush,
        on_unpublish,
        slate,
        outputs,
        hls_segment_s,
        hls_window,
        on_demand_s,
        video_s: stream.video.then(|| stream.video_s.unwrap_or(VIDEO_S)),
        image_s: stream.image.then(|| stream.image_s.unwrap_or(IMAGE_S)),
        motion: Motion::of(stream),
        object_s: stream.on_demand_s,
        retention_days: stream.retention_days,
        by_hand: None,
        dvr_window_s: stream.dvr_window_s,
        rtmps: stream.rtmps,
        relays,
        renditions,
        watermark,
    };
    Some((id, Some((record, settings, own))))
}

/// A rendition as somebody has said it; `None`: there can be none like it.
pub fn rendition_of(said: &state::Rendition) -> Option<Rendition> {
    let is_possible = (16..=RENDITION_PIXELS_MAX).contains(&said.width.max(said.height))
        && said.width.min(said.height) >= 16
        && (1..=RENDITION_KBIT_S_MAX).contains(&said.video_kbit_s);
    let name = RenditionName::new(&said.name).filter(|_| is_possible)?;
    let (width_max, height_max, video_kbit_s) = (said.width, said.height, said.video_kbit_s);
    let codec = match said.codec.as_str() {
        "" => None,
        word => Some(Encodable::get().named(word)?),
    };
    let always = said.always;
    Some(Rendition { name, width_max, height_max, video_kbit_s, codec, marked: false, always })
}

/// The renditions of a stream. One that cannot be leaves the others.
fn renditions(stream: &Stream, marked: bool, warnings: &mut Vec<String>) -> Option<Arc<[Rendition]>> {
    let mut renditions: Vec<Rendition> = Vec::new();
    // A watermark is drawn over renditions: without one it would be seen nowhere, and what nobody asks for costs nothing.
    let is_unseen = marked && stream.renditions.is_empty();
    let usual: Vec<_> = LADDER.iter().filter(|_| is_unseen).map(LadderRung::rendition).collect();
    for said in stream.renditions.iter().chain(&usual).take(RENDITIONS_MAX) {
        match rendition_of(said).filter(|made| renditions.iter().all(|other| other.name != made.name)) {
            Some(made) => renditions.push(Rendition { marked, ..made }),
            _ if warnings.len() < WARNINGS_MAX => {
                warnings.push(format!(
                    "stream {}: one of its renditions is left out: its name, size or rate cannot be",
                    stream.id
                ));
            }
            _ => {}
        }
    }
    renditions.sort_by_key(|rendition| (rendition.height_max, rendition.video_kbit_s));
    (!renditions.is_empty()).then(|| renditions.into())
}

/// Where a stream is pushed on to. One address that cannot be read leaves the others: what is said of it has no key.
fn relays(stream: &Stream, warnings: &mut Vec<String>) -> Option<Arc<[PushAddress]>> {
    let mut addresses = Vec::new();
    for address in &stream.relays {
        match address.expose().parse() {
            Ok(address) if addresses.len() < RELAYS_MAX => addresses.push(address),
            Ok(_) => break,
            Err(error) if warnings.len() < WARNINGS_MAX => {
                warnings.push(format!("stream {} is not pushed on to one of its addresses: {error}", stream.id));
            }
            Err(_) => {}
        }
    }
    (!addresses.is_empty()).then(|| addresses.into())
}

#[cfg(test)]
mod tests;
