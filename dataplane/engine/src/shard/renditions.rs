//! Renditions on the shard that owns their source: begun when somebody asks for one, ended when nobody has for a while or the source is over.
//! Before it: [`super::state`], which looks for a stream; after it: [`crate::renditions::Transcoder`], whose worker publishes it.
use std::rc::Rc;
use std::time::Duration;

use millstream_hub::config::{OnUnpublish, Rendition};
use millstream_hub::log::EndReason;
use millstream_proto::codec::Shape;
use millstream_proto::id::Id;
use millstream_proto::time::Time;

use super::phase::undecodable;
use super::state::Shard;
use super::stream_handle::StreamHandle;
use super::view::shape;
use crate::close::CloseReason;
use crate::io::sleep_until;

/// A rendition that nobody has asked for this long is no longer made. Shards that mirror one keep it for a while themselves: see
/// `MIRROR_LINGER`.
const LINGER: Duration = Duration::from_secs(10);
/// One that nobody has published for this long is let go of: its viewers go on with another one.
const FORSAKEN: Duration = Duration::from_secs(20);
/// Renditions are at most a share of the streams that a shard may hold: one in so many. They take no stream's place.
const RENDITIONS_SHARE: usize = 4;
/// When its source is over, a rendition has this long to come to its end.
const LAST_FRAMES: Duration = Duration::from_secs(2);

/// Whether this can be made of what a stream's publisher sends, as far as is known.
fn has_rendition(source: &StreamHandle, rendition: &Rendition, now: Time) -> bool {
    if rendition.unencodable().is_some() {
        return false;
    }
    let Some(coding) = source.on_air(now).and_then(|on_air| on_air.reading.video) else { return true };
    let size = shape(&coding).and_then(Shape::picture);
    size.is_none_or(|size| rendition.size_of(size).is_some()) && undecodable(&coding).is_none()
}

impl Shard {
    /// A rendition of a stream that this shard owns and that is on air, made from here on; `None`: there is none of that name.
    pub(super) fn begin_rendition(self: &Rc<Self>, id: &Id) -> Option<Rc<StreamHandle>> {
        let (stream, name) = id.rendition()?;
        let transcoder = self.config.renditions.transcoder.as_ref()?;
        let rendition = &self.rendition_of(&stream, &name)?;
        if self.trouble(id).is_some()
            || self.is_draining()
            || self.held_renditions() >= self.config.limits.streams / RENDITIONS_SHARE
        {
            return None;
        }
        let source = self.live(&stream)?;
        if !has_rendition(&source, rendition, self.now()) {
            return None;
        }
        let handle = StreamHandle::own_rendition(self, id, source);
        self.tend(&handle);
        transcoder.mark(&stream, self.settings_of(&stream).watermark.as_ref());
        transcoder.want(&stream, rendition);
        tracing::info!(stream = %id, shard = self.index, "rendition wanted");
        Some(handle)
    }

    /// A source is over: its renditions come to their end, too.
    pub(super) fn end_renditions(self: &Rc<Self>, source: &Rc<StreamHandle>) {
        for handle in self.made_of(source) {
            // Its worker has yet to send the last frames, and then leaves.
            handle.set_on_unpublish(OnUnpublish::End, None, self);
            let shard = Rc::clone(self);
            self.spawn(async move {
                sleep_until(shard.clock.instant(shard.now() + LAST_FRAMES)).await;
                handle.end(EndReason::PublisherGone, &shard);
            });
        }
    }

    fn made_of(&self, source: &Rc<StreamHandle>) -> Vec<Rc<StreamHandle>> {
        let handles = self.handles.borrow();
        let of_source = |handle: &&Rc<StreamHandle>| handle.source().is_some_and(|own| Rc::ptr_eq(own, source));
        handles.values().filter(of_source).cloned().collect()
    }

    /// Renditions that nobody asks for, and those that their streams' records no longer have, are made no more. Whoever asks for one later gets
    /// it anew, and no end of this one: it is not over, nobody looked.
    pub(super) fn sweep_renditions(self: &Rc<Self>, now: Time) {
        let is_in_vain = |handle: &&Rc<StreamHandle>| {
            handle.source().is_some_and(|source| {
                let name = handle.id.rendition().map(|(_, name)| name);
                let offered = name.and_then(|name| self.rendition_of(&source.id, &name));
                let is_always = offered.as_ref().is_some_and(|rendition| rendition.always);
                // Players that know no parts ask once a target duration.
                let target_s = handle.packaging.window.borrow().target_duration_s().unwrap_or(0);
                let linger = LINGER.max(Duration::from_secs(u64::from(target_s) * 3));
                let is_unwatched = !is_always && handle.is_unwatched(now, linger);
                let is_forsaken = handle.vacant_since().is_some_and(|since| now.since(since) > FORSAKEN);
                // Its first viewers wait for an answer: they are told why it is not made, and not to wait for the next try.
                let is_refused = || handle.has_not_begun() && self.trouble(&handle.id).is_some();
                !source.is_over() && (is_forsaken || is_refused() || is_unwatched || offered.is_none())
            })
        };
        self.mark_renditions();
        self.begin_constant_renditions(now);
        let in_vain: Vec<_> = self.handles.borrow().values().filter(is_in_vain).cloned().collect();
        for handle in in_vain {
            self.handles.borrow_mut().remove(&handle.id);
            handle.end(EndReason::PublisherGone, self);
            if let Some(session) = handle.on_air(now).and_then(|on_air| self.sessions.get(on_air.session)) {
                session.end(CloseReason::Unpublished);
            }
            tracing::info!(stream = %handle.id, shard = self.index, "rendition no longer wanted");
        }
    }

    /// Renditions that are made whether or not anybody asks for them, of streams that this shard owns.
    fn begin_constant_renditions(self: &Rc<Self>, now: Time) {
        let missing: Vec<Id> = {
            let handles = self.handles.borrow();
            let of_stream = |handle: &Rc<StreamHandle>| {
                let renditions = self.renditions_of(&handle.id)?;
                // Few streams have any.
                let mut always = renditions.iter().filter(|rendition| rendition.always).peekable();
                always.peek()?;
                let is_on_air = handle.subscription().is_none() && handle.on_air(now).is_some();
                let ids = always.filter(|_| is_on_air).map(|rendition| handle.id.of_rendition(&rendition.name));
                Some(ids.filter(|id| !handles.contains_key(id)).collect::<Vec<_>>())
            };
            handles.values().filter_map(of_stream).flatten().collect()
        };
        for id in missing {
            // Where it cannot be made, the next sweep tries again.
            self.begin_rendition(&id);
        }
    }

    /// Says what is drawn over renditions: their streams' records may have changed.
    pub(super) fn mark_renditions(&self) {
        let Some(transcoder) = &self.config.renditions.transcoder else { return };
        for source in self.handles.borrow().values().filter_map(|handle| handle.source()) {
            transcoder.mark(&source.id, self.settings_of(&source.id).watermark.as_ref());
        }
    }

    /// A rendition's handle is over: where it has no successor, it is made no more.
    pub(super) fn rendition_ended(&self, handle: &StreamHandle) {
        let has_successor = self.handles.borrow().contains_key(&handle.id);
        if handle.source().is_some()
            && !has_successor
            && let Some(transcoder) = &self.config.renditions.transcoder
        {
            transcoder.unwant(&handle.id);
        }
    }

    /// Whether a rendition is of a life of its source that is over while there is another one.
    pub(super) fn is_of_ended_source(&self, handle: &StreamHandle) -> bool {
        handle.source().is_some_and(|source| source.is_over() && self.live(&source.id).is_some())
    }

    /// Places that renditions take; streams have their own.
    pub(super) fn held_renditions(&self) -> usize {
        self.handles.borrow().keys().filter(|id| id.is_rendition()).count()
    }
}
