//! Notices that wait for an event hook. Before it: [`super::hearing`], which puts them in and takes batches.
//!
//! There is room for so many, and one that has no room pushes out the oldest one of the stream that has most: a stream that has much to tell loses its own
//! notices and not those of others.
use std::collections::{HashMap, VecDeque};
use std::net::IpAddr;

use millstream_hooks::wit::events::Notice;

use crate::notice;

/// Notices that wait for a hook.
pub(crate) const WAITING_MAX: usize = 1_024;
/// And their bytes, about.
const WAITING_BYTES_MAX: usize = 1 << 20;
/// Notices of a call: the contract's.
pub(crate) const BATCH_MAX: usize = 256;
/// And their bytes, about.
const BATCH_BYTES_MAX: usize = 256 << 10;

/// What there is of one stream, or of all.
#[derive(Clone, Copy, Default)]
struct Sum {
    notices: usize,
    bytes: usize,
}

impl Sum {
    const fn add(&mut self, bytes: usize) {
        self.notices += 1;
        self.bytes += bytes;
    }

    const fn remove(&mut self, bytes: usize) {
        self.notices = self.notices.saturating_sub(1);
        self.bytes = self.bytes.saturating_sub(bytes);
    }
}

/// Those that wait, in their order.
#[derive(Default)]
pub(crate) struct Waiting {
    notices: VecDeque<(Notice, Option<IpAddr>)>,
    all: Sum,
    of_streams: HashMap<String, Sum>,
}

/// What one call takes.
#[derive(Default)]
pub(crate) struct Batch {
    /// The notices, oldest first.
    pub(crate) notices: Vec<Notice>,
    /// The addresses that they came from.
    pub(crate) from: Vec<IpAddr>,
}

impl Waiting {
    /// One more, and the address that it came from. Says how many were lost for it.
    pub(crate) fn push(&mut self, notice: Notice, from: Option<IpAddr>) -> u64 {
        let bytes = notice::bytes(&notice);
        self.all.add(bytes);
        self.of_streams.entry(notice.target.name.clone()).or_default().add(bytes);
        self.notices.push_back((notice, from));
        let mut lost = 0;
        while self.all.notices > WAITING_MAX || self.all.bytes > WAITING_BYTES_MAX {
            let Some(at) = self.crowded() else { break };
            lost += u64::from(self.remove(at).is_some());
        }
        lost
    }

    /// Whether nothing waits.
    pub(crate) fn is_empty(&self) -> bool {
        self.notices.is_empty()
    }

    /// The oldest ones, as much as a call takes.
    pub(crate) fn batch(&mut self) -> Batch {
        let (mut batch, mut bytes) = (Batch::default(), 0);
        while let Some((next, _)) = self.notices.front() {
            bytes += notice::bytes(next);
            if batch.notices.len() == BATCH_MAX || (bytes > BATCH_BYTES_MAX && !batch.notices.is_empty()) {
                break;
            }
            let Some((next, address)) = self.remove(0) else { break };
            batch.notices.push(next);
            batch.from.extend(address);
        }
        batch
    }

    /// The oldest notice of the stream that has most of what there is too much of.
    fn crowded(&self) -> Option<usize> {
        let is_count = self.all.notices > WAITING_MAX;
        let taken = |sum: &Sum| if is_count { sum.notices } else { sum.bytes };
        let most = self.of_streams.values().map(taken).max()?;
        let has_most = |name: &str| self.of_streams.get(name).is_some_and(|sum| taken(sum) == most);
        self.notices.iter().position(|(notice, _)| has_most(&notice.target.name))
    }

    fn remove(&mut self, at: usize) -> Option<(Notice, Option<IpAddr>)> {
        let removed = self.notices.remove(at)?;
        let (bytes, name) = (notice::bytes(&removed.0), &removed.0.target.name);
        self.all.remove(bytes);
        if let Some(sum) = self.of_streams.get_mut(name) {
            sum.remove(bytes);
            if sum.notices == 0 {
                self.of_streams.remove(name);
            }
        }
        Some(removed)
    }
}

#[cfg(test)]
mod tests {
    use millstream_control_protocol::event::{Event, What};

    use super::*;

    fn of(stream: &str, seq: u64, what: &What) -> Notice {
        let event = Event { seq, stream: stream.to_owned(), what: what.clone(), ..Event::default() };
        notice::notice(&event, "live").unwrap().0
    }

    #[test]
    fn a_stream_with_much_to_tell_loses_its_own_notices_alone() {
        let small = What::Publish { encoder: String::new(), replaced_heard_ago_ms: None };
        let large = What::Publish { encoder: "x".repeat(900), replaced_heard_ago_ms: None };
        // Too many, and too much.
        for (what, lost_at_least) in [(&small, 5_000 - WAITING_MAX), (&large, 5_000 - WAITING_BYTES_MAX / 900)] {
            let mut waiting = Waiting::default();
            let mut lost = 0;
            for seq in 0..3 {
                lost += waiting.push(of("quiet", seq, what), None);
            }
            for seq in 0..5_000 {
                lost += waiting.push(of("flood", seq, what), None);
                assert!(waiting.all.notices <= WAITING_MAX && waiting.all.bytes <= WAITING_BYTES_MAX);
            }
            assert!(lost as usize >= lost_at_least, "{lost}");
            let mut left = Vec::new();
            while !waiting.is_empty() {
                left.extend(waiting.batch().notices.into_iter().map(|notice| (notice.target.name, notice.id)));
            }
            let quiet: Vec<u64> = left.iter().filter(|(name, _)| name == "quiet").map(|(_, id)| *id).collect();
            assert_eq!(quiet, [0, 1, 2]);
            // Of the other one the newest are left, in their order.
            let flood: Vec<u64> = left.iter().filter(|(name, _)| name == "flood").map(|(_, id)| *id).collect();
            assert_eq!(flood, (5_000 - flood.len() as u64..5_000).collect::<Vec<_>>());
            assert_eq!((lost as usize + left.len(), waiting.all.bytes), (5_003, 0));
            assert!(waiting.of_streams.is_empty());
        }
    }
}
