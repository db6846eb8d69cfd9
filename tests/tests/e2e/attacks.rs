//! One who takes more than a share, beside those who do not: floods of publishes, dead receivers, idle connections. What is measured is what
//! the others get. Attackers are bounded in number and time, on loopback, at the lowest priority.
use std::collections::{BTreeMap, VecDeque};
use std::io::{ErrorKind, Read as _, Write as _};
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant, UNIX_EPOCH};

use millstream_tests::control::Client;
use millstream_tests::flv::{Tag, VIDEO};
use millstream_tests::http::{self, Connection};
use millstream_tests::raw::{NULL, Raw, command, connect_from, number, text};
use millstream_tests::receiver::WebhookReceiver;
use millstream_tests::relay::Relay;
use millstream_tests::rtmp::Publisher;
use millstream_tests::server::{Options, Server};
use millstream_tests::{eventually, millis, percentile, proc, seconds};
use serde_json::json;

/// Addresses that nobody else has.
fn attacker(n: u8) -> IpAddr {
    Ipv4Addr::new(127, 0, 3, n).into()
}

/// Cores are for those who are measured.
fn lowest_priority() {
    let _ = rustix::process::nice(19);
}

/// Publishes and unpublishes as fast as one connection can, until it is over.
fn flood_of_one_connection(to: SocketAddr, key: &str, over: &AtomicBool) {
    lowest_priority();
    let mut raw = Raw::open(connect_from(attacker(1), to).expect("connected")).expect("a handshake");
    raw.connect().expect("connected");
    let mut publish = command("publish", 3.0, &[NULL, &text(key), &text("live")]);
    publish[8] = 1;
    let round =
        [command("createStream", 2.0, &[NULL]), publish, command("deleteStream", 4.0, &[NULL, &number(1.0)])].concat();
    let (rounds, mut at, mut sink) = (round.repeat(64), 0, [0; 8 << 10]);
    raw.stream.set_nonblocking(true).expect("non-blocking");
    while !over.load(Ordering::SeqCst) {
        match raw.stream.write(&rounds[at..]) {
            Ok(written) => at = (at + written) % rounds.len(),
            Err(error) if error.kind() == ErrorKind::WouldBlock => std::thread::sleep(millis(1)),
            Err(error) => panic!("the flood was ended: {error}"),
        }
        while raw.stream.read(&mut sink).is_ok_and(|read| read > 0) {}
    }
}

/// The same with a connection for each publish.
fn flood_of_connections(to: SocketAddr, key: &str, over: &AtomicBool) {
    lowest_priority();
    while !over.load(Ordering::SeqCst) {
        let Ok(mut raw) = connect_from(attacker(2), to).and_then(Raw::open) else { continue };
        let _ = raw.connect().and_then(|()| raw.publish(key));
    }
}

/// What a node would say to control, with control's own token.
struct FakeNode {
    client: Client,
    name: &'static str,
    seq: u64,
}

impl FakeNode {
    fn new(control: &Server, name: &'static str) -> Self {
        let token = std::fs::read_to_string(control.data_dir().join("node-token")).expect("made at the first start");
        Self { client: Client::with(control.control, token.trim()), name, seq: 0 }
    }

    /// Tells that each of these streams has been published, now.
    fn publishes<'a>(&mut self, streams: impl IntoIterator<Item = &'a str>) {
        let at_unix_ms = u64::try_from(UNIX_EPOCH.elapsed().expect("after 1970").as_millis()).expect("small");
        let events: Vec<_> = streams
            .into_iter()
            .map(|stream| {
                self.seq += 1;
                json!({ "seq": self.seq, "at_unix_ms": at_unix_ms, "stream": stream, "session": self.seq,
                    "peer": "127.0.0.1:9", "protocol": "rtmp", "what": { "kind": "publish", "encoder": "" } })
            })
            .collect();
        let report = json!({ "protocol": 1, "node": { "name": self.name, "run": 7 }, "events": events });
        let receipt = self.client.post("/link/v1/report", &report).is(200);
        assert_eq!(receipt.json["events_through"], self.seq);
    }
}

#[test]
fn case_39_a_dead_webhook_with_five_thousand_lanes_starves_none_and_costs_nothing() {
    let config = "[webhooks]\nallow = [\"127.0.0.0/8\"]\n";
    let control = Options::signed().role("control").config(config).start();
    let mut client = Client::admin(&control);
    let mut hook = |url: String, stream: Option<&str>| {
        let hook = json!({ "url": url, "events": ["publish"], "stream": stream });
        client.post("/api/v1/webhooks", &hook).is(201);
    };
    let receiver = WebhookReceiver::start();
    // Nobody listens there, and there somebody listens who never answers.
    hook("http://127.0.0.1:1/hook".to_owned(), None);
    let silent = TcpListener::bind("127.0.0.1:0").expect("a port");
    hook(format!("http://{}/hook", silent.local_addr().expect("bound")), None);
    hook(format!("http://{}/hook", receiver.address), Some("good"));
    let mut node = FakeNode::new(&control, "n");
    let lanes: Vec<String> = (0..5_000).map(|n| format!("cam-{n}")).collect();
    for some in lanes.chunks(500) {
        node.publishes(some.iter().map(String::as_str));
    }
    eventually("all of it waits", seconds(15), || {
        (control.metric("millstream_webhook_waiting") >= 10_000.0).then_some(())
    });
    std::thread::sleep(seconds(2));
    let (before, began) = (proc::cpu(control.pid()), Instant::now());
    let mut slowest = Duration::ZERO;
    for _ in 0..5 {
        let told = Instant::now();
        node.publishes(["good"]);
        let delivery = receiver.next(seconds(10)).expect("the healthy receiver is told");
        assert_eq!(delivery.event["stream"], "good");
        slowest = slowest.max(delivery.at - told);
        std::thread::sleep(millis(900));
    }
    let share = proc::cpu(control.pid()).saturating_sub(before).as_secs_f64() / began.elapsed().as_secs_f64();
    println!(
        "beside 10,000 lanes of dead receivers: {slowest:?} at most; control used {:.1}% of a core",
        share * 100.0
    );
    assert!(slowest < seconds(2), "{slowest:?}");
    assert!(share < 0.05, "control used {share} of a core");
}

/// Opens so many connections a second from one address and says nothing, until it is over; how many those were.
fn connects(to: SocketAddr, a_second: usize, over: &AtomicBool) -> usize {
    lowest_priority();
    let (began, mut held, mut count) = (Instant::now(), VecDeque::new(), 0);
    while !over.load(Ordering::SeqCst) {
        while count < began.elapsed().as_millis() as usize * a_second / 1_000 && !over.load(Ordering::SeqCst) {
            count += 1;
            if let Ok(stream) = connect_from(attacker(5), to) {
                // Ports are free again at once.
                let _ = socket2::SockRef::from(&stream).set_linger(Some(Duration::ZERO));
                held.push_back(stream);
            }
            if held.len() > 1_000 {
                held.pop_front();
            }
        }
        std::thread::sleep(millis(4));
    }
    count
}

#[test]
fn encoders_far_away_get_in_beside_one_address_that_opens_2500_connections_a_second() {
    let server = Options::open().start();
    let relay = Relay::start(server.rtmp, 4, millis(75));
    let over = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let (to, over) = (server.rtmp, &over);
        let attack = scope.spawn(move || connects(to, 2_500, over));
        let began = Instant::now();
        eventually("the handshakes are at their limit", seconds(10), || {
            server.metrics().contains("reason=\"handshakes\"").then_some(())
        });
        let encoders: Vec<_> = (0..30_u64)
            .map(|n| {
                let relay = relay.address;
                scope.spawn(move || {
                    std::thread::sleep(millis(150 * n));
                    Publisher::start(relay, "stream", &format!("far-{n}"))
                        .map(drop)
                        .map_err(|error| format!("{n}: {error:#}"))
                })
            })
            .collect();
        let kept_out: Vec<String> =
            encoders.into_iter().filter_map(|encoder| encoder.join().expect("no panic").err()).collect();
        let took = began.elapsed();
        over.store(true, Ordering::SeqCst);
        let count = attack.join().expect("no panic");
        println!("{count} connections in {took:?} beside 30 encoders: {} kept out", kept_out.len());
        assert!(kept_out.is_empty(), "{kept_out:?}");
        assert!(count as f64 / took.as_secs_f64() > 1_000.0, "the attack was slow: {count} in {took:?}");
    });
}

#[test]
fn case_44_in_a_group_with_little_memory_new_streams_are_refused_before_the_kernel_kills() {
    let Some(group) = proc::MemoryGroup::new(256 << 20) else {
        println!("not tried: this machine lets nobody make a control group");
        return;
    };
    let mut server = Options::open().group(group.path()).start();
    let mut held = Vec::new();
    let refused = (0..20).find_map(|n| {
        let mut publisher = match Publisher::start(server.rtmp, "stream", &format!("big-{n}")) {
            Ok(publisher) => publisher,
            Err(error) => return Some(format!("{error:#}")),
        };
        // A log's fill of keyframes.
        for frame in 0..80_u32 {
            let mut data = vec![u8::try_from(frame).expect("small"); 220 << 10];
            data[..5].copy_from_slice(if frame == 0 { &[0x17, 0, 0, 0, 0] } else { &[0x17, 1, 0, 0, 0] });
            if frame == 0 {
                data.truncate(5);
                data.extend([1, 0x42, 0xC0, 0x1F, 0xFF, 0xE1, 0, 4, 0x67, 0x42, 0xC0, 0x1F, 1, 0, 2, 0x68, 0xCE]);
            }
            publisher.send(&Tag { kind: VIDEO, timestamp: frame * 40, data }).expect("taken");
        }
        held.push(publisher);
        // The server looks at its memory twice a second.
        std::thread::sleep(millis(700));
        None
    });
    println!("after {} streams: {refused:?}; {} MiB resident", held.len(), proc::rss(server.pid()) >> 20);
    assert!(server.try_wait().is_none(), "the kernel has killed the server");
    assert!(refused.is_some() && held.len() > 2, "{refused:?} after {} streams", held.len());
    assert!(server.metrics().contains("reason=\"overload_publish\""));
    assert!(
        held.iter_mut().all(|publisher| publisher
            .send(&Tag { kind: VIDEO, timestamp: 4_000, data: vec![0x27, 1, 0, 0, 0, 0, 0, 0, 1, 9] })
            .is_ok()),
        "who is on air goes on"
    );
    drop(server);
}

/// Every one of these is asked again and again until it is over; the slowest but for a hundredth.
fn p99_of(what: &str, over: &AtomicBool, mut ask: impl FnMut()) -> Duration {
    let mut took = Vec::new();
    while !over.load(Ordering::SeqCst) {
        let began = Instant::now();
        ask();
        took.push(began.elapsed());
        std::thread::sleep(millis(10));
    }
    let p99 = percentile(&mut took, 0.99);
    println!("{what}: p99 {p99:?} of {}, at most {:?}", took.len(), took.last());
    p99
}

#[test]
fn idle_and_unread_connections_of_one_address_close_the_control_port_for_nobody() {
    let server = Options::signed().start();
    let client = Client::admin(&server);
    let token = std::fs::read_to_string(server.data_dir().join("node-token")).expect("made at the first start");
    let (control, http, over) = (server.control, server.http, AtomicBool::new(false));
    let fresh = |from: u8, token: &str, method: &str, path: &str, body: &str| {
        let stream = connect_from(Ipv4Addr::new(127, 0, 5, from).into(), control).expect("connected");
        let mut connection = Connection::over(stream).expect("a socket");
        let request = format!(
            "{method} {path} HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {token}\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{body}",
            body.len()
        );
        connection.send(request.as_bytes()).expect("sent");
        let answer = connection.response(false).expect("an answer");
        assert_eq!(answer.status, 200, "{method} {path}");
    };
    let poll = json!({ "protocol": 1, "node": { "name": "far", "run": 3 }, "wait_ms": 0 }).to_string();
    std::thread::scope(|scope| {
        let over = &over;
        let attack = scope.spawn(move || {
            lowest_priority();
            let mut held = VecDeque::new();
            let mut count = 0_usize;
            let began = Instant::now();
            while began.elapsed() < seconds(8) {
                if let Ok(mut stream) = connect_from(attacker(6), control) {
                    let said: &[u8] = match count % 4 {
                        0 => b"",
                        1 => b"GET /healthz HTTP/1.1\r\nHost: loc",
                        // Asked for, and never read.
                        2 => b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n",
                        _ => b"GET /api/v1/openapi.json HTTP/1.1\r\nHost: localhost\r\n\r\nGET /api/v1/openapi.json HTTP/1.1\r\nHost: localhost\r\n\r\n",
                    };
                    let _ = stream.write_all(said);
                    held.push_back(stream);
                    count += 1;
                }
                if held.len() > 600 {
                    held.pop_front();
                    std::thread::sleep(millis(20));
                }
            }
            over.store(true, Ordering::SeqCst);
            count
        });
        eventually("there are more connections than places", seconds(10), || {
            (proc::descriptors(server.pid()) > 140).then_some(())
        });
        let health = scope.spawn(|| p99_of("/healthz", over, || fresh(1, "", "GET", "/healthz", "")));
        let api = scope.spawn(|| p99_of("the API", over, || fresh(2, client.token(), "GET", "/api/v1/streams", "")));
        let link =
            scope.spawn(|| p99_of("the link", over, || fresh(3, token.trim(), "POST", "/link/v1/report", &poll)));
        let play = scope.spawn(|| p99_of("HTTP play", over, || assert_eq!(http::get(http, "/healthz").status, 200)));
        let p99s = [health, api, link, play].map(|asking| asking.join().expect("no panic"));
        println!("{} connections", attack.join().expect("no panic"));
        assert!(p99s.iter().all(|p99| *p99 <= millis(100)), "{p99s:?}");
    });
    assert!(proc::descriptors(server.pid()) < 400, "{} descriptors", proc::descriptors(server.pid()));
}

#[test]
fn bodies_that_do_not_come_of_four_addresses_close_the_control_port_for_nobody() {
    let server = Options::signed().start();
    let mut client = Client::admin(&server);
    let token = std::fs::read_to_string(server.data_dir().join("node-token")).expect("made at the first start");
    let slow = b"POST /api/v1/login HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: 300\r\n\r\n{";
    let held: Vec<_> = (0..512)
        .filter_map(|n| {
            let mut stream = connect_from(attacker(20 + (n % 4) as u8), server.control).ok()?;
            stream.write_all(slow).ok()?;
            Some(stream)
        })
        .collect();
    assert!(held.len() > 500, "{} connections", held.len());
    let began = Instant::now();
    std::thread::sleep(millis(500));
    // Each by a connection of its own.
    let poll = json!({ "protocol": 1, "node": { "name": "far", "run": 3 }, "wait_ms": 0 });
    while began.elapsed() < seconds(3) {
        assert_eq!(http::get(server.control, "/healthz").status, 200);
        Client::admin(&server).get("/api/v1/streams").is(200);
        Client::with(server.control, token.trim()).post("/link/v1/report", &poll).is(200);
    }
    client.post("/api/v1/streams", &json!({ "id": "made" })).is(201);
}

#[test]
fn case_38_floods_of_publishes_lose_no_event_of_another_stream() {
    let server = Options::signed().config("[webhooks]\nallow = [\"127.0.0.0/8\"]\n").start();
    let mut client = Client::admin(&server);
    let receiver = WebhookReceiver::start();
    let hook = json!({ "url": format!("http://{}/hook", receiver.address), "events": ["publish", "unpublish"] });
    client.post("/api/v1/webhooks", &hook).is(201);
    let honest: Vec<String> = (0..9).map(|n| format!("good-{n}")).collect();
    let mut make = |id: &str| format!("{id}?sign={}", client.make_stream(id));
    let keys: Vec<String> = honest.iter().map(|id| make(id)).collect();
    let (flood, flood_2) = (make("flood"), make("flood-2"));
    let mut events = client.listen();
    let (over, to) = (AtomicBool::new(false), server.rtmp);
    std::thread::scope(|scope| {
        scope.spawn(|| flood_of_one_connection(to, &flood, &over));
        scope.spawn(|| flood_of_connections(to, &flood_2, &over));
        let began = Instant::now();
        for key in &keys {
            std::thread::sleep(seconds(1));
            let publisher = Publisher::start(to, "stream", key).expect("an honest publisher is let in");
            publisher.finish().expect("and leaves when it wants to");
        }
        std::thread::sleep(seconds(10).saturating_sub(began.elapsed()));
        over.store(true, Ordering::SeqCst);
    });
    let pairs = |told: &str, id: &str| {
        let of = |kind: &str| {
            let named = |event: &str| {
                event.starts_with(&format!("{kind}\n")) && event.contains(&format!("\"stream\":\"{id}\""))
            };
            told.split("event: ").filter(|event| named(event)).count()
        };
        (of("publish"), of("unpublish"))
    };
    events.until("all events of the honest", seconds(20), |told| {
        honest.iter().all(|id| pairs(told, id) == (1, 1)).then_some(())
    });
    assert!(!events.told().contains("event: lost"), "the listener missed events");
    for id in &honest {
        let history = eventually("the history has it", seconds(10), || {
            let history = client.get(&format!("/api/v1/streams/{id}/history")).is(200).json;
            history["items"][0]["ended_unix_ms"].is_u64().then_some(history)
        });
        assert_eq!(history["items"].as_array().map(Vec::len), Some(1), "{history}");
    }
    let mut hooked: BTreeMap<String, usize> = BTreeMap::new();
    eventually("the webhook has all of the honest", seconds(30), || {
        while let Some(delivery) = receiver.next(millis(20)) {
            *hooked.entry(delivery.event["stream"].as_str().unwrap_or_default().to_owned()).or_default() += 1;
        }
        honest.iter().all(|id| hooked.get(id) == Some(&2)).then_some(())
    });
    let log = server.log.text();
    let lines = log.lines().filter(|line| line.contains("flood") || line.contains("127.0.3.")).count();
    println!(
        "events of the floods: {:?} {:?}; lines in the log: {lines}",
        pairs(events.told(), "flood"),
        pairs(events.told(), "flood-2")
    );
    assert!(
        pairs(events.told(), "flood").0 <= 40 && pairs(events.told(), "flood-2").0 <= 40,
        "the floods are slowed down"
    );
    assert!(log.contains("slowed down"), "an operator is told");
    assert!(lines < 400, "{lines} lines in the log for floods");
    assert!(server.metric("millstream_events_lost_total") < 0.5);
}
