//! `/<id>/live.json`: whether a stream is on air, in a form that pages ask for and caches keep for a second. The same for everyone and from
//! every shard. Before it: [`crate::shard::status`]; beside it: the pages, whose `page.js` reads it.
use millstream_control_protocol::state::Outputs;
use millstream_hub::config::Rendition;
use millstream_hub::findings::Dropped;
use millstream_proto::codec::Shape;
use millstream_proto::http::response::Cache;
use millstream_proto::id::Id;
use serde::{Serialize, Serializer};

use super::listen::listen;
use super::refusal::BUSY;
use super::renditions::possible;
use super::reply::{Answer, HTTP, Reply, admit};
use crate::clock::unix_ms;
use crate::output::Formats;
use crate::shard::phase::{Phase, Status, TrackStatus};

/// How long an answer may be kept, seconds: the least that can be said.
const MAX_AGE_S: u32 = 1;

#[derive(Serialize)]
struct Document<'a> {
    /// `off`, `starting`, `live`, `silent`, `waiting` or `slate`.
    state: &'static str,
    /// The server's wall clock when this was written.
    unix_ms: u64,
    /// Since when it has been in that state.
    #[serde(skip_serializing_if = "Option::is_none")]
    since_unix_ms: Option<u64>,
    /// Another number is another publisher's session.
    #[serde(skip_serializing_if = "Option::is_none")]
    publication: Option<u64>,
    outputs: Forms<'a>,
    /// Viewers may go back in it: `dvr.m3u8`.
    #[serde(skip_serializing_if = "is_not")]
    dvr: bool,
    tracks: Vec<TrackDocument<'a>>,
    /// What `index.m3u8` and `index.mpd` have beside the stream itself, the smallest first.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    renditions: Vec<RenditionDocument<'a>>,
    left_out: Vec<LeftOut<'a>>,
}

// serde's shape.
#[allow(clippy::trivially_copy_pass_by_ref)]
fn is_not(switch: &bool) -> bool {
    !switch
}

/// Which outputs the stream has, by their names.
struct Forms<'a>(&'a Formats, Outputs);

impl Serialize for Forms<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let Self(formats, outputs) = self;
        serializer.collect_map(formats.outputs().map(|(output, format)| (output.name, (format.is_on)(*outputs))))
    }
}

#[derive(Serialize)]
struct TrackDocument<'a> {
    kind: &'static str,
    codec: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    width: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    height: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    rate_hz: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    channels: Option<u32>,
}

/// A rendition that may be asked for.
#[derive(Serialize)]
struct RenditionDocument<'a> {
    name: &'a str,
    width: u32,
    height: u32,
}

/// A track that some outputs do not carry.
#[derive(Serialize)]
struct LeftOut<'a> {
    kind: &'static str,
    codec: &'a str,
    outputs: Vec<&'static str>,
    reason: &'a str,
}

pub(super) async fn answer(reply: &Reply<'_>, id: Id) -> Answer {
    if let Err(refused) = admit(reply, &id, HTTP, None).await {
        return refused;
    }
    let Ok(status) = reply.shard.status(&id).await else { return reply.turned_away(id.as_str(), HTTP, BUSY) };
    if status.phase != Phase::Off {
        // Our own pages say it here, whatever they play.
        listen(reply, &id, None);
    }
    let cache = reply.cache(&id, Cache::MaxAge(MAX_AGE_S));
    let outputs = reply.shard.outputs_of(&id);
    let recorded = reply.shard.config.recorded.files.as_ref();
    let is_on = (outputs.hls || outputs.cmaf) && reply.shard.settings_of(&id).dvr_window_s != Some(0);
    let dvr = is_on && recorded.is_some_and(|files| files.has_archive(&id));
    let renditions = reply.shard.offered_renditions(&id).unwrap_or_default();
    let text = document(&status, &reply.shard.config.formats, (outputs, dvr), &renditions, unix_ms());
    Answer::Whole(reply.whole(200, "application/json", cache, text.as_bytes()))
}

fn document(
    status: &Status,
    formats: &Formats,
    (outputs, dvr): (Outputs, bool),
    renditions: &[Rendition],
    unix_ms: u64,
) -> String {
    let document = Document {
        state: match status.phase {
            Phase::Off => "off",
            Phase::Starting => "starting",
            Phase::Live => "live",
            Phase::Silent => "silent",
            Phase::Waiting => "waiting",
            Phase::Slate => "slate",
        },
        unix_ms,
        since_unix_ms: (status.phase != Phase::Off).then_some(status.since_unix_ms),
        publication: (status.phase != Phase::Off).then_some(status.publication),
        outputs: Forms(formats, outputs),
        dvr,
        tracks: status.tracks.iter().map(track).collect(),
        renditions: possible(renditions, status).into_iter().map(rendition).collect(),
        left_out: status.left_out.iter().map(|dropped| left_out_of(dropped, formats)).collect(),
    };
    // Numbers and strings only: this does not fail.
    serde_json::to_string(&document).unwrap_or_default()
}

fn rendition((of, (width, height)): (&Rendition, (u32, u32))) -> RenditionDocument<'_> {
    RenditionDocument { name: of.name.as_str(), width, height }
}

fn track(of: &TrackStatus) -> TrackDocument<'_> {
    let (mut width, mut height, mut rate_hz, mut channels) = (None, None, None, None);
    match of.shape {
        Some(Shape::Video { width: w, height: h }) => (width, height) = (Some(w), Some(h)),
        Some(Shape::Audio { rate_hz: rate, channels: count }) => {
            (rate_hz, channels) = (Some(rate), Some(u32::from(count)));
        }
        _ => {}
    }
    TrackDocument { kind: of.track.name(), codec: &of.codec, width, height, rate_hz, channels }
}

fn left_out_of<'a>(of: &'a Dropped, formats: &Formats) -> LeftOut<'a> {
    let outputs = if of.outputs.contains(&"all") {
        formats.outputs().map(|(output, _)| output.name).collect()
    } else {
        of.outputs.to_vec()
    };
    LeftOut { kind: of.track.name(), codec: &of.codec, outputs, reason: &of.reason }
}

#[cfg(test)]
mod tests {
    use millstream_proto::id::RenditionName;
    use millstream_proto::media::Track;

    use super::*;

    #[test]
    fn documents() {
        let all = Outputs::default();
        let off =
            Status { phase: Phase::Off, since_unix_ms: 0, publication: 0, tracks: Vec::new(), left_out: Vec::new() };
        assert_eq!(
            document(&off, &Formats::default(), (all, false), &[], 7),
            r#"{"state":"off","unix_ms":7,"outputs":{"flv":true,"hls":true,"dash":true},"tracks":[],"left_out":[]}"#
        );
        let video = TrackStatus {
            track: Track::Video,
            codec: "avc1.64001f".to_owned(),
            shape: Some(Shape::Video { width: 1280, height: 720 }),
            unusual: None,
        };
        let audio = TrackStatus { track: Track::Audio, codec: ".mp3".to_owned(), shape: None, unusual: None };
        let left_out = vec![
            Dropped::new(Track::Audio, "MP3", &["hls", "dash"], "flv has it"),
            Dropped::new(Track::Video, "H.264", &["all"], "no header"),
        ];
        let live =
            Status { phase: Phase::Live, since_unix_ms: 5, publication: 3, tracks: vec![video, audio], left_out };
        let small = |name: &str, width_max, height_max| Rendition {
            name: RenditionName::new(name).unwrap(),
            width_max,
            height_max,
            video_kbit_s: 400,
            codec: None,
            marked: false,
            always: false,
        };
        let renditions = [small("360p", 640, 360), small("1080p", 1_920, 1_080)];
        let outputs = (Outputs { flv: false, hls: true, cmaf: false }, true);
        let text = document(&live, &Formats::default(), outputs, &renditions, 7);
        for part in [
            r#""state":"live","unix_ms":7,"since_unix_ms":5,"publication":3"#,
            r#""outputs":{"flv":false,"hls":true,"dash":false}"#,
            // One that would be larger is not listed.
            r#""renditions":[{"name":"360p","width":640,"height":360}]"#,
            r#"{"kind":"video","codec":"avc1.64001f","width":1280,"height":720},{"kind":"audio","codec":".mp3"}"#,
            r#""left_out":[{"kind":"audio","codec":"MP3","outputs":["hls","dash"],"reason":"flv has it"},"#,
            r#"{"kind":"video","codec":"H.264","outputs":["flv","hls","dash"],"reason":"no header"}]"#,
        ] {
            assert!(text.contains(part), "{part} in {text}");
        }
    }
}
