//! How streams play, as players say it (CMCD): reports that the shards have heard become sessions, and these become bounded histograms by stream and protocol.
//! No viewer is told of by itself. Sans-IO but for [`follow`], which fetches the reports each second. Before it: `engine`'s shards; after it:
//! [`super::orders`], which tells control of one stream, and `fleet::numbers`, which shows sums of all.
mod session;
mod window;

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use millstream_control_protocol::quality::Quality;
use millstream_engine::{Remote, Said};
use millstream_fleet::numbers::players::{Observed, PlayerNumbers};
use millstream_fleet::ticks;
use millstream_proto::cmcd::Format;
use millstream_proto::id::Id;
use tokio::sync::watch;
use tokio::time::Instant;

use self::session::Session;
use self::window::{Told, Window};

/// Reports are fetched this often.
const FETCH_EVERY: Duration = Duration::from_secs(1);
/// Time for the shards to give them.
const FETCH_WAIT: Duration = Duration::from_secs(2);
/// What holds for a session is counted this often, and that it is there for this long after it was heard: our pages speak every ten seconds or so.
const HOLDS_EVERY_MS: u64 = 10_000;
const THERE_FOR_MS: u64 = 30_000;
/// Sessions of a node, and of one stream of it; further ones are not heard. Some 150 bytes each.
const SESSIONS_MAX: usize = 20_000;
const SESSIONS_OF_STREAM_MAX: usize = 8_000;
/// Streams that histograms are kept of: some 2 KiB a protocol and minute.
const STREAMS_MAX: usize = 1_000;

/// Of one stream.
#[derive(Debug, Default)]
struct Stream {
    sessions: HashMap<u64, Session>,
    windows: BTreeMap<&'static str, Window>,
}

/// What players of this node's streams have said.
#[derive(Debug, Default)]
pub(super) struct Players {
    streams: HashMap<Id, Stream>,
    sessions: usize,
    held_ms: u64,
}

/// By what a player plays that says it of itself.
const fn protocol(format: Format) -> &'static str {
    match format {
        Format::Hls => "hls",
        Format::Dash => "dash",
        // There is no other.
        Format::Other => "http-flv",
    }
}

impl Players {
    /// Takes reports in their order; `now_ms` rises.
    fn hear(&mut self, all: &[Said], now_ms: u64, numbers: &PlayerNumbers) {
        for said in all {
            if !self.hear_one(said, now_ms, numbers) {
                numbers.left_out();
            }
        }
    }

    /// False: there is no room for the session.
    fn hear_one(&mut self, said: &Said, now_ms: u64, numbers: &PlayerNumbers) -> bool {
        let has_room = self.streams.len() < STREAMS_MAX || self.streams.contains_key(&said.stream);
        if !has_room {
            return false;
        }
        let stream = self.streams.entry(said.stream.clone()).or_default();
        let is_new = !stream.sessions.contains_key(&said.viewer);
        if is_new {
            // A request for a file alone does not say by what it is played; a playlist or another request has.
            let Some(protocol) = said.protocol.or(said.figures.format.map(protocol)) else { return true };
            if self.sessions >= SESSIONS_MAX || stream.sessions.len() >= SESSIONS_OF_STREAM_MAX {
                return false;
            }
            stream.sessions.insert(said.viewer, Session::new(protocol, now_ms));
            self.sessions += 1;
        }
        let Some(session) = stream.sessions.get_mut(&said.viewer) else { return true };
        // One page that goes from one way of playing to another goes on under its name.
        let changed =
            said.figures.format.map(protocol).filter(|now| *now != session.protocol && said.protocol.is_none());
        session.protocol = changed.unwrap_or(session.protocol);
        let told = session.hear(&said.figures, now_ms);
        let protocol = session.protocol;
        numbers.heard(protocol);
        if told != Told::default() {
            stream.windows.entry(protocol).or_default().add(&told, now_ms);
            numbers.observed(protocol, &observed(&told));
        }
        true
    }

    /// Counts what holds for each session, when it is time for that, and forgets who has gone.
    fn look(&mut self, now_ms: u64, numbers: &PlayerNumbers) {
        let for_ms = now_ms.saturating_sub(self.held_ms);
        if for_ms < HOLDS_EVERY_MS {
            return;
        }
        self.held_ms = now_ms;
        // After a clock that was set, or a machine that slept, nobody has played for that long.
        let for_ms = for_ms.min(2 * HOLDS_EVERY_MS) as u32;
        for stream in self.streams.values_mut() {
            stream.sessions.retain(|_, session| now_ms.saturating_sub(session.heard_ms) <= THERE_FOR_MS);
            for session in stream.sessions.values() {
                let told = session.holds(for_ms);
                stream.windows.entry(session.protocol).or_default().add(&told, now_ms);
                numbers.observed(session.protocol, &observed(&told));
            }
            stream.windows.retain(|_, window| !window.forget(now_ms));
        }
        self.streams.retain(|_, stream| !stream.windows.is_empty() || !stream.sessions.is_empty());
        self.sessions = self.streams.values().map(|stream| stream.sessions.len()).sum();
    }

    /// How a stream plays, by protocol.
    fn quality(&self, id: &Id) -> Vec<Quality> {
        let Some(stream) = self.streams.get(id) else { return Vec::new() };
        let count = |protocol: &str| stream.sessions.values().filter(|session| session.protocol == protocol).count();
        stream.windows.iter().map(|(protocol, window)| window.quality(protocol, count(protocol) as u64)).collect()
    }
}

fn observed(told: &Told) -> Observed {
    Observed {
        start_ms: told.start_ms,
        latency_ms: told.latency_ms,
        bitrate_kbit_s: told.bitrate_kbit_s,
        stalls: told.stalls,
        stalled_ms: told.stalled_ms,
        played_ms: told.played_ms,
    }
}

/// The same for several tasks.
#[derive(Clone, Debug, Default)]
pub(super) struct SharedPlayers(Arc<Mutex<Players>>);

impl SharedPlayers {
    fn lock(&self) -> MutexGuard<'_, Players> {
        // What is there after a panic is a histogram with a report more or less.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// How a stream plays, by protocol.
    pub(super) fn quality(&self, id: &Id) -> Vec<Quality> {
        self.lock().quality(id)
    }
}

/// Fetches reports until it is told to stop (`true`).
pub(super) async fn follow(
    engine: Remote,
    players: SharedPlayers,
    numbers: Arc<millstream_fleet::numbers::Numbers>,
    mut stop: watch::Receiver<bool>,
) {
    let begun = Instant::now();
    let mut tick = ticks::interval(FETCH_EVERY);
    loop {
        tokio::select! {
            _ = tick.tick() => {}
            _ = stop.wait_for(|stop| *stop) => return,
        }
        // Shards that are too busy to answer keep what they have, up to a limit.
        let said = engine.said_by_players(FETCH_WAIT).await;
        let now_ms = begun.elapsed().as_millis() as u64;
        let mut players = players.lock();
        players.hear(&said, now_ms, &numbers.players);
        players.look(now_ms, &numbers.players);
    }
}

#[cfg(test)]
mod tests {
    use millstream_proto::cmcd::parse;

    use super::*;

    fn said(stream: &str, protocol: Option<&'static str>, viewer: u64, text: &str) -> Said {
        Said { stream: Id::new(stream).unwrap(), protocol, viewer, figures: parse(text).unwrap().figures }
    }

    #[test]
    fn sessions_become_histograms_and_are_forgotten() {
        let (mut players, numbers) = (Players::default(), PlayerNumbers::default());
        let cam = Id::new("cam").unwrap();
        players.hear(&[said("cam", None, 9, "ot=v")], 0, &numbers);
        assert!(players.quality(&cam).is_empty(), "by what it plays nobody has said");
        players.hear(
            &[
                said("cam", Some("hls"), 1, "ot=m,su"),
                said("cam", None, 1, "br=2000,bl=1500,ot=v,sf=h"),
                said("cam", None, 2, "sf=o,msd=300,sta=p,ltc=700"),
            ],
            1_000,
            &numbers,
        );
        players.look(10_000, &numbers);
        let quality = players.quality(&cam);
        let seen: Vec<_> = quality
            .iter()
            .map(|one| {
                (
                    one.protocol.as_str(),
                    one.sessions,
                    one.start_ms.sum,
                    one.latency_ms.sum,
                    one.bitrate_kbit_s.sum,
                    one.played_ms,
                )
            })
            .collect();
        assert_eq!(seen, [("hls", 1, 0, 0, 2_000, 10_000), ("http-flv", 1, 300, 700, 0, 10_000)]);
        assert!(players.quality(&Id::new("other").unwrap()).is_empty());
        // It changes to another way of playing under the same name.
        players.hear(&[said("cam", None, 2, "sf=h,sta=p")], 11_000, &numbers);
        assert_eq!(players.quality(&cam)[0].sessions, 2);
        players.look(50_000, &numbers);
        assert_eq!((players.sessions, players.quality(&cam)[0].sessions), (0, 0));
        players.look(600_000, &numbers);
        assert!(players.streams.is_empty());
        let text = numbers.text();
        assert!(
            text.contains("millstream_player_start_seconds_bucket{protocol=\"http-flv\",le=\"0.5\"} 1")
                || text.contains("le=\"0.5\",protocol=\"http-flv\"} 1"),
            "{text}"
        );
    }

    #[test]
    fn one_stream_leaves_room_for_others_and_nothing_grows_beyond_its_limit() {
        let (mut players, numbers) = (Players::default(), PlayerNumbers::default());
        for viewer in 0..SESSIONS_OF_STREAM_MAX as u64 + 10 {
            players.hear(&[said("flood", Some("hls"), viewer, "bl=1")], 0, &numbers);
        }
        assert_eq!((players.sessions, players.streams.len()), (SESSIONS_OF_STREAM_MAX, 1));
        for stream in 0..STREAMS_MAX + 10 {
            players.hear(&[said(&format!("s{stream}"), Some("dash"), 1, "bl=1")], 0, &numbers);
        }
        assert_eq!(players.streams.len(), STREAMS_MAX);
        assert!(numbers.text().contains("millstream_player_reports_left_out_total 21"), "{}", numbers.text());
    }
}
