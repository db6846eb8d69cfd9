//! What is done to slates: uploads that are checked, names that streams mean, and the nodes that are told which file a name stands for.
//!
//! Order: the bytes, then the record that names them, then the streams that show it are told anew. Bytes that no record names are found by the
//! sweep of `hooks`. Slates change seldom and there are few, so their names are held in memory and one lock serves all changes.

use bytes::Bytes;
use millstream_fleet::limits::{SLATES_BYTES_MAX, SLATES_MAX};
use millstream_proto::media::Clip;
use millstream_store::item::{Expect, Query};

pub(crate) mod names;

use crate::Api;
use crate::auth::Caller;
use crate::hooks::modules;
use crate::http::extract::{IfMatch, Tag};
use crate::http::problem::{Answer, FieldError, Problem};
use crate::model::slate::SlateRecord;
use crate::model::stream::StreamRecord;
use crate::model::{self, Kept, SLATE, STREAM};
use crate::reconcile::{Subject, Unsettled};
use crate::streams::valid_id;

fn unknown() -> Problem {
    Problem::not_found("there is no slate of this name; see /api/v1/slates")
}

impl Api {
    /// A slate.
    pub(crate) async fn slate(&self, name: &str) -> Answer<Kept<SlateRecord>> {
        valid_id(name).map_err(|_| unknown())?;
        model::load(self.store(), SLATE, name).await?.ok_or_else(unknown)
    }

    /// Makes a slate of this name or puts another file in its place. Says whether it is new.
    pub(crate) async fn put_slate(
        &self,
        caller: &Caller,
        name: &str,
        condition: &IfMatch,
        file: Bytes,
    ) -> Answer<(bool, Kept<SlateRecord>)> {
        let bytes = file.len() as u64;
        let reading = file.clone();
        let read = tokio::task::spawn_blocking(move || (modules::sha256(&reading), Clip::read(&reading)));
        let (sha256, clip) = read.await.map_err(|_| Problem::unavailable("ending", "the server is ending", 10))?;
        let clip = clip.map_err(|error| Problem::fields(vec![FieldError::new("body", error.to_string())]))?;
        let _uploading = self.record_locks().uploading().await;
        let _lock = self.slates().changes.lock().await;
        let found: Option<Kept<SlateRecord>> = model::load(self.store(), SLATE, name).await?;
        let is_new = found.is_none();
        match &found {
            Some(found) if found.value.sha256 == sha256 => {
                // Sent again, perhaps because it failed half-way: what it needs is made sure of.
                modules::keep(self.store(), &sha256, &file).await?;
                self.slates().set(name, Some(sha256));
                self.tell_who_shows(name).await?;
                return Ok((false, found.clone()));
            }
            Some(found) => condition.must_hold(Tag { created_ms: found.value.created_ms, version: found.version })?,
            None if condition.is_some() => return Err(IfMatch::failed()),
            None => {}
        }
        let all = self.all_slates().await?;
        let others = all.iter().filter(|(other, _)| other != name);
        let (count, kept) = others.fold((0, 0), |(count, sum), (_, slate)| (count + 1, sum + slate.value.bytes));
        if count >= SLATES_MAX || kept + bytes > SLATES_BYTES_MAX {
            return Err(Problem::conflict(format!(
                "there are {count} slates of {kept} bytes, and there may be {SLATES_MAX} of {SLATES_BYTES_MAX}; remove some"
            )));
        }
        modules::keep(self.store(), &sha256, &file).await?;
        let now_ms = self.clock().now_ms();
        let size = clip.video.summary().and_then(|summary| summary.shape?.picture());
        let record = SlateRecord {
            sha256: sha256.clone(),
            bytes,
            duration_ms: clip.round_ms.unsigned_abs(),
            size,
            sound: clip.audio.is_some(),
            mp4: Clip::is_mp4(&file),
            created_ms: found.as_ref().map_or(now_ms, |found| found.value.created_ms),
            updated_ms: now_ms,
            updated_by: caller.who.clone(),
        };
        let expect = found.map_or(Expect::Absent, |found| Expect::Version(found.version));
        let action = if is_new { "slate.create" } else { "slate.update" };
        let unsettled = Unsettled::new(self, Subject::Slate(name.to_owned()));
        let put = model::to_put((SLATE, name), expect, None, &record);
        let saved = self.logged(caller, (action, name), vec![format!("sha256 {sha256}")], vec![put]).await?;
        let version = saved.map_err(|model::Conflict| IfMatch::failed())?;
        self.slates().set(name, Some(sha256));
        // Where it fails, it is tried again beside this: the slate is stored.
        if is_new || self.tell_who_shows(name).await.is_ok() {
            unsettled.settle();
        }
        Ok((is_new, Kept { version, value: record }))
    }

    /// Removes a slate; refused while streams name it. Its bytes go with the next sweep.
    pub(crate) async fn delete_slate(&self, caller: &Caller, name: &str, condition: &IfMatch) -> Answer<()> {
        let _lock = self.slates().changes.lock().await;
        let Kept { version, value: record } = self.slate(name).await?;
        condition.must_hold(Tag { created_ms: record.created_ms, version })?;
        let streams = self.streams_that_show(name).await?;
        if let Some(first) = streams.first() {
            let count = streams.len();
            return Err(Problem::conflict(format!(
                "{count} streams name this slate, {first} among them; change them first"
            )));
        }
        let unsettled = Unsettled::new(self, Subject::Slate(name.to_owned()));
        let delete = model::to_delete((SLATE, name), Expect::Version(version));
        let deleted = self.logged(caller, ("slate.delete", name), Vec::new(), vec![delete]).await?;
        deleted.map_err(|model::Conflict| IfMatch::failed())?;
        self.slates().set(name, None);
        unsettled.settle();
        Ok(())
    }

    /// Tells the nodes a slate as it is stored.
    pub(crate) async fn tell_slate(&self, name: &str) -> Answer<()> {
        let _lock = self.slates().changes.lock().await;
        let found: Option<Kept<SlateRecord>> = model::load(self.store(), SLATE, name).await?;
        self.slates().set(name, found.map(|found| found.value.sha256));
        self.tell_who_shows(name).await
    }

    /// Tells the nodes of every stream that names it.
    async fn tell_who_shows(&self, name: &str) -> Answer<()> {
        let mut told = Ok(());
        for id in self.streams_that_show(name).await? {
            // One that fails keeps no other from being told.
            told = told.and(self.tell_again(&id).await.map(drop));
        }
        told
    }

    /// All slates that can be read, by name.
    pub(crate) async fn all_slates(&self) -> Answer<Vec<(String, Kept<SlateRecord>)>> {
        let page = self.store().page(Query { limit: SLATES_MAX, ..Query::all(SLATE) }).await?;
        let read = |item| self.unreadable().read(SLATE, item);
        Ok(page.items.iter().filter_map(|item| Some((item.key.clone(), read(item)?))).collect())
    }

    /// Every stream of the store that names it.
    async fn streams_that_show(&self, name: &str) -> Answer<Vec<String>> {
        let (mut found, mut after) = (Vec::new(), None);
        loop {
            let page = self.store().page(Query { after, ..Query::all(STREAM) }).await?;
            for item in &page.items {
                let record = self.unreadable().read::<StreamRecord>(STREAM, item);
                if record.is_some_and(|record| record.value.settings.text("slate") == name) {
                    found.push(item.key.clone());
                }
            }
            after = page.next;
            if after.is_none() {
                return Ok(found);
            }
        }
    }
}
