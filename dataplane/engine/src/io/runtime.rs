//! The runtime of a shard: which driver, and the few calls of it that the engine uses.
use std::future::Future;
use std::io;
use std::time::{Duration, Instant};

use monoio::{LegacyDriver, RuntimeBuilder};

use crate::config::IoChoice;

/// Entries of a shard's ring (HOT_PATH, rule 7).
const RING_ENTRIES: u32 = 1024;

/// The kernel interface in use.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Driver {
    Uring,
    Epoll,
}

/// What the kernel permits of what was asked for; an error says what an operator can do.
pub(crate) fn choose(choice: IoChoice) -> io::Result<(Driver, &'static str)> {
    match choice {
        IoChoice::Epoll => Ok((Driver::Epoll, "as configured")),
        IoChoice::Uring | IoChoice::Auto => match (probe_uring(), choice) {
            (Ok(()), _) => Ok((Driver::Uring, "the kernel permits it")),
            (Err(error), IoChoice::Auto) => {
                tracing::warn!(%error, "io_uring is not available, using epoll (about a fifth more CPU); containers need a seccomp profile that allows io_uring_setup, io_uring_enter and io_uring_register");
                Ok((Driver::Epoll, "io_uring is not available"))
            }
            (Err(error), _) => Err(io::Error::new(
                error.kind(),
                format!(
                    "io_uring is not available: {error}. Allow io_uring_setup in the seccomp profile, set sysctl kernel.io_uring_disabled=0, or use --io auto"
                ),
            )),
        },
    }
}

fn probe_uring() -> io::Result<()> {
    RuntimeBuilder::<monoio::IoUringDriver>::new().with_entries(256).build().map(drop)
}

/// Runs a shard's main future to its end on the calling thread.
pub(crate) fn run<F: Future>(driver: Driver, main: F) -> io::Result<F::Output> {
    Ok(match driver {
        Driver::Uring => RuntimeBuilder::<monoio::IoUringDriver>::new()
            .with_entries(RING_ENTRIES)
            .enable_timer()
            .build()?
            .block_on(main),
        Driver::Epoll => {
            RuntimeBuilder::<LegacyDriver>::new().with_entries(RING_ENTRIES).enable_timer().build()?.block_on(main)
        }
    })
}

/// Starts a task on this shard. It runs to its end by itself.
pub(crate) fn spawn(task: impl Future<Output = ()> + 'static) {
    drop(monoio::spawn(task));
}

pub(crate) async fn sleep(duration: Duration) {
    monoio::time::sleep(duration).await;
}

pub(crate) async fn sleep_until(at: Instant) {
    monoio::time::sleep_until(monoio::time::Instant::from(at)).await;
}
