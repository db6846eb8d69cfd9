//! What viewers are told whom the policy has nothing against, and who are turned away all the same.
use millstream_policy::Action;

use crate::close::{CloseReason, GOING_DOWN};
use crate::shard::stream_handle::mirror::NotPlayable;

/// Why a viewer is turned away though the policy has nothing against it.
#[derive(Clone, Copy, Debug)]
pub(super) struct TurnedAway<'a> {
    /// Of HTTP.
    pub(super) status: u16,
    /// As in `millstream_refused_total`.
    pub(super) why: &'static str,
    /// What the viewer is told.
    pub(super) reason: &'a str,
}

/// Nobody publishes the stream.
pub(super) const NOT_ON_AIR: TurnedAway<'_> = TurnedAway {
    status: 404,
    why: CloseReason::NotOnAir.label(),
    reason: "nobody publishes this stream now; try again when it is on air",
};
/// The shards have too much to say to each other.
pub(super) const BUSY: TurnedAway<'_> =
    TurnedAway { status: 503, why: CloseReason::Busy.label(), reason: "the server is busy; try again in a moment" };
/// New viewers are refused so that those on air go on.
pub(super) const NO_ROOM: TurnedAway<'_> = TurnedAway {
    status: 503,
    why: CloseReason::Overload.refusal_label(Action::Play),
    reason: "the server has no room for new viewers now; try again in a moment",
};
/// A grant is one viewer's.
pub(super) const TOO_OFTEN: TurnedAway<'_> =
    TurnedAway { status: 429, why: "grant_shared", reason: "this grant plays in other connections already" };
/// The stream does not have this output.
pub(super) const OUTPUT_OFF: TurnedAway<'_> =
    TurnedAway { status: 404, why: "output_off", reason: "this stream is not given out in this form" };
/// As many requests wait as may.
pub(super) const BLOCKED: TurnedAway<'_> =
    TurnedAway { status: 503, why: "blocked", reason: "too many requests wait already; try again in a moment" };
/// As many answers with recorded files are under way as may.
pub(super) const ANSWERS_FULL: TurnedAway<'_> = TurnedAway {
    status: 503,
    why: "recorded_full",
    reason: "too many recorded files are being sent already; try again in a moment",
};
pub(super) const ENDING: TurnedAway<'_> =
    TurnedAway { status: 503, why: CloseReason::Shutdown.label(), reason: GOING_DOWN };

impl From<NotPlayable> for TurnedAway<'_> {
    fn from(not_playable: NotPlayable) -> Self {
        match not_playable {
            NotPlayable::NotOnAir => NOT_ON_AIR,
            NotPlayable::Busy => BUSY,
        }
    }
}
