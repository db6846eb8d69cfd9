//! Pictures of streams on request. Before it: [`crate::run`] has an order; after it: the answer, with a JPEG.
//!
//! A stream begins with its newest keyframe and what has come since, at once: that is decoded, as far as is needed for a picture that is
//! new. Requests for one stream that come together share that; a stream with a running job is not asked for at all.
use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use bytes::Bytes;

use crate::codec::jpeg::jpeg;
use crate::codec::scale::Scaler;
use crate::crash::{self, Of};
use crate::ffmpeg::Ffmpeg;
use crate::net::source::{SourceConnection, SourceError, SourceTag, stream_of};
use crate::picture::{Colour, Picture};
use crate::protocol::{Report, SecretUrl, Why};
use crate::queue::lock;
use crate::reporter::Reporter;
use crate::transcode::{Piece, Shown, Source, Unfit};

/// Streams that are asked for at the same time, and requests that wait for one.
const STREAMS_MAX: usize = 4;
const REQUESTS_MAX: usize = 64;
/// From the connection to the first picture.
const PATIENCE: Duration = Duration::from_secs(5);
/// For what comes behind the first picture: some 25 pictures of 720 lines. Whoever asks has the JPEG within 300 ms.
const BURST: Duration = Duration::from_millis(160);
/// It takes longer where the picture would be older than this: with what others may share it for, it is at most two seconds old.
const AGE_MOST: Duration = Duration::from_millis(1_200);
/// The burst is over when nothing has come for so long: less than lies between the frames of a live stream and their audio.
const QUIET: Duration = Duration::from_millis(6);
/// Bytes that are read before any of them is decoded.
const BURST_BYTES_MAX: usize = 24 << 20;
/// What a tag takes beside its body.
const TAG_BYTES: usize = 256;
/// And for so long at most: a stream of many small frames is never quiet.
const GATHER_MOST: Duration = Duration::from_millis(150);
/// A decoder that gives its pictures later has given all of them when none has come for so long.
const LATE_QUIET: Duration = Duration::from_millis(150);
/// Narrowest picture, pixels.
const WIDTH_MIN: u32 = 16;

/// One request.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Request {
    pub(crate) id: u64,
    pub(crate) width_max: Option<u32>,
    pub(crate) quality: u8,
}

/// A picture that was taken.
#[derive(Clone, Debug)]
pub(crate) struct Taken {
    pub(crate) picture: Arc<Picture>,
    pub(crate) colour: Colour,
    pub(crate) pts_ms: u32,
}

/// Why there is none.
#[derive(Debug, thiserror::Error)]
enum SnapshotError {
    #[error(transparent)]
    Source(#[from] SourceError),
    #[error(transparent)]
    Unfit(#[from] Unfit),
    #[error("no picture came within {} s", PATIENCE.as_secs())]
    NoPicture,
}

/// All requests that wait, by stream.
#[derive(Debug)]
pub(crate) struct Snapshots {
    waiting: Arc<Mutex<HashMap<String, Vec<Request>>>>,
    reporter: Reporter,
    ffmpeg: Option<Ffmpeg>,
}

impl Snapshots {
    pub(crate) fn new(reporter: Reporter, ffmpeg: Option<Ffmpeg>) -> Self {
        Self { waiting: Arc::default(), reporter, ffmpeg }
    }

    /// Takes a request. `running`: the newest picture of a job of the same stream.
    pub(crate) fn ask(&self, source: SecretUrl, request: Request, running: Option<Taken>) {
        let stream = stream_of(&source);
        let mut waiting = lock(&self.waiting);
        let streams = waiting.len();
        if running.is_none()
            && let Some(others) = waiting.get_mut(&stream)
        {
            if others.len() < REQUESTS_MAX {
                others.push(request);
            } else {
                drop(waiting);
                self.refuse(request, Why::TooSlow, "too many requests for this stream");
            }
            return;
        }
        if streams >= STREAMS_MAX {
            drop(waiting);
            return self.refuse(request, Why::TooSlow, "too many pictures are taken at the moment");
        }
        // A key of its own where nobody can share: a job's picture is there already.
        let key = if running.is_some() { format!("{stream}#{}", request.id) } else { stream };
        waiting.insert(key.clone(), vec![request]);
        drop(waiting);
        let (waiting, reporter) = (Arc::clone(&self.waiting), self.reporter.clone());
        let ffmpeg = self.ffmpeg.clone();
        let take = {
            let key = key.clone();
            move || {
                let taken = running.map_or_else(|| take(&source, ffmpeg), Ok);
                let requests = lock(&waiting).remove(&key).unwrap_or_default();
                answer(&requests, taken, &reporter);
            }
        };
        if let Err(error) = crash::spawn("snapshot".to_owned(), Of::Request(request.id), take) {
            lock(&self.waiting).remove(&key);
            self.refuse(request, Why::Failed, &error.to_string());
        }
    }

    fn refuse(&self, request: Request, why: Why, error: &str) {
        self.reporter.tell(Report::Failed { request: request.id, why, error: Some(error.to_owned()) });
    }
}

/// Decodes what a stream begins with, and gives a picture that is new.
fn take(url: &SecretUrl, ffmpeg: Option<Ffmpeg>) -> Result<Taken, SnapshotError> {
    let mut connection = SourceConnection::open(url)?;
    let mut taking = Taking::new(Source::new().with_ffmpeg(ffmpeg));
    let (begun, mut tags, mut has_begun, mut ended) = (Instant::now(), Vec::new(), false, None);
    let (mut bytes, mut since): (usize, Option<Instant>) = (0, None);
    while ended.is_none() && begun.elapsed() < PATIENCE {
        let before = tags.len();
        let quiet = match connection.read(&mut tags) {
            Ok(came) => !came,
            Err(error) => {
                ended = Some(error);
                true
            }
        };
        if !has_begun && tags.iter().any(SourceTag::is_frame) {
            has_begun = true;
            connection.wait_at_most(QUIET)?;
        }
        // All that is there is read before it is decoded: the newest of it tells how old a picture is.
        bytes += tags.iter().skip(before).map(|tag| TAG_BYTES + tag.body.len()).sum::<usize>();
        let gathering = has_begun.then(|| *since.get_or_insert_with(Instant::now));
        if !quiet && bytes < BURST_BYTES_MAX && gathering.is_none_or(|since| since.elapsed() < GATHER_MOST) {
            continue;
        }
        (bytes, since) = (0, None);
        if let Some(newest) = tags.iter().rev().find(|tag| tag.is_frame()) {
            taking.there = Some((newest.timestamp_ms, Instant::now()));
        }
        for tag in tags.drain(..) {
            taking.push(tag)?;
            if taking.is_enough() {
                break;
            }
        }
        if ended.is_some() || taking.is_all(quiet) {
            // What waits for its turn to be shown is newer.
            taking.source.finish();
            taking.take_pieces();
        } else if !taking.is_enough() {
            continue;
        }
        if taking.newest.is_some() {
            break;
        }
    }
    // A stream that has just ended has pictures all the same; one that is decoded more slowly than it plays has older ones.
    match (taking.newest, taking.colour, ended) {
        (Some(shown), Some(colour), _) => Ok(Taken { picture: shown.picture, colour, pts_ms: shown.pts_ms as u32 }),
        (_, _, Some(error)) => Err(error.into()),
        _ => Err(SnapshotError::NoPicture),
    }
}

/// A picture that is being taken.
struct Taking {
    source: Source,
    colour: Option<Colour>,
    newest: Option<Shown>,
    /// When the first picture came, and the last.
    came: Option<(Instant, Instant)>,
    /// Decode time of the newest frame that was read, milliseconds as in its tag, and when that was.
    there: Option<(u32, Instant)>,
}

impl Taking {
    const fn new(source: Source) -> Self {
        Self { source, colour: None, newest: None, came: None, there: None }
    }

    fn push(&mut self, tag: SourceTag) -> Result<(), Unfit> {
        self.source.push(tag.kind, tag.timestamp_ms, tag.body)?;
        self.take_pieces();
        Ok(())
    }

    fn take_pieces(&mut self) {
        while let Some(piece) = self.source.poll() {
            match piece {
                Piece::Params(params) => self.colour = Some(params.colour),
                Piece::Picture(shown) => {
                    let now = Instant::now();
                    self.came = Some((self.came.map_or(now, |(first, _)| first), now));
                    self.newest = Some(shown);
                }
                _ => {}
            }
        }
    }

    /// The picture is new, and it has taken long enough.
    fn is_enough(&self) -> bool {
        let (Some(shown), Some((first, _)), Some((there_ms, read_at))) = (&self.newest, self.came, self.there) else {
            return false;
        };
        let behind = Duration::from_millis(there_ms.wrapping_sub(shown.dts_ms as u32).into());
        first.elapsed() >= BURST && behind + read_at.elapsed() <= AGE_MOST
    }

    /// Nothing more has come, and what has come is decoded or soon will be.
    fn is_all(&self, quiet: bool) -> bool {
        let (Some((_, last)), Some((_, read_at))) = (self.came, self.there) else { return false };
        // `ffmpeg` gives pictures when it has them, and none after it was told that there are no more.
        quiet && read_at.elapsed() <= AGE_MOST && (!self.source.is_late() || last.elapsed() >= LATE_QUIET)
    }
}

fn answer(requests: &[Request], taken: Result<Taken, SnapshotError>, reporter: &Reporter) {
    let taken = match taken {
        Ok(taken) => taken,
        Err(error) => {
            let why = match &error {
                SnapshotError::Source(SourceError::Gone) => Why::Gone,
                SnapshotError::Source(SourceError::Address) => Why::BadOrder,
                SnapshotError::Source(_) => Why::Source,
                SnapshotError::Unfit(unfit) => unfit.why(),
                SnapshotError::NoPicture => Why::NoPicture,
            };
            let error = error.to_string();
            for request in requests {
                reporter.tell(Report::Failed { request: request.id, why, error: Some(error.clone()) });
            }
            return;
        }
    };
    for request in requests {
        match encode(&taken, *request) {
            Some((width, height, bytes)) => {
                let report = Report::Picture { request: request.id, width, height, pts_ms: taken.pts_ms };
                reporter.tell_with(report, bytes);
            }
            None => reporter.tell(Report::Failed { request: request.id, why: Why::Failed, error: None }),
        }
    }
}

/// The picture, no wider than was asked for.
fn encode(taken: &Taken, request: Request) -> Option<(u32, u32, Bytes)> {
    let (width, height) = (taken.picture.width(), taken.picture.height());
    let across = request.width_max.unwrap_or(width).max(WIDTH_MIN).min(width) & !1;
    let down = (u64::from(height) * u64::from(across) / u64::from(width)).max(2) as u32 & !1;
    let smaller = if across < width { Some(Scaler::new(across, down).scale(&taken.picture)?) } else { None };
    let picture = smaller.as_ref().unwrap_or(&taken.picture);
    let bytes = jpeg(picture, taken.colour, request.quality)?;
    (bytes.len() <= crate::protocol::PAYLOAD_BYTES_MAX).then(|| (picture.width(), picture.height(), bytes.into()))
}
