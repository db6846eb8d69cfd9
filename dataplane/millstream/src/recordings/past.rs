//! A segment or header that live playlists named and that has left the window, for viewers who have gone back: out of the spool while it is there, then
//! out of the store. Before it: [`super::playback`]; after it: the recorder, which knows where it is.
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt as _;
use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;
use futures_util::StreamExt as _;
use millstream_engine::recorded::{EntityTag, FileAnswer, FileBody, FoundFile, Growth, PastRequest};
use millstream_objects::{ErrorKind, Key, ObjectError, ObjectStore, Span};
use millstream_recorder::name::object_path;
use millstream_recorder::run::Handle as Recorder;
use millstream_recorder::shift::{Located, Place};

use super::playback::RETRY_AFTER;

/// Bytes that are read of a file at once.
const CHUNK_BYTES: u64 = 128 << 10;

/// Answers; an error is one that an operator is to know.
pub(super) async fn give(
    store: &dyn ObjectStore,
    recorder: &Recorder,
    request: &PastRequest,
    answer: FileAnswer,
) -> Result<(), ObjectError> {
    let PastRequest { stream, session, track, file, .. } = request;
    let Some(located) = recorder.locate(stream, session, *track, *file) else {
        answer.not_found();
        return Ok(());
    };
    let bytes = match &located {
        Located::Header(bytes) => bytes.len() as u64,
        Located::Segment(_, bytes) => *bytes,
    };
    let Some(tag) = EntityTag::new(&format!("\"{session}-{file}\"")) else {
        answer.not_found();
        return Ok(());
    };
    let found = FoundFile { bytes, tag, modified_unix_s: None, growth: Growth::Immutable };
    let (place, bytes) = match located {
        Located::Header(bytes) => {
            if let Some(mut body) = answer.found(found) {
                let range = body.range();
                let wanted = usize::try_from(range.start).ok().zip(usize::try_from(range.end).ok());
                if let Some((from, to)) = wanted.filter(|(_, to)| *to <= bytes.len()) {
                    // Who has gone needs nothing.
                    let _ = body.send(bytes.slice(from..to)).await;
                }
            }
            return Ok(());
        }
        Located::Segment(place, bytes) => (place, bytes),
    };
    let spooled = recorder.spool_file(&place.recording, *track, place.object);
    let opened = match open(&spooled, place.offset + bytes).await {
        Ok(opened) => opened,
        Err(error) => {
            answer.unavailable(RETRY_AFTER);
            return Err(ObjectError::new(ErrorKind::Unavailable, format!("{}: {error}", spooled.display())));
        }
    };
    if let Some(file) = opened {
        if let Some(body) = answer.found(found) {
            send_file(body, Arc::new(file), place.offset)
                .await
                .map_err(|error| ObjectError::new(ErrorKind::Unavailable, format!("{}: {error}", spooled.display())))?;
        }
        return Ok(());
    }
    give_stored(store, request, &place, found, answer).await
}

/// A file of the spool, where it is there and has so many bytes.
async fn open(path: &Path, bytes: u64) -> io::Result<Option<File>> {
    let path = path.to_owned();
    let opened = tokio::task::spawn_blocking(move || {
        let file = match File::open(path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            file => file?,
        };
        let is_long_enough = file.metadata()?.len() >= bytes;
        Ok(is_long_enough.then_some(file))
    });
    opened.await.map_err(io::Error::other)?
}

async fn send_file(mut body: FileBody, file: Arc<File>, offset: u64) -> io::Result<()> {
    let mut at = body.range().start;
    let end = body.range().end;
    while at < end {
        let count = (end - at).min(CHUNK_BYTES) as usize;
        let (file, from) = (Arc::clone(&file), offset + at);
        let read = tokio::task::spawn_blocking(move || {
            let mut chunk = vec![0; count];
            file.read_exact_at(&mut chunk, from).map(|()| Bytes::from(chunk))
        });
        let chunk = read.await.map_err(io::Error::other)??;
        at += count as u64;
        if body.send(chunk).await.is_err() {
            break;
        }
    }
    Ok(())
}

/// Out of the object in the store. Not from the store's own server: its address would be that of the whole object.
async fn give_stored(
    store: &dyn ObjectStore,
    request: &PastRequest,
    place: &Place,
    found: FoundFile,
    answer: FileAnswer,
) -> Result<(), ObjectError> {
    let key = Key::parse(&place.recording.key(&request.stream, &object_path(request.track, place.object)))?;
    match store.head(&key).await {
        Ok(Some(stored)) if stored.bytes >= place.offset + found.bytes => {}
        Ok(_) => {
            answer.not_found();
            return Ok(());
        }
        Err(error) => {
            answer.unavailable(RETRY_AFTER);
            return Err(error);
        }
    }
    let Some(mut body) = answer.found(found) else { return Ok(()) };
    let range = body.range();
    let span = Span::Within(place.offset + range.start, place.offset + range.end - 1);
    let mut chunks = store.get(&key, span).await?.chunks;
    while let Some(chunk) = chunks.next().await {
        if body.send(chunk?).await.is_err() {
            break;
        }
    }
    Ok(())
}
