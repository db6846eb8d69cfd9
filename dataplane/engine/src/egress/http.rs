//! HTTP/1.1 and 1.0 connections: heads are read, routed and answered, until one of them is a stream. One router for the play port
//! and one for the control port.
use std::cell::RefCell;
use std::io::IoSlice;
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::Duration;

use bytes::Bytes;
use millstream_hub::viewer::Start;
use millstream_policy::{Action, Client, Request as Question, Verdict, Why};
use millstream_proto::http::conditional::Tag;
use millstream_proto::http::range;
use millstream_proto::http::request::{HttpError, Method, Parsed, Request, parse};
use millstream_proto::http::response::{self, Body, Cache, Head};
use millstream_proto::id::Id;
use millstream_proto::limits::{HTTP_BODY_BYTES_MAX, HTTP_HEAD_BYTES_MAX};
use millstream_proto::openmetrics::Format;
use millstream_proto::paths::Output;
use millstream_proto::time::Time;

use super::hls::{self, Wanted};
use super::websocket::{self, WS_FLV};
use super::{ENDING, NO_ROOM, OUTPUT_OFF, TurnedAway, flv, pages, status};
use crate::clock::unix_s;
use crate::close::CloseReason;
use crate::ingest::{GOODBYE, checked};
use crate::io::{Reader, Socket, WriterSlot};
use crate::metrics;
use crate::shard::events::Refused;
use crate::shard::introduce::introduce;
use crate::shard::session::{Arrival, Session};
use crate::shard::{Port, Shard};

/// HTTP-FLV, as a protocol's name.
const FLV: &str = "http-flv";
/// The protocol, where a request has no other.
pub(super) const HTTP: &str = "http";
/// HLS and DASH, as a protocol's name.
pub(super) const HLS: &str = "hls";

/// A connection may wait this long for its next request; proxies keep theirs for 60 s and more.
const KEEP_ALIVE: Duration = Duration::from_secs(80);
/// A player page may be kept this long, seconds.
const PAGE_MAX_AGE_S: u32 = 600;
/// The icon that browsers ask for by themselves, seconds.
const ICON_MAX_AGE_S: u32 = 86_400;
const HTML: &str = "text/html; charset=utf-8";
/// Bytes of a connection's requests that are held: one whole request, and the start of the next.
const INPUT_BYTES_MAX: usize = 2 * HTTP_HEAD_BYTES_MAX + HTTP_BODY_BYTES_MAX as usize;

/// What a request gets.
pub(super) enum Answer {
    Whole(Bytes),
    /// A whole response whose bytes lie in several places. `waited_since`: when there was something to send to a request that waited.
    File {
        pieces: Vec<Bytes>,
        waited_since: Option<Time>,
    },
    /// A whole response that is out already.
    Sent,
    /// A stream, on the rest of the connection.
    Flv(flv::Play),
    /// The same, in messages.
    WebSocket(websocket::Play),
}

/// Serves a connection to its end.
pub(crate) async fn serve(shard: Rc<Shard>, session: Rc<Session>, socket: Socket, port: Port, arrival: Arrival) {
    let Socket { mut reader, writer } = socket;
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
        let request = match request(&shard, &session, &reader, &home, &mut input).await {
            Ok(request) => request,
            Err(why) => break why,
        };
        session.asked();
        session.set_deadline(None);
        let keep_alive = request.keep_alive && !shard.is_draining();
        let reply =
            Reply { shard: &shard, session: &session, request: &request, keep_alive, base: None, writer: &home };
        let answer = match port {
            Port::Http if let Some(Err(limit)) = proxy.map(|proxy| reply.name_client(proxy)) => {
                reply.one_too_many(limit)
            }
            Port::Control => Answer::Whole(control(&reply)),
            Port::Http | Port::Rtmp => play(&reply).await,
        };
        if proxy.is_some() && matches!(answer, Answer::Flv(_) | Answer::WebSocket(_)) {
            session.name_peer();
        }
        let Some(mut writer) = home.take() else { break CloseReason::Defect };
        let stall_close = shard.config.stream.stall_close;
        let sent = match answer {
            // Tasks of their own, because of their size: what this one needed for requests goes.
            Answer::Flv(play) => {
                return shard.spawn(flv::play(Rc::clone(&shard), session, Socket { reader, writer }, play));
            }
            Answer::WebSocket(mut play) => {
                play.early = input;
                return shard.spawn(websocket::play(Rc::clone(&shard), session, Socket { reader, writer }, play));
            }
            Answer::File { pieces, waited_since } => {
                session.set_deadline(Some(shard.now() + stall_close));
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
            Answer::Sent => Ok(()),
            Answer::Whole(bytes) => {
                session.set_deadline(Some(shard.now() + stall_close));
                writer.send_all(bytes).await
            }
        };
        if sent.is_err() {
            break CloseReason::PeerGone;
        }
        if !keep_alive {
            break CloseReason::Answered;
        }
        home.put(writer);
    };
    over(&shard, &session, &mut reader, why, input.is_empty()).await;
}

/// Ends a connection; `unsaid`: nothing of a request is there.
async fn over(shard: &Shard, session: &Session, reader: &mut Reader, why: CloseReason, unsaid: bool) {
    if matches!(why, CloseReason::Answered | CloseReason::BadRequest) {
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
        ended(shard, session, why);
    }
}

/// Counts and logs the end of a session.
pub(super) fn ended(shard: &Shard, session: &Session, why: CloseReason) {
    let why = why.label();
    shard.stats.closed.add(why, 1);
    tracing::info!(parent: &session.span, why, "session ended");
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
                let words = format!("an RTMP connection on the HTTP port: the RTMP port is {}", shard.rtmp_port);
                shard.garbled(session, HTTP, CloseReason::RtmpOnHttp, &words);
                return Err(CloseReason::RtmpOnHttp);
            }
            Err(HttpError::Tls) => {
                let words =
                    "a TLS connection on the HTTP port, which has none: use http://, or a proxy that has TLS in front";
                shard.garbled(session, HTTP, CloseReason::TlsOnHttp, words);
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
            Err(_) => return Err(CloseReason::PeerGone),
        }
    }
}

/// A request, and what its answer is built with.
pub(super) struct Reply<'a> {
    pub(super) shard: &'a Rc<Shard>,
    pub(super) session: &'a Rc<Session>,
    pub(super) request: &'a Request,
    pub(super) keep_alive: bool,
    /// What URIs in a playlist are relative to, where that is not the request's own path.
    pub(super) base: Option<String>,
    /// Where the connection's writer is until there is an answer.
    pub(super) writer: &'a WriterSlot,
}

/// What the head of an answer with a whole file says.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) struct FileHead {
    pub(super) content_type: &'static str,
    pub(super) cache: Cache,
    pub(super) bytes: u64,
    pub(super) keep_alive: bool,
    /// Of what has two forms: its tag, and whether this is the compressed one.
    pub(super) form: Option<(Tag, bool)>,
}

impl FileHead {
    /// For this status and so many bytes of the file; more may be added.
    fn begin(self, status: u16, sent: u64, unix_s: u64) -> Head {
        let head = Head::new(status, Body::Length(sent), self.cache, self.keep_alive)
            .content_type(self.content_type)
            .header("X-Content-Type-Options", "nosniff")
            .date(unix_s);
        let head = match self.form {
            None => head,
            Some((tag, gzip)) => {
                let head = head.header("ETag", &tag.to_string()).header("Vary", "Accept-Encoding");
                if gzip { head.header("Content-Encoding", "gzip") } else { head }
            }
        };
        if self.has_ranges() { head.header("Accept-Ranges", "bytes") } else { head }
    }

    /// Runs of bytes are given of what never changes.
    fn has_ranges(self) -> bool {
        self.cache == Cache::Immutable
    }
}

/// Heads that are kept.
const HEADS_MAX: usize = 16;

/// Heads of the answers of this second: crowds ask for the same few files.
#[derive(Default)]
pub(crate) struct Heads(RefCell<Vec<KeptHead>>);

struct KeptHead {
    file: FileHead,
    made_s: u64,
    head: Bytes,
}

impl Heads {
    /// The head of an answer with the whole file.
    pub(super) fn of(&self, wanted: FileHead) -> Bytes {
        let now_s = unix_s();
        let mut heads = self.0.borrow_mut();
        if let Some(kept) = heads.iter().find(|kept| kept.file == wanted && kept.made_s == now_s) {
            return kept.head.clone();
        }
        let head = wanted.begin(200, wanted.bytes, now_s).finish();
        heads.truncate(HEADS_MAX - 1);
        heads.insert(0, KeptHead { file: wanted, made_s: now_s, head: head.clone() });
        head
    }
}

impl Reply<'_> {
    /// Finds whom a request is for that a trusted proxy passes on; an error is the limit that its address would pass.
    fn name_client(&self, proxy: SocketAddr) -> Result<(), CloseReason> {
        self.session.serves(self.request.forwarded.client(proxy, |address| self.shard.trusts(address)))
    }

    /// The answer to a request of an address that has as many as it may have.
    fn one_too_many(&self, limit: CloseReason) -> Answer {
        let reason = "this address has as many connections as it may have; try again in a moment";
        self.turned_away("", HTTP, TurnedAway { status: 429, why: limit.label(), reason })
    }

    /// The answer to who may not play though admission has nothing against it, and what is told of that.
    pub(super) fn turned_away(&self, stream: &str, protocol: &'static str, why: TurnedAway<'_>) -> Answer {
        let TurnedAway { status, why, reason } = why;
        self.shard.refused(&Refused { stream, ..Refused::of(self.session, protocol, why, reason) });
        Answer::Whole(self.error(status, reason))
    }

    pub(super) fn error(&self, status: u16, detail: &str) -> Bytes {
        response::error(status, detail, self.keep_alive, self.request.method == Method::Head, Some(unix_s()))
    }

    fn not_allowed(&self, allow: &str) -> Bytes {
        response::not_allowed(allow, self.keep_alive, self.request.method == Method::Head, Some(unix_s()))
    }

    pub(super) fn whole(&self, status: u16, content_type: &'static str, cache: Cache, body: &[u8]) -> Bytes {
        let head = Head::new(status, Body::Length(body.len() as u64), cache, self.keep_alive)
            .content_type(content_type)
            .header("X-Content-Type-Options", "nosniff")
            .date(unix_s())
            .finish();
        if self.request.method == Method::Head { head } else { [&head[..], body].concat().into() }
    }

    /// A file out of pieces; of one that never changes, also a run of its bytes.
    pub(super) fn file(&self, content_type: &'static str, cache: Cache, mut pieces: Vec<Bytes>) -> Answer {
        let bytes = pieces.iter().map(|piece| piece.len() as u64).sum();
        let file = FileHead { content_type, cache, bytes, keep_alive: self.keep_alive, form: None };
        let wanted = match &self.request.range {
            Some(range) if file.has_ranges() => range::wanted(range, bytes),
            _ => range::Wanted::Whole,
        };
        let head = match wanted {
            range::Wanted::Whole => self.shard.heads.of(file),
            range::Wanted::Part(from, to) => {
                keep(&mut pieces, from, to);
                let run = format!("bytes {from}-{}/{bytes}", to - 1);
                file.begin(206, to - from, unix_s()).header("Content-Range", &run).finish()
            }
            range::Wanted::Nothing => {
                let none = format!("bytes */{bytes}");
                let head = FileHead { cache: Cache::NoStore, ..file }.begin(416, 0, unix_s());
                return Answer::Whole(head.header("Accept-Ranges", "bytes").header("Content-Range", &none).finish());
            }
        };
        if self.request.method == Method::Head {
            return Answer::Whole(head);
        }
        pieces.insert(0, head);
        Answer::File { pieces, waited_since: None }
    }

    fn preflight(&self) -> Bytes {
        Head::new(204, Body::None, Cache::NoStore, self.keep_alive)
            .header("Access-Control-Allow-Methods", "GET, HEAD, OPTIONS")
            .header("Access-Control-Allow-Headers", "*")
            .header("Access-Control-Max-Age", "86400")
            .date(unix_s())
            .finish()
    }

    /// To another place, with the query that was asked with. Not kept by caches: the query may hold a token, and some leave it out of their key.
    fn redirect(&self, to: &str) -> Bytes {
        let query = self.request.query.to_query();
        let location = if query.expose().is_empty() { to.to_owned() } else { format!("{to}?{}", query.expose()) };
        Head::new(302, Body::Length(0), Cache::NoStore, self.keep_alive)
            .header("Location", &location)
            .date(unix_s())
            .finish()
    }

    fn health(&self) -> Bytes {
        let (status, text) = if self.shard.is_draining() { (503, "draining\n") } else { (200, "ok\n") };
        self.whole(status, "text/plain; charset=utf-8", Cache::NoStore, text.as_bytes())
    }
}

/// Cuts pieces down to the bytes `from..to` of them all.
fn keep(pieces: &mut Vec<Bytes>, from: u64, to: u64) {
    let mut at = 0;
    pieces.retain_mut(|piece| {
        let (start, end) = (at, at + piece.len() as u64);
        at = end;
        let within = |byte: u64| (byte.clamp(start, end) - start) as usize;
        *piece = piece.slice(within(from)..within(to));
        !piece.is_empty()
    });
}

/// What the play port answers.
async fn play(reply: &Reply<'_>) -> Answer {
    let Reply { shard, request, .. } = *reply;
    let path: Vec<&str> = request.path.iter().map(String::as_str).collect();
    Answer::Whole(match (&request.method, path.as_slice()) {
        (Method::Options, _) => reply.preflight(),
        (Method::Get | Method::Head, ["healthz"]) => reply.health(),
        (Method::Get | Method::Head, _) if shard.is_draining() && !is_watched_already(shard, &request.path) => {
            return reply.turned_away("", HTTP, ENDING);
        }
        (Method::Get | Method::Head, _) if let Some((id, output)) = shard.mapped(&request.path) => {
            return mapped(reply, id, output).await;
        }
        (Method::Get | Method::Head, [".assets", name]) => match pages::asset(name) {
            Some((content_type, bytes)) => reply.whole(200, content_type, Cache::Immutable, bytes),
            None => reply.error(404, "there is no such asset"),
        },
        (Method::Get | Method::Head, ["time"]) => hls::time(reply),
        (Method::Get | Method::Head, ["wall.html"]) => {
            reply.whole(200, HTML, Cache::MaxAge(PAGE_MAX_AGE_S), pages::wall())
        }
        (Method::Get | Method::Head, []) => reply.whole(200, HTML, Cache::MaxAge(PAGE_MAX_AGE_S), pages::home()),
        (Method::Get | Method::Head, ["favicon.ico"]) => {
            reply.whole(200, "image/vnd.microsoft.icon", Cache::MaxAge(ICON_MAX_AGE_S), pages::icon())
        }
        // Relative, so that they hold behind a proxy that puts them below a path of its own.
        (Method::Get | Method::Head, [id]) if Id::new(id).is_ok() => reply.redirect(&format!("{id}/index.html")),
        (Method::Get | Method::Head, [id, ""]) if Id::new(id).is_ok() => reply.redirect("index.html"),
        // A slash behind a file's name: relative references in it would lead below it.
        (Method::Get | Method::Head, [.., name, ""]) if is_file(name) => reply.redirect(&format!("../{name}")),
        (Method::Get | Method::Head, [id, below @ ..])
            if let (Some(wanted), Ok(id)) = (Wanted::parse(below), Id::new(id)) =>
        {
            if !wanted.is_among(shard.outputs_of(&id)) {
                return reply.turned_away(id.as_str(), HLS, OUTPUT_OFF);
            }
            // Boxed: what waits for minutes between requests is not to be as large as this.
            return Box::pin(hls::answer(reply, id, wanted)).await;
        }
        (Method::Get | Method::Head, [id, name]) => match (Id::new(id), *name) {
            (Err(error), _) => {
                let reason = &format!("no stream can have this id: {error}");
                let why = CloseReason::BadName.label();
                return reply.turned_away("", HTTP, TurnedAway { status: 404, why, reason });
            }
            (Ok(id), "live.flv") if !shard.outputs_of(&id).flv => {
                return reply.turned_away(id.as_str(), HTTP, OUTPUT_OFF);
            }
            (Ok(id), "live.flv") => return live_flv(reply, id).await,
            (Ok(id), "live.json") => return Box::pin(status::answer(reply, id)).await,
            // The page of an output that is off says so itself.
            (Ok(_), name) => match pages::page(name) {
                Some(page) => reply.whole(200, HTML, Cache::MaxAge(PAGE_MAX_AGE_S), page),
                None => reply
                    .error(404, "there is nothing here; a stream has live.flv, live.m3u8, manifest.mpd and index.html"),
            },
        },
        (Method::Get | Method::Head, _) => reply.error(404, "there is nothing here; try /<stream id>/index.html"),
        _ => reply.not_allowed("GET, HEAD, OPTIONS"),
    })
}

/// Whether this is what a player or page asks for that watches already: a drain lets those go on. What a viewer begins with is refused:
/// HTTP-FLV, pages, and the multivariant playlist, which players read once. Of DASH the manifest is all that there is.
fn is_watched_already(shard: &Shard, path: &[String]) -> bool {
    if let Some((_, output)) = shard.mapped(path) {
        return matches!(output, Output::Dash);
    }
    let path: Vec<&str> = path.iter().map(String::as_str).collect();
    match path.as_slice() {
        ["time"] | [".assets", _] | [_, "live.json"] => true,
        [_, below @ ..] => Wanted::parse(below).is_some_and(|wanted| wanted != Wanted::Multivariant),
        [] => false,
    }
}

/// A file's name that stands in a URL as it is.
fn is_file(name: &str) -> bool {
    name.contains('.') && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-._".contains(&byte))
}

/// What is at a path of another server that is mapped to a stream. What playlists name is still below the stream's own path.
async fn mapped(reply: &Reply<'_>, id: Id, output: Output) -> Answer {
    let (wanted, protocol) = match output {
        Output::Flv => (None, FLV),
        Output::Hls => (Some(Wanted::Multivariant), HLS),
        Output::Dash => (Some(Wanted::Manifest), HLS),
    };
    let outputs = reply.shard.outputs_of(&id);
    if !wanted.map_or(outputs.flv, |wanted| wanted.is_among(outputs)) {
        return reply.turned_away(id.as_str(), protocol, OUTPUT_OFF);
    }
    let Some(wanted) = wanted else { return live_flv(reply, id).await };
    let base = format!("{}{id}/", "../".repeat(reply.request.path.len().saturating_sub(1)));
    let reply = Reply { base: Some(base), ..*reply };
    Box::pin(hls::answer(&reply, id, wanted)).await
}

async fn live_flv(reply: &Reply<'_>, id: Id) -> Answer {
    let Reply { shard, session, request, .. } = *reply;
    let asked_at = shard.now();
    let start = match request.query.get("start") {
        None => Start::Newest,
        Some("next") => Start::Next,
        Some(_) => return Answer::Whole(reply.error(400, "start can only be \"next\"")),
    };
    // HTTP/1.0 has no upgrades, and HEAD asks for what GET without one is answered.
    let offer = request.websocket.as_ref().filter(|_| request.method == Method::Get && request.minor_version > 0);
    let upgrade = match offer.map(|offer| offer.accept()).transpose() {
        Ok(head) => head,
        Err(error) => {
            let (status, reason) = (error.status(), error.to_string());
            let refused = Refused::of(session, WS_FLV, "bad_upgrade", &reason);
            shard.refused(&Refused { stream: id.as_str(), ..refused });
            return Answer::Whole(response::upgrade_refused(status, &reason, reply.keep_alive, Some(unix_s())));
        }
    };
    let protocol = if upgrade.is_some() { WS_FLV } else { FLV };
    if !shard.sessions.has_room(Action::Play) {
        return reply.turned_away(id.as_str(), protocol, NO_ROOM);
    }
    if let Err(refused) = admit(reply, &id, protocol).await {
        return refused;
    }
    match shard.subscribe(&id).await {
        Err(not_playable) => reply.turned_away(id.as_str(), protocol, not_playable.into()),
        Ok(_) if request.method == Method::Head => {
            Answer::Whole(flv::head(request.minor_version > 0, reply.keep_alive))
        }
        Ok(viewer_guard) => match upgrade {
            Some(head) => Answer::WebSocket(websocket::Play { viewer_guard, head, start, asked_at, early: Vec::new() }),
            None => Answer::Flv(flv::Play { viewer_guard, chunked: request.minor_version > 0, start, asked_at }),
        },
    }
}

/// Asks admission whether this may be played; the answer where it may not.
pub(super) async fn admit(reply: &Reply<'_>, id: &Id, protocol: &'static str) -> Result<(), Answer> {
    let Reply { shard, session, request, .. } = *reply;
    let Some(app) = shard.config.apps.first().cloned() else {
        return Err(Answer::Whole(reply.error(500, "the server's configuration is wrong")));
    };
    let question = Question {
        action: Action::Play,
        app,
        name: id.clone(),
        path: None,
        params: request.query.clone(),
        client: Client {
            session: session.number,
            address: session.peer(),
            protocol,
            user_agent: request.user_agent.clone().unwrap_or_default(),
            referer: request.referer.as_ref().map(|referer| referer.expose().to_owned()).unwrap_or_default(),
        },
    };
    let Verdict::Deny(denial) = shard.admission.ask(shard, question).await else { return Ok(()) };
    let status = match denial.why {
        Why::NotFound => 404,
        Why::Busy => 503,
        // Not 401: that would ask for a login (RFC 9110, 11.6.1), and tokens are in the URL.
        _ => 403,
    };
    Err(Answer::Whole(reply.error(status, &denial.reason)))
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
