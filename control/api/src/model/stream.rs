//! A stream's record, and what the data plane is told of it.
use std::collections::BTreeMap;

use millstream_control_protocol::state::{
    Flush, HEVC, LADDER, LIBX265, OnUnpublish, Outputs, Previous, RelayAddress, Rendition, Stream,
};
use millstream_control_protocol::watermark::Watermark;
use serde::{Deserialize, Serialize};
use serde_json::json;

use super::settings::{Reading, Settings};

/// Generations that may be in their grace at the same time: each costs every publish request a digest or two.
pub const PREVIOUS_MAX: usize = 4;

/// A stream as kept.
#[derive(Clone, PartialEq, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct StreamRecord {
    /// When it was made, Unix milliseconds.
    pub created_ms: u64,
    /// When it was last changed, Unix milliseconds.
    pub updated_ms: u64,
    /// Who changed it.
    pub updated_by: String,
    /// The generation of its secret.
    pub generation: u64,
    /// Generations before it that still admit.
    pub previous: Vec<Grace>,
    /// What its operator says of it.
    pub settings: Settings,
}

/// A generation that was rotated away.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(default)]
pub struct Grace {
    /// Which.
    pub generation: u64,
    /// It admits up to, and not including, this second of Unix time.
    pub until_unix_s: u64,
}

/// What is remembered of a stream that was removed.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Tombstone {
    /// The last generation of its secret.
    pub generation: u64,
    /// For how many days its recordings are kept; 0: for ever.
    pub retention_days: u64,
}

/// The settings that nodes are told, by their names in [`super::settings::FIELDS`]; `[[stream]]` entries of a configuration file have
/// these too. A slate is told as well, by its content: [`crate::slates`] finds it.
pub const OF_DATA_PLANE: [&str; 46] = [
    "isFlv",
    "isHls",
    "isCMAF",
    "hls_time",
    "hls_list_size",
    "isOnDemand",
    "ondemand_time",
    "isVideo",
    "video_time",
    "isImage",
    "image_time",
    "isMotion",
    "motion_percent",
    "motion_diff",
    "motion_duration",
    "motion_timeout",
    "motion_zones",
    "retention_days",
    "dvr_window_s",
    "isRtmps",
    "isRelay",
    "relayURL",
    "isCodec",
    "codec",
    "ld",
    "sd",
    "hd",
    "ud",
    "isWaterMark",
    "WaterMarkText",
    "WaterMarkFontSize",
    "WaterMarkFontColor",
    "WaterMarkTop",
    "WaterMarkLeft",
    "isImageWaterMark",
    "ImageURL",
    "ImageWidth",
    "ImageHeight",
    "ImageTop",
    "ImageLeft",
    "ImageOpacity",
    "flush",
    "on_unpublish",
    "push_paths",
    "play_paths",
    "labels",
];

/// Seconds that an object of a recording, and an MP4 file, holds where nothing is said: nodes know it, too.
const ON_DEMAND_S: u32 = 60;
const VIDEO_S: u32 = 60;
/// Seconds between two pictures, where nothing is said: nodes know it, too.
const IMAGE_S: u32 = 30;
/// How motion is looked for, where nothing is said: nodes know it, too.
const MOTION_PERCENT: u32 = 30;
const MOTION_DIFF: u32 = 10;
const MOTION_DURATION_S: u32 = 5;
const MOTION_TIMEOUT_S: u32 = 60;
/// Seconds that viewers of a recorded stream may go back, where nobody says.
const DVR_WINDOW_S: u32 = 14_400;

impl StreamRecord {
    /// A stream of the configuration file, as a record: to be shown.
    pub fn of_link(stream: &Stream) -> Self {
        let flush = stream.flush.and_then(Flush::word).unwrap_or_default();
        let on_unpublish = stream.on_unpublish.and_then(OnUnpublish::word).unwrap_or_default();
        let Outputs { flv, hls, cmaf } = stream.outputs;
        let (push_paths, play_paths, mark) = (&stream.push_paths, &stream.play_paths, &stream.watermark);
        let given = json!({
            "isFlv": flv, "isHls": hls, "isCMAF": cmaf, "flush": flush, "on_unpublish": on_unpublish, "labels": stream.labels,
            "push_paths": push_paths, "play_paths": play_paths, "hls_time": stream.hls_segment_s, "hls_list_size": stream.hls_window,
            "isOnDemand": stream.on_demand, "ondemand_time": stream.on_demand_s, "retention_days": stream.retention_days,
            "isVideo": stream.video, "video_time": stream.video_s,
            "isImage": stream.image, "image_time": stream.image_s,
            "isMotion": stream.motion, "motion_percent": stream.motion_percent, "motion_diff": stream.motion_diff,
            "motion_duration": stream.motion_duration_s, "motion_timeout": stream.motion_timeout_s, "motion_zones": stream.motion_zones,
            "dvr_window_s": stream.dvr_window_s,
            "isRtmps": stream.rtmps,
            "isRelay": !stream.relays.is_empty(), "relayURL": relay_url(&stream.relays),
            "isCodec": !stream.renditions.is_empty(), "codec": if stream.is_hevc() { LIBX265 } else { "libx264" },
        });
        let mut settings = Settings::default();
        let of_watermark = json!({
            "isWaterMark": mark.text_on, "WaterMarkText": mark.text, "WaterMarkFontSize": mark.font_size_px,
            "WaterMarkFontColor": mark.font_colour, "WaterMarkTop": mark.top_px, "WaterMarkLeft": mark.left_px,
            "isImageWaterMark": mark.image_on, "ImageURL": mark.image_url, "ImageWidth": mark.image_width_px,
            "ImageHeight": mark.image_height_px, "ImageTop": mark.image_top_px, "ImageLeft": mark.image_left_px,
            "ImageOpacity": mark.image_opacity_percent,
        });
        // What the configuration accepts is within what a record may hold; were it not, the default would be shown.
        let of_ladder: serde_json::Value =
            LADDER.iter().map(|rung| (rung.switch, stream.has_rendition(rung))).collect();
        for given in [given, of_ladder, of_watermark] {
            let _ = given.as_object().map(|given| settings.merge(given, Reading::Strict));
        }
        let previous = stream
            .previous
            .iter()
            .map(|previous| Grace { generation: previous.generation, until_unix_s: previous.until_unix_s });
        Self { generation: stream.generation, previous: previous.collect(), settings, ..Self::default() }
    }

    /// What nodes are told.
    pub fn to_link(&self, id: &str) -> Stream {
        let previous = self
            .previous
            .iter()
            .map(|grace| Previous { generation: grace.generation, until_unix_s: grace.until_unix_s });
        Stream {
            id: id.to_owned(),
            generation: self.generation,
            previous: previous.collect(),
            flush: flush(&self.settings),
            outputs: Outputs {
                flv: self.settings.on("isFlv"),
                hls: self.settings.on("isHls"),
                cmaf: self.settings.on("isCMAF"),
            },
            hls_segment_s: whole(&self.settings, "hls_time"),
            hls_window: whole(&self.settings, "hls_list_size"),
            push_paths: self.settings.texts("push_paths"),
            play_paths: self.settings.texts("play_paths"),
            on_unpublish: on_unpublish(&self.settings),
            slate: None,
            on_demand: self.settings.on("isOnDemand"),
            on_demand_s: whole(&self.settings, "ondemand_time").filter(|seconds| *seconds != ON_DEMAND_S),
            video: self.settings.on("isVideo"),
            video_s: whole(&self.settings, "video_time").filter(|seconds| *seconds != VIDEO_S),
            image: self.settings.on("isImage"),
            image_s: whole(&self.settings, "image_time").filter(|seconds| *seconds != IMAGE_S),
            motion: self.settings.on("isMotion"),
            motion_percent: whole(&self.settings, "motion_percent").filter(|percent| *percent != MOTION_PERCENT),
            motion_diff: whole(&self.settings, "motion_diff").filter(|levels| *levels != MOTION_DIFF),
            motion_duration_s: whole(&self.settings, "motion_duration").filter(|s| *s != MOTION_DURATION_S),
            motion_timeout_s: whole(&self.settings, "motion_timeout").filter(|s| *s != MOTION_TIMEOUT_S),
            motion_zones: self.settings.text("motion_zones").to_owned(),
            retention_days: whole(&self.settings, "retention_days").unwrap_or_default(),
            dvr_window_s: whole(&self.settings, "dvr_window_s").filter(|seconds| *seconds != DVR_WINDOW_S),
            rtmps: self.settings.on("isRtmps"),
            relays: relays(&self.settings),
            renditions: renditions(&self.settings),
            watermark: watermark(&self.settings),
            labels: labels(&self.settings),
        }
    }

    /// Generations that admit at this second.
    pub fn in_grace(&self, now_s: u64) -> Vec<Grace> {
        self.previous.iter().copied().filter(|grace| grace.until_unix_s > now_s).collect()
    }
}

/// The renditions of a stream.
fn renditions(settings: &Settings) -> Vec<Rendition> {
    let asked = LADDER.iter().filter(|rung| settings.on("isCodec") && settings.on(rung.switch));
    // What is usual at the node is not said.
    let codec = if settings.text("codec") == LIBX265 { HEVC } else { "" };
    asked.map(|rung| Rendition { codec: codec.to_owned(), ..rung.rendition() }).collect()
}

/// What is drawn over the picture. What is as usual is not said.
fn watermark(settings: &Settings) -> Watermark {
    let usual = Settings::default();
    let number = |name| whole(settings, name).filter(|number| Some(*number) != whole(&usual, name));
    let colour = settings.text("WaterMarkFontColor");
    Watermark {
        text_on: settings.on("isWaterMark"),
        text: settings.text("WaterMarkText").to_owned(),
        font_size_px: number("WaterMarkFontSize"),
        font_colour: (colour != usual.text("WaterMarkFontColor")).then(|| colour.to_owned()),
        top_px: number("WaterMarkTop"),
        left_px: number("WaterMarkLeft"),
        image_on: settings.on("isImageWaterMark"),
        image_url: settings.text("ImageURL").to_owned(),
        image_width_px: number("ImageWidth"),
        image_height_px: number("ImageHeight"),
        image_top_px: number("ImageTop"),
        image_left_px: number("ImageLeft"),
        image_opacity_percent: number("ImageOpacity"),
    }
}

/// Where a stream is pushed on to, while it is.
fn relays(settings: &Settings) -> Vec<RelayAddress> {
    if !settings.on("isRelay") {
        return Vec::new();
    }
    let addresses = settings.text("relayURL").split(',').map(str::trim).filter(|address| !address.is_empty());
    addresses.map(RelayAddress::new).collect()
}

fn relay_url(relays: &[RelayAddress]) -> String {
    let addresses: Vec<&str> = relays.iter().map(RelayAddress::expose).collect();
    addresses.join(",")
}

/// A setting that is a number.
fn whole(settings: &Settings, name: &str) -> Option<u32> {
    settings.get(name).as_u64().and_then(|number| u32::try_from(number).ok())
}

fn flush(settings: &Settings) -> Option<Flush> {
    match settings.text("flush") {
        "low" => Some(Flush::Low),
        "balanced" => Some(Flush::Balanced),
        "dense" => Some(Flush::Dense),
        _ => None,
    }
}

fn on_unpublish(settings: &Settings) -> Option<OnUnpublish> {
    match settings.text("on_unpublish") {
        "wait" => Some(OnUnpublish::Wait),
        "end" => Some(OnUnpublish::End),
        "slate" => Some(OnUnpublish::Slate),
        _ => None,
    }
}

fn labels(settings: &Settings) -> BTreeMap<String, String> {
    let labels = settings.get("labels").as_object().cloned().unwrap_or_default();
    labels.into_iter().filter_map(|(name, value)| Some((name, value.as_str()?.to_owned()))).collect()
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::super::settings::{FIELDS, Shape};
    use super::*;

    const ADDRESS: &str = "rtmp://live.example.org/app/key";

    /// Another value than the default.
    fn other(shape: Shape, default: &Value) -> Value {
        match shape {
            Shape::Switch => json!(default != &json!(true)),
            Shape::Number(min, max) => json!(if default == &json!(max) { min } else { max }),
            Shape::Text(_) => json!("x"),
            Shape::Word(words) => words.iter().find(|word| default != **word).copied().into(),
            Shape::Date => json!("2030-12-31"),
            Shape::Labels => json!({ "site": "lobby" }),
            Shape::PushAddresses(_) => json!(ADDRESS),
            Shape::Checked(_, check) => {
                let checked =
                    ["red", "https://example.org/a.png", "0,50,100,50"].into_iter().find(|text| check(text).is_ok());
                json!(checked)
            }
            Shape::Paths(check) => {
                ["a/b", "/a.flv"].into_iter().filter(|path| check(path).is_ok()).map(Value::from).collect()
            }
        }
    }

    #[test]
    fn nodes_are_told_of_these_settings_and_of_no_others() {
        for field in FIELDS.iter() {
            let value = other(field.shape, &field.default);
            let mut record = StreamRecord::default();
            // Settings that say nothing one without the other.
            let is_relay = matches!(field.name, "isRelay" | "relayURL");
            let is_codec = matches!(field.name, "isCodec" | "codec" | "ld" | "sd" | "hd" | "ud");
            for other in FIELDS.iter() {
                match other.name {
                    "isRelay" if is_relay => record.settings.set(other, json!(true)),
                    "relayURL" if is_relay => record.settings.set(other, json!(ADDRESS)),
                    "isCodec" if is_codec => record.settings.set(other, json!(true)),
                    "ld" if matches!(field.name, "isCodec" | "codec") => record.settings.set(other, json!(true)),
                    _ => {}
                }
            }
            record.settings.set(field, field.check(&value).unwrap_or_else(|error| panic!("{}: {error}", field.name)));
            let told = record.to_link("a");
            let differs = told != StreamRecord::default().to_link("a");
            assert_eq!(differs, OF_DATA_PLANE.contains(&field.name), "{}", field.name);
            // Hooks read those of them that are words, numbers or switches by the same names.
            let is_list = is_relay || is_codec || matches!(field.shape, Shape::Labels | Shape::Paths(_));
            let read = told.own_settings();
            let text = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
            assert_eq!(read == [(field.name, text)], differs && !is_list, "{}: {read:?}", field.name);
            // And a stream of the file is shown with all of them.
            let shown = StreamRecord::of_link(&told);
            assert_eq!(shown.settings.get(field.name) == &value, differs, "{}", field.name);
        }
    }
}
