//! Recordings, as nodes have told of them: what the list shows. What is played is in the store of recordings, and `recording.json` there says more.
use millstream_control_protocol::event::{Event, What};
use millstream_proto::recorded::RecordingName;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// How far a recording is.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum RecordingState {
    /// It grows, or waits to be stored.
    #[default]
    Recording,
    /// It does not grow, and has a gap: `why` says what to do.
    Paused,
    /// All of it is in the store.
    Stored,
    /// It lacks something for good: `why` says what.
    Failed,
    /// It is being removed, with all that belongs to it: `why` says what that waits for.
    Deleting,
}

/// A recording of a stream.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize, ToSchema)]
#[serde(default)]
pub struct Recording {
    /// Its name: when it began, Unix milliseconds, and the session of the stream's playlists.
    pub recording: String,
    /// The stream's id.
    pub stream: String,
    /// The node that recorded it.
    pub node: String,
    /// Where that keeps it: `file:` and a directory of the node, or `s3:` and a bucket; empty where it was not told.
    pub store: String,
    /// How far it is.
    pub state: RecordingState,
    /// When it began, Unix milliseconds.
    pub started_unix_ms: u64,
    /// How long it is, milliseconds; null until it is stored.
    pub duration_ms: Option<u64>,
    /// Bytes of its media; null until it is stored.
    pub bytes: Option<u64>,
    /// Why it is paused or failed, or what its removal waits for; else empty.
    pub why: String,
    /// Its MP4 files that are in the store, in order; of more than 1,000 the newest. Not in lists of recordings.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub files: Vec<RecordingFile>,
    /// Files before those.
    pub files_left_out: u64,
    /// Where its small pictures are, below the stream's path: WebVTT that names parts of JPEG files; empty where it has none (yet).
    #[serde(skip_serializing_if = "String::is_empty")]
    pub thumbnails: String,
    /// When this was told, Unix milliseconds.
    pub told_unix_ms: u64,
}

/// An MP4 file of a recording.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize, ToSchema)]
#[serde(default)]
pub struct RecordingFile {
    /// Where it is, below the stream's path: `mp4/2026/11/24/1795531265250.mp4`.
    pub path: String,
    /// When it begins, Unix milliseconds.
    pub from_unix_ms: u64,
    /// How long it plays, milliseconds.
    pub duration_ms: u64,
    /// Its length.
    pub bytes: u64,
}

/// Files that are kept of a recording: a record is written anew for each.
const FILES_MAX: usize = 1_000;
/// For so long it is known that a recording was removed: events of it that come late are of nothing.
pub const GRAVE_MS: u64 = 7 * 24 * 3_600_000;

/// The key of a recording: those of a stream are in the order of time, because names begin with it.
pub fn key(stream: &str, recording: &str) -> String {
    format!("{stream}/{recording}")
}

/// The name of the recording that an event is about.
pub fn named(what: &What) -> Option<&str> {
    let name = match what {
        What::RecordingStarted { recording, .. }
        | What::RecordingPaused { recording, .. }
        | What::RecordingResumed { recording }
        | What::RecordingWaits { recording, .. }
        | What::RecordingStored { recording, .. }
        | What::RecordingFile { recording, .. }
        | What::RecordingThumbnails { recording, .. }
        | What::RecordingFailed { recording, .. } => recording.as_str(),
        _ => return None,
    };
    is_name(name).then_some(name)
}

/// Whether this can be a recording's name.
pub fn is_name(name: &str) -> bool {
    RecordingName::parse(name).is_some()
}

impl Recording {
    /// What is known after this event of a node; `before`: what was known. `None`: the event is about no recording, or older than what is known.
    pub fn after(before: Option<Self>, node: &str, event: &Event) -> Option<Self> {
        let name = named(&event.what)?;
        let mut known = before.unwrap_or_else(|| Self {
            recording: name.to_owned(),
            stream: event.stream.clone(),
            started_unix_ms: RecordingName::parse(name).map_or(event.at_unix_ms, |name| name.start_ms),
            ..Self::default()
        });
        // Events may come twice, and those of a node's last run after those of its next.
        let is_settled = matches!(known.state, RecordingState::Stored | RecordingState::Deleting);
        // Made of what is stored: it changes nothing else.
        if let What::RecordingThumbnails { path, .. } = &event.what {
            let is_new = known.state != RecordingState::Deleting && known.thumbnails != *path;
            return is_new.then(|| Self { thumbnails: path.clone(), ..known });
        }
        // A file that is there is there, and nothing comes after the end of a recording, whatever a clock says that was set back meanwhile.
        let is_of_any_time = matches!(event.what, What::RecordingStored { .. } | What::RecordingFile { .. });
        if is_settled || known.told_unix_ms > event.at_unix_ms && !is_of_any_time {
            return None;
        }
        let (state, why) = match &event.what {
            What::RecordingPaused { why, .. } => (RecordingState::Paused, why.clone()),
            What::RecordingFailed { why, .. } => (RecordingState::Failed, why.clone()),
            What::RecordingStored { .. } => (RecordingState::Stored, String::new()),
            // Why it does not grow says more, and why it lacks something more than that.
            What::RecordingWaits { why, .. } if known.state == RecordingState::Recording => (known.state, why.clone()),
            What::RecordingFile { .. } | What::RecordingWaits { .. } => (known.state, known.why.clone()),
            // It may grow again; what it lacks it lacks for good.
            What::RecordingResumed { .. } if known.state == RecordingState::Failed => (known.state, known.why.clone()),
            _ => (RecordingState::Recording, String::new()),
        };
        let (duration_ms, bytes) = match &event.what {
            What::RecordingStored { duration_ms, bytes, .. } => (Some(*duration_ms), Some(*bytes)),
            _ => (known.duration_ms, known.bytes),
        };
        if let What::RecordingFile { path, from_unix_ms, duration_ms, bytes, .. } = &event.what {
            known.file(RecordingFile {
                path: path.clone(),
                from_unix_ms: *from_unix_ms,
                duration_ms: *duration_ms,
                bytes: *bytes,
            });
        }
        let store = match &event.what {
            What::RecordingStarted { store, .. } => store.clone(),
            _ => known.store.clone(),
        };
        let told_unix_ms = event.at_unix_ms.max(known.told_unix_ms);
        Some(Self { node: node.to_owned(), store, state, why, duration_ms, bytes, told_unix_ms, ..known })
    }
}

impl Recording {
    /// One more file; it may be told twice.
    fn file(&mut self, file: RecordingFile) {
        self.files.retain(|known| known.path != file.path);
        self.files.push(file);
        self.files.sort_by_key(|file| file.from_unix_ms);
        if self.files.len() > FILES_MAX {
            self.files.remove(0);
            self.files_left_out += 1;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NAME: &str = "1795531265000-a1";

    fn event(at_unix_ms: u64, what: What) -> Event {
        Event { at_unix_ms, stream: "cam".to_owned(), what, ..Event::default() }
    }

    #[test]
    fn what_is_known_of_a_recording_follows_its_events_and_no_older_ones() {
        let name = || NAME.to_owned();
        let started = event(10, What::RecordingStarted { recording: name(), store: "file:/x".to_owned() });
        let paused = event(20, What::RecordingPaused { recording: name(), why: "the disk is full".to_owned() });
        let stored = event(30, What::RecordingStored { recording: name(), duration_ms: 5_000, bytes: 9 });
        let first = Recording::after(None, "one", &started).expect("it began");
        assert_eq!((first.state, first.started_unix_ms), (RecordingState::Recording, 1_795_531_265_000));
        let second = Recording::after(Some(first.clone()), "one", &paused).expect("it paused");
        assert_eq!((second.state, second.why.as_str()), (RecordingState::Paused, "the disk is full"));
        assert_eq!(Recording::after(Some(second.clone()), "one", &started), None, "that is older");
        let file = |n: u64| What::RecordingFile {
            recording: name(),
            path: format!("mp4/2026/11/24/{n}.mp4"),
            from_unix_ms: n,
            duration_ms: 60_000,
            bytes: 9,
        };
        let with = Recording::after(Some(second.clone()), "one", &event(21, file(7))).expect("a file");
        assert_eq!((with.state, with.files.len()), (RecordingState::Paused, 1), "it is paused all the same");
        let twice = Recording::after(Some(with), "one", &event(22, file(7))).expect("the same");
        assert_eq!((twice.files.len(), twice.files[0].path.as_str()), (1, "mp4/2026/11/24/7.mp4"));
        let many = (8..2_008)
            .fold(twice, |known, n| Recording::after(Some(known), "one", &event(23, file(n))).expect("a file"));
        assert_eq!((many.files.len(), many.files_left_out, many.files[999].from_unix_ms), (1_000, 1_001, 2_007));
        let waits = |at| event(at, What::RecordingWaits { recording: name(), why: "no such bucket".to_owned() });
        let both = Recording::after(Some(second.clone()), "one", &waits(25)).expect("it waits, too");
        assert_eq!((both.state, both.why.as_str()), (RecordingState::Paused, "the disk is full"));
        let waiting = Recording::after(Some(first), "one", &waits(25)).expect("it waits");
        assert_eq!((waiting.state, waiting.why.as_str()), (RecordingState::Recording, "no such bucket"));
        let back = event(26, What::RecordingResumed { recording: name() });
        assert_eq!(Recording::after(Some(waiting), "one", &back).expect("it goes on").why, "");
        let lacks = event(27, What::RecordingFailed { recording: name(), why: "a part was lost".to_owned() });
        let failed = Recording::after(Some(second.clone()), "one", &lacks).expect("it lacks something");
        for (at, what) in [(28, waits(28).what), (29, back.what.clone())] {
            let still = Recording::after(Some(failed.clone()), "one", &event(at, what)).expect("it is told");
            assert_eq!((still.state, still.why.as_str()), (RecordingState::Failed, "a part was lost"), "at {at}");
        }
        let third = Recording::after(Some(second), "one", &stored).expect("it is stored");
        assert_eq!((third.state, third.duration_ms, third.bytes), (RecordingState::Stored, Some(5_000), Some(9)));
        assert_eq!(third.store, "file:/x");
        let thumbnails =
            What::RecordingThumbnails { recording: name(), path: "rec/x/thumbnails.vtt".to_owned(), pictures: 3 };
        let drawn =
            Recording::after(Some(third.clone()), "one", &event(31, thumbnails.clone())).expect("it has pictures");
        assert_eq!((drawn.state, drawn.told_unix_ms), (RecordingState::Stored, third.told_unix_ms));
        assert_eq!(drawn.thumbnails, "rec/x/thumbnails.vtt");
        assert_eq!(Recording::after(Some(drawn), "one", &event(32, thumbnails)), None, "it may be told twice");
        let deleting = Recording { state: RecordingState::Deleting, ..third.clone() };
        assert_eq!(
            Recording::after(Some(deleting), "one", &event(50, paused.what.clone())),
            None,
            "it is being removed"
        );
        assert_eq!(
            Recording::after(Some(third), "one", &event(40, What::RecordingResumed { recording: name() })),
            None
        );
        // The beginning was lost.
        assert!(Recording::after(None, "one", &stored).is_some());
    }

    #[test]
    fn a_recording_that_is_stored_is_so_although_the_clock_was_set_back() {
        let name = || NAME.to_owned();
        let (hour, back) = (3_600_000, 1_000);
        let started = event(hour, What::RecordingStarted { recording: name(), store: "file:/x".to_owned() });
        let first = Recording::after(None, "one", &started).expect("it began");
        let paused = event(back, What::RecordingPaused { recording: name(), why: "the disk is full".to_owned() });
        assert_eq!(Recording::after(Some(first.clone()), "one", &paused), None, "that may be of a run before");
        let file = What::RecordingFile {
            recording: name(),
            path: "mp4/2026/11/24/7.mp4".to_owned(),
            from_unix_ms: 7,
            duration_ms: 5_000,
            bytes: 9,
        };
        let filed = Recording::after(Some(first), "one", &event(back, file)).expect("a file");
        assert_eq!((filed.state, filed.files.len()), (RecordingState::Recording, 1));
        let stored = event(back, What::RecordingStored { recording: name(), duration_ms: 5_000, bytes: 9 });
        let second = Recording::after(Some(filed), "one", &stored).expect("it is stored");
        assert_eq!((second.state, second.duration_ms), (RecordingState::Stored, Some(5_000)));
        assert_eq!(second.told_unix_ms, hour, "the time that it was told at does not go back");
        assert_eq!(Recording::after(Some(second.clone()), "one", &stored), None, "it may be told twice");
        let deleting = Recording { state: RecordingState::Deleting, ..second };
        assert_eq!(Recording::after(Some(deleting), "one", &stored), None, "it is being removed all the same");
    }

    #[test]
    fn an_event_without_a_name_is_about_no_recording() {
        let failed = |recording: &str| What::RecordingFailed { recording: recording.to_owned(), why: String::new() };
        for name in ["", "a-1", "1", "1-", "1-a/b", "-a", "1-ä"] {
            assert_eq!(named(&failed(name)), None, "{name}");
        }
        assert_eq!(named(&failed(NAME)), Some(NAME));
        assert_eq!(named(&What::SlateStarted {}), None);
    }
}
