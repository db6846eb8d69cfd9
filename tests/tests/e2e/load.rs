//! A thousand viewers, and viewers that stop reading.
use std::collections::HashMap;
use std::time::{Duration, Instant};

use millstream_tests::clip::Clip;
use millstream_tests::crowd::{Crowd, Member, continuous};
use millstream_tests::flv::{AUDIO, Tag, VIDEO};
use millstream_tests::http::{Connection, Viewer};
use millstream_tests::rtmp::Publisher;
use millstream_tests::server::{Options, Server};
use millstream_tests::{eventually, millis, percentile, proc, seconds};

const VIEWERS: usize = 1_000;

#[test]
fn a_thousand_viewers_get_every_byte() {
    let server = Options::open().shards(1).start();
    let push = Publisher::start(server.rtmp, "stream", "cam").expect("published").repeat(Clip::busy());
    Viewer::watch(server.http, "cam").find("keyframe", seconds(10), Tag::is_keyframe);
    let mut crowd = Crowd::open(server.http, "/cam/live.flv", VIEWERS).expect("all connect");
    crowd.run_until("a frame", seconds(20), Member::started).expect("all start");
    let (cpu, bytes, time) = (proc::cpu(server.pid()), crowd.wire_bytes(), Instant::now());
    crowd.run(seconds(8)).expect("all go on");
    let (cpu, bytes, time) = (proc::cpu(server.pid()).saturating_sub(cpu), crowd.wire_bytes() - bytes, time.elapsed());
    println!(
        "{VIEWERS} viewers: {:.0} Mbit/s in all for {time:?}, {:.2} CPU-s per GB, server's memory {} MiB",
        bytes as f64 * 8.0 / 1e6 / time.as_secs_f64(),
        cpu.as_secs_f64() / (bytes as f64 / 1e9),
        proc::rss(server.pid()) >> 20,
    );
    assert!(push.alive());
    let ended = crowd.members().iter().filter(|m| m.ended()).count();
    assert_eq!(ended, 0, "viewers were sent away");
    let common = crowd.same_frames().expect("all get the same bytes");
    assert!(common > 450, "the slowest viewer has only {common} frames of about 580");
    for member in crowd.members().iter().step_by(VIEWERS / 10) {
        continuous(&member.frames(), VIDEO, 40).expect("no picture is missing");
        continuous(&member.frames(), AUDIO, 50).expect("no sound is missing");
    }
}

#[test]
fn an_idle_viewer_costs_at_most_8_kib() {
    let server = Options::open().shards(1).config("[stream_defaults]\npublisher_wait = \"60s\"\n").start();
    let push = Publisher::start(server.rtmp, "stream", "cam").expect("published").repeat(Clip::small());
    // Some first, so that what a first viewer brings up (pools, buffers) is not counted against the others.
    let mut first = Crowd::open(server.http, "/cam/live.flv", 50).expect("50 viewers");
    first.run_until("a frame", seconds(10), Member::started).expect("all start");
    push.silence();
    first.run(seconds(1)).expect("quiet");
    let before = proc::rss(server.pid());
    let mut crowd = Crowd::open(server.http, "/cam/live.flv", VIEWERS).expect("all connect");
    crowd.run_until("the keyframe", seconds(20), Member::started).expect("all start");
    crowd.run(seconds(1)).expect("quiet");
    let grown = proc::rss(server.pid()).saturating_sub(before);
    let each = grown / VIEWERS as u64;
    println!("{VIEWERS} idle viewers: {each} bytes of resident memory each ({} KiB in all)", grown >> 10);
    assert!(each <= 8 << 10, "{each} bytes per idle viewer");
}

/// Connects, reads the head and a little, and reads no more.
fn stall(server: &Server, id: &str) -> Connection {
    let mut connection = Connection::open(server.http).expect("connected");
    connection.send(format!("GET /{id}/live.flv HTTP/1.1\r\nHost: x\r\n\r\n").as_bytes()).expect("sent");
    assert_eq!(connection.head().expect("a head").status, 200);
    connection
}

#[test]
fn a_stalled_viewer_holds_little_and_is_closed() {
    let server = Options::open().config("[stream_defaults]\nstall_close = \"4s\"\n").start();
    let _push = Publisher::start(server.rtmp, "stream", "cam").expect("published").repeat(Clip::busy());
    let mut healthy = Viewer::watch(server.http, "cam");
    healthy.tags_for(seconds(2));
    let before = proc::rss(server.pid());
    let stalled = stall(&server, "cam");
    let local = stalled.stream.local_addr().expect("connected");
    let (start, mut most) = (Instant::now(), 0);
    let mut tags = Vec::new();
    let closed = loop {
        tags.extend(healthy.tags_for(millis(200)));
        match proc::tcp(server.http, local) {
            Some(tcp) if tcp.state == 1 => most = most.max(tcp.unacknowledged),
            _ => break start.elapsed(),
        }
        assert!(start.elapsed() < seconds(30), "the stalled viewer was never closed ({most} bytes unsent)");
    };
    let grown = proc::rss(server.pid()).saturating_sub(before);
    println!("closed after {closed:?}; at most {most} bytes unsent; the server grew by {} KiB", grown >> 10);
    assert!(most > 0, "it did not stall");
    assert!(most <= 256 << 10, "{most} bytes unsent in the kernel");
    assert!(closed > seconds(3), "closed after {closed:?}, too early");
    // The log itself (12 s of 2.5 Mbit/s) may still be filling up.
    assert!(grown < 8 << 20, "the server grew by {grown} bytes");
    let times: Vec<u32> = tags.iter().filter(|t| t.kind == VIDEO && t.is_frame()).map(|t| t.timestamp).collect();
    assert!(times.len() > 80 && times.windows(2).all(|w| w[1] - w[0] <= 40), "the healthy viewer missed pictures");
}

/// Delay from a frame's sending to a viewer's having it, for frames that came in that time.
pub(crate) fn delays(viewer: &mut Viewer, push: &millstream_tests::rtmp::Pushing, time: Duration) -> Vec<Duration> {
    let deadline = Instant::now() + time;
    let mut arrived = Vec::new();
    while let Some(tag) = viewer.next_tag(deadline.saturating_duration_since(Instant::now())) {
        if tag.kind == VIDEO && tag.is_frame() {
            arrived.push((tag.timestamp, tag.data.len(), Instant::now()));
        }
    }
    let sent: HashMap<(u32, usize), Instant> = push
        .sent()
        .into_iter()
        .filter(|(t, _)| t.kind == VIDEO)
        .map(|(t, at)| ((t.timestamp, t.data.len()), at))
        .collect();
    arrived
        .into_iter()
        .filter_map(|(timestamp, len, at)| Some(at.saturating_duration_since(*sent.get(&(timestamp, len))?)))
        .collect()
}

#[test]
fn case_21_paused_viewers_skip_to_a_keyframe_and_cost_the_others_nothing() {
    let server =
        Options::open().shards(1).config("[stream_defaults]\nlog_time = \"2s\"\nstall_close = \"60s\"\n").start();
    let push = Publisher::start(server.rtmp, "stream", "cam").expect("published").repeat(Clip::busy());
    let mut healthy = Viewer::watch(server.http, "cam");
    healthy.find("keyframe", seconds(5), Tag::is_keyframe);
    delays(&mut healthy, &push, seconds(1));
    let mut alone = delays(&mut healthy, &push, seconds(4));
    let before = proc::rss(server.pid());
    let mut paused: Vec<Viewer> = (0..50).map(|_| Viewer::watch(server.http, "cam")).collect();
    let mut beside = delays(&mut healthy, &push, seconds(4));
    let middle = proc::rss(server.pid());
    beside.extend(delays(&mut healthy, &push, seconds(4)));
    let after = proc::rss(server.pid());
    let unsent = paused.iter().filter_map(|v| proc::tcp(server.http, v.local_addr())).map(|t| t.unacknowledged).max();
    let (p99_alone, p99_beside) = (percentile(&mut alone, 0.99), percentile(&mut beside, 0.99));
    println!(
        "p99 of a frame's delay: {p99_alone:?} alone, {p99_beside:?} beside 50 paused viewers; most unsent: {unsent:?}; \
         resident: {} KiB before, {} KiB, {} KiB after",
        before >> 10,
        middle >> 10,
        after >> 10
    );
    assert!(unsent.is_some_and(|n| n <= 256 << 10), "{unsent:?} bytes unsent");
    assert!(p99_beside <= p99_alone * 2 + millis(20), "the others feel it: {p99_alone:?} became {p99_beside:?}");
    assert!(after < middle + (2 << 20), "memory grows: {middle} became {after}");
    // Each may hold one send in flight, of at most 256 KiB, beside the log.
    assert!(after < before + 50 * (256 << 10) + (4 << 20), "memory grew from {before} to {after}");
    for viewer in paused.iter_mut().take(20) {
        let tags = viewer.tags_for(millis(300));
        Viewer::assert_monotonic(&tags);
        let pictures: Vec<&Tag> = tags.iter().filter(|t| t.kind == VIDEO && t.is_frame()).collect();
        let jump = pictures.windows(2).find(|w| w[1].timestamp - w[0].timestamp > 500);
        let jump = jump.unwrap_or_else(|| panic!("no jump in {} pictures: everything was kept for it", pictures.len()));
        assert!(jump[1].is_keyframe(), "it goes on at {:?}", jump[1].sum());
    }
    drop(paused);
    eventually("the server lets go of the paused viewers", seconds(10), || {
        (proc::descriptors(server.pid()) < 40).then_some(())
    });
}
