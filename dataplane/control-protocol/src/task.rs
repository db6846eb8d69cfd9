//! What nodes are to do about recordings, as a part of the state that control wants: so it is told until it is done, whoever restarts meanwhile.
//! Before it: control's store; after it: [`crate::exchange::Push`] carries it, and [`crate::exchange::Report`] tells what has come of it.
use serde::{Deserialize, Serialize};

/// Something to do.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Task {
    /// Its id, never used for anything else.
    pub id: String,
    /// The stream that it is about.
    pub stream: String,
    /// The node that is to do it; empty: all.
    pub node: String,
    /// Where what it is about is kept; empty: that is not known. A node that keeps recordings elsewhere leaves it alone.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub store: String,
    /// What.
    pub what: Work,
}

/// What ids of [`Work::ByHand`] begin with; the stream's id follows, for a stream has one at most.
const BY_HAND: &str = "hand/";

impl Task {
    /// A stream is to be recorded, or not, whatever its settings say.
    pub fn by_hand(stream: &str, wanted: bool, number: u64) -> Self {
        let what = Work::ByHand { wanted, number };
        Self { id: Self::by_hand_id(stream), stream: stream.to_owned(), what, ..Self::default() }
    }

    /// The id of that task.
    pub fn by_hand_id(stream: &str) -> String {
        format!("{BY_HAND}{stream}")
    }

    /// The stream that a task of this id is about, where it is one of those.
    pub fn by_hand_stream(id: &str) -> Option<&str> {
        id.strip_prefix(BY_HAND)
    }
}

/// What is to be done.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(tag = "do", rename_all = "snake_case")]
pub enum Work {
    /// Record a stream that is held when this comes, or do not, whatever its settings say, until it is over.
    ByHand {
        /// Record it.
        #[serde(default)]
        wanted: bool,
        /// Another one each time that somebody asks for it.
        #[serde(default)]
        number: u64,
    },
    /// Remove a recording with all that belongs to it, once it does not grow any more.
    Delete {
        /// The recording's name.
        #[serde(default)]
        recording: String,
    },
    /// Make an MP4 file of a part of a recording, and store it beside the recording.
    Clip {
        /// The recording's name.
        #[serde(default)]
        recording: String,
        /// The file's name, without its ending.
        #[serde(default)]
        clip: String,
        /// From this moment on, milliseconds from the recording's beginning as its players count.
        #[serde(default)]
        from_ms: u64,
        /// Up to this one.
        #[serde(default)]
        to_ms: u64,
    },
    /// Something that a later version knows: it is left to those who do.
    #[default]
    #[serde(other)]
    Unknown,
}

/// How far a node is with a task. Told with each report, until control takes the task back.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct TaskNews {
    /// The task's id.
    pub id: String,
    /// How far it is.
    pub progress: Progress,
    /// Why it waits or has failed, for people; else empty.
    pub why: String,
    /// Bytes of what was made.
    pub bytes: u64,
    /// How long that is, milliseconds.
    pub duration_ms: u64,
}

/// How far a task is.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Progress {
    /// It is being done.
    Running,
    /// It could not be done yet, and is tried again.
    Waits,
    /// It is done.
    Done,
    /// It cannot be done.
    Failed,
    /// A word of a later version: it is waited for.
    #[default]
    #[serde(other)]
    Unknown,
}

/// How far a recording is at the node that records it.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Held {
    /// It grows, or will once there is room for it.
    Running,
    /// It does not grow any more, and not all of it is stored.
    Storing,
    /// The node holds nothing of it: it is stored, or not known.
    Nothing,
    /// A word of a later version.
    #[default]
    #[serde(other)]
    Unknown,
}
