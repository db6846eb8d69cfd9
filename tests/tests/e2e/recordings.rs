//! Streams that are recorded for later: kept, listed, played back by ffprobe, on their page and by ranges, from a directory and from a bucket; and what a
//! kill leaves of them.
use std::path::Path;
use std::process::Stdio;
use std::time::{Duration, Instant};

use millstream_test_support::dash::Manifest;
use millstream_test_support::s3::proxy::{Fault, FaultProxy, Reply};
use millstream_test_support::s3::{ACCESS_KEY_ID, S3Server, SECRET_ACCESS_KEY};
use millstream_tests::cdn::Cache;
use millstream_tests::clip::Clip;
use millstream_tests::control::Client;
use millstream_tests::hls::multivariant::Multivariant;
use millstream_tests::hls::playlist::Media;
use millstream_tests::hls::rules;
use millstream_tests::http::{self, Viewer};
use millstream_tests::rtmp::{Publisher, Pushing};
use millstream_tests::server::{Options, Server};
use millstream_tests::tools::{Tool, ffmpeg, ffprobe, vlc_plays};
use millstream_tests::{eventually, seconds};
use serde_json::{Value, json};

/// Streams end with their publisher, so that recordings are closed at once.
pub(crate) fn options() -> Options {
    Options::open().config("[stream_defaults]\non_unpublish = \"end\"\n[hls]\nsegment = \"1s\"\n")
}

/// A server with a stream that is recorded in objects of two seconds, and its publisher.
pub(crate) fn recorded(options: Options) -> (Server, Client, Pushing) {
    let server = options.start();
    let mut client = Client::admin(&server);
    client
        .post("/api/v1/streams", &json!({ "id": "cam", "settings": { "isOnDemand": true, "ondemand_time": 2 } }))
        .is(201);
    let push = Publisher::start(server.rtmp, "stream", "cam").expect("published").repeat(Clip::small());
    (server, client, push)
}

/// The only recording of the stream, once it is as far as that.
pub(crate) fn recording(client: &mut Client, state: &str) -> Value {
    eventually(&format!("a recording is {state}"), seconds(20), || {
        let list = client.get("/api/v1/recordings?stream=cam").is(200).json;
        let items = list["items"].as_array().expect("a list");
        assert!(items.len() < 2, "{list}");
        items.first().filter(|item| item["state"] == state).cloned()
    })
}

pub(crate) fn name(recording: &Value) -> String {
    recording["recording"].as_str().expect("a name").to_owned()
}

/// How long ffprobe finds it, milliseconds.
pub(crate) fn duration_ms(url: &str) -> u64 {
    #[rustfmt::skip]
    let done = Tool::start("ffprobe", &["-v", "error", "-show_entries", "format=duration", "-of", "csv=p=0", url]).wait(seconds(30));
    assert!(done.status.success() && done.stderr.trim().is_empty(), "{}", done.stderr);
    (done.stdout.trim().parse::<f64>().expect("seconds") * 1_000.0) as u64
}

pub(crate) fn text(server: &Server, path: &str) -> String {
    let answer = http::get(server.http, path);
    assert_eq!(answer.status, 200, "{path}");
    String::from_utf8(answer.body).expect("UTF-8")
}

/// The playlists of a recording that is over keep all rules, and name nothing but ranges of files. Gives those of its tracks.
pub(crate) fn keeps_the_rules(server: &Server, stream: &str, recording: &Value, tracks: &[&str]) -> Vec<Media> {
    let base = format!("/{stream}/rec/{}", name(recording));
    let started = recording["started_unix_ms"].as_u64().expect("a time");
    for path in [format!("{base}/index.m3u8"), format!("/{stream}/vod-{started}.m3u8")] {
        let text = text(server, &path);
        let whole = Multivariant::parse(&text).unwrap_or_else(|error| panic!("{path}: {error:#}\n{text}"));
        assert_eq!(whole.check(), [], "{path}: {text}");
        let named =
            whole.variants.iter().map(|variant| &variant.uri).chain(whole.renditions.iter().flat_map(|r| &r.uri));
        assert_eq!(named.count(), tracks.len(), "{path}: {text}");
    }
    let read = |track: &&str| {
        let text = text(server, &format!("{base}/{track}.m3u8"));
        let media = Media::parse(&text).unwrap_or_else(|error| panic!("{track}: {error:#}\n{text}"));
        assert_eq!(rules::check(&media), [], "{track}: {text}");
        assert!(media.ended && media.kind.as_deref() == Some("VOD"), "{track}: {text}");
        assert!(media.segments.iter().all(|segment| segment.gap || segment.range.is_some()), "{track}: {text}");
        media
    };
    tracks.iter().map(read).collect()
}

/// What it is to be in the end: whole, and played by its playlists.
fn plays(server: &Server, recording: &Value, least_ms: u64) {
    let base = format!("/cam/rec/{}", name(recording));
    for media in keeps_the_rules(server, "cam", recording, &["video", "audio"]) {
        assert!(media.seconds() * 1_000.0 >= least_ms as f64 - 1_000.0, "{} s of {least_ms} ms", media.seconds());
    }
    let started = recording["started_unix_ms"].as_u64().expect("a time");
    for path in [format!("{base}/index.m3u8"), format!("/cam/vod-{started}.m3u8")] {
        let url = format!("http://{}{path}", server.http);
        // Once by itself, and once as a part of its variant.
        let mut tracks = ffprobe(&url);
        tracks.dedup();
        assert_eq!(tracks, ["aac", "h264,320,180"], "{path}");
        assert!(duration_ms(&url) >= least_ms, "{path}: {} of {least_ms} ms", duration_ms(&url));
    }
    // And by DASH.
    let manifest = text(server, &format!("{base}/manifest.mpd"));
    let read = Manifest::parse(&manifest).unwrap_or_else(|error| panic!("{error:#}\n{manifest}"));
    assert_eq!(read.check(), Vec::<String>::new(), "{manifest}");
    // ffmpeg takes whole seconds of its length.
    assert!(read.duration_ms >= least_ms as f64, "{} of {least_ms} ms", read.duration_ms);
    let url = format!("http://{}{base}/manifest.mpd", server.http);
    let mut tracks = ffprobe(&url);
    tracks.dedup();
    assert_eq!(tracks, ["aac", "h264,320,180"], "{manifest}");
    // The newer one has no DASH.
    let done = ffmpeg(&["-xerror", "-i", &url, "-f", "null", "-"]);
    assert!(done.status.success(), "{}", done.stderr);
    let description: Value = serde_json::from_str(&text(server, &format!("{base}/recording.json"))).expect("JSON");
    assert!(description["duration_ms"].as_u64().is_some_and(|ms| ms >= least_ms), "{description}");
}

#[test]
fn a_stream_that_asks_for_it_is_recorded_listed_and_played_by_ranges() {
    let (server, mut client, push) = recorded(options());
    let live = recording(&mut client, "recording");
    std::thread::sleep(seconds(6));
    // While it grows, too: what is stored.
    let base = format!("/cam/rec/{}", name(&live));
    eventually("it can be watched while it grows", seconds(15), || {
        let playlist = http::get(server.http, &format!("{base}/video.m3u8"));
        let text = String::from_utf8_lossy(&playlist.body).into_owned();
        (playlist.status == 200 && text.contains("EVENT") && text.contains("#EXTINF")).then_some(())
    });
    drop(push);
    let stored = recording(&mut client, "stored");
    assert_eq!(name(&stored), name(&live));
    plays(&server, &stored, 5_000);
    let one = client.get(&format!("/api/v1/recordings/{}", name(&stored))).is(200).json;
    assert_eq!(one["state"], "stored");
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("browser/recording.mjs");
    let page = format!("http://{}{base}/index.html", server.http);
    let done = Tool::start("node", &[script.to_str().expect("ASCII"), &page]).wait(seconds(60));
    println!("{}", done.stdout);
    assert!(done.status.success(), "a page plays it: {}\n{}", done.stdout, done.stderr);
    for list in ["index.m3u8", "manifest.mpd"] {
        vlc_plays(&format!("http://{}{base}/{list}", server.http), &["aac", "h264,320,180"]);
    }
    // A file by ranges, as players seek in it.
    let file = format!("{base}/video/1.mp4");
    let file = if http::get(server.http, &file).status == 200 { file } else { format!("{base}/video/0.mp4") };
    let whole = http::get(server.http, &file);
    assert_eq!((whole.status, whole.header("content-type")), (200, "video/mp4"));
    let head = format!("GET {file} HTTP/1.1\r\nHost: a\r\nRange: bytes=100-199\r\nConnection: close\r\n\r\n");
    let part = http::raw(server.http, head.as_bytes()).expect("an answer");
    assert_eq!((part.status, part.body.as_slice()), (206, &whole.body[100..200]));
    let tag = whole.header("etag").to_owned();
    let again = format!("GET {file} HTTP/1.1\r\nHost: a\r\nIf-None-Match: {tag}\r\nConnection: close\r\n\r\n");
    assert_eq!(http::raw(server.http, again.as_bytes()).expect("an answer").status, 304);
    // It begins and ends where its switch is turned, while the stream is on air.
    let push = Publisher::start(server.rtmp, "stream", "cam").expect("published").repeat(Clip::small());
    eventually("a second one", seconds(15), || {
        let list = client.get("/api/v1/recordings?state=recording").is(200).json;
        (list["items"].as_array().map(Vec::len) == Some(1)).then_some(())
    });
    client
        .request(
            "PATCH",
            "/api/v1/streams/cam",
            "If-Match: *\r\n",
            Some(&json!({ "settings": { "isOnDemand": false } })),
        )
        .is(200);
    eventually("it is stored", seconds(15), || {
        let list = client.get("/api/v1/recordings?state=stored").is(200).json;
        (list["items"].as_array().map(Vec::len) == Some(2)).then_some(())
    });
    assert!(push.alive(), "the stream goes on");
    eventually("it is counted", seconds(5), || {
        (server.metric("millstream_recordings_stored_total") >= 2.0).then_some(())
    });
}

#[test]
fn case_28_a_recording_plays_to_a_second_before_a_kill() {
    let (server, mut client, push) = recorded(options());
    recording(&mut client, "recording");
    std::thread::sleep(Duration::from_millis(5_300));
    let before = recording(&mut client, "recording");
    let began = before["started_unix_ms"].as_u64().expect("a time");
    let dir = server.kill();
    let killed =
        std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).expect("a clock").as_millis() as u64;
    drop(push);
    let server = options().start_in(dir);
    let mut client = Client::admin(&server);
    // Nobody publishes any more: it is closed once the publisher has been waited for.
    let stored = recording(&mut client, "stored");
    assert_eq!(name(&stored), name(&before));
    plays(&server, &stored, (killed - began).saturating_sub(1_000));
}

/// A server that keeps recordings in a bucket at this address.
pub(crate) fn in_bucket(endpoint: &str) -> Options {
    let config = format!("[record]\nstore = \"s3://recordings/live?endpoint={endpoint}&region=us-east-1\"\n");
    let options = options().config(&config).env("AWS_ACCESS_KEY_ID", ACCESS_KEY_ID);
    options.env("AWS_SECRET_ACCESS_KEY", SECRET_ACCESS_KEY)
}

/// Of a recording and track so many objects are on their way at once, and may overtake each other.
const UPLOADS_AT_ONCE: usize = 4;

/// Seconds stand for the ten minutes here; an hour by a made-up clock is in the recorder's own tests.
#[test]
fn case_29_a_bucket_that_answers_503_costs_the_recording_nothing_and_viewers_neither() {
    let root = tempfile::tempdir().expect("a directory");
    let s3 = S3Server::start(root.path()).expect("s3s-fs");
    s3.make_bucket("recordings").expect("a bucket");
    let proxy = FaultProxy::start(s3.address()).expect("a port");
    let (server, mut client, push) = recorded(in_bucket(&proxy.endpoint()));
    recording(&mut client, "recording");
    let mut viewer = Viewer::watch(server.http, "cam");
    proxy.script(|_| Some(Fault::Reply(Reply::error(503, "SlowDown"))));
    let away_from = Instant::now();
    while away_from.elapsed() < seconds(9) {
        assert!(!viewer.tags_for(seconds(1)).is_empty() && viewer.end.is_none(), "viewers notice nothing");
    }
    eventually("that the bucket is away is told", seconds(20), || {
        (server.metric("millstream_recorder_store_away") > 0.0).then_some(())
    });
    assert!(server.metric("millstream_recorder_spool_bytes") > 0.0, "what cannot be stored waits");
    drop((viewer, push));
    proxy.heal();
    let stored = eventually("all is stored", seconds(60), || {
        let list = client.get("/api/v1/recordings?state=stored").is(200).json;
        list["items"][0].is_object().then(|| list["items"][0].clone())
    });
    plays(&server, &stored, 9_000);
    let description = text(&server, &format!("/cam/rec/{}/recording.json", name(&stored)));
    assert!(description.contains("\"gaps\": []"), "{description}");
    // In order: the first try of each object.
    let mut order: Vec<(bool, u64)> = Vec::new();
    for request in proxy.requests().iter().filter(|request| request.method == "PUT") {
        let file = request.path.rsplit('/').next().unwrap_or_default();
        let number = file.strip_suffix(".mp4").and_then(|number| number.parse().ok());
        let of = number.map(|number| (request.path.contains("/video/"), number));
        order.extend(of.filter(|of| !order.contains(of)));
    }
    for is_video in [true, false] {
        let numbers: Vec<u64> = order.iter().filter(|(video, _)| *video == is_video).map(|(_, n)| *n).collect();
        let overtaken_by = |at: usize| numbers[..at].iter().filter(|before| **before > numbers[at]).count();
        let in_order = (0..numbers.len()).all(|at| overtaken_by(at) < UPLOADS_AT_ONCE);
        assert!(numbers.len() > 3 && in_order, "{numbers:?}");
    }
}

#[test]
fn recordings_go_to_a_bucket_and_viewers_are_sent_there() {
    let root = tempfile::tempdir().expect("a directory");
    let s3 = S3Server::start(root.path()).expect("s3s-fs");
    s3.make_bucket("recordings").expect("a bucket");
    let (server, mut client, push) = recorded(in_bucket(&s3.endpoint()));
    recording(&mut client, "recording");
    std::thread::sleep(seconds(4));
    drop(push);
    let stored = recording(&mut client, "stored");
    plays(&server, &stored, 3_000);
    // Playlists come from the node, for what they name is relative; media from the bucket, by an address that is signed.
    let playlist = text(&server, &format!("/cam/rec/{}/video.m3u8", name(&stored)));
    let file = playlist.lines().find(|line| line.starts_with("video/")).expect("an object");
    let answer = http::get(server.http, &format!("/cam/rec/{}/{file}", name(&stored)));
    assert_eq!(answer.status, 302);
    let location = answer.header("location").to_owned();
    assert!(location.starts_with(&s3.endpoint()) && location.contains("X-Amz-Signature"), "{location}");
    let fetched =
        std::process::Command::new("curl").args(["-sf", "-r", "0-99", &location]).stderr(Stdio::null()).output();
    let fetched = fetched.expect("curl runs");
    assert_eq!(fetched.stdout.len(), 100);
    assert!(!server.log.has("X-Amz-Signature") && !server.log.has(SECRET_ACCESS_KEY));
    // Where viewers cannot reach the bucket, the node sends them what is there.
    let streaming = in_bucket(&s3.endpoint()).config("deliver = \"stream\"\n");
    let server = streaming.start_in(server.kill());
    let path = format!("/cam/rec/{}/{file}", name(&stored));
    let ask = |head: &str| {
        let head = format!("GET {path} HTTP/1.1\r\nHost: a\r\n{head}Connection: close\r\n\r\n");
        http::raw(server.http, head.as_bytes()).expect("an answer")
    };
    let whole = ask("");
    assert_eq!((whole.status, whole.header("content-type")), (200, "video/mp4"));
    let part = ask("Range: bytes=100-199\r\n");
    assert_eq!((part.status, part.body.as_slice()), (206, &whole.body[100..200]));
    assert_eq!(ask(&format!("If-None-Match: {}\r\n", whole.header("etag"))).status, 304);
    assert_eq!(whole.body[..100], fetched.stdout[..], "it is the same object");
    plays(&server, &stored, 3_000);
}

#[test]
fn a_cache_takes_recordings_from_the_bucket_and_the_node_is_not_asked() {
    let root = tempfile::tempdir().expect("a directory");
    let s3 = S3Server::start(root.path()).expect("s3s-fs");
    s3.make_bucket("recordings").expect("a bucket");
    let (server, mut client, push) = recorded(in_bucket(&s3.endpoint()));
    recording(&mut client, "recording");
    std::thread::sleep(seconds(6));
    drop(push);
    let stored = recording(&mut client, "stored");
    let open = S3Server::start_open(root.path()).expect("s3s-fs");
    let cache = Cache::nginx_with_bucket(server.http, open.address());
    let before = server.metric("millstream_recorded_requests_total");
    let base = format!("/cam/rec/{}", name(&stored));
    let url = format!("http://{}{base}/index.m3u8", cache.address);
    let mut tracks = ffprobe(&url);
    tracks.dedup();
    assert_eq!(tracks, ["aac", "h264,320,180"]);
    assert!(duration_ms(&url) >= 4_000);
    let vod = format!("/cam/vod-{}.m3u8", stored["started_unix_ms"]);
    assert_eq!(http::get(cache.address, &vod).status, 200);
    let mut tracks = ffprobe(&format!("http://{}{base}/manifest.mpd", cache.address));
    tracks.dedup();
    assert_eq!(tracks, ["aac", "h264,320,180"]);
    let whole = http::get(cache.address, &format!("{base}/video/1.mp4"));
    assert_eq!((whole.status, whole.header("content-type")), (200, "video/mp4"));
    let head =
        format!("GET {base}/video/1.mp4 HTTP/1.1\r\nHost: a\r\nRange: bytes=100-199\r\nConnection: close\r\n\r\n");
    let part = http::raw(cache.address, head.as_bytes()).expect("an answer");
    assert_eq!((part.status, part.body.as_slice()), (206, &whole.body[100..200]));
    let asked = server.metric("millstream_recorded_requests_total") - before;
    assert!(asked.abs() < 0.5, "the node is asked for nothing: {asked}");
    // What is the node's stays there.
    assert!(http::get(cache.address, &format!("{base}/index.html")).body.starts_with(b"<!DOCTYPE html>"));
}
