//! Two nodes: a stream is owned by one, and viewers of the other get the same bytes. The nodes are two engines of this process; what carries
//! messages from one to the other is a small implementation of the tests' own, which has bytes in between.
use std::collections::HashMap;
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};
use std::sync::{Arc, Mutex, OnceLock};
use std::thread;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use bytes::BytesMut;
use millstream_engine::Remote;
use millstream_engine::config::IoChoice;
use millstream_engine::nodes::{NodeConfig, Nodes};
use millstream_hub::address::{Address, NodeNumber};
use millstream_hub::stream_message::StreamMessage;
use millstream_hub::wire::{MessageReader, MessageWriter, WireClock};
use millstream_proto::id::Id;

use crate::harness::{Answer, BOTH, Server, assert_same, config, eventually, frame};

/// The other node, by the number that each of the two has for it.
const OTHER: NodeNumber = NodeNumber(1);
/// Messages that may wait on the way.
const WAITING_MAX: usize = 16;

/// From which shard, to which, of which stream: those messages have a writer and a reader of their own.
type Lane = (usize, usize, Id);

/// A message on its way.
struct Packet {
    lane: Lane,
    bytes: BytesMut,
}

/// Of an engine that starts now.
fn clock() -> WireClock {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    WireClock { zero_unix_us: i64::try_from(since.as_micros()).unwrap() }
}

/// A node that runs: its engine, and its clock.
type Running = OnceLock<(Remote, WireClock)>;

/// The way from one node to the other.
struct Way {
    /// Streams that begin with this are the other node's.
    theirs: &'static str,
    clock: WireClock,
    writers: Mutex<HashMap<Lane, MessageWriter>>,
    out: SyncSender<Packet>,
}

impl std::fmt::Debug for Way {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Way")
    }
}

impl Nodes for Way {
    fn owner(&self, id: &Id) -> Option<NodeNumber> {
        id.as_str().starts_with(self.theirs).then_some(OTHER)
    }

    fn send(&self, from: usize, to: Address, id: &Id, message: StreamMessage) -> Result<(), StreamMessage> {
        assert_eq!(to.node, OTHER);
        let mut writers = self.writers.lock().unwrap();
        let lane = (from, to.shard, id.clone());
        let writer = writers.entry(lane.clone()).or_insert_with(|| MessageWriter::new(self.clock));
        // A message that finds no room is written again: what its writer knows counts only once it is on its way.
        let (mut bytes, mut next) = (BytesMut::new(), writer.clone());
        assert!(next.write(id, &message, &mut bytes));
        match self.out.try_send(Packet { lane, bytes }) {
            Ok(()) => {
                *writer = next;
                Ok(())
            }
            Err(TrySendError::Full(_) | TrySendError::Disconnected(_)) => Err(message),
        }
    }
}

/// Hands over what comes, in order, and waits where there is no room.
fn carry(packets: &Receiver<Packet>, to: &Running) {
    let mut readers: HashMap<Lane, MessageReader> = HashMap::new();
    while let Ok(Packet { lane, mut bytes }) = packets.recv() {
        let (remote, clock) = to.wait();
        let (from, shard) = (Address { node: OTHER, shard: lane.0 }, lane.1);
        let reader = readers.entry(lane).or_insert_with(|| MessageReader::new(*clock));
        let (id, mut message) = reader.read(&mut bytes).expect("a message").expect("a whole one");
        assert!(bytes.is_empty());
        while let Err(back) = remote.deliver(from, shard, id.clone(), message) {
            if remote.is_draining() {
                return;
            }
            message = back;
            thread::sleep(Duration::from_millis(1));
        }
    }
}

/// A node, and where its engine is put once it runs.
fn way(theirs: &'static str, clock: WireClock, to: &Arc<Running>) -> NodeConfig {
    let (out, packets) = sync_channel(WAITING_MAX);
    let to = Arc::clone(to);
    thread::spawn(move || carry(&packets, &to));
    NodeConfig::new(Arc::new(Way { theirs, clock, writers: Mutex::default(), out }))
}

/// Two nodes: streams named `a...` are the first one's, `b...` the second one's.
fn two_nodes(io: IoChoice) -> [Server; 2] {
    let running: [Arc<Running>; 2] = Default::default();
    let start = |theirs, shards, (at, other): (usize, usize)| {
        let (mut config, clock) = (config(io, shards), clock());
        config.nodes = way(theirs, clock, &running[other]);
        let server = Server::start(config);
        running[at].set((server.engine().remote(), clock)).expect("once");
        server
    };
    // Nodes need not have as many shards.
    [start("b", 2, (0, 1)), start("a", 1, (1, 0))]
}

#[test]
fn viewers_of_another_node_get_the_same() {
    for io in BOTH {
        let [first, second] = two_nodes(io);
        for (stream, owner, other) in [("apple", &first, &second), ("berry", &second, &first)] {
            let mut publisher = owner.encoder(stream);
            publisher.send((0..30).map(frame));
            let mut viewers: Vec<_> = [owner, other, other, other].iter().map(|node| node.flv(stream)).collect();
            let mut player = other.play(stream);
            publisher.send_live(30..100);
            for viewer in &mut viewers {
                viewer.until_frame(99);
            }
            player.until_frame(99);
            let all: Vec<&[_]> =
                viewers.iter().map(|flv| &flv.tags[..]).chain(std::iter::once(&player.tags[..])).collect();
            assert_same(&all, 99);
            publisher.finish();
        }
        assert_eq!(first.metric("millstream_session_panics_total", ""), 0);
        assert_eq!(second.metric("millstream_session_panics_total", ""), 0);
    }
}

fn body(answer: &Answer) -> &[u8] {
    let head = answer.0.windows(4).position(|bytes| bytes == b"\r\n\r\n").expect("a head");
    &answer.0[head + 4..]
}

#[test]
fn playlists_and_files_of_another_node_are_the_same() {
    let [first, second] = two_nodes(IoChoice::Auto);
    let mut publisher = second.encoder("berry");
    publisher.send((0..200).map(frame));
    let get = |node: &Server, path: &str| Answer::get(node.engine().addresses().http, path);
    let playlist = "/berry/video.m3u8";
    let listed = |node: &Server| {
        let answer = get(node, playlist);
        answer.0.starts_with(b"HTTP/1.1 200").then(|| String::from_utf8_lossy(body(&answer)).into_owned())
    };
    eventually("a playlist at the owner", || listed(&second).is_some_and(|text| text.contains("EXTINF")));
    eventually("the same at the other node", || listed(&first).is_some() && listed(&first) == listed(&second));
    let text = listed(&first).unwrap();
    let files: Vec<_> = text.lines().filter(|line| line.starts_with("s/")).collect();
    assert!(!files.is_empty(), "{text}");
    for file in files {
        let path = format!("/berry/{file}");
        let (here, there) = (get(&first, &path), get(&second, &path));
        assert!(here.0.starts_with(b"HTTP/1.1 200") && there.0.starts_with(b"HTTP/1.1 200"), "{path}");
        assert!(body(&here) == body(&there) && !body(&here).is_empty(), "{path}");
    }
}

#[test]
fn a_stream_that_nobody_owns_is_refused_as_on_one_node() {
    let [first, second] = two_nodes(IoChoice::Auto);
    let missing = |node: &Server| Answer::get(node.engine().addresses().http, "/berry/live.flv").status();
    assert_eq!(missing(&second), 404);
    assert_eq!(missing(&first), 404);
}
