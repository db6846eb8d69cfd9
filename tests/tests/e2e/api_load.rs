//! What the API takes with many streams stored, and what it costs viewers.
use std::time::{Duration, Instant};

use millstream_tests::clip::Clip;
use millstream_tests::control::Client;
use millstream_tests::crowd::{Crowd, Member};
use millstream_tests::flv::Tag;
use millstream_tests::http::Viewer;
use millstream_tests::rtmp::Publisher;
use millstream_tests::server::{Options, Server};
use millstream_tests::{percentile, seconds};
use serde_json::json;

/// 200 requests a second with 10,000 streams stored, beside viewers: what the API takes, and what viewers notice.
#[test]
#[ignore = "a measurement of a minute: tests/run --long"]
fn the_api_is_quick_beside_viewers_and_they_do_not_notice() {
    let server = Options::signed().shards(1).start();
    let mut client = Client::admin(&server);
    let begun = Instant::now();
    fill(&server, 10_000);
    println!("10,000 streams made in {:?}", begun.elapsed());
    let sign = client.make_stream("cam");
    let push = Publisher::start(server.rtmp, "stream", &format!("cam?sign={sign}")).expect("let in");
    let _pushing = push.repeat(Clip::small());
    Viewer::watch(server.http, "cam").find("keyframe", seconds(10), Tag::is_keyframe);
    let mut crowd = Crowd::open(server.http, "/cam/live.flv", 1_000).expect("1,000 viewers");
    crowd.run_until("a frame", seconds(20), Member::started).expect("all start");
    let quiet = added_delay(&server, &mut crowd, None);
    let mut times = Vec::new();
    let loud = std::thread::scope(|scope| {
        let (server, times) = (&server, &mut times);
        let asking = scope.spawn(move || *times = load(server, seconds(15)));
        let delay = added_delay(server, &mut crowd, Some(seconds(15)));
        asking.join().expect("the load ran");
        delay
    });
    let (p50, p99) = (percentile(&mut times, 0.5), percentile(&mut times, 0.99));
    println!("API: {} requests at 200/s with 10,000 streams: p50 {p50:?}, p99 {p99:?}", times.len());
    println!("viewers' added delay p99 (bucket's upper bound): {quiet} s without API load, {loud} s with it");
    assert!(p99 <= Duration::from_millis(20), "API p99 {p99:?}");
    assert!(loud <= quiet + 0.010 || loud <= quiet * 2.0, "viewers' delay went from {quiet} to {loud}");
}

fn fill(server: &Server, streams: usize) {
    std::thread::scope(|scope| {
        for part in 0..16 {
            scope.spawn(move || {
                let mut client = Client::admin(server);
                for n in (part..streams).step_by(16) {
                    client.post("/api/v1/streams", &json!({ "id": format!("s-{n:06}") })).is(201);
                }
            });
        }
    });
}

/// Requests by a plan of 200 a second, reads and changes mixed; each is timed from when it was to be sent.
fn load(server: &Server, time: Duration) -> Vec<Duration> {
    const CLIENTS: u32 = 8;
    let begun = Instant::now();
    let every = Duration::from_millis(5);
    std::thread::scope(|scope| {
        let threads: Vec<_> = (0..CLIENTS)
            .map(|first| {
                scope.spawn(move || {
                    let mut client = Client::admin(server);
                    let mut times = Vec::new();
                    for n in (first..).step_by(CLIENTS as usize) {
                        let planned = every * n;
                        if planned > time {
                            return times;
                        }
                        std::thread::sleep(planned.saturating_sub(begun.elapsed()));
                        let id = format!("s-{:06}", n * 37 % 10_000);
                        match n % 10 {
                            0 => {
                                let change = json!({ "settings": { "videoname": format!("n {n}") } });
                                let path = format!("/api/v1/streams/{id}");
                                client.request("PATCH", &path, "If-Match: *\r\n", Some(&change)).is(200);
                            }
                            1 => drop(client.get("/api/v1/streams?limit=50").is(200)),
                            2 => drop(client.get(&format!("/api/v1/streams/{id}/key")).is(200)),
                            3 => drop(client.get("/api/v1/streams/cam/session").is(200)),
                            _ => drop(client.get(&format!("/api/v1/streams/{id}")).is(200)),
                        }
                        times.push(begun.elapsed().saturating_sub(planned));
                    }
                    times
                })
            })
            .collect();
        threads.into_iter().flat_map(|thread| thread.join().expect("a client")).collect()
    })
}

/// The upper bound of the bucket in which the 99th percentile of the server's own measurement lies, over some seconds.
fn added_delay(server: &Server, crowd: &mut Crowd, time: Option<Duration>) -> f64 {
    let buckets = || -> Vec<(f64, f64)> {
        let text = server.metrics();
        let lines = text.lines().filter(|line| line.starts_with("millstream_added_delay_seconds_bucket"));
        lines
            .filter_map(|line| {
                let bound = line.split("le=\"").nth(1)?.split('"').next()?;
                Some((bound.parse().unwrap_or(f64::INFINITY), line.rsplit(' ').next()?.parse().ok()?))
            })
            .collect()
    };
    let before = buckets();
    crowd.run(time.unwrap_or(seconds(10))).expect("they go on");
    let after = buckets();
    let counts: Vec<_> =
        after.iter().zip(&before).map(|((bound, after), (_, before))| (*bound, after - before)).collect();
    let all = counts.last().expect("buckets").1;
    assert!(all > 1_000.0, "only {all} sends");
    counts.iter().find(|(_, count)| *count >= all * 0.99).expect("the last bucket has all").0
}

/// A hundred thousand streams: made, listed, restarted with.
#[test]
#[ignore = "takes some minutes: tests/run --long"]
fn a_hundred_thousand_streams() {
    let server = Options::signed().start();
    let begun = Instant::now();
    fill(&server, 100_000);
    println!("100,000 streams made in {:?}", begun.elapsed());
    let mut client = Client::admin(&server);
    let (mut seen, mut cursor) = (0, String::new());
    let begun = Instant::now();
    loop {
        let page = client.get(&format!("/api/v1/streams?limit=500{cursor}")).is(200).json;
        seen += page["items"].as_array().expect("a list").len();
        match page["next"].as_str() {
            Some(next) => cursor = format!("&cursor={next}"),
            None => break,
        }
    }
    println!("listed in {:?}", begun.elapsed());
    assert_eq!(seen, 100_000);
    let sign = client.make_stream("zz");
    let push = Publisher::start(server.rtmp, "stream", &format!("zz?sign={sign}")).expect("let in");
    let _pushing = push.repeat(Clip::small());
    Viewer::watch(server.http, "zz").find("keyframe", seconds(10), Tag::is_keyframe);
}
