//! The runtime of a shard: which driver, its thread, and the few calls of it that the engine uses.
use std::future::Future;
use std::io;
use std::time::{Duration, Instant};

use monoio::net::TcpStream;
use monoio::{LegacyDriver, RuntimeBuilder};

use super::budget::MILLISECOND;
use super::sys;
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

/// Starts a shard: a thread of its own, pinned to a core of its own where there is one, which runs what `main` makes to its end and then
/// tells `end`. That is dropped untold where a defect ends the thread.
pub(crate) fn start_shard<F: Future<Output = io::Result<()>>>(
    index: usize,
    driver: Driver,
    main: impl FnOnce() -> F + Send + 'static,
    end: impl FnOnce(io::Result<()>) + Send + 'static,
) -> io::Result<()> {
    let thread = std::thread::Builder::new().name(format!("shard-{index}"));
    let shard = move || {
        sys::pin_to_core(index);
        end(run(driver, main()).flatten());
    };
    thread.spawn(shard).map(drop)
}

/// Runs a future to its end on the calling thread.
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

/// What a task waits for that is there at once, but for which the runtime has to look.
pub(crate) struct IoYield(Option<TcpStream>);

impl IoYield {
    pub(crate) fn new(driver: Driver) -> io::Result<Self> {
        Ok(Self(match driver {
            Driver::Uring => {
                let always_readable = sys::eventfd()?;
                sys::write_now(std::os::fd::AsFd::as_fd(&always_readable), &1_u64.to_ne_bytes())?;
                Some(TcpStream::from_std(std::net::TcpStream::from(always_readable))?)
            }
            // Of what is always readable epoll tells only once.
            Driver::Epoll => None,
        }))
    }

    /// Waits until the runtime has looked.
    pub(crate) async fn wait(&self) {
        match &self.0 {
            // It cannot fail in a way that matters: who waits for nothing goes on.
            Some(ready) => drop(ready.readable(false).await),
            None => on_epoll().await,
        }
    }
}

/// As [`IoYield::wait`], where it is known to be epoll: the runtime looks at timers only when nothing is left to run.
pub(super) async fn on_epoll() {
    sleep(MILLISECOND).await;
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;
    use std::rc::Rc;

    use super::*;

    #[test]
    fn what_comes_in_is_seen_between_two_turns() {
        for driver in [Driver::Uring, Driver::Epoll] {
            let main = async {
                let (io, heard) = (IoYield::new(driver).unwrap(), Rc::new(Cell::new(false)));
                let heard_of_task = Rc::clone(&heard);
                spawn(async move {
                    sleep(Duration::from_millis(2)).await;
                    heard_of_task.set(true);
                });
                let since = Instant::now();
                let mut count = 0;
                while !heard.get() {
                    assert!(since.elapsed() < Duration::from_secs(10), "nobody else runs");
                    io.wait().await;
                    count += 1;
                }
                count
            };
            assert!(run(driver, main).unwrap() > 0);
        }
    }
}
