//! What happens, told to the outside: a bounded queue that shards put events into and never wait for. Before it: [`crate::ingest`] and
//! [`crate::admission`]; after it: whoever has taken [`Events`].
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, PoisonError};

use millstream_control_protocol::event::{Event, What};
use tokio::sync::mpsc::{self, Receiver, Sender};

/// Events that may wait.
const EVENTS_LEN_MAX: usize = 8192;
/// With so many waiting, refusals are left out: who is turned away again and again must not crowd out who is on air.
const EVENTS_LEN_FOR_REFUSALS: usize = 1024;

/// The shards' end.
#[derive(Debug)]
pub(crate) struct Feed {
    sender: Sender<Event>,
    receiver: Mutex<Option<Receiver<Event>>>,
    /// Somebody listens.
    on: AtomicBool,
    lost: AtomicU64,
}

impl Feed {
    pub(crate) fn new() -> Arc<Self> {
        let (sender, receiver) = mpsc::channel(EVENTS_LEN_MAX);
        Arc::new(Self {
            sender,
            receiver: Mutex::new(Some(receiver)),
            on: AtomicBool::new(false),
            lost: AtomicU64::new(0),
        })
    }

    /// Whether events are worth making.
    pub(crate) fn is_on(&self) -> bool {
        self.on.load(Relaxed)
    }

    /// Tells; false: there is no room, and it is lost.
    pub(crate) fn put(&self, event: Event) -> bool {
        let waiting = self.sender.max_capacity() - self.sender.capacity();
        let room = waiting < EVENTS_LEN_FOR_REFUSALS || !matches!(event.what, What::Refused { .. });
        let told = room && self.sender.try_send(event).is_ok();
        if !told {
            self.lost.fetch_add(1, Relaxed);
        }
        told
    }

    pub(crate) fn lost(&self) -> u64 {
        self.lost.load(Relaxed)
    }

    /// The outside's end, which there is one of.
    pub(crate) fn take(self: &Arc<Self>) -> Option<Events> {
        let receiver = self.receiver.lock().unwrap_or_else(PoisonError::into_inner).take()?;
        self.on.store(true, Relaxed);
        Some(Events { receiver, feed: Arc::clone(self), last_seq: 0, lost_seen: 0 })
    }
}

/// Events of all shards, from the moment on that this was taken. Those of one session come in order.
#[derive(Debug)]
pub struct Events {
    receiver: Receiver<Event>,
    feed: Arc<Feed>,
    last_seq: u64,
    lost_seen: u64,
}

impl Events {
    /// The next event; `None` once the engine has ended.
    pub async fn next(&mut self) -> Option<Event> {
        let event = self.receiver.recv().await?;
        Some(self.number(event))
    }

    /// An event that is there already.
    pub fn try_next(&mut self) -> Option<Event> {
        let event = self.receiver.try_recv().ok()?;
        Some(self.number(event))
    }

    /// Numbers leave a hole where events were lost.
    fn number(&mut self, event: Event) -> Event {
        let lost = self.feed.lost();
        self.last_seq += 1 + (lost - self.lost_seen);
        self.lost_seen = lost;
        Event { seq: self.last_seq, ..event }
    }
}

impl Drop for Events {
    fn drop(&mut self) {
        self.feed.on.store(false, Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn event(what: What) -> Event {
        Event { what, ..Event::default() }
    }

    fn refusal() -> Event {
        event(What::Refused { action: String::new(), why: String::new(), reason: String::new(), count: 1 })
    }

    fn publish() -> Event {
        event(What::Publish { encoder: String::new(), replaced_heard_ago_ms: None })
    }

    #[test]
    fn refusals_do_not_crowd_out_publishers_and_a_loss_leaves_a_hole() {
        let feed = Feed::new();
        assert!(!feed.is_on());
        let mut events = feed.take().unwrap();
        assert!(feed.is_on() && feed.take().is_none());
        let told = (0..5000).filter(|_| feed.put(refusal())).count();
        assert_eq!((told, feed.lost()), (EVENTS_LEN_FOR_REFUSALS, 5000 - EVENTS_LEN_FOR_REFUSALS as u64));
        assert!(feed.put(publish()));
        let all: Vec<_> = std::iter::from_fn(|| events.try_next()).collect();
        assert_eq!(all.len(), EVENTS_LEN_FOR_REFUSALS + 1);
        assert!(matches!(all.last().unwrap().what, What::Publish { .. }));
        assert_eq!(all.last().unwrap().seq, 5001);
        while feed.put(publish()) {}
        assert_eq!(std::iter::from_fn(|| events.try_next()).count(), EVENTS_LEN_MAX);
        drop(events);
        assert!(!feed.is_on());
    }
}
