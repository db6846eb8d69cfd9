//! What a viewer needs before its first frame: file header, metadata and the codec configurations in force. Each block refers to
//! the one that was in force at its first tag, so that a joiner or a viewer that jumps gets the right one.
use std::sync::Arc;

use bytes::Bytes;
use millstream_proto::flv;
use millstream_proto::media::{Codec, CodecConfig, TagKind, Track};

use super::block::{Format, http_chunk, rtmp_messages, websocket_message};

/// Script tags are stamped 0 wherever they stand: ffmpeg makes a subtitle track of those that are not.
pub(crate) const SCRIPT_TIMESTAMP_MS: u32 = flv::KEEPALIVE_TIMESTAMP_MS;

/// Metadata and configurations of one moment of a stream.
#[derive(Clone, Debug, Default)]
pub struct StreamHeaders {
    /// Rises by one with each change.
    pub generation: u32,
    /// The oldest generation of which this one only added to: a viewer that starts there may be given this one.
    adds_to: u32,
    /// The picture's configuration.
    pub video: Option<CodecConfig>,
    /// The audio's configuration.
    pub audio: Option<CodecConfig>,
    /// A codec that has no configuration was seen (MP3, VP9 without one).
    pub bare_audio: bool,
    /// See `bare_audio`.
    pub bare_video: bool,
    /// The publisher's `onMetaData`.
    pub metadata: Option<Bytes>,
}

/// What one publisher has sent: one that follows another need not have the same tracks.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Seen {
    pub(crate) video: bool,
    pub(crate) audio: bool,
    pub(crate) metadata: bool,
}

impl StreamHeaders {
    /// The next generation with this configuration; `None` if it is in force already.
    pub(crate) fn with_config(&self, config: &CodecConfig) -> Option<Self> {
        let place = match config.track {
            Track::Video => &self.video,
            Track::Audio => &self.audio,
        };
        if place.as_ref().is_some_and(|old| old.codec == config.codec && old.body == config.body) {
            return None;
        }
        let mut next = self.next(place.is_none());
        match config.track {
            Track::Video => next.video = Some(config.clone()),
            Track::Audio => next.audio = Some(config.clone()),
        }
        Some(next)
    }

    /// The next generation with this metadata; `None` if it is in force already.
    pub(crate) fn with_metadata(&self, metadata: &Bytes) -> Option<Self> {
        if self.metadata.as_ref() == Some(metadata) {
            return None;
        }
        let mut next = self.next(true);
        next.metadata = Some(metadata.clone());
        Some(next)
    }

    /// The next generation with a track whose codec needs no configuration; `None` if it is known already.
    pub(crate) fn with_bare_track(&self, track: Track, codec: Codec) -> Option<Self> {
        let (config, bare) = match track {
            Track::Video => (&self.video, self.bare_video),
            Track::Audio => (&self.audio, self.bare_audio),
        };
        // Frames that need a configuration come after it: a codec other than the configured one is one that needs none.
        let replaces = match config {
            Some(config) if config.codec == codec => return None,
            Some(_) => true,
            None if bare => return None,
            None => false,
        };
        let mut next = self.next(!replaces);
        match track {
            Track::Video => (next.video, next.bare_video) = (None, true),
            Track::Audio => (next.audio, next.bare_audio) = (None, true),
        }
        Some(next)
    }

    /// The next generation with only what was seen; `None` if there is nothing else.
    pub(crate) fn with_only(&self, Seen { video, audio, metadata }: Seen) -> Option<Self> {
        let stale = self.has(Track::Video) && !video
            || self.has(Track::Audio) && !audio
            || self.metadata.is_some() && !metadata;
        if !stale {
            return None;
        }
        let mut next = self.next(false);
        next.metadata = next.metadata.filter(|_| metadata);
        (next.video, next.bare_video) = (next.video.filter(|_| video), next.bare_video && video);
        (next.audio, next.bare_audio) = (next.audio.filter(|_| audio), next.bare_audio && audio);
        Some(next)
    }

    /// Empty ones of that generation, which only added to those since `adds_to`.
    pub(crate) fn of(generation: u32, adds_to: u32) -> Self {
        Self { generation, adds_to, ..Self::default() }
    }

    /// The oldest generation of which this one only added to.
    pub(crate) fn adds_to(&self) -> u32 {
        self.adds_to
    }

    fn next(&self, only_adds: bool) -> Self {
        let generation = self.generation + 1;
        Self { generation, adds_to: if only_adds { self.adds_to } else { generation }, ..self.clone() }
    }

    /// Whether the track has been seen.
    pub fn has(&self, track: Track) -> bool {
        match track {
            Track::Video => self.video.is_some() || self.bare_video,
            Track::Audio => self.audio.is_some() || self.bare_audio,
        }
    }

    /// The one to give to a viewer that starts where `then` was in force, now that `self` is: the newer one where it only knows
    /// more, so that a track which came late is announced.
    pub fn for_start_at<'a>(self: &'a Arc<Self>, then: &'a Arc<Self>) -> &'a Arc<Self> {
        if self.adds_to <= then.generation { self } else { then }
    }

    /// Metadata and configurations as tags, stamped so.
    pub fn tags(&self, timestamp_ms: u32) -> impl Iterator<Item = (TagKind, u32, &[u8])> + Clone {
        let metadata = self.metadata.iter().map(|body| (TagKind::Script, SCRIPT_TIMESTAMP_MS, body.as_ref()));
        let video = self.video.iter().map(move |config| (TagKind::Video, timestamp_ms, config.body.as_ref()));
        let audio = self.audio.iter().map(move |config| (TagKind::Audio, timestamp_ms, config.body.as_ref()));
        metadata.chain(video).chain(audio)
    }

    /// The bytes before the first block of a viewer (`head`), or before the block it jumps to, stamped like that block.
    pub fn bytes(&self, format: Format, head: bool, timestamp_ms: u32, rtmp_chunk_bytes: usize) -> Bytes {
        match format {
            Format::Rtmp => return rtmp_messages(self.tags(timestamp_ms), 0, rtmp_chunk_bytes),
            Format::Framed(framing) => return (framing.head)(self),
            _ => {}
        }
        let file_header = flv::file_header(self.has(Track::Audio), self.has(Track::Video));
        let (chunk, tags_at) = http_chunk(self.tags(timestamp_ms), if head { &file_header } else { &[] });
        let data = tags_at..chunk.len() - 2;
        match format {
            // A chunk of no bytes would end the response, and a message of none says nothing.
            _ if data.is_empty() => Bytes::new(),
            Format::FlvChunked => chunk,
            Format::FlvWebSocket => websocket_message(&chunk[data]).into(),
            Format::FlvPlain | Format::Rtmp | Format::Framed(_) => chunk.slice(data),
        }
    }
}
