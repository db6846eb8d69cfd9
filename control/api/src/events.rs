//! What nodes tell: [`Keep`] keeps it (session history, motion, webhooks) before a node may forget it, and [`Feed`] passes it on to whoever listens
//! at `/api/v1/events`, with the last ones remembered for those who come back.
use std::sync::Arc;

use bytes::Bytes;
use millstream_control_protocol::event::{Event, What};
use millstream_control_protocol::exchange::NodeId;
use millstream_fleet::{EventSink, Fleet, Promise};
use millstream_store::item::{Expect, Kind};
use millstream_store::{Store, StoreError};
use serde::Serialize;
use tokio::sync::{Notify, broadcast};

pub mod feed;

pub use feed::{Feed, Listening, Told};

use crate::Api;
use crate::clock::Clock;
use crate::hooks::modules;
use crate::model::history::{self, Session};
use crate::model::motion::{self, SeenMotion};
use crate::model::recording::{self, Recording};
use crate::model::{self, MOTION, RECORDING, RECORDING_STREAM, SESSION, to_put, transact};
use crate::outbox::StoredOutbox;

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
    clock: Clock,
}

impl Keep {
    /// In this store. Without an outbox there are no webhooks; `news` is told when something was added to it.
    pub fn new(store: Arc<dyn Store>, outbox: Option<StoredOutbox>, news: Arc<Notify>, clock: Clock) -> Self {
        Self { store, outbox, news, clock }
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

    async fn keep_motion(&self, node: &NodeId, event: &Event, from_unix_ms: u64) -> Result<(), StoreError> {
        let key = motion::key(&event.stream, from_unix_ms);
        let kept = self.store.get(MOTION, &key).await?;
        // What cannot be read is written anew: the next events say as much.
        let known: Option<SeenMotion> = kept.and_then(|item| serde_json::from_slice(&item.value).ok());
        // A node says what it likes: what is to come would be kept for good, and another node's is not its to change.
        let is_to_come = from_unix_ms > self.clock.now_ms().saturating_add(motion::AHEAD_MS_MAX);
        if is_to_come || known.as_ref().is_some_and(|known| known.node != node.name) {
            tracing::warn!(
                node = node.name,
                stream = event.stream,
                "motion that a node tells of is not kept: it is another node's, or its clock is wrong"
            );
            return Ok(());
        }
        let after = SeenMotion::after(known, &node.name, event);
        self.save(MOTION, &key, from_unix_ms.saturating_add(motion::KEPT_MS), &after).await
    }

    /// Writes what one node alone tells, whose events come in order.
    async fn save<T: Serialize>(&self, kind: Kind, key: &str, expires_ms: u64, value: &T) -> Result<(), StoreError> {
        match model::save(self.store.as_ref(), (kind, key), Expect::Any, Some(expires_ms), value).await {
            Ok(_) => Ok(()),
            // It has been logged with its reason.
            Err(problem) => Err(StoreError::Failed { path: "store".into(), detail: problem.status().to_string() }),
        }
    }

    async fn keep_one(&self, node: &NodeId, event: &Event) -> Result<(), StoreError> {
        if let Some(name) = recording::named(&event.what)
            && !event.stream.is_empty()
        {
            return self.keep_recording(node, event, name).await;
        }
        if let Some(from_unix_ms) = motion::begun_unix_ms(&event.what)
            && !event.stream.is_empty()
        {
            return self.keep_motion(node, event, from_unix_ms).await;
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
        self.save(SESSION, &key, expires_ms, &session).await
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
