//! What has just happened on a node. Before it: the engine's shards, which never wait for it to be heard; after it:
//! [`crate::exchange::Report`], then the API's event stream, session history and webhooks.
use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::live::ViewerCount;

/// One event of one node.
#[derive(Clone, PartialEq, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Event {
    /// Rises by one with each event of a node's run; a hole means that events were lost to a full queue. An event may come twice, with
    /// the same number.
    pub seq: u64,
    /// When, Unix milliseconds.
    pub at_unix_ms: u64,
    /// The stream that it is about.
    pub stream: String,
    /// The session that it is about, as in the log; 0 where it is about none.
    pub session: u64,
    /// The session's address and port.
    pub peer: String,
    /// `rtmp`, `http-flv`, `ws-flv`: an open set.
    pub protocol: String,
    /// What a policy calls the session.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub labels: BTreeMap<String, String>,
    /// What happened.
    pub what: What,
}

/// A part of a picture: numbers from 0 to 1, of its width and height.
#[derive(Clone, Copy, PartialEq, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct MotionRegion {
    /// From the left.
    pub x: f64,
    /// From the top.
    pub y: f64,
    /// Across.
    pub width: f64,
    /// Down.
    pub height: f64,
    /// The part of its pixels that had changed.
    pub score: f64,
}

/// What happened.
#[derive(Clone, PartialEq, Debug, Default, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub enum What {
    /// A publisher was admitted and has the stream's place.
    Publish {
        /// What the encoder calls itself; may be empty.
        #[serde(default)]
        encoder: String,
        /// Where it took another publisher's place: how long ago that one was heard, milliseconds.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        replaced_heard_ago_ms: Option<u64>,
    },
    /// A publisher that was admitted is gone.
    Unpublish {
        /// Why, as in `millstream_closed_total`.
        #[serde(default)]
        why: String,
        /// How long it was on air, milliseconds.
        #[serde(default)]
        lasted_ms: u64,
        /// Bytes that came from it.
        #[serde(default)]
        received_bytes: u64,
        /// Viewers on its node by protocol, as they were counted last, up to some seconds before. Empty where nobody watched, or where it was
        /// not on air for long enough to be counted.
        #[serde(default)]
        viewers: Vec<ViewerCount>,
    },
    /// Viewers of a stream without a publisher get its slate from now on. It is nobody's session.
    SlateStarted {},
    /// They do no more.
    SlateEnded {
        /// `publisher`: one is back; `end`: the stream is over; `off`: it is to have none: an open set.
        #[serde(default)]
        why: String,
        /// How long it was shown, milliseconds.
        #[serde(default)]
        lasted_ms: u64,
    },
    /// A stream is recorded from now on.
    RecordingStarted {
        /// The recording's name.
        #[serde(default)]
        recording: String,
        /// Where it is kept: `file:` and a directory of the node, or `s3:` and a bucket.
        #[serde(default, skip_serializing_if = "String::is_empty")]
        store: String,
    },
    /// A recording does not grow, and has a gap from here on.
    RecordingPaused {
        /// The recording's name.
        #[serde(default)]
        recording: String,
        /// Why, and what to do.
        #[serde(default)]
        why: String,
    },
    /// It grows again, or the store takes it again.
    RecordingResumed {
        /// The recording's name.
        #[serde(default)]
        recording: String,
    },
    /// The store does not take what is recorded: it waits in the spool.
    RecordingWaits {
        /// The recording's name.
        #[serde(default)]
        recording: String,
        /// What the store says, and what to do.
        #[serde(default)]
        why: String,
    },
    /// All of it is in the store.
    RecordingStored {
        /// The recording's name.
        #[serde(default)]
        recording: String,
        /// How long it is, milliseconds.
        #[serde(default)]
        duration_ms: u64,
        /// Bytes of its media.
        #[serde(default)]
        bytes: u64,
    },
    /// An MP4 file of it is in the store.
    RecordingFile {
        /// The recording's name.
        #[serde(default)]
        recording: String,
        /// Where it is, below the stream's path.
        #[serde(default)]
        path: String,
        /// When it begins, Unix milliseconds.
        #[serde(default)]
        from_unix_ms: u64,
        /// How long it plays, milliseconds.
        #[serde(default)]
        duration_ms: u64,
        /// Its length.
        #[serde(default)]
        bytes: u64,
    },
    /// It could not be begun, or lacks something for good.
    RecordingFailed {
        /// The recording's name; empty where it was not begun.
        #[serde(default)]
        recording: String,
        /// Why, and what to do.
        #[serde(default)]
        why: String,
    },
    /// A recording has a storyboard: small pictures over its length.
    RecordingThumbnails {
        /// The recording's name.
        #[serde(default)]
        recording: String,
        /// Where it is, below the stream's path: WebVTT.
        #[serde(default)]
        path: String,
        /// How many pictures it has.
        #[serde(default)]
        pictures: u32,
    },
    /// A recording is removed with all that belonged to it. Control's own word.
    RecordingDeleted {
        /// The recording's name.
        #[serde(default)]
        recording: String,
    },
    /// A clip of a recording is ready, or cannot be made. Control's own word.
    Clip {
        /// The recording's name.
        #[serde(default)]
        recording: String,
        /// The clip's name.
        #[serde(default)]
        clip: String,
        /// Where it is at the nodes' HTTP port; empty where it cannot be made.
        #[serde(default)]
        path: String,
        /// Why it cannot be made; else empty.
        #[serde(default)]
        why: String,
    },
    /// A picture of a stream is kept (`isImage`).
    Snapshot {
        /// Where it is, below the stream's path.
        #[serde(default)]
        path: String,
        /// When it was taken, Unix milliseconds.
        #[serde(default)]
        taken_unix_ms: u64,
        /// Its length.
        #[serde(default)]
        bytes: u64,
    },
    /// Motion in a stream's picture begins or is over.
    Motion {
        /// It begins.
        #[serde(default)]
        active: bool,
        /// When it began, Unix milliseconds: the same in both events, and no other motion of the stream has it.
        #[serde(default)]
        from_unix_ms: u64,
        /// How long it was, milliseconds; 0 where it begins.
        #[serde(default)]
        lasted_ms: u64,
        /// The largest part of the picture that moved so far, 0 to 1.
        #[serde(default)]
        score: f64,
        /// Where something moved when it began, the largest first.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        regions: Vec<MotionRegion>,
        /// Its picture, below the stream's path; empty where there is none.
        #[serde(default, skip_serializing_if = "String::is_empty")]
        picture: String,
        /// What a motion hook calls it; empty where none looks, or it is over.
        #[serde(default, skip_serializing_if = "String::is_empty")]
        label: String,
        /// Why it is over: `still`, `timeout`, `interrupted`: an open set; empty where it begins.
        #[serde(default, skip_serializing_if = "String::is_empty")]
        why: String,
    },
    /// The film of a motion is in the store, or cannot be made.
    MotionClip {
        /// When the motion began, Unix milliseconds, as its other events say.
        #[serde(default)]
        motion_from_unix_ms: u64,
        /// Where the film is, below the stream's path; empty where it cannot be made.
        #[serde(default)]
        path: String,
        /// When it begins, Unix milliseconds.
        #[serde(default)]
        from_unix_ms: u64,
        /// How long it plays, milliseconds.
        #[serde(default)]
        duration_ms: u64,
        /// Its length.
        #[serde(default)]
        bytes: u64,
        /// Why it cannot be made; else empty.
        #[serde(default, skip_serializing_if = "String::is_empty")]
        why: String,
    },
    /// The watermark of a stream is not drawn, or not all of it. Its renditions go on without what is missing.
    WatermarkFailed {
        /// What is missing, why, and what to do.
        #[serde(default)]
        why: String,
    },
    /// A rendition of the stream is made from now on, because somebody asks for it.
    RenditionStarted {
        /// Its name.
        #[serde(default)]
        rendition: String,
        /// Pixels across.
        #[serde(default)]
        width: u32,
        /// Pixels down.
        #[serde(default)]
        height: u32,
    },
    /// It is no longer made: nobody asks for it, or its stream is over.
    RenditionStopped {
        /// Its name.
        #[serde(default)]
        rendition: String,
        /// How long it was made, milliseconds.
        #[serde(default)]
        lasted_ms: u64,
    },
    /// Somebody asks for a rendition, and it is not made, or no longer. Told once until it is made again, or for another reason.
    RenditionFailed {
        /// Its name.
        #[serde(default)]
        rendition: String,
        /// `too_slow`: the machine is, and gave it up so that others go on; `codec`, `full`, `crashed`, `worker_away`, `failed`: an open set.
        #[serde(default)]
        reason: String,
        /// Why, in words.
        #[serde(default)]
        why: String,
    },
    /// Somebody was not let in.
    Refused {
        /// `publish`, `play`, or `connect` where it was kept out before it could say: an open set.
        #[serde(default)]
        action: String,
        /// The class, as in `millstream_refused_total`.
        #[serde(default)]
        why: String,
        /// What the peer was told.
        #[serde(default)]
        reason: String,
        /// How many refusals of this address and class this stands for: at most one a second is told.
        #[serde(default = "one")]
        count: u64,
    },
    /// So many events of this stream were left out, because they came faster than one stream's share allows. Control's own word; of its
    /// refusals it is told apart from its other events.
    LeftOut {
        /// How many since this was told last.
        #[serde(default = "one")]
        count: u64,
    },
    /// Bindings of a hook have another version from here on, by an operator. Control's own word, as all that follow.
    HookActivated {
        /// The hook's name.
        #[serde(default)]
        hook: String,
        /// The version that they have now.
        #[serde(default)]
        version: u64,
        /// How many bindings.
        #[serde(default)]
        bindings: u64,
        /// Who did it.
        #[serde(default)]
        by: String,
    },
    /// Bindings of a hook have the version again that they had before, by an operator.
    HookRolledBack {
        /// The hook's name.
        #[serde(default)]
        hook: String,
        /// The versions that they have now.
        #[serde(default)]
        versions: Vec<u64>,
        /// How many bindings.
        #[serde(default)]
        bindings: u64,
        /// Who did it.
        #[serde(default)]
        by: String,
    },
    /// A version of a hook failed too often: a binding has the version again that it had before.
    HookRolledBackAutomatically {
        /// The hook's name.
        #[serde(default)]
        hook: String,
        /// The binding's id.
        #[serde(default)]
        binding: String,
        /// The version that failed.
        #[serde(default)]
        version: u64,
        /// The version that it has now.
        #[serde(default)]
        back_to: u64,
        /// Calls within a minute.
        #[serde(default)]
        calls: u64,
        /// How many of them failed.
        #[serde(default)]
        failures: u64,
    },
    /// A version of a hook fails too often, and there is none before it that the binding could go back to.
    HookFailing {
        /// The hook's name.
        #[serde(default)]
        hook: String,
        /// The binding's id.
        #[serde(default)]
        binding: String,
        /// The version that fails.
        #[serde(default)]
        version: u64,
        /// Calls within a minute.
        #[serde(default)]
        calls: u64,
        /// How many of them failed.
        #[serde(default)]
        failures: u64,
    },
    /// Something that a later version knows.
    #[default]
    #[serde(other)]
    Unknown,
}

const fn one() -> u64 {
    1
}

impl What {
    /// The words for all that this release knows, with what each says.
    pub const KINDS: [(&str, &str); 27] = [
        ("publish", "a publisher was admitted and has the stream's place"),
        ("unpublish", "a publisher that was admitted is gone; says why, how long it was on air, and who watched"),
        ("slate_started", "viewers of a stream without a publisher get its slate from now on"),
        ("slate_ended", "they do no more; says why, and how long it was shown"),
        ("recording_started", "a stream is recorded from now on; says under which name"),
        ("recording_paused", "a recording does not grow, and has a gap from here on; says why"),
        ("recording_resumed", "it grows again, or the store takes it again"),
        ("recording_waits", "the store does not take what is recorded, which waits in the spool; says why"),
        ("recording_stored", "all of a recording is in the store; says how long and how large it is"),
        ("recording_file", "an MP4 file of a recording is in the store; says where, how long and how large it is"),
        ("recording_failed", "a recording could not be begun, or lacks something for good; says why"),
        ("recording_thumbnails", "a recording has small pictures over its length; says where (WebVTT) and how many"),
        ("recording_deleted", "a recording is removed with all that belonged to it"),
        ("clip", "a clip of a recording is ready; or cannot be made, and why"),
        ("snapshot", "a picture of a stream with `isImage` is in the store; says where, and how large it is"),
        ("motion", "motion in a stream's picture begins or is over; says where, and where its picture is"),
        ("motion_clip", "the film of a motion is in the store, and where; or cannot be made, and why"),
        ("watermark_failed", "the watermark of a stream is not drawn, or not all of it; says what is missing and why"),
        ("rendition_started", "a rendition is made from now on; says which, and its size"),
        (
            "rendition_stopped",
            "a rendition is no longer made, since nobody asks for it or the stream is over; says how long it was",
        ),
        ("rendition_failed", "somebody asks for a rendition and it is not made, or no longer; says why"),
        ("refused", "somebody was not let in; says why, and how many refusals it stands for"),
        ("left_out", "a stream told more than its share: so many of its events were left out"),
        ("hook_activated", "bindings of a hook have another version, by an operator"),
        ("hook_rolled_back", "bindings of a hook have the version again that they had before, by an operator"),
        (
            "hook_rolled_back_automatically",
            "a version of a hook failed too often: a binding has the version before it again",
        ),
        ("hook_failing", "a version of a hook fails too often, and there is none before it to go back to"),
    ];

    /// The word for it.
    pub const fn kind(&self) -> &'static str {
        match self {
            Self::Publish { .. } => "publish",
            Self::Unpublish { .. } => "unpublish",
            Self::SlateStarted {} => "slate_started",
            Self::SlateEnded { .. } => "slate_ended",
            Self::RecordingStarted { .. } => "recording_started",
            Self::RecordingPaused { .. } => "recording_paused",
            Self::RecordingResumed { .. } => "recording_resumed",
            Self::RecordingWaits { .. } => "recording_waits",
            Self::RecordingStored { .. } => "recording_stored",
            Self::RecordingFile { .. } => "recording_file",
            Self::RecordingFailed { .. } => "recording_failed",
            Self::RecordingThumbnails { .. } => "recording_thumbnails",
            Self::RecordingDeleted { .. } => "recording_deleted",
            Self::Clip { .. } => "clip",
            Self::Snapshot { .. } => "snapshot",
            Self::Motion { .. } => "motion",
            Self::MotionClip { .. } => "motion_clip",
            Self::WatermarkFailed { .. } => "watermark_failed",
            Self::RenditionStarted { .. } => "rendition_started",
            Self::RenditionStopped { .. } => "rendition_stopped",
            Self::RenditionFailed { .. } => "rendition_failed",
            Self::Refused { .. } => "refused",
            Self::LeftOut { .. } => "left_out",
            Self::HookActivated { .. } => "hook_activated",
            Self::HookRolledBack { .. } => "hook_rolled_back",
            Self::HookRolledBackAutomatically { .. } => "hook_rolled_back_automatically",
            Self::HookFailing { .. } => "hook_failing",
            Self::Unknown => "unknown",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What a kind's word is, each variant by name: one that is added does not compile here.
    #[test]
    fn the_list_of_kinds_is_whole() {
        let next = |what: &What| match what {
            What::Publish { .. } => {
                Some(What::Unpublish { why: String::new(), lasted_ms: 0, received_bytes: 0, viewers: Vec::new() })
            }
            What::Unpublish { .. } => Some(What::SlateStarted {}),
            What::SlateStarted {} => Some(What::SlateEnded { why: String::new(), lasted_ms: 0 }),
            What::SlateEnded { .. } => Some(What::RecordingStarted { recording: String::new(), store: String::new() }),
            What::RecordingStarted { .. } => {
                Some(What::RecordingPaused { recording: String::new(), why: String::new() })
            }
            What::RecordingPaused { .. } => Some(What::RecordingResumed { recording: String::new() }),
            What::RecordingResumed { .. } => {
                Some(What::RecordingWaits { recording: String::new(), why: String::new() })
            }
            What::RecordingWaits { .. } => {
                Some(What::RecordingStored { recording: String::new(), duration_ms: 0, bytes: 0 })
            }
            What::RecordingStored { .. } => Some(What::RecordingFile {
                recording: String::new(),
                path: String::new(),
                from_unix_ms: 0,
                duration_ms: 0,
                bytes: 0,
            }),
            What::RecordingFile { .. } => Some(What::RecordingFailed { recording: String::new(), why: String::new() }),
            What::RecordingFailed { .. } => {
                Some(What::RecordingThumbnails { recording: String::new(), path: String::new(), pictures: 0 })
            }
            What::RecordingThumbnails { .. } => Some(What::RecordingDeleted { recording: String::new() }),
            What::RecordingDeleted { .. } => Some(What::Clip {
                recording: String::new(),
                clip: String::new(),
                path: String::new(),
                why: String::new(),
            }),
            What::Clip { .. } => Some(What::Snapshot { path: String::new(), taken_unix_ms: 0, bytes: 0 }),
            What::Snapshot { .. } => Some(What::Motion {
                active: true,
                from_unix_ms: 0,
                lasted_ms: 0,
                score: 0.0,
                regions: Vec::new(),
                picture: String::new(),
                label: String::new(),
                why: String::new(),
            }),
            What::Motion { .. } => Some(What::MotionClip {
                motion_from_unix_ms: 0,
                path: String::new(),
                from_unix_ms: 0,
                duration_ms: 0,
                bytes: 0,
                why: String::new(),
            }),
            What::MotionClip { .. } => Some(What::WatermarkFailed { why: String::new() }),
            What::WatermarkFailed { .. } => {
                Some(What::RenditionStarted { rendition: String::new(), width: 0, height: 0 })
            }
            What::RenditionStarted { .. } => Some(What::RenditionStopped { rendition: String::new(), lasted_ms: 0 }),
            What::RenditionStopped { .. } => {
                Some(What::RenditionFailed { rendition: String::new(), reason: String::new(), why: String::new() })
            }
            What::RenditionFailed { .. } => {
                Some(What::Refused { action: String::new(), why: String::new(), reason: String::new(), count: 1 })
            }
            What::Refused { .. } => Some(What::LeftOut { count: 1 }),
            What::LeftOut { .. } => {
                Some(What::HookActivated { hook: String::new(), version: 1, bindings: 1, by: String::new() })
            }
            What::HookActivated { .. } => {
                Some(What::HookRolledBack { hook: String::new(), versions: Vec::new(), bindings: 1, by: String::new() })
            }
            What::HookRolledBack { .. } => Some(What::HookRolledBackAutomatically {
                hook: String::new(),
                binding: String::new(),
                version: 2,
                back_to: 1,
                calls: 0,
                failures: 0,
            }),
            What::HookRolledBackAutomatically { .. } => Some(What::HookFailing {
                hook: String::new(),
                binding: String::new(),
                version: 1,
                calls: 0,
                failures: 0,
            }),
            What::HookFailing { .. } => Some(What::Unknown),
            What::Unknown => None,
        };
        let first = Some(What::Publish { encoder: String::new(), replaced_heard_ago_ms: None });
        let all: Vec<&str> = std::iter::successors(first, next).map(|what| what.kind()).collect();
        let listed: Vec<&str> = What::KINDS.iter().map(|(kind, _)| *kind).chain(["unknown"]).collect();
        assert_eq!(all, listed);
    }
}
