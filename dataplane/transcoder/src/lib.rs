//! Has renditions made: keeps a worker process, and tells it what viewers ask for. Before it: the engine's shards, which say what is wanted;
//! after it: `millstream worker`, which reads streams and publishes renditions at this node's own ports.
//!
//! Reading order: [`workers`] (what shards talk to), [`table`] (what is wanted, and what a worker has to be told of it), [`snapshots`]
//! (pictures), [`process`] (a worker, from
//! its start to its end).
mod process;
mod snapshots;
mod table;
mod workers;

pub use workers::{Addresses, Program, Workers};
