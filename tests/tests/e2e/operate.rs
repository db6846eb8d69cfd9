//! What an operator sees: start, refusal to start, stop, metrics, demo.
use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::time::Instant;

use millstream_tests::clip::Clip;
use millstream_tests::control::Client;
use millstream_tests::crowd::{Crowd, Member};
use millstream_tests::flv::{Tag, VIDEO};
use millstream_tests::hls::playlist::Media;
use millstream_tests::http::{self, Viewer};
use millstream_tests::rtmp::{Player, Publisher};
use millstream_tests::server::{Options, Server, millstream};
use millstream_tests::tools::ffprobe;
use millstream_tests::{eventually, millis, seconds};

use crate::hls::{on_air, playlist, read};

#[test]
fn a_port_in_use_is_named() {
    let taken = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = taken.local_addr().expect("bound").to_string();
    let dir = tempfile::tempdir().expect("a directory");
    let dir = dir.path().to_str().expect("ASCII");
    for listener in ["--rtmp", "--http", "--control"] {
        let mut args = vec!["serve", "--auth", "open", "--data-dir", dir];
        for flag in ["--rtmp", "--http", "--control"] {
            args.extend([flag, if flag == listener { &address } else { "127.0.0.1:0" }]);
        }
        let output = millstream(&args);
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(matches!(output.status.code(), Some(1 | 2)), "{listener}: {} {said}", output.status);
        assert!(said.contains(&address), "{listener}: the address is not named: {said}");
    }
}

/// Sharing a port between shards must not let a second server share it by accident: half of the viewers would land there.
#[test]
fn a_second_server_on_the_same_ports_is_refused() {
    let server = Options::open().start();
    let dir = tempfile::tempdir().expect("a directory");
    let (rtmp, http) = (server.rtmp.to_string(), server.http.to_string());
    for (rtmp, http) in [(rtmp.as_str(), "127.0.0.1:0"), ("127.0.0.1:0", http.as_str())] {
        let dir = dir.path().to_str().expect("ASCII");
        let args =
            ["serve", "--auth", "open", "--data-dir", dir, "--rtmp", rtmp, "--http", http, "--control", "127.0.0.1:0"];
        let output = millstream(&args);
        assert!(matches!(output.status.code(), Some(1 | 2)), "{}", String::from_utf8_lossy(&output.stderr));
    }
}

/// Whoever collects a service's log may stop reading: streams go on over a full pipe, and its lines are there when it is read again.
#[test]
fn a_log_that_nobody_reads_holds_nobody_up() {
    const COMERS: usize = 1_000;
    let server = Options::open().shards(1).start();
    let _push = Publisher::start(server.rtmp, "stream", "cam").expect("published").repeat(Clip::small());
    let mut viewer = Viewer::watch(server.http, "cam");
    viewer.find("keyframe", seconds(5), Tag::is_keyframe);
    let unread = server.log.unread();
    for _ in 0..COMERS {
        let mut comer = TcpStream::connect(server.http).expect("connected");
        comer.write_all(b"nonsense\r\n\r\n").expect("sent");
        let mut answer = String::new();
        comer.set_read_timeout(Some(seconds(5))).expect("set");
        comer.read_to_string(&mut answer).expect("answered, though nobody reads what is said of it");
        assert!(answer.starts_with("HTTP/1.1 400 "), "{answer}");
    }
    assert!(viewer.tags_for(millis(300)).iter().any(|tag| tag.kind == VIDEO), "pictures still come");
    drop(unread);
    eventually("the log is whole", seconds(5), || {
        (server.log.text().matches("session ended").count() >= COMERS).then_some(())
    });
    assert_eq!(server.metric("millstream_log_lines_lost_total") as u64, 0);
}

/// The kernel lets go of a busy server's ports some time after its process is gone; a restart waits for that.
#[test]
fn a_port_that_is_let_go_of_late_is_taken() {
    let taken = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = taken.local_addr().expect("bound");
    let letting_go = std::thread::spawn(move || {
        std::thread::sleep(millis(500));
        drop(taken);
    });
    let server = Options::open().arg("--http", &address.to_string()).start();
    letting_go.join().expect("let go");
    assert_eq!(server.http, address);
    assert_eq!(http::get(server.http, "/healthz").status, 200);
}

#[test]
fn a_wrong_configuration_is_refused_with_line_and_column() {
    let dir = tempfile::tempdir().expect("a directory");
    let file = dir.path().join("millstream.toml");
    let path = file.to_str().expect("ASCII");
    let wrong = [
        ("[node]\nshards = 1\n\n[rtmp]\nlisten = \"127.0.0.1:0\"\nchunksize = 60000\n", "6", "chunk_size"),
        ("[http]\nheader_timeout = \"5 parsecs\"\n", "2", ""),
        ("[stream_defaults]\nflush = \"sometimes\"\n", "2", ""),
        ("[[stream]]\nid = \"../etc\"\n", "2", ""),
        ("[node\n", "1", ""),
        ("[nodes]\n", "1", "node"),
    ];
    for (text, line, hint) in wrong {
        std::fs::write(&file, text).expect("written");
        for args in [vec!["check", path], vec!["serve", "--config", path]] {
            let output = millstream(&args);
            let said = String::from_utf8_lossy(&output.stderr);
            assert_eq!(output.status.code(), Some(2), "{args:?} with {text:?}: {said}");
            let place = said.contains(&format!("line {line}, column ")) || said.contains(&format!(":{line}:"));
            assert!(place, "{args:?} with {text:?}: no line {line} and column in {said}");
            assert!(said.contains(hint), "{args:?} with {text:?}: no {hint:?} in {said}");
        }
    }
    std::fs::write(&file, "[node]\nshards = 1\n").expect("written");
    let output = millstream(&["check", path]);
    assert_eq!(output.status.code(), Some(0), "{}", String::from_utf8_lossy(&output.stderr));
    assert_eq!(millstream(&["serve", "--no-such-flag"]).status.code(), Some(2));
    assert_eq!(millstream(&["check", "/no/such/file"]).status.code(), Some(2));
}

#[test]
fn sigterm_drains_and_ends_with_status_0() {
    let mut server = Options::open().config("[node]\ndrain = \"4s\"\n").start();
    let _push = Publisher::start(server.rtmp, "stream", "cam").expect("published").repeat(Clip::small());
    let mut viewer = Viewer::watch(server.http, "cam");
    viewer.find("keyframe", seconds(5), Tag::is_keyframe);
    let mut play = Player::start(server.rtmp, "stream", "cam").expect("play");
    play.find(seconds(5), Tag::is_keyframe).expect("a keyframe");
    assert_eq!(http::get(server.http, "/healthz").status, 200);
    let told = Instant::now();
    server.terminate();
    let mut draining = false;
    let status = eventually("the server ends", seconds(15), || {
        if let Ok(response) = http::try_get(server.http, "/healthz")
            && response.status == 503
        {
            assert_eq!(response.body.trim_ascii(), b"draining");
            assert_eq!(response.header("cache-control"), "no-store");
            draining = true;
        }
        server.try_wait()
    });
    let took = told.elapsed();
    println!("ended after {took:?}");
    assert_eq!(status.code(), Some(0));
    assert!(draining, "/healthz never said 503 draining");
    assert!(took < seconds(8), "it took {took:?} with a drain time of 4 s");
    while viewer.next_tag(seconds(2)).is_some() {}
    assert_eq!(viewer.end, Some(http::End::Clean), "the viewer's stream has a proper end");
    while play.next_tag(seconds(2)).is_ok() {}
}

/// Entries of the file come and go with SIGHUP, as if the server had been started with the file as it is then; who is on air stays.
#[test]
fn sighup_brings_the_streams_of_the_file_into_force() {
    let entry = |ids: &[&str]| {
        let entries = ids.iter().map(|id| format!("[[stream]]\nid = \"{id}\"\n"));
        entries.collect::<Vec<_>>().concat()
    };
    let server = Options::signed().shards(2).config(&entry(&["old", "stays"])).start();
    let mut client = Client::admin(&server);
    client.post("/api/v1/streams", &serde_json::json!({ "id": "stored" })).is(201);
    let sign = |id: &str| server.sign(id, &["--expires", "2100-01-01"]);
    let pushes = |id: &str| Publisher::start(server.rtmp, "stream", &format!("{id}?sign={}", sign(id)));
    let on_air = pushes("stays").expect("it is in the file").repeat(Clip::small());
    assert!(pushes("new").is_err());
    let reload = |text: &str, times: usize| {
        std::fs::write(server.data_dir().join("millstream.toml"), text).expect("written");
        server.hang_up();
        eventually("the streams are in force", seconds(10), || {
            (server.log.text().matches("the streams of the file are in force").count() == times).then_some(())
        });
    };
    reload(&entry(&["stays", "new", "stored"]), 1);
    eventually("what is new may be pushed", seconds(5), || pushes("new").ok().map(|push| drop(push.finish())));
    eventually("what is gone may not", seconds(5), || pushes("old").is_err().then_some(()));
    assert_eq!(client.get("/api/v1/streams/new").is(200).text("source"), "configuration");
    assert_eq!(client.get("/api/v1/streams/stored").is(200).text("source"), "configuration");
    client.get("/api/v1/streams/old").is(404);
    // What the file took from the store goes back to it.
    reload(&entry(&["stays"]), 2);
    assert_eq!(client.get("/api/v1/streams/stored").is(200).text("source"), "store");
    eventually("the stored one may be pushed", seconds(5), || pushes("stored").ok().map(|push| drop(push.finish())));
    eventually("what is gone may not", seconds(5), || pushes("new").is_err().then_some(()));
    Viewer::watch(server.http, "stays").find("keyframe", seconds(5), Tag::is_keyframe);
    drop(on_air);
}

/// A player that knows low latency asks for the next part again and again, on a connection per request, as behind a load balancer.
fn follow_through_a_drain(server: &Server, id: &str) -> std::thread::JoinHandle<(u32, Media)> {
    let (http, id) = (server.http, id.to_owned());
    let mut last = playlist(server, &id, "video.m3u8");
    std::thread::spawn(move || {
        let mut answers = 0;
        while !last.ended {
            let (msn, part) = last.next().expect("something is listed");
            let path = format!("/{id}/video.m3u8?_HLS_msn={msn}&_HLS_part={}", part.expect("parts are listed"));
            let answer =
                http::try_get(http, &path).unwrap_or_else(|error| panic!("after {answers} answers: {error:#}"));
            last = read(&answer);
            let newest = last.segments.iter().rev().find_map(|segment| segment.uri.as_ref()).expect("a segment");
            assert_eq!(http::get(http, &format!("/{id}/{newest}")).status, 200, "{newest}");
            answers += 1;
        }
        (answers, last)
    })
}

#[test]
fn sigterm_keeps_hls_and_dash_viewers_until_the_drain_is_over_and_ends_their_playlists() {
    let mut server = Options::open().shards(2).config("[node]\ndrain = \"4s\"\n").start();
    let streams = ["cam", "cam2", "cam3"];
    let pushes = streams.map(|id| on_air(&server, id, Clip::small()));
    let manifest = eventually("a manifest", seconds(5), || {
        let answer = http::get(server.http, "/cam/manifest.mpd");
        (answer.status == 200).then(|| String::from_utf8(answer.body).expect("text"))
    });
    assert!(manifest.contains("type=\"dynamic\""), "{manifest}");
    let players = streams.map(|id| follow_through_a_drain(&server, id));
    std::thread::sleep(seconds(1));
    let told = Instant::now();
    server.terminate();
    eventually("it drains", seconds(2), || (http::get(server.http, "/healthz").status == 503).then_some(()));
    // Who comes now goes elsewhere; who is there goes on.
    assert_eq!(http::get(server.http, "/cam/live.m3u8").status, 503);
    assert_eq!(http::get(server.http, "/cam/live.flv").status, 503);
    assert_eq!(http::get(server.http, "/cam/index.html").status, 503);
    assert_eq!(http::get(server.http, "/cam/live.json").status, 200);
    let mut manifests = 0;
    let end = loop {
        let answer = http::get(server.http, "/cam/manifest.mpd");
        let text = String::from_utf8(answer.body).expect("text");
        assert_eq!(answer.status, 200, "{text}");
        if text.contains("type=\"static\"") {
            break told.elapsed();
        }
        manifests += 1;
        std::thread::sleep(millis(200));
    };
    assert!((seconds(4)..seconds(6)).contains(&end) && manifests > 10, "the stream ended after {end:?}");
    for player in players {
        let (answers, last) = player.join().expect("a player that got answers only");
        println!("{answers} playlists up to the end, {} segments in the last", last.segments.len());
        assert!(answers > 8, "only {answers} playlists in a second and the drain");
    }
    let status = server.wait(seconds(8));
    assert_eq!(status.code(), Some(0));
    println!("ended after {:?}", told.elapsed());
    drop(pushes);
}

/// They hold no connection; their being there is known from what they asked for.
#[test]
fn sigterm_waits_for_hls_viewers_alone_and_not_for_who_has_gone() {
    // Its publisher goes to another server; two target durations after the last request nobody is there.
    let mut server = Options::open().config("[node]\ndrain = \"30s\"\n").start();
    let push = on_air(&server, "cam", Clip::small());
    // It has been there for a moment: shards tell each other of viewers now and then.
    playlist(&server, "cam", "video.m3u8");
    std::thread::sleep(millis(1_000));
    let watching = Instant::now();
    server.terminate();
    drop(push);
    while watching.elapsed() < seconds(3) {
        let answer = http::get(server.http, "/cam/video.m3u8");
        let (text, at) = (String::from_utf8_lossy(&answer.body), watching.elapsed());
        assert_eq!(answer.status, 200, "after {at:?}: {text}");
        std::thread::sleep(millis(200));
    }
    let left = Instant::now();
    assert_eq!(server.wait(seconds(10)).code(), Some(0));
    let took = left.elapsed();
    assert!((seconds(2)..seconds(8)).contains(&took), "ended {took:?} after the last viewer had gone");
}

#[test]
fn sigterm_with_nobody_connected_ends_at_once() {
    let mut server = Options::open().start();
    server.terminate();
    assert_eq!(server.wait(seconds(3)).code(), Some(0));
}

#[test]
fn metrics_move_and_their_number_does_not_grow_with_viewers() {
    let server = Options::open().shards(2).start();
    assert_ne!(http::get(server.http, "/metrics").status, 200, "metrics are not for viewers");

    let _push = Publisher::start(server.rtmp, "stream", "cam").expect("published").repeat(Clip::small());
    let mut few = Crowd::open(server.http, "/cam/live.flv", 0).expect("none");
    eventually("on air", seconds(10), || {
        (http::request(server.http, "HEAD", "/cam/live.flv").ok()?.status == 200).then_some(())
    });
    few.add(server.http, "/cam/live.flv", 5).expect("5 viewers");
    few.run_until("a frame", seconds(10), Member::started).expect("all start");
    few.run(seconds(1)).expect("they go on");
    let some = server.metrics();
    assert!((server.metric("millstream_streams") - 1.0).abs() < 0.5, "{some}");
    assert!((server.metric("millstream_viewers") - 5.0).abs() < 0.5, "{some}");
    let sent = server.metric("millstream_sent_bytes_total");
    let received = server.metric("millstream_received_bytes_total");
    few.add(server.http, "/cam/live.flv", 200).expect("200 more");
    few.run_until("a frame", seconds(10), Member::started).expect("all start");
    few.run(seconds(1)).expect("they go on");
    let many = server.metrics();
    assert!((server.metric("millstream_viewers") - 205.0).abs() < 0.5, "{many}");
    assert!(server.metric("millstream_received_bytes_total") > received, "{many}");
    let sent = server.metric("millstream_sent_bytes_total") - sent;
    assert!(sent > 200.0 * 10_000.0, "only {sent} bytes sent to 205 viewers");
    let (some, many) = (some.lines().count(), many.lines().count());
    assert!(many <= some + 5, "{some} lines became {many}");
    drop(few);
    eventually("viewers that left are not counted", seconds(10), || {
        (server.metric("millstream_viewers") < 0.5).then_some(())
    });
}

/// What a scraper that sends this `Accept` gets: type and text.
fn scrape(server: SocketAddr, accept: &str) -> (String, String) {
    let request = format!("GET /metrics HTTP/1.1\r\nHost: {server}\r\n{accept}Connection: close\r\n\r\n");
    let response = http::raw(server, request.as_bytes()).expect("an answer");
    assert_eq!(response.status, 200);
    (response.header("content-type").to_owned(), String::from_utf8(response.body).expect("UTF-8"))
}

/// Both who serves them (the API, and a demo's or node's engine), in both formats; each family is described.
#[test]
fn metrics_come_in_the_format_that_is_asked_for_and_every_one_has_its_help() {
    for server in [Options::open().start(), Options::demo().start()] {
        let (kind, open) =
            scrape(server.control, "Accept: application/openmetrics-text;version=1.0.0,text/plain;q=0.5\r\n");
        assert!(kind.starts_with("application/openmetrics-text; version=1.0.0") && open.ends_with("# EOF\n"), "{kind}");
        assert!(open.contains("# TYPE millstream_build info\n"), "{open}");
        for accept in ["", "Accept: */*\r\n", "Accept: text/html, */*;q=0.8\r\n"] {
            let (kind, text) = scrape(server.control, accept);
            assert_eq!(kind, "text/plain; version=0.0.4; charset=utf-8", "{accept:?}");
            assert!(!text.contains("# EOF") && !text.contains("# UNIT"), "{text}");
            let described = |kind: &str, name: &str| text.contains(&format!("# {kind} {name} "));
            for sample in text.lines().filter(|line| !line.starts_with('#')) {
                let name = sample.split(['{', ' ']).next().expect("a name");
                let family =
                    ["_bucket", "_sum", "_count"].iter().find_map(|end| name.strip_suffix(end)).unwrap_or(name);
                assert!(described("HELP", family) && described("TYPE", family), "{family} is not described: {text}");
            }
            let build =
                text.lines().find(|line| line.starts_with("millstream_build_info{")).expect("which build it is");
            assert!(
                build.contains(&format!("version=\"{}\"", env!("CARGO_PKG_VERSION"))) && build.ends_with(" 1"),
                "{build}"
            );
        }
    }
}

#[test]
fn promtool_finds_nothing_in_the_metrics() {
    let server = Options::open().start();
    let (_, text) = scrape(server.control, "");
    millstream_tests::tools::promtool_check(&text);
}

#[test]
fn the_demo_says_what_to_open_and_plays_within_two_seconds() {
    let started = Instant::now();
    let server = Options::demo().start();
    let path = eventually("the demo prints a play URL", seconds(5), || {
        let text = format!("{}\n{}", server.stdout.text(), server.log.text());
        let url = text.split_whitespace().find(|word| word.contains("/live.flv"))?.to_owned();
        Some(url.trim_matches(['"', '\'', ',', ')']).split_once("//")?.1.split_once('/')?.1.to_owned())
    });
    let id = path.split('/').next().expect("an id").to_owned();
    Viewer::watch(server.http, &id).find("keyframe", seconds(2), Tag::is_keyframe);
    let took = started.elapsed();
    println!("the demo's first keyframe after {took:?}");
    assert!(took < seconds(2), "the demo's stream took {took:?}");
    let tracks = ffprobe(&server.flv_url(&id));
    assert!(tracks.iter().any(|t| t.starts_with("h264,")) && tracks.contains(&"aac".to_owned()), "{tracks:?}");
    let text = format!("{}\n{}", server.stdout.text(), server.log.text());
    let first = text.split_whitespace().find(|word| word.contains("://")).expect("a URL");
    assert!(first.ends_with("/demo/index.html"), "the page is what to open first: {text}");
    let page = http::get(server.http, "/demo/index.html");
    assert_eq!(page.status, 200);
}

/// Who looks at the screen sees what to open, and not the log of the start below it.
#[test]
fn the_demo_prints_its_banner_after_the_log_lines_and_with_addresses_of_this_machine() {
    let dir = tempfile::tempdir().expect("a directory");
    let screen = dir.path().join("screen");
    let file = std::fs::File::create(&screen).expect("a file");
    let mut child = std::process::Command::new(millstream_tests::server::binary())
        .args(["demo", "--rtmp", "0.0.0.0:0", "--http", "0.0.0.0:0", "--control", "127.0.0.1:0"])
        .stdout(file.try_clone().expect("the same file"))
        .stderr(file)
        .spawn()
        .expect("the demo starts");
    let text = eventually("the banner", seconds(10), || {
        let text = std::fs::read_to_string(&screen).expect("text");
        text.contains("Ctrl-C ends it.").then_some(text)
    });
    child.kill().and_then(|()| child.wait()).expect("it can be ended");
    let (log, banner) = text.split_once("A test stream is on air").expect("a banner");
    assert!(log.contains("the demo's publisher is on air") && log.contains("listening for HTTP"), "{text}");
    assert!(!banner.contains(" INFO "), "log lines below the banner: {text}");
    let own = std::process::Command::new("hostname").arg("-I").output().expect("hostname");
    let own = String::from_utf8(own.stdout).expect("text");
    for address in own.split_whitespace().filter(|address| address.contains('.')).take(8) {
        assert!(banner.contains(&format!("http://{address}:")), "{address} is missing: {text}");
    }
}
