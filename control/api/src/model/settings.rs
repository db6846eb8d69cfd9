//! A stream's settings: one table says what each is called, what it may hold, what it is when nobody says, and whether this version
//! acts on it. The names are those of the system that this one replaces, whose scripts go on.
//!
//! [`Settings::merge`] takes what a caller gives; strictly (`/api/v1`), or with switches and numbers as text too (`/videostream`).
use std::fmt;
use std::sync::LazyLock;

use millstream_fleet::http::url::Url;
use millstream_proto::limits::{PATHS_MAX, RELAYS_MAX, STREAM_KEY_BYTES_MAX};
use millstream_proto::paths::{self, PathError};
use millstream_proto::rtmp::address::PushAddress;
use millstream_proto::watermark::{IMAGE_URL_BYTES_MAX, PLACE_PX_MAX, Rgba, TEXT_BYTES_MAX};
use millstream_proto::zones::{ZONES_TEXT_BYTES_MAX, Zones};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};
use time::Date;
use time::macros::format_description;

use crate::http::problem::FieldError;

/// What a setting may hold.
#[derive(Clone, Copy, Debug)]
pub enum Shape {
    /// True or false.
    Switch,
    /// A whole number of this range.
    Number(u64, u64),
    /// Text of at most so many bytes.
    Text(usize),
    /// One of these words.
    Word(&'static [&'static str]),
    /// `YYYY-MM-DD`, from 1970 on.
    Date,
    /// Names and values of the operator's own.
    Labels,
    /// Addresses that a stream can be pushed to, with commas between, of at most so many bytes.
    PushAddresses(usize),
    /// Text of at most so many bytes, which this function checks; empty is the default.
    Checked(usize, fn(&str) -> Result<(), String>),
    /// A list of paths of other servers, which this function checks.
    Paths(fn(&str) -> Result<(), PathError>),
}

impl fmt::Display for Shape {
    /// What a value may be, for people.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Switch => f.write_str("true or false"),
            Self::Number(min, max) => write!(f, "whole number, {min} to {max}"),
            Self::Text(max) | Self::Checked(max, _) => write!(f, "text of at most {max} bytes"),
            Self::Word(words) => {
                let words: Vec<&str> = words.iter().filter(|word| !word.is_empty()).copied().collect();
                f.write_str(&words.join(", "))
            }
            Self::Date => f.write_str("YYYY-MM-DD"),
            Self::Labels => f.write_str("names and values"),
            Self::PushAddresses(max) => write!(f, "RTMP addresses with commas between, at most {max} bytes"),
            Self::Paths(_) => f.write_str("list of paths"),
        }
    }
}

/// What acts on a setting.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Feature {
    /// The API itself, or the delivery of a stream: always in force.
    Core,
    /// HLS.
    Hls,
    /// DASH over CMAF.
    Cmaf,
    /// Recording of HLS for later.
    Record,
    /// Recording of MP4 files.
    Mp4,
    /// Pictures.
    Pictures,
    /// Motion detection.
    Motion,
    /// Renditions: smaller forms of the picture.
    Renditions,
    /// What is drawn over the picture.
    Watermark,
    /// Pushing on to other servers.
    Relay,
    /// RTMP over TLS.
    Rtmps,
    /// More than one node.
    Cluster,
}

/// What this version acts on. The rest is kept, and answered as not in force.
const IN_FORCE: &[Feature] = &[
    Feature::Core,
    Feature::Hls,
    Feature::Cmaf,
    Feature::Record,
    Feature::Mp4,
    Feature::Pictures,
    Feature::Motion,
    Feature::Renditions,
    Feature::Watermark,
    Feature::Relay,
    Feature::Rtmps,
];

/// Whether this version acts on what belongs to a feature.
pub fn acts_on(feature: Feature) -> bool {
    IN_FORCE.contains(&feature)
}

/// A setting.
#[derive(Clone, Debug)]
pub struct Field {
    /// Its name in JSON.
    pub name: &'static str,
    /// What it may hold.
    pub shape: Shape,
    /// What it is when nobody says.
    pub default: Value,
    /// What acts on it.
    pub feature: Feature,
    /// What it means.
    pub about: &'static str,
}

impl Field {
    /// The value as this setting takes it, or what is wrong with it. Null passes: it asks for the default.
    pub fn check(&self, value: &Value) -> Result<Value, String> {
        take(self.shape, value, Reading::Strict)
    }
}

/// Labels of a stream.
const LABELS_MAX: usize = 32;
/// Bytes of a label's name.
const LABEL_NAME_BYTES_MAX: usize = 64;
/// Bytes of a label's value.
const LABEL_VALUE_BYTES_MAX: usize = 256;
/// Seconds of a day: the longest of any setting that is a duration.
const DAY_S: u64 = 86_400;

/// A century, in days.
const RETENTION_DAYS_MAX: u64 = 36_500;

/// Every setting.
pub static FIELDS: LazyLock<Vec<Field>> = LazyLock::new(|| {
    use Feature::{Cluster, Cmaf, Core, Hls, Motion, Mp4, Pictures, Record, Relay, Renditions, Rtmps, Watermark};
    use Shape::{Checked, Labels, Number, Switch, Text, Word};
    let field = |name, shape, default, feature, about| Field { name, shape, default, feature, about };
    let (off, none) = (json!(false), json!(""));
    let (place, side) = (Number(0, PLACE_PX_MAX.into()), Number(1, PLACE_PX_MAX.into()));
    vec![
        field("videoname", Text(256), none.clone(), Core, "a name for people"),
        field("description", Text(4_096), none.clone(), Core, "more words for people"),
        field(
            "outdate",
            Shape::Date,
            none.clone(),
            Core,
            "the day at whose UTC midnight the stream's push key expires",
        ),
        field("isFlv", Switch, json!(true), Core, "HTTP-FLV exists"),
        field("isHls", Switch, json!(true), Hls, "HLS exists"),
        field("isCMAF", Switch, json!(true), Cmaf, "DASH over CMAF exists"),
        field("hls_time", Number(1, 60), Value::Null, Hls, "seconds of an HLS segment; null: as configured"),
        field("hls_list_size", Number(3, 1_000), Value::Null, Hls, "segments of an HLS playlist; null: as configured"),
        field("isVideo", Switch, off.clone(), Mp4, "MP4 files are recorded"),
        field("video_time", Number(1, DAY_S), json!(60), Mp4, "seconds of an MP4 file"),
        field("isImage", Switch, off.clone(), Pictures, "pictures are taken"),
        field("image_time", Number(1, DAY_S), json!(30), Pictures, "seconds between pictures"),
        field("isOnDemand", Switch, off.clone(), Record, "HLS is recorded for later"),
        field("ondemand_time", Number(1, DAY_S), json!(60), Record, "seconds of recorded HLS that an object holds"),
        field(
            "retention_days",
            Number(0, RETENTION_DAYS_MAX),
            json!(0),
            Record,
            "days after all of it was stored that a recording is removed, and kept pictures and films of motion with their day; 0: they are kept until somebody removes them",
        ),
        field(
            "dvr_window_s",
            Number(0, DAY_S),
            json!(14_400),
            Record,
            "seconds that viewers of recorded HLS may go back from the live edge (dvr.m3u8), 8,190 segments at most; 0: not at all",
        ),
        field("isMotion", Switch, off.clone(), Motion, "motion is looked for"),
        field("motion_percent", Number(1, 100), json!(30), Motion, "how much of the picture must change, percent"),
        field("motion_diff", Number(1, 255), json!(10), Motion, "how much a pixel must change, grey levels"),
        field("motion_duration", Number(1, DAY_S), json!(5), Motion, "seconds of a clip; new motion extends it"),
        field("motion_timeout", Number(1, DAY_S), json!(60), Motion, "seconds of the longest clip"),
        field(
            "motion_zones",
            Checked(ZONES_TEXT_BYTES_MAX, |text| text.parse::<Zones>().map(drop).map_err(|error| error.to_string())),
            none.clone(),
            Motion,
            "where in the picture motion counts: LEFT,TOP,WIDTH,HEIGHT in percent, with semicolons between; empty: everywhere",
        ),
        field(
            "isCodec",
            Switch,
            off.clone(),
            Renditions,
            "the stream has renditions, those of ld, sd, hd and ud that are on",
        ),
        field(
            "codec",
            Word(&["libx264", "libx265"]),
            json!("libx264"),
            Renditions,
            "the codec of the renditions; libx265 needs an ffmpeg that has it",
        ),
        field("ld", Switch, off.clone(), Renditions, "a rendition of 640x360 at 400 kbit/s"),
        field("sd", Switch, off.clone(), Renditions, "a rendition of 854x480 at 600 kbit/s"),
        field("hd", Switch, off.clone(), Renditions, "a rendition of 1280x720 at 1,000 kbit/s"),
        field("ud", Switch, off.clone(), Renditions, "a rendition of 1920x1080 at 2,000 kbit/s"),
        field("isWaterMark", Switch, off.clone(), Watermark, "text is written over the picture of the renditions"),
        field(
            "WaterMarkText",
            Text(TEXT_BYTES_MAX),
            none.clone(),
            Watermark,
            "which text; a line break begins another line",
        ),
        field("WaterMarkFontSize", Number(1, 512), json!(24), Watermark, "its size, pixels of the source's picture"),
        field(
            "WaterMarkFontColor",
            Checked(32, |text| text.parse::<Rgba>().map(drop).map_err(|error| error.to_string())),
            json!("white"),
            Watermark,
            "its colour: a name or #RRGGBB; with @0.5 behind it half of the picture shows through",
        ),
        field("WaterMarkTop", place, json!(10), Watermark, "its distance from the top, pixels of the source's picture"),
        field("WaterMarkLeft", place, json!(10), Watermark, "its distance from the left, pixels"),
        field("isImageWaterMark", Switch, off.clone(), Watermark, "an image is put over the picture of the renditions"),
        field(
            "ImageURL",
            Checked(IMAGE_URL_BYTES_MAX, |text| text.parse::<Url>().map(drop).map_err(|error| error.to_string())),
            none.clone(),
            Watermark,
            "where that image is: PNG or JPEG of 4 MiB at most, at a public address",
        ),
        field("ImageWidth", side, json!(100), Watermark, "its width, pixels of the source's picture"),
        field("ImageHeight", side, json!(50), Watermark, "its height, pixels"),
        field("ImageTop", place, json!(10), Watermark, "its distance from the top, pixels"),
        field("ImageLeft", place, json!(10), Watermark, "its distance from the left, pixels"),
        field(
            "ImageOpacity",
            Number(1, 100),
            json!(100),
            Watermark,
            "how much of it is seen, percent, beside its own transparency",
        ),
        field("isRelay", Switch, off.clone(), Relay, "the stream is pushed on"),
        field(
            "relayURL",
            Shape::PushAddresses(RELAYS_MAX * STREAM_KEY_BYTES_MAX),
            none.clone(),
            Relay,
            "where to: rtmp:// and rtmps:// addresses with their stream keys, commas between, 8 at most; shown to operators only",
        ),
        field("isRtmps", Switch, off.clone(), Rtmps, "it is pushed over RTMPS, and refused over RTMP"),
        field("isCluster", Switch, off, Cluster, "it is served by several nodes"),
        field(
            "flush",
            Word(&["", "low", "balanced", "dense"]),
            none.clone(),
            Core,
            "when frames go out; empty: as configured",
        ),
        field(
            "on_unpublish",
            Word(&["", "wait", "end", "slate"]),
            none.clone(),
            Core,
            "what becomes of viewers when the encoder has gone: they wait for it, they are ended, or a clip plays until it is back; \
             empty: as configured",
        ),
        field("slate", Text(64), none, Core, "which uploaded slate is that clip; empty: as configured"),
        field(
            "push_paths",
            Shape::Paths(|path| paths::push(path).map(drop)),
            json!([]),
            Core,
            "paths of other servers that encoders push it to, APPLICATION/NAME as they say it; a path leads to one stream",
        ),
        field(
            "play_paths",
            Shape::Paths(|path| paths::play(path).map(drop)),
            json!([]),
            Core,
            "HTTP paths of other servers that players ask for it by; the ending (.flv, .m3u8, .mpd) says what they give",
        ),
        field("labels", Labels, json!({}), Core, "names and values of your own"),
    ]
});

/// Defaults of the system that this one replaces, where they differ: records that `/videostream` makes have them.
fn legacy_defaults() -> [(&'static str, Value); 4] {
    [("isHls", json!(false)), ("isCMAF", json!(false)), ("hls_time", json!(2)), ("hls_list_size", json!(5))]
}

/// The setting whose value may hold other systems' secrets (a push address with its key): not for those who may only look.
const SECRET: &str = "relayURL";

/// The settings of one stream: what was said, where it differs from nothing said.
#[derive(Clone, PartialEq, Debug, Default, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Settings(Map<String, Value>);

/// How exactly values must have their shape.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Reading {
    /// As the document says.
    Strict,
    /// Switches and numbers may be text, as the original's clients send them.
    Lenient,
}

impl Settings {
    /// The value of a setting, its default where nothing was said.
    pub fn get(&self, name: &str) -> &Value {
        let default = || FIELDS.iter().find(|field| field.name == name).map_or(&Value::Null, |field| &field.default);
        self.0.get(name).unwrap_or_else(default)
    }

    /// Fills in the defaults of the system that this one replaces, where a new record says nothing.
    pub fn with_legacy_defaults(given: &Map<String, Value>) -> Map<String, Value> {
        let mut filled = given.clone();
        for (name, default) in legacy_defaults() {
            let said = given.get(name).filter(|value| !value.is_null() && value.as_str() != Some(""));
            if said.is_none() {
                filled.insert(name.to_owned(), default);
            }
        }
        filled
    }

    /// Sets one of [`FIELDS`] to a value that [`Field::check`] gave.
    pub fn set(&mut self, field: &Field, value: Value) {
        self.0.insert(field.name.to_owned(), value);
    }

    /// Whether a switch is on.
    pub fn on(&self, name: &str) -> bool {
        self.get(name) == &Value::Bool(true)
    }

    /// A setting that is text.
    pub fn text(&self, name: &str) -> &str {
        self.get(name).as_str().unwrap_or_default()
    }

    /// A setting that is a list of texts.
    pub fn texts(&self, name: &str) -> Vec<String> {
        let items = self.get(name).as_array().map(Vec::as_slice).unwrap_or_default();
        items.iter().filter_map(|item| Some(item.as_str()?.to_owned())).collect()
    }

    /// When the stream's key expires: UTC midnight at the start of `outdate`, Unix seconds.
    pub fn expiry_s(&self) -> Option<u64> {
        midnight_s(self.text("outdate"))
    }

    /// Sets what is given over what is there; null is the default again. Says all that is wrong, and then changes nothing. Gives the
    /// names of what has another value now.
    pub fn merge(&mut self, given: &Map<String, Value>, reading: Reading) -> Result<Vec<String>, Vec<FieldError>> {
        let (mut next, mut changed, mut errors) = (self.clone(), Vec::new(), Vec::new());
        for (name, value) in given {
            let Some(field) = FIELDS.iter().find(|field| field.name == name) else {
                errors.push(FieldError::new(shown(name), "there is no such setting; see /api/v1/openapi.json"));
                continue;
            };
            match take(field.shape, value, reading) {
                Ok(value) => {
                    let value = if value.is_null() { field.default.clone() } else { value };
                    if *self.get(field.name) != value {
                        changed.push(field.name.to_owned());
                    }
                    next.0.insert(field.name.to_owned(), value);
                }
                Err(message) => errors.push(FieldError::new(field.name, message)),
            }
        }
        if !errors.is_empty() {
            return Err(errors);
        }
        *self = next;
        Ok(changed)
    }

    /// All settings with their values; without those that only operators may see, unless `all`.
    pub fn shown(&self, all: bool) -> Map<String, Value> {
        let fields = FIELDS.iter().filter(|field| all || field.name != SECRET);
        fields.map(|field| (field.name.to_owned(), self.get(field.name).clone())).collect()
    }

    /// Settings that say something and that this version does not act on.
    pub fn not_in_force(&self) -> Vec<&'static str> {
        let idle = FIELDS.iter().filter(|field| !acts_on(field.feature));
        idle.filter(|field| *self.get(field.name) != field.default).map(|field| field.name).collect()
    }
}

/// Unix seconds of a day's UTC midnight.
pub fn midnight_s(day: &str) -> Option<u64> {
    let date = Date::parse(day, format_description!("[year]-[month]-[day]")).ok()?;
    u64::try_from(date.midnight().assume_utc().unix_timestamp()).ok()
}

/// The day (UTC) at this second of Unix time, as `outdate` writes it.
pub fn day(unix_s: u64) -> String {
    let date = time::OffsetDateTime::from_unix_timestamp(i64::try_from(unix_s).unwrap_or(0));
    let date = date.unwrap_or(time::OffsetDateTime::UNIX_EPOCH);
    format!("{:04}-{:02}-{:02}", date.year(), u8::from(date.month()), date.day())
}

/// A name from outside, cut for an error message.
fn shown(name: &str) -> String {
    name.chars().take(64).collect()
}

/// The value in its shape, or what is wrong with it. Null passes: it asks for the default.
fn take(shape: Shape, value: &Value, reading: Reading) -> Result<Value, String> {
    let lenient = reading == Reading::Lenient;
    match (shape, value) {
        (_, Value::Null) => Ok(Value::Null),
        (Shape::Switch, Value::Bool(_)) => Ok(value.clone()),
        (Shape::Switch, Value::String(text)) if lenient => match text.trim().to_ascii_lowercase().as_str() {
            "true" => Ok(json!(true)),
            "false" | "" => Ok(json!(false)),
            _ => Err("this is neither true nor false".to_owned()),
        },
        (Shape::Switch, _) => Err(format!("this is {}; give true or false", kind(value))),
        (Shape::Number(min, max), _) => {
            let number = match value {
                Value::String(text) if lenient && text.trim().is_empty() => return Ok(Value::Null),
                Value::String(text) if lenient => text.trim().parse().ok(),
                _ => value.as_u64(),
            };
            let number = number.filter(|number| (min..=max).contains(number));
            number.map(|number| json!(number)).ok_or_else(|| format!("give a whole number, {min} to {max}"))
        }
        (Shape::Text(_), Value::String(text)) if text.chars().any(|c| c.is_control() && !"\t\r\n".contains(c)) => {
            Err("this has a control character; leave it out (line breaks and tabs may be there)".to_owned())
        }
        (Shape::Text(max) | Shape::PushAddresses(max) | Shape::Checked(max, _), Value::String(text))
            if text.len() > max =>
        {
            Err(format!("this is too long; give at most {max} bytes"))
        }
        (Shape::Text(_), Value::String(_)) => Ok(value.clone()),
        (Shape::Checked(..), Value::String(text)) if text.trim().is_empty() => Ok(Value::Null),
        (Shape::Checked(_, check), Value::String(text)) => check(text.trim()).map(|()| json!(text.trim())),
        (Shape::Word(words), Value::String(text)) if words.contains(&text.as_str()) => Ok(value.clone()),
        (Shape::Word(words), Value::String(_)) => {
            let words: Vec<String> = words.iter().map(|word| format!("\"{word}\"")).collect();
            Err(format!("give one of {}", words.join(", ")))
        }
        (Shape::PushAddresses(_), Value::String(text)) => match PushAddress::list(text) {
            Ok(_) => Ok(value.clone()),
            Err(error) => Err(error.to_string()),
        },
        (Shape::Date, Value::String(text)) if text.is_empty() => Ok(Value::Null),
        (Shape::Date, Value::String(text)) => match midnight_s(text) {
            Some(_) => Ok(value.clone()),
            None => Err("give a day from 1970 on as YYYY-MM-DD, such as 2030-12-31".to_owned()),
        },
        (Shape::Labels, Value::Object(labels)) => take_labels(labels),
        (Shape::Labels, _) => Err(format!("this is {}; give an object of names and values", kind(value))),
        (Shape::Paths(check), Value::Array(paths)) => take_paths(paths, check),
        (Shape::Paths(_), Value::String(text)) if lenient && text.trim().is_empty() => Ok(Value::Null),
        (Shape::Paths(_), _) => Err(format!("this is {}; give a list of paths", kind(value))),
        (Shape::Text(_) | Shape::Checked(..) | Shape::Word(_) | Shape::Date | Shape::PushAddresses(_), _) => {
            Err(format!("this is {}; give text", kind(value)))
        }
    }
}

fn take_paths(paths: &[Value], check: fn(&str) -> Result<(), PathError>) -> Result<Value, String> {
    if paths.len() > PATHS_MAX {
        return Err(format!("give at most {PATHS_MAX} paths"));
    }
    for path in paths {
        let path = path.as_str().ok_or_else(|| format!("a path is {}; give text", kind(path)))?;
        check(path).map_err(|error| error.to_string())?;
    }
    Ok(Value::Array(paths.to_vec()))
}

fn take_labels(labels: &Map<String, Value>) -> Result<Value, String> {
    if labels.len() > LABELS_MAX {
        return Err(format!("give at most {LABELS_MAX} labels"));
    }
    for (name, value) in labels {
        if name.is_empty() || name.len() > LABEL_NAME_BYTES_MAX {
            return Err(format!("a label's name has 1 to {LABEL_NAME_BYTES_MAX} bytes"));
        }
        if value.as_str().is_none_or(|value| value.len() > LABEL_VALUE_BYTES_MAX) {
            return Err(format!("a label's value is text of at most {LABEL_VALUE_BYTES_MAX} bytes"));
        }
        let texts = [name.as_str(), value.as_str().unwrap_or_default()];
        if texts.iter().any(|text| text.chars().any(char::is_control)) {
            return Err("a label has a control character (a line break, a tab, a NUL); leave it out".to_owned());
        }
    }
    Ok(Value::Object(labels.clone()))
}

fn kind(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "true or false",
        Value::Number(_) => "a number",
        Value::String(_) => "text",
        Value::Array(_) => "a list",
        Value::Object(_) => "an object",
    }
}

pub(crate) mod schema;
#[cfg(test)]
mod tests;
