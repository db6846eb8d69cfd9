//! Which store this is, and which master key the signatures of its streams were made with: so that a server does not start over with an
//! emptied store or another key as if nothing had happened. Before it: the data directory has been opened; after it: the API starts, and
//! nodes are told which store control has.
//!
//! The store keeps its id and a check value of the key ([`MasterKey::check`], which tells nothing about the key). The data directory keeps
//! the id too, in a file beside the store ([`MARKER`]).
use millstream_proto::sign::MasterKey;
use millstream_store::item::{Expect, Kind, Query};
use millstream_store::{Store, StoreError};
use serde::{Deserialize, Serialize};
use subtle::ConstantTimeEq as _;

use crate::model::audit::{self, Entry};
use crate::model::token::random;
use crate::model::{self, AUDIT, META, SLATE, STREAM, TOKEN, TOMBSTONE, WEBHOOK};

/// The file of the data directory that has the store's id.
pub const MARKER: &str = "store-id";
/// Bytes of such a file that are read.
pub const MARKER_BYTES_MAX: usize = 64;
/// The item.
const KEY: &str = "store";
/// Stores that one says it stands for.
const STANDS_FOR_MAX: usize = 16;
/// Kinds of which an operator made items: a store that has none of them is empty.
const MADE: [Kind; 6] = [STREAM, TOMBSTONE, TOKEN, WEBHOOK, SLATE, AUDIT];

/// Which store this is, as kept and as nodes are told.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct StoreIdentity {
    /// Random, made with the store.
    pub id: String,
    /// Ids of stores that an operator has put this one in the place of.
    pub stands_for: Vec<String>,
    /// [`MasterKey::check`] of the key in force; empty where none has been.
    pub key_check: String,
    /// When it was made, Unix milliseconds.
    pub created_ms: u64,
}

/// What a start finds in the data directory.
#[derive(Clone, Copy, Debug)]
pub struct Beside<'a> {
    /// What [`MARKER`] says; `None`: there is no such file.
    pub marker: Option<&'a str>,
    /// Whether there is a master key: without one it is to be made, where that is right.
    pub key: Key<'a>,
    /// The operator has said that another key, and another store, are meant (`--accept-new-key`).
    pub accept: bool,
    /// Unix milliseconds.
    pub now_ms: u64,
}

/// The master key.
#[derive(Clone, Copy, Debug)]
pub enum Key<'a> {
    /// Nothing checks a signature.
    NotNeeded,
    /// There is none.
    Missing,
    /// This one.
    Is(&'a MasterKey),
}

/// Why a server is not to start so. The sentences say what to do.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum IdentityError {
    /// Streams were signed with a key that is gone.
    #[error(
        "master-key is missing, and the store is one whose streams' push URLs were signed with one: with a new key every URL that was issued \
         would be refused. Restore master-key from a backup; or start once with --accept-new-key to make a new one, and issue new push URLs"
    )]
    KeyMissing,
    /// They were signed with another one.
    #[error(
        "master-key is not the key that the streams' push URLs were signed with: every URL that was issued would be refused. Restore \
         master-key (or the store that belongs to it) from a backup; or start once with --accept-new-key, and issue new push URLs"
    )]
    KeyDiffers,
    /// The store has nothing, and one was here.
    #[error(
        "the store is empty, and this data directory had one (store-id says so): all streams, tokens and webhooks would be gone. Put a backup \
         (made with `millstream backup`) in the place of store.sqlite; or start once with --accept-new-key to begin with an empty store"
    )]
    Emptied,
    /// Another store is here than was.
    #[error(
        "the store is not the one that this data directory had (store-id says so). Put the right one in the place of store.sqlite; or start \
         once with --accept-new-key to go on with this one"
    )]
    Differs,
    /// What the store says of itself is of another release, or damaged.
    #[error(
        "what the store says of itself cannot be read, so that nothing says which key its streams are signed with. Run the release that wrote \
         it, or put a backup in the place of store.sqlite; or start once with --accept-new-key to go on with the key that is here"
    )]
    Unreadable,
    /// The store does not answer.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The system gives no random bytes.
    #[error("the system gives no random bytes")]
    Random,
}

/// What was found, to be written once the key is there.
#[derive(Clone, Debug)]
pub struct Judged {
    identity: StoreIdentity,
    version: Option<u64>,
    is_empty: bool,
    accepted: Vec<&'static str>,
    now_ms: u64,
}

/// Looks at what there is, and refuses what must not be started with. Writes nothing.
pub async fn judge(store: &dyn Store, beside: Beside<'_>) -> Result<Judged, IdentityError> {
    let item = store.get(META, KEY).await?;
    let kept = item.as_ref().and_then(|item| serde_json::from_slice::<StoreIdentity>(&item.value).ok());
    let mut is_empty = true;
    for kind in MADE {
        is_empty &= store.page(Query { limit: 1, ..Query::all(kind) }).await?.items.is_empty();
    }
    let mut accepted = Vec::new();
    let mut accept = |error: IdentityError, words: &'static str| {
        if !beside.accept {
            return Err(error);
        }
        accepted.push(words);
        Ok(())
    };
    if item.is_some() && kept.is_none() {
        accept(IdentityError::Unreadable, "store")?;
    }
    let mut identity = match (&kept, beside.marker) {
        (Some(kept), Some(marker)) if kept.id != marker && !kept.stands_for.iter().any(|id| id == marker) => {
            let error = if is_empty { IdentityError::Emptied } else { IdentityError::Differs };
            accept(error, "store")?;
            kept.standing_for(marker)
        }
        (Some(kept), _) => kept.clone(),
        (None, Some(marker)) if is_empty => {
            accept(IdentityError::Emptied, "store")?;
            StoreIdentity::new(beside.now_ms)?.standing_for(marker)
        }
        // A backup of a release that kept no identity.
        (None, Some(marker)) => StoreIdentity { id: marker.to_owned(), ..StoreIdentity::new(beside.now_ms)? },
        (None, None) => StoreIdentity::new(beside.now_ms)?,
    };
    let signed_before = !identity.key_check.is_empty() || (kept.is_none() && !is_empty);
    match beside.key {
        Key::Missing if signed_before => {
            accept(IdentityError::KeyMissing, "key")?;
            identity.key_check.clear();
        }
        Key::Is(key) if !identity.key_check.is_empty() && !same(&identity.key_check, &key.check()) => {
            accept(IdentityError::KeyDiffers, "key")?;
        }
        Key::NotNeeded | Key::Missing | Key::Is(_) => {}
    }
    if let Key::Is(key) = beside.key {
        identity.key_check = key.check();
    }
    let version = item.map(|item| item.version);
    Ok(Judged { identity, version, is_empty, accepted, now_ms: beside.now_ms })
}

/// Which store this is, with the key that is in force now, where there is one. Writes what has changed, and nothing where nothing has. A store
/// that cannot be written is one that can be read: it is gone on with.
pub async fn settle(
    store: &dyn Store,
    judged: Judged,
    key: Option<&MasterKey>,
) -> Result<StoreIdentity, IdentityError> {
    let Judged { mut identity, version, is_empty, accepted, now_ms } = judged;
    if let Some(key) = key {
        identity.key_check = key.check();
    }
    let kept = match version {
        Some(_) => store.get(META, KEY).await?.map(|item| item.value),
        None => None,
    };
    if kept == serde_json::to_vec(&identity).ok() {
        return Ok(identity);
    }
    let expect = version.map_or(Expect::Absent, Expect::Version);
    let mut changes = vec![model::to_put((META, KEY), expect, None, &identity)];
    if !accepted.is_empty() {
        let entry = Entry {
            at_unix_ms: now_ms,
            who: "--accept-new-key".to_owned(),
            action: "store.accept".to_owned(),
            target: identity.id.clone(),
            parts: accepted.iter().map(|what| (*what).to_owned()).collect(),
            ..Entry::default()
        };
        // Behind every stamp that a clock which has been set back could make within this millisecond.
        let stamp = format!("{now_ms:013}-999999");
        changes.push(model::to_put((AUDIT, &stamp), Expect::Any, Some(now_ms + audit::KEPT_MS), &entry));
    }
    match store.transact(changes).await {
        Ok(_) => {}
        Err(error) if is_empty || !accepted.is_empty() => return Err(error.into()),
        Err(error) => tracing::warn!(%error, "the check of the master key is not in the store yet"),
    }
    for what in accepted {
        tracing::warn!(what, store = identity.id, "accepted as the operator said (--accept-new-key)");
    }
    Ok(identity)
}

fn same(one: &str, other: &str) -> bool {
    one.as_bytes().ct_eq(other.as_bytes()).into()
}

impl StoreIdentity {
    fn new(now_ms: u64) -> Result<Self, IdentityError> {
        let bytes = random::<16>().map_err(|_| IdentityError::Random)?;
        let id = format!("{:032x}", u128::from_be_bytes(bytes));
        Ok(Self { id, created_ms: now_ms, ..Self::default() })
    }

    fn standing_for(&self, other: &str) -> Self {
        let mut stands_for = self.stands_for.clone();
        stands_for.push(other.to_owned());
        let too_many = stands_for.len().saturating_sub(STANDS_FOR_MAX);
        stands_for.drain(..too_many);
        Self { stands_for, ..self.clone() }
    }
}

#[cfg(test)]
mod tests {
    use millstream_store::memory::MemoryStore;

    use super::*;

    const ONE: [u8; 32] = [1; 32];
    const OTHER: [u8; 32] = [2; 32];

    async fn start(
        store: &dyn Store,
        marker: Option<&str>,
        key: Option<[u8; 32]>,
        accept: bool,
    ) -> Result<StoreIdentity, IdentityError> {
        let key = key.map(MasterKey::new);
        let beside = Beside { marker, key: key.as_ref().map_or(Key::Missing, Key::Is), accept, now_ms: 5 };
        let judged = judge(store, beside).await?;
        // As `serve` does: a key that is missing is made here.
        settle(store, judged, Some(&key.unwrap_or_else(|| MasterKey::new([9; 32])))).await
    }

    async fn stream(store: &dyn Store) {
        let _ = model::save(store, (STREAM, "cam"), Expect::Any, None, &1).await.unwrap();
    }

    #[tokio::test]
    async fn a_store_begins_once_and_is_known_from_then_on() {
        let store = MemoryStore::new();
        let first = start(&store, None, Some(ONE), false).await.unwrap();
        assert_eq!(first.key_check, MasterKey::new(ONE).check());
        stream(&store).await;
        for marker in [None, Some(first.id.as_str())] {
            assert_eq!(start(&store, marker, Some(ONE), false).await.as_ref(), Ok(&first), "{marker:?}");
        }
        assert_eq!(store.get(META, KEY).await.unwrap().unwrap().version, 1, "written once");
    }

    #[tokio::test]
    async fn a_key_that_is_lost_or_another_is_refused_until_it_is_accepted() {
        let store = MemoryStore::new();
        let first = start(&store, None, Some(ONE), false).await.unwrap();
        let at = Some(first.id.as_str());
        assert_eq!(start(&store, at, Some(OTHER), false).await, Err(IdentityError::KeyDiffers));
        assert_eq!(start(&store, at, None, false).await, Err(IdentityError::KeyMissing));
        let open = Beside { marker: at, key: Key::NotNeeded, accept: false, now_ms: 5 };
        let judged = judge(&store, open).await.unwrap();
        assert_eq!(settle(&store, judged, None).await.unwrap(), first, "nothing is checked, and the check stays");
        let second = start(&store, at, Some(OTHER), true).await.unwrap();
        assert_eq!((&second.id, second.key_check), (&first.id, MasterKey::new(OTHER).check()));
        assert_eq!(start(&store, at, Some(ONE), false).await, Err(IdentityError::KeyDiffers));
        let made = start(&store, at, None, true).await.unwrap();
        assert_eq!(made.key_check, MasterKey::new([9; 32]).check());
        let entries = store.page(Query::all(AUDIT)).await.unwrap().items;
        assert!(String::from_utf8_lossy(&entries[0].value).contains("\"store.accept\""), "{entries:?}");
    }

    #[tokio::test]
    async fn an_emptied_store_and_another_one_are_refused_until_they_are_accepted() {
        let first = start(&MemoryStore::new(), None, Some(ONE), false).await.unwrap();
        let at = Some(first.id.as_str());
        let emptied = MemoryStore::new();
        assert_eq!(start(&emptied, at, Some(ONE), false).await, Err(IdentityError::Emptied));
        let begun = start(&emptied, at, Some(ONE), true).await.unwrap();
        assert_eq!(begun.stands_for, [first.id.as_str()]);
        assert_eq!(start(&emptied, Some(&begun.id), Some(ONE), false).await.as_ref(), Ok(&begun));
        // Where the file with the id could not be written.
        assert_eq!(start(&emptied, at, Some(ONE), false).await.as_ref(), Ok(&begun));
        let other = MemoryStore::new();
        stream(&other).await;
        start(&other, Some("theirs"), Some(ONE), false).await.unwrap();
        assert_eq!(start(&other, at, Some(ONE), false).await, Err(IdentityError::Differs));
        assert_eq!(start(&other, at, Some(ONE), true).await.unwrap().id, "theirs");
    }

    /// The store of a release that kept no identity.
    #[tokio::test]
    async fn a_store_of_before_is_taken_with_the_key_that_is_there_and_not_without() {
        let store = MemoryStore::new();
        stream(&store).await;
        assert_eq!(start(&store, None, None, false).await, Err(IdentityError::KeyMissing));
        start(&store, None, Some(ONE), false).await.unwrap();
        assert_eq!(start(&store, None, Some(OTHER), false).await, Err(IdentityError::KeyDiffers));
    }
}
