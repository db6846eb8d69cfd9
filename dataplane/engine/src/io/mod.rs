//! The kernel: which interface the shards use, and sockets over it. The only room that knows monoio's types, and the only one
//! with `unsafe`, so that the runtime can be replaced. Before it: nothing; after it: [`crate::ingest`] and [`crate::egress`].
mod ahead;
mod budget;
mod buf;
mod listen;
mod memory;
mod runtime;
mod slot;
mod socket;
mod sys;
mod volley;
mod wake;

pub(crate) use ahead::Area;
pub(crate) use budget::{ACCEPTS, Budget, ENDS, FAN_OUT, PARTS, WAKES};
pub(crate) use listen::{Bound, Listener, bind};
pub(crate) use memory::{machine_bytes, resident_bytes};
#[cfg(test)]
pub(crate) use runtime::run;
pub(crate) use runtime::{Driver, IoYield, choose, sleep, sleep_until, spawn, start_shard};
pub(crate) use slot::WriterSlot;
pub(crate) use socket::{Closer, Descriptor, LoadPool, Reader, Socket, Writer};
pub(crate) use sys::{give_back, monotonic_instant, monotonic_ns, raise_descriptor_limit, since_1970, thread_cpu};
pub(crate) use volley::{Sent, VOLLEY_MAX, Volley};
pub(crate) use wake::{Bell, Inbox, Outbox, Ringer, mailbox};
