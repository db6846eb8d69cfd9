//! Has renditions and pictures made, and streams watched for motion: keeps a worker process, and tells it what viewers ask for. Before it: the engine's shards, which say what is wanted;
//! after it: `millstream worker`, which reads streams and publishes renditions at this node's own ports.
//!
//! Reading order: [`workers`] (what shards talk to), [`table`] (what is wanted, and what a worker has to be told of it), [`states`] (how that goes, and the events of it), [`snapshots`]
//! (pictures), [`watches`] (motion), [`process`] (a worker, from
//! its start to its end).
mod process;
mod snapshots;
mod states;
mod table;
mod watches;
mod workers;

pub use millstream_worker::protocol::{Change, MotionSettings, Region, WhyEnded};
pub use watches::Seen;
pub use workers::{Addresses, Introduced, Program, Watching, Workers};
