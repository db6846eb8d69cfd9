//! Bytes that no client would send, from a seed that is printed, at a server that must go on serving another stream.
use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};

use millstream_test_support::random::Random;
use millstream_tests::clip::Clip;
use millstream_tests::control::Client as Control;
use millstream_tests::flv::{Tag, VIDEO};
use millstream_tests::http::{Connection, Viewer, get};
use millstream_tests::rtmp::{Client, Publisher, Pushing};
use millstream_tests::server::{Options, Server};
use millstream_tests::{eventually, millis, proc, seconds};
use serde_json::json;

/// A stream that must not suffer.
struct Bystander {
    server: Server,
    push: Pushing,
    viewer: Viewer,
    before: u64,
}

impl Bystander {
    fn new(options: Options) -> Self {
        let server = options.start();
        let push = Publisher::start(server.rtmp, "stream", "good").expect("published").repeat(Clip::small());
        let mut viewer = Viewer::watch(server.http, "good");
        viewer.find("keyframe", seconds(5), Tag::is_keyframe);
        let before = proc::rss(server.pid());
        Self { server, push, viewer, before }
    }

    fn unharmed(&mut self, growth: u64) {
        // What came meanwhile has waited in the socket, so holes show here.
        let tags = self.viewer.tags_for(millis(1_500));
        let times: Vec<u32> = tags.iter().filter(|t| t.kind == VIDEO && t.is_frame()).map(|t| t.timestamp).collect();
        assert!(
            times.len() > 30 && times.windows(2).all(|w| w[1] - w[0] <= 40),
            "the other stream has holes: {times:?}"
        );
        assert!(self.push.alive() && self.viewer.end.is_none());
        // While a flood holds every place for newcomers, a newcomer may have to come again.
        eventually("the server takes newcomers", seconds(5), || self.server.healthy().then_some(()));
        let grown = proc::rss(self.server.pid()).saturating_sub(self.before);
        println!("the server grew by {} KiB", grown >> 10);
        assert!(grown < growth, "the server grew by {grown} bytes");
    }
}

fn throw(address: SocketAddr, bytes: &[u8]) {
    if let Ok(mut stream) = TcpStream::connect_timeout(&address, seconds(5)) {
        let _ = stream.set_write_timeout(Some(millis(500)));
        let _ = stream.set_read_timeout(Some(millis(20)));
        // The server may close in the middle; that is an answer.
        let _ = stream.write_all(bytes);
        let _ = stream.read(&mut [0; 4096]);
    }
}

#[test]
fn random_bytes_to_both_ports_harm_nobody() {
    let seed = 0x6D69_6C6C_0001;
    println!("seed {seed:#x}");
    let mut random = Random::new(seed);
    let mut bystander = Bystander::new(Options::open());
    for _ in 0..150 {
        let len = (random.next_u64() % 8_000) as usize;
        let mut bytes = random.bytes(len);
        throw(bystander.server.http, &bytes);
        // With the first byte right it gets further into the handshake.
        if let Some(first) = bytes.first_mut() {
            *first = 3;
        }
        throw(bystander.server.rtmp, &bytes);
    }
    bystander.unharmed(16 << 20);
}

/// After a handshake as the specification has it: chunk headers with absurd sizes, types and ids.
#[test]
fn absurd_chunks_after_a_right_handshake_harm_nobody() {
    let seed = 0x6D69_6C6C_0002;
    println!("seed {seed:#x}");
    let mut random = Random::new(seed);
    let mut bystander = Bystander::new(Options::open());
    let address = bystander.server.rtmp;
    let mut chunks: Vec<Vec<u8>> = vec![
        // A message of 16 MiB on every chunk stream, its first bytes only.
        (2..64u8).flat_map(|csid| [csid, 0, 0, 0, 0xFF, 0xFF, 0xFF, 9, 1, 0, 0, 0, 0x17]).collect(),
        // Set Chunk Size 0x7FFFFFFF, 0 and with the top bit.
        vec![2, 0, 0, 0, 0, 0, 4, 1, 0, 0, 0, 0, 0x7F, 0xFF, 0xFF, 0xFF],
        vec![2, 0, 0, 0, 0, 0, 4, 1, 0, 0, 0, 0, 0, 0, 0, 0],
        vec![2, 0, 0, 0, 0, 0, 4, 1, 0, 0, 0, 0, 0xFF, 0xFF, 0xFF, 0xFF],
        // A chunk of type 3 on an id never seen, three-byte ids.
        vec![0xC3, 1, 2, 3],
        [0x01, 0xFF, 0xFF].repeat(500),
        // An AMF0 command of one byte, and objects without end.
        vec![3, 0, 0, 0, 0, 0, 1, 20, 0, 0, 0, 0, 2],
        [vec![3, 0, 0, 0, 0, 0x75, 0x30, 20, 0, 0, 0, 0], [3u8, 0, 1, b'a'].repeat(7_500)].concat(),
        // A strict array that says it has 4 billion items.
        vec![3, 0, 0, 0, 0, 0, 8, 20, 0, 0, 0, 0, 10, 0xFF, 0xFF, 0xFF, 0xFF, 5, 5, 5],
    ];
    chunks.extend((0..100).map(|_| {
        let len = (random.next_u64() % 4_000) as usize;
        random.bytes(len)
    }));
    for bytes in &chunks {
        let Ok(mut stream) = TcpStream::connect_timeout(&address, seconds(5)) else { panic!("the server is gone") };
        stream.set_read_timeout(Some(seconds(5))).expect("a timeout");
        stream.set_write_timeout(Some(millis(500))).expect("a timeout");
        let mut hello = vec![0; 1537];
        hello[0] = 3;
        stream.write_all(&hello).expect("C0 and C1");
        let mut answer = vec![0; 1 + 2 * 1536];
        stream.read_exact(&mut answer).expect("S0, S1 and S2");
        stream.write_all(&answer[1..1537]).expect("C2");
        let _ = stream.write_all(bytes);
        stream.set_read_timeout(Some(millis(10))).expect("a timeout");
        let _ = stream.read(&mut [0; 4096]);
    }
    bystander.unharmed(24 << 20);
}

/// A session that is admitted and then sends media that is cut short or nonsense.
#[test]
fn broken_media_of_one_publisher_harms_nobody_else() {
    let seed = 0x6D69_6C6C_0003;
    println!("seed {seed:#x}");
    let mut random = Random::new(seed);
    let mut bystander = Bystander::new(Options::open());
    let clip = Clip::small();
    for round in 0..40 {
        let id = format!("bad{}", round % 3);
        let Ok(mut publisher) = Publisher::start(bystander.server.rtmp, "stream", &id) else { continue };
        for tag in clip.configuration.iter().chain(clip.frames.iter().take(40)) {
            let mut tag = tag.clone();
            match random.next_u64() % 4 {
                0 => tag.data.truncate((random.next_u64() as usize) % (tag.data.len() + 1)),
                1 => {
                    let at = (random.next_u64() as usize) % tag.data.len().max(1);
                    if let Some(byte) = tag.data.get_mut(at) {
                        *byte = random.next_u64() as u8;
                    }
                }
                2 => tag.timestamp = random.next_u64() as u32,
                _ => {
                    let len = (random.next_u64() % 300) as usize;
                    tag.data = random.bytes(len);
                }
            }
            // Being closed is an answer.
            if tag.data.is_empty() || publisher.send(&tag).is_err() {
                break;
            }
        }
        let _ = publisher.finish();
    }
    bystander.unharmed(64 << 20);
}

#[test]
fn half_open_connections_harm_nobody_and_end() {
    let options = Options::open().config(
        "[rtmp]\nhandshake_timeout = \"2s\"\n\n[http]\nheader_timeout = \"2s\"\n\n[limits]\nhandshakes = 200\n",
    );
    let mut bystander = Bystander::new(options);
    let quiet = proc::descriptors(bystander.server.pid());
    // More than are allowed; whether the rest is refused or waits, the server must not run out.
    let mut held = Vec::new();
    for i in 0..500 {
        let address = if i % 2 == 0 { bystander.server.rtmp } else { bystander.server.http };
        if let Ok(mut stream) = TcpStream::connect_timeout(&address, seconds(5)) {
            let _ = stream.write_all(if i % 2 == 0 { &[3; 700] } else { b"GET /good/li" });
            held.push(stream);
        }
    }
    bystander.unharmed(32 << 20);
    eventually("half-open connections are given up", seconds(15), || {
        (proc::descriptors(bystander.server.pid()) <= quiet + 5).then_some(())
    });
    // And who comes now is served.
    Viewer::watch(bystander.server.http, "good").find("keyframe", seconds(5), Tag::is_keyframe);
    Client::connect(bystander.server.rtmp, "stream").expect("RTMP is served, too");
}

#[test]
fn a_client_that_hangs_up_in_the_middle_of_anything_leaves_nothing() {
    let mut bystander = Bystander::new(Options::open());
    let quiet = proc::descriptors(bystander.server.pid());
    for i in 0..200 {
        let mut connection = Connection::open(bystander.server.http).expect("connected");
        let request = b"GET /good/live.flv HTTP/1.1\r\nHost: x\r\n\r\n";
        let _ = connection.send(&request[..(i * 7) % (request.len() + 1)]);
        if i % 3 == 0 {
            // An RST rather than a FIN.
            let socket = socket2::SockRef::from(&connection.stream);
            let _ = socket.set_linger(Some(std::time::Duration::ZERO));
        }
    }
    bystander.unharmed(16 << 20);
    eventually("their descriptors are given back", seconds(10), || {
        (proc::descriptors(bystander.server.pid()) <= quiet + 2).then_some(())
    });
}

/// A third of the frames of a picture that looks right at first, each with a few bits wrong or a piece of noise.
fn damaged(mut clip: Clip, random: &mut Random) -> Clip {
    for tag in clip.frames.iter_mut().filter(|tag| tag.kind == VIDEO) {
        if !random.next_u64().is_multiple_of(3) {
            continue;
        }
        let body = &mut tag.data;
        // Behind what says that it is a frame of H.264, and of which time.
        let (first, length) = (5, body.len() as u64);
        if random.next_u64().is_multiple_of(4) {
            let from = first + (random.next_u64() % length.saturating_sub(5).max(1)) as usize;
            let noise = random.bytes(body.len() - from);
            body.truncate(from);
            body.extend(noise);
        } else {
            for _ in 0..=random.next_u64() % 8 {
                let at = first + (random.next_u64() % length.saturating_sub(5).max(1)) as usize;
                if let Some(byte) = body.get_mut(at) {
                    *byte ^= 1 << (random.next_u64() % 8);
                }
            }
        }
    }
    clip
}

/// Its renditions, its motion and its pictures are asked for all the time.
#[test]
fn a_bitstream_that_is_damaged_costs_no_other_stream_anything() {
    let seed = 0x6D69_6C6C_0016;
    println!("seed {seed:#x}");
    let mut random = Random::new(seed);
    let mut bystander = Bystander::new(Options::open().shards(2));
    let mut client = Control::admin(&bystander.server);
    for id in ["bad", "other"] {
        let settings = json!({ "isCodec": true, "ld": true, "isMotion": true });
        client.post("/api/v1/streams", &json!({ "id": id, "settings": settings })).is(201);
    }
    let (rtmp, http) = (bystander.server.rtmp, bystander.server.http);
    let publish = |id: &str, clip| Publisher::start(rtmp, "stream", id).expect("published").repeat(clip);
    let _pushes = [publish("bad", damaged(Clip::busy(), &mut random)), publish("other", Clip::busy())];
    let mut other = Viewer::watch(http, "other/360p");
    other.find("a keyframe of the other stream's rendition", seconds(10), Tag::is_keyframe);
    let mut bad = Viewer::watch(http, "bad/360p");
    let asked = std::thread::spawn(move || {
        let pictures = (0..12).map(|_| {
            std::thread::sleep(seconds(1));
            get(http, "/bad/snapshot.jpg").status
        });
        pictures.collect::<Vec<_>>()
    });
    // Both viewers are read: what waits in a socket for long costs its viewer the rest.
    let mut all = Vec::new();
    for _ in 0..12 {
        all.extend(other.tags_for(millis(500)));
        bystander.viewer.tags_for(millis(500));
    }
    let pictures: Vec<u32> = all.iter().filter(|t| t.kind == VIDEO && t.is_frame()).map(|t| t.timestamp).collect();
    let of_bad = bad.tags_for(millis(100)).iter().filter(|tag| tag.kind == VIDEO && tag.is_frame()).count();
    let statuses = asked.join().expect("answers");
    let restarts = bystander.server.metric("millstream_worker_restarts_total");
    println!(
        "{} pictures of the other rendition, {of_bad} of the damaged one, snapshots {statuses:?}, {restarts} workers ended",
        pictures.len()
    );
    assert!(statuses.iter().all(|status| [200, 404, 503].contains(status)), "{statuses:?}");
    // A decoder that dies costs a moment; it has not died here, and would once.
    assert!(pictures.len() > 200 && other.end.is_none(), "{} pictures", pictures.len());
    assert!(restarts <= 2.0, "{restarts}");
    bystander.unharmed(64 << 20);
}
