//! Grants of viewers who have no session, those of HLS and DASH: the policy is asked with each of their playlists, and what it granted holds
//! for the files that those name. Before it: [`crate::egress::hls`]. The files may be asked for at another shard, which is told by mailbox.
use std::cell::RefCell;
use std::collections::HashMap;
use std::time::Duration;

use millstream_proto::id::Id;
use millstream_proto::time::Time;

/// Grants of a shard that are remembered.
const GRANTS_LEN_MAX: usize = 65_536;
/// A grant that is over is remembered this long: what its viewer's last playlist named is gone then.
const FORGOTTEN_AFTER: Duration = Duration::from_mins(10);
/// Other shards are told of a grant that was renewed once it is later than what they know by this part of what is left of it.
const TOLD_AGAIN_PART: u32 = 4;

/// A viewer of a stream, as [`super::reached::hash`] names it.
type Key = (Id, u64);

#[derive(Clone, Copy)]
struct Held {
    until: Time,
    /// What the other shards know.
    told: Time,
}

/// Grants that end some time.
#[derive(Default)]
pub(crate) struct Grants(RefCell<HashMap<Key, Held>>);

/// What came of a grant.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Kept {
    /// It is kept; the other shards know enough of it.
    Here,
    /// It is kept; the other shards are to be told.
    Tell,
    /// There are as many as there may be.
    Full,
}

impl Grants {
    /// This viewer is admitted up to that moment.
    pub(crate) fn keep(&self, id: &Id, viewer: u64, until: Time, now: Time) -> Kept {
        let mut grants = self.0.borrow_mut();
        let key = (id.clone(), viewer);
        if grants.len() >= GRANTS_LEN_MAX && !grants.contains_key(&key) {
            return Kept::Full;
        }
        let held = grants.entry(key).or_insert(Held { until, told: Time::ZERO });
        held.until = until;
        let is_news = until.since(held.told) > until.since(now) / TOLD_AGAIN_PART || until < held.told;
        if is_news {
            held.told = until;
            Kept::Tell
        } else {
            Kept::Here
        }
    }

    /// Whether what this viewer was admitted for is over. Who is not known here was admitted for good.
    pub(crate) fn is_over(&self, id: &Id, viewer: impl FnOnce() -> u64, now: Time) -> bool {
        let grants = self.0.borrow();
        !grants.is_empty() && grants.get(&(id.clone(), viewer())).is_some_and(|held| held.until <= now)
    }

    pub(super) fn sweep(&self, now: Time) {
        self.0.borrow_mut().retain(|_, held| held.until + FORGOTTEN_AFTER > now);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn grants_end_and_others_are_told_of_them_now_and_then() {
        let (grants, id, at) = (Grants::default(), Id::new("a").unwrap(), Time::from_millis);
        assert!(!grants.is_over(&id, || 1, at(0)), "nobody has said that it ends");
        assert_eq!(grants.keep(&id, 1, at(10_000), at(0)), Kept::Tell);
        assert_eq!(grants.keep(&id, 1, at(11_000), at(1_000)), Kept::Here);
        assert_eq!(grants.keep(&id, 1, at(13_000), at(3_000)), Kept::Tell);
        assert_eq!(grants.keep(&id, 1, at(5_000), at(3_000)), Kept::Tell, "sooner than they know");
        assert!(!grants.is_over(&id, || 1, at(4_999)) && grants.is_over(&id, || 1, at(5_000)));
        assert!(!grants.is_over(&id, || 2, at(5_000)));
        grants.sweep(at(5_000) + FORGOTTEN_AFTER);
        assert!(grants.0.borrow().is_empty());
        for viewer in 0..GRANTS_LEN_MAX as u64 {
            grants.keep(&id, viewer, at(9_000), at(0));
        }
        assert_eq!(grants.keep(&id, u64::MAX, at(9_000), at(0)), Kept::Full);
        assert_ne!(grants.keep(&id, 1, at(9_000), at(0)), Kept::Full);
    }
}
