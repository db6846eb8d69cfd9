//! What is done to streams. Every change takes the same way: the record is written under a condition, in one transaction with the audit log;
//! the nodes are told, and the caller is answered once they have it in force, so that whoever has the answer may push.
//!
//! Changes of one stream come to the nodes in the order in which they were stored, because both happen under one lock ([`Locks`]).
use std::time::Duration;

use millstream_control_protocol::exchange::Whom;
use millstream_control_protocol::state::Version;
use millstream_proto::id::Id;
use millstream_proto::paths;
use millstream_store::item::Expect;
use serde_json::{Map, Value};
use tokio::sync::MutexGuard;

pub(crate) mod locks;

pub use locks::STREAMS_MAX;

use crate::Api;
use crate::auth::Caller;
use crate::http::extract::{IfMatch, Tag};
use crate::http::problem::{Answer, FieldError, Problem};
use crate::model::settings::{Reading, Settings, day};
use crate::model::stream::{Grace, PREVIOUS_MAX, StreamRecord, Tombstone};
use crate::model::{self, Kept, STREAM, TOMBSTONE};
use crate::reconcile::{Subject, Unsettled};

/// Days until the key of a stream expires whose maker did not say when.
pub const OUTDATE_DAYS: u64 = 365;
/// Longest that an answer waits for the nodes; a node that is slower has the change a moment later.
const IN_FORCE_WAIT: Duration = Duration::from_millis(500);
/// Tries of a change without a condition, when others change the same stream.
const TRIES_MAX: usize = 8;

/// A stream as it is.
#[derive(Clone, PartialEq, Debug)]
pub struct Found {
    /// Its id.
    pub id: String,
    /// Its record.
    pub record: StreamRecord,
    /// Its version; `None` for a stream of the configuration file.
    pub tag: Option<Tag>,
}

impl Found {
    pub(crate) fn stored(id: &str, kept: Kept<StreamRecord>) -> Self {
        let tag = Tag { created_ms: kept.value.created_ms, version: kept.version };
        Self { id: id.to_owned(), record: kept.value, tag: Some(tag) }
    }
}

/// An id of a path or a body.
pub(crate) fn valid_id(id: &str) -> Answer<()> {
    let advice = |error| Problem::fields(vec![FieldError::new("id", format!("{error}; give 1 to 64 of these"))]);
    Id::new(id).map(|_| ()).map_err(advice)
}

fn unknown(id: &str) -> Problem {
    // An id that cannot be one is not repeated: it may hold anything.
    let name = if Id::new(id).is_ok() { id } else { "of this name" };
    Problem::not_found(format!("there is no stream {name}; check the id"))
}

impl Api {
    /// A stream.
    pub async fn stream(&self, id: &str) -> Answer<Found> {
        if let Some(record) = self.fixed().get(id) {
            return Ok(Found { id: id.to_owned(), record: record.clone(), tag: None });
        }
        if Id::new(id).is_err() {
            return Err(unknown(id));
        }
        let kept = model::load(self.store(), STREAM, id).await?;
        kept.map(|kept| Found::stored(id, kept)).ok_or_else(|| unknown(id))
    }

    /// Refuses the name of a stream that no node holds and nobody has made.
    pub(crate) async fn must_know(&self, id: &str) -> Answer<()> {
        if self.fleet().last_told(id).is_empty() {
            self.stream(id).await?;
        }
        Ok(())
    }

    /// Makes a stream, under this id or one of its own.
    pub async fn create_stream(
        &self,
        caller: &Caller,
        id: Option<&str>,
        given: &Map<String, Value>,
        reading: Reading,
    ) -> Answer<Found> {
        if let Some(id) = id {
            valid_id(id)?;
        }
        let mut settings = Settings::default();
        settings.merge(given, reading).map_err(Problem::fields)?;
        let _slates = self.slates().hold(given).await;
        self.slates().check(&settings)?;
        let now_ms = self.clock().now_ms();
        if settings.expiry_s().is_none() {
            let outdate = day(now_ms / 1_000 + OUTDATE_DAYS * 86_400);
            let default = Map::from_iter([("outdate".to_owned(), Value::String(outdate))]);
            settings.merge(&default, Reading::Strict).map_err(Problem::fields)?;
        }
        let id = id.map_or_else(|| self.uuid(), |id| Ok(id.to_owned()))?;
        let _paths = self.free_paths(&id, given).await?;
        let counted = self.count_one_more()?;
        let lock = self.locks().lock(&id).await;
        if self.fixed().contains_key(&id) {
            return Err(read_only(&id));
        }
        // Signatures of a removed stream of this id must not admit to the new one.
        let tombstone: Option<Kept<Tombstone>> = model::load(self.store(), TOMBSTONE, &id).await?;
        let record = StreamRecord {
            created_ms: now_ms,
            updated_ms: now_ms,
            updated_by: caller.who.clone(),
            generation: tombstone.map_or(0, |tombstone| tombstone.value.generation) + 1,
            previous: Vec::new(),
            settings,
        };
        let names = given.keys().cloned().collect();
        let unsettled = Unsettled::new(self, Subject::Stream(id.clone()));
        let put = model::to_put((STREAM, &id), Expect::Absent, None, &record);
        let Ok(version) = self.logged(caller, ("stream.create", &id), names, vec![put]).await? else {
            unsettled.settle();
            let detail = format!("there is a stream {id} already; give another id, or change that one");
            return Err(Problem::conflict(detail));
        };
        counted.stays();
        let told = self.fleet().put(self.slates().to_link(&record, &id));
        unsettled.settle();
        drop(lock);
        self.in_force(&id, told).await;
        Ok(Found::stored(&id, Kept { version, value: record }))
    }

    /// Changes a stream as `change` says, which gives the names of what it changed.
    pub(crate) async fn change_stream(
        &self,
        caller: &Caller,
        (id, action): (&str, &str),
        condition: Condition<'_>,
        change: impl Fn(&mut StreamRecord) -> Answer<Vec<String>>,
    ) -> Answer<Found> {
        for _ in 0..TRIES_MAX {
            let lock = self.locks().lock(id).await;
            let Found { mut record, tag, .. } = self.stream(id).await?;
            let tag = tag.ok_or_else(|| read_only(id))?;
            condition.hold(tag)?;
            let parts = change(&mut record)?;
            record.updated_ms = self.clock().now_ms();
            record.updated_by.clone_from(&caller.who);
            let unsettled = Unsettled::new(self, Subject::Stream(id.to_owned()));
            let put = model::to_put((STREAM, id), Expect::Version(tag.version), None, &record);
            if let Ok(version) = self.logged(caller, (action, id), parts, vec![put]).await? {
                let told = self.fleet().put(self.slates().to_link(&record, id));
                unsettled.settle();
                drop(lock);
                self.in_force(id, told).await;
                return Ok(Found::stored(id, Kept { version, value: record }));
            }
            unsettled.settle();
            if condition.is_some() {
                return Err(IfMatch::failed());
            }
        }
        Err(Problem::unavailable("busy", format!("too many others change stream {id}; try again in a moment"), 1))
    }

    /// Tells the nodes a stream as it is, because something else that it names has changed.
    pub(crate) async fn tell_again(&self, id: &str) -> Answer<()> {
        let _lock = self.locks().lock(id).await;
        // It may have been removed since.
        if let Some(kept) = model::load::<StreamRecord>(self.store(), STREAM, id).await?
            && !self.fixed().contains_key(id)
        {
            self.fleet().put(self.slates().to_link(&kept.value, id));
        }
        Ok(())
    }

    /// Sets what is given.
    pub async fn update_stream(
        &self,
        caller: &Caller,
        id: &str,
        condition: Condition<'_>,
        given: &Map<String, Value>,
        reading: Reading,
    ) -> Answer<Found> {
        let change = |record: &mut StreamRecord| {
            let outdate = record.settings.text("outdate").to_owned();
            let mut changed = record.settings.merge(given, reading).map_err(Problem::fields)?;
            if record.settings.expiry_s().is_none() {
                // Asked to be as nobody said: then as it was.
                let kept = Map::from_iter([("outdate".to_owned(), Value::String(outdate))]);
                record.settings.merge(&kept, Reading::Strict).map_err(Problem::fields)?;
                changed.retain(|name| name != "outdate");
            }
            if changed.iter().any(|name| name == "slate") {
                self.slates().check(&record.settings)?;
            }
            Ok(changed)
        };
        let _slates = self.slates().hold(given).await;
        let _paths = self.free_paths(id, given).await?;
        self.change_stream(caller, (id, "stream.update"), condition, change).await
    }

    /// Makes sure that the paths which are given lead to no other stream, and that no other change takes them while this is held.
    async fn free_paths(&self, id: &str, given: &Map<String, Value>) -> Answer<Option<MutexGuard<'_, ()>>> {
        let paths = |name: &str| -> Vec<&str> {
            let items = given.get(name).and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
            items.iter().filter_map(Value::as_str).collect()
        };
        let (push, play) = (paths("push_paths"), paths("play_paths"));
        if push.is_empty() && play.is_empty() {
            return Ok(None);
        }
        let lock = self.locks().paths.lock().await;
        let play_key = |path: &str| paths::play(path).ok().map(|(key, _)| key);
        let push_key = |path: &str| paths::push(path).ok();
        let play_keys: Vec<String> = play.into_iter().filter_map(play_key).collect();
        let push_keys: Vec<String> = push.into_iter().filter_map(push_key).collect();
        let among = |mine: &[String], key: Option<String>| key.is_some_and(|key| mine.contains(&key));
        let taken = self.fleet().find_stream(|other| {
            let other_push = || other.push_paths.iter().find(|path| among(&push_keys, push_key(path)));
            let other_play = || other.play_paths.iter().find(|path| among(&play_keys, play_key(path)));
            let path = if other.id == id { None } else { other_push().or_else(other_play) };
            path.map(|path| (path.clone(), other.id.clone()))
        });
        match taken {
            Some((path, other)) => Err(Problem::conflict(format!(
                "the path {path:?} leads to stream {other} already; take it away there first, or give another path"
            ))),
            None => Ok(Some(lock)),
        }
    }

    /// Raises the generation of a stream's secret. What was signed before admits for `grace_s` more seconds; without any, nothing that
    /// was ever signed before does.
    pub async fn rotate_key(&self, caller: &Caller, id: &str, condition: Condition<'_>, grace_s: u64) -> Answer<Found> {
        let now_s = self.clock().now_s();
        let change = |record: &mut StreamRecord| {
            record.previous = if grace_s == 0 { Vec::new() } else { record.in_grace(now_s) };
            if record.previous.len() >= PREVIOUS_MAX {
                let detail = format!(
                    "{PREVIOUS_MAX} earlier keys of this stream are in their grace, which is the most; wait, or end them all with \"grace_s\": 0"
                );
                return Err(Problem::conflict(detail));
            }
            if grace_s > 0 {
                record.previous.push(Grace { generation: record.generation, until_unix_s: now_s + grace_s });
            }
            record.generation += 1;
            Ok(vec![format!("generation {}", record.generation)])
        };
        self.change_stream(caller, (id, "stream.key.rotate"), condition, change).await
    }

    /// Removes a stream: nobody is admitted to it any more. Who is on air or watches goes on, unless `kick`.
    pub async fn delete_stream(&self, caller: &Caller, id: &str, condition: Condition<'_>, kick: bool) -> Answer<()> {
        for _ in 0..TRIES_MAX {
            let lock = self.locks().lock(id).await;
            let Found { record, tag, .. } = self.stream(id).await?;
            let tag = tag.ok_or_else(|| read_only(id))?;
            condition.hold(tag)?;
            // A new stream of this id goes on counting.
            let retention_days = record.settings.get("retention_days").as_u64().unwrap_or_default();
            let tombstone = Tombstone { generation: record.generation, retention_days };
            let changes = vec![
                model::to_delete((STREAM, id), Expect::Version(tag.version)),
                model::to_put((TOMBSTONE, id), Expect::Any, None, &tombstone),
            ];
            let unsettled = Unsettled::new(self, Subject::Stream(id.to_owned()));
            if self.logged(caller, ("stream.delete", id), Vec::new(), changes).await?.is_ok() {
                self.count_one_less();
                let told = self.fleet().remove(id);
                unsettled.settle();
                drop(lock);
                self.in_force(id, told).await;
                if kick {
                    self.fleet().kick_stream(id, Whom::All).await;
                }
                return Ok(());
            }
            unsettled.settle();
            if condition.is_some() {
                return Err(IfMatch::failed());
            }
        }
        Err(Problem::unavailable("busy", format!("too many others change stream {id}; try again in a moment"), 1))
    }

    /// Waits until the nodes have a change in force, and not for long.
    pub(crate) async fn in_force(&self, id: &str, told: Version) {
        if !self.fleet().in_force(told, IN_FORCE_WAIT).await {
            if let Some(count) = self.said().slow_nodes.again() {
                tracing::warn!(
                    stream = id,
                    count,
                    "a node has not taken up changes yet; it will when it is heard again"
                );
            } else {
                tracing::debug!(stream = id, "a node has not taken up a change yet");
            }
        }
    }
}

/// What a change expects of the version that is there.
#[derive(Clone, Copy, Debug)]
pub enum Condition<'a> {
    /// Nothing: the last one wins, as scripts of the original expect.
    None,
    /// `If-Match`, which must be there.
    Must(&'a IfMatch),
    /// `If-Match`, where it is there.
    May(&'a IfMatch),
}

impl Condition<'_> {
    fn hold(self, tag: Tag) -> Answer<()> {
        match self {
            Self::None => Ok(()),
            Self::Must(condition) => condition.must_hold(tag),
            Self::May(condition) => condition.may_hold(tag),
        }
    }

    fn is_some(self) -> bool {
        match self {
            Self::None => false,
            Self::Must(_) => true,
            Self::May(condition) => condition.is_some(),
        }
    }
}

fn read_only(id: &str) -> Problem {
    Problem::conflict(format!(
        "stream {id} is in the configuration file ([[stream]]); change it there (generation = ... makes a new key), then reload: systemctl \
         reload millstream, or SIGHUP to the server"
    ))
}
