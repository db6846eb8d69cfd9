//! What is kept in the store, as shapes. [`stream`] and [`settings`] (what an operator says of a stream), [`token`], [`audit`],
//! [`history`], [`motion`], [`webhook`], [`hook`], [`slate`], [`recording`] and [`recording_work`]. Before it: the handlers of `routes`; after it: [`millstream_store::Store`], which sees kinds, keys
//! and bytes.
//!
//! Invariants: every field of a stored shape has a default, so that what an older release wrote is read; a kind's name never changes.
use millstream_store::item::{Change, Expect, Item, Kind, Write};
use millstream_store::{Room, Store, StoreError};
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::http::problem::{Answer, Problem};

pub mod audit;
pub mod history;
pub mod hook;
pub mod motion;
pub mod recording;
pub mod recording_work;
pub mod settings;
pub mod slate;
pub mod stream;
pub mod token;
pub mod unreadable;
pub mod webhook;

/// Which store this is: one item.
pub const META: Kind = Kind("meta");
/// Streams, by id.
pub const STREAM: Kind = Kind("stream");
/// The last generation of streams that were removed, by id: another stream of that id goes on counting.
pub const TOMBSTONE: Kind = Kind("grave");
/// API tokens, by id.
pub const TOKEN: Kind = Kind("token");
/// Console logins, by the digest of their cookie.
pub const LOGIN: Kind = Kind("login");
/// The audit log, by stamp.
pub const AUDIT: Kind = Kind("audit");
/// Publishers' sessions, by stream, run of the node and session.
pub const SESSION: Kind = Kind("session");
/// Motion that was seen, by stream and when it began.
pub const MOTION: Kind = Kind("motion");
/// Recordings, by stream and name.
pub const RECORDING: Kind = Kind("recording");
/// The streams of recordings, by the recording's name; of those that were removed, for some days, an empty one.
pub const RECORDING_STREAM: Kind = Kind("recording-stream");
/// Recordings that were begun or ended by hand, by stream.
pub const RECORDING_BY_HAND: Kind = Kind("recording-by-hand");
/// Clips, by recording and name.
pub const CLIP: Kind = Kind("clip");
/// What is to be done about recordings, by the task's id.
pub const RECORDING_WORK: Kind = Kind("recording-work");
/// Webhooks, by id.
pub const WEBHOOK: Kind = Kind("webhook");
/// Deliveries that wait, by hook, stream, time and event.
pub const WAITING: Kind = Kind("waiting");
/// Tries of deliveries, by hook and time.
pub const DELIVERY: Kind = Kind("delivery");
/// Hooks with their versions, by name.
pub const HOOK: Kind = Kind("hook");
/// Bindings of hooks, by id.
pub const BINDING: Kind = Kind("hook-binding");
/// Modules of hooks, by SHA-256.
pub const MODULE: Kind = Kind("module");
/// Pieces of modules, by SHA-256 and number.
pub const PIECE: Kind = Kind("module-piece");
/// Slates, by name; their bytes are a module's.
pub const SLATE: Kind = Kind("slate");
/// Answers to requests with an idempotency key, by caller and digest of the key.
pub const ONCE: Kind = Kind("once");

/// A stored value and its version.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Kept<T> {
    /// For the next write's condition.
    pub version: u64,
    /// The value.
    pub value: T,
}

/// An item as what it means.
pub(crate) fn decode<T: DeserializeOwned>(kind: Kind, item: &Item) -> Answer<Kept<T>> {
    match serde_json::from_slice(&item.value) {
        Ok(value) => Ok(Kept { version: item.version, value }),
        Err(error) => {
            tracing::error!(kind = kind.0, key = item.key, %error, "a stored item cannot be read: a later release wrote it, or it is damaged");
            Err(Problem::unavailable(
                "store-failed",
                "what is stored of it cannot be read: a later release wrote it, or it is damaged; run that release, or restore a backup (the \
                 server's log has the reason)",
                60,
            ))
        }
    }
}

/// One value; expired ones included.
pub(crate) async fn load<T: DeserializeOwned>(store: &dyn Store, kind: Kind, key: &str) -> Answer<Option<Kept<T>>> {
    store.get(kind, key).await?.map(|item| decode(kind, &item)).transpose()
}

/// Writes a value, and gives its new version. A conflict is the inner error, because what it means depends.
pub(crate) async fn save<T: Serialize>(
    store: &dyn Store,
    (kind, key): (Kind, &str),
    expect: Expect,
    expires_ms: Option<u64>,
    value: &T,
) -> Answer<Result<u64, Conflict>> {
    let Ok(versions) = transact(store, vec![to_put((kind, key), expect, expires_ms, value)]).await? else {
        return Ok(Err(Conflict));
    };
    Ok(Ok(versions.first().copied().unwrap_or_default()))
}

/// The write of a value, as a part of a transaction.
pub(crate) fn to_put<T: Serialize>(
    (kind, key): (Kind, &str),
    expect: Expect,
    expires_ms: Option<u64>,
    value: &T,
) -> Change {
    // Structs of text, numbers and maps with text keys always have a JSON form.
    let value = serde_json::to_vec(value).unwrap_or_default();
    Change::Put(Write { kind, key: key.to_owned(), expect, expires_ms, value })
}

/// The removal of a value, as a part of a transaction.
pub(crate) fn to_delete((kind, key): (Kind, &str), expect: Expect) -> Change {
    Change::Delete { kind, key: key.to_owned(), expect }
}

/// Makes all of these changes or none, and gives the new versions. A conflict is the inner error, because what it means depends.
pub(crate) async fn transact(store: &dyn Store, changes: Vec<Change>) -> Answer<Result<Vec<u64>, Conflict>> {
    transact_as(store, None, changes).await
}

/// The same; where the changes take rights or things away, also on a full disk, with so much of what is kept for that.
pub(crate) async fn transact_as(
    store: &dyn Store,
    room: Option<Room>,
    changes: Vec<Change>,
) -> Answer<Result<Vec<u64>, Conflict>> {
    let made = match room {
        Some(room) => store.revoke(changes, room),
        None => store.transact(changes),
    };
    match made.await {
        Ok(versions) => Ok(Ok(versions)),
        Err(StoreError::Conflict { .. }) => Ok(Err(Conflict)),
        Err(error) => Err(error.into()),
    }
}

/// The item was not as the write expected it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Conflict;
