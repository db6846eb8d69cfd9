//! What has happened to a stream: encoders that reconnect, publishers that are replaced, hooks that turn people away or fail, recordings that pause.
//! Before it: the node's events, and what its hooks came to; after it: [`super::judge`].
use std::collections::VecDeque;

use millstream_control_protocol::event::{Event, What};

use crate::hold::Finding;
use crate::hooks::{HookTrouble, Hooks};

/// Who comes back later than this begins anew.
const BACK_WITHIN_MS: u64 = 60_000;
/// Reconnections of so long ago count.
const COUNTED_MS: u64 = 120_000;
/// And so many of them.
const RECONNECTS_MAX: usize = 64;
/// Told for so long after the last one.
const RECONNECTS_TOLD_MS: u64 = 60_000;
const REPLACED_TOLD_MS: u64 = 60_000;
/// A publisher that was not heard for so long before another one took its place had fallen silent. It gives way after a second of silence.
const SILENT_MS: u64 = 900;
/// Ends that are no loss of the connection: somebody wanted them.
const WANTED_ENDS: [&str; 7] = ["unpublished", "closed", "kicked", "revoked", "expired", "shutdown", "replaced"];
/// Who stops and starts on purpose does it once.
const WANTED_RETURNS: usize = 2;
/// Recordings of a stream that are paused at the same time, at most.
const PAUSED_MAX: usize = 8;
/// Of a stream that is not held they are told for so long.
const PAUSED_KEPT_MS: u64 = 3_600_000;
/// Bytes of a text from outside.
const TEXT_BYTES_MAX: usize = 256;

#[derive(Clone, Debug, Default)]
pub(crate) struct Told {
    /// The session on air, and its address.
    on_air: Option<(u64, String)>,
    left: Option<Left>,
    /// When it was heard last, as far as samples tell.
    heard_at_ms: u64,
    /// When encoders came back, and whether their connection had been lost.
    returns: VecDeque<(u64, bool)>,
    /// When another publisher took the place, and the addresses of the one before and of that one.
    replaced: Option<(u64, String, String)>,
    hooks: Hooks,
    /// Recordings that are paused, and why.
    paused: Vec<(String, String)>,
    newest_ms: u64,
}

#[derive(Clone, Debug)]
struct Left {
    at_ms: u64,
    host: String,
    lost: bool,
}

/// What one look has found.
#[derive(Clone, PartialEq, Debug, Default)]
pub(crate) struct Found {
    pub(crate) encoder_reconnects: Option<Finding>,
    pub(crate) publisher_replaced: Option<Finding>,
    pub(crate) hook: Option<Finding>,
    pub(crate) recording_paused: Option<Finding>,
}

pub(crate) fn cut(text: &str) -> String {
    let end = (0..=TEXT_BYTES_MAX.min(text.len())).rev().find(|at| text.is_char_boundary(*at)).unwrap_or(0);
    text.get(..end).unwrap_or_default().to_owned()
}

/// An address without its port.
fn host(peer: &str) -> &str {
    peer.rsplit_once(':').map_or(peer, |(host, _)| host)
}

impl Told {
    pub(crate) fn event(&mut self, event: &Event) {
        let at_ms = event.at_unix_ms;
        self.newest_ms = self.newest_ms.max(at_ms);
        match &event.what {
            What::Publish { replaced_heard_ago_ms, .. } => {
                self.published(event.session, host(&event.peer), *replaced_heard_ago_ms, at_ms);
            }
            What::Unpublish { why, .. } if self.has(event.session) => {
                let lost = !WANTED_ENDS.contains(&why.as_str());
                self.left = self.on_air.take().map(|(_, host)| Left { at_ms, host, lost });
            }
            What::RecordingPaused { recording, why } => {
                self.goes_on(recording);
                if self.paused.len() < PAUSED_MAX {
                    self.paused.push((cut(recording), cut(why)));
                }
            }
            What::RecordingResumed { recording }
            | What::RecordingStored { recording, .. }
            | What::RecordingFailed { recording, .. } => self.goes_on(recording),
            // What a publisher before it left paused is over with it.
            What::RecordingStarted { .. } => self.paused.clear(),
            _ => {}
        }
    }

    fn has(&self, session: u64) -> bool {
        self.on_air.as_ref().is_some_and(|(on_air, _)| *on_air == session)
    }

    fn goes_on(&mut self, recording: &str) {
        self.paused.retain(|(known, _)| *known != recording);
    }

    /// `heard_ago_ms`: when the one whose place it took was heard last, where its node says so.
    fn published(&mut self, session: u64, host: &str, heard_ago_ms: Option<u64>, at_ms: u64) {
        let host = cut(host);
        match self.on_air.replace((session, host.clone())) {
            // Its start is told before the end of the one that it replaces.
            Some((before, old)) if before != session => {
                let silent_ms = heard_ago_ms.unwrap_or_else(|| at_ms.saturating_sub(self.heard_at_ms));
                // An encoder may be back from another address once its network died; and one of the same host is hardly another one.
                if silent_ms >= SILENT_MS || old == host {
                    self.returned(at_ms, true);
                } else {
                    self.replaced = Some((at_ms, old, host));
                }
            }
            Some(_) => {}
            None => {
                let back = |left: &Left| left.host == host && at_ms.saturating_sub(left.at_ms) <= BACK_WITHIN_MS;
                // From another host it may be another encoder.
                if let Some(Left { lost, .. }) = self.left.take().filter(back) {
                    self.returned(at_ms, lost);
                }
            }
        }
        self.left = None;
        self.heard_at_ms = at_ms;
    }

    /// This one is on air, whatever events said: they may be lost.
    pub(crate) fn adopt(&mut self, session: u64, peer: &str) {
        if self.on_air.is_none() && self.left.is_none() {
            self.on_air = Some((session, cut(host(peer))));
        }
    }

    fn returned(&mut self, at_ms: u64, lost: bool) {
        self.returns.push_back((at_ms, lost));
        if self.returns.len() > RECONNECTS_MAX {
            self.returns.pop_front();
        }
    }

    /// The publisher was heard then.
    pub(crate) fn heard(&mut self, at_ms: u64) {
        self.heard_at_ms = self.heard_at_ms.max(at_ms);
    }

    pub(crate) fn trouble(&mut self, trouble: &HookTrouble, now_ms: u64) {
        self.hooks.take(trouble, now_ms);
    }

    pub(crate) fn look(&mut self, now_ms: u64) -> Found {
        while self.returns.front().is_some_and(|(at_ms, _)| now_ms.saturating_sub(*at_ms) > COUNTED_MS) {
            self.returns.pop_front();
        }
        let lately = |at_ms: u64, told_ms: u64| now_ms.saturating_sub(at_ms) <= told_ms;
        let is_lost = self.returns.iter().any(|(_, lost)| *lost);
        let is_new = self.returns.back().is_some_and(|(at_ms, _)| lately(*at_ms, RECONNECTS_TOLD_MS));
        let count = self.returns.len();
        let figures = |figures: &[(&'static str, f64)]| Finding { figures: figures.to_vec(), ..Finding::default() };
        Found {
            encoder_reconnects: (is_new && (is_lost || count >= WANTED_RETURNS))
                .then(|| figures(&[("reconnects", count as f64)])),
            publisher_replaced: self.replaced.as_ref().filter(|(at_ms, ..)| lately(*at_ms, REPLACED_TOLD_MS)).map(
                |(at_ms, old, new)| {
                    let ago_s = (now_ms.saturating_sub(*at_ms) / 1_000) as f64;
                    Finding { about: new.clone(), why: old.clone(), ..figures(&[("ago_s", ago_s)]) }
                },
            ),
            hook: self.hooks.look(now_ms),
            recording_paused: self.paused.last().map(|(recording, why)| Finding {
                about: recording.clone(),
                why: why.clone(),
                ..Finding::default()
            }),
        }
    }

    /// Nothing of it is of use any more, where the stream is not held. An event that would have said so may be lost.
    pub(crate) fn is_over(&mut self, now_ms: u64) -> bool {
        let quiet_ms = now_ms.saturating_sub(self.newest_ms);
        if quiet_ms > PAUSED_KEPT_MS {
            self.paused.clear();
        }
        self.paused.is_empty() && quiet_ms > COUNTED_MS && self.hooks.is_over(now_ms)
    }
}
