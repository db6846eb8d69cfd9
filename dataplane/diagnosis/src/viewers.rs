//! What viewers manage to receive: whether most of them get less than the stream has, and whether some are behind. Before it: a few viewers of a stream
//! with sessions, once a second, the same ones as long as they stay; after it: [`super::judge`].
use std::collections::{HashMap, VecDeque};

use millstream_control_protocol::live::{Live, Publisher, Watching};

use crate::hold::Finding;

/// Who has just come is sent what is there, as quickly as it can take it.
const PLAYED_MS_MIN: u64 = 5_000;
/// What a viewer receives is measured over so many samples.
const SAMPLES: usize = 4;
/// Who has so much yet to get takes all that it can, milliseconds; others take all there is.
const TAKES_ALL_MS: u64 = 500;
/// With so much yet to get a viewer is behind, milliseconds.
const BEHIND_MS: u64 = 2_500;
/// Who has jumped to a later keyframe counts as behind for this long.
const SKIPPED_MS: u64 = 10_000;
/// One of so many is few.
const FEW_OF: usize = 10;
/// The median receives less than this share of the stream, and so it stays until it receives the second one.
const SHORT: f64 = 0.9;
const ENOUGH: f64 = 0.95;

#[derive(Clone, Debug, Default)]
pub(crate) struct ViewersLook {
    /// Bytes received of the publisher, and when, oldest first.
    received: VecDeque<(u64, u64)>,
    /// By session: never more than one look has.
    known: HashMap<u64, Known>,
    is_short: bool,
}

#[derive(Clone, Debug, Default)]
struct Known {
    sent_bytes: VecDeque<u64>,
    skips: u64,
    skipped_at_ms: Option<u64>,
}

/// What one look has found.
#[derive(Clone, PartialEq, Debug, Default)]
pub(crate) struct Found {
    pub(crate) bitrate_above_viewers: Option<Finding>,
    pub(crate) viewers_lag: Option<Finding>,
}

impl ViewersLook {
    pub(crate) fn look(&mut self, live: &Live, publisher: &Publisher, watching: &[Watching], now_ms: u64) -> Found {
        if self.received.back().is_some_and(|(bytes, _)| *bytes > publisher.received_bytes) {
            // Another publisher.
            self.received.clear();
        }
        push(&mut self.received, (publisher.received_bytes, now_ms));
        let mut before = std::mem::take(&mut self.known);
        let (mut behind, mut worst_ms, mut looked_at, mut shares) = (0_usize, 0, 0_usize, Vec::new());
        let stream_bytes = self.received.front().zip(self.received.back()).map(|(first, last)| last.0 - first.0);
        for one in watching {
            let mut known = before.remove(&one.session).unwrap_or(Known { skips: one.skips, ..Known::default() });
            push(&mut known.sent_bytes, one.sent_bytes);
            if one.skips > known.skips {
                (known.skips, known.skipped_at_ms) = (one.skips, Some(now_ms));
            }
            if one.played_ms >= PLAYED_MS_MIN {
                looked_at += 1;
                let skipped = known.skipped_at_ms.is_some_and(|at| now_ms.saturating_sub(at) <= SKIPPED_MS);
                if one.behind_ms >= BEHIND_MS || skipped {
                    behind += 1;
                    worst_ms = worst_ms.max(one.behind_ms);
                }
                if known.sent_bytes.len() == SAMPLES && self.received.len() == SAMPLES {
                    let took =
                        known.sent_bytes.back().zip(known.sent_bytes.front()).map_or(0, |(last, first)| last - first);
                    let share = took as f64 / stream_bytes.unwrap_or(0).max(1) as f64;
                    shares.push(if one.behind_ms >= TAKES_ALL_MS { share } else { share.max(1.0) });
                }
            }
            self.known.insert(one.session, known);
        }
        let viewers =
            live.viewers.iter().filter(|viewers| !viewers.estimated).map(|viewers| viewers.count).sum::<u64>();
        let few = looked_at.div_ceil(FEW_OF).max(1);
        let viewers_lag = (behind >= few).then(|| {
            let behind_s = (worst_ms as f64 / 100.0).round() / 10.0;
            let looked_at = looked_at as f64;
            let figures = [
                ("lagging", behind as f64),
                ("looked_at", looked_at),
                ("viewers", viewers as f64),
                ("behind_s", behind_s),
            ];
            Finding { figures: figures.to_vec(), ..Finding::default() }
        });
        Found { bitrate_above_viewers: self.short(&mut shares, viewers, now_ms), viewers_lag }
    }

    fn short(&mut self, shares: &mut [f64], viewers: u64, now_ms: u64) -> Option<Finding> {
        shares.sort_by(f64::total_cmp);
        let median = *shares.get(shares.len().saturating_sub(1) / 2)?;
        self.is_short = median < if self.is_short { ENOUGH } else { SHORT };
        let (bytes, began_ms) = *self.received.front()?;
        let took_ms = now_ms.saturating_sub(began_ms).max(1);
        let kbit_s = (self.received.back()?.0 - bytes) as f64 * 8.0 / took_ms as f64;
        let kbit_s = [("bitrate_kbit_s", kbit_s.round()), ("median_kbit_s", (kbit_s * median).round())];
        let figures = kbit_s.into_iter().chain([("viewers", viewers as f64)]).collect();
        self.is_short.then(|| Finding { figures, ..Finding::default() })
    }
}

fn push<T>(samples: &mut VecDeque<T>, newest: T) {
    samples.push_back(newest);
    if samples.len() > SAMPLES {
        samples.pop_front();
    }
}
