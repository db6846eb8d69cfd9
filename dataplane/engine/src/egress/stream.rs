//! Files that go on as long as their stream does: HTTP-FLV, `/<id>/live.flv`, and whatever else the table of formats has. From the answer's
//! head to its last chunk.
use std::rc::Rc;

use bytes::Bytes;
use millstream_hub::package::block::Format;
use millstream_hub::viewer::{Start, Viewer};
use millstream_policy::Action;
use millstream_proto::http::request::{Method, Version};
use millstream_proto::http::response::{self, Body, Cache, Head};
use millstream_proto::http::websocket::OfferError;
use millstream_proto::id::Id;
use millstream_proto::output;
use millstream_proto::time::Time;

use super::listen::listen;
use super::pass::Pass;
use super::pump::{Done, Playing, pump};
use super::refusal::{NO_ROOM, TOO_OFTEN};
use super::reply::{Answer, Reply, admit};
use super::{renditions, websocket};
use crate::clock::unix_s;
use crate::close::CloseReason;
use crate::ingest::connection::GOODBYE;
use crate::io::{Reader, Socket};
use crate::output::{OutputFormat, Serve, Stream};
use crate::renditions::BEHIND_PARAM;
use crate::shard::events::Refused;
use crate::shard::granted::Granted;
use crate::shard::session::{EndsWith, Session};
use crate::shard::state::Shard;
use crate::shard::stream_handle::{StreamHandle, ViewerGuard};

/// HTTP-FLV.
pub(super) static FLV: OutputFormat = OutputFormat {
    protocol: "http-flv",
    role: Some("viewer_flv"),
    output: Some(&output::FLV),
    is_on: |outputs| outputs.flv,
    serve: Serve::Stream(Stream {
        file: output::FLV.files[0],
        content_type: "video/x-flv",
        format: Format::FlvChunked,
        plain: Format::FlvPlain,
        websocket: Some(&websocket::FLV),
    }),
};

/// How far behind a worker begins where the stream has no segments yet, milliseconds.
const BEHIND_MS: u64 = 4_000;

/// The same for a worker, which is no viewer: it has no role.
static JOB: OutputFormat =
    OutputFormat { protocol: "worker", role: None, output: None, is_on: |_| true, serve: Serve::Rtmp };

/// How the viewer asked.
pub(super) struct Play {
    viewer_guard: ViewerGuard,
    of: &'static OutputFormat,
    format: Format,
    content_type: &'static str,
    start: Start,
    asked_at: Time,
}

/// Answers a request for such a file.
pub(super) async fn answer(reply: &Reply<'_>, id: Id, of: &'static OutputFormat, stream: &'static Stream) -> Answer {
    let Reply { shard, session, request, .. } = *reply;
    let asked_at = shard.now();
    let start = match request.query.get("start") {
        None => Start::Newest,
        Some("next") => Start::Next,
        Some(_) => return Answer::Whole(reply.error(400, "start can only be \"next\"")),
    };
    // HTTP/1.0 and HTTP/2 have no upgrades, and HEAD asks for what GET without one is answered.
    let offer =
        request.websocket.as_ref().filter(|_| request.method == Method::Get && request.version == Version::Http11);
    let upgrade = match stream.websocket.zip(offer).map(|(of, offer)| Ok((of, offer.accept()?))).transpose() {
        Ok(upgrade) => upgrade,
        Err(error) => {
            let error: OfferError = error;
            let (status, reason) = (error.status(), error.to_string());
            let protocol = stream.websocket.map_or(of.protocol, |of| of.protocol);
            let refused = Refused::of(session, protocol, "bad_upgrade", &reason);
            shard.refused(&Refused { stream: id.as_str(), ..refused });
            return Answer::Whole(response::upgrade_refused(status, &reason, reply.keep_alive, Some(unix_s())));
        }
    };
    let protocol = upgrade.as_ref().map_or(of.protocol, |(of, _)| of.protocol);
    if !shard.sessions.has_room(Action::Play) {
        return reply.turned_away(id.as_str(), protocol, NO_ROOM);
    }
    let granted = match admit(reply, &id, protocol, None).await {
        Ok(granted) => granted,
        Err(refused) => return refused,
    };
    match shard.subscribe(&id).await {
        Err(not_playable) => renditions::turned_away(reply, &id, protocol, not_playable).await,
        Ok(_) if request.method == Method::Head => {
            Answer::Whole(head(stream.content_type, is_chunked(format_for(stream, request.version)), reply.keep_alive))
        }
        Ok(viewer_guard) => {
            listen(reply, &id, Some(protocol));
            // Only now: who is refused may ask for something else on this connection.
            session.granted.replace(granted);
            if let Pass::Grant(grant) = reply.pass
                && !shard.join(grant.session, reply.end_of(grant), session)
            {
                session.granted.replace(Granted::default());
                return reply.turned_away(id.as_str(), protocol, TOO_OFTEN);
            }
            match upgrade {
                Some((of, head)) => {
                    Answer::WebSocket(websocket::Play { viewer_guard, of, head, start, asked_at, early: Vec::new() })
                }
                None => Answer::Stream(Play {
                    viewer_guard,
                    of,
                    format: format_for(stream, request.version),
                    content_type: stream.content_type,
                    start,
                    asked_at,
                }),
            }
        }
    }
}

/// The same for a worker that shows its job's token: nobody else is asked.
pub(super) async fn answer_job(reply: &Reply<'_>, id: Id, stream: &'static Stream) -> Answer {
    let Ok(viewer_guard) = reply.shard.subscribe(&id).await else {
        // It asks again; nobody is to be told.
        return Answer::Whole(reply.error(404, "this stream is not on air"));
    };
    let is_behind = reply.request.query.get(BEHIND_PARAM).is_some();
    let start = if is_behind { start_behind(&viewer_guard.handle) } else { Start::Newest };
    Answer::Stream(Play {
        viewer_guard,
        of: &JOB,
        format: format_for(stream, reply.request.version),
        content_type: stream.content_type,
        start,
        asked_at: reply.shard.now(),
    })
}

/// A preview, and one over WebSocket: who looks at a stream by the API is no viewer of it.
static PREVIEW: OutputFormat =
    OutputFormat { protocol: "preview", role: None, output: None, is_on: |_| true, serve: Serve::Rtmp };
static PREVIEW_SOCKET: OutputFormat = OutputFormat {
    protocol: "preview",
    role: None,
    output: None,
    is_on: |_| true,
    serve: Serve::WebSocket(Format::FlvWebSocket),
};

/// The same for who shows a preview's token: nobody else is asked, and it ends with the token's time.
pub(super) async fn answer_preview(reply: &Reply<'_>, id: Id, stream: &'static Stream, until: Time) -> Answer {
    let Reply { shard, session, request, .. } = *reply;
    if !shard.sessions.has_room(Action::Play) {
        return reply.turned_away(id.as_str(), PREVIEW.protocol, NO_ROOM);
    }
    let Ok(viewer_guard) = shard.subscribe(&id).await else {
        return Answer::Whole(reply.error(404, "this stream is not on air"));
    };
    let asked_at = shard.now();
    if request.method == Method::Head {
        let is_chunked = is_chunked(format_for(stream, request.version));
        return Answer::Whole(head(stream.content_type, is_chunked, reply.keep_alive));
    }
    let offer = request.websocket.as_ref().filter(|_| request.version == Version::Http11);
    let upgrade = match offer.map(|offer| offer.accept()).transpose() {
        Ok(upgrade) => upgrade,
        Err(error) => {
            let text = error.to_string();
            return Answer::Whole(response::upgrade_refused(error.status(), &text, reply.keep_alive, Some(unix_s())));
        }
    };
    session.granted.replace(Granted::up_to(until));
    match upgrade {
        Some(head) => Answer::WebSocket(websocket::Play {
            viewer_guard,
            of: &PREVIEW_SOCKET,
            head,
            start: Start::Newest,
            asked_at,
            early: Vec::new(),
        }),
        None => Answer::Stream(Play {
            viewer_guard,
            of: &PREVIEW,
            format: format_for(stream, request.version),
            content_type: stream.content_type,
            start: Start::Newest,
            asked_at,
        }),
    }
}

/// HTTP/2 has frames of its own, and HTTP/1.0 no chunks.
fn format_for(stream: &Stream, version: Version) -> Format {
    if version == Version::Http11 { stream.format } else { stream.plain }
}

/// The newest keyframe behind which nothing is asked for of a rendition, or the oldest one.
fn start_behind(handle: &StreamHandle) -> Start {
    let back_ms = handle.packaging.window.borrow().asked_for_behind_ms().unwrap_or(BEHIND_MS);
    let log = handle.log.borrow();
    let first_ms = |seq: u64| log.get(seq).map(|entry| entry.block.first_ms);
    let newest_ms = log.get(log.head().wrapping_sub(1)).map_or(0, |entry| entry.block.last_ms);
    let until_ms = newest_ms.saturating_sub(i64::try_from(back_ms).unwrap_or(i64::MAX));
    let chosen = log.starts().filter(|seq| first_ms(*seq).is_some_and(|ms| ms <= until_ms)).last();
    chosen.or_else(|| log.starts().next()).map_or(Start::Newest, Start::At)
}

/// The end can be told from a cut.
fn is_chunked(format: Format) -> bool {
    format == Format::FlvChunked
}

/// The head of the answer. `keep_alive`: it is all of the answer.
fn head(content_type: &'static str, chunked: bool, keep_alive: bool) -> Bytes {
    Head::new(200, if chunked { Body::Chunked } else { Body::UntilClose }, Cache::NoStore, keep_alive)
        .content_type(content_type)
        // Said to nginx in front of us: its default would hold the stream back.
        .header("X-Accel-Buffering", "no")
        .date(unix_s())
        .finish()
}

/// Plays until the stream or the viewer ends; the connection is of no use afterwards.
pub(super) async fn play(shard: Rc<Shard>, session: Rc<Session>, socket: Socket, play: Play) {
    let Socket { reader, writer } = socket;
    let Play { viewer_guard, of, format, content_type, start, asked_at } = play;
    let mut viewer = Viewer::new(format, start, &viewer_guard.handle.log.borrow(), shard.now());
    viewer.lead(head(content_type, is_chunked(format), false));
    let playing = Playing::begin(&shard, &session, viewer_guard, viewer, asked_at, of);
    shard.spawn(notice_close(Rc::clone(&shard), reader, Rc::clone(&playing)));
    let _ending = EndsWith(&session);
    let done = pump(&playing, writer).await;
    let why = done.reason();
    if let Done::Closed(_, mut writer) = done {
        session.set_deadline(Some(shard.now() + GOODBYE));
        // A stalled viewer does not get it; it is closed either way.
        let _ = if is_chunked(format) {
            writer.send_all(Bytes::from_static(b"0\r\n\r\n")).await
        } else {
            writer.flush().await
        };
        // With TLS, an end that is not said looks like one that an attacker made.
        writer.finish().await;
    }
    shard.leave(&session).await;
    // Ends the reading side too.
    session.end(why);
    shard.ended(&session, why);
}

/// Notices that the viewer has gone, without holding a buffer for it. What it sends is thrown away.
async fn notice_close(shard: Rc<Shard>, reader: Reader, playing: Rc<Playing>) {
    let _ending = EndsWith(&playing.session);
    let why = loop {
        if reader.readable().await.is_err() {
            break playing.session.ended_by(CloseReason::PeerGone);
        }
        match reader.recv_now(&mut shard.scratch.borrow_mut()) {
            Ok(Some(0)) => break playing.session.ended_by(CloseReason::PeerClosed),
            Ok(_) => {}
            Err(error) => break playing.session.ended_by(CloseReason::of(&error)),
        }
    };
    playing.leave(why);
}
