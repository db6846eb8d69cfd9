//! What the pages tell visitors while encoders come and go, networks stall and outputs are off, in headless Chromium.
use std::path::Path;
use std::time::{Duration, SystemTime};

use millstream_tests::clip::Clip;
use millstream_tests::machine::Probe;
use millstream_tests::proc::{go_on, stop};
use millstream_tests::rtmp::Publisher;
use millstream_tests::server::{Options, Server};
use millstream_tests::tools::Tool;
use millstream_tests::{eventually, seconds};

use crate::hls::on_air;

fn node(script: &str, args: &[&str]) -> Tool {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("browser").join(script);
    Tool::start("node", &[&[script.to_str().expect("ASCII")], args].concat())
}

/// Plays these pages of `cam` at once for so long.
fn watch(server: &Server, time_s: u64, pages: &[&str]) -> Tool {
    let urls: Vec<String> = pages.iter().map(|page| format!("http://{}/cam/{page}.html", server.http)).collect();
    let time_s = time_s.to_string();
    let args: Vec<&str> = std::iter::once(&*time_s).chain(urls.iter().map(String::as_str)).collect();
    node("states.mjs", &args)
}

/// What a page said when.
#[derive(Clone, Debug)]
struct Said {
    at: SystemTime,
    state: String,
    way: String,
    message: String,
}

/// How far a page was.
#[derive(Clone, Copy, Debug)]
struct Shown {
    at: SystemTime,
    frames: u64,
    delay_s: f64,
}

fn wall(text: &str) -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_millis(text.parse().expect("milliseconds"))
}

/// The states of a page, by its number.
fn said(out: &str, page: usize) -> Vec<Said> {
    let prefix = format!("{page} state ");
    let said = |line: &str| {
        let mut words = line.splitn(4, ' ');
        let mut word = || words.next().unwrap_or_default().to_owned();
        Said { at: wall(&word()), state: word(), way: word(), message: word() }
    };
    out.lines().filter_map(|line| line.strip_prefix(&prefix)).map(said).collect()
}

/// How far a page was, five times a second.
fn shown(out: &str, page: usize) -> Vec<Shown> {
    let prefix = format!("{page} at ");
    let shown = |line: &str| {
        let words: Vec<&str> = line.split(' ').collect();
        let delay_s = words[3].parse().unwrap_or(f64::NAN);
        Shown { at: wall(words[0]), frames: words[2].parse().expect("frames"), delay_s }
    };
    out.lines().filter_map(|line| line.strip_prefix(&prefix)).map(shown).collect()
}

fn playing(tool: &Tool, pages: usize) {
    let plays = |page: usize| {
        tool.stdout.text().lines().any(|line| line.starts_with(&format!("{page} state ")) && line.contains(" playing "))
    };
    eventually("all pages play", seconds(40), || (0..pages).all(plays).then_some(()));
}

fn finished(tool: Tool, time_s: u64) -> String {
    let done = tool.wait(seconds(time_s + 60));
    let told = done.stdout.lines().filter(|line| !line.contains(" at "));
    println!("{}", told.collect::<Vec<_>>().join("\n"));
    assert!(done.status.success(), "{}", done.stderr);
    done.stdout
}

#[test]
fn pages_say_within_two_seconds_that_the_encoder_has_gone_and_replay_nothing() {
    const TIME_S: u64 = 28;
    const PAGES: [&str; 4] = ["flv", "hls", "dash", "index"];
    let server = Options::open().shards(2).config("[stream_defaults]\npublisher_wait = \"3s\"\n").start();
    let push = on_air(&server, "cam", Clip::numbered());
    let tool = watch(&server, TIME_S, &PAGES);
    playing(&tool, PAGES.len());
    let probe = Probe::start();
    std::thread::sleep(seconds(3));
    let gone = SystemTime::now();
    push.cut();
    std::thread::sleep(seconds(9));
    let back = SystemTime::now();
    let push = Publisher::start(server.rtmp, "stream", "cam").expect("published").repeat(Clip::numbered());
    let out = finished(tool, TIME_S);
    let load = probe.stop();
    println!("{load}");
    let (soon, again_within) = if load.too_busy() { (seconds(5), seconds(14)) } else { (seconds(2), seconds(10)) };
    for (n, page) in PAGES.into_iter().enumerate() {
        let said = said(&out, n);
        let after = |from: SystemTime| move |said: &&Said| said.at > from;
        let first = said.iter().find(after(gone)).unwrap_or_else(|| panic!("{page} says nothing"));
        let late = first.at.duration_since(gone).expect("after");
        assert!(late <= soon, "{page} says it after {late:?}: {first:?}");
        assert_eq!(first.state, "interrupted", "{page}: {first:?}");
        assert!(first.message.contains("interrupted"), "{page}: {first:?}");
        let between: Vec<_> = said.iter().filter(|said| said.at > gone && said.at < back).collect();
        let over = between.last().expect("it said something");
        assert!(over.state == "waiting" && over.message.contains("has ended"), "{page}: {between:?}");
        assert!(between.iter().all(|said| matches!(&*said.state, "interrupted" | "waiting")), "{page}: {between:?}");
        // What was in the player's buffer is shown, and the last segment, which DASH lists with the end (up to two seconds of it); to show the last
        // seconds again would take longer.
        let buffered = gone + seconds(7);
        let again = shown(&out, n)
            .windows(2)
            .filter(|w| w[1].frames > w[0].frames && w[0].at > buffered && w[1].at < back)
            .count();
        assert_eq!(again, 0, "{page} shows pictures of a stream that is over");
        let plays = said.iter().filter(after(back)).find(|said| said.state == "playing");
        let plays = plays.unwrap_or_else(|| panic!("{page} does not go on: {said:?}"));
        let late = plays.at.duration_since(back).expect("after");
        assert!(late < again_within, "{page} goes on after {late:?}");
        assert_eq!(plays.way, if page == "index" { "flv" } else { page }, "the quickest way");
    }
    assert!(push.alive());
}

#[test]
fn pages_do_not_say_live_while_an_encoder_that_is_back_sends_nothing() {
    const TIME_S: u64 = 20;
    const PAGES: [&str; 2] = ["flv", "hls"];
    let server = Options::open().shards(2).start();
    let push = on_air(&server, "cam", Clip::numbered());
    let tool = watch(&server, TIME_S, &PAGES);
    playing(&tool, PAGES.len());
    let probe = Probe::start();
    std::thread::sleep(seconds(3));
    push.cut();
    std::thread::sleep(seconds(1));
    let back = SystemTime::now();
    let publisher = Publisher::start(server.rtmp, "stream", "cam").expect("published");
    std::thread::sleep(seconds(5));
    let sends = SystemTime::now();
    let push = publisher.repeat(Clip::numbered());
    let out = finished(tool, TIME_S);
    let load = probe.stop();
    println!("{load}");
    let soon = if load.too_busy() { seconds(4) } else { seconds(2) };
    for (n, page) in PAGES.into_iter().enumerate() {
        let said = said(&out, n);
        // What it says from `soon` after the encoder was back until that sends: what it said last before then, and all changes.
        let before = said.iter().rfind(|said| said.at < back + soon).expect("it said something");
        let after = said.iter().filter(|said| said.at >= back + soon && said.at < sends);
        let meanwhile: Vec<_> = std::iter::once(before).chain(after).collect();
        assert!(meanwhile.iter().all(|said| said.state == "interrupted"), "{page}: {meanwhile:?}");
        let last = meanwhile.last().expect("at least one");
        assert!(last.message.contains("has sent nothing yet"), "{page} says why: {last:?}");
        let plays = said.iter().any(|said| said.at > sends && said.state == "playing");
        assert!(plays, "{page} does not go on: {said:?}");
    }
    assert!(push.alive());
}

#[test]
fn a_page_for_hls_that_missed_three_seconds_is_soon_as_close_to_live_as_before() {
    const TIME_S: u64 = 24;
    let server = Options::open().shards(1).start();
    let _push = on_air(&server, "cam", Clip::numbered());
    let tool = watch(&server, TIME_S, &["hls", "index"]);
    playing(&tool, 2);
    std::thread::sleep(seconds(6));
    stop(server.pid());
    let stopped = SystemTime::now();
    std::thread::sleep(seconds(3));
    go_on(server.pid());
    let goes_on = SystemTime::now();
    let out = finished(tool, TIME_S);
    for (n, page) in ["hls", "index"].into_iter().enumerate() {
        let shown = shown(&out, n);
        let median = |from: SystemTime, to: SystemTime| {
            let mut delays: Vec<f64> = shown.iter().filter(|s| s.at > from && s.at < to).map(|s| s.delay_s).collect();
            delays.sort_by(f64::total_cmp);
            delays[delays.len() / 2]
        };
        let before = median(stopped - seconds(2), stopped);
        let after = median(goes_on + seconds(6), goes_on + seconds(12));
        println!("{page}: {before:.2} s behind before, {after:.2} s after");
        assert!(after < before + 0.6, "{page} stays {after} s behind, {before} s before");
        let states: Vec<_> = said(&out, n).into_iter().filter(|said| said.at > stopped).collect();
        assert!(states.iter().all(|said| said.way == if page == "index" { "flv" } else { page }), "{page}: {states:?}");
    }
}

#[test]
fn pages_fit_their_windows_and_frames_and_say_what_is_switched_off() {
    let config = "[[stream]]\nid = \"bare\"\nhls = false\ndash = false\n[[stream]]\nid = \"dark\"\nflv = false\n";
    let server = Options::open().config(config).start();
    let _cam = on_air(&server, "cam", Clip::numbered());
    let _bare = Publisher::start(server.rtmp, "stream", "bare").expect("published").repeat(Clip::numbered());
    let _dark = Publisher::start(server.rtmp, "stream", "dark").expect("published").repeat(Clip::numbered());
    let done = node("look.mjs", &[&format!("http://{}", server.http)]).wait(seconds(100));
    println!("{}", done.stdout);
    assert!(done.status.success(), "{}\n{}", done.stdout, done.stderr);
}

#[test]
fn the_wall_says_that_an_encoder_has_gone_and_when_the_slate_plays() {
    let config = "[stream_defaults]\npublisher_wait = \"30s\"\n[[stream]]\nid = \"brb\"\non_unpublish = \"slate\"\n";
    let server = Options::open().config(config).start();
    let pushing = ["cam", "brb"].map(|id| on_air(&server, id, Clip::small()));
    let url = format!("http://{}/wall.html?streams=cam,brb", server.http);
    let tool = node("tiles.mjs", &[&url, "live, live", "interrupted, be right back", "live, live"]);
    let reaches = |step: &str| {
        eventually(&format!("step {step}"), seconds(45), || {
            assert!(tool.stderr.text().is_empty(), "{}", tool.stderr.text());
            tool.stdout.text().lines().any(|line| line == step).then_some(())
        });
    };
    reaches("1");
    for push in pushing {
        push.cut();
    }
    reaches("2");
    let _pushing = ["cam", "brb"].map(|id| on_air(&server, id, Clip::small()));
    let done = tool.wait(seconds(30));
    assert!(done.status.success(), "{}\n{}", done.stdout, done.stderr);
}

#[test]
#[ignore = "takes most of a minute; tests/run --long has it"]
fn the_page_that_chooses_goes_back_to_the_quickest_way_once_it_works() {
    let server = Options::open().start();
    let _push = on_air(&server, "cam", Clip::numbered());
    let done = node("fallback.mjs", &[&format!("http://{}/cam/index.html", server.http)]).wait(seconds(150));
    println!("{}", done.stdout);
    assert!(done.status.success(), "{}\n{}", done.stdout, done.stderr);
}

#[test]
#[ignore = "takes half a minute; tests/run --long has it"]
fn pages_say_that_an_encoder_has_fallen_silent_and_that_it_is_back() {
    const TIME_S: u64 = 20;
    const PAGES: [&str; 2] = ["flv", "hls"];
    let server = Options::open().shards(2).start();
    let push = on_air(&server, "cam", Clip::numbered());
    let tool = watch(&server, TIME_S, &PAGES);
    playing(&tool, PAGES.len());
    std::thread::sleep(seconds(3));
    let silent = SystemTime::now();
    push.silence();
    std::thread::sleep(seconds(4));
    let back = SystemTime::now();
    push.resume();
    let out = finished(tool, TIME_S);
    for (n, page) in PAGES.into_iter().enumerate() {
        let said: Vec<_> = said(&out, n).into_iter().filter(|said| said.at > silent).collect();
        let late = said[0].at.duration_since(silent).expect("after");
        assert!(said[0].state == "silent" && late < Duration::from_millis(2_700), "{page} after {late:?}: {said:?}");
        let plays = said.iter().find(|said| said.at > back && said.state == "playing").expect("it plays again");
        assert!(plays.at.duration_since(back).expect("after") < seconds(3), "{page}: {said:?}");
        assert_eq!(said.last().map(|said| &*said.state), Some("playing"), "{page}");
    }
    assert!(push.alive());
}
