//! HLS and DASH: playlists, segments and parts, out of a stream handle's window. Requests for what is not there yet wait here, each with a
//! deadline and without a buffer. Before it: [`super::http`]'s router; after it: the connection sends the answer.
use std::pin::pin;
use std::rc::Rc;
use std::time::Duration;

use bytes::Bytes;
use millstream_hub::package::file_name::Name;
use millstream_hub::package::window::{Answer as Found, Media, Playlist, Refusal, Window};
use millstream_policy::Action;
use millstream_proto::hls::request::Directives;
use millstream_proto::http::request::Method;
use millstream_proto::http::response::Cache;
use millstream_proto::id::Id;
use millstream_proto::media::Track;
use millstream_proto::output;
use millstream_proto::secret::Secret;
use millstream_proto::time::Time;

use super::head::media_type;
use super::listen::{listen, viewer_hash};
use super::pass::Pass;
use super::past_view::Look;
use super::refusal::{BLOCKED, BUSY, NO_ROOM};
use super::reply::{Answer, Reply, admit, question};
use super::{beside, dvr, edges, recorded, renditions};
use crate::clock::unix_ms;
use crate::close::CloseReason;
use crate::io::sleep_until;
use crate::output::{Asked, Document, File, OutputFormat, Serve, unnumbered};
use crate::recorded::PastRequest;
use crate::shard::grants::Viewer;
use crate::shard::packaging::Packaging;
use crate::shard::part_sender::{self, Delivered, PartId};
use crate::shard::presence::Asks;
use crate::shard::session::Session;
use crate::shard::state::Shard;
use crate::shard::stream_handle::mirror::NotPlayable;
use crate::shard::stream_handle::{StreamHandle, ViewerGuard};
use crate::shard::wait::{Either, Place, select};

/// The first playlist waits this long until the stream's tracks are known, and as long for a track that is known and has not been heard yet:
/// players read once which tracks there are.
const TRACKS_WAIT: Duration = Duration::from_secs(3);
/// What is recorded of a stream is looked for so often while it is being made.
const ARCHIVE_LOOK: Duration = Duration::from_millis(20);
/// What does not come within three target durations is answered just before they are over.
const GIVE_UP_TARGETS: u32 = 3;
const GIVE_UP_BEFORE: Duration = Duration::from_millis(250);
/// Shared caches may keep an answer that was waited for this many target durations: nobody who has it asks for its URL again.
const WAITED_TARGETS: u32 = 6;
/// And any other answer by number this many seconds: a crowd is one request, and a player that asks again soon gets something newer.
const AT_ONCE_S: u32 = 1;
/// What is named by a session of the source may be made anew when a rendition is: it is kept for as long as players follow each other.
const ALIGNED_MAX_AGE_S: u32 = 10;

/// HLS. Players of it read the segments of DASH, so that a stream with either has its playlists.
pub(crate) static HLS: OutputFormat = OutputFormat {
    protocol: "hls",
    role: None,
    output: Some(&output::HLS),
    is_on: |outputs| outputs.hls || outputs.cmaf,
    serve: Serve::Documents(&[
        multivariant("live.m3u8", |window, asked| window.multivariant(asked.settled).map(unnumbered)),
        multivariant("index.m3u8", |window, asked| {
            window.multivariant_with(asked.renditions, asked.settled).map(unnumbered)
        }),
        playlist("video.m3u8", |window, asked| track_playlist(Track::Video, window, asked)),
        playlist("audio.m3u8", |window, asked| track_playlist(Track::Audio, window, asked)),
        Document {
            begins: true,
            ..back("dvr.m3u8", |window, asked| window.shifted_multivariant(asked.settled).map(unnumbered))
        },
        back("dvr-video.m3u8", |window, asked| track_back(Track::Video, window, asked)),
        back("dvr-audio.m3u8", |window, asked| track_back(Track::Audio, window, asked)),
    ]),
};

const fn multivariant(file: &'static str, render: Render) -> Document {
    Document { begins: true, ..playlist(file, render) }
}

fn track_playlist(track: Track, window: &mut Window, asked: &Asked<'_>) -> Found<Playlist> {
    window.playlist_at(track, asked.directives, asked.beside, (asked.asked_at, asked.now))
}

const fn back(file: &'static str, render: Render) -> Document {
    Document { reaches_back: true, ..playlist(file, render) }
}

fn track_back(track: Track, window: &mut Window, asked: &Asked<'_>) -> Found<Playlist> {
    let Some(archive) = asked.archive else { return Found::Wait };
    window.shifted(track, archive, asked.directives, asked.asked_at, asked.now)
}

type Render = fn(&mut Window, &Asked<'_>) -> Found<Playlist>;

const fn playlist(file: &'static str, render: Render) -> Document {
    Document {
        file,
        content_type: "application/vnd.apple.mpegurl",
        begins: false,
        reaches_back: false,
        render,
        // Half a target duration; a second is the least that can be said.
        max_age_s: |target_s| (target_s / 2).max(1),
        rebase,
    }
}

/// Why there is no answer.
enum Failed {
    /// The window says no.
    Refused(Refusal),
    /// It did not come in time.
    Late,
    /// Too many wait.
    Full,
    /// It is not recorded.
    NotRecorded,
    /// It ended before anything of it was there: a rendition that cannot be made, as its worker has said meanwhile.
    NotMade,
}

/// Answers a request for a playlist or manifest.
pub(super) async fn document(
    reply: &Reply<'_>,
    id: Id,
    format: &'static OutputFormat,
    of: &'static Document,
) -> Answer {
    let Reply { shard, session, .. } = *reply;
    let (asked_at, protocol) = (shard.now(), format.protocol);
    shard.stats.hls_playlists.add(1);
    let directives = match Directives::parse(&reply.request.query) {
        Ok(directives) => directives,
        Err(error) => return reply.refuse(400, &error.to_string()),
    };
    if of.begins && !shard.sessions.has_room(Action::Play) {
        return reply.turned_away(id.as_str(), protocol, NO_ROOM);
    }
    let viewer = viewer_hash(reply);
    let granted_now = match admit(reply, &id, protocol, Some(viewer)).await {
        Ok(granted) => granted,
        Err(refused) => return refused,
    };
    let source = match subscribe(shard, &id).await {
        Ok(source) => source,
        Err(not_playable) => return renditions::turned_away(reply, &id, protocol, not_playable).await,
    };
    let kept = reply.pass != Pass::None || shard.grant(&id, granted(session, viewer), granted_now.until);
    if !kept || !edges::let_in(reply, &id, granted_now.until) {
        return reply.turned_away(id.as_str(), protocol, BUSY);
    }
    part_sender::after_parts(&source.handle().packaging).await;
    if let Err(failed) = until_open(shard, session, source.handle(), asked_at + TRACKS_WAIT).await {
        return reply.failed(&id, protocol, &failed);
    }
    source.package(shard);
    let asked_at = shard.now();
    let waiting = Waiting { shard, session, handle: source.handle(), asked_at };
    let tracks_by = asked_at + TRACKS_WAIT;
    let mut was_held = false;
    let packaging = Rc::clone(&source.handle().packaging);
    source.handle().reached.hear(viewer, protocol, asked_at);
    listen(reply, &id, Some(protocol));
    if let Source::Live(_) = source {
        let target_s = packaging.window.borrow().target_duration_s().unwrap_or(1);
        let target = Duration::from_secs(target_s.into());
        shard.playlists_wanted.heard(target, asked_at);
        let (peer, secure, labels) = (session.peer(), session.is_secure(), granted_now.labels.as_ref());
        shard.plays_by_playlists(&Asks { stream: &id, viewer, peer, protocol, secure, labels, target });
    }
    if of.reaches_back
        && let Err(failed) = until_archived(shard, session, &id, &packaging, tracks_by).await
    {
        return reply.failed(&id, protocol, &failed);
    }
    let past = &packaging.past;
    let renditions = shard.offered_renditions(&id.stream());
    let found = waiting.until_found(|window, now| {
        let settled = now >= tracks_by;
        let archived = if of.reaches_back { past.look(shard, &id, window) } else { Look::Soon };
        let archive = match &archived {
            Look::Here(here) => Some(here.archive()),
            Look::Soon | Look::NotRecorded => None,
        };
        let all = renditions.as_deref().unwrap_or_default();
        let beside = &|window: &Window| beside::of(shard, &id, window, all);
        let renditions = if id.is_rendition() { &[] } else { all };
        let unix_ms = unix_ms();
        let asked = Asked { directives: &directives, asked_at, now, unix_ms, settled, renditions, beside, archive };
        let found = (of.render)(window, &asked);
        was_held |= found == Found::Wait;
        found
    });
    let found = found.await;
    let target_s = source.handle().packaging.window.borrow().target_duration_s().unwrap_or(1);
    match found {
        Ok(Playlist { text, by_number, past }) => {
            let cache = if by_number {
                by_number_cache(&directives, was_held, target_s)
            } else {
                Cache::MaxAge((of.max_age_s)(target_s))
            };
            let cache = reply.cache(&id, cache);
            if let Some(past) = past {
                return dvr::answer(&packaging.past, reply, of.content_type, cache, &text, &past);
            }
            let text = match &reply.base {
                Some(base) => (of.rebase)(&String::from_utf8_lossy(&text), base).into(),
                None => text,
            };
            if of.begins
                && protocol == HLS.protocol
                && let Some(query) = credentials(reply, &id, protocol)
            {
                let text = with_query(&String::from_utf8_lossy(&text), query.expose());
                return Answer::Whole(reply.whole(200, of.content_type, Cache::NoStore, text.as_bytes()));
            }
            reply.text(of.content_type, cache, &packaging.texts.of(text))
        }
        Err(Failed::NotMade) => renditions::turned_away(reply, &id, protocol, NotPlayable::NotOnAir).await,
        Err(failed) => reply.failed(&id, protocol, &failed),
    }
}

/// How long caches may keep an answer to a request by number. A browser never keeps one: Video.js asks for part 0 of the last whole segment
/// while the next segment has no part yet, and would get the answer that it got when that part was new, again and again. For the same
/// reason shared caches keep answers to requests for a part 0 for a moment only.
fn by_number_cache(directives: &Directives, was_held: bool, target_s: u32) -> Cache {
    let first_part = directives.until.is_some_and(|until| until.part == Some(0));
    Cache::Shared(if was_held && !first_part { target_s * WAITED_TARGETS } else { AT_ONCE_S })
}

/// Who asks, for grants: the name alone is anybody's to choose.
pub(super) fn granted(session: &Session, name: u64) -> Viewer {
    Viewer { address: session.peer().ip().to_canonical(), name }
}

/// A playlist for a request that came by another path than its files are below.
fn rebase(text: &str, base: &str) -> String {
    let mut out = String::with_capacity(text.len() + 256);
    for line in text.split_inclusive('\n') {
        // A marker says what it likes, and may call something so.
        let is_marker = line.starts_with("#EXT-X-DATERANGE:");
        match line.split_once("URI=\"").filter(|_| !is_marker) {
            Some((head, rest)) if line.starts_with('#') => out.extend([head, "URI=\"", base, rest]),
            _ if line.starts_with('#') || line.trim().is_empty() => out.push_str(line),
            _ => out.extend([base, line]),
        }
    }
    out
}

/// The parameters of a request by which a step of the chain knows who asks: players take them along to the playlists that the first one
/// names, if it names them so. Not to files, for which nobody is asked, nor for DASH, whose manifest is its only document.
pub(super) fn credentials(reply: &Reply<'_>, id: &Id, protocol: &'static str) -> Option<Secret> {
    if reply.pass != Pass::None || reply.request.query.is_empty() {
        return None;
    }
    let question = question(reply, id, protocol, None)?;
    if !reply.shard.admission.reads_params(&question) {
        return None;
    }
    let mut params = question.params;
    // These are about one request.
    params.retain(|name| !name.starts_with("_HLS_") && name != "CMCD");
    Some(params.to_query()).filter(|query| !query.is_empty())
}

/// A multivariant playlist whose playlists are named with this query.
pub(super) fn with_query(text: &str, query: &str) -> String {
    let mut out = String::with_capacity(text.len() + 4 * query.len());
    for line in text.split_inclusive('\n') {
        let (line, end) = line.strip_suffix('\n').map_or((line, ""), |line| (line, "\n"));
        let uri = line.split_once("URI=\"").filter(|_| line.starts_with('#'));
        match uri.and_then(|(head, rest)| Some((head, rest.split_once('"')?))) {
            Some((head, (uri, rest))) => out.extend([head, "URI=\"", uri, "?", query, "\"", rest, end]),
            None if line.starts_with('#') || line.trim().is_empty() => out.extend([line, end]),
            None => out.extend([line, "?", query, end]),
        }
    }
    out
}

/// A viewer guard at a stream that is on air, or was until just now.
async fn subscribe(shard: &Rc<Shard>, id: &Id) -> Result<Source, NotPlayable> {
    match shard.subscribe(id).await {
        Ok(source) => Ok(Source::Live(source)),
        Err(NotPlayable::NotOnAir) => shard.newest_listed(id).map(Source::Over).ok_or(NotPlayable::NotOnAir),
        Err(busy) => Err(busy),
    }
}

/// Where playlists are read.
enum Source {
    Live(ViewerGuard),
    Over(Rc<StreamHandle>),
}

impl Source {
    fn handle(&self) -> &Rc<StreamHandle> {
        match self {
            Self::Live(source) => &source.handle,
            Self::Over(handle) => handle,
        }
    }

    /// Cuts it into parts and segments from here on.
    fn package(&self, shard: &Rc<Shard>) {
        if let Self::Live(source) = self {
            source.handle.package(shard);
            shard.keep_if_over(&source.handle);
        }
    }
}

/// Waits until it is known what is recorded of the stream, or that moment.
async fn until_archived(
    shard: &Rc<Shard>,
    session: &Session,
    id: &Id,
    packaging: &Packaging,
    until: Time,
) -> Result<(), Failed> {
    let settings = shard.settings_of(id);
    // Its recording begins a moment after the stream.
    let is_meant = settings.on_demand_s.is_some();
    if settings.dvr_window_s == Some(0) {
        return Err(Failed::NotRecorded);
    }
    let mut blocked = None;
    loop {
        let look = packaging.past.look(shard, id, &packaging.window.borrow());
        match look {
            Look::Here(_) => return Ok(()),
            Look::NotRecorded if !is_meant || shard.now() >= until => return Err(Failed::NotRecorded),
            Look::Soon if shard.now() >= until || session.ending().is_some() => return Err(Failed::Late),
            Look::NotRecorded | Look::Soon => {}
        }
        if blocked.is_none() {
            blocked = Some(Blocked::begin(shard).ok_or(Failed::Full)?);
        }
        // Nobody who makes it knows this shard: it is looked for, once per stream and shard.
        sleep_until(shard.clock.instant(shard.now() + ARCHIVE_LOOK)).await;
    }
}

/// Waits until the stream's tracks are known, or that moment.
async fn until_open(shard: &Rc<Shard>, session: &Session, handle: &StreamHandle, until: Time) -> Result<(), Failed> {
    let place = Place::default();
    let mut blocked = None;
    loop {
        let seen = handle.waiters.seen();
        // A mirror of a stream that is over has its playlists, and a log that never opened.
        let is_known = !handle.has_not_begun() || handle.log.borrow().ended().is_some();
        if is_known || shard.now() >= until || session.ending().is_some() {
            return Ok(());
        }
        if blocked.is_none() {
            blocked = Some(Blocked::begin(shard).ok_or(Failed::Full)?);
        }
        let timer = pin!(sleep_until(shard.clock.instant(until)));
        select(handle.waiters.changed_or(seen, &session.notify, &place), timer).await;
    }
}

/// A header, segment or part. Admission is not asked: who knows the session's name was let in. Where there are edges, whoever does not come
/// through one must have been let in lately.
pub(super) async fn file(reply: &Reply<'_>, id: Id, file: File<'_>) -> Answer {
    match live_file(reply, &id, file).await {
        Ok(answer) => answer,
        // It may have left the window, and be recorded.
        Err(refusal) => past_file(reply, id, file).unwrap_or(refusal),
    }
}

/// The same out of a recording; `None` where nobody has any.
fn past_file(reply: &Reply<'_>, id: Id, File { session, track, name }: File<'_>) -> Option<Answer> {
    let files = reply.shard.config.recorded.files.as_ref()?;
    if reply.shard.settings_of(&id).dvr_window_s == Some(0) {
        return None;
    }
    let file = Name::parse(name).filter(|name| !matches!(name, Name::Part(_)))?;
    let head_only = reply.request.method == Method::Head;
    let request = PastRequest { stream: id, session: session.to_owned(), track, file, head_only };
    Some(recorded::past(reply, request, &**files))
}

/// The same out of a window. An error is the answer where no window has it.
async fn live_file(reply: &Reply<'_>, id: &Id, file: File<'_>) -> Result<Answer, Answer> {
    let Reply { shard, session, .. } = *reply;
    let asked_at = shard.now();
    shard.stats.hls_files.add(1);
    if let Some(over) = no_longer_granted(reply, id) {
        return Ok(over);
    }
    if let Some(refusal) = edges::refusal(reply, id, HLS.protocol).await {
        return Ok(refusal);
    }
    let File { session: life, track, name } = file;
    // A rendition that only goes by the same source may have a successor: it answers with what it has, and for nothing else.
    let past = shard.ended_session(id, life).filter(|over| {
        let window = over.packaging.window.borrow();
        window.session() == Some(life) || matches!(window.media(life, track, name), Found::Ready(_))
    });
    let place = match past {
        Some(handle) => Ok(Source::Over(handle)),
        None => match subscribe(shard, id).await {
            // The owner may have told meanwhile what there is of it.
            Err(NotPlayable::NotOnAir) => shard.ended_session(id, life).map(Source::Over).ok_or(NotPlayable::NotOnAir),
            place => place,
        },
    };
    let place = match place {
        Ok(place) => place,
        Err(NotPlayable::NotOnAir) => {
            return match renditions::refusal(shard, id).await {
                Some((status, reason)) => Ok(reply.refuse(status, &reason)),
                None => Err(reply.refuse(404, &Refusal::NotFound.to_string())),
            };
        }
        Err(NotPlayable::Busy) => return Ok(reply.refuse(BUSY.status, BUSY.reason)),
    };
    place.package(shard);
    let part_sender = &place.handle().packaging.part_sender;
    let whole = reply.request.method == Method::Get && reply.request.range.is_none();
    let waiting = Waiting { shard, session, handle: place.handle(), asked_at };
    let mut cache = reply.cache(id, Cache::Immutable);
    let (mut waited, mut waiting_place) = (false, None);
    let found = waiting.until_found(|window, _| {
        if let Some(delivered) = waiting_place.as_ref().and_then(part_sender::Place::delivered) {
            return Found::Ready(Got::Delivered(delivered));
        }
        let found = window.media(life, track, name);
        if found == Found::Wait {
            waited = true;
            if let (true, None, Some(number)) = (whole, &waiting_place, window.awaited(life, track, name)) {
                waiting_place =
                    part_sender.wait(session.number, PartId { track, number }, (reply.keep_alive, cache), reply.writer);
            }
        }
        found.map(Got::File)
    });
    let found = match found.await {
        // It may be of an earlier life of the stream, which this shard was told of only now.
        Err(Failed::Refused(Refusal::NotFound)) => match shard.ended_session(id, life) {
            Some(over) => over.packaging.window.borrow().media(life, track, name).map(Got::File),
            None => Found::Refused(Refusal::NotFound),
        },
        Err(failed) => return Ok(reply.failed(id, HLS.protocol, &failed)),
        Ok(got) => Found::Ready(got),
    };
    if place.handle().packaging.window.borrow().is_guided_by(life) {
        cache = reply.cache(id, Cache::MaxAge(ALIGNED_MAX_AGE_S));
    }
    if let Found::Ready(_) = found {
        // Who names a file that is there was let in; an invented one says nothing of anybody.
        listen(reply, id, None);
    }
    Ok(match found {
        Found::Ready(Got::File(Media { track, pieces, arrived })) => {
            match reply.file(media_type(track), cache, pieces) {
                Answer::File { pieces, .. } => Answer::File { pieces, waited_since: arrived.filter(|_| waited) },
                other => other,
            }
        }
        Found::Ready(Got::Delivered(Delivered { rest, .. })) if rest.is_empty() => Answer::Sent,
        Found::Ready(Got::Delivered(Delivered { rest, arrived })) => {
            Answer::File { pieces: rest, waited_since: Some(arrived) }
        }
        Found::Refused(refusal) => return Err(reply.failed(id, HLS.protocol, &Failed::Refused(refusal))),
        // Nothing more comes of a life that is over.
        Found::Wait => return Err(reply.failed(id, HLS.protocol, &Failed::Refused(Refusal::NotFound))),
    })
}

/// The answer to who was admitted with a playlist, for a time that is over.
pub(super) fn no_longer_granted(reply: &Reply<'_>, id: &Id) -> Option<Answer> {
    let Reply { shard, session, .. } = *reply;
    let is_over = reply.pass == Pass::None
        && shard.grants.is_over(&id.stream(), || granted(session, viewer_hash(reply)), shard.now());
    is_over.then(|| reply.refuse(403, "the time that this viewer was admitted for is over; load the playlist again"))
}

/// What a request for a file gets.
enum Got {
    /// The file, to be sent.
    File(Media),
    /// A part, which went out as soon as it was there.
    Delivered(Delivered),
}

impl Reply<'_> {
    fn refuse(&self, status: u16, detail: &str) -> Answer {
        Answer::Whole(self.error(status, detail))
    }

    fn failed(&self, id: &Id, protocol: &'static str, failed: &Failed) -> Answer {
        match failed {
            Failed::Refused(refusal @ Refusal::FarAhead) => self.refuse(400, &refusal.to_string()),
            Failed::Refused(refusal) => self.refuse(404, &refusal.to_string()),
            Failed::Late => self.refuse(503, "it did not come in time; the publisher may be away: reload the playlist"),
            Failed::Full => self.turned_away(id.as_str(), protocol, BLOCKED),
            Failed::NotMade => self.turned_away(id.as_str(), protocol, NotPlayable::NotOnAir.into()),
            Failed::NotRecorded => self.refuse(
                404,
                "this stream is not being recorded, so there is nothing to go back to; live.m3u8 plays it live",
            ),
        }
    }
}

/// A request that may have to wait.
struct Waiting<'a> {
    shard: &'a Shard,
    session: &'a Session,
    handle: &'a StreamHandle,
    asked_at: Time,
}

impl Waiting<'_> {
    /// Looks, and looks again after each change, until there is an answer or it has taken too long.
    async fn until_found<T>(&self, mut look: impl FnMut(&mut Window, Time) -> Found<T>) -> Result<T, Failed> {
        let Self { shard, session, handle, asked_at } = self;
        let packaging = &handle.packaging;
        let mut place = None;
        let mut blocked = None;
        loop {
            let seen = packaging.waiters.seen();
            let now = shard.now();
            if handle.is_over() && handle.has_not_begun() {
                return Err(Failed::NotMade);
            }
            let (found, target_s, pair_wait) = {
                let window = &mut *packaging.window.borrow_mut();
                (look(window, now), window.target_duration_s(), window.pair_wait())
            };
            match found {
                Found::Ready(found) => return Ok(found),
                Found::Refused(refusal) => return Err(Failed::Refused(refusal)),
                Found::Wait => {}
            }
            // As long as nothing is known, three of the shortest.
            let give_up_at =
                *asked_at + Duration::from_secs(u64::from(target_s.unwrap_or(1) * GIVE_UP_TARGETS)) - GIVE_UP_BEFORE;
            // A server that ends has an answer yet: the end of the stream.
            if now >= give_up_at || session.ending().is_some_and(|why| why != CloseReason::Shutdown) {
                return Err(Failed::Late);
            }
            if blocked.is_none() {
                blocked = Some(Blocked::begin(shard).ok_or(Failed::Full)?);
            }
            // The moments besides that at which something else may be answered.
            let moments = [*asked_at + pair_wait, *asked_at + TRACKS_WAIT];
            let look_at = moments.into_iter().filter(|at| now < *at).fold(give_up_at, Time::min);
            let changed = packaging.waiters.changed_or(seen, &session.notify, place.get_or_insert_with(Place::default));
            let timer = pin!(sleep_until(shard.clock.instant(look_at)));
            match select(changed, timer).await {
                Either::A(()) | Either::B(()) => {}
            }
        }
    }
}

/// A request that waits: counted while it is held.
struct Blocked<'a>(&'a Shard);

impl<'a> Blocked<'a> {
    /// `None`: as many wait as may.
    fn begin(shard: &'a Shard) -> Option<Self> {
        let blocked: i64 = shard.all_stats.iter().map(|stats| stats.hls_blocked.get()).sum();
        if usize::try_from(blocked).unwrap_or(0) >= shard.config.limits.blocked {
            return None;
        }
        shard.stats.hls_blocked.add(1);
        Some(Self(shard))
    }
}

impl Drop for Blocked<'_> {
    fn drop(&mut self) {
        self.0.stats.hls_blocked.add(-1);
    }
}

/// The server's time, for players that align their clock with it.
pub(super) fn time(reply: &Reply<'_>) -> Bytes {
    let text = millstream_proto::time::rfc3339(unix_ms());
    reply.whole(200, "text/plain; charset=utf-8", Cache::NoStore, text.as_bytes())
}

#[cfg(test)]
mod tests {
    use super::with_query;

    #[test]
    fn playlists_are_named_with_the_query_and_nothing_else_is() {
        let text = "#EXTM3U\n#EXT-X-MEDIA:TYPE=AUDIO,URI=\"audio.m3u8\",NAME=\"a\"\n#EXT-X-STREAM-INF:BANDWIDTH=1\nvideo.m3u8\n";
        let expected = "#EXTM3U\n#EXT-X-MEDIA:TYPE=AUDIO,URI=\"audio.m3u8?token=x\",NAME=\"a\"\n#EXT-X-STREAM-INF:BANDWIDTH=1\nvideo.m3u8?token=x\n";
        assert_eq!(with_query(text, "token=x"), expected);
        assert_eq!(with_query("\n#a\n", "q"), "\n#a\n");
        assert_eq!(with_query("video.m3u8", "q"), "video.m3u8?q");
    }
}
