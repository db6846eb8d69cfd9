//! How a stream's renditions do, as shards see them: the owner's knows their state, each its own viewers of them. Beside [`super::view`].
use std::rc::Rc;

use millstream_control_protocol::live::Rendition;
use millstream_hub::reach::Sample;
use millstream_proto::id::Id;

use super::phase::undecodable;
use super::state::Shard;
use super::stream_handle::StreamHandle;
use super::stream_handle::publisher::OnAir;
use super::view::{millis, shape, tenths};
use crate::clock::unix_ms;
use crate::egress::hls::HLS;

/// A rendition as one shard has it.
pub(crate) struct OfRendition {
    /// Its state is empty on shards that do not own it.
    seen: Rendition,
    reached: Option<Sample>,
}

/// The renditions of a stream, and viewers of them, as this shard has them: `source` and `held` are its handles of the stream and of those renditions.
pub(super) fn of(shard: &Shard, id: &Id, source: Option<&StreamHandle>, held: &[Rc<StreamHandle>]) -> Vec<OfRendition> {
    let renditions = shard.renditions_of(id).unwrap_or_default();
    let on_air = source.filter(|source| source.subscription().is_none()).and_then(|source| source.on_air(shard.now()));
    let each = renditions.iter().map(|rendition| {
        let (id, name) = (id.of_rendition(&rendition.name), rendition.name.to_string());
        let handle = held.iter().find(|handle| handle.id == id);
        let mut seen = Rendition { name, ..Rendition::default() };
        let mut reached = None;
        if let Some(handle) = handle {
            seen.viewers = handle.audience.counts().iter().map(|count| count.sessions as u64).sum();
            let target_s = handle.packaging.window.borrow().target_duration_s().unwrap_or(1);
            let samples = handle.reached.samples(target_s, shard.now());
            reached = samples.into_iter().find(|(protocol, _)| *protocol == HLS.protocol).map(|(_, sample)| sample);
        }
        if let Some(source) = &on_air {
            let size = picture(source);
            (seen.width, seen.height) = size.and_then(|size| rendition.size_of(size)).unzip();
            let too_large = size.is_some() && seen.width.is_none();
            state(shard, &id, source, handle.map(|handle| &**handle), too_large, &mut seen);
            if let Some(why) = rendition.unencodable().filter(|_| seen.state == "idle") {
                unavailable(&mut seen, "codec", why.to_string());
            }
        }
        OfRendition { seen, reached }
    });
    each.collect()
}

fn picture(on_air: &OnAir) -> Option<(u32, u32)> {
    shape(on_air.reading.video.as_ref()?)?.picture()
}

fn unavailable(seen: &mut Rendition, reason: &str, why: String) {
    "unavailable".clone_into(&mut seen.state);
    (seen.reason, seen.why) = (Some(reason.to_owned()), Some(why));
}

/// What its owner's shard knows of it.
fn state(shard: &Shard, id: &Id, source: &OnAir, handle: Option<&StreamHandle>, too_large: bool, seen: &mut Rendition) {
    if let Some(why) = source.reading.video.as_ref().and_then(undecodable) {
        return unavailable(seen, "codec", why.to_string());
    }
    if too_large {
        return unavailable(seen, "not_smaller", "it would be larger than the stream".to_owned());
    }
    if let Some(on_air) = handle.and_then(|handle| handle.on_air(shard.now())) {
        let reading = &on_air.reading;
        "running".clone_into(&mut seen.state);
        if let Some((width, height)) = picture(&on_air) {
            (seen.width, seen.height) = (Some(width), Some(height));
        }
        seen.since_unix_ms = Some(unix_ms().saturating_sub(millis(shard.now().since(reading.since))));
        (seen.frames, seen.fps, seen.bitrate_bps) =
            (reading.video_frames, tenths(reading.fps), reading.bitrate_bps as u64);
        return;
    }
    match shard.trouble(id) {
        Some(trouble) => unavailable(seen, trouble.reason, trouble.text),
        None => if handle.is_some() { "starting" } else { "idle" }.clone_into(&mut seen.state),
    }
}

/// Adds what another shard has of the same stream's renditions.
pub(super) fn merge(mine: &mut Vec<OfRendition>, theirs: Vec<OfRendition>) {
    for mut other in theirs {
        match mine.iter_mut().find(|one| one.seen.name == other.seen.name) {
            Some(one) => {
                if one.seen.state.is_empty() {
                    std::mem::swap(&mut one.seen, &mut other.seen);
                }
                one.seen.viewers += other.seen.viewers;
                match (&mut one.reached, other.reached) {
                    (Some(mine), Some(theirs)) => mine.merge(&theirs),
                    (mine, theirs) => *mine = mine.take().or(theirs),
                }
            }
            None => mine.push(other),
        }
    }
}

/// All of them, where the stream is on air.
pub(super) fn finish(all: Vec<OfRendition>) -> Vec<Rendition> {
    let whole = all.into_iter().filter(|one| !one.seen.state.is_empty());
    whole
        .map(|OfRendition { mut seen, reached }| {
            seen.viewers += reached.map_or(0, |sample| sample.count());
            seen
        })
        .collect()
}
