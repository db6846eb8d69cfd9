//! HTTP-FLV: the answer to `GET /<id>/live.flv`, from its head to its last chunk.
use std::rc::Rc;

use bytes::Bytes;
use millstream_hub::package::block::Format;
use millstream_hub::viewer::{Start, Viewer};
use millstream_proto::http::response::{Body, Cache, Head};
use millstream_proto::time::Time;

use super::http::ended;
use super::pump::{Done, Playing, pump};
use crate::clock::unix_s;
use crate::close::CloseReason;
use crate::ingest::GOODBYE;
use crate::io::{Reader, Socket};
use crate::shard::Shard;
use crate::shard::session::{EndsWith, Session};
use crate::shard::stream_handle::ViewerGuard;

/// How the viewer asked.
pub(super) struct Play {
    pub(super) viewer_guard: ViewerGuard,
    /// HTTP/1.1: the end can be told from a cut.
    pub(super) chunked: bool,
    pub(super) start: Start,
    pub(super) asked_at: Time,
}

/// The head of the answer. `keep_alive`: it is all of the answer.
pub(super) fn head(chunked: bool, keep_alive: bool) -> Bytes {
    Head::new(200, if chunked { Body::Chunked } else { Body::UntilClose }, Cache::NoStore, keep_alive)
        .content_type("video/x-flv")
        // Said to nginx in front of us: its default would hold the stream back.
        .header("X-Accel-Buffering", "no")
        .date(unix_s())
        .finish()
}

/// Plays until the stream or the viewer ends; the connection is of no use afterwards.
pub(super) async fn play(shard: Rc<Shard>, session: Rc<Session>, socket: Socket, play: Play) {
    let Socket { reader, writer } = socket;
    let format = if play.chunked { Format::FlvChunked } else { Format::FlvPlain };
    let mut viewer = Viewer::new(format, play.start, &play.viewer_guard.handle.log.borrow(), shard.now());
    viewer.lead(head(play.chunked, false));
    let playing =
        Playing::begin(&shard, &session, play.viewer_guard, viewer, play.asked_at, |shard| &shard.stats.viewers_flv);
    shard.spawn(notice_close(Rc::clone(&shard), reader, Rc::clone(&playing)));
    let _ending = EndsWith(&session);
    let done = pump(&playing, writer).await;
    let why = done.reason();
    if let Done::Closed(_, mut writer) = done
        && play.chunked
    {
        session.set_deadline(Some(shard.now() + GOODBYE));
        // A stalled viewer does not get it; it is closed either way.
        let _ = writer.send_all(Bytes::from_static(b"0\r\n\r\n")).await;
    }
    shard.leave(&session).await;
    // Ends the reading side too.
    session.end(why);
    ended(&shard, &session, why);
}

/// Notices that the viewer has gone, without holding a buffer for it. What it sends is thrown away.
async fn notice_close(shard: Rc<Shard>, reader: Reader, playing: Rc<Playing>) {
    let _ending = EndsWith(&playing.session);
    let why = loop {
        if reader.readable().await.is_err() {
            break CloseReason::PeerGone;
        }
        match reader.recv_now(&mut shard.scratch.borrow_mut()) {
            Ok(Some(0)) => break CloseReason::PeerClosed,
            Ok(_) => {}
            Err(_) => break CloseReason::PeerGone,
        }
    };
    playing.leave(why);
}
