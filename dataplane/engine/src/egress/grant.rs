//! `/<id>/grant`: makes and renews play grants (POST), and says whether one is right (GET, for edges that ask). Before it: [`super::http`]'s router;
//! after it: [`super::pass`], which takes grants out of paths.
use std::time::Duration;

use millstream_policy::ViewerName;
use millstream_proto::http::response::{Body, Cache, Head};
use millstream_proto::id::Id;
use millstream_proto::sign::grant::{GrantKeys, GrantSession, PlayGrant};
use serde::Serialize;

use super::pass::Pass;
use super::refusal::{BUSY, ENDING, NO_ROOM, TurnedAway};
use super::reply::{Answer, Reply, ask, question};
use crate::clock::{unix_ms, unix_s};
use crate::shard::reached;

/// What hooks and back ends are told of who asks for a grant: by which of the formats it will play is not known yet.
const PROTOCOL: &str = "grant";
/// A grant that the policy wants to ask about sooner lives this long: each renewal is a request.
const LIFE_MIN: Duration = Duration::from_secs(5);
/// Caches of edges may keep that a grant is right for this many seconds at most.
const RIGHT_MAX_AGE_S: u64 = 10;
/// A grant is to be renewed after half of its life, and a part of it later, so that those who came together do not come together again.
const SPREAD_PARTS: u64 = 5;

const ENDS_NOW: TurnedAway<'_> =
    TurnedAway { status: 403, why: "expired", reason: "what this viewer was admitted for ends now" };
const NO_GRANTS: TurnedAway<'_> = TurnedAway {
    status: 503,
    why: "no_grants",
    reason: "this node makes no play grants, because it has no master key: copy the master-key file of its control into its data directory",
};

#[derive(Serialize)]
struct Made<'a> {
    grant: &'a str,
    /// What the stream's files are below, from the server's root.
    path: String,
    session: String,
    expires_unix_s: u64,
    expires_in_ms: u64,
    renew_in_ms: u64,
}

/// Makes a grant, or a new one for the session of an older one, which stands in the path or in the query.
pub(super) async fn make(reply: &Reply<'_>, id: Id) -> Answer {
    let Reply { shard, session, request, pass, .. } = *reply;
    let Some(keys) = &shard.config.grants.keys else {
        return reply.turned_away(id.as_str(), PROTOCOL, NO_GRANTS);
    };
    // One that is over names its session, and admits nobody.
    let (older, is_good) = match pass {
        Pass::Grant(grant) => (Some(grant.session), true),
        _ => match request.query.get("grant") {
            Some(text) => (keys.session_of(text, &id), keys.check(text, &id, unix_s()).is_ok()),
            None => (None, false),
        },
    };
    // Who watches already goes on in a drain, and renews its grant for that.
    if shard.is_draining() && older.is_none() {
        return reply.turned_away(id.as_str(), PROTOCOL, ENDING);
    }
    if older.is_none() && !shard.sessions.has_room(millstream_policy::Action::Play) {
        return reply.turned_away(id.as_str(), PROTOCOL, NO_ROOM);
    }
    let name = older.unwrap_or_else(|| new_session(shard.number(), unix_ms()));
    let number = reached::hash(name);
    let viewer = if is_good { ViewerName::Renewing(number) } else { ViewerName::Granted(number) };
    let Some(mut question) = question(reply, &id, PROTOCOL, Some(viewer)) else {
        return Answer::Whole(reply.error(500, "the server's configuration is wrong"));
    };
    question.params.retain(|param| param != "grant");
    let mut granted = match ask(reply, question).await {
        Ok(granted) => granted,
        Err(refused) => return refused,
    };
    let (now, now_ms) = (shard.now(), unix_ms());
    let life = shard.config.grants.life;
    let life = granted.recheck_at().map_or(life, |at| life.min(at.since(now).max(LIFE_MIN)));
    let life = granted.until.map_or(life, |until| life.min(until.since(now)));
    let expiry_unix_s = now_ms.saturating_add(life.as_millis() as u64) / 1_000;
    let life_ms = (expiry_unix_s * 1_000).saturating_sub(now_ms);
    if life_ms == 0 {
        return reply.turned_away(id.as_str(), PROTOCOL, ENDS_NOW);
    }
    if !shard.renew(name, now + Duration::from_millis(life_ms), granted.take_holds(), session.peer().ip()) {
        return reply.turned_away(id.as_str(), PROTOCOL, BUSY);
    }
    let text = made(keys, &id, PlayGrant { expiry_unix_s, session: name }, life_ms);
    Answer::Whole(reply.whole(200, "application/json", Cache::NoStore, text.as_bytes()))
}

fn made(keys: &GrantKeys, id: &Id, grant: PlayGrant, life_ms: u64) -> String {
    let text = keys.make(id, grant);
    let made = Made {
        grant: text.expose(),
        path: format!("/g/{}/{id}/", text.expose()),
        session: grant.session.to_string(),
        expires_unix_s: grant.expiry_unix_s,
        expires_in_ms: life_ms,
        renew_in_ms: life_ms / 2 + reached::hash(grant) % (life_ms / SPREAD_PARTS).max(1),
    };
    // Numbers and strings only: this does not fail.
    serde_json::to_string(&made).unwrap_or_default()
}

/// A name that no other session has: of keys that are random and this process's alone.
fn new_session(number: u64, unix_ms: u64) -> GrantSession {
    let mut bytes = [0; 12];
    let (first, second) = (reached::hash((number, unix_ms, "first")), reached::hash((number, unix_ms, "second")));
    for (to, from) in bytes.iter_mut().zip(first.to_be_bytes().into_iter().chain(second.to_be_bytes())) {
        *to = from;
    }
    GrantSession::new(bytes)
}

/// Says that the grant in the path is right, and for how long edges may keep that.
pub(super) fn is_right(reply: &Reply<'_>, grant: PlayGrant) -> Answer {
    let left_s = grant.expiry_unix_s.saturating_sub(unix_s());
    let cache = match u32::try_from(left_s.min(RIGHT_MAX_AGE_S)) {
        // Kept for a second, a grant would be taken for up to a second after its end.
        Ok(seconds) if seconds > 1 => Cache::MaxAge(seconds - 1),
        _ => Cache::NoStore,
    };
    Answer::Whole(Head::new(204, Body::None, cache, reply.keep_alive).date(unix_s()).finish())
}
