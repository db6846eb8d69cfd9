//! Which renditions of a stream can be played, and why one cannot: in words for who asked for it, and as a list for the pages. Beside
//! [`super::status`] and whatever answers with a stream; the owner's shard decides by the same rules (`shard/renditions`).
use millstream_hub::config::Rendition;
use millstream_hub::decodable::Undecodable;
use millstream_proto::id::Id;
use millstream_proto::media::Track;

use super::refusal::TurnedAway;
use super::reply::{Answer, Reply};
use crate::shard::phase::{Phase, Status, TrackStatus};
use crate::shard::state::Shard;
use crate::shard::stream_handle::mirror::NotPlayable;

/// As in `millstream_refused_total`.
const NO_RENDITION: &str = "no_rendition";

/// The answer to who asked for something that cannot be played.
pub(super) async fn turned_away(
    reply: &Reply<'_>,
    id: &Id,
    protocol: &'static str,
    not_playable: NotPlayable,
) -> Answer {
    let refusal = match not_playable {
        NotPlayable::NotOnAir => refusal(reply.shard, id).await,
        NotPlayable::Busy => None,
    };
    match &refusal {
        Some((status, reason)) => {
            reply.turned_away(id.as_str(), protocol, TurnedAway { status: *status, why: NO_RENDITION, reason })
        }
        None => reply.turned_away(id.as_str(), protocol, not_playable.into()),
    }
}

/// Why a rendition cannot be played: a status of HTTP, and words. `None`: it is none, or its stream is not on air.
pub(super) async fn refusal(shard: &Shard, id: &Id) -> Option<(u16, String)> {
    let (stream, name) = id.rendition()?;
    let status = shard.status(&stream).await.ok().filter(|status| status.phase != Phase::Off)?;
    let renditions = shard.renditions_of(&stream).unwrap_or_default();
    let Some(rendition) = renditions.iter().find(|rendition| rendition.name == name) else {
        let names: Vec<_> = renditions.iter().map(|rendition| rendition.name.to_string()).collect();
        return Some(match names.as_slice() {
            [] => (404, "this stream has no renditions".to_owned()),
            names => (404, format!("this stream has no rendition of this name; it has {}", names.join(", "))),
        });
    };
    if let Some(why) = undecodable(&status) {
        return Some((404, format!("there are no renditions of this stream: {why}")));
    }
    if let Some((width, height)) = size(&status).filter(|size| rendition.size_of(*size).is_none()) {
        let words = format!("this rendition would be larger than its source, which has {width}x{height} pixels");
        return Some((404, words));
    }
    if let Some(why) = rendition.unencodable() {
        return Some((503, format!("this rendition is not made here: {why}")));
    }
    let words = match shard.trouble(id) {
        Some(trouble) => {
            format!("this rendition is not made now: {}; other renditions and the stream itself may play", trouble.text)
        }
        None => {
            "this server makes as many renditions as it may, or is about to end; the stream itself plays".to_owned()
        }
    };
    Some((503, words))
}

/// Those of these renditions that can be made of a stream that does this, and their sizes.
pub(super) fn possible<'a>(renditions: &'a [Rendition], status: &Status) -> Vec<(&'a Rendition, (u32, u32))> {
    let Some(source) = size(status).filter(|_| undecodable(status).is_none()) else { return Vec::new() };
    let made = renditions.iter().filter(|rendition| rendition.unencodable().is_none());
    made.filter_map(|rendition| Some((rendition, rendition.size_of(source)?))).collect()
}

fn picture(status: &Status) -> Option<&TrackStatus> {
    status.tracks.iter().find(|track| track.track == Track::Video)
}

fn undecodable(status: &Status) -> Option<Undecodable> {
    let TrackStatus { codec, shape, unusual, .. } = picture(status)?;
    Undecodable::of(codec, *shape, *unusual)
}

fn size(status: &Status) -> Option<(u32, u32)> {
    picture(status)?.shape?.picture()
}
