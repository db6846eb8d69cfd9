//! What nodes tell: [`Keep`] keeps it (session history, webhooks) before a node may forget it, and [`Feed`] passes it on to whoever listens
//! at `/api/v1/events`, with the last ones remembered for those who come back.
use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use millstream_control_protocol::event::{Event, What};
use millstream_control_protocol::exchange::NodeId;
use millstream_fleet::{EventSink, Fleet, Promise};
use millstream_store::item::Expect;
use millstream_store::{Store, StoreError};
use serde::Serialize;
use tokio::sync::{Notify, broadcast};
use utoipa::ToSchema;

use crate::Api;
use crate::hooks::modules;
use crate::model::history::{self, Session};
use crate::model::recording::{self, Recording};
use crate::model::{self, RECORDING, RECORDING_STREAM, SESSION, to_put, transact};
use crate::outbox::StoredOutbox;

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

/// Passes on what a fleet hears, for as long as there is one.
pub async fn follow(api: Api, fleet: Fleet) {
    let mut heard = fleet.events();
    drop(fleet);
    loop {
        match heard.recv().await {
            Ok(heard) => api.feed().tell(&heard.node.name, heard.event),
            Err(broadcast::error::RecvError::Lagged(events)) => {
                tracing::warn!(events, "events came faster than they could be passed on to listeners");
            }
            Err(broadcast::error::RecvError::Closed) => return,
        }
    }
}

/// Keeps what nodes tell: publishers' sessions, and what webhooks are to get; and has the modules that nodes fetch.
#[derive(Clone)]
pub struct Keep {
    store: Arc<dyn Store>,
    outbox: Option<StoredOutbox>,
    news: Arc<Notify>,
}

impl Keep {
    /// In this store. Without an outbox there are no webhooks; `news` is told when something was added to it.
    pub fn new(store: Arc<dyn Store>, outbox: Option<StoredOutbox>, news: Arc<Notify>) -> Self {
        Self { store, outbox, news }
    }

    async fn keep_recording(&self, node: &NodeId, event: &Event, name: &str) -> Result<(), StoreError> {
        let key = recording::key(&event.stream, name);
        let kept = self.store.get(RECORDING, &key).await?;
        let (known, expect) = match &kept {
            // What cannot be read is written anew: the next events say as much.
            Some(item) => (serde_json::from_slice(&item.value).ok(), Expect::Version(item.version)),
            None => (None, Expect::Absent),
        };
        if kept.is_none() && self.was_removed(name).await? {
            return Ok(());
        }
        let Some(after) = Recording::after(known, &node.name, event) else { return Ok(()) };
        let mut changes = vec![to_put((RECORDING, &key), expect, None, &after)];
        if kept.is_none() {
            changes.push(to_put((RECORDING_STREAM, name), Expect::Any, None, &event.stream));
        }
        match transact(self.store.as_ref(), changes).await {
            Ok(Ok(_)) => Ok(()),
            // One node's events come in order; the other one that writes here has the same name for another recording.
            Ok(Err(_)) => Err(StoreError::Failed { path: "store".into(), detail: "written by two at once".into() }),
            Err(problem) => Err(StoreError::Failed { path: "store".into(), detail: problem.status().to_string() }),
        }
    }

    /// Whether a recording of this name was removed lately.
    async fn was_removed(&self, name: &str) -> Result<bool, StoreError> {
        let stream = self.store.get(RECORDING_STREAM, name).await?;
        Ok(stream
            .is_some_and(|item| serde_json::from_slice::<String>(&item.value).is_ok_and(|stream| stream.is_empty())))
    }

    async fn keep_one(&self, node: &NodeId, event: &Event) -> Result<(), StoreError> {
        if let Some(name) = recording::named(&event.what)
            && !event.stream.is_empty()
        {
            return self.keep_recording(node, event, name).await;
        }
        let key = history::key(&event.stream, node.run, event.session);
        let begun = || Session {
            stream: event.stream.clone(),
            node: node.name.clone(),
            session: event.session,
            peer: event.peer.clone(),
            since_unix_ms: event.at_unix_ms,
            ..Session::default()
        };
        let session = match &event.what {
            What::Publish { encoder, .. } => Session { encoder: encoder.clone(), ..begun() },
            What::Unpublish { why, lasted_ms, received_bytes, .. } => {
                let kept = self.store.get(SESSION, &key).await?;
                // What cannot be read is written anew: the end says as much.
                let kept = kept.and_then(|item| serde_json::from_slice::<Session>(&item.value).ok());
                let since_unix_ms = event.at_unix_ms.saturating_sub(*lasted_ms);
                Session {
                    ended_unix_ms: Some(event.at_unix_ms),
                    why: why.clone(),
                    received_bytes: Some(*received_bytes),
                    ..kept.unwrap_or_else(|| Session { since_unix_ms, ..begun() })
                }
            }
            _ => return Ok(()),
        };
        let expires_ms = session.since_unix_ms.saturating_add(history::KEPT_MS);
        match model::save(self.store.as_ref(), (SESSION, &key), Expect::Any, Some(expires_ms), &session).await {
            Ok(_) => Ok(()),
            // It has been logged with its reason.
            Err(problem) => Err(StoreError::Failed { path: "store".into(), detail: problem.status().to_string() }),
        }
    }
}

impl EventSink for Keep {
    fn keep(&self, node: NodeId, events: Vec<Event>) -> Promise<Result<(), String>> {
        let keep = self.clone();
        Box::pin(async move {
            for event in &events {
                keep.keep_one(&node, event).await.map_err(|error| error.to_string())?;
            }
            if let Some(outbox) = &keep.outbox
                && outbox.add(&node, &events).await.map_err(|error| error.to_string())? > 0
            {
                keep.news.notify_one();
            }
            Ok(())
        })
    }

    fn module(&self, sha256: String, at: u64) -> Promise<Result<Option<Bytes>, String>> {
        let store = Arc::clone(&self.store);
        Box::pin(async move { modules::piece(store.as_ref(), &sha256, at).await.map_err(|error| error.to_string()) })
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
