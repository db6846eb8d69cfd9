//! Storyboards: small pictures of a recording, for who looks for a moment in it. Before it: the recorder, which tells that all of a recording is in the
//! store; after it: a worker, which decodes keyframes, and the store, where sprites and `thumbnails.vtt` (WebVTT) are beside the recording and go with it.
//!
//! One is made at a time. What cannot be decoded, or is not in the store any more, has none, and the recording is as good without.
use std::fmt::Write as _;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use millstream_control_protocol::event::{Event, What};
use millstream_engine::Remote;
use millstream_objects::{Body, Key, Meta, ObjectError, ObjectStore};
use millstream_proto::id::Id;
use millstream_recorder::movie::export::ExportError;
use millstream_recorder::movie::stills::{Moment, Stills};
use millstream_recorder::name::RecordingName;
use millstream_recorder::store::StoreError;
use millstream_transcoder::{Keyframe, NoSprite, Sprite, Workers};
use tokio::runtime::Runtime;
use tokio::sync::RwLock;
use tokio::sync::mpsc::{Sender, channel};

use super::storing::Storing;
use crate::clock::unix_ms;

/// Recordings that wait for theirs; one more has none.
const WAITING_MAX: usize = 256;
/// Pictures of a recording at most, and how far they are apart at least.
const PICTURES_MAX: u64 = 200;
const EVERY_MS_MIN: u64 = 2_000;
/// Tiles of a row, and of a sprite; the box that a tile is within, pixels.
const COLUMNS: u32 = 5;
const TILES: usize = 25;
const TILE_PX: (u32, u32) = (160, 90);
/// Bytes of keyframes of one sprite: as many as a worker takes, and a little less.
const SPRITE_BYTES_MAX: usize = 12 << 20;
/// How long who gets it may keep it: it may be removed.
const CACHE_CONTROL: &str = "public, max-age=3600";
/// Tries, where the store or the worker is away, and the wait behind the first, which is doubled.
const TRIES: u32 = 5;
const TRY_AGAIN: Duration = Duration::from_secs(5);

/// Held by who adds to a stored recording, and shared by those that remove one: what is added is never there without the recording.
pub(super) type Adding = Arc<RwLock<()>>;

/// Where storyboards go.
#[derive(Clone)]
pub(super) struct Target {
    pub(super) store: Arc<dyn ObjectStore>,
    pub(super) adding: Adding,
}

/// A recording all of which is in the store.
pub(super) struct Stored {
    pub(super) stream: String,
    pub(super) recording: String,
}

/// Why a recording has no storyboard.
#[derive(Debug, thiserror::Error)]
enum NoStoryboard {
    #[error("it has no picture that can be decoded")]
    NoPicture,
    #[error("it has been removed")]
    Removed,
    #[error(transparent)]
    Read(#[from] ExportError),
    #[error(transparent)]
    Store(#[from] ObjectError),
    #[error("its pictures: {0}")]
    Sprite(#[from] NoSprite),
}

impl NoStoryboard {
    fn is_passing(&self) -> bool {
        match self {
            Self::NoPicture | Self::Removed | Self::Read(ExportError::Playlist { .. }) => false,
            // What the store does not have will not be there later.
            Self::Read(ExportError::Store(error)) => matches!(error, StoreError::Failed(_)),
            Self::Sprite(error) => matches!(error, NoSprite::Busy | NoSprite::Late),
            Self::Read(_) | Self::Store(_) => true,
        }
    }
}

/// Makes storyboards of what it is told, for as long as the process runs.
pub(super) fn start(target: Target, workers: Workers, remote: Remote, runtime: &Runtime) -> Sender<Stored> {
    let (told, mut stored) = channel::<Stored>(WAITING_MAX);
    runtime.spawn(async move {
        while let Some(Stored { stream, recording }) = stored.recv().await {
            let (Ok(id), Some(name)) = (Id::new(&stream), RecordingName::parse(&recording)) else { continue };
            let mut wait = TRY_AGAIN;
            for tries in 1..=TRIES {
                let board = Board { target: &target, stream: &id, name: &name };
                match make(&board, &workers).await {
                    Ok(pictures) => {
                        let path = format!("rec/{name}/thumbnails.vtt");
                        let what = What::RecordingThumbnails { recording: recording.clone(), path, pictures };
                        remote.tell(Event { at_unix_ms: unix_ms(), stream: stream.clone(), what, ..Event::default() });
                        break;
                    }
                    Err(error) if !error.is_passing() || tries == TRIES => {
                        tracing::info!(stream, recording, %error, "a recording has no storyboard");
                        break;
                    }
                    Err(error) => tracing::debug!(stream, recording, %error, "a storyboard is tried again"),
                }
                tokio::time::sleep(wait).await;
                wait *= 2;
            }
        }
    });
    told
}

/// How far apart the pictures of a recording of that length are.
fn every_ms(length_ms: u64) -> u64 {
    length_ms.div_ceil(PICTURES_MAX).next_multiple_of(1_000).max(EVERY_MS_MIN)
}

/// One recording in its store.
struct Board<'a> {
    target: &'a Target,
    stream: &'a Id,
    name: &'a RecordingName,
}

/// Gives how many pictures it has.
async fn make(board: &Board<'_>, workers: &Workers) -> Result<u32, NoStoryboard> {
    let reading = Storing(Arc::clone(&board.target.store));
    let mut stills = Stills::open(&reading, board.stream, board.name).await?;
    let length_ms = stills.length_ms();
    let moments = stills.moments(every_ms(length_ms));
    let (mut cues, mut pictures) = (Cues::default(), 0);
    for (number, group) in (0_u32..).zip(moments.chunks(TILES)) {
        let (at_ms, keyframes) = keyframes(&mut stills, group).await?;
        if keyframes.is_empty() {
            continue;
        }
        let sprite = match workers.sprite(&keyframes, COLUMNS, TILE_PX).await {
            Ok(sprite) => sprite,
            // One that cannot be decoded leaves the others.
            Err(NoSprite::Impossible(_)) => continue,
            Err(error) => return Err(error.into()),
        };
        board.put(&format!("thumbnails/{number}.jpg"), sprite.jpeg.clone()).await?;
        pictures += sprite.drawn;
        cues.add(number, &sprite, &at_ms);
    }
    if pictures == 0 {
        return Err(NoStoryboard::NoPicture);
    }
    board.put("thumbnails.vtt", cues.text(length_ms).into()).await?;
    Ok(pictures)
}

impl Board<'_> {
    fn key(&self, file: &str) -> Result<Key, ObjectError> {
        Key::parse(&self.name.key(self.stream, file))
    }

    /// Adds a file to the recording, if that is still there: its playlist goes first.
    async fn put(&self, file: &str, bytes: Bytes) -> Result<(), NoStoryboard> {
        let Target { store, adding } = self.target;
        let _removed_by_nobody = adding.write().await;
        if store.head(&self.key("index.m3u8")?).await?.is_none() {
            return Err(NoStoryboard::Removed);
        }
        let key = self.key(file)?;
        let mut body = Body::default();
        body.push(bytes);
        Ok(store.put(&key, body, Meta::of(&key, CACHE_CONTROL)).await.map(drop)?)
    }
}

/// The keyframes of these moments, and when they are: those that there are, and no more than a worker takes.
async fn keyframes(stills: &mut Stills<'_>, moments: &[Moment]) -> Result<(Vec<u64>, Vec<Keyframe>), NoStoryboard> {
    let (mut at_ms, mut keyframes, mut bytes) = (Vec::new(), Vec::new(), 0);
    for moment in moments {
        let still = match stills.still(moment).await {
            // Some objects of a recording may be lost.
            Err(ExportError::Store(StoreError::Source(_))) => None,
            still => still?,
        };
        let Some(still) = still else { continue };
        let more = still.record.len() + still.frame.len();
        if bytes + more <= SPRITE_BYTES_MAX {
            bytes += more;
            at_ms.push(moment.at_ms);
            keyframes.push(Keyframe { record: still.record, frame: still.frame });
        }
    }
    Ok((at_ms, keyframes))
}

/// Which part of which sprite is shown from when on.
#[derive(Default)]
struct Cues(Vec<(u64, String)>);

impl Cues {
    fn add(&mut self, number: u32, sprite: &Sprite, at_ms: &[u64]) {
        let (width, height) = sprite.tile;
        for (place, at_ms) in (0_u32..).zip(at_ms) {
            let (left, top) = (place % COLUMNS * width, place / COLUMNS * height);
            self.0.push((*at_ms, format!("thumbnails/{number}.jpg#xywh={left},{top},{width},{height}")));
        }
    }

    /// As WebVTT; each is shown up to the next one.
    fn text(&self, length_ms: u64) -> String {
        let mut text = String::from("WEBVTT\n");
        for (index, (from_ms, what)) in self.0.iter().enumerate() {
            let to_ms = self.0.get(index + 1).map_or(length_ms, |(next_ms, _)| *next_ms);
            // Writing to a string cannot fail.
            let _ = write!(text, "\n{} --> {}\n{what}\n", clock(*from_ms), clock(to_ms.max(from_ms + 1)));
        }
        text
    }
}

/// A time as WebVTT has it.
fn clock(ms: u64) -> String {
    let seconds = ms / 1_000;
    format!("{:02}:{:02}:{:02}.{:03}", seconds / 3_600, seconds / 60 % 60, seconds % 60, ms % 1_000)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pictures_are_as_many_as_a_sprite_for_each_moment_needs_and_no_more() {
        for (length_ms, expected_ms) in [
            (0, 2_000),
            (60_000, 2_000),
            (400_000, 2_000),
            (400_001, 3_000),
            (3_600_000, 18_000),
            (86_400_000, 432_000),
        ] {
            assert_eq!(every_ms(length_ms), expected_ms, "{length_ms}");
        }
        assert!(u64::MAX / 2_000_000 / every_ms(u64::MAX / 2_000_000) <= PICTURES_MAX);
    }

    #[test]
    fn cues_say_where_in_which_sprite_each_moment_is() {
        let sprite = Sprite { jpeg: Bytes::new(), tile: (160, 90), drawn: 6 };
        let mut cues = Cues::default();
        cues.add(0, &sprite, &[0, 2_000, 4_000, 6_000, 8_000, 10_000]);
        cues.add(3, &sprite, &[3_723_004]);
        let text = cues.text(3_725_000);
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(
            &lines[..5],
            ["WEBVTT", "", "00:00:00.000 --> 00:00:02.000", "thumbnails/0.jpg#xywh=0,0,160,90", ""]
        );
        assert_eq!(
            lines[17..],
            [
                "00:00:10.000 --> 01:02:03.004",
                "thumbnails/0.jpg#xywh=0,90,160,90",
                "",
                "01:02:03.004 --> 01:02:05.000",
                "thumbnails/3.jpg#xywh=0,0,160,90",
            ]
        );
    }
}
