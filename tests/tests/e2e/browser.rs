//! The player page in headless Chromium.
use std::path::Path;

use millstream_tests::clip::Clip;
use millstream_tests::http;
use millstream_tests::machine::Probe;
use millstream_tests::rtmp::Publisher;
use millstream_tests::server::{Options, Server};
use millstream_tests::tools::{Tool, ffmpeg_push};
use millstream_tests::{eventually, seconds};

use crate::tls::{Authority, NOW, https};

fn start(server: &Server, scenario: &str, id: &str, page: &str) -> Tool {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("browser/flv.mjs");
    let url = format!("http://{}/{id}/{page}", server.http);
    Tool::start("node", &[script.to_str().expect("ASCII"), scenario, &url])
}

fn succeeds(scenario: &str, tool: Tool) {
    let done = tool.wait(seconds(70));
    println!("{}", done.stdout);
    assert!(done.status.success(), "{scenario}: {}\n{}", done.stdout, done.stderr);
}

#[test]
fn the_page_plays_for_ten_seconds() {
    let server = Options::open().start();
    let _push = ffmpeg_push(&server.push_url("cam"), 90);
    succeeds("plays", start(&server, "plays", "cam", "flv.html"));
}

#[test]
fn the_page_waits_for_a_stream_that_is_not_on_air_and_starts_by_itself() {
    waits("flv.html");
}

#[test]
fn the_page_for_hls_waits_for_a_stream_that_is_not_on_air_and_starts_by_itself() {
    waits("hls.html");
}

fn waits(page: &str) {
    let server = Options::open().start();
    let tool = start(&server, "waits", "cam", page);
    eventually("the page says that it waits", seconds(40), || tool.stdout.has("waits").then_some(()));
    // It asks again in vain for a while.
    std::thread::sleep(seconds(4));
    let _push = Publisher::start(server.rtmp, "stream", "cam").expect("published").repeat(Clip::small());
    succeeds("waits", tool);
}

#[test]
fn the_page_needs_nothing_from_elsewhere_and_takes_no_script_from_its_address() {
    let server = Options::open().start();
    for name in ["/cam/flv.html", "/cam/hls.html", "/cam/dash.html", "/cam/index.html", "/", "/wall.html?streams=cam"] {
        let page = http::get(server.http, name);
        assert_eq!((page.status, page.header("cache-control").contains("max-age=600")), (200, true), "{:?}", page.head);
        let text = String::from_utf8(page.body).expect("UTF-8");
        assert!(!text.contains("http://") && !text.contains("https://"), "an outside resource");
        let mut assets: Vec<String> =
            text.split('"').filter(|w| w.starts_with("/.assets/")).map(str::to_owned).collect();
        while let Some(asset) = assets.pop() {
            let response = http::get(server.http, &asset);
            assert_eq!(response.status, 200, "{asset}");
            assert!(response.header("cache-control").contains("immutable"), "{asset}: {:?}", response.head);
            let kind = match Path::new(&asset).extension().and_then(|extension| extension.to_str()) {
                Some("js") => "text/javascript",
                Some("svg") => "image/svg+xml",
                _ => "text/css",
            };
            assert!(response.header("content-type").starts_with(kind), "{asset}: {:?}", response.head);
            // A script names the library that it loads when it is needed.
            let text = String::from_utf8_lossy(&response.body).into_owned();
            assets.extend(text.split('\'').filter(|w| w.starts_with("/.assets/")).map(str::to_owned));
        }
    }
    let odd = http::get(server.http, "/%3Cscript%3E/flv.html");
    assert!(matches!(odd.status, 400 | 404), "{}", odd.status);
    assert!(!String::from_utf8_lossy(&odd.body).contains("<script>"));
}

/// Browsers open six HTTP/1.1 connections to a server: over those a seventh stream never starts.
#[test]
fn case_35_twenty_five_streams_advance_in_one_page() {
    let server = Options::open().start();
    wall_of_streams(&server, &format!("http://{}", server.http));
}

/// HTTP/2 has them all on one connection.
#[test]
#[ignore = "takes half a minute of all cores; tests/run --long has it"]
fn case_35_twenty_five_streams_advance_in_one_page_over_one_connection() {
    let authority = Authority::new();
    authority.certify("live", &["127.0.0.1"], NOW);
    let server = Options::open().config(&authority.config(&["live"])).start();
    wall_of_streams(&server, &format!("https://{}", https(&server)));
}

fn wall_of_streams(server: &Server, origin: &str) {
    const STREAMS: usize = 25;
    const WATCH_S: f64 = 20.0;
    let ids: Vec<String> = (1..=STREAMS).map(|n| format!("cam-{n}")).collect();
    let clip = Clip::small();
    let _pushing: Vec<_> = ids
        .iter()
        .map(|id| Publisher::start(server.rtmp, "stream", id).expect("published").repeat(clip.clone()))
        .collect();
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("browser/wall.mjs");
    let url = format!("{origin}/wall.html?streams={},nobody,%3Cscript%3E", ids.join(","));
    let probe = Probe::start();
    let done = Tool::start("node", &[script.to_str().expect("ASCII"), &url, &WATCH_S.to_string()]).wait(seconds(120));
    let load = probe.stop();
    println!("{}\n{load}", done.stdout);
    assert!(done.status.success(), "{}\n{}", done.stdout, done.stderr);
    let figure = |name: &str| -> f64 {
        let figure = done.stdout.lines().find_map(|line| line.strip_prefix(name)?.trim().parse().ok());
        figure.unwrap_or_else(|| panic!("no {name}: {}", done.stdout))
    };
    // Two cores decode all of them: one may miss a look, and none two in a row. Where that takes the machine whole, all play, if slowly.
    let (slowest, still) = if load.too_busy() { (0.3 * WATCH_S, 8.0) } else { (0.7 * WATCH_S, 2.0) };
    assert!(figure("slowest ") > slowest, "one advanced by less than {slowest} s of {WATCH_S}\n{}", done.stdout);
    assert!(figure("still ") <= still, "one stood still for more than {still} s\n{}", done.stdout);
}

#[test]
fn the_page_of_the_api_makes_a_stream() {
    let server = Options::signed().start();
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("browser/api.mjs");
    let token = std::fs::read_to_string(server.data_dir().join("admin-token")).expect("made at the first start");
    let url = format!("http://{}/api/v1/docs", server.control);
    let done = Tool::start("node", &[script.to_str().expect("ASCII"), &url, token.trim()]).wait(seconds(60));
    println!("{}", done.stdout);
    assert!(done.status.success(), "{}\n{}", done.stdout, done.stderr);
}
