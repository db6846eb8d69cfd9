//! Control, nodes and clients in a made-up world: requests that are hung up, messages of the link that are lost, stores that fail before or
//! after they wrote, control that crashes and is set up anew with an empty store, nodes that restart. Everything is drawn from a seed, on a
//! clock that jumps from one wait to the next.
//!
//! What runs is the product's: the API's routes, reconciliation and identity over the store in memory, the fleet, and of the node what it follows,
//! its directory and its policy chain. The world stands for sockets, disks and the node's loop (`side/node/agent`).
//!
//! What must hold ([`world::World::end`], and on the way): what was acknowledged is in the store; what was not acknowledged happened or did not;
//! a key of idempotency makes one; a state that a node has in force is the one that its chain decides by; at the end every node has what is
//! stored, admits what is signed with the keys in force, and nothing that was revoked.
mod sim {
    pub(crate) mod client;
    pub(crate) mod control;
    pub(crate) mod node;
    pub(crate) mod parts;
    pub(crate) mod random;
    pub(crate) mod store;
    pub(crate) mod world;
}

use sim::world::walk;

/// `MILLSTREAM_SIM_SEEDS=A..B` walks these; to see one that failed again.
fn seeds(default: std::ops::Range<u64>) -> std::ops::Range<u64> {
    let given = std::env::var("MILLSTREAM_SIM_SEEDS").ok();
    let parse = |text: &str| {
        let (from, to) = text.split_once("..")?;
        Some(from.parse().ok()?..to.parse().ok()?)
    };
    given.as_deref().and_then(parse).unwrap_or(default)
}

fn walk_all(seeds: std::ops::Range<u64>) {
    let mut sum = sim::world::Seen::default();
    for seed in seeds.clone() {
        let walked = std::panic::catch_unwind(|| walk(seed));
        assert!(walked.is_ok(), "seed {seed} failed: MILLSTREAM_SIM_SEEDS={seed}..{} walks it again", seed + 1);
        sum += walked.unwrap_or_default();
    }
    println!("{seeds:?}: {sum:?}");
    // In a few nothing much need happen.
    if seeds.end - seeds.start >= 100 {
        sum.has_all();
    }
}

#[test]
fn store_and_nodes_converge_and_nothing_acknowledged_is_lost() {
    walk_all(seeds(0..300));
}

#[test]
#[ignore = "takes minutes; tests/run --long has it"]
fn ten_thousand_seeds_of_control_and_nodes() {
    walk_all(seeds(1_000..11_000));
}
