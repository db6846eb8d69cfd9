//! A request, and what answers to it are made of. Before it: [`super::http`], which reads requests; used by all that answer them.
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::Duration;

use bytes::Bytes;
use millstream_policy::{Action, Client, Request as Question, ViewerName, Why};
use millstream_proto::http::conditional::Tag;
use millstream_proto::http::range;
use millstream_proto::http::request::{Method, Request};
use millstream_proto::http::response::{self, Body, Cache, Head};
use millstream_proto::id::Id;
use millstream_proto::secret::Secret;
use millstream_proto::sign::grant::PlayGrant;
use millstream_proto::time::Time;

use super::head::FileHead;
use super::pass::Pass;
use super::refusal::TurnedAway;
use super::texts::Text;
use super::{stream, websocket};
use crate::clock::{unix_ms, unix_s};
use crate::close::CloseReason;
use crate::io::WriterSlot;
use crate::shard::answers::OpenAnswer;
use crate::shard::events::Refused;
use crate::shard::granted::Granted;
use crate::shard::session::Session;
use crate::shard::state::Shard;

/// The protocol, where a request has no other.
pub(super) const HTTP: &str = "http";
pub(super) const HTTPS: &str = "https";

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
    /// A recorded file, as it comes.
    Recorded(Box<RecordedPlay>),
    /// A stream, on the rest of the connection.
    Stream(stream::Play),
    /// The same, in messages.
    WebSocket(websocket::Play),
}

/// A request for a recorded file that was admitted, and passed on to whoever has the files.
pub(super) struct RecordedPlay {
    pub(super) id: Id,
    pub(super) content_type: &'static str,
    pub(super) answer: OpenAnswer,
    /// What the playlists that this one names are to be asked for with.
    pub(super) credentials: Option<Secret>,
}

/// A request, and what its answer is built with.
pub(super) struct Reply<'a> {
    pub(super) shard: &'a Rc<Shard>,
    pub(super) session: &'a Rc<Session>,
    pub(super) request: &'a Request,
    pub(super) keep_alive: bool,
    /// What URIs in a playlist are relative to, where that is not the request's own path.
    pub(super) base: Option<String>,
    /// What the request brings so that nobody has to be asked.
    pub(super) pass: Pass,
    /// Where the connection's writer is until there is an answer.
    pub(super) writer: &'a WriterSlot,
}

impl Reply<'_> {
    /// Finds whom a request is for that a trusted proxy passes on; an error is the limit that its address would pass.
    pub(super) fn name_client(&self, proxy: SocketAddr) -> Result<(), CloseReason> {
        self.session.set_secure(self.request.forwarded.is_secure());
        self.session.serves(self.request.forwarded.client(proxy, |address| self.shard.trusts(address)))
    }

    /// The answer to a request of an address that has as many as it may have.
    pub(super) fn one_too_many(&self, limit: CloseReason) -> Answer {
        let reason = "this address has as many connections as it may have; try again in a moment";
        self.turned_away("", HTTP, TurnedAway { status: 429, why: limit.label(), reason })
    }

    /// The answer to who may not play though admission has nothing against it, and what is told of that.
    pub(super) fn turned_away(&self, stream: &str, protocol: &'static str, why: TurnedAway<'_>) -> Answer {
        let TurnedAway { status, why, reason } = why;
        self.shard.refused(&Refused { stream, ..Refused::of(self.session, protocol, why, reason) });
        Answer::Whole(self.error(status, reason))
    }

    /// The same, with the time after which it makes sense to try again.
    pub(super) fn turned_away_until(
        &self,
        stream: &str,
        protocol: &'static str,
        why: TurnedAway<'_>,
        retry_after: Duration,
    ) -> Answer {
        let TurnedAway { status, why, reason } = why;
        self.shard.refused(&Refused { stream, ..Refused::of(self.session, protocol, why, reason) });
        Answer::Whole(self.error_until(status, reason, Some(retry_after)))
    }

    /// What caches may do with what not everybody may have: only an edge, which asks for what its viewers have been admitted to, keeps it for others.
    pub(super) fn cache(&self, id: &Id, cache: Cache) -> Cache {
        match self.pass {
            Pass::Edge => cache,
            _ if self.pass.is_grant() || self.shard.admission.is_protected(&id.stream()) => cache.private(),
            _ => cache,
        }
    }

    /// When a grant is over.
    pub(super) fn end_of(&self, grant: PlayGrant) -> Time {
        let left_ms = grant.expiry_unix_s.saturating_mul(1_000).saturating_sub(unix_ms());
        self.shard.now() + Duration::from_millis(left_ms)
    }

    pub(super) fn error(&self, status: u16, detail: &str) -> Bytes {
        response::error(status, detail, self.keep_alive, self.request.method == Method::Head, Some(unix_s()))
    }

    /// The same, with the time after which it makes sense to try again.
    pub(super) fn error_until(&self, status: u16, detail: &str, retry_after: Option<Duration>) -> Bytes {
        let Some(after) = retry_after else { return self.error(status, detail) };
        let (head_only, after_s) = (self.request.method == Method::Head, after.as_secs().max(1));
        response::error_until(status, detail, self.keep_alive, head_only, Some(unix_s()), after_s)
    }

    /// To exactly this address.
    pub(super) fn elsewhere(&self, location: &str) -> Bytes {
        Head::new(302, Body::Length(0), Cache::NoStore, self.keep_alive)
            .header("Location", location)
            .date(unix_s())
            .finish()
    }

    pub(super) fn not_allowed(&self, allow: &str) -> Bytes {
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

    pub(super) fn preflight(&self) -> Bytes {
        Head::new(204, Body::None, Cache::NoStore, self.keep_alive)
            .header("Access-Control-Allow-Methods", "GET, HEAD, POST, OPTIONS")
            .header("Access-Control-Allow-Headers", "Authorization, *")
            .header("Access-Control-Max-Age", "86400")
            .date(unix_s())
            .finish()
    }

    /// To another place, with the query that was asked with. Not kept by caches: the query may hold a token, and some leave it out of their key.
    pub(super) fn redirect(&self, to: &str) -> Bytes {
        let query = self.request.query.to_query();
        if query.expose().is_empty() { self.elsewhere(to) } else { self.elsewhere(&format!("{to}?{}", query.expose())) }
    }

    pub(super) fn health(&self) -> Bytes {
        let (status, text) = if self.shard.is_draining() { (503, "draining\n") } else { (200, "ok\n") };
        self.whole(status, "text/plain; charset=utf-8", Cache::NoStore, text.as_bytes())
    }

    /// A playlist in the form that the client takes, or that it has it already (RFC 9110, 13.1.2).
    pub(super) fn text(&self, content_type: &'static str, cache: Cache, text: &Text) -> Answer {
        let packed = if self.request.accepts_gzip { text.gzip() } else { None };
        let tag = Tag::new(text.hash, packed.is_some());
        if let Some(known) = self.request.if_none_match.as_deref().and_then(|asked| tag.known_by(asked)) {
            let head = Head::new(304, Body::None, cache, self.keep_alive)
                .header("ETag", &known.to_string())
                .header("Vary", "Accept-Encoding")
                .date(unix_s());
            return Answer::Whole(head.finish());
        }
        let gzip = packed.is_some();
        let body = packed.unwrap_or_else(|| text.plain.clone());
        let file = FileHead {
            content_type,
            cache,
            bytes: body.len() as u64,
            keep_alive: self.keep_alive,
            form: Some((tag, gzip)),
        };
        let head = self.shard.heads.of(file);
        if self.request.method == Method::Head {
            return Answer::Whole(head);
        }
        Answer::File { pieces: vec![head, body], waited_since: None }
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

/// Asks admission whether this may be played; the answer where it may not. `viewer`: who asks, where each playlist is a request of its own.
pub(super) async fn admit(
    reply: &Reply<'_>,
    id: &Id,
    protocol: &'static str,
    viewer: Option<u64>,
) -> Result<Granted, Answer> {
    match reply.pass {
        Pass::Grant(grant) => return Ok(Granted::up_to(reply.end_of(grant))),
        // It has checked a grant for playlists and their files. What goes on for as long as it likes brings its own.
        Pass::Edge if viewer.is_some() => return Ok(Granted::default()),
        _ => {}
    }
    let Some(question) = question(reply, id, protocol, viewer.map(ViewerName::Claimed)) else {
        return Err(Answer::Whole(reply.error(500, "the server's configuration is wrong")));
    };
    ask(reply, question).await
}

/// Asks admission this; the answer where it says no.
pub(super) async fn ask(reply: &Reply<'_>, question: Question) -> Result<Granted, Answer> {
    let denial = match reply.shard.admission.ask(reply.shard, question).await {
        Ok(granted) => return Ok(granted),
        Err(denial) => denial,
    };
    if let Some(location) = &denial.location {
        return Err(Answer::Whole(reply.elsewhere(location)));
    }
    let status = match denial.why {
        Why::NotFound => 404,
        Why::Busy => 503,
        Why::Payment => 402,
        Why::Region => 451,
        // Not 401: that would ask for a login (RFC 9110, 11.6.1), and tokens are in the URL.
        _ => 403,
    };
    Err(Answer::Whole(reply.error_until(status, &denial.reason, denial.retry_after)))
}

/// What admission is asked about a request to play.
pub(super) fn question(
    reply: &Reply<'_>,
    id: &Id,
    protocol: &'static str,
    viewer: Option<ViewerName>,
) -> Option<Question> {
    let Reply { shard, session, request, .. } = *reply;
    let app = shard.config.apps.first().cloned()?;
    let client = Client {
        secure: session.is_secure(),
        user_agent: request.user_agent.clone().unwrap_or_default(),
        referer: request.referer.as_ref().map(|referer| referer.expose().to_owned()).unwrap_or_default(),
        viewer,
        bearer: request.bearer.clone(),
        ..Client::new(session.number, session.peer(), protocol)
    };
    Some(Question::new(Action::Play, (app, id.stream()), request.query.clone(), client))
}
