//! Ten thousand requests that wait for what is not there yet: little memory, no trouble for others, and an answer for each.
use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use millstream_tests::clip::Clip;
use millstream_tests::http::{Connection, Viewer};
use millstream_tests::rtmp::Pushing;
use millstream_tests::server::{Options, Server};
use millstream_tests::{eventually, millis, percentile, proc, seconds};

use crate::hls::{on_air, playlist};

const ASKED: usize = 10_000;

/// How late a thread of this machine wakes up that has slept for a millisecond, 99 times in a hundred.
fn probe(time: Duration) -> Duration {
    let (start, mut late) = (Instant::now(), Vec::new());
    while start.elapsed() < time {
        let slept = Instant::now();
        std::thread::sleep(millis(1));
        late.push(slept.elapsed().saturating_sub(millis(1)));
    }
    percentile(&mut late, 0.99)
}

/// Delays of frames to an HTTP-FLV viewer while `meanwhile` happens, and how late the machine is: 99 times in a hundred each.
fn delays(server: &Server, push: &Pushing, time: Duration, meanwhile: impl FnOnce()) -> (Duration, Duration) {
    std::thread::scope(|scope| {
        let late = scope.spawn(|| probe(time));
        let delays = scope.spawn(|| {
            let mut viewer = Viewer::watch(server.http, "other");
            // What was there before it came is no delay.
            crate::load::delays(&mut viewer, push, millis(300));
            crate::load::delays(&mut viewer, push, time)
        });
        meanwhile();
        let mut delays = delays.join().expect("a viewer");
        (percentile(&mut delays, 0.99), late.join().expect("a probe"))
    })
}

/// The requests for what comes next: the playlist that has it, and the part itself.
fn next(server: &Server) -> [String; 2] {
    let media = playlist(server, "cam", "video.m3u8");
    let ((msn, part), hint) = (media.next().expect("something"), media.hinted_part().expect("a hint"));
    let get = |path: &str| format!("GET /cam/{path} HTTP/1.1\r\nHost: x\r\n\r\n");
    [get(&format!("video.m3u8?_HLS_msn={msn}&_HLS_part={}", part.unwrap_or(0))), get(hint)]
}

fn answers(all: &mut [Connection]) -> BTreeMap<u16, usize> {
    let mut answers = BTreeMap::new();
    for connection in all {
        *answers.entry(connection.response(false).expect("an answer").status).or_default() += 1;
    }
    answers
}

#[test]
#[ignore = "takes most of a minute and twenty thousand sockets; tests/run --long has it"]
fn ten_thousand_blocked_requests_cost_little_and_are_all_answered() {
    let limits = "blocked = 10000\nper_address = 20000\nconnections = 12000\nhandshakes = 12000\n";
    let config = format!("[stream_defaults]\npublisher_wait = \"60s\"\n[hls]\nsegment = \"6s\"\n[limits]\n{limits}");
    let server = Options::open().shards(1).config(&config).start();
    let push = on_air(&server, "cam", Clip::small());
    let other = on_air(&server, "other", Clip::small());
    let (alone, late_alone) = delays(&server, &other, seconds(5), || {});
    push.silence();
    std::thread::sleep(millis(500));

    let requests = next(&server);
    let before = proc::rss(server.pid());
    let mut all: Vec<Connection> = Vec::with_capacity(ASKED);
    for n in 0..ASKED {
        let mut connection = Connection::open(server.http).expect("connected");
        connection.send(requests[n % 2].as_bytes()).expect("sent");
        all.push(connection);
    }
    let blocked = || server.metric("millstream_blocked_requests");
    eventually("all wait", seconds(5), || (blocked() >= ASKED as f64).then_some(()));
    let each = proc::rss(server.pid()).saturating_sub(before) / ASKED as u64;
    let (beside, late_beside) = delays(&server, &other, seconds(5), || {
        std::thread::sleep(seconds(2));
        assert!(blocked() >= ASKED as f64, "they wait");
        // The part comes while the other stream is watched.
        push.resume();
    });
    println!("{each} bytes of resident memory for each of {ASKED} blocked requests");
    println!(
        "another stream's frames, p99: {alone:?} alone, {beside:?} beside them (a sleeper wakes {late_alone:?} and {late_beside:?} late)"
    );
    assert!(each <= 8 << 10, "{each} bytes for a connection whose request waits");
    assert_eq!(answers(&mut all), BTreeMap::from([(200, ASKED)]));
    assert!(blocked() < 0.5, "{} still wait", blocked());
    // Void where the machine had no time for it.
    assert!(beside <= alone + millis(10) || late_alone.max(late_beside) > millis(5), "{alone:?} and {beside:?}");

    // The publisher dies, and what they wait for never comes: three target durations, and no longer.
    push.silence();
    std::thread::sleep(millis(500));
    let requests = next(&server);
    let asked = Instant::now();
    for (n, connection) in all.iter_mut().enumerate() {
        connection.send(requests[n % 2].as_bytes()).expect("sent");
        connection.stream.set_read_timeout(Some(seconds(20))).expect("set");
    }
    eventually("all wait again", seconds(5), || (blocked() >= ASKED as f64).then_some(()));
    assert_eq!(answers(&mut all), BTreeMap::from([(503, ASKED)]));
    let waited = asked.elapsed();
    println!("all were told after {waited:?} that it does not come");
    assert!(waited > seconds(15) && waited < seconds(19), "{waited:?} for three times six seconds");
    assert!(server.healthy());
}
