//! Parts of recordings as files of their own: asked for, made by a node that has the store, and told. They go with their recording. Before it:
//! [`crate::routes::clips`]; after it: [`super::Api::look_after_recordings`].
use millstream_control_protocol::event::What;
use millstream_control_protocol::task::TaskNews;
use millstream_store::Room;
use millstream_store::item::{Expect, PAGE_ITEMS_MAX, Query};

use super::Known;
use crate::Api;
use crate::auth::Caller;
use crate::http::problem::{Answer, FieldError, Problem};
use crate::model::recording::{self, RecordingState};
use crate::model::recording_work::{Clip, ClipState, Cut, Work, clip_id, clip_key};
use crate::model::{self, CLIP, Kept, RECORDING, RECORDING_WORK};

/// Clips of one recording.
const CLIPS_PER_RECORDING_MAX: usize = 100;
/// What may wait to be done about recordings before no more clips are taken.
const WAITING_MAX: usize = 10_000;
/// The longest clip: as long as a recording may be.
const CLIP_MS_MAX: u64 = 12 * 3_600_000;
/// Changes of one transaction, with some to spare.
const CHANGES_MAX: usize = 90;

impl Api {
    /// Has a clip made of a part of a recording, milliseconds from its beginning.
    pub(crate) async fn make_clip(&self, caller: &Caller, name: &str, (from, to): (u64, u64)) -> Answer<Clip> {
        if to <= from || to - from > CLIP_MS_MAX {
            let message = format!("give a moment behind from, and no more than {CLIP_MS_MAX} ms behind it");
            return Err(Problem::fields(vec![FieldError::new("to", message)]));
        }
        let stream = self.recording(name).await?.value.stream;
        let _lock = self.locks().lock(&stream).await;
        // Under the lock that removals hold.
        let Kept { version, value: found } = self.recording(name).await?;
        if found.state == RecordingState::Deleting {
            return Err(Problem::conflict("the recording is being removed"));
        }
        if let Some(length_ms) = found.duration_ms.filter(|length_ms| from >= *length_ms) {
            let message = format!("the recording is {length_ms} ms long");
            return Err(Problem::fields(vec![FieldError::new("from", message)]));
        }
        if self.clips(name).await?.len() >= CLIPS_PER_RECORDING_MAX {
            return Err(Problem::conflict(format!(
                "the recording has {CLIPS_PER_RECORDING_MAX} clips, which is the most; they go with it"
            )));
        }
        if self.recordings().lock().work.len() >= WAITING_MAX {
            let detail = "too much is to be done about recordings already; try again when some of it is";
            return Err(Problem::unavailable("busy", detail, 60));
        }
        let (clip, now_ms) = (self.uuid()?, self.clock().now_ms());
        let work = Work {
            stream: stream.clone(),
            recording: name.to_owned(),
            node: found.node.clone(),
            store: found.store.clone(),
            is_stored: found.state == RecordingState::Stored,
            clip: Some(Cut { clip: clip.clone(), from_ms: from, to_ms: to }),
            since_unix_ms: now_ms,
        };
        let made = Clip {
            clip: clip.clone(),
            recording: name.to_owned(),
            stream: stream.clone(),
            from,
            to,
            format: "mp4".to_owned(),
            made_unix_ms: now_ms,
            ..Clip::default()
        };
        let changes = vec![
            model::to_put((CLIP, &clip_key(name, &clip)), Expect::Absent, None, &made),
            model::to_put((RECORDING_WORK, &work.id()), Expect::Absent, None, &work),
            // It is still there, and is not being removed.
            model::to_put((RECORDING, &recording::key(&stream, name)), Expect::Version(version), None, &found),
        ];
        let parts = vec![format!("{from} to {to} ms")];
        let saved = self.logged(caller, ("clip.create", &clip_key(name, &clip)), parts, changes).await?;
        saved.map_err(|model::Conflict| {
            Problem::conflict("a node told of the recording at the same moment; repeat the request")
        })?;
        self.recordings().add(work);
        Ok(made)
    }

    /// All clips of a recording.
    pub(crate) async fn clips(&self, recording: &str) -> Answer<Vec<Clip>> {
        let prefix = format!("{recording}/");
        let page = self.store().page(Query { prefix, limit: PAGE_ITEMS_MAX, ..Query::all(CLIP) }).await?;
        let mut clips: Vec<Clip> =
            page.items.iter().filter_map(|item| Some(self.unreadable().read::<Clip>(CLIP, item)?.value)).collect();
        clips.sort_by(|a, b| (a.made_unix_ms, &a.clip).cmp(&(b.made_unix_ms, &b.clip)));
        Ok(clips)
    }

    /// One of them.
    pub(crate) async fn clip(&self, recording: &str, clip: &str) -> Answer<Clip> {
        let unknown = || Problem::not_found("the recording has no clip of this name");
        crate::streams::valid_id(clip).map_err(|_| unknown())?;
        let kept = model::load::<Clip>(self.store(), CLIP, &clip_key(recording, clip)).await?;
        kept.map(|kept| kept.value).ok_or_else(unknown)
    }

    /// Says how far a clip is.
    pub(super) async fn say_of_clip(&self, work: &Work, cut: &Cut, state: ClipState, why: &str) -> Answer<()> {
        let key = clip_key(&work.recording, &cut.clip);
        let Some(Kept { version, value }) = model::load::<Clip>(self.store(), CLIP, &key).await? else { return Ok(()) };
        if (value.state, value.why.as_str()) != (state, why) {
            let told = Clip { state, why: why.to_owned(), ..value };
            // Written by somebody else at the same moment: the next look says it.
            let _ = model::save(self.store(), (CLIP, &key), Expect::Version(version), None, &told).await?;
        }
        Ok(())
    }

    /// It is ready, or cannot be made: it is told, and nobody is to make it any more.
    pub(super) async fn clip_is_over(
        &self,
        id: &str,
        known: &Known,
        cut: &Cut,
        came: Result<&TaskNews, &str>,
    ) -> Answer<()> {
        let Work { stream, recording, .. } = &known.work;
        let (key, clip) = (clip_key(recording, &cut.clip), cut.clip.clone());
        let path = format!("/{stream}/rec/{recording}/clips/{clip}.mp4");
        let (path, why) = match came {
            Ok(_) => (Some(path), String::new()),
            Err(why) => (None, why.to_owned()),
        };
        if !known.is_told {
            let path = path.clone().unwrap_or_default();
            let what = What::Clip { recording: recording.clone(), clip, path, why: why.clone() };
            // Before it is forgotten that it is to be made: a crash between the two has it told twice, and not never.
            self.fleet().tell(Some(stream), what).await;
            if let Some(known) = self.recordings().lock().work.get_mut(id) {
                known.is_told = true;
            }
        }
        let mut changes = vec![model::to_delete((RECORDING_WORK, id), Expect::Any)];
        if let Some(Kept { version, value }) = model::load::<Clip>(self.store(), CLIP, &key).await? {
            let state = if path.is_some() { ClipState::Ready } else { ClipState::Failed };
            let made = came.ok();
            let (bytes, duration_ms) = (made.map(|made| made.bytes), made.map(|made| made.duration_ms));
            let over = Clip { state, why, path, duration_ms, bytes, ..value };
            changes.push(model::to_put((CLIP, &key), Expect::Version(version), None, &over));
        }
        if model::transact(self.store(), changes).await?.is_ok() {
            self.recordings().remove(id);
            self.fleet().settle(id);
        }
        Ok(())
    }

    /// Nobody is to make clips of a recording any more: it is being removed.
    pub(super) fn stop_clips(&self, recording: &str) {
        let prefix = clip_id(recording, "");
        let ids: Vec<String> = {
            let inner = self.recordings().lock();
            inner
                .work
                .range(prefix.clone()..)
                .map(|(id, _)| id)
                .take_while(|id| id.starts_with(&prefix))
                .cloned()
                .collect()
        };
        for id in ids {
            self.recordings().remove(&id);
            self.fleet().settle(&id);
        }
    }

    /// Clips that were removed with their recording leave the store.
    pub(super) async fn forget_clips(&self, recording: &str) -> Answer<()> {
        self.stop_clips(recording);
        let clips = self.clips(recording).await?;
        for some in clips.chunks(CHANGES_MAX / 2) {
            let changes = some.iter().flat_map(|clip| {
                let (key, id) = (clip_key(recording, &clip.clip), clip_id(recording, &clip.clip));
                [model::to_delete((CLIP, &key), Expect::Any), model::to_delete((RECORDING_WORK, &id), Expect::Any)]
            });
            let _ = model::transact_as(self.store(), Some(Room::Half), changes.collect()).await?;
        }
        Ok(())
    }
}
