//! HTTP/1.1 and 1.0 connections: heads are read, routed and answered, until one of them is a stream. One router for the play port
//! and one for the control port.
use std::io::IoSlice;
use std::rc::Rc;
use std::time::Duration;

use bytes::Bytes;
use millstream_proto::http::request::{HttpError, Method, Parsed, Request, parse};
use millstream_proto::http::response::{self, Cache};
use millstream_proto::id::{Id, RenditionName};
use millstream_proto::limits::{HTTP_BODY_BYTES_MAX, HTTP_HEAD_BYTES_MAX};
use millstream_proto::openmetrics::Format;
use millstream_proto::output::Output;
use millstream_proto::recorded::RecordedPath;
use millstream_proto::sign::preview::PREVIEW_PARAM;

use super::pass::Pass;
use super::refusal::{ENDING, OUTPUT_OFF, TurnedAway};
use super::reply::{Answer, HTTP, HTTPS, Reply};
use super::{grant, hls, http2, pages, recorded, snapshot, status, stream, websocket};
use crate::clock::unix_s;
use crate::close::CloseReason;
use crate::ingest::connection::{GOODBYE, checked};
use crate::io::{Reader, Socket, Writer, WriterSlot};
use crate::metrics;
use crate::output::Wanted;
use crate::renditions::JOB_PARAM;
use crate::shard::events::Refused;
use crate::shard::introduce::introduce;
use crate::shard::session::Session;
use crate::shard::sessions::Arrival;
use crate::shard::state::{Port, Shard};

/// A connection may wait this long for its next request; proxies keep theirs for 60 s and more.
pub(super) const KEEP_ALIVE: Duration = Duration::from_secs(80);
/// The icon that browsers ask for by themselves, seconds.
const ICON_MAX_AGE_S: u32 = 86_400;
/// Bytes of a connection's requests that are held: one whole request, and the start of the next.
const INPUT_BYTES_MAX: usize = 2 * HTTP_HEAD_BYTES_MAX + HTTP_BODY_BYTES_MAX as usize;

/// Serves a connection to its end.
pub(crate) async fn serve(shard: Rc<Shard>, session: Rc<Session>, socket: Socket, port: Port, arrival: Arrival) {
    let of_tasks = Rc::clone(&shard);
    let Socket { mut reader, writer } = match socket.into_http2(move |task| of_tasks.spawn(task)) {
        // Its proxy, if any, has named it before the handshake.
        Ok(connection) => return shard.spawn(http2::serve(Rc::clone(&shard), session, connection)),
        Err(socket) => socket,
    };
    let home = WriterSlot::default();
    home.put(writer);
    let mut input = Vec::new();
    if arrival == Arrival::Proxied {
        // Boxed: few connections have it.
        let timeout = shard.config.header_timeout;
        match Box::pin(introduce(&shard, &session, &reader, HTTP, timeout)).await {
            Ok(rest) => input = rest,
            Err(why) => return over(&shard, &session, &mut reader, why, true).await,
        }
    }
    // A proxy that names its clients with each request.
    let proxy = Some(session.peer()).filter(|peer| port == Port::Http && shard.trusts(peer.ip()));
    let why = loop {
        if let Some(proxy) = proxy {
            session.served(proxy);
        }
        let mut request = match request(&shard, &session, &reader, &home, &mut input).await {
            Ok(request) => request,
            Err(why) => break why,
        };
        session.asked();
        session.set_deadline(None);
        let pass = if port == Port::Http { Pass::take(&mut request, &shard.config.grants) } else { Pass::None };
        let keep_alive = request.keep_alive && !shard.is_draining();
        let reply =
            Reply { shard: &shard, session: &session, request: &request, keep_alive, base: None, pass, writer: &home };
        let answer = match port {
            Port::Http if let Some(Err(limit)) = proxy.map(|proxy| reply.name_client(proxy)) => {
                reply.one_too_many(limit)
            }
            Port::Control => Answer::Whole(control(&reply)),
            Port::Http | Port::Rtmp => play(&reply).await,
        };
        if proxy.is_some() && matches!(answer, Answer::Stream(_) | Answer::WebSocket(_)) {
            session.name_peer();
        }
        let Some(mut writer) = home.take() else { break CloseReason::Defect };
        let sent = match answer {
            // Tasks of their own, because of their size: what this one needed for requests goes.
            Answer::Stream(play) => {
                return shard.spawn(stream::play(Rc::clone(&shard), session, Socket { reader, writer }, play));
            }
            Answer::WebSocket(mut play) => {
                play.early = input;
                return shard.spawn(websocket::play(Rc::clone(&shard), session, Socket { reader, writer }, play));
            }
            answer => send(&reply, &mut writer, answer).await,
        };
        if let Err(why) = sent {
            break why;
        }
        if !keep_alive {
            break CloseReason::Answered;
        }
        home.put(writer);
    };
    over(&shard, &session, &mut reader, why, input.is_empty()).await;
}

/// Sends an answer that is no stream.
pub(super) async fn send(reply: &Reply<'_>, writer: &mut Writer, answer: Answer) -> Result<(), CloseReason> {
    let Reply { shard, session, .. } = *reply;
    let stall_close = shard.config.stream.stall_close;
    session.set_deadline(Some(shard.now() + stall_close));
    let sent = match answer {
        Answer::File { pieces, waited_since } => {
            let progress = |count| {
                // Large segments over thin lines: who takes something is not stalled.
                session.set_deadline(Some(shard.now() + stall_close));
                shard.stats.bytes_out.add(count as u64);
            };
            let sent = writer.send_file(pieces, progress).await;
            if let (Ok(()), Some(since)) = (&sent, waited_since) {
                shard.stats.part_delay.observe(shard.now().since(since).as_secs_f64());
            }
            sent
        }
        Answer::Recorded(play) => {
            session.set_deadline(None);
            return Box::pin(recorded::send(reply, writer, *play)).await;
        }
        Answer::Sent => writer.flush().await,
        Answer::Whole(bytes) => writer.send_all(bytes).await,
        // They have tasks of their own.
        Answer::Stream(_) | Answer::WebSocket(_) => return Err(CloseReason::Defect),
    };
    sent.map_err(|_| CloseReason::PeerGone)
}

/// Ends a connection; `unsaid`: nothing of a request is there.
pub(super) async fn over(shard: &Shard, session: &Session, reader: &mut Reader, why: CloseReason, unsaid: bool) {
    if reader.is_in_kernel() {
        // The kernel may hold the end of an answer that a slow player has yet to take.
        session.set_deadline(Some(shard.now() + shard.config.stream.stall_close));
        reader.say_goodbye().await;
    }
    if matches!(why, CloseReason::Answered | CloseReason::BadRequest | CloseReason::Http2(_)) {
        session.set_deadline(Some(shard.now() + GOODBYE));
        reader.linger(&shard.scratch).await;
    }
    shard.leave(session).await;
    let why = if why == CloseReason::Answered { why } else { session.ending().unwrap_or(why) };
    if session.is_new() && unsaid && why.is_peers() {
        return checked(shard, session);
    }
    if session.is_quiet() {
        shard.stats.closed.add(why.label(), 1);
    } else if !matches!(why, CloseReason::Answered | CloseReason::PeerClosed) {
        shard.ended(session, why);
    }
}

/// Tells a connection that it is one too many, as far as that is possible without waiting for it.
pub(crate) fn turn_away(shard: &Shard, mut socket: Socket) {
    // What has come already is read, because closing over it would reset the connection and take the answer along.
    let _ = socket.reader.recv_now(&mut shard.scratch.borrow_mut());
    let reason = "the server has as many connections as it may have; try again in a moment";
    socket.writer.send_now(&[IoSlice::new(&response::error(503, reason, false, false, Some(unix_s())))]);
}

/// Reads the next request; what follows it stays in `input`.
async fn request(
    shard: &Shard,
    session: &Session,
    reader: &Reader,
    home: &WriterSlot,
    input: &mut Vec<u8>,
) -> Result<Request, CloseReason> {
    let mut deadline_of_head = None;
    loop {
        match parse(input) {
            Ok(Parsed::Complete { request, head_bytes }) => {
                let whole = head_bytes.saturating_add(usize::try_from(request.content_length).unwrap_or(usize::MAX));
                if input.len() >= whole {
                    input.drain(..whole);
                    if input.is_empty() {
                        // Connections that wait hold no buffer.
                        *input = Vec::new();
                    }
                    return Ok(request);
                }
            }
            Ok(Parsed::Partial) => {}
            Err(HttpError::Rtmp) => {
                let (protocol, words) = match shard.rtmps_port.filter(|_| session.is_secure()) {
                    Some(port) => (HTTPS, format!("an RTMPS connection on the HTTPS port: the RTMPS port is {port}")),
                    None => {
                        (HTTP, format!("an RTMP connection on the HTTP port: the RTMP port is {}", shard.rtmp_port))
                    }
                };
                shard.garbled(session, protocol, CloseReason::RtmpOnHttp, &words);
                return Err(CloseReason::RtmpOnHttp);
            }
            Err(HttpError::Tls) => {
                let words = match shard.https_port {
                    Some(port) => format!("a TLS connection on the HTTP port: HTTPS is on port {port}"),
                    None => "a TLS connection on the HTTP port, which has none: use http://, or a proxy that has TLS in front"
                        .to_owned(),
                };
                shard.garbled(session, HTTP, CloseReason::TlsOnHttp, &words);
                return Err(CloseReason::TlsOnHttp);
            }
            Err(error) => {
                let answer = response::error(error.status(), &error.to_string(), false, false, Some(unix_s()));
                let reason = error.to_string();
                let refused = Refused::of(session, HTTP, CloseReason::BadRequest.label(), &reason);
                shard.refused(&Refused { action: "connect", ..refused });
                session.set_deadline(Some(shard.now() + GOODBYE));
                if let Some(mut writer) = home.take() {
                    let _ = writer.send_all(answer).await;
                }
                return Err(CloseReason::BadRequest);
            }
        }
        let now = shard.now();
        let head_by = now + shard.config.header_timeout;
        session.set_deadline(Some(match (input.is_empty(), session.is_new()) {
            (true, false) => now + KEEP_ALIVE,
            _ => *deadline_of_head.get_or_insert(head_by),
        }));
        session.set_idle(input.is_empty() && !session.is_new());
        let readable = reader.readable().await;
        session.set_idle(false);
        readable.map_err(|_| CloseReason::PeerGone)?;
        let scratch = &mut *shard.scratch.borrow_mut();
        // A whole request always fits, so there is always room here.
        let room = INPUT_BYTES_MAX.saturating_sub(input.len()).clamp(1, scratch.len());
        let scratch = scratch.get_mut(..room).unwrap_or_default();
        match reader.recv_now(scratch) {
            Ok(None) => {}
            Ok(Some(0)) => return Err(CloseReason::PeerClosed),
            Ok(Some(count)) => input.extend_from_slice(scratch.get(..count).unwrap_or_default()),
            Err(error) => return Err(CloseReason::of(&error)),
        }
    }
}

const OTHER_FILE: &str = "there is nothing here; a stream has live.flv, live.m3u8, manifest.mpd and index.html below its name, and answers \
     at paths of other servers (/live/NAME.flv) where http.play_paths, or its own play_paths, name them";
const OTHER_PATH: &str = "there is nothing here; try /NAME/index.html with the name of a stream. Paths of other servers are taken where \
     http.play_paths, or a stream's own play_paths, name them";

/// What the play port answers.
pub(super) async fn play(reply: &Reply<'_>) -> Answer {
    let Reply { shard, request, .. } = *reply;
    let path: Vec<&str> = request.path.iter().map(String::as_str).collect();
    // Before anything that can refuse a request: an authority comes as it is, and its answer is of use to nobody else.
    if let (Method::Get | Method::Head, [".well-known", "acme-challenge", token]) = (&request.method, path.as_slice()) {
        return Answer::Whole(challenge(reply, token));
    }
    let mut text = String::new();
    if let Some(refusal) = reply.pass.refusal(&mut text)
        && request.method != Method::Options
    {
        return reply.turned_away("", HTTP, refusal);
    }
    Answer::Whole(match (&request.method, path.as_slice()) {
        (Method::Options, _) => reply.preflight(),
        (Method::Get | Method::Head, ["healthz"]) => reply.health(),
        (Method::Get | Method::Head, _) if shard.is_draining() && !is_watched_already(shard, request) => {
            return reply.turned_away("", HTTP, ENDING);
        }
        // A grant is for the stream that its path names, not for one that this is mapped to.
        (Method::Get | Method::Head, _)
            if !reply.pass.is_grant()
                && let Some((id, output)) = shard.mapped(&request.path) =>
        {
            return mapped(reply, id, output).await;
        }
        (Method::Get | Method::Head, [".assets", name]) => match pages::asset(name) {
            Some((content_type, bytes)) => reply.whole(200, content_type, Cache::Immutable, bytes),
            None => reply.error(404, "there is no such asset"),
        },
        (Method::Get | Method::Head, ["time"]) => hls::time(reply),
        (Method::Get | Method::Head, ["metrics"]) => reply
            .error(404, "the figures are on the control port (--control, 127.0.0.1:8081 by default): /metrics there"),
        (Method::Get | Method::Head, ["wall.html"]) => {
            reply.whole(200, pages::HTML, Cache::MaxAge(pages::MAX_AGE_S), pages::wall())
        }
        (Method::Get | Method::Head, []) => {
            reply.whole(200, pages::HTML, Cache::MaxAge(pages::MAX_AGE_S), pages::home())
        }
        (Method::Get | Method::Head, ["favicon.ico"]) => {
            reply.whole(200, "image/vnd.microsoft.icon", Cache::MaxAge(ICON_MAX_AGE_S), pages::icon())
        }
        // Relative, so that they hold behind a proxy that puts them below a path of its own.
        (Method::Get | Method::Head, [id]) if Id::new(id).is_ok() => reply.redirect(&format!("{id}/index.html")),
        (Method::Get | Method::Head, [id, ""]) if Id::new(id).is_ok() => reply.redirect("index.html"),
        // A slash behind a file's name: relative references in it would lead below it.
        (Method::Get | Method::Head, [.., name, ""]) if is_file(name) => reply.redirect(&format!("../{name}")),
        (Method::Get | Method::Head, path) if let Some((id, wanted)) = output_at(shard, path) => {
            return output(reply, id, wanted).await;
        }
        (Method::Get | Method::Head, [id, below @ ..])
            if RecordedPath::is_meant(below)
                && let Ok(id) = Id::new(id) =>
        {
            return Box::pin(recorded::route(reply, id, below)).await;
        }
        (Method::Post, [id, "grant"]) if let Ok(id) = Id::new(id) => return Box::pin(grant::make(reply, id)).await,
        (Method::Get | Method::Head, [_, "grant"]) => match reply.pass {
            Pass::Grant(grant) => return grant::is_right(reply, grant),
            _ => reply.not_allowed("POST, OPTIONS"),
        },
        (Method::Get | Method::Head, [id, name]) => match (Id::new(id), *name) {
            (Err(error), _) => {
                let reason = &format!("no stream can have this id: {error}");
                let why = CloseReason::BadName.label();
                return reply.turned_away("", HTTP, TurnedAway { status: 404, why, reason });
            }
            (Ok(id), snapshot::FILE) => return Box::pin(snapshot::answer(reply, id)).await,
            (Ok(id), "live.json") => return Box::pin(status::answer(reply, id)).await,
            // The page of an output that is off says so itself.
            (Ok(_), name) => match pages::page(name) {
                Some(page) => reply.whole(200, pages::HTML, Cache::MaxAge(pages::MAX_AGE_S), page),
                None => reply.error(404, OTHER_FILE),
            },
        },
        (Method::Get | Method::Head, _) => reply.error(404, OTHER_PATH),
        _ => reply.not_allowed("GET, HEAD, OPTIONS"),
    })
}

/// What an authority gets that is to see that a name leads here (RFC 8555, 8.3).
fn challenge(reply: &Reply<'_>, token: &str) -> Bytes {
    let tls = reply.shard.tls.borrow();
    match tls.as_ref().and_then(|tls| tls.challenges().find(token)) {
        Some(answer) => reply.whole(200, "application/octet-stream", Cache::NoStore, answer.as_bytes()),
        None => reply.error(404, "no challenge with this token is pending"),
    }
}

/// Whether this is what a player or page asks for that watches already: a drain lets those go on. What a viewer begins with is refused:
/// HTTP-FLV, pages, and the multivariant playlist, which players read once. Of DASH the manifest is all that there is.
fn is_watched_already(shard: &Shard, request: &Request) -> bool {
    let path = &request.path;
    let formats = &shard.config.formats;
    let is_watched = |wanted: Wanted<'_>| match wanted {
        Wanted::Stream(..) => false,
        Wanted::Document(_, document) => !document.begins,
        Wanted::File(_) => true,
    };
    if let Some((_, output)) = shard.mapped(path) {
        return formats.first_of(output).is_some_and(is_watched);
    }
    let path: Vec<&str> = path.iter().map(String::as_str).collect();
    match path.as_slice() {
        ["time"] | [".assets", _] | [_, "live.json" | "grant"] => true,
        [id, below @ ..] if RecordedPath::is_meant(below) => {
            let recorded = Id::new(id).ok().and_then(|id| RecordedPath::parse(id, below).ok());
            recorded.is_some_and(|path| !recorded::begins(&path.file, request.range.as_deref()))
        }
        path => output_at(shard, path).is_some_and(|(id, wanted)| {
            // A worker that was started anew goes on for those who watch.
            is_watched(wanted) || shard.config.renditions.admits(&id, request.query.get(JOB_PARAM))
        }),
    }
}

/// The output of a stream, or of a rendition, that is at this path.
fn output_at<'a>(shard: &Shard, path: &[&'a str]) -> Option<(Id, Wanted<'a>)> {
    let [id, below @ ..] = path else { return None };
    let formats = &shard.config.formats;
    if let [name, below @ ..] = below
        && let Some(name) = RenditionName::new(name)
    {
        return Some((Id::new(id).ok()?.of_rendition(&name), formats.find(below)?));
    }
    let wanted = formats.find(below)?;
    Some((Id::new(id).ok()?, wanted))
}

/// A file's name that stands in a URL as it is.
fn is_file(name: &str) -> bool {
    name.contains('.') && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-._".contains(&byte))
}

/// What is at a path of another server that is mapped to a stream. What playlists name is still below the stream's own path.
async fn mapped(reply: &Reply<'_>, id: Id, of: &Output) -> Answer {
    let Some(wanted) = reply.shard.config.formats.first_of(of) else {
        return Answer::Whole(reply.error(404, "this server does not have this output"));
    };
    let base = format!("{}{id}/", "../".repeat(reply.request.path.len().saturating_sub(1)));
    // An edge has checked a grant for the stream that its path names.
    output(&Reply { base: Some(base), pass: Pass::None, ..*reply }, id, wanted).await
}

/// An output of a stream.
async fn output(reply: &Reply<'_>, id: Id, wanted: Wanted<'_>) -> Answer {
    let shard = reply.shard;
    if let Wanted::Stream(_, stream) = wanted
        && shard.config.renditions.admits(&id, reply.request.query.get(JOB_PARAM))
    {
        return Box::pin(stream::answer_job(reply, id, stream)).await;
    }
    if let Wanted::Stream(_, stream) = wanted
        && let Some(until) = shard.preview_until(&id, reply.request.query.get(PREVIEW_PARAM))
    {
        return Box::pin(stream::answer_preview(reply, id, stream, until)).await;
    }
    if !shard.config.formats.has(&wanted, shard.outputs_of(&id)) {
        let protocol = match wanted {
            Wanted::Stream(format, _) | Wanted::Document(format, _) => format.protocol,
            Wanted::File(_) => HTTP,
        };
        return reply.turned_away(id.as_str(), protocol, OUTPUT_OFF);
    }
    // Boxed: what waits for minutes between requests is not to be as large as these.
    match wanted {
        Wanted::Stream(format, stream) => Box::pin(stream::answer(reply, id, format, stream)).await,
        Wanted::Document(format, document) => Box::pin(hls::document(reply, id, format, document)).await,
        Wanted::File(file) => Box::pin(hls::file(reply, id, file)).await,
    }
}

/// What the control port answers.
fn control(reply: &Reply<'_>) -> Bytes {
    let Reply { shard, request, .. } = *reply;
    let path: Vec<&str> = request.path.iter().map(String::as_str).collect();
    match (&request.method, path.as_slice()) {
        (Method::Get | Method::Head, ["healthz"]) => reply.health(),
        (Method::Get | Method::Head, ["metrics"]) => {
            match metrics::render(&shard.all_stats, shard.config.more_metrics.as_ref()) {
                Ok(text) => {
                    let format = request.metrics.unwrap_or(Format::Prometheus);
                    reply.whole(200, format.content_type(), Cache::NoStore, format.render(&text).as_bytes())
                }
                Err(_) => reply.error(500, "the metrics cannot be shown"),
            }
        }
        (Method::Get | Method::Head, _) => reply.error(404, "there is nothing here; try /metrics or /healthz"),
        _ => reply.not_allowed("GET, HEAD"),
    }
}
