//! Viewers that come and go, told to the outside while somebody wants to know: a bounded queue that shards put news into and never wait for. Before it:
//! [`crate::egress::pump`], for who has a session, and [`crate::shard::presence`], for who asks for playlists; after it: whoever has taken [`Plays`].
use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, PoisonError};

use millstream_policy::records::Labels;
use millstream_proto::id::Id;
use tokio::sync::mpsc::{self, Receiver, Sender};

/// News that may wait: those of a crowd that comes within a second.
const PLAYS_LEN_MAX: usize = 8_192;

/// A viewer, as policies know it too.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum PlayViewer {
    /// A session: its number.
    Session(u64),
    /// Somebody without one, as those of HLS and DASH: what all of its requests have in common, as in [`millstream_policy::ViewerName`].
    Named(u64),
}

/// A viewer has come, or is gone.
#[derive(Clone, Debug)]
pub struct Play {
    /// When, Unix milliseconds.
    pub at_unix_ms: u64,
    /// The stream; of a rendition, its source.
    pub stream: Id,
    /// Who.
    pub viewer: PlayViewer,
    /// Where it is; of a viewer without a session, where its first request came from.
    pub peer: SocketAddr,
    /// `rtmp`, `http-flv`, `hls`: an open set.
    pub protocol: &'static str,
    /// Its connection is encrypted.
    pub secure: bool,
    /// What a policy calls it.
    pub labels: Option<Labels>,
    /// Which of the two.
    pub what: PlayNews,
}

/// What became of a viewer.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum PlayNews {
    /// It plays.
    Began,
    /// It does no more.
    Ended {
        /// Why, as in `millstream_closed_total`; `left` where it asks for no playlists any more.
        why: &'static str,
        /// How long it played, milliseconds.
        lasted_ms: u64,
    },
}

/// The shards' end.
#[derive(Debug)]
pub(crate) struct PlayFeed {
    sender: Sender<(u64, Play)>,
    receiver: Mutex<Option<Receiver<(u64, Play)>>>,
    wanted: AtomicBool,
    /// How often they began to be wanted: what was known before that is told anew, and counts no more.
    round: AtomicU64,
    lost: AtomicU64,
}

impl PlayFeed {
    pub(crate) fn new() -> Arc<Self> {
        let (sender, receiver) = mpsc::channel(PLAYS_LEN_MAX);
        let wanted = AtomicBool::new(false);
        Arc::new(Self {
            sender,
            receiver: Mutex::new(Some(receiver)),
            wanted,
            round: AtomicU64::default(),
            lost: AtomicU64::default(),
        })
    }

    /// Whether somebody wants to know.
    pub(crate) fn is_wanted(&self) -> bool {
        self.wanted.load(Relaxed)
    }

    /// Which time it is that they are wanted.
    pub(crate) fn round(&self) -> u64 {
        self.round.load(Relaxed)
    }

    /// Tells; false: there is no room.
    pub(crate) fn put(&self, play: Play) -> bool {
        self.sender.try_send((self.round(), play)).is_ok()
    }

    /// Something could not be told, and is told no more.
    pub(crate) fn lose(&self) {
        self.lost.fetch_add(1, Relaxed);
    }

    /// The outside's end, which there is one of.
    pub(crate) fn take(self: &Arc<Self>) -> Option<Plays> {
        let receiver = self.receiver.lock().unwrap_or_else(PoisonError::into_inner).take()?;
        Some(Plays { receiver, feed: Arc::clone(self), round: 0, present: HashMap::new() })
    }
}

/// Viewers that come and go, of all shards, while they are wanted. What comes of one session is in order.
#[derive(Debug)]
pub struct Plays {
    receiver: Receiver<(u64, Play)>,
    feed: Arc<PlayFeed>,
    /// The one that the viewers below are of.
    round: u64,
    /// Of viewers without a session, at how many shards they are, and since when. Shards bound theirs and tell each end.
    present: HashMap<(Id, u64), Present>,
}

#[derive(Debug)]
struct Present {
    shards: usize,
    since_unix_ms: u64,
}

/// Says whether news of viewers are wanted, from any thread. Nobody makes any before that. Cheap to clone.
#[derive(Clone, Debug)]
pub struct PlaysWanted(Arc<PlayFeed>);

impl PlaysWanted {
    /// They are wanted from here on, or not.
    pub fn set(&self, wanted: bool) {
        if wanted && !self.0.wanted.load(Relaxed) {
            self.0.round.fetch_add(1, Relaxed);
        }
        self.0.wanted.store(wanted, Relaxed);
    }
}

impl Plays {
    /// What switches them on and off.
    pub fn wanted(&self) -> PlaysWanted {
        PlaysWanted(Arc::clone(&self.feed))
    }

    /// The next one; `None` once the engine has ended.
    pub async fn next(&mut self) -> Option<Play> {
        loop {
            let (round, play) = self.receiver.recv().await?;
            if let Some(play) = self.once(round, play) {
                return Some(play);
            }
        }
    }

    /// How many were lost since this was asked last: there was no room for them.
    pub fn take_lost(&self) -> u64 {
        self.feed.lost.swap(0, Relaxed)
    }

    /// A player's connections may come to several shards: it comes with the first one, and is gone with the last.
    fn once(&mut self, round: u64, mut play: Play) -> Option<Play> {
        let newest = self.feed.round();
        if self.round != newest {
            (self.round, self.present) = (newest, HashMap::new());
        }
        if round != newest || !self.feed.is_wanted() {
            return None;
        }
        let PlayViewer::Named(number) = play.viewer else { return Some(play) };
        let known = self.present.entry((play.stream.clone(), number));
        match (&mut play.what, known) {
            (PlayNews::Began, Entry::Vacant(place)) => {
                place.insert(Present { shards: 1, since_unix_ms: play.at_unix_ms });
                Some(play)
            }
            (PlayNews::Began, Entry::Occupied(mut known)) => {
                known.get_mut().shards += 1;
                None
            }
            // It came before anybody wanted to know.
            (PlayNews::Ended { .. }, Entry::Vacant(_)) => None,
            (PlayNews::Ended { lasted_ms, .. }, Entry::Occupied(mut known)) => {
                known.get_mut().shards -= 1;
                if known.get().shards > 0 {
                    return None;
                }
                *lasted_ms = play.at_unix_ms.saturating_sub(known.remove().since_unix_ms);
                Some(play)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use super::*;

    fn play(viewer: PlayViewer, at_unix_ms: u64, what: PlayNews) -> Play {
        Play {
            at_unix_ms,
            stream: Id::new("cam").unwrap(),
            viewer,
            peer: (Ipv4Addr::LOCALHOST, 5).into(),
            protocol: "hls",
            secure: false,
            labels: None,
            what,
        }
    }

    const LEFT: PlayNews = PlayNews::Ended { why: "left", lasted_ms: 1 };

    #[test]
    fn a_viewer_at_two_shards_comes_once_and_leaves_once() {
        let feed = PlayFeed::new();
        let mut plays = feed.take().unwrap();
        assert!(feed.take().is_none() && !feed.is_wanted());
        plays.wanted().set(true);
        let viewer = PlayViewer::Named(7);
        let mut told = |at_ms, what| plays.once(1, play(viewer, at_ms, what)).map(|play| play.what);
        assert_eq!(told(5, LEFT), None, "it was there before");
        assert_eq!(told(10, PlayNews::Began), Some(PlayNews::Began));
        assert_eq!(told(11, PlayNews::Began), None);
        assert_eq!(told(20, LEFT), None);
        assert_eq!(told(40, LEFT), Some(PlayNews::Ended { why: "left", lasted_ms: 30 }));
        assert_eq!(told(50, PlayNews::Began), Some(PlayNews::Began), "it is back");
        let session = |what| play(PlayViewer::Session(7), 1, what);
        assert!(plays.once(1, session(PlayNews::Began)).is_some() && plays.once(1, session(LEFT)).is_some());
        assert_eq!(plays.present.len(), 1);
        // Nobody wants to know for a while: what was known is out of date.
        plays.wanted().set(false);
        assert!(plays.once(1, session(PlayNews::Began)).is_none());
        plays.wanted().set(true);
        assert!(plays.once(1, play(viewer, 60, LEFT)).is_none() && plays.present.is_empty());
        // Shards tell anew who is there, and it is heard of once more.
        let told = |plays: &mut Plays, what| plays.once(2, play(viewer, 70, what)).map(|play| play.what);
        assert_eq!(told(&mut plays, PlayNews::Began), Some(PlayNews::Began));
        assert!(told(&mut plays, LEFT).is_some() && plays.present.is_empty());
    }

    #[test]
    fn what_finds_no_room_is_said() {
        let feed = PlayFeed::new();
        let plays = feed.take().unwrap();
        let told = (0..PLAYS_LEN_MAX + 5).filter(|_| feed.put(play(PlayViewer::Session(1), 1, LEFT))).count();
        assert_eq!(told, PLAYS_LEN_MAX);
        feed.lose();
        assert_eq!((plays.take_lost(), plays.take_lost()), (1, 0));
    }
}
