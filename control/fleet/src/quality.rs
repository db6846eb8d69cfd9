//! How a stream plays, of several nodes as one. Before it: what nodes answer, which is cut to what a node says; after it: [`crate::Fleet::quality`].
use std::collections::BTreeMap;
use std::pin::pin;

use futures_util::stream::StreamExt as _;
use millstream_control_protocol::exchange::{Answer, Order};
use millstream_control_protocol::quality::{Quality, Spread};

use crate::error::LinkError;
use crate::fleet::{Fleet, lock};
use crate::limits::{ORDER_WAIT_MAX, PROTOCOLS_TOLD_MAX, SPREAD_BUCKETS_MAX, VIEWERS_ASKED_AT_ONCE_MAX};

/// Longest name of a protocol.
const PROTOCOL_BYTES_MAX: usize = 32;

impl Fleet {
    /// How a stream plays, as players have said at the nodes that answer: by protocol, and which nodes did not answer.
    pub async fn quality(&self, stream: &str) -> (Vec<Quality>, Vec<(String, LinkError)>) {
        let nodes = lock(&self.0.registry).present();
        let order = |node: String| (node, Order::Quality { stream: stream.to_owned() });
        let orders = nodes.into_iter().map(order).collect();
        let mut answers = pin!(self.ask_each(orders, VIEWERS_ASKED_AT_ONCE_MAX, ORDER_WAIT_MAX));
        let (mut all, mut failed) = (BTreeMap::new(), BTreeMap::new());
        while let Some((node, answer)) = answers.next().await {
            match answer {
                Ok(Answer::Quality { quality }) => add(&mut all, quality),
                // A node of an earlier release.
                Ok(_) => {
                    failed.insert(node, LinkError::other_answer());
                }
                Err(error) => {
                    failed.insert(node, error);
                }
            }
        }
        (all.into_values().collect(), failed.into_iter().collect())
    }
}

/// Adds what a node says to what others have said.
fn add(all: &mut BTreeMap<String, Quality>, told: Vec<Quality>) {
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
