//! Streams whose pictures ended a worker: each is left out for a while, so that the next worker makes what the others want. Sans-IO. Before it:
//! [`super::process`], which hears a worker's last report; after it: [`super::table`], [`super::watches`] and [`super::snapshots`], which leave the stream out.
use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use millstream_proto::id::Id;

/// A stream is left out for so long after the first time, for twice as long after each further one, and for so long at most.
const LEFT_OUT_LEAST: Duration = Duration::from_secs(20);
const LEFT_OUT_MOST: Duration = Duration::from_mins(10);
/// One that has ended no worker for so long after it was taken again is as any other.
const FORGOTTEN_AFTER: Duration = Duration::from_mins(10);
/// The reason of renditions of such a stream, in one word.
pub(crate) const CRASHED: &str = "crashed";
/// Streams that are remembered: a worker has ended for each.
const KNOWN_MAX: usize = 1_024;

/// What is known of them.
#[derive(Debug, Default)]
pub(crate) struct Crashes(BTreeMap<Id, Crashed>);

#[derive(Debug)]
struct Crashed {
    times: u32,
    until: Instant,
}

impl Crashes {
    /// A worker has ended with a picture of this stream; gives for how long the stream is left out.
    pub(crate) fn add(&mut self, stream: &Id, now: Instant) -> Duration {
        self.0.retain(|_, crashed| now < crashed.until + FORGOTTEN_AFTER);
        if !self.0.contains_key(stream) && self.0.len() >= KNOWN_MAX {
            self.0.pop_first();
        }
        let crashed = self.0.entry(stream.clone()).or_insert(Crashed { times: 0, until: now });
        let wait = LEFT_OUT_LEAST.saturating_mul(1 << crashed.times.min(16)).min(LEFT_OUT_MOST);
        crashed.times += 1;
        crashed.until = now + wait;
        wait
    }

    /// Until when this one is left out.
    pub(crate) fn left_out(&self, stream: &Id, now: Instant) -> Option<Instant> {
        self.0.get(stream).map(|crashed| crashed.until).filter(|until| now < *until)
    }

    /// All that are left out, and until when.
    pub(crate) fn all_left_out(&self, now: Instant) -> impl Iterator<Item = (&Id, Instant)> {
        self.0.iter().map(|(stream, crashed)| (stream, crashed.until)).filter(move |(_, until)| now < *until)
    }
}

/// Why there are no pictures of a stream for so long, for people.
pub(crate) fn in_words(wait: Duration) -> String {
    format!(
        "a thread that worked for this stream ended the worker, which a stream should not be able to; it is left out for {} s, so that others go on",
        wait.as_secs()
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_that_ends_workers_again_and_again_is_left_out_for_longer_each_time() {
        let (mut crashes, mut now) = (Crashes::default(), Instant::now());
        let (bad, good) = (Id::new("bad").unwrap(), Id::new("good").unwrap());
        let s = Duration::from_secs;
        for wait in [20, 40, 80, 160, 320, 600, 600] {
            assert_eq!(crashes.add(&bad, now), s(wait));
            assert_eq!(crashes.left_out(&bad, now + s(wait - 1)), Some(now + s(wait)));
            assert_eq!(crashes.all_left_out(now).collect::<Vec<_>>(), [(&bad, now + s(wait))]);
            now += s(wait);
            assert_eq!((crashes.left_out(&bad, now), crashes.left_out(&good, now)), (None, None));
        }
        assert_eq!(crashes.add(&bad, now + FORGOTTEN_AFTER), s(20), "it has done well meanwhile");
    }

    #[test]
    fn what_is_remembered_is_bounded() {
        let (mut crashes, now) = (Crashes::default(), Instant::now());
        for number in 0..2 * KNOWN_MAX {
            crashes.add(&Id::new(&format!("cam-{number}")).unwrap(), now);
        }
        assert_eq!(crashes.all_left_out(now).count(), KNOWN_MAX);
    }
}
