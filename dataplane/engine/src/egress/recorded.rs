//! Recorded files over HTTP: playlists, media, films and pictures that somebody else has ([`crate::recorded`]). Before it: [`super::http`]'s router; who
//! may have them is asked as for live playlists and their files ([`super::hls`], [`super::edges`]). After it: the connection goes on with the
//! next request, but where a file came to an end before its length was sent.
use std::pin::pin;
use std::time::Duration;

use bytes::Bytes;
use millstream_policy::Action;
use millstream_proto::http::file::{FileQuery, Selected};
use millstream_proto::http::request::Method;
use millstream_proto::http::response::{Body, Cache, Head};
use millstream_proto::id::Id;
use millstream_proto::media::Track;
use millstream_proto::recorded::{RecordedFile, RecordedPath, RecordingFile, RecordingName};
use millstream_proto::secret::Secret;
use millstream_proto::time::Time;

use super::head::media_type;
use super::listen::viewer_hash;
use super::pass::Pass;
use super::refusal::{ANSWERS_FULL, BUSY, NO_ROOM};
use super::reply::{Answer, RecordedPlay, Reply, admit};
use super::{edges, hls, pages};
use crate::clock::unix_s;
use crate::close::CloseReason;
use crate::io::{Writer, sleep_until};
use crate::recorded::{Asked, FileAnswer, FileRequest, FoundFile, Growth, PastRequest, RecordedFiles, Taken, Verdict};
use crate::shard::answers::OpenAnswer;
use crate::shard::state::Shard;
use crate::shard::wait::select;

/// What viewers come over, as admission is asked.
const PROTOCOL: &str = "recorded";
/// What is closed stays as it is, but may be removed.
const CLOSED_MAX_AGE_S: u32 = 86_400;
/// Bytes of one send.
const SEND_BYTES_MAX: usize = 256 << 10;
/// A playlist that is changed for a viewer is held as a whole: a multivariant one has some hundred bytes.
const HELD_BYTES_MAX: u64 = 64 << 10;
/// What could not be had may be there soon.
const RETRY_AFTER: Duration = Duration::from_secs(1);

/// Whether a viewer begins with it. What is asked for by somebody who watches already, a drain lets pass; of films that is what is behind
/// their beginning.
pub(super) fn begins(file: &RecordedFile, range: Option<&str>) -> bool {
    match file {
        RecordedFile::Recording(_, RecordingFile::Multivariant | RecordingFile::Manifest)
        | RecordedFile::Vod { .. } => true,
        RecordedFile::Recording(_, RecordingFile::Clip(_)) | RecordedFile::Dated { .. } => {
            match range.and_then(Asked::parse) {
                Some(Asked::From(from) | Asked::Run(from, _)) => from == 0,
                Some(Asked::Last(_)) => false,
                None => true,
            }
        }
        RecordedFile::Recording(..) => false,
    }
}

/// Whether admission is asked. Not for media and sprites that a playlist names: who has the playlist was let in.
fn asks(file: &RecordedFile) -> bool {
    !matches!(file, RecordedFile::Recording(_, RecordingFile::Media(..) | RecordingFile::Sprite(_)))
}

fn is_multivariant(file: &RecordedFile) -> bool {
    matches!(file, RecordedFile::Recording(_, RecordingFile::Multivariant) | RecordedFile::Vod { .. })
}

fn content_type(file: &RecordedFile) -> &'static str {
    const M3U8: &str = "application/vnd.apple.mpegurl";
    match file {
        RecordedFile::Vod { .. } => M3U8,
        RecordedFile::Dated { kind, .. } if kind.is_picture() => "image/jpeg",
        RecordedFile::Dated { .. } => media_type(Track::Video),
        RecordedFile::Recording(_, file) => match file {
            RecordingFile::Multivariant | RecordingFile::Playlist(_) => M3U8,
            RecordingFile::Manifest => "application/dash+xml",
            RecordingFile::Description => "application/json",
            RecordingFile::Media(track, _) => media_type(*track),
            RecordingFile::Clip(_) => media_type(Track::Video),
            RecordingFile::Thumbnails => "text/vtt",
            RecordingFile::Sprite(_) => "image/jpeg",
        },
    }
}

/// Answers a request for what is, or may be meant to be, a recorded file of a stream, or the page beside a recording.
pub(super) async fn route(reply: &Reply<'_>, id: Id, below: &[&str]) -> Answer {
    let Some(files) = &reply.shard.config.recorded.files else {
        return Answer::Whole(reply.error(404, "this server gives out no recordings"));
    };
    let is_recording = |name: &str| RecordingName::parse(name).is_some();
    Answer::Whole(match *below {
        ["rec", name, "index.html"] if is_recording(name) => {
            reply.whole(200, pages::HTML, Cache::MaxAge(pages::MAX_AGE_S), pages::recording())
        }
        ["rec", name] if is_recording(name) => reply.redirect(&format!("{name}/index.html")),
        ["rec", name, ""] if is_recording(name) => reply.redirect("index.html"),
        _ => match RecordedPath::parse(id, below) {
            Ok(path) => return answer(reply, path, &**files).await,
            Err(error) => reply.error(404, &error.to_string()),
        },
    })
}

/// Asks whoever has the files, on behalf of who may have this one.
async fn answer(reply: &Reply<'_>, path: RecordedPath, files: &dyn RecordedFiles) -> Answer {
    let Reply { shard, session, request, .. } = *reply;
    let id = path.stream.clone();
    shard.stats.recorded_requests.add(1);
    if begins(&path.file, request.range.as_deref()) && !shard.sessions.has_room(Action::Play) {
        return reply.turned_away(id.as_str(), PROTOCOL, NO_ROOM);
    }
    let refusal = if asks(&path.file) { ask(reply, &id).await } else { guard(reply, &id).await };
    if let Some(refusal) = refusal {
        return refusal;
    }
    let Some((link, answer)) = has_place(shard).then(|| shard.answers.begin(session)).flatten() else {
        return reply.turned_away_until(id.as_str(), PROTOCOL, ANSWERS_FULL, RETRY_AFTER);
    };
    let credentials = if is_multivariant(&path.file) { hls::credentials(reply, &id, PROTOCOL) } else { None };
    let head_only = request.method == Method::Head;
    // What is changed for the viewer has other bytes than the file.
    let query = if credentials.is_some() {
        FileQuery::default()
    } else {
        FileQuery {
            if_none_match: request.if_none_match.clone(),
            conditions: request.conditions.clone(),
            range: request.range.as_deref().filter(|_| !head_only).and_then(Asked::parse),
        }
    };
    let content_type = content_type(&path.file);
    let head_only = head_only && credentials.is_none();
    let asked = FileRequest { path, range: query.range, head_only };
    files.get(asked, FileAnswer::new(link, query, head_only));
    Answer::Recorded(Box::new(RecordedPlay { id, content_type, answer, credentials }))
}

/// Asks whoever has the files for one that live playlists named, which is in no window. Who may have it has been asked.
pub(super) fn past(reply: &Reply<'_>, request: PastRequest, files: &dyn RecordedFiles) -> Answer {
    let Reply { shard, session, request: asked, .. } = *reply;
    let id = request.stream.clone();
    shard.stats.recorded_requests.add(1);
    let Some((link, answer)) = has_place(shard).then(|| shard.answers.begin(session)).flatten() else {
        return reply.turned_away_until(id.as_str(), PROTOCOL, ANSWERS_FULL, RETRY_AFTER);
    };
    let query = FileQuery {
        if_none_match: asked.if_none_match.clone(),
        conditions: asked.conditions.clone(),
        range: asked.range.as_deref().filter(|_| !request.head_only).and_then(Asked::parse),
    };
    let (content_type, head_only) = (media_type(request.track), request.head_only);
    files.get_past(request, FileAnswer::new(link, query, head_only));
    Answer::Recorded(Box::new(RecordedPlay { id, content_type, answer, credentials: None }))
}

/// Whether one more answer may be under way.
fn has_place(shard: &Shard) -> bool {
    let all: i64 = shard.all_stats.iter().map(|stats| stats.recorded_answers.get()).sum();
    usize::try_from(all).unwrap_or(0) < shard.config.recorded.answers
}

/// Asks admission, as for a playlist of a live stream.
async fn ask(reply: &Reply<'_>, id: &Id) -> Option<Answer> {
    let viewer = viewer_hash(reply);
    let granted = match admit(reply, id, PROTOCOL, Some(viewer)).await {
        Ok(granted) => granted,
        Err(refused) => return Some(refused),
    };
    let kept = reply.pass != Pass::None || reply.shard.grant(id, hls::granted(reply.session, viewer), granted.until);
    let let_in = kept && edges::let_in(reply, id, granted.until);
    (!let_in).then(|| reply.turned_away(id.as_str(), PROTOCOL, BUSY))
}

/// As for the files of a live stream.
async fn guard(reply: &Reply<'_>, id: &Id) -> Option<Answer> {
    match hls::no_longer_granted(reply, id) {
        Some(over) => Some(over),
        None => edges::refusal(reply, id, PROTOCOL).await,
    }
}

/// Why there is nothing more to send.
enum Missing {
    /// Whoever has the files takes too long.
    Late,
    /// It has ended, and said less than it announced, or nothing.
    Short,
    /// The session is being ended.
    Ending(CloseReason),
}

impl Missing {
    const fn label(&self) -> &'static str {
        match self {
            Self::Late => "late",
            Self::Short => "short",
            Self::Ending(_) => "ending",
        }
    }
}

/// Sends the answer as it comes. An error ends the connection.
pub(super) async fn send(reply: &Reply<'_>, writer: &mut Writer, play: RecordedPlay) -> Result<(), CloseReason> {
    let RecordedPlay { id, content_type, mut answer, credentials } = play;
    let shard = reply.shard;
    let (found, selected) = match verdict(reply, &mut answer).await {
        Ok(Verdict::Found(found, selected)) => (found, selected),
        Ok(other) => return whole(reply, writer, refusal(reply, &other)).await,
        Err(Missing::Ending(why)) => return Err(why),
        Err(missing) => return whole(reply, writer, missing_now(reply, &missing)).await,
    };
    let half_s = u32::try_from(shard.hls_of(&id).segment.as_secs() / 2).unwrap_or(u32::MAX).max(1);
    let cache = match found.growth {
        Growth::Closed => Cache::MaxAge(CLOSED_MAX_AGE_S),
        Growth::Growing => Cache::MaxAge(half_s),
        Growth::Immutable => Cache::Immutable,
    };
    let cache = reply.cache(&id, cache);
    if let Some(query) = credentials {
        return with_query(reply, writer, answer, &found, content_type, &query).await;
    }
    let about = |head: Head| {
        let head = head.header("ETag", found.tag.as_str()).date(unix_s());
        match found.modified_unix_s {
            Some(modified) => head.header("Last-Modified", &millstream_proto::http::response::imf_fixdate(modified)),
            None => head,
        }
    };
    let file = |status, bytes| {
        let head = Head::new(status, Body::Length(bytes), cache, reply.keep_alive).content_type(content_type);
        about(head.header("X-Content-Type-Options", "nosniff").header("Accept-Ranges", "bytes"))
    };
    let (head, bytes) = match selected {
        Selected::Whole => (file(200, found.bytes), found.bytes),
        Selected::Part(from, to) => {
            let run = format!("bytes {from}-{}/{}", to - 1, found.bytes);
            (file(206, to - from).header("Content-Range", &run), to - from)
        }
        Selected::NotModified => (about(Head::new(304, Body::None, cache, reply.keep_alive)), 0),
        Selected::Failed => {
            shard.stats.recorded_refused.add("precondition", 1);
            let reason = "the file has changed: it is not the one that If-Match or If-Unmodified-Since means";
            return whole(reply, writer, reply.error(412, reason)).await;
        }
        Selected::Nothing => {
            shard.stats.recorded_refused.add("range", 1);
            let head = Head::new(416, Body::Length(0), Cache::NoStore, reply.keep_alive).date(unix_s());
            let none = format!("bytes */{}", found.bytes);
            (head.header("Accept-Ranges", "bytes").header("Content-Range", &none), 0)
        }
    };
    let head = head.finish();
    if bytes == 0 || reply.request.method == Method::Head {
        return whole(reply, writer, head).await;
    }
    body(reply, writer, answer, head, bytes).await
}

/// Sends head and body. The head goes out with the first bytes: until then it can be said that there are none.
async fn body(
    reply: &Reply<'_>,
    writer: &mut Writer,
    mut answer: OpenAnswer,
    head: Bytes,
    mut left: u64,
) -> Result<(), CloseReason> {
    let Reply { shard, session, .. } = *reply;
    let stall_close = shard.config.stream.stall_close;
    let mut head = Some(head);
    while left > 0 {
        let pieces = match next_pieces(reply, &mut answer).await {
            Ok(pieces) => pieces,
            Err(Missing::Ending(why)) => return Err(why),
            Err(missing) if head.is_some() => return whole(reply, writer, missing_now(reply, &missing)).await,
            // What was announced does not come: all that is left to say is the end.
            Err(missing) => {
                shard.stats.recorded_refused.add(missing.label(), 1);
                return Err(CloseReason::RecordedCut);
            }
        };
        let lengths: Vec<usize> = pieces.iter().map(Bytes::len).collect();
        let pieces = head.take().into_iter().chain(pieces).collect();
        session.set_deadline(Some(shard.now() + stall_close));
        let progress = |count| {
            session.set_deadline(Some(shard.now() + stall_close));
            shard.stats.bytes_out.add(count as u64);
            shard.stats.recorded_bytes.add(count as u64);
        };
        writer.send_file(pieces, progress).await.map_err(|_| CloseReason::PeerGone)?;
        session.set_deadline(None);
        for bytes in lengths {
            answer.sent(bytes);
            left = left.saturating_sub(bytes as u64);
        }
    }
    Ok(())
}

/// A multivariant playlist whose playlists are named with this query, as that of a live stream.
async fn with_query(
    reply: &Reply<'_>,
    writer: &mut Writer,
    mut answer: OpenAnswer,
    found: &FoundFile,
    content_type: &'static str,
    query: &Secret,
) -> Result<(), CloseReason> {
    if found.bytes > HELD_BYTES_MAX {
        return whole(reply, writer, reply.error(500, "the recording's playlist is too long to name its playlists"))
            .await;
    }
    let mut text = Vec::new();
    while (text.len() as u64) < found.bytes {
        match next_pieces(reply, &mut answer).await {
            Ok(pieces) => pieces.iter().for_each(|piece| {
                text.extend_from_slice(piece);
                answer.sent(piece.len());
            }),
            Err(Missing::Ending(why)) => return Err(why),
            Err(missing) => return whole(reply, writer, missing_now(reply, &missing)).await,
        }
    }
    let text = hls::with_query(&String::from_utf8_lossy(&text), query.expose());
    whole(reply, writer, reply.whole(200, content_type, Cache::NoStore, text.as_bytes())).await
}

/// Sends all of a short answer.
async fn whole(reply: &Reply<'_>, writer: &mut Writer, bytes: Bytes) -> Result<(), CloseReason> {
    reply.session.set_deadline(Some(reply.shard.now() + reply.shard.config.stream.stall_close));
    writer.send_all(bytes).await.map_err(|_| CloseReason::PeerGone)
}

/// Waits for what whoever has the files says of this one.
async fn verdict(reply: &Reply<'_>, answer: &mut OpenAnswer) -> Result<Verdict, Missing> {
    let give_up_at = reply.shard.now() + reply.shard.config.recorded.wait;
    loop {
        match answer.take() {
            Taken::Verdict(verdict) => return Ok(*verdict),
            // It comes before any piece.
            Taken::Over | Taken::Piece(_) => return Err(Missing::Short),
            Taken::Nothing => news(reply, give_up_at).await?,
        }
    }
}

/// Waits for pieces, and takes as many as there are for one send.
async fn next_pieces(reply: &Reply<'_>, answer: &mut OpenAnswer) -> Result<Vec<Bytes>, Missing> {
    let give_up_at = reply.shard.now() + reply.shard.config.recorded.wait;
    let (mut pieces, mut bytes) = (Vec::new(), 0);
    loop {
        if let Some(why) = reply.session.ending() {
            return Err(Missing::Ending(why));
        }
        match answer.take() {
            Taken::Piece(piece) => {
                bytes += piece.len();
                pieces.push(piece);
                if bytes >= SEND_BYTES_MAX {
                    return Ok(pieces);
                }
            }
            Taken::Nothing | Taken::Over if !pieces.is_empty() => return Ok(pieces),
            Taken::Nothing => news(reply, give_up_at).await?,
            Taken::Over | Taken::Verdict(_) => return Err(Missing::Short),
        }
    }
}

/// Waits until there may be news of the answer.
async fn news(reply: &Reply<'_>, give_up_at: Time) -> Result<(), Missing> {
    let Reply { shard, session, .. } = *reply;
    if let Some(why) = session.ending() {
        return Err(Missing::Ending(why));
    }
    if shard.now() >= give_up_at {
        return Err(Missing::Late);
    }
    let timer = pin!(sleep_until(shard.clock.instant(give_up_at)));
    select(session.notify.notified(), timer).await;
    Ok(())
}

/// The answer where nothing came, or not in time.
fn missing_now(reply: &Reply<'_>, missing: &Missing) -> Bytes {
    reply.shard.stats.recorded_refused.add(missing.label(), 1);
    let reason = "the recording could not be read now; try again in a moment";
    reply.error_until(503, reason, Some(RETRY_AFTER))
}

/// The answer where whoever has the files has no file to give.
fn refusal(reply: &Reply<'_>, verdict: &Verdict) -> Bytes {
    let refused = &reply.shard.stats.recorded_refused;
    match verdict {
        Verdict::Redirect(to) => reply.elsewhere(to.expose()),
        Verdict::Unavailable(retry_after) => {
            refused.add("unavailable", 1);
            let reason = "the store of the recordings does not answer now; try again in a moment";
            reply.error_until(503, reason, Some(*retry_after))
        }
        Verdict::Denied => {
            refused.add("denied", 1);
            reply.error(403, "this recording is not given out")
        }
        Verdict::NotFound | Verdict::Found(..) => {
            refused.add("not_found", 1);
            reply.error(404, "there is no such recording, or it has no such file; it may have been removed")
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn path(text: &str) -> RecordedFile {
        let below: Vec<&str> = text.split('/').collect();
        RecordedPath::parse(Id::new("cam").unwrap(), &below).unwrap().file
    }

    #[test]
    fn what_a_viewer_begins_with_and_what_is_asked_about() {
        let movie = "mp4/2026/11/24/1795531265250.mp4";
        for (text, range, begin, ask) in [
            ("rec/1-a/index.m3u8", None, true, true),
            ("vod-1.m3u8", None, true, true),
            ("rec/1-a/manifest.mpd", None, true, true),
            ("rec/1-a/video.m3u8", None, false, true),
            ("rec/1-a/recording.json", None, false, true),
            ("rec/1-a/video/7.mp4", None, false, false),
            (movie, None, true, true),
            (movie, Some("bytes=0-"), true, true),
            (movie, Some("bytes=5-"), false, true),
            (movie, Some("bytes=5-9"), false, true),
            (movie, Some("bytes=-9"), false, true),
            (movie, Some("bytes=5-9,20-"), true, true),
            ("images/2026/11/24/1795531265250.jpg", None, true, true),
        ] {
            let file = path(text);
            assert_eq!((begins(&file, range), asks(&file)), (begin, ask), "{text} {range:?}");
        }
    }

    #[test]
    fn types_of_contents() {
        for (text, expected) in [
            ("vod-1.m3u8", "application/vnd.apple.mpegurl"),
            ("rec/1-a/audio.m3u8", "application/vnd.apple.mpegurl"),
            ("rec/1-a/audio/init-1.mp4", "audio/mp4"),
            ("rec/1-a/video/7.m4s", "video/mp4"),
            ("motion/mp4/2026/11/24/1.mp4", "video/mp4"),
            ("motion/images/2026/11/24/1.jpg", "image/jpeg"),
            ("rec/1-a/recording.json", "application/json"),
        ] {
            assert_eq!(content_type(&path(text)), expected, "{text}");
        }
    }
}
