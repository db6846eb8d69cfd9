//! Sessions whose verdict is still being thought about. The engine parks what it needs to go on, and gets it back by ticket
//! when the answer comes, or when it has taken too long. Bounded.
use std::collections::BTreeMap;
use std::time::Duration;

use millstream_proto::time::Time;

/// Pending things by ticket, each with its deadline. Tickets rise, and all wait equally long, so the first one expires first.
#[derive(Debug)]
pub struct Pending<T> {
    waiting: BTreeMap<u64, (Time, T)>,
    wait_max: Duration,
    len_max: usize,
}

impl<T> Pending<T> {
    /// Room for `len_max` things that wait at most `wait_max` each.
    pub fn new(len_max: usize, wait_max: Duration) -> Self {
        Self { waiting: BTreeMap::new(), wait_max, len_max }
    }

    /// Parks under a fresh ticket; gives the thing back when there is no room.
    pub fn add(&mut self, ticket: u64, thing: T, now: Time) -> Result<(), T> {
        if self.waiting.len() >= self.len_max {
            return Err(thing);
        }
        self.waiting.insert(ticket, (now + self.wait_max, thing));
        Ok(())
    }

    /// Takes back what that ticket stands for; `None` if it has expired, was answered, or never was.
    pub fn take(&mut self, ticket: u64) -> Option<T> {
        self.waiting.remove(&ticket).map(|(_, thing)| thing)
    }

    /// When [`Pending::expire`] next has something to give.
    pub fn poll_timeout(&self) -> Option<Time> {
        self.waiting.first_key_value().map(|(_, &(at, _))| at)
    }

    /// Something that has waited too long, one per call.
    pub fn expire(&mut self, now: Time) -> Option<T> {
        let first = self.waiting.first_entry().filter(|first| first.get().0 <= now)?;
        Some(first.remove().1)
    }

    /// How many wait.
    pub fn len(&self) -> usize {
        self.waiting.len()
    }

    /// Whether none wait.
    pub fn is_empty(&self) -> bool {
        self.waiting.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answered_expired_and_full() {
        let mut pending = Pending::new(2, Duration::from_secs(5));
        pending.add(1, "a", Time::ZERO).unwrap();
        pending.add(2, "b", Time::from_millis(1000)).unwrap();
        assert_eq!(pending.add(3, "c", Time::from_millis(1000)), Err("c"));
        assert_eq!(pending.take(1), Some("a"));
        assert_eq!(pending.take(1), None);
        assert_eq!(pending.poll_timeout(), Some(Time::from_millis(6000)));
        assert_eq!(pending.expire(Time::from_millis(5999)), None);
        assert_eq!(pending.expire(Time::from_millis(6000)), Some("b"));
        assert!(pending.is_empty() && pending.poll_timeout().is_none());
    }

    #[test]
    fn what_is_answered_leaves_no_trace_behind_what_waits() {
        let mut pending = Pending::new(2, Duration::from_secs(5));
        pending.add(0, (), Time::ZERO).unwrap();
        for ticket in 1..1000 {
            pending.add(ticket, (), Time::from_millis(ticket)).unwrap();
            pending.take(ticket).unwrap();
        }
        assert_eq!((pending.len(), pending.poll_timeout()), (1, Some(Time::from_millis(5000))));
    }
}
