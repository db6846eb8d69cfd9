//! Walks of the product's own engine, over a made-up system: `millstream-engine-simulated`. Encoders and viewers are tasks beside those of the
//! shards; what they get is held against what was published, and when all have gone, nothing may be left behind.
use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::future::Future;
use std::net::IpAddr;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::pin;
use std::rc::Rc;
use std::sync::Once;
use std::time::Duration;

use futures_util::future::{Either, select};
use millstream_engine_simulated as engine;
use millstream_engine_simulated::config::{Config, IoChoice, Limits};
use millstream_engine_simulated::io::{self, Line, Weather};
use millstream_engine_simulated::{Remote, directory::Directory, slates::Slates};
use millstream_policy::signed::Apps;
use millstream_proto::id::Id;
use millstream_proto::time::Time;
use millstream_test_support::random::Random;

use self::published::Published;
use crate::plan::{PeerPlan, Role, Settings, draw};

mod audit;
mod door;
mod encoder;
mod hash_keys;
mod operator;
mod player;
mod published;
mod viewer;

/// Where the trace of a walk goes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Trace {
    /// Nowhere but into its hash.
    Hashed,
    /// To the standard output.
    Printed,
}

/// What a walk has seen, by name.
pub type Seen = BTreeMap<&'static str, u64>;

/// A walk that went well.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Walked {
    /// Over everything that happened.
    pub hash: u64,
    /// What was seen.
    pub seen: Seen,
}

/// What all tasks of a walk share.
struct Walk {
    settings: Settings,
    remote: Remote,
    /// Whether the server never runs out of them.
    has_descriptors: bool,
    published: RefCell<BTreeMap<&'static str, Published>>,
    /// Files of playlists by stream and path: each is the same for all.
    files: RefCell<BTreeMap<(&'static str, String), u64>>,
    /// Peers that have not ended.
    peers: Cell<usize>,
    seen: RefCell<Seen>,
    /// Gaps that viewers found; all of them must have been counted by the engine.
    gaps: Cell<u64>,
    /// Pauses that were ended: each may have been a gap.
    resumes: Cell<u64>,
}

impl Walk {
    fn saw(&self, what: &'static str, count: u64) {
        *self.seen.borrow_mut().entry(what).or_default() += count;
    }

    fn published<T>(&self, stream: &'static str, what: impl FnOnce(&mut Published) -> T) -> T {
        what(self.published.borrow_mut().entry(stream).or_default())
    }
}

/// Counts a peer for as long as its task runs.
struct Peer(Rc<Walk>);

impl Peer {
    fn new(walk: &Rc<Walk>) -> Self {
        walk.peers.set(walk.peers.get() + 1);
        Self(Rc::clone(walk))
    }
}

impl Drop for Peer {
    fn drop(&mut self) {
        self.0.peers.set(self.0.peers.get() - 1);
    }
}

/// Waits until that moment at most: `None`, where it came first.
async fn by<T>(until: Time, what: impl Future<Output = T>) -> Option<T> {
    let (what, timer) = (pin!(what), pin!(io::sleep(until.since(io::now()))));
    match select(what, timer).await {
        Either::Left((value, _)) => Some(value),
        Either::Right(_) => None,
    }
}

async fn sleep_ms(ms: u64) {
    io::sleep(Duration::from_millis(ms)).await;
}

impl PeerPlan {
    fn line(&self) -> Line {
        Line { latency_us: self.latency_us, room: self.room }
    }

    fn leaves_at(&self) -> Time {
        self.at + Duration::from_millis(self.life_ms)
    }
}

/// A few addresses, so that several peers share one.
fn address(number: usize) -> IpAddr {
    IpAddr::from([10, 0, 0, 1 + (number % 7) as u8])
}

fn weather(random: &mut Random, settings: &Settings) -> Weather {
    Weather {
        timer_late_us: random.pick(&[0, 1_000, 5_000]),
        mail_us: settings.mail_us.max(1),
        mail_slow: random.pick(&[0, 5, 50]),
        mailbox_max: if random.chance(500) { usize::MAX } else { settings.mailbox_max },
        descriptors_max: random.pick(&[usize::MAX, usize::MAX, 12, 5]),
        hiccups: random.pick(&[0, 0, 1, 5]),
        lost_batches: random.pick(&[0, 0, 0, 20]),
    }
}

fn config(settings: &Settings) -> Config {
    let at = |port| std::net::SocketAddr::from(([0, 0, 0, 0], port));
    Config {
        shards: settings.shards,
        io: IoChoice::Auto,
        rtmp: at(1935),
        http: at(8080),
        control: None,
        more_metrics: None,
        drain: settings.drain,
        proxy_protocol_from: Vec::new(),
        http_proxy_protocol_from: Vec::new(),
        trusted_proxies: Vec::new(),
        play_paths: Vec::new(),
        formats: millstream_engine_simulated::output::Formats::default(),
        subscribers: millstream_engine_simulated::subscribers::Subscribers::default(),
        apps: Apps::new([Id::new("stream").expect("an id")]),
        handshake_timeout: Duration::from_secs(5),
        header_timeout: Duration::from_secs(5),
        chunk_size: settings.chunk_size,
        stream: settings.stream,
        slates: Slates::new(None),
        hls: settings.hls,
        directory: Directory::new([]),
        limits: Limits { streams: settings.streams_max, ..Limits::default() },
    }
}

/// Walks one seed, with a planted defect or without; an error says what does not hold.
pub fn walk(seed: u64, planted: Option<&'static str>, trace: Trace) -> Result<Walked, String> {
    // What is made once in a process takes of the chance that the keys of hash maps are drawn from: it is there before.
    static ONCE: Once = Once::new();
    ONCE.call_once(|| drop(on_a_thread(seed, None, Trace::Hashed)));
    on_a_thread(seed, planted, trace)
}

fn on_a_thread(seed: u64, planted: Option<&'static str>, trace: Trace) -> Result<Walked, String> {
    let thread = std::thread::Builder::new().name("walk".to_owned()).stack_size(4 << 20);
    let walk = thread.spawn(move || {
        hash_keys::begin(seed);
        io::plant(planted);
        let result = Rc::new(RefCell::new(None));
        let kept = Rc::clone(&result);
        let walked = catch_unwind(AssertUnwindSafe(|| {
            let print = trace == Trace::Printed;
            let mut random = Random::new(seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) ^ 0x4D69_6C6C_7374_7265);
            let (settings, plans) = draw(&mut random);
            let weather = weather(&mut random, &settings);
            let has_descriptors = weather.descriptors_max == usize::MAX;
            let run = || {
                io::run(random.next_u64(), weather, print, async move {
                    let walked = whole_walk(settings, plans, has_descriptors, random).await;
                    *kept.borrow_mut() = Some(walked);
                });
            };
            if print { tracing::subscriber::with_default(log(), run) } else { run() }
        }));
        walked.map_err(|panic| {
            let text = panic.downcast_ref::<String>().map(String::as_str);
            text.or_else(|| panic.downcast_ref::<&str>().copied()).unwrap_or("a panic without words").to_owned()
        })?;
        result.take().ok_or_else(|| "the walk has no end".to_owned())
    });
    walk.map_err(|error| error.to_string())?.join().unwrap_or_else(|_| Err("the walk's thread died".to_owned()))
}

/// The engine's log, as lines of the trace.
fn log() -> impl tracing::Subscriber + Send + Sync {
    struct Lines;
    impl std::io::Write for Lines {
        fn write(&mut self, line: &[u8]) -> std::io::Result<usize> {
            io::say(String::from_utf8_lossy(line).trim_end());
            Ok(line.len())
        }

        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }
    let lines = tracing_subscriber::fmt().without_time().with_ansi(false).with_target(false);
    lines.with_max_level(tracing::Level::DEBUG).with_writer(|| Lines).finish()
}

async fn whole_walk(settings: Settings, plans: Vec<PeerPlan>, has_descriptors: bool, mut random: Random) -> Walked {
    let running = engine::start(config(&settings), door::chain()).expect("it starts");
    let remote = running.remote();
    door::open(&remote);
    let drain_at = settings.drain_at;
    let quiet_after = settings.quiet_after;
    let walk = Rc::new(Walk {
        settings,
        remote: remote.clone(),
        has_descriptors,
        published: RefCell::default(),
        files: RefCell::default(),
        peers: Cell::new(0),
        seen: RefCell::default(),
        gaps: Cell::new(0),
        resumes: Cell::new(0),
    });
    sleep_ms(50).await;
    let tasks_before = io::tasks();
    let asks = walk.settings.playlist_asks.clone();
    for (number, plan) in plans.into_iter().enumerate() {
        let (of_peer, peer) = (Rc::clone(&walk), Peer::new(&walk));
        io::spawn_outside(async move {
            let _peer = peer;
            io::sleep(plan.at.since(io::now())).await;
            io::note(&format!("peer {number} connects: {plan:?}"));
            match &plan.role {
                Role::Encoder(_) => encoder::run(&of_peer, number, &plan).await,
                Role::Viewer(_) => viewer::run(&of_peer, number, &plan).await,
            }
            io::note(&format!("peer {number} is gone"));
        });
    }
    for (number, (at, _, stream)) in asks.into_iter().enumerate() {
        let (of_peer, peer, seed) = (Rc::clone(&walk), Peer::new(&walk), random.next_u64());
        io::spawn_outside(async move {
            let _peer = peer;
            io::sleep(at.since(io::now())).await;
            player::run(&of_peer, 100 + number, crate::plan::STREAMS[stream], Random::new(seed)).await;
        });
    }
    let (of_operator, peer, seed) = (Rc::clone(&walk), Peer::new(&walk), random.next_u64());
    io::spawn_outside(async move {
        let _peer = peer;
        operator::run(&of_operator, Random::new(seed)).await;
    });
    if let Some(at) = drain_at {
        io::sleep(at.since(io::now())).await;
        walk.saw("drains", 1);
        remote.shutdown();
    }
    io::sleep(quiet_after.since(io::now())).await;
    let give_up = io::now() + Duration::from_secs(200);
    while walk.peers.get() > 0 {
        assert!(io::now() < give_up, "{} peers never end", walk.peers.get());
        sleep_ms(200).await;
    }
    if drain_at.is_none() {
        audit::nothing_left(&walk, tasks_before).await;
        remote.shutdown();
    }
    audit::ended(&walk, running).await;
    audit::losses(&walk);
    door::close();
    Walked { hash: io::trace_hash(), seen: walk.seen.borrow().clone() }
}

/// The command that walks a seed again and shows what happens.
pub fn replay(seed: u64, planted: Option<&str>) -> String {
    let planted = planted.map(|name| format!(" --plant {name}")).unwrap_or_default();
    format!("cargo run --release -p millstream-sim -- --whole --seeds {seed}..{} --trace{planted}", seed + 1)
}

/// The defects that can be planted; those whose place in the engine is no longer found are an error.
pub fn plants() -> Result<&'static [&'static str], String> {
    if io::LOST.is_empty() {
        Ok(io::PLANTS)
    } else {
        Err(format!("tests/sim/engine/plants.rs: not found: {:?}", io::LOST))
    }
}

type Policies = Vec<millstream_policy::PolicyMaker>;
