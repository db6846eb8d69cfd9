//! What waits, in memory: of each lane its first entry, by hook and by the time that it is due, so that a look costs what it finds and not
//! what waits. Made from the store at the first look; kept by [`super::StoredOutbox`], which writes the store first.
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use millstream_fleet::webhook::outbox::{Ask, Backlog};

/// Of an entry, Unix milliseconds.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(super) struct Times {
    /// Since when it waits, by control's clock: when its event happened is what some node says.
    pub(super) added_ms: u64,
    /// When it may be tried.
    pub(super) due_ms: u64,
}

/// The first entry of a lane.
#[derive(Clone, PartialEq, Eq, Debug)]
struct Head {
    times: Times,
    /// The last part of its key: when it happened, and what tells it from others.
    tail: Arc<str>,
}

/// What waits for one hook.
#[derive(Default, Debug)]
struct OfHook {
    waiting: u64,
    lanes: HashMap<Arc<str>, Head>,
    /// Due time, last part of the key, stream.
    by_due: BTreeSet<(u64, Arc<str>, Arc<str>)>,
}

impl OfHook {
    fn set(&mut self, stream: &str, head: Option<Head>) {
        if let Some((stream, old)) = self.lanes.remove_entry(stream) {
            self.by_due.remove(&(old.times.due_ms, old.tail, stream));
        }
        if let Some(head) = head {
            let stream: Arc<str> = stream.into();
            self.by_due.insert((head.times.due_ms, Arc::clone(&head.tail), Arc::clone(&stream)));
            self.lanes.insert(stream, head);
        }
    }
}

/// What waits for all hooks.
#[derive(Default, Debug)]
pub(super) struct Lanes(BTreeMap<String, OfHook>);

/// Hook, stream and the rest of a key.
pub(super) fn parts(key: &str) -> Option<(&str, &str, &str)> {
    let (lane, tail) = key.rsplit_once('/')?;
    let (hook, stream) = lane.split_once('/')?;
    Some((hook, stream, tail))
}

impl Lanes {
    /// One more entry waits. It begins its lane where nothing of that lane is before it.
    pub(super) fn add(&mut self, key: &str, times: Times) {
        let Some((hook, stream, tail)) = parts(key) else { return };
        let of_hook = self.0.entry(hook.to_owned()).or_default();
        of_hook.waiting += 1;
        if of_hook.lanes.get(stream).is_none_or(|head| tail < &*head.tail) {
            of_hook.set(stream, Some(Head { times, tail: tail.into() }));
        }
    }

    /// An entry is there, which may be known or not: its write was not seen to end.
    pub(super) fn find(&mut self, key: &str, times: Times) {
        let Some((hook, stream, tail)) = parts(key) else { return };
        let head = self.0.get(hook).and_then(|of_hook| of_hook.lanes.get(stream));
        // Behind a head it is found when that is gone.
        if head.is_none_or(|head| tail < &*head.tail) {
            self.add(key, times);
        }
    }

    /// The first entry of a lane is to be tried again, not before this time.
    pub(super) fn postpone(&mut self, key: &str, due_ms: u64) {
        let Some((hook, stream, tail)) = parts(key) else { return };
        if let Some(of_hook) = self.0.get_mut(hook) {
            let added_ms = of_hook.lanes.get(stream).map_or(due_ms, |head| head.times.added_ms);
            of_hook.set(stream, Some(Head { times: Times { added_ms, due_ms }, tail: tail.into() }));
        }
    }

    /// An entry is gone; `next` is what its lane begins with from here on.
    pub(super) fn gone(&mut self, key: &str, next: Option<(&str, Times)>) {
        let Some((hook, stream, _)) = parts(key) else { return };
        let Some(of_hook) = self.0.get_mut(hook) else { return };
        of_hook.waiting = of_hook.waiting.saturating_sub(1);
        let head = next.and_then(|(key, times)| Some(Head { times, tail: parts(key)?.2.into() }));
        of_hook.set(stream, head);
        if of_hook.lanes.is_empty() {
            self.0.remove(hook);
        }
    }

    /// Nothing waits for this hook any more.
    pub(super) fn drop_hook(&mut self, hook: &str) {
        self.0.remove(hook);
    }

    /// All that waits for a hook is due now: its receiver is back.
    pub(super) fn hurry(&mut self, hook: &str) {
        let Some(of_hook) = self.0.get_mut(hook) else { return };
        of_hook.by_due =
            of_hook.by_due.iter().map(|(_, tail, stream)| (0, Arc::clone(tail), Arc::clone(stream))).collect();
        for head in of_hook.lanes.values_mut() {
            head.times.due_ms = 0;
        }
    }

    /// Keys of lanes' first entries that are due, those that were due first first, of each hook as many as may be.
    pub(super) fn due(&self, now_ms: u64, ask: &Ask) -> Vec<String> {
        let mut found = Vec::new();
        for (hook, of_hook) in &self.0 {
            let due = of_hook.by_due.iter().take_while(|(due_ms, _, _)| *due_ms <= now_ms);
            // Nothing is postponed for so long: the clock has been set back since.
            let latest_ms = ask.latest_unix_ms.unwrap_or(u64::MAX).max(now_ms);
            let due = due.chain(of_hook.by_due.iter().rev().take_while(|(due_ms, _, _)| *due_ms > latest_ms));
            let keys = due.map(|(due_ms, tail, stream)| (*due_ms, tail, stream));
            let free = keys.filter(|(_, _, stream)| !ask.is_busy(hook, stream)).take(ask.share(hook));
            found.extend(
                free.map(|(due_ms, tail, stream)| (due_ms, Arc::clone(tail), format!("{hook}/{stream}/{tail}"))),
            );
        }
        found.sort();
        found.into_iter().take(ask.limit).map(|(_, _, key)| key).collect()
    }

    /// Keys of a hook's lanes that begin with what was added before this time. What was added while the clock was ahead, behind now, ages from
    /// now on.
    pub(super) fn older(&mut self, hook: &str, (before_ms, now_ms): (u64, u64), most: usize) -> Vec<String> {
        let Some(of_hook) = self.0.get_mut(hook) else { return Vec::new() };
        for head in of_hook.lanes.values_mut() {
            head.times.added_ms = head.times.added_ms.min(now_ms);
        }
        let old = of_hook.lanes.iter().filter(|(_, head)| head.times.added_ms < before_ms);
        old.take(most).map(|(stream, head)| format!("{hook}/{stream}/{}", head.tail)).collect()
    }

    /// How many wait for a hook.
    pub(super) fn waiting_for(&self, hook: &str) -> u64 {
        self.0.get(hook).map_or(0, |of_hook| of_hook.waiting)
    }

    /// What waits.
    pub(super) fn backlog(&self) -> Backlog {
        let heads = self.0.values().flat_map(|of_hook| of_hook.lanes.values());
        Backlog {
            oldest_unix_ms: heads.map(|head| head.times.added_ms).min(),
            waiting: self.0.values().map(|of_hook| of_hook.waiting).sum(),
            hooks: self.0.keys().cloned().collect(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(added_ms: u64) -> Times {
        Times { added_ms, due_ms: 0 }
    }

    fn key(hook: &str, stream: &str, at: u64) -> String {
        format!("{hook}/{stream}/{at:013}-1-1")
    }

    #[test]
    fn each_lane_shows_its_first_entry_and_each_hook_no_more_than_its_share() {
        let mut lanes = Lanes::default();
        for at in [30, 10, 20] {
            lanes.add(&key("a", "cam", at), of(at));
        }
        (0..9).for_each(|n| lanes.add(&key("b", &format!("s{n}"), 40 + n), of(40 + n)));
        let mut ask = Ask { limit: 100, share: 4, latest_unix_ms: Some(1_000), ..Ask::default() };
        assert_eq!(lanes.due(0, &ask).len(), 5);
        assert_eq!(lanes.due(0, &ask)[0], key("a", "cam", 10));
        ask.shares.insert("b".into(), 0);
        assert_eq!(lanes.due(0, &ask), [key("a", "cam", 10)]);
        ask.busy.insert("a/cam".into());
        assert!(lanes.due(0, &ask).is_empty());
        ask.busy.clear();
        lanes.postpone(&key("a", "cam", 10), 500);
        assert!(lanes.due(499, &ask).is_empty());
        assert_eq!(lanes.due(500, &ask), [key("a", "cam", 10)]);
        // Postponed by a clock that was a year ahead, and is set right.
        lanes.postpone(&key("a", "cam", 10), 1_001);
        assert_eq!(lanes.due(0, &ask), [key("a", "cam", 10)]);
        lanes.postpone(&key("a", "cam", 10), 500);
        lanes.hurry("a");
        assert_eq!(lanes.due(0, &ask), [key("a", "cam", 10)]);
        lanes.gone(&key("a", "cam", 10), Some((&key("a", "cam", 20), of(20))));
        assert_eq!((lanes.due(0, &ask), lanes.waiting_for("a")), (vec![key("a", "cam", 20)], 2));
        let backlog = lanes.backlog();
        assert_eq!((backlog.waiting, backlog.oldest_unix_ms, backlog.hooks.len()), (11, Some(20), 2));
        assert_eq!(lanes.older("b", (43, 100), 10).len(), 3);
        lanes.drop_hook("b");
        lanes.gone(&key("a", "cam", 20), None);
        assert_eq!(lanes.backlog(), Backlog::default());
    }
}
