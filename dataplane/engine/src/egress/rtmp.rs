//! RTMP play: the session speaks for itself between media messages that all viewers share.
use std::cell::RefCell;
use std::rc::Rc;

use millstream_hub::package::block::Format;
use millstream_hub::viewer::{Start, Viewer};
use millstream_policy::{Action, Denial};
use millstream_proto::rtmp::{self, Event, Refusal, ServerSession};
use millstream_proto::time::Time;

use super::pump::{Done, Playing, pump};
use super::refusal::{BUSY, NO_ROOM, NOT_ON_AIR};
use crate::close::{CloseReason, GOING_DOWN};
use crate::ingest::connection::{Connection, GOODBYE, Rejection, Turn, closed, read_now};
use crate::ingest::question::{question, refusal};
use crate::io::{Reader, Socket};
use crate::output::{OutputFormat, Serve};
use crate::shard::session::EndsWith;
use crate::shard::state::Shard;
use crate::shard::stream_handle::ViewerGuard;
use crate::shard::stream_handle::mirror::NotPlayable;

/// RTMP.
pub(super) static RTMP: OutputFormat =
    OutputFormat { protocol: "rtmp", role: Some("viewer_rtmp"), output: None, is_on: |_| true, serve: Serve::Rtmp };

/// Answers a play request, and plays to the end of the connection.
pub(crate) async fn play(shard: &Rc<Shard>, connection: Connection, request: rtmp::Request) -> Turn {
    let asked_at = shard.now();
    match admit(shard, &connection, request).await {
        Ok(viewer_guard) => {
            // A task of its own, because of its size: what this one needed for requests goes.
            shard.spawn(run(Rc::clone(shard), connection, viewer_guard, asked_at));
            Turn::Gone
        }
        Err(rejection) => connection.reject(shard, Action::Play, rejection),
    }
}

/// Plays until the stream or the viewer ends; the connection is of no use afterwards.
async fn run(shard: Rc<Shard>, connection: Connection, viewer_guard: ViewerGuard, asked_at: Time) {
    let Connection { session, socket, mut rtmp } = connection;
    let Socket { reader, writer } = socket;
    let mut viewer = Viewer::new(Format::Rtmp, Start::Newest, &viewer_guard.handle.log.borrow(), shard.now());
    let accepted = rtmp.accept(shard.now());
    while let Some(bytes) = rtmp.poll_output() {
        viewer.lead(bytes);
    }
    let _ending = EndsWith(&session);
    let playing = Playing::begin(&shard, &session, viewer_guard, viewer, asked_at, &RTMP);
    let rtmp = Rc::new(RefCell::new(rtmp));
    let done = if let Err(error) = accepted {
        Done::Gone(error.into())
    } else {
        shard.spawn(listen(Rc::clone(&shard), reader, Rc::clone(&playing), Rc::clone(&rtmp)));
        pump(&playing, writer).await
    };
    let why = done.reason();
    if let Done::Closed(_, mut writer) = done {
        let goodbye = {
            let mut rtmp = rtmp.borrow_mut();
            rtmp.end(shard.now(), "the stream has ended");
            rtmp.poll_output()
        };
        session.set_deadline(Some(shard.now() + GOODBYE));
        // A stalled viewer does not get it; it is closed either way.
        let _ = writer.send_all(goodbye.unwrap_or_default()).await;
        writer.finish().await;
    }
    shard.leave(&session).await;
    session.end(why);
    closed(&shard, &session, &rtmp.borrow(), why);
}

async fn admit(shard: &Rc<Shard>, connection: &Connection, request: rtmp::Request) -> Result<ViewerGuard, Rejection> {
    // Admission has its own limit of time.
    connection.session.set_deadline(None);
    let question = question(shard, &connection.session, Action::Play, request)?;
    let id = question.name.clone();
    let reject = |why, refusal, reason: &str| Rejection::new(why, refusal, &id, reason);
    if shard.is_draining() {
        return Err(reject(CloseReason::Shutdown, Refusal::Failed, GOING_DOWN));
    }
    if !shard.sessions.has_room(Action::Play) {
        return Err(reject(CloseReason::Overload, Refusal::Failed, NO_ROOM.reason));
    }
    let denied = |denial: Denial| reject(CloseReason::Refused, refusal(denial.why), &denial.reason);
    let granted = shard.admission.ask(shard, question).await.map_err(denied)?;
    let viewer_guard = shard.subscribe(&id).await.map_err(|not_playable| match not_playable {
        NotPlayable::NotOnAir => reject(CloseReason::NotOnAir, Refusal::NotFound, NOT_ON_AIR.reason),
        NotPlayable::Busy => reject(CloseReason::Busy, Refusal::Failed, BUSY.reason),
    })?;
    connection.session.granted.replace(granted);
    Ok(viewer_guard)
}

/// The viewer's side of the conversation: acknowledgements, pings, pause, the end.
async fn listen(shard: Rc<Shard>, reader: Reader, playing: Rc<Playing>, rtmp: Rc<RefCell<Box<ServerSession>>>) {
    let _ending = EndsWith(&playing.session);
    let why = loop {
        // First what came with the request itself.
        if let Err(why) = handle(&shard, &playing, &mut rtmp.borrow_mut()) {
            break why;
        }
        if reader.readable().await.is_err() {
            break CloseReason::PeerGone;
        }
        if let Err(why) = read_now(&shard, &playing.session, &reader, &mut rtmp.borrow_mut()) {
            break why;
        }
    };
    playing.leave(why);
}

fn handle(shard: &Shard, playing: &Playing, rtmp: &mut ServerSession) -> Result<(), CloseReason> {
    let now = shard.now();
    while let Some(event) = rtmp.poll_event() {
        match event {
            Event::Paused(paused) => playing.viewer.borrow_mut().pause(paused, now),
            Event::PlayEnded => return Err(CloseReason::Stopped),
            // Media is packaged once for all viewers: a track cannot be left out for one.
            _ => {}
        }
    }
    rtmp.handle_timeout(now)?;
    while let Some(bytes) = rtmp.poll_output() {
        playing.viewer.borrow_mut().lead(bytes);
    }
    playing.session.notify.notify();
    if rtmp.is_closing() { Err(CloseReason::Closed) } else { Ok(()) }
}
