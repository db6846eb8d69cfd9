//! The manifest of DASH over a closed recording: all that it names is fetched by ranges and is what it says, over a change of the encoder; and players in
//! Chromium play it. That tools play manifests of recordings in directories and buckets, and behind a cache, is in [`super::recordings`].
use std::path::Path;

use millstream_test_support::dash::Manifest;
use millstream_tests::clip::Clip;
use millstream_tests::control::Client;
use millstream_tests::hls::boxes::{Init, fragments};
use millstream_tests::http;
use millstream_tests::rtmp::Publisher;
use millstream_tests::server::{Options, Server};
use millstream_tests::tools::Tool;
use millstream_tests::{eventually, seconds};
use serde_json::{Value, json};

/// Fetches what a manifest names, by ranges, and holds it against what it says.
fn fetched(server: &Server, folder: &str, manifest: &Manifest) {
    let ask = |path: &str, from: u64, bytes: u64| {
        let last = from + bytes - 1;
        let head = format!("GET {path} HTTP/1.1\r\nHost: a\r\nRange: bytes={from}-{last}\r\nConnection: close\r\n\r\n");
        let answer = http::raw(server.http, head.as_bytes()).expect("an answer");
        assert_eq!((answer.status, answer.body.len() as u64), (206, bytes), "{path}");
        answer.body
    };
    for track in manifest.periods.iter().flat_map(|period| &period.tracks) {
        let init = Init::parse(&http::get(server.http, &format!("{folder}/{}", track.init)).body).expect("a header");
        assert_eq!(u64::from(init.timescale), track.timescale, "{}", track.init);
        // Times of the manifest are those of the files to a millisecond, which is what playlists have.
        let slack = track.timescale / 500;
        for segment in &track.segments {
            let bytes = ask(&format!("{folder}/{}", segment.uri), segment.range.0, segment.range.1);
            let parts = fragments(&bytes).expect("whole fragments");
            let begins = parts.first().expect("a fragment").decode_time;
            let lasts: u64 = parts.iter().map(|part| part.duration).sum();
            assert!(begins.abs_diff(segment.start) <= slack, "{segment:?} begins at {begins} of {}", track.timescale);
            // The last frame's length is a guess.
            assert!(lasts.abs_diff(segment.duration) <= slack + track.timescale / 25, "{segment:?} lasts {lasts}");
        }
    }
}

#[test]
#[ignore = "takes more than a minute; tests/run --long has it"]
fn players_of_dash_play_a_recording_over_a_change_of_the_encoder() {
    let options = Options::open().config("[stream_defaults]\npublisher_wait = \"3s\"\n[hls]\nsegment = \"1s\"\n");
    let server = options.start();
    let mut client = Client::admin(&server);
    let settings = json!({ "isOnDemand": true, "ondemand_time": 2 });
    client.post("/api/v1/streams", &json!({ "id": "cam", "settings": settings })).is(201);
    let mut recording = |state: &str| -> Value {
        eventually(&format!("a recording is {state}"), seconds(25), || {
            let list = client.get("/api/v1/recordings?stream=cam").is(200).json;
            list["items"].as_array().and_then(|all| all.first()).filter(|item| item["state"] == state).cloned()
        })
    };
    let first = Publisher::start(server.rtmp, "stream", "cam").expect("published").repeat(Clip::numbered_b_frames());
    let name = recording("recording")["recording"].as_str().expect("a name").to_owned();
    let folder = format!("/cam/rec/{name}");
    std::thread::sleep(seconds(6));
    assert_eq!(http::get(server.http, &format!("{folder}/manifest.mpd")).status, 404, "while it grows there is none");
    drop(first);
    let second = Publisher::start(server.rtmp, "stream", "cam").expect("published").repeat(Clip::wall());
    std::thread::sleep(seconds(6));
    drop(second);
    let stored = recording("stored");
    assert_eq!(stored["recording"], name.as_str(), "the second encoder went on with it");
    let answer = http::get(server.http, &format!("{folder}/manifest.mpd"));
    assert_eq!((answer.status, answer.header("content-type")), (200, "application/dash+xml"));
    let tag = answer.header("etag").to_owned();
    let again =
        format!("GET {folder}/manifest.mpd HTTP/1.1\r\nHost: a\r\nIf-None-Match: {tag}\r\nConnection: close\r\n\r\n");
    assert_eq!(http::raw(server.http, again.as_bytes()).expect("an answer").status, 304);
    let text = String::from_utf8(answer.body).expect("UTF-8");
    let manifest = Manifest::parse(&text).unwrap_or_else(|error| panic!("{error:#}\n{text}"));
    assert_eq!(manifest.check(), Vec::<String>::new(), "{text}");
    let sizes: Vec<_> = manifest.periods.iter().map(|period| period.tracks[0].size).collect();
    assert_eq!(sizes, [Some((320, 180)), Some((640, 360))], "{text}");
    let told_ms = stored["duration_ms"].as_f64().expect("a length");
    assert!((manifest.duration_ms - told_ms).abs() < 200.0, "{} of {told_ms} ms", manifest.duration_ms);
    fetched(&server, &folder, &manifest);
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("browser/periods.mjs");
    let origin = format!("http://{}", server.http);
    let done = Tool::start("node", &[script.to_str().expect("ASCII"), &origin, &folder]).wait(seconds(150));
    println!("{}", done.stdout);
    assert!(done.status.success(), "{}\n{}", done.stdout, done.stderr);
}
