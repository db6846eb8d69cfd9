//! How a stream plays, of several nodes as one. Before it: what nodes answer, which is cut to what a node says; after it: [`crate::Fleet::quality`].
use std::collections::BTreeMap;

use millstream_control_protocol::quality::{Quality, Spread};

use crate::limits::{PROTOCOLS_TOLD_MAX, SPREAD_BUCKETS_MAX};

/// Longest name of a protocol.
const PROTOCOL_BYTES_MAX: usize = 32;

/// Adds what a node says to what others have said.
pub(super) fn add(all: &mut BTreeMap<String, Quality>, told: Vec<Quality>) {
    for told in told.into_iter().take(PROTOCOLS_TOLD_MAX) {
        let is_known = all.contains_key(&told.protocol);
        if told.protocol.len() > PROTOCOL_BYTES_MAX || !is_known && all.len() >= PROTOCOLS_TOLD_MAX {
            continue;
        }
        let sum = all.entry(told.protocol.clone()).or_default();
        sum.protocol.clone_from(&told.protocol);
        add_spread(&mut sum.start_ms, told.start_ms);
        add_spread(&mut sum.latency_ms, told.latency_ms);
        add_spread(&mut sum.bitrate_kbit_s, told.bitrate_kbit_s);
        add_spread(&mut sum.buffer_ms, told.buffer_ms);
        let sums = [
            (&mut sum.sessions, told.sessions),
            (&mut sum.stalls, told.stalls),
            (&mut sum.stalled_ms, told.stalled_ms),
            (&mut sum.played_ms, told.played_ms),
        ];
        for (sum, more) in sums {
            *sum = sum.saturating_add(more);
        }
    }
}

/// Of a node whose release has other buckets nothing is added: its figures are with the sums that have none.
fn add_spread(sum: &mut Spread, told: Spread) {
    if told.is_whole(SPREAD_BUCKETS_MAX) {
        sum.add(told);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn spread(up_to: &[u64], counts: &[u64], sum: u64) -> Spread {
        Spread { up_to: up_to.to_vec(), counts: counts.to_vec(), sum }
    }

    fn quality(protocol: &str, start_ms: Spread) -> Quality {
        Quality { protocol: protocol.to_owned(), sessions: 1, start_ms, stalls: u64::MAX, ..Quality::default() }
    }

    #[test]
    fn nodes_add_up_and_what_no_node_says_is_left_out() {
        let mut all = BTreeMap::new();
        add(&mut all, vec![quality("hls", spread(&[1, 2], &[1, 0, 3], 9))]);
        add(
            &mut all,
            vec![quality("hls", spread(&[1, 2], &[0, 5, 1], 4)), quality("dash", spread(&[2, 1], &[1, 1, 1], 1))],
        );
        add(
            &mut all,
            vec![quality("hls", spread(&[1, 3], &[9, 9, 9], 9)), quality(&"x".repeat(33), Spread::default())],
        );
        assert_eq!(
            (all["hls"].start_ms.clone(), all["hls"].sessions, all["hls"].stalls),
            (spread(&[1, 2], &[1, 5, 4], 13), 3, u64::MAX)
        );
        assert_eq!((all["dash"].start_ms.clone(), all.len()), (Spread::default(), 2));
        for n in 0..100 {
            add(&mut all, vec![quality(&format!("p{n}"), spread(&[1], &[1], 1))]);
        }
        assert_eq!(all.len(), PROTOCOLS_TOLD_MAX);
    }
}
