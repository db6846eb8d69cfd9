//! Notices that wait for an event hook. Before it: [`super::hearing`], which puts them in and takes batches.
//!
//! There is room for so many, and one that has no room pushes out the oldest one of the stream that has most: a stream that has much to tell loses its own
//! notices and not those of others. Those of single viewers go before all others: a crowd that comes hides nothing from a hook that has no use for it.
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
    /// What is about viewers of a stream, and what is not.
    of_streams: HashMap<(bool, String), Sum>,
}

/// Whose share it is.
fn share(notice: &Notice) -> (bool, String) {
    (notice::is_of_viewer(notice), notice.target.name.clone())
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
        self.of_streams.entry(share(&notice)).or_default().add(bytes);
        self.notices.push_back((notice, from));
        let mut lost = 0;
        while self.all.notices > WAITING_MAX || self.all.bytes > WAITING_BYTES_MAX {
            let Some(at) = self.crowded() else { break };
            lost += u64::from(self.remove(at).is_some());
        }
        lost
    }

    /// How many wait.
    pub(crate) fn len(&self) -> usize {
        self.notices.len()
    }

    /// Whether nothing waits.
    pub(crate) fn is_empty(&self) -> bool {
        self.notices.is_empty()
    }

    /// All of them, oldest first, with the addresses that they came from.
    pub(crate) fn into_notices(self) -> impl Iterator<Item = (Notice, Option<IpAddr>)> {
        self.notices.into_iter()
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

    /// The oldest notice of the stream that has most of what there is too much of; about a viewer, where there is one.
    fn crowded(&self) -> Option<usize> {
        let is_count = self.all.notices > WAITING_MAX;
        let taken = |sum: &Sum| if is_count { sum.notices } else { sum.bytes };
        // Viewers first, then whoever has most.
        let ((of_viewer, crowded), _) =
            self.of_streams.iter().max_by_key(|((viewer, _), sum)| (*viewer, taken(sum)))?;
        let is_its = |notice: &Notice| notice::is_of_viewer(notice) == *of_viewer && notice.target.name == *crowded;
        self.notices.iter().position(|(notice, _)| is_its(notice))
    }

    fn remove(&mut self, at: usize) -> Option<(Notice, Option<IpAddr>)> {
        let removed = self.notices.remove(at)?;
        let (bytes, share) = (notice::bytes(&removed.0), share(&removed.0));
        self.all.remove(bytes);
        if let Some(sum) = self.of_streams.get_mut(&share) {
            sum.remove(bytes);
            if sum.notices == 0 {
                self.of_streams.remove(&share);
            }
        }
        Some(removed)
    }
}

#[cfg(test)]
mod tests {
    use millstream_control_protocol::event::{Event, What};
    use millstream_proto::id::Id;

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

    #[test]
    fn a_crowd_of_viewers_hides_nothing_else_not_even_of_its_own_stream() {
        let stream = Id::new("cam").unwrap();
        let viewer = |number| {
            let came = notice::Viewing {
                number,
                unix_ms: 1,
                stream: &stream,
                session: number.to_string(),
                peer: "192.0.2.7:9".parse().unwrap(),
                protocol: "hls",
                secure: false,
                labels: None,
                ended: None,
            };
            notice::of_viewer(&came, "live")
        };
        let publish = What::Publish { encoder: String::new(), replaced_heard_ago_ms: None };
        let mut waiting = Waiting::default();
        waiting.push(viewer(0), None);
        for seq in 0..10 {
            waiting.push(of("cam", seq, &publish), None);
        }
        let lost: u64 = (1..5_000).map(|number| waiting.push(viewer(number), None)).sum();
        assert_eq!(lost as usize, 5_010 - WAITING_MAX);
        let mut left = Vec::new();
        while !waiting.is_empty() {
            left.extend(waiting.batch().notices);
        }
        let others: Vec<u64> = left.iter().filter(|one| !notice::is_of_viewer(one)).map(|one| one.id).collect();
        assert_eq!((others, left.len()), ((0..10).collect(), WAITING_MAX));
        assert_eq!(left.last().unwrap().client.as_ref().unwrap().session, "4999", "the newest are left");
        assert_eq!((waiting.all.bytes, waiting.of_streams.len()), (0, 0));
    }
}
