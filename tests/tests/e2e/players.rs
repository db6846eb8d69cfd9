//! The players that people use, as they come, in headless Chromium: how soon each shows a picture, how many of the pictures, whether it
//! stands still, how far behind the encoder it is, and how often it asks for a playlist.
use std::path::Path;
use std::time::{Duration, Instant, SystemTime};

use millstream_tests::clip::Clip;
use millstream_tests::flv::VIDEO;
use millstream_tests::rtmp::{Publisher, Pushing};
use millstream_tests::server::{Options, Server};
use millstream_tests::tools::Tool;
use millstream_tests::{eventually, millis, seconds};
use serde_json::{Value, json};

use crate::hls_browser::Probe;

/// How long each player is watched.
const WATCH_S: u64 = 20;
/// Players that run at once without one disturbing the measure of another.
const SIDE_BY_SIDE: usize = 4;
/// Threads that sleep a millisecond may wake so late; beyond it the machine was too busy to judge.
const BUSY: Duration = millis(5);

/// What a player must keep to.
#[derive(Debug, Clone, Copy)]
struct Promise {
    player: &'static str,
    /// Behind the encoder, 99% of the pictures; a mode's own promise and two seconds.
    delay: Duration,
}

/// Low-latency HLS: two seconds.
const LOW_LATENCY: Duration = seconds(4);
/// HLS by segments: three target durations, and the segment that is being made.
const SEGMENTS: Duration = seconds(10);
/// DASH: five seconds.
const DASH: Duration = seconds(7);
/// FLV: a second.
const FLV: Duration = seconds(3);

const PLAYERS: [Promise; 12] = [
    Promise { player: "hls.js 1.5", delay: LOW_LATENCY },
    Promise { player: "hls.js 1.6", delay: LOW_LATENCY },
    Promise { player: "hls.js 1.7", delay: LOW_LATENCY },
    Promise { player: "videojs", delay: LOW_LATENCY },
    Promise { player: "shaka ll", delay: LOW_LATENCY },
    Promise { player: "shaka hls", delay: SEGMENTS },
    Promise { player: "shaka dash", delay: DASH },
    Promise { player: "clappr", delay: LOW_LATENCY },
    Promise { player: "dash.js", delay: DASH },
    Promise { player: "mpegts.js", delay: FLV },
    Promise { player: "flv.js", delay: FLV },
    Promise { player: "native", delay: SEGMENTS },
];

/// What was seen of a player.
#[derive(Debug)]
struct Seen {
    player: String,
    start: Option<Duration>,
    /// Share of the pictures that were shown.
    frames: f64,
    stall: Duration,
    delay_p50: Duration,
    delay_p99: Duration,
    /// Requests per second for the playlist that was asked for most often.
    playlists: f64,
}

impl Seen {
    fn read(value: &Value) -> Self {
        let ms = |value: &Value| value.as_f64().map(|ms| Duration::from_secs_f64(ms.max(0.0) / 1e3));
        Self {
            player: value["player"].as_str().expect("a name").to_owned(),
            start: ms(&value["startMs"]),
            frames: value["frames"].as_f64().expect("a share"),
            stall: ms(&value["stallMs"]).unwrap_or(Duration::MAX),
            delay_p50: ms(&value["delayMs"]["p50"]).unwrap_or(Duration::MAX),
            delay_p99: ms(&value["delayMs"]["p99"]).unwrap_or(Duration::MAX),
            playlists: value["playlists"].as_f64().expect("a rate"),
        }
    }

    /// What it does not keep to.
    fn faults(&self) -> Vec<String> {
        // The file is there to compare with.
        let Some(promise) = PLAYERS.iter().find(|promise| promise.player == self.player) else { return Vec::new() };
        let mut faults = Vec::new();
        let mut want = |kept: bool, fault: String| {
            if !kept {
                faults.push(format!("{}: {fault}", self.player));
            }
        };
        want(self.start.is_some_and(|start| start <= seconds(3)), format!("a picture after {:?}", self.start));
        want(self.frames >= 0.95, format!("{:.1}% of the pictures", self.frames * 100.0));
        want(self.stall <= millis(500), format!("stood still for {:?}", self.stall));
        want(self.delay_p99 <= promise.delay, format!("{:?} behind (p99; p50 {:?})", self.delay_p99, self.delay_p50));
        want(self.playlists <= 4.0, format!("{:.1} requests per second for a playlist", self.playlists));
        faults
    }
}

/// An encoder on air.
struct Stage {
    server: Server,
    clip: Clip,
    push: Pushing,
}

impl Stage {
    /// Publishes the clip; returns once it has been on air for some seconds, as streams have that viewers come to.
    fn set(clip: Clip) -> Self {
        let server = Options::open().shards(1).start();
        let push = Publisher::start(server.rtmp, "stream", "cam").expect("published").repeat(clip.clone());
        eventually("eight seconds were sent", seconds(20), || (push.sent().last()?.0.timestamp >= 8_000).then_some(()));
        Self { server, clip, push }
    }

    /// When which picture goes out, as the script wants it.
    fn schedule(&self) -> Value {
        let (first, at) = self.push.sent().into_iter().next().expect("it was sent");
        let began = SystemTime::now() - (Instant::now() - at);
        let epoch_ms = began.duration_since(SystemTime::UNIX_EPOCH).expect("after 1970").as_secs_f64() * 1e3;
        // Pictures are numbered as they are shown, and sent as they are decoded.
        let mut pictures: Vec<(u32, u32)> = self
            .clip
            .frames
            .iter()
            .filter(|tag| tag.kind == VIDEO)
            .map(|tag| {
                let offset = u32::from_be_bytes([0, tag.data[2], tag.data[3], tag.data[4]]);
                (tag.timestamp + offset, tag.timestamp)
            })
            .collect();
        pictures.sort_unstable();
        let sent_ms: Vec<u32> = pictures.iter().map(|(_, sent)| *sent).collect();
        json!({ "epochMs": epoch_ms - f64::from(first.timestamp), "periodMs": self.clip.period, "sentMs": sent_ms })
    }

    /// Lets these play at once, and gives what was seen; once more, where the machine was too busy to judge.
    fn play(&self, players: &[&str]) -> Option<Vec<Seen>> {
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("browser/players.mjs");
        let order = json!({
            "server": format!("http://{}/cam", self.server.http),
            "players": players,
            "seconds": WATCH_S,
            "schedule": self.schedule(),
            "file": self.clip.mp4(),
        });
        for _ in 0..2 {
            let probe = Probe::start();
            let tool = Tool::start("node", &[script.to_str().expect("ASCII"), &order.to_string()]);
            let done = tool.wait(seconds(WATCH_S + 60));
            let late = probe.p99();
            let (figures, text): (Vec<&str>, Vec<&str>) =
                done.stdout.lines().partition(|line| line.starts_with("json "));
            println!("{}\na thread that sleeps a millisecond wakes {late:?} late (p99)", text.join("\n"));
            assert!(done.status.success(), "{}\n{}", done.stdout, done.stderr);
            if late <= BUSY {
                let read = |line: &&str| Seen::read(&serde_json::from_str(&line[5..]).expect("JSON"));
                return Some(figures.iter().map(read).collect());
            }
            println!("void: the machine was too busy");
        }
        None
    }

    /// Lets these play, and fails with all that they do not keep to.
    fn all_keep_their_promise(&self, players: &[&str]) {
        let Some(seen) = self.play(players) else { return };
        let faults: Vec<String> = seen.iter().flat_map(Seen::faults).collect();
        assert!(faults.is_empty(), "{faults:#?}");
        assert!(self.push.alive());
    }
}

/// The whole table. `PLAYERS` (names with commas) and `ENCODER` (`48k` or `b`) of the environment choose from it.
#[test]
#[ignore = "takes eight minutes; tests/run --long has it"]
fn every_player_keeps_its_promise() {
    let chosen = std::env::var("PLAYERS").ok();
    let players: Vec<&str> = match &chosen {
        Some(names) => names.split(',').collect(),
        None => PLAYERS.iter().map(|promise| promise.player).collect(),
    };
    let mut faults = Vec::new();
    for (encoder, clip) in [("48k", Clip::numbered_48k as fn() -> Clip), ("b", Clip::numbered_b_frames)] {
        if std::env::var("ENCODER").is_ok_and(|wanted| wanted != encoder) {
            continue;
        }
        let stage = Stage::set(clip());
        for some in players.chunks(SIDE_BY_SIDE) {
            println!("encoder {encoder}:");
            for seen in stage.play(some).unwrap_or_default() {
                faults.extend(seen.faults().into_iter().map(|fault| format!("{encoder}: {fault}")));
            }
        }
    }
    assert!(faults.is_empty(), "{faults:#?}");
}
