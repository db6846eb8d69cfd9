//! MP4 files of streams: their names and what is in them, played by ffprobe, ffmpeg and Chromium by ranges; stamps that wrap; and pictures that are shown
//! before they are decoded.
use std::path::Path;

use millstream_test_support::mp4::Movie;
use millstream_tests::clip::Clip;
use millstream_tests::control::Client;
use millstream_tests::http;
use millstream_tests::rtmp::Publisher;
use millstream_tests::server::{Options, Server};
use millstream_tests::tools::{Tool, ffmpeg_decodes_by, ffmpeg_push, ffprobe_by, newer, vlc_plays};
use millstream_tests::{eventually, seconds};
use serde_json::{Value, json};

/// A server with a stream of which files of so many seconds are made.
fn filed(length_s: u32, on_demand: bool) -> (Server, Client) {
    let config = "[stream_defaults]\non_unpublish = \"end\"\n[hls]\nsegment = \"1s\"\n";
    let server = Options::open().config(config).start();
    let mut client = Client::admin(&server);
    let settings = json!({ "isVideo": true, "video_time": length_s, "isOnDemand": on_demand });
    let made = client.post("/api/v1/streams", &json!({ "id": "cam", "settings": settings })).is(201).json;
    assert!(!made["not_in_force"].to_string().contains("isVideo"), "{made}");
    (server, client)
}

/// The only recording, once there are so many files of it, or it is stored.
fn recording(client: &mut Client, files: usize) -> Value {
    eventually(&format!("{files} files"), seconds(40), || {
        let list = client.get("/api/v1/recordings?stream=cam").is(200).json;
        let name = list["items"][0]["recording"].as_str()?.to_owned();
        let one = client.get(&format!("/api/v1/recordings/{name}")).is(200).json;
        let there = one["files"].as_array().map_or(0, Vec::len);
        (there >= files && (files > 0 || one["state"] == "stored")).then_some(one)
    })
}

fn files(recording: &Value) -> Vec<(String, u64, u64)> {
    let of = |file: &Value| {
        let number = |name: &str| file[name].as_u64().expect("a number");
        (file["path"].as_str().expect("a path").to_owned(), number("from_unix_ms"), number("duration_ms"))
    };
    recording["files"].as_array().expect("files").iter().map(of).collect()
}

/// Fetches a file and reads it; no tool finds a fault in it.
fn right(server: &Server, path: &str, codecs: &[&str]) -> Movie {
    let answer = http::get(server.http, &format!("/cam/{path}"));
    assert_eq!((answer.status, answer.header("content-type")), (200, "video/mp4"), "{path}");
    let movie = Movie::read(&answer.body).unwrap_or_else(|error| panic!("{path}: {error:#}"));
    let url = format!("http://{}/cam/{path}", server.http);
    for program in ["ffprobe".to_owned(), newer("ffprobe")] {
        assert_eq!(ffprobe_by(&program, &url), codecs, "{path}");
        let packets = ["-v", "warning", "-show_packets", "-of", "csv", &url];
        let done = Tool::start(&program, &packets).wait(seconds(30));
        assert!(done.status.success() && done.stderr.trim().is_empty(), "{path}: {}", done.stderr);
    }
    ffmpeg_decodes_by(&newer("ffmpeg"), &url, 100_000);
    movie
}

#[test]
fn a_stream_is_kept_in_files_that_tools_and_browsers_play_by_ranges() {
    let (server, mut client) = filed(4, false);
    let push = ffmpeg_push(&server.push_url("cam"), 14);
    let one = recording(&mut client, 2);
    let name = one["recording"].as_str().expect("a name").to_owned();
    assert_eq!(one["state"], "recording", "files are there while it is on air: {one}");
    drop(push);
    let one = recording(&mut client, 0);
    let all = files(&one);
    assert!(all.len() >= 2, "{one}");
    let mut lengths = Vec::new();
    for (path, from, duration_ms) in &all {
        let movie = right(&server, path, &["aac", "h264,640,360"]);
        assert!((movie.duration_us() / 1_000 - *duration_ms as i64).abs() <= 1, "{path}");
        assert!(path.starts_with("mp4/20") && path.ends_with(&format!("/{from}.mp4")), "{path}");
        assert!(movie.of("vide").expect("a picture").samples[0].sync);
        lengths.push(*duration_ms);
    }
    for (pair, length) in all.windows(2).zip(&lengths) {
        let apart = pair[1].1 - pair[0].1;
        assert!(apart.abs_diff(*length) <= 400, "{length} ms, and the next one begins {apart} ms after it");
        assert!((3_900..6_200).contains(length), "{lengths:?}");
    }
    vlc_plays(&format!("http://{}/cam/{}", server.http, all[0].0), &["aac", "h264,640,360"]);
    // Without isOnDemand there is no more of it than that.
    let description = http::get(server.http, &format!("/cam/rec/{name}/recording.json"));
    let description: Value = serde_json::from_slice(&description.body).expect("JSON");
    assert_eq!(description["files"].as_array().map(Vec::len), Some(all.len()), "{description}");
    for file in ["index.m3u8", "video.m3u8", "video/1.mp4"] {
        assert_eq!(http::get(server.http, &format!("/cam/rec/{name}/{file}")).status, 404, "{file}");
    }
    // By ranges and conditions, as players ask.
    let path = format!("/cam/{}", all[0].0);
    let whole = http::get(server.http, &path);
    let ask = |head: &str| {
        let request = format!("GET {path} HTTP/1.1\r\nHost: a\r\n{head}\r\nConnection: close\r\n\r\n");
        http::raw(server.http, request.as_bytes()).expect("an answer")
    };
    let part = ask("Range: bytes=1000-1099");
    assert_eq!((part.status, part.body.as_slice()), (206, &whole.body[1_000..1_100]));
    assert_eq!(ask(&format!("If-None-Match: {}", whole.header("etag"))).status, 304);
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("browser/file.mjs");
    let url = format!("http://{}{path}", server.http);
    let done = Tool::start("node", &[script.to_str().expect("ASCII"), &url]).wait(seconds(60));
    println!("Chromium: {}", done.stdout.trim());
    assert!(done.status.success(), "{}\n{}", done.stdout, done.stderr);
    assert!(server.metric("millstream_recorder_mp4_files_total") >= all.len() as f64);
}

/// The encoder's stamps begin 4 s before they pass 32 bits; and each of its pictures is in one file.
#[test]
fn case_02_stamps_that_wrap_leave_files_as_they_are() {
    let (server, mut client) = filed(3, true);
    let push =
        Publisher::start(server.rtmp, "stream", "cam").expect("published").repeat_from(Clip::small(), 0xFFFF_F000);
    recording(&mut client, 3);
    drop(push);
    let one = recording(&mut client, 0);
    let all = files(&one);
    for pair in all.windows(2) {
        assert!(pair[1].1.abs_diff(pair[0].1 + pair[0].2) <= 400, "{pair:?}");
    }
    for (path, ..) in &all {
        let movie = right(&server, path, &["aac", "h264,320,180"]);
        for track in &movie.tracks {
            let steps = track.samples.windows(2).map(|pair| pair[1].dts - pair[0].dts);
            assert!(steps.clone().all(|step| step > 0 && step < i64::from(track.timescale) / 4), "{path}");
        }
    }
    let total: u64 = all.iter().map(|(_, _, ms)| ms).sum();
    let recorded = one["duration_ms"].as_u64().expect("a length");
    assert!(total.abs_diff(recorded) <= 300, "{total} ms in files of {recorded} ms");
}
