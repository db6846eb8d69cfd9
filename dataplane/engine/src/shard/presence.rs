//! Viewers without a session, one by one: each is there as long as it asks for playlists. Kept only while somebody wants to know who comes and goes. Before
//! it: [`crate::egress::hls`]; after it: [`crate::admin::plays`], which makes one viewer of what several shards tell.
use std::cell::RefCell;
use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use millstream_policy::records::Labels;
use millstream_proto::id::Id;
use millstream_proto::network::counted;
use millstream_proto::time::Time;

use super::context::ShardContext;
use super::reached::WINDOW_TARGETS;
use crate::admin::plays::{Play, PlayNews, PlayViewer};
use crate::clock::unix_ms;

/// Viewers of a shard that are known.
const VIEWERS_LEN_MAX: usize = 65_536;
/// Of those, of one address: it can call itself what it likes.
const VIEWERS_PER_ADDRESS_MAX: usize = 256;

/// Who asks for a playlist.
pub(crate) struct Asks<'a> {
    pub(crate) stream: &'a Id,
    /// What its requests have in common.
    pub(crate) viewer: u64,
    pub(crate) peer: SocketAddr,
    pub(crate) protocol: &'static str,
    pub(crate) secure: bool,
    pub(crate) labels: Option<&'a Labels>,
    /// The stream's target duration.
    pub(crate) target: Duration,
}

struct Entry {
    peer: SocketAddr,
    protocol: &'static str,
    secure: bool,
    labels: Option<Labels>,
    until: Time,
    /// Whether it was told that it is there; else there was no room.
    is_told: bool,
}

/// Who is there.
#[derive(Default)]
pub(crate) struct Presence(RefCell<Inner>);

#[derive(Default)]
struct Inner {
    entries: HashMap<(Id, u64), Entry>,
    of_address: HashMap<IpAddr, usize>,
    /// When somebody began to want to know of them.
    round: u64,
}

/// What is to be told.
type Telling<'a> = &'a mut dyn FnMut(&(Id, u64), &Entry, PlayNews) -> bool;

impl Presence {
    fn hear(&self, asks: &Asks<'_>, now: Time, tell: Telling<'_>) -> bool {
        let inner = &mut *self.0.borrow_mut();
        let key = (asks.stream.stream(), asks.viewer);
        let until = now + asks.target * WINDOW_TARGETS;
        if !inner.entries.contains_key(&key) {
            let address = counted(asks.peer.ip());
            let has = inner.of_address.get(&address).copied().unwrap_or_default();
            if has >= VIEWERS_PER_ADDRESS_MAX || inner.entries.len() >= VIEWERS_LEN_MAX {
                return false;
            }
            inner.of_address.insert(address, has + 1);
        }
        let Asks { peer, protocol, secure, labels, .. } = *asks;
        let new = || Entry { peer, protocol, secure, labels: labels.cloned(), until, is_told: false };
        let entry = inner.entries.entry(key.clone()).or_insert_with(new);
        entry.until = entry.until.max(until);
        if !entry.is_told {
            entry.is_told = tell(&key, entry, PlayNews::Began);
        }
        true
    }

    /// Those who have not asked for a while are gone. Who cannot be told of is kept for the next time: whoever listens counts on it.
    fn sweep(&self, now: Time, tell: Telling<'_>) {
        let Inner { entries, of_address, .. } = &mut *self.0.borrow_mut();
        entries.retain(|key, entry| {
            // How long, knows who hears of all shards.
            let ended = PlayNews::Ended { why: "left", lasted_ms: 0 };
            let stays = entry.until > now || entry.is_told && !tell(key, entry, ended);
            if !stays && let Some(count) = of_address.get_mut(&counted(entry.peer.ip())) {
                *count -= 1;
                if *count == 0 {
                    of_address.remove(&counted(entry.peer.ip()));
                }
            }
            stays
        });
    }

    /// Somebody has begun to want to know since: who is there is told anew.
    fn of_round(&self, round: u64) {
        if self.0.borrow().round != round {
            self.0.replace(Inner { round, ..Inner::default() });
        }
    }

    fn forget(&self) {
        if !self.0.borrow().entries.is_empty() {
            self.0.replace(Inner::default());
        }
    }
}

impl ShardContext {
    /// Somebody without a session asks for a playlist of a stream.
    pub(crate) fn plays_by_playlists(&self, asks: &Asks<'_>) {
        if !self.plays.is_wanted() {
            return;
        }
        self.presence.of_round(self.plays.round());
        if !self.presence.hear(asks, self.now(), &mut |key, entry, what| self.tell_of_viewer(key, entry, what)) {
            self.plays.lose();
        }
    }

    /// Tells who has stopped asking.
    pub(super) fn sweep_presence(&self, now: Time) {
        if self.plays.is_wanted() {
            self.presence.of_round(self.plays.round());
            self.presence.sweep(now, &mut |key, entry, what| self.tell_of_viewer(key, entry, what));
        } else {
            self.presence.forget();
        }
    }

    fn tell_of_viewer(&self, (stream, viewer): &(Id, u64), entry: &Entry, what: PlayNews) -> bool {
        let Entry { peer, protocol, secure, ref labels, .. } = *entry;
        self.plays.put(Play {
            at_unix_ms: unix_ms(),
            stream: stream.clone(),
            viewer: PlayViewer::Named(*viewer),
            peer,
            protocol,
            secure,
            labels: labels.clone(),
            what,
        })
    }
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use millstream_proto::id::RenditionName;

    use super::*;

    fn asks(stream: &Id, viewer: u64, address: u32) -> Asks<'_> {
        let peer = (Ipv4Addr::from(address), 7).into();
        let target = Duration::from_secs(2);
        Asks { stream, viewer, peer, protocol: "hls", secure: false, labels: None, target }
    }

    #[test]
    fn a_viewer_comes_once_and_goes_when_it_asks_no_more() {
        let (presence, at) = (Presence::default(), Time::from_millis);
        let cam = Id::new("cam").unwrap();
        let rendition = cam.of_rendition(&RenditionName::new("360p").unwrap());
        let mut told = Vec::new();
        let mut tell = |key: &(Id, u64), _: &Entry, what| {
            told.push((key.0.to_string(), key.1, what));
            true
        };
        for ms in [0, 500, 4_000] {
            assert!(presence.hear(&asks(&cam, 1, 1), at(ms), &mut tell));
            // A player that changes to a rendition plays on.
            assert!(presence.hear(&asks(&rendition, 1, 1), at(ms), &mut tell));
        }
        for ms in [9_999, 10_000, 20_000] {
            presence.sweep(at(ms), &mut tell);
        }
        let of = |what| ("cam".to_owned(), 1, what);
        assert_eq!(told, [of(PlayNews::Began), of(PlayNews::Ended { why: "left", lasted_ms: 0 })]);
        let inner = presence.0.borrow();
        assert!(inner.entries.is_empty() && inner.of_address.is_empty());
    }

    #[test]
    fn an_end_without_room_is_told_later() {
        let (presence, at, cam) = (Presence::default(), Time::from_millis, Id::new("cam").unwrap());
        assert!(presence.hear(&asks(&cam, 1, 1), at(0), &mut |_, _, _| true));
        presence.sweep(at(6_000), &mut |_, _, _| false);
        let mut ends = 0;
        presence.sweep(at(6_250), &mut |_, _, _| {
            ends += 1;
            true
        });
        assert!(ends == 1 && presence.0.borrow().entries.is_empty());
    }

    #[test]
    fn who_could_not_be_told_of_is_told_of_with_its_next_request_and_else_never() {
        let (presence, at, cam) = (Presence::default(), Time::from_millis, Id::new("cam").unwrap());
        let mut count = 0;
        assert!(presence.hear(&asks(&cam, 1, 1), at(0), &mut |_, _, _| false));
        assert!(presence.hear(&asks(&cam, 2, 1), at(0), &mut |_, _, _| false));
        assert!(presence.hear(&asks(&cam, 1, 1), at(100), &mut |_, _, _| {
            count += 1;
            true
        }));
        let mut gone = Vec::new();
        presence.sweep(at(60_000), &mut |key, _, _| {
            gone.push(key.1);
            true
        });
        assert_eq!((count, gone), (1, vec![1]));
    }

    #[test]
    fn one_address_takes_nothing_from_others() {
        let (presence, at, cam) = (Presence::default(), Time::from_millis, Id::new("cam").unwrap());
        let hear = |viewer, address| presence.hear(&asks(&cam, viewer, address), at(0), &mut |_, _, _| true);
        assert_eq!((0..1_000).filter(|viewer| hear(*viewer, 1)).count(), VIEWERS_PER_ADDRESS_MAX);
        assert!(hear(0, 1) && hear(0, 2), "one that is known, and one of another address");
        for address in 0..VIEWERS_LEN_MAX as u32 {
            hear(u64::from(address) + 5_000, address + 10);
        }
        assert!(!hear(1_000_000, u32::MAX));
        assert!(presence.0.borrow().of_address.values().all(|count| *count > 0), "who finds no room is not remembered");
        presence.forget();
        assert!(hear(1_000_000, u32::MAX));
    }
}
