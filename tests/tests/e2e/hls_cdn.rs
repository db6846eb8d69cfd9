//! HLS behind caches, with the configurations that `docs/cdn` gives: one request to the origin for all who ask for the same.
use std::path::Path;
use std::process::{Command, Output};
use std::time::Duration;

use millstream_tests::cdn::{Cache, too_many};
use millstream_tests::clip::Clip;
use millstream_tests::flv::Tag;
use millstream_tests::hls::follow::{Following, Plan};
use millstream_tests::http::{self, Viewer};
use millstream_tests::server::{Options, Server, binary};
use millstream_tests::{millis, percentile, proc, seconds};

use crate::hls::{on_air, sound};

/// Runs the load test; its text, and its report as text.
fn load(server: &Server, preset: &str, args: &[&str]) -> (Output, String) {
    let json = server.data_dir().join("report.json");
    let output = Command::new(binary().with_file_name("millstream-loadtest"))
        .args(["run", preset, "--quiet", "--pid", &server.pid().to_string(), "--metrics", &server.control.to_string()])
        .args(args)
        .arg("--json")
        .arg(&json)
        .output()
        .expect("millstream-loadtest is built beside the server");
    (output, std::fs::read_to_string(json).unwrap_or_default())
}

fn text(output: &Output) -> String {
    format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}

/// Seconds that an answer of that URL is fresh.
fn fresh_s(url: &str) -> f64 {
    let path = url.split_once('?').map_or(url, |(path, _)| path);
    let playlist = Path::new(path).extension().is_some_and(|e| e == "m3u8" || e == "mpd");
    // By number, that is the least: what was there when it was asked for, and any part 0. Answers that waited are kept for longer.
    if playlist { 1.0 } else { f64::INFINITY }
}

#[test]
fn flv_pages_and_playlists_pass_through_nginx_and_varnish() {
    let server = Options::open().start();
    let push = on_air(&server, "cam", Clip::small());
    for cache in [Cache::nginx(server.http), Cache::varnish(server.http)] {
        let followers = ["video.m3u8", "audio.m3u8"].map(|name| Plan::low_latency(cache.address, "cam", name).start());
        let mut viewer = Viewer::watch(cache.address, "cam");
        viewer.find("keyframe", seconds(5), Tag::is_keyframe);
        // It is not held back: frames come one by one.
        let tags = viewer.tags_for(seconds(4));
        assert!(tags.iter().filter(|t| t.is_frame()).count() > 200, "{} tags in 4 s", tags.len());
        let page = http::get(cache.address, "/cam/hls.html");
        assert_eq!((page.status, page.header("cache-control").contains("max-age=600")), (200, true));
        // Not kept: asked for, not there, and there a moment later.
        assert_eq!(http::get(cache.address, "/later/live.m3u8").status, 404);
        for followed in followers.map(Following::stop) {
            sound(&followed, 8);
        }
        let wrong = http::get(cache.address, "/cam/video.m3u8?_HLS_msn=1&_HLS_msn=2");
        assert_eq!(wrong.status, 400);
    }
    assert!(push.alive());
    let _later = on_air(&server, "later", Clip::small());
}

/// Live through one cache, each URL costs the origin one request per freshness lifetime, however many watch.
#[test]
fn case_26_a_thousand_viewers_through_nginx_cost_the_origin_one_request_per_url() {
    let server = Options::open().shards(1).config("[limits]\nper_address = 20000\n").start();
    let cache = Cache::nginx(server.http);
    let (rtmp, hls) = (format!("rtmp://{}", server.rtmp), format!("http://{}", cache.address));
    let mut cores = Vec::new();
    for (viewers, stream) in [("20", "few"), ("500", "many")] {
        let plan = ["--rtmp", &rtmp, "--hls", &hls, "--stream", stream, "--duration", "8s", "--over", "2s"];
        let watching = ["--ll-hls-viewers", viewers, "--hls-viewers", viewers, "--sample", "4"];
        let (before, from) = (proc::cpu(server.pid()), std::time::Instant::now());
        let (output, _) = load(&server, "ll-hls", &[&plan[..], &watching].concat());
        let core = proc::cpu(server.pid()).saturating_sub(before).as_secs_f64() / from.elapsed().as_secs_f64();
        println!("{viewers} viewers of each kind; the origin used {:.1}% of a core\n{}", core * 100.0, text(&output));
        cores.push(core);
    }
    let log = cache.log();
    let (faults, asked) = too_many(&log, fresh_s);
    println!("{} requests to nginx, {asked} of them to the origin", log.len());
    assert!(log.len() > 13_000, "{} requests", log.len());
    assert!(faults.is_empty(), "{} of {asked}: {:#?}", faults.len(), &faults[..faults.len().min(10)]);
    let refused = log.iter().filter(|l| l.status != 200).count();
    assert!(refused * 100 < log.len(), "{refused} of {} were refused", log.len());
    let counted = server.metric("millstream_playlist_requests_total") + server.metric("millstream_file_requests_total");
    assert!(counted <= asked as f64 + 50.0, "nginx knows of {asked} requests, the server of {counted}");
    // Twenty-five times the viewers: the same work for the origin. Its clock has hundredths of a second.
    assert!(
        cores[1] < cores[0] * 1.3 + 0.01,
        "the origin's share of a core went from {:.3} to {:.3}",
        cores[0],
        cores[1]
    );
}

/// A thousand who wait for the same part on one core: how long after the part's last frame its bytes are there.
#[test]
#[ignore = "takes half a minute and both cores; tests/run --long has it"]
fn a_thousand_waiting_viewers_have_a_part_within_50_ms() {
    let server = Options::open().shards(1).config("[limits]\nper_address = 20000\n").start();
    let (rtmp, http) = (format!("rtmp://{}", server.rtmp), format!("http://{}", server.http));
    let plan = ["--rtmp", &rtmp, "--http", &http, "--ll-hls-viewers", "1000", "--duration", "18s", "--over", "6s"];
    let (output, json) = load(&server, "ll-hls", &plan);
    println!("{}", text(&output));
    let number = |name: &str| -> f64 {
        let at = json.find(&format!("\"{name}\"")).unwrap_or_else(|| panic!("no {name} in the report"));
        let p99 = json[at..].find("\"p99\": ").expect("p99") + at + 7;
        json[p99..].split([',', '\n']).next().and_then(|n| n.trim().parse().ok()).unwrap_or(f64::INFINITY)
    };
    let (part, probe) = (number("part"), number("probe"));
    println!(
        "a part's bytes after its last frame: p99 {part} ms; a thread that sleeps a millisecond wakes {probe} ms late"
    );
    assert_ne!(output.status.code(), Some(1), "{}", text(&output));
    // Void where the machine had no time for it.
    assert!(part <= 50.0 || probe > 5.0, "p99 {part} ms");
}

#[test]
fn low_latency_through_varnish_keeps_the_rules_and_adds_little() {
    let server = Options::open().shards(1).start();
    let push = on_air(&server, "cam", Clip::small());
    let cache = Cache::varnish(server.http);
    let followers = [server.http, cache.address].map(|at| Plan::low_latency(at, "cam", "video.m3u8").start());
    std::thread::sleep(seconds(7));
    let p50 = followers.map(|following| {
        let followed = following.stop();
        sound(&followed, 12);
        let mut delays: Vec<Duration> = crate::hls::part_delays(&followed, &push);
        percentile(&mut delays, 0.5)
    });
    println!("a part after its last frame, median: {:?} from the server, {:?} through Varnish", p50[0], p50[1]);
    assert!(p50[1] < p50[0] + millis(100), "{p50:?}");
}

/// Players spell `Accept-Encoding` in many ways, and there are two forms of a playlist: no more than two requests reach the origin.
#[test]
fn case_59_compressed_playlists_collapse_in_caches() {
    const SPELLINGS: [&str; 8] = [
        "gzip",
        "gzip, deflate",
        "gzip, deflate, br",
        "gzip, deflate, br, zstd",
        "deflate, gzip",
        "br;q=1.0, gzip;q=0.8",
        "gzip;q=1.0, identity",
        "deflate, gzip, br",
    ];
    let server = Options::open().start();
    let push = on_air(&server, "cam", Clip::small());
    for cache in [Cache::nginx(server.http), Cache::varnish(server.http)] {
        let before = server.metric("millstream_playlist_requests_total");
        for spelling in SPELLINGS {
            let url = format!("http://{}/cam/manifest.mpd", cache.address);
            let accepts = format!("Accept-Encoding: {spelling}");
            let curl = Command::new("curl").args(["-s", "--compressed", "-D", "-", "-H", &accepts, &url]).output();
            let text = String::from_utf8_lossy(&curl.expect("curl").stdout).into_owned();
            let (head, body) = text.split_once("\r\n\r\n").expect("a head");
            assert!(head.to_ascii_lowercase().contains("\r\ncontent-encoding: gzip"), "{spelling}: {head}");
            assert!(body.contains("<MPD") && body.trim_end().ends_with("</MPD>"), "{spelling}: {body}");
        }
        let plain = http::get(cache.address, "/cam/manifest.mpd");
        assert!(plain.header("content-encoding").is_empty() && plain.body.starts_with(b"<?xml"), "{:?}", plain.head);
        // Each form is kept for a second, and the requests may have taken some.
        let asked = server.metric("millstream_playlist_requests_total") - before;
        assert!(asked <= 6.0, "{asked} requests to the origin for nine in two forms");
        // FLV over WebSocket gets through as well.
        let mut socket = http::Connection::open(cache.address).expect("connected");
        let upgrade = "Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\n\
            Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n";
        socket.send(format!("GET /cam/live.flv HTTP/1.1\r\nHost: a\r\n{upgrade}\r\n").as_bytes()).expect("sent");
        let head = socket.head().expect("an answer");
        assert_eq!((head.status, head.header("sec-websocket-accept")), (101, "s3pPLMBiTxaQ9kYGzzhZRbK+xOo="));
    }
    assert!(push.alive());
}
