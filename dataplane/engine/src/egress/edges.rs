//! Files of protected streams where edges stand before this server (`auth.edge_secret`): who comes neither through one nor with a grant gets them
//! only if the policy has let it in lately, with a playlist. Names of files can be worked out by who has seen one. Before it and after it: [`super::hls`].
use std::rc::Rc;
use std::time::Duration;

use millstream_proto::id::Id;
use millstream_proto::network::counted;
use millstream_proto::time::Time;

use super::pass::Pass;
use super::reply::{Answer, Reply, admit};
use crate::io::sleep_until;
use crate::shard::grants::Viewer;
use crate::shard::state::Shard;

/// A playlist lets its address fetch files for this long: players ask for the next one after some seconds.
const LET_IN_FOR: Duration = Duration::from_mins(1);
/// A file may be asked for at another shard than the playlist, before that has heard of it.
const HEARD_WITHIN: Duration = Duration::from_millis(300);
const LOOK_EVERY: Duration = Duration::from_millis(20);
/// Of all viewers of an address together: a browser's requests do not all have the same headers.
const ANYONE: u64 = 0;

fn is_guarded(reply: &Reply<'_>, id: &Id) -> bool {
    reply.pass == Pass::None
        && !reply.shard.config.grants.edge_secrets.is_empty()
        && reply.shard.admission.is_protected(&id.stream())
}

/// The policy has let in who asks for a playlist, up to that moment or for good. False: nothing could be kept.
pub(super) fn let_in(reply: &Reply<'_>, id: &Id, granted_until: Option<Time>) -> bool {
    let until = reply.shard.now() + LET_IN_FOR;
    let until = granted_until.map_or(until, |end| end.min(until));
    !is_guarded(reply, id) || reply.shard.grant(id, viewer(reply), Some(until))
}

/// The answer to who asks for a file and has not been let in.
pub(super) async fn refusal(reply: &Reply<'_>, id: &Id, protocol: &'static str) -> Option<Answer> {
    if !is_guarded(reply, id) || was_let_in(reply.shard, reply, id).await {
        return None;
    }
    // It may say by itself who it is, as players do that send a header with each request.
    if reply.request.bearer.is_some() || !reply.request.query.is_empty() {
        return admit(reply, id, protocol, Some(ANYONE)).await.err();
    }
    let reason = "this stream is played by a grant (POST /NAME/grant), through an edge, or after its playlist";
    Some(Answer::Whole(reply.error(403, reason)))
}

async fn was_let_in(shard: &Rc<Shard>, reply: &Reply<'_>, id: &Id) -> bool {
    let give_up_at = shard.now() + HEARD_WITHIN;
    loop {
        let now = shard.now();
        if shard.grants.is_known(&id.stream(), viewer(reply), now) {
            return true;
        }
        if shard.shards() < 2 || now >= give_up_at {
            return false;
        }
        sleep_until(shard.clock.instant(now + LOOK_EVERY)).await;
    }
}

fn viewer(reply: &Reply<'_>) -> Viewer {
    Viewer { address: counted(reply.session.peer().ip()), name: ANYONE }
}
