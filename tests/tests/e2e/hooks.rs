//! Hooks that an operator uploads, as publishers and viewers meet them: nobody is answered before the hook has decided, over whatever protocol; a restart
//! decides as before.
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use millstream_tests::clip::Clip;
use millstream_tests::control::Client;
use millstream_tests::http;
use millstream_tests::rtmp::Publisher;
use millstream_tests::server::{Options, Server};
use millstream_tests::tools::{ffmpeg, ffmpeg_push, promtool_check};
use millstream_tests::{eventually, seconds};
use serde_json::{Value, json};

/// What signatures are made with.
pub(crate) const SECRET: &str = "hush";

/// A hook of `hooks/guests`.
pub(crate) fn built(guest: &str) -> Vec<u8> {
    let built = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("../hooks/guests/built/{guest}.wasm"));
    std::fs::read(&built).unwrap_or_else(|error| panic!("{}: {error}", built.display()))
}

/// The hook of `hooks/guests/signed-url`.
pub(crate) fn signed_url() -> Vec<u8> {
    built("signed-url")
}

/// Sends a module as a new version of a hook (`NAME` or `NAME?QUERY`); the status and the answer.
pub(crate) fn upload(server: &Server, client: &Client, hook: &str, module: &[u8]) -> (u16, Value) {
    upload_with(server, client, hook, module, "")
}

/// The same, with more headers.
pub(crate) fn upload_with(server: &Server, client: &Client, hook: &str, module: &[u8], headers: &str) -> (u16, Value) {
    let (hook, query) = hook.split_once('?').unwrap_or((hook, ""));
    upload_to(server, client, &format!("/api/v1/hooks/{hook}/versions?{query}"), module, headers)
}

/// A module for some path.
pub(crate) fn upload_to(server: &Server, client: &Client, path: &str, module: &[u8], headers: &str) -> (u16, Value) {
    let mut request = format!(
        "POST {path} HTTP/1.1\r\nHost: {}\r\nAuthorization: Bearer {}\r\nContent-Type: application/wasm\r\n{headers}\
         Content-Length: {}\r\nConnection: close\r\n\r\n",
        server.control,
        client.token(),
        module.len()
    )
    .into_bytes();
    request.extend_from_slice(module);
    let response = http::raw(server.control, &request).expect("an answer");
    let text = String::from_utf8_lossy(&response.body).into_owned();
    (response.status, serde_json::from_str(&text).unwrap_or_else(|_| panic!("{text}")))
}

pub(crate) fn options() -> Options {
    Options::open().config(&format!("[hooks]\nsecrets = [\"key={SECRET}\"]\n"))
}

/// A server with the hook `signed` in one version.
fn with_hook() -> (Server, Client) {
    let server = options().start();
    let mut client = Client::admin(&server);
    client.request("PUT", "/api/v1/hooks/signed", "", Some(&json!({ "kind": "auth" }))).is(201);
    let (status, version) = upload(&server, &client, "signed", &signed_url());
    assert_eq!(status, 201, "{version}");
    (server, client)
}

pub(crate) fn bind(client: &mut Client, point: &str, mode: &str) -> String {
    let binding = json!({ "hook": "signed", "point": point, "mode": mode, "secrets": ["key"] });
    client.post("/api/v1/hook-bindings", &binding).is(201).text("id").to_owned()
}

/// `expires=...&sign=...` as the hook wants it, for so long from now.
pub(crate) fn signature(action: &str, stream: &str, for_s: u64) -> String {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).expect("after 1970").as_secs();
    let expires = now + for_s;
    let mac = Command::new("openssl")
        .args(["dgst", "-sha256", "-hmac", SECRET])
        .stdin(std::process::Stdio::piped())
        .stdout(std::process::Stdio::piped())
        .spawn()
        .and_then(|mut openssl| {
            use std::io::Write as _;
            let text = format!("{action}:stream/{stream}:{expires}");
            openssl.stdin.take().expect("piped").write_all(text.as_bytes())?;
            openssl.wait_with_output()
        })
        .expect("openssl runs");
    let mac = String::from_utf8(mac.stdout).expect("text");
    format!("expires={expires}&sign={}", mac.rsplit(' ').next().expect("a word").trim())
}

/// The status alone: who is let in to a stream gets no end of it.
pub(crate) fn status(server: &Server, path: &str) -> u16 {
    let mut connection = http::Connection::open(server.http).expect("it listens");
    let request = format!("GET {path} HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n");
    connection.send(request.as_bytes()).expect("it reads");
    connection.head().expect("an answer").status
}

/// Waits until this is answered with that status: a binding comes into force a moment after its answer.
pub(crate) fn until_status(server: &Server, path: &str, wanted: u16) {
    eventually(&format!("{path} is answered with {wanted}"), seconds(10), || {
        (status(server, path) == wanted).then_some(())
    });
}

#[test]
fn an_uploaded_hook_decides_who_publishes_and_who_plays_over_every_protocol() {
    let (server, mut client) = with_hook();
    let publishing = bind(&mut client, "publish", "live");
    eventually("the hook decides", seconds(10), || Publisher::start(server.rtmp, "stream", "cam").err().map(drop));
    // ffmpeg is refused before it hears of a start, and exits.
    let starts = || server.log.text().matches("publish started").count();
    let before = starts();
    let refused =
        ffmpeg(&["-re", "-f", "lavfi", "-i", "testsrc=s=64x36:r=5", "-t", "5", "-f", "flv", &server.push_url("cam")]);
    assert!(!refused.status.success());
    assert_eq!(starts(), before, "nothing begins before the verdict");
    let _push = ffmpeg_push(&server.push_url(&format!("cam?{}", signature("publish", "cam", 600))), 120);
    until_status(&server, "/cam/video.m3u8", 200);

    let playing = bind(&mut client, "play", "live");
    until_status(&server, "/cam/video.m3u8", 403);
    let signed = signature("play", "cam", 600);
    for path in ["live.m3u8", "video.m3u8", "audio.m3u8", "manifest.mpd"] {
        assert_eq!(status(&server, &format!("/cam/{path}")), 403, "{path}");
        assert_eq!(status(&server, &format!("/cam/{path}?{signed}")), 200, "{path}");
    }
    let refusal = http::get(server.http, "/cam/live.flv");
    let reason = String::from_utf8_lossy(&refusal.body).into_owned();
    assert!(refusal.status == 403 && reason.contains("no expires= and sign="), "{reason}");
    assert!(http::Viewer::open(server.http, &format!("/cam/live.flv?{signed}"), "HTTP/1.1").expect("connects").is_ok());
    // A signature for one thing is none for another.
    let other = signature("publish", "cam", 600);
    assert_eq!(status(&server, &format!("/cam/video.m3u8?{other}")), 403);

    // Off again: as if it had never been there.
    client
        .request(
            "PATCH",
            &format!("/api/v1/hook-bindings/{playing}"),
            "If-Match: *\r\n",
            Some(&json!({ "mode": "off" })),
        )
        .is(200);
    until_status(&server, "/cam/video.m3u8", 200);
    client.request("DELETE", &format!("/api/v1/hook-bindings/{publishing}"), "If-Match: *\r\n", None).is(204);
    eventually("anyone publishes", seconds(10), || Publisher::start(server.rtmp, "stream", "free").ok().map(drop));
}

#[test]
fn a_session_ends_with_the_grant_of_its_hook() {
    let (server, mut client) = with_hook();
    let pushing = Publisher::start(server.rtmp, "stream", "cam").expect("anyone publishes").repeat(Clip::small());
    bind(&mut client, "play", "live");
    until_status(&server, "/cam/live.flv", 403);
    let began = Instant::now();
    let path = format!("/cam/live.flv?{}", signature("play", "cam", 4));
    let mut viewer = http::Viewer::open(server.http, &path, "HTTP/1.1").expect("connects").expect("is let in");
    while viewer.next_tag(seconds(5)).is_some() {
        assert!(began.elapsed() < seconds(20), "it goes on");
    }
    assert!(began.elapsed() > Duration::from_millis(2_500), "it was let in for longer");
    assert!(pushing.alive());
}

#[test]
fn a_restart_decides_as_before_from_the_first_connection_on() {
    let (server, mut client) = with_hook();
    bind(&mut client, "play", "live");
    until_status(&server, "/cam/live.flv", 403);
    let server = options().start_in(server.kill());
    // 404 would be an answer of somebody who is let in: nobody publishes.
    for _ in 0..20 {
        assert_eq!(status(&server, "/cam/live.flv"), 403);
    }
    assert_eq!(status(&server, &format!("/cam/live.flv?{}", signature("play", "cam", 60))), 404);
}

#[test]
fn what_is_no_hook_is_refused_with_what_to_do() {
    let server = options().start();
    let mut client = Client::admin(&server);
    client.request("PUT", "/api/v1/hooks/signed", "", Some(&json!({ "kind": "auth" }))).is(201);
    client.request("PUT", "/api/v1/hooks/seen", "", Some(&json!({ "kind": "events" }))).is(201);
    let refused = |hook: &str, module: &[u8], words: &str| {
        let (status, problem) = upload(&server, &client, hook, module);
        let detail = problem["detail"].as_str().unwrap_or_default().to_owned();
        assert!(status == 400 && detail.contains(words), "{status}: {detail}");
    };
    refused("signed", b"#!/bin/sh\n", "no WebAssembly");
    refused("signed", b"\0asm\x01\0\0\0", "exports nothing");
    refused("signed", b"\0asm\x0d\0\x01\0garbage", "not valid");
    refused("seen", &signed_url(), "auth");
    let mut cut = signed_url();
    cut.truncate(cut.len() / 2);
    refused("signed", &cut, "not valid");
    assert_eq!(client.get("/api/v1/hooks/signed").is(200).json["versions"], json!([]), "nothing was kept");
    // A secret that nobody has: nobody is let in, and the API says why.
    let (status, version) = upload(&server, &client, "signed", &signed_url());
    assert_eq!((status, &version["report"]["name"]), (201, &json!("signed-url")), "{version}");
    let binding = json!({ "hook": "signed", "point": "play", "mode": "live", "secrets": ["lost"] });
    client.post("/api/v1/hook-bindings", &binding).is(201);
    until_status(&server, "/cam/live.flv", 503);
    eventually("the node complains", seconds(10), || {
        let nodes = client.get("/api/v1/nodes").is(200);
        nodes.json["items"][0]["complaints"].to_string().contains("lost").then_some(())
    });
}

#[test]
fn a_shadow_decides_nothing_and_its_disagreements_are_counted() {
    let (server, mut client) = with_hook();
    bind(&mut client, "play", "shadow");
    let disagreements = || {
        status(&server, "/cam/live.flv");
        let line = "millstream_hook_disagreements_total{hook=\"signed\",version=\"1\"} ";
        let count = server.metrics().lines().find_map(|found| found.strip_prefix(line)?.parse::<f64>().ok());
        count.filter(|count| *count >= 3.0).map(drop)
    };
    eventually("the hook would refuse", seconds(10), disagreements);
    let figures = client.get("/api/v1/hooks/signed/numbers").is(200).json;
    let of_version = &figures["items"][0];
    assert!(of_version["version"] == 1 && of_version["disagreed"].as_u64() >= Some(3), "{figures}");
    assert!(of_version["calls"].as_u64() >= Some(3) && of_version["cpu_mean_us"].is_f64(), "{figures}");
    promtool_check(&server.metrics());
    assert_eq!(status(&server, "/cam/live.flv"), 404, "everybody is let in, and nobody publishes");
}
