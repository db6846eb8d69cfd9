//! Recordings that are removed: marked in the store, removed by a node that has their store, and then forgotten. Before it: [`crate::routes::recordings`] and
//! [`super::retention`]; after it: [`super::Api::look_after_recordings`].
use std::time::Duration;

use millstream_control_protocol::event::What;
use millstream_control_protocol::task::Held;
use millstream_store::Room;
use millstream_store::item::{Change, Expect};
use tokio::time::{Instant, sleep};

use super::Known;
use crate::Api;
use crate::auth::Caller;
use crate::http::problem::{Answer, Problem};
use crate::model::recording::{self, GRAVE_MS, Recording, RecordingState};
use crate::model::recording_work::{ByHand, Work};
use crate::model::{self, Kept, RECORDING, RECORDING_BY_HAND, RECORDING_STREAM, RECORDING_WORK};

/// What was just ended by hand takes a moment to end.
const ENDING_WAIT: Duration = Duration::from_secs(2);
/// The node is asked again after this.
const ASK_AGAIN: Duration = Duration::from_millis(100);

impl Api {
    /// A recording that some node has told of.
    pub(crate) async fn recording(&self, name: &str) -> Answer<Kept<Recording>> {
        let unknown = || Problem::not_found(format!("there is no recording {name:.80?}"));
        if !recording::is_name(name) {
            return Err(unknown());
        }
        let stream = model::load::<String>(self.store(), RECORDING_STREAM, name).await?.ok_or_else(unknown)?;
        let key = recording::key(&stream.value, name);
        model::load::<Recording>(self.store(), RECORDING, &key).await?.ok_or_else(unknown)
    }

    /// Marks a recording as one that is to be removed. One that runs is refused.
    pub(crate) async fn delete_recording(&self, caller: &Caller, name: &str) -> Answer<Recording> {
        let found = self.recording(name).await?.value;
        self.must_not_run(&found).await?;
        let (stream, key) = (found.stream.clone(), recording::key(&found.stream, name));
        let _lock = self.locks().lock(&stream).await;
        let found = self.recording(name).await?;
        if found.value.state == RecordingState::Deleting {
            return Ok(found.value);
        }
        let (changes, marked, work) = self.marking(&key, found);
        let made = self.logged(caller, ("recording.delete", name), Vec::new(), changes).await?;
        made.map_err(|model::Conflict| {
            Problem::conflict("a node told of the recording at the same moment; repeat the request")
        })?;
        self.stop_clips(name);
        self.recordings().add(work);
        Ok(marked)
    }

    /// The same for one that is old: control's own doing.
    pub(super) async fn expire_recording(&self, key: &str, found: Kept<Recording>) -> Answer<()> {
        let _lock = self.locks().lock(&found.value.stream).await;
        let (name, stream) = (found.value.recording.clone(), found.value.stream.clone());
        let (changes, _, work) = self.marking(key, found);
        // Somebody else's change comes first; the next sweep looks again.
        if model::transact_as(self.store(), Some(Room::Half), changes).await?.is_ok() {
            tracing::info!(
                stream,
                recording = name,
                "a recording is as old as its stream's retention_days: it is removed"
            );
            self.stop_clips(&name);
            self.recordings().add(work);
        }
        Ok(())
    }

    fn marking(&self, key: &str, found: Kept<Recording>) -> (Vec<Change>, Recording, Work) {
        let Kept { version, value } = found;
        let work = Work {
            stream: value.stream.clone(),
            recording: value.recording.clone(),
            node: value.node.clone(),
            store: value.store.clone(),
            is_stored: value.state == RecordingState::Stored,
            clip: None,
            since_unix_ms: self.clock().now_ms(),
        };
        let marked = Recording { state: RecordingState::Deleting, why: String::new(), ..value };
        let changes = vec![
            model::to_put((RECORDING, key), Expect::Version(version), None, &marked),
            model::to_put((RECORDING_WORK, &work.id()), Expect::Any, None, &work),
        ];
        (changes, marked, work)
    }

    /// Refuses a recording that grows; one that lacks something may go on, too. Of a node that is not here that is not known: it removes the recording once that has ended.
    async fn must_not_run(&self, recording: &Recording) -> Answer<()> {
        if matches!(recording.state, RecordingState::Stored | RecordingState::Deleting) {
            return Ok(());
        }
        let until = Instant::now() + ENDING_WAIT;
        loop {
            if self.fleet().look_at_recording(&recording.node, &recording.recording).await != Ok(Held::Running) {
                return Ok(());
            }
            let by_hand = model::load::<ByHand>(self.store(), RECORDING_BY_HAND, &recording.stream).await?;
            let was_ended = by_hand.is_some_and(|by_hand| !by_hand.value.wanted);
            if !was_ended || Instant::now() >= until {
                let stream = &recording.stream;
                return Err(Problem::conflict(format!(
                    "it runs: end it first with DELETE /api/v1/streams/{stream}/recording, or end the stream; one whose encoder has gone ends once that has been waited for"
                )));
            }
            sleep(ASK_AGAIN).await;
        }
    }

    /// Says with the recording why it is still there.
    pub(super) async fn say_why_not_removed(&self, work: &Work, why: &str) -> Answer<()> {
        let key = recording::key(&work.stream, &work.recording);
        let Some(Kept { version, value }) = model::load::<Recording>(self.store(), RECORDING, &key).await? else {
            return Ok(());
        };
        if value.state == RecordingState::Deleting && value.why != why {
            let told = Recording { why: why.to_owned(), ..value };
            // Written by somebody else at the same moment: the next look says it.
            let _ = model::save(self.store(), (RECORDING, &key), Expect::Version(version), None, &told).await?;
        }
        Ok(())
    }

    /// Nothing of it is left in its store: it is told, and forgotten.
    pub(super) async fn recording_is_removed(&self, id: &str, known: &Known) -> Answer<()> {
        let Work { stream, recording, .. } = &known.work;
        if !known.is_told {
            // Before it is forgotten: a crash between the two has it told twice, as events may be, and not never.
            self.fleet().tell(Some(stream), What::RecordingDeleted { recording: recording.clone() }).await;
            if let Some(known) = self.recordings().lock().work.get_mut(id) {
                known.is_told = true;
            }
        }
        let until_ms = self.clock().now_ms() + GRAVE_MS;
        self.forget_clips(recording).await?;
        let changes = vec![
            model::to_delete((RECORDING, &recording::key(stream, recording)), Expect::Any),
            model::to_delete((RECORDING_WORK, id), Expect::Any),
            // Events of it that come late are of nothing.
            model::to_put((RECORDING_STREAM, recording), Expect::Any, Some(until_ms), &""),
        ];
        let made = model::transact_as(self.store(), Some(Room::Half), changes).await?;
        if made.is_ok() {
            self.recordings().remove(id);
            self.fleet().settle(id);
            tracing::info!(stream, recording, "a recording is removed");
        }
        Ok(())
    }
}
