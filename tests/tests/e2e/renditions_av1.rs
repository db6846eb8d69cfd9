//! Renditions in AV1: every output has them, players show them, and what this machine cannot make in time is refused in words.
use std::path::Path;
use std::time::Instant;

use millstream_tests::clip::Clip;
use millstream_tests::control::Client;
use millstream_tests::hls::multivariant::Multivariant;
use millstream_tests::http::get;
use millstream_tests::machine::Probe;
use millstream_tests::rtmp::Publisher;
use millstream_tests::server::{Options, Server};
use millstream_tests::tools::{Tool, ffmpeg_decodes_but, ffprobe, ffprobe_by, newer};
use millstream_tests::{eventually, seconds};
use serde_json::{Value, json};

const FILES: [&str; 3] = ["live.m3u8", "manifest.mpd", "live.flv"];
const CONFIG: &str = "[stream_defaults]\non_unpublish = \"end\"\n[transcode]\nencoder = \"rav1e\"\n";

fn start() -> (Server, Client) {
    let server = Options::open().shards(2).config(CONFIG).start();
    let mut client = Client::admin(&server);
    let settings = json!({ "isCodec": true, "ld": true });
    client.post("/api/v1/streams", &json!({ "id": "cam", "settings": settings })).is(201);
    (server, client)
}

fn text(server: &Server, path: &str) -> String {
    let answer = get(server.http, path);
    let text = String::from_utf8_lossy(&answer.body).into_owned();
    assert_eq!(answer.status, 200, "{path}: {text}");
    text
}

fn rendition(client: &mut Client, name: &str) -> Value {
    let session = client.get("/api/v1/streams/cam/session").json;
    let all = session["renditions"].as_array().cloned().unwrap_or_default();
    all.into_iter().find(|rendition| rendition["name"] == name).unwrap_or_else(|| panic!("{session}"))
}

/// The rendition's own playlist once it is made.
fn made(server: &Server) -> String {
    eventually("the rendition is there", seconds(30), || {
        let answer = get(server.http, "/cam/360p/live.m3u8");
        (answer.status == 200).then(|| String::from_utf8_lossy(&answer.body).into_owned())
    })
}

/// Times of the pictures of a file, milliseconds.
fn pictures(path: &Path) -> Vec<i64> {
    let of = ["-v", "error", "-select_streams", "v", "-show_entries", "packet=pts_time", "-of", "csv=p=0"];
    let done = Tool::start(&newer("ffprobe"), &[&of[..], &[path.to_str().expect("ASCII")]].concat()).wait(seconds(30));
    assert!(done.status.success() && done.stderr.is_empty(), "{}", done.stderr);
    let times = done.stdout.lines().filter_map(|line| line.trim_end_matches(',').parse::<f64>().ok());
    times.map(|seconds| (seconds * 1_000.0).round() as i64).collect()
}

#[test]
fn every_output_has_a_rendition_in_av1_and_what_is_too_slow_is_said() {
    let (server, mut client) = start();
    eventually("its encoder is told", seconds(10), || {
        (client.get("/api/v1/nodes").json["items"][0]["worker"]["encoder"] == "rav1e").then_some(())
    });
    let _push = Publisher::start(server.rtmp, "stream", "cam").expect("published").repeat(Clip::strip());
    eventually("it is on air", seconds(5), || (get(server.http, "/cam/video.m3u8").status == 200).then_some(()));
    let index = text(&server, "/cam/index.m3u8");
    let whole = Multivariant::parse(&index).unwrap_or_else(|error| panic!("{error:#}\n{index}"));
    assert_eq!(whole.check(), [], "{index}");
    assert!(index.contains("CODECS=\"av01.0.00M.08,mp4a.40.2\"") && index.contains("RESOLUTION=640x96"), "{index}");
    let manifest = text(&server, "/cam/index.mpd");
    assert!(manifest.contains("<Representation id=\"360p\" codecs=\"av01.0.00M.08\""), "{manifest}");

    // Each output: in FLV AV1 is known to a client that is newer than Debian's.
    let own = made(&server);
    assert!(own.contains("CODECS=\"av01.0.00M.08,mp4a.40.2\""), "{own}");
    let at = |file: &str| format!("http://{}/cam/360p/{file}", server.http);
    for file in FILES {
        let mut seen =
            if file.ends_with("flv") { ffprobe_by(&newer("ffprobe"), &at(file)) } else { ffprobe(&at(file)) };
        seen.dedup();
        assert_eq!(seen, ["aac", "av1,640,96"], "{file}");
    }
    // It reads the initialisation again with each reload, and says so.
    ffmpeg_decodes_but("ffmpeg", &at("live.m3u8"), 30, &["Found duplicated MOOV Atom"]);

    // Pictures are all there: as many a second as were said, without a hole.
    let dir = tempfile::tempdir().expect("a directory");
    for file in FILES {
        let path = dir.path().join(format!("{file}.mkv"));
        let to = path.to_str().expect("ASCII");
        let arguments = ["-v", "error", "-y", "-i", &at(file), "-t", "6", "-map", "0:v:0", "-c", "copy", to];
        let program = if file.ends_with("flv") { newer("ffmpeg") } else { "ffmpeg".to_owned() };
        let done = Tool::start(&program, &arguments).wait(seconds(40));
        assert!(done.status.success(), "{file}: {}", done.stderr);
        let times = pictures(&path);
        let steps: Vec<i64> = times.windows(2).map(|pair| pair[1] - pair[0]).collect();
        let every = (steps[0] + 16) / 33;
        println!("{file}: {} pictures, one of {every}", times.len());
        let expected = 5 * 30 / every;
        assert!(times.len() as i64 >= expected, "{file}: {} pictures", times.len());
        assert!(steps.iter().all(|step| step.abs_diff(every * 100 / 3) <= 2), "{file}: {steps:?}");
    }
    let running = rendition(&mut client, "360p");
    assert!(running["state"] == "running" && running["height"] == 96, "{running}");

    // A picture that no core encodes in time, nor one that is nine times as fast as those that this was written on.
    let other = Publisher::start(server.rtmp, "stream", "large").expect("published");
    let settings = json!({ "isCodec": true, "ud": true });
    client.post("/api/v1/streams", &json!({ "id": "large", "settings": settings })).is(201);
    let _large = other.repeat(Clip::full_hd());
    eventually("it is on air", seconds(5), || (get(server.http, "/large/video.m3u8").status == 200).then_some(()));
    // Whoever asks first is told so, too.
    let asked = Instant::now();
    let refused = get(server.http, "/large/1080p/video.m3u8");
    let why = String::from_utf8_lossy(&refused.body);
    println!("{why}: after {:?}", asked.elapsed());
    assert!(
        refused.status == 503 && why.contains("AV1 of 1920x1080 at 10 frames a second takes "),
        "{} {why}",
        refused.status
    );
    assert!(!server.log.has("panicked"), "the worker's log");
}

/// What a browser shows of it: the pages have it in their menu, by FLV, HLS and DASH.
#[test]
#[ignore = "takes the whole machine; tests/run --long has it"]
fn pages_play_a_rendition_in_av1() {
    let (server, _client) = start();
    let _push = Publisher::start(server.rtmp, "stream", "cam").expect("published").repeat(Clip::strip());
    eventually("it is on air", seconds(5), || (get(server.http, "/cam/video.m3u8").status == 200).then_some(()));
    made(&server);
    let probe = Probe::start();
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/browser/levels.mjs");
    let done =
        Tool::start("node", &[script, &format!("http://{}/cam", server.http), "1280x192", "640x96"]).wait(seconds(150));
    println!("{}{}", done.stdout, probe.stop());
    assert!(done.status.success(), "{}\n{}", done.stdout, done.stderr);
}
