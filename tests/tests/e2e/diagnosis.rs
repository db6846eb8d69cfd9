//! What is wrong with streams, as the API and the console say it: each condition within five seconds of the moment at which it can be known, and none of a
//! stream that is right.
use std::collections::BTreeMap;
use std::path::Path;
use std::time::{Duration, Instant};

use millstream_tests::clip::Clip;
use millstream_tests::control::Client;
use millstream_tests::encoder::{Encoder, Value as Amf, metadata, object};
use millstream_tests::flv::VIDEO;
use millstream_tests::proc;
use millstream_tests::relay::Relay;
use millstream_tests::rtmp::Publisher;
use millstream_tests::server::{Options, Server};
use millstream_tests::throttle::{SlowViewer, Uplink};
use millstream_tests::tools::Tool;
use millstream_tests::{eventually, millis, seconds};
use serde_json::{Value, json};

use crate::hooks::{options, signed_url, upload};

/// From the moment at which a condition can be known.
const TOLD_WITHIN: Duration = seconds(5);
/// A viewer that takes what comes.
const ALL: u64 = 100_000_000;

/// Conditions of a stream that is known.
#[track_caller]
fn conditions(client: &mut Client, stream: &str) -> Vec<Value> {
    known_conditions(client, stream).unwrap_or_else(|| panic!("{stream} is not known"))
}

/// The same; `None`: nothing is known of it yet.
#[track_caller]
fn known_conditions(client: &mut Client, stream: &str) -> Option<Vec<Value>> {
    let answer = client.get(&format!("/api/v1/streams/{stream}/diagnosis"));
    if answer.status == 404 {
        return None;
    }
    Some(answer.is(200).json["conditions"].as_array().expect("a list").clone())
}

fn ids(conditions: &[Value]) -> Vec<&str> {
    conditions.iter().map(|one| one["id"].as_str().expect("an id")).collect()
}

/// Waits until a condition is told; `known` is when it could be. Gives it.
#[track_caller]
fn told(client: &mut Client, stream: &str, id: &str, known: Instant) -> Value {
    let within =
        TOLD_WITHIN.saturating_sub(known.elapsed().min(TOLD_WITHIN)) + known.saturating_duration_since(Instant::now());
    let condition = eventually(&format!("{id} of {stream}"), within, || {
        std::thread::sleep(millis(80));
        known_conditions(client, stream)?.into_iter().find(|one| one["id"] == id)
    });
    let took = Instant::now().saturating_duration_since(known);
    println!("{id} after {took:?}: {}", condition["sentence"]);
    assert!(took <= TOLD_WITHIN, "{id} took {took:?}");
    for field in ["sentence", "advice", "severity"] {
        assert!(condition[field].as_str().is_some_and(|text| !text.is_empty()), "{condition}");
    }
    condition
}

/// Waits until it is over.
#[track_caller]
fn over(client: &mut Client, stream: &str, id: &str, within: Duration) {
    eventually(&format!("{id} of {stream} is over"), within, || {
        std::thread::sleep(millis(80));
        (!ids(&conditions(client, stream)).contains(&id)).then_some(())
    });
}

/// A picture of 320x180 at 25 per second and a tone in real time; `options` say the rest.
fn push(server: &Server, stream: &str, options: &str) -> Tool {
    #[rustfmt::skip]
    let mut args = vec![
        "-hide_banner", "-nostdin", "-loglevel", "info", "-nostats", "-re", "-f", "lavfi", "-i", "testsrc2=size=320x180:rate=25",
        "-re", "-f", "lavfi", "-i", "sine=frequency=440:sample_rate=44100", "-t", "120",
        "-c:v", "libx264", "-preset", "ultrafast", "-pix_fmt", "yuv420p", "-b:v", "300k", "-threads", "1", "-c:a", "aac",
    ];
    // Each word is an argument of its own; nothing here comes from outside.
    args.extend(options.split_whitespace());
    let url = format!("rtmp://{}/stream/{stream}", server.rtmp);
    args.extend(["-flvflags", "no_duration_filesize", "-f", "flv", &url]);
    Tool::start("ffmpeg", &args)
}

fn on_air(client: &mut Client, stream: &str) -> Instant {
    eventually("on air", seconds(20), || {
        let session = client.get(&format!("/api/v1/streams/{stream}/session"));
        (session.json["publisher"]["video"]["frames"].as_u64().unwrap_or(0) > 0).then_some(())
    });
    Instant::now()
}

#[test]
fn a_clean_stream_has_no_condition() {
    let server = Options::open().start();
    let mut client = Client::admin(&server);
    let _push = push(&server, "cam", "-tune zerolatency -g 50");
    on_air(&mut client, "cam");
    let _viewers: Vec<_> = (0..3).map(|_| SlowViewer::start(server.http, "/cam/live.flv", ALL)).collect();
    let until = Instant::now() + seconds(20);
    while Instant::now() < until {
        let found = conditions(&mut client, "cam");
        assert!(found.is_empty(), "{found:?}");
        std::thread::sleep(millis(200));
    }
    let session = client.get("/api/v1/streams/cam/session").is(200);
    let publisher = &session.json["publisher"];
    assert!((1_000..3_000).contains(&publisher["video"]["gop_ms"].as_u64().expect("measured")), "{publisher}");
    assert!(publisher["audio_ahead_ms"].as_i64().is_some_and(|ms| ms.abs() < 400), "{publisher}");
    assert_eq!((&publisher["announces_audio"], &session.json["conditions"]), (&json!(true), &json!([])));
    // A stream that nobody knows is no stream that is right.
    client.get("/api/v1/streams/unheard-of/diagnosis").is(404);
}

#[test]
fn long_gops_and_b_frames() {
    let server = Options::open().start();
    let mut client = Client::admin(&server);
    let _push = push(&server, "cam", "-g 500 -keyint_min 500 -sc_threshold 0 -bf 2 -b_strategy 0");
    let began = on_air(&mut client, "cam");
    std::thread::sleep(seconds(2));
    assert!(conditions(&mut client, "cam").is_empty(), "nobody waits for its B-frames, and its GOP is short yet");
    let viewer = SlowViewer::start(server.http, "/cam/live.flv", ALL);
    let b_frames = told(&mut client, "cam", "b_frames", Instant::now());
    assert_eq!(b_frames["severity"], "notice");
    assert!(b_frames["figures"]["b_frames_percent"].as_f64().is_some_and(|percent| percent > 50.0), "{b_frames}");
    // It is long once it is longer than five seconds.
    let gop = told(&mut client, "cam", "gop_too_long", began + seconds(5));
    assert!(gop["figures"]["gop_s"].as_f64().is_some_and(|s| (5.0..12.0).contains(&s)), "{gop}");
    // The same where many streams are listed.
    let live = client.get("/api/v1/live").is(200);
    let marks = live.json["items"][0]["conditions"].as_array().expect("marks").clone();
    assert_eq!(ids(&marks), ["gop_too_long", "b_frames"], "the gravest first");
    // Those who played with low latency have gone.
    drop(viewer);
    over(&mut client, "cam", "b_frames", seconds(20));
    assert_eq!(ids(&conditions(&mut client, "cam")), ["gop_too_long"]);
}

#[test]
fn audio_that_is_missing_or_stops() {
    let server = Options::open().start();
    let mut client = Client::admin(&server);
    let mut encoder = Encoder::connect(server.rtmp, []).expect("connected");
    encoder.publish("announced").expect("published");
    let announced = [("videocodecid", Amf::Number(7.0)), ("audiocodecid", Amf::Number(10.0))];
    encoder.message(18, 1, 0, metadata(object(announced))).expect("sent");
    let mut clip = Clip::small();
    clip.configuration.retain(|tag| tag.kind == VIDEO);
    clip.frames.retain(|tag| tag.kind == VIDEO);
    let began = Instant::now();
    let _pushing = encoder.repeat(clip);
    // Three seconds are what encoders may need to begin with it.
    let missing = told(&mut client, "announced", "audio", began + seconds(3));
    assert_eq!(missing["form"], "missing");

    let _push = push(&server, "stops", "-tune zerolatency -g 50 -af atrim=end=6 -max_interleave_delta 1");
    let began = on_air(&mut client, "stops");
    let stopped = told(&mut client, "stops", "audio", began + seconds(6 + 3));
    assert_eq!(stopped["form"], "stopped");
    let pause = began.elapsed();
    assert!(pause > seconds(7), "it was told after {pause:?}, when there was audio");
}

#[test]
fn stamps_that_jump() {
    let server = Options::open().start();
    let mut client = Client::admin(&server);
    let jump = "setpts=PTS+gte(T\\,8)*15/TB";
    let filters = format!("-vf {jump} -af a{jump} -vsync passthrough");
    let _push = push(&server, "cam", &format!("-tune zerolatency -g 50 {filters}"));
    let began = on_air(&mut client, "cam");
    std::thread::sleep(seconds(5));
    assert!(conditions(&mut client, "cam").is_empty());
    told(&mut client, "cam", "timestamps_jump", began + seconds(8));
    assert_eq!(ids(&conditions(&mut client, "cam")), ["timestamps_jump"], "and nothing else");
}

#[test]
fn an_uplink_that_starves_and_recovers() {
    let server = Options::open().start();
    let mut client = Client::admin(&server);
    let uplink = Uplink::start(server.rtmp);
    let file = Clip::busy().file.expect("encoded");
    let url = format!("rtmp://{}/stream/cam", uplink.address);
    let file = file.to_str().expect("ASCII");
    #[rustfmt::skip]
    let _push = Tool::start("ffmpeg", &[
        "-hide_banner", "-nostdin", "-loglevel", "info", "-nostats", "-re", "-stream_loop", "-1", "-i", file, "-t", "120",
        "-c", "copy", "-flvflags", "no_duration_filesize", "-f", "flv", &url,
    ]);
    on_air(&mut client, "cam");
    std::thread::sleep(seconds(5));
    assert!(conditions(&mut client, "cam").is_empty());
    // Of 2.5 Mbit/s half passes.
    uplink.limit(160_000);
    let starves = told(&mut client, "cam", "uplink_starves", Instant::now());
    assert_eq!(starves["severity"], "error");
    std::thread::sleep(seconds(5));
    uplink.limit(10_000_000);
    over(&mut client, "cam", "uplink_starves", seconds(20));
}

#[test]
fn an_encoder_that_reconnects_and_one_that_is_replaced() {
    let server = Options::open().config("[stream_defaults]\ntakeover = \"replace\"\n").start();
    let mut client = Client::admin(&server);
    let mut first = push(&server, "cam", "-tune zerolatency -g 50");
    on_air(&mut client, "cam");
    std::thread::sleep(seconds(3));
    assert!(conditions(&mut client, "cam").is_empty());
    first.kill();
    std::thread::sleep(seconds(1));
    let clip = Clip::small();
    let back = Publisher::start(server.rtmp, "stream", "cam").expect("published").repeat(clip.clone());
    told(&mut client, "cam", "encoder_reconnects", Instant::now());
    // From another address, while the one before is heard.
    let elsewhere = Relay::start(server.rtmp, 77, millis(1));
    let other = Publisher::start(elsewhere.address, "stream", "cam").expect("it takes the place").repeat(clip);
    let replaced = told(&mut client, "cam", "publisher_replaced", Instant::now());
    assert_eq!((&replaced["about"], &replaced["why"]), (&json!("127.0.77.1"), &json!("127.0.0.1")));
    drop((other, back));
}

#[test]
fn a_hook_that_turns_away_or_traps() {
    let server = options().start();
    let mut client = Client::admin(&server);
    for hook in ["gate", "broken"] {
        client.request("PUT", &format!("/api/v1/hooks/{hook}"), "", Some(&json!({ "kind": "auth" }))).is(201);
    }
    let traps = std::fs::read(Path::new(env!("CARGO_MANIFEST_DIR")).join("modules/traps.wasm")).expect("built");
    assert_eq!(upload(&server, &client, "gate", &signed_url()).0, 201);
    assert_eq!(upload(&server, &client, "broken", &traps).0, 201);
    let on = |hook: &str, point: &str, stream: &str, secrets: Value| json!({ "hook": hook, "point": point, "mode": "live", "version": 1, "stream": stream, "secrets": secrets });
    client.post("/api/v1/streams", &json!({ "id": "gated" })).is(201);
    client.post("/api/v1/streams", &json!({ "id": "watched" })).is(201);
    client.post("/api/v1/hook-bindings", &on("gate", "publish", "gated", json!(["key"]))).is(201);
    client.post("/api/v1/hook-bindings", &on("broken", "play", "watched", json!([]))).is(201);
    let _push = push(&server, "watched", "-tune zerolatency -g 50");
    on_air(&mut client, "watched");
    eventually("the hook decides", seconds(15), || {
        let refused = Publisher::start(server.rtmp, "stream", "gated").err()?;
        conditions(&mut client, "gated").iter().any(|one| one["form"] == "denies_publish").then_some(refused)
    });
    // A stream that nobody publishes is told of, too.
    let denies = told(&mut client, "gated", "hook", Instant::now());
    assert_eq!((&denies["about"], &denies["severity"]), (&json!("gate"), &json!("warning")));
    let answer = client.get("/api/v1/streams/gated/diagnosis").is(200);
    assert_eq!(answer.json["on_air"], json!(false));

    assert!(conditions(&mut client, "watched").is_empty());
    let _viewer = SlowViewer::start(server.http, "/watched/live.flv", ALL);
    let fails = told(&mut client, "watched", "hook", Instant::now());
    assert_eq!((&fails["about"], &fails["form"]), (&json!("broken"), &json!("fails")));
}

#[test]
fn viewers_that_cannot_receive_as_much() {
    let server = Options::open().start();
    let mut client = Client::admin(&server);
    let _pushing = Publisher::start(server.rtmp, "stream", "cam").expect("published").repeat(Clip::busy());
    on_air(&mut client, "cam");
    // Of 2.5 Mbit/s a third.
    let _slow: Vec<_> = (0..3).map(|_| SlowViewer::start(server.http, "/cam/live.flv", 100_000)).collect();
    let _quick = SlowViewer::start(server.http, "/cam/live.flv", ALL);
    // What the kernel keeps for them hides it for a while: it can be known once it takes less for them than there is.
    let taken = eventually("the kernel takes less for most viewers", seconds(45), || {
        let before = sent_bytes(&mut client, "cam");
        std::thread::sleep(seconds(3));
        let after = sent_bytes(&mut client, "cam");
        let mut taken: Vec<u64> =
            after.iter().filter_map(|(session, bytes)| bytes.checked_sub(*before.get(session)?)).collect();
        taken.sort_unstable();
        // Of the quick one, which has all that there is; of the others, half of it.
        (taken.len() == 4 && taken[2] < taken[3] / 2).then_some(taken)
    });
    println!("taken in three seconds, bytes: {taken:?}");
    let known = Instant::now();
    told(&mut client, "cam", "bitrate_above_viewers", known);
    // They lag once they are 2.5 s behind, and each second less than half a second of the stream is taken for them.
    told(&mut client, "cam", "viewers_lag", known + seconds(5));
}

/// What the kernel took for each viewer, by session.
fn sent_bytes(client: &mut Client, stream: &str) -> BTreeMap<u64, u64> {
    let viewers = client.get(&format!("/api/v1/streams/{stream}/viewers")).is(200).json;
    let number = |one: &Value, field: &str| one[field].as_u64().expect("a number");
    let items = viewers["items"].as_array().expect("a list");
    items.iter().map(|one| (number(one, "session"), number(one, "sent_bytes"))).collect()
}

/// The console says the same, in both languages, on the page of the stream and in the list. Screenshots stay below the temporary directory.
#[test]
fn the_console_says_why() {
    let server = Options::open().start();
    let _push = push(&server, "cam", "-tune zerolatency -g 500 -keyint_min 500 -sc_threshold 0");
    on_air(&mut Client::admin(&server), "cam");
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("browser/diagnosis.mjs");
    let pictures = std::env::temp_dir().join("millstream-diagnosis-pictures");
    std::fs::create_dir_all(&pictures).expect("a directory for screenshots");
    let token = std::fs::read_to_string(server.data_dir().join("admin-token")).expect("made at the first start");
    let url = format!("http://{}/", server.control);
    let path = |path: &Path| path.to_str().expect("ASCII").to_owned();
    let done = Tool::start("node", &[&path(&script), &url, token.trim(), &path(&pictures)]).wait(seconds(90));
    println!("{}\nscreenshots: {}", done.stdout, pictures.display());
    assert!(done.status.success(), "{}\n{}", done.stdout, done.stderr);
}

/// A worker that gets a sixtieth of the time that it has to have.
struct Throttled {
    stop: std::sync::Arc<std::sync::atomic::AtomicBool>,
    thread: Option<std::thread::JoinHandle<()>>,
}

impl Throttled {
    fn start(pid: u32) -> Self {
        let stop = std::sync::Arc::new(std::sync::atomic::AtomicBool::new(false));
        let told = std::sync::Arc::clone(&stop);
        let thread = std::thread::spawn(move || {
            while !told.load(std::sync::atomic::Ordering::Relaxed) {
                proc::stop(pid);
                std::thread::sleep(millis(590));
                proc::go_on(pid);
                std::thread::sleep(millis(10));
            }
        });
        Self { stop, thread: Some(thread) }
    }
}

impl Drop for Throttled {
    fn drop(&mut self) {
        self.stop.store(true, std::sync::atomic::Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

#[test]
fn a_worker_that_the_machine_is_too_slow_for() {
    let server = Options::open().start();
    let mut client = Client::admin(&server);
    let settings = json!({ "isCodec": true, "ld": true });
    client.post("/api/v1/streams", &json!({ "id": "cam", "settings": settings })).is(201);
    let _push = Publisher::start(server.rtmp, "stream", "cam").expect("published").repeat(Clip::busy());
    // Somebody watches a rendition, and asks for it as players do.
    let (http, watching) = (server.http, std::sync::Arc::new(()));
    let watched = std::sync::Arc::downgrade(&watching);
    let viewer = std::thread::spawn(move || {
        while watched.strong_count() > 0 {
            let _ = millstream_tests::http::get(http, "/cam/360p/video.m3u8");
            std::thread::sleep(millis(500));
        }
    });
    let pid = eventually("a worker", seconds(20), || {
        let is_worker = |pid: &u32| millstream_tests::proc::command(*pid).contains("worker");
        millstream_tests::proc::children(server.pid()).into_iter().find(is_worker)
    });
    eventually("the rendition is made", seconds(30), || {
        (millstream_tests::http::get(server.http, "/cam/360p/video.m3u8").status == 200).then_some(())
    });
    let throttled = Throttled::start(pid);
    eventually("the rendition is given up", seconds(60), || {
        std::thread::sleep(millis(50));
        let session = client.get("/api/v1/streams/cam/session").is(200).json;
        (session["renditions"][0]["reason"] == "too_slow").then_some(())
    });
    let condition = told(&mut client, "cam", "worker_sheds", Instant::now());
    assert!(condition["sentence"].as_str().is_some_and(|text| text.contains("360p")), "{condition}");
    drop(throttled);
    drop(watching);
    viewer.join().expect("it ends");
}

/// A stream of 40 Mbit/s that costs nothing to make: pictures with filler behind them.
fn heavy() -> Clip {
    const FILLER_BYTES: u32 = 160_000;
    let mut clip = Clip::small();
    let mut filler = FILLER_BYTES.to_be_bytes().to_vec();
    filler.push(0x0C);
    filler.resize(4 + FILLER_BYTES as usize, 0xFF);
    for frame in clip.frames.iter_mut().filter(|frame| frame.kind == VIDEO) {
        frame.data.extend_from_slice(&filler);
    }
    clip
}

#[test]
fn a_recording_that_pauses() {
    // A store that cannot be reached, and the least that the spool may hold.
    let config = "[record]\nstore = \"s3://recordings/live?endpoint=http://127.0.0.1:9&region=us-east-1\"\nspool_max = \"64MiB\"\n";
    let options = Options::open().config(config).env("AWS_ACCESS_KEY_ID", "nobody");
    let server = options.env("AWS_SECRET_ACCESS_KEY", "nothing").start();
    let mut client = Client::admin(&server);
    client.post("/api/v1/streams", &json!({ "id": "cam", "settings": { "isOnDemand": true } })).is(201);
    let _push = Publisher::start(server.rtmp, "stream", "cam").expect("published").repeat(heavy());
    eventually("the recording pauses", seconds(90), || {
        std::thread::sleep(millis(50));
        let recordings = client.get("/api/v1/recordings?stream=cam").is(200).json;
        (recordings["items"][0]["state"] == "paused").then_some(())
    });
    let condition = told(&mut client, "cam", "recording_paused", Instant::now());
    assert!(condition["sentence"].as_str().is_some_and(|text| text.contains("spool")), "{condition}");
}
