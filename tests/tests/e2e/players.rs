//! The players that people use, as they come, in headless Chromium: how soon each shows a picture, how many of the frames, whether it
//! stands still, how far behind the encoder it is, and how often it asks for a playlist.
use std::path::Path;
use std::time::{Duration, SystemTime};

use millstream_tests::clip::Clip;
use millstream_tests::flv::VIDEO;
use millstream_tests::http::Viewer;
use millstream_tests::machine::Probe;
use millstream_tests::rtmp::{Publisher, Pushing};
use millstream_tests::server::{Options, Server};
use millstream_tests::tools::Tool;
use millstream_tests::{eventually, millis, seconds};
use serde_json::{Value, json};

const CHROMIUM: &str = "chromium";
const FIREFOX: &str = "firefox";

/// How long each player is watched.
const WATCH_S: u64 = 20;
/// The same where several start at once: what they lose they lose in the first seconds, or with each segment.
const WATCH_MANY_S: u64 = 12;
/// Players that run at once without one disturbing the measure of another.
const SIDE_BY_SIDE: usize = 4;
/// What the viewer sees at least.
#[derive(Debug, Clone, Copy)]
struct Limits {
    /// A picture is there so soon.
    start: Duration,
    /// Share of the frames that are shown.
    frames: f64,
    /// It stands still no longer than this.
    stall: Duration,
    /// It stands still for a tenth of a second no more often than this.
    stalls: u64,
}

const LIMITS: Limits = Limits { start: seconds(3), frames: 0.95, stall: millis(500), stalls: u64::MAX };
/// Where several start at once on two cores that also decode what they show: the tables, which `--long` has, ask for more.
const MANY_AT_ONCE: Limits = Limits { start: seconds(6), frames: 0.9, stall: seconds(1), stalls: u64::MAX };
/// hls.js 1.5 may stand still once, for up to two seconds, soon after its start; one that freezes with each segment does so six times.
const NO_FREEZES: Limits = Limits { start: seconds(6), frames: 0.85, stall: seconds(2), stalls: 2 };
/// The picture may be so many round trips later where the server is away: a page, three playlists, headers and parts, on connections that are to
/// be made.
const START_ROUND_TRIPS: u32 = 10;
/// A stream has been on air so long before viewers come.
const ON_AIR: Duration = seconds(6);

/// What a player must keep to.
#[derive(Debug, Clone, Copy)]
struct Promise {
    player: &'static str,
    /// Behind the encoder, 99% of the frames; a mode's own promise and two seconds.
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
    /// Share of the frames that were shown.
    frames: f64,
    stall: Duration,
    stalls: u64,
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
            stalls: value["stalls"].as_u64().unwrap_or_default(),
            delay_p50: ms(&value["delayMs"]["p50"]).unwrap_or(Duration::MAX),
            delay_p99: ms(&value["delayMs"]["p99"]).unwrap_or(Duration::MAX),
            playlists: value["playlists"].as_f64().expect("a rate"),
        }
    }

    /// It played at all: what can be asked where times mean nothing.
    fn fault_on_a_busy_machine(&self) -> Option<String> {
        let played = self.start.is_some() && self.frames >= 0.25;
        (!played).then(|| {
            format!("{}: {:.1}% of the pictures, the first after {:?}", self.player, self.frames * 100.0, self.start)
        })
    }

    /// What it does not keep to.
    fn faults(&self, limits: Limits) -> Vec<String> {
        // The file is there to compare with.
        let Some(promise) = PLAYERS.iter().find(|promise| promise.player == self.player) else { return Vec::new() };
        let mut faults = Vec::new();
        let mut want = |kept: bool, fault: String| {
            if !kept {
                faults.push(format!("{}: {fault}", self.player));
            }
        };
        want(self.start.is_some_and(|start| start <= limits.start), format!("a picture after {:?}", self.start));
        want(self.frames >= limits.frames, format!("{:.1}% of the pictures", self.frames * 100.0));
        want(self.stall <= limits.stall, format!("stood still for {:?}", self.stall));
        want(self.stalls <= limits.stalls, format!("stood still {} times", self.stalls));
        want(self.delay_p99 <= promise.delay, format!("{:?} behind (p99; p50 {:?})", self.delay_p99, self.delay_p50));
        want(self.playlists <= 4.0, format!("{:.1} requests per second for a playlist", self.playlists));
        faults
    }
}

/// An encoder.
#[derive(Debug)]
enum Encoder {
    /// The test's own, which sends each frame when its stamp says.
    Exact(Pushing),
    /// ffmpeg, which reads a file as fast as it plays.
    Ffmpeg(Tool),
}

/// An encoder on air.
struct Stage {
    server: Server,
    clip: Clip,
    encoder: Encoder,
    /// When the first picture was sent.
    began: SystemTime,
    /// How far away the players are, there and back.
    away: Duration,
    limits: Limits,
    watch_s: u64,
}

impl Stage {
    /// Publishes the clip; returns once it has been on air for some seconds, as streams have that viewers come to.
    fn exact(clip: Clip) -> Self {
        let server = Options::open().shards(1).start();
        let push = Publisher::start(server.rtmp, "stream", "cam").expect("published").repeat(clip.clone());
        let (first, at) = eventually("a frame was sent", seconds(5), || push.sent().into_iter().next());
        let began = SystemTime::now() - at.elapsed() - millis(u64::from(first.timestamp));
        Self {
            server,
            clip,
            encoder: Encoder::Exact(push),
            began,
            away: Duration::ZERO,
            limits: LIMITS,
            watch_s: WATCH_S,
        }
        .warm()
    }

    /// Lets ffmpeg publish the clip's file.
    fn ffmpeg(clip: Clip) -> Self {
        let server = Options::open().shards(1).start();
        let (file, url) = (clip.file.clone().expect("a clip that was encoded"), server.push_url("cam"));
        let file = file.to_str().expect("ASCII");
        #[rustfmt::skip]
        let tool = Tool::start("ffmpeg", &[
            "-hide_banner", "-nostdin", "-loglevel", "error", "-re", "-stream_loop", "-1", "-i", file, "-c", "copy", "-f", "flv", &url,
        ]);
        // It has frames of the same numbers at the same times as the clip, and says by its first frames when it began.
        let mut viewer = Viewer::watch(server.http, "cam");
        let mut began = SystemTime::now();
        for _ in 0..100 {
            let tag = viewer.next_tag(seconds(5)).expect("a frame");
            if tag.is_frame() {
                began = began.min(SystemTime::now() - millis(u64::from(tag.timestamp)));
            }
        }
        Self {
            server,
            clip,
            encoder: Encoder::Ffmpeg(tool),
            began,
            away: Duration::ZERO,
            limits: LIMITS,
            watch_s: WATCH_S,
        }
        .warm()
    }

    fn warm(self) -> Self {
        let on_air = SystemTime::now().duration_since(self.began).unwrap_or_default();
        std::thread::sleep(ON_AIR.saturating_sub(on_air));
        self
    }

    /// The players are so far away, there and back.
    fn at_distance(self, away: Duration) -> Self {
        let start = self.limits.start + away * START_ROUND_TRIPS;
        Self { away, limits: Limits { start, ..self.limits }, ..self }
    }

    fn alive(&mut self) -> bool {
        match &mut self.encoder {
            Encoder::Exact(push) => push.alive(),
            Encoder::Ffmpeg(tool) => tool.running(),
        }
    }

    /// When which picture goes out, as the script wants it.
    fn schedule(&self) -> Value {
        let epoch_ms = self.began.duration_since(SystemTime::UNIX_EPOCH).expect("after 1970").as_secs_f64() * 1e3;
        // Frames are numbered as they are shown, and sent as they are decoded.
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
        json!({ "epochMs": epoch_ms, "periodMs": self.clip.period, "sentMs": sent_ms })
    }

    /// Lets these play at once, once more where the machine was too busy to judge, and gives all that they do not keep to.
    fn play(&self, browser: &str, players: &[&str]) -> Vec<String> {
        for name in players {
            // The file is there to compare with.
            let known = *name == "file" || PLAYERS.iter().any(|promise| promise.player == *name);
            assert!(known, "there is no player {name:?} in the table");
        }
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("browser/players.mjs");
        let order = json!({
            "server": format!("http://{}/cam", self.server.http),
            "browser": browser,
            "players": players,
            "seconds": self.watch_s,
            "schedule": self.schedule(),
            "file": self.clip.mp4(),
            "latencyMs": self.away.as_millis(),
        });
        let mut tries = 0;
        loop {
            tries += 1;
            let probe = Probe::start();
            let tool = Tool::start("node", &[script.to_str().expect("ASCII"), &order.to_string()]);
            let done = tool.wait(seconds(self.watch_s + 60));
            let load = probe.stop();
            let (figures, text): (Vec<&str>, Vec<&str>) =
                done.stdout.lines().partition(|line| line.starts_with("json "));
            println!("{}\n{load}", text.join("\n"));
            assert!(done.status.success(), "{}\n{}", done.stdout, done.stderr);
            let read = |line: &&str| Seen::read(&serde_json::from_str(&line[5..]).expect("JSON"));
            let seen: Vec<Seen> = figures.iter().map(read).collect();
            assert_eq!(seen.len(), players.len(), "{}", text.join("\n"));
            if !load.too_busy() {
                return seen.iter().flat_map(|seen| seen.faults(self.limits)).collect();
            }
            if tries == 2 {
                return seen.iter().filter_map(Seen::fault_on_a_busy_machine).collect();
            }
        }
    }

    /// Lets these play, and fails with all that they do not keep to where several start at once.
    fn all_keep_their_promise(mut self, players: &[&str]) {
        if players.len() > 1 {
            self.limits = MANY_AT_ONCE;
        }
        let faults = self.play(CHROMIUM, players);
        assert!(faults.is_empty(), "{faults:#?}");
        assert!(self.alive(), "{:?}", self.encoder);
    }
}

#[test]
fn case_31_and_case_32_video_js_and_shaka_play_what_ffmpeg_sends() {
    let stage = Stage { watch_s: WATCH_MANY_S, ..Stage::ffmpeg(Clip::numbered_48k()) };
    stage.all_keep_their_promise(&["videojs", "shaka hls"]);
}

#[test]
#[ignore = "slow: the same stream in two players more"]
fn case_32_shaka_by_dash_and_the_browser_itself_play_what_ffmpeg_sends() {
    let stage = Stage { watch_s: WATCH_MANY_S, ..Stage::ffmpeg(Clip::numbered_48k()) };
    stage.all_keep_their_promise(&["shaka dash", "native"]);
}

/// Eight come at whatever place of a segment. It lost five of six parts for two segments and more where each of its playlists brought one new part,
/// in about three starts of eight.
fn video_js_plays_whenever_it_comes(stage: Stage, away: Duration) {
    let stage = Stage { limits: MANY_AT_ONCE, ..stage }.at_distance(away);
    every_player(stage, CHROMIUM, SIDE_BY_SIDE, &["videojs"; 8]);
}

#[test]
#[ignore = "takes a minute; tests/run --long has it"]
fn case_31_video_js_plays_whenever_it_comes() {
    video_js_plays_whenever_it_comes(Stage::exact(Clip::numbered_48k()), Duration::ZERO);
}

/// Behind a network it begins by the playlist of the video alone, within a segment.
#[test]
#[ignore = "takes a minute; tests/run --long has it"]
fn case_31_video_js_plays_from_afar_whenever_it_comes() {
    video_js_plays_whenever_it_comes(Stage::exact(Clip::numbered_b_frames()), millis(50));
}

/// Shaka's low-latency mode, which is its default: it takes frames up to the next keyframe away where it puts parts elsewhere than before.
#[test]
fn case_32_shaka_plays_low_latency_from_the_start_of_a_stream() {
    let stage = Stage { watch_s: WATCH_MANY_S, ..Stage::exact(Clip::numbered_48k()) };
    stage.all_keep_their_promise(&["shaka ll"]);
}

/// The window of the playlist begins later than the stream: times of Shaka's are not those of the files.
#[test]
#[ignore = "takes a minute; tests/run --long has it"]
fn case_32_shaka_plays_low_latency_of_a_stream_that_has_been_on_air_for_long() {
    let stage = Stage::exact(Clip::numbered_b_frames());
    std::thread::sleep(seconds(20));
    stage.all_keep_their_promise(&["shaka ll", "shaka hls"]);
}

/// Segments begin between keyframes, which makes a part that comes twice a loss.
#[test]
#[ignore = "takes most of a minute; tests/run --long has it"]
fn case_32_shaka_plays_low_latency_where_keyframes_are_eight_seconds_apart() {
    Stage::exact(Clip::numbered_long_gop()).all_keep_their_promise(&["shaka ll"]);
}

fn do_not_freeze(players: &[&str]) {
    let stage = Stage { limits: NO_FREEZES, watch_s: WATCH_MANY_S, ..Stage::exact(Clip::numbered_b_frames()) };
    every_player(stage, CHROMIUM, 2, players);
}

#[test]
fn case_33_hls_js_and_clappr_do_not_freeze_at_44_khz() {
    do_not_freeze(&["hls.js 1.5", "clappr"]);
}

#[test]
#[ignore = "slow: the same stream in three players more"]
fn case_33_hls_js_1_6_and_1_7_and_dash_js_do_not_freeze_at_44_khz() {
    do_not_freeze(&["hls.js 1.6", "dash.js", "hls.js 1.7"]);
}

#[test]
fn case_34_hls_js_goes_on_where_a_file_begins_again() {
    // The file ends after eleven seconds.
    let stage = Stage { watch_s: WATCH_MANY_S, ..Stage::exact(Clip::numbered_with_seam()) };
    stage.all_keep_their_promise(&["hls.js 1.5", "hls.js 1.6", "hls.js 1.7"]);
}

/// Not among the quick ones: where all of the machine is busy, it stands still for seconds.
#[test]
#[ignore = "takes most of a minute; tests/run --long has it"]
fn case_34_and_case_32_shaka_goes_on_where_a_file_begins_again() {
    Stage::exact(Clip::numbered_with_seam()).all_keep_their_promise(&["shaka ll"]);
}

/// The table with one encoder, one player at a time: what several lack where they decode and draw on two cores says nothing about the server. The
/// environment may choose from it, `PLAYERS` (names with commas), and put the server away, `PLAYERS_LATENCY_MS`.
fn whole_table(stage: Stage, browser: &str) {
    let chosen = std::env::var("PLAYERS").ok();
    let away = std::env::var("PLAYERS_LATENCY_MS").map_or(0, |ms| ms.parse().expect("milliseconds"));
    let players: Vec<&str> = match &chosen {
        Some(names) => names.split(',').collect(),
        None => PLAYERS
            .iter()
            .map(|promise| promise.player)
            .filter(|name| browser == CHROMIUM || *name != "native")
            .collect(),
    };
    every_player(stage.at_distance(millis(away)), browser, 1, &players);
}

/// Lets all of these play, some at once, and fails with all that they do not keep to.
fn every_player(mut stage: Stage, browser: &str, side_by_side: usize, players: &[&str]) {
    let mut faults = Vec::new();
    for some in players.chunks(side_by_side) {
        faults.extend(stage.play(browser, some));
    }
    assert!(faults.is_empty(), "{faults:#?}");
    assert!(stage.alive(), "{:?}", stage.encoder);
}

#[test]
#[ignore = "takes six minutes; tests/run --long has it"]
fn every_player_plays_48_khz() {
    whole_table(Stage::exact(Clip::numbered_48k()), CHROMIUM);
}

#[test]
#[ignore = "takes six minutes; tests/run --long has it"]
fn every_player_plays_44_khz_and_b_frames() {
    whole_table(Stage::exact(Clip::numbered_b_frames()), CHROMIUM);
}

#[test]
#[ignore = "takes six minutes; tests/run --long has it"]
fn every_player_plays_what_ffmpeg_sends() {
    whole_table(Stage::ffmpeg(Clip::numbered_48k()), CHROMIUM);
}

#[test]
#[ignore = "takes six minutes; tests/run --long has it"]
fn every_player_plays_a_file_that_begins_again() {
    whole_table(Stage::exact(Clip::numbered_with_seam()), CHROMIUM);
}

#[test]
#[ignore = "takes six minutes; tests/run --long has it"]
fn every_player_plays_in_firefox() {
    whole_table(Stage::exact(Clip::numbered_48k()), FIREFOX);
}
