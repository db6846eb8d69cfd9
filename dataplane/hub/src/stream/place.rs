//! The publisher's place of a stream: who has it, who gives way to whom, and how long it stays empty. Before it: sessions that publish; after it: [`super`], which
//! takes what they send.
use std::time::Duration;

use millstream_proto::media::Announced;
use millstream_proto::time::Time;

use super::{SLATE_AFTER, Stream};
use crate::config::{OnUnpublish, Takeover};
use crate::findings::Findings;
use crate::log::Log;
use crate::publisher_stats::PublisherStats;

/// A publisher that has sent nothing for this long gives way to another, and who finds the place taken waits this long for it.
pub const PUBLISHER_SILENT_AFTER: Duration = Duration::from_secs(1);
/// Who waits for the place gets it before the stream ends, also where viewers are not to wait: it is told in the same moment.
const VACANT_AT_LEAST: Duration = Duration::from_millis(1);

/// Who publishes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Place {
    /// This session, which last sent something at `heard`.
    OnAir {
        /// Its number.
        session: u64,
        /// Its last sign of life.
        heard: Time,
    },
    /// Nobody since then; viewers wait for a return.
    Vacant {
        /// When the last one left.
        since: Time,
    },
}

/// Another publisher is alive.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[error("another publisher is on air with this stream; it was heard {} ms ago, and gives way after {} s of silence", heard_ago.as_millis(), PUBLISHER_SILENT_AFTER.as_secs())]
pub struct Taken {
    /// How long ago it was heard.
    pub heard_ago: Duration,
}

impl Taken {
    /// How long it takes until the place is free if the other one stays silent.
    pub fn silent_in(self) -> Duration {
        PUBLISHER_SILENT_AFTER.saturating_sub(self.heard_ago)
    }
}

impl Stream {
    /// Takes the publisher's place. Gives the session that is replaced, if there is one: it has been silent, or this one has
    /// `waited` for [`PUBLISHER_SILENT_AFTER`] and the configuration puts the newer one first.
    pub fn publish(&mut self, session: u64, waited: bool, now: Time) -> Result<Option<u64>, Taken> {
        let replaced = match self.place {
            Place::Vacant { .. } => None,
            Place::OnAir { session: old, heard } => {
                let heard_ago = now.since(heard);
                let insists = waited && self.config.takeover == Takeover::Replace;
                if heard_ago < PUBLISHER_SILENT_AFTER && !insists {
                    return Err(Taken { heard_ago });
                }
                Some(old)
            }
        };
        self.place = Place::OnAir { session, heard: now };
        (self.slate, self.slate_at, self.interrupted, self.dismissed) = (None, None, None, false);
        self.publisher_stats = PublisherStats::new(now);
        self.findings = Findings::default();
        self.begin_anew();
        self.announced = Announced::default();
        Ok(replaced)
    }

    /// The session's publish is over. Nothing changes if it was replaced before. `dismissed`: the operator has ended it, and the stream is not
    /// kept with a slate.
    pub fn leave(&mut self, session: u64, dismissed: bool, now: Time, log: &mut Log) {
        if matches!(self.place, Place::OnAir { session: on_air, .. } if on_air == session) {
            (self.dismissed, self.interrupted) = (dismissed, None);
            if self.wants_slate() {
                self.slate_at = self.slate.is_none().then_some(now + SLATE_AFTER);
            } else if let Some(body) = self.news.waiting(now) {
                self.tell(body, now);
            }
            self.flush(now, log);
            self.place = Place::Vacant { since: now };
        }
    }

    /// The session was heard, even if what it sent was no media.
    pub fn heard(&mut self, session: u64, now: Time) -> bool {
        match &mut self.place {
            Place::OnAir { session: on_air, heard } if *on_air == session => {
                *heard = now;
                true
            }
            _ => false,
        }
    }

    pub(super) fn vacant_until(&self, since: Time) -> Time {
        let wait = match self.config.on_unpublish {
            OnUnpublish::End => Duration::ZERO,
            OnUnpublish::Slate if self.dismissed => Duration::ZERO,
            OnUnpublish::Slate if self.slate.is_some() || self.slate_at.is_some() => self.config.slate_max,
            OnUnpublish::Wait | OnUnpublish::Slate => self.config.publisher_wait,
        };
        since + wait.max(VACANT_AT_LEAST)
    }
}
