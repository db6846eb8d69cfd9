//! Lets the runtime look at what came in, in the middle of long work: tasks that are ready go before that, however long there are any, so
//! a task that only yields keeps everybody waiting who is not one of them.
use std::io;
use std::time::Duration;

use super::runtime::{Driver, sleep};
use super::socket::Socket;
use super::sys;

/// What a task waits for that is there at once, but for which the runtime has to look.
pub(crate) struct Turns(Option<Socket>);

impl Turns {
    /// Of a shard.
    pub(crate) fn new(driver: Driver) -> io::Result<Self> {
        Ok(Self(match driver {
            Driver::Uring => {
                let always_readable = sys::eventfd()?;
                sys::write_now(std::os::fd::AsFd::as_fd(&always_readable), &1_u64.to_ne_bytes())?;
                Some(Socket::from_fd(always_readable)?)
            }
            // Of what is always readable epoll tells only once.
            Driver::Epoll => None,
        }))
    }

    /// Waits until the runtime has looked.
    pub(crate) async fn pass(&self) {
        match &self.0 {
            // It cannot fail in a way that matters: who waits for nothing goes on.
            Some(ready) => drop(ready.reader.readable().await),
            None => sleep(Duration::from_millis(1)).await,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;
    use std::rc::Rc;
    use std::time::Instant;

    use super::super::runtime::{run, spawn};
    use super::*;

    #[test]
    fn what_comes_in_is_seen_between_two_turns() {
        for driver in [Driver::Uring, Driver::Epoll] {
            let main = async {
                let (turns, heard) = (Turns::new(driver).unwrap(), Rc::new(Cell::new(false)));
                let heard_of_task = Rc::clone(&heard);
                spawn(async move {
                    sleep(Duration::from_millis(2)).await;
                    heard_of_task.set(true);
                });
                let since = Instant::now();
                let mut count = 0;
                while !heard.get() {
                    assert!(since.elapsed() < Duration::from_secs(10), "nobody else runs");
                    turns.pass().await;
                    count += 1;
                }
                count
            };
            assert!(run(driver, main).unwrap() > 0);
        }
    }
}
