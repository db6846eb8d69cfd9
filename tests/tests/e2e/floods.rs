//! Too much of everything, at a server that has an honest publisher and an honest viewer: they must not feel it.
use std::io::{Read as _, Write as _};
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use millstream_tests::clip::Clip;
use millstream_tests::flv::{Tag, VIDEO};
use millstream_tests::http::Viewer;
use millstream_tests::raw::{NULL, Raw, chunk_size, command, connect_from, message};
use millstream_tests::rtmp::{Publisher, Pushing};
use millstream_tests::server::{Options, Server};
use millstream_tests::{eventually, millis, percentile, proc, seconds};

use crate::load::delays;

/// Those who must not suffer.
struct Honest {
    server: Server,
    push: Pushing,
    viewer: Viewer,
    /// Highest delay but for a hundredth, before anything happens.
    alone: Duration,
    memory: u64,
}

impl Honest {
    fn start(options: Options) -> Self {
        let server = options.shards(1).start();
        let push = Publisher::start(server.rtmp, "stream", "good").expect("published").repeat(Clip::small());
        let mut viewer = Viewer::watch(server.http, "good");
        viewer.find("keyframe", seconds(5), Tag::is_keyframe);
        delays(&mut viewer, &push, millis(300));
        let alone = percentile(&mut delays(&mut viewer, &push, millis(1_500)), 0.99);
        let memory = proc::rss(server.pid());
        Self { server, push, viewer, alone, memory }
    }

    /// What they see while something is done to the server; what that gives, and the memory that it took at most.
    fn beside<T: Send>(&mut self, what: &str, attack: impl FnOnce(&Server) -> T + Send) -> T {
        let (server, over) = (&self.server, AtomicBool::new(false));
        let (mut seen, mut most, began) = (Vec::new(), 0, Instant::now());
        let cpu = proc::cpu(server.pid());
        let outcome = std::thread::scope(|scope| {
            let attacking = scope.spawn(|| {
                // Attackers have machines of their own: the cores here are for those who are measured.
                let _ = rustix::process::nice(19);
                let outcome = attack(server);
                over.store(true, Ordering::SeqCst);
                outcome
            });
            while !over.load(Ordering::SeqCst) && !attacking.is_finished() {
                seen.extend(delays(&mut self.viewer, &self.push, millis(200)));
                most = most.max(proc::rss(server.pid()));
            }
            attacking.join().expect("the attack goes as it should")
        });
        let took = began.elapsed();
        seen.extend(delays(&mut self.viewer, &self.push, millis(300)));
        let p99 = percentile(&mut seen, 0.99);
        let grown = most.saturating_sub(self.memory);
        println!(
            "{what}: {took:.1?}, {:?} CPU; honest p99 {:.1?} alone, {p99:.1?} beside it ({} frames); grew by {} KiB",
            proc::cpu(server.pid()).saturating_sub(cpu),
            self.alone,
            seen.len(),
            grown >> 10
        );
        assert!(took < seconds(20), "{what} took {took:?}");
        assert!(self.push.alive() && self.viewer.end.is_none(), "{what} ended somebody honest");
        // Two cores carry the flood, the server and the clients: this finds starvation, not milliseconds.
        assert!(p99 < self.alone + millis(250), "{what}: p99 {:?} became {p99:?}", self.alone);
        assert!(grown < 48 << 20, "{what}: the server grew by {grown} bytes");
        outcome
    }

    /// All is as before: newcomers are served, and no picture was lost.
    fn unharmed(mut self) {
        eventually("the server takes newcomers", seconds(10), || self.server.healthy().then_some(()));
        Viewer::watch(self.server.http, "good").find("keyframe", seconds(5), Tag::is_keyframe);
        drop(Publisher::start(self.server.rtmp, "stream", "new").expect("a new publisher is admitted"));
        let tags = self.viewer.tags_for(millis(300));
        assert!(tags.iter().any(|tag| tag.kind == VIDEO));
        assert_eq!(self.server.metric("millstream_viewer_skips_total") as u64, 0);
        assert_eq!(self.server.metric("millstream_session_panics_total") as u64, 0);
    }

    fn raw(server: &Server) -> Raw {
        Raw::open(connect_from(attacker(1), server.rtmp).expect("connected")).expect("a handshake")
    }

    fn publisher(server: &Server, id: &str) -> Raw {
        let mut raw = Self::raw(server);
        raw.connect().expect("connected");
        raw.publish(id).expect("published");
        raw
    }
}

/// Addresses that are not the honest ones'.
fn attacker(n: usize) -> IpAddr {
    Ipv4Addr::new(127, 0, 1, n as u8).into()
}

/// As many as do connect; the server may refuse or close any.
fn crowd(to: SocketAddr, count: usize, said: &[u8]) -> Vec<TcpStream> {
    let mut held = Vec::with_capacity(count);
    for n in 0..count {
        if let Ok(mut stream) = connect_from(attacker(2 + n / 1_000), to) {
            let _ = stream.write_all(said);
            held.push(stream);
        }
    }
    held
}

#[test]
fn five_thousand_silent_handshakes() {
    let mut honest = Honest::start(Options::open());
    let held = honest.beside("5,000 silent connections, half of them in the middle of a handshake", |server| {
        let mut held = crowd(server.rtmp, 2_500, b"");
        held.extend(crowd(server.rtmp, 2_500, &[3; 1_537]));
        // In the middle of it, somebody new is served.
        drop(Publisher::start(server.rtmp, "stream", "late").expect("a new publisher is admitted"));
        assert!(proc::descriptors(server.pid()) < 700, "the limit of handshakes holds");
        held
    });
    assert!(held.len() > 4_900, "{} connected", held.len());
    assert!(honest.server.metrics().contains("reason=\"handshakes\""));
    honest.unharmed();
}

#[test]
fn one_byte_at_a_time_from_a_thousand() {
    let config = "[rtmp]\nhandshake_timeout = \"2s\"\n\n[http]\nheader_timeout = \"2s\"\n";
    let mut honest = Honest::start(Options::open().config(config));
    honest.beside("1,000 connections that say a byte now and then", |server| {
        let mut slow = crowd(server.rtmp, 500, &[3]);
        slow.extend(crowd(server.http, 500, b"GET /good/live.flv HTTP/1.1\r\nHost: x\r\nX: "));
        let began = Instant::now();
        while !slow.is_empty() {
            assert!(began.elapsed() < seconds(10), "{} are still open", slow.len());
            slow.retain_mut(|stream| {
                let _ = stream.set_nonblocking(true);
                let open = stream.write_all(b"x").is_ok();
                let read = stream.read(&mut [0; 4_096]);
                open && !matches!(read, Ok(0)) && !read.is_err_and(|e| e.kind() != std::io::ErrorKind::WouldBlock)
            });
            std::thread::sleep(millis(100));
        }
    });
    honest.unharmed();
}

#[test]
fn case_09_what_chunks_and_commands_can_be_made_to_do() {
    let mut honest = Honest::start(Options::open());
    honest.beside("SetChunkSize 0x7FFFFFFF and a message without end, 8 times", |server| {
        for n in 0..8 {
            let mut raw = Honest::publisher(server, &format!("chunk-{n}"));
            let long = [&[6, 0, 0, 0, 0xFF, 0xFF, 0xFF, 9, 1, 0, 0, 0, 0x17][..], &vec![0; 4 << 20]].concat();
            assert!(raw.say(&[&chunk_size(0x7FFF_FFFF)[..], &long].concat()), "16 MiB are more than is taken");
        }
    });
    honest.beside("64 half-open messages of 16 MiB, and as many of 8 MiB", |server| {
        let half_open = |length: [u8; 3], held: usize| {
            let one = |csid: u8| {
                let head = [&[csid, 0, 0, 0][..], &length, &[9, 1, 0, 0, 0, 0x17, 1, 0, 0, 0]].concat();
                [&head[..], &vec![0; held]].concat()
            };
            let begun: Vec<u8> = (0..62).flat_map(|n| one(2 + n)).collect();
            [chunk_size(u32::try_from(held + 5).expect("small")), begun].concat()
        };
        assert!(Honest::publisher(server, "half-16").say(&half_open([0xFF, 0xFF, 0xFF], 1 << 10)));
        let mut kept = Vec::new();
        // Little of each: that is held. Much of each: that is too much for one connection.
        for (n, held) in [(0, 1 << 10), (1, 1 << 10), (2, 300 << 10)] {
            let mut raw = Honest::publisher(server, &format!("half-8-{n}"));
            assert_eq!(raw.say(&half_open([0x7F, 0xFF, 0xFF], held)), held > 100 << 10);
            kept.push(raw);
        }
    });
    honest.beside("16 MiB in chunks of one byte", |server| {
        let mut raw = Honest::publisher(server, "bytes");
        raw.stream.write_all(&chunk_size(1)).expect("sent");
        let one = [&[6, 0, 0, 0, 0x08, 0, 0, 9, 1, 0, 0, 0, 0x27][..], &[0xC6, 1].repeat((512 << 10) - 1)].concat();
        for _ in 0..16 {
            raw.stream.write_all(&one).expect("taken");
        }
    });
    honest.beside("20,000 objects in each other, as command and as data", |server| {
        let nested = [&[2, 0, 1, b'x', 0][..], &[0; 8], &[3, 0, 1, b'a'].repeat(14_000)].concat();
        for _ in 0..8 {
            let mut raw = Honest::raw(server);
            raw.connect().expect("connected");
            raw.say(&message(3, 20, 0, &nested));
        }
        let mut raw = Honest::publisher(server, "nested");
        let more = [3, 0, 1, b'a'].repeat(20_000);
        let data = [&[2, 0, 10][..], b"onMetaData", &more].concat();
        let raised = [chunk_size(1 << 20), message(4, 18, 1, &data).repeat(50)].concat();
        assert!(!raw.say(&raised), "odd data never closes");
    });
    honest.beside("1,000,000 createStream before publish, and then while publishing", |server| {
        let create = command("createStream", 4.0, &[NULL]);
        let mut raw = Honest::raw(server);
        raw.connect().expect("connected");
        assert!(raw.say(&create.repeat(10_000)), "so many commands end a session that does nothing else");
        let mut raw = Honest::publisher(server, "commands");
        let many = create.repeat(100_000);
        for _ in 0..10 {
            assert!(!raw.say(&many), "each is answered");
        }
    });
    honest.unharmed();
}

#[test]
fn stamps_that_jump_by_hours() {
    let mut honest = Honest::start(Options::open());
    honest.beside("stamps that jump by hours", |server| {
        const HOUR: u32 = 3_600_000;
        let clip = Clip::small();
        let mut publisher = Publisher::start(server.rtmp, "stream", "jumpy").expect("published");
        for tag in &clip.configuration {
            publisher.send(tag).expect("sent");
        }
        let mut viewer = None;
        let jumps = [0, 5 * HOUR, HOUR, u32::MAX - 1_000, 0x7FFF_FFFF, 24 * HOUR, 0, u32::MAX - HOUR];
        for (n, tag) in clip.frames.iter().cycle().take(900).enumerate() {
            let timestamp = tag.timestamp.wrapping_add(jumps[n / 40 % jumps.len()]);
            publisher.send(&Tag { timestamp, ..tag.clone() }).expect("taken");
            std::thread::sleep(millis(3));
            if n == 20 {
                viewer = Some(Viewer::watch(server.http, "jumpy"));
            }
        }
        let tags = viewer.expect("a viewer").tags_for(millis(500));
        Viewer::assert_monotonic(&tags);
        let (first, last) = (tags.first().expect("tags"), tags.last().expect("tags"));
        let span = last.timestamp - first.timestamp;
        assert!(tags.len() > 500 && span < 120_000, "{} tags over {span} ms", tags.len());
    });
    assert!(honest.server.metric("millstream_timestamp_jumps_total") > 10.0);
    honest.unharmed();
}

/// Whether the engine has refused anything for this reason.
fn refused_for(metrics: &str, reason: &str) -> bool {
    let reason = format!("reason=\"{reason}\"");
    metrics.lines().any(|line| line.starts_with("millstream_refused_total{") && line.contains(&reason))
}

/// The accept loop neither dies nor spins.
fn idle_cpu(server: &Server) {
    let cpu = proc::cpu(server.pid());
    std::thread::sleep(seconds(2));
    let cpu = proc::cpu(server.pid()).saturating_sub(cpu);
    println!("CPU in 2 s without descriptors: {cpu:?}");
    assert!(cpu < millis(400), "the server spins: {cpu:?} in 2 s");
}

#[test]
fn few_descriptors_are_noticed_at_the_start() {
    let mut honest = Honest::start(Options::open().descriptors(256).config("[limits]\nconnections = 20000\n"));
    assert!(honest.server.log.has("raise that"), "an operator is told");
    let held = honest.beside("400 connections with 256 descriptors", |server| {
        let held = crowd(server.rtmp, 400, &[3]);
        // Who is one too many is taken, and let go.
        eventually("few descriptors are open", seconds(5), || (proc::descriptors(server.pid()) < 200).then_some(()));
        let answer = millstream_tests::http::get(server.http, "/healthz");
        assert_eq!(answer.status, 503, "who is one too many is told");
        assert!(server.metric("millstream_connections") > 0.0, "operators still see what is going on");
        idle_cpu(server);
        held
    });
    let metrics = honest.server.metrics();
    assert!(refused_for(&metrics, "connections") && !refused_for(&metrics, "accept"), "{metrics}");
    drop(held);
    honest.unharmed();
}

#[test]
fn no_descriptors_at_all_end_nobody() {
    let mut honest = Honest::start(Options::open());
    let held = honest.beside("no descriptor left", |server| {
        let now = proc::descriptors(server.pid()) as u64;
        server.limit_descriptors(now);
        // The kernel completes these; nobody can take them.
        let mut held = crowd(server.rtmp, 100, &[3]);
        held.extend(crowd(server.http, 100, b"GET"));
        idle_cpu(server);
        // The limit is one of numbers, and some below it may have been free.
        assert!((proc::descriptors(server.pid()) as u64) < now + 10);
        server.limit_descriptors(4_096);
        held
    });
    eventually("those who waited are taken", seconds(5), || {
        (proc::descriptors(honest.server.pid()) > 200).then_some(())
    });
    assert!(refused_for(&honest.server.metrics(), "accept"));
    assert_eq!(honest.server.log.text().matches("cannot accept").count(), 2, "said once for each port");
    drop(held);
    honest.unharmed();
}
