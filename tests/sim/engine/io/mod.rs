//! The made-up system: what `engine/io` is to the product. One executor on one thread runs the tasks of all shards and of their peers, in an order
//! that is drawn from the seed; clock, connections, descriptors and mailboxes are made up.
//!
//! Reading order: `world` (what there is, and its public face), `runtime` (the executor and the clock), `net` (connections), `socket`, `wake` and
//! `sys` (what the engine calls).
mod prefetch;
#[expect(dead_code, reason = "epoll's limit is the product's")]
mod budget;
#[expect(dead_code, reason = "whole files at once are the product's")]
mod http2;
mod net;
mod plants;
mod runtime;
mod slot;
mod socket;
mod sys;
#[expect(dead_code, reason = "reads of all that there is, and the kernel's TLS, are the product's")]
mod tls;
mod waiting;
mod wake;
mod world;

pub(crate) use prefetch::Area;
pub(crate) use budget::{ACCEPTS, Budget, ENDS, FAN_OUT, PARTS, WAKES};
pub(crate) use http2::{Http2, NewRequest};
pub use net::{Line, Port, Stream, connect};
pub use plants::{LOST, PLANTS};
pub(crate) use runtime::{Driver, IoYield, choose, sleep_until, spawn, start_shard};
pub use runtime::{run, shards, sleep, spawn_outside, tasks};
pub(crate) use slot::WriterSlot;
pub(crate) use socket::{Bound, Closer, Descriptor, Listener, LoadPool, Reader, Sent, Socket, SEND_BATCH_MAX, SendBatch, Writer, bind};
pub(crate) use sys::{
    give_back, machine_bytes, monotonic_instant, monotonic_ns, raise_descriptor_limit, resident_bytes, since_1970, thread_cpu,
};
pub(crate) use tls::is_fault;
pub(crate) use waiting::Waiting;
pub(crate) use wake::{WakeListener, Inbox, Outbox, ShardWaker, mailbox};
pub(crate) use world::is_planted;
pub use world::{Weather, descriptors, draw, note, note_bytes, now, plant, say, trace_hash};
