//! The worker as a process, in its sandbox, between a node's HTTP and RTMP ports: jobs, renditions that come and go, connections that end, and
//! pictures.
#![cfg(feature = "codecs")]
mod common;

use std::collections::BTreeSet;
use std::os::unix::process::ExitStatusExt as _;
use std::sync::atomic::Ordering;
use std::thread::sleep;
use std::time::{Duration, Instant};

use common::node::Node;
use common::worker::{Worker, rendition};
use common::{clip, is_whole, tool, usual_arguments, write};
use millstream_proto::media::Track;
use millstream_worker::protocol::{Marks, Order, Report, SecretUrl, Why};

const PERIOD_MS: u32 = 6_000;

fn node(at_ms: u64) -> Node {
    Node::start(clip("live", &usual_arguments("640x360", "30", "6")), PERIOD_MS, at_ms)
}

#[track_caller]
fn until(what: &str, mut is: impl FnMut() -> bool) {
    let until = Instant::now() + Duration::from_secs(20);
    while !is() {
        assert!(Instant::now() < until, "{what}");
        sleep(Duration::from_millis(2));
    }
}

fn start(node: &Node, job: u64, renditions: &[(&str, (u32, u32))]) -> Order {
    Order::Start {
        job,
        source: SecretUrl::new(node.source()),
        renditions: set(node, renditions),
        marks: Marks::default(),
    }
}

fn set(node: &Node, renditions: &[(&str, (u32, u32))]) -> Vec<millstream_worker::protocol::Rendition> {
    renditions.iter().map(|(name, size)| rendition(name, &node.push(name), *size, 200)).collect()
}

#[test]
fn renditions_come_and_go() {
    let node = node(3_000);
    let mut worker = Worker::start();
    let (ready, _) = worker.wait(|report| matches!(report, Report::Ready { .. }));
    println!("{ready:?}");
    let Report::Ready { capacity, sandbox, .. } = ready else { panic!() };
    assert!(capacity.cores > 0 && capacity.decode_mb_s > 10_000.0 && capacity.encode_mb_s > 10_000.0, "{capacity:?}");
    assert!(sandbox.no_new_privs && sandbox.seccomp && sandbox.limits, "{sandbox:?}");

    let low = ("180p", (320, 180));
    worker.order(&start(&node, 1, &[low]));
    let (started, _) = worker.wait(|report| matches!(report, Report::Started { .. }));
    assert_eq!(started, Report::Started { job: 1, rendition: "180p".into(), width: 320, height: 180 });
    until("frames", || node.of("180p").video().len() > 60);
    let first = node.of("180p");
    assert_eq!((first.token.as_str(), first.connections, first.metadata), ("s3cret", 1, 1));
    assert_eq!(first.configs.len(), 2);
    assert!(first.frames.iter().any(|(_, frame)| frame.track == Track::Audio));

    // In the middle of a GOP: its first frame is there at once.
    until("the middle of a GOP", || (800..1_000).contains(&(node.stream.now_ms() % 2_000)));
    let (asked, asked_ms) = (Instant::now(), node.stream.now_ms());
    worker.order(&Order::Renditions { job: 1, renditions: set(&node, &[low, ("90p", (160, 90))]) });
    until("the new rendition", || node.of("90p").first_video().is_some());
    let added = node.of("90p");
    let took = added.first_video().unwrap() - asked;
    println!("first frame of an added rendition after {took:?}");
    assert!(took < Duration::from_millis(1_500), "{took:?}");
    let (keyframe, dts, _) = added.video()[0];
    assert!(keyframe && (dts as u64) < asked_ms, "{dts} of {asked_ms}");
    // It goes over to the decoder of the job.
    assert_eq!(node.stream.connections.load(Ordering::SeqCst), 2);
    until("one connection", || node.stream.active.load(Ordering::SeqCst) == 1);
    until("more frames", || node.of("90p").video().len() > 200);
    is_whole(&node.of("90p"));
    is_whole(&node.of("180p"));
    let keyframes = |name: &str| -> BTreeSet<(i64, i64)> {
        node.of(name).video().into_iter().filter(|frame| frame.0).map(|frame| (frame.1, frame.2)).collect()
    };
    let late = keyframes("90p");
    assert!(late.len() >= 3 && late.is_subset(&keyframes("180p")));
    assert_eq!((node.of("90p").connections, node.of("180p").connections), (1, 1));

    let (loaded, _) = worker.wait(|report| matches!(report, Report::Load { .. }));
    let Report::Load { job: 1, decoded_fps, frames_lost: 0, connections: 1, .. } = loaded else { panic!("{loaded:?}") };
    assert!(decoded_fps > 10.0);

    // One goes, the other stays.
    worker.order(&Order::Renditions { job: 1, renditions: set(&node, &[("90p", (160, 90))]) });
    worker.wait(
        |report| matches!(report, Report::Ended { rendition: Some(name), why: Why::Stopped, .. } if name == "180p"),
    );
    until("its end", || node.of("180p").ended == 1);
    let (frames, others) = (node.of("180p").frames.len(), node.of("90p").video().len());
    until("frames of the other", || node.of("90p").video().len() > others + 30);
    assert_eq!(node.of("180p").frames.len(), frames);
    is_whole(&node.of("90p"));

    worker.order(&Order::Stop { job: 1 });
    worker.wait(|report| matches!(report, Report::Ended { job: 1, rendition: None, why: Why::Stopped, .. }));
    until("the end of both", || node.of("90p").ended == 1 && node.stream.active.load(Ordering::SeqCst) == 0);
    assert_eq!(worker.said().iter().filter(|report| matches!(report, Report::Ended { .. })).count(), 2);
    let (status, took) = worker.finish();
    assert!(status.success() && took < Duration::from_secs(1), "{status} {took:?}");
}

#[test]
fn case_30_connections_that_end_are_made_again() {
    let node = node(500);
    let mut worker = Worker::start();
    worker.order(&start(&node, 4, &[("90p", (160, 90))]));
    until("frames", || node.of("90p").video().len() > 40);

    // The source: what is sent again is left out, so that nothing is twice and nothing is missing.
    node.stream.cut.store(true, Ordering::SeqCst);
    until("the cut", || node.stream.active.load(Ordering::SeqCst) == 0);
    node.stream.cut.store(false, Ordering::SeqCst);
    let before = node.of("90p").video().len();
    until("frames again", || node.of("90p").video().len() > before + 70);
    is_whole(&node.of("90p"));
    assert_eq!(node.of("90p").connections, 1);

    // The push: it begins again with headers and a keyframe.
    let before = node.of("90p");
    node.cut_publishers.store(true, Ordering::SeqCst);
    sleep(Duration::from_millis(200));
    node.cut_publishers.store(false, Ordering::SeqCst);
    until("another connection", || {
        node.of("90p").connections == 2 && node.of("90p").frames.len() > before.frames.len() + 60
    });
    let after = node.of("90p");
    let (_, first) = after.frames[before.frames.len()..].iter().find(|(_, frame)| frame.track == Track::Video).unwrap();
    assert!(first.keyframe);
    assert_eq!((after.configs.len(), after.metadata), (before.configs.len() + 2, before.metadata + 1));
    let starts = worker.said().iter().filter(|report| matches!(report, Report::Started { .. })).count();
    assert_eq!(starts, 2);

    // The stream is no more.
    node.stream.gone.store(true, Ordering::SeqCst);
    worker.wait(|report| matches!(report, Report::Ended { job: 4, rendition: None, why: Why::Gone, .. }));
    until("the end of the push", || node.of("90p").ended == 1);
    // A process that is killed is killed with its jobs; one whose input ends ends with them.
    node.stream.gone.store(false, Ordering::SeqCst);
    worker.order(&start(&node, 5, &[("90p", (160, 90))]));
    until("frames of the next job", || node.of("90p").connections == 3);
    let (status, took) = worker.finish();
    assert!(status.success() && took < Duration::from_secs(1), "{status} {took:?}");
    assert!(node.stream.connections.load(Ordering::SeqCst) >= 3);
}

#[test]
fn what_cannot_be_made_is_told() {
    let node = node(500);
    let mut worker = Worker::start();
    worker.order(&start(&node, 1, &[("90p", (160, 90)), ("480p", (854, 480)), ("720p", (1280, 720))]));
    for name in ["480p", "720p"] {
        let (ended, _) =
            worker.wait(|report| matches!(report, Report::Ended { rendition: Some(it), .. } if it == name));
        assert!(matches!(ended, Report::Ended { why: Why::NotSmaller, error: Some(_), .. }), "{ended:?}");
    }
    until("the one that can be made", || node.of("90p").video().len() > 10);
    assert_eq!((node.of("480p").connections, node.of("720p").connections), (0, 0));

    worker.bytes(&[0, 0, 0, 3, b'?', b'?', b'?', 0, 0, 0, 0]);
    worker.order(&start(&node, 1, &[]));
    worker.wait(|report| matches!(report, Report::Ended { job: 1, why: Why::BadOrder, .. }));
    worker.order(&start(&node, 2, &[("a", (160, 90)), ("a", (160, 90))]));
    worker.wait(|report| matches!(report, Report::Ended { job: 2, why: Why::BadOrder, .. }));
    let source = SecretUrl::new("https://127.0.0.1/x");
    worker.order(&Order::Start {
        job: 3,
        source,
        renditions: set(&node, &[("x", (160, 90))]),
        marks: Marks::default(),
    });
    worker.wait(|report| matches!(report, Report::Ended { job: 3, rendition: None, why: Why::BadOrder, .. }));
    let push = [rendition("x", "rtmps://127.0.0.1/a/b", (160, 90), 100)].to_vec();
    worker.order(&Order::Start {
        job: 4,
        source: SecretUrl::new(node.source()),
        renditions: push,
        marks: Marks::default(),
    });
    worker.wait(|report| matches!(report, Report::Ended { job: 4, rendition: Some(_), why: Why::BadOrder, .. }));

    let deep = clip(
        "deep",
        &["-f", "lavfi", "-i", "testsrc2=s=320x180:r=5:d=1", "-c:v", "libx264", "-pix_fmt", "yuv420p10le"],
    );
    let deep = Node::start(deep, 1_000, 0);
    worker.order(&start(&deep, 5, &[("90p", (160, 90))]));
    let (ended, _) = worker.wait(|report| matches!(report, Report::Ended { job: 5, rendition: None, .. }));
    assert!(
        matches!(&ended, Report::Ended { why: Why::Unsupported, error: Some(error), .. } if error.contains("10 bits")),
        "{ended:?}"
    );
    for report in worker.said() {
        assert!(!format!("{report:?}").contains("s3cret"));
    }
}

/// Much more than a core can do: the highest renditions go, one after the other, until what is left is made in time; and no memory grows.
#[test]
fn a_worker_that_does_not_keep_up_sheds_the_highest() {
    let node = Node::start(clip("heavy", &usual_arguments("1920x1080", "60", "4")), 4_000, 500);
    let mut worker = Worker::start_on_one_core();
    // Small ones, so that nothing is refused by what encoders take: what takes the time is to decode the source and to scale its pictures.
    let sizes = (0..8).map(|n| (format!("r{n}"), (320 + 32 * n, 180 + 18 * n))).collect::<Vec<_>>();
    let renditions: Vec<_> = sizes.iter().map(|(name, size)| (name.as_str(), *size)).collect();
    worker.order(&start(&node, 1, &renditions));
    let (ended, _) = worker.wait(|report| matches!(report, Report::Ended { .. }));
    let Report::Ended { job: 1, rendition: Some(name), why: Why::TooSlow, .. } = ended else { panic!("{ended:?}") };
    assert_eq!(name, "r7");
    worker.wait(|report| matches!(report, Report::Load { shed, .. } if !shed.is_empty()));
    println!("{:?}", worker.said());
    let status = std::fs::read_to_string(format!("/proc/{}/status", worker.child.id())).unwrap();
    let peak_kb: u64 = status
        .lines()
        .find_map(|line| line.strip_prefix("VmHWM:")?.trim().strip_suffix(" kB")?.trim().parse().ok())
        .unwrap();
    assert!(peak_kb < 400 << 10, "{peak_kb} kB");
}

/// What a core cannot encode beside what it does already is refused before it begins, with the figure; the others are made.
#[test]
fn what_clearly_does_not_fit_is_refused_at_its_start() {
    let node = Node::start(clip("heavy", &usual_arguments("1920x1080", "60", "4")), 4_000, 500);
    let mut worker = Worker::start_on_one_core();
    worker.order(&start(&node, 1, &[("low", (320, 180))]));
    worker.wait(|report| matches!(report, Report::Started { .. }));
    // Together more than any core encodes.
    let full = ["full-1", "full-2", "full-3"].map(|name| (name, (1920, 1080)));
    let all = [&[("low", (320, 180))][..], &full].concat();
    worker.order(&Order::Renditions { job: 1, renditions: set(&node, &all) });
    let (ended, _) = worker.wait(|report| matches!(report, Report::Ended { .. }));
    let Report::Ended { rendition: Some(name), why: Why::TooSlow, error: Some(error), .. } = ended else {
        panic!("{ended:?}")
    };
    assert!(
        name.starts_with("full") && error.starts_with("H.264 of 1920x1080 at 30 frames a second takes "),
        "{error}"
    );
    let before = node.of("low").video().len();
    until("the other one goes on", || node.of("low").video().len() > before + 60);
}

/// Renditions that come and go faster than keyframes come, in the middle of going over to the job's decoder.
#[test]
fn churn_leaves_nothing_behind() {
    let node = node(500);
    let mut worker = Worker::start();
    let (base, added) = (("180p", (320, 180)), [("90p", (160, 90)), ("136p", (240, 136))]);
    worker.order(&start(&node, 1, &[base]));
    until("frames", || node.of("180p").video().len() > 10);
    let rounds = std::env::var("MILLSTREAM_CHURN_ROUNDS").ok().and_then(|text| text.parse().ok()).unwrap_or(14_u64);
    for round in 0..rounds {
        let set_of = match round % 3 {
            0 => set(&node, &[base, added[0], added[1]]),
            1 => set(&node, &[base, added[1]]),
            _ => set(&node, &[base]),
        };
        worker.order(&Order::Renditions { job: 1, renditions: set_of });
        sleep(Duration::from_millis(200 + round * 97 % 500));
    }
    worker.order(&Order::Renditions { job: 1, renditions: set(&node, &[base, added[0]]) });
    let before = node.of("90p").video().len();
    until("the last that came", || node.of("90p").video().len() > before + 100);
    until("one connection", || node.stream.active.load(Ordering::SeqCst) == 1);
    is_whole(&node.of("180p"));
    // Nothing at all is made for a while, and then something again.
    worker.order(&Order::Renditions { job: 1, renditions: Vec::new() });
    until("no connection", || node.stream.active.load(Ordering::SeqCst) == 0);
    let before = node.of("136p").video().len();
    worker.order(&Order::Renditions { job: 1, renditions: set(&node, &added[1..]) });
    until("frames again", || node.of("136p").video().len() > before + 10);
    worker.order(&Order::Stop { job: 1 });
    until("its end", || node.stream.active.load(Ordering::SeqCst) == 0);
    // The one that reads orders, and the one that writes reports.
    let tasks = || std::fs::read_dir(format!("/proc/{}/task", worker.child.id())).unwrap().count();
    until("the end of all threads", || tasks() == 2);
    let status = std::fs::read_to_string(format!("/proc/{}/status", worker.child.id())).unwrap();
    println!("{}", status.lines().filter(|line| line.starts_with("Vm")).collect::<Vec<_>>().join("; "));
    for report in worker.said() {
        assert!(!matches!(report, Report::Ended { why: Why::TooSlow | Why::Failed | Why::Source, .. }), "{report:?}");
        if let Report::Load { .. } = report {
            println!("{report:?}");
        }
    }
}

/// The newest keyframe is nine seconds old: a picture is not.
#[test]
fn a_picture_of_a_stream_with_long_gops_is_new() {
    let video = ["-f", "lavfi", "-i", "testsrc2=s=1280x720:r=30:d=10", "-c:v", "libx264", "-preset", "veryfast"];
    let gop = ["-bf", "3", "-g", "300", "-sc_threshold", "0", "-pix_fmt", "yuv420p"];
    let node = Node::start(clip("long-gop", &[&video[..], &gop].concat()), 10_000, 6_000);
    let mut worker = Worker::start();
    worker.wait(|report| matches!(report, Report::Ready { .. }));
    until("the end of a GOP", || node.stream.now_ms() % 10_000 >= 9_000);
    let asked = Instant::now();
    let source = SecretUrl::new(node.source());
    worker.order(&Order::Snapshot { request: 1, source, width_max: None, quality: 80 });
    let (report, _) = worker.wait(|report| matches!(report, Report::Picture { .. } | Report::Failed { .. }));
    let now_ms = node.stream.now_ms();
    let Report::Picture { pts_ms, .. } = report else { panic!("{report:?}") };
    let age_ms = now_ms.saturating_sub(pts_ms.into());
    println!("a picture of {age_ms} ms after {:?}", asked.elapsed());
    assert!(age_ms <= 2_000, "{pts_ms} at {now_ms}");
}

/// As a decoder of C++ ends with a fault on its own thread: the signal is sent to that one.
#[test]
fn a_worker_that_a_fault_ends_says_with_which_stream() {
    let node = node(500);
    let mut worker = Worker::start();
    worker.order(&start(&node, 1, &[("90p", (160, 90))]));
    worker.order(&start(&node, 7, &[("136p", (240, 136))]));
    until("frames of both", || node.of("90p").video().len() > 10 && node.of("136p").video().len() > 10);
    let tasks = format!("/proc/{}/task", worker.child.id());
    let decodes = std::fs::read_dir(tasks).unwrap().find_map(|task| {
        let task = task.unwrap();
        let name = std::fs::read_to_string(task.path().join("comm")).unwrap();
        (name.trim() == "decode 7").then(|| task.file_name().into_string().unwrap())
    });
    tool("kill", &["-s", "SEGV", &decodes.expect("the thread that decodes")]);
    let (crashed, _) = worker.wait(|report| matches!(report, Report::Crashed { .. }));
    assert_eq!(crashed, Report::Crashed { job: Some(7), watch: None, request: None });
    let (status, _) = worker.finish();
    assert_eq!(status.signal(), Some(11), "it ends by that signal all the same: {status}");
}

#[test]
fn pictures() {
    let node = node(1_500);
    let mut worker = Worker::start();
    let ask = |request, width_max, node: &Node| Order::Snapshot {
        request,
        source: SecretUrl::new(node.source()),
        width_max,
        quality: 80,
    };
    let picture = |worker: &Worker, wanted: u64| {
        let (report, jpeg) = worker.wait(|report| match report {
            Report::Picture { request, .. } | Report::Failed { request, .. } => *request == wanted,
            _ => false,
        });
        let Report::Picture { width, height, pts_ms, .. } = report else { panic!("{report:?}") };
        let file = write(&format!("picture-{wanted}.jpg"), &jpeg);
        let size = tool("ffprobe", &["-v", "error", "-show_entries", "stream=width,height", "-of", "csv=p=0", &file]);
        assert_eq!(size.trim(), format!("{width},{height}"));
        ((width, height), u64::from(pts_ms), jpeg)
    };
    worker.wait(|report| matches!(report, Report::Ready { .. }));
    // A keyframe of two seconds is long past: a picture of it would be seen to be no new one.
    until("the end of a GOP", || (1_500..1_700).contains(&(node.stream.now_ms() % 2_000)));
    let (asked, asked_ms) = (Instant::now(), node.stream.now_ms());
    worker.order(&ask(1, None, &node));
    worker.order(&ask(2, Some(320), &node));
    let (size, pts_ms, _) = picture(&worker, 1);
    println!("a picture after {:?}", asked.elapsed());
    assert_eq!((size, picture(&worker, 2).0), ((640, 360), (320, 180)));
    // The newest, not the keyframe, which comes every two seconds; and one connection for both.
    assert!(pts_ms.abs_diff(asked_ms) < 1_000, "{pts_ms} of {asked_ms}");
    assert_eq!(node.stream.connections.load(Ordering::SeqCst), 1);

    // A stream with a job is not asked for.
    worker.order(&start(&node, 1, &[("90p", (160, 90))]));
    until("the job", || node.of("90p").video().len() > 60);
    let connections = node.stream.connections.load(Ordering::SeqCst);
    until("the end of a GOP", || (1_500..1_700).contains(&(node.stream.now_ms() % 2_000)));
    let asked_ms = node.stream.now_ms();
    worker.order(&ask(3, Some(100_000), &node));
    let (size, pts_ms, jpeg) = picture(&worker, 3);
    assert!(size == (640, 360) && pts_ms.abs_diff(asked_ms) < 1_000 && jpeg.len() > 5_000, "{pts_ms} of {asked_ms}");
    assert_eq!(node.stream.connections.load(Ordering::SeqCst), connections);

    node.stream.gone.store(true, Ordering::SeqCst);
    worker.wait(|report| matches!(report, Report::Ended { job: 1, .. }));
    worker.order(&ask(4, None, &node));
    worker.wait(|report| matches!(report, Report::Failed { request: 4, why: Why::Gone, .. }));
    let nowhere = SecretUrl::new("http://127.0.0.1:1/x");
    worker.order(&Order::Snapshot { request: 5, source: nowhere, width_max: None, quality: 80 });
    worker.wait(|report| matches!(report, Report::Failed { request: 5, why: Why::Source, .. }));
}
