//! The slate that stands in for a publisher which has left or fallen silent: when it begins, what it plays, and when it ends. Before it: [`crate::slate`], a clip and
//! its frames; after it: [`super`], which takes them as it takes a publisher's.
use std::sync::Arc;
use std::time::Duration;

use millstream_proto::media::{Clip, Track};
use millstream_proto::time::Time;

use super::{Place, Stream};
use crate::config::OnUnpublish;
use crate::log::Log;
use crate::package::stream_headers::Seen;
use crate::slate::{FILL_MAX, Slate};

/// The slate begins this long after the publisher has left: an encoder that stops and starts is back by then.
pub const SLATE_AFTER: Duration = Duration::from_millis(300);
/// A publisher that has sent nothing for this long, not even answers to pings, is stood in for by the slate: its network has died. So is one that has come and sent
/// no frame for as long.
pub const SLATE_SILENT_AFTER: Duration = Duration::from_millis(1_500);

impl Stream {
    /// What its slate shows from its next start on; without a clip it is the built-in one.
    pub fn set_slate(&mut self, clip: Option<Arc<Clip>>) {
        self.clip = clip;
    }

    /// Changes what becomes of the stream when nobody publishes, also where nobody does now.
    pub fn set_on_unpublish(&mut self, on_unpublish: OnUnpublish, now: Time) {
        if std::mem::replace(&mut self.config.on_unpublish, on_unpublish) == on_unpublish {
            return;
        }
        if let Place::Vacant { since } = &mut self.place {
            // What is to happen now is counted from now on.
            *since = now;
            self.slate = None;
            self.slate_at = self.wants_slate().then_some(now);
        }
    }

    /// Since when the slate plays; `None` while it does not.
    pub fn slate_since(&self) -> Option<Time> {
        self.slate.as_ref().map(|(_, since)| *since)
    }

    /// Whether viewers get the slate, or will in a moment.
    pub fn is_slated(&self) -> bool {
        self.slate.is_some() || self.slate_at.is_some()
    }

    /// Whether the slate is what viewers are to get while nobody publishes. Not before anybody has: it would have no tracks.
    pub(super) fn wants_slate(&self) -> bool {
        self.config.on_unpublish == OnUnpublish::Slate
            && self.opened
            && !self.dismissed
            && (self.headers.has(Track::Video) || self.headers.has(Track::Audio))
    }

    /// The publisher that had fallen silent is back: its slate ends, and what it said before is in force again.
    pub(super) fn resume(&mut self, now: Time, log: &mut Log) {
        let Some(own) = self.interrupted.take() else { return };
        self.slate = None;
        self.seal(log);
        self.begin_anew();
        self.seen =
            Seen { video: own.has(Track::Video), audio: own.has(Track::Audio), metadata: own.metadata.is_some() };
        self.settled = true;
        if let Some(metadata) = &own.metadata {
            self.describe(metadata, now, log);
        }
        for config in [&own.video, &own.audio].into_iter().flatten() {
            self.put_in_force(config, now, log);
        }
    }

    /// When a publisher that sends nothing is stood in for.
    fn silent_at(&self) -> Option<Time> {
        match self.place {
            Place::OnAir { heard, .. } if self.slate.is_none() && self.wants_slate() => {
                // One that is back and has sent nothing yet is as silent, whatever it answers to pings.
                let since = self.publisher_stats.without_frames_since().unwrap_or(heard);
                Some(since + SLATE_SILENT_AFTER)
            }
            _ => None,
        }
    }

    pub(super) fn slate_due(&self) -> Option<Time> {
        self.slate_at.or_else(|| self.silent_at()).or_else(|| self.slate.as_ref()?.0.due())
    }

    /// Plays what is due of the slate. True: viewers are to be woken.
    pub(super) fn play_slate(&mut self, now: Time, log: &mut Log) -> bool {
        if self.slate_due().is_none_or(|due| due > now) {
            return false;
        }
        if self.slate_at.take().is_some() {
            self.begin_slate(now, log);
        } else if self.silent_at().is_some() {
            self.interrupted = Some(Arc::clone(&self.headers));
            self.begin_slate(now, log);
        }
        let Some((mut slate, since)) = self.slate.take() else { return false };
        while let Some((frame, at)) = slate.poll(now) {
            // Stamped by when it was due: what was missed before the slate began is filled.
            self.frame::<true>(frame, at, log);
        }
        self.slate = Some((slate, since));
        let flushes = self.flusher.after_read(now);
        if flushes {
            self.flush(now, log);
        }
        flushes
    }

    /// The slate begins: to viewers and packagers one more publisher, whose tracks are known.
    fn begin_slate(&mut self, now: Time, log: &mut Log) {
        let clip = self.clip.clone().unwrap_or_else(crate::slate::built_in);
        self.seal(log);
        self.begin_anew();
        self.settled = true;
        let missed = self.publisher_stats.read(now).heard_ago.min(FILL_MAX);
        let last = Time::ZERO + now.since(Time::ZERO).saturating_sub(missed);
        let mut slate = Slate::new(clip, &self.headers, last);
        let (video, audio) = (self.headers.has(Track::Video), self.headers.has(Track::Audio));
        if let Some(next) = self.headers.with_only(Seen { video, audio, metadata: false }) {
            self.headers = Arc::new(next);
        }
        for config in slate.take_configs() {
            self.put_in_force(&config, now, log);
        }
        self.slate = Some((Box::new(slate), now));
    }
}
