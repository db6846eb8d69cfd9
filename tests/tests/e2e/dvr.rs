//! Viewers who go back in a stream that is recorded: by the playlists' own rules, with ffprobe, with hls.js, and on the page.
use std::path::Path;
use std::time::{Duration, Instant};

use millstream_tests::clip::Clip;
use millstream_tests::control::Client;
use millstream_tests::flv::Tag;
use millstream_tests::hls::follow::Plan;
use millstream_tests::hls::playlist::Media;
use millstream_tests::http;
use millstream_tests::rtmp::{Publisher, Pushing};
use millstream_tests::server::{Options, Server};
use millstream_tests::tools::{Tool, ffprobe, vlc_plays};
use millstream_tests::{eventually, seconds};
use serde_json::json;

/// A server of two shards with a stream that is recorded in objects of so many seconds, and its publisher.
fn recorded(object_s: u64) -> (Server, Client, Pushing) {
    let (server, client) = recording(object_s);
    let push = Publisher::start(server.rtmp, "stream", "cam").expect("published").repeat(Clip::small());
    (server, client, push)
}

/// The same without its publisher.
fn recording(object_s: u64) -> (Server, Client) {
    let options = Options::open().config("[stream_defaults]\non_unpublish = \"end\"\n[hls]\nsegment = \"1s\"\n");
    let server = options.arg("--shards", "2").start();
    let mut client = Client::admin(&server);
    let settings = json!({ "isOnDemand": true, "ondemand_time": object_s });
    client.post("/api/v1/streams", &json!({ "id": "cam", "settings": settings })).is(201);
    (server, client)
}

fn media(server: &Server, path: &str) -> Media {
    let answer = http::get(server.http, path);
    assert_eq!(answer.status, 200, "{path}: {}", String::from_utf8_lossy(&answer.body));
    Media::parse(&String::from_utf8(answer.body).expect("UTF-8")).expect("a playlist")
}

/// The stream's playlists that reach back are as long as that.
fn reaches(server: &Server, least_s: f64) {
    eventually("it reaches back", seconds(least_s as u64 + 20), || {
        let there = http::get(server.http, "/cam/dvr-video.m3u8").status == 200;
        (there && media(server, "/cam/dvr-video.m3u8").seconds() >= least_s).then_some(())
    });
}

#[test]
fn a_viewer_goes_back_in_a_stream_while_it_is_recorded() {
    let (server, _client, push) = recorded(6);
    eventually("the multivariant playlist", seconds(10), || {
        (http::get(server.http, "/cam/dvr.m3u8").status == 200).then_some(())
    });
    let text = String::from_utf8(http::get(server.http, "/cam/dvr.m3u8").body).expect("UTF-8");
    assert!(text.contains("\ndvr-video.m3u8\n") && text.contains("URI=\"dvr-audio.m3u8\""), "{text}");
    // As a player at the live edge does, with delta updates; and as one that polls.
    let followers = [
        Plan::low_latency(server.http, "cam", "dvr-video.m3u8").start(),
        Plan::low_latency(server.http, "cam", "dvr-audio.m3u8").start(),
        Plan::plain(server.http, "cam", "dvr-video.m3u8").start(),
    ];
    std::thread::sleep(seconds(24));
    for follower in followers {
        let seen = follower.stop();
        assert!(seen.faults().is_empty(), "{}", seen.faults().join("\n"));
        let last = seen.history.last().expect("a playlist");
        assert!(last.seconds() >= 20.0, "it reaches back {} s", last.seconds());
        // What was fetched at the live edge is what is there now, out of the recording.
        let mut same = 0;
        for segment in &last.segments {
            let Some(uri) = &segment.uri else { continue };
            let now = http::get(server.http, &format!("/cam/{uri}"));
            assert_eq!(now.status, 200, "{uri}");
            assert!(now.header("cache-control").contains("immutable"), "{}", now.header("cache-control"));
            if let Some(then) = seen.fetched.get(uri) {
                assert_eq!((then.status, &then.body), (200, &now.body), "{uri}");
                same += 1;
            }
        }
        assert!(same >= 14, "{same} segments were fetched twice");
        let map = last.segments[0].map.as_deref().expect("a header");
        assert_eq!(http::get(server.http, &format!("/cam/{map}")).status, 200);
    }
    // A part of an old segment, and what a viewer has already.
    let old = media(&server, "/cam/dvr-video.m3u8").segments[2].uri.clone().expect("a segment");
    let whole = http::get(server.http, &format!("/cam/{old}"));
    let ask = |header: &str| {
        let head = format!("GET /cam/{old} HTTP/1.1\r\nHost: a\r\n{header}\r\nConnection: close\r\n\r\n");
        http::raw(server.http, head.as_bytes()).expect("an answer")
    };
    let part = ask("Range: bytes=100-199");
    assert_eq!((part.status, part.body.as_slice()), (206, &whole.body[100..200]));
    assert_eq!(ask(&format!("If-None-Match: {}", whole.header("etag"))).status, 304);
    // Compressed, it is the same text.
    let url = format!("http://{}/cam/dvr-video.m3u8", server.http);
    let unpacked = std::process::Command::new("curl").args(["-sf", "--compressed", &url]).output().expect("curl runs");
    let unpacked = Media::parse(std::str::from_utf8(&unpacked.stdout).expect("text")).expect("a playlist");
    assert_eq!(unpacked.segments[0], media(&server, "/cam/dvr-video.m3u8").segments[0]);
    // ffprobe and VLC play it, and the page knows of it.
    let mut tracks = ffprobe(&format!("http://{}/cam/dvr.m3u8", server.http));
    tracks.dedup();
    assert_eq!(tracks, ["aac", "h264,320,180"]);
    vlc_plays(&format!("http://{}/cam/dvr.m3u8", server.http), &["aac", "h264,320,180"]);
    let live = http::get(server.http, "/cam/live.json");
    assert!(String::from_utf8_lossy(&live.body).contains("\"dvr\":true"));
    // It is over: who watches the past goes on.
    let first = media(&server, "/cam/dvr-video.m3u8").segments[0].uri.clone().expect("a segment");
    drop(push);
    let mut client = Client::admin(&server);
    eventually("its recording is stored", seconds(20), || {
        let list = client.get("/api/v1/recordings?state=stored").is(200).json;
        (list["items"].as_array().map(Vec::len) == Some(1)).then_some(())
    });
    for _ in 0..4 {
        // Of each shard, also of one where nobody has asked yet.
        let last = media(&server, "/cam/dvr-video.m3u8");
        assert!(last.ended && last.seconds() >= 20.0, "{} s", last.seconds());
    }
    assert_eq!(http::get(server.http, &format!("/cam/{first}")).status, 200, "out of the store");
}

#[test]
fn a_stream_that_is_not_recorded_has_no_past() {
    let (server, mut client, _push) = recorded(6);
    client.post("/api/v1/streams", &json!({ "id": "bare" })).is(201);
    let off = json!({ "isOnDemand": true, "dvr_window_s": 0 });
    client.post("/api/v1/streams", &json!({ "id": "off", "settings": off })).is(201);
    let _bare = Publisher::start(server.rtmp, "stream", "bare").expect("published").repeat(Clip::small());
    let _off = Publisher::start(server.rtmp, "stream", "off").expect("published").repeat(Clip::small());
    reaches(&server, 3.0);
    for id in ["bare", "off"] {
        for file in ["dvr.m3u8", "dvr-video.m3u8", "dvr-audio.m3u8"] {
            let answer = http::get(server.http, &format!("/{id}/{file}"));
            let text = String::from_utf8_lossy(&answer.body).into_owned();
            assert_eq!((answer.status, answer.header("cache-control")), (404, "no-store"), "{text}");
            assert!(text.contains("not being recorded"), "{text}");
        }
        let live = http::get(server.http, &format!("/{id}/live.json"));
        assert!(!String::from_utf8_lossy(&live.body).contains("dvr"));
    }
    assert_eq!(http::get(server.http, "/nobody/dvr.m3u8").status, 404);
}

/// Runs a scenario in Chromium against the server.
fn in_chromium(script: &str, server: &Server) {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("browser").join(script);
    let done =
        Tool::start("node", &[script.to_str().expect("ASCII"), &format!("http://{}", server.http)]).wait(seconds(150));
    println!("{}", done.stdout);
    assert!(done.status.success(), "{}\n{}", done.stdout, done.stderr);
}

#[test]
#[ignore = "takes half a minute; the page does the same in every run, tests/run --long has this"]
fn hls_js_goes_from_the_live_edge_back_and_forth() {
    let (server, _client) = recording(6);
    let _push = hastened(&server, 40, 10);
    reaches(&server, 36.0);
    in_chromium("dvr.mjs", &server);
}

/// Pushes so many seconds of a clip at that many times their speed, then goes on in real time.
fn hastened(server: &Server, length_s: u32, speed: u32) -> Pushing {
    let mut publisher = Publisher::start(server.rtmp, "stream", "cam").expect("published");
    let (clip, began) = (Clip::small(), Instant::now());
    for tag in &clip.configuration {
        publisher.send(tag).expect("taken");
    }
    let rounds = length_s * 1_000 / clip.period;
    for round in 0..rounds {
        for tag in &clip.frames {
            let timestamp = round * clip.period + tag.timestamp;
            let due = began + Duration::from_millis(u64::from(timestamp / speed));
            std::thread::sleep(due.saturating_duration_since(Instant::now()));
            publisher.send(&Tag { timestamp, ..tag.clone() }).expect("taken");
        }
    }
    let first = rounds * clip.period;
    publisher.repeat_from(clip, first)
}

#[test]
#[ignore = "records four hours in six minutes; tests/run --long has it"]
fn hls_js_goes_four_hours_back_and_forth() {
    const HOURS: u32 = 4;
    let options =
        Options::open().config("[stream_defaults]\non_unpublish = \"end\"\n[hls]\nsegment = \"2s\"\nwindow = 30\n");
    let server = options.start();
    let mut client = Client::admin(&server);
    let settings = json!({ "isOnDemand": true, "isVideo": true, "video_time": 3_600 });
    client.post("/api/v1/streams", &json!({ "id": "cam", "settings": settings })).is(201);
    let _push = hastened(&server, HOURS * 3_600, 40);
    let video = media(&server, "/cam/dvr-video.m3u8");
    assert!(video.seconds() > f64::from(HOURS) * 3_600.0 - 60.0, "it reaches back {} s", video.seconds());
    assert!(video.segments.iter().all(|segment| !segment.gap), "nothing is missing");
    in_chromium("dvr.mjs", &server);
    // And a file of an hour shows its first picture within a second.
    let list = client.get("/api/v1/recordings?stream=cam").is(200).json;
    let name = list["items"][0]["recording"].as_str().expect("a recording").to_owned();
    let one = client.get(&format!("/api/v1/recordings/{name}")).is(200).json;
    let file = &one["files"][0];
    assert!(file["duration_ms"].as_u64().is_some_and(|ms| ms >= 3_600_000), "{one}");
    let url = format!("http://{}/cam/{}", server.http, file["path"].as_str().expect("a path"));
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("browser/file.mjs");
    let done = Tool::start("node", &[script.to_str().expect("ASCII"), &url, "5", "1000"]).wait(seconds(60));
    println!("Chromium: {}", done.stdout.trim());
    assert!(done.status.success(), "{}\n{}", done.stdout, done.stderr);
}

#[test]
fn the_page_lets_a_viewer_go_back_where_there_is_something_to_go_back_to() {
    // In real time: the page says how far it is behind.
    let (server, mut client, _push) = recorded(6);
    client.post("/api/v1/streams", &json!({ "id": "bare" })).is(201);
    let _bare = Publisher::start(server.rtmp, "stream", "bare").expect("published").repeat(Clip::small());
    reaches(&server, 28.0);
    in_chromium("past.mjs", &server);
}
