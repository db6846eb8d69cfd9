//! How threads wake a shard: an eventfd that the shard polls in its ring, rung at most once until the shard has looked.
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use super::socket::Socket;
use super::sys;

/// Wakes the shard that holds the [`Bell`]. Cheap to clone, usable from any thread.
#[derive(Clone, Debug)]
pub(crate) struct Ringer {
    fd: Arc<OwnedFd>,
    rung: Arc<AtomicBool>,
}

/// The shard's end, before it runs.
pub(crate) struct Bell {
    ringer: Ringer,
}

impl Bell {
    /// A bell and what rings it.
    pub(crate) fn new() -> io::Result<(Self, Ringer)> {
        let ringer = Ringer { fd: Arc::new(sys::eventfd()?), rung: Arc::new(AtomicBool::new(false)) };
        Ok((Self { ringer: ringer.clone() }, ringer))
    }

    /// Calls `on_ring` after each ring, for as long as the shard runs.
    pub(crate) async fn listen(self, mut on_ring: impl FnMut()) -> io::Result<()> {
        // The runtime has no type for an eventfd; its stream type polls any descriptor, and only polling is used.
        let poll = Socket::from_fd(self.ringer.fd.as_fd().try_clone_to_owned()?)?.reader;
        loop {
            poll.readable().await?;
            let mut count = [0; 8];
            // Reading resets it. It cannot fail in a way that matters: it was readable, and nobody else reads it.
            let _ = sys::read_now(self.ringer.fd.as_fd(), &mut count);
            // Cleared before looking: what is put after this rings again.
            self.ringer.rung.store(false, Ordering::SeqCst);
            on_ring();
        }
    }
}

impl Ringer {
    /// Wakes the shard. Call after putting what it is to find.
    pub(crate) fn ring(&self) {
        if !self.rung.swap(true, Ordering::SeqCst) {
            // A full counter is a ring too.
            let _ = sys::write_now(self.fd.as_fd(), &1_u64.to_ne_bytes());
        }
    }
}
