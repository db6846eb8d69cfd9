//! What the outside asks of a shard and has it do, on the shard's own thread: [`crate::admin`] brings each of these here by mailbox.
//! They are short: what grows with streams or viewers is told in pages.
use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use millstream_control_protocol::exchange::Whom;
use millstream_control_protocol::live::{
    Audio, DroppedTrack, Live, Publisher, Repair, Video, Viewer, ViewerCount, Watching,
};
use millstream_hub::config::{OnUnpublish, Rendition};
use millstream_hub::log::EndReason;
use millstream_hub::package::marker::Said;
use millstream_hub::publisher_stats::{Coding, Reading};
use millstream_hub::reach::Sample;
use millstream_proto::codec::Shape;
use millstream_proto::flv;
use millstream_proto::id::Id;
use millstream_proto::media::Track;

use super::audience::Count;
use super::events::pairs;
use super::phase::name;
use super::rendition_view::{self, OfRendition};
use super::session::Session;
use super::state::Shard;
use super::stream_handle::StreamHandle;
use crate::admin::remote::OfRecord;
use crate::clock::unix_ms;
use crate::close::CloseReason;
use crate::directory::{Changed, Directory};
use crate::slates::Clips;

/// Decides by this directory from here on, also about streams that are held.
pub(crate) fn apply(shard: &Shard, directory: &Directory, changed: &Changed) {
    let before = shard.directory.replace(directory.clone());
    if matches!(changed, Changed::Any) && shard.is_young() {
        // What control's first word says was done by hand was done before. For streams that are back already it counts from here on.
        let by_hand = directory.by_hand();
        let back = shard.handles.borrow().keys().map(|id| (id.clone(), None)).collect::<Vec<_>>();
        *shard.resumed.borrow_mut() = if by_hand.is_empty() { by_hand } else { by_hand.with(back) };
    }
    let held = |id: &Id| shard.handles.borrow().get(id).cloned();
    let mut channels: Vec<_> = match changed {
        Changed::These(ids) => ids.iter().filter_map(held).collect(),
        Changed::Any => shard.handles.borrow().values().cloned().collect(),
    };
    // Of their streams' settings, renditions have when frames go out; what ends them is their source.
    channels.retain(|handle| !handle.id.is_rendition());
    let ids: BTreeSet<&Id> = channels.iter().map(|handle| &handle.id).collect();
    for rendition in held_renditions(shard, |of| ids.contains(of)).values().flatten() {
        rendition.set_flush(shard.flush_of(&rendition.id));
    }
    for handle in channels {
        handle.set_flush(shard.flush_of(&handle.id));
        let settings = [&before, directory].map(|directory| directory.settings(&handle.id));
        handle.offer_again_where_it_matters(shard, settings);
        let removed = before.records().get(&handle.id).is_some() && directory.records().get(&handle.id).is_none();
        let on_unpublish = match shard.on_unpublish_of(&handle.id) {
            // A publisher that is removed cannot come back.
            _ if removed && handle.shows_slate() => OnUnpublish::End,
            OnUnpublish::Slate if removed => OnUnpublish::End,
            as_set => as_set,
        };
        handle.set_on_unpublish(on_unpublish, shard.slate_of(&handle.id), shard);
    }
}

/// Offers these renditions of a stream from here on, in place of those of its record; `None`: those again.
pub(crate) fn set_ladder(shard: &Shard, id: &Id, ladder: Option<&Arc<[Rendition]>>) {
    let mut ladders = shard.ladders.borrow_mut();
    match ladder {
        Some(ladder) => drop(ladders.insert(id.clone(), Arc::clone(ladder))),
        None => drop(ladders.remove(id)),
    }
}

/// What a stream's record says.
pub(crate) fn of_record(shard: &Shard, id: &Id) -> OfRecord {
    let directory = shard.directory.borrow();
    OfRecord { record: directory.records().get(id).cloned(), renditions: directory.settings(id).renditions }
}

/// Has a stream recorded, or not, until it is over; false: this shard does not own it, or it is not on air.
pub(crate) fn record(shard: &Rc<Shard>, id: &Id, wanted: bool) -> bool {
    let owned = shard.live(id).filter(|handle| handle.on_air(shard.now()).is_some());
    owned.inspect(|handle| handle.record(wanted, shard)).is_some()
}

/// Tells viewers of a marker, those of the stream's renditions, too; false: this shard does not own the stream, or it is not on air.
pub(crate) fn mark(shard: &Rc<Shard>, id: &Id, pairs: &Arc<[(String, String)]>) -> bool {
    let said = Said { number: shard.number(), unix_ms: unix_ms(), pairs: Arc::clone(pairs) };
    let body = flv::marker_body(said.unix_ms, pairs.iter().map(|(name, value)| (name.as_str(), value.as_str())));
    let is_told = shard.live(id).is_some_and(|handle| handle.mark(&said, body.clone(), shard));
    if is_told {
        for rendition in held_renditions_of(shard, id) {
            rendition.mark(&said, body.clone(), shard);
        }
    }
    is_told
}

/// Has these clips from here on, also for streams that are held.
pub(crate) fn hold_slates(shard: &Shard, clips: &Arc<Clips>) {
    shard.slates.borrow_mut().hold(Arc::clone(clips));
    let channels: Vec<_> =
        shard.handles.borrow().values().filter(|handle| !handle.id.is_rendition()).cloned().collect();
    for handle in channels {
        handle.set_slate(shard.slate_of(&handle.id));
    }
}

/// A stream as this shard has it.
pub(crate) fn look(shard: &Shard, id: &Id) -> Option<Part> {
    live(shard, id, shard.live(id).as_deref(), &held_renditions_of(shard, id), Viewers::All)
}

/// Renditions of one stream that this shard holds.
fn held_renditions_of(shard: &Shard, id: &Id) -> Vec<Rc<StreamHandle>> {
    held_renditions(shard, |of| of == id).remove(id).unwrap_or_default()
}

/// Renditions that this shard holds of the streams that are wanted, by stream: their viewers are the streams'.
fn held_renditions(shard: &Shard, wanted: impl Fn(&Id) -> bool) -> BTreeMap<Id, Vec<Rc<StreamHandle>>> {
    let mut held: BTreeMap<Id, Vec<Rc<StreamHandle>>> = BTreeMap::new();
    for handle in shard.handles.borrow().values().filter(|handle| handle.id.is_rendition() && !handle.is_over()) {
        let of = handle.id.stream();
        if wanted(&of) {
            held.entry(of).or_default().push(Rc::clone(handle));
        }
    }
    held
}

/// A stream as one shard has it.
pub(crate) struct Part {
    pub(crate) live: Live,
    /// Viewers without a session, by protocol.
    reached: Vec<(&'static str, Sample)>,
    /// How some of those with one keep up.
    watching: Vec<Watching>,
    renditions: Vec<OfRendition>,
}

/// Which viewers of a stream are told of.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Viewers {
    /// All, those of its renditions and those without a session, too: these take the longest to count.
    All,
    /// Those of the stream itself with a session, and how some of them keep up: for who judges streams each second.
    OfItself,
}

/// Viewers of a stream that a shard tells of, and those of all shards.
const WATCHING_MAX: usize = 32;

impl Part {
    /// Two shards' views of one stream: one of them has the publisher, both may have viewers.
    pub(crate) fn merge(mut self, other: Self) -> Self {
        let one = &mut self.live;
        one.publisher = one.publisher.take().or(other.live.publisher);
        one.slate_since_unix_ms = one.slate_since_unix_ms.or(other.live.slate_since_unix_ms);
        for theirs in other.live.viewers {
            match one.viewers.iter_mut().find(|viewers| viewers.protocol == theirs.protocol) {
                Some(viewers) => viewers.count += theirs.count,
                None => one.viewers.push(theirs),
            }
        }
        rendition_view::merge(&mut self.renditions, other.renditions);
        self.watching.extend(other.watching);
        self.watching.truncate(WATCHING_MAX);
        // All shards have the same table of formats.
        for ((_, mine), (_, theirs)) in self.reached.iter_mut().zip(&other.reached) {
            mine.merge(theirs);
        }
        self
    }

    /// The stream, and how many reached it without a session.
    pub(crate) fn finish(self) -> Live {
        self.finish_with_watching().0
    }

    /// The same, and how some of its viewers keep up.
    pub(crate) fn finish_with_watching(self) -> (Live, Vec<Watching>) {
        let (mut live, watching) = (self.live, self.watching);
        for (protocol, sample) in self.reached {
            let (protocol, count) = (protocol.to_owned(), sample.count());
            if count > 0 {
                live.viewers.push(ViewerCount { protocol, count, estimated: true });
            }
        }
        live.viewers.sort_by_key(|viewers| std::cmp::Reverse(viewers.count));
        live.renditions = rendition_view::finish(self.renditions);
        (live, watching)
    }
}

/// Some of a shard's streams, in the order of their ids.
pub(crate) struct Page {
    pub(crate) streams: Vec<Part>,
    /// There are more after this one.
    pub(crate) next: Option<Id>,
}

/// Streams of this shard after an id, its own and those that it mirrors.
pub(crate) fn on_air(shard: &Shard, after: Option<&Id>, limit: usize, whom: Viewers) -> Page {
    let channels = shard.handles.borrow();
    // The smallest ids, without sorting all of them. A shard may have a rendition of a stream, and not the stream.
    let mut first: BTreeSet<Id> = BTreeSet::new();
    let mut more = false;
    for (id, _) in channels.iter().filter(|(_, handle)| !handle.is_over()) {
        // Most are of other pages: those are passed over as they are.
        let is_full_before = |id: &Id| first.len() >= limit && first.last().is_some_and(|last| id > last);
        if !id.is_rendition() && (after.is_some_and(|after| id <= after) || more && is_full_before(id)) {
            continue;
        }
        let id = id.stream();
        if after.is_none_or(|after| id > *after) {
            first.insert(id);
            if first.len() > limit {
                more = true;
                first.pop_last();
            }
        }
    }
    let next = first.last().filter(|_| more).cloned();
    let renditions = held_renditions(shard, |of| first.contains(of));
    let of = |id: &Id| renditions.get(id).map(Vec::as_slice).unwrap_or_default();
    let held = |id: &Id| channels.get(id).filter(|handle| !handle.is_over());
    let part = |id: &Id| live(shard, id, held(id).map(|handle| &**handle), of(id), whom);
    Page { streams: first.iter().filter_map(part).collect(), next }
}

/// `None`: it is held for somebody who asked and is just being told that nobody publishes, or for what was left to take of it. The shard may hold the
/// stream, some of its `renditions`, or both.
fn live(
    shard: &Shard,
    id: &Id,
    handle: Option<&StreamHandle>,
    renditions: &[Rc<StreamHandle>],
    whom: Viewers,
) -> Option<Part> {
    let mut viewers: Vec<ViewerCount> = Vec::new();
    let any = handle.or_else(|| renditions.first().map(|rendition| &**rendition))?;
    let mut of_renditions: Vec<Count> = renditions.iter().flat_map(|one| one.audience.counts()).collect();
    let is_watched_otherwise = !of_renditions.is_empty()
        || !any.reached.is_empty()
        || renditions.iter().any(|rendition| !rendition.reached.is_empty());
    let mut reached = Vec::new();
    if whom == Viewers::All {
        let target_s = any.packaging.window.borrow().target_duration_s().unwrap_or(1);
        reached = any.reached.samples(target_s, shard.now());
        for rendition in renditions {
            // A player that goes from one to another is the same hash, and counts once.
            let theirs = rendition.reached.samples(target_s, shard.now());
            for ((_, mine), (_, theirs)) in reached.iter_mut().zip(&theirs) {
                mine.merge(theirs);
            }
        }
    } else {
        of_renditions.clear();
    }
    let own = handle.map(|handle| handle.audience.counts()).unwrap_or_default();
    for Count { protocol, sessions } in own.into_iter().chain(of_renditions) {
        match viewers.iter_mut().find(|viewers| viewers.protocol == protocol) {
            Some(viewers) => viewers.count += sessions as u64,
            None => {
                viewers.push(ViewerCount { protocol: protocol.to_owned(), count: sessions as u64, estimated: false });
            }
        }
    }
    let publisher = handle.and_then(|handle| publisher(shard, handle));
    let slate_since = handle.and_then(StreamHandle::slate_since);
    let since_unix_ms = |since| unix_ms().saturating_sub(millis(shard.now().since(since)));
    let slate_since_unix_ms = slate_since.map(since_unix_ms);
    let is_live = publisher.is_some()
        || slate_since.is_some()
        || !viewers.is_empty()
        || handle.is_some_and(StreamHandle::is_recorded_by_hand)
        || match whom {
            Viewers::All => reached.iter().any(|(_, sample)| sample.count() > 0),
            // Whoever has just gone may be among them: the next count of all forgets it.
            Viewers::OfItself => is_watched_otherwise,
        };
    if !is_live {
        return None;
    }
    let renditions = match whom {
        Viewers::All => rendition_view::of(shard, id, handle, renditions),
        Viewers::OfItself => Vec::new(),
    };
    let judged = handle.filter(|_| whom == Viewers::OfItself);
    let watching = judged.map(|handle| watching(shard, handle)).unwrap_or_default();
    let id = id.to_string();
    Some(Part {
        live: Live { id, publisher, slate_since_unix_ms, viewers, ..Live::default() },
        reached,
        watching,
        renditions,
    })
}

/// How some viewers of the stream itself keep up; those of renditions are sent less on purpose.
fn watching(shard: &Shard, handle: &StreamHandle) -> Vec<Watching> {
    let (now, log) = (shard.now(), handle.log.borrow());
    let of = |session: &Rc<Session>| {
        let watched = session.watched()?;
        let viewer = watched.viewer.try_borrow().ok()?;
        Some(Watching {
            session: session.number,
            played_ms: millis(now.since(watched.since)),
            sent_bytes: viewer.sent_bytes(),
            skips: viewer.skips(),
            behind_ms: viewer.behind_ms(&log),
        })
    };
    handle.audience.some(WATCHING_MAX).iter().filter_map(of).collect()
}

fn publisher(shard: &Shard, handle: &StreamHandle) -> Option<Publisher> {
    let now = shard.now();
    let on_air = handle.on_air(now)?;
    let Reading { bytes, bitrate_bps, fps, keyframe_interval_ms, gop_ms, reordered_frames, gaps, jitter_ms, .. } =
        on_air.reading;
    let video = on_air.reading.video.map(|coding| {
        let (width, height) = shape(&coding).and_then(Shape::picture).unzip();
        let frames = on_air.reading.video_frames;
        let (codec, fps) = (name(Track::Video, coding), tenths(fps));
        Video { codec, width, height, fps, keyframe_interval_ms, frames, gop_ms, reordered_frames }
    });
    let audio = on_air.reading.audio.map(|coding| {
        let (rate_hz, channels) = match shape(&coding) {
            Some(Shape::Audio { rate_hz, channels }) => (Some(rate_hz), Some(u32::from(channels))),
            _ => (None, None),
        };
        Audio { codec: name(Track::Audio, coding), rate_hz, channels, frames: on_air.reading.audio_frames }
    });
    let since_unix_ms = |since| unix_ms().saturating_sub(millis(now.since(since)));
    let repairs = on_air.repaired.iter().map(|repaired| Repair {
        kind: repaired.repair.label().to_owned(),
        track: repaired.track.name().to_owned(),
        count: repaired.count,
        since_unix_ms: since_unix_ms(repaired.since),
        advice: repaired.repair.advice().to_owned(),
    });
    let dropped_tracks = on_air.dropped.into_iter().map(|dropped| DroppedTrack {
        track: dropped.track.name().to_owned(),
        codec: dropped.codec,
        outputs: dropped.outputs.iter().map(|output| (*output).to_owned()).collect(),
        reason: dropped.reason,
    });
    Some(Publisher {
        session: on_air.session,
        protocol: on_air.who.protocol.to_owned(),
        peer: on_air.who.peer.to_string(),
        encoder: on_air.who.encoder,
        labels: pairs(on_air.who.labels.as_ref()),
        since_unix_ms: since_unix_ms(on_air.reading.since),
        video,
        audio,
        bitrate_bps: bitrate_bps as u64,
        received_bytes: bytes,
        heard_ago_ms: millis(on_air.reading.heard_ago),
        jitter_ms: tenths(jitter_ms),
        gaps,
        longest_gap_ms: millis(on_air.reading.longest_gap),
        timestamp_jumps: on_air.timestamp_jumps,
        arrival_lag_ms: on_air.arrival_lag_ms,
        audio_ahead_ms: on_air.audio_ahead_ms,
        announces_audio: on_air.announces_audio,
        repairs: repairs.collect(),
        dropped_tracks: dropped_tracks.collect(),
    })
}

pub(super) fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

/// More digits than these say nothing.
pub(super) fn tenths(value: f64) -> f64 {
    (value * 10.0).round() / 10.0
}

/// Size or rate, as far as the codec's configuration tells.
pub(super) fn shape(coding: &Coding) -> Option<Shape> {
    coding.summary.as_ref().and_then(|summary| summary.shape)
}

/// Viewers of a stream on this shard, after a session number, in their order.
pub(crate) fn viewers(shard: &Shard, id: &Id, after: u64, limit: usize) -> Vec<Viewer> {
    let mut sessions = shard.live(id).map(|handle| handle.audience.after(after, limit)).unwrap_or_default();
    for rendition in held_renditions_of(shard, id) {
        sessions.extend(rendition.audience.after(after, limit));
    }
    sessions.sort_by_key(|session| session.number);
    sessions.truncate(limit);
    sessions.iter().filter_map(|session| viewer(shard, session)).collect()
}

fn viewer(shard: &Shard, session: &Session) -> Option<Viewer> {
    let watched = session.watched()?;
    let viewer = watched.viewer.try_borrow().ok()?;
    let played = shard.now().since(watched.since);
    Some(Viewer {
        session: session.number,
        protocol: watched.protocol.to_owned(),
        peer: session.peer().to_string(),
        labels: pairs(session.granted.borrow().labels.as_ref()),
        since_unix_ms: unix_ms().saturating_sub(u64::try_from(played.as_millis()).unwrap_or(u64::MAX)),
        sent_bytes: viewer.sent_bytes(),
        skips: viewer.skips(),
    })
}

/// Ends a session of this shard; false: it has none of this number.
pub(crate) fn kick_session(shard: &Shard, number: u64) -> bool {
    let session = shard.sessions.get(number).filter(|session| session.ending().is_none());
    session.is_some_and(|session| {
        kick(&session);
        true
    })
}

fn kick(session: &Session) {
    tracing::info!(parent: &session.span, "kicked by the operator");
    if session.was_watching() {
        session.end(CloseReason::Kicked);
    } else {
        // A publisher is told: an encoder that only finds its connection closed takes it for the network's fault.
        session.end_politely(CloseReason::Kicked);
    }
}

/// Ends sessions of a stream on this shard, and its slate where its publisher was to go; how many.
pub(crate) fn kick_stream(shard: &Rc<Shard>, id: &Id, whom: Whom) -> u64 {
    let held = shard.live(id);
    let mut sessions: Vec<Rc<Session>> = Vec::new();
    if whom != Whom::Publisher {
        sessions.extend(held.iter().flat_map(|handle| handle.audience.after(0, usize::MAX)));
        for rendition in held_renditions_of(shard, id) {
            sessions.extend(rendition.audience.after(0, usize::MAX));
        }
    }
    if whom != Whom::Viewers {
        let on_air = held.as_ref().and_then(|handle| handle.on_air(shard.now()));
        sessions.extend(on_air.and_then(|on_air| shard.sessions.get(on_air.session)));
    }
    // It stands in for a publisher, whose place is empty.
    let slate = held.filter(|handle| whom != Whom::Viewers && handle.shows_slate());
    if let Some(handle) = &slate {
        tracing::info!(stream = %id, "slate ended by the operator");
        handle.end(EndReason::PublisherGone, shard);
    }
    sessions.retain(|session| session.ending().is_none());
    for session in &sessions {
        kick(session);
    }
    sessions.len() as u64 + u64::from(slate.is_some())
}
