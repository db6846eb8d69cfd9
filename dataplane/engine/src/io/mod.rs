//! The kernel: which interface the shards use, and sockets over it. The only room that knows monoio's types, and the only one
//! with `unsafe`, so that the runtime can be replaced. Before it: nothing; after it: [`crate::ingest`] and [`crate::egress`].
mod budget;
mod buf;
mod http2;
mod ktls;
mod listen;
mod memory;
mod prefetch;
mod runtime;
mod send_batch;
mod slot;
mod socket;
mod sys;
mod tls;
mod waiting;
mod wake;

pub(crate) use budget::{ACCEPTS, Budget, ENDS, FAN_OUT, PARTS, WAKES};
pub(crate) use http2::{Http2, NewRequest};
pub(crate) use listen::{Bound, Listener, bind};
pub(crate) use memory::{machine_bytes, resident_bytes};
pub(crate) use prefetch::Area;
#[cfg(test)]
pub(crate) use runtime::run;
pub(crate) use runtime::{Driver, IoYield, choose, sleep, sleep_until, spawn, start_shard};
pub(crate) use send_batch::{SEND_BATCH_MAX, SendBatch, Sent};
pub(crate) use slot::WriterSlot;
pub(crate) use socket::{Closer, Descriptor, LoadPool, Reader, Socket, Writer};
pub(crate) use sys::{give_back, monotonic_instant, monotonic_ns, raise_descriptor_limit, since_1970, thread_cpu};
pub(crate) use tls::is_fault;
pub(crate) use waiting::Waiting;
pub(crate) use wake::{Inbox, Outbox, ShardWaker, WakeListener, mailbox};
