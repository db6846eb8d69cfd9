//! A simulator of the data plane: `proto`, `policy` and `hub` as they are, with a clock, a network, encoders and viewers that are
//! made up. One seed is one walk, and a seed that fails fails again.
//!
//! Reading order: [`Sabotage`] and [`walk`] here, `plan` (what is drawn from a seed), `world` (the event queue), `shell` (the engine's
//! part: the one thing that is imitated), `peer` and `encoder` (the other ends), `net`; then what is held against it: `reference`
//! (what was published, what a viewer may get), `decode` (no torn tag), `playlist` (what HLS players see), `audit` (bounds, after every
//! event).
//!
//! Invariants: nothing here reads a clock, a random source or the order of a hash map; the product's bytes are read by what shares no
//! code with what wrote them, where that is possible.
#![deny(unsafe_code)]

use std::panic::{AssertUnwindSafe, catch_unwind};

mod audit;
mod decode;
mod encoder;
mod media;
mod net;
mod peer;
mod plan;
mod playlist;
mod reference;
mod shell;
mod trace;
pub mod whole;
mod world;

pub use world::Totals;

/// A defect planted in the simulator's shell, which the invariants must find: proof that they can fail.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Sabotage {
    /// A byte is lost between a viewer's cursor and the network.
    TornTag,
    /// A feed's message is told and never sent.
    LostBlock,
    /// A viewer's cursor is made anew in the middle of a play.
    Rewind,
    /// Mailboxes take whatever comes.
    UnboundedMailbox,
    /// A request is accepted before admission has spoken.
    EarlyStart,
    /// A stream takes what a publisher without its place sends.
    TwoPublishers,
    /// Parts are told to another shard and never sent.
    LostPart,
}

impl Sabotage {
    /// All kinds.
    pub const ALL: [Self; 7] = [
        Self::TornTag,
        Self::LostBlock,
        Self::Rewind,
        Self::UnboundedMailbox,
        Self::EarlyStart,
        Self::TwoPublishers,
        Self::LostPart,
    ];
}

/// A walk that went well.
#[derive(Clone, Copy, Debug)]
pub struct Walk {
    /// Over everything that happened: two walks of a seed have the same.
    pub hash: u64,
    /// What was seen.
    pub totals: Totals,
}

/// Walks one seed; an error says which invariant failed. `print` writes the trace.
pub fn walk(seed: u64, sabotage: Option<Sabotage>, print: bool) -> Result<Walk, String> {
    let walked = catch_unwind(AssertUnwindSafe(|| {
        let mut world = world::World::new(seed, sabotage, print);
        world.walk();
        Walk { hash: world.trace.hash, totals: world.totals }
    }));
    walked.map_err(|panic| {
        let text = panic.downcast_ref::<String>().map(String::as_str);
        text.or_else(|| panic.downcast_ref::<&str>().copied()).unwrap_or("a panic without words").to_owned()
    })
}

impl Totals {
    /// Adds another walk's.
    pub fn add(&mut self, other: &Self) {
        self.events += other.events;
        self.frames += other.frames;
        self.skips += other.skips;
        self.mirror_jumps += other.mirror_jumps;
        self.handovers += other.handovers;
        self.takeovers += other.takeovers;
        self.refused += other.refused;
        self.mailbox_full += other.mailbox_full;
        self.pending += other.pending;
        self.ended += other.ended;
        self.closed += other.closed;
        self.drains += other.drains;
        self.parts += other.parts;
    }
}

/// The command that walks a seed again and shows what happens.
pub fn replay(seed: u64) -> String {
    format!("cargo run --release -p millstream-sim -- --seeds {seed}..{} --trace", seed + 1)
}
