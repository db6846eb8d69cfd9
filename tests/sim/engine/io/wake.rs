//! Wakers and mailboxes: a shard sees its mail after a while, and a mailbox may have little room.
use std::cell::RefCell;
use std::collections::VecDeque;
use std::future::poll_fn;
use std::io;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::Poll;

use super::world::{Timer, maybe, world};

#[derive(Clone, Debug)]
pub(crate) struct ShardWaker {
    listener: usize,
    is_woken: Arc<AtomicBool>,
}

pub(crate) struct WakeListener(ShardWaker);

impl WakeListener {
    pub(crate) fn new() -> io::Result<(Self, ShardWaker)> {
        let listener = world(|world| {
            world.listeners.push((false, None));
            world.listeners.len() - 1
        });
        let waker = ShardWaker { listener, is_woken: Arc::default() };
        Ok((Self(waker.clone()), waker))
    }

    pub(crate) async fn listen(self, mut on_wake: impl FnMut()) -> io::Result<()> {
        loop {
            poll_fn(|cx| {
                world(|world| {
                    let listener = &mut world.listeners[self.0.listener];
                    if std::mem::take(&mut listener.0) {
                        return Poll::Ready(());
                    }
                    listener.1 = Some(cx.waker().clone());
                    Poll::Pending
                })
            })
            .await;
            self.0.is_woken.store(false, Ordering::Relaxed);
            on_wake();
        }
    }
}

impl ShardWaker {
    pub(crate) fn wake(&self) {
        if self.is_woken.swap(true, Ordering::Relaxed) {
            return;
        }
        maybe(|world| {
            let slow = if world.random.chance(world.weather.mail_slow) { 100 } else { 1 };
            let wait_ns = world.random.below(world.weather.mail_us * 1_000 * slow);
            world.set(world.now_ns + wait_ns, Timer::Mail(self.listener));
        });
    }
}

type Messages<T> = Rc<RefCell<VecDeque<T>>>;

pub(crate) struct Outbox<T> {
    messages: Messages<T>,
    len_max: usize,
    waker: ShardWaker,
}

impl<T> Outbox<T> {
    pub(crate) fn put(&self, message: T) -> Result<(), T> {
        let has_room = self.messages.borrow().len() < self.len_max;
        self.waker.wake();
        if !has_room {
            return Err(message);
        }
        self.messages.borrow_mut().push_back(message);
        Ok(())
    }
}

pub(crate) struct Inbox<T>(Messages<T>);

impl<T> Inbox<T> {
    pub(crate) fn take(&mut self) -> Option<T> {
        self.0.borrow_mut().pop_front()
    }
}

pub(crate) fn mailbox<T>(waker: &ShardWaker, len_max: usize) -> (Outbox<T>, Inbox<T>) {
    let messages: Messages<T> = Rc::default();
    let len_max = len_max.min(world(|world| world.weather.mailbox_max));
    (Outbox { messages: Rc::clone(&messages), len_max, waker: waker.clone() }, Inbox(messages))
}
