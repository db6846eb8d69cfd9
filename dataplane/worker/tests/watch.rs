//! Motion as the worker's process tells it: of a stream by itself, beside renditions, by keyframes alone; and what it costs:
//! `cargo test --release -p millstream-worker --test watch -- --ignored --nocapture --test-threads 1`.
#![cfg(feature = "codecs")]
mod common;

use std::collections::BTreeMap;
use std::sync::atomic::Ordering;
use std::thread::sleep;
use std::time::{Duration, Instant};

use common::node::Node;
use common::worker::{Worker, rendition};
use common::{Sent, clip, usual_arguments};
use millstream_proto::zones::Zones;
use millstream_worker::protocol::{Change, Marks, MotionSettings, Order, Report, SecretUrl, Why, WhyEnded};

const PERIOD_MS: u32 = 12_000;
const SETTINGS: MotionSettings = MotionSettings {
    percent: 2,
    diff: 10,
    duration_ms: 1_000,
    timeout_ms: 60_000,
    every_ms: MotionSettings::EVERY_MS,
    keyframes_only: false,
    zones: Zones::WHOLE,
};

/// A wall; from 5 s to 9 s of each 12 s something dark goes from left to right.
fn moving(name: &str, size: (u32, u32), more: &[&str]) -> Vec<Sent> {
    let (width, height) = size;
    let wall = format!("color=c=0x909090:s={width}x{height}:r=25:d=12,noise=alls=6:allf=t:all_seed=1");
    let thing = format!("color=c=0x303030:s={}x{}:r=25:d=12", width / 6, height / 3);
    let way = "overlay=x='-w+(W+2*w)*(t-5)/4':y=H/3:enable='between(t,5,9)',format=yuv420p";
    let arguments = ["-f", "lavfi", "-i", &wall, "-f", "lavfi", "-i", &thing, "-filter_complex", way];
    let usual = ["-c:v", "libx264", "-preset", "veryfast", "-sc_threshold", "0"];
    clip(name, &[&arguments[..], &usual, more].concat())
}

fn watch(node: &Node, watch: u64, motion: MotionSettings) -> Order {
    Order::Watch { watch, source: SecretUrl::new(node.source()), motion, hook: None, shadow: None }
}

fn of_motion(report: &Report) -> Option<(u64, i64, &Change)> {
    match report {
        Report::Motion { watch, now_ms, motion } => Some((*watch, *now_ms, motion)),
        _ => None,
    }
}

fn starts(report: &Report) -> bool {
    matches!(of_motion(report), Some((_, _, Change::Started { .. })))
}

/// Where in the clip something is.
fn place(pts_ms: i64) -> i64 {
    pts_ms % i64::from(PERIOD_MS)
}

#[test]
fn what_moves_is_told_with_its_picture_and_stillness_is_not() {
    let node = Node::start(moving("moving", (640, 360), &["-bf", "3", "-g", "50"]), PERIOD_MS, 1_000);
    let mut worker = Worker::start();
    worker.order(&watch(&node, 7, SETTINGS));
    let (report, picture) = worker.wait(starts);
    let Some((7, now_ms, Change::Started { pts_ms, until_ms, score, regions, .. })) = of_motion(&report) else {
        panic!()
    };
    assert!((5_000..6_500).contains(&place(*pts_ms)), "{report:?}");
    assert!(*until_ms > *pts_ms && (0.0..0.4).contains(score) && *score >= 0.01, "{report:?}");
    assert!((0..2_000).contains(&(now_ms - pts_ms)), "told soon: {report:?}");
    let region = regions.first().expect("a region");
    assert!(region.x < 0.3 && region.width < 0.5 && region.y > 0.2 && region.y + region.height < 0.8, "{region:?}");
    assert!(picture.starts_with(b"\xff\xd8") && picture.len() > 2_000, "{}", picture.len());
    let (ended, nothing) = worker.wait(|report| matches!(of_motion(report), Some((_, _, Change::Ended { .. }))));
    let Some((_, _, Change::Ended { pts_ms, why: WhyEnded::Still, .. })) = of_motion(&ended) else {
        panic!("{ended:?}")
    };
    assert!((9_000..11_500).contains(&place(*pts_ms)) && nothing.is_empty(), "{ended:?}");
    // Told with the first picture, and every five seconds.
    let rates: Vec<f32> = worker
        .said()
        .iter()
        .filter_map(|report| match report {
            Report::Watched { pictures_s, shared: false, frames_lost: 0, .. } => Some(*pictures_s),
            _ => None,
        })
        .collect();
    // What a stream begins with comes at once, and counts as well.
    assert!(rates.len() >= 2 && (4.0..8.0).contains(&rates[1]), "{rates:?}");
    assert_eq!(worker.said().iter().filter(|report| starts(report)).count(), 1, "{:?}", worker.said());
    worker.order(&Order::Unwatch { watch: 7 });
    let begun = Instant::now();
    while node.stream.active.load(Ordering::SeqCst) > 0 {
        assert!(begun.elapsed() < Duration::from_secs(2), "it leaves the stream");
        sleep(Duration::from_millis(2));
    }
    assert!(worker.finish().0.success());
}

#[test]
fn the_decode_of_renditions_is_shared() {
    let node = Node::start(moving("moving", (640, 360), &["-bf", "3", "-g", "50"]), PERIOD_MS, 1_000);
    let mut worker = Worker::start();
    let renditions = vec![rendition("180p", &node.push("180p"), (320, 180), 200)];
    worker.order(&Order::Start { job: 1, source: SecretUrl::new(node.source()), renditions, marks: Marks::default() });
    worker.wait(|report| matches!(report, Report::Started { .. }));
    worker.order(&watch(&node, 2, SETTINGS));
    let (report, picture) = worker.wait(starts);
    let Some((2, _, Change::Started { pts_ms, .. })) = of_motion(&report) else { panic!() };
    assert!((5_000..6_500).contains(&place(*pts_ms)) && !picture.is_empty(), "{report:?}");
    worker.wait(|report| matches!(report, Report::Watched { watch: 2, shared: true, .. }));
    // In the middle of it the renditions go, and the watch goes on by itself.
    worker.order(&Order::Stop { job: 1 });
    worker.wait(
        |report| matches!(report, Report::Watched { watch: 2, shared: false, pictures_s, .. } if *pictures_s > 1.0),
    );
    let until = Instant::now() + Duration::from_secs(20);
    while worker.said().iter().filter(|report| starts(report)).count() < 2 {
        assert!(Instant::now() < until, "{:?}", worker.said());
        sleep(Duration::from_millis(20));
    }
}

#[test]
fn keyframes_alone_find_what_stays_long_enough() {
    let node = Node::start(moving("moving", (640, 360), &["-bf", "3", "-g", "50"]), PERIOD_MS, 3_000);
    let mut worker = Worker::start();
    worker.order(&watch(&node, 1, MotionSettings { keyframes_only: true, ..SETTINGS }));
    let (report, _) = worker.wait(starts);
    let Some((_, _, Change::Started { pts_ms, .. })) = of_motion(&report) else { panic!() };
    assert_eq!(pts_ms % 2_000, 80, "of a keyframe, which is shown two frames behind its decode time: {report:?}");
    assert!((5_000..9_000).contains(&place(*pts_ms)), "{report:?}");
}

/// OpenH264 does not take it, and no `ffmpeg` is there.
#[test]
fn a_stream_that_cannot_be_decoded_ends_its_watch_and_no_other() {
    let usual = ["-bf", "3", "-g", "50"];
    let of_422 = moving("moving-422", (640, 360), &[&usual[..], &["-pix_fmt", "yuv422p"]].concat());
    let other = Node::start(of_422, PERIOD_MS, 1_000);
    let node = Node::start(moving("moving", (640, 360), &usual), PERIOD_MS, 1_000);
    let mut worker = Worker::start();
    worker.order(&watch(&node, 1, SETTINGS));
    worker.wait(|report| matches!(report, Report::Watched { watch: 1, .. }));
    worker.order(&watch(&other, 2, SETTINGS));
    let (ended, _) = worker.wait(|report| matches!(report, Report::WatchEnded { watch: 2, .. }));
    let Report::WatchEnded { why: Why::Unsupported, error: Some(error), .. } = &ended else { panic!("{ended:?}") };
    assert_eq!(error, "H.264 4:2:2 is not decoded here");
    // It is not tried again, and nobody reads it any more.
    let begun = Instant::now();
    while other.stream.active.load(Ordering::SeqCst) > 0 {
        assert!(begun.elapsed() < Duration::from_secs(2), "it leaves the stream");
        sleep(Duration::from_millis(2));
    }
    // What moves in the one beside it is seen behind that.
    assert!(!worker.said().iter().any(starts), "{:?}", worker.said());
    let (motion, picture) = worker.wait(starts);
    assert!(matches!(of_motion(&motion), Some((1, ..))) && !picture.is_empty(), "{motion:?}");
    worker.wait(|report| matches!(of_motion(report), Some((1, _, Change::Ended { why: WhyEnded::Still, .. }))));
    assert_eq!(other.stream.connections.load(Ordering::SeqCst), 1);
    let ends = worker.said().iter().filter(|report| matches!(report, Report::WatchEnded { .. })).count();
    assert_eq!(ends, 1, "{:?}", worker.said());
}

#[test]
fn a_stream_that_is_no_more_is_told() {
    let node = Node::start(moving("moving", (640, 360), &["-bf", "3", "-g", "50"]), PERIOD_MS, 1_000);
    let mut worker = Worker::start();
    worker.order(&watch(&node, 1, SETTINGS));
    worker.order(&watch(&node, 1, SETTINGS));
    worker.wait(|report| matches!(report, Report::WatchEnded { watch: 1, why: Why::BadOrder, .. }));
    worker.wait(|report| matches!(report, Report::Watched { watch: 1, .. }));
    node.stream.cut.store(true, Ordering::SeqCst);
    sleep(Duration::from_millis(300));
    node.stream.cut.store(false, Ordering::SeqCst);
    worker.wait(starts);
    node.stream.gone.store(true, Ordering::SeqCst);
    // What goes on ends with the stream.
    worker.wait(|report| matches!(of_motion(report), Some((1, _, Change::Ended { why: WhyEnded::Interrupted, .. }))));
    worker.wait(|report| matches!(report, Report::WatchEnded { watch: 1, why: Why::Gone, .. }));
}

/// CPU time of a process so far.
fn cpu(pid: u32) -> Duration {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).expect("a process");
    // Behind the name: the state, ten more, utime and stime, in ticks of 10 ms.
    let behind = stat.rsplit(')').next().expect("a name").split_whitespace();
    let ticks: u64 = behind.skip(11).take(2).map(|ticks| ticks.parse::<u64>().expect("ticks")).sum();
    Duration::from_millis(ticks * 10)
}

/// Pictures a second that were looked at, by watch: what each of its reports says.
fn rates(said: &[Report]) -> BTreeMap<u64, Vec<f32>> {
    let mut all: BTreeMap<u64, Vec<f32>> = BTreeMap::new();
    for report in said {
        if let Report::Watched { watch, pictures_s, .. } = report {
            all.entry(*watch).or_default().push(*pictures_s);
        }
    }
    all
}

/// Cores that a worker takes for so many watches of a stream, each of which is to be looked at so many times a second.
fn cost(name: &str, node: &Node, watches: usize, motion: MotionSettings, pictures_s: f32) {
    let mut worker = Worker::start();
    (1..=watches).for_each(|number| worker.order(&watch(node, number as u64, motion)));
    let until = Instant::now() + Duration::from_mins(1);
    // A report without a rate, and two that count what a stream begins with and what came while others began.
    while rates(&worker.said()).values().filter(|rates| rates.len() >= 3).count() < watches {
        assert!(Instant::now() < until, "not all {watches} begin: {:?}", rates(&worker.said()));
        sleep(Duration::from_millis(100));
    }
    let (pid, begun, told) = (worker.child.id(), Instant::now(), worker.said().len());
    let before = cpu(pid);
    sleep(Duration::from_secs(20));
    let cores = cpu(pid).saturating_sub(before).as_secs_f64() / begun.elapsed().as_secs_f64();
    let of_each = rates(&worker.said().split_off(told));
    assert_eq!(of_each.len(), watches, "all of them tell how they do");
    let rates: Vec<f32> = of_each.values().map(|rates| rates.iter().sum::<f32>() / rates.len() as f32).collect();
    let (least, mean) =
        (rates.iter().copied().fold(f32::MAX, f32::min), rates.iter().sum::<f32>() / rates.len() as f32);
    println!(
        "{name}: {watches} streams take {cores:.2} cores, {:.2} % of one each; {mean:.2} pictures a second of each, {least:.2} of the one with the fewest",
        100.0 * cores / watches as f64
    );
    assert!(cores <= 1.0, "{cores}");
    // A worker that looks at less takes less.
    assert!((mean / pictures_s - 1.0).abs() <= 0.1, "{mean} pictures a second of each, and not {pictures_s}");
}

/// Pictures a second that [`SETTINGS`] ask for.
const A_SECOND: f32 = 1_000.0 / SETTINGS.every_ms as f32;

#[test]
#[ignore = "a measurement"]
fn twenty_streams_of_360p() {
    // As x264 makes it where nothing is said, and as a camera does, without B-frames.
    let usual = moving("moving-25", (640, 360), &["-bf", "3", "-g", "50", "-b:v", "800k"]);
    cost("360p25, B-frames, 5 pictures a second", &Node::start(usual, PERIOD_MS, 1_000), 20, SETTINGS, A_SECOND);
    let camera = moving("camera-25", (640, 360), &["-bf", "0", "-g", "50", "-b:v", "800k"]);
    cost("360p25, no B-frames, 5 pictures a second", &Node::start(camera, PERIOD_MS, 1_000), 20, SETTINGS, A_SECOND);
    let slow = moving("camera-5", (640, 360), &["-bf", "0", "-r", "5", "-g", "10", "-b:v", "300k"]);
    cost("360p5, no B-frames", &Node::start(slow, PERIOD_MS, 1_000), 20, SETTINGS, A_SECOND);
}

#[test]
#[ignore = "a measurement"]
fn a_hundred_streams_of_1080p_by_keyframes() {
    let source = clip("full-hd", &usual_arguments("1920x1080", "30", "12"));
    let node = Node::start(source, PERIOD_MS, 1_000);
    // Longer than the interval: else each keyframe of a stream that moves is an event of its own, with a JPEG.
    let keyframes = MotionSettings { keyframes_only: true, duration_ms: 5_000, ..SETTINGS };
    cost("1080p30, a keyframe each 2 s, by keyframes alone", &node, 100, keyframes, 0.5);
}
