//! What a request says of who makes it: which viewer that is, where viewers have no session, and what its player says of how it plays (CMCD). Before it:
//! requests that were admitted; after it: [`crate::shard::reached`] and [`crate::shard::said`].
use millstream_proto::cmcd;
use millstream_proto::http::request::Request;
use millstream_proto::id::Id;

use super::pass::Pass;
use super::reply::Reply;
use crate::shard::reached;
use crate::shard::said::Said;

/// Who asks: the session of a grant, or the one that a player names (CMCD), else the address and what the player calls itself. Players share an address behind a
/// home router or a proxy, and a cache asks once for all of its own: what is counted is an estimate.
pub(super) fn viewer_hash(reply: &Reply<'_>) -> u64 {
    let Reply { session, request, .. } = *reply;
    if let Pass::Grant(grant) = reply.pass {
        return reached::hash(grant.session);
    }
    match said(request).and_then(cmcd::session_id) {
        Some(sid) => reached::hash(sid),
        None => reached::hash((session.peer().ip().to_canonical(), request.user_agent.as_deref())),
    }
}

/// What the player says of itself with a request, as it stands.
fn said(request: &Request) -> Option<&str> {
    request.query.get("CMCD").or(request.cmcd.as_deref())
}

/// Keeps what the player says with a request that was admitted, for whoever adds that up. `protocol`: by what it plays, where this is known.
pub(super) fn listen(reply: &Reply<'_>, id: &Id, protocol: Option<&'static str>) {
    let Some(cmcd) = said(reply.request).and_then(cmcd::parse) else { return };
    let said = Said { stream: id.stream(), protocol, viewer: viewer_hash(reply), figures: cmcd.figures };
    if !reply.shard.said.put(said) {
        reply.shard.stats.players_unheard.add(1);
    }
}
