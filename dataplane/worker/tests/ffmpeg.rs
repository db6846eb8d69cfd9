//! The worker with children of `ffmpeg`: an encoder in place of OpenH264, a decoder for what OpenH264 does not take, and programs that do not do as they should.
#![cfg(feature = "codecs")]
mod common;

use std::os::unix::fs::PermissionsExt as _;
use std::thread::sleep;
use std::time::{Duration, Instant};

use common::node::Node;
use common::worker::{Worker, rendition};
use common::{clip, is_whole, scratch, usual_arguments};
use millstream_proto::media::Codec;
use millstream_worker::protocol::{Marks, Order, PictureCodec, Report, SecretUrl, Why};

const PERIOD_MS: u32 = 6_000;

#[track_caller]
fn until(what: &str, mut is: impl FnMut() -> bool) {
    let until = Instant::now() + Duration::from_secs(30);
    while !is() {
        assert!(Instant::now() < until, "{what}");
        sleep(Duration::from_millis(5));
    }
}

fn start(node: &Node) -> Order {
    let renditions = vec![rendition("180p", &node.push("180p"), (320, 180), 200)];
    Order::Start { job: 1, source: SecretUrl::new(node.source()), renditions, marks: Marks::default() }
}

/// Where Debian's `ffmpeg` is.
fn installed() -> String {
    let path = common::tool("which", &["ffmpeg"]);
    path.trim().to_owned()
}

/// Processes below this one whose command line has that in it, with those of their children.
fn below(pid: u32, word: &str) -> usize {
    let children = std::fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).unwrap_or_default();
    let pids = children.split_whitespace().filter_map(|pid| pid.parse::<u32>().ok());
    let of = |pid: u32| {
        let command = std::fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        let arguments = String::from_utf8_lossy(&command).replace('\0', " ");
        usize::from(arguments.contains(word)) + below(pid, word)
    };
    pids.map(of).sum()
}

/// A word of all children, and of no other process: where their frames come from.
const OF_CHILD: &str = "-i pipe:0";

#[test]
fn x264_encodes_in_place_of_openh264_and_no_child_outlives_its_worker() {
    let node = Node::start(clip("live", &usual_arguments("640x360", "30", "6")), PERIOD_MS, 3_000);
    let mut worker = Worker::start_with(&installed(), Some("libx264"));
    worker.order(&start(&node));
    let (started, _) = worker.wait(|report| matches!(report, Report::Started { .. }));
    assert_eq!(started, Report::Started { job: 1, rendition: "180p".into(), width: 320, height: 180 });
    until("frames", || node.of("180p").video().len() > 150);
    is_whole(&node.of("180p"));
    let (loaded, _) = worker.wait(|report| matches!(report, Report::Load { .. }));
    println!("{loaded:?}");
    let pid = worker.child.id();
    assert_eq!(below(pid, OF_CHILD), 1);
    worker.order(&Order::Stop { job: 1 });
    until("no child of a job that is over", || below(pid, OF_CHILD) == 0);

    // Killed, it leaves none.
    let mut again = start(&node);
    if let Order::Start { job, .. } = &mut again {
        *job = 2;
    }
    worker.order(&again);
    until("another child", || below(pid, OF_CHILD) == 1);
    let children: Vec<i32> = all_below(pid);
    assert!(children.len() >= 2, "{children:?}");
    drop(worker);
    until("nobody is left", || children.iter().all(|pid| !std::path::Path::new(&format!("/proc/{pid}/exe")).exists()));
}

#[test]
fn x265_encodes_what_is_to_be_hevc_and_without_ffmpeg_that_is_said() {
    let node = Node::start(clip("live", &usual_arguments("640x360", "30", "6")), PERIOD_MS, 3_000);
    let hevc = |job: u64| {
        let mut order = start(&node);
        if let Order::Start { job: number, renditions, .. } = &mut order {
            *number = job;
            renditions[0].codec = PictureCodec::Hevc;
        }
        order
    };
    // Whatever encodes H.264.
    let mut worker = Worker::start_with(&installed(), Some("libx264"));
    worker.order(&hevc(1));
    let (started, _) = worker.wait(|report| matches!(report, Report::Started { .. }));
    assert_eq!(started, Report::Started { job: 1, rendition: "180p".into(), width: 320, height: 180 });
    until("frames", || node.of("180p").video().len() > 150);
    is_whole(&node.of("180p"));
    let codecs: Vec<_> = node.of("180p").frames.iter().map(|(_, frame)| frame.codec).collect();
    assert!(codecs.contains(&Codec::Hevc) && !codecs.contains(&Codec::Avc));
    drop(worker);
    let mut without = Worker::start();
    without.order(&hevc(2));
    let (ended, _) = without.wait(|report| matches!(report, Report::Ended { rendition: Some(_), .. }));
    let Report::Ended { why: Why::Unsupported, error: Some(error), .. } = ended else { panic!("{ended:?}") };
    assert!(error.contains("no ffmpeg"), "{error}");
}

fn all_below(pid: u32) -> Vec<i32> {
    let children = std::fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).unwrap_or_default();
    let pids: Vec<u32> = children.split_whitespace().filter_map(|pid| pid.parse().ok()).collect();
    pids.iter().flat_map(|pid| std::iter::once(*pid as i32).chain(all_below(*pid))).collect()
}

/// H.264 with ten bits and B-frames: OpenH264 does not take it.
fn ten_bits() -> Vec<common::Sent> {
    let mut arguments = usual_arguments("640x360", "30", "6");
    let format = arguments.iter().position(|argument| *argument == "yuv420p").expect("a format");
    arguments[format] = "yuv420p10le";
    clip("live10", &arguments)
}

#[test]
fn what_openh264_does_not_take_is_decoded_by_a_child() {
    let node = Node::start(ten_bits(), PERIOD_MS, 3_000);
    let mut worker = Worker::start_with(&installed(), None);
    worker.order(&start(&node));
    worker.wait(|report| matches!(report, Report::Started { .. }));
    until("frames", || node.of("180p").video().len() > 150);
    is_whole(&node.of("180p"));
    let (loaded, _) = worker.wait(|report| matches!(report, Report::Load { .. }));
    println!("{loaded:?}");
    let Report::Load { frames_lost: 0, .. } = loaded else { panic!("{loaded:?}") };
    // A picture of it, from a decoder of its own or the job's.
    worker.order(&Order::Snapshot { request: 1, source: SecretUrl::new(node.source()), width_max: None, quality: 80 });
    worker.wait(|report| matches!(report, Report::Picture { request: 1, width: 640, height: 360, .. }));
    worker.order(&Order::Stop { job: 1 });
    worker.wait(|report| matches!(report, Report::Ended { job: 1, rendition: None, why: Why::Stopped, .. }));
    until("no stream is read", || node.stream.active.load(std::sync::atomic::Ordering::SeqCst) == 0);
    worker.order(&Order::Snapshot { request: 2, source: SecretUrl::new(node.source()), width_max: None, quality: 80 });
    worker.wait(|report| matches!(report, Report::Picture { request: 2, .. }));
    // And without ffmpeg that is said.
    let mut without = Worker::start();
    without.order(&start(&node));
    without.wait(|report| matches!(report, Report::Ended { why: Why::Unsupported, .. }));
}

/// A program of a few lines of shell in the place of `ffmpeg`.
fn fake(name: &str, script: &str) -> String {
    let dir = scratch("fake").join(name);
    std::fs::create_dir_all(&dir).expect("a directory");
    let path = dir.join("ffmpeg");
    std::fs::write(&path, format!("#!/bin/sh\n{script}\n")).expect("a script");
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).expect("a program");
    path.to_str().expect("ASCII").to_owned()
}

#[test]
fn a_program_that_does_not_do_as_it_should_costs_its_rendition_and_its_stream_alone() {
    let fakes = [
        ("hangs", "exec sleep 100", "has given nothing for 5 s"),
        ("deaf", "cat > /dev/null", "has given nothing for 5 s"),
        ("garbage", "cat /dev/zero", "not asked for (no FLV)"),
        ("dies", "echo '[fatal] there is no such encoder' >&2; exit 1", "there is no such encoder"),
        ("echoes", "cat", "not asked for (no FLV)"),
        ("opens", "cat /etc/hostname >&2 || echo '[fatal] kept out' >&2", "kept out"),
    ];
    std::thread::scope(|scope| {
        for (name, script, expected) in fakes {
            scope.spawn(move || {
                let node = Node::start(clip("live", &usual_arguments("640x360", "30", "6")), PERIOD_MS, 3_000);
                let mut worker = Worker::start_with(&fake(name, script), Some("libx264"));
                worker.order(&start(&node));
                let is_end = |report: &Report| matches!(report, Report::Ended { rendition: Some(_), .. });
                let (ended, _) = worker.wait(is_end);
                let Report::Ended { why: Why::Failed, error: Some(error), .. } = ended else {
                    panic!("{name}: {ended:?}")
                };
                assert!(error.contains(expected), "{name}: {error}");
                assert!(node.of("180p").video().is_empty());
                let pid = worker.child.id();
                until(name, || below(pid, OF_CHILD) == 0);
                // Who decodes is no better, and the worker goes on.
                let node = Node::start(ten_bits(), PERIOD_MS, 3_000);
                let mut other = start(&node);
                if let Order::Start { job, .. } = &mut other {
                    *job = 2;
                }
                worker.order(&other);
                let (ended, _) = worker.wait(|report| matches!(report, Report::Ended { job: 2, .. }));
                let Report::Ended { why: Why::Failed, error: Some(error), .. } = ended else {
                    panic!("{name}: {ended:?}")
                };
                println!("{name}: {error}");
                until(name, || below(pid, OF_CHILD) == 0);
                let (status, _) = worker.finish();
                assert!(status.success(), "{name}: {status}");
            });
        }
    });
}
