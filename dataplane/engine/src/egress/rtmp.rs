//! RTMP play: the session speaks for itself between media messages that all viewers share.
use std::cell::RefCell;
use std::rc::Rc;

use millstream_hub::package::block::Format;
use millstream_hub::viewer::{Start, Viewer};
use millstream_policy::{Action, Verdict};
use millstream_proto::rtmp::{self, Event, Refusal, ServerSession};
use millstream_proto::time::Time;

use super::pump::{Done, Playing, pump};
use super::{BUSY, NO_ROOM, NOT_ON_AIR, OVERLOAD};
use crate::ingest::{Connection, Ended, GOODBYE, closed, question, read_now, refusal};
use crate::io::{Reader, Socket};
use crate::shard::Shard;
use crate::shard::channel::{NotPlayable, Seat};
use crate::shard::session::EndsWith;
use crate::shard::telling::Refused;

/// Answers a play request, and plays to the end of the connection. An error gives the connection back, with the refusal still to
/// be sent.
pub(crate) async fn play(
    shard: &Rc<Shard>,
    mut connection: Connection,
    request: rtmp::Request,
) -> Result<(), (Connection, Ended)> {
    let asked_at = shard.now();
    match admit(shard, &connection, request).await {
        Ok(seat) => {
            // A task of its own, because of its size: what this one needed for requests goes.
            shard.spawn(run(Rc::clone(shard), connection, seat, asked_at));
            Ok(())
        }
        Err((refusal, why, reason)) => {
            connection.refuse(shard, refusal, &reason);
            Err((connection, why))
        }
    }
}

/// Plays until the stream or the viewer ends; the connection is of no use afterwards.
async fn run(shard: Rc<Shard>, connection: Connection, seat: Seat, asked_at: Time) {
    let Connection { session, socket, mut rtmp } = connection;
    let Socket { reader, writer } = socket;
    let mut viewer = Viewer::new(Format::Rtmp, Start::Newest, &seat.channel.log.borrow(), shard.now());
    let accepted = rtmp.accept(shard.now());
    while let Some(bytes) = rtmp.poll_output() {
        viewer.lead(bytes);
    }
    let _ending = EndsWith(&session);
    let playing = Playing::begin(&shard, &session, seat, viewer, asked_at, |shard| &shard.stats.viewers_rtmp);
    let rtmp = Rc::new(RefCell::new(rtmp));
    let done = if let Err(error) = accepted {
        Done::Gone(error.label())
    } else {
        shard.spawn(listen(Rc::clone(&shard), reader, Rc::clone(&playing), Rc::clone(&rtmp)));
        pump(&playing, writer).await
    };
    let why = done.label();
    if let Done::Closed(_, mut writer) = done {
        let goodbye = {
            let mut rtmp = rtmp.borrow_mut();
            rtmp.end(shard.now(), "the stream has ended");
            rtmp.poll_output()
        };
        session.set_deadline(Some(shard.now() + GOODBYE));
        // A stalled viewer does not get it; it is closed either way.
        let _ = writer.send_all(goodbye.unwrap_or_default()).await;
    }
    shard.leave(&session).await;
    session.end(why);
    closed(&shard, &session, &rtmp.borrow(), why);
}

async fn admit(
    shard: &Rc<Shard>,
    connection: &Connection,
    request: rtmp::Request,
) -> Result<Seat, (Refusal, Ended, String)> {
    // The door has its own limit of time.
    connection.session.set_deadline(None);
    let session = Rc::clone(&connection.session);
    let tell = |stream: &str, why, reason: &str| {
        shard.refused(&Refused::of(&session, ("play", "rtmp"), stream, (why, reason)));
        reason.to_owned()
    };
    let question = question(shard, &connection.session, Action::Play, request)
        .map_err(|reason| (Refusal::BadName, "bad_name", tell("", "bad_name", &reason)))?;
    let id = question.name.clone();
    if shard.is_draining() {
        let reason = tell(id.as_str(), "shutdown", "the server is going down; connect again");
        return Err((Refusal::Failed, "shutdown", reason));
    }
    if !shard.sessions.has_room(Action::Play) {
        return Err((Refusal::Failed, "overload", tell(id.as_str(), OVERLOAD, NO_ROOM)));
    }
    if let Verdict::Deny(denial) = shard.door.ask(shard, question).await {
        return Err((refusal(denial.why), "refused", denial.reason));
    }
    shard.tune_in(&id).await.map_err(|not_playable| match not_playable {
        NotPlayable::NotOnAir => (Refusal::NotFound, "not_on_air", tell(id.as_str(), "not_on_air", NOT_ON_AIR)),
        NotPlayable::Busy => (Refusal::Failed, "busy", tell(id.as_str(), "busy", BUSY)),
    })
}

/// The viewer's side of the conversation: acknowledgements, pings, pause, the end.
async fn listen(shard: Rc<Shard>, reader: Reader, playing: Rc<Playing>, rtmp: Rc<RefCell<Box<ServerSession>>>) {
    let _ending = EndsWith(&playing.session);
    let why = loop {
        // First what came with the request itself.
        if let Err(why) = heed(&shard, &playing, &mut rtmp.borrow_mut()) {
            break why;
        }
        if reader.readable().await.is_err() {
            break "peer_gone";
        }
        if let Err(why) = read_now(&shard, &playing.session, &reader, &mut rtmp.borrow_mut()) {
            break why;
        }
    };
    playing.leave(why);
}

fn heed(shard: &Shard, playing: &Playing, rtmp: &mut ServerSession) -> Result<(), Ended> {
    let now = shard.now();
    while let Some(event) = rtmp.poll_event() {
        match event {
            Event::Paused(paused) => playing.viewer.borrow_mut().pause(paused, now),
            Event::PlayEnded => return Err("stopped"),
            // Media is packaged once for all viewers: a track cannot be left out for one.
            _ => {}
        }
    }
    rtmp.handle_timeout(now).map_err(rtmp::SessionError::label)?;
    while let Some(bytes) = rtmp.poll_output() {
        playing.viewer.borrow_mut().lead(bytes);
    }
    playing.session.nudge.nudge();
    if rtmp.is_closing() { Err("closed") } else { Ok(()) }
}
