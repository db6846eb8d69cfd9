//! The last events, for who listens at `/api/v1/events` and for those who come back. Before it: [`super::follow`].
use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, PoisonError};

use millstream_control_protocol::event::Event;
use serde::Serialize;
use tokio::sync::broadcast;
use utoipa::ToSchema;

/// Events that are remembered.
const REMEMBERED_MAX: usize = 4_096;
/// Of those, of one stream: one that has many pushes out its own.
const REMEMBERED_OF_STREAM_MAX: usize = 512;
/// Events that a listener may be behind before it is told that it missed some.
const BEHIND_MAX: usize = 1_024;

/// An event as listeners get it.
#[derive(Clone, PartialEq, Debug, Serialize, ToSchema)]
pub struct Told {
    /// Counts all events of this control process.
    pub number: u64,
    /// The node that it happened on.
    pub node: String,
    /// What happened.
    #[serde(flatten)]
    pub event: Event,
}

/// The last events, and those who listen.
#[derive(Debug)]
pub struct Feed {
    /// Tells events of this process from those of one before it.
    epoch: u64,
    remembered: Mutex<Remembered>,
}

#[derive(Debug)]
struct Remembered {
    next: u64,
    events: VecDeque<Arc<Told>>,
    /// How many of each stream those are.
    of_stream: HashMap<String, usize>,
    /// The last of each stream that was forgotten for its share, while others of that age are still there.
    forgotten: HashMap<String, u64>,
    live: broadcast::Sender<Arc<Told>>,
}

/// What a listener begins with.
#[derive(Debug)]
pub struct Listening {
    /// Some that it asked for are no longer remembered.
    pub missed: bool,
    /// Those that are.
    pub before: Vec<Arc<Told>>,
    /// What comes from here on.
    pub live: broadcast::Receiver<Arc<Told>>,
}

impl Feed {
    /// An empty one; `epoch` must be another one than that of the process before.
    pub fn new(epoch: u64) -> Self {
        let (live, _) = broadcast::channel(BEHIND_MAX);
        let remembered =
            Remembered { next: 1, events: VecDeque::new(), of_stream: HashMap::new(), forgotten: HashMap::new(), live };
        Self { epoch, remembered: Mutex::new(remembered) }
    }

    /// Passes an event on.
    pub fn tell(&self, node: &str, event: Event) {
        let mut remembered = self.remembered.lock().unwrap_or_else(PoisonError::into_inner);
        let told = Arc::new(Told { number: remembered.next, node: node.to_owned(), event });
        remembered.next += 1;
        remembered.remember(&told);
        // Nobody may be listening.
        let _ = remembered.live.send(told);
    }

    /// What a listener resumes with (`Last-Event-ID`).
    pub fn id(&self, number: u64) -> String {
        format!("{:x}-{number}", self.epoch)
    }

    /// Listens, from behind an event if that is still remembered; `None`: from now on.
    /// `of`: of this stream alone.
    pub fn listen(&self, after: Option<&str>, of: Option<&str>) -> Listening {
        let remembered = self.remembered.lock().unwrap_or_else(PoisonError::into_inner);
        let live = remembered.live.subscribe();
        let Some(after) = after else { return Listening { missed: false, before: Vec::new(), live } };
        let number = after.split_once('-').and_then(|(epoch, number)| {
            let same = u64::from_str_radix(epoch, 16) == Ok(self.epoch);
            number.parse().ok().filter(|number: &u64| same && *number < remembered.next)
        });
        let missed = number.is_none_or(|number| remembered.forgot_after(number, of));
        let from = number.unwrap_or(0);
        let before = remembered.events.iter().filter(|told| told.number > from).cloned().collect();
        Listening { missed, before, live }
    }
}

impl Remembered {
    fn remember(&mut self, told: &Arc<Told>) {
        let stream = &told.event.stream;
        let of_stream = self.of_stream.get(stream).copied().unwrap_or(0);
        if of_stream >= REMEMBERED_OF_STREAM_MAX {
            // Its own oldest one goes.
            if let Some(at) = self.events.iter().position(|old| old.event.stream == *stream) {
                self.forget(at);
            }
        } else if self.events.len() == REMEMBERED_MAX {
            self.forget(0);
        }
        *self.of_stream.entry(stream.clone()).or_default() += 1;
        self.events.push_back(Arc::clone(told));
    }

    fn forget(&mut self, at: usize) {
        let Some(old) = self.events.remove(at) else { return };
        let stream = &old.event.stream;
        if let Some(count) = self.of_stream.get_mut(stream) {
            *count -= 1;
            if *count == 0 {
                self.of_stream.remove(stream);
            }
        }
        if at > 0 {
            self.forgotten.insert(stream.clone(), old.number);
        } else {
            // What is older than all that is there needs no entry.
            let oldest = self.events.front().map_or(self.next, |first| first.number);
            self.forgotten.retain(|_, number| *number > oldest);
        }
    }

    /// Whether an event behind that number is forgotten, of this stream or of any.
    fn forgot_after(&self, number: u64, of: Option<&str>) -> bool {
        let oldest = self.events.front().map_or(self.next, |first| first.number);
        let of_share = match of {
            Some(stream) => self.forgotten.get(stream).copied(),
            None => self.forgotten.values().max().copied(),
        };
        number + 1 < oldest || of_share.is_some_and(|forgotten| forgotten > number)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn event(seq: u64) -> Event {
        Event { seq, ..Event::default() }
    }

    #[test]
    fn who_comes_back_gets_what_was_missed_or_is_told_that_it_is_gone() {
        let feed = Feed::new(0xA);
        let check = |after: Option<&str>, missed: bool, expected: &[u64]| {
            let listening = feed.listen(after, None);
            let before: Vec<u64> = listening.before.iter().map(|told| told.number).collect();
            assert_eq!((listening.missed, before.as_slice()), (missed, expected), "{after:?}");
        };
        check(Some("a-0"), false, &[]);
        (1..=3).for_each(|seq| feed.tell("n", event(seq)));
        check(None, false, &[]);
        check(Some("a-1"), false, &[2, 3]);
        check(Some("a-3"), false, &[]);
        check(Some("b-1"), true, &[1, 2, 3]);
        check(Some("a-4"), true, &[1, 2, 3]);
        check(Some("rubbish"), true, &[1, 2, 3]);
        let streams = (0..REMEMBERED_MAX as u64).map(|seq| Event { stream: format!("s{}", seq % 64), ..event(seq) });
        streams.for_each(|event| feed.tell("n", event));
        assert!(feed.listen(Some("a-2"), None).missed && !feed.listen(Some("a-3"), None).missed);
        let mut live = feed.listen(None, None).live;
        feed.tell("n", event(9));
        assert_eq!(live.try_recv().unwrap().event.seq, 9);
    }

    #[test]
    fn case_38_one_stream_pushes_out_its_own_events_alone() {
        let feed = Feed::new(0xA);
        let of = |stream: &str| Event { stream: stream.to_owned(), ..event(0) };
        (0..10).for_each(|_| feed.tell("n", of("other")));
        (0..100_000).for_each(|_| feed.tell("n", of("flood")));
        let quiet = feed.listen(Some("a-0"), Some("other"));
        let others = quiet.before.iter().filter(|told| told.event.stream == "other").count();
        assert_eq!((quiet.missed, others), (false, 10));
        assert_eq!(quiet.before.len(), 10 + REMEMBERED_OF_STREAM_MAX);
        assert!(feed.listen(Some("a-0"), Some("flood")).missed && feed.listen(Some("a-0"), None).missed);
    }
}
