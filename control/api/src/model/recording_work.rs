//! What is to be done about recordings, as kept: so that a restart of control, or of a node, forgets nothing of it. Before it: [`crate::recordings`]; after
//! it: tasks of nodes.
use millstream_control_protocol::task::{Task, Work as Order};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// Something that a node is to do with a recording, under the id of its task.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Work {
    /// The stream's id.
    pub stream: String,
    /// The recording's name.
    pub recording: String,
    /// The node that recorded it.
    pub node: String,
    /// Where that said that it keeps it; empty where it did not say.
    pub store: String,
    /// All of it is in the store: nobody's spool has anything of it.
    pub is_stored: bool,
    /// A part of it is to be cut out; else it is to be removed.
    pub clip: Option<Cut>,
    /// When it was asked for, Unix milliseconds.
    pub since_unix_ms: u64,
}

/// Which part of a recording.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Cut {
    /// The clip's name.
    pub clip: String,
    /// From this moment on, milliseconds from the recording's beginning as its players count.
    pub from_ms: u64,
    /// Up to this one.
    pub to_ms: u64,
}

/// How far a clip is.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum ClipState {
    /// It waits for its turn, or for what `why` says.
    #[default]
    Queued,
    /// A node makes it.
    Running,
    /// It is at `path`.
    Ready,
    /// It cannot be made: `why` says why.
    Failed,
}

/// A part of a recording as a file of its own.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize, ToSchema)]
#[serde(default)]
pub struct Clip {
    /// Its name.
    pub clip: String,
    /// The recording's name.
    pub recording: String,
    /// The stream's id.
    pub stream: String,
    /// Where it begins, milliseconds from the recording's beginning as its players count.
    pub from: u64,
    /// Where it ends.
    pub to: u64,
    /// `mp4`.
    pub format: String,
    /// How far it is.
    pub state: ClipState,
    /// What it waits for, or why it cannot be made; else empty.
    pub why: String,
    /// Where it is at the nodes' HTTP port, once it is ready.
    pub path: Option<String>,
    /// How long it is, milliseconds, once it is ready.
    pub duration_ms: Option<u64>,
    /// Its length, once it is ready.
    pub bytes: Option<u64>,
    /// When it was asked for, Unix milliseconds.
    pub made_unix_ms: u64,
}

/// The key of a clip: those of a recording are together.
pub fn clip_key(recording: &str, clip: &str) -> String {
    format!("{recording}/{clip}")
}

/// The id of the removal of a recording.
pub fn removal_id(recording: &str) -> String {
    format!("delete/{recording}")
}

/// The id of the making of a clip.
pub fn clip_id(recording: &str, clip: &str) -> String {
    format!("clip/{recording}/{clip}")
}

impl Work {
    /// Its id.
    pub fn id(&self) -> String {
        match &self.clip {
            Some(cut) => clip_id(&self.recording, &cut.clip),
            None => removal_id(&self.recording),
        }
    }

    /// What that node is told.
    pub fn to_task(&self, node: &str) -> Task {
        let recording = self.recording.clone();
        let what = match &self.clip {
            Some(Cut { clip, from_ms, to_ms }) => {
                Order::Clip { recording, clip: clip.clone(), from_ms: *from_ms, to_ms: *to_ms }
            }
            None => Order::Delete { recording },
        };
        let (stream, store) = (self.stream.clone(), self.store.clone());
        Task { id: self.id(), stream, node: node.to_owned(), store, what }
    }

    /// Whether another node than the one that recorded it can do it, where that has the same store.
    pub fn is_anybodys(&self) -> bool {
        self.is_stored && !self.store.is_empty() && !self.store.starts_with("file:")
    }
}

/// A recording that was begun or ended by hand, as kept under the stream's id: for the session that was on air then.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct ByHand {
    /// The stream is to be recorded.
    pub wanted: bool,
    /// Another one with each wish.
    pub number: u64,
    /// The node that it is on air on.
    pub node: String,
    /// That node's run.
    pub run: u64,
    /// The publisher's session there.
    pub session: u64,
    /// When it was asked for, Unix milliseconds.
    pub since_unix_ms: u64,
    /// By whom.
    pub by: String,
}

/// A recording by hand, as it is shown.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, ToSchema)]
pub struct RecordedByHand {
    /// The stream's id.
    pub stream: String,
    /// The node that it is on air on.
    pub node: String,
    /// It is recorded until its session is over, whatever its settings say; else it is not.
    pub recorded: bool,
    /// When that was asked for, Unix milliseconds.
    pub since_unix_ms: u64,
    /// By whom.
    pub by: String,
}

impl ByHand {
    /// As it is shown.
    pub fn shown(self, stream: &str) -> RecordedByHand {
        let Self { wanted, node, since_unix_ms, by, .. } = self;
        RecordedByHand { stream: stream.to_owned(), node, recorded: wanted, since_unix_ms, by }
    }
}
