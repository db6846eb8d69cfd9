//! The pages for HLS and DASH in headless Chromium: how far behind the encoder the picture on the screen is, and that an encoder may restart.
use std::net::SocketAddr;
use std::path::Path;
use std::time::{Duration, Instant, SystemTime};

use millstream_tests::cdn::Cache;
use millstream_tests::clip::Clip;
use millstream_tests::flv::VIDEO;
use millstream_tests::machine::Probe;
use millstream_tests::rtmp::{Publisher, Pushing};
use millstream_tests::server::{Options, Server};
use millstream_tests::tools::Tool;
use millstream_tests::{eventually, millis, percentile, seconds};

use crate::hls::on_air;

/// Frames of the clip.
const PICTURES: u64 = 300;

/// What a page showed.
struct Shown {
    /// Number of a picture, and when it was on the screen.
    pictures: Vec<(u64, SystemTime)>,
    /// Which delay the page said, and when.
    says: Vec<(SystemTime, Duration)>,
    text: String,
}

/// Lets Chromium play a page for so many seconds.
fn play(at: SocketAddr, page: &str, time_s: u64) -> Tool {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("browser/numbered.mjs");
    let (script, url) = (script.to_str().expect("ASCII").to_owned(), format!("http://{at}/cam/{page}"));
    Tool::start("node", &[&script, &url, &time_s.to_string()])
}

fn shown(tool: Tool, time_s: u64) -> Shown {
    let done = tool.wait(seconds(time_s + 60));
    let told: Vec<&str> =
        done.stdout.lines().filter(|line| !line.starts_with("picture ") && !line.starts_with("says ")).collect();
    let text = told.join("\n");
    println!("{text}");
    assert!(done.status.success(), "{text}\n{}", done.stderr);
    let wall = |ms: &str| Some(SystemTime::UNIX_EPOCH + Duration::from_secs_f64(ms.parse::<f64>().ok()? / 1e3));
    let picture = |line: &str| {
        let (number, at) = line.strip_prefix("picture ")?.split_once(' ')?;
        Some((number.parse().ok()?, wall(at)?))
    };
    let says = |line: &str| {
        let (at, delay_s) = line.strip_prefix("says ")?.split_once(' ')?;
        Some((wall(at)?, Duration::try_from_secs_f64(delay_s.parse().ok()?).ok()?))
    };
    let lines = || done.stdout.lines();
    Shown { pictures: lines().filter_map(picture).collect(), says: lines().filter_map(says).collect(), text }
}

impl Shown {
    /// From a picture's sending to its being on the screen.
    fn delays(&self, pushes: &[&Pushing]) -> Vec<Duration> {
        let (now, wall) = (Instant::now(), SystemTime::now());
        let mut sent = vec![Vec::new(); PICTURES as usize];
        for push in pushes {
            let pictures = push.sent().into_iter().filter(|(tag, _)| tag.kind == VIDEO && tag.is_frame());
            for (n, (_, at)) in pictures.enumerate() {
                sent[n % PICTURES as usize].push(wall - (now - at));
            }
        }
        let one = |&(number, at): &(u64, SystemTime)| {
            // The same number comes back every ten seconds: it is the newest that can be on the screen.
            let times = sent[number as usize].iter().filter_map(|sent| at.duration_since(*sent).ok());
            times.min()
        };
        self.pictures.iter().filter_map(one).collect()
    }

    /// The delay that the page said from some moment on, the middle one.
    fn said(&self, from: SystemTime) -> Duration {
        let mut all: Vec<_> = self.says.iter().filter(|(at, _)| *at >= from).map(|(_, delay)| *delay).collect();
        assert!(!all.is_empty(), "the page says no delay: {}", self.text);
        percentile(&mut all, 0.5)
    }

    /// Frames that followed the one before, of those that there were.
    fn smooth(&self) -> f64 {
        let follows = self.pictures.windows(2).filter(|w| (w[1].0 + PICTURES - w[0].0) % PICTURES == 1).count();
        follows as f64 / self.pictures.len().max(1) as f64
    }
}

/// Measures a page; median and 99% of the delay, or nothing where the machine was too busy to tell.
fn measured(name: &str, at: SocketAddr, page: &str, push: &Pushing) -> Option<(Duration, Duration)> {
    let time_s = 14;
    let probe = Probe::start();
    let shown = shown(play(at, page, time_s), time_s);
    let load = probe.stop();
    let mut delays = shown.delays(&[push]);
    let least = if load.too_busy() { time_s * 30 / 4 } else { time_s * 30 * 6 / 10 };
    assert!(delays.len() as u64 > least, "{name}: only {} pictures; {load}", delays.len());
    // A player has settled after some seconds.
    let mut settled = delays.split_off(delays.len() / 3);
    let said = shown.said(shown.pictures[shown.pictures.len() / 3].1);
    let (p50, p99) = (percentile(&mut settled, 0.5), percentile(&mut settled, 0.99));
    println!(
        "{name}: encoder's send to screen p50 {p50:?}, p99 {p99:?}; the page says {said:?}; over {} pictures, {:.0}% of them in sequence; {load}",
        settled.len(),
        shown.smooth() * 100.0
    );
    if load.too_busy() {
        return None;
    }
    assert!(said.abs_diff(p50) <= millis(300), "{name}: the page says {said:?}, and it is {p50:?}");
    Some((p50, p99))
}

fn server() -> Server {
    Options::open().shards(1).start()
}

#[test]
fn hls_is_at_most_two_seconds_behind_the_encoder() {
    let server = server();
    let push = on_air(&server, "cam", Clip::numbered());
    if let Some((p50, p99)) = measured("hls.js", server.http, "hls.html", &push) {
        assert!(p50 <= millis(1_500), "p50 {p50:?}");
        assert!(p99 <= millis(2_000), "p99 {p99:?}");
    }
}

#[test]
fn flv_is_at_most_a_second_behind_the_encoder_and_the_page_says_how_far() {
    let server = server();
    let push = on_air(&server, "cam", Clip::numbered());
    if let Some((p50, p99)) = measured("mpegts.js", server.http, "flv.html", &push) {
        assert!(p50 <= millis(1_000), "p50 {p50:?}");
        assert!(p99 <= millis(1_500), "p99 {p99:?}");
    }
}

#[test]
#[ignore = "takes half a minute; tests/run --long has it"]
fn hls_through_varnish_is_at_most_a_tenth_of_a_second_further_behind() {
    let server = server();
    let push = on_air(&server, "cam", Clip::numbered());
    let cache = Cache::varnish(server.http);
    if let Some((p50, p99)) = measured("hls.js through Varnish", cache.address, "hls.html", &push) {
        assert!(p50 <= millis(1_600), "p50 {p50:?}");
        assert!(p99 <= millis(2_100), "p99 {p99:?}");
    }
}

#[test]
#[ignore = "takes half a minute; tests/run --long has it"]
fn dash_is_at_most_six_seconds_behind_the_encoder() {
    let server = server();
    let push = on_air(&server, "cam", Clip::numbered());
    if let Some((_, p99)) = measured("dash.js", server.http, "dash.html", &push) {
        assert!(p99 <= seconds(6), "p99 {p99:?}");
    }
}

/// An encoder that restarts while people watch: the same page goes on by itself.
fn survives_a_restart(page: &str) {
    const TIME_S: u64 = 30;
    let server = server();
    let first = on_air(&server, "cam", Clip::numbered());
    let tool = play(server.http, page, TIME_S);
    eventually("the page plays", seconds(40), || tool.stdout.has("start ").then_some(()));
    std::thread::sleep(seconds(10));
    first.cut();
    std::thread::sleep(seconds(1));
    let back = SystemTime::now();
    let push = Publisher::start(server.rtmp, "stream", "cam").expect("published").repeat(Clip::numbered());
    let shown = shown(tool, TIME_S);
    let delays = shown.delays(&[&push]);
    let again = shown.pictures.iter().filter(|(_, at)| *at > back + seconds(8)).count();
    println!(
        "{page}: {} pictures, {again} of them long after the restart; {} could be told",
        shown.pictures.len(),
        delays.len()
    );
    assert!(again > 150, "only {again} pictures after the restart\n{}", shown.text);
    assert!(push.alive());
}

#[test]
#[ignore = "takes most of a minute; tests/run --long has it"]
fn hls_goes_on_after_an_encoder_restart() {
    survives_a_restart("hls.html");
}

#[test]
#[ignore = "takes most of a minute; tests/run --long has it"]
fn dash_goes_on_after_an_encoder_restart() {
    survives_a_restart("dash.html");
}

#[test]
fn the_page_that_chooses_plays_and_lets_the_visitor_choose() {
    let server = server();
    let _push = on_air(&server, "cam", Clip::numbered());
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("browser/choose.mjs");
    let url = format!("http://{}/cam/index.html", server.http);
    let done = Tool::start("node", &[script.to_str().expect("ASCII"), &url]).wait(seconds(90));
    println!("{}", done.stdout);
    assert!(done.status.success(), "{}\n{}", done.stdout, done.stderr);
}
