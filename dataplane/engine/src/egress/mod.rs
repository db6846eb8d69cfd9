//! From the log to viewers. [`http`] reads requests and routes them, [`flv`], [`websocket`] and [`rtmp`] begin a play over their protocol,
//! [`pump`] and [`fan_out`] send for all of them; [`hls`] answers with playlists and their files; [`pages`] are the players, [`status`]
//! tells them whether a stream is on air.
pub(crate) mod fan_out;
pub(crate) mod flv;
pub(crate) mod hls;
pub(crate) mod http;
mod pages;
mod pump;
pub(crate) mod rtmp;
mod status;
pub(crate) mod texts;
pub(crate) mod websocket;

use millstream_policy::Action;

use crate::close::CloseReason;
use crate::ingest::GOING_DOWN;
use crate::shard::stream_handle::NotPlayable;

/// Why a viewer is turned away though the policy has nothing against it.
#[derive(Clone, Copy, Debug)]
struct TurnedAway<'a> {
    /// Of HTTP.
    status: u16,
    /// As in `millstream_refused_total`.
    why: &'static str,
    /// What the viewer is told.
    reason: &'a str,
}

/// Nobody publishes the stream.
const NOT_ON_AIR: TurnedAway<'_> = TurnedAway {
    status: 404,
    why: CloseReason::NotOnAir.label(),
    reason: "nobody publishes this stream now; try again when it is on air",
};
/// The shards have too much to say to each other.
const BUSY: TurnedAway<'_> =
    TurnedAway { status: 503, why: CloseReason::Busy.label(), reason: "the server is busy; try again in a moment" };
/// New viewers are refused so that those on air go on.
const NO_ROOM: TurnedAway<'_> = TurnedAway {
    status: 503,
    why: CloseReason::Overload.refusal_label(Action::Play),
    reason: "the server has no room for new viewers now; try again in a moment",
};
/// The stream does not have this output.
const OUTPUT_OFF: TurnedAway<'_> =
    TurnedAway { status: 404, why: "output_off", reason: "this stream is not given out in this form" };
/// As many requests wait as may.
const BLOCKED: TurnedAway<'_> =
    TurnedAway { status: 503, why: "blocked", reason: "too many requests wait already; try again in a moment" };
const ENDING: TurnedAway<'_> = TurnedAway { status: 503, why: CloseReason::Shutdown.label(), reason: GOING_DOWN };

impl From<NotPlayable> for TurnedAway<'_> {
    fn from(not_playable: NotPlayable) -> Self {
        match not_playable {
            NotPlayable::NotOnAir => NOT_ON_AIR,
            NotPlayable::Busy => BUSY,
        }
    }
}
