//! `/<id>/snapshot.jpg`: the newest picture of a stream, at most two seconds old. Before it: [`super::http`]'s router; after it:
//! [`crate::shard::snapshots`], where one picture is taken for all who ask.
use std::rc::Rc;

use millstream_policy::Action;
use millstream_proto::http::response::Cache;
use millstream_proto::id::Id;

use super::listen::viewer_hash;
use super::refusal::NO_ROOM;
use super::reply::{Answer, HTTP, Reply, admit};
use crate::renditions::NoPicture;

/// The name below a stream's path.
pub(super) const FILE: &str = "snapshot.jpg";
/// How long an answer may be kept, seconds.
const MAX_AGE_S: u32 = 2;

/// Answers a request for it: who may play the stream may look at it.
pub(super) async fn answer(reply: &Reply<'_>, id: Id) -> Answer {
    let shard = reply.shard;
    if !shard.sessions.has_room(Action::Play) {
        return reply.turned_away(id.as_str(), HTTP, NO_ROOM);
    }
    if let Err(refused) = admit(reply, &id, HTTP, Some(viewer_hash(reply))).await {
        return refused;
    }
    // Held meanwhile: a stream that other shards own is asked for as by a viewer.
    let _source = match shard.subscribe(&id).await {
        Ok(source) => source,
        Err(not_playable) => return reply.turned_away(id.as_str(), HTTP, not_playable.into()),
    };
    match Rc::clone(shard).snapshot(&id).await {
        Ok(picture) => reply.file("image/jpeg", reply.cache(&id, Cache::MaxAge(MAX_AGE_S)), vec![picture]),
        Err(why @ (NoPicture::Busy | NoPicture::LeftOut(_))) => Answer::Whole(reply.error(503, &why.to_string())),
        Err(why) => Answer::Whole(reply.error(404, &why.to_string())),
    }
}
