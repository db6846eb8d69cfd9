//! The connections that play as one session of play grants, at all shards: no more of them than may. Each shard tells the others which ones it has; where
//! two took one at the same moment, all come to the same answer which are too many. Sans-IO. Before it and after it: [`super::grant_sessions`].
use std::rc::{Rc, Weak};

use millstream_proto::time::Time;

/// Connections of a session that play at the same time: a page that reconnects has two for a moment.
pub(super) const CONNECTIONS_MAX: usize = 4;

/// When a connection joined, and its session's number: no two are the same, and all shards see them in the same order.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(crate) struct Joined {
    pub(crate) at: Time,
    pub(crate) number: u64,
}

/// Connections `T` of one session.
#[derive(Debug)]
pub(super) struct Connections<T> {
    own: Vec<(Joined, Weak<T>)>,
    elsewhere: Vec<(usize, Vec<Joined>)>,
    /// The other shards do not know which ones are here.
    is_untold: bool,
}

impl<T> Default for Connections<T> {
    fn default() -> Self {
        Self { own: Vec::new(), elsewhere: Vec::new(), is_untold: false }
    }
}

impl<T> Connections<T> {
    /// One more, here. False: as many play as may.
    pub(super) fn join(&mut self, joined: Joined, connection: &Rc<T>) -> bool {
        self.prune();
        let elsewhere: usize = self.elsewhere.iter().map(|(_, all)| all.len()).sum();
        let has_room = self.own.len() + elsewhere < CONNECTIONS_MAX;
        if has_room {
            self.own.push((joined, Rc::downgrade(connection)));
        }
        has_room
    }

    /// Another shard has these, and no others. Gives those here that are too many with them: the first ones stay.
    pub(super) fn hear(&mut self, shard: usize, theirs: &[Joined]) -> Vec<Rc<T>> {
        self.elsewhere.retain(|(other, _)| *other != shard);
        if !theirs.is_empty() {
            // A shard has no more than all together may have.
            self.elsewhere.push((shard, theirs.iter().copied().take(CONNECTIONS_MAX).collect()));
        }
        self.prune();
        let mut all: Vec<Joined> = self.elsewhere.iter().flat_map(|(_, all)| all).copied().collect();
        all.extend(self.own.iter().map(|(joined, _)| *joined));
        all.sort_unstable();
        let Some(first_of_too_many) = all.get(CONNECTIONS_MAX).copied() else { return Vec::new() };
        let is_too_many = |joined: &Joined| *joined >= first_of_too_many;
        self.own.iter().filter(|(joined, _)| is_too_many(joined)).filter_map(|(_, weak)| weak.upgrade()).collect()
    }

    fn prune(&mut self) {
        let before = self.own.len();
        self.own.retain(|(_, connection)| connection.strong_count() > 0);
        self.is_untold |= self.own.len() < before;
    }

    /// Those here, for the other shards, which are told of them now.
    pub(super) fn tell(&mut self) -> Vec<Joined> {
        self.is_untold = false;
        self.own.iter().map(|(joined, _)| *joined).collect()
    }

    /// One could not be told.
    pub(super) fn not_told(&mut self) {
        self.is_untold = true;
    }

    /// Whether the other shards are to be told, also of those that have ended.
    pub(super) fn is_untold(&mut self) -> bool {
        self.prune();
        self.is_untold
    }

    /// Those here.
    pub(super) fn here(&self) -> impl Iterator<Item = Rc<T>> {
        self.own.iter().filter_map(|(_, connection)| connection.upgrade())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(ms: u64, number: u64) -> Joined {
        Joined { at: Time::from_millis(ms), number }
    }

    #[test]
    fn what_plays_at_other_shards_counts_and_who_leaves_makes_room() {
        let (mut here, connections): (Connections<u64>, _) = (Connections::default(), [1, 2, 3].map(Rc::new));
        assert!(here.hear(1, &[at(1, 10), at(2, 12)]).is_empty());
        assert!(here.join(at(3, 1), &connections[0]) && here.join(at(4, 2), &connections[1]));
        assert!(!here.join(at(5, 3), &connections[2]), "the fifth");
        assert_eq!((here.tell(), here.is_untold()), (vec![at(3, 1), at(4, 2)], false));
        // One leaves there, and then one here.
        assert!(here.hear(1, &[at(2, 12)]).is_empty() && here.join(at(6, 3), &connections[2]));
        let [first, ..] = connections;
        assert_eq!(here.tell().len(), 3);
        drop(first);
        // Found out on the way, and told all the same.
        assert!(here.hear(1, &[at(2, 12)]).is_empty() && here.is_untold());
        assert_eq!(here.here().count(), 2);
        assert_eq!((here.tell(), here.is_untold()), (vec![at(4, 2), at(6, 3)], false));
        here.not_told();
        assert!(here.is_untold());
        assert!(here.hear(1, &[]).is_empty() && here.elsewhere.is_empty());
    }

    #[test]
    fn of_those_that_came_at_the_same_moment_all_shards_keep_the_same() {
        let kept: Vec<Rc<u64>> = (0..9).map(Rc::new).collect();
        let mut shards: Vec<Connections<u64>> = (0..3).map(|_| Connections::default()).collect();
        // Before any has heard of the others, each takes three.
        for (number, connection) in kept.iter().enumerate() {
            assert!(shards[number % 3].join(at(5 + number as u64 / 4, number as u64), connection));
        }
        let mut ended = Vec::new();
        for (from, to) in [(0, 1), (0, 2), (1, 0), (1, 2), (2, 0), (2, 1)] {
            let theirs = shards[from].tell();
            ended.extend(shards[to].hear(from, &theirs).into_iter().map(|connection| *connection));
        }
        ended.sort_unstable();
        ended.dedup();
        assert_eq!(ended, [4, 5, 6, 7, 8], "the first four stay");
    }
}
