//! FLV over WebSocket: the same address as HTTP-FLV, by an upgrade. Browsers open six HTTP/1.1 connections to a server but hundreds of these,
//! so that a page can show many streams. Before it: [`super::http`]'s router; a viewer's sends are those of every other one ([`super::pump`]).
use std::rc::Rc;

use bytes::Bytes;
use millstream_hub::log::EndReason;
use millstream_hub::package::block::Format;
use millstream_hub::viewer::{CloseReason as ViewerClosed, Start, Viewer};
use millstream_proto::http::websocket::{self, Said, code};
use millstream_proto::output;
use millstream_proto::time::Time;

use super::pump::{Done, Playing, pump};
use crate::close::CloseReason;
use crate::ingest::connection::GOODBYE;
use crate::io::{Reader, Socket};
use crate::output::{OutputFormat, Serve};
use crate::shard::session::{EndsWith, Session};
use crate::shard::state::Shard;
use crate::shard::stream_handle::ViewerGuard;

/// FLV over WebSocket.
pub(super) static FLV: OutputFormat = OutputFormat {
    protocol: "ws-flv",
    role: Some("viewer_ws"),
    output: Some(&output::FLV),
    is_on: |outputs| outputs.flv,
    serve: Serve::WebSocket(Format::FlvWebSocket),
};

/// How the viewer asked.
pub(super) struct Play {
    pub(super) viewer_guard: ViewerGuard,
    pub(super) of: &'static OutputFormat,
    /// The answer to the upgrade.
    pub(super) head: Bytes,
    pub(super) start: Start,
    pub(super) asked_at: Time,
    /// What the client said behind its request.
    pub(super) early: Vec<u8>,
}

/// Plays until the stream or the viewer ends.
pub(super) async fn play(shard: Rc<Shard>, session: Rc<Session>, socket: Socket, play: Play) {
    let Socket { reader, writer } = socket;
    let Play { viewer_guard, of, head, start, asked_at, early } = play;
    let format = if let Serve::WebSocket(format) = of.serve { format } else { Format::FlvWebSocket };
    let mut viewer = Viewer::new(format, start, &viewer_guard.handle.log.borrow(), shard.now());
    viewer.lead(head);
    let playing = Playing::begin(&shard, &session, viewer_guard, viewer, asked_at, of);
    shard.spawn(listen(Rc::clone(&shard), reader, Rc::clone(&playing), early));
    let _ending = EndsWith(&session);
    let done = pump(&playing, writer).await;
    let why = done.reason();
    if let Done::Closed(reason, mut writer) = done
        && let Some(goodbye) = goodbye(reason)
    {
        session.set_deadline(Some(shard.now() + GOODBYE));
        // A stalled viewer does not get it; it is closed either way.
        let said = writer.send_all(goodbye).await;
        // The client's own goodbye, or its end, is read first: a connection that is closed over unread bytes is reset, and ours may be lost.
        writer.finish().await;
        while said.is_ok() && playing.left.get().is_none() && session.ending().is_none() {
            session.notify.notified().await;
        }
    }
    shard.leave(&session).await;
    // Ends the reading side too.
    session.end(why);
    shard.ended(&session, why);
}

/// The close frame: of no bytes where it was sent already, `None` where it would cut off a message.
fn goodbye(reason: ViewerClosed) -> Option<Bytes> {
    let (code, text) = match reason {
        ViewerClosed::Ended(EndReason::PublisherGone) => (code::NORMAL, "the stream has ended"),
        ViewerClosed::Ended(_) => (code::GOING_AWAY, "the server is going down; connect again"),
        ViewerClosed::Lagging => (code::TRY_AGAIN_LATER, "the connection is too slow for this stream"),
        ViewerClosed::NoStart => (code::TRY_AGAIN_LATER, "no keyframe came to start at"),
        ViewerClosed::PeerClosed | ViewerClosed::ProtocolError => return Some(Bytes::new()),
        _ => return None,
    };
    Some(websocket::close(code, text))
}

/// The viewer's side of the conversation, without holding a buffer for it: pings, and the end.
async fn listen(shard: Rc<Shard>, reader: Reader, playing: Rc<Playing>, early: Vec<u8>) {
    let _ending = EndsWith(&playing.session);
    let mut frames = websocket::Reader::default();
    handle(&playing, &mut frames, &early);
    drop(early);
    let why = loop {
        if reader.readable().await.is_err() {
            break CloseReason::PeerGone;
        }
        // A peer that never stops talking is not listened to for ever.
        if let Some(why) = playing.session.ending() {
            break why;
        }
        let scratch = &mut *shard.scratch.borrow_mut();
        match reader.recv_now(scratch) {
            Ok(Some(0)) => break playing.session.ended_by(CloseReason::PeerClosed),
            Ok(Some(count)) => handle(&playing, &mut frames, scratch.get(..count).unwrap_or_default()),
            Ok(None) => {}
            Err(error) => break playing.session.ended_by(CloseReason::of(&error)),
        }
    };
    playing.leave(why);
}

fn handle(playing: &Playing, frames: &mut websocket::Reader, bytes: &[u8]) {
    let viewer = &mut *playing.viewer.borrow_mut();
    let mut answers = false;
    let read = frames.read(bytes, &mut |said| {
        answers = true;
        match said {
            Said::Ping(payload) => viewer.lead(websocket::pong(payload)),
            Said::Close(code) => viewer.finish(websocket::close_answer(code), ViewerClosed::PeerClosed),
        }
    });
    if let Err(violation) = read {
        answers = true;
        viewer.finish(websocket::close(violation.code(), &violation.to_string()), ViewerClosed::ProtocolError);
    }
    if answers {
        playing.session.notify.notify();
    }
}
