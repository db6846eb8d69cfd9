//! Control, nodes and clients in a made-up world: requests that are hung up, messages of the link that are lost, stores that fail before or
//! after they wrote, control that crashes and is set up anew with an empty store, nodes that restart. Everything is drawn from a seed, on a
//! clock that jumps from one wait to the next.
//!
//! What runs is the product's: the API's routes, reconciliation and identity over the store in memory, the fleet, and of the node what it follows,
//! its directory and its policy chain. The world stands for sockets, disks and the node's loop (`agent/agent`).
//!
//! What must hold ([`world::World::end`], and on the way): what was acknowledged is in the store; what was not acknowledged happened or did not;
//! a key of idempotency makes one; a state that a node has in force is the one that its chain decides by; at the end every node has what is
//! stored, admits what is signed with the keys in force, and nothing that was revoked, and decides by the versions of hooks that control names.
mod sim {
    pub(crate) mod client;
    pub(crate) mod control;
    pub(crate) mod hooks;
    pub(crate) mod node;
    pub(crate) mod parts;
    pub(crate) mod random;
    pub(crate) mod store;
    pub(crate) mod trace;
    pub(crate) mod world;
}

use std::panic::AssertUnwindSafe;

use sim::trace::Trace;
use sim::world::walk;

/// Lines of a walk that failed which are shown; all of them with `MILLSTREAM_SIM_TRACE=1`.
const SHOWN: usize = 60;
/// After so many seeds that failed no more are walked.
const FAILED_MAX: usize = 10;

/// `MILLSTREAM_SIM_SEEDS=A..B` walks these; to see one that failed again.
fn seeds(default: std::ops::Range<u64>) -> std::ops::Range<u64> {
    let given = std::env::var("MILLSTREAM_SIM_SEEDS").ok();
    let parse = |text: &str| {
        let (from, to) = text.split_once("..")?;
        Some(from.parse().ok()?..to.parse().ok()?)
    };
    given.as_deref().and_then(parse).unwrap_or(default)
}

/// What walks a seed again, with every line of its trace.
fn command(seed: u64) -> String {
    let next = seed + 1;
    format!(
        "MILLSTREAM_SIM_SEEDS={seed}..{next} MILLSTREAM_SIM_TRACE=1 \
         cargo nextest run --release -p millstream-api --test sim --no-capture store_and_nodes_converge"
    )
}

fn walk_all(seeds: std::ops::Range<u64>) {
    let (mut sum, mut failed) = (sim::world::Seen::default(), Vec::new());
    let all = std::env::var_os("MILLSTREAM_SIM_TRACE").is_some();
    for (n, seed) in seeds.clone().enumerate() {
        let trace = Trace::default();
        let walked = std::panic::catch_unwind(AssertUnwindSafe(|| walk(seed, &trace)));
        if walked.is_err() || all {
            let lines = trace.lines();
            let from = if all { 0 } else { lines.len().saturating_sub(SHOWN) };
            println!("{}", lines[from..].join("\n"));
        }
        if let Ok(seen) = walked {
            sum += seen;
        } else {
            println!("seed {seed} failed; this walks it again:\n{}", command(seed));
            failed.push(seed);
        }
        if failed.len() >= FAILED_MAX {
            break;
        }
        if (n + 1) % 500 == 0 {
            println!("{} seeds, {} failed: {sum:?}", n + 1, failed.len());
        }
    }
    println!("{seeds:?}: {sum:?}");
    let commands: Vec<String> = failed.iter().map(|seed| command(*seed)).collect();
    assert!(failed.is_empty(), "seeds {failed:?} failed; these walk them again:\n{}", commands.join("\n"));
    // In a few nothing much need happen.
    if seeds.end - seeds.start >= 100 {
        sum.has_all();
    }
}

#[test]
fn store_and_nodes_converge_and_nothing_acknowledged_is_lost() {
    walk_all(seeds(0..120));
}

/// What a seed shows when it fails is worth as much as that it shows it again.
#[test]
fn a_seed_walks_the_same_way_each_time() {
    for seed in 0..25 {
        let [first, second] = [(); 2].map(|()| {
            let trace = Trace::default();
            walk(seed, &trace);
            trace.lines()
        });
        assert!(first.len() > 100, "seed {seed}: {} lines", first.len());
        let differ = first.iter().zip(&second).position(|(one, other)| one != other);
        if let Some(at) = differ {
            let near = |lines: &[String]| lines[at.saturating_sub(5)..(at + 1).min(lines.len())].join("\n");
            panic!("seed {seed} walks another way from line {at} on:\n{}\n--\n{}", near(&first), near(&second));
        }
        assert_eq!(first.len(), second.len(), "seed {seed}");
    }
}

#[test]
#[ignore = "takes minutes; tests/run --long has it"]
fn ten_thousand_seeds_of_control_and_nodes() {
    walk_all(seeds(120..10_120));
}
