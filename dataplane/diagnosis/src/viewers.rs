//! What viewers manage to receive: whether most of them get less than the stream has, and whether some are behind. Before it: a few viewers of a stream
//! with sessions, once a second, the same ones as long as they stay; after it: [`super::judge`].
//!
//! A viewer begins at the newest keyframe, and has up to a GOP yet to get from there on, also when it keeps up; a player that paces itself has some yet to
//! get for as long as it plays. So what a viewer has yet to get says nothing; that it grows does.
use std::collections::HashMap;

use millstream_control_protocol::live::{Live, Publisher, Watching};

use crate::hold::Finding;
use crate::window::Window;

/// Who has just come is sent what is there, as quickly as it can take it.
const PLAYED_MS_MIN: u64 = 5_000;
/// What a viewer receives is measured over this time, milliseconds.
const WINDOW_MS: u64 = 3_000;
/// Who has so much yet to get takes all that it can, milliseconds; others take all there is.
const TAKES_ALL_MS: u64 = 500;
/// And has so much more of it than a window ago; else it takes as much as there is. Blocks of the log are shorter.
const RISES_MS: u64 = 100;
/// With so much more to get than it once had a viewer is behind, milliseconds.
const BEHIND_MS: u64 = 2_500;
/// Who has jumped to a later keyframe counts as behind for this long.
const SKIPPED_MS: u64 = 10_000;
/// One of so many is few.
const FEW_OF: usize = 10;
/// The median receives less than this share of the stream, and so it stays until it receives the second one.
const SHORT: f64 = 0.9;
const ENOUGH: f64 = 0.95;
/// Viewers whose median says something of the stream: one alone has a network of its own.
const MEDIAN_OF_MIN: usize = 2;

#[derive(Clone, Debug, Default)]
pub(crate) struct ViewersLook {
    /// Whom they receive.
    session: u64,
    /// Bytes received of the publisher.
    received: Window<u64>,
    /// By session: never more than one look has.
    known: HashMap<u64, Known>,
    is_short: bool,
}

#[derive(Clone, Debug, Default)]
struct Known {
    /// Bytes sent, and what it has yet to get, milliseconds.
    samples: Window<(u64, u64)>,
    /// The least that it had yet to get since it counts, milliseconds.
    base_ms: Option<u64>,
    skips: u64,
    skipped_at_ms: Option<u64>,
}

impl Known {
    fn of(one: &Watching) -> Self {
        Self { skips: one.skips, ..Self::default() }
    }

    fn take(&mut self, one: &Watching, now_ms: u64) {
        self.samples.push(now_ms, (one.sent_bytes, one.behind_ms), WINDOW_MS);
        if one.skips > self.skips {
            (self.skips, self.skipped_at_ms) = (one.skips, Some(now_ms));
        }
        if one.played_ms >= PLAYED_MS_MIN {
            self.base_ms = Some(self.base_ms.unwrap_or(one.behind_ms).min(one.behind_ms));
        }
    }

    fn is_behind(&self, one: &Watching) -> bool {
        self.base_ms.is_some_and(|base_ms| one.behind_ms.saturating_sub(base_ms) >= BEHIND_MS)
    }

    fn has_skipped(&self, now_ms: u64) -> bool {
        self.skipped_at_ms.is_some_and(|at| now_ms.saturating_sub(at) <= SKIPPED_MS)
    }

    /// The share of the stream that it received, of a stream of so many bytes in the window; at least 1 of one that keeps up.
    fn share(&self, stream_bytes: u64, now_ms: u64) -> Option<f64> {
        let ((_, first), (_, last)) = self.samples.ends(WINDOW_MS)?;
        let share = last.0.saturating_sub(first.0) as f64 / stream_bytes.max(1) as f64;
        let rises = last.1 >= TAKES_ALL_MS && last.1.saturating_sub(first.1) >= RISES_MS;
        Some(if rises || self.has_skipped(now_ms) { share } else { share.max(1.0) })
    }
}

/// What one look has found.
#[derive(Clone, PartialEq, Debug, Default)]
pub(crate) struct Found {
    pub(crate) bitrate_above_viewers: Option<Finding>,
    pub(crate) viewers_lag: Option<Finding>,
}

impl ViewersLook {
    pub(crate) fn look(&mut self, live: &Live, publisher: &Publisher, watching: &[Watching], now_ms: u64) -> Found {
        if self.session != publisher.session {
            self.session = publisher.session;
            self.received.clear();
        }
        self.received.push(now_ms, publisher.received_bytes, WINDOW_MS);
        let stream_bytes = self.received.ends(WINDOW_MS).map(|(first, last)| last.1.saturating_sub(first.1));
        let mut before = std::mem::take(&mut self.known);
        let (mut lagging, mut skipped, mut worst_ms) = (0_usize, 0_usize, 0);
        let (mut looked_at, mut shares) = (0_usize, Vec::new());
        for one in watching {
            let mut known = before.remove(&one.session).unwrap_or_else(|| Known::of(one));
            known.take(one, now_ms);
            if one.played_ms >= PLAYED_MS_MIN {
                looked_at += 1;
                let (is_behind, has_skipped) = (known.is_behind(one), known.has_skipped(now_ms));
                lagging += usize::from(is_behind || has_skipped);
                skipped += usize::from(has_skipped);
                if is_behind {
                    worst_ms = worst_ms.max(one.behind_ms);
                }
                shares.extend(stream_bytes.and_then(|stream_bytes| known.share(stream_bytes, now_ms)));
            }
            self.known.insert(one.session, known);
        }
        let viewers =
            live.viewers.iter().filter(|viewers| !viewers.estimated).map(|viewers| viewers.count).sum::<u64>();
        let few = looked_at.div_ceil(FEW_OF).max(1);
        let viewers_lag = (lagging >= few).then(|| {
            let mut figures = vec![
                ("lagging", lagging as f64),
                ("looked_at", looked_at as f64),
                ("skipped", skipped as f64),
                ("viewers", viewers as f64),
            ];
            if worst_ms > 0 {
                figures.push(("behind_s", (worst_ms as f64 / 100.0).round() / 10.0));
            }
            Finding { form: if worst_ms > 0 { "" } else { "skips" }, figures, ..Finding::default() }
        });
        Found { bitrate_above_viewers: self.short(&mut shares, viewers), viewers_lag }
    }

    fn short(&mut self, shares: &mut [f64], viewers: u64) -> Option<Finding> {
        if shares.len() < MEDIAN_OF_MIN {
            self.is_short = false;
            return None;
        }
        shares.sort_by(f64::total_cmp);
        let median = *shares.get(shares.len().saturating_sub(1) / 2)?;
        self.is_short = median < if self.is_short { ENOUGH } else { SHORT };
        let ((began_ms, first), (now_ms, last)) = self.received.ends(WINDOW_MS)?;
        let took_ms = now_ms.saturating_sub(began_ms).max(1);
        let kbit_s = last.saturating_sub(first) as f64 * 8.0 / took_ms as f64;
        let figures = vec![
            ("bitrate_kbit_s", kbit_s.round()),
            ("median_kbit_s", (kbit_s * median).round()),
            ("looked_at", shares.len() as f64),
            ("viewers", viewers as f64),
        ];
        self.is_short.then(|| Finding { figures, ..Finding::default() })
    }
}
