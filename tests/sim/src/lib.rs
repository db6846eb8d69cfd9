//! A simulator of the data plane: the product's own engine over a made-up system (`millstream-engine-simulated`), with encoders, viewers,
//! players and an operator as tasks beside those of the shards. One seed is one walk, and a seed that fails fails again.
//!
//! Reading order: [`walk`] here, `plan` (what is drawn from a seed), `walk` (what all tasks share); the peers: `publisher` with `encoder` and
//! `media`, `viewer` with `decode`, `player`, `operator`, their connections in `secured` and `http2`, `door` (admission); then what is held against them: `published` (what a viewer may get)
//! and `audit` (bounds, losses, and that nothing is left behind).
//!
//! Invariants: nothing here reads a clock, a random source or the order of a hash map; the product's bytes are read by what shares no
//! code with what wrote them, where that is possible.
#![deny(unsafe_code)]
use std::cell::RefCell;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::rc::Rc;
use std::sync::Once;
use std::time::Duration;

use millstream_engine_simulated as engine;
use millstream_engine_simulated::io;
use millstream_test_support::random::Random;

use self::plan::{PeerPlan, Role, STREAMS, Settings, draw};
pub use self::walk::Seen;
use self::walk::{Peer, Walk, sleep_ms};

mod audit;
mod decode;
mod door;
mod encoder;
mod hash_keys;
mod http2;
mod media;
mod operator;
mod plan;
mod player;
mod published;
mod publisher;
mod secured;
mod settings;
mod viewer;
mod walk;

/// Where the trace of a walk goes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Trace {
    /// Nowhere but into its hash.
    Hashed,
    /// To the standard output.
    Printed,
}

/// A walk that went well.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Walked {
    /// Over everything that happened.
    pub hash: u64,
    /// What was seen.
    pub seen: Seen,
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
            let weather = settings::weather(&mut random, &settings);
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
    let running = engine::start(settings::config(&settings), door::chain(1)).expect("it starts");
    let remote = running.remote();
    door::open(&remote);
    let drain_at = settings.drain_at;
    let quiet_after = settings.quiet_after;
    let walk = Rc::new(Walk::new(settings, remote.clone(), has_descriptors));
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
                Role::Encoder(_) => publisher::run(&of_peer, number, &plan).await,
                Role::Viewer(_) => viewer::run(&of_peer, number, &plan).await,
            }
            io::note(&format!("peer {number} is gone"));
        });
    }
    for (number, (at, stream)) in asks.into_iter().enumerate() {
        let (of_peer, peer, seed) = (Rc::clone(&walk), Peer::new(&walk), random.next_u64());
        io::spawn_outside(async move {
            let _peer = peer;
            io::sleep(at.since(io::now())).await;
            player::run(&of_peer, 100 + number, STREAMS[stream], Random::new(seed)).await;
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
    format!("cargo run --release -p millstream-sim -- --seeds {seed}..{} --trace{planted}", seed + 1)
}

/// The defects that can be planted; those whose place in the engine is no longer found are an error.
pub fn plants() -> Result<&'static [&'static str], String> {
    if io::LOST.is_empty() {
        Ok(io::PLANTS)
    } else {
        Err(format!("tests/sim/engine/plants.rs: not found: {:?}", io::LOST))
    }
}
