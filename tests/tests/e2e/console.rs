//! The web console in headless Chromium, and its files as any client gets them.
use std::collections::VecDeque;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use millstream_tests::clip::Clip;
use millstream_tests::control::Client;
use millstream_tests::encoder::{Encoder, Value as Amf, metadata, object, text as amf_text};
use millstream_tests::flv::{Tag, VIDEO};
use millstream_tests::rtmp::Publisher;
use millstream_tests::server::{Options, Server};
use millstream_tests::tools::Tool;
use millstream_tests::{eventually, http, millis, seconds};
use serde_json::json;

use crate::far_workers;
use crate::fleet::{self, directory, free_address, knows, node_directory};

/// Runs a scenario of `tests/browser` with the address of control, the admin token and what else it wants.
fn scenario(script: &str, control: SocketAddr, token: &str, more: &[&str]) -> Tool {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("browser").join(script);
    let url = format!("http://{control}/");
    let args = [&[script.to_str().expect("ASCII"), &url, token], more].concat();
    Tool::start("node", &args)
}

fn admin_token(server: &Server) -> String {
    let token = std::fs::read_to_string(server.data_dir().join("admin-token")).expect("made at the first start");
    token.trim().to_owned()
}

#[track_caller]
fn succeeds(scenario: Tool, within: Duration) {
    let done = scenario.wait(within);
    println!("{}", done.stdout);
    assert!(done.status.success(), "{}\n{}", done.stdout, done.stderr);
}

/// Screenshots of the last run stay below the temporary directory, for people to look at.
#[test]
fn a_person_uses_the_console_from_login_to_removal() {
    let server = Options::signed().start();
    let hook = Path::new(env!("CARGO_MANIFEST_DIR")).join("../hooks/guests/built/allow-list.wasm");
    let pictures = std::env::temp_dir().join("millstream-console-pictures");
    std::fs::create_dir_all(&pictures).expect("a directory for screenshots");
    println!("screenshots: {}", pictures.display());
    let path = |path: &Path| path.to_str().expect("ASCII").to_owned();
    let more = [&*path(&hook), &*path(&pictures)];
    succeeds(scenario("console.mjs", server.control, &admin_token(&server), &more), seconds(240));
}

#[test]
fn a_person_without_a_mouse_uses_the_console() {
    let server = Options::signed().start();
    succeeds(scenario("console_keys.mjs", server.control, &admin_token(&server), &[]), seconds(90));
}

#[test]
#[ignore = "slow: a thousand streams and up to a minute of scrolling"]
fn a_thousand_streams_are_listed_without_a_stutter() {
    const STREAMS: usize = 1_000;
    let ids = (0..STREAMS).map(|n| format!("s{n:04}"));
    let records = ids.clone().fold(String::new(), |records, id| format!("{records}[[stream]]\nid = \"{id}\"\n\n"));
    let server = Options::open().config(&records).start();
    let (rtmp, over) = (server.rtmp, Arc::new(AtomicBool::new(false)));
    let told = Arc::clone(&over);
    // All of them by one thread: a keyframe each second.
    let pushing = std::thread::spawn(move || {
        let Clip { configuration, frames, .. } = Clip::small();
        let keyframe = frames.into_iter().find(Tag::is_keyframe).expect("it begins with one");
        let mut all: Vec<Encoder> = Vec::new();
        let mut waiting = ids.collect::<VecDeque<_>>();
        let began = Instant::now();
        while !told.load(Ordering::Relaxed) {
            let round = Instant::now();
            let at_ms = began.elapsed().as_millis() as u32;
            for encoder in &mut all {
                encoder.message(VIDEO, 1, at_ms, keyframe.data.clone()).expect("sent");
            }
            while !waiting.is_empty() && round.elapsed() < millis(500) {
                let mut encoder = Encoder::connect(rtmp, []).expect("connected");
                encoder.publish(&waiting.pop_front().expect("not empty")).expect("published");
                for tag in configuration.iter().filter(|tag| tag.kind == VIDEO) {
                    encoder.message(VIDEO, 1, at_ms, tag.data.clone()).expect("sent");
                }
                all.push(encoder);
            }
            std::thread::sleep(seconds(1).saturating_sub(round.elapsed()));
        }
    });
    let mut client = Client::admin(&server);
    eventually("all are on air", seconds(60), || {
        let nodes = client.get("/api/v1/nodes").is(200).json;
        (nodes["items"][0]["publishers"] == STREAMS).then_some(())
    });
    let more = [&*STREAMS.to_string()];
    succeeds(scenario("console_many.mjs", server.control, &admin_token(&server), &more), seconds(180));
    over.store(true, Ordering::Relaxed);
    pushing.join().expect("no stream was refused");
}

#[test]
fn texts_of_hostile_people_are_shown_as_text() {
    let server = Options::open().start();
    let mut client = Client::admin(&server);
    let text = "<img src=x onerror=\"window.owned=1\"><b>bold</b> \u{202e}\u{5e9}\u{5dc}\u{5d5}\u{5dd} <script>window.owned=1</script>&lt;";
    let long = format!("{text} {}", "\u{1f3a5}\u{1f468}\u{200d}\u{1f469}\u{200d}\u{1f467}".repeat(125));
    let emoji = long.chars().filter(|c| *c > '\u{1f000}').count();
    assert!(emoji >= 500, "{emoji}");
    let settings = json!({ "videoname": text, "description": long });
    client.post("/api/v1/streams", &json!({ "id": "odd", "settings": settings })).is(201);
    // It may have a kibibyte.
    let hook = json!({ "kind": "auth", "description": long[..long.floor_char_boundary(1_000)] });
    client.request("PUT", "/api/v1/hooks/odd", "", Some(&hook)).is(201);
    let mut encoder = Encoder::connect(server.rtmp, [("flashVer", amf_text(text))]).expect("connected");
    encoder.publish("odd").expect("published");
    let said = [("encoder", amf_text(text)), ("videocodecid", Amf::Number(7.0)), ("title", amf_text(&long))];
    encoder.message(18, 1, 0, metadata(object(said))).expect("sent");
    let _pushing = encoder.repeat(Clip::small());
    succeeds(scenario("console_texts.mjs", server.control, &admin_token(&server), &[text, &long]), seconds(120));
}

#[test]
fn the_console_goes_on_when_control_is_restarted_under_it() {
    let at = free_address();
    let control = fleet::control(at, &[], directory());
    let token = admin_token(&control);
    let node = Options::signed().role("node").shards(2).arg("--control-url", &format!("http://{at}"));
    let node = node.arg("--node-name", "edge-1").start_in(node_directory(&control));
    let mut client = Client::admin(&control);
    for id in ["cam", "second"] {
        client.post("/api/v1/streams", &json!({ "id": id })).is(201);
        knows(&node, id);
    }
    let push = |id: &str| {
        let sign = node.sign(id, &["--expires", "2035-01-01"]);
        Publisher::start(node.rtmp, "stream", &format!("{id}?sign={sign}")).expect("signed").repeat(Clip::small())
    };
    let _cam = push("cam");
    let page = scenario("console_away.mjs", at, &token, &[]);
    let says = |text: &str| {
        eventually(text, seconds(60), || page.stdout.has(text).then_some(()));
    };
    says("kill it");
    let dir = control.kill();
    says("start it");
    let _control = fleet::control(at, &[], dir);
    says("publish");
    let _second = push("second");
    succeeds(page, seconds(90));
}

#[test]
fn workers_of_other_machines_are_shown_beside_the_nodes() {
    let at = free_address();
    let control = far_workers::control(at);
    let (_node, _push) = far_workers::node(&control, at, "remote");
    let mut client = Client::admin(&control);
    let start = |name: &str| far_workers::worker(at, &far_workers::token(&control), name);
    let _first = start("gpu-1");
    far_workers::serves(&mut client, "gpu-1");
    let _second = start("gpu-2");
    eventually("the second waits", seconds(10), || {
        (far_workers::shown(&mut client, "gpu-2")["node"] == "").then_some(())
    });
    succeeds(scenario("console_workers.mjs", control.control, &admin_token(&control), &[]), seconds(60));
}

#[test]
fn the_console_is_served_with_a_strict_policy_and_files_that_never_change() {
    let server = Options::open().start();
    let page = http::get(server.control, "/");
    assert_eq!(page.status, 200);
    let policy = page.header("content-security-policy");
    for part in ["default-src 'none'", "frame-ancestors 'none'", &format!("http://{}", server.http), "trusted-types"] {
        assert!(policy.contains(part), "{part}: {policy}");
    }
    assert!(!policy.contains("unsafe") && !policy.contains(" *"), "{policy}");
    assert_eq!(page.header("cache-control"), "no-cache");
    let text = String::from_utf8(page.body).expect("UTF-8");
    assert!(!text.contains("://") && !text.contains("style=") && !text.contains("onclick"), "{text}");
    let files: Vec<&str> = text.split('"').filter(|word| word.starts_with("/console/")).collect();
    assert!(files.len() > 20, "{files:?}");
    for file in &files {
        let answer = http::get(server.control, file);
        assert_eq!(answer.status, 200, "{file}");
        assert!(answer.header("cache-control").contains("immutable"), "{file}");
    }
    let (dir, _) = files[0].rsplit_once('/').expect("a path");
    for wrong in
        [format!("{dir}/none.js"), format!("{dir}/../index.html"), "/console/0123456789abcdef/app.js".to_owned()]
    {
        assert_eq!(http::get(server.control, &wrong).status, 404, "{wrong}");
    }
}
