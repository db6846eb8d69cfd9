//! The kernel: which interface the shards use, and sockets over it. The only room that knows monoio's types, and the only one
//! with `unsafe`, so that the runtime can be replaced. Before it: nothing; after it: [`crate::ingest`] and [`crate::egress`].
mod ahead;
mod budget;
mod buf;
mod listen;
mod memory;
mod runtime;
mod socket;
mod sys;
mod volley;
mod wake;

pub(crate) use ahead::Area;
pub(crate) use budget::{ACCEPTS, Budget, ENDS, FAN_OUT, IoYield, PARTS, WAKES};
pub(crate) use listen::{Listener, bind};
pub(crate) use memory::{machine_bytes, resident_bytes};
pub(crate) use runtime::{Driver, choose, run, sleep, sleep_until, spawn};
pub(crate) use socket::{Closer, LoadPool, Reader, Socket, Writer, WriterSlot};
pub(crate) use sys::{give_back, monotonic_ns, pin_to_core, raise_descriptor_limit, thread_cpu};
pub(crate) use volley::{Sent, VOLLEY_MAX, Volley};
pub(crate) use wake::{Bell, Ringer};
