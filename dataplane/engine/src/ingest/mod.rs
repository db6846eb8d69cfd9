//! RTMP connections: bytes from the socket go into `proto::rtmp`'s session, its requests to admission, its media to the stream's
//! log; players are handed to [`crate::egress::rtmp`]. A publisher of another shard's stream is handed to that shard.
mod sides;

use std::cell::Cell;
use std::io::IoSlice;
use std::net::SocketAddr;
use std::pin::pin;
use std::rc::Rc;
use std::time::Duration;

use millstream_control_protocol::event::What;
use millstream_hub::stream::{PUBLISHER_SILENT_AFTER, Taken};
use millstream_policy::records::Labels;
use millstream_policy::{Action, Client, Request, Why};
use millstream_proto::id::{Id, RenditionName};
use millstream_proto::media::MediaEvent;
use millstream_proto::rtmp::relay_path::{RelayPath, Stop};
use millstream_proto::rtmp::{self, Event, Refusal, ServerConfig, ServerSession, SessionError};
use millstream_proto::time::Time;

use self::sides::Sides;
use crate::admission::word;
use crate::close::{CloseReason, GOING_DOWN};
use crate::io::{Socket, sleep_until};
use crate::renditions::JOB_PARAM;
use crate::shard::budget::Turn as Wait;
use crate::shard::events::{OfSession, Refused};
use crate::shard::introduce::introduce;
use crate::shard::mailbox::{Handoff, Mail};
use crate::shard::session::{Arrival, Session};
use crate::shard::state::Shard;
use crate::shard::stream_handle::{Publisher, StreamHandle};
use crate::shard::wait::{Either, Place, select};

/// A publisher's read buffer: two keyframes of a usual stream fit, and 2,000 publishers stay under 64 MiB.
const READ_BYTES: usize = 32 << 10;
/// A publisher that sends nothing for this long, not even answers to pings, is closed, also when nobody wants its place.
const PUBLISHER_IDLE: Duration = Duration::from_secs(15);
/// A publisher that sends nothing is pinged this often. What it answers is heard, so one whose screen does not change keeps its place, and
/// one whose network has died is silent for [`PUBLISHER_SILENT_AFTER`] soon: pings overlap, so this needs no answer within that time.
const PING_SILENT_EVERY: Duration = Duration::from_millis(400);
const _: () = assert!(PING_SILENT_EVERY.as_millis() * 2 < PUBLISHER_SILENT_AFTER.as_millis());

/// Time for a peer to take our last words and to close.
pub(crate) const GOODBYE: Duration = Duration::from_secs(2);

/// What a session that the operator ends is told.
const KICKED_BY_OPERATOR: &str = "the operator has ended this session";
/// The protocol, as events and admission name it.
const PROTOCOL: &str = "rtmp";

/// A connection and the session that is spoken on it.
pub(crate) struct Connection {
    pub(crate) session: Rc<Session>,
    pub(crate) socket: Socket,
    pub(crate) rtmp: Box<ServerSession>,
}

/// A request that a client makes.
struct Asked {
    action: Action,
    request: rtmp::Request,
}

/// Why a request is not granted.
pub(crate) struct Rejection {
    pub(crate) why: CloseReason,
    pub(crate) refusal: Refusal,
    /// What the client is told.
    pub(crate) reason: String,
    /// `None`: it named none that can be.
    pub(crate) stream: Option<Id>,
}

impl Rejection {
    /// Of a request for this stream.
    pub(crate) fn new(why: CloseReason, refusal: Refusal, stream: &Id, reason: impl Into<String>) -> Self {
        Self { why, refusal, reason: reason.into(), stream: Some(stream.clone()) }
    }
}

/// What came of a request.
pub(crate) enum Turn {
    /// The connection is somebody else's by now: another shard's, or a play's, which ended it.
    Gone,
    /// The connection may ask again.
    Again(Connection),
    Ended(Connection, CloseReason),
}

/// Serves a fresh connection to its end.
pub(crate) async fn serve(shard: Rc<Shard>, session: Rc<Session>, socket: Socket, arrival: Arrival) {
    let config = ServerConfig { chunk_size: shard.config.chunk_size, ..ServerConfig::default() };
    let rtmp = Box::new(ServerSession::new(shard.now(), config));
    let mut connection = Connection { session, socket, rtmp };
    if arrival == Arrival::Proxied {
        let Connection { session, socket, rtmp } = &mut connection;
        let timeout = shard.config.handshake_timeout;
        let introduced = introduce(&shard, session, &socket.reader, PROTOCOL, timeout).await;
        if let Err(why) = introduced.and_then(|rest| feed(&shard, session, rtmp, &rest)) {
            return finish(&shard, connection, why).await;
        }
    }
    converse(&shard, connection).await;
}

/// Goes on with a publisher that another shard handed over.
pub(crate) async fn resume(shard: Rc<Shard>, handoff: Box<Handoff>) {
    let Handoff { fd, rtmp, peer, number, id, encoder, publishes, granted, secure } = *handoff;
    let Ok(socket) = Socket::from_fd(fd) else { return };
    let session = match shard.readmit(number, peer, &socket) {
        Ok(session) => session,
        Err(limit) => {
            turn_away(&shard, socket, rtmp, "the server has as many connections as it may have");
            return shard.refused(&Refused::at_arrival(number, peer, PROTOCOL, limit));
        }
    };
    session.set_secure(secure);
    session.publishes.set(publishes);
    session.granted.replace(granted);
    match publish(&shard, Connection { session, socket, rtmp }, &id, encoder).await {
        Turn::Gone => {}
        Turn::Again(connection) => converse(&shard, connection).await,
        Turn::Ended(connection, why) => finish(&shard, connection, why).await,
    }
}

/// Refuses the waiting request of a connection that no task serves, as far as that is possible without waiting for it.
fn turn_away(shard: &Shard, mut socket: Socket, mut rtmp: Box<ServerSession>, reason: &str) {
    rtmp.reject(shard.now(), Refusal::Failed, reason);
    socket.writer.send_now(&[IoSlice::new(&rtmp.poll_output().unwrap_or_default())]);
}

/// Requests and what comes of them, until the connection ends.
async fn converse(shard: &Rc<Shard>, mut connection: Connection) {
    loop {
        let turn = match request(shard, &mut connection).await {
            Ok(Asked { action: Action::Publish, request }) => admit_publisher(shard, connection, request).await,
            Ok(Asked { action: Action::Play, request }) => crate::egress::rtmp::play(shard, connection, request).await,
            Err(why) => Turn::Ended(connection, why),
        };
        match turn {
            Turn::Gone => return,
            Turn::Again(again) => connection = again,
            Turn::Ended(connection, why) => return finish(shard, connection, why).await,
        }
    }
}

/// Says goodbye where the session has something to say, counts, logs.
async fn finish(shard: &Rc<Shard>, mut connection: Connection, why: CloseReason) {
    let why = connection.session.ending().unwrap_or(why);
    if why == CloseReason::Shutdown {
        connection.rtmp.request_reconnect(shard.now(), GOING_DOWN);
        connection.rtmp.end(shard.now(), GOING_DOWN);
    }
    if why == CloseReason::Kicked {
        connection.rtmp.end(shard.now(), KICKED_BY_OPERATOR);
    }
    connection.session.set_deadline(Some(shard.now() + GOODBYE));
    // The peer may be gone: what could not be said is lost with it.
    if connection.send_output().await.is_ok() && connection.rtmp.is_closing() {
        connection.socket.reader.linger(&shard.scratch).await;
    }
    shard.leave(&connection.session).await;
    closed(shard, &connection.session, &connection.rtmp, why);
}

/// Counts and logs the end of a session.
pub(crate) fn closed(shard: &Shard, session: &Session, rtmp: &ServerSession, why: CloseReason) {
    let stats = rtmp.stats();
    shard.stats.c2_mismatches.add(stats.c2_mismatches);
    for (reason, count) in stats.skipped() {
        shard.stats.dropped.add(reason, count);
    }
    if stats.bytes_in == 0 && why.is_peers() {
        return checked(shard, session);
    }
    let why = why.label();
    shard.stats.closed.add(why, 1);
    if session.is_quiet() {
        tracing::debug!(parent: &session.span, why, "session ended");
    } else {
        tracing::info!(parent: &session.span, why, "session ended");
    }
}

/// Counts a connection that was only to see that we are here, and is quiet about it.
pub(crate) fn checked(shard: &Shard, session: &Session) {
    shard.stats.closed.add(CloseReason::HealthCheck.label(), 1);
    tracing::debug!(parent: &session.span, "connected and left without a byte");
}

/// Reads until the client asks to publish or play.
async fn request(shard: &Shard, connection: &mut Connection) -> Result<Asked, CloseReason> {
    connection.session.set_deadline(Some(shard.now() + shard.config.handshake_timeout));
    loop {
        let mut asked = None;
        while let Some(event) = connection.rtmp.poll_event() {
            match event {
                Event::PublishRequested(request) => asked = Some(Asked { action: Action::Publish, request }),
                Event::PlayRequested(request) => asked = Some(Asked { action: Action::Play, request }),
                _ => {}
            }
        }
        // Answers to the commands before it go out without waiting for the verdict.
        connection.send_output().await?;
        if let Some(asked) = asked {
            connection.session.asked();
            return Ok(asked);
        }
        if connection.rtmp.is_closing() {
            return Err(CloseReason::Closed);
        }
        connection.read_little(shard).await?;
    }
}

impl Connection {
    /// Sends what the session has to say.
    pub(crate) async fn send_output(&mut self) -> Result<(), CloseReason> {
        while let Some(bytes) = self.rtmp.poll_output() {
            self.socket.writer.send_all(bytes).await.map_err(|_| CloseReason::PeerGone)?;
        }
        Ok(())
    }

    /// Waits for input without a buffer, and feeds it to the session.
    async fn read_little(&mut self, shard: &Shard) -> Result<(), CloseReason> {
        self.socket.reader.readable().await.map_err(|_| CloseReason::PeerGone)?;
        read_now(shard, &self.session, &self.socket.reader, &mut self.rtmp)
    }

    /// Refuses the request that waits, and tells so.
    pub(crate) fn reject(mut self, shard: &Shard, action: Action, rejection: Rejection) -> Turn {
        let Rejection { why, refusal, reason, stream } = rejection;
        // What is told of it, [`Shard::refused`] tells, which lets no flood into the log.
        tracing::debug!(parent: &self.session.span, reason, "refused");
        self.rtmp.reject(shard.now(), refusal, &reason);
        // What the policy refuses, admission has told.
        if why != CloseReason::Refused {
            let refused = Refused::of(&self.session, PROTOCOL, why.refusal_label(action), &reason);
            let stream = stream.as_ref().map_or("", Id::as_str);
            shard.refused(&Refused { action: word(action), stream, ..refused });
        }
        Turn::Ended(self, why)
    }
}

/// Feeds what is there to read to the session.
pub(crate) fn read_now(
    shard: &Shard,
    session: &Session,
    reader: &crate::io::Reader,
    rtmp: &mut ServerSession,
) -> Result<(), CloseReason> {
    let scratch = &mut *shard.scratch.borrow_mut();
    let count = match reader.recv_now(scratch) {
        Ok(None) => return Ok(()),
        Ok(Some(0)) => return Err(session.ended_by(CloseReason::PeerClosed)),
        Ok(Some(count)) => count,
        Err(error) => return Err(session.ended_by(CloseReason::of(&error))),
    };
    feed(shard, session, rtmp, scratch.get(..count).unwrap_or_default())
}

fn feed(shard: &Shard, session: &Session, rtmp: &mut ServerSession, bytes: &[u8]) -> Result<(), CloseReason> {
    rtmp.handle_input(shard.now(), bytes).map_err(|error| garbled(shard, session, error))
}

/// Tells what a client got wrong, and what to do where it is in the wrong place; gives the reason of the session's end.
fn garbled(shard: &Shard, session: &Session, error: SessionError) -> CloseReason {
    let words = match error {
        SessionError::Http if session.is_secure() && shard.https_port.is_some() => {
            format!("an HTTPS request on the RTMPS port: the HTTPS port is {}", shard.https_port.unwrap_or_default())
        }
        SessionError::Http => format!("an HTTP request on the RTMP port: the HTTP port is {}", shard.http_port),
        SessionError::Tls => match shard.rtmps_port {
            Some(port) => format!("a TLS connection on the RTMP port: RTMPS is on port {port}"),
            None => "a TLS connection on the RTMP port, which has none: push to rtmp://".to_owned(),
        },
        other => other.to_string(),
    };
    let protocol = if session.is_secure() { "rtmps" } else { PROTOCOL };
    shard.garbled(session, protocol, error.into(), &words);
    error.into()
}

/// What admission is asked about an RTMP request; an error names what is wrong with it.
pub(crate) fn question(
    shard: &Shard,
    session: &Session,
    action: Action,
    request: rtmp::Request,
) -> Result<Request, Rejection> {
    let bad_name = |reason| Rejection { why: CloseReason::BadName, refusal: Refusal::BadName, reason, stream: None };
    let client = Client {
        session: session.number,
        address: session.peer(),
        protocol: PROTOCOL,
        secure: session.is_secure(),
        user_agent: request.flash_ver,
        referer: request.page_url,
        viewer: None,
        bearer: None,
        tc_url: request.tc_url,
    };
    let mapped = shard.directory.borrow().pushed(&request.app, &request.name);
    // A stream's own address is its own, whatever another stream's paths say.
    let mapped = mapped.filter(|_| !is_own_address(shard, &request.app, &request.name));
    if let (Some((name, path)), Some(app)) = (mapped, shard.config.apps.first().cloned()) {
        return Ok(Request {
            action,
            app,
            name,
            path: Some(path),
            params: request.params,
            client,
            recheck: false,
            labels: None,
        });
    }
    if request.app.is_empty() {
        let known = shown_app(shard);
        return Err(bad_name(format!(
            "the stream name is missing, or the application: the URL is rtmp://HOST/{known}/STREAM (OBS: Server rtmp://HOST/{known}, Stream Key STREAM?sign=...)"
        )));
    }
    let app = Id::new(&request.app).map_err(|error| {
        // The whole address in OBS's field for the server.
        if request.app.contains('/') {
            let known = shown_app(shard);
            return bad_name(format!(
                "the server's address holds more than rtmp://HOST/{known}: put STREAM?sign=... into the stream key only (OBS: Server rtmp://HOST/{known}, Stream Key STREAM?sign=...)"
            ));
        }
        bad_name(format!("application: {error}"))
    })?;
    let name = Id::new(&request.name).map_err(|error| bad_name(format!("stream: {error}")))?;
    Ok(Request { action, app, name, path: None, params: request.params, client, recheck: false, labels: None })
}

/// The application that messages name.
fn shown_app(shard: &Shard) -> &str {
    shard.config.apps.first().map_or("APPLICATION", Id::as_str)
}

/// Whether an address names a stream that has a record, as the API shows it.
fn is_own_address(shard: &Shard, app: &str, name: &str) -> bool {
    let (Ok(app), Ok(name)) = (Id::new(app), Id::new(name)) else { return false };
    shard.config.apps.iter().any(|known| *known == app) && shard.directory.borrow().records().get(&name).is_some()
}

/// The RTMP words for a refusal.
pub(crate) fn refusal(why: Why) -> Refusal {
    match why {
        Why::NotFound => Refusal::NotFound,
        Why::Busy => Refusal::Failed,
        _ => Refusal::Denied,
    }
}

async fn admit_publisher(shard: &Rc<Shard>, connection: Connection, request: rtmp::Request) -> Turn {
    // Admission has its own limit of time.
    connection.session.set_deadline(None);
    if let Some(id) = rendition_of_job(shard, &request) {
        // Whoever watches the rendition was admitted, and so was its source.
        return publish_here_or_there(shard, connection, id, request.flash_ver).await;
    }
    let question = match question(shard, &connection.session, Action::Publish, request) {
        Ok(question) => question,
        Err(rejection) => return connection.reject(shard, Action::Publish, rejection),
    };
    let (mut id, encoder) = (question.name.clone(), question.client.user_agent.clone());
    pace(shard, &connection.session).await;
    match shard.admission.ask(shard, question).await {
        Ok(granted) => {
            let named = id.clone();
            id = granted.publishes(id);
            if id != named {
                tracing::info!(parent: &connection.session.span, %named, stream = %id, "published under another name");
            }
            if let Some(reason) = needs_tls(shard, &connection.session, &id) {
                let rejection = Rejection::new(CloseReason::NeedsTls, Refusal::Denied, &id, reason);
                return connection.reject(shard, Action::Publish, rejection);
            }
            connection.session.granted.replace(granted);
        }
        Err(denial) => {
            let rejection = Rejection::new(CloseReason::Refused, refusal(denial.why), &id, denial.reason);
            return connection.reject(shard, Action::Publish, rejection);
        }
    }
    publish_here_or_there(shard, connection, id, encoder).await
}

async fn publish_here_or_there(shard: &Rc<Shard>, connection: Connection, id: Id, encoder: String) -> Turn {
    if shard.home(&id) == shard.index {
        publish(shard, connection, &id, encoder).await
    } else {
        hand_over(shard, connection, id, encoder)
    }
}

/// The rendition that a worker publishes: `rtmp://HOST/APPLICATION/STREAM/RENDITION` with its job's token.
fn rendition_of_job(shard: &Shard, request: &rtmp::Request) -> Option<Id> {
    let token = request.params.get(JOB_PARAM)?;
    let mut parts = request.app.split('/').chain(request.name.split('/')).rev();
    let name = RenditionName::new(parts.next()?)?;
    let id = Id::new(parts.next()?).ok()?.of_rendition(&name);
    shard.config.renditions.admits(&id, Some(token)).then_some(id)
}

/// What is wrong where a stream is to be pushed over TLS and this connection has none, neither ours nor that of a proxy that says so.
pub(crate) fn needs_tls(shard: &Shard, session: &Session, id: &Id) -> Option<String> {
    if session.is_secure() || !shard.settings_of(id).rtmps {
        return None;
    }
    let place = match shard.rtmps_port {
        Some(port) => format!("push to rtmps:// on port {port}"),
        None => "this server has no RTMPS: give it certificates, or a proxy that has TLS and says so in PROXY headers"
            .to_owned(),
    };
    Some(format!("this stream is pushed over RTMPS only (isRtmps): {place}"))
}

/// Waits until the connection may publish once more: one that publishes and ends again and again, which costs it nothing else, is slowed.
async fn pace(shard: &Shard, session: &Session) {
    let mut publishes = session.publishes.get();
    let Wait { wait, is_news } = publishes.publish(shard.now());
    session.publishes.set(publishes);
    if wait.is_zero() {
        return;
    }
    if is_news {
        let peer = session.peer();
        tracing::warn!(parent: &session.span, %peer, "this connection publishes too often: it is slowed down to once a second");
    }
    shard.stats.publishes_slowed.add(1);
    sleep_until(shard.clock.instant(shard.now() + wait)).await;
}

/// Sends an admitted publisher to the shard that owns its stream.
fn hand_over(shard: &Shard, connection: Connection, id: Id, encoder: String) -> Turn {
    let Connection { session, socket, rtmp } = connection;
    let (peer, number, publishes) = (session.peer(), session.number, session.publishes.get());
    let (granted, secure) = (session.granted.take(), session.is_secure());
    // Nothing on this shard may refer to the socket any more: it has to be the only reference to let go of the descriptor.
    drop(session);
    let count_failed = || shard.stats.closed.add(CloseReason::HandoverFailed.label(), 1);
    let Some(fd) = socket.into_fd() else {
        count_failed();
        return Turn::Gone;
    };
    let owner = shard.home(&id);
    let handoff = Box::new(Handoff { fd, rtmp, peer, number, id, encoder, publishes, granted, secure });
    match shard.put(owner, Mail::Publisher(handoff)) {
        Ok(()) => shard.stats.handovers_total.add(1),
        Err(mail) => {
            count_failed();
            if let Mail::Publisher(handoff) = mail
                && let Ok(socket) = Socket::from_fd(handoff.fd)
            {
                let Handoff { peer, number: session, id, .. } = *handoff;
                let (action, why, stream) = (word(Action::Publish), CloseReason::Busy.label(), id.as_str());
                let reason = "the server is busy; try again in a moment";
                shard.refused(&Refused { action, why, reason, stream, session, peer, protocol: PROTOCOL });
                turn_away(shard, socket, handoff.rtmp, reason);
            }
        }
    }
    Turn::Gone
}

/// A publisher on the shard that owns its stream, from the answer to its end.
async fn publish(shard: &Rc<Shard>, mut connection: Connection, id: &Id, encoder: String) -> Turn {
    connection.session.asked();
    let no_place = |connection: Connection, why, reason: &str| {
        connection.reject(shard, Action::Publish, Rejection::new(why, Refusal::Failed, id, reason))
    };
    let publishes = || shard.publishes.publish(id, connection.session.peer().ip(), shard.now());
    match if id.is_rendition() { Some(Duration::ZERO) } else { publishes() } {
        Some(Duration::ZERO) => {}
        Some(wait) => sleep_until(shard.clock.instant(shard.now() + wait)).await,
        None => {
            let reason = "this stream, or this address, publishes too often; try again in a moment";
            return no_place(connection, CloseReason::PublishRate, reason);
        }
    }
    if shard.is_draining() {
        return no_place(connection, CloseReason::Shutdown, GOING_DOWN);
    }
    if RelayPath::read(&encoder).has(Stop::new(shard.config.relay_seed, id)) {
        let reason = "this stream has come through itself: its relay (relayURL), or that of a stream behind it, leads back to it";
        return connection.reject(
            shard,
            Action::Publish,
            Rejection::new(CloseReason::Refused, Refusal::Denied, id, reason),
        );
    }
    // A stream that is on air, or waits for its publisher, is not a new one.
    if !shard.holds(id) && !shard.sessions.has_room(Action::Publish) {
        let reason = "the server has no room for new streams now; try again in a moment";
        return no_place(connection, CloseReason::Overload, reason);
    }
    let labels = connection.session.granted.borrow().labels.clone();
    let record = connection.session.granted.borrow().record;
    let who = Publisher { peer: connection.session.peer(), protocol: PROTOCOL, encoder, labels };
    let Claimed { handle, replaced } = match claim(shard, id, connection.session.number, &who).await {
        Ok(place) => place,
        Err(NoPlace::Full) if id.is_rendition() => {
            // Refused: nobody is told.
            return no_place(connection, CloseReason::Refused, "this rendition is wanted no more");
        }
        Err(NoPlace::Full) => {
            return no_place(connection, CloseReason::Streams, "the server has as many streams as it may have");
        }
        Err(NoPlace::Taken(taken)) => {
            let rejection = Rejection::new(CloseReason::Taken, Refusal::Busy, id, taken.to_string());
            return connection.reject(shard, Action::Publish, rejection);
        }
    };
    handle.record_as_granted(record, shard);
    let replaced_heard_ago_ms = replaced.map(|(_, heard_ago)| heard_ago.as_millis() as u64);
    if let Some(old) = replaced.and_then(|(number, _)| shard.sessions.get(number)) {
        old.end(CloseReason::Replaced);
    }
    // Of one that comes too often the log has one line, the events all that there is.
    let is_slowed = connection.session.publishes.get().is_slowed();
    if !is_slowed {
        tracing::info!(parent: &connection.session.span, stream = %id, "publish started");
    }
    if !id.is_rendition() {
        shard.stats.publishes_total.add(1);
        shard.stats.publishers.add(1);
    }
    let number = connection.session.number;
    let Publisher { peer, encoder, labels, .. } = who;
    let session = OfSession { stream: id.as_str(), number, peer, protocol: PROTOCOL, labels: labels.as_ref() };
    if !id.is_rendition() {
        shard.tell(&session, || What::Publish { encoder, replaced_heard_ago_ms });
    }
    let on_air = OnAir {
        shard,
        handle: &handle,
        number,
        peer,
        labels,
        since: shard.now(),
        bytes: Cell::new(0),
        why: Cell::new(CloseReason::Defect),
    };
    let mut sides = Sides::default();
    // Media may already be there: it came with the request.
    let accepted = connection.rtmp.accept(shard.now());
    let ended = match accepted {
        Ok(()) => pump(shard, &mut connection, Some((&handle, &on_air.bytes)), &mut sides).await,
        Err(error) => Some(error.into()),
    };
    let why = connection.session.ending().or(ended).unwrap_or(CloseReason::Unpublished);
    on_air.why.set(why);
    drop(on_air);
    if !is_slowed {
        tracing::info!(parent: &connection.session.span, stream = %id, why = why.label(), "publish ended");
    }
    let ended = match ended {
        // The further streams of the connection go on without the first one.
        None if !sides.is_empty() => Box::pin(pump(shard, &mut connection, None, &mut sides)).await,
        ended => ended,
    };
    match ended {
        None => {
            // What it was admitted for is over, and what it held is given back.
            connection.session.granted.take();
            Turn::Again(connection)
        }
        Some(why) => Turn::Ended(connection, why),
    }
}

/// A publisher's place.
struct Claimed {
    handle: Rc<StreamHandle>,
    /// The session that had it, and how long ago that was heard.
    replaced: Option<(u64, Duration)>,
}

/// Why a publisher gets no place.
enum NoPlace {
    /// There are too many streams.
    Full,
    /// Somebody else has it.
    Taken(Taken),
}

/// Takes the publisher's place, also where the one before is just leaving: encoders that stop and start have their new connection
/// here before we have read the end of the old one, and those whose network died are back before the old one is known to be
/// silent.
async fn claim(shard: &Rc<Shard>, id: &Id, number: u64, who: &Publisher) -> Result<Claimed, NoPlace> {
    let until = shard.now() + PUBLISHER_SILENT_AFTER;
    let place = Place::default();
    loop {
        // Asked for each time: the stream may end with its last publisher, and this one then begins it anew.
        let handle = shard.own(id).ok_or(NoPlace::Full)?;
        let seen = handle.waiters.seen();
        let now = shard.now();
        match handle.publish(number, who, now >= until, now, shard) {
            Ok(replaced) => return Ok(Claimed { handle, replaced }),
            Err(taken) if now < until => {
                let look_at = until.min(now + taken.silent_in());
                select(handle.waiters.changed(seen, &place), sleep_until(shard.clock.instant(look_at))).await;
            }
            Err(taken) => return Err(NoPlace::Taken(taken)),
        }
    }
}

/// Gives the publisher's place up, and tells so, however the session ends.
struct OnAir<'a> {
    shard: &'a Rc<Shard>,
    handle: &'a StreamHandle,
    number: u64,
    peer: SocketAddr,
    labels: Option<Labels>,
    since: Time,
    /// Received from it.
    bytes: Cell<u64>,
    why: Cell<CloseReason>,
}

impl Drop for OnAir<'_> {
    fn drop(&mut self) {
        let Self { shard, handle, number, .. } = *self;
        let now = shard.now();
        if !handle.id.is_rendition() {
            shard.stats.publishers.add(-1);
        }
        // Whom the operator or the end of the server sends away is not stood in for.
        let dismissed = self.why.get() == CloseReason::Kicked || shard.is_draining();
        handle.leave(number, dismissed, shard);
        let session = OfSession {
            stream: handle.id.as_str(),
            number,
            peer: self.peer,
            protocol: PROTOCOL,
            labels: self.labels.as_ref(),
        };
        if handle.id.is_rendition() {
            return;
        }
        shard.tell(&session, || What::Unpublish {
            why: self.why.get().label().to_owned(),
            lasted_ms: u64::try_from(now.since(self.since).as_millis()).unwrap_or(u64::MAX),
            received_bytes: self.bytes.get(),
            // They are on all shards; the reporter, which asks all of them, fills them in.
            viewers: Vec::new(),
        });
    }
}

/// Socket to log, and to the sessions of the connection's further streams; without a place to publish at, to these alone, until the last
/// one ends. `None`: the client ended its publish and may ask again.
async fn pump(
    shard: &Rc<Shard>,
    connection: &mut Connection,
    place: Option<(&StreamHandle, &Cell<u64>)>,
    sides: &mut Sides,
) -> Option<CloseReason> {
    let number = connection.session.number;
    let mut buf = Vec::with_capacity(READ_BYTES);
    let mut events = Vec::new();
    let mut of_sides = Vec::new();
    // One timer for as long as it lasts, not one a read: it looks at when the last read was.
    let mut silence = pin!(sleep_until(shard.clock.instant(shard.now() + PING_SILENT_EVERY)));
    loop {
        let now = shard.now();
        let mut over = drain(&mut connection.rtmp, &mut events, &mut of_sides, place.is_none());
        if let Some((handle, _)) = place
            && !handle.read(number, &mut events, now, shard)
        {
            return Some(CloseReason::Replaced);
        }
        if !(of_sides.is_empty() && sides.is_empty()) {
            // Boxed: few connections have it.
            Box::pin(sides.turn(shard, connection, &mut of_sides)).await;
        }
        if place.is_none() {
            if over && !sides.is_empty() {
                continue;
            }
            over = sides.is_empty();
        }
        if shard.is_draining() {
            // Said with the first frame after the drain has begun; a publisher that sends nothing hears it at the end.
            connection.rtmp.request_reconnect(now, GOING_DOWN);
        }
        if connection.rtmp.poll_timeout().is_some_and(|at| at <= now)
            && let Err(error) = connection.rtmp.handle_timeout(now)
        {
            return Some(error.into());
        }
        connection.session.set_deadline(Some(now + PUBLISHER_IDLE));
        if let Err(why) = connection.send_output().await {
            return Some(why);
        }
        if over {
            return None;
        }
        if connection.rtmp.is_closing() {
            return Some(CloseReason::Closed);
        }
        buf.clear();
        let Connection { socket: Socket { reader, writer }, rtmp, .. } = &mut *connection;
        let mut heard = now;
        let (result, back) = {
            let mut read = pin!(reader.recv(buf));
            loop {
                let waited = if sides.is_opening() {
                    let answered = Box::pin(select(silence.as_mut(), Box::pin(sides.answered(rtmp))));
                    select(read.as_mut(), answered).await
                } else {
                    let silent = async {
                        silence.as_mut().await;
                        Either::A(())
                    };
                    select(read.as_mut(), silent).await
                };
                match waited {
                    Either::A(read) => break read,
                    Either::B(Either::B(())) => {
                        if writer.send_all(rtmp.poll_output().unwrap_or_default()).await.is_err() {
                            return Some(CloseReason::PeerGone);
                        }
                    }
                    Either::B(Either::A(())) => {
                        let now = shard.now();
                        if heard + PING_SILENT_EVERY <= now {
                            heard = now;
                            rtmp.ping(now);
                            if writer.send_all(rtmp.poll_output().unwrap_or_default()).await.is_err() {
                                return Some(CloseReason::PeerGone);
                            }
                        }
                        silence.set(sleep_until(shard.clock.instant(heard + PING_SILENT_EVERY)));
                    }
                }
            }
        };
        buf = back;
        match result {
            Ok(0) => return Some(connection.session.ended_by(CloseReason::PeerClosed)),
            // A publisher that never pauses would not notice the end of its reading side.
            Ok(_) if connection.session.ending().is_some() => return connection.session.ending(),
            Ok(count) => {
                shard.stats.bytes_in.add(count as u64);
                if let Some((_, received_bytes)) = place {
                    received_bytes.set(received_bytes.get() + count as u64);
                }
            }
            Err(error) => return Some(connection.session.ended_by(CloseReason::of(&error))),
        }
        if let Err(error) = connection.rtmp.handle_input(shard.now(), &buf) {
            let why = garbled(shard, &connection.session, error);
            // What came whole before the error is the viewers'.
            drain(&mut connection.rtmp, &mut events, &mut of_sides, false);
            if let Some((handle, _)) = place {
                handle.read(number, &mut events, shard.now(), shard);
            }
            return Some(why);
        }
    }
}

/// Moves the session's media into `events`, and what its further streams did into `of_sides`; true: the publish is over, or, where these
/// are `alone`, one of them: what comes behind it may be for who reads next.
fn drain(rtmp: &mut ServerSession, events: &mut Vec<MediaEvent>, of_sides: &mut Vec<Event>, alone: bool) -> bool {
    while let Some(event) = rtmp.poll_event() {
        match event {
            Event::Media(media) => events.push(media),
            Event::PublishEnded => return true,
            side @ Event::SideEnded { .. } if alone => {
                of_sides.push(side);
                return true;
            }
            side @ (Event::SideRequested { .. } | Event::SideMessage(_) | Event::SideEnded { .. }) => {
                of_sides.push(side);
            }
            _ => {}
        }
    }
    false
}
